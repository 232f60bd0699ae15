"""The sbatch flags of a profile beside its keys: what is given twice, and what only a key may set.

The number of processes, the limits that a retry raises and the costs of a dry run follow from the profile's keys. So a
flag that sets one of them is read into its key where that is possible, and refused with the key's name where it is not.
"""

from __future__ import annotations

import re
from typing import Any

from c2d.core.errors import InputError

RESERVED_FLAGS = (
    "array", "chdir", "clusters", "dependency", "error", "help", "job_name", "kill_on_invalid_dep", "no_kill",
    "no_requeue", "open_mode", "output", "requeue", "signal", "test_only", "usage", "version", "wait", "wrap",
)  # fmt: skip
"""Flags of sbatch that a profile cannot change: submission, requeue and recovery depend on them.

Another cluster is chosen by SLURM_CLUSTERS, which every command of SLURM reads."""
MEMORY_FLAGS = ("mem", "mem_per_cpu", "mem_per_gpu")
"""SLURM accepts one of them."""
DEFAULT_MAX_HOURS = 72.0
"""Limit that a retry does not exceed, unless `hours` itself is longer."""
_KEY_OF_FLAG = {
    "nodes": "nodes", "ntasks": "processes", "ntasks_per_node": "processes", "ntasks_per_gpu": "processes",
    "tasks_per_node": "processes",
    "cpus_per_task": "cpus", "cpus_per_gpu": "cpus", "gres": "gres", "gpus": "gpus", "gpus_per_node": "gpus",
    "gpus_per_task": "gpus", "gpus_per_socket": "gpus", "tres_per_task": "cpus",
}  # fmt: skip
_SAME_NAME = ("partition", "account", "qos", "constraint")
_DAYS = re.compile(r"(?P<d>\d+)-(?P<h>\d+)(:(?P<m>\d+)(:(?P<s>\d+))?)?")
_NO_DAYS = re.compile(r"((?P<h>\d+):(?=\d+:))?(?P<m>\d+)(:(?P<s>\d+))?")


def flag_name(flag: str) -> str:
    """Return a flag as submitit spells it.

    >>> flag_name("--mem-per-cpu")
    'mem_per_cpu'
    """
    return flag.lstrip("-").replace("-", "_")


def hours_of_time(given: Any) -> float:
    """Return a time of sbatch's --time in hours.

    >>> [hours_of_time(text) for text in ("90", 90, "4:30", "01:00:00", "1-12", "2-0:30")]
    [1.5, 1.5, 0.075, 1.0, 36.0, 48.5]

    Raises:
        ValueError: no time, or no limit.
    """
    text = str(given)
    match = _DAYS.fullmatch(text) or _NO_DAYS.fullmatch(text)
    parts = {name: int(value or 0) for name, value in match.groupdict().items()} if match else {}
    hours = 24 * parts.get("d", 0) + parts.get("h", 0) + parts.get("m", 0) / 60 + parts.get("s", 0) / 3600
    if isinstance(given, bool) or hours == 0:
        raise ValueError(
            f"sbatch time {given!r} is no limit; write minutes, 'HH:MM:SS' or 'D-HH:MM:SS', or use `hours`"
        )
    return hours


def gpus_of_gres(gres: str) -> int:
    """Return the number of GPUs in the value of --gres.

    >>> [gpus_of_gres(text) for text in ("gpu", "gpu:2", "gpu:a100:4,nvme:1", "shard:8", "gpu:a100:2(S:0)")]
    [1, 2, 4, 0, 2]
    """
    counts = [re.fullmatch(r"gpu(:[^:(]*?[^:\d(][^:(]*)?(:(\d+))?(\(.*\))?", item) for item in gres.split(",")]
    return sum(int(found[3] or 1) for found in counts if found)


