"""Tables as data, on numbers that can be checked with a pencil."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.formats.text import FEW, FEW_MEANS
from analysis.loading import latency
from analysis.loading.load import read_study
from analysis.loading.schema import Study
from analysis.report.report_spec import parse
from analysis.tables.aggregate import FEW_NOTE
from analysis.tables.build_table import build_table
from analysis.tables.notes import FEW as MARK
from analysis.tables.notes import NEAR, NEAR_BEST, letter_mark
from analysis.tables.table import Row, Table
from benchmarks.suite.synthetic_store import make_store
from c2d.core.errors import InputError

AP = {"baseline": (0.20, 0.22, 0.24), "kd": (0.25, 0.28, 0.28), "crop": (0.21, 0.20, 0.26)}
METHODS = {"method": list(AP)}


def value(labels: dict[str, str], seed: int) -> float:
    return AP[labels["method"]][seed]


def study(tmp_path: Path, **kwargs: Any) -> Study:
    make_store(tmp_path / "runs", **{"axes": METHODS, "value": value, **kwargs})
    return read_study(tmp_path / "runs", ("made",), tmp_path / "cache")


def table(of: Study, allow_mixed: bool = False, sweep: str = "made", **keys: Any) -> Table:
    given = {"kind": "table", "rows": {"method": []}, "baseline": {"method": "baseline"}, "columns": ["AP"], **keys}
    return build_table(of, parse(given), sweep, "made-table", allow_mixed)


def row(of: Table, key: str) -> Row:
    return next(row for row in of.rows if row.key == key)


def notes(of: Table, key: str, column: str) -> list[str]:
    return [of.notes[mark] for mark in row(of, key).cells[column].notes]


def changed(of: Study, change: Callable[[pd.DataFrame], None]) -> Study:
    frame = of.frame.copy()
    change(frame)
    return dataclasses.replace(of, frame=frame)


def test_means_spread_and_interval(tmp_path: Path) -> None:
    """0.20, 0.22, 0.24: mean 22, sd 2, and 4.3027 (t at 2 degrees of freedom) x 2 / sqrt(3) = 4.968 to both sides."""
    made = table(study(tmp_path))
    cell = row(made, "method=baseline").cells["AP"]
    assert (cell.value, cell.sd, cell.n, cell.n_planned) == (pytest.approx(22), pytest.approx(2), 3, 3)
    assert (cell.low, cell.high) == (pytest.approx(22 - 4.968, abs=1e-3), pytest.approx(22 + 4.968, abs=1e-3))
    assert len(set(cell.runs)) == 3
    assert all(run.endswith(f"-s{seed}") for seed, run in enumerate(cell.runs))
    assert [row.key for row in made.rows] == ["method=baseline", "method=kd", "method=crop"]
    assert [column.key for column in made.columns] == ["AP", "delta.AP"]
    assert [column.label for column in made.columns] == ["AP", "ΔAP"]
    assert (made.name, made.row_axes, made.store) == ("made-table", ("method",), str(tmp_path / "runs"))


def test_differences_are_paired_and_have_one_residual(tmp_path: Path) -> None:
    """kd is 5, 6, 4 above, crop 1, -2, 2: means 5 and 1/3.

    The squared residuals of the 3 x 3 numbers sum to 88/9, so the variance is 22/9 with 4 degrees of freedom and the
    standard error sqrt(2/3 * 22/9) = 1.277: t = 3.917 and 0.261. Dunnett's 5 % value for 2 rows and 4 df is 3.31.
    """
    made = table(study(tmp_path))
    kd, crop, base = (row(made, f"method={name}").cells["delta.AP"] for name in ("kd", "crop", "baseline"))
    assert (kd.value, kd.sd, kd.n, kd.n_planned) == (pytest.approx(5), pytest.approx(1), 3, 3)
    assert (kd.p, kd.test) == (pytest.approx(0.01730, abs=1e-5), "Dunnett, 3 rows x 3 seeds, 4 df")
    assert (kd.p_adjusted, kd.significant, kd.family) == (pytest.approx(0.0294, abs=1e-4), True, 2)
    assert (kd.low, kd.high) == (pytest.approx(5 - 3.31 * 1.277, abs=0.01), pytest.approx(5 + 3.31 * 1.277, abs=0.01))
    assert (crop.p, crop.significant) == (pytest.approx(0.807, abs=1e-3), False)
    assert "the smallest that 3 seeds can give; never below 0.5 over 2 tests" in kd.cross_check
    assert (base.kind, base.value, base.reason) == ("missing", None, "baseline")
    assert [row.is_baseline for row in made.rows] == [True, False, False]
    assert len(kd.runs) == 6
    assert any("With fewer than 8 seeds that test often misses" in said for said in made.statistics)
    assert any("adjusted for the 2 rows that are compared with its baseline" in said for said in made.statistics)


def test_a_verdict_does_not_change_with_other_columns_or_baselines(tmp_path: Path) -> None:
    axes = {"model": ["a", "b"], **METHODS}
    of = study(tmp_path, axes=axes, value=lambda at, s: value(at, s) * (1 + s * (at["model"] == "b")))
    rows = {"model": [], "method": []}
    one = table(of, rows=rows, where={"model": ["a"]})
    both = table(of, rows=rows, differences=["AP", "AP50"])
    for key in ("model=a, method=kd", "model=a, method=crop"):
        assert row(one, key).cells["delta.AP"] == row(both, key).cells["delta.AP"]


def test_rows_of_one_name_keep_their_own_numbers(tmp_path: Path) -> None:
    """kd ignores x inside {1, 2} (25, 28, 28) and inside {3, 4} (35, 38, 38): two rows, never one twice."""
    record = make_store(tmp_path / "runs", {"method": ["baseline", "kd"], "x": list("1234")},
                        value=lambda at, s: value(at, s) + 0.1 * (at["x"] > "2"))  # fmt: skip
    first: dict[tuple[Any, ...], str] = {}
    for cell in record["cells"]:
        part = cell["labels"]["x"] > "2" if cell["labels"]["method"] == "kd" else None
        cell["run"] = first.setdefault((part, cell["seed"]), cell["run"])
    (tmp_path / "runs" / "sweeps" / "made.json").write_text(json.dumps(record))
    made = table(read_study(tmp_path / "runs", ("made",), tmp_path / "cache"), rows={"method": [], "x": []})
    assert {row.key: (row.labels, row.cells["AP"].value, row.cells["delta.AP"].value) for row in made.rows} == {
        "method=baseline": (("baseline", ""), pytest.approx(22), None),
        "method=kd, x=1/2": (("kd", "1/2"), pytest.approx(27), pytest.approx(5)),
        "method=kd, x=3/4": (("kd", "3/4"), pytest.approx(37), pytest.approx(15)),
    }


def marks(of: Table, column: str = "AP") -> dict[str, str]:
    return {
        row.key: "bold" if row.cells[column].bold else "near" if row.cells[column].near_best else "" for row in of.rows
    }


def test_the_best_is_bold_and_what_is_not_distinguishable_is_marked(tmp_path: Path) -> None:
    """Means: kd 27, near 26, crop 22.3, baseline 22; the residual of the four rows has a standard deviation of 1.4."""
    near = {**AP, "near": (0.24, 0.27, 0.27)}
    made = table(study(tmp_path, axes={"method": list(near)}, value=lambda at, s: near[at["method"]][s]))
    assert marks(made) == {"method=baseline": "", "method=kd": "bold", "method=crop": "", "method=near": "near"}
    assert not any(marks(made, "delta.AP").values())
    assert NEAR in row(made, "method=near").cells["AP"].notes
    assert made.notes[NEAR] == NEAR_BEST
    assert any(sentence.startswith("Bold: the best mean of the column") for sentence in made.statistics)
    (how,) = [sentence for sentence in made.statistics if "Hsu 1981" in sentence]
    assert "Dunnett, 4 rows x 3 seeds, 6 df" in how
    assert "depend on which rows the table has" in how


def test_nothing_is_bold_where_that_is_not_wanted(tmp_path: Path) -> None:
    made = table(study(tmp_path), bold="none")
    assert not any(marks(made).values())
    assert not any("Bold" in sentence or "bold" in sentence for sentence in made.statistics)


def test_a_baseline_that_a_row_significantly_beats_is_never_marked(tmp_path: Path) -> None:
    """In random tables of three seeds: a significant gain and a mark at its baseline exclude each other."""
    rng = np.random.default_rng(0)
    seen = set()
    for at in range(12):
        found = {
            method: rng.normal(mean, 0.01, 3) for method, mean in (("baseline", 0.3), ("kd", 0.32), ("crop", 0.31))
        }
        made = table(study(tmp_path / str(at), value=lambda labels, s, found=found: float(found[labels["method"]][s])))
        gains = [cell for cell in (row.cells["delta.AP"] for row in made.rows) if cell.significant and cell.value]
        beaten = any(cell.value is not None and cell.value > 0 for cell in gains)
        seen.add((beaten, marks(made)["method=baseline"]))
    assert (True, "") in seen
    assert (False, "near") in seen
    assert not seen & {(True, "near"), (True, "bold")}


def test_bold_is_within_the_rows_of_one_baseline(tmp_path: Path) -> None:
    """Model b is worse in everything, and its best row is bold all the same."""
    axes = {"model": ["a", "b"], "method": ["baseline", "kd"]}
    of = study(tmp_path, axes=axes, value=lambda at, s: value(at, s) - 0.1 * (at["model"] == "b") + 1e-3 * s * s)
    made = table(of, rows={"model": [], "method": []}, columns=["AP", "params", "tide.Cls"])
    assert [row.key for row in made.rows if row.cells["AP"].bold] == ["model=a, method=kd", "model=b, method=kd"]
    assert [row.key for row in made.rows if row.cells["tide.Cls"].bold] == [
        "model=a, method=kd", "model=b, method=kd",
    ]  # fmt: skip
    assert not any(row.cells["params"].bold for row in made.rows)
    assert [row.cells["params"].sd for row in made.rows] == [None] * 4


@pytest.mark.parametrize("column", ["student", "dataset_digest"])
def test_without_a_baseline_bold_is_within_one_student_and_data_set(column: str, tmp_path: Path) -> None:
    """Rows that the ledger never compared: model b is worse in everything, and its best row is bold all the same."""
    axes = {"dataset": ["a", "b"], "method": ["baseline", "kd"]}
    of = study(tmp_path, axes=axes, value=lambda at, s: value(at, s) - 0.1 * (at["dataset"] == "b") + 1e-3 * s * s)
    of = changed(of, lambda frame: frame.loc.__setitem__((frame["axis.dataset"] == "b", column), "other"))
    made = table(of, rows={"dataset": [], "method": []}, baseline={})
    assert [row.key for row in made.rows if row.cells["AP"].bold] == ["dataset=a, method=kd", "dataset=b, method=kd"]
    assert any("Bold: the best mean of the column among the rows of one student" in line for line in made.statistics)


def test_where_nothing_is_bold_the_reasons_are_told_and_the_others_counted(tmp_path: Path) -> None:
    """In each of five models kd leads with 1 of 2 seeds. AP and AP50 of a model have one reason, so there are five."""
    axes = {"model": list("abcde"), "method": ["baseline", "kd"]}
    of = study(tmp_path, axes=axes, seeds=2, state=lambda at, s: "new" if (at["method"], s) == ("kd", 1) else "done")
    made = table(of, rows={"model": [], "method": []}, columns=["AP", "AP50"])
    assert not any(marks(made).values())
    told = [sentence for sentence in made.statistics if "nothing is bold" in sentence]
    assert len(told) == 3
    assert told[0] == "AP, AP50 (group of a / baseline): nothing is bold: a / kd leads with 1 of 2 seeds"
    assert "2 more such reasons in other rows" in made.statistics


def test_with_one_seed_the_best_is_bold_and_no_row_is_marked(tmp_path: Path) -> None:
    made = table(study(tmp_path, seeds=1), columns=["AP", "AP50"])
    assert marks(made) == {"method=baseline": "", "method=kd": "bold", "method=crop": ""}
    assert [sentence for sentence in made.statistics if "no test against the best" in sentence] == [
        "AP, AP50: no test against the best (one seed), so bold is the best number and nothing is marked near it"
    ]


def test_a_missing_seed_changes_n_and_the_mark_and_not_silently_the_mean(tmp_path: Path) -> None:
    of = study(tmp_path, state=lambda at, s: "failed" if (at["method"], s) == ("kd", 1) else "done")
    made = table(of)
    cell = row(made, "method=kd").cells["AP"]
    assert (cell.value, cell.n, cell.n_planned) == (pytest.approx(26.5), 2, 3)
    assert notes(made, "method=kd", "AP")[:2] == [FEW_NOTE, "2 of 3 seeds done; 1 failed (nan)"]
    delta = row(made, "method=kd").cells["delta.AP"]
    assert (delta.value, delta.n, delta.n_planned) == (pytest.approx(4.5), 2, 3)
    assert notes(made, "method=kd", "delta.AP") == [FEW_NOTE]
    assert row(made, "method=crop").cells["delta.AP"].n == 3


def test_the_mark_of_few_seeds_is_that_of_the_formats() -> None:
    assert (MARK, FEW_NOTE) == (FEW, FEW_MEANS)
    places = {0: "a", 25: "z", 26: "aa", 27: "ab", 51: "az", 52: "ba", 701: "zz", 702: "aaa"}
    assert {place: letter_mark(place) for place in places} == places


def test_cells_without_finished_seeds_say_why(tmp_path: Path) -> None:
    states = {"baseline": ("done", "done", "done"), "kd": ("new", "failed", "waiting"), "crop": ("done", "new", "new")}
    made = table(study(tmp_path, state=lambda at, s: states[at["method"]][s]))
    cell = row(made, "method=kd").cells["AP"]
    assert (cell.kind, cell.value, cell.n, cell.n_planned) == ("missing", None, 0, 3)
    assert cell.reason == "0 of 3 seeds done; 1 not started, 1 failed (nan), 1 waiting"
    assert row(made, "method=kd").cells["delta.AP"].reason == cell.reason
    crop = row(made, "method=crop")
    assert (crop.cells["AP"].sd, crop.cells["AP"].n) == (None, 1)
    assert (crop.cells["delta.AP"].p, crop.cells["delta.AP"].value) == (None, pytest.approx(1))
    assert marks(made) == {"method=baseline": "bold", "method=kd": "", "method=crop": ""}


def test_a_baseline_without_seeds_leaves_blanks(tmp_path: Path) -> None:
    made = table(study(tmp_path, state=lambda at, s: "new" if at["method"] == "baseline" else "done"))
    reason = row(made, "method=kd").cells["delta.AP"].reason
    assert reason == "its baseline has no value (0 of 3 seeds done; 3 not started)"


def test_undefined_numbers_are_no_zeros(tmp_path: Path) -> None:
    of = study(tmp_path)

    def change(frame: pd.DataFrame) -> None:
        frame.loc[frame["axis.method"] == "kd", "APl"] = math.nan
        frame.loc[(frame["axis.method"] == "crop") & (frame["seed"] == 0), "APl"] = math.nan

    made = table(changed(of, change), columns=["AP", "APl"], differences=["APl"])
    kd, crop = (row(made, f"method={name}").cells["APl"] for name in ("kd", "crop"))
    assert (kd.kind, kd.reason) == ("missing", "undefined: no such objects in the validation set")
    assert (crop.n, crop.n_planned) == (2, 3)
    assert crop.value == pytest.approx(100 * (0.20 + 0.26) / 2 * 0.75)  # the store's APl is 0.75 AP
    assert "1 of 3 finished seeds without a number (undefined: no such objects in the validation set)" in notes(
        made, "method=crop", "APl"
    )
    assert row(made, "method=kd").cells["delta.APl"].reason == kd.reason


def test_no_common_seed_is_compared_unpaired_and_says_so(tmp_path: Path) -> None:
    of = study(tmp_path, seeds=4, value=lambda at, s: 0.2 + 0.01 * s + 0.05 * (at["method"] == "kd"),
               state=lambda at, s: "done" if (s < 2) == (at["method"] == "kd") else "new")  # fmt: skip
    made = table(of, rows={"method": ["baseline", "kd"]})
    delta = row(made, "method=kd").cells["delta.AP"]
    assert delta.value == pytest.approx(25.5 - 22.5)
    assert delta.test.startswith("Welch t, unpaired")
    assert "no seed in common with the baseline: compared unpaired" in notes(made, "method=kd", "delta.AP")


def test_a_shared_teacher_has_a_footnote(tmp_path: Path) -> None:
    made = table(study(tmp_path), columns=["AP", "teacher_top1"])
    told = "one teacher for all seeds: its own spread is not in these intervals"
    assert [told in notes(made, row.key, "AP") for row in made.rows] == [False, True, True]
    teacher = row(made, "method=kd").cells["teacher_top1"]
    assert (teacher.value, teacher.sd, teacher.bold) == (pytest.approx(95), None, False)
    assert row(made, "method=baseline").cells["teacher_top1"].reason == "no classifier as teacher"


def test_latency_is_the_mean_of_the_seeds_quantiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def of_runs(of: Study, runs: list[str], conditions: dict[str, str]) -> pd.DataFrame:
        asked.append(conditions)
        rows = [
            {"device": "made", "conditions": "batch 1", "note": "", "flops": 2e9, "macs": 1e9,
             "file": "latency/a.json", "count_file": "latency/a.json",
             **{f"p{q}_ms": float(q + 10 * int(run[-1])) for q in (50, 90, 99)}}
            if run != runs[-1] else {"device": "", "conditions": "", "note": "no latency file"}
            for run in runs
        ]  # fmt: skip
        return pd.DataFrame(rows, index=runs)

    monkeypatch.setattr(latency, "latency_of_runs", of_runs)
    made = table(study(tmp_path), columns=["latency_p50", "gflops"], differences=[], latency={"batch": "1"})
    cells = row(made, "method=baseline").cells
    assert asked == [{"batch": "1"}]
    assert (cells["latency_p50"].value, cells["latency_p50"].sd) == (pytest.approx(60), pytest.approx(10))
    assert (cells["gflops"].value, cells["gflops"].sd) == (pytest.approx(2), None)
    last = row(made, "method=crop").cells["latency_p50"]
    assert (last.n, last.n_planned) == (2, 3)
    assert any("on made; batch 1" in sentence for sentence in made.statistics)


def test_notes_on_latency_stand_at_its_cells_and_reasons_are_those_of_the_gaps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seed 2 was not measured; the others in one launch, and nobody counted operations."""

    def of_runs(of: Study, runs: list[str], conditions: dict[str, str]) -> pd.DataFrame:
        rows = [
            {"device": "made", "conditions": "", "note": "measured in 1 launch", "flops": math.nan, "p50_ms": 8.0,
             "file": "latency/a.json", "count_file": ""}
            if not run.endswith("s2") else {"device": "", "conditions": "", "note": "no latency file"}
            for run in runs
        ]  # fmt: skip
        return pd.DataFrame(rows, index=runs)

    monkeypatch.setattr(latency, "latency_of_runs", of_runs)
    made = table(study(tmp_path), columns=["AP", "gflops", "latency_p50"])
    kd = row(made, "method=kd").cells
    assert kd["gflops"].reason == "not counted"
    assert notes(made, "method=kd", "latency_p50") == [
        FEW_NOTE, "measured in 1 launch", "1 of 3 finished seeds without a number (no latency file)",
    ]  # fmt: skip
    assert kd["gflops"].notes == ()


