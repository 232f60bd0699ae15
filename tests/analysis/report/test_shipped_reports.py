"""The shipped reports on the shipped sweeps: the paper's rows in its order, its numbers beside the right ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from analysis.loading.columns import IOUS, TIDE
from analysis.loading.load import read_study
from analysis.loading.schema import Study
from analysis.plots import FIGURES
from analysis.report import defaults
from analysis.report.report_spec import read_spec
from analysis.spec.claims_spec import ClaimsSpec
from analysis.spec.labels import label_of_value
from analysis.spec.table_spec import TableSpec
from analysis.tables.build_table import build_table
from analysis.tables.table import Table
from benchmarks.suite.synthetic_run import write_json
from c2d.core.errors import InputError
from sweeps.definition.definition import definition_names
from tests.analysis.planned_store import fill_planned, planned

WITHOUT_FIGURES = ("teacher-fit",)
"""Too many cells for figures by default: the report says so."""
PLANNED = ("icod-students", "icod-weight-temperature", "icod-teacher", "icod-crop-size", "icod-pooling", "icod-layers",
           "icod-detectors", "icod-iou", "icod-tide", "rivals", "modern-bccd",
           "modern-coco-mini", "defeat-main", "fgfi-main", "gid-main", "gkd-main", "frs-main", "fgd-main", "ld-main",
           "pkd-main", "crosskd-main", *WITHOUT_FIGURES)  # fmt: skip
DATA_FREE = ("moi-scenes", "moi-scenes-dense", "moi-images", "moi-iterations", "moi-priors", "moi-presets", "moi-kitti",
             "moi-voc", "moi-coco")  # fmt: skip
TABLES = [item for item in defaults.shipped_reports() if isinstance(item, TableSpec)]


def study_in(folder: Path, sweep: str) -> Study:
    """A store in which a shipped sweep is finished: its own specs, made-up numbers."""
    fill_planned(folder / "runs", *planned(sweep))
    return read_study(folder / "runs", (), folder / "cache")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Study]:
    """The store of a sweep, which the tests of this file share and do not change."""
    return cache(lambda sweep: study_in(tmp_path_factory.mktemp(sweep), sweep))


@pytest.fixture(scope="module")
def built(finished: Callable[[str], Study]) -> Callable[[str], Table]:
    """The table of a shipped report by name."""

    def build(name: str) -> Table:
        spec = read_spec(defaults.SHIPPED / f"{name}.yaml")
        return build_table(finished(spec.sweep), spec, spec.sweep, name, False)

    return cache(build)


def published(table: Table, column: str = "AP") -> list[float | None]:
    return [row.cells[f"published.{column}"].value for row in table.rows]


def test_every_planned_sweep_of_the_paper_has_a_report() -> None:
    reports = [item for item in defaults.shipped_reports() if not isinstance(item, ClaimsSpec)]
    assert {item.sweep for item in reports} == {*PLANNED, *DATA_FREE}


def test_shipped_claims_are_about_shipped_sweeps() -> None:
    for item in defaults.shipped_reports():
        if isinstance(item, ClaimsSpec):
            assert set(item.sweeps("")) <= set(definition_names()), item.name


@pytest.mark.parametrize("spec", TABLES, ids=lambda spec: spec.name)
def test_a_table_is_complete_and_in_the_papers_order(
    finished: Callable[[str], Study], built: Callable[[str], Table], spec: TableSpec
) -> None:
    assert finished(spec.sweep).problems == []
    table = built(spec.name)
    assert len(table.rows) >= 4
    main = next(key for key in spec.columns if key.startswith(("A", "iou")))
    assert all(row.cells[main].n == 3 for row in table.rows)
    keys = [column.key for column in table.columns]
    assert [key for key in keys if key in spec.columns] == spec.columns
    first = next(iter(spec.rows))
    # A baseline that two rows share has the labels of both.
    shown = [text for row in table.rows if row.labels[0] for text in row.labels[0].split("/")]
    assert list(dict.fromkeys(shown)) == [label_of_value(spec, first, label) for label in spec.rows[first]]
    assert not [heading for heading in table.headings if "." in heading]  # the paper's symbols, never keys of a spec
    if spec.published:
        beside = [*spec.published.columns, *(f"other.{name}" for name in spec.published.other)]
        assert any(value is not None for column in beside for value in published(table, column))


PAPER = {
    "icod-table1": [25.6, 26.3, 27.1, 27.2, 27.9, 29.4, 30.3, 30.8, 31.0, 32.1, 23.3, 25.9, 24.2, 24.3, 27.2, 31.9,
                    32.6, 32.2, 32.3, 32.7],
    "icod-table2": [38.4, 38.7, 39.1, 40.2, 41.5, 38.8, 41.9, 37.4, 38.6, 39.1, 39.6, 37.9, 40.7, 31.9, 33.9, 32.7,
                    34.2, 23.3, 26.1, 27.2, 28.0, 29.4, 31.2, 32.1, 32.6],
    "icod-table3a": [25.6, 25.8, 25.4, 25.8, 26.0, 26.1, 26.3, 26.0],
    "icod-table3b": [None, 25.9, 26.2, 26.3, 26.2, 25.3],
    "icod-table4a": [None, 26.4, 26.7, 26.8, 27.0, 27.0],
    "icod-table4b": [None, 26.6, 27.0, 27.1, 26.9],
    "icod-table4c": [None, 27.1, 26.8, 27.2, 26.9],
    "icod-table5": [25.6, 26.3, 27.2, 27.9],
    "defeat-main": [37.4, 40.4, 40.8, 40.9, 36.5, 39.5, 39.7],
    "fgfi-main": [38.4, 39.3, 37.4, 38.6],
    "gid-main": [36.2, 39.1, 38.5, 42.0, 38.3, 40.2],
    "gkd-main": [38.4, 40.6, 40.6, 37.4, 39.8, 39.8],
    "frs-main": [37.4, 39.7, 40.2, 43.6, 42.9, 44.7, 37.4, 39.5, 38.5, 40.9],
    "fgd-main": [37.4, 39.6, 39.7, 40.4, 40.7, 38.4, 40.4, 40.5, 42.0, 38.5, 42.1, 42.7],
    "ld-main": [35.8, 36.5, 37.5, 38.9, 39.8, 41.0, 40.1, 41.1, 42.1],
    "pkd-main": [38.4, 40.3, 37.4, 40.8, 36.5, 40.3],
    "crosskd-main": [40.2, 43.7, 43.9, 37.4, 39.7, 39.8, 38.5, 41.1, 41.3, 39.4, 41.8, 41.8],
}  # fmt: skip


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_numbers_stand_beside_the_right_rows(built: Callable[[str], Table], name: str) -> None:
    """The lists above are read from the papers' tables, row by row."""
    assert published(built(name)) == PAPER[name]


