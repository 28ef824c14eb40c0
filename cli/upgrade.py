"""`db upgrade`: bring the schema up to date, and install the model version that comes with the program."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import typer

from actions import logits
from actions.installation import Installation, install_bundled
from actions.logits import Filled
from cli.console import out, shown
from queries import setting_names
from queries import upgrade as query
from queries.needs import duration
from queries.upgrade import Upgrade
from shared import database
from shared.base import settings as settings_of
from shared.base.errors import InvalidRequest, WrongSettings
from shared.base.settings import Settings
from shared.database.connection import SCHEMA


def upgrade(settings: Settings) -> None:
    with_database = database.connect(settings.database)
    url = with_database.engine.url
    if url.get_backend_name() == "sqlite":
        Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)
    try:
        before = with_database.upgrade()
        out.print(describe_schema(with_database.name, before), markup=False)
        installation = install_bundled(with_database, settings.models, datetime.now(UTC), settings.signing_key)
        filled = logits.fill(with_database, settings.models, settings.signing_key)
    finally:
        with_database.close()
    for line in (*describe_logits(filled), *describe(installation)):
        out.print(line, markup=False)


def describe_schema(name: str, before: str | None) -> str:
    if before is None:
        return f"{name}: the tables were made, with schema {SCHEMA}."
    if before == SCHEMA:
        return f"{name} is up to date, with schema {SCHEMA}."
    return f"{name} was migrated from schema {before} to {SCHEMA}."


def describe_logits(filled: Filled) -> Iterator[str]:
    """What became of predictions that older programs stored without the network's raw answer, if there are any."""
    if filled.filled:
        yield f"Of {filled.filled:,} older predictions the raw logit was computed from their probability."
    if filled.missing:
        reasons = {
            "their probability is too near to 0 or 1": filled.saturated,
            "no result tells their probability": filled.unread,
            "this role may not write them, the owner of the tables may": filled.refused,
            **{f"{version} is not in this home": number for version, number in filled.gone.items()},
        }
        why = "; ".join(f"{reason}: {number:,}" for reason, number in reasons.items() if number)
        yield f"{filled.missing:,} older predictions stay without a logit, and out of fits and drift ({why})."


def describe(installation: Installation) -> list[str]:
    """What there is to say about a candidate: that it came, how to try it, and how to take it."""
    candidate = installation.candidate
    if installation.problem is not None:
        return [
            f"Model version {installation.live} stays live. The one that comes with this program could not be "
            f"installed as a candidate: {installation.problem}"
        ]
    if candidate is None:
        return [f"Model version {installation.live} is live."]
    verb = "was installed" if installation.is_new else "is installed"
    return [
        f"Model version {installation.live} stays live. {candidate} comes with this program and {verb} as a candidate.",
        f"To try it: pneumoscreen models evaluate {candidate} --data DIR",
        f"To take it: pneumoscreen models promote {candidate} --by NAME --data DIR",
    ]


def check(home: Path, format: str) -> None:
    """Tells what an upgrade would do, and changes nothing; ends with exit code 1 if there is anything to do."""
    if format not in ("table", "json"):
        raise InvalidRequest(f"--format must be table or json, not {format!r}.")
    try:
        settings = settings_of.load(home)
    except WrongSettings:
        for sentence in setting_names.sentences(home):
            out.print(f"Setting   {shown(sentence)}", markup=False)
        raise
    plan = query.plan(settings)
    if format == "json":
        typer.echo(json.dumps({**asdict(plan), "is_needed": plan.is_needed}, indent=2, default=str))
    else:
        for line in describe_plan(plan, datetime.now(UTC)):
            out.print(shown(line), markup=False)
    if plan.is_needed:
        raise typer.Exit(1)


def describe_plan(plan: Upgrade, now: datetime) -> Iterator[str]:
    """One line for each thing, whether or not there is anything to do about it."""
    if plan.schema is None:
        yield f"Schema    {plan.database} has no tables yet: they would be made, with schema {plan.target}"
    elif not plan.migrations:
        yield f"Schema    {plan.database} has schema {plan.schema}, as this program needs"
    else:
        yield f"Schema    {plan.database} would be migrated from {plan.schema} to {plan.target}"
        for migration in plan.migrations:
            rows = f" ({migration.rows:,} rows are rewritten)" if migration.rows else ""
            yield f"          {migration.revision}  {migration.title}{rows}"
        took = duration(timedelta(seconds=max(1.0, plan.seconds)))
        yield f"          It takes about {took}; stop the services before"
        yield f"Backup    {_backup(plan, now)}: `pneumoscreen db backup` makes one, the only way back"
    for gap in plan.roles:
        yield f"Role      {gap.role} lacks after it: {', '.join(gap.lacks)}. Run docs/roles.sql again, as the owner"
    yield f"Model     {_model(plan)}"
    for sentence in plan.settings:
        yield f"Setting   {sentence}"
    if not plan.is_needed:
        yield "There is nothing to do."


def _backup(plan: Upgrade, now: datetime) -> str:
    if plan.backup is None:
        return "none is known"
    return f"the last one is {duration(now - plan.backup.at)} old ({plan.backup.file})"


def _model(plan: Upgrade) -> str:
    if plan.live == plan.bundled:
        return f"{plan.live} is live, which comes with this program" + (
            "" if plan.is_bundled_installed else "; its folder would be copied into this home"
        )
    if plan.live is None:
        return f"{plan.bundled}, which comes with this program, would be installed and live"
    verb = "is installed" if plan.is_bundled_installed else "would be installed as a candidate"
    return f"{plan.live} stays live; {plan.bundled}, which comes with this program, {verb}"
