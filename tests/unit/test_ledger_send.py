import threading
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import update

from shared.base.lanes import Lane
from shared.database import Database, Job, JobState
from shared.ledger import send
from shared.ledger.work import PutOff, Superseded
from tests.unit.steps import NOW, after, claim, drop, file, finish, in_hand, jobs, send_all, take

HOUR = 3600


def test_a_message_takes_the_oldest_jobs_first_and_no_more_than_it_holds(database: Database) -> None:
    drop(database, *(f"{n}.png" for n in range(5)))
    messages = [take(database, most=2) for _ in range(4)]
    assert [message and len(message.jobs) for message in messages] == [2, 2, 1, None]
    assert [job for message in messages if message for job in message.jobs] == [job.id for job in jobs(database)]


def test_sent_jobs_remember_when_and_under_which_delivery(database: Database) -> None:
    drop(database, "a.png")
    message = send_all(database, now=after(5))
    (job,) = jobs(database)
    assert (job.state, job.attempt, job.sent_at) == (JobState.SENT, message.attempt, after(5))


def test_lanes_are_never_mixed_in_a_message(database: Database) -> None:
    drop(database, "urgent.png", lane="stat")
    drop(database, file("usual.png"))
    assert len(send_all(database, Lane.STAT).jobs) == 1
    assert take(database, Lane.STAT) is None
    assert len(send_all(database, Lane.ROUTINE).jobs) == 1


def test_versions_are_never_mixed_in_a_message(database: Database) -> None:
    drop(database, *(f"{n}.png" for n in range(6)))
    with database.write() as session:
        for number, version in enumerate(("v1", None, "v1", "v2", None, "v1"), start=1):
            session.execute(update(Job).where(Job.id == number).values(model_version=version))
    messages = [take(database) for _ in range(4)]
    assert [message and message.jobs for message in messages] == [(1, 3, 6), (2, 5), (4,), None]


def test_a_message_s_jobs_were_delivered_equally_often(database: Database) -> None:
    drop(database, "old.png", "new.png", "newer.png")
    with database.write() as session:
        session.execute(update(Job).where(Job.id == 1).values(attempt=6))
    assert (send_all(database).attempt, send_all(database).attempt) == (7, 1)
    assert [job.attempt for job in jobs(database)] == [7, 1, 1]


def test_a_job_that_was_put_off_is_not_sent_before_its_time(database: Database) -> None:
    (claimed,) = in_hand(database, "a.png")
    finish(database, PutOff(claimed, "the share is away", after(30)))
    assert take(database, now=after(29)) is None
    with database.read() as session:
        assert send.backlog(session, Lane.ROUTINE, 10, after(29)) is None
    assert send_all(database, now=after(30)).attempt == 2


def test_a_put_off_by_a_clock_that_was_set_back_since_is_over(database: Database) -> None:
    (claimed,) = in_hand(database, "a.png")
    finish(database, PutOff(claimed, "the share is away", after(256)))
    assert take(database, now=after(-300)) is None  # clocks of hosts may differ by so much
    assert send_all(database, now=after(-HOUR)).attempt == 2


def test_a_put_off_while_the_clock_was_ahead_is_over_when_it_is_set_right(database: Database) -> None:
    (claimed,) = in_hand(database, "a.png")
    finish(database, PutOff(claimed, "the share is away", after(24 * HOUR)))
    assert send_all(database, now=after(1)).attempt == 2


def test_a_put_off_by_the_new_time_counts_although_the_job_is_from_the_old_one(database: Database) -> None:
    drop(database, "a.png")
    (claimed,) = claim(database, send_all(database, now=after(-HOUR)), after(-HOUR))
    finish(database, PutOff(claimed, "the share is away", after(4 - HOUR)))
    assert take(database, now=after(-HOUR)) is None
    assert send_all(database, now=after(4 - HOUR)).attempt == 2


def test_a_file_that_is_to_settle_for_an_hour_is_not_sent_before(database: Database) -> None:
    (claimed,) = in_hand(database, "a.png")
    finish(database, Superseded(claimed, file("a.png", size=11), after(HOUR)))
    assert take(database, now=after(HOUR - 1)) is None
    assert len(send_all(database, now=after(HOUR)).jobs) == 1


def test_jobs_from_a_time_that_is_still_to_come_have_waited_long_enough(database: Database) -> None:
    drop(database, "a.png")
    with database.read() as session:
        assert send.backlog(session, Lane.ROUTINE, 10, after(-HOUR)) == send.Backlog(1, send.LONG_AGO)


def test_the_backlog_counts_what_is_due_and_since_when_the_oldest_waits(database: Database) -> None:
    drop(database, file("first.png"), now=NOW)
    drop(database, file("second.png"), now=after(1))
    drop(database, file("urgent.png"), lane="stat", now=after(2))
    with database.read() as session:
        assert send.backlog(session, Lane.ROUTINE, 10, after(3)) == send.Backlog(2, NOW)
        assert send.backlog(session, Lane.ROUTINE, 1, after(3)) == send.Backlog(1, NOW)
        assert send.backlog(session, Lane.STAT, 10, after(3)) == send.Backlog(1, after(2))
        assert send.backlog(session, Lane.BACKGROUND, 10, after(3)) is None


def test_a_lane_is_due_while_it_has_a_job_whose_time_has_come(database: Database) -> None:
    (claimed,) = in_hand(database, "a.png")
    finish(database, PutOff(claimed, "the share is away", after(30)))
    drop(database, file("urgent.png"), lane="stat")
    with database.read() as session:
        assert send.due_lanes(session, after(29)) == {Lane.STAT}
        assert send.due_lanes(session, after(30)) == {Lane.STAT, Lane.ROUTINE}


def test_jobs_of_a_message_that_could_not_be_published_are_sent_again(database: Database) -> None:
    drop(database, "a.png")
    lost = send_all(database)
    with database.write() as session:
        send.take_back(session, lost)
    again = send_all(database)
    assert again.jobs == lost.jobs
    assert claim(database, lost) == []  # should it have arrived after all
    assert len(claim(database, again)) == 1


def test_taking_a_message_back_late_disturbs_nobody_who_has_its_jobs_by_now(database: Database) -> None:
    drop(database, "a.png")
    message = send_all(database)
    claim(database, message)
    with database.write() as session:
        send.take_back(session, message)
    assert [job.state for job in jobs(database)] == [JobState.CLAIMED]


def test_producers_that_send_at_once_never_take_the_same_job(database: Database) -> None:
    drop(database, *(f"{n}.png" for n in range(200)))
    start = threading.Barrier(4)

    def producer() -> list[int]:
        start.wait()
        mine: list[int] = []
        while message := take(database, most=7):
            mine += message.jobs
        return mine

    with ThreadPoolExecutor(4) as threads:
        taken = [future.result() for future in [threads.submit(producer) for _ in range(4)]]
    assert sorted(job for mine in taken for job in mine) == [job.id for job in jobs(database)]
