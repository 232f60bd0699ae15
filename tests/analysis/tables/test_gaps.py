"""Tables of a data-free sweep: the gap closed, the notes on images, the protocol, all formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from analysis.formats import FORMATS, csvfile, jsonfile
from analysis.loading.load import read_study
from analysis.loading.schema import Study
from analysis.report.explain import explain_cell
from analysis.report.report_spec import parse
from analysis.spec.table_spec import TableSpec
from analysis.stats.gap_closed import gap_closed
from analysis.tables.build_table import build_table
from analysis.tables.table import Row, Table
from c2d.core.errors import InputError
from tests.analysis.data_free_store import AXES, make_data_free_store, value

GAP = {
    "control": {"images": "noise", "method": "baseline"},
    "reference": {"images": "real", "method": "baseline"},
    "columns": ["AP", "tide.Cls"],
}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    place = tmp_path_factory.mktemp("data-free")
    make_data_free_store(place / "runs")
    return read_study(place / "runs", (), place / "cache")


def _spec(**more: Any) -> TableSpec:
    found = parse({"kind": "table", "sweep": "made-moi", "rows": {axis: [] for axis in AXES}, "gap": GAP, **more})
    assert isinstance(found, TableSpec)
    return found


def _table(study: Study, **more: Any) -> Table:
    return build_table(study, _spec(**more), "made-moi")


def _row(table: Table, *labels: str) -> Row:
    return next(row for row in table.rows if row.labels == labels)


def _notes(table: Table, row: Row) -> list[str]:
    return [table.notes[mark] for mark in row.cells[table.columns[0].key].notes]


def test_each_row_has_its_share_of_the_gap_of_its_own_capacity(study: Study) -> None:
    table = _table(study)
    column = next(column for column in table.columns if column.key == "gap.AP")
    assert (column.kind, column.label, column.unit) == ("gap closed", "AP gap closed", "%")
    for capacity in ("equal", "half"):
        samples = [
            {seed: value({"capacity": capacity, "images": images, "method": method}, seed) for seed in range(3)}
            for images, method in (("impressions", "soft_labels"), ("noise", "baseline"), ("real", "baseline"))
        ]
        wanted = gap_closed(samples[0], samples[1], samples[2], "higher")
        cell = _row(table, capacity, "impressions", "soft_labels").cells["gap.AP"]
        assert (cell.value, cell.low, cell.high, cell.n, cell.n_planned) == (
            *(pytest.approx(100 * (share or 0)) for share in (wanted.value, wanted.low, wanted.high)), 3, 3,
        )  # fmt: skip
        assert [run.split("-")[1] for run in cell.runs] == ["soft_labels"] * 3 + ["baseline"] * 6
        assert len(cell.files) == 9
    # The synthetic errors are (1 - AP) times a constant: the same share, although lower is better.
    cells = _row(table, "equal", "impressions", "baseline").cells
    assert cells["gap.tide.Cls"].value == pytest.approx(cells["gap.AP"].value)
    assert _row(table, "half", "noise", "baseline").cells["gap.AP"].reason == "the control (0 %) of the gap closed"
    assert _row(table, "half", "real", "baseline").cells["gap.AP"].reason == "the reference (100 %) of the gap closed"
    assert any(sentence.startswith("Gap closed: (row - control)") for sentence in table.statistics)


def test_without_a_reference_or_a_gap_the_cell_says_why(study: Study) -> None:
    no_gap = {"control": {"images": "impressions", "method": "baseline"}, "reference": GAP["control"]}
    cell = _row(_table(study, gap=no_gap), "equal", "procedural", "baseline").cells["gap.AP"]
    assert (cell.value, cell.reason.startswith("the reference is not ahead of the control (-11")) == (None, True)
    shifted = {**GAP, "reference": {"images": "real"}}  # the same method: there is no real row with soft labels
    cell = _row(_table(study, gap=shifted), "equal", "impressions", "soft_labels").cells["gap.AP"]
    assert cell.reason == "the table has no control and reference for this row"
    one_seed = _row(_table(study, seeds=[0]), "equal", "impressions", "baseline").cells["gap.AP"]
    assert one_seed.reason.startswith("the gap is of one seed")


@pytest.mark.parametrize(
    ("gap", "message"),
    [
        ({**GAP, "control": {"pictures": "noise"}}, "axis of gap.control"),
        ({**GAP, "reference": {"images": "reel"}}, "did you mean 'real'"),
    ],
)
def test_a_row_that_does_not_exist_is_refused(study: Study, gap: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        _table(study, gap=gap)


def test_every_row_says_what_it_was_trained_on(study: Study) -> None:
    table = _table(study)
    said = {images: _notes(table, _row(table, "equal", images, "baseline"))[0] for images in AXES["images"]}
    assert said["impressions"].startswith("data-free: trained on 500 impressions of moi-impressions-")
    assert said["impressions"].endswith("teacher faster-rcnn-qr18-baseline-0123456789ab-s0; no real image")
    assert said["noise"].startswith("data-free: trained on 500 noise images of ")
    assert "with the targets of the impressions" in said["procedural"]
    assert said["unlabelled"].startswith("label-free: trained on 500 real images of ")
    assert said["unlabelled"].endswith("no label of the data set")
    assert said["real"] == "trained on the data set's own images with their labels"
    facts = table.ledger.differs["training images"]
    assert {text.partition(" of ")[0] for text in facts.values()} == {
        "500 noise images", "500 procedural images", "500 impressions", "500 real images", "real, labelled",
    }  # fmt: skip
    assert table.ledger.same["evaluation split"] == "val"
    assert table.ledger.same["dataset digest"] == "d" * 12
    bold = {row.labels for row in table.rows if row.cells["AP"].bold}
    assert bold == {("equal", "impressions", "soft_labels"), ("half", "impressions", "soft_labels")}


def test_a_data_free_row_that_starts_from_weights_says_so(tmp_path: Path) -> None:
    make_data_free_store(tmp_path / "runs", init="torchvision:resnet18.IMAGENET1K_V1")
    table = _table(read_study(tmp_path / "runs", (), tmp_path / "cache"))
    sentence = (
        "its student does not start from random weights (init torchvision:resnet18.IMAGENET1K_V1): real images are in "
        "its start"
    )
    assert sentence in _notes(table, _row(table, "equal", "impressions", "baseline"))
    assert sentence not in _notes(table, _row(table, "equal", "unlabelled", "baseline"))


def test_rows_of_other_images_are_not_compared_unless_an_axis_sets_them(study: Study) -> None:
    """Named by capacity and method alone, a row of impressions would be compared with one of noise."""
    frame = study.frame.copy()
    is_noise = (frame["axis.images"] == "noise") | (frame["axis.method"] == "soft_labels")
    only = frame[is_noise | (frame["role"] == "teacher")].copy()
    hidden = Study(study.runs, only.drop(columns="axis.images"), study.sweeps, [], study.cache)
    spec = parse({"kind": "table", "sweep": "made-moi", "rows": {"capacity": [], "method": []}})
    assert isinstance(spec, TableSpec)
    with pytest.raises(InputError, match="training images is 500 impressions"):
        build_table(hidden, spec, "made-moi")


def test_all_formats_have_the_gap_and_explain_finds_its_runs(study: Study, tmp_path: Path) -> None:
    table = _table(study)
    cell = _row(table, "equal", "impressions", "baseline").cells["gap.AP"]
    shown = f"{cell.value:.1f}"
    for name, write in FORMATS.items():
        text = write(table)
        assert "AP gap closed" in text, name
        assert (shown if name not in ("csv", "json") else repr(cell.value)) in text, name
    assert jsonfile.read(FORMATS["json"](table)) == table
    path = tmp_path / "gap.csv"
    path.write_text(csvfile.write(table), encoding="utf-8")
    found = explain_cell(path, "equal / impressions / baseline", "gap.AP", study.runs)
    assert (
        "share of the gap, of the means (runs: the row's, its control's, its reference's) of 3 of 3 seeds"
        in found.text()
    )
    assert len(found.runs) == 9
    assert found.runs[0].value == pytest.approx(100 * value({"capacity": "equal", "images": "impressions",
                                                             "method": "baseline"}, 0))  # fmt: skip
    assert found.runs[0].facts["images"].startswith("500 impressions of ")
