"""Compare the findings of two results of one run: the numbers that follow from its weights. Its cost may differ."""

from __future__ import annotations

from typing import Any

NUMBER_TABLES = ("AP_per_iou", "per_class", "tide", "protocols", "calibration")
"""Keys of result.json with tables of numbers."""
COSTS = ("seconds", "memory_mib", "images_per_minute")
"""Keys of result.json with what the run cost: other numbers on another machine, or beside other work."""


def result_differences(here: Any, there: Any, names: tuple[str, str] = ("here", "there")) -> list[str]:
    """Return how two contents of result.json differ, one text a number: `AP 0.5 here, 0.4 there`; empty if they agree.

    Args:
        here, there: the contents; what is no object has no number.
        names: of the two, for the texts.
    """
    a, b = _numbers(here), _numbers(there)
    keys = [key for key in dict.fromkeys([*a, *b]) if a.get(key) != b.get(key)]
    return [f"{key} {_shown(a.get(key))} {names[0]}, {_shown(b.get(key))} {names[1]}" for key in keys]


def differences_text(differences: list[str], most: int = 3) -> str:
    """Return the first differences as one clause, and the number of the others."""
    more = f"; and {len(differences) - most} more" if len(differences) > most else ""
    return f"{'; '.join(differences[:most])}{more}"


def _numbers(result: Any) -> dict[str, Any]:
    """Return what follows from the weights: every plain number of a result.json, and its tables."""
    found = result if isinstance(result, dict) else {}
    return {
        key: value
        for key, value in found.items()
        if key not in COSTS and (isinstance(value, int | float | None) or key in NUMBER_TABLES)
    }


def _shown(value: Any) -> str:
    return (
        f"{value:.6g}" if isinstance(value, float) else "other values" if isinstance(value, dict) else f"{value!a:.40}"
    )
