"""A tracked run on the real SLURM: preempted and requeued, and in each tracker one run with each step once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from c2d.core.store_folder import RunStore
from c2d.data.scenes.make_scenes import make_scenes
from tests.c2d.tracking.read_back import mlflow_curves, mlflow_runs, tensorboard_curves, wandb_file
from tests.cluster.slurm import Cluster
from tests.cluster.trial import Trial

pytestmark = pytest.mark.cluster


@pytest.mark.slow
def test_a_requeued_job_is_one_run_in_each_tracker(
    client: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    make_scenes(tmp_path / "data" / "scenes", train=20, val=10, size=96, seed=0)
    trial = Trial(client, tmp_path / "runs", tmp_path / "data", 300, track=["tensorboard", "mlflow", "wandb"])
    trial.until_iteration(60)
    urgent = client.submit("sleep 1", "-p", "urgent", "-w", client.field(trial.job, "BatchHost"), "-c2")
    trial.until_requeued()
    client.wait_for(urgent, "COMPLETED")
    trial.release()
    trial.until_done()
    steps = [one["iteration"] for one in map(json.loads, trial.run.metrics.read_text().splitlines()) if "loss" in one]
    tracking = RunStore(tmp_path / "runs").tracking
    curves, _ = tensorboard_curves(tracking / "tensorboard" / trial.run.id)
    assert [step for step, _ in curves["loss/total"]] == steps
    uri = (tracking / "mlflow").as_uri()
    [run] = mlflow_runs(uri)
    assert [step for step, _ in mlflow_curves(uri, run)["loss/total"]] == steps
    [path] = tracking.glob("wandb/offline-run-*/*.wandb")
    found = wandb_file(path)
    assert [step for step, _ in found.curves["loss/total"]] == steps
    for tags in (run.data.tags, found.config):
        assert tags["c2d.slurm_jobs"] == f"{trial.job}, {trial.job} (restart 1)"
        assert "requeued" in tags["c2d.ended_attempts"]
