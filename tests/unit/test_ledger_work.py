import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select

from shared.base.lanes import Lane
from shared.database import Database, JobState, Prediction, SightingState
from shared.ledger import recover, work
from shared.ledger.work import PutOff, Quarantined, Superseded
from shared.queue.messages import Message
from tests.unit.steps import (
    LEASE,
    NOW,
    after,
    claim,
    drop,
    file,
    finish,
    in_hand,
    jobs,
    rows,
    screened,
    send_all,
    sightings,
)


def predictions(database: Database) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(Prediction)) or 0


def test_a_claim_tells_the_worker_which_file_to_read(database: Database) -> None:
    drop(database, file("ward 3/a.png", size=5, second=6))
    message = send_all(database)
    (claimed,) = claim(database, message)
    assert (claimed.source, claimed.path, claimed.lane) == ("ward", "ward 3/a.png", "routine")
    assert claimed.revision == file(size=5, second=6).revision
    assert (claimed.attempt, claimed.seen_at, claimed.model_version) == (message.attempt, NOW, None)
    (job,) = jobs(database)
    assert (job.state, job.lease_until) == (JobState.CLAIMED, after(LEASE))


def test_a_message_that_is_delivered_twice_is_claimed_once(database: Database) -> None:
    drop(database, "a.png", "b.png")
    message = send_all(database)
    assert len(claim(database, message)) == 2
    assert claim(database, message) == []


def test_workers_that_get_the_same_message_at_once_share_no_job(database: Database) -> None:
    drop(database, *(f"{n}.png" for n in range(50)))
    message, start = send_all(database), threading.Barrier(4)

    def worker() -> int:
        start.wait()
        return len(claim(database, message))

    with ThreadPoolExecutor(4) as threads:
        counts = [future.result() for future in [threads.submit(worker) for _ in range(4)]]
    assert sorted(counts) == [0, 0, 0, 50]


def test_a_message_of_an_old_delivery_is_dropped(database: Database) -> None:
    drop(database, "a.png")
    old = send_all(database)
    with database.write() as session:
        recover.recover_sent(session, after(200), 120)
    new = send_all(database, now=after(200))
    assert claim(database, old) == []
    assert len(claim(database, new)) == 1


def test_a_message_about_jobs_that_do_not_exist_claims_nothing(database: Database) -> None:
    drop(database, "a.png")
    assert claim(database, Message(1, (998, 999))) == []


def test_a_finished_image_has_its_label_and_its_job_is_over(database: Database) -> None:
    (claimed,) = in_hand(database, "a.png")
    finish(database, screened(claimed, 0.75), now=after(3))
    (row,) = rows(database)
    assert (row["state"], row["label"], row["probability"], row["threshold"]) == ("done", "PNEUMONIA", 0.75, 0.5)
    assert (row["model_version"], row["sha256"], row["reason"]) == ("v1", "a" * 64, None)
    (job,) = jobs(database)
    assert (job.state, job.lease_until) == (JobState.FINISHED, None)
    assert sightings(database)[0].finished_at == after(3)


def test_finishing_twice_counts_once(database: Database) -> None:
    (claimed,) = in_hand(database, "a.png")
    assert len(finish(database, screened(claimed, 0.9))) == 1
    assert finish(database, screened(claimed, 0.1)) == []
    assert finish(database, Quarantined(claimed, "too late")) == []
    assert [(row["state"], row["probability"]) for row in rows(database)] == [("done", 0.9)]


def test_a_worker_whose_job_was_given_to_another_writes_nothing(database: Database) -> None:
    (slow,) = in_hand(database, "a.png")
    with database.write() as session:
        recover.recover_claimed(session, after(LEASE + 1), LEASE)
    assert finish(database, Quarantined(slow, "from the one that was thought dead")) == []
    assert finish(database, Superseded(slow, file(size=9), NOW)) == []
    assert [row["state"] for row in rows(database)] == ["waiting"]


def test_only_the_worker_that_holds_a_job_now_can_finish_it(database: Database) -> None:
    (slow,) = in_hand(database, "a.png")
    with database.write() as session:
        recover.recover_claimed(session, after(LEASE + 1), LEASE)
    (quick,) = claim(database, send_all(database, Lane.SUSPECT, now=after(100)), now=after(100))
    assert finish(database, screened(slow, 0.1)) == []
    assert [row["state"] for row in rows(database)] == ["waiting"]
    assert len(finish(database, screened(quick, 0.9))) == 1
    assert [row["probability"] for row in rows(database)] == [0.9]


