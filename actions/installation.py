"""Installs the model version that comes with the program: live where none ever was, else as a candidate."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy.exc import DBAPIError

from actions import promotion
from queries.candidates import bundled_candidate
from shared.base.errors import WorkFailed
from shared.database import Database, ModelVersion
from shared.database.connection import is_refused
from shared.models import registry

ACTOR = "installation"


@dataclass(frozen=True)
class Installation:
    live: str
    candidate: str | None
    """The version that comes with the program, while nobody has tried or taken it."""
    is_new: bool
    """Whether the candidate was installed just now."""
    problem: str | None = None
    """Why it could not be installed."""


def install_bundled(database: Database, models: Path, now: datetime, key: SecretStr | None = None) -> Installation:
    """Safe to repeat; a further host gets the folder of a candidate, too. With a key the version is signed.

    A candidate that cannot be installed, or not by this role, is no error: the live version goes on.
    """
    registry.install_bundled(database, models, now, key)
    folder, problem = registry.bundled(), None
    with database.read() as session:
        is_known = session.get(ModelVersion, folder.name) is not None
    if not is_known or not (models / folder.name).exists():
        try:
            promotion.publish(database, models, folder, now, ACTOR, key)
        except WorkFailed as error:
            problem = str(error)
        except DBAPIError as error:
            if not is_refused(error.orig):
                raise
            problem = "this role may not publish versions: run `pneumoscreen db upgrade` as the owner of the tables"
    with database.read() as session:
        live = registry.live(session)[0].version
        return Installation(live, bundled_candidate(session), not is_known, problem)
