"""Definitions with students without data: every source of images in one axis, chains of runs, keys without effect."""

from __future__ import annotations

from pathlib import Path

import pytest

from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, atomic_write_json
from c2d.specs.names import look_up_names, names_in
from sweeps.definition.definition import parse_definition
from sweeps.definition.expand import Grid, expand
from sweeps.state.manifest import build_manifest

NOWHERE = Path("no") / "such" / "store"
HEAD = """\
question: How much of the gap do impressions close?
base: {dataset: coco2017, student: retinanet-r18, schedule: 1x-dense}
teachers:
  detector: {student: retinanet-r50, schedule: 1x-dense}
  impressions: {schedule: moi}
axes:
"""
SOURCES = """\
  images:
    impressions: {data_free: true}
    noise: {data_free: true, teacher.impressions.schedule.images_from: noise}
    procedural: {data_free: true, teacher.impressions.schedule.images_from: procedural}
    unlabelled: {data_free: false, teacher.impressions.schedule.images_from: real}
    labelled: {data_free: false}
"""


def grid(text: str, runs: Path = NOWHERE) -> Grid:
    definition = parse_definition(text, "x.yaml", "x")
    cells = definition.cells()
    return expand(definition, cells, look_up_names(names_in(cell.values for cell in cells), runs, NOWHERE))


def images_of(found: Grid) -> list[str | None]:
    made = {spec.id: spec.impressions.images_from for spec in found.teachers if spec.kind == "impressions"}
    return [made.get(str(cell.spec.teachers.impressions)) for cell in found.cells]


def test_every_source_of_images_is_a_value_of_one_axis() -> None:
    found = grid(HEAD + SOURCES + "seeds: 3\n")
    assert len(found.cells) == 15
    assert len({cell.run for cell in found.cells}) == 15
    assert images_of(found)[::3] == ["optimised", "noise", "procedural", "real", None]
    detector, optimised, noise, procedural, real = found.teachers
    assert detector.kind == "detector"
    assert [noise.teachers.impressions, procedural.teachers.impressions] == [optimised.id] * 2
    assert [real.teachers.impressions, optimised.teachers.impressions] == [None, None]
    assert {spec.teachers.detector for spec in found.teachers[1:]} == {detector.id}
    assert all(cell.spec.teachers.detector is None for cell in found.cells)  # no method compares with it


def test_the_manifest_has_what_each_run_waits_for() -> None:
    text = HEAD + SOURCES
    found = grid(text)
    manifest = build_manifest(parse_definition(text, "x.yaml", "x"), found)
    detector, optimised, noise, procedural, real = manifest["teachers"]
    needs = manifest["needs"]
    assert [needs.get(run) for run in manifest["teachers"]] == [
        None, [detector], [detector, optimised], [detector, optimised], [detector],
    ]  # fmt: skip
    cells = [cell["run"] for cell in manifest["cells"]]
    assert [needs.get(run) for run in cells] == [[optimised], [noise], [procedural], [real], None]


def test_axes_of_the_synthesis_make_one_run_for_each_value_and_leave_the_labelled_cell_alone() -> None:
    text = HEAD + "  data_free: [true, false]\n  teacher.impressions.schedule.images: [500, 1000]\n"
    text += "  teacher.impressions.schedule.priors.tv_l1: [0, 0.05]\n"
    found = grid(text)
    assert [spec.impressions.images for spec in found.teachers[1:]] == [500, 500, 1000, 1000]
    assert [spec.impressions.priors.tv_l1 for spec in found.teachers[1:]] == [0, 0.05, 0, 0.05]
    assert len({cell.run for cell in found.cells}) == 4 + 1


def test_a_control_adds_the_synthesis_that_it_needs() -> None:
    text = HEAD + "  teacher.impressions.schedule.images_from: [noise]\n"
    text = text.replace("base: {", "base: {data_free: true, ")
    assert [spec.schedule.values.model_dump().get("images_from") for spec in grid(text).teachers] == [
        None, "optimised", "noise",
    ]  # fmt: skip


def test_a_teacher_axis_reaches_the_impressions_and_the_method() -> None:
    text = HEAD + "  teacher.detector.seed: [0, 1]\n"
    found = grid(text.replace("base: {", "base: {data_free: true, method: [{pkd: {}}], "))
    assert [spec.kind for spec in found.teachers] == ["detector", "impressions"] * 2
    for cell, detector, made in zip(found.cells, found.teachers[::2], found.teachers[1::2], strict=True):
        assert cell.spec.teachers.model_dump() == {"classifier": None, "detector": detector.id, "impressions": made.id}


def test_a_finished_synthesis_is_named_by_its_run(tmp_path: Path) -> None:
    made = grid(HEAD.replace("base: {", "base: {data_free: true, ") + "  input: [300]\n").teachers[1]
    folder = RunFolder(tmp_path / made.id)
    atomic_write_json(folder.spec, made.to_json())
    text = HEAD.replace("{schedule: moi}", made.id) + "  data_free: [true, false]\n"
    with pytest.raises(InputError, match=r"is of kind impressions and waiting; give a finished synthesis"):
        grid(text, tmp_path)
    folder.write_status("done")
    atomic_write_json(folder.result, {"format": 1})
    found = grid(text, tmp_path)
    assert [cell.spec.teachers.impressions for cell in found.cells] == [made.id, None]
    assert found.teachers == []


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ("  input: [300]\n", "x.yaml:5: teachers.impressions: is used by no cell; a cell has data_free: true"),
        ("  teacher.impressions.schedule.images: [5]\n", "changes nothing: no cell has data_free: true"),
        ("  teacher.impressions.schedule.imges: [5]\n", "unknown key of schedule: 'imges'; did you mean 'images'"),
        ("  teacher.impressions.dataset: [voc]\n", "unknown key of impressions: 'dataset'"),
        ("  teacher.impresions.seed: [1]\n", "unknown kind of teacher 'impresions'; did you mean 'impressions'"),
        ("  kind: [impressions]\n", "kind: cannot be set by a cell"),
        ("  data_free: [true]\n  teacher.impressions.schedule.images_from: [real]\n", "write data_free: false"),
        ("  data_free: [true]\n  teacher.impressions.schedule.images: [0]\n", "images: Input should be greater than 0"),
    ],
)
def test_errors(axes: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        grid(HEAD + axes)
    assert message in str(caught.value)


def test_impressions_need_a_detector() -> None:
    text = HEAD.replace("  detector: {student: retinanet-r50, schedule: 1x-dense}\n", "") + "  data_free: [true]\n"
    with pytest.raises(InputError, match=r"teachers.impressions: a run of kind impressions is made from a detector"):
        grid(text)


def test_presets() -> None:
    for preset in ("moi", "diode", "two-phase"):
        found = grid(HEAD.replace("moi", preset) + "  data_free: [true]\n")
        assert found.teachers[1].name == f"{preset}-impressions"
