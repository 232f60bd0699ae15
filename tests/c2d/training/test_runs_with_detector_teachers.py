"""Detector teachers in whole runs: resume in the middle, files, refusals at the door, pictures and suggestions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from c2d.core.attempt import Interrupted
from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, read_json
from c2d.training import checkpoint
from c2d.training.train import train
from c2d.weights import safe_load
from tests.c2d.conftest import TinyStore
from tests.forked_python import SUBPROCESS

# One that draws random numbers, one with adapters, one that keeps tables of the training set, and ICOD beside them.
COMPOSED: list[dict[str, Any]] = [
    {"icod": {"max_positives": 8}}, {"fkd": {}}, {"mgd": {"start": 1}}, {"gkd": {"every": 4}}, {"gid": {}},
]  # fmt: skip


@pytest.fixture(scope="module")
def detector(tiny_store: TinyStore) -> RunFolder:
    """A detector teacher: the student's config, trained for four iterations from another seed."""
    folder: RunFolder = tiny_store.create_run(4, seed=7)
    train(folder, tiny_store.options())
    return folder


def create_run_with_teachers(
    tiny_store: TinyStore, teacher: RunFolder, detector: RunFolder, method: Any, **more: Any
) -> RunFolder:
    teachers = {"classifier": teacher.id, "detector": detector.id}
    folder: RunFolder = tiny_store.create_run(method=method, teachers=teachers, **more)
    return folder


def test_a_composed_run_resumed_in_the_middle_equals_the_uninterrupted_one(
    tiny_store: TinyStore, teacher: RunFolder, detector: RunFolder
) -> None:
    straight = create_run_with_teachers(tiny_store, teacher, detector, COMPOSED, seed=1)
    result = train(straight, tiny_store.options(monitor=2))
    weights = safe_load.load(straight.student)
    events = [json.loads(line) for line in straight.metrics.read_text().splitlines()]
    assert {"loss_kd_icod_cls", "loss_kd_fkd_am", "loss_kd_mgd_gen", "loss_kd_gkd_fg", "loss_kd_gid_feature"} <= set(
        events[-1]
    )
    assert "kd_fkd_am_cosine" in events[0]
    assert "kd_fkd_am_cosine" not in events[1]
    assert "loss_kd_mgd_idle" in events[0]
    assert "loss_kd_mgd_gen" not in events[0]
    assert result["teachers"]["detector"]["run"] == detector.id
    assert result["teachers"]["detector"]["audit"]["missing"] == []
    log = straight.log.read_text()
    assert "fkd: stride" in log
    assert "detector teacher" in log
    assert not any("teacher" in key for key in weights)
    state = checkpoint.load_newest(straight, lambda _: None)
    assert state is not None
    assert not any("teacher" in key for key in state["model"])

    again = create_run_with_teachers(
        tiny_store.with_empty_store(tiny_store.runs.parent / "again"), teacher, detector, [], seed=99
    )
    for run in (teacher, detector):  # the same store of teachers, an empty one of students
        (again.path.parent / run.id).symlink_to(run.path)
    other = RunFolder(again.path.parent / straight.id)
    other.path.mkdir()
    other.spec.write_text(straight.spec.read_text())
    for stop in (2, 5):
        with pytest.raises(Interrupted):
            train(other, tiny_store.options(stop_after=stop))
    train(other, tiny_store.options())
    found = safe_load.load(other.student)
    assert [key for key in weights if not torch.equal(weights[key], found[key])] == []
    assert read_json(other.result)["AP"] == result["AP"]


