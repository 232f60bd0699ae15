"""A corpus of broken cells: each kind has its line, all of them come at once, and a healthy grid has none."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from c2d.core.run_folder import RunFolder, atomic_write_json, read_json
from c2d.data.card import CARD_FILE
from c2d.data.card_lookup import load_card
from c2d.data.make_card import make_card
from c2d.data.scenes.make_scenes import make_scenes
from c2d.specs.resolve_spec import resolve_spec
from c2d.specs.spec import RunSpec, parse_spec
from sweeps.checks import check_sweep, dry_run_process
from sweeps.checks.check_sweep import Problem
from sweeps.definition.definition import Definition
from sweeps.definition.expand import Cell, Grid
from sweeps.definition.profile import Profile
from tests.processor_cost import processor_cost

TINY = Path(__file__).parents[2] / "fixtures" / "students" / "tiny-retinanet.py"
DEFINITION = Definition(name="corpus", question="What is found?", source="corpus.yaml", text="")
ICOD = {"layers": ["crop", "l0"]}


class Store:
    """Scenes, an empty store, and specs in it."""

    def __init__(self, root: Path) -> None:
        self.data, self.runs = root / "data", root / "runs"
        make_scenes(self.data / "scenes", train=6, val=3, size=96, seed=0)
        self.teacher = self.resolve(network="resnet18", schedule="demo-classifier", input=32)
        atomic_write_json(RunFolder(self.runs / self.teacher.id).spec, self.teacher.to_json())  # resolved, not trained
        self.student = self.resolve(student=str(TINY), schedule="smoke")
        self.taught = self.resolve(
            student=str(TINY), schedule="smoke", method=[{"icod": ICOD}], teachers={"classifier": self.teacher.id}
        )

    def resolve(self, **given: Any) -> RunSpec:
        return resolve_spec({"dataset": "scenes", **given}, where="test", runs=self.runs, data=self.data)

    def check(self, grid: Grid, profile: Profile | None = None, **changes: Any) -> list[Problem]:
        """Check cells, by default without the dry run."""
        arguments: dict[str, Any] = {
            "runs": self.runs,
            "data": self.data,
            "forward": False,
            "print_line": lambda line: None,
        }
        return check_sweep.check_sweep(DEFINITION, grid, profile=profile, **(arguments | changes))

    def finished(self, teacher: RunSpec, top1: float | None, classes: list[str]) -> RunSpec:
        """Write the files of a finished teacher into the store."""
        folder = RunFolder(self.runs / teacher.id)
        atomic_write_json(folder.spec, teacher.to_json())
        atomic_write_json(folder.result, {"format": 1, "top1": top1, "classes": classes})
        folder.write_status("done")
        folder.classifier.touch()  # without weights it would be made again
        return teacher


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("check"))


def changed(spec: RunSpec, **changes: Any) -> RunSpec:
    return parse_spec({**spec.to_json(), **changes}, "test")


def grid(*specs: RunSpec, teachers: tuple[RunSpec, ...] = ()) -> Grid:
    """Cells m0, m1, ... of one axis."""
    cells = [Cell({"method": f"m{i}"}, spec.seed, spec, spec.id) for i, spec in enumerate(specs)]
    return Grid(cells, list(teachers))


def machine(**values: Any) -> Profile:
    return Profile.model_validate(values)


def only(problems: list[Problem]) -> Problem:
    assert len(problems) == 1, problems
    return problems[0]


# ---------------------------------------------------------------------------------------------------------------------
# What files alone say


def test_a_healthy_grid_has_no_problem(store: Store) -> None:
    assert store.check(grid(store.student, store.taught, teachers=(store.teacher,)), machine()) == []


def test_a_batch_that_does_not_divide(store: Store) -> None:
    found = only(store.check(grid(store.student), machine(name="three", gpus=3)))
    batch = store.student.training.batch
    assert found.where == "method=m0, seed=0"
    assert found.message.startswith(
        f"the batch of {batch} (smoke) does not divide by the 3 processes of profile three (1 nodes x 3); take a"
    )


def test_an_override_of_the_batch_counts(store: Store) -> None:
    cells = grid(changed(store.student, overrides={"train_dataloader.batch_size": 6}))
    assert store.check(cells, machine(gpus=3)) == []
    assert "the batch of 6" in only(store.check(cells, machine(gpus=2, nodes=2))).message


def test_a_missing_teacher(store: Store) -> None:
    lost = changed(store.taught, teachers={"classifier": "resnet18-classifier-0123456789ab-s0"})
    assert only(store.check(grid(lost))).message.startswith(
        f"teacher resnet18-classifier-0123456789ab-s0 is not in {store.runs}/; train it there first"
    )


def test_a_teacher_that_is_not_finished(store: Store) -> None:
    message = only(store.check(grid(store.taught))).message  # not part of the grid
    assert message.startswith(f"teacher {store.teacher.id} is waiting; finish it first: c2d train ")


def test_a_teacher_below_its_min_top1(store: Store) -> None:
    classes = load_card("scenes", store.data).card.classes
    weak = store.finished(store.resolve(network="resnet18", schedule="demo-classifier", input=40), 0.5, classes)
    cells = grid(changed(store.taught, teachers={"classifier": weak.id}))
    wanted = f"teacher {weak.id} has top-1 0.500 on held-out crops, below min_top1 0.900 of demo-classifier; train"
    assert only(store.check(cells)).message.startswith(wanted)
    as_planned = only(store.check(Grid(cells.cells, [weak])))  # finished, though the grid names it as its own
    assert as_planned.message.startswith(wanted)
    assert as_planned.where == "method=m0, seed=0"


def test_a_teacher_that_was_never_scored(store: Store) -> None:
    classes = load_card("scenes", store.data).card.classes
    blind = store.finished(store.resolve(network="resnet18", schedule="demo-classifier", input=44), None, classes)
    cells = grid(changed(store.taught, teachers={"classifier": blind.id}))
    assert "has top-1 n/a on held-out crops" in only(store.check(cells)).message


def test_a_teacher_of_other_classes(store: Store) -> None:
    other = store.finished(
        store.resolve(network="resnet18", schedule="demo-classifier", input=48), 0.99, ["cat", "dog"]
    )
    found = only(store.check(grid(changed(store.taught, teachers={"classifier": other.id}))))
    assert found.message.startswith(f"teacher {other.id} has other classes (cat, dog, ...; 2) than data set scenes (")


def test_a_teacher_of_the_wrong_kind(store: Store) -> None:
    wrong = changed(store.taught, teachers={"classifier": store.student.id})
    found = only(store.check(grid(wrong, teachers=(store.student,))))
    assert found.message == f"run {store.student.id} is a detector, a classifier teacher is wanted"


def test_another_data_set_of_the_same_name(store: Store) -> None:
    found = only(store.check(grid(changed(store.student, dataset={"name": "scenes", "digest": "0" * 64}))))
    assert found.message.startswith(f"data set scenes in {store.data}/scenes has digest ")
    assert found.failure_class == "data"


def test_data_that_changed_since_their_card(store: Store, tmp_path: Path) -> None:
    shutil.copytree(store.data, tmp_path, dirs_exist_ok=True)
    file = load_card("scenes", tmp_path).annotations("train")
    boxes = read_json(file)
    boxes["annotations"][0]["bbox"][0] += 1
    atomic_write_json(file, boxes)
    found = only(store.check(grid(store.student), data=tmp_path))
    assert "has changed since its card was made" in found.message
    assert found.failure_class == "data"


def test_missing_images(store: Store, tmp_path: Path) -> None:
    shutil.copytree(store.data, tmp_path, dirs_exist_ok=True)
    images = load_card("scenes", tmp_path).images("train")
    images.rename(tmp_path / "elsewhere")
    assert only(store.check(grid(store.student), data=tmp_path)).message.startswith(
        f"data set scenes: missing: {images}; "
    )


def test_data_without_an_evaluation_split(store: Store, tmp_path: Path) -> None:
    scenes = load_card("scenes", store.data)
    files = {
        name: (scenes.annotations(split), scenes.images(split)) for name, split in (("train", "train"), ("test", "val"))
    }
    card = make_card(tmp_path / "scenes", "scenes", scenes.card.classes, files)
    spec = changed(store.student, dataset={"name": "scenes", "digest": card.digest})
    found = only(store.check(grid(spec), data=tmp_path))
    assert found.message.startswith(
        f"data set 'scenes' in {tmp_path}/scenes has no split 'val' to evaluate on; its splits"
    )
    assert found.failure_class == "data"
    chosen = make_card(tmp_path / "scenes", "scenes", scenes.card.classes, files, evaluation_split="test")
    spec = changed(store.student, dataset={"name": "scenes", "digest": chosen.digest})
    assert store.check(grid(spec), data=tmp_path) == []


def test_images_that_the_filter_of_a_run_drops(store: Store) -> None:
    """The scenes are 96 px wide; each spec is checked with its own filter."""
    spec = changed(store.student, overrides={"train_dataloader.dataset.filter_cfg.min_size": 97})
    found = only(store.check(grid(store.student, spec)))
    assert "instances_train.json has no box to train on: of " in found.message
    assert "in images with a side below 97 px (min_size), the first annotation 1 (image 1)" in found.message


def test_data_missing_on_this_machine_are_reported(store: Store, tmp_path: Path) -> None:
    messages: list[str] = []
    assert (
        store.check(
            grid(store.student, store.taught, teachers=(store.teacher,)), data=tmp_path, print_line=messages.append
        )
        == []
    )
    assert messages == [
        "data set scenes is missing here; jobs verify it when they start; "
        "`c2d prefetch corpus.yaml` gets it, or says how"
    ]


def test_a_missing_weight_file(store: Store) -> None:
    found = only(store.check(grid(changed(store.student, init=f"sha256:{64 * '0'}"))))
    assert found.message.startswith(f"no weight file {store.runs}/weights/{64 * '0'}.pth in the store; give the file")


@pytest.mark.parametrize(
    ("init", "variable", "file"),
    [
        ("torchvision:resnet18.IMAGENET1K_V1", "TORCH_HOME", "hub/checkpoints/resnet18-f37072fd.pth"),
        ("timm:resnet10t.c3_in1k", "HF_HOME", "hub/models--timm--resnet10t.c3_in1k"),
    ],
)
def test_weights_that_jobs_cannot_download_are_reported(
    init: str, variable: str, file: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells, messages = grid(changed(store.student, init=init)), []
    monkeypatch.setenv(variable, str(tmp_path))
    assert store.check(cells, machine(name="p"), print_line=messages.append) == []
    assert messages[0].startswith(f"warning: weights {init} are not in ")
    assert "the jobs of profile p may not download; `c2d prefetch " in messages[0]
    assert (
        "`, with the same --profile, downloads them" in messages[0]
    )  # a profile of its own is known by its path alone
    for profile in (None, machine(download=True)):
        messages.clear()
        assert store.check(cells, profile, print_line=messages.append) == []
        assert messages == []
    (tmp_path / file).mkdir(parents=True)
    assert store.check(cells, machine(), print_line=messages.append) == []
    assert messages == []


def test_a_student_without_its_config(store: Store) -> None:
    lost = changed(store.student, student={"name": "tiny-retinanet", "digest": "0" * 64})
    assert only(store.check(grid(lost))).message.startswith(
        f"student tiny-retinanet (000000000000) is neither shipped nor kept in {store.runs}/students; give its config"
    )


def test_a_shipped_student_that_changed(store: Store) -> None:
    old = changed(store.student, student={"name": "retinanet-qr18", "digest": "0" * 64})
    message = only(store.check(grid(old))).message
    assert message.startswith("student retinanet-qr18 is ")
    assert "the run has 000000000000; its config has changed: plan the sweep again" in message


def test_a_store_that_is_a_file(store: Store, tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    shutil.copytree(store.runs / "students", tmp_path / "other" / "students")
    cells = grid(store.resolve(student="retinanet-qr18", schedule="smoke"))
    found = only(store.check(cells, runs=tmp_path / "runs" / "of" / "mine"))
    assert found.where == "corpus.yaml"
    assert found.message.startswith(
        f"the store {tmp_path}/runs/of/mine cannot be written: {tmp_path}/runs is not a writable folder"
    )
    assert found.failure_class == "disk"


def test_low_disk_space_is_reported(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(store.runs)
    monkeypatch.setattr(check_sweep.shutil, "disk_usage", lambda path: usage._replace(free=2 * 2**30))
    messages: list[str] = []
    assert store.check(grid(store.student), print_line=messages.append) == []
    assert messages[0].startswith("warning: 2.0 GiB are free in ")
    assert "1 new runs need about " in messages[0]


def test_one_problem_of_many_cells_is_one_line(store: Store) -> None:
    cells = [changed(store.student, seed=seed) for seed in range(5)]
    found = only(store.check(grid(*cells), machine(name="three", gpus=3)))
    assert found.where == "method=m0, seed=0; method=m1, seed=1; method=m2, seed=2; and 2 more"


def test_all_problems_are_reported_together(store: Store) -> None:
    cells = grid(
        changed(store.student, init=f"sha256:{64 * '0'}"),
        changed(store.student, student={"name": "tiny-retinanet", "digest": "0" * 64}),
        changed(store.student, dataset={"name": "scenes", "digest": "0" * 64}),
        store.taught,
    )
    problems = store.check(cells, machine(name="three", gpus=3))
    assert [problem.message.split()[0] for problem in problems] == ["data", "the", "student", "no", "teacher"]
    assert [problem.where for problem in problems[2:]] == [
        "method=m1, seed=1"[:-1] + "0",
        "method=m0, seed=0",
        "method=m3, seed=0",
    ]


def test_ten_thousand_cells_take_seconds(store: Store) -> None:
    cells = [changed(store.taught, seed=seed) for seed in range(10_000)]
    asked = grid(*cells, teachers=(store.teacher,))
    (teacher, students), cost = processor_cost(lambda: store.check(asked, machine(gpus=3)))
    assert teacher.where == f"teacher {store.teacher.id}"
    assert students.where.endswith("; and 9997 more")
    assert cost < 25


# ---------------------------------------------------------------------------------------------------------------------
# The forward part

FORWARD: list[tuple[dict[str, Any], str]] = [
    ({"overrides": {"model.backbone.depth": 19}}, "mmdet cannot build the student's model: 'invalid depth 19"),
    (
        {"overrides": {"model.neck.in_channels": [8, 99]}},
        "student.neck.lateral_convs.1.conv (Conv2d): RuntimeError: Given",
    ),
    (
        {"overrides": {"model.nek.out_channels": 4}},
        "unknown part of override 'model.nek.out_channels': 'nek'; did you mean",
    ),
    (
        {"overrides": {"optim_wrapper.optimizer.type": "Adm"}},
        "override 'optim_wrapper.optimizer.type' is 'Adm', and no type of that name is registered",
    ),
    ({"init": "torchvision:resnet19.V1"}, "unknown torchvision model 'resnet19'"),
    ({"method": [{"icod": {"layers": ["crop", "l9"]}}]}, "unknown teacher layer 'l9'"),
    ({"method": [{"icod": {"lambda_l": -1}}]}, "method icod: lambda_l: Input should be greater than or equal to 0"),
]


@pytest.fixture(scope="module")
def forward(store: Store) -> tuple[list[Problem], list[str]]:
    """One call over a healthy cell, its twin of another seed, and every cell of the corpus, the first of them twice."""
    pytest.importorskip("mmdet")
    full = store.taught.method[0]["icod"]
    specs = [store.taught, changed(store.taught, seed=1)]
    for changes, _ in FORWARD:
        changes = dict(changes)
        for item in changes.get("method", []):
            changes["method"] = [{"icod": {**full, **item["icod"]}}]
        specs.append(changed(store.taught, **changes))
    specs.append(changed(specs[2], seed=1))
    messages: list[str] = []
    problems = store.check(
        grid(*specs, teachers=(store.teacher,)), machine(gpus=3), forward=True, print_line=messages.append
    )
    return problems, messages


@pytest.mark.parametrize("number", range(len(FORWARD)))
def test_a_broken_cell_is_named(forward: tuple[list[Problem], list[str]], number: int) -> None:
    problems, _ = forward
    here = only([problem for problem in problems if problem.message.startswith(FORWARD[number][1])])
    assert here.where.startswith(f"method=m{number + 2}, seed=0")
    assert here.failure_class == "config"


def test_forward_and_files_report_together(forward: tuple[list[Problem], list[str]]) -> None:
    problems, messages = forward
    of_teacher, of_cells, *rest = problems
    assert of_teacher.message.startswith("the batch of 16 (demo-classifier) ")
    assert of_cells.where == f"method=m0, seed=0; method=m1, seed=1; method=m2, seed=0; and {len(FORWARD)} more"
    assert len(rest) == len(FORWARD)  # the healthy cell, its twin and the teacher have none
    assert rest[0].where == f"method=m2, seed=0; method=m{len(FORWARD) + 2}, seed=1"
    assert f"dry run of {len(FORWARD) + 2} specs of {len(FORWARD) + 4} runs: one step of each" in "\n".join(messages)
    assert any("is not trained yet; tried with random weights" in line for line in messages)


def test_missing_torch_is_reported_in_one_line(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dry_run_process, "find_spec", lambda name: None if name == "torch" else object())
    messages: list[str] = []
    assert store.check(grid(store.student), forward=True, print_line=messages.append) == []
    assert messages == ["dry run skipped: torch is not installed here"]


def recorded_requests(monkeypatch: pytest.MonkeyPatch) -> list[dry_run_process.DryRunRequest]:
    """Record the requests that `check` sends to the dry run, which reports no problem."""
    asked: list[dry_run_process.DryRunRequest] = []

    def dry_run(questions: list[dry_run_process.DryRunRequest], *places: Any) -> list[Any]:
        asked.extend(questions)
        return []

    monkeypatch.setattr(check_sweep, "dry_run", dry_run)
    return asked


def test_a_dry_run_that_is_killed_names_its_run(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake dry-run process answers the first entry, fails at the second and is started again for the third."""
    specs = [changed(store.student, overrides={"seed_of_structure": number}) for number in range(3)]
    python = tmp_path / "python"
    python.write_text(
        "#!/bin/sh\n"
        f"exec {sys.executable} - \"$4\" <<'END'\n"
        "import json, sys\n"
        "from c2d.specs.spec import parse_spec\n"
        "for item in json.load(open(sys.argv[1]))['specs']:\n"
        "    spec = parse_spec(item['spec'], '')\n"
        "    if spec.overrides['seed_of_structure'] == 1: sys.exit('Segmentation fault')\n"
        "    print(json.dumps({'id': spec.id, 'ok': True, 'notes': []}), flush=True)\n"
        "END\n"
    )
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    found = only(store.check(grid(*specs), forward=True))
    assert found == Problem("method=m1, seed=0", "its dry run ended without a result: Segmentation fault", "unknown")


