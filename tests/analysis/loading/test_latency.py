"""Latency files: the format, quantiles with intervals, and what is not compared."""

from __future__ import annotations

import json
import math
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.loading import latency_file
from analysis.loading.latency import latency_of_runs, operation_counts, read_latencies
from analysis.loading.latency_file import Measurement, read_latency_file
from analysis.loading.load import read_study, to_frame
from analysis.loading.schema import Study
from analysis.report.report_spec import parse
from analysis.stats import quantiles
from analysis.stats.quantiles import (
    BY_LAUNCHES,
    WITHIN,
    WITHIN_TWO,
    coefficient_of_variation,
    launch_quantiles,
    mean_interval,
    order_statistic_interval,
)
from analysis.tables.build_table import build_table
from benchmarks.suite.synthetic_run import write_json
from benchmarks.suite.synthetic_store import make_store
from c2d.core.errors import InputError
from c2d.core.regular_file import Problem

CONDITIONS = {"backend": "eager", "precision": "fp32", "batch": 1, "input": "300x300", "threads": None,
              "stage": "end to end", "images": "real", "score_threshold": 0.05, "nms": "in"}  # fmt: skip


def _file(samples: list[list[float]], device: str = "GPU A", **changes: Any) -> dict[str, Any]:
    conditions = CONDITIONS | {key: value for key, value in changes.items() if key in (*CONDITIONS, "extra")}
    rest = {key: value for key, value in changes.items() if key not in conditions}
    return {
        "format": 1,
        "device": device,
        "conditions": conditions,
        "launches": [{"samples_ms": launch} for launch in samples],
        "disturbed": None,
        "artefact": {"sha256": "a" * 64, "AP": 0.25},
        "flops": 10**9,
        "macs": 5 * 10**8,
        "params": 1_300_000,
        "env": {},
        **rest,
    }


LAUNCH = [float(k) for k in range(1, 202)]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path, to_frame([]))


def _put(study: Study, run: str, value: dict[str, Any], name: str = "a-1.json") -> Path:
    path = study.runs / run / "latency" / name
    write_json(path, value)
    return path


def test_three_launches_speak_by_their_spread(study: Study) -> None:
    _put(study, "r", _file([[s + shift for s in LAUNCH] for shift in (0, 1, 2)]))
    row = latency_of_runs(study, ["r"], {}).loc["r"]
    assert (row["device"], row["launches"], row["n_samples"]) == ("GPU A", 3, 603)
    assert row["p50_ms"] == 102.0  # medians 101, 102, 103
    half = stats.t.ppf(0.975, 2) * 1 / math.sqrt(3)
    assert (row["p50_low_ms"], row["p50_high_ms"]) == (pytest.approx(102 - half), pytest.approx(102 + half))
    assert (row["p90_ms"], row["p95_ms"], row["p99_ms"]) == (182.0, 192.0, pytest.approx(200.0))
    assert (row["interval"], row["note"]) == (BY_LAUNCHES, "")
    assert (row["AP"], row["flops"], row["macs"], row["params"]) == (0.25, 1e9, 5e8, 1.3e6)
    assert "precision: fp32, batch: 1" in str(row["conditions"])
    assert "threads: null" in str(row["conditions"])


def test_fewer_launches_speak_about_themselves_and_say_so(study: Study) -> None:
    _put(study, "one", _file([LAUNCH]))
    _put(study, "two", _file([LAUNCH, LAUNCH]))
    _put(study, "few", _file([[5.0, 6.0, 7.0]]))
    found = latency_of_runs(study, ["one", "two", "few"], {})
    assert found["interval"].tolist() == [WITHIN, WITHIN_TWO, WITHIN]
    assert found.loc["one", "p50_ms"] == 101.0
    assert (found.loc["one", "p50_low_ms"], found.loc["one", "p50_high_ms"]) == (87.0, 115.0)
    assert found.loc["one", "note"] == (
        f"measured in 1 launch: {WITHIN}; 201 samples are too few for an interval of p99"
    )
    assert found.loc["few", ["p50_low_ms", "p99_high_ms"]].isna().all()
    assert "p99 is of 3 samples and needs 100 to be more than the slowest" in str(found.loc["few", "note"])


