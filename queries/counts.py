"""How many images wait, are done, are quarantined: what `up`, `demo`, `screen` and `status` show while work goes on."""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared.database import Sighting, SightingState


@dataclass(frozen=True)
class Counts:
    waiting: int = 0
    done: int = 0
    quarantined: int = 0

    @property
    def finished(self) -> int:
        return self.done + self.quarantined


def count(session: Session) -> Counts:
    query = select(Sighting.state, func.count()).group_by(Sighting.state)
    states = {str(state): number for state, number in session.execute(query).all()}
    return Counts(
        *(states.get(str(s), 0) for s in (SightingState.WAITING, SightingState.DONE, SightingState.QUARANTINED))
    )
