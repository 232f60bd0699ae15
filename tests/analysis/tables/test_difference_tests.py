"""Differences over images, and over seeds and images, in a table: the numbers of the comparison as it is made alone."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from analysis.loading.load import read_study
from analysis.loading.schema import Study
from analysis.report.report_spec import parse
from analysis.stats import bootstrap, hierarchical
from analysis.tables.build_table import build_table
from analysis.tables.table import Table
from benchmarks.suite import synthetic_run, synthetic_store
from c2d.core.errors import InputError
from c2d.metrics import coco

QUALITY = {"baseline": 0.3, "kd": 0.6}


def study(tmp_path: Path, seeds: int, monkeypatch: pytest.MonkeyPatch, images: int = 10, **kwargs: Any) -> Study:
    """A store whose results are those of its detections."""
    truth = synthetic_run.targets(images)
    monkeypatch.setattr(synthetic_run, "targets", lambda: truth)
    synthetic_store.make_store(
        tmp_path / "runs", {"method": list(QUALITY)}, seeds=seeds, value=lambda at, s: QUALITY[at["method"]] + 0.01 * s,
        with_detections=True, **kwargs,
    )  # fmt: skip
    for path in (tmp_path / "runs").glob("student-*/detections.json.gz"):
        scored = coco.evaluate(truth, json.loads(gzip.decompress(path.read_bytes())))
        result = json.loads((path.parent / "result.json").read_text())
        (path.parent / "result.json").write_text(json.dumps(result | scored))
    return read_study(tmp_path / "runs", ("made",), tmp_path / "cache")


def table(of: Study, uncertainty: str, **keys: Any) -> Table:
    given = {"kind": "table", "rows": {"method": []}, "baseline": {"method": "baseline"}, "columns": ["AP"],
             "differences": ["AP", "AP50"], "uncertainty": uncertainty, **keys}  # fmt: skip
    return build_table(of, parse(given), "made")


def found(method: str, seed: int) -> list[dict[str, Any]]:
    return synthetic_run.detections(QUALITY[method] + 0.01 * seed, seed)


def test_images_of_two_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = table(study(tmp_path, 1, monkeypatch), "images")
    for metric in ("AP", "AP50"):
        alone = bootstrap.compare_over_images(synthetic_run.targets(), found("kd", 0), found("baseline", 0), metric)
        cell = made.rows[1].cells[f"delta.{metric}"]
        assert cell.value == pytest.approx(100 * alone.difference)
        assert (cell.low, cell.high) == (pytest.approx(100 * alone.low), pytest.approx(100 * alone.high))
        assert (cell.p, cell.test, cell.interval) == (alone.p, alone.test, alone.interval)
        assert (cell.n, cell.n_planned, len(cell.runs)) == (1, 1, 2)
    assert any("the same two checkpoints on other images" in said for said in made.statistics)
    assert made.rows[1].cells["delta.AP"].p_adjusted == made.rows[1].cells["delta.AP"].p


def test_images_of_several_rows_have_intervals_of_their_holm_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two tests: the first step has level 1 - 0.05 / 2, and the interval leaves out 0 exactly where p is below 0.05."""
    monkeypatch.setitem(QUALITY, "near", 0.32)
    made = table(study(tmp_path, 1, monkeypatch), "images", differences=["AP"])
    alone = bootstrap.compare_over_images(synthetic_run.targets(), found("kd", 0), found("baseline", 0), "AP")
    kd, near = (row.cells["delta.AP"] for row in made.rows[1:])
    assert (kd.low, kd.high) == tuple(pytest.approx(100 * end) for end in alone.interval_at(0.975))
    assert (kd.p_adjusted, kd.family) == (pytest.approx(2 * alone.p), 2)
    for cell in (kd, near):
        assert cell.low is not None
        assert cell.high is not None
        assert cell.significant == (cell.low > 0 or cell.high < 0)
        assert (cell.test[-6:], cell.interval[-15:]) == (", Holm", "at Holm's level")


def test_seeds_and_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = table(study(tmp_path, 3, monkeypatch), "seeds+images")
    alone = hierarchical.compare_over_seeds_and_images(
        synthetic_run.targets(), [found("kd", s) for s in range(3)], [found("baseline", s) for s in range(3)], "AP"
    )
    cell = made.rows[1].cells["delta.AP"]
    assert (cell.value, cell.sd) == (pytest.approx(100 * alone.mean), pytest.approx(100 * alone.sd))
    assert (cell.low, cell.p) == (pytest.approx(100 * (alone.low or 0)), alone.p)
    assert (cell.n, cell.n_planned, len(cell.runs)) == (3, 3, 6)


def test_several_seeds_are_no_two_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"there are 3 seeds .* use `uncertainty: seeds\+images`"):
        table(study(tmp_path, 3, monkeypatch), "images")


def test_one_seed_says_nothing_of_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="needs two seeds on each side"):
        table(study(tmp_path, 1, monkeypatch), "seeds+images")


def test_an_unfinished_row_has_a_hole_beside_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """c2d has one of two seeds so far: no reason to say nothing of kd."""
    monkeypatch.setitem(QUALITY, "c2d", 0.5)
    of = study(tmp_path, 2, monkeypatch,
               state=lambda at, s: "running" if (at["method"], s) == ("c2d", 1) else "done")  # fmt: skip
    kd, c2d = (row.cells["delta.AP"] for row in table(of, "seeds+images").rows[1:])
    assert (kd.kind, kd.n) == ("value", 2)
    assert (c2d.kind, c2d.value, c2d.n_planned) == ("missing", None, 2)
    assert "needs two seeds on each side, but there is one" in c2d.reason


@pytest.mark.parametrize(("change", "words"), [
    ({"AP": 0.0123}, "has 0.0123: not one evaluation"),
    ({"detections": 7}, "50 detections, result.json has 7: not one evaluation"),
])  # fmt: skip
def test_detections_of_another_evaluation_give_no_interval(
    change: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study(tmp_path, 1, monkeypatch)
    for path in (tmp_path / "runs").glob("student-*/result.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
    cell = table(read_study(tmp_path / "runs", ("made",), tmp_path / "cache"), "images").rows[1].cells["delta.AP"]
    assert (cell.kind, cell.value) == ("missing", None)
    assert words in cell.reason


def test_only_what_can_be_drawn_from_detections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="take params out of `differences`"):
        table(study(tmp_path, 1, monkeypatch), "images", differences=["AP", "params"])


def test_missing_detections_leave_a_hole_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of = study(tmp_path, 1, monkeypatch)
    for path in (tmp_path / "runs").glob("student-*/detections.json.gz"):
        path.unlink()
    cell = table(of, "images").rows[1].cells["delta.AP"]
    assert (cell.kind, cell.n_planned) == ("missing", 1)
    assert "detections.json.gz" in cell.reason