def test_the_same_content_under_two_names_is_stored_once_and_reported_under_both(database: Database) -> None:
    first, second = in_hand(database, "a.png", "copy of a.png")
    finish(database, screened(first, 0.9), screened(second, 0.9))
    assert predictions(database) == 1
    assert [(row["path"], row["probability"]) for row in rows(database)] == [("a.png", 0.9), ("copy of a.png", 0.9)]


def test_a_probability_once_written_never_changes(database: Database) -> None:
    (first,) = in_hand(database, file("a.png"))
    finish(database, screened(first, 0.9), now=NOW)
    (copy,) = in_hand(database, file("b.png"))
    finish(database, screened(copy, 0.2), now=after(60))
    assert [(row["path"], row["probability"], row["label"]) for row in rows(database)] == [
        ("a.png", 0.9, "PNEUMONIA"),
        ("b.png", 0.9, "PNEUMONIA"),
    ]


def test_another_version_writes_a_prediction_of_its_own(database: Database) -> None:
    (first,) = in_hand(database, file("a.png"))
    finish(database, screened(first, 0.9, version="v1"))
    (copy,) = in_hand(database, file("b.png"))
    finish(database, screened(copy, 0.2, version="v2"))
    assert predictions(database) == 2
    assert [(row["model_version"], row["label"]) for row in rows(database)] == [("v1", "PNEUMONIA"), ("v2", "NORMAL")]


def test_the_outcomes_of_one_batch_do_not_touch_each_other(database: Database) -> None:
    good, bad, late, changed = in_hand(database, "good.png", "bad.png", "late.png", "changed.png")
    outcomes = [
        screened(good),
        Quarantined(bad, "not an image", "b" * 64),
        work.PutOff(late, "the share is away", after(8)),
        Superseded(changed, file(size=99), after(2)),
    ]
    assert len(finish(database, *outcomes)) == 4
    assert {(row["path"], row["state"], row["reason"], row["sha256"]) for row in rows(database)} == {
        ("good.png", "done", None, "a" * 64),
        ("bad.png", "quarantined", "not an image", "b" * 64),
        ("late.png", "waiting", None, None),
        ("changed.png", "waiting", None, None),
    }
    assert [job.state for job in jobs(database)] == ["finished", "finished", "unsent", "finished", "unsent"]


def test_a_job_that_is_put_off_says_why_until_it_is_done(database: Database) -> None:
    (claimed,) = in_hand(database, "a.png")
    finish(database, work.PutOff(claimed, "the share is away", after(8)))
    (job,) = jobs(database)
    assert (job.problem, job.not_before, job.lease_until) == ("the share is away", after(8), None)
    (again,) = claim(database, send_all(database, now=after(8)))
    finish(database, screened(again))
    assert jobs(database)[0].problem is None


def test_a_renewed_lease_keeps_the_jobs_of_a_slow_worker(database: Database) -> None:
    drop(database, "a.png", "b.png")
    message = send_all(database)
    first, _ = claim(database, message)
    finish(database, screened(first))
    with database.write() as session:
        work.renew(session, message, after(50), LEASE)
    assert [(job.state, job.lease_until) for job in jobs(database)] == [("finished", None), ("claimed", after(110))]
    with database.write() as session:
        assert recover.recover_claimed(session, after(100), LEASE) == (0, 0)


def test_a_lease_is_not_renewed_for_jobs_that_another_worker_holds(database: Database) -> None:
    drop(database, "a.png")
    old = send_all(database)
    with database.write() as session:
        recover.recover_sent(session, after(200), 120)
    claim(database, send_all(database, now=after(200)), now=after(200))
    with database.write() as session:
        work.renew(session, old, after(500), LEASE)
    assert jobs(database)[0].lease_until == after(200 + LEASE)


def test_nothing_is_written_of_a_transaction_that_fails(database: Database) -> None:
    (claimed,) = in_hand(database, "a.png")

    def finish_and_fail() -> None:
        with database.write() as session:
            work.finish(session, [screened(claimed)], NOW)
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk is full"):
        finish_and_fail()
    assert predictions(database) == 0
    assert sightings(database)[0].state == SightingState.WAITING
    assert len(finish(database, screened(claimed))) == 1


def test_a_changed_image_keeps_the_lane_of_its_arrival_whatever_its_job_went_through(database: Database) -> None:
    drop(database, "urgent.png", lane="stat")
    (claimed,) = claim(database, send_all(database, Lane.STAT))
    finish(database, PutOff(claimed, "the network failed", NOW, alone=True))
    (alone,) = claim(database, send_all(database, Lane.SUSPECT))
    finish(database, Superseded(alone, file("urgent.png", size=99), NOW))
    assert [sighting.lane for sighting in sightings(database)] == ["stat", "stat"]
