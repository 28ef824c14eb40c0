import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from shared.base.lanes import Lane
from shared.database import Database
from shared.ledger import recover
from shared.ledger.register import add_jobs
from shared.ledger.work import Claimed, PutOff
from tests.unit.steps import LEASE, NOW, after, claim, drop, finish, in_hand, jobs, rows, screened, send_all, take

HOUR = 3600


def recover_claimed(database: Database, now: datetime) -> tuple[int, int]:
    with database.write() as session:
        return recover.recover_claimed(session, now, LEASE)


def recover_all_sent(database: Database, old: str | None, new: str) -> int:
    with database.write() as session:
        return recover.recover_all_sent(session, old, new)


def claim_alone(database: Database, now: datetime) -> Claimed:
    """A suspect, sent and claimed by itself as the producer's sender does it."""
    message = take(database, Lane.SUSPECT, most=1, now=now)
    assert message is not None
    (claimed,) = claim(database, message, now)
    return claimed


def die_alone(database: Database, times: int, start: datetime) -> list[int]:
    """Processes die one after the other, each with one suspect in hand; returns whose it was."""
    victims = []
    for number in range(times):
        now = start + timedelta(seconds=100 * number)
        victims.append(claim_alone(database, now).job)
        recover_claimed(database, now + timedelta(seconds=LEASE + 1))
    return victims


def test_jobs_whose_lease_ran_out_are_sent_again_one_by_one_in_the_suspect_lane(database: Database) -> None:
    in_hand(database, "a.png", "b.png", "c.png")
    assert recover_claimed(database, after(LEASE + 1)) == (3, 0)
    assert {(job.state, job.lane, job.lease_until) for job in jobs(database)} == {("unsent", "suspect", None)}
    assert take(database, Lane.ROUTINE, now=after(100)) is None
    assert claim_alone(database, after(100)).lane == "suspect"


def test_a_lease_that_still_runs_is_respected(database: Database) -> None:
    in_hand(database, "a.png")
    assert recover_claimed(database, after(LEASE - 1)) == (0, 0)
    assert jobs(database)[0].state == "claimed"


def test_an_image_that_kills_three_processes_while_alone_is_quarantined(database: Database) -> None:
    in_hand(database, "killer.png")
    recover_claimed(database, after(100))
    die_alone(database, 3, after(200))
    (row,) = rows(database)
    assert (row["state"], row["reason"]) == (
        "quarantined",
        "the process that worked on this image alone died 3 times",
    )
    assert [job.state for job in jobs(database)] == ["finished"]


def test_two_deaths_alone_are_not_enough(database: Database) -> None:
    in_hand(database, "unlucky.png")
    recover_claimed(database, after(100))
    die_alone(database, 2, after(200))
    assert [job.deaths for job in jobs(database)] == [2]
    finish(database, screened(claim_alone(database, after(900))))
    assert [row["state"] for row in rows(database)] == ["done"]


def test_a_death_in_company_counts_against_nobody(database: Database) -> None:
    in_hand(database, "a.png", "b.png")
    recover_claimed(database, after(100))
    assert [job.deaths for job in jobs(database)] == [0, 0]


def test_neighbours_of_a_killer_are_screened(database: Database) -> None:
    claimed = in_hand(database, "a.png", "killer.png", "b.png")
    killer = claimed[1].job
    recover_claimed(database, after(100))
    for number in range(10):
        now = after(200 + 100 * number)
        message = take(database, Lane.SUSPECT, most=1, now=now)
        if message is None:
            break
        (alone,) = claim(database, message, now)
        if alone.job == killer:
            recover_claimed(database, now + timedelta(seconds=LEASE + 1))
        else:
            finish(database, screened(alone))
    assert {row["path"]: row["state"] for row in rows(database)} == {
        "a.png": "done",
        "killer.png": "quarantined",
        "b.png": "done",
    }


def test_suspects_that_never_killed_go_before_those_that_did(database: Database) -> None:
    in_hand(database, "killer.png", "innocent.png")
    recover_claimed(database, after(100))
    (victim,) = die_alone(database, 1, after(200))
    assert claim_alone(database, after(400)).job != victim


def test_a_suspect_that_is_put_off_keeps_its_deaths(database: Database) -> None:
    in_hand(database, "a.png")
    recover_claimed(database, after(100))
    die_alone(database, 2, after(200))
    finish(database, PutOff(claim_alone(database, after(600)), "the share is away", after(610)))
    die_alone(database, 1, after(700))
    assert [row["state"] for row in rows(database)] == ["quarantined"]


