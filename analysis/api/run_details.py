"""What a run has many values of, in tidy frames: classes, latencies, TIDE by IoU and size, training curves.

Every frame begins with the columns of `ID` and the labels of the sweeps' axes, so it can be grouped by itself, and
merged with the frame of `load` on `run`. Values are those of the files: AP and TIDE in 0-1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from analysis.api.runs_frame import STORE, study_of, warn_of
from c2d.core.errors import unknown_name
from c2d.core.json_values import read_object
from c2d.core.regular_file import Problem
from c2d.core.run_folder import METRICS_FILE, RESULT_FILE

if TYPE_CHECKING:
    import pandas as pd

ID = ("run", "sweep", "student", "method", "dataset", "seed")
"""Columns that name a run in every frame here."""
Values = dict[str, Any]
TIDE_BY = ("iou", "size", "class")


def per_class(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the numbers of every class of finished runs: one row a run and class.

    Args:
        runs: rows of `analysis.load`.

    Returns:
        The columns that name the run, `class`, then of a detector AP to ARl in 0-1, `boxes` and `detections` (counts),
        `tide.Cls` to `tide.FalseNeg` (AP50 that fixing the errors of the class would bring it, 0-1), `count.Cls` to
        `count.Miss`; of a classifier the numbers of its result. NaN where one is undefined, e.g. without large objects.

    Raises:
        InputError: a frame without the columns of `load`.
    """
    return _frame(runs, class_rows, ["class"])


def tide(runs: pd.DataFrame, by: Literal["iou", "size", "class"] = "iou") -> pd.DataFrame:
    """Return the TIDE errors of finished detectors: one row a run and IoU threshold, size or class.

    Args:
        runs: rows of `analysis.load`, whose columns `tide.Cls` and so on are those at IoU 0.5 over all objects.
        by: `iou` (0.5 to 0.95, of students that recorded it), `size` (small, medium, large) or `class`.

    Returns:
        The columns that name the run, `iou`, `size` or `class`, `AP` (at that IoU, 0-1), `tide.Cls` to `tide.FalseNeg`
        (the AP that fixing one type of error would bring, 0-1), `count.Cls` to `count.Miss`.

    Raises:
        InputError: a frame without the columns of `load`, or another `by`.
    """
    if by not in TIDE_BY:
        raise unknown_name("`by` of TIDE", by, TIDE_BY)
    return _frame(runs, lambda folder, problems: _tide_rows(folder, problems, by), [by])


def latency(runs: pd.DataFrame) -> pd.DataFrame:
    """Return every latency measurement: one row a run and file, i.e. backend, device, batch and other conditions.

    Args:
        runs: rows of `analysis.load`.

    Returns:
        The columns that name the run, `file`, `device` and every condition of the files as text (`backend`,
        `precision`, `batch`, `input`, `threads`, `stage`, ...), `p50_ms` to `p99_ms` with a 95 % interval each
        (`p50_low_ms`, `p50_high_ms`), `interval` (its method), `launches`, `n_samples`, `AP` of the timed artefact
        (0-1), `flops`, `macs`, `params` of one image, `inference_mib`, `training_mib` (peak memory), `note`, and
        `disturbed`: why a measurement is not to be trusted, "" where it is. Tables and figures leave those out.

    Raises:
        InputError: a frame without the columns of `load`.

    Warns:
        UserWarning: files that cannot be used.
    """
    found = _frame(runs, latency_rows, ["file", "device"])
    last = [name for name in ("disturbed", "note") if name in found]
    return found[[*(name for name in found if name not in last), *last]]


