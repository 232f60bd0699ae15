"""The account of a load: which keys fitted, which did not, and what would have to change so that they do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor

from c2d.core.errors import InputError

Shape = tuple[int, ...]
SHOWN = 10
ALWAYS_MISSING = ("*num_batches_tracked",)  # a counter that BatchNorm got in torch 0.4.1; older files lack it


@dataclass(frozen=True)
class Audit:
    """What happened to every key of a weight file and of the model it went into.

    loaded: keys copied. missing: keys of the model that the file lacks. unexpected: keys of the file that the model
    lacks. mismatched: (key, shape in the file, shape in the model). wanted: keys of the model. dropped: keys of the
    file that the caller's `rename` left out. notes: what was done to the file's keys (wrapper, prefix, renaming).
    """

    loaded: int
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[tuple[str, Shape, Shape], ...] = ()
    who: str = ""
    source: str = ""
    wanted: int = 0
    dropped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def summary(self) -> str:
        """One line for the log: `teacher t.pth: 122 of 122 keys loaded; prefix 'module.' stripped`."""
        parts = [f"{self.who} {self.source}: {self.loaded} of {self.wanted} keys loaded".strip()]
        for label, keys in (("missing", self.missing), ("unexpected", self.unexpected), ("left out", self.dropped)):
            if keys:
                parts.append(f"{len(keys)} {label} ({some(keys, 3)})")
        if self.mismatched:
            parts.append(f"{len(self.mismatched)} of another shape ({shapes(self.mismatched, 3)})")
        return "; ".join([*parts, *self.notes])

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, for the run folder."""
        return {key: _plain(value) for key, value in asdict(self).items()}


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def some(keys: Sequence[str], n: int = SHOWN) -> str:
    """The first n names and the number of the others."""
    return ", ".join(keys[:n]) + (f" and {len(keys) - n} more" if len(keys) > n else "")


def shapes(mismatched: Sequence[tuple[str, Shape, Shape]], n: int = SHOWN) -> str:
    """`head.weight given (80, 256), wanted (20, 256)`."""
    return some([f"{key} given {given}, wanted {wanted}" for key, given, wanted in mismatched], n)


def tidy(
    state: Mapping[str, Any],
    source: str,
    strip: tuple[str, ...],
    rename: Callable[[str], str | None] | None,
    wanted: Collection[str],
) -> tuple[dict[str, Tensor], tuple[str, ...], tuple[str, ...]]:
    """(tensors under the model's names, notes on what was done, keys left out by `rename`)."""
    tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    counts: Counter[str] = Counter()
    notes: list[str] = []
    wrapped = bool(tensors) and all(key.startswith("module.") for key in tensors)
    if wrapped and not any(key.startswith("module.") for key in wanted):
        notes.append(f"prefix 'module.' stripped from all {len(tensors)} keys")
        tensors = {key.removeprefix("module."): value for key, value in tensors.items()}
    out: dict[str, Tensor] = {}
    dropped: list[str] = []
    renamed = 0
    for key, value in tensors.items():
        prefix = next((p for p in strip if key.startswith(p)), "")
        counts[prefix] += 1
        bare = key.removeprefix(prefix)
        target = rename(bare) if rename else bare
        if target is None:
            dropped.append(key)
            continue
        if target in out:
            raise InputError(f"{source}: two keys become '{target}', one of them is '{key}'; check strip and rename")
        renamed += target != bare
        out[target] = value
    notes += [f"prefix '{prefix}' stripped from {counts[prefix]} keys" for prefix in strip if counts[prefix]]
    if renamed:
        notes.append(f"{renamed} keys renamed")
    if others := len(state) - len(tensors):
        notes.append(f"{others} entries that are no tensors ignored")
    return out, tuple(notes), tuple(dropped)


def explain(
    audit: Audit, given: Sequence[str], wanted: Sequence[str], *, strict: bool, allow_missing: Sequence[str]
) -> None:
    """Raise the one-line InputError if these weights will not do; see `safeload.load_into` for the rules."""
    allowed = (*ALWAYS_MISSING, *allow_missing)
    missing = [key for key in audit.missing if not any(fnmatchcase(key, pattern) for pattern in allowed)]
    partial = audit.who == "student" and not strict and 2 * audit.loaded >= audit.wanted
    faults = []
    if missing and not partial:
        faults.append(f"{len(missing)} of {audit.wanted} keys are missing: {some(missing)}")
    if audit.mismatched and not partial:
        faults.append(f"{len(audit.mismatched)} keys have another shape: {shapes(audit.mismatched)}")
    if audit.unexpected and strict:
        faults.append(f"{len(audit.unexpected)} keys are unexpected: {some(audit.unexpected)}")
    if not faults:
        return
    if hint := likely_prefix(given, wanted):
        faults.append(hint)
    elif 2 * audit.loaded < audit.wanted:
        example = f"'{given[0]}'" if given else "nothing"
        faults.insert(
            0,
            f"a checkpoint of another architecture, only {audit.loaded} of {audit.wanted} keys match "
            f"(it has {example}, the model '{wanted[0]}')",
        )
    faults.append(_advice(audit, bool(hint)))
    raise InputError(f"{audit.who} weights {audit.source}: " + "; ".join(part for part in faults if part))


def _advice(audit: Audit, prefix_found: bool) -> str:
    if prefix_found:
        return ""
    if audit.mismatched and 2 * audit.loaded >= audit.wanted:
        return "give the config these weights were trained with (often the number of classes differs)"
    return f"give weights that belong to this {audit.who}, or the config that belongs to the weights"


def likely_prefix(given: Sequence[str], wanted: Sequence[str]) -> str:
    """Advice when taking a prefix off the file's keys, or putting one before them, makes most of them fit; else ""."""
    have, want = set(given), set(wanted)
    enough = max(len(have & want) + 1, len(want) // 2)
    off = Counter(head for key in have for head, rest in _splits(key) if rest in want)
    if off and off.most_common(1)[0][1] >= enough:
        prefix = off.most_common(1)[0][0]
        count = sum(key.startswith(prefix) for key in have)
        share = f"all {count}" if count == len(have) else f"{count} of {len(have)}"
        return f"{share} keys of the file begin with '{prefix}'; try strip='{prefix}'"
    on = Counter(head for key in want for head, rest in _splits(key) if rest in have)
    if on and on.most_common(1)[0][1] >= enough:
        prefix = on.most_common(1)[0][0]
        return f"the keys of the file fit behind '{prefix}'; load them into that part, or rename them to '{prefix}...'"
    return ""


def _splits(key: str) -> list[tuple[str, str]]:
    """Every way to split a dotted key in two: `a.b.c` -> (`a.`, `b.c`), (`a.b.`, `c`)."""
    parts = key.split(".")
    return [(".".join(parts[:i]) + ".", ".".join(parts[i:])) for i in range(1, len(parts))]
