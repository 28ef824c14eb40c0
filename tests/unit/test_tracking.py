"""What a training writes in MLflow's format: into a folder, without a server."""

import json
import sys
from pathlib import Path

import pytest
from rich.console import Console

from shared.models import manifest
from tests.models import make_linear_version
from trainer import fit, tracking

PARAMETERS = {"architecture": "tiny7", "epochs": 2, "seed": 1, "limit": None}


@pytest.fixture
def version(tmp_path: Path) -> Path:
    made = make_linear_version(tmp_path / "candidates", "tiny7-1")
    described = manifest.read(made)
    measured = {"validation": {"recall": {"value": 0.9, "low": 0.8, "high": 0.95}, "auc": 0.97, "images": 40}}
    data = {"fingerprint": "ab12", "train": {"images": 40}, "patients_told_by": {"labels.csv": {"patients": 4}}}
    manifest.write(made, described.model_copy(update={"metrics": measured, "data": data}))
    (tmp_path / fit.HISTORY).write_text('{"loss": 0.5, "val_loss": 0.6}\n{"loss": 0.4, "val_loss": 0.5}\n{"lo')
    return made


def record(version: Path, capsys: pytest.CaptureFixture[str]) -> str:
    history = version.parents[1] / fit.HISTORY
    tracking.record(version, manifest.read(version), PARAMETERS, history, Console(width=300))
    return capsys.readouterr().out


@pytest.mark.parametrize("scheme", ["file", "sqlite"])
def test_a_run_has_parameters_figures_and_files_and_needs_no_server(
    version: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], scheme: str
) -> None:
    mlflow = pytest.importorskip("mlflow")
    store = {"file": f"file://{tmp_path}/runs", "sqlite": f"sqlite:///{tmp_path}/runs.db"}[scheme]
    monkeypatch.setenv(tracking.VARIABLE, store)
    monkeypatch.chdir(tmp_path)
    assert "recorded in MLflow as run" in record(version, capsys)
    client = mlflow.MlflowClient(tracking_uri=store)
    (run,) = client.search_runs([client.get_experiment_by_name("pneumoscreen").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["architecture"] == "tiny7"
    assert json.loads(run.data.params["data.patients_told_by"]) == {"labels.csv": {"patients": 4}}
    assert (run.data.metrics["recall"], run.data.metrics["recall_low"], run.data.metrics["auc"]) == (0.9, 0.8, 0.97)
    assert [point.value for point in client.get_metric_history(run.info.run_id, "val_loss")] == [0.6, 0.5]
    assert run.data.tags["data_fingerprint"] == "ab12"
    assert "manifest.json" in [artifact.path for artifact in client.list_artifacts(run.info.run_id)]


def test_without_the_variable_nothing_is_recorded_and_without_mlflow_it_is_said(
    version: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(tracking.VARIABLE, raising=False)
    assert record(version, capsys) == ""
    monkeypatch.setenv(tracking.VARIABLE, f"file://{tmp_path}/runs")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert "pip install 'pneumoscreen[mlflow]'" in record(version, capsys)
    assert not (tmp_path / "runs").exists()


def test_a_server_out_of_reach_costs_the_record_and_not_the_version(
    version: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Client:
        def __init__(self, tracking_uri: str) -> None:
            raise ConnectionError(f"{tracking_uri} does not answer")

    monkeypatch.setenv(tracking.VARIABLE, "http://127.0.0.1:1")
    monkeypatch.setitem(
        sys.modules,
        "mlflow",
        type("mlflow", (), {"MlflowClient": Client}),  # type: ignore[arg-type]
    )
    assert "not recorded in MLflow: ConnectionError" in record(version, capsys)
