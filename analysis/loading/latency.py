"""Quantiles of raw latency samples with intervals; an error where the runs were measured under different conditions.

`analysis.loading.latency_file` reads the files, `analysis.loading.latency_conditions` selects them, and
`analysis.stats.quantiles` computes the quantiles of their samples. FLOPs, MACs and parameters do not depend on the
device or on its load.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.loading.latency_conditions import (
    NOT_STATED,
    OF_STUDENT,
    differing_values,
    fits,
    refuse_mixed,
    select_conditions,
)
from analysis.loading.latency_file import COUNTS, MEMORY, Measurement, latency_files, read_latency_file
from analysis.loading.schema import Study
from analysis.stats.quantiles import QUANTILES, launch_quantiles
from c2d.core.regular_file import Problem
from c2d.core.run_folder import LATENCY_FOLDER

if TYPE_CHECKING:
    import pandas as pd

_MOST = 3  # versions named in one note


@dataclass(frozen=True)
class Latencies:
    """Latencies of some runs.

    Attributes:
        frame: as `latency_of_runs` returns it.
        problems: files that were left out, and why.
    """

    frame: pd.DataFrame
    problems: list[Problem]


def latency_of_runs(study: Study, runs: Sequence[str], conditions: Mapping[str, str]) -> pd.DataFrame:
    """Return the latency of some runs under one set of conditions.

    Args:
        runs: ids.
        conditions: {"device": ..., "precision": ..., any key of a file's conditions, or "file": its name}, compared as
            text; only files that have all of them count. A device may be given by words of its name.

    Returns:
        A row for each run in the order given, indexed by run. Columns: device, conditions (as text), launches,
        n_samples, for every quantile p50_ms, p50_low_ms, p50_high_ms and so on (95 %), interval (its method), AP of the
        artefact in 0-1, flops, macs, params of one image, peak memory as inference_mib and training_mib, note, file and
        count_file (the files in the run's folder with the times and with the counts; "" for none). A run without a
        usable file has NaN, and the reason in `note`. For a timed run `note` has what a reader should know: few
        launches or samples, an input or a version that differs from that of other runs. Where the chosen file has no
        counts they are those of `operation_counts`.

    Raises:
        InputError: an unknown condition or value; runs, or files of one run, measured on different devices or under
            different conditions.
    """
    return read_latencies(study, runs, conditions).frame


def operation_counts(study: Study, runs: Sequence[str], conditions: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Return flops, macs and params of one image, without any latency.

    They are read from all latency files of a run, whatever the device and its load. Files that count differently give
    NaN, with the reason in `note`.

    Args:
        runs: ids.
        conditions: as of `latency_of_runs`; only those of `OF_STUDENT` choose files.

    Returns:
        The columns of `latency_of_runs`.

    Raises:
        InputError: an unknown condition or value.
    """
    import pandas as pd

    read: dict[str, list[Measurement]] = {
        run: latency_files(study.folder(run).parent, run, []) for run in dict.fromkeys(runs)
    }
    exact = select_conditions(conditions or {}, [one for found in read.values() for one in found])
    chosen = {key: wanted for key, wanted in exact.items() if key in OF_STUDENT}
    rows = []
    for run in runs:
        found = [one for one in read[run] if fits(one, chosen)]
        row, notes = _counted(found)
        nothing = _nothing("; ".join(notes) if found else _why_none(read[run], [], chosen))
        rows.append(nothing | row | {"count_file": _count_file(found)})
    return pd.DataFrame(rows, index=pd.Index(list(runs), name="run", dtype=object), columns=_columns())


def read_latencies(study: Study, runs: Sequence[str], conditions: Mapping[str, str]) -> Latencies:
    """Return `latency_of_runs` together with the files that were left out."""
    import pandas as pd

    problems: list[Problem] = []
    read: dict[str, list[Measurement]] = {
        run: latency_files(study.folder(run).parent, run, problems) for run in dict.fromkeys(runs)
    }
    conditions = select_conditions(conditions, [one for found in read.values() for one in found])
    chosen: dict[str, list[Measurement]] = {}
    why: dict[str, str] = {}
    for run, found in read.items():
        wanted = [one for one in found if fits(one, conditions)]
        chosen[run] = [one for one in wanted if not one.disturbed]
        problems += [
            Problem(one.path, f"left out, the measurement was disturbed: {one.disturbed}")
            for one in wanted
            if one.disturbed
        ]
        why[run] = "" if chosen[run] else _why_none(found, wanted, conditions)
    refuse_mixed(study, chosen, conditions)
    taken = {run: found[0] for run, found in chosen.items() if found}
    notes = _differences(list(taken.values()))
    rows = []
    for run in runs:
        same = [one for one in read[run] if fits(one, _of_student(taken.get(run), conditions))]
        row = _row(taken[run], notes[run]) if run in taken else _nothing(why[run])
        row["count_file"] = row["count_file"] or _count_file(same)
        rows.append(row | {key: number for key, number in _counted(same)[0].items() if math.isnan(row[key])})
    frame = pd.DataFrame(rows, index=pd.Index(list(runs), name="run", dtype=object), columns=_columns())
    return Latencies(frame, problems)


def numbers_of_file(path: Path, run: str) -> dict[str, Any] | Problem:
    """Return the numbers of one latency file, {column of `latency_of_runs`: value}, or the Problem why it has none."""
    found = read_latency_file(path, run)
    return found if isinstance(found, Problem) else _row(found, ())


def _of_student(taken: Measurement | None, conditions: Mapping[str, str]) -> dict[str, str]:
    """The conditions that files must share for their counts to be of the same thing."""
    given = conditions if taken is None else taken.conditions
    return {key: str(given[key]) for key in OF_STUDENT if key in given}


def _name(one: Measurement) -> str:
    return f"{LATENCY_FOLDER}/{one.path.name}"


def _count_file(found: Sequence[Measurement]) -> str:
    return next((_name(one) for one in found if any(number == number for number in one.counts.values())), "")


def _counted(found: Sequence[Measurement]) -> tuple[dict[str, float], list[str]]:
    """({one of COUNTS: the number in all files, NaN where none has it or they differ}, notes on those that differ)."""
    row, notes = {}, []
    for key in COUNTS:
        values = sorted({one.counts[key] for one in found if not math.isnan(one.counts[key])})
        row[key] = values[0] if len(values) == 1 else math.nan
        if len(values) > 1:
            notes.append(f"its latency files count different {key}: {', '.join(f'{number:.12g}' for number in values)}")
    return row, notes


def _why_none(found: Sequence[Measurement], wanted: Sequence[Measurement], conditions: Mapping[str, str]) -> str:
    if not found:
        return "no latency file"
    if not wanted:
        given = ", ".join(f"{key}: {value}" for key, value in conditions.items())
        return f"none of its {len(found)} latency files was measured with {given}"
    return "disturbed: " + "; ".join(dict.fromkeys(one.disturbed for one in wanted))


def _differences(taken: Sequence[Measurement]) -> dict[str, list[str]]:
    """{run: what of its input and its software is not that of the other runs}."""
    notes: dict[str, list[str]] = {one.run: [] for one in taken}
    for key in differing_values(taken, lambda key: key in OF_STUDENT):
        for one in taken:
            notes[one.run].append(f"timed at {key} {one.conditions.get(key, NOT_STATED)}, that of its student")
    packages = dict.fromkeys(name for one in taken for name in one.versions)
    usual = {name: Counter(one.versions.get(name, "") for one in taken).most_common(1)[0][0] for name in packages}
    for one in taken:
        other = [name for name in packages if one.versions.get(name, "") != usual[name]]
        versions = [f"{name} {one.versions.get(name, 'not recorded')} (others: {usual[name] or 'not recorded'})"
                for name in other]  # fmt: skip
        if versions:
            notes[one.run].append(f"timed with {', '.join(versions[:_MOST])}{' and more' * (len(versions) > _MOST)}")
    return notes


def _columns() -> list[str]:
    quantiles = [f"{name}{end}_ms" for name in QUANTILES for end in ("", "_low", "_high")]
    return [*("device", "conditions", "launches", "n_samples"), *quantiles, "interval", "AP", *COUNTS, *MEMORY, "note",
            "file", "count_file"]  # fmt: skip


def _nothing(note: str) -> dict[str, Any]:
    texts = dict.fromkeys(("device", "conditions", "interval", "file", "count_file"), "")
    return {**dict.fromkeys(_columns(), math.nan), **texts, "launches": 0, "n_samples": 0, "note": note}


def _row(one: Measurement, notes: Sequence[str]) -> dict[str, Any]:
    found = launch_quantiles(one.launches)
    return {
        "device": one.conditions["device"],
        "conditions": ", ".join(f"{key}: {value}" for key, value in one.conditions.items() if key != "device"),
        **found,
        "AP": one.ap,
        **one.counts,
        **one.memory,
        "note": "; ".join(filter(None, [found["note"], *notes])),
        "file": _name(one),
        "count_file": _name(one) if any(number == number for number in one.counts.values()) else "",
    }