def test_order_statistics_cover_the_quantile_whatever_the_distribution() -> None:
    random = np.random.default_rng(0)
    for q, n in ((0.5, 20), (0.9, 100), (0.99, 600)):
        true = float(np.exp(stats.norm.ppf(q)))
        inside = 0
        for _ in range(400):
            low, high = order_statistic_interval(random.lognormal(size=n), q)
            inside += low <= true <= high
        assert 0.93 < inside / 400 <= 1.0
    assert all(map(math.isnan, order_statistic_interval(np.arange(5.0), 0.5)))


def test_the_t_interval_covers_over_launches() -> None:
    """A launch has a level of its own; an interval from the samples of one would miss it nearly always."""
    random = np.random.default_rng(1)
    inside = 0
    for _ in range(1000):
        levels = 10 + random.normal(size=4)
        _, low, high = mean_interval([float(np.median(level + 0.01 * random.normal(size=25))) for level in levels])
        inside += low <= 10 <= high
    assert 0.93 < inside / 1000 < 0.97


def test_a_run_without_a_file_has_a_row_that_says_so(study: Study) -> None:
    _put(study, "r", _file([LAUNCH]))
    found = latency_of_runs(study, ["none", "r", "none"], {})
    assert found.index.tolist() == ["none", "r", "none"]
    assert found["note"].tolist()[0] == "no latency file"
    assert (found["n_samples"].tolist(), found["p50_ms"].isna().tolist()) == ([0, 201, 0], [True, False, True])
    assert (
        list(found) == list(latency_of_runs(study, [], {})) == list(latency_of_runs(study, ["none"], {"anything": "x"}))
    )


def test_devices_are_not_mixed_unless_one_is_chosen(study: Study) -> None:
    _put(study, "r", _file([LAUNCH]))
    _put(study, "s", _file([LAUNCH], device="GPU: B", batch=8))
    with pytest.raises(InputError) as caught:
        latency_of_runs(study, ["r", "s"], {})
    message = str(caught.value)
    assert "device: 'GPU A', 'GPU: B'; batch: '1', '8'" in message
    assert "`latency: {device: GPU A, batch: 1}`" in message
    assert "\n" not in message
    found = latency_of_runs(study, ["r", "s"], {"device": "GPU: B", "batch": "8"})
    assert found["n_samples"].tolist() == [0, 201]
    assert found["note"]["r"] == "none of its 1 latency files was measured with device: GPU: B, batch: 8"


def test_the_suggestion_of_a_refusal_is_yaml_that_works(study: Study) -> None:
    _put(study, "r", _file([LAUNCH], device="It's: {odd}, #1", threads=4, score_threshold=0.5))
    _put(study, "r", _file([LAUNCH], precision="fp16", threads=None), "b-2.json")
    with pytest.raises(InputError) as caught:
        latency_of_runs(study, ["r"], {"nms": "in"})
    suggested = yaml.load(str(caught.value).split("`")[1], Loader=yaml.BaseLoader)["latency"]
    assert suggested == {
        "nms": "in",
        "device": "It's: {odd}, #1",
        "precision": "fp32",
        "threads": "4",
        "score_threshold": "0.5",
    }
    assert latency_of_runs(study, ["r"], suggested)["n_samples"].tolist() == [201]
    assert latency_of_runs(study, ["r"], {"threads": "null"})["conditions"].str.contains("fp16").all()


def test_a_condition_that_only_one_file_states_is_a_difference(study: Study) -> None:
    _put(study, "r", _file([LAUNCH]))
    _put(study, "s", _file([LAUNCH], extra="pinned"))
    with pytest.raises(InputError, match=r"extra: 'not stated', 'pinned'.*`latency: \{extra: pinned\}`"):
        latency_of_runs(study, ["r", "s"], {})


