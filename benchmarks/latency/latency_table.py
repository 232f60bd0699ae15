"""Rows of a latency measurement as text; every number of the samples is computed by `analysis.stats.quantiles`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from benchmarks.latency.measure import Row

VARIES = 0.02
"""Medians of the launches that vary more than this (standard deviation over mean) are marked."""

NMS = {"out": "outside", "in": "inside", "RPN's": "outside (that of the RPN inside)"}


def markdown(rows: Sequence[Row], with_disturbed: bool = False) -> str:
    """The table, its notes numbered below. A disturbed row shows no numbers, unless `with_disturbed`."""
    lines = [
        "| backend | precision | input | batch | stage | p50 ms [95 %] | p90 | p95 | p99 | launches, samples | varies "
        "| peak MiB | AP | notes |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    notes: dict[str, int] = {}
    for row in rows:
        cells, told = _line(row, with_disturbed)
        numbers = [str(notes.setdefault(note, len(notes) + 1)) for note in dict.fromkeys(told)]
        lines.append(_join([*cells, ", ".join(numbers)]))
    listed = [f"{number}. {note}" for note, number in notes.items()]
    return "\n".join([*lines, *([""] if listed else []), *listed])


def _line(row: Row, with_disturbed: bool) -> tuple[list[str], list[str]]:
    """(cells but for the notes, notes)."""
    head = [row.backend, row.precision, row.input, str(row.batch), row.stage]
    failed = [row.reason] if row.reason else []
    if not row.launches:
        return [*head, *["–"] * 8], [*failed, *row.notes]
    if row.disturbed and not with_disturbed:
        return [*head, *["–"] * 8], [f"left out, disturbed: {row.disturbed}", *failed, *row.notes]
    numbers, told = _numbers(row)
    disturbed = [f"disturbed: {row.disturbed}"] if row.disturbed else []
    peak = "–" if row.inference_mib is None else f"{row.inference_mib:.0f}"
    return [*head, *numbers, peak, _ap(row)], [*disturbed, *failed, *told, *row.notes]


def _numbers(row: Row) -> tuple[list[str], list[str]]:
    """(cells from p50 to `varies`, notes)."""
    import numpy as np

    from analysis.stats.quantiles import of_launches, variation

    launches = [np.array(one["samples_ms"], dtype=np.float64) for one in row.launches]
    found = of_launches(launches)
    between = "" if math.isnan(found["p50_low_ms"]) else f" [{found['p50_low_ms']:.4g}, {found['p50_high_ms']:.4g}]"
    varies = variation(launches)
    cells = [f"{found['p50_ms']:.4g}{between}", *(f"{found[f'{name}_ms']:.4g}" for name in ("p90", "p95", "p99"))]
    cells += [f"{found['launches']}, {found['n_samples']}", "–" if math.isnan(varies) else f"{varies:.1%}"]
    notes = [found["note"]] if found["note"] else []
    if varies > VARIES:
        notes.append(f"its launches differ by more than {VARIES:.0%}")
    return cells, notes


def _ap(row: Row) -> str:
    ap = row.examined.get("AP")
    return "–" if ap is None else f"{100 * ap:.1f}"


def _join(cells: Sequence[Any]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |"


def counts(rows: Sequence[Row]) -> str:
    """One line on operations and parameters of one image, and what was not counted; "" where nobody counted."""
    found = next((row.examined["counts"] for row in rows if row.examined.get("counts")), None)
    if not found:
        return ""
    uncounted = found.get("uncounted") or {}
    missing = ", ".join(f"{name} x{calls}" for name, calls in uncounted.items()) or "none"
    return (
        f"One image of {found['counted_at']}: {found['macs'] / 1e9:.3f} GMACs, {found['flops'] / 1e9:.3f} GFLOPs, "
        f"{found['params'] / 1e6:.3f} M parameters ({found['trainable'] / 1e6:.3f} M trainable); "
        f"operators not counted: {missing}"
    )


def conditions(rows: Sequence[Row]) -> str:
    """One line on what all rows share: device, machine, mode, images, threads."""
    row = next((one for one in rows if one.launches), None)
    if row is None:
        return ""
    known, machine = row.facts["conditions"], row.facts["machine"]
    threshold = "none" if known["score_threshold"] is None else f"{known['score_threshold']:g}"
    return (
        f"{row.facts['device']}; threads: {known['threads']}, cores: {known['cores']}, governor: "
        f"{machine['governor'] or 'not known'}; {known['mode']}, {known['images']} images, score threshold: "
        f"{threshold}; a sample is one batch; NMS is {NMS[row.facts['nms']]} the stage `model`"
    )


def training(rows: Sequence[Row]) -> str:
    """One line on the peak memory of a training step at each input and batch size; "" where nobody measured it."""
    found = {(row.input, row.batch): row.training_mib for row in rows if row.training_mib is not None}
    if not found:
        return ""
    several = len({size for size, _ in found}) > 1
    told = [
        f"batch {batch}{f' at {size}' if several else ''}: {mib if isinstance(mib, str) else f'{mib:.0f} MiB'}"
        for (size, batch), mib in found.items()
    ]
    return f"peak memory of a training step (its own losses, SGD, eager fp32): {', '.join(told)}"
