"""Choose the sweep of a table or figure, and the axes, labels and baseline that a user has not given.

They are those of the default report (`analysis.report.defaults`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from analysis.loading.schema import AXIS, Study
from c2d.core.errors import InputError, unknown_name

AUTO = "auto"
"""As a baseline: that of the default report."""
Axes = dict[str, list[str]]


def chosen_sweep(study: Study, given: str | None) -> str:
    """Return the sweep whose cells are shown; "" for the runs of no sweep.

    Args:
        given: its name; None chooses the only one that the frame has.

    Raises:
        InputError: the frame has no such sweep, several, or no run that a table can show.
    """
    frame = study.frame
    found = [name for name in study.sweeps if ((frame["sweep"] == name) & (frame["role"] == "student")).any()]
    if given:
        if given not in found:
            raise unknown_name("sweep in the frame", given, found, "load the store that has it, or choose other rows")
        return given
    singles = frame[(frame["role"] == "single") & frame["kind"].isin(["detector", ""])]
    options = [*found, *([""] if len(singles) else [])]
    if given == "" or len(options) == 1:
        return given if given is not None else options[0]
    if not options:
        raise InputError(
            "the frame has no student of a sweep and no detector of its own; keep rows whose role is student or single"
        )
    named = ", ".join(repr(name) if name else "'' (runs of no sweep)" for name in options)
    raise InputError(f"the frame has runs of {len(options)} sweeps; give one of them: sweep={named}")


def study_for(study: Study, sweep: str, keys: str | Iterable[str]) -> Study:
    """Return the study without the single runs of kinds that have none of the wanted numbers.

    A classifier beside detectors would be a row without AP; in a sweep it is no cell.

    Args:
        keys: of the numbers.
    """
    from analysis.loading.columns import QUANTITIES

    keys = [keys] if isinstance(keys, str) else list(keys)
    wanted = [set(QUANTITIES[key].run_kinds) for key in keys if key in QUANTITIES and QUANTITIES[key].run_kinds]
    if sweep or not wanted:
        return study
    frame, kinds = study.frame, set.union(*wanted)
    return dataclasses.replace(study, frame=frame[(frame["role"] != "single") | frame["kind"].isin([*kinds, ""])])


def default_axes(study: Study, sweep: str) -> Axes:
    """Return {axis: labels} of the cells.

    Raises:
        InputError: there are none.
    """
    from analysis.report.defaults import sweep_axes

    axes = sweep_axes(study, sweep)
    if not axes:
        raise InputError("no detector in the frame has a label; choose `rows` (or `series`) yourself")
    return axes


def baseline_of_keys(study: Study, sweep: str, given: Any, axes: Any, where: Any) -> dict[str, str]:
    """Return {axis: label} of the rows that others are compared with.

    Args:
        given: AUTO; None for no comparison; {axis: label}; or a label alone, which one axis must have.
        axes: of the rows or series; {axis: labels} where only these labels are shown.
        where: {axis: labels} that are shown, or None.

    Raises:
        InputError: no axis has the label, or several have it.
    """
    from analysis.report.defaults import default_baseline, sweep_axes

    shown = list(axes)
    if given is None or isinstance(given, Mapping):
        return {str(axis): str(label) for axis, label in (given or {}).items()}
    if given == AUTO:
        found = default_baseline(study, sweep, sweep_axes(study, sweep))
        limits = [dict(given) for given in (axes, where) if isinstance(given, Mapping)]
        is_shown = all(_allows(one.get(axis), label) for one in limits for axis, label in found.items())
        return found if set(found) <= set(shown) and is_shown else {}
    labels = {axis: _labels(study, sweep, axis) for axis in shown}
    having = [axis for axis in shown if str(given) in labels[axis]]
    if len(having) == 1:
        return {having[0]: str(given)}
    if having:
        raise InputError(f"several axes have the label {given!r}; write baseline={{{having[0]!r}: {given!r}}}")
    raise unknown_name("baseline", given, dict.fromkeys(label for found in labels.values() for label in found))


def _allows(labels: Any, label: str) -> bool:
    """Whether a label is among those that are shown; all are where none is named."""
    named = [labels] if isinstance(labels, str | int | float) else list(labels or ())
    return not named or label in map(str, named)


def _labels(study: Study, sweep: str, axis: str) -> list[str]:
    frame = study.frame[study.frame["sweep"] == sweep]
    return list(dict.fromkeys(frame[AXIS + axis].dropna())) if AXIS + axis in frame else []
