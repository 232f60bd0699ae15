"""What an override may hold: names of types and plain values, nothing that loads weights, imports or is evaluated.

mmengine builds a config by its `type` names: an import path there calls any function, `init_cfg` and its relatives
unpickle a file, and `{{ }}` in a text is replaced while a config is read. None of it may come from a spec, which is
data. Whether a type exists is checked where the registries are known: `c2d.training.override_types`.
"""

from __future__ import annotations

import re
from typing import Any

from c2d.core.errors import InputError

TYPE_KEYS = ("type", "constructor")
"""Keys whose value mmengine looks up in a registry and calls."""
WEIGHT_TYPES = ("Pretrained", "PretrainedInit")
WEIGHT_KEYS = ("pretrained", "checkpoint", "load_from", "resume", "resume_from", "teacher_ckpt", "teacher_config")
"""Keys under which mmengine and mmdet name weight files; null and false mean none."""
RUNNER_KEYS = (
    "custom_imports", "custom_hooks", "default_hooks", "default_scope", "env_cfg", "launcher", "log_processor",
    "runner_type", "strategy", "vis_backends", "visualizer",
)  # fmt: skip
"""Keys of mmengine's Runner, which a run here does not have."""
_KEY = re.compile(r"\.?[A-Za-z0-9][A-Za-z0-9_.-]*")
_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_INIT = (
    "weights come from `init:` of the spec (a file, torchvision:MODEL.WEIGHTS or none), which checks them, lists their "
    "keys and is a part of the run id; leave this override out"
)


def check_override_values(overrides: dict[str, Any]) -> None:
    """Check keys and values of overrides, at any depth.

    Args:
        overrides: {dotted key: value}, values as JSON has them.

    Raises:
        InputError: a key or value that loads weights, imports, is filled in or called, or a key that is no plain name.
    """
    for dotted, value in overrides.items():
        parts = dotted.split(".")
        for part in parts:
            _check_key(part, dotted)
        try:
            _check_value(parts[-1], value, dotted)
        except RecursionError:
            raise InputError(f"override '{_shown(dotted)}' is nested too deeply; write a flat value") from None


def _check_key(key: Any, dotted: str) -> None:
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        own = isinstance(key, str) and key.startswith("_")
        raise InputError(
            f"override '{_shown(dotted)}' has the key {_shown(key)!r}"
            + (", syntax of mmengine's config files" if own else "")
            + "; a key is the name of an argument: a letter or digit first, then letters, digits, '_', '-' and '.'"
        )
    if key in RUNNER_KEYS:
        raise InputError(
            f"override '{dotted}' sets {key}, which configures mmengine's Runner; a run here has none: "
            "leave this override out"
        )


def _check_value(key: str, value: Any, dotted: str) -> None:
    """Check the value at the dotted key whose last part is `key`, and everything inside it."""
    if key in WEIGHT_KEYS and value is not None and value is not False:
        raise InputError(f"override '{dotted}' is {_shown(value)!r} and would load weights; {_INIT}")
    if key in TYPE_KEYS:
        _check_type(value, dotted)
    elif isinstance(value, str) and "{{" in value:
        raise InputError(
            f"override '{dotted}' is {_shown(value)!r}, a template that mmengine would fill in; write the value itself"
        )
    elif isinstance(value, dict):
        for inner, item in value.items():
            _check_key(inner, f"{dotted}.{inner}")
            _check_value(inner, item, f"{dotted}.{inner}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_value(str(index), item, f"{dotted}.{index}")


def _check_type(value: Any, dotted: str) -> None:
    if isinstance(value, str) and value.rpartition(".")[2] in WEIGHT_TYPES:
        raise InputError(f"override '{dotted}' is {_shown(value)!r} and would load weights; {_INIT}")
    if not isinstance(value, str) or not _TYPE.fullmatch(value):
        last = value.rpartition(".")[2] if isinstance(value, str) else ""
        instead = f"'{last}' alone, if it is registered" if _TYPE.fullmatch(last) else "a name such as 'ResNet'"
        raise InputError(
            f"override '{dotted}' is {_shown(value)!r}; a type is the name of a class that mmdet, mmcv or mmengine "
            f"registers, never an import path: write {instead}"
        )


def _shown(value: Any) -> Any:
    """A value for a message: long ones are cut, and what does not print is escaped."""
    if not isinstance(value, str):
        return value if isinstance(value, bool | int | float) else f"a {type(value).__name__}" if value else value
    text = value if value.isprintable() else value.encode("unicode_escape").decode("ascii")
    return text if len(text) <= 60 else f"{text[:57]}..."