def test_a_job_whose_message_is_lost_is_sent_again_after_resend_after(database: Database) -> None:
    drop(database, "a.png")
    send_all(database)
    with database.write() as session:
        assert recover.recover_sent(session, after(120), 120) == 0
        assert recover.recover_sent(session, after(121), 120) == 1
    again = send_all(database, now=after(121))
    assert again.attempt == 2
    assert [job.lane for job in jobs(database)] == ["routine"]  # nobody died: no suspicion


def test_what_is_unsent_claimed_or_finished_is_not_late(database: Database) -> None:
    done, _claimed = in_hand(database, "done.png", "claimed.png")
    finish(database, screened(done))
    drop(database, "unsent.png")
    with database.write() as session:
        assert recover.recover_sent(session, after(10_000), 120) == 0
    assert [job.state for job in jobs(database)] == ["finished", "claimed", "unsent"]


def test_a_message_lost_before_the_clock_was_set_back_does_not_wait_for_the_old_time(database: Database) -> None:
    drop(database, "a.png")
    send_all(database)
    with database.write() as session:
        assert recover.recover_sent(session, after(-600), 120) == 0  # clocks of hosts may differ by so much
        assert recover.recover_sent(session, after(-HOUR), 120) == 1
    assert send_all(database, now=after(-HOUR)).attempt == 2


def test_a_lease_from_before_the_clock_was_set_back_is_taken_back_and_nobody_is_blamed(database: Database) -> None:
    in_hand(database, "a.png", "b.png")
    assert recover_claimed(database, after(-HOUR)) == (2, 0)
    assert {(job.state, job.lane, job.deaths, job.lease_until) for job in jobs(database)} == {
        ("unsent", "routine", 0, None)
    }
    again = send_all(database, now=after(-HOUR))
    assert len(claim(database, again, after(-HOUR))) == 2
    assert recover_claimed(database, after(-HOUR)) == (0, 0)


def test_an_image_is_no_killer_because_the_clock_was_set_back_while_it_was_alone(database: Database) -> None:
    in_hand(database, "a.png")
    recover_claimed(database, after(100))
    die_alone(database, 2, after(200))
    claim_alone(database, after(600))
    assert recover_claimed(database, after(600 - HOUR)) == (1, 0)
    assert [job.deaths for job in jobs(database)] == [2]


def test_a_lease_by_a_clock_that_is_a_little_ahead_is_respected(database: Database) -> None:
    in_hand(database, "a.png")
    assert recover_claimed(database, after(-600)) == (0, 0)
    assert jobs(database)[0].state == "claimed"


def test_a_broker_that_lost_everything_gives_every_sent_job_back_and_no_other(database: Database) -> None:
    recover_all_sent(database, None, "first")
    in_hand(database, "claimed.png")
    drop(database, "sent.png", "sent too.png")
    send_all(database)
    assert recover_all_sent(database, "first", "second") == 2
    assert [job.state for job in jobs(database)] == ["claimed", "unsent", "unsent"]
    with database.read() as session:
        assert recover.epoch(session) == "second"


def test_the_first_epoch_is_written_once(database: Database) -> None:
    with database.read() as session:
        assert recover.epoch(session) is None
    recover_all_sent(database, None, "mine")
    recover_all_sent(database, None, "another producer's")
    with database.read() as session:
        assert recover.epoch(session) == "mine"


def test_producers_that_notice_a_lost_broker_at_once_take_the_jobs_back_once(database: Database) -> None:
    recover_all_sent(database, None, "first")
    drop(database, "a.png", "b.png", "c.png")
    send_all(database)
    start = threading.Barrier(4)

    def producer(new: str) -> int:
        start.wait()
        return recover_all_sent(database, "first", new)

    with ThreadPoolExecutor(4) as threads:
        counts = [future.result() for future in [threads.submit(producer, f"{n}") for n in range(4)]]
    assert sorted(counts) == [0, 0, 0, 3]


def test_jobs_sent_in_the_new_epoch_stay_sent_for_a_producer_that_comes_late(database: Database) -> None:
    recover_all_sent(database, None, "first")
    drop(database, "a.png")
    send_all(database)
    recover_all_sent(database, "first", "second")
    send_all(database, now=NOW)
    assert recover_all_sent(database, "first", "third") == 0
    assert [job.state for job in jobs(database)] == ["sent"]


def test_a_rescreen_that_kills_three_processes_takes_no_result_away(database: Database) -> None:
    (claimed,) = in_hand(database, "a.png")
    finish(database, screened(claimed))
    with database.write() as session:
        add_jobs(session, [claimed.sighting], Lane.SUSPECT, NOW, model_version="v2")
    die_alone(database, 3, after(200))
    assert [(row["state"], row["model_version"]) for row in rows(database)] == [("done", "v1")]
    assert [job.state for job in jobs(database)] == ["finished", "finished"]
