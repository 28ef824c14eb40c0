"""Takes back jobs whose message or process was lost. This is always safe, since workers drop an old attempt unread."""

from datetime import datetime, timedelta

from sqlalchemy import and_, or_, select, update
from sqlalchemy.orm import Session

from shared.base.lanes import Lane
from shared.database import OPEN_JOB, BrokerEpoch, Job, JobState, Sighting, SightingState
from shared.ledger.register import insert_new
from shared.ledger.send import AHEAD

MAX_DEATHS = 3


def recover_claimed(session: Session, now: datetime, lease: float) -> tuple[int, int]:
    """Take back jobs whose lease expired because their process died or hangs. Returns (sent again, quarantined).

    Any image of a message may have killed the process, so each is sent alone, in the suspect lane. Only deaths while
    alone count, and MAX_DEATHS of them quarantine the image.

    Leases that end later than `lease` seconds from now, by more than clocks differ, are taken back too: they come from
    a clock that was later corrected, and a live process would have renewed them. No death is counted for those.
    """
    expired = and_(OPEN_JOB, Job.state == JobState.CLAIMED) & (Job.lease_until < now)
    alone = expired & (Job.lane == Lane.SUSPECT)
    session.execute(update(Job).where(alone).values(deaths=Job.deaths + 1))
    ended = session.execute(
        update(Job)
        .where(alone, Job.deaths >= MAX_DEATHS)
        .values(state=JobState.FINISHED, lease_until=None)
        .returning(Job.sighting_id, Job.is_check)
    )
    killers = [sighting for sighting, is_check in ended if not is_check]  # a check changes no result
    session.execute(
        update(Sighting)
        .where(Sighting.id.in_(killers), Sighting.state != SightingState.DONE)  # a rescreen takes no result away
        .values(
            state=SightingState.QUARANTINED,
            reason=f"the process that worked on this image alone died {MAX_DEATHS} times",
            finished_at=now,
        )
    )
    again = session.execute(
        update(Job).where(expired).values(state=JobState.UNSENT, lane=Lane.SUSPECT, lease_until=None).returning(Job.id)
    ).all()
    ahead = now + timedelta(seconds=lease) + AHEAD
    impossible = and_(OPEN_JOB, Job.state == JobState.CLAIMED) & (Job.lease_until > ahead)
    taken = session.execute(
        update(Job).where(impossible).values(state=JobState.UNSENT, lease_until=None).returning(Job.id)
    ).all()
    return len(again) + len(taken), len(killers)


def recover_sent(session: Session, now: datetime, resend_after: float) -> int:
    """Take back jobs that were sent more than `resend_after` seconds ago, whose message must be lost.

    A time of sending in the future comes from a clock that was set back since, and counts as long ago.
    """
    is_late = or_(Job.sent_at < now - timedelta(seconds=resend_after), Job.sent_at > now + AHEAD)
    late = and_(OPEN_JOB, Job.state == JobState.SENT) & is_late
    return len(session.execute(update(Job).where(late).values(state=JobState.UNSENT).returning(Job.id)).all())


def epoch(session: Session) -> str | None:
    """The value that the broker must hold."""
    return session.scalar(select(BrokerEpoch.value))


def recover_all_sent(session: Session, old: str | None, new: str) -> int:
    """Begin a new epoch after the broker lost its messages, and take back every sent job.

    Returns how many; 0 if another producer was faster.
    """
    if old is None:
        first = insert_new(session, BrokerEpoch).values(id=1, value=new).returning(BrokerEpoch.id)
        if not session.execute(first).all():
            return 0
    elif not session.execute(
        update(BrokerEpoch).where(BrokerEpoch.value == old).values(value=new).returning(BrokerEpoch.id)
    ).all():
        return 0
    sent = update(Job).where(OPEN_JOB, Job.state == JobState.SENT).values(state=JobState.UNSENT).returning(Job.id)
    return len(session.execute(sent).all())
