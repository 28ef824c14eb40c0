"""Node, worker, courier, PACS and database are killed while images come from a PACS and results go back to it."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.trial import IS_LONG, SEED, Account
from tests.pacs import Hospital, hospital, image
from tests.servers import PostgreSQL, RedisServer, Servers

IMAGES = 500 if IS_LONG else 30
BROKEN_EACH = 10
"""One of so many is damaged."""
BURST = 10


def kill(site: Hospital, program: str) -> None:
    for process in site.system.processes(program):
        process.kill()


def strike_pacs(site: Hospital) -> None:
    site.pacs.kill()
    time.sleep(0.5)
    site.pacs.start()


BLOWS: dict[str, Callable[[Hospital], None]] = {
    "node": lambda site: kill(site, "cli.main node"),
    "courier": lambda site: kill(site, "cli.main courier"),
    "worker": lambda site: kill(site, "cli.main worker"),
    "pacs": strike_pacs,
}


def run(
    site: Hospital, fault: str, blows: list[Callable[[Hospital], None]], record: Callable[[str, object], None]
) -> None:
    """Send every image until the node has taken it, with blows amid them, and account for each one."""
    began, chance, strikes = time.monotonic(), random.Random(SEED), len(blows)
    broken = {number for number in range(IMAGES) if number % BROKEN_EACH == 3}
    instances = {number: site.add(number, broken=number in broken) for number in range(IMAGES)}
    left = list(instances)
    while left:
        burst, left = left[:BURST], left[BURST:]
        if blows:
            blows.pop(0)(site)
        chance.shuffle(burst)
        # A PACS tries again what was not taken: what was is recognized, however often it comes.
        site.system.wait(lambda burst=burst: site.send(*(instances[n] for n in burst)), f"the node to take {burst}")
    for blow in blows:
        blow(site)
    good = sorted(set(instances) - broken)
    site.system.wait(lambda: len(site.rows()) == IMAGES, "a row for each image")
    site.system.wait(lambda: "waiting" not in site.rows().values(), "each image to be finished")
    site.system.wait(lambda: counts(site).get("sent") == 2 * len(good), f"each report to be sent: {counts(site)}")
    rows = site.rows()
    wrong = [number for number in good if rows.get(image(number)) != "done"]
    answers = {number: site.answers(number) for number in instances}
    lost = [number for number in good if set(answers[number]) != {"OT", "SR"}]
    doubled = [number for number in instances if len(answers[number]) > 2 or (number in broken and answers[number])]
    longest = round(time.monotonic() - began, 1)
    account = Account(f"{fault} killed", strikes, IMAGES, len(lost), len(doubled), len(wrong), longest)
    record("fault", vars(account))
    assert (lost, doubled, wrong) == ([], [], []), account
    assert set(counts(site)) == {"sent"}, counts(site)


def counts(site: Hospital) -> dict[str, int]:
    return dict(site.system.query("SELECT state, count(*) FROM outbox GROUP BY state"))


def test_every_image_of_a_pacs_is_accounted_for_and_answered_once_whoever_is_killed(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with hospital(tmp_path) as site:
        names = list(BLOWS) if IS_LONG else ["node", "courier", "pacs"]
        run(site, ", ".join(names), [BLOWS[name] for name in names], record_property)


@pytest.mark.soak
def test_and_the_database_too(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    server, broker = PostgreSQL(), RedisServer()
    try:
        servers = Servers(f"{server.url}/postgres", broker.url)

        def strike_database(_: Hospital) -> None:
            server.kill()
            time.sleep(1.0)
            server.start()

        with hospital(tmp_path, servers=servers) as site:
            blows = [strike_database, *BLOWS.values(), strike_database]
            run(site, f"database, {', '.join(BLOWS)}", blows, record_property)
    finally:
        broker.close()
        server.close()
