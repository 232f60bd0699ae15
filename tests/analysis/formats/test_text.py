"""The words of a cell, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from analysis.formats.cell_text import DASH, format_interval, format_number, header, p_value, printable, printable_line
from analysis.formats.text import FEW, common_n, table_text
from analysis.tables.table import Cell, Column, Ledger, Row, Table
from tests.analysis.formats.tables import complete, difference, measured, paper, published

AP = Column("AP", "AP", "%", 1)
DELTA = Column("d", "AP", "%", 1, "difference")


def shown(cell: Cell, column: Column = AP, *others: Cell):
    """How the first of some rows reads."""
    rows = tuple(Row(f"row {at}", (f"{at}",), {column.key: cell}) for at, cell in enumerate((cell, *others)))
    wording = table_text(Table("t", "t", ("row",), (column,), rows))
    return wording.cells[0, column.key], wording


@pytest.mark.parametrize(
    ("value", "digits", "signed", "text"),
    [
        (37.449, 1, False, "37.4"),
        (37.25, 1, False, "37.2"),  # half to even, as format does
        (-1.25, 1, True, "−1.2"),
        (1.2, 1, True, "+1.2"),
        (-0.04, 1, True, "0.0"),
        (-0.0, 1, False, "0.0"),
        (1234.5, 0, False, "1234"),
    ],
)
def test_numbers(value, digits, signed, text):
    assert format_number(value, digits, signed) == text


def test_an_interval_tells_whether_it_leaves_out_zero() -> None:
    assert format_interval(0.3, 2.1, 1) == "[0.3, 2.1]"
    assert format_interval(0.017, 1.276, 1) == "[0.02, 1.28]"
    assert format_interval(-1.2, -0.0004, 1) == "[−1.2000, −0.0004]"
    assert format_interval(-0.04, 0.6, 1) == "[−0.04, 0.60]"
    assert format_interval(0.0, 1.25, 1) == "[0.0, 1.2]"  # an end that is 0
    assert format_interval(1e-9, 1.0, 1) == "[0.0000, 1.0000]"


def test_equal_and_complete_n_is_said_once():
    cell, wording = shown(measured(37.44), AP, measured(38.0))
    assert cell.plain == "37.4 ± 0.2"
    assert wording.caption == ("Mean ± standard deviation over 3 seeds.",)
    assert common_n(complete()) == 3


def test_differing_n_is_said_in_every_cell():
    cell, wording = shown(measured(37.44), AP, measured(38.0, n=5, n_planned=5))
    assert cell.plain == "37.4 ± 0.2 (3)"
    assert wording.caption == ("Mean ± standard deviation over seeds, their number in parentheses.",)


def test_an_unfinished_cell_says_so_and_fewer_than_three_are_marked():
    cell, wording = shown(measured(37.44, n=2))
    assert cell.plain == "37.4 ± 0.2 (2/3)"
    assert cell.marks == (FEW,)
    assert wording.notes == {FEW: "fewer than three seeds"}
    assert shown(measured(37.44, n=4, n_planned=5))[0].marks == ()
    cell, wording = shown(measured(37.44, None, n=1, n_planned=1))
    assert (cell.plain, cell.marks) == ("37.4", (FEW,))
    assert wording.caption == ("n = 1 seed in every cell.",)


def test_a_number_that_no_seed_stands_behind_has_no_n():
    assert shown(Cell(value=34.3), AP, measured(1.0, n=2))[0].plain == "34.3"


def test_a_difference_shows_sign_and_interval():
    cell, wording = shown(difference(1.21, 0.3, 2.1), DELTA)
    assert cell.plain == "+1.2 [0.3, 2.1]"
    assert wording.under == (("p of Δ AP", "paired t, Holm: 0 0.012."),)


def test_a_difference_without_interval_or_test_says_why():
    lonely = difference(1.21, None, None, None, interval="one pair", test="one pair")
    cell, wording = shown(lonely, DELTA)
    assert cell.plain == "+1.2"
    assert wording.notes == {"a": "no interval: one pair"}
    assert wording.under == (("p of Δ AP", "not tested (one pair): 0."),)


def test_a_measured_value_without_spread_shows_its_interval():
    assert shown(measured(37.44, None, low=36.9, high=38.04))[0].plain == "37.4 [36.9, 38.0]"


def test_a_missing_cell_is_a_dash_with_its_reason_as_a_note():
    hole = Cell(kind="missing", reason="failed: out of memory")
    cell, wording = shown(hole, AP, hole)
    assert (cell.plain, cell.marks) == (DASH, ("a",))
    assert wording.notes == {"a": "failed: out of memory"}  # one reason, one note
    assert shown(Cell(value=float("nan")))[0].plain == DASH
    assert shown(Cell(value=None))[0].plain == DASH


def test_a_reason_that_is_a_note_already_uses_its_mark():
    table = paper()
    wording = table_text(table)
    assert wording.cells[5, "published.AP"].marks == ("a",)
    assert list(wording.notes) == ["a", "b", "c", FEW]


def test_the_difference_of_the_baseline_to_itself_needs_no_note():
    assert table_text(paper()).cells[0, "delta.AP"].marks == ()


def test_published_numbers_are_never_bold_and_say_so():
    column = Column("p", "AP", "%", 1, "published")
    assert not shown(replace(published(25.6), bold=True), column)[0].bold
    assert header(column) == "AP [%] (publ.)"
    assert header(DELTA) == "Δ AP [%]"
    assert header(replace(DELTA, label="Δ AP", unit="")) == "Δ AP"


def test_the_ledger_in_sentences():
    said = dict(table_text(paper()).under)
    assert said["Same for all rows"] == "schedule: 1x; batch: 16; init: torchvision:resnet18; code: 0a1b2c3d."
    assert said["Differs between rows"].startswith(
        "teacher metric: none (SSD300 / baseline, RetinaNet-R18 / baseline), otherwise 84.1; "
    )
    mixed = replace(complete(), ledger=Ledger(mixed=("kd_cls ran longer", "noted")), notes={"*": "noted"})
    assert dict(table_text(mixed).under)["Mixed protocols"] == "kd_cls ran longer."


def test_rows_without_runs_have_no_facts():
    """Most rows of a plan may have none; they are not what the others are compared with."""
    hole = Cell(kind="missing", reason="not run")
    rows = tuple(Row(name, (name,), {"AP": hole}) for name in "abcd")
    ledger = Ledger(differs={"batch": {"a": "4", "b": "8", "c": "", "d": ""}})
    said = dict(table_text(Table("t", "t", ("row",), (AP,), rows, ledger=ledger)).under)
    assert said["Differs between rows"] == "batch: 4 (a), 8 (b)."


def test_rows_that_read_alike_are_named_by_their_keys():
    table = complete()
    rows = tuple(replace(row, labels=("same", "")) for row in table.rows)
    said = dict(table_text(replace(table, rows=rows)).under)["p of Δ AP"]
    assert said == "paired t, Holm: model=SSD300, method=kd_cls 0.012, model=SSD300, method=loc + kd_loc 0.012."


def test_p_values():
    assert [p_value(p) for p in (0.0001, 0.0123, 0.5, 1.0)] == ["< 0.001", "0.012", "0.5", "1"]


def test_unprintable_characters_become_visible():
    assert printable("a\0b\r\nc\ud800\ufffe") == "a\ufffdb\nc\ufffd\ufffd"
    assert printable_line(" a\n\u2028 b\t") == "a b"