def test_reading_the_training_set_updates_the_heartbeat(
    tiny_store: TinyStore, teacher: RunFolder, detector: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages: list[str] = []
    monkeypatch.setattr(RunFolder, "touch_heartbeat", lambda self, stage: stages.append(stage))
    folder = create_run_with_teachers(tiny_store, teacher, detector, [{"gkd": {"every": 6}}], seed=4)
    with pytest.raises(Interrupted):
        train(folder, tiny_store.options(stop_after=1))
    assert stages
    assert set(stages) == {"fit"}


def test_a_run_whose_method_never_applies_is_refused_before_the_start(
    tiny_store: TinyStore, teacher: RunFolder, detector: RunFolder
) -> None:
    folder = create_run_with_teachers(tiny_store, teacher, detector, [{"fgfi": {"start": 400}}])
    with pytest.raises(InputError, match="fgfi starts at iteration 400, but the run has 6"):
        train(folder, tiny_store.options())
    assert not folder.metrics.exists()


def test_a_method_that_does_not_fit_the_student_lists_those_that_fit(
    tiny_store: TinyStore, teacher: RunFolder, detector: RunFolder
) -> None:
    folder = create_run_with_teachers(tiny_store, teacher, detector, [{"tadf": {}}])
    with pytest.raises(InputError, match="tadf does not teach retinanet students; it teaches faster-rcnn"):
        train(folder, tiny_store.options())


def test_inspect_draws_the_images_of_the_methods(
    tiny_store: TinyStore, teacher: RunFolder, detector: RunFolder, tmp_path: Path
) -> None:
    from PIL import Image

    from c2d.preflight.visualize import draw_methods
    from c2d.training.build import build_from_name

    folder = create_run_with_teachers(tiny_store, teacher, detector, [{"icod": {}}, {"fgd": {}}, {"pkd": {}}], seed=2)
    lines = draw_methods(build_from_name(folder.id, tiny_store.runs, tiny_store.data), 2, tmp_path / "seen.png")
    assert lines[0].startswith("icod: true crops; predictions of the positives")
    assert lines[1].startswith("fgd: ")
    assert lines[2] == "pkd: uses every cell alike"
    width, height = Image.open(tmp_path / "seen.png").size
    assert width > 600
    assert height > 300
    assert not folder.status.exists()  # nothing was started


def test_suggested_weights_come_from_real_gradients(
    tiny_store: TinyStore, teacher: RunFolder, detector: RunFolder
) -> None:
    from c2d.preflight.suggest_weight import measure_gradients, suggest, table
    from c2d.training.build import build_from_name

    folder = create_run_with_teachers(
        tiny_store, teacher, detector, [{"icod": {"max_positives": 8}}, {"fitnets": {}}], seed=3
    )
    steps: list[int] = []
    gradients = measure_gradients(
        build_from_name(folder.id, tiny_store.runs, tiny_store.data), 4, 2, lambda step, _: steps.append(step)
    )
    assert steps == [0, 2]
    assert {(h.method, h.term, h.parameter) for h in gradients} == {
        ("icod", "cls", "lambda_kc"), ("icod", "crop", "lambda_l"), ("icod", "feat", "lambda_kl"),
        ("fitnets", "hint", "lambda_hint"),
    }  # fmt: skip
    for one in gradients:
        assert len(one.ratios) == 2
        assert one.ratio > 0
        assert [w * one.ratio for w in suggest(one).grid] == pytest.approx([0.1, 0.3, 1.0], rel=0.06)
    assert "try  method.fitnets.lambda_hint: [" in table([suggest(one) for one in gradients])
    assert not folder.status.exists()


def test_a_teacher_of_other_classes_may_show_maps_but_not_heads(tiny_store: TinyStore, detector: RunFolder) -> None:
    from c2d.distillation.build_methods import check_classes
    from tests.c2d.methods.tiny_setup import stage

    for method, fits in (("pkd", True), ("frs", False)):
        model = stage(method).model
        model.teachers.detector.classes = ("cat", "dog", "bird")
        if fits:
            check_classes(model, ["dog", "cat", "bird"])
        else:
            with pytest.raises(InputError, match=r"frs compares the heads' outputs.*cat, dog, bird"):
                check_classes(model, ["dog", "cat", "bird"])
        check_classes(model, ["cat", "dog", "bird"])


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"pkd": {"weight": 0}}, "pkd would never teach: its weight is 0"),
        ({"frs": {"alpha": 0, "gamma": 0}}, "frs would never teach: alpha, gamma are all 0"),
    ],
)
def test_a_baseline_under_another_name_is_refused(
    tiny_store: TinyStore, teacher: RunFolder, detector: RunFolder, method: dict[str, Any], message: str
) -> None:
    folder = create_run_with_teachers(tiny_store, teacher, detector, [method])
    with pytest.raises(InputError, match=message):
        train(folder, tiny_store.options())


