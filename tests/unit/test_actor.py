"""Who did something is asked for by one rule, whatever the command."""

import getpass
from collections.abc import Callable

import pytest

from actions import actor
from shared.base.errors import InvalidRequest


@pytest.mark.parametrize("rule", [actor.named, actor.named_or_user])
def test_a_name_is_taken_without_the_space_around_it_and_is_never_blank(rule: Callable[[str], str]) -> None:
    assert rule(" Dr. Okafor ") == "Dr. Okafor"
    assert rule("inv\udcff") == "inv\\xff", "SQL holds no name that is not UTF-8"
    for blank in ("", " \t"):
        with pytest.raises(InvalidRequest, match="--by NAME"):
            rule(blank)


def test_a_name_that_is_left_out_is_the_user_s_where_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    assert actor.named_or_user(None) == "ada"
    with pytest.raises(InvalidRequest, match="--by NAME"):
        actor.named(None)

    def nobody() -> str:
        raise KeyError("no user has this id")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert actor.named_or_user(None) == "unknown"
