"""Teacher, student, evaluation and report in a process that may not connect to anything: nothing tries to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
import torchvision

from c2d.core.run_folder import RunFolder, atomic_write_json, read_json
from c2d.core.sweep_manifest import write_manifest
from sweeps.actions.submit import plan_sweep, resolve, specs_of
from sweeps.actions.workspace import Workspace
from sweeps.definition.definition import parse_definition
from sweeps.definition.profile import Profile
from sweeps.node.node_environment import offline_variables
from tests.c2d.conftest import TINY, TinyStore, tiny_store  # noqa: F401

ROOT = Path(__file__).parents[3]
CLOSED = ROOT / "tests" / "closed_network"
DEFINITION = f"""
question: Does a job need a network?
base: {{dataset: scenes, student: {TINY}, schedule: {{name: smoke, values: {{iterations: 6, batch: 4}}}}}}
teachers:
  classifier:
    network: resnet18
    init: torchvision:resnet18.IMAGENET1K_V1
    input: 32
    schedule: {{name: demo-classifier, values: {{iterations: 2, batch: 4, min_top1: 0.0, warmup: {{iterations: 0}}}}}}
axes: {{method: {{taught: [{{icod: {{max_positives: 8}}}}]}}}}
"""
SCRIPT = """
import sys
from c2d.weights import torchvision_weights
torchvision_weights._hash_prefix = lambda path: None  # the made file is not torchvision's
from sweeps.node import job
teacher, student, data, report = sys.argv[1:5]
tracked = [student, "--track", "tensorboard,mlflow", "--track", "wandb"]
for words in ([teacher], [*tracked, "--stop-after", "4"], tracked):
    sys.argv = ["job", *words, "--data", data, "--threads", "1", "--workers", "1"]
    job.main()
from c2d.cli.main import main
import os
print({name: os.environ[name] for name in ("HF_HUB_OFFLINE", "NO_ALBUMENTATIONS_UPDATE")})
main(report.split(" "))
"""


def closed(folder: Path, *words: str, **variables: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """Run python in a closed network; return (what it did, the connections that were tried)."""
    log = folder / "connections"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "C2D_", "HF_"))}
    environment |= {"PYTHONPATH": f"{CLOSED}:{ROOT}", "C2D_CONNECTIONS": str(log), **variables}
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment, timeout=300)
    return done, log.read_text() if log.exists() else ""


def test_the_network_is_closed(tmp_path: Path) -> None:
    code = "import urllib.request\ntry: urllib.request.urlopen('http://c2d.invalid')\nexcept OSError as e: print(e)"
    done, tried = closed(tmp_path, "-c", code)
    assert "the network of this test is closed" in done.stdout
    assert "socket.getaddrinfo 'c2d.invalid'" in tried
    code = "import socket; socket.create_connection(('127.0.0.1', 9))"
    assert "ConnectionRefusedError" in closed(tmp_path, "-c", code, WORLD_SIZE="2")[0].stderr  # a process group's
    assert "is closed" in closed(tmp_path, "-c", code)[0].stderr


def test_jobs_and_reports_need_no_network(tiny_store: TinyStore, tmp_path: Path) -> None:  # noqa: F811
    runs, cache = tmp_path / "runs", tmp_path / "torch" / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), cache / "resnet18-f37072fd.pth")
    sweep = parse_definition(DEFINITION, "closed.yaml", "closed")
    grid = resolve(sweep, Workspace(runs, tiny_store.data, "local", Profile()))
    write_manifest(runs, plan_sweep(sweep, grid, runs)[0])
    folders = [RunFolder(runs / run) for run in specs_of(grid)]
    for folder, spec in zip(folders, specs_of(grid).values(), strict=True):
        atomic_write_json(folder.spec, spec.to_json())
    teacher, student = folders
    table = tmp_path / "table.yaml"
    table.write_text("kind: table\nsweep: closed\nrows: {method: []}\ncolumns: [AP]\ndifferences: []\ntitle: Closed\n")
    report = f"report {table} --out {tmp_path / 'report'} --runs {runs} --cache {tmp_path / 'cache'}"
    words = (str(teacher.path), str(student.path), str(tiny_store.data), report)
    done, tried = closed(tmp_path, "-c", SCRIPT, *words, TORCH_HOME=str(tmp_path / "torch"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert tried == ""
    assert f"{student.id}: stopped after iteration 4 of 6 as asked; call again to continue\n" in done.stdout
    assert "{'HF_HUB_OFFLINE': '1', 'NO_ALBUMENTATIONS_UPDATE': '1'}\n" in done.stdout
    assert [folder.read_status()["state"] for folder in folders] == ["done", "done"]
    assert read_json(teacher.result)["audit_init"]["source"].endswith("resnet18-f37072fd.pth")
    status = student.read_status()
    assert (status["state"], status["attempt"]) == ("done", 2)
    lines = [json.loads(line)["iteration"] for line in student.metrics.read_text().splitlines()]
    assert lines == [1, 2, 3, 4, 5, 6]
    assert 0 <= read_json(student.result)["AP"] <= 1
    assert (tmp_path / "report" / "report.html").is_file()
    assert [path.name for path in runs.glob("tracking/tensorboard/*")] == [student.id]
    assert len(list(runs.glob("tracking/wandb/offline-run-*"))) == 1
    assert (next(runs.glob("tracking/mlflow/*/*/metrics/loss/total"))).read_text().count("\n") == 6
    assert "--track" not in student.log.read_text()  # nothing failed


def test_libraries_of_a_job_ask_no_server() -> None:
    assert offline_variables({}, download=False) == {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "WANDB_MODE": "offline",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
    }
    assert "HF_HUB_OFFLINE" not in offline_variables({}, download=True)
    assert offline_variables({"WANDB_MODE": "online"}, download=True) == {"HF_HUB_DISABLE_TELEMETRY": "1"}
