"""Format the rows of a latency measurement; `analysis.stats.quantiles` computes every statistic of the samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from benchmarks.latency.latency_row import LatencyRow

MAX_VARIATION = 0.02
"""Rows whose medians of the launches vary more than this (standard deviation / mean) get a note."""

NMS = {"out": "outside", "in": "inside", "RPN's": "outside (that of the RPN inside)"}


def markdown(rows: Sequence[LatencyRow], with_disturbed: bool = False) -> str:
    """Return the table with numbered notes below. A disturbed row shows no numbers, unless `with_disturbed`."""
    lines = [
        "| backend | precision | input | batch | stage | p50 ms [95 %] | p90 | p95 | p99 | launches, samples | varies "
        "| peak MiB | AP | notes |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    notes: dict[str, int] = {}
    for row in rows:
        cells, row_notes = _line(row, with_disturbed)
        # Equal notes share one number.
        numbers = [str(notes.setdefault(note, len(notes) + 1)) for note in dict.fromkeys(row_notes)]
        lines.append(_join([*cells, ", ".join(numbers)]))
    listed = [f"{number}. {note}" for note, number in notes.items()]
    return "\n".join([*lines, *([""] if listed else []), *listed])


def _line(row: LatencyRow, with_disturbed: bool) -> tuple[list[str], list[str]]:
    """Return (cells without the notes, notes)."""
    head = [row.backend, row.precision, row.input, str(row.batch), row.stage]
    failed = [row.reason] if row.reason else []
    if not row.launches:
        return [*head, *["–"] * 8], [*failed, *row.notes]
    if row.disturbed and not with_disturbed:
        return [*head, *["–"] * 8], [f"left out, disturbed: {row.disturbed}", *failed, *row.notes]
    numbers, number_notes = _numbers(row)
    disturbed = [f"disturbed: {row.disturbed}"] if row.disturbed else []
    peak = "–" if row.inference_mib is None else f"{row.inference_mib:.0f}"
    return [*head, *numbers, peak, _ap(row)], [*disturbed, *failed, *number_notes, *row.notes]


def _numbers(row: LatencyRow) -> tuple[list[str], list[str]]:
    """Return (cells from p50 to `varies`, notes)."""
    import numpy as np

    from analysis.stats.quantiles import coefficient_of_variation, launch_quantiles

    launches = [np.array(one["samples_ms"], dtype=np.float64) for one in row.launches]
    summary = launch_quantiles(launches)
    low, high = summary["p50_low_ms"], summary["p50_high_ms"]
    interval = "" if math.isnan(low) else f" [{low:.4g}, {high:.4g}]"
    varies = coefficient_of_variation(launches)
    cells = [f"{summary['p50_ms']:.4g}{interval}", *(f"{summary[f'{name}_ms']:.4g}" for name in ("p90", "p95", "p99"))]
    cells += [f"{summary['launches']}, {summary['n_samples']}", "–" if math.isnan(varies) else f"{varies:.1%}"]
    notes = [summary["note"]] if summary["note"] else []
    if varies > MAX_VARIATION:
        notes.append(f"its launches differ by more than {MAX_VARIATION:.0%}")
    return cells, notes


def _ap(row: LatencyRow) -> str:
    ap = row.checks.get("AP")
    return "–" if ap is None else f"{100 * ap:.1f}"


def _join(cells: Sequence[Any]) -> str:
    # A pipe inside a cell would begin the next one.
    return "| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |"


def counts(rows: Sequence[LatencyRow]) -> str:
    """Return one line: operations of one image, parameters, operators not counted; "" where nothing was counted."""
    counted = next((row.checks["counts"] for row in rows if row.checks.get("counts")), None)
    if not counted:
        return ""
    uncounted = counted.get("uncounted") or {}
    missing = ", ".join(f"{name} x{calls}" for name, calls in uncounted.items()) or "none"
    return (
        f"One image of {counted['counted_at']}: "
        f"{counted['macs'] / 1e9:.3f} GMACs, {counted['flops'] / 1e9:.3f} GFLOPs, "
        f"{counted['params'] / 1e6:.3f} M parameters ({counted['trainable'] / 1e6:.3f} M trainable); "
        f"operators not counted: {missing}"
    )


def conditions(rows: Sequence[LatencyRow]) -> str:
    """Return one line on what all rows share: device, machine, mode, images, threads."""
    row = next((one for one in rows if one.launches), None)
    if row is None:
        return ""
    shared, machine = row.facts["conditions"], row.facts["machine"]
    threshold = "none" if shared["score_threshold"] is None else f"{shared['score_threshold']:g}"
    return (
        f"{row.facts['device']}; threads: {shared['threads']}, cores: {shared['cores']}, governor: "
        f"{machine['governor'] or 'not known'}; {shared['mode']}, {shared['images']} images, score threshold: "
        f"{threshold}; a sample is one batch; NMS is {NMS[row.facts['nms']]} the stage `model`"
    )


def training(rows: Sequence[LatencyRow]) -> str:
    """Return one line: peak memory of a training step at each input and batch size; "" where it was not measured."""
    peaks = {(row.input, row.batch): row.training_mib for row in rows if row.training_mib is not None}
    if not peaks:
        return ""
    several = len({size for size, _ in peaks}) > 1
    parts = [
        f"batch {batch}{f' at {size}' if several else ''}: {mib if isinstance(mib, str) else f'{mib:.0f} MiB'}"
        for (size, batch), mib in peaks.items()
    ]
    return f"peak memory of a training step (its own losses, SGD, eager fp32): {', '.join(parts)}"
