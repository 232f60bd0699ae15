"""GPU hours: sums by hand, cards against their published ratios, and one definition from the command to JSON."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks.cli import app
from benchmarks.hours import hours_check, hours_table
from benchmarks.hours.estimate import HoursEstimate, HoursRow, run_hours
from benchmarks.hours.gpu_cards import CARDS, OPERATOR_S, GpuCard, Precision
from benchmarks.hours.published_speeds import SPEEDS, SSD_RESNET50, geometric_mean
from benchmarks.hours.run_flops import ImageFlops, RunFlops
from c2d.core.errors import InputError

CARD = GpuCard("card", {"fp32": 10.0, "amp": 40.0}, {"fp32": 0.5, "amp": 0.25}, 2.0, "made up")  # 5 and 10 TFLOP/s
DEFINITION = """
question: What does it cost?
base: {dataset: coco2017, student: retinanet-qr18, init: none, schedule: {name: smoke, values: {batch: 8}}}
teachers: {detector: {student: retinanet-r18, init: none, schedule: smoke}}
axes:
  method: {baseline: [], fitnets: [{fitnets: {}}]}
seeds: 2
size: small
"""


def _flops(student: float, teachers: float, operators: int = 0) -> Any:
    image = ImageFlops(student, teachers, student / 3, 100.0, operators, operators)
    return RunFlops(SimpleNamespace(name="s"), image, iterations=3600, batch=16, evaluated=0)  # type: ignore[arg-type]


def test_a_step_lasts_as_long_as_its_kernels_or_as_their_start() -> None:
    """16 images of 2 + 0.5 TFLOP on 8 cards of 5 TFLOP/s: 1 s a step; 3600 steps on 8 cards are 8 GPU hours."""
    assert run_hours(_flops(2e12, 0.5e12), CARD, "fp32", 8) == pytest.approx(8.0)
    assert run_hours(_flops(2e12, 0.5e12), CARD, "amp", 8) == pytest.approx(4.0)
    assert run_hours(_flops(2e12, 0.5e12), CARD, "fp32", 1) == pytest.approx(8.0)
    host = int(3 / OPERATOR_S)  # its operators take 3 s to start, whatever the card
    assert run_hours(_flops(2e12, 0.5e12, host), CARD, "fp32", 8) == pytest.approx(24.0)
    assert run_hours(_flops(2e12, 0.5e12, host), CARD, "fp32", 2) == pytest.approx(8.0)  # 4 s of kernels on each


def test_runs_that_definitions_share_count_once() -> None:
    rows = (
        HoursRow("one", "baseline", False, ("a-s0", "a-s1"), _flops(1e12, 0.0), {"v100": 3.0}),
        HoursRow("two", "plain", False, ("a-s0", "a-s1"), _flops(1e12, 0.0), {"v100": 3.0}),
        HoursRow("two", "icod", False, ("b-s0",), _flops(1e12, 2e11), {"v100": 10.4}),
    )
    estimate = HoursEstimate(("v100",), 8, rows, ())
    assert (estimate.total("v100", "one"), estimate.count("one")) == (6.0, 2)
    assert (estimate.total("v100", "two"), estimate.count("two")) == (pytest.approx(16.4), 3)
    assert (estimate.total("v100"), estimate.count()) == (pytest.approx(16.4), 3)
    table = hours_table.markdown(estimate)
    assert "| icod | 1 | 3,600 x 16 | 1,000 | 200 | 10 | 10 |" in table
    assert (
        "| one | 2 | 6 |\n| two | 3 | 16 |\n| **all**, runs that definitions share counted once | **3** | **16** |"
        in table
    )
    assert "| range of all | | 10 to 28 |" in table  # 16.4 / 1.7 and 16.4 x 1.7
    # 3,600 x 16 images in 3 hours
    assert "Most images are read for plain: 5 a second for each V100." in table
    assert "fp32 62.0% of 15.7 TFLOP/s" in table
    lines = list(csv.DictReader(io.StringIO(hours_table.to_csv(estimate))))
    assert [line["definition"] for line in lines] == ["one", "two", "two"]
    assert lines[2]["v100_hours_per_run"] == "10.4"


def test_the_shares_of_the_cards_follow_from_published_speeds() -> None:
    """Two networks, both on both cards in both precisions: the mean of their ratios to the V100 in fp32."""
    resnet = {(s.card, s.precision): s.images / s.seconds for s in SPEEDS if s.network == "classifier:resnet50"}
    rate = {key: card.peak_tflops[p] * card.share[p] for key, card in CARDS.items() for p in ("fp32",)}
    pairs: tuple[tuple[str, Precision], ...] = (("v100", "amp"), ("a100", "fp32"), ("a100", "amp"))
    for card, precision in pairs:
        ratios = [speeds[card, precision] / speeds["v100", "fp32"] for speeds in (resnet, SSD_RESNET50)]
        reached = CARDS[card].peak_tflops[precision] * CARDS[card].share[precision]
        assert reached / rate["v100"] == pytest.approx(geometric_mean(ratios), rel=0.03)
    for _, precision in pairs:
        both = [CARDS[key].peak_tflops[precision] * CARDS[key].share[precision] for key in ("h100", "a100")]
        assert both[0] / both[1] == pytest.approx(2.0, rel=0.01)


def test_a_definition_becomes_rows_of_cells_and_teachers(tmp_path: Path) -> None:
    path = tmp_path / "cost.yaml"
    path.write_text(DEFINITION)
    result = CliRunner().invoke(app, ["hours", str(path), "--gpu", "a100", "--json", "--runs", str(tmp_path / "runs")])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout[result.stdout.index("{") :])
    rows = {row["cell"].partition("-")[0]: row for row in found["rows"]}
    assert {name: row["runs"] for name, row in rows.items()} == {"teacher retinanet": 1, "baseline": 2, "fitnets": 2}
    assert found["definitions"]["cost"]["runs"] == found["all"]["runs"] == 5
    assert rows["baseline"]["teacher_gflops_per_image"] == 0
    assert rows["fitnets"]["student_gflops_per_image"] == rows["baseline"]["student_gflops_per_image"] > 1
    # Backbone and neck of the teacher at least: without the head, about half of the third that its forward pass is.
    whole = rows["teacher retinanet"]["student_gflops_per_image"]
    assert whole / 8 < rows["fitnets"]["teacher_gflops_per_image"] < whole
    assert rows["fitnets"]["operators_per_step"] > rows["baseline"]["operators_per_step"] > 500
    assert not (tmp_path / "runs").exists()


def test_the_command_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    for arguments, message in (
        ([], "or --check alone"),
        (["rivals", "--check"], "or --check alone"),
        (["rivals", "--json", "--csv"], "two formats"),
        (["rivals", "--gpu", "a10"], "unknown GPU 'a10'"),
        ([str(tmp_path / "none.yaml")], "none.yaml"),
    ):
        result = CliRunner().invoke(app, ["hours", *arguments])
        assert isinstance(result.exception, InputError), arguments
        assert message in str(result.exception)


def test_two_steps_give_the_speed_and_the_time_of_an_operator() -> None:
    """100 and 10 FLOP, 5 and 20 operators, at 10 FLOP/s and 0.5 s an operator: 12.5 s and 11 s."""
    work = hours_check.Work
    assert hours_check._solve((work(100, 5), 12.5), (work(10, 20), 11.0)) == pytest.approx((10.0, 0.5))
    cases = [
        {"name": name, "gflops": 1.0, "operators": 2, "predicted_s": predicted, "measured_s": [1.0, 2.0, 9.0]}
        for name, predicted in (("a", 2.0), ("b", 1.0), ("c", 3.0))
    ]
    record = {"calibration": ["a"], "gflops_per_s": 10.0, "operator_us": 5.0, "cases": cases}
    table = hours_check.markdown(record).splitlines()
    assert table[3] == "| b | 1 | 2 | 1.000 | 2.000 (1.000 to 9.000) | 0.50 |"
    assert table[-1].endswith("Predicted / measured of the 2 others: median 1.00, from 0.50 to 1.50.")
