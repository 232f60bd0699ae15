from __future__ import annotations

import numpy as np
import pytest

from c2d.core.errors import InputError
from tests.analysis.plots.figures import HOSTILE, all_text, drawn, overlaps, study_of, texts


def value(labels, seed):
    return {"baseline": 0.30, "c2d": 0.34}.get(labels["method"], 0.32) + 0.01 * (seed - 1)


def test_every_seed_and_the_mean(tmp_path):
    study = study_of(tmp_path, {"method": ["baseline", "c2d"]}, value=value)
    data, figure = drawn(study, tmp_path, kind="seeds", baseline={"method": "baseline"})
    means = data[data["point"] == "mean"].set_index("row")
    assert means["value"].to_dict() == pytest.approx({"baseline": 30.0, "c2d": 34.0})
    # sd 1, n 3: 4.302653 / sqrt(3)
    assert means.loc["c2d", "high"] == pytest.approx(34 + 4.302653 / 3**0.5, abs=1e-5)
    assert means.loc["c2d", "runs"].count("-s") == 3
    assert list(means["baseline"]) == [True, False]
    seeds = data[(data["point"] == "seed") & (data["row"] == "c2d")]
    assert list(seeds["value"]) == pytest.approx([33.0, 34.0, 35.0])
    assert [run.rpartition("-s")[2] for run in seeds["runs"]] == list(seeds["seed"])
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["baseline", "c2d"]
    assert "95 % t interval" in all_text(figure)


def test_unfinished_rows_say_so(tmp_path):
    states = {("c2d", 2): "failed", ("fgfi", 0): "failed", ("fgfi", 1): "failed", ("fgfi", 2): "new"}
    study = study_of(tmp_path, {"method": ["baseline", "c2d", "fgfi"]}, value=value,
                     state=lambda labels, seed: states.get((labels["method"], seed), "done"))  # fmt: skip
    data, figure = drawn(study, tmp_path, kind="seeds")
    means = data[data["point"] == "mean"].set_index("row")
    assert list(means["n"]) == [3, 2, 0]
    assert means.loc["fgfi", "missing"] == "2 failed, 1 new"
    assert np.isnan(means.loc["fgfi", "value"])
    assert "Hollow: unfinished, or fewer than three seeds (n of planned): c2d 2/3." in all_text(figure)
    assert {"c2d (2/3)", "fgfi (0/3)", "2 failed, 1 new"} <= set(texts(figure))


def test_nothing_finished_gives_a_message(tmp_path):
    study = study_of(tmp_path, {"method": ["a"]}, state=lambda labels, seed: "failed" if seed else "new")
    data, figure = drawn(study, tmp_path, kind="seeds")
    assert all_text(figure) == "No finished runs: 2 failed, 1 new."
    assert (data["n"] == 0).all()


def test_twelve_hostile_rows(tmp_path):
    _, figure = drawn(study_of(tmp_path, {"method": HOSTILE}), tmp_path, kind="seeds")
    assert overlaps(figure) == []
    assert "icod $\\alpha_1$" in texts(figure)


def test_a_number_that_runs_do_not_hold_is_refused(tmp_path):
    study = study_of(tmp_path, {"method": ["a"]})
    with pytest.raises(InputError, match="measured by `c2d bench latency`"):
        drawn(study, tmp_path, kind="seeds", y="latency_p50")
