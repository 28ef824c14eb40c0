"""Records of trainings in MLflow's format, for sites that set MLFLOW_TRACKING_URI: a server, or a folder."""

import json
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from shared.models import manifest, training_images
from shared.models.manifest import Manifest
from shared.statistics import metrics
from trainer import card, plots

VARIABLE = "MLFLOW_TRACKING_URI"
EXPERIMENT = "pneumoscreen"
"""Unless MLFLOW_EXPERIMENT_NAME names another one."""
ARTIFACTS = (manifest.NAME, card.MARKDOWN_FILE, card.HTML_FILE, training_images.FILE, *plots.TITLES)
"""The files of a version that go along, where it has them. Weights stay in the version's folder, which is signed."""


def record(folder: Path, described: Manifest, parameters: Mapping[str, Any], history: Path, console: Console) -> None:
    """Write one run for a trained version, if MLFLOW_TRACKING_URI is set.

    A version that took hours is not lost to a record: what goes wrong is said, and nothing is raised.
    """
    uri = os.environ.get(VARIABLE)
    if not uri:
        return
    try:
        import mlflow
    except ImportError:
        console.print(
            f"{VARIABLE} is set, but mlflow is not installed: pip install 'pneumoscreen[mlflow]'",
            soft_wrap=True,
            markup=False,
        )
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of mlflow's plans for itself
            run = _write(mlflow, uri, folder, described, parameters, history)
    except Exception as error:  # noqa: BLE001 - of a server, a disk, another version of mlflow
        console.print(
            f"the run was not recorded in MLflow: {type(error).__name__}: {error}", soft_wrap=True, markup=False
        )
        return
    console.print(f"recorded in MLflow as run {run}", soft_wrap=True, markup=False)


def _write(
    mlflow: Any, uri: str, folder: Path, described: Manifest, parameters: Mapping[str, Any], history: Path
) -> str:
    os.environ.setdefault(
        "MLFLOW_ALLOW_FILE_STORE", "true"
    )  # mlflow 3 refuses a folder otherwise, which somebody named here
    client = mlflow.MlflowClient(tracking_uri=uri)
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
    known = client.get_experiment_by_name(name)
    experiment = known.experiment_id if known else client.create_experiment(name)
    tags = {"version": described.version, "data_fingerprint": str(described.data.get("fingerprint", ""))}
    run = client.create_run(experiment, run_name=described.version, tags=tags)
    number = str(run.info.run_id)
    for key, value in {**parameters, **_facts(described.data)}.items():
        client.log_param(number, key, value)
    for step, figures in enumerate(_epochs(history), 1):
        for key, value in figures.items():
            client.log_metric(number, key, value, step=step)
    for key, value in _figures(described):
        client.log_metric(number, key, value)
    for artifact in ARTIFACTS:
        if (folder / artifact).exists():
            client.log_artifact(number, str(folder / artifact))
    client.set_terminated(number)
    return number


def _facts(data: Mapping[str, Any]) -> dict[str, str]:
    """What the manifest says of the data, one parameter each; MLflow takes up to 6,000 characters."""
    return {
        f"data.{name}": value if isinstance(value, str) else json.dumps(value)
        for name, value in data.items()
        if name != "command"
    }


def _figures(described: Manifest) -> Iterator[tuple[str, float]]:
    """`recall`, `recall_low`, `recall_high` and so on, of the patients held out or crossed."""
    measured = described.metrics.get("validation", {})
    for name in metrics.NAMES:
        figure = measured.get(name)
        if (value := metrics.value(figure)) is not None:
            yield name, value
            if isinstance(figure, dict):
                yield from ((f"{name}_{end}", float(figure[end])) for end in ("low", "high"))


def _epochs(history: Path) -> Iterator[dict[str, float]]:
    for line in history.read_text().splitlines() if history.exists() else ():
        try:
            yield {name: float(value) for name, value in json.loads(line).items()}
        except ValueError:  # a line that was cut off
            return