def test_what_a_paper_does_not_have_is_a_dash_with_that_reason(built: Callable[[str], Table]) -> None:
    """Table 2 has no FKD with ICOD for QR50 and SSD512; a later version of the paper has, without sizes of objects."""
    rows = {row.key: row.cells for row in built("icod-table2").rows}
    both = {model: rows[f"model={model}, method=icod+fkd"] for model in ("frcnn-r50", "frcnn-qr50", "ssd512")}
    assert {model: cells["published.AP"].value for model, cells in both.items()} == {
        "frcnn-r50": 41.9, "frcnn-qr50": 28.0, "ssd512": 32.6,
    }  # fmt: skip
    assert "secondary" in both["frcnn-qr50"]["published.AP"].source
    assert (both["ssd512"]["published.APs"].value, both["ssd512"]["published.APs"].reason) == (None, "not published")
    fkd = rows["model=frcnn-qr50, method=fkd"]
    assert fkd["published.AP"].value == 26.1
    assert fkd["published.delta.AP"].value == pytest.approx(26.1 - 23.3)


def test_table_5_has_the_papers_numbers_at_every_threshold(built: Callable[[str], Table]) -> None:
    assert published(built("icod-table5"), "iou.0.50") == [43.8, 45.2, 43.3, 45.1]
    assert published(built("icod-table5-high"), "iou.0.90") == [5.2, 5.1, 8.4, 8.8]
    asked = [key for name in ("icod-table5", "icod-table5-high") for key in columns_of(built(name), "published")]
    assert asked == [f"published.{key}" for key in ("AP", *(f"iou.{iou}" for iou in IOUS))]


