"""Read any mmdet config by its path, and take the weight files out of it.

The config of a run folder is verified and read without executing it (`c2d.configs.run_config`). Of others, one in
Python is a program and is executed (docs/security.md). One in JSON or YAML is data: nothing in it is executed, so it
must be whole, without base files, imports or templates.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c2d.configs.run_config import read_run_config, run_of_config
from c2d.core.errors import InputError, first_line
from c2d.core.json_values import read_json
from c2d.core.regular_file import Problem
from c2d.core.yaml.yaml_lines import read_mapping

if TYPE_CHECKING:
    from mmengine import Config

WHOLE = "give a whole mmdet config"
PRETRAINED = ("Pretrained", "PretrainedInit")
WEIGHT_KEYS = ("pretrained", "teacher_ckpt", "load_from", "resume_from")
"""Arguments of mmdet's classes that name a weight file; all of them may be left out."""
EXECUTED = ("_base_", "custom_imports")
"""Keys of a config that make mmengine execute files and import modules."""


def read_config(path: str | Path, hint: str = WHOLE) -> Config:
    """Return the config of a file.

    Args:
        path: .py, .json, .yaml or .yml.
        hint: what the file should be, for messages.

    Raises:
        InputError: there is no such file, it cannot be read, or JSON or YAML asks to execute something.
    """
    from mmengine import Config

    path = Path(path)
    if not path.is_file():
        raise InputError(f"no config {path}; {hint}")
    if run := run_of_config(path):
        return read_run_config(run)
    if path.suffix in (".json", ".yaml", ".yml"):
        values = _data(path, hint)
        try:
            key = _executed(values)
        except RecursionError:
            raise InputError(f"{path} is nested too deeply; {hint}") from None
        if key:
            raise InputError(
                f"{path} has {key}; a config in JSON or YAML is data and executes nothing: give the config in Python, "
                "merged by mmengine where you trust it (Config.fromfile(FILE).dump('merged.py'))"
            )
        return Config(values, filename=str(path))
    try:
        return Config.fromfile(path)
    except Exception as error:  # a config is Python and may raise anything
        raise InputError(f"cannot read {path}: {first_line(error)}; {hint}") from None


def _data(path: Path, hint: str) -> dict[str, Any]:
    values = read_json(path) if path.suffix == ".json" else read_mapping(path, hint)
    if isinstance(values, Problem):
        raise InputError(f"{path} {values.message}; {hint}")
    if not isinstance(values, dict):
        raise InputError(f"{path} holds a {type(values).__name__}, not keys and values; {hint}")
    return values


def _executed(node: Any, path: str = "") -> str:
    """Return the first key or text in JSON values for which mmengine would execute, import or fill in something."""
    items: Any = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        where = f"{path}.{key}".lstrip(".")
        if (key in EXECUTED and value) or (key == "_scope_" and value != "mmdet"):
            return f"the key {where}"
        if isinstance(value, str) and "{{" in value:
            return f"the template {value[:60]!r} at {where}"
        if found := _executed(value, where):
            return found
    return ""


def remove_weight_files(node: Any) -> None:
    """Remove every weight file that a model config names, in place; other initialisations stay.

    Args:
        node: config of a model: dicts, lists and values.
    """
    if isinstance(node, dict):
        for key, value in list(node.items()):
            if _is_pretrained(value) or (key in WEIGHT_KEYS and value):
                del node[key]
            else:
                remove_weight_files(value)
    elif isinstance(node, (list, tuple)):
        if isinstance(node, list):
            node[:] = [value for value in node if not _is_pretrained(value)]
        for value in node:
            remove_weight_files(value)


def _is_pretrained(value: Any) -> bool:
    """True for the `init_cfg` that loads a file; in a config with imports its type is the class itself."""
    kind = value.get("type") if isinstance(value, Mapping) else None
    name = kind if isinstance(kind, str) else getattr(kind, "__name__", "")
    return name.rpartition(".")[2] in PRETRAINED
