"""Names of a run's numbers in a tracker, by group: loss/, kd/, val/, result/, train/. Trackers show one panel a group.

| key in metrics.jsonl | name |
|---|---|
| `loss` | loss/total |
| `loss_cls` (task) | loss/cls |
| `loss_kd_icod_cls` (weighted, trained) | kd/loss_icod_cls |
| `kd_icod_cls_raw` (observed) | kd/icod_cls_raw |
| `AP` of a `val` event | val/AP |
| all others: `lr`, `step_s`, `memory_mib` | train/lr |
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeGuard

from c2d.core.curves.event_file import THINNED
from c2d.tracking.tracker import Point

NOT_A_METRIC = ("event", "iteration", "time")
RESULT = "result"
RESULT_NUMBERS = (
    *("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"),
    *("top1", "top5", "nll", "ece", "redetected", "label_uniformity", "images_per_minute"),
)
"""Keys of result.json that a tracker shows, of every kind of run."""


def metric_name(key: str, event: str = "train") -> str:
    """Return the name of a key of an event.

    >>> [metric_name(key) for key in ("loss", "loss_bbox", "loss_kd_icod_cls", "kd_icod_cls_raw", "lr")]
    ['loss/total', 'loss/bbox', 'kd/loss_icod_cls', 'kd/icod_cls_raw', 'train/lr']
    """
    if event != "train":
        return f"{event}/{key}"
    if key.startswith("loss_kd_"):
        return f"kd/loss_{key.removeprefix('loss_kd_')}"
    if key.startswith("kd_"):
        return f"kd/{key.removeprefix('kd_')}"
    if key == "loss":
        return "loss/total"
    return f"loss/{key.removeprefix('loss_')}" if key.startswith("loss_") else f"train/{key}"


def points_of(events: Iterable[Mapping[str, Any]], time_s: float) -> Iterator[Point]:
    """Yield the points of events of metrics.jsonl. An event without a time has that of the one before it.

    Args:
        events: in their order.
        time_s: of a first event without a time, seconds since the epoch.
    """
    for event in events:
        if not is_number(event.get("iteration")) or event.get("event") == THINNED:
            continue
        time_s = float(event["time"]) if is_number(event.get("time")) else time_s
        kind = str(event.get("event", "train"))
        values = {
            metric_name(key, kind): float(value)
            for key, value in event.items()
            if key not in NOT_A_METRIC and is_number(value)
        }
        if values:
            yield Point(int(event["iteration"]), time_s, values)


def result_metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the final numbers of a result.json: COCO or classification, TIDE, other protocols, seconds."""
    found = {f"{RESULT}/{key}": result[key] for key in RESULT_NUMBERS if is_number(result.get(key))}
    tide = result.get("tide") or {}
    blocks = {
        "tide": tide.get("dAP") or {},
        **(result.get("protocols") or {}),
        "seconds": result["seconds"] if isinstance(result.get("seconds"), dict) else {},
    }
    for name, block in blocks.items():
        found |= {f"{RESULT}/{name}/{key}": value for key, value in block.items() if is_number(value)}
    return {name: float(value) for name, value in found.items()}


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a JSON value is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
