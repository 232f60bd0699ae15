"""Conditions of latency files: which files a spec selects, and in which conditions those of one table would differ.

Numbers beside each other must differ in what was timed alone. Files that differ in a condition are not compared, except
for the conditions that belong to a student (`OF_STUDENT`): a detector for 300 x 300 pixels is timed on such images, and
compared with one for larger images with a note.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from analysis.loading.latency_file import Measurement, latency_files
from analysis.loading.schema import Study
from c2d.core.errors import InputError, abbreviate, closest_name, unknown_name

FILE = "file"
"""As a condition: the name of a latency file, where two files have the same conditions."""
OF_STUDENT = ("input", "score_threshold")
"""Conditions in which two students may differ; runs of one student may not."""
NOT_STATED = "not stated"
"""As a value: the file does not have the condition."""
_HINT = "fix `latency` in the report spec"


def fits(one: Measurement, conditions: Mapping[str, str]) -> bool:
    """Whether a file was measured under all of the conditions.

    Args:
        conditions: exact values, as of `select_conditions`.
    """
    return all(_value(one, key) == str(wanted) for key, wanted in conditions.items())


def select_conditions(conditions: Mapping[str, str], found: Sequence[Measurement]) -> dict[str, str]:
    """Return the conditions of a spec with the exact names that the files have.

    A device may be given by words of its name: `H200` is "NVIDIA H200 141GB HBM3e" where no other device has that word.

    Args:
        conditions: as in the spec.
        found: all files that could be selected; without any, nothing can be checked.

    Raises:
        InputError: an unknown condition, a value that no file has, words that several devices have.
    """
    if not found:
        return dict(conditions)
    known = list(dict.fromkeys(key for one in found for key in one.conditions))
    exact = {}
    for key, given in conditions.items():
        if key not in (*known, FILE):
            raise unknown_name("condition of the latency files", key, [*known, FILE], _HINT)
        values = list(dict.fromkeys(_value(one, key) for one in found))
        exact[key] = _device(str(given), values) if key == "device" else str(given)
        if exact[key] not in values:
            raise unknown_name(f"{key} of the latency files", given, values, _HINT)
    return exact


def condition_sets(study: Study, runs: Iterable[str], conditions: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the conditions to add to those of a spec, one set for each table or figure that its files need.

    Args:
        runs: ids.
        conditions: as in the spec.

    Returns:
        [{}] where all selected files can stand in one table. Otherwise the conditions in which they differ, with the
        values of each kind of measurement, in the order of the runs.

    Raises:
        InputError: see `select_conditions`.
    """
    read = {run: latency_files(study.folder(run).parent, run, []) for run in dict.fromkeys(runs)}
    exact = select_conditions(conditions, [one for found in read.values() for one in found])
    chosen = {run: [one for one in found if fits(one, exact) and not one.disturbed] for run, found in read.items()}
    keys = list(differing_conditions(study, chosen))
    sets = [{key: _value(one, key) for key in keys} for found in chosen.values() for one in found]
    return [dict(pairs) for pairs in dict.fromkeys(tuple(one.items()) for one in sets)] or [{}]


def refuse_mixed(study: Study, chosen: Mapping[str, Sequence[Measurement]], conditions: Mapping[str, str]) -> None:
    """Check that the selected files can stand in one table.

    Args:
        chosen: {run: its selected files}.
        conditions: that selected them.

    Raises:
        InputError: two files differ in a condition, or a run has two files under the same conditions.
    """
    if differing := differing_conditions(study, chosen):
        listed = "; ".join(f"{key}: {abbreviate(values)}" for key, values in differing.items())
        stated = {key: next(v for v in values if v != NOT_STATED) for key, values in differing.items()}
        raise InputError(
            f"latencies under different conditions are not compared ({listed}); choose one in the report spec, "
            f"e.g. `latency: {_yaml({**conditions, **stated})}`"
        )
    for run, found in chosen.items():
        twins = [one.path.name for one in found]
        if len(twins) > 1:
            raise InputError(
                f"run {run} has {len(twins)} latency files under the same conditions ({', '.join(twins)}); remove "
                f"all but one, or choose it in the report spec: `latency: {_yaml({**conditions, FILE: twins[-1]})}`"
            )


def differing_conditions(study: Study, chosen: Mapping[str, Sequence[Measurement]]) -> dict[str, list[str]]:
    """Return {condition: its values} in which files differ that would be compared.

    Args:
        chosen: {run: its files}.
    """
    everything = [one for found in chosen.values() for one in found]
    differing = differing_values(everything, lambda key: key not in OF_STUDENT)
    students = _students(study)
    of_student: dict[tuple[str, ...], list[Measurement]] = {}
    for one in everything:
        of_student.setdefault(students.get(one.run, (one.run,)), []).append(one)
    for its in of_student.values():
        differing = {**differing_values(its, lambda key: key in OF_STUDENT), **differing}
    return differing


def differing_values(found: Sequence[Measurement], counts_in: Callable[[str], bool]) -> dict[str, list[str]]:
    """Return {condition: its values} where two files differ in one that counts.

    Args:
        counts_in: whether a condition counts.
    """
    keys = dict.fromkeys(key for one in found for key in one.conditions if counts_in(key))
    values = {key: list(dict.fromkeys(_value(one, key) for one in found)) for key in keys}
    return {key: several for key, several in values.items() if len(several) > 1}


def _value(one: Measurement, key: str) -> str:
    return one.path.name if key == FILE else one.conditions.get(key, NOT_STATED)


def _device(given: str, devices: Sequence[str]) -> str:
    """The device of that name, or the only one that has all the words of it."""
    if given in devices:
        return given
    words = _words(given)
    found = [device for device in devices if words and words <= _words(device)]
    if len(found) == 1:
        return found[0]
    if found:
        closest = min(found, key=len)
        raise InputError(
            f"device {given!r} is a part of several names of the latency files: {', '.join(sorted(found))}; "
            f"did you mean {closest!r}? Write one of them in full under `latency` in the report spec"
        )
    # The names of one maker are long and alike, so the words are compared.
    alike = {word: device for device in devices for word in sorted(_words(device))}
    close = closest_name(given.lower(), alike)
    guess = closest_name(given, devices) or alike.get(close, "")
    raise InputError(
        f"unknown device {given!r} of the latency files;{f' did you mean {guess!r}?' if guess else ''} "
        f"known: {', '.join(sorted(devices))}; {_HINT}"
    )


def _words(name: str) -> frozenset[str]:
    return frozenset(re.findall(r"[^\W_]+", name.lower()))


def _students(study: Study) -> dict[str, tuple[str, ...]]:
    """{run: what is equal for runs of one student, by its spec}."""
    frame = study.frame
    columns = [frame[name].astype(str) for name in ("student", "student_digest", "network", "input", "overrides_json")]
    return {str(run): tuple(facts) for run, *facts in zip(frame["run"], *columns, strict=True)}


def _yaml(conditions: Mapping[str, str]) -> str:
    pairs = (f"{key}: {value if _is_plain(value) else _quoted(value)}" for key, value in conditions.items())
    return "{" + ", ".join(pairs) + "}"


def _is_plain(value: str) -> bool:
    """Whether a flow mapping of YAML needs no quotes around the text."""
    return bool(value) and value == value.strip() and value[0].isalnum() and not any(c in value for c in ",:#{}[]'\"")


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
