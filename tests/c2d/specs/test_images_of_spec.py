"""Specs of syntheses, of their controls and of students without data: kinds, teachers at any depth, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, atomic_write_json
from c2d.data.card import Card, Split, Synthesis, card_digest
from c2d.specs.names import look_up_names, names_in
from c2d.specs.resolve_spec import SpecResolver, resolve_spec
from c2d.specs.spec import parse_spec

NOWHERE = Path("nowhere")
STUDENT: dict[str, Any] = {"dataset": "coco2017", "student": "ssd300-vgg16", "schedule": "ssd"}
DETECTOR: dict[str, Any] = {"student": "retinanet-r50", "schedule": "1x-dense"}
MADE: dict[str, Any] = {"schedule": "moi", "teachers": {"detector": DETECTOR}}
DETECTOR_ID = "retinanet-r50-baseline-0123456789ab-s0"


def resolver_of(*specs: dict[str, Any], runs: Path = NOWHERE, data: Path = NOWHERE) -> SpecResolver:
    return SpecResolver(look_up_names(names_in(specs), runs, data))


def resolved(given: dict[str, Any], **places: Path) -> tuple[Any, SpecResolver]:
    resolver = resolver_of(given, **places)
    return resolver.resolve(given), resolver


def made(images_from: str) -> dict[str, Any]:
    return {**MADE, "schedule": {"name": "moi", "values": {"images_from": images_from}}}


def synthesis(runs: Path, **changes: Any) -> RunFolder:
    """Write the spec of a synthesis to a store."""
    given = {"kind": "impressions", "dataset": "coco2017", "schedule": "moi", "teachers": {"detector": "teach-s0"}}
    spec = resolver_of({**given, **changes, "teachers": {}}).resolve({**given, **changes})
    folder = RunFolder(runs / spec.id)
    atomic_write_json(folder.spec, spec.to_json())
    return folder


def test_ids_of_runs_from_before_stay() -> None:
    assert resolver_of(STUDENT).resolve(STUDENT).id == "ssd300-vgg16-baseline-a37b3de18fe9-s0"
    schedule = {"name": "coco-ssd", "values": {"loss": {"bce": 1.0}}}  # as it was shipped then
    classifier = {"dataset": "coco2017", "network": "resnet18", "schedule": schedule, "input": 56}
    assert resolver_of(classifier).resolve(classifier).id == "resnet18-classifier-9c11a6068470-s0"


def test_a_spec_without_data_free_is_written_as_before() -> None:
    spec = resolver_of(STUDENT).resolve({**STUDENT, "data_free": False})
    written = spec.to_json()
    assert "data_free" not in written
    assert written["teachers"] == {"classifier": None, "detector": None}
    assert parse_spec(written, "again") == spec


@pytest.mark.parametrize("kind", [{}, {"kind": "impressions"}])
def test_a_preset_makes_a_synthesis(kind: dict[str, str]) -> None:
    spec, resolver = resolved({"dataset": "coco2017", "seed": 2, **MADE, **kind})
    assert spec.kind == "impressions"
    assert spec.id.startswith("moi-impressions-")
    assert spec.id.endswith("-s2")
    assert list(resolver.teachers) == [spec.teachers.detector]
    assert resolver.teachers[spec.teachers.detector].kind == "detector"
    assert spec.impressions.images == 2000
    assert parse_spec(spec.to_json(), "again") == spec


def test_values_of_a_schedule_change_the_id() -> None:
    one, two = ({**MADE, "schedule": {"name": "moi", "values": {"priors": {"tv_l1": tv}}}} for tv in (0, 0.1))
    first, second = (resolved({"dataset": "coco2017", **given})[0] for given in (one, two))
    assert first.id != second.id
    assert (first.impressions.priors.tv_l1, first.impressions.priors.detection) == (0, 1)


def test_a_chain_of_teachers_is_listed_in_an_order_in_which_it_can_be_made() -> None:
    given = {**STUDENT, "data_free": True, "teachers": {"impressions": made("noise")}}
    spec, resolver = resolved(given)
    detector, source, control = resolver.teachers.values()
    assert [detector.kind, source.kind, control.kind] == ["detector", "impressions", "impressions"]
    assert [source.impressions.images_from, control.impressions.images_from] == ["optimised", "noise"]
    assert control.teachers.model_dump() == {"classifier": None, "detector": detector.id, "impressions": source.id}
    assert source.teachers.model_dump() == {"classifier": None, "detector": detector.id, "impressions": None}
    assert spec.teachers.model_dump() == {"classifier": None, "detector": None, "impressions": control.id}
    assert spec.data_free
    assert resolved({"dataset": "coco2017", **MADE})[0].id == source.id  # the run that other cells train on


def test_one_axis_holds_every_source_of_images() -> None:
    """Impressions, both controls, real images with a teacher's labels, and the data: one spec each, three syntheses."""
    values = [
        {**STUDENT, "data_free": data_free, "teachers": {"impressions": made(images)}}
        for images, data_free in (
            ("optimised", True), ("noise", True), ("procedural", True), ("real", False), ("optimised", False),
        )
    ]  # fmt: skip
    resolver = resolver_of(*values)
    specs = [resolver.resolve(one) for one in values]
    assert len({spec.id for spec in specs}) == 5
    assert [spec.teachers.impressions is not None for spec in specs] == [True, True, True, True, False]
    assert [spec.trains_on_dataset for spec in specs] == [False, False, False, False, True]
    assert specs[4] == resolver.resolve(STUDENT)
    kinds = [(spec.kind, spec.trains_on_dataset) for spec in resolver.teachers.values()]
    assert kinds == [("detector", True), *[("impressions", False)] * 3, ("impressions", True)]


