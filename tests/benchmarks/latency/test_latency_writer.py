"""The writer and the reader of a latency file agree, through the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from analysis.loading.latency_file import read_latency_file
from benchmarks.latency import latency_writer
from benchmarks.latency.latency_row import LatencyRow
from c2d.core.regular_file import Problem


def example_row(batch: int = 1, disturbed: str | None = None, checked_sha: str | None = None) -> LatencyRow:
    """A row of two launches with three samples each."""
    launch: dict[str, Any] = {
        "clock": "perf_counter",
        "nms": "in",
        "samples_ms": [7.9100004, 7.88, 8.0],
        "warm_up_ms": [99.0],
        "missed_intervals": 0,
        "peak_mib": 40.5,
        "seen": {"before": {"load_1min": 0.1}, "after": {"load_1min": 0.2}},
        "disturbed": None,
    }
    conditions = {"backend": "eager", "precision": "fp32", "input": "300x300", "threads": 2, "score_threshold": 0.05}
    counts = {"flops": 20, "macs": 10, "params": 5, "trainable": 5, "uncounted": {"made::nms": 3}}
    return LatencyRow(
        "eager",
        batch,
        "end to end",
        launches=[launch, {**launch, "disturbed": disturbed}],
        facts={"device": "Made CPU @ 3.00GHz", "machine": {"cores": 2}, "conditions": conditions, "sha256": None},
        checks={"equal": True, "AP": 0.25, "sha256": checked_sha, "counts": counts},
        checkpoint="ab12",
        training_mib=120.0,
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = latency_writer.write_latency_file(tmp_path, example_row())
    found = read_latency_file(path, "a-run")
    assert not isinstance(found, Problem), found
    assert [list(samples) for samples in found.launches] == [[7.91, 7.88, 8.0]] * 2
    assert found.conditions == {
        "device": "Made CPU @ 3.00GHz",
        "backend": "eager",
        "precision": "fp32",
        "input": "300x300",
        "threads": "2",
        "score_threshold": "0.05",
        "batch": "1",
        "stage": "end to end",
        "nms": "in",
        "clock": "perf_counter",
    }
    assert (found.ap, found.disturbed) == (0.25, "")
    assert found.counts == {"flops": 20, "macs": 10, "params": 5}
    assert found.memory == {"inference_mib": 40.5, "training_mib": 120.0}
    assert "torch" in found.versions
    assert latency_writer.file_content(example_row())["artefact"] == {"sha256": "ab12", "AP": 0.25}


def test_the_same_conditions_replace_and_others_do_not(tmp_path: Path) -> None:
    for row in (example_row(), example_row(), example_row(batch=2)):
        latency_writer.write_latency_file(tmp_path, row)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 2
    assert all(
        name.startswith("made-cpu-3-00ghz-") and len(name) == len("made-cpu-3-00ghz-.json") + 12 for name in names
    )


def test_a_disturbed_measurement_never_replaces_a_reliable_one(tmp_path: Path) -> None:
    good = latency_writer.write_latency_file(tmp_path, example_row())
    bad = latency_writer.write_latency_file(tmp_path, example_row(disturbed="somebody compiled"))
    assert good != bad
    found = read_latency_file(bad)
    assert not isinstance(found, Problem)
    assert found.disturbed == "launch 2: somebody compiled"


def test_an_ap_of_other_bytes_is_not_this_artefacts() -> None:
    assert latency_writer.file_content(example_row(checked_sha="another export"))["artefact"]["AP"] is None


def test_values_that_json_lacks_are_null(tmp_path: Path) -> None:
    """An infinite deviation (outputs of another form) and a text instead of a memory become null."""
    row = example_row()
    row.checks |= {"equal": False, "max_deviation": float("inf")}
    row.training_mib = "training of a batch of 64 does not fit in memory"
    content = json.loads(
        latency_writer.write_latency_file(tmp_path, row).read_text(), parse_constant=lambda word: pytest.fail(word)
    )
    assert content["parity"] == {"equal": False, "tolerance": None, "max_deviation": None}
    assert content["memory"] == {"inference_mib": 40.5, "training_mib": None}