def test_latency_that_nobody_measured_is_missing(tmp_path: Path) -> None:
    made = table(study(tmp_path), columns=["AP", "latency_p50"])
    assert {row.cells["latency_p50"].reason for row in made.rows} == {"no latency file"}


def test_no_baseline_no_differences_and_bold_over_the_table(tmp_path: Path) -> None:
    made = table(study(tmp_path), baseline={})
    assert [column.key for column in made.columns] == ["AP"]
    assert [row.is_baseline for row in made.rows] == [False] * 3
    assert marks(made)["method=kd"] == "bold"


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"baseline": {"metod": "baseline"}}, "did you mean 'method'"),
        ({"baseline": {"method": "base"}}, "did you mean 'baseline'"),
        ({"baseline": {"method": "baseline"}, "rows": {"method": ["kd"]}}, "the baseline must be among the rows"),
        ({"rows": {"metod": []}}, "unknown axis"),
    ],
)
def test_wrong_specs_are_named(keys: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        table(study(tmp_path), **keys)


def test_single_runs_of_one_seed_are_not_averaged(tmp_path: Path) -> None:
    make_store(tmp_path / "runs", METHODS, value=value)
    (tmp_path / "runs" / "sweeps" / "made.json").unlink()
    of = read_study(tmp_path / "runs", (), tmp_path / "cache")
    with pytest.raises(InputError, match=r"mixes the labels .* of axis question"):
        table(of, sweep="", rows={"method": []}, baseline={})


def test_runs_of_no_sweep_have_student_and_method_for_axes(tmp_path: Path) -> None:
    make_store(tmp_path / "runs", {"method": ["baseline", "kd"]}, value=value)
    (tmp_path / "runs" / "sweeps" / "made.json").unlink()
    made = table(read_study(tmp_path / "runs", (), tmp_path / "cache"), sweep="", rows={"student": [], "method": []})
    assert {row.key: row.cells["AP"].value for row in made.rows} == {
        "student=tiny, method=baseline": pytest.approx(22),
        "student=tiny, method=icod": pytest.approx(27),
        "student=resnet18, method=classifier": None,
    }
    classifier = row(made, "student=resnet18, method=classifier").cells
    assert classifier["AP"].reason == "not defined for a run of kind classifier"
    assert classifier["delta.AP"].reason == "no row of the table is its baseline"
    assert row(made, "student=tiny, method=icod").cells["delta.AP"].value == pytest.approx(5)


def test_a_store_without_single_runs_says_so(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"the runs of no sweep: no cells in .*report a sweep of this store \('made'\)"
    ):
        table(study(tmp_path), sweep="")


def test_published_numbers_stand_beside_and_enter_nothing(tmp_path: Path) -> None:
    published = {
        "paper": "icod", "table": "Table 1 (compact students)", "all": {"detector": "SSD300"},
        "columns": ["AP", "AR100"],
        "rows": {"method": {"baseline": {"method": "baseline"}, "kd": {"method": "kd_cls"}}},
    }  # fmt: skip
    plain, made = table(study(tmp_path)), table(study(tmp_path), published=published)
    assert [column.key for column in made.columns] == [
        "AP", "published.AP", "deviation.AP", "delta.AP", "published.delta.AP", "published.AR100",
    ]  # fmt: skip
    assert [column.is_published for column in made.columns] == [False, True, False, False, True, True]
    kd = row(made, "method=kd").cells
    assert (kd["published.AP"].value, kd["published.delta.AP"].value, kd["published.AR100"].value) == (26.3, 0.7, 38.4)
    assert "arXiv 2106.05209" in kd["published.AP"].source
    assert (kd["published.AP"].n, kd["published.AP"].runs, kd["published.AP"].bold) == (0, (), False)
    assert row(made, "method=crop").cells["published.AP"].reason == "not published"
    for before, after in zip(plain.rows, made.rows, strict=True):
        assert all(after.cells[key] == cell for key, cell in before.cells.items())


_ORDERS = st.permutations(range(9))


@pytest.fixture(scope="module")
def made_study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return study(tmp_path_factory.mktemp("build"))


@settings(max_examples=30, deadline=None)
@given(order=_ORDERS)
def test_the_order_of_the_frame_never_changes_the_table(order: list[int], made_study: Study) -> None:
    rows = made_study.frame[made_study.frame["role"] == "student"]
    mixed = dataclasses.replace(made_study, frame=rows.iloc[order])
    assert table(mixed) == table(dataclasses.replace(made_study, frame=rows))


@settings(max_examples=30, deadline=None)
@given(gone=st.sets(st.integers(0, 8)))
def test_every_missing_seed_is_counted(gone: set[int], made_study: Study) -> None:
    rows = made_study.frame[made_study.frame["role"] == "student"].copy()
    rows.loc[rows.index[sorted(gone)], "state"] = "failed"
    made = table(dataclasses.replace(made_study, frame=rows))
    for group in made.rows:
        of_row = rows[rows["axis.method"] == group.labels[0]]
        done = of_row[of_row["state"] == "done"]
        cell = group.cells["AP"]
        assert (cell.n, cell.n_planned) == (len(done), 3)
        assert cell.value == (pytest.approx(100 * done["AP"].mean()) if len(done) else None)
        assert cell.runs == tuple(done["run"])
        assert (MARK in cell.notes) == (0 < len(done) < 3)
        assert set(cell.notes) <= set(made.notes)


def test_chosen_seeds_are_all_there_is_and_the_table_says_so(tmp_path: Path) -> None:
    make_store(tmp_path / "runs", {"method": ["baseline", "kd"]}, value=lambda labels, seed: 0.2 + seed / 100)
    study = read_study(tmp_path / "runs", ("made",), tmp_path / "cache")
    table = build_table(study, parse({"kind": "table", "rows": {"method": []}, "seeds": [2]}), "made")
    cells = [row.cells["AP"] for row in table.rows]
    assert [(cell.n, cell.n_planned) for cell in cells] == [(1, 1), (1, 1)]
    assert [cell.value for cell in cells] == pytest.approx([22.0, 22.0])
    assert any("selects seeds 2 only" in said for said in table.statistics)
    with pytest.raises(InputError, match=r"seeds \[7\]"):
        build_table(study, parse({"kind": "table", "rows": {"method": []}, "seeds": [7]}), "made")


def test_the_sources_of_published_numbers_stand_under_the_table(tmp_path: Path) -> None:
    make_store(tmp_path / "runs", {"method": ["baseline", "kd_cls"]})
    study = read_study(tmp_path / "runs", ("made",), tmp_path / "cache")
    rows = {"method": {"baseline": {"method": "baseline"}, "kd_cls": {"method": "kd_cls"}}}
    published = {"paper": "icod", "table": "Table 5 (AP per IoU)", "rows": rows}
    table = build_table(study, parse({"kind": "table", "rows": {"method": []}, "published": published}), "made")
    (said,) = [said for said in table.statistics if said.startswith("Published in: ")]
    assert "arXiv 2106.05209" in said
