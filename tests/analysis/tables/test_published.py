"""Published numbers: the shipped file, files of one's own, and which row stands beside a measured one."""

import hashlib
import itertools
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.loading.load import read_study
from analysis.loading.published_file import COLUMNS, SHIPPED, equal, load_published
from analysis.loading.schema import Study
from analysis.report.report_spec import SHIPPED as REPORTS
from analysis.report.report_spec import read_spec
from analysis.spec.table_spec import PublishedSpec, TableSpec
from analysis.tables.aggregate import Samples
from analysis.tables.build_table import build_table
from analysis.tables.deviations import OUTSIDE, deviation_cell, marked_if_outside, sentences
from analysis.tables.groups import Group
from analysis.tables.published import check_published, find_published, published_cells, published_gain
from analysis.tables.table import Cell
from benchmarks.suite.synthetic_store import make_store
from c2d.core.errors import InputError

TABLE_1 = {"paper": "icod", "table": "Table 1 (compact students)"}
METHODS = {"baseline": {"method": "baseline"}, "kd": {"method": "kd_cls"}}


def group(**labels: str) -> Group:
    return Group(labels, (), tuple(labels.values()), pd.DataFrame())


def spec(**keys: object) -> PublishedSpec:
    return PublishedSpec.model_validate({**TABLE_1, "all": {"detector": "SSD300"}, "rows": {"method": METHODS}, **keys})


def own(tmp_path: Path, *rows: dict[str, str], columns: tuple[str, ...] = COLUMNS) -> Path:
    path = tmp_path / "own.csv"
    lines = [",".join(columns), *(",".join(row.get(name, "") for name in columns) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_shipped_file_is_whole() -> None:
    entries = load_published()
    assert len(entries) == 670
    assert all(entry.source for entry in entries)
    assert entries[0].number("AP") == 25.6
    assert entries[0].other == {"mAR": "37.6", "ARs": "12.5", "ARm": "41.7", "ARl": "58.6"}
    assert SHIPPED.name == "published.csv"


def test_a_row_and_its_numbers() -> None:
    entry = find_published(spec(), group(method="kd"))
    assert entry is not None
    numbers = {key: entry.number(key) for key in ("AP", "AP50", "AR100", "ARl", "iou.0.55", "tide.Cls", "latency_p50")}
    assert numbers == {"AP": 26.3, "AP50": 45.2, "AR100": 38.4, "ARl": 59.1, "iou.0.55": None, "tide.Cls": None,
                       "latency_p50": None}  # fmt: skip
    assert published_gain(entry, "AP", spec())[0] == 0.7
    value, source = published_gain(entry, "AP50", spec())
    assert value == pytest.approx(45.2 - 43.8)
    assert source.endswith("(difference computed from its baseline row, 43.8)")
    assert published_gain(entry, "AP", spec())[1].endswith("(difference as printed)")


def test_rows_without_conditions_have_nothing() -> None:
    assert find_published(spec(), group(method="mine")) is None
    assert find_published(spec(rows={}), group(method="kd")) is None
    made = published_cells(spec(), group(method="mine"), gains=True)
    assert {cell.reason for cell in made.values()} == {"not published"}
    assert set(published_cells(spec(), group(method="kd"), gains=False)) == {"published.AP"}


def test_axes_that_made_no_difference_are_passed_over() -> None:
    table = {"table": "Table 3a (lambda_kc and T)", "all": {}}
    rows = {"method": METHODS, "T": {"1": {"other.T": "1"}, "2": {"other.T": "2.0"}},
            "weight": {"0.40": {"other.lambda_kc": "0.40"}}}  # fmt: skip
    given = spec(**table, rows=rows)
    also = {"method": "baseline", "T": "2", "weight": "0.1"}
    blank = Group({"method": "baseline", "T": "1", "weight": "0.40"}, (also,), ("baseline", "", ""), pd.DataFrame())
    found = [find_published(given, one) for one in (blank, group(method="kd", T="2", weight="0.40"))]
    assert [entry and entry.number("AP") for entry in found] == [25.6, 26.3]


def test_a_combination_that_no_paper_has_is_not_published() -> None:
    rows = {"method": METHODS, "T": {"2": {"other.T": "2", "other.lambda_kc": "0.3"}}}
    given = spec(table="Table 3a (lambda_kc and T)", rows=rows)
    assert find_published(given, group(method="kd", T="2")) is None


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"all": {}}, "several published rows fit; add conditions; candidates: 'detector: SSD300"),
        ({"all": {"detector": "SSD3000"}}, "no published row of the paper has detector: SSD3000; change it; candid"),
        ({"all": {"detektor": "SSD300"}}, "unknown column of published results 'detektor'.*did you mean 'detector'"),
        (
            {"table": "Table 1"},
            "unknown table of icod 'Table 1'; did you mean 'Table 1 .compact.* known: Section 4.1 text, Table 1",
        ),
        ({"later_table": "Table 22", "all": {"detector": "FCOS"}}, "unknown table of icod 'Table 22'"),
        ({"paper": "icot"}, "unknown published paper 'icot'.*did you mean 'icod'"),
        ({"file": "nowhere.csv"}, "cannot read the results nowhere.csv"),
    ],
)
def test_conditions_that_fit_nothing_or_too_much_are_refused(keys: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        find_published(spec(**keys), group(method="kd"))


def test_ones_own_results(tmp_path: Path) -> None:
    base = {"paper_key": "me", "table": "t", "method": "baseline", "AP": "30", "source": "my notes"}
    path = own(tmp_path, base, {**base, "method": "kd", "AP": "31.5"})
    mine = PublishedSpec(paper="me", table="t", rows={"method": {"kd": {"method": "kd"}}}, file=str(path))
    made = published_cells(mine, group(method="kd"), gains=True)
    assert (made["published.AP"].value, made["published.AP"].source) == (31.5, "me, t: my notes")
    assert made["published.delta.AP"].value == 1.5


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"source": " "}, r"own\.csv:2: no source"),
        ({"source": "s", "AP": "0,3"}, r"own\.csv:2: 23 values for 22 columns"),
        ({"source": "s", "AP": "many"}, r"own\.csv:2: AP is 'many'"),
        ({"source": "s", "AP50": "nan"}, r"own\.csv:2: AP50 is 'nan'"),
        ({"source": "s", "other_metric": "a;b", "other_value": "1"}, r"own\.csv:2: 2 names in other_metric, 1 values"),
    ],
)
def test_wrong_rows_are_named_with_their_line(row: dict[str, str], words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        load_published(own(tmp_path, row))


def test_a_file_without_the_columns(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"own\.csv:1: no column source;"):
        load_published(own(tmp_path, columns=COLUMNS[:-2]))
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="no CSV in UTF-8"):
        load_published(binary)


