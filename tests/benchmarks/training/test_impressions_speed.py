"""The benchmark of the synthesis: both sides take the same steps, and the table is computed from the samples."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.training import impressions_speed
from benchmarks.training.impressions_speed import PARTS, SynthesisCase, markdown, measure_impressions
from c2d.core.yaml.yaml_lines import read_mapping


def preset(folder: Path, **priors: Any) -> str:
    """The path of the preset moi with a draw at every step."""
    import yaml

    shipped = Path(impressions_speed.__file__).parents[2] / "c2d" / "configs" / "impressions" / "moi.yaml"
    values: dict[str, Any] = dict(read_mapping(shipped, ""))
    values["augmentation"] = {**values["augmentation"], "interval": 1}
    values["priors"] = {**values["priors"], **priors}
    path = folder / "every_step.yaml"
    path.write_text(yaml.safe_dump(values))
    return str(path)


@pytest.mark.parametrize(
    ("teacher", "priors"),
    [
        ("faster-rcnn-qr18", {"tv_l2": 0.5, "first_batch_norm": 2}),
        ("retinanet-qr18", {"batch_norm_form": "absolute", "batch_norm": 0.01}),
    ],
)
def test_our_steps_are_those_of_the_plain_loop(tmp_path: Path, teacher: str, priors: dict[str, Any]) -> None:
    """With a draw at every step nothing is reused: the same losses, and the same pixels."""
    case = SynthesisCase(teacher, batch=2, size=96, classes=3, preset=preset(tmp_path, **priors))
    with ExitStack() as stack:
        ours, plain = (impressions_speed._prepare(case, side, "cpu", stack) for side in ("ours", "plain"))
        assert torch.equal(ours.images, plain.images)
        for _ in range(2):
            losses, wanted = ours.step(), plain.step()
            assert set(losses) == set(wanted)
            for name, value in wanted.items():
                assert losses[name].item() == pytest.approx(value, rel=1e-4), name
    # Adam divides by the size of the gradient: where that is rounding alone, a step may differ as a whole.
    differs = (ours.images - plain.images).abs()
    assert (differs > 1e-3).float().mean() < 0.01
    assert (ours.images - plain.images.detach()).abs().mean() < 1e-3


def test_samples_and_parts(tmp_path: Path) -> None:
    case = SynthesisCase("faster-rcnn-qr18", batch=2, size=96, classes=3, preset=preset(tmp_path))
    backward = torch.Tensor.backward
    record = measure_impressions(case, repeats=2, threads=1)
    assert [len(record[f"{side}_ms"]) for side in ("plain", "frozen", "ours")] == [2, 2, 2]
    assert set(record["parts_ms"]) == set(PARTS)
    assert min(record["parts_ms"].values()) > 0
    assert record["interval"] == 1
    assert torch.Tensor.backward is backward


def test_the_table_takes_ratios_round_by_round() -> None:
    record = {
        "case": {"teacher": "runs/t/", "batch": 10, "size": 96},
        "iterations": 1000,
        "plain_ms": [20.0, 30.0, 40.0],
        "frozen_ms": [15.0, 15.0, 15.0],
        "ours_ms": [10.0, 10.0, 20.0],
        "parts_ms": dict(zip(PARTS, (1.0, 2.0, 3.0, 3.0, 0.5, 0.5), strict=True)),
        "plain_mib": 100.0,
        "ours_mib": 60.0,
    }
    lines = markdown([record]).splitlines()
    assert lines[2] == (
        "| t | 10, 96 | 30 | 15 | 10 | 20.00 | 60.00 | 2.00 (2.00 to 3.00) | 1.50 (0.75 to 1.50) | 100 | 60 |"
    )
    assert lines[-1] == "| t | 10 % | 20 % | 30 % | 30 % | 5 % | 5 % |"