@pytest.mark.parametrize("name", [*PAPER, "icod-table1-recall"])
def test_a_measured_number_is_compared_with_the_published_one(built: Callable[[str], Table], name: str) -> None:
    """Both in percent: the measured ones are made up, between 20 and 30 % as the published ones of these students."""
    table = built(name)
    compared = columns_of(table, "deviation")
    assert compared
    for row in table.rows:
        for key in compared:
            mean, wanted, cell = (row.cells[part + key.removeprefix("deviation.")]
                                  for part in ("", "published.", "deviation."))  # fmt: skip
            if wanted.value is None:
                assert (cell.value, cell.reason) == (None, wanted.reason)
                continue
            middle, low, high = (one for one in (cell.value, cell.low, cell.high) if one is not None)
            assert middle == pytest.approx((mean.value or 0) - wanted.value)
            assert 20 < wanted.value < 50
            assert any("outside the 95 % interval" in table.notes[mark] for mark in wanted.notes) == cell.significant
            assert cell.significant == (not low <= 0 <= high)
            # sqrt(1 + 1/3) is twice sqrt(1/3), the factor of the interval of the mean
            assert high - low == pytest.approx(((mean.high or 0) - (mean.low or 0)) * 2)


def columns_of(table: Table, kind: str) -> list[str]:
    return [column.key for column in table.columns if column.kind == kind]


def test_students_of_two_input_sizes_are_timed_in_one_table(tmp_path: Path) -> None:
    """SSD300 takes 300 x 300 pixels and Faster R-CNN 1333 x 800: each is timed at its own, and the table says so."""
    spec = read_spec(defaults.SHIPPED / "icod-table1-cost.yaml")
    study = study_in(tmp_path, spec.sweep)
    rows = study.frame[study.frame["role"] == "student"]
    for run, model in zip(rows["run"], rows["axis.model"], strict=True):
        conditions = {"backend": "eager", "input": {"ssd300": "300x300", "ssd512": "512x512"}.get(model, "1333x800")}
        samples = [{"samples_ms": [8.0 + launch + k / 100 for k in range(100)]} for launch in range(3)]
        timed = {"format": 1, "device": "GPU A", "conditions": conditions, "launches": samples, "flops": 10**9}
        write_json(study.runs / run / "latency" / "a.json", timed)
    table = build_table(study, spec, spec.sweep, spec.name, False)
    assert {row.cells["latency_p50"].n for row in table.rows} == {3}
    told = {sentence for sentence in table.notes.values() if sentence.startswith("timed at")}
    assert told == {f"timed at input {size}, that of its student" for size in ("300x300", "512x512", "1333x800")}


def test_a_data_free_table_has_the_gap_and_the_papers_own_metric_beside(
    finished: Callable[[str], Study], built: Callable[[str], Table]
) -> None:
    """The paper's abstract: 64.2 for the capacity of the teacher, 55.5 for half of it."""
    spec = read_spec(defaults.SHIPPED / "moi-kitti.yaml")
    study = finished(spec.sweep)
    misspelled = spec.published.model_copy(update={"other": ["map"]})
    with pytest.raises(InputError, match=r"metric of moi in `published.other` 'map'; known: mAP"):
        build_table(study, spec.model_copy(update={"published": misspelled}), spec.sweep, spec.name, False)
    table = built(spec.name)
    assert [column.key for column in table.columns if column.is_published] == ["published.other.mAP"]
    beside = {row.key: row.cells["published.other.mAP"].value for row in table.rows}
    assert {key: value for key, value in beside.items() if value is not None} == {
        "capacity=equal, images=impressions, method=baseline": 64.2,
        "capacity=half, images=impressions, method=baseline": 55.5,
    }
    assert any("mAP is the paper's own metric, which no measured column is" in text for text in table.statistics)
    closed = {row.key: row.cells["gap.AP"] for row in table.rows}
    assert sum(cell.value is not None for cell in closed.values()) == 2 * 8  # all rows but noise and real, labelled
    assert all(cell.low is not None for cell in closed.values() if cell.value is not None)