def read_flags(values: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the values of a profile, with those sbatch flags read into keys that set the same.

    Args:
        values: keys of a profile as they were given, without defaults.
        where: the profile's name or file, for the message.

    Raises:
        InputError: something is given twice, or by a flag where only a key may set it.
    """
    given = values.get("sbatch")
    flags = _flags(given, where) if isinstance(given, dict) else {}
    _check_once(flags, values, where)
    read = dict(values)
    memory = [flag for flag in MEMORY_FLAGS if flags.get(flag, False) is not False]
    if memory:
        read["mem_gb"] = None
    limits = {}
    for flag in ("time", "time_min"):
        if flags.get(flag, False) is not False:
            try:
                limits[flag] = hours_of_time(flags[flag])
            except ValueError as error:
                raise InputError(f"{where}: {error}") from None
    if "time" in limits:
        hours = limits["time"]
        read["hours"] = {"small": hours, "large": hours}
        read["sbatch"] = {key: value for key, value in values["sbatch"].items() if flag_name(str(key)) != "time"}
    if isinstance(values.get("gres"), str):
        count = gpus_of_gres(values["gres"])
        if values.get("gpus", count) != count:
            raise InputError(
                f"{where}: gres {values['gres']!r} has {count} GPUs a node and gpus is {values['gpus']!r}; "
                "give one of them: the number of processes follows from it"
            )
        read["gpus"] = count
    longest = _longest(read.get("hours"))
    if "max_hours" not in values and longest is not None:
        read["max_hours"] = max(DEFAULT_MAX_HOURS, longest)
    return read


def _flags(given: dict[str, Any], where: str) -> dict[str, Any]:
    """Return {flag as submitit spells it: value}; each is allowed and given once, its value fits a line."""
    flags: dict[str, Any] = {}
    for key, value in given.items():
        flag, shown = flag_name(str(key)), str(key).lstrip("-").replace("_", "-")
        if flag in RESERVED_FLAGS or not re.fullmatch(r"[a-z][a-z0-9_]+", flag):
            reserved = ", ".join(name.replace("_", "-") for name in RESERVED_FLAGS)
            raise InputError(
                f"{where}: sbatch flag '{shown}' cannot be given; not allowed are {reserved}, and one-letter flags: "
                "write the long name"
            )
        if flag in flags:
            raise InputError(f"{where}: sbatch flag '{shown}' is given twice, in two spellings; keep one of them")
        if not isinstance(value, str | int) or (isinstance(value, str) and not (value.isprintable() or value == "")):
            raise InputError(
                f"{where}: sbatch flag '{shown}' is {value!r}; write one line of text in quotes, a whole number, or "
                "true for a flag without a value"
            )
        flags[flag] = value
    return flags


def _check_once(flags: dict[str, Any], values: dict[str, Any], where: str) -> None:
    for flag in flags:
        shown = flag.replace("_", "-")
        if flag in _KEY_OF_FLAG:
            raise InputError(
                f"{where}: sbatch flag '{shown}' sets what the key `{_KEY_OF_FLAG[flag]}` sets, from which the number "
                f"of processes follows; write {_KEY_OF_FLAG[flag]}: ... outside of sbatch"
            )
        if flag in _SAME_NAME and values.get(flag) is not None:
            raise InputError(f"{where}: {shown} is given twice, as a key and in sbatch; keep one of them")
    memory = [flag.replace("_", "-") for flag in MEMORY_FLAGS if flags.get(flag, False) is not False]
    if len(memory) > 1:
        raise InputError(f"{where}: sbatch flags {' and '.join(memory)} exclude each other; keep one of them")
    if memory and values.get("mem_gb") is not None:
        raise InputError(
            f"{where}: mem_gb and sbatch flag '{memory[0]}' exclude each other; keep one of them (a retry can "
            "raise mem_gb only)"
        )
    if "time" in flags and "hours" in values:
        raise InputError(f"{where}: the time limit is given twice, as hours and as sbatch time; keep one of them")


def _longest(hours: Any) -> float | None:
    numbers = [value for value in hours.values() if type(value) in (int, float)] if isinstance(hours, dict) else []
    return float(max(numbers)) if numbers else None
