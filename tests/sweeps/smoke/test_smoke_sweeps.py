"""A tiny definition end to end, cells that cannot be built, and worker processes that answer or die."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from c2d.core.curves.event_file import append_event
from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, read_json
from c2d.core.sweep_manifest import read_manifest
from c2d.specs.spec import RunSpec
from c2d.specs.teachers import needed_runs
from sweeps.definition.definition import parse_definition, read_definition
from sweeps.reproduce.shipped_reports import reports_of
from sweeps.smoke import run_in_workers as workers
from sweeps.smoke import smoke_sweeps as action
from sweeps.smoke.check_run import absent_terms, problem_of_run
from sweeps.smoke.run_in_workers import Ended
from sweeps.smoke.smoke_data import SmokeData
from sweeps.smoke.smoke_grid import SmokeGrid, smoke_grid
from sweeps.smoke.smoke_store import SmokeStore, smoke_store
from sweeps.smoke.smoke_worker import train_smoke

TINY = """
question: Does it build?
base: {dataset: scenes, student: retinanet-qr18, schedule: demo, init: "torchvision:resnet18.IMAGENET1K_V1"}
teachers:
  classifier: {network: resnet18, schedule: demo-classifier}
  detector: {student: retinanet-qr18, schedule: demo}
axes:
  method:
    pkd: [{pkd: {}}]
    frs: [{frs: {}}]
    chen: [{chen: {}}]
    layer: [{icod: {layers: [crop, l9]}}]
"""
VGG = "torchvision:vgg16.IMAGENET1K_FEATURES"


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The store after a smoke of TINY: every run was trained in this process, where mmdet is imported already."""
    root = tmp_path_factory.mktemp("smoke")
    store, lines, other_pixels = SmokeStore(root, keep=False), [], []
    grid = smoke_grid(parse_definition(TINY, "tiny.yaml", "tiny"), store.runs, SmokeData(store.data, root / "none"))

    def in_this_process(
        specs: Mapping[str, RunSpec], inits: Mapping[str, str], runs: Path, data: Path, at_once: int,
        handle_end: Callable[[RunSpec, Ended], bool],
    ) -> None:  # fmt: skip
        for run, spec in specs.items():
            end = Ended(**train_smoke(RunFolder(runs / run), inits[run], str(data), 1))
            if "pkd" in run:  # done: its training is not repeated
                other_pixels.append(train_smoke(RunFolder(runs / run), VGG, str(data), 1)["reason"])
            handle_end(spec, end)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(action, "run_in_workers", in_this_process)
        result = action.smoke_sweeps([grid], grid.specs(), store, 1, lines.append)
    return SimpleNamespace(store=store, grid=grid, result=result, lines=lines, other_pixels=other_pixels)


def run_of(smoke: Any, method: str) -> RunFolder:
    (cell,) = [cell for cell in smoke.grid.grid.cells if cell.labels["method"] == method]
    return RunFolder(smoke.store.runs / cell.run)


def test_a_cell_is_trained_exported_evaluated_and_reported(smoke: Any) -> None:
    run = run_of(smoke, "pkd")
    events = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [event["iteration"] for event in events] == [1, 2]
    assert all(event["loss_kd_pkd_pkd"] > 0 for event in events)
    result = read_json(run.result)
    assert result["kind"] == "detector"
    assert result["audit"]["loaded"] > 0
    assert {"student.pth"} <= set(result["sha256"])
    assert not run.student.exists(), "weights that no run needs are removed"
    assert not run.checkpoints.exists()
    manifest = read_manifest(smoke.store.runs, "tiny")
    assert isinstance(manifest, dict)
    assert manifest["question"].startswith("SMOKE")
    assert len(manifest["cells"]) == 4
    assert smoke.lines[0].startswith("ok ")


def test_a_method_that_ramps_up_teaches_in_the_second_step(smoke: Any) -> None:
    assert run_of(smoke, "frs").is_done
    assert run_of(smoke, "frs").id not in smoke.result.problems


