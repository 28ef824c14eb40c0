"""What `models promote` compares a version on: a labelled folder, the site's audit sample, or both."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from actions.verdict import Verdict
from cli.console import err
from local import announcing
from shared.base.settings import Settings
from shared.database import Database
from shared.models.registry import Published
from trainer import audit_sample, gate
from trainer.gate import Sample
from trainer.listing import Site


def examine(
    settings: Settings,
    database: Database,
    challenger: Published,
    live: Sequence[Published],
    data: Path | None,
    source: str | None,
    *,
    is_audited: bool,
) -> Verdict:
    samples = [] if data is None else [Sample(data, f"held-out patients of {data}")]
    site = Site.of(settings, announcing.known_secret(settings))
    with ExitStack() as stack:
        if is_audited:
            samples.append(stack.enter_context(audit_sample.required(settings, database, source)))
        return gate.examine(settings.models, challenger, live, samples, err, settings.signing_key, site)
