"""What runs the network on this host: which engines are there, and does the live version give its reference logits."""

import time

from sqlalchemy.exc import SQLAlchemyError

from queries.doctor.finding import Finding, ok, problem, unknown
from shared.base.errors import BrokenModel, PneumoscreenError
from shared.base.settings import Settings
from shared.database import opened
from shared.models import engines, published, registry
from shared.models.published import Published

CHECK = "engine"
EXTRAS = "install the extra `litert` (CPUs), `network` (CPUs, and training) or `gpu`"


def examine(settings: Settings) -> list[Finding]:
    there = [engine.title for engine in engines.ENGINES.values() if engine.package and engine.is_available()]
    gpu = "sees an NVIDIA card" if engines.GPUS.is_dir() and any(engines.GPUS.iterdir()) else "has no NVIDIA card"
    if not there:
        return [unknown(CHECK, "neither LiteRT nor TensorFlow is installed: no worker can run here", EXTRAS)]
    return [ok(CHECK, f"{' and '.join(there)} installed; this host {gpu}"), _load(settings)]


def _load(settings: Settings) -> Finding:
    live = _live(settings)
    name = f"the live version {live.version}" if live else f"the bundled version {published.bundled().name}"
    began = time.monotonic()
    try:
        if live:
            loaded = registry.load(settings.models, live, settings.signing_key, settings.engine)
        else:
            loaded = registry.load_bundled(settings.engine)
    except BrokenModel as error:
        way_out = "mend that; a version's folder can be restored from a backup or another host"
        return problem(CHECK, f"{name} does not load: {error}", way_out)
    took = time.monotonic() - began
    return ok(CHECK, f"{name} loads in {took:.1f} s on {loaded.network.device}, and gives its reference logits")


def _live(settings: Settings) -> Published | None:
    """None while the database cannot tell, or has none yet: then the bundled version is tried."""
    try:
        with opened(settings) as database, database.read() as session:
            versions = published.live(session)
    except (PneumoscreenError, SQLAlchemyError):
        return None
    return versions[0] if versions else None