def test_cells_that_cannot_be_built_fail_with_one_clear_line(smoke: Any) -> None:
    problems = {label: smoke.result.problems[run_of(smoke, label).id] for label in ("chen", "layer")}
    assert "chen does not teach retinanet students" in problems["chen"]
    assert "l9" in problems["layer"]
    assert set(smoke.result.problems) == {run_of(smoke, label).id for label in problems}
    failed = [line for line in smoke.lines if line.startswith("FAILED")]
    assert (
        sorted("tiny [method=" + label + "]" in line for label in problems for line in failed)
        == [False] * 2 + [True] * 2
    )
    table = action.kinds_table([smoke.grid], smoke.result)
    assert [line.split()[-3:-1] for line in table if line.startswith("detector, chen")] == [["1", "1"]]


def test_a_run_without_its_terms_is_a_problem(smoke: Any, tmp_path: Path) -> None:
    spec = smoke.grid.specs()[run_of(smoke, "pkd").id]
    run = RunFolder(tmp_path / spec.id)
    run.path.mkdir()
    run.write_status("done")
    run.result.write_text("{}")
    for step, loss in ((1, 0.0), (2, 0.0)):
        append_event(run.metrics, {"event": "train", "iteration": step, "loss_kd_pkd_pkd": loss})
    assert problem_of_run(run, spec) == "pkd: pkd is 0 in every step"
    assert absent_terms(run, spec) == ["pkd.pkd"]
    run.metrics.write_text('{"event": "train", "iteration": 1}\n{"event": "train", "iteration": 2}\n')
    assert problem_of_run(run, spec) == "pkd: none of pkd is above 0 in a step"
    run.metrics.write_text('{"event": "train", "iteration": 1}\n{"event": "train", "iteration": 2, "loss": NaN}\n')
    assert problem_of_run(run, spec) == "loss is nan at step 2"
    run.metrics.write_text('{"event": "train", "iteration": 1}\n')
    assert problem_of_run(run, spec) == "metrics.jsonl has 1 steps, wanted 2"


ANSWERS = """
import json, sys
for line in sys.stdin:
    run = json.loads(line)["run"].rsplit("/", 1)[1]
    if "resnet18" in run:
        sys.exit(9)
    print(json.dumps({"run": run, "seconds": 1.0, "memory_mib": 5, "reason": ""}), flush=True)
"""


def test_a_worker_that_dies_fails_its_run_and_its_students_are_not_tried(
    smoke: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(runs: Path, data: Path, threads: int) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen([sys.executable, "-c", ANSWERS], stdin=pipe, stdout=pipe, text=True)

    monkeypatch.setattr(workers, "_start", start)
    specs, ended = smoke.grid.specs(), {}

    def handle_end(spec: RunSpec, end: Ended) -> bool:
        assert all(run in ended for run in needed_runs(spec.teachers).values()), "teachers first"
        ended[spec.id] = end
        return not end.reason

    workers.run_in_workers(specs, {}, tmp_path, tmp_path, 2, handle_end)
    assert set(ended) == set(specs)
    (classifier,) = [spec.id for spec in specs.values() if spec.kind == "classifier"]
    assert ended[classifier].reason.startswith("its process ended with exit code 9")
    assert ended[run_of(smoke, "layer").id].reason == f"not tried: its teacher {classifier} failed"
    assert ended[run_of(smoke, "pkd").id] == Ended(run_of(smoke, "pkd").id, 1.0, 5)


def test_weights_of_other_pixels_are_found_without_a_download(smoke: Any) -> None:
    (reason,) = smoke.other_pixels
    assert reason.startswith(f"weights {VGG} were trained on")


def test_the_folder_of_a_smoke_is_empty_or_its_own(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("data")
    with pytest.raises(InputError, match="holds other files"), smoke_store(tmp_path, keep=False):
        pass
    own = tmp_path / "own"
    for _ in range(2):
        with smoke_store(own, keep=False) as store:
            assert store.root == own
    with smoke_store(None, keep=False) as store:
        assert (store.root / "smoke.json").is_file()
    assert not store.root.exists()


def test_reports_that_belong_to_a_sweep() -> None:
    assert reports_of("icod-layers") == ["icod-table4c"]
    assert "icod-table1" in reports_of("icod-students")


def test_two_definitions_of_one_name_are_refused(tmp_path: Path) -> None:
    grid = smoke_grid(read_definition("demo"), tmp_path, SmokeData(tmp_path / "data"))
    assert isinstance(grid, SmokeGrid)
    with pytest.raises(InputError, match="2 definitions have the name demo"):
        action.check_names([grid, grid])