def test_an_unreached_weight_and_a_poor_teacher_are_reported(
    tiny_store: TinyStore, teacher: RunFolder, detector: RunFolder
) -> None:
    from c2d.training.build import build_from_name

    folder = create_run_with_teachers(tiny_store, teacher, detector, [{"frs": {"ramp": 10}}])
    notes = build_from_name(folder.id, tiny_store.runs, tiny_store.data).notes
    assert "frs: at most 50% of its weight by its start, ramp, decay and stop in 6 steps" in notes
    assert any("it detects almost nothing" in note for note in notes)


def test_a_picture_that_cannot_be_written_is_bad_input(
    tiny_store: TinyStore, teacher: RunFolder, detector: RunFolder, tmp_path: Path
) -> None:
    from c2d.preflight.visualize import draw_methods
    from c2d.training.build import build_from_name

    folder = create_run_with_teachers(tiny_store, teacher, detector, [{"frs": {"ramp": 0}}])
    with pytest.raises(InputError, match=r"cannot write .*give --out another place"):
        draw_methods(build_from_name(folder.id, tiny_store.runs, tiny_store.data), 1, tmp_path / "nowhere" / "seen.png")


def test_a_spec_is_measured_beside_its_plain_step(
    tiny_store: TinyStore, teacher: RunFolder, detector: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.training import reference_step, step_of_spec
    from benchmarks.training.step_of_spec import measure_specs

    for module in (reference_step, step_of_spec):
        monkeypatch.setattr(module, "subprocess", SUBPROCESS)
    folder = create_run_with_teachers(
        tiny_store, teacher, detector, [{"icod": {"max_positives": 8}}, {"frs": {}}], seed=4
    )
    (record,) = measure_specs([folder.id], tiny_store.runs, tiny_store.data, repeats=3, threads=1)
    assert record["methods"] == "icod+frs"
    assert [len(record[f"{kind}_ms"]) for kind in ("plain", "distilled", "teacher")] == [3, 3, 3]
    assert min(record["distilled_ms"]) > min(record["plain_ms"]) > 0
    assert record["distilled_mib"] > record["plain_mib"] > 0
    assert not folder.status.exists()


def test_a_student_inherits_neck_and_head(tiny_store: TinyStore, detector: RunFolder) -> None:
    """No method: the teacher is read for `init` alone, and not kept for the steps."""
    from c2d.specs.data_of_run import verified_data
    from c2d.specs.spec import parse_spec
    from c2d.training.build import build
    from c2d.training.sources import Sources

    folder: RunFolder = tiny_store.create_run(2, init="teacher", teachers={"detector": detector.id})
    spec = parse_spec(read_json(folder.spec), "test")
    run = build(Sources(spec, folder, "cpu", *verified_data(spec, folder, tiny_store.data)))
    taught, plain = safe_load.load(detector.student), tiny_store.create_run(2)
    plain_spec = parse_spec(read_json(plain.spec), "test")
    own = build(Sources(plain_spec, plain, "cpu", *verified_data(plain_spec, plain, tiny_store.data)))
    found, before = run.model.student.state_dict(), own.model.student.state_dict()
    head = [key for key in taught if not key.startswith("backbone.")]
    assert len(head) == 16
    assert all(torch.equal(found[key], taught[key]) for key in head)
    assert all(torch.equal(found[key], before[key]) for key in found if key.startswith("backbone."))
    assert run.model.teachers.detector is None
    result = train(folder, tiny_store.options())
    assert result["audit_init"] is None
    assert (result["audit_inherited"]["loaded"], result["audit_inherited"]["wanted"]) == (16, 16)
    assert result["teachers"]["detector"]["run"] == detector.id
    assert f"neck and heads from teacher {detector.id}: 16 of 16 keys loaded" in folder.log.read_text()
    assert "audit_inherited" not in read_json(detector.result)
