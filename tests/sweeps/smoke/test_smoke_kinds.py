"""The part of a smoke in which every kind of run is left."""

from pathlib import Path

import pytest

from c2d.specs.teachers import needed_runs
from sweeps.definition.definition import parse_definition, read_definition
from sweeps.smoke.smoke_data import SmokeData
from sweeps.smoke.smoke_grid import SmokeGrid, smoke_grid
from sweeps.smoke.smoke_kinds import _family, _parts, runs_of_every_kind

DEFINITION = """
question: Which of these are alike?
base: {dataset: scenes, student: retinanet-qr18, schedule: demo}
teachers:
  classifier: {network: resnet18, schedule: demo-classifier}
axes:
  method:
    plain: []
    warm: [{icod: {T: 4}}]
    hot: [{icod: {T: 8}}]
    classes: [{icod: {lambda_kl: 0, lambda_l: 0}}]
  model:
    quarter: {}
    whole: {student: retinanet-r18}
    two-stage: {student: faster-rcnn-qr18}
"""


def made(text: str, folder: Path, name: str = "alike") -> SmokeGrid:
    return smoke_grid(parse_definition(text, "alike.yaml", name), folder / "runs", SmokeData(folder / "data"))


def chosen(grid: SmokeGrid) -> set[str]:
    runs = runs_of_every_kind([grid])
    assert {spec.id for spec in grid.grid.teachers} <= runs, "students need their teacher"
    return {"/".join(cell.labels.values()) for cell in grid.grid.cells if cell.run in runs}


def test_a_number_and_a_backbone_make_no_kind_a_switched_off_term_and_a_family_do(tmp_path: Path) -> None:
    # Both families with and without the method; the term that is off is tried on one of them.
    families = {"plain/quarter", "plain/two-stage", "warm/quarter", "warm/two-stage"}
    assert chosen(made(DEFINITION, tmp_path)) == {*families, "classes/quarter"}


def test_large_backbones_come_last(tmp_path: Path) -> None:
    text = DEFINITION.replace("quarter: {}", "quarter: {student: retinanet-r50}")
    families = {"plain/whole", "plain/two-stage", "warm/whole", "warm/two-stage"}
    assert chosen(made(text, tmp_path)) == {*families, "classes/whole"}


def test_every_sweep_keeps_a_cell(tmp_path: Path) -> None:
    grids = [made(DEFINITION, tmp_path, name) for name in ("one", "two")]
    cells = DEFINITION.replace("T: 8", "T: 16")
    grids.append(made(cells.replace("    plain: []\n    warm: [{icod: {T: 4}}]\n", ""), tmp_path, "three"))
    runs = runs_of_every_kind(grids)
    assert all(any(cell.run in runs for cell in grid.grid.cells) for grid in grids)


@pytest.mark.parametrize("name", ["demo-full", "icod-weight-temperature", "study-terms", "moi-priors"])
def test_no_part_of_a_shipped_sweep_is_lost(name: str, tmp_path: Path) -> None:
    grid = smoke_grid(read_definition(name), tmp_path / "runs", SmokeData(tmp_path / "data", tmp_path / "none"))
    specs, runs = grid.specs(), runs_of_every_kind([grid])
    parts = {run: {(spec.kind, *part) for part in _parts(spec)} for run, spec in specs.items()}
    assert set.union(*(parts[run] for run in runs)) == set.union(*parts.values())
    assert all(set(needed_runs(specs[run].teachers).values()) <= runs for run in runs)


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("retinanet-r50", "retinanet"),
        ("faster-rcnn-hr18-800", "faster-rcnn"),
        ("deformable-detr-qr18", "deformable-detr"),
        ("ssd300-vgg16", "ssd300"),
        ("rtmdet-tiny", "rtmdet-tiny"),
        ("", ""),
    ],
)
def test_the_family_of_a_name(name: str, family: str) -> None:
    assert _family(name) == family
