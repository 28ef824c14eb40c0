"""`train`: from labelled folders to a model version that is ready to be published."""

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from cli.console import err, out, table
from local import announcing
from shared.base.errors import WorkFailed, WrongSettings
from shared.base.settings import Settings
from shared.database import opened
from shared.models import manifest, registry
from shared.statistics.metrics import value

if TYPE_CHECKING:
    from trainer.architectures import Weights
    from trainer.pipeline import Trained

FIGURES = ("recall", "accuracy", "auc", "specificity", "precision", "f1", "brier", "ece")


def train(
    settings: Settings,
    data: Path,
    architecture: str,
    epochs: int | None,
    seed: int,
    start_from: str | None,
    limit: int | None,
    folder: Path | None,
    original: Path | None,
    about: Path | None = None,
) -> None:
    """Train one version, or, for `variants:all`, the whole family, and print how each did on patients held out."""
    from trainer import architectures, description, pipeline  # only here: the other commands need no trainer
    from trainer.listing import Site

    if original is not None and start_from is None:
        raise WrongSettings("--original goes with --from VERSION: it is what that version was fitted to.")
    start = None if start_from is None else _published(settings, start_from)
    if start is not None:
        architecture = _architecture(start, architecture)
    names = architectures.FAMILY if architecture == "variants:all" else (architecture,)
    described = description.describe(data) if about is None else description.read(about)
    site = Site.of(settings, SecretStr(announcing.patient_secret(settings)))
    trained = []
    for name in names:
        option = ("" if start else f" --architecture {name}") + ("" if about is None else " --about FILE")
        plan = pipeline.Plan(
            architecture=name,
            out=folder or settings.home / "candidates",
            work=settings.home / "training",
            epochs=epochs,
            seed=seed,
            limit=limit,
            start_from=start,
            weights=_weights(settings, name),
            mixed_precision=settings.mixed_precision,
            command=f"pneumoscreen train{option}",
            site=site,
        )
        trained.append(pipeline.train(plan, data, err, described, original))
    _report(trained)


def _report(trained: "list[Trained]") -> None:
    """Best first: a missed pneumonia costs most, so recall counts before accuracy."""
    trained = sorted(trained, key=lambda version: [-(figure or 0.0) for figure in _figures(version)[:2]])
    rows = [
        [version.folder.name, version.manifest.architecture, version.manifest.parameters, *_figures(version)]
        for version in trained
    ]
    table(("version", "architecture", "parameters", *FIGURES), rows)
    is_crossed = any("cross_validation" in version.manifest.metrics.get("validation", {}) for version in trained)
    how = "by cross-validation over the patients of this data" if is_crossed else "on patients held out from this data"
    out.print(f"Figures {how}: other sites and ages differ.")
    out.print(f"To make it known: pneumoscreen models publish {trained[0].folder}", markup=False)


def _figures(version: "Trained") -> list[float | None]:
    measured = version.manifest.metrics.get("validation", {})
    return [value(measured.get(name)) for name in FIGURES]


def _published(settings: Settings, version: str) -> Path:
    """The folder of a published version, verified against its row."""
    with opened(settings) as database, database.read() as session:
        row = registry.published(session, version)
    folder = settings.models / row.version
    if manifest.read(folder, row.manifest_sha256, settings.signing_key).export("keras") is None:
        raise WorkFailed(f"{version} is not a Keras network: it cannot be fine-tuned.")
    return folder


def _architecture(start: Path, named: str) -> str:
    """A version's own architecture; `screen`, which stands where none was named, gives way to it."""
    architecture = manifest.read(start).architecture
    if named not in (architecture, "screen"):
        raise WrongSettings(f"{start.name} is a {architecture}: it cannot become a {named}. Leave --architecture out.")
    return architecture


def _weights(settings: Settings, name: str) -> "Weights":
    """For a backbone: HOME/weights/NAME.h5 (as `transfer-mobilenetv2.h5`) if it exists, else ImageNet's are fetched."""
    from trainer import architectures

    file = settings.home / "weights" / f"{architectures.file_name(name)}.h5"
    if file.exists():
        return file
    return "imagenet" if name.startswith("transfer:") else None
