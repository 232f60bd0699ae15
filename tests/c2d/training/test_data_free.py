"""Runs of kind impressions and students of their images: files, facts, an attempt like any other, refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from analysis.loading import flatten
from c2d.core.attempt import Interrupted
from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, atomic_write_json, read_json
from c2d.data.card import LoadedCard
from c2d.data.card_lookup import load_card
from c2d.specs.data_of_run import verified_data
from c2d.specs.resolve_spec import resolve_spec
from c2d.specs.spec import parse_spec
from c2d.training.build import build_from_name
from c2d.training.train import train
from tests.analysis.data_free_store import training_images_of
from tests.c2d.conftest import TinyStore
from tests.c2d.stand_in_impressions import stand_in
from tests.c2d.tracking.read_back import tensorboard_curves

__all__ = ["stand_in"]
pytestmark = pytest.mark.usefixtures("stand_in")
SCHEDULE = {"images": 6, "batch": 3, "final": {"iterations": 4}}


@pytest.fixture(scope="module")
def detector(tiny_store: TinyStore) -> RunFolder:
    folder: RunFolder = tiny_store.create_run(4, seed=7)
    train(folder, tiny_store.options())
    return folder


def create_synthesis(store: TinyStore, detector: RunFolder, images_from: str = "optimised", **more: Any) -> RunFolder:
    given = {"dataset": "scenes", "teachers": {"detector": detector.id}, **more}
    given["schedule"] = {"name": "moi", "values": {**SCHEDULE, "images_from": images_from}}
    spec = resolve_spec(given, where="test", runs=store.runs, data=store.data)
    folder = RunFolder(store.runs / spec.id)
    if not folder.spec.exists():
        atomic_write_json(folder.spec, spec.to_json())
    return folder


def create_student(store: TinyStore, impressions: RunFolder, *, data_free: bool = True, **more: Any) -> RunFolder:
    teachers = {"impressions": impressions.id, **more.pop("teachers", {})}
    folder: RunFolder = store.create_run(data_free=data_free, teachers=teachers, **more)
    return folder


def in_new_store(store: TinyStore, folder: Path, *runs: RunFolder) -> TinyStore:
    new = store.with_empty_store(folder)
    for run in runs:
        shutil.copytree(run.path, new.runs / run.id)
    shutil.copytree(store.runs / "students", new.runs / "students")
    return new


def test_a_student_learns_from_the_images_of_a_synthesis(tiny_store: TinyStore, detector: RunFolder) -> None:
    made = create_synthesis(tiny_store, detector)
    result = train(made, tiny_store.options())
    assert result == read_json(made.result)
    assert result["images"] == 6
    assert made.read_status()["state"] == "done"
    assert (made.read_status()["iteration"], made.read_status()["iterations"]) == (4, 4)
    assert read_json(made.env)["attempts"][0]["attempt"] == 1

    student = create_student(tiny_store, made, teachers={"detector": detector.id}, method=[{"pkd": {}}])
    learned = train(student, tiny_store.options())
    card = load_card(str(made.path)).card
    assert learned["training_images"] == {
        "run": made.id,
        "images_from": "optimised",
        "schedule": "moi",
        "teacher": detector.id,
        "teacher_sha256": read_json(detector.result)["sha256"]["student.pth"],
        "card_digest": card.digest,
        "n_images": 6,
        "soft_labels": True,
    }
    assert flatten.result(learned)["training_images.run"] == made.id  # as reports read it
    assert training_images_of(made.id, read_json(made.spec)).keys() == learned["training_images"].keys()
    assert learned["teachers"]["detector"]["run"] == detector.id
    assert (
        f"6 training images from {made.id} (optimised, schedule moi, of teacher {detector.id})"
        in student.log.read_text()
    )
    assert str(made.train_annotations) in student.train_config.read_text()
    assert "scenes/train" not in student.train_config.read_text()
    assert "scenes" in student.config.read_text()  # measured on the real split
    assert learned["images"] == 6  # of the evaluation split


def test_a_run_with_real_images_records_no_synthesis(detector: RunFolder) -> None:
    assert "training_images" not in read_json(detector.result)
    assert "training images of scenes" in detector.log.read_text()


def test_a_synthesis_is_an_attempt_like_any_other(tiny_store: TinyStore, detector: RunFolder) -> None:
    made = create_synthesis(tiny_store, detector, seed=1)
    with pytest.raises(Interrupted) as stopped:
        train(made, tiny_store.options(stop_after=2, track=("tensorboard",)))
    assert stopped.value.planned
    assert made.read_status()["state"] == "waiting"
    train(made, tiny_store.options(track=("tensorboard",)))
    assert made.read_status()["attempt"] == 2
    assert "from iteration 2" in made.log.read_text()
    steps = [json.loads(line)["iteration"] for line in made.metrics.read_text().splitlines()]
    assert steps == [1, 2, 3, 4]
    curves, _ = tensorboard_curves(tiny_store.runs / "tracking" / "tensorboard" / made.id)
    assert "result/redetected" in curves
    before = made.status.stat().st_mtime_ns
    assert train(made, tiny_store.options())["images"] == 6
    assert made.status.stat().st_mtime_ns == before


def test_a_control_keeps_the_targets_of_its_source(tiny_store: TinyStore, detector: RunFolder) -> None:
    control = create_synthesis(tiny_store, detector, "noise", seed=2)
    source = create_synthesis(tiny_store, detector, seed=2)
    assert parse_spec(read_json(control.spec), "x").teachers.impressions == source.id
    with pytest.raises(InputError, match=rf"run {source.id} is waiting; finish it first: c2d train"):
        train(control, tiny_store.options())
    train(source, tiny_store.options())
    assert train(control, tiny_store.options())["source"] == source.id


def test_real_images_with_a_teachers_labels_are_used_without_a_claim(
    tiny_store: TinyStore, detector: RunFolder
) -> None:
    made = create_synthesis(tiny_store, detector, "real")
    train(made, tiny_store.options())
    student = create_student(tiny_store, made, data_free=False)
    result = train(student, tiny_store.options())
    assert result["training_images"]["images_from"] == "real"
    assert f"real ones with labels of teacher {detector.id}" in student.log.read_text()
    claimed = parse_spec({**read_json(student.spec), "data_free": True}, "x")
    with pytest.raises(InputError, match="are real; write data_free: false"):
        verified_data(claimed, RunFolder(tiny_store.runs / claimed.id), tiny_store.data)


def test_the_folder_of_a_synthesis_is_a_data_set(tiny_store: TinyStore, detector: RunFolder) -> None:
    made = create_synthesis(tiny_store, detector)
    train(made, tiny_store.options())
    given = {"dataset": str(made.path), "student": read_json(detector.spec)["student"], "data_free": True}
    given["schedule"] = {"name": "smoke", "values": {"iterations": 2, "batch": 2}}
    spec = resolve_spec(given, where="x", runs=tiny_store.runs, data=tiny_store.data)
    folder = RunFolder(tiny_store.runs / spec.id)
    atomic_write_json(folder.spec, spec.to_json())
    result = train(folder, type(tiny_store.options())(data=tiny_store.runs, quiet=True))
    assert result["training_images"]["run"] == made.id
    assert result["training_images"]["card_digest"] == spec.dataset.digest


def test_training_images_of_the_data_set_need_not_be_here(
    tiny_store: TinyStore, detector: RunFolder, tmp_path: Path
) -> None:
    made = create_synthesis(tiny_store, detector)
    train(made, tiny_store.options())
    student = parse_spec(read_json(create_student(tiny_store, made).spec), "x")
    shutil.copytree(tiny_store.data / "scenes", tmp_path / "scenes")
    card = load_card(str(tmp_path / "scenes"))
    shutil.rmtree(card.images("train"))
    card.annotations("train").unlink()
    found = verified_data(student, RunFolder(tiny_store.runs / student.id), tmp_path)
    assert found.card.annotations("train") == made.train_annotations
    assert found.card.annotations("val") == card.annotations("val")
    labelled = parse_spec(read_json(detector.spec), "x")
    with pytest.raises(InputError, match="train"):
        verified_data(labelled, detector, tmp_path)


def changed_card(made: RunFolder, **changes: Any) -> None:
    card = load_card(str(made.path)).card.model_copy(update=changes)
    atomic_write_json(made.path / "card.json", card.model_dump(mode="json"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda made: made.write_status("waiting"), "is waiting; finish it first"),
        (lambda made: shutil.rmtree(made.path), "is not in .*; train it there first"),
        (lambda made: (made.path / "card.json").unlink(), "has no card.json any more"),
        (lambda made: changed_card(made, synthesis=None), "its card is not the one that the run wrote"),
        (lambda made: changed_card(made, digest="0" * 64), "its card is not the one that the run wrote"),
        (lambda made: changed_card(made, classes=["cat"]), r"has classes .*, its card \['cat'\]"),
        (lambda made: made.train_annotations.write_text(made.train_annotations.read_text().replace("96", "95", 1)),
         "has changed since its card was made"),
    ],
)  # fmt: skip
def test_images_that_are_not_those_of_the_run_are_refused(
    tiny_store: TinyStore, detector: RunFolder, tmp_path: Path, change: Any, message: str
) -> None:
    made = create_synthesis(tiny_store, detector)
    train(made, tiny_store.options())
    student = create_student(tiny_store, made)
    store = in_new_store(tiny_store, tmp_path, detector, made, student)
    change(RunFolder(store.runs / made.id))
    with pytest.raises(InputError, match=message) as caught:
        train(RunFolder(store.runs / student.id), store.options())
    assert caught.value.failure_class == "data"


def test_a_teacher_of_other_classes_makes_no_images(
    tiny_store: TinyStore, detector: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from c2d.training import synthesis

    def other_classes(*_: Any) -> LoadedCard:
        card = load_card(str(tiny_store.data / "scenes"))
        return LoadedCard(card.card.model_copy(update={"classes": ["cat"]}), card.root)

    monkeypatch.setattr(synthesis, "verified_card", other_classes)
    with pytest.raises(InputError, match=r"teacher .* has the classes .*, the data set scenes has cat, ... \(1\)"):
        train(create_synthesis(tiny_store, detector, seed=5), tiny_store.options())


def test_options_of_trainings_and_half_precision_without_a_gpu_are_refused(
    tiny_store: TinyStore, detector: RunFolder
) -> None:
    made = create_synthesis(tiny_store, detector, seed=6)
    with pytest.raises(InputError, match="--monitor observes the methods of a training"):
        train(made, tiny_store.options(monitor=3))
    spec = read_json(made.spec)
    spec["schedule"]["values"]["precision"] = "amp-bf16"
    other = RunFolder(tiny_store.runs / parse_spec(spec, "x").id)
    atomic_write_json(other.spec, spec)
    with pytest.raises(InputError, match="precision amp-bf16 needs a GPU"):
        train(other, tiny_store.options())
    assert not made.status.exists()


def test_commands_for_trained_models_refuse_a_synthesis(tiny_store: TinyStore, detector: RunFolder) -> None:
    from benchmarks.latency.options import choose_target
    from c2d.evaluation.evaluate_run import evaluate_run

    made = create_synthesis(tiny_store, detector)
    for command in (
        lambda: evaluate_run(made.id, tiny_store.runs, tiny_store.data, check=False),
        lambda: build_from_name(made.id, tiny_store.runs, tiny_store.data),  # inspect, suggest-weight, bench step
    ):
        with pytest.raises(InputError, match=f"run {made.id} makes images and trains nothing; train a student on them"):
            command()
    with pytest.raises(InputError, match="is no detector; latency is measured of students"):
        choose_target(made.id, None, None, None, tiny_store.runs, tiny_store.data)


def test_impressions_are_no_teacher(tiny_store: TinyStore, detector: RunFolder) -> None:
    made = create_synthesis(tiny_store, detector)
    train(made, tiny_store.options())
    student = tiny_store.create_run(method=[{"pkd": {}}], teachers={"detector": made.id})
    with pytest.raises(InputError, match=f"run {made.id} is of kind impressions, a detector teacher is wanted"):
        train(student, tiny_store.options())