def test_two_files_under_equal_conditions_need_a_choice(study: Study) -> None:
    _put(study, "r", _file([LAUNCH]), "a-1.json")
    _put(study, "r", _file([[1.0, 2.0]]), "a-2.json")
    with pytest.raises(InputError, match=r"2 latency files under the same conditions \(a-1.json, a-2.json\)"):
        latency_of_runs(study, ["r"], {})
    assert latency_of_runs(study, ["r"], {"file": "a-2.json"})["n_samples"].tolist() == [2]


def test_an_unknown_condition_is_named(study: Study) -> None:
    _put(study, "r", _file([LAUNCH]))
    with pytest.raises(InputError, match=r"unknown condition .*'precison'; did you mean 'precision'\? known: .*device"):
        latency_of_runs(study, ["r"], {"precison": "fp32"})


def test_disturbed_measurements_are_left_out_with_the_reason(study: Study) -> None:
    path = _put(study, "r", _file([LAUNCH], disturbed="load 3.1 on 2 cores"))
    found = read_latencies(study, ["r"], {})
    assert found.frame["n_samples"].tolist() == [0]
    assert found.frame["note"]["r"] == "disturbed: load 3.1 on 2 cores"
    assert found.problems == [Problem(path, "left out, the measurement was disturbed: load 3.1 on 2 cores")]
    _put(study, "r", _file([LAUNCH], device="GPU A"), "b.json")
    assert read_latencies(study, ["r"], {}).frame["n_samples"].tolist() == [201]


def _runs_of(*students: str) -> list[dict[str, Any]]:
    return [{"run": f"{name}-s{seed}", "student": name, "seed": float(seed)} for name in students for seed in (0, 1)]


def test_students_may_differ_in_input_but_not_the_runs_of_one(tmp_path: Path) -> None:
    study = Study(tmp_path, to_frame(_runs_of("ssd", "frcnn")))
    runs = study.frame["run"].tolist()
    for run in runs:
        size = "300x300" if run.startswith("ssd") else "1333x800"
        _put(study, run, _file([LAUNCH] * 3, input=size))
    found = latency_of_runs(study, runs, {})
    assert found["p50_ms"].tolist() == [101.0] * 4
    assert found["note"].tolist() == [
        *["timed at input 300x300, that of its student"] * 2,
        *["timed at input 1333x800, that of its student"] * 2,
    ]
    assert latency_of_runs(study, runs[:2], {})["note"].tolist() == ["", ""]  # nothing to tell apart
    _put(study, runs[1], _file([LAUNCH], input="512x512"))
    with pytest.raises(InputError, match=r"\(input: '300x300', '512x512'\)"):
        latency_of_runs(study, runs, {})
    _put(study, runs[1], _file([LAUNCH], input="300x300", precision="fp16"))
    with pytest.raises(InputError, match=r"\(precision: 'fp32', 'fp16'\)"):
        latency_of_runs(study, runs, {})


def test_a_table_of_flops_asks_for_no_device_and_one_of_times_does(tmp_path: Path) -> None:
    record = make_store(tmp_path, {"method": ["baseline", "kd"]}, seeds=2)
    study = read_study(tmp_path, cache=tmp_path.parent / "cache")
    for cell in record["cells"]:
        _put(study, cell["run"], _file([LAUNCH] * 3))
    _put(study, record["cells"][0]["run"], _file([LAUNCH] * 3, device="GPU B"), "b.json")
    asked = {"kind": "table", "rows": {"method": []}, "differences": []}
    found = build_table(study, parse({**asked, "columns": ["gflops", "gmacs"]}), "made")
    assert [row.cells["gflops"].value for row in found.rows] == [1.0, 1.0]
    assert [row.cells["gmacs"].value for row in found.rows] == [0.5, 0.5]
    with pytest.raises(InputError, match="device: 'GPU A', 'GPU B'"):
        build_table(study, parse({**asked, "columns": ["gflops", "latency_p50"]}), "made")


