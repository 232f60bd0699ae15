"""Raw latency samples -> quantiles with intervals; refuses to compare what was measured under other conditions.

Format 1 of `<run>/latency/<device>-<digest>.json`, one file for one artefact under one set of conditions:

    {"format": 1,
     "device": "NVIDIA H100 80GB HBM3",
     "conditions": {"backend": "eager", "precision": "fp32", "batch": 1, "input": "300x300", "threads": null,
                    "stage": "end to end", "images": "real", "score_threshold": 0.05, "nms": "in"},
     "launches": [{"samples_ms": [7.91, 7.88, ...]}, ...],      one entry a process, samples in the order taken
     "disturbed": null,                                         or why the samples are not to be trusted
     "artefact": {"sha256": "...", "AP": 0.25},                 what was timed, and its AP in 0-1 (null: not known)
     "flops": 1, "macs": 1, "params": 1,                        of one image; null where nobody could count them
     "env": {...}}                                              versions and machine, as in env.json

`conditions` may have more keys; values are text, numbers, truth values or null. Any key in which two files differ keeps
them apart. `analysis.quantiles` says what becomes of the samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.errors import InputError, some, unknown
from analysis.frame import Problem, Study
from analysis.quantiles import QUANTILES, of_launches
from analysis.store import LATENCY, Wrong, at, items, kind, maybe, number, plain, read_object, text

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

COUNTS = ("flops", "macs", "params")
FILE = "file"
"""As a condition: the name of a latency file, for what nothing else tells apart."""


@dataclass(frozen=True)
class Measurement:
    """One latency file. conditions: {device, and every condition: as text}. launches: samples in ms of each process."""

    run: str
    path: Path
    conditions: dict[str, str]
    launches: list[np.ndarray]
    disturbed: str
    ap: float
    flops: float
    macs: float
    params: float


@dataclass(frozen=True)
class Latencies:
    """frame: as `of_runs` returns it. problems: files that were left out, and why."""

    frame: pd.DataFrame
    problems: list[Problem]


def of_runs(study: Study, runs: Sequence[str], conditions: Mapping[str, str]) -> pd.DataFrame:
    """Latency of some runs under one set of conditions, indexed by run, a row for each in the order given.

    Columns: device, conditions (as text), launches, n_samples, for every quantile p50_ms, p50_low_ms, p50_high_ms and
    so on (95 %), interval (how it was made), AP of the artefact in 0-1, flops, macs, params of one image, note. A run
    without a usable file has NaN and says why in `note`.

    Args:
        conditions: {"device": ..., "precision": ..., any key of a file's conditions, or "file": its name}, compared as
            text; only files that have all of them count.

    Raises:
        InputError: an unknown condition; runs, or files of one run, measured on other devices or otherwise differently.
    """
    return measure(study, runs, conditions).frame


def measure(study: Study, runs: Sequence[str], conditions: Mapping[str, str]) -> Latencies:
    """`of_runs`, with what was left out."""
    import pandas as pd

    problems: list[Problem] = []
    read: dict[str, list[Measurement]] = {run: _files(study.runs, run, problems) for run in dict.fromkeys(runs)}
    everything = [one for found in read.values() for one in found]
    if everything:
        _check_known(conditions, everything)
    chosen: dict[str, list[Measurement]] = {}
    notes: dict[str, str] = {}
    for run, found in read.items():
        wanted = [one for one in found if _fits(one, conditions)]
        quiet = [one for one in wanted if not one.disturbed]
        problems += [
            Problem(one.path, f"left out, the measurement was disturbed: {one.disturbed}")
            for one in wanted
            if one.disturbed
        ]
        chosen[run] = quiet
        notes[run] = "" if quiet else _why_none(found, wanted, conditions)
    _refuse_mixed([one for found in chosen.values() for one in found], conditions)
    rows = [_row(chosen[run][0]) if chosen[run] else _nothing(notes[run]) for run in runs]
    frame = pd.DataFrame(rows, index=pd.Index(list(runs), name="run", dtype=object), columns=_columns())
    return Latencies(frame, problems)


def read_file(path: Path, run: str = "") -> Measurement | Problem:
    """One latency file, or a Problem that says what is wrong with it."""
    value = read_object(path)
    if isinstance(value, Problem):
        return value
    try:
        return _measurement(path, run, value)
    except Wrong as error:
        return Problem(path, f"cannot be used: {error}")


def _files(runs: Path, run: str, problems: list[Problem]) -> list[Measurement]:
    try:
        paths = sorted(path for path in (runs / run / LATENCY).iterdir() if path.suffix == ".json")
    except OSError:
        return []
    found = [read_file(path, run) for path in paths if not path.name.startswith(".")]
    problems += [one for one in found if isinstance(one, Problem)]
    return [one for one in found if isinstance(one, Measurement)]


def _measurement(path: Path, run: str, value: Mapping[str, Any]) -> Measurement:
    import numpy as np

    device = text(at(value, "device"), "device")
    given = at(value, "conditions")
    if not device:
        raise Wrong("device is empty")
    if not isinstance(given, dict):
        raise Wrong(f"conditions is {kind(given)} where an object belongs")
    launches = []
    for index, launch in enumerate(items(at(value, "launches"), "launches")):
        name = f"launches[{index}].samples_ms"
        samples = [number(one, name, 0) for one in items(at(launch, "samples_ms"), name)]
        if not samples or any(not one for one in samples):
            raise Wrong(f"{name} holds {'nothing' if not samples else 'a sample that is no time'}")
        launches.append(np.array(samples, dtype=np.float64))
    if not launches:
        raise Wrong("launches is empty")
    disturbed = maybe(value, "disturbed")
    if disturbed is not None and not isinstance(disturbed, str):
        disturbed = "no reason given" if disturbed is not False else ""

    def count(key: str) -> float:
        found = number(maybe(value, key), key, 0)
        return math.nan if found is None else found

    ap = number(maybe(value, "artefact", "AP"), "artefact.AP", 0, 1)
    return Measurement(
        run,
        path,
        {"device": device, **{plain(key): _as_text(one, key) for key, one in given.items() if key != "device"}},
        launches,
        plain(disturbed or ""),
        math.nan if ap is None else ap,
        count("flops"),
        count("macs"),
        count("params"),
    )


def _as_text(value: Any, name: str) -> str:
    """As in the file; 1.0 is 1."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    return f"{number(value, f'conditions.{name}'):.12g}"


def _fits(one: Measurement, conditions: Mapping[str, str]) -> bool:
    return all(
        (one.path.name if key == FILE else one.conditions.get(key)) == str(wanted) for key, wanted in conditions.items()
    )


def _check_known(conditions: Mapping[str, str], everything: Sequence[Measurement]) -> None:
    known = list(dict.fromkeys(key for one in everything for key in one.conditions))
    for key in conditions:
        if key not in (*known, FILE):
            raise unknown("condition of the latency files", key, [*known, FILE], "mend `latency` in the report spec")


def _why_none(found: Sequence[Measurement], wanted: Sequence[Measurement], conditions: Mapping[str, str]) -> str:
    if not found:
        return "no latency file"
    if not wanted:
        asked = ", ".join(f"{key}: {value}" for key, value in conditions.items())
        return f"none of its {len(found)} latency files was measured with {asked}"
    return "disturbed: " + "; ".join(dict.fromkeys(one.disturbed for one in wanted))


def _refuse_mixed(chosen: Sequence[Measurement], conditions: Mapping[str, str]) -> None:
    """Numbers beside each other must differ in the artefact alone."""
    keys = dict.fromkeys(key for one in chosen for key in one.conditions)
    differing: dict[str, list[str]] = {}
    for key in keys:
        values = list(dict.fromkeys(one.conditions.get(key, "not stated") for one in chosen))
        if len(values) > 1:
            differing[key] = values
    if differing:
        listed = "; ".join(f"{key}: {some(values)}" for key, values in differing.items())
        stated = {key: next(v for v in values if v != "not stated") for key, values in differing.items()}
        raise InputError(
            f"latencies under different conditions are not compared ({listed}); choose one in the report spec, "
            f"e.g. `latency: {_yaml({**conditions, **stated})}`"
        )
    for one in chosen:
        twins = [other.path.name for other in chosen if other.run == one.run]
        if len(twins) > 1:
            raise InputError(
                f"run {one.run} has {len(twins)} latency files under the same conditions ({', '.join(twins)}); remove "
                f"all but one, or choose it in the report spec: `latency: {_yaml({**conditions, FILE: twins[-1]})}`"
            )


def _yaml(conditions: Mapping[str, str]) -> str:
    pairs = (f"{key}: {value if _is_plain(value) else _quoted(value)}" for key, value in conditions.items())
    return "{" + ", ".join(pairs) + "}"


def _is_plain(value: str) -> bool:
    """True for what a flow mapping of YAML takes as it stands."""
    return bool(value) and value == value.strip() and value[0].isalnum() and not any(c in value for c in ",:#{}[]'\"")


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _columns() -> list[str]:
    quantiles = [f"{name}{end}_ms" for name in QUANTILES for end in ("", "_low", "_high")]
    return [*("device", "conditions", "launches", "n_samples"), *quantiles, "interval", "AP", *COUNTS, "note"]


def _nothing(note: str) -> dict[str, Any]:
    texts = dict.fromkeys(("device", "conditions", "interval"), "")
    return {**dict.fromkeys(_columns(), math.nan), **texts, "launches": 0, "n_samples": 0, "note": note}


def _row(one: Measurement) -> dict[str, Any]:
    return {
        "device": one.conditions["device"],
        "conditions": ", ".join(f"{key}: {value}" for key, value in one.conditions.items() if key != "device"),
        **of_launches(one.launches),
        "AP": one.ap,
        **{key: getattr(one, key) for key in COUNTS},
    }