def test_a_dry_run_that_is_always_killed_is_not_started_for_every_run(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho started >> {tmp_path}/starts\nkill -9 $$\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    specs = [changed(store.student, overrides={"seed_of_structure": number}) for number in range(9)]
    found = only(store.check(grid(*specs), forward=True))
    assert found.where == "method=m0, seed=0; method=m1, seed=0; method=m2, seed=0; and 6 more"
    assert found.message == "its dry run ended without a result: killed by signal 9"
    assert (tmp_path / "starts").read_text().count("started") == dry_run_process.MAX_CRASHES


def test_runs_with_known_problems_get_no_dry_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = recorded_requests(monkeypatch)
    lost = changed(store.taught, teachers={"classifier": "no-such-run"})
    messages: list[str] = []
    store.check(grid(store.student, lost), forward=True, print_line=messages.append)
    assert [question.run for question in asked] == [store.student.id]
    assert messages == ["1 of 2 runs have a problem already; no dry run of them"]


def test_planned_teachers_and_classes_reach_the_dry_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = recorded_requests(monkeypatch)
    store.check(grid(store.taught, teachers=(store.teacher,)), forward=True)
    classes = read_json(store.data / "scenes" / CARD_FILE)["classes"]
    assert [(question.run, question.teachers, question.classes) for question in asked] == [
        (store.teacher.id, {}, classes),
        (store.taught.id, {"classifier": store.teacher}, classes),
    ]


def test_public_data_have_their_classes(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = recorded_requests(monkeypatch)
    spec = resolve_spec({"dataset": "coco2017", "student": "retinanet-qr18", "schedule": "smoke"},
               where="test", runs=tmp_path, data=tmp_path)  # fmt: skip
    assert store.check(grid(spec), runs=tmp_path, data=tmp_path, forward=True) == []
    assert asked[0].classes is not None
    assert len(asked[0].classes) == 80


def test_a_damaged_card_is_not_reported_as_missing(store: Store, tmp_path: Path) -> None:
    shutil.copytree(store.data, tmp_path, dirs_exist_ok=True)
    card = tmp_path / "scenes" / "card.json"
    card.write_text(card.read_text()[:50])
    assert "card.json is not a data card" in only(store.check(grid(store.student), data=tmp_path)).message