def test_a_table_of_memory_is_of_one_device_and_says_what_was_not_measured(tmp_path: Path) -> None:
    record = make_store(tmp_path, {"method": ["baseline", "kd"]}, seeds=1)
    study = read_study(tmp_path, cache=tmp_path.parent / "cache")
    first, second = (cell["run"] for cell in record["cells"])
    _put(study, first, _file([LAUNCH] * 3, memory={"inference_mib": 90.5, "training_mib": 310.0}))
    _put(study, second, _file([LAUNCH] * 3, memory={"inference_mib": 80.0, "training_mib": None}))
    columns = ["memory_inference", "memory_training"]
    asked = {"kind": "table", "rows": {"method": []}, "differences": [], "columns": columns}
    found = build_table(study, parse(asked), "made")
    assert [[row.cells[key].value for key in columns] for row in found.rows] == [[90.5, 310.0], [80.0, None]]
    _put(study, second, _file([LAUNCH] * 3, device="GPU B", memory={"inference_mib": 1.0}), "b.json")
    with pytest.raises(InputError, match="device: 'GPU A', 'GPU B'"):
        build_table(study, parse(asked), "made")


def test_a_run_that_was_timed_with_another_version_says_so(study: Study) -> None:
    for run, torch in (("r", "2.12.0"), ("s", "2.15.0"), ("t", "2.15.0"), ("u", None)):
        packages = {"torch": torch, "rich": run} if torch else {}
        _put(study, run, _file([LAUNCH] * 3, env={"python": "3.11.7", "packages": packages}))
    found = latency_of_runs(study, ["r", "s", "t", "u"], {})["note"].tolist()
    assert found == [
        "timed with torch 2.12.0 (others: 2.15.0)", "", "", "timed with torch not recorded (others: 2.15.0)"
    ]  # fmt: skip
    assert latency_of_runs(study, ["s", "t"], {})["note"].tolist() == ["", ""]


def test_counts_do_not_ask_for_the_device_or_a_quiet_one(study: Study) -> None:
    _put(study, "r", _file([LAUNCH]))
    _put(study, "r", _file([LAUNCH], device="GPU B", macs=None), "b.json")
    _put(study, "s", _file([LAUNCH], disturbed="load 3.1"))
    _put(study, "t", _file([LAUNCH]))
    _put(study, "t", _file([LAUNCH], input="512x512", flops=3 * 10**9), "b.json")
    with pytest.raises(InputError, match="device: 'GPU A', 'GPU B'"):
        latency_of_runs(study, ["r", "s"], {})
    found = operation_counts(study, ["r", "s", "none", "t"], {"device": "GPU B"})
    assert found.index.tolist() == ["r", "s", "none", "t"]
    assert list(found) == list(latency_of_runs(study, ["s"], {}))
    assert found["p50_ms"].isna().all()
    assert found["flops"].fillna(-1).tolist() == [1e9, 1e9, -1, -1]
    assert found["macs"].fillna(-1).tolist() == [5e8, 5e8, -1, 5e8]
    assert found["note"].tolist()[:3] == ["", "", "no latency file"]
    assert found["note"]["t"] == "its latency files count different flops: 1000000000, 3000000000"
    assert operation_counts(study, ["t"], {"input": "512x512"})["flops"].tolist() == [3e9]
    with pytest.raises(InputError, match=r"unknown condition .*'inputt'"):
        operation_counts(study, ["t"], {"inputt": "512x512"})
    # Beside latencies, too: a disturbed time is none, its FLOPs are.
    beside = latency_of_runs(study, ["r", "s"], {"device": "GPU A"})
    assert beside["n_samples"].tolist() == [201, 0]
    assert beside["flops"].tolist() == [1e9, 1e9]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "is of format 2"),
        ({"device": None}, "device is empty"),
        ({"device": 3}, "device is 3 where text belongs"),
        ({"conditions": []}, "conditions is a list where an object belongs"),
        ({"launches": []}, "launches is empty"),
        ({"launches": None}, "launches is null where a list belongs"),
        ({"launches": [{"samples_ms": []}]}, r"launches\[0\].samples_ms holds nothing"),
        ({"launches": [{"samples_ms": [1, None]}]}, "a sample that is no time"),
        ({"launches": [{"samples_ms": [1, 0]}]}, "a sample that is no time"),
        ({"launches": [{"samples_ms": [1, "2"]}]}, "is '2' where a number belongs"),
        ({"launches": [{"samples_ms": [-1.0]}]}, "is -1, outside 0 to inf"),
        ({"launches": [{}]}, "samples_ms is missing"),
        ({"artefact": {"AP": 25.0}}, "artefact.AP is 25, outside 0 to 1"),
        ({"flops": "many"}, "flops is 'many'"),
        ({"env": {"packages": {"torch": 2}}}, "env.packages.torch is 2 where text belongs"),
        ({"env": {"packages": ["torch"]}}, "env.packages is a list where an object belongs"),
    ],
)
def test_a_damaged_file_is_a_problem(study: Study, changes: dict[str, Any], message: str) -> None:
    path = _put(study, "r", {**_file([LAUNCH]), **changes})
    _put(study, "s", _file([LAUNCH]))
    found = read_latencies(study, ["r", "s"], {})
    (problem,) = found.problems
    assert problem.path == path
    assert re.search(message, problem.message)
    assert found.frame["n_samples"].tolist() == [0, 201]


