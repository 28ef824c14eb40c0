"""How a model version comes into service and goes out of it: published, promoted, rejected, rolled back.

One rule for every path: `_put_in_service` is the only writer of promotions but for the installation of the first
version, and it takes a version for a verdict that it passed, or for a person's reason.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import update
from sqlalchemy.orm import Session

from actions import operating_points, shadowing
from actions.actor import named
from actions.verdict import Verdict
from shared.base.errors import BrokenModel, InvalidRequest, WorkFailed
from shared.base.settings import Settings
from shared.database import Database, ModelVersion, Promotion, VersionState, audit
from shared.ledger.register import as_text, insert_new
from shared.models import manifest, published, registry
from shared.models.registry import Published


def publish(
    database: Database,
    models: Path,
    folder: Path,
    now: datetime,
    actor: str = "pneumoscreen",
    key: SecretStr | None = None,
) -> Published:
    """Verify a version's folder, copy it into `models` and make it known; it is not live before it is promoted.

    With a key it is signed, also if it was published before. Safe to repeat: it completes what an earlier
    attempt left undone. Raises what `registry.place` and `make_known` do.
    """
    row, described = registry.place(database, models, folder, key)
    with database.write() as session:
        make_known(session, row, described.created_at, actor, now)
    return row


def make_known(session: Session, row: Published, created_at: datetime, actor: str, now: datetime) -> None:
    """Add the row of a version whose folder was placed; raises WorkFailed if another version has the same name."""
    values = {"version": row.version, "manifest_sha256": row.manifest_sha256, "created_at": created_at}
    new = insert_new(session, ModelVersion).values(**values).returning(ModelVersion.version)
    if session.execute(new).all():
        audit.record(session, actor, "publish", row.version, at=now)
    registry.check_name(session, row)


Measure = Callable[[Published, list[Published]], Verdict]
"""Compares a version with those that are or were live; the trainer's gate does."""


@dataclass(frozen=True)
class Outcome:
    """What became of a request to promote: `is_live` is false only where the gate refused it."""

    is_live: bool
    was_live: bool = False
    champion: str | None = None
    verdict: Verdict | None = None
    uncalibrated: tuple[str, ...] = ()
    """Sources that lost their operating point with the version before."""


def request_promotion(
    database: Database,
    settings: Settings,
    version: str,
    actor: str,
    now: Callable[[], datetime],
    measure: Measure | None = None,
    reason: str | None = None,
) -> Outcome:
    """Make a version live if it passes the gate; with a reason without the gate, or against it.

    Raises InvalidRequest with neither `measure` nor a reason, BrokenModel for a version that is damaged or not signed,
    WorkFailed if another version went live while it was compared.
    """
    actor, reason = named(actor), as_text((reason or "").strip())[0] or None
    if measure is None and reason is None:
        raise InvalidRequest(
            "Say what decides: --data DIR, on whose held-out patients the version is compared with the live one, "
            "--audit-sample, on the images that were read at this site, or --reason TEXT to promote it without."
        )
    with database.read() as session:
        row, live = registry.published(session, version), registry.live(session)
    manifest.read(settings.models / row.version, row.manifest_sha256, settings.signing_key)  # else it could not serve
    champion = live[0].version if live else None
    if live and live[0] == row:
        return Outcome(is_live=True, was_live=True, champion=champion)
    verdict = None if measure is None else measure(row, live)
    is_passed = verdict is not None and verdict.passed
    with database.write() as session:
        if verdict is not None and registry.newest_promotion(session) != champion:
            raise WorkFailed(
                f"Nothing was promoted: another version went live while {version} was compared with {champion}. "
                "Say it again."
            )
        if verdict is not None and not is_passed:
            reject(session, version, actor, now(), verdict.as_json())
            if reason is None:
                return Outcome(is_live=False, champion=champion, verdict=verdict)
        lost = make_live(session, version, actor, now(), reason=reason, verdict=verdict if is_passed else None)
    return Outcome(is_live=True, champion=champion, verdict=verdict, uncalibrated=tuple(lost))


