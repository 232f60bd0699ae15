"""Report of a load: which keys of a weight file were copied, which were not, and how to make them fit."""

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
    """What happened to every key of a weight file and of the model it was loaded into.

    Attributes:
        loaded: number of keys that were copied.
        missing: keys of the model that the file does not have.
        unexpected: keys of the file that the model does not have.
        mismatched: (key, shape in the file, shape in the model).
        who: whose weights they are: teacher, student or backbone.
        source: the file.
        wanted: number of keys of the model.
        dropped: keys of the file that the caller's `rename` dropped.
        notes: changes of the file's keys (wrapper, prefix, renaming).
        sha256: of the file, hex; "" where it was not computed.
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
    sha256: str = ""

    def summary(self) -> str:
        """Return one line for the log: `teacher t.pth: 122 of 122 keys loaded; prefix 'module.' stripped`."""
        parts = [f"{self.who} {self.source}: {self.loaded} of {self.wanted} keys loaded".strip()]
        for label, keys in (("missing", self.missing), ("unexpected", self.unexpected), ("left out", self.dropped)):
            if keys:
                parts.append(f"{len(keys)} {label} ({first_keys(keys, 3)})")
        if self.mismatched:
            parts.append(f"{len(self.mismatched)} of another shape ({shape_differences(self.mismatched, 3)})")
        return "; ".join([*parts, *self.notes])

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, for the run folder."""
        values = {key: _plain(value) for key, value in asdict(self).items()}
        if not self.sha256:
            del values["sha256"]
        return values


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def first_keys(keys: Sequence[str], n: int = SHOWN) -> str:
    """Return the first n keys and the number of the others."""
    return ", ".join(keys[:n]) + (f" and {len(keys) - n} more" if len(keys) > n else "")


def shape_differences(mismatched: Sequence[tuple[str, Shape, Shape]], n: int = SHOWN) -> str:
    """Return `head.weight given (80, 256), wanted (20, 256)` for the first n keys of another shape."""
    return first_keys([f"{key} given {given}, wanted {wanted}" for key, given, wanted in mismatched], n)


def rename_keys(
    state: Mapping[str, Any],
    source: str,
    strip: tuple[str, ...],
    rename: Callable[[str], str | None] | None,
    wanted: Collection[str],
) -> tuple[dict[str, Tensor], tuple[str, ...], tuple[str, ...]]:
    """Rename the keys of a state dict to those of the model.

    Args:
        state: the file's state dict.
        source: the file, for messages.
        strip: prefixes to remove, the first that fits each key.
        rename: file key -> model key, after `strip`; None to drop the key.
        wanted: keys of the model.

    Returns:
        {key: tensor of any shape}, notes on what was done, keys dropped by `rename`.

    Raises:
        InputError: two keys get one name.
    """
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


def check_audit(
    audit: Audit, given: Sequence[str], wanted: Sequence[str], *, strict: bool, allow_missing: Sequence[str]
) -> None:
    """Check that the weights can be used; see `safe_load.load_into` for the rules.

    Args:
        audit: the report of the load.
        given: keys of the file.
        wanted: keys of the model.
        strict: unexpected keys are an error.
        allow_missing: patterns (fnmatch) of model keys that the file may not have.

    Raises:
        InputError: they cannot; with the keys, and the prefix that would make them fit.
    """
    allowed = (*ALWAYS_MISSING, *allow_missing)
    missing = [key for key in audit.missing if not any(fnmatchcase(key, pattern) for pattern in allowed)]
    # A student may be initialised in part, a teacher or backbone never.
    partial = audit.who == "student" and not strict and 2 * audit.loaded >= audit.wanted
    faults = []
    if missing and not partial:
        faults.append(f"{len(missing)} of {audit.wanted} keys are missing: {first_keys(missing)}")
    if audit.mismatched and not partial:
        faults.append(f"{len(audit.mismatched)} keys have another shape: {shape_differences(audit.mismatched)}")
    if audit.unexpected and strict:
        faults.append(f"{len(audit.unexpected)} keys are unexpected: {first_keys(audit.unexpected)}")
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


def check_finite(weights: Mapping[str, Tensor], source: str) -> None:
    """Check that no weight is NaN or infinite: a model with one computes NaN, or is silently wrong where it is unused.

    Args:
        weights: {key: tensor of any shape}.
        source: whose weights they are, and their file.

    Raises:
        InputError: one is, or a running variance is below 0; with the first keys and the numbers of such values.
    """
    counts = {
        key: int(value.numel() - value.isfinite().sum())
        for key, value in weights.items()
        if value.is_floating_point() or value.is_complex()
    }
    broken = [f"{key} ({count} of {weights[key].numel()})" for key, count in counts.items() if count]
    if broken:
        raise InputError(
            f"{source}: {len(broken)} of {len(weights)} tensors hold NaN or infinite values: {first_keys(broken, 3)}; "
            "the training diverged or the file is damaged: give an earlier checkpoint"
        )
    negative = [key for key, value in weights.items() if key.endswith("running_var") and bool((value < 0).any())]
    if negative:
        raise InputError(
            f"{source}: {len(negative)} variances of batch normalization are below 0, whose outputs are NaN: "
            f"{first_keys(negative, 3)}; the file is damaged: give an earlier checkpoint"
        )


def _advice(audit: Audit, prefix_found: bool) -> str:
    if prefix_found:
        return ""
    if audit.mismatched and 2 * audit.loaded >= audit.wanted:
        return "give the config these weights were trained with (often the number of classes differs)"
    return f"give weights that belong to this {audit.who}, or the config that belongs to the weights"


def likely_prefix(given: Sequence[str], wanted: Sequence[str]) -> str:
    """Return a hint if removing a prefix from the file's keys, or adding one, makes most of them fit; else ""."""
    have, want = set(given), set(wanted)
    # More keys than fit without the prefix, and at least half of the model's.
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
