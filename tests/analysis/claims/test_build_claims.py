"""Claims as a table: verdicts, what is not run, what is refused, and the numbers behind."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.claims.claim_errors import ClaimErrors
from analysis.loading.schema import Study
from tests.analysis.claims.small_study import AXES, GAIN, claims, gain, notes_of, row, small_study, value, verdicts

AT: dict[str, Any] = {"model": "large"}
KD: dict[str, Any] = {"more": {"method": "kd"}, "less": {"method": "baseline"}, "at": AT}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return small_study(tmp_path_factory.mktemp("claims"))


def numbers(model: str, method: str, seeds: int = 5) -> np.ndarray:
    """AP in percent of the seeds of a cell."""
    return np.array([100 * value({"model": model, "method": method}, seed) for seed in range(seeds)])


def refused(study: Study, one: dict[str, Any], **keys: Any) -> str:
    with pytest.raises(ClaimErrors) as caught:
        claims(study, {"it": one}, **keys)
    return str(caught.value)


def test_a_sentence_is_shown_or_contradicted(study: Study) -> None:
    """KD gains 3 points in the large student; the differences are those of the numbers, seed by seed."""
    table = claims(study, {"gains": KD, "loses": {"more": KD["less"], "less": KD["more"], "at": AT}})
    assert verdicts(table) == {"gains": "shown", "loses": "contradicted"}
    d = numbers("large", "kd") - numbers("large", "baseline")
    cell, alone, mirrored = (row(table, key).cells[column] for key, column in
                             (("gains", "difference"), ("gains", "interval"), ("loses", "interval")))  # fmt: skip
    assert (cell.value, cell.n, cell.n_planned) == (pytest.approx(d.mean()), 5, 5)
    assert alone.high is not None
    assert (mirrored.value, mirrored.low) == (pytest.approx(-d.mean()), pytest.approx(-alone.high))
    assert cell.test == "t, residual of 4 cells x 5 seeds, 12 df, Holm"
    assert cell.interval == "97.5 % t, Holm over 2 lines"
    assert table.caption == "2 sentences: 1 shown, 1 contradicted."
    assert row(table, "gains").labels == ("gains", "shown", "kd − baseline, large", "AP [%]", "gains")


def test_the_factors_give_the_number_back(study: Study) -> None:
    """The difference is the sum of factor x number over the runs that the cell names, of every form of a side."""
    table = claims(
        study,
        {
            "gains": KD,
            "weak": {"more": gain("icod", model="small"), "less": gain("icod", model="large")},
            "mean": {"more": {"mean": [{"method": "kd"}, {"method": "icod"}]}, "less": {"method": "loc"}, "at": AT},
            "adds": {"same": [gain("icod"), {"sum": [gain("kd"), gain("loc")]}], "at": AT},
        },
        margin={"AP": "5"},
    )
    ap = dict(zip(study.frame["run"], 100 * study.frame["AP"], strict=True))
    wanted = {
        "gains": numbers("large", "kd") - numbers("large", "baseline"),
        "weak": numbers("small", "icod") - numbers("small", "baseline")
        - numbers("large", "icod") + numbers("large", "baseline"),
        "mean": (numbers("large", "kd") + numbers("large", "icod")) / 2 - numbers("large", "loc"),
        "adds": numbers("large", "icod") - numbers("large", "kd") - numbers("large", "loc")
        + numbers("large", "baseline"),
    }  # fmt: skip
    for key, by_seed in wanted.items():
        cell = row(table, key).cells["difference"]
        assert cell.value == pytest.approx(by_seed.mean()), key
        assert sum(f * ap[run] for f, run in zip(cell.factors, cell.runs, strict=True)) == pytest.approx(cell.value)
        assert len(cell.files) == len(cell.runs)
        assert cell.quantity == "AP"
    texts = {one.key: one.labels[2] for one in table.rows}
    assert texts["weak"] == "(icod − baseline, small) − (icod − baseline, large)"
    assert texts["mean"] == "mean(kd, icod) − loc, large"
    assert texts["adds"] == "(icod − baseline) − ((kd − baseline) + (loc − baseline)), large (within 5)"
    assert row(table, "weak").cells["difference"].test.startswith("Welch-Satterthwaite t of 2 groups")
    assert row(table, "adds").cells["difference"].test.startswith("t, residual of 4 cells")


def test_a_margin_tells_no_difference_and_small_from_open(study: Study) -> None:
    """loc gains 0.5 points in the large student: inside a margin of 3, open with 0.2, open without one."""
    loc = {"more": {"method": "loc"}, "less": {"method": "baseline"}, "at": AT}
    table = claims(study, {"loc": loc, "none": {**loc, "column": "AP50"}}, margin={"AP": "3"})
    assert verdicts(table) == {"loc": "no difference", "none": "open"}
    cell = row(table, "loc").cells["difference"]
    assert cell.low is not None
    assert cell.high is not None
    assert -3 < cell.low < 0 < cell.high < 3
    assert any("a margin in the spec would say how many seeds" in note for note in notes_of(table, "none"))
    narrow = claims(study, {"loc": {**loc, "margin": {"AP": "0.2"}}}, margin={"AP": "3"})
    assert verdicts(narrow) == {"loc": "open"}
    assert any("seeds would find a true difference of 0.2 % in 80 % of the cases" in n for n in notes_of(narrow, "loc"))
    wide = claims(study, {"kd": {**KD, "margin": {"AP": "20"}}})
    assert verdicts(wide) == {"kd": "shown"}
    assert "smaller than the margin, so it may not matter" in notes_of(wide, "kd")


@pytest.mark.parametrize(("margin", "verdict"), [("20", "shown"), ("0.1", "contradicted"), ("3", "open")])
def test_sameness_is_shown_inside_the_margin_and_contradicted_outside(study: Study, margin: str, verdict: str) -> None:
    """kd and the baseline differ by 3 points."""
    table = claims(study, {"same": {"same": [KD["more"], KD["less"]], "at": AT}}, margin={"AP": margin})
    assert verdicts(table) == {"same": verdict}
    cell = row(table, "same").cells["difference"]
    assert cell.p_adjusted is not None
    assert (cell.p_adjusted < 0.05) == (verdict == "contradicted")


def test_all_lines_have_to_be_shown_and_any_line_is_enough(study: Study) -> None:
    up, down = KD, {"more": KD["less"], "less": KD["more"], "at": AT}
    two = [{"column": "AP", **up}, {"column": "AP", **down}]
    rivals = {"more": {"method": "icod"}, "less": [{"method": "baseline"}, {"method": "loc"}], "at": AT}
    table = claims(study, {"both": {"all": two}, "one": {"any": two}, "best": rivals})
    assert verdicts(table) == {
        "both.1": "contradicted / shown", "both.2": "contradicted",
        "one.1": "shown", "one.2": "shown / contradicted",
        "best.1": "shown", "best.2": "shown",
    }  # fmt: skip
    assert table.row_axes == ("claim", "verdict", "compared", "number", "line", "row")
    assert {one.cells["difference"].family for one in table.rows} == {6}


def test_what_is_not_run_says_which_cells(tmp_path: Path) -> None:
    """No seed of icod has run, and one of loc is missing; the sweep few is in no store."""

    def state(labels: dict[str, str], seed: int) -> str:
        return "waiting" if labels["method"] == "icod" or (labels["method"] == "loc" and seed == 4) else "done"

    study = small_study(tmp_path, state=state)
    icod = {"more": {"method": "icod"}, "less": {"method": "baseline"}, "at": AT}
    loc = {"more": {"method": "loc"}, "less": {"method": "baseline"}, "at": AT}
    table = claims(study, {"icod": icod, "loc": loc, "few": {**KD, "sweep": "mede"}, "kd": KD})
    assert verdicts(table)["icod"] == verdicts(table)["few"] == "not run"
    reasons = {key: row(table, key).cells["difference"].reason for key in ("icod", "few")}
    assert reasons == {
        "icod": "not run: large / icod: 0 of 5 seeds done; 5 waiting",
        "few": "not run: sweep 'mede' is not in the store (did you mean 'made'?)",
    }
    cell = row(table, "loc").cells["difference"]
    assert (cell.n, cell.n_planned, cell.family) == (4, 5, 2)
    assert "large / loc: 4 of 5 seeds done; 1 waiting" in notes_of(table, "loc")
    assert row(table, "kd").cells["difference"].test == "t, residual of 3 cells x 5 seeds (some missing), 7 df, Holm"


def test_one_seed_is_open_without_a_test(tmp_path: Path) -> None:
    table = claims(small_study(tmp_path, seeds=1), {"kd": KD})
    assert verdicts(table) == {"kd": "open"}
    assert row(table, "kd").cells["difference"].test == "none: one seed"
    assert row(table, "kd").cells["difference"].interval == "none: one seed"


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (
            {**KD, "more": {"metod": "kd"}},
            "claims.it.more: unknown axis of sweep 'made' 'metod'; did you",
        ),
        ({**KD, "less": {"method": "basline"}}, "claims.it.less: unknown label of axis method in sweep 'made'"),
        (
            {**KD, "at": {}},
            "2 cells of sweep 'made' have method=kd: 'small / kd', 'large / kd'; name the label",
        ),
        ({**KD, "less": KD["more"]}, "both sides are the same runs"),
        ({**KD, "more": gain("kd")}, "the factors of its cells add up to -1, not to 0"),
        ({"same": [KD["more"], KD["less"]], "at": AT}, "claims.it.same: no margin of AP, the difference that would"),
    ],
)
def test_mistakes_that_only_the_store_shows(study: Study, one: dict[str, Any], words: str) -> None:
    assert words in refused(study, one)


def test_labels_of_no_axis_are_refused_and_those_of_the_spec_are_shown(study: Study) -> None:
    assert "labels.metod: unknown axis 'metod'" in refused(study, KD, labels={"metod": {"kd": "x"}})
    table = claims(study, {"kd": {**KD, "says": "$\\lambda$ helps"}}, labels={"method": {"kd": "$\\mathrm{KD}_c$"}})
    assert row(table, "kd").labels[:3] == ("λ helps", "shown", "KD_c − baseline, large")
    assert table.math == {"λ helps": "$\\lambda$ helps", "KD_c": "$\\mathrm{KD}_c$"}


def changed(study: Study, method: str, **columns: Any) -> Study:
    """The study with other values in the columns of one method."""
    rows = study.frame["axis.method"] == method
    others = {column: study.frame[column].mask(rows, other) for column, other in columns.items()}
    return dataclasses.replace(study, frame=study.frame.assign(**others))


def test_cells_of_other_protocols_are_refused(study: Study) -> None:
    other = changed(study, "kd", input=416.0)
    words = "but 416 in large / kd, which it is compared with"
    assert f"claims.it: large / baseline: input is none, {words}; compare other cells" in refused(other, KD)
    table = claims(other, {"kd": KD}, allow_mixed=True)
    assert any(words in note for note in notes_of(table, "kd"))


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"evaluation_split": "test"}, "large / baseline was evaluated on val, large / kd on test"),
        ({"images": 7.0}, "were evaluated on different images (6 images, 33 boxes; 7 images, 33 boxes)"),
    ],
)
def test_other_evaluations_are_never_compared(study: Study, columns: dict[str, object], words: str) -> None:
    other = changed(study, "kd", **columns)
    assert words in refused(other, KD, allow_mixed=True)


def test_gains_on_other_data_are_compared_with_a_note(tmp_path: Path) -> None:
    """The small student was trained and evaluated on other images; a gain is compared, a cell is not."""
    study = small_study(tmp_path)
    frame = study.frame
    small = frame["axis.model"] == "small"
    digests, images = frame["dataset_digest"].mask(small, "e" * 64), frame["images"].mask(small, 9.0)
    other = dataclasses.replace(study, frame=frame.assign(dataset_digest=digests, images=images))
    weak = {"more": gain("icod", model="small"), "less": gain("icod", model="large")}
    table = claims(other, {"weak": weak})
    assert any("the gains differ in dataset digest too" in note for note in notes_of(table, "weak"))
    direct = {"more": {"model": "small"}, "less": {"model": "large"}, "at": {"method": "icod"}}
    assert "evaluated on different images" in refused(other, direct, allow_mixed=True)


def test_the_residual_is_that_of_the_cells_beside(tmp_path: Path) -> None:
    """Pools: all methods of one student; of two students with one method, both; a third axis stays as it is."""
    axes = {**AXES, "size": ["1", "2"]}
    study = small_study(tmp_path, axes=axes, value=lambda at, s: value(at, s) * (1 + 0.2 * (at["size"] == "2")))
    at = {"model": "large", "size": "1"}
    table = claims(
        study,
        {
            "methods": {"more": {"method": "kd"}, "less": {"method": "loc"}, "at": at},
            "models": {"more": {"model": "small"}, "less": {"model": "large"}, "at": {"method": "kd", "size": "1"}},
            "both": {"more": {"method": "kd", "size": "1"}, "less": {"method": "loc", "size": "2"},
                     "at": {"model": "large"}},
        },
        allow_mixed=True,  # nothing says that the axis model sets the student of this store
    )  # fmt: skip
    tests = {one.key: one.cells["difference"].test for one in table.rows}
    assert tests["methods"].startswith(f"t, residual of {len(GAIN)} cells x 5 seeds")
    assert tests["models"].startswith("paired t")
    assert row(table, "both").labels[2] == "kd/size=1 − loc/size=2, large"
    assert tests["both"].startswith(f"t, residual of {2 * len(GAIN)} cells x 5 seeds")