@dataclass(frozen=True)
class RolledBack:
    """Which version is live again, which one counts no more, and whether the former once lost at the gate."""

    version: str
    undone: str
    is_rejected: bool


def request_rollback(database: Database, settings: Settings, actor: str, now: datetime, reason: str) -> RolledBack:
    """Make the version live again that was live before.

    Raises InvalidRequest without an actor or a reason, WorkFailed if none was live before, BrokenModel if that one is
    damaged.
    """
    actor = named(actor)
    if not reason.strip():
        raise InvalidRequest("Say why: --reason TEXT.")
    with database.read() as session:
        back = registry.before(session)
        row = registry.published(session, back) if back else None
    if row is not None:
        try:
            manifest.read(settings.models / row.version, row.manifest_sha256, settings.signing_key)
        except BrokenModel as error:
            raise BrokenModel(f"{error}. `pneumoscreen models promote` takes another version back.") from error
    return rollback(database, actor, now, as_text(reason.strip())[0])


def make_live(
    session: Session,
    version: str,
    actor: str,
    now: datetime,
    *,
    reason: str | None = None,
    verdict: Verdict | None = None,
) -> list[str]:
    """Make a version live, which changes no result; one that is live already stays so.

    Returns the sources that lose their operating point, which is retired with the version before.
    It takes a verdict that this version passed, or a reason. Raises BrokenModel for a version that was never published,
    WorkFailed without either.
    """
    registry.published(session, version)
    before = registry.newest_promotion(session)
    if before == version:
        return []
    row = session.get_one(ModelVersion, version)
    if verdict is not None and verdict.passed and verdict.challenger.version == version:
        row.state, row.verdict = VersionState.PUBLISHED, verdict.as_json()
    elif not reason:
        why = (
            "was rejected: it lost to a version before it"
            if row.state == VersionState.REJECTED
            else "has not passed the gate"
        )
        raise WorkFailed(f"{version} {why}. A person can promote it all the same, with a reason, which is recorded.")
    if before is not None:
        published.hold(session, before)
    _put_in_service(session, version, actor, now, "promote", reason)
    return operating_points.retire_for(session, before, actor, now) if before is not None else []


def _put_in_service(session: Session, version: str, actor: str, now: datetime, action: str, reason: str | None) -> None:
    session.add(Promotion(version=version, promoted_by=actor, promoted_at=now, reason=reason))
    session.flush()  # what the role may not do is said of this, not of a later question
    audit.record(session, actor, action, version if reason is None else f"{version}: {reason}", at=now)
    shadowing.end_all(session, version, actor, now)  # it needs no shadow of itself


def reject(session: Session, version: str, actor: str, now: datetime, verdict: str) -> None:
    """Keep a version that lost at the gate, with the figures that decided; raises BrokenModel."""
    registry.published(session, version)
    row = session.get_one(ModelVersion, version)
    row.state, row.verdict = VersionState.REJECTED, verdict
    audit.record(session, actor, "reject", version, at=now)


def rollback(database: Database, actor: str, now: datetime, reason: str) -> RolledBack:
    """Make the version live again that was live before the present one, which counts no more.

    What is rolled back serves nowhere, writes no result, and no challenger is compared with it, unless it is promoted
    again. A second rollback goes one further back, not forward again. Raises WorkFailed if there was none.
    """
    with database.write() as session:
        back, undone = registry.before(session), registry.newest_promotion(session)
        if back is None or undone is None:
            raise WorkFailed("No version was live before this one: `pneumoscreen models list` shows all there are.")
        published.hold(session, undone)
        mistaken = update(Promotion).where(Promotion.version == undone, Promotion.undone_at.is_(None))
        session.execute(mistaken.values(undone_at=now, undone_because=reason))
        _put_in_service(session, back, actor, now, "rollback", reason)
        operating_points.retire_for(session, undone, actor, now)
        operating_points.restore_for(session, back, actor, now)
        is_rejected = session.get_one(ModelVersion, back).state == VersionState.REJECTED
        return RolledBack(back, undone, is_rejected)
