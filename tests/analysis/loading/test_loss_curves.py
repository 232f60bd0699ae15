"""metrics.jsonl as resumed, killed and damaged attempts leave it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.loading import loss_curves
from analysis.loading.loss_curves import read_metrics, read_validation
from tests.processor_cost import processor_cost

FIXTURE = Path(__file__).parents[2] / "fixtures" / "runs"


def _train(iteration: object, **values: object) -> str:
    return json.dumps({"event": "train", "iteration": iteration, "time": 1.8e9, "lr": 0.01, **values}) + "\n"


def test_one_row_an_iteration_with_the_losses_and_the_observations(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        _train(1, loss=3.0, loss_cls=1.0, kd_icod_raw=0.5, **{"s0.loss_bbox": 2.0})
        + '{"event": "val", "iteration": 1, "AP": 0.25, "AP50": 0.5, "AP75": null}\n'
        + _train(2, loss=2.0, loss_cls=1.0)
    )
    found = read_metrics(path)
    assert list(found) == ["iteration", "loss", "loss_cls", "s0.loss_bbox", "kd_icod_raw"]
    assert found["iteration"].tolist() == [1, 2]
    assert found["loss"].tolist() == [3.0, 2.0]
    assert math.isnan(found["kd_icod_raw"][1])
    val = read_validation(path)
    assert list(val) == ["iteration", "AP", "AP50", "AP75"]
    assert (val["AP"][0], math.isnan(val["AP75"][0])) == (0.25, True)


def test_the_last_word_on_an_iteration_counts_and_half_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        _train(1, loss=9.0)
        + _train(2, loss=8.0)
        + _train(3, loss=7.0)
        + '{"event": "train", "itera'  # killed; the next attempt went on in the same line
        + _train(2, loss=99.0)
        + _train(2, loss=6.0)
        + _train(3, loss=5.0)
        + '{"event": "train", "iteration": 4'
    )
    found = read_metrics(path)
    assert dict(zip(found["iteration"], found["loss"], strict=True)) == {1: 9.0, 2: 6.0, 3: 5.0}
    assert found.attrs["skipped"] == 2


def test_nan_is_kept_and_nonsense_is_nan(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        _train(1, loss=math.nan) + _train(2, loss=math.inf) + _train(3, loss="high") + _train(4, loss=True)
        + _train(5, loss=10**400) + _train("6", loss=1.0) + _train(-1, loss=1.0) + _train(True, loss=1.0)
        + "[1]\n7\n\n" + _train(8) + '{"event": 5, "iteration": 9}\n{"iteration": 9}\n'
    )  # fmt: skip
    found = read_metrics(path)
    assert found["iteration"].tolist() == [1, 2, 3, 4, 5, 8]
    assert found["loss"].tolist()[1] == found["loss"].tolist()[4] == math.inf
    assert found["loss"].isna().tolist() == [True, False, True, True, False, True]


@pytest.mark.parametrize("content", [None, b"", b"\n\n", b"\xff\xfe\n", b"[" * 50_000])
def test_nothing_to_read_is_no_row(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "metrics.jsonl"
    if content is not None:
        path.write_bytes(content)
    assert list(read_metrics(path)) == ["iteration", "loss"]
    assert len(read_metrics(path)) == len(read_validation(path)) == 0
    assert len(read_metrics(tmp_path)) == 0  # a folder


def test_a_half_line_that_joins_with_its_neighbour_is_no_event(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"event": "train", "iteration": 1\n"loss": 3.0}\n' + _train(2, loss=1.0))
    assert read_metrics(path)["iteration"].tolist() == [2]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.integers(0, 6), st.floats(-9, 9)).map(lambda given: _train(given[0], loss=given[1]).encode()),
            st.binary(max_size=12).map(lambda raw: b"x" + raw.replace(b"\n", b"") + b"\n"),
        ),
        max_size=30,
    ),
    st.integers(1, 5),
)
def test_it_agrees_with_reading_line_by_line(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], at_once: int
) -> None:
    path = tmp_path_factory.mktemp("curve") / "metrics.jsonl"
    path.write_bytes(b"".join(lines))
    expected: dict[int, float] = {}
    for line in lines:
        if not line.startswith(b"x"):
            event = json.loads(line)
            expected[event["iteration"]] = event["loss"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss_curves, "AT_ONCE", at_once)
        found = read_metrics(path)
    assert dict(zip(found["iteration"].tolist(), found["loss"].tolist(), strict=True)) == expected
    assert found["iteration"].is_monotonic_increasing
    assert found.attrs["skipped"] == sum(line.startswith(b"x") for line in lines)


def test_the_fixture(tmp_path: Path) -> None:
    path = next(iter(sorted(FIXTURE.glob("*icod*/metrics.jsonl"))))
    found = read_metrics(path)
    assert found["iteration"].tolist()[0] == 1
    assert "loss_kd_icod_cls" in found
    parts = [key for key in map(str, found) if "loss" in key and key != "loss"]
    np.testing.assert_allclose(found[parts].sum(axis=1), found["loss"], rtol=1e-5)


def test_two_hundred_thousand_lines_take_seconds(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    tail = _train(0, loss=1.5, loss_cls=0.5, kd_icod_cls_raw=0.25)[len('{"event": "train", "iteration": 0') :]
    path.write_text("".join(f'{{"event": "train", "iteration": {i}{tail}' for i in range(200_000)))
    found, cost = processor_cost(lambda: read_metrics(path))
    assert len(found) == 200_000
    assert cost < 40