@pytest.mark.parametrize("name", ["moi-images-curve", "moi-iterations-curve", "moi-priors-seeds"])
def test_the_figures_of_data_free_sweeps_have_every_point(finished: Callable[[str], Study], name: str) -> None:
    spec = read_spec(defaults.SHIPPED / f"{name}.yaml")
    study = finished(spec.sweep)
    data = FIGURES[spec.kind].data(study, spec, spec.sweep)
    means = data[data["point"] == "mean"].groupby("row").size().to_dict()
    flat = set(data[data["point"] == "flat"]["row"]) if spec.kind == "curve" else set()
    wanted = {"moi-images-curve": [5, 5], "moi-iterations-curve": [4], "moi-priors-seeds": [1] * 10}[name]
    assert sorted(means.values()) == sorted(wanted)
    assert flat == ({"real"} if spec.kind == "curve" else set())
    assert FIGURES[spec.kind].draw(data, spec).axes


def test_the_figures_over_the_iou_threshold_have_every_point(finished: Callable[[str], Study]) -> None:
    """Table 5 as a figure in percent, with the differences to the baseline; TIDE's six errors of the same four rows."""
    curve, errors = (read_spec(defaults.SHIPPED / f"{name}.yaml") for name in ("icod-table5-curve", "icod-tide-curves"))
    of_ap, of_errors = (FIGURES[spec.kind].data(finished(spec.sweep), spec, spec.sweep) for spec in (curve, errors))
    assert of_ap.groupby("form").size().to_dict() == {"AP": 4 * 10, "difference": 3 * 10}
    assert of_errors.groupby("error").size().to_dict() == dict.fromkeys(TIDE[:6], 4 * 10)
    for data, spec in ((of_ap, curve), (of_errors, errors)):
        assert (data["n"] == 3).all()
        assert list(dict.fromkeys(data["row"])) == ["baseline", "kd_cls", "loc+kd_loc", "all"]
        assert FIGURES[spec.kind].draw(data, spec).axes
    assert of_ap[of_ap["form"] == "AP"]["value"].between(5, 70).all()
    loc = of_errors[(of_errors["error"] == "Loc") & (of_errors["row"] == "all")].sort_values("iou")["value"]
    assert loc.iloc[-1] == pytest.approx(2.5 * loc.iloc[0])


@pytest.mark.parametrize("sweep", WITHOUT_FIGURES)
def test_a_sweep_without_default_figures_says_why(finished: Callable[[str], Study], sweep: str) -> None:
    spec = next(item for item in TABLES if item.sweep == sweep)
    assert "no figures by default" in defaults.omission_reason(finished(spec.sweep), sweep)


@pytest.mark.parametrize("sweep", sorted(set(PLANNED) - set(WITHOUT_FIGURES)))
def test_the_default_figures_of_a_planned_sweep_can_be_drawn(finished: Callable[[str], Study], sweep: str) -> None:
    spec = next(item for item in defaults.shipped_reports() if item.sweep == sweep)
    study = finished(spec.sweep)
    figures = [item for item in defaults.default_items(study, sweep) if not isinstance(item, TableSpec)]
    assert figures
    quick = [item for item in figures if item.kind in ("curve", "heatmap", "pareto", "seeds")]
    assert quick
    for item in quick:
        module = FIGURES[item.kind]
        data = module.data(study, item, sweep)
        assert data["value" if "value" in data else "y"].notna().any()
        assert module.draw(data, item).axes