def test_two_axes_that_speak_of_different_things_have_no_number() -> None:
    """A number of ResNet50 at 56 px would else stand beside ResNet18: the paper has no such row."""
    r50 = "ResNet50 classifier, input 56x56"
    network = {"r18": {"teacher": "ResNet18 classifier"}, "r50": {"teacher": r50}}
    of_size = {"table": "Table 3b (teacher input size)", "teacher": r50}
    given = spec(table="Table 3b (teacher network)", all={}, rows={"network": network, "size": {"56": of_size}})
    assert find_published(given, group(network="r18", size="56")) is None
    same = find_published(given, group(network="r50", size="56"))  # they agree, and the later one names the table
    assert same is not None
    assert same.number("AP") == 26.2
    spelled = {"a": {"1": {"other.T": "2"}}, "b": {"1": {"other.T": "2.0", "other.lambda_kc": "0.4"}}}
    again = find_published(spec(table="Table 3a (lambda_kc and T)", all={}, rows=spelled), group(a="1", b="1"))
    assert again is not None  # 2 and 2.0 are one value


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ({"methd": {"kd": {}}}, "unknown axis in `published.rows` 'methd'; did you mean 'method'. known: method;"),
        ({"method": {"kdd": {}}}, "unknown label of axis method in `published.rows` 'kdd'; did you mean 'kd'. known: "),
        ({"model": {"ssd": {}}}, "unknown axis in `published.rows` 'model'; did you mean 'method'. known: method"),
    ],
)
def test_mistyped_axes_and_labels_are_refused(study: Study, rows: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_published(spec(rows=rows), study, "made", ["method"])


def test_a_table_refuses_them_too(study: Study) -> None:
    given = spec(rows={"method": {"kdd": {"method": "kd_cls"}}})
    table = TableSpec(kind="table", rows={"method": [], "model": []}, columns=["AP"], published=given)
    with pytest.raises(InputError, match="did you mean 'kd'"):
        build_table(study, table, "made")


def test_labels_of_the_sweep_that_the_table_leaves_out_are_no_mistake(study: Study) -> None:
    check_published(
        spec(rows={"method": {"kd": {}, "crop": {}}, "model": {"ssd": {}}}), study, "made", ["method", "model"]
    )
    record = study.sweeps["made"]["axes"]["method"]
    assert record == ["baseline", "kd", "crop"]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """One model, three methods; of `crop` there is no run yet."""
    runs = tmp_path_factory.mktemp("published") / "runs"
    make_store(runs, {"model": ["ssd"], "method": ["baseline", "kd", "crop"]}, seeds=1,
               state=lambda labels, seed: "new" if labels["method"] == "crop" else "done")  # fmt: skip
    return read_study(runs, cache=runs.parent / "cache")


def test_a_baseline_of_another_schedule_gives_no_gain(tmp_path: Path) -> None:
    base = {"paper_key": "me", "table": "t", "method": "baseline", "schedule": "1x", "AP": "30", "source": "my notes"}
    kd = {**base, "method": "kd", "AP": "33"}
    mine = PublishedSpec(paper="me", table="t", rows={}, file=str(own(tmp_path, base, kd, {**kd, "schedule": "2x"})))
    _, once, twice = load_published(Path(mine.file))
    assert published_gain(once, "AP", mine)[0] == 3.0
    assert published_gain(twice, "AP", mine) == (None, "not published (its baseline is of another schedule, 1x)")


def shipped() -> dict[str, PublishedSpec]:
    made = {path.stem: read_spec(path) for path in sorted(REPORTS.glob("*.yaml"))}
    return {name: one.published for name, one in made.items() if isinstance(one, TableSpec) and one.published}


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_report_finds_its_published_rows(name: str) -> None:
    """Labels with conditions, in all combinations: a row or none, never a refusal; and each label has one somewhere."""
    given = shipped()[name]
    seen: dict[str, set[str]] = {axis: set() for axis in given.rows}
    for labels in itertools.product(*given.rows.values()):
        at = dict(zip(given.rows, labels, strict=True))
        if find_published(given, group(**at)) is not None:
            for axis, label in at.items():
                seen[axis].add(label)
    without = {label for axis, rows in given.rows.items() for label in rows.keys() - seen[axis]}
    assert without <= {"baseline"}  # of a grid: its row is blank on the axes it ignores


@settings(max_examples=50, deadline=None)
@given(raw=st.binary(max_size=300))
def test_any_bytes_are_rows_or_an_input_error(raw: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("published") / "any.csv"
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"any\.csv"):
        load_published(path)


def test_an_ablation_without_a_baseline_takes_that_of_the_papers_other_tables() -> None:
    """ICOD's Table 4a has no baseline row; Tables 1, 3a and 5 have one for SSD300, 25.6, and agree on it."""
    (row,) = [
        entry
        for entry in load_published()
        if entry.text["table"] == "Table 4a (sampling size)" and entry.other["sampling_size"] == "112x112"
    ]
    value, source = published_gain(row, "AP", PublishedSpec(paper="icod", table="Table 4a (sampling size)", rows={}))
    assert value == pytest.approx(27.0 - 25.6)
    assert "the baseline of Table 1 (compact students), 25.6" in source


def test_the_shipped_numbers_are_those_that_were_collected() -> None:
    """Nothing in the file is edited by hand: a number that is wrong is mended where it was read."""
    digest = hashlib.sha256(SHIPPED.read_bytes()).hexdigest()
    assert digest == "ed6e62b79686438b547378eb590ebe9056d71556ca1fdca80ff559e01374bb8b"


def test_a_star_takes_whatever_follows() -> None:
    fits = [e for e in load_published() if e.fits({"table": "Table 3b*", "teacher": "ResNet50 classifier*"})]
    assert [e.number("AP") for e in fits] == [26.3, 26.2, 26.3, 26.2]


def test_four_columns_are_enough_for_results_of_your_own(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("paper_key,table,method,source,AP\nsmith,T1,kd,Smith 2026 table 1,30.1\n")
    (entry,) = load_published(path)
    assert (entry.number("AP"), entry.number("AP50"), entry.source) == (30.1, None, "Smith 2026 table 1")


def samples(*values: float) -> Samples:
    seeds = range(len(values))
    return Samples(dict(enumerate(values)), {seed: f"run-{seed}" for seed in seeds}, tuple(seeds), 0, "")


@pytest.mark.parametrize(
    ("values", "number", "outside"),
    [
        ((25.0, 26.0, 27.0), 26.9, False),
        ((25.0, 26.0, 27.0), 30.9, False),  # 26 + 4.303 sqrt(4/3) = 30.97; the interval of the mean ends at 28.5
        ((25.0, 26.0, 27.0), 31.0, True),
        ((25.0, 25.0), 26.0, None),
        ((25.0,), 26.0, None),
    ],
)
def test_a_deviation_says_whether_the_number_could_be_one_more_run(
    values: tuple[float, ...], number: float, outside: bool | None
) -> None:
    cell = deviation_cell(samples(*values), Cell(value=number, source="a paper"))
    assert cell.value == pytest.approx(sum(values) / len(values) - number)
    assert cell.significant == outside
    assert (OUTSIDE in marked_if_outside(Cell(value=number), cell).notes) == bool(outside)
    assert (cell.low is None) == (outside is None)
    assert cell.source == "a paper"
    assert cell.runs == tuple(f"run-{seed}" for seed in range(len(values)))


def test_nothing_is_compared_with_a_number_that_is_missing() -> None:
    cell = deviation_cell(samples(25.0, 26.0), Cell(kind="missing", reason="not published"))
    assert (cell.value, cell.reason) == (None, "not published")
    assert list(sentences([cell])) == []
    without = deviation_cell(Samples({}, {}, (0, 1), 0, "not started"), Cell(value=26.0))
    assert (without.value, without.reason, without.n_planned) == (None, "not started", 2)


def test_a_later_table_has_what_the_table_does_not() -> None:
    """ICOD with FKD on QR50 is in the final version alone; Faster R-CNN R50 is in both, and the first counts."""
    given = spec(
        table="Table 2 (vs detector-to-detector)",
        later_table="comparison with detector-to-detector (as summarised in notes; final version)",
        all={"detector": "Faster R-CNN", "method": "ours + FKD"},
        rows={"model": {"r50": {"student_backbone": "ResNet50"}, "qr50": {"student_backbone": "QR50*"}}},
    )
    found = [find_published(given, group(model=model)) for model in ("r50", "qr50")]
    assert [row and (row.text["table"][:7], row.number("AP")) for row in found] == [
        ("Table 2", 41.9),
        ("compari", 28.0),
    ]
    assert found[1]
    assert published_gain(found[1], "AP", given)[0] == pytest.approx(28.0 - 23.3)


def test_a_baseline_that_two_rows_share_has_the_conditions_that_they_share() -> None:
    """RetinaNet R50 under two teachers is one baseline; its paper's table has baselines of three detectors."""
    rows = {"pair": {"r101": {"detector": "RetinaNet"}, "x101": {"table": "Table 3", "detector": "RetinaNet"}},
            "method": {"baseline": {"method": "baseline"}, "fgd": {"method": "ours"}}}  # fmt: skip
    given = PublishedSpec(paper="fgd", table="Table 2", all={"student_backbone": "ResNet50"}, rows=rows)
    also = {"pair": "x101", "method": "baseline"}
    shared = Group({"pair": "r101", "method": "baseline"}, (also,), ("", "baseline"), pd.DataFrame())
    found = [find_published(given, one) for one in (shared, group(pair="x101", method="fgd"))]
    assert [row and (row.text["table"], row.number("AP")) for row in found] == [("Table 2", 37.4), ("Table 3", 40.4)]


def test_a_run_that_two_published_rows_share_stands_beside_none_of_them() -> None:
    """PKD has RetinaNet R50 at 1x and at 2x: a store in which both are one run has no published number for it."""
    rows = {"model": {"long": {"schedule": "2x"}, "short": {"schedule": "1x"}}, "method": {"b": {"method": "baseline"}}}
    given = PublishedSpec(paper="pkd", table="Detection (FPN)", all={"detector": "RetinaNet"}, rows=rows)
    also = {"model": "short", "method": "b"}
    assert find_published(given, Group({"model": "long", "method": "b"}, (also,), ("", "b"), pd.DataFrame())) is None
    apart = find_published(given, group(model="short", method="b"))
    assert apart is not None
    assert apart.number("AP") == 36.5
    with pytest.raises(InputError, match=r"published {paper: pkd, table: .*several published rows fit"):
        find_published(given.model_copy(update={"rows": {"method": rows["method"]}}), group(method="b"))


@pytest.mark.parametrize(("text", "fits"), [("", True), ("X101", True), ("X101 2x", False), ("R101, 1x", True)])
def test_alternatives_of_a_condition(text: str, fits: bool) -> None:
    assert equal(text, "|X101|R101*") is fits
