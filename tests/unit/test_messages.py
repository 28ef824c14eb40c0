import json
from typing import Any

import pytest

from shared.base.errors import MalformedMessage, NewerMessage
from shared.queue.messages import SCHEMA, Message


def test_a_message_survives_its_way_through_json() -> None:
    message = Message(3, (1, 2, 2**63 - 1))
    assert Message.decode(json.loads(json.dumps(message.encode()))) == message


def test_a_message_holds_ids_and_nothing_else() -> None:
    assert Message(3, (1, 2)).encode() == {"schema": SCHEMA, "delivery": 3, "jobs": [1, 2]}


GOOD = {"schema": SCHEMA, "delivery": 1, "jobs": [1, 2]}


@pytest.mark.parametrize(
    "body",
    [
        None,
        "text",
        7,
        True,
        [],
        [GOOD],
        {},
        {"delivery": 1, "jobs": [1]},
        GOOD | {"schema": None},
        GOOD | {"schema": "1"},
        GOOD | {"schema": 1.0},
        GOOD | {"schema": True},
        GOOD | {"schema": 0},
        GOOD | {"schema": -1},
        GOOD | {"schema": 10**30},
        {"schema": SCHEMA, "jobs": [1]},
        GOOD | {"delivery": None},
        GOOD | {"delivery": "1"},
        GOOD | {"delivery": 0},
        GOOD | {"delivery": -1},
        GOOD | {"delivery": 1.5},
        GOOD | {"delivery": True},
        GOOD | {"delivery": 2**63},
        {"schema": SCHEMA, "delivery": 1},
        GOOD | {"jobs": None},
        GOOD | {"jobs": []},
        GOOD | {"jobs": 1},
        GOOD | {"jobs": "12"},
        GOOD | {"jobs": {"1": 2}},
        GOOD | {"jobs": [1, None]},
        GOOD | {"jobs": [1, "2"]},
        GOOD | {"jobs": [1, 2.0]},
        GOOD | {"jobs": [1, False]},
        GOOD | {"jobs": [1, [2]]},
        GOOD | {"jobs": [0]},
        GOOD | {"jobs": [-1]},
        GOOD | {"jobs": [2**63]},
    ],
    ids=str,
)
def test_what_is_not_one_of_our_messages_is_malformed(body: Any) -> None:
    with pytest.raises(MalformedMessage) as caught:
        Message.decode(body)
    assert not isinstance(caught.value, NewerMessage)


@pytest.mark.parametrize("more", [{}, {"jobs": {"any": "shape"}}, {"delivery": None}])
def test_a_message_of_a_newer_producer_is_told_apart_whatever_its_shape(more: dict[str, Any]) -> None:
    with pytest.raises(NewerMessage, match=rf"schema {SCHEMA + 1}, this worker knows {SCHEMA}: upgrade the worker"):
        Message.decode(GOOD | {"schema": SCHEMA + 1} | more)


def test_fields_that_are_not_known_do_no_harm() -> None:
    assert Message.decode(GOOD | {"comment": "hello"}) == Message(1, (1, 2))


def test_a_message_with_more_jobs_than_any_producer_sends_is_malformed() -> None:
    with pytest.raises(MalformedMessage):
        Message.decode(GOOD | {"jobs": list(range(1, 300_001))})