def losses(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the training curves: one row a run and logged iteration, of runs that have begun.

    Args:
        runs: rows of `analysis.load`.

    Returns:
        The columns that name the run, `iteration`, `loss`, every loss term and every `kd_*` of the log; NaN where a run
        has no such term.

    Raises:
        InputError: a frame without the columns of `load`.
    """
    from analysis.loading.loss_curves import read_metrics

    return _curves(runs, read_metrics)


def validations(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the validations during training: one row a run and validation.

    Args:
        runs: rows of `analysis.load`.

    Returns:
        The columns that name the run, `iteration`, `AP`, `AP50`, `AP75` in 0-1. The numbers of a run are those of its
        exported student, in the frame of `load`.

    Raises:
        InputError: a frame without the columns of `load`.
    """
    from analysis.loading.loss_curves import read_validation

    return _curves(runs, read_validation)


def class_rows(folder: Path, problems: list[Problem]) -> Iterator[Values]:
    """Yield the numbers of each class of one finished run."""
    value = _result(folder, problems)
    types = {str(row["class"]): row for row in _tide_of(value, "class")}
    for name, numbers in _mapping(value.get("per_class")).items():
        plain = {key: _number(given) for key, given in _mapping(numbers).items() if not isinstance(given, dict | list)}
        of_tide = {key: given for key, given in types.get(name, {}).items() if key not in ("class", "AP")}
        yield {"class": name, **plain, **of_tide}


def class_ap(folder: Path, problems: list[Problem]) -> Values:
    """Return {class: AP in 0-1} of one finished detector; {} of another run."""
    classes = _mapping(_result(folder, problems).get("per_class"))
    return {name: _number(numbers["AP"]) for name, numbers in classes.items() if "AP" in _mapping(numbers)}


def latency_rows(folder: Path, problems: list[Problem]) -> Iterator[Values]:
    """Yield the numbers of each latency file of one run."""
    from analysis.loading.latency import numbers_of_file
    from analysis.loading.latency_file import latency_files

    for one in latency_files(folder.parent, folder.name, problems):
        numbers = numbers_of_file(one.path, one.run)
        if not isinstance(numbers, Problem):
            rest = {key: given for key, given in numbers.items() if key not in ("device", "conditions", "count_file")}
            yield {"file": numbers["file"], **one.conditions, **rest, "disturbed": one.disturbed}


def _tide_rows(folder: Path, problems: list[Problem], by: str) -> Iterator[Values]:
    yield from _tide_of(_result(folder, problems), by)


def _tide_of(result: Mapping[str, Any], by: str) -> Iterator[Values]:
    """TIDE's numbers of a result.json at each IoU, size or class."""
    for name, numbers in _mapping(_mapping(result.get("tide")).get(f"per_{by}")).items():
        parts = _mapping(numbers)
        yield {
            by: float(name) if by == "iou" else name,
            "AP": _number(parts.get("AP")),
            **{f"tide.{error}": _number(given) for error, given in _mapping(parts.get("dAP")).items()},
            **{f"count.{error}": _number(given) for error, given in _mapping(parts.get("counts")).items()},
        }


def _result(folder: Path, problems: list[Problem]) -> dict[str, Any]:
    found = read_object(folder / RESULT_FILE)
    if isinstance(found, Problem):
        problems.append(found)
        return {}
    return found


def _frame(
    runs: pd.DataFrame, rows_of_run: Callable[[Path, list[Problem]], Iterator[Values]], first: list[str]
) -> pd.DataFrame:
    """The rows of all finished runs; of a frame without any, only the columns that name a run."""
    import pandas as pd

    problems: list[Problem] = []
    out = [
        {**named, **row} for named, folder, state in _named(runs) if state == "done"
        for row in rows_of_run(folder, problems)
    ]  # fmt: skip
    warn_of(problems)
    names = dict.fromkeys([*_names(runs), *first, *(key for row in out for key in row)])
    return pd.DataFrame(out, columns=list(names))


def _curves(runs: pd.DataFrame, read: Callable[[Path], pd.DataFrame]) -> pd.DataFrame:
    import pandas as pd

    parts = []
    for named, folder, _ in _named(runs):
        curve = read(folder / METRICS_FILE)
        if len(curve):
            curve.attrs = {}
            own = pd.DataFrame({key: [value] * len(curve) for key, value in named.items()})
            parts.append(pd.concat([own, curve], axis=1))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*_names(runs), "iteration"])


def _names(runs: pd.DataFrame) -> list[str]:
    return [*ID, *(str(name) for name in runs.columns if str(name).startswith("axis."))]


def _named(runs: pd.DataFrame) -> Iterator[tuple[Values, Path, str]]:
    """(columns that name a run, its folder, its state) of every run."""
    study_of(runs)  # checks the frame
    names = _names(runs)
    for row in runs.to_dict("records"):
        yield {name: row[name] for name in names}, Path(str(row[STORE])) / str(row["run"]), str(row["state"])


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> Any:
    """A number as float64, NaN for null; other values as they are."""
    if value is None:
        return math.nan
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