def test_a_stored_synthesis_is_given_by_its_run(tmp_path: Path) -> None:
    run = synthesis(tmp_path)
    given = {**STUDENT, "data_free": True, "teachers": {"impressions": run.id[:20]}}
    assert resolve_spec(given, where="x", runs=tmp_path, data=NOWHERE).teachers.impressions == run.id
    labelled = resolve_spec({**given, "data_free": False}, where="x", runs=tmp_path, data=NOWHERE)
    assert labelled.teachers.impressions is None
    real = synthesis(tmp_path, schedule={"name": "moi", "values": {"images_from": "real"}})
    unlabelled = {**given, "data_free": False, "teachers": {"impressions": real.id}}
    assert resolve_spec(unlabelled, where="x", runs=tmp_path, data=NOWHERE).teachers.impressions == real.id


def write_card(folder: Path, images_from: str | None = None) -> None:
    split = Split(annotations="a.json", images="train", digest="d" * 64, n_images=1, n_boxes=1)
    made_by = {"run": "r", "schedule": "moi", "teacher": "t", "teacher_sha256": "e" * 64, "soft_labels": True}
    card = Card(
        name=folder.name,
        classes=["cat"],
        digest=card_digest(["cat"], {"train": split.digest}),
        splits={"train": split},
        synthesis=Synthesis(images_from=images_from, **made_by) if images_from else None,  # type: ignore[arg-type]
    )
    folder.mkdir()
    (folder / "card.json").write_text(card.model_dump_json())


def test_a_synthesised_data_set_is_data_free_by_itself(tmp_path: Path) -> None:
    write_card(tmp_path / "made", "noise")
    write_card(tmp_path / "unlabelled", "real")
    given = {**STUDENT, "dataset": str(tmp_path / "made"), "data_free": True}
    spec, _ = resolved(given, data=tmp_path)
    assert spec.data_free
    assert spec.teachers.impressions is None
    with pytest.raises(InputError, match="the training images of unlabelled are real"):
        resolved({**given, "dataset": "unlabelled"}, data=tmp_path)
    with pytest.raises(InputError, match=r"is synthesised already, and teachers.impressions names other images"):
        resolved({**given, "teachers": {"impressions": MADE}}, data=tmp_path)


