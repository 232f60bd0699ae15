"""Read weight files: tensors alone, nothing is executed, and every key is reported. No other code reads them.

A pickle can name any function, which is called while it is read; `torch.load(weights_only=True)` calls a fixed list
alone. `load` checks the file (`c2d.weights.torch_file`), uses that, adds what OpenMMLab's checkpoints hold beside their
weights (numpy arrays and scalars; their logging history, which becomes an inert object), and refuses everything else
with one line. `load_into` copies the tensors into a model and returns an `Audit` of every key that was renamed,
stripped or skipped.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from c2d.core.errors import InputError, first_line
from c2d.weights.audit import Audit, check_audit, check_finite, rename_keys
from c2d.weights.pickle_scan import FOREIGN, Unreadable
from c2d.weights.torch_file import check_torch_file, imported_names

Who = Literal["teacher", "student", "backbone"]
MAX_HEADER = 4_000_000
"""Bytes of the header of a .safetensors file: about 40,000 tensors."""
# Under WRAPPERS other programs keep the weights inside a checkpoint; the first that holds tensors is taken.
SUFFIXES = (".pth", ".pt", ".safetensors")
WRAPPERS = ("state_dict", "model", "model_state_dict", "net", "network")

RESAVE = "where you trust it, load it with what wrote it and keep the tensors: torch.save(model.state_dict(), path)"


class Refused(InputError):
    """The file is a pickle with more than tensors; it was not executed."""


class Corrupt(InputError):
    """The file is empty, truncated, damaged, or not a torch file."""


class Inert:
    """Replacement of an object of a checkpoint that is not a weight: takes any arguments and state and does nothing."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Inert:
        return object.__new__(cls)

    def __setstate__(self, _state: Any) -> None:
        """Forget the state."""


def _allowed() -> list[Any]:
    """Return what mmengine's checkpoints hold and torch's list does not have; an entry builds plain data or an Inert.

    `getattr` occurs there because a HistoryBuffer pickles its statistics as attributes; Inert takes its place, so no
    attribute of any object is read.
    """
    array, dtype = np.zeros(0), np.dtype
    rebuild = array.__reduce__()[0]
    scalar = np.float64(0).__reduce__()[0]
    named = [(rebuild, f"{home}.multiarray._reconstruct") for home in ("numpy.core", "numpy._core")]
    named += [(scalar, f"{home}.multiarray.scalar") for home in ("numpy.core", "numpy._core")]
    named += [(Inert, "mmengine.logging.history_buffer.HistoryBuffer"), (Inert, "builtins.getattr")]
    kinds = {type(dtype(code)) for code in "?bhilqBHILQefdSU"}
    return [*named, Inert, np.ndarray, dtype, *kinds]


def load(path: str | Path) -> Any:
    """Return the content of a torch file (or .safetensors), tensors on the CPU.

    Raises:
        Refused: it holds something other than plain data; the message has its name.
        Corrupt: empty, truncated, damaged (checksums of torch's zip format are verified), or not a torch file.
        InputError: no such file, or not a file.
    """
    path = Path(path)
    _exists(path)
    if path.suffix == ".safetensors" or _is_safetensors(path):
        return _load_safetensors(path)
    os.environ.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None)  # a variable of torch's; it has no place here
    try:
        check_torch_file(path)
        with warnings.catch_warnings(), torch.serialization.safe_globals(_allowed()):
            warnings.simplefilter("ignore")  # torch warns about protocols that it then refuses
            return torch.load(path, map_location="cpu", weights_only=True)
    except Unreadable as error:
        raise _unreadable(path, error) from None
    except UnpicklingError as error:
        raise _refusal(path, str(error)) from None
    except PermissionError:
        raise InputError(f"{path} cannot be read; check its permissions") from None
    except Exception as error:  # damaged bytes can raise any type
        text = first_line(error)
        if isinstance(error, MemoryError) or "allocate memory" in text:
            text = "it asks for more memory than there is"
        elif "weights_only" in str(error):  # torch's advice to read it without protection
            text = "torch cannot tell its format"
        raise Corrupt(f"{path} is damaged ({text}); copy or download it again") from None


