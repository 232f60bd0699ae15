"""Losses from the first step on: of short and of long files, thinned, over the iterations."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.state.curve_tail import CurvePoint
from sweeps.watch.loss_history import MOST_POINTS, LossPoint, mean_losses, read_early_losses, with_losses


def line(iteration: int, loss: float) -> str:
    return json.dumps({"event": "train", "iteration": iteration, "loss": loss, "padding": "x" * 500}) + "\n"


def test_a_long_file_is_read_at_some_places_from_its_begin_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(line(k, 1000.0 - k) for k in range(1, 1001)))
    size = path.stat().st_size
    found = read_early_losses(path, size)
    assert size > 2**19
    assert 60 < len(found) < 100  # 12 places with 6 or 7 whole lines
    assert found[0] == CurvePoint(1, None, 999.0)
    assert found[-1].iteration == 1000
    assert all(point.loss == 1000 - point.iteration for point in found)
    assert len(read_early_losses(path, 2**17)) == 2**17 // (size // 1000)
    assert read_early_losses(tmp_path / "none", 10) == []


def test_more_points_than_are_kept_become_means() -> None:
    points = [CurvePoint(k, None, float(k)) for k in range(1, MOST_POINTS + 2)]
    history = with_losses((), points)
    assert len(history) == MOST_POINTS // 2 + 1
    assert history[0] == LossPoint(1.5, 1.5)
    assert history[-1] == LossPoint(MOST_POINTS + 1, MOST_POINTS + 1)
    assert with_losses(history, points) == history, "what it has is not added again"
    assert with_losses(history, [CurvePoint(9999, None, None)]) == history


def test_parts_of_equal_length_by_hand() -> None:
    history = tuple(LossPoint(k, loss) for k, loss in ((0, 8.0), (10, 6.0), (20, 4.0), (100, 1.0)))
    # Parts of 25 iterations: three points, none, none, the last one.
    assert mean_losses(history, 4) == pytest.approx([6.0, 6.0, 6.0, 1.0])
    assert mean_losses(history[:1], 4) == [8.0]
    assert mean_losses((), 4) == []


@given(st.lists(st.floats(0, 1e6) | st.just(math.nan), max_size=60), st.integers(1, 30))
def test_parts_keep_the_range(losses: list[float], count: int) -> None:
    history = tuple(LossPoint(7 * k * k, loss) for k, loss in enumerate(losses))
    found = mean_losses(history, count)
    assert len(found) == min(count, len(losses))
    assert any(map(math.isnan, found)) == any(map(math.isnan, losses))
    finite = [loss for loss in losses if not math.isnan(loss)]
    assert all(min(finite) - 1e-6 <= one <= max(finite) + 1e-6 for one in found if not math.isnan(one))