def test_impressions_of_another_data_set_are_refused(tmp_path: Path) -> None:
    write_card(tmp_path / "cats")
    given = {**STUDENT, "data_free": True, "teachers": {"impressions": {**MADE, "dataset": "cats"}}}
    with pytest.raises(InputError, match=r"was made for data set cats .*, the student's is coco2017"):
        resolved(given, data=tmp_path)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"data_free": True}, r"the training images of coco2017 are real; add teachers: \{impressions: RUN\}"),
        ({"data_free": "yes"}, "data_free: .*write true or false without quotes"),
        ({"data_free": True, "teachers": {"impressions": made("real")}}, "images_from: real.*write data_free: false"),
        ({"data_free": True, "teachers": {"impressions": {"schedule": "moi"}}},
         "teachers.impressions: a run of kind impressions is made from a detector"),
        ({"data_free": True, "teachers": {"impressions": {**MADE, "schedule": "moy"}}},
         "unknown schedule of impressions 'moy'; did you mean 'moi'"),
        ({"data_free": True, "teachers": {"impressions": {**MADE, "input": 96}}},
         r"has no input \(given 96\); it has dataset, schedule"),
        ({"schedule": "moi"}, "unknown schedule of a detector 'moi'"),
    ],
)  # fmt: skip
def test_errors_of_a_student_without_data(given: dict[str, Any], message: str) -> None:
    values = {**STUDENT, **given}
    with pytest.raises(InputError, match=message):
        resolver_of(values).resolve(values)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"schedule": "ssd"}, "a spec needs dataset, schedule and a student"),
        ({"kind": "impressions", "schedule": "ssd"}, "unknown schedule of impressions 'ssd'"),
        ({"schedule": "moi"}, "is made from a detector; add teachers"),
        ({**MADE, "kind": "impressions", "student": "ssd300-vgg16"}, "has no student"),
        ({**MADE, "data_free": True}, "has no data_free"),
        ({**MADE, "init": "torchvision:resnet18.IMAGENET1K_V1"}, "has no init"),
        ({**MADE, "teachers": {"detector": DETECTOR_ID, "impressions": "moi-impressions-x-s0"}},
         "teachers.impressions is moi-impressions-x-s0; a control"),
        ({"teachers": {"detector": DETECTOR_ID}, "schedule": {"name": "moi", "values": {"final": {"iterations": 0}}}},
         "nothing would be optimised"),
    ],
)  # fmt: skip
def test_errors_of_a_synthesis(given: dict[str, Any], message: str) -> None:
    values = {"dataset": "coco2017", **given}
    with pytest.raises(InputError, match=message):
        resolver_of({**values, "teachers": {}}).resolve(values)


def test_a_single_spec_says_whether_it_means_the_impressions(tmp_path: Path) -> None:
    run = synthesis(tmp_path)
    with pytest.raises(InputError, match=r"x: teachers.impressions is .* and data_free is missing"):
        resolve_spec({**STUDENT, "teachers": {"impressions": run.id}}, where="x", runs=tmp_path, data=NOWHERE)


def test_a_run_of_another_kind_or_data_set_makes_no_images(tmp_path: Path) -> None:
    detector = RunFolder(tmp_path / DETECTOR_ID)
    atomic_write_json(detector.spec, {"kind": "detector", "dataset": {"name": "coco2017", "digest": "a"}})
    given = {**STUDENT, "data_free": True, "teachers": {"impressions": detector.id}}
    with pytest.raises(InputError, match="is a detector; give a run of kind impressions"):
        resolved(given, runs=tmp_path)
    other = synthesis(tmp_path, dataset="coco2017")
    atomic_write_json(other.spec, {"kind": "impressions", "dataset": {"name": "kitti", "digest": "b" * 64}})
    with pytest.raises(InputError, match=r"was made for data set kitti \(bbbbbbbbbbbb\), the student's is coco2017"):
        resolved({**given, "teachers": {"impressions": other.id}}, runs=tmp_path)


def test_a_written_spec_is_checked_for_its_kind() -> None:
    spec, _ = resolved({"dataset": "coco2017", **MADE})
    for change, message in (
        ({"overrides": {"a": 1}}, "has no overrides"),
        ({"teachers": {"classifier": "a", "detector": "b"}}, "one teacher, the detector"),
        (
            {"teachers": {"detector": "b", "impressions": "c"}},
            "images_from optimised: `teachers.impressions` is the run",
        ),
    ):
        with pytest.raises(InputError, match=message):
            parse_spec({**spec.to_json(), **change}, "x")
    with pytest.raises(InputError, match="makes images and trains nothing"):
        _ = spec.training