def _exists(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder, a weight file is needed; it has {_listing(path)}")
    if not path.exists():
        raise InputError(f"there is no weight file {path}; {path.parent} has {_listing(path.parent)}")
    if not path.is_file():
        raise InputError(f"{path} is not a regular file; give a weight file")
    if not path.stat().st_size:
        raise Corrupt(f"{path} is empty; it was not written completely: copy or download it again")


def _listing(folder: Path) -> str:
    names = sorted(p.name for p in folder.iterdir() if p.suffix in SUFFIXES) if folder.is_dir() else []
    return ", ".join(names[:10]) or f"no {', '.join(SUFFIXES)} file"


def _is_safetensors(path: Path) -> bool:
    """True for a .safetensors file of any name, as the store keeps it: the length of a JSON header, then the header."""
    with path.open("rb") as file:
        head = file.read(9)
    return head[8:] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size - 8


def safetensors_metadata(path: Path) -> dict[str, str]:
    """Return the metadata in the header of a .safetensors file of any name; {} where it has none.

    Raises:
        Corrupt: it is damaged.
        InputError: no such file, or not a .safetensors file.
    """
    _exists(path)
    if not _is_safetensors(path):
        raise InputError(f"{path} is no .safetensors file; give one")
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(length) if length <= MAX_HEADER else b""
    try:
        content = json.loads(header)
    except (ValueError, RecursionError):
        content = None
    found = content.get("__metadata__", {}) if isinstance(content, dict) else None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise Corrupt(f"{path} is damaged (its header cannot be read); copy or write it again")
    return found


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise InputError(
            f"{path} needs the package safetensors, which is not installed; pip install safetensors"
        ) from None
    with path.open("rb") as file:
        if int.from_bytes(file.read(8), "little") > MAX_HEADER:
            raise Corrupt(f"{path} is damaged (a header of more than {MAX_HEADER:,} bytes); copy or download it again")
    try:
        return dict(load_file(path, device="cpu"))
    except Exception as error:
        raise Corrupt(f"{path} is damaged ({first_line(error)}); copy or download it again") from error


def _unreadable(path: Path, error: Unreadable) -> InputError:
    if error.damaged:
        return Corrupt(f"{path} {error}; {error.fix}")
    if str(error) == FOREIGN and (names := imported_names(path)):
        return _would_call(path, names)
    return Refused(f"{path} is refused: it {error}; {RESAVE}")


def _refusal(path: Path, message: str) -> InputError:
    """Build the error for a pickle that torch does not read: what it would import, and what to do."""
    found = re.search(r"GLOBAL (\S+)", message)
    names = [found.group(1)] if found else imported_names(path)
    return _would_call(path, names) if names else Refused(f"{path} is refused: it holds more than tensors; {RESAVE}")


def _would_call(path: Path, names: Sequence[str]) -> Refused:
    return Refused(f"{path} is refused: reading it would call or build {', '.join(names[:5])[:200]}; {RESAVE}")


def weights_of(loaded: Any, source: str = "the checkpoint") -> tuple[Mapping[str, Tensor], str]:
    """Find the state dict in a checkpoint.

    Args:
        loaded: what `load` returned.
        source: the file, for messages.

    Returns:
        {key: tensor of any shape}, and the name of the entry that holds it ("" at the top).

    Raises:
        InputError: it holds no tensors, or keys that are no text.
    """

    def tensors(value: Any) -> bool:
        return isinstance(value, Mapping) and any(isinstance(item, Tensor) for item in value.values())

    for name in ("", *WRAPPERS):
        found = loaded.get(name) if name and isinstance(loaded, Mapping) else loaded
        if isinstance(found, Mapping) and tensors(found):
            if foreign := [key for key in found if not isinstance(key, str)]:
                raise InputError(f"{source} has the key {str(foreign[0])[:40]}, and keys of weights are text; {RESAVE}")
            return found, name
    if isinstance(loaded, Mapping):
        raise InputError(
            f"{source} holds no weights: its entries are {', '.join(map(str, list(loaded)[:10])) or 'none'}; "
            f"weights may be at the top or under {', '.join(WRAPPERS)}"
        )
    raise InputError(f"{source} holds a {type(loaded).__name__}, no state dict; {RESAVE}")


def load_into(
    model: nn.Module,
    source: Mapping[str, Any] | str | Path,
    *,
    who: Who,
    strict: bool,
    strip: str | Sequence[str] = (),
    rename: Callable[[str], str | None] | None = None,
    allow_missing: Sequence[str] = (),
    source_name: str = "the given state",
) -> Audit:
    """Copy weights into `model` (in place) and report every key.

    Args:
        model: any module; its `state_dict()` has the wanted keys and shapes.
        source: a weight file, or what `load` returned (entries in WRAPPERS are searched, and reported).
        who: whose weights they are, for messages. A teacher or backbone must be filled: keys that are missing or of
            another shape are an error. A student with strict=False may be filled in part, but at least by half.
        strict: unexpected keys are an error too.
        strip: prefix or prefixes to remove from the file's keys, the first that fits each key. "module." (written by
            DataParallel) is removed without being named if every key has it. Both are reported.
        rename: file key -> model key, after `strip`; None drops the key, which is reported.
        allow_missing: patterns (fnmatch) of model keys that the file may not have; `*.num_batches_tracked` always.
        source_name: name of a `source` that is no path, for messages.

    Raises:
        InputError: see above; the message names the first ten keys and, if one is found, the prefix that would fit. Or
            a weight is NaN or infinite.
    """
    name = str(source) if isinstance(source, (str, Path)) else source_name
    state, wrapper = weights_of(load(source) if isinstance(source, (str, Path)) else source, name)
    wanted = model.state_dict()
    prefixes = (strip,) if isinstance(strip, str) else tuple(strip)
    # Renamed before the audit, so that its keys are the model's own.
    mapped, notes, dropped = rename_keys(state, name, prefixes, rename, wanted)
    if wrapper:
        notes = (f"weights found under '{wrapper}'", *notes)
    mismatched = tuple(
        (key, tuple(mapped[key].shape), tuple(wanted[key].shape))
        for key in wanted
        if key in mapped and mapped[key].shape != wanted[key].shape
    )
    bad = {key for key, _, _ in mismatched}
    kept = OrderedDict((key, mapped[key]) for key in wanted if key in mapped and key not in bad)
    audit = Audit(
        loaded=len(kept),
        missing=tuple(key for key in wanted if key not in mapped),
        unexpected=tuple(key for key in mapped if key not in wanted),
        mismatched=mismatched,
        who=who,
        source=name,
        wanted=len(wanted),
        dropped=dropped,
        notes=notes,
    )
    check_audit(audit, list(mapped), list(wanted), strict=strict, allow_missing=allow_missing)
    odd = [key for key, value in kept.items() if value.is_meta or value.is_sparse or value.is_quantized]
    if odd:
        raise InputError(f"{who} weights {name}: {odd[0]} is sparse, quantized or without data; {RESAVE}")
    check_finite(kept, f"{who} weights {name}")
    # versions of modules: without them mmcv and torch take a plain dict for an old checkpoint and convert it
    kept._metadata = getattr(state, "_metadata", None) or wanted._metadata  # type: ignore[attr-defined]
    model.load_state_dict(kept, strict=False)  # the audit has decided; only allowed keys are missing
    return audit
