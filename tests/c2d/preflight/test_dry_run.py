"""Dry run: healthy specs pass with a note on what was missing, each broken one gives its line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from c2d.core.errors import InputError, RunError
from c2d.core.run_folder import RunFolder, atomic_write_json, read_json
from c2d.distillation.wrapper import TeacherSet
from c2d.preflight import dry_run
from c2d.preflight.dry_run import DryRunResult
from c2d.preflight.dry_run_entry import Entry
from c2d.preflight.first_step import first_step
from c2d.specs.names import read_schedule
from c2d.specs.spec import RunSpec, build_spec, parse_spec
from tests.c2d.conftest import TinyStore

PLANNED = {"name": "demo-classifier", "values": {"iterations": 60}}


@pytest.fixture(scope="module")
def names(tiny_store: TinyStore) -> tuple[str, ...]:
    return tuple(read_json(tiny_store.data / "scenes" / "card.json")["classes"])


def spec_of(folder: Any) -> RunSpec:
    return parse_spec(read_json(folder.spec), "test")


def changed(spec: RunSpec, **changes: Any) -> RunSpec:
    """A spec that resolving would have refused, or a variant of a valid spec."""
    return parse_spec({**spec.to_json(), **changes}, "test")


def answers(
    tiny_store: TinyStore, *entries: Entry, runs: Path | None = None, data: Path | None = None
) -> list[DryRunResult]:
    return list(dry_run.run_entries(list(entries), runs or tiny_store.runs, data or tiny_store.data))


def problem_of(tiny_store: TinyStore, entry: Entry, **places: Path) -> tuple[str, str]:
    """Return (problem, failure class) of an entry that must have a problem."""
    (answer,) = answers(tiny_store, entry, **places)
    assert not answer.ok
    assert answer.problem is not None
    assert answer.failure_class is not None
    assert "\n" not in answer.problem
    return answer.problem, answer.failure_class


@pytest.fixture(scope="module")
def baseline(tiny_store: TinyStore) -> RunSpec:
    return spec_of(tiny_store.create_run())


@pytest.fixture(scope="module")
def taught(tiny_store: TinyStore, teacher: Any) -> RunSpec:
    """ICOD under the finished teacher."""
    return spec_of(tiny_store.create_run(method=[{"icod": {}}], teachers={"classifier": teacher.id}))


@pytest.fixture(scope="module")
def planned(tiny_store: TinyStore) -> RunSpec:
    """A planned teacher without a run."""
    return spec_of(tiny_store.create_run(network="resnet18", schedule=PLANNED, input=32))


def test_a_baseline_and_a_classifier_have_no_problem(
    tiny_store: TinyStore, baseline: RunSpec, planned: RunSpec, names: tuple[str, ...]
) -> None:
    found = answers(tiny_store, Entry(baseline, {}, names), Entry(planned, {}, names))
    assert [(a.id, a.ok, a.problem) for a in found] == [(baseline.id, True, None), (planned.id, True, None)]
    assert all("data set scenes is here and is the one its card describes" in a.notes for a in found)
    assert all(a.seconds > 0 for a in found)


def test_a_finished_teacher_is_used_as_it_is(tiny_store: TinyStore, taught: RunSpec, names: tuple[str, ...]) -> None:
    (answer,) = answers(tiny_store, Entry(taught, {}, names))
    assert answer.ok, answer.problem
    assert any(
        note.startswith(f"classifier teacher {taught.teachers.classifier}: fit full, top-1") for note in answer.notes
    )


def test_a_planned_teacher_has_random_weights(
    tiny_store: TinyStore, planned: RunSpec, taught: RunSpec, names: tuple[str, ...]
) -> None:
    student = changed(taught, teachers={"classifier": planned.id})
    (answer,) = answers(tiny_store, Entry(student, {"classifier": planned}, names))
    assert answer.ok, answer.problem
    assert f"classifier teacher {planned.id} is not trained yet; tried with random weights" in answer.notes
    assert not (tiny_store.runs / planned.id / "classifier.pth").exists()


def test_nothing_is_written_to_the_store(tiny_store: TinyStore, taught: RunSpec, names: tuple[str, ...]) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in tiny_store.runs.rglob("*"))
    answers(tiny_store, Entry(taught, {}, names))
    assert sorted((path, path.stat().st_mtime_ns) for path in tiny_store.runs.rglob("*")) == before


def test_equal_structures_are_tried_once(tiny_store: TinyStore, taught: RunSpec, names: tuple[str, ...]) -> None:
    def icod(**params: Any) -> Entry:
        (method,) = taught.method
        return Entry(changed(taught, method=[{"icod": {**method["icod"], **params}}]), {}, names)

    asked = [
        Entry(taught, {}, names),
        Entry(changed(taught, seed=7), {}, names),
        icod(T=3.5),
        icod(lambda_kc=1),
        icod(lambda_kc=0),  # a term that is not computed is another structure
        icod(lambda_kc=-1),  # of a known structure but for its sign: values are looked at one by one
    ]
    found = answers(tiny_store, *asked)
    same = [f"same structure as {taught.id}" in answer.notes for answer in found]
    assert same == [False, True, True, True, False, False]
    assert [answer.ok for answer in found] == [True, True, True, True, True, False]
    assert [answer.id for answer in found] == [entry.spec.id for entry in asked]


def test_a_problem_is_found_once_and_reported_for_all_runs_of_its_structure(
    tiny_store: TinyStore, baseline: RunSpec, names: tuple[str, ...]
) -> None:
    broken = changed(baseline, overrides={"model.backbone.depth": 19})
    found = answers(tiny_store, Entry(broken, {}, names), Entry(changed(broken, seed=1), {}, names))
    assert found[0].problem == found[1].problem is not None
    assert [answer.seconds == 0.0 for answer in found] == [False, True]


def test_a_layer_that_the_teacher_lacks(tiny_store: TinyStore, taught: RunSpec, names: tuple[str, ...]) -> None:
    method = [{"icod": {**taught.method[0]["icod"], "layers": ["crop", "l9"]}}]
    line, kind = problem_of(tiny_store, Entry(changed(taught, method=method), {}, names))
    assert line.startswith("unknown teacher layer 'l9'; did you mean")
    assert "known: crop, l0, l1, l2, l3, l4" in line
    assert kind == "config"


def test_pooling_to_more_cells_than_the_map_has_is_reported(
    tiny_store: TinyStore, taught: RunSpec, names: tuple[str, ...]
) -> None:
    method = [{"icod": {**taught.method[0]["icod"], "pooling": {"crop": 4, "l0": 20}}}]
    (answer,) = answers(tiny_store, Entry(changed(taught, method=method), {}, names))
    assert answer.ok  # the paper's own table has such a cell
    assert "8 x 8 cells are pooled to 20 x 20: cells repeat" in answer.notes


def test_another_class_list_than_that_of_the_teacher(tiny_store: TinyStore, taught: RunSpec) -> None:
    line, kind = problem_of(tiny_store, Entry(taught, {}, ("cat", "dog")))
    assert line.startswith(f"teacher {taught.teachers.classifier} has the classes ")
    assert line.endswith("the data set scenes has cat, dog, ... (2); train a teacher on this data")
    assert kind == "config"


def test_a_teacher_below_its_min_top1(
    tiny_store: TinyStore, teacher: Any, taught: RunSpec, names: tuple[str, ...], tmp_path: Path
) -> None:
    own = spec_of(teacher)
    values = {**own.schedule.values.model_dump(mode="json"), "min_top1": 1.0}
    strict = changed(own, schedule={"name": "strict", "values": values})
    shutil.copytree(teacher.path, tmp_path / strict.id)
    atomic_write_json(tmp_path / strict.id / "spec.json", strict.to_json())
    shutil.copytree(tiny_store.runs / "students", tmp_path / "students")
    line, kind = problem_of(
        tiny_store,
        Entry(changed(taught, teachers={"classifier": strict.id}), {"classifier": strict}, names),
        runs=tmp_path,
    )
    assert "below min_top1 1.000 of strict" in line
    assert kind == "config"


@pytest.mark.parametrize(
    ("overrides", "wanted", "failure_class"),
    [
        (
            {"model.backbone.depth": 19},
            "mmdet cannot build the student's model: 'invalid depth 19 for resnet'",
            "config",
        ),
        # mmdet and torch raise any type: RuntimeError in the constructor, AssertionError in the first weights
        (
            {"model.backbone.norm_cfg": {"type": "BN", "requires_grad": "x"}},
            "mmdet cannot build the student's model: requires_grad must be a bool",
            "config",
        ),
        ({"model.neck.init_cfg": "weights.pth"}, "mmdet cannot build the student's model: AssertionError", "config"),
        ({"train_dataloader.dataset.pipeline.3": {"type": "Albu"}}, "mmdet cannot build the data set: ", "config"),
        (
            {"model.bakcbone.depth": 18},
            "unknown part of override 'model.bakcbone.depth': 'bakcbone'; did you mean",
            "config",
        ),
        (
            {"model.neck.in_channels": [8, 99]},
            "student.neck.lateral_convs.1.conv (Conv2d): RuntimeError: Given groups=1, weight of size [8, 99, 1, 1], "
            "expected input[2, 16, ",
            "config",
        ),
        ({"train_dataloader.dataset.pipeline.3.prob": 2.0}, "mmdet cannot build the data set:", "config"),
        ({"optim_wrapper.optimizer.type": "Adm"}, "no type of that name is registered for optim_wrapper", "config"),
        ({"model.data_preprocessor.std": [0.0, 0.0, 0.0]}, "is not finite on images of", "nan"),
    ],
)
def test_overrides_that_cannot_work(
    tiny_store: TinyStore, baseline: RunSpec, names: tuple[str, ...], overrides: Any, wanted: str, failure_class: str
) -> None:
    line, kind = problem_of(tiny_store, Entry(changed(baseline, overrides=overrides), {}, names))
    assert wanted in line
    assert kind == failure_class


def test_a_parameter_out_of_range(tiny_store: TinyStore, taught: RunSpec, names: tuple[str, ...]) -> None:
    method = [{"icod": {**taught.method[0]["icod"], "T": 0}}]
    line, _ = problem_of(tiny_store, Entry(changed(taught, method=method), {}, names))
    assert line == "method icod: T: Input should be greater than 0 (given 0); see `c2d methods icod`"


def test_a_wrong_network_name(tiny_store: TinyStore, planned: RunSpec, taught: RunSpec, names: tuple[str, ...]) -> None:
    wrong = changed(planned, network="resnet19")
    for entry in (
        Entry(wrong, {}, names),
        Entry(changed(taught, teachers={"classifier": wrong.id}), {"classifier": wrong}, names),
    ):
        line, _ = problem_of(tiny_store, entry)
        assert line.startswith("unknown network 'resnet19'; did you mean 'resnet1")


def test_an_unknown_teacher(tiny_store: TinyStore, taught: RunSpec, names: tuple[str, ...]) -> None:
    line, _ = problem_of(tiny_store, Entry(changed(taught, teachers={"classifier": "no-such-run"}), {}, names))
    assert line.startswith(f"teacher no-such-run is not in {tiny_store.runs}/; train it there first")


@pytest.mark.parametrize(
    ("init", "wanted"),
    [
        ("torchvision:resnet19.IMAGENET1K_V1", "unknown torchvision model 'resnet19'; did you mean 'resnet1"),
        ("torchvision:resnet18.V9", "unknown weights of resnet18 'V9'"),
        ("torchvision:resnet18.IMAGENET1K_V1", "conv1.weight"),  # the tiny student has another stem
        ("sha256:" + 64 * "0", "no weight file "),
        ("package:efficientnet-lite0", "were trained on rgb pixels of 0-255 with mean (127 127 127)"),
    ],
)
def test_first_weights_that_do_not_fit(
    tiny_store: TinyStore, baseline: RunSpec, names: tuple[str, ...], init: str, wanted: str,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    line, _ = problem_of(tiny_store, Entry(changed(baseline, init=init), {}, names))
    assert wanted in line
    assert not list(tmp_path.rglob("*.pth"))  # nothing was fetched


def test_missing_weights_are_compared_by_key_and_shape(
    tiny_store: TinyStore, planned: RunSpec, names: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    own, timms = "torchvision:resnet18.IMAGENET1K_V1", "timm:resnet10t.c3_in1k"
    for init, network, fits in (
        (own, "resnet18", "name, normalisation, keys and shapes fit"),
        (timms, "timm:resnet10t", "name, normalisation and network fit"),
    ):
        (answer,) = answers(tiny_store, Entry(changed(planned, init=init, network=network), {}, names))
        assert answer.ok, answer.problem
        assert f"weights {init} are not here; {fits}" in " ".join(answer.notes)
    line, _ = problem_of(tiny_store, Entry(changed(planned, init=timms), {}, names))
    assert line.startswith(f"weights {timms} belong to timm:resnet10t, and this network is not one of timm")


def test_neck_and_head_of_a_teacher_that_is_not_trained_yet(
    tiny_store: TinyStore, baseline: RunSpec, names: tuple[str, ...]
) -> None:
    """The account of keys is that of the run; a teacher without a layer that fits is found before it is trained."""
    planned = changed(baseline, seed=99)
    teachers = {"detector": planned.id}
    spec = changed(baseline, init="teacher", teachers=teachers)
    (answer,) = answers(tiny_store, Entry(spec, {"detector": planned}, names))
    assert answer.ok, answer.problem
    notes = " ".join(answer.notes)
    assert f"detector teacher {planned.id} is not trained yet; tried with random weights" in notes
    assert f"neck and heads from teacher {planned.id}: 16 of 16 keys loaded" in notes
    other = spec_of(tiny_store.create_run(student="faster-rcnn-er18", input=64))
    wrong = changed(baseline, init="teacher", teachers={"detector": other.id})
    line, _ = problem_of(tiny_store, Entry(wrong, {"detector": other}, names))
    assert line.startswith(f"init: teacher: no layer of the student's neck and heads fits teacher {other.id} (")


def test_missing_data_and_changed_data(
    tiny_store: TinyStore, baseline: RunSpec, names: tuple[str, ...], tmp_path: Path
) -> None:
    (answer,) = answers(tiny_store, Entry(baseline, {}, names), data=tmp_path)
    assert answer.ok, answer.problem
    assert "data set scenes is not here; verified at start" in answer.notes
    other = changed(baseline, dataset={"name": "scenes", "digest": "0" * 64})
    line, kind = problem_of(tiny_store, Entry(other, {}, names))
    assert line.startswith(f"data set scenes in {tiny_store.data}/scenes has digest ")
    assert kind == "data"


def test_unknown_classes_are_reported(tiny_store: TinyStore, baseline: RunSpec, tmp_path: Path) -> None:
    (answer,) = answers(tiny_store, Entry(baseline, {}, None), data=tmp_path)
    assert answer.ok, answer.problem
    assert "the classes of scenes are not known here; tried with 3" in answer.notes


def test_a_detector_teacher_is_built_from_its_plan(
    tiny_store: TinyStore, baseline: RunSpec, names: tuple[str, ...]
) -> None:
    from c2d.preflight import synthetic

    card = synthetic.dataset(names, tiny_store.runs.parent / "synthetic")
    teacher = synthetic.detector_teacher(baseline, card, RunFolder(tiny_store.runs / baseline.id))
    assert teacher.num_classes == len(names)
    assert not any(weight.requires_grad for weight in teacher.network.parameters())
    with pytest.raises(InputError, match="a classifier teacher is needed"):
        synthetic.classifier_teacher(baseline, names, RunFolder(tiny_store.runs / baseline.id))


@pytest.mark.parametrize("method", [{"fgfi": {"start": 3}}, {"frs": {"ramp": 4}}, {"gkd": {}}, {"gid": {}}])
def test_a_method_is_tried_under_a_planned_detector_at_the_whole_of_its_weight(
    tiny_store: TinyStore, names: tuple[str, ...], method: dict[str, Any]
) -> None:
    other = spec_of(tiny_store.create_run(seed=5))
    asked = spec_of(tiny_store.create_run(method=[method], teachers={"detector": other.id}))
    (answer,) = answers(tiny_store, Entry(asked, {"detector": other}, names))
    assert answer.ok, answer.problem
    assert f"detector teacher {other.id} is not trained yet; tried with random weights" in answer.notes
    assert not any("no term of a method was computed" in note for note in answer.notes)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"tadf": {}}, "tadf does not teach retinanet students"),
        ({"fgfi": {"start": 400}}, "fgfi starts at iteration 400, but the run has 6"),
        ({"cwd": {"levels": [4]}}, "cwd: no level of stride 4 in the"),
    ],
)
def test_a_method_that_does_not_apply_is_found_before_the_submission(
    tiny_store: TinyStore, names: tuple[str, ...], method: dict[str, Any], message: str
) -> None:
    other = spec_of(tiny_store.create_run(seed=5))
    asked = spec_of(tiny_store.create_run(method=[method], teachers={"detector": other.id}))
    line, kind = problem_of(tiny_store, Entry(asked, {"detector": other}, names))
    assert message in line
    assert kind == "config"


def test_a_method_that_needs_soft_labels_is_refused_on_data_without_them(
    tiny_store: TinyStore, names: tuple[str, ...], tmp_path: Path
) -> None:
    asked = spec_of(tiny_store.create_run(method=["soft_labels"]))
    line, kind = problem_of(tiny_store, Entry(asked, {}, names))
    assert line.startswith("soft_labels teaches the soft labels of the training boxes, and this data set has none")
    assert kind == "config"
    (answer,) = answers(tiny_store, Entry(asked, {}, names), data=tmp_path)  # the data are elsewhere
    assert answer.ok, answer.problem
    assert not any("no term of a method was computed" in note for note in answer.notes)


def test_soft_labels_of_a_planned_synthesis_follow_from_its_schedule(
    tiny_store: TinyStore, names: tuple[str, ...]
) -> None:
    asked = spec_of(tiny_store.create_run(method=["soft_labels"]))
    moi = read_schedule("moi", "impressions")
    for soft_labels in (False, True):
        moi["values"]["targets"]["soft_labels"] = soft_labels
        made = build_spec(
            asked.to_json()
            | {
                "kind": "impressions",
                "student": None,
                "schedule": moi,
                "method": [],
                "teachers": {"detector": asked.id},
            }
        )
        student = changed(asked, data_free=True, teachers={"impressions": made.id})
        if soft_labels:
            (answer,) = answers(tiny_store, Entry(student, {"impressions": made}, names))
            assert answer.ok, answer.problem
        else:
            line, _ = problem_of(tiny_store, Entry(student, {"impressions": made}, names))
            assert line.startswith("soft_labels teaches the soft labels")


# ---------------------------------------------------------------------------------------------------------------------
# One step


class Model(nn.Module):
    """A weight that is used, one that is not, and a teacher that a step may change."""

    def __init__(self, change: nn.Module | None = None) -> None:
        super().__init__()
        self.used, self.idle = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
        self.change = [change] if change is not None else []

    def data_preprocessor(self, data: Any, training: bool) -> Any:
        return data

    def loss(self, inputs: Any, data_samples: Any) -> dict[str, Any]:
        for module in self.change:
            next(iter(module.parameters())).data += 1
        return {"loss": self.used.sum(), "loss_of_levels": [self.used.sum(), 2 * self.used.sum()]}

    def parse_losses(self, losses: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return losses["loss"] + sum(losses["loss_of_levels"]), {}


class Teacher:
    def __init__(self) -> None:
        self.module = nn.Linear(1, 1).requires_grad_(False)


def test_weights_without_a_part_are_reported() -> None:
    (note,) = first_step(Model(), TeacherSet(), [32], 3)
    assert note.startswith("1 weights have no part in the losses, first idle; several processes need")


def test_a_teacher_that_a_step_changes() -> None:
    teacher = Teacher()
    with pytest.raises(RunError, match="a teacher was changed by the step"):
        first_step(Model(teacher.module), TeacherSet(classifier=teacher), [32], 3)


# ---------------------------------------------------------------------------------------------------------------------
# The command


def test_the_command_prints_lines(
    tiny_store: TinyStore, baseline: RunSpec, names: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = changed(baseline, overrides={"model.backbone.depth": 19})
    file = tmp_path / "questions.json"
    places = ["--runs", str(tiny_store.runs), "--data", str(tiny_store.data)]

    def written(*specs: RunSpec) -> list[str]:
        entries = [{"spec": spec.to_json(), "teachers": {"classifier": None}, "classes": names} for spec in specs]
        atomic_write_json(file, {"format": 1, "specs": entries})
        return [str(file), *places]

    assert dry_run.main(written(baseline, broken)) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["ok"] for line in lines] == [True, False]
    assert set(lines[0]) == {"id", "ok", "problem", "failure_class", "notes", "seconds"}
    assert dry_run.main(written(baseline)) == 0


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ({"format": 2, "specs": []}, 'is not {"format": 1, "specs": [...]}'),
        ({"format": 1, "specs": [{"teachers": {}}]}, "entry 1: an entry has the keys spec, teachers, classes"),
        ({"format": 1, "specs": [{"spec": {}, "clases": []}]}, "'clases'; did you mean 'classes'?"),
        ({"format": 1, "specs": [{"spec": {"name": "x"}}]}, "entry 1: kind: Field required"),
    ],
)
def test_a_file_that_cannot_be_used(
    value: Any, wanted: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    atomic_write_json(tmp_path / "questions.json", value)
    assert dry_run.main([str(tmp_path / "questions.json")]) == 2
    assert wanted in capsys.readouterr().err
