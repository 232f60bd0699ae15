"""Which latency files a spec selects: a device by words of its name, unknown values refused, one set a measurement."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from analysis.loading.latency import latency_of_runs
from analysis.loading.latency_conditions import condition_sets
from analysis.loading.load import read_study
from analysis.loading.schema import Study
from benchmarks.suite.synthetic_store import make_store
from c2d.core.errors import InputError

H200, H100, PCIE = "NVIDIA H200 141GB HBM3e", "NVIDIA H100 80GB HBM3", "NVIDIA H100 PCIe"


def put(study: Study, run: str, name: str, ms: float = 5.0, **conditions: Any) -> None:
    given = {"backend": "eager", "precision": "fp32", **conditions}
    device = given.pop("device", H200)
    text = {"format": 1, "device": device, "conditions": given, "launches": [{"samples_ms": [ms] * 30}] * 3}
    path = study.runs / run / "latency" / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(json.dumps(text))


@pytest.fixture
def study(tmp_path: Path) -> Study:
    make_store(tmp_path, {"method": ["baseline", "kd"]}, seeds=1)
    return read_study(tmp_path, cache=tmp_path / "cache")


def runs_of(study: Study) -> list[str]:
    return [str(run) for run in study.frame["run"][study.frame["role"] == "student"]]


@pytest.mark.parametrize("given", ["H200", "h200", "nvidia h200", "H200 141GB", H200])
def test_a_device_is_found_by_words_of_its_name(study: Study, given: str) -> None:
    one, _ = runs_of(study)
    put(study, one, "a.json")
    put(study, one, "b.json", device=H100)
    found = latency_of_runs(study, [one], {"device": given})
    assert found["device"].tolist() == [H200]
    assert found["file"].tolist() == ["latency/a.json"]


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"device": "H100"}, f"'H100' is a part of several names of the latency files: {H100}, {PCIE}; did you mean"),
        ({"device": "H20"}, f"unknown device 'H20' of the latency files; did you mean '{H200}'? known: {H100}, {PCIE}"),
        ({"device": "A100"}, f"known: {H100}, {PCIE}, {H200}; fix `latency` in the report spec"),
        ({"device": ""}, "unknown device ''"),
        ({"backend": "onx"}, "unknown backend of the latency files 'onx'; did you mean 'onnx'? known: eager, onnx"),
        ({"precision": "fp16"}, "unknown precision of the latency files 'fp16'; did you mean 'fp32'? known: fp32"),
        ({"file": "c.json"}, "known: a.json, b.json, c-3.json"),
    ],
)
def test_an_ambiguous_or_unknown_value_is_refused_with_the_list(
    study: Study, conditions: dict[str, str], message: str
) -> None:
    one, two = runs_of(study)
    put(study, one, "a.json", backend="onnx")
    put(study, one, "b.json", device=H100)
    put(study, two, "c-3.json", device=PCIE)
    with pytest.raises(InputError) as caught:
        latency_of_runs(study, [one, two], conditions)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_of_one_kind_need_no_further_condition(study: Study) -> None:
    one, two = runs_of(study)
    assert condition_sets(study, [one, two], {}) == [{}]
    put(study, one, "a.json")
    put(study, two, "a.json")
    assert condition_sets(study, [one, two], {}) == [{}]


def test_every_kind_of_measurement_is_a_set_of_its_own(study: Study) -> None:
    one, two = runs_of(study)
    put(study, one, "a.json")
    put(study, one, "b.json", backend="tensorrt", precision="fp16")
    put(study, two, "a.json")
    put(study, two, "c.json", extra="pinned")
    sets = condition_sets(study, [one, two], {})
    assert sets == [
        {"backend": "eager", "precision": "fp32", "extra": "not stated"},
        {"backend": "tensorrt", "precision": "fp16", "extra": "not stated"},
        {"backend": "eager", "precision": "fp32", "extra": "pinned"},
    ]
    for found in sets:
        assert latency_of_runs(study, [one, two], found)["p50_ms"].notna().any()
    assert condition_sets(study, [one, two], {"backend": "tensorrt"}) == [{}]