def test_unknown_counts_are_nan(study: Study) -> None:
    _put(study, "r", _file([LAUNCH], flops=None, macs=None, params=None, artefact={"sha256": "x", "AP": None}))
    assert latency_of_runs(study, ["r"], {}).loc["r", ["flops", "macs", "params", "AP"]].isna().all()


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=50, deadline=None)
@given(st.sampled_from([*_file([LAUNCH])]), _JSON)
def test_any_value_anywhere_gives_a_measurement_or_a_problem(
    tmp_path_factory: pytest.TempPathFactory, key: str, value: Any
) -> None:
    study = Study(tmp_path_factory.mktemp("latency"), to_frame([]))
    path = _put(study, "r", {**_file([LAUNCH]), key: value})
    found = read_latency_file(path, "r")
    row = read_latencies(study, ["r"], {}).frame.loc["r"]
    usable = isinstance(found, Measurement) and not found.disturbed
    assert (row["n_samples"] > 0) == usable
    assert isinstance(found, Measurement | Problem)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=40), min_size=1, max_size=5))
def test_quantiles_rise_and_lie_in_their_intervals(samples: list[list[float]]) -> None:
    row = launch_quantiles([np.array(launch) for launch in samples])
    values = [row[f"{name}_ms"] for name in quantiles.QUANTILES]
    assert all(a <= b or a == pytest.approx(b) for a, b in pairwise(values))
    for name in quantiles.QUANTILES:
        low, value, high = (row[f"{name}{end}_ms"] for end in ("_low", "", "_high"))
        assert math.isnan(low) == math.isnan(high)
        assert math.isnan(low) or low * (1 - 1e-9) <= value <= high * (1 + 1e-9)


def test_the_docstring_names_every_key_of_the_format() -> None:
    example = str(latency_file.__doc__).split("`conditions` may have")[0]
    assert [key for key in _file([LAUNCH]) if f'"{key}": ' not in example] == []
    assert [key for key, value in CONDITIONS.items() if f'"{key}": {json.dumps(value)}' not in example] == []


def test_variation_of_launches_by_hand() -> None:
    # medians 10, 12, 14: mean 12, standard deviation 2; what is slow now and then does not move a median
    launches = [np.array([10.0, 10.0, 99.0]), np.array([11.0, 12.0, 13.0]), np.array([14.0])]
    assert coefficient_of_variation(launches) == pytest.approx(2 / 12)
    assert math.isnan(coefficient_of_variation(launches[:1]))
