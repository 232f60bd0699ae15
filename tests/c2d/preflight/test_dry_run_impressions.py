"""Dry run of syntheses and of students without data: nothing of them need exist."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from c2d.core.run_folder import read_json
from c2d.preflight.dry_run import DryRunResult, run_entries
from c2d.preflight.dry_run_entry import Entry, structure
from c2d.specs.names import look_up_names, names_in
from c2d.specs.resolve_spec import SpecResolver
from c2d.specs.spec import RunSpec
from tests.c2d.conftest import TINY, TinyStore

SMOKE = {"name": "smoke", "values": {"iterations": 3, "batch": 2}}


def chain(store: TinyStore, schedule: Any = "moi", data_free: bool = True, **student: Any) -> dict[str, RunSpec]:
    """Return {label: spec} of a student and of all runs that it waits for, none of which exists."""
    detector = {"student": str(TINY), "schedule": SMOKE, "seed": 3}
    given = {"dataset": "scenes", "student": str(TINY), "schedule": SMOKE, "data_free": data_free, **student}
    given["teachers"] = {
        "detector": detector,
        "impressions": {"schedule": schedule, "teachers": {"detector": detector}},
    }
    resolver = SpecResolver(look_up_names(names_in([given]), store.runs, store.data))
    spec = resolver.resolve(given)
    return {"student": spec, **{one.kind: one for one in resolver.teachers.values()}}


@pytest.fixture(scope="module")
def names(tiny_store: TinyStore) -> tuple[str, ...]:
    return tuple(read_json(tiny_store.data / "scenes" / "card.json")["classes"])


def answers(store: TinyStore, *entries: Entry, data: Path | None = None) -> list[DryRunResult]:
    return list(run_entries(list(entries), store.runs, data or store.data))


def test_a_chain_of_runs_that_do_not_exist_is_tried(tiny_store: TinyStore, names: tuple[str, ...]) -> None:
    runs = chain(tiny_store, method=[{"pkd": {}}])
    made, student, detector = runs["impressions"], runs["student"], runs["detector"]
    first, second = answers(
        tiny_store,
        Entry(made, {"detector": detector}, names),
        Entry(student, {"detector": detector, "impressions": made}, names),
    )
    assert (first.problem, second.problem) == (None, None)
    assert f"detector teacher {detector.id} is not trained yet; tried with random weights" in first.notes
    assert f"the images of {made.id} are not read; tried with synthetic ones" in second.notes
    assert "data set scenes is here and is the one its card describes" in second.notes
    assert not (tiny_store.runs / made.id).exists()


def test_a_control_waits_for_its_source(tiny_store: TinyStore, names: tuple[str, ...]) -> None:
    runs = chain(tiny_store, {"name": "moi", "values": {"images_from": "noise"}})
    control = runs["impressions"]
    assert control.impressions.images_from == "noise"
    (answer,) = answers(tiny_store, Entry(control, {"detector": runs["detector"]}, names))
    assert answer.ok, answer.problem
    assert "images_from noise: its images are made when its source is finished" in answer.notes


def test_training_images_of_the_data_set_are_not_needed(
    tiny_store: TinyStore, names: tuple[str, ...], tmp_path: Path
) -> None:
    shutil.copytree(tiny_store.data / "scenes", tmp_path / "scenes")
    shutil.rmtree(tmp_path / "scenes" / "train")
    (tmp_path / "scenes" / "annotations" / "instances_train.json").unlink()
    student = chain(tiny_store)["student"]
    labelled = chain(tiny_store, data_free=False)["student"]
    found = answers(tiny_store, Entry(student, {}, names), Entry(labelled, {}, names), data=tmp_path)
    assert [one.ok for one in found] == [True, False]
    assert found[1].failure_class == "data"


def test_an_unsupported_detector_makes_no_images(tiny_store: TinyStore, names: tuple[str, ...]) -> None:
    runs = chain(tiny_store)
    mmdet = {"student": "mmdet::vfnet/vfnet_r50_fpn_1x_coco.py", "schedule": "smoke", "dataset": "scenes"}
    detector = SpecResolver(look_up_names(names_in([mmdet]), tiny_store.runs, tiny_store.data)).resolve(mmdet)
    teachers = runs["impressions"].teachers.model_copy(update={"detector": detector.id})
    made = runs["impressions"].model_copy(update={"teachers": teachers})
    (answer,) = answers(tiny_store, Entry(made, {"detector": detector}, names))
    assert not answer.ok
    assert "VFNet" in str(answer.problem)


def test_structures(tiny_store: TinyStore, names: tuple[str, ...]) -> None:
    def key(**values: Any) -> str:
        made = chain(tiny_store, {"name": "moi", "values": values})["impressions"]
        return structure(Entry(made, {}, names), tiny_store.runs)

    assert key() == key(images=7) == key(priors={"tv_l1": 0.3}) == key(final={"iterations": 3})
    assert len({key(), key(priors={"tv_l1": 0}), key(final={"size": 64}), key(images_from="noise")}) == 4

    # Which images a student learns from changes no structure, but for their soft labels, which a method may need.
    def student_key(schedule: Any) -> str:
        runs = chain(tiny_store, schedule)
        return structure(Entry(runs["student"], {"impressions": runs["impressions"]}, names), tiny_store.runs)

    fewer, soft = {"name": "moi", "values": {"images": 7}}, {"targets": {"soft_labels": False}}
    assert student_key("moi") == student_key(fewer) != student_key({"name": "moi", "values": soft})
