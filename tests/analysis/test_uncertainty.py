"""Differences over images, and over seeds and images, in a table: the numbers of the comparison as it is made alone."""

from pathlib import Path
from typing import Any

import pytest

from analysis import bootstrap, hierarchical
from analysis.build import build
from analysis.errors import InputError
from analysis.frame import Study
from analysis.read import read
from analysis.reportspec import parse
from analysis.table import Table
from tests.analysis import stores

QUALITY = {"baseline": 0.3, "kd": 0.6}


def study(tmp_path: Path, seeds: int, monkeypatch: pytest.MonkeyPatch, images: int = 10) -> Study:
    truth = stores.targets(images)
    monkeypatch.setattr(stores, "targets", lambda: truth)
    stores.make_store(
        tmp_path / "runs", {"method": list(QUALITY)}, seeds=seeds, value=lambda at, s: QUALITY[at["method"]] + 0.01 * s,
        with_detections=True,
    )  # fmt: skip
    return read(tmp_path / "runs", ("made",), tmp_path / "cache")


def table(of: Study, uncertainty: str, **keys: Any) -> Table:
    given = {"kind": "table", "rows": {"method": []}, "baseline": {"method": "baseline"}, "columns": ["AP"],
             "differences": ["AP", "AP50"], "uncertainty": uncertainty, **keys}  # fmt: skip
    return build(of, parse(given), "made")


def found(method: str, seed: int) -> list[dict[str, Any]]:
    return stores.detections(QUALITY[method] + 0.01 * seed, seed)


def test_images_of_two_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = table(study(tmp_path, 1, monkeypatch), "images")
    for metric in ("AP", "AP50"):
        alone = bootstrap.compare(stores.targets(), found("kd", 0), found("baseline", 0), metric)
        cell = made.rows[1].cells[f"delta.{metric}"]
        assert cell.value == pytest.approx(100 * alone.difference)
        assert (cell.low, cell.high) == (pytest.approx(100 * alone.low), pytest.approx(100 * alone.high))
        assert (cell.p, cell.test, cell.interval) == (alone.p, alone.test, alone.interval)
        assert (cell.n, cell.promised, len(cell.runs)) == (1, 1, 2)
    assert any("what the same two checkpoints would give on other images" in said for said in made.statistics)
    assert made.rows[1].cells["delta.AP"].p_holm is not None


def test_seeds_and_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = table(study(tmp_path, 3, monkeypatch), "seeds+images")
    alone = hierarchical.compare(
        stores.targets(), [found("kd", s) for s in range(3)], [found("baseline", s) for s in range(3)], "AP"
    )
    cell = made.rows[1].cells["delta.AP"]
    assert (cell.value, cell.sd) == (pytest.approx(100 * alone.mean), pytest.approx(100 * alone.sd))
    assert (cell.low, cell.p) == (pytest.approx(100 * (alone.low or 0)), alone.p)
    assert (cell.n, cell.promised, len(cell.runs)) == (3, 3, 6)


def test_several_seeds_are_no_two_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"here are 3 seeds .* use `uncertainty: seeds\+images`"):
        table(study(tmp_path, 3, monkeypatch), "images")


def test_one_seed_says_nothing_of_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="needs two seeds on each side"):
        table(study(tmp_path, 1, monkeypatch), "seeds+images")


def test_only_what_can_be_drawn_from_detections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="take params out of `differences`"):
        table(study(tmp_path, 1, monkeypatch), "images", differences=["AP", "params"])


def test_missing_detections_leave_a_hole_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of = study(tmp_path, 1, monkeypatch)
    for path in (tmp_path / "runs").glob("student-*/detections.json.gz"):
        path.unlink()
    cell = table(of, "images").rows[1].cells["delta.AP"]
    assert (cell.kind, cell.promised) == ("missing", 1)
    assert "detections.json.gz" in cell.reason
