"""Load the config of a student by name or path, and compute the digest that identifies its version.

A student is an mmengine config with `model` (its normalisation included), `train_pipeline`, `test_pipeline` and
`input_size`, and perhaps `closing_pipeline` with `closing_share`, the share of the iterations at the end that use it;
nothing else of a file is read. Any mmdet config is a student too: give its path or
`mmdet::FOLDER/FILE.py`. `input_size` is an int s (images fitted into s x s px) or a pair (long, short) in px; the
pipelines follow it, see `input_size.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from c2d.configs.closing_phase import PIPELINE, SHARE
from c2d.configs.config_literals import config_source
from c2d.configs.foreign_config import read_config, remove_weight_files
from c2d.configs.run_config import read_literal_config
from c2d.configs.stored_config import decode, encode
from c2d.core.errors import InputError, first_line, unknown_name

if TYPE_CHECKING:
    from mmengine import Config

STUDENTS = Path(__file__).parent / "students"
CATALOG = STUDENTS / "catalog.json"
EXTERNAL = "or give an mmdet config: a path that ends in .py, or mmdet::FOLDER/FILE.py"


def student_names() -> list[str]:
    """Return the names of the shipped students, sorted. Needs neither torch nor mmengine."""
    return sorted(path.stem for path in STUDENTS.glob("*.py") if not path.stem.startswith("_"))


def load_student(
    name_or_path: str,
    *,
    num_classes: int | None = None,
    input_size: int | None = None,
    pretrained: bool = True,
    kept: Config | None = None,
) -> Config:
    """Return the resolved config of a student: the keys model, train_pipeline, test_pipeline and input_size.

    A student with a closing phase has closing_pipeline and closing_share too.

    Args:
        name_or_path: a shipped name, a path to an mmdet config, or `mmdet::FOLDER/FILE.py`.
        num_classes: foreground classes, set wherever the model counts them (never in the RPN, which has one).
        input_size: pixels; the side of the square, or the short side where the student has (long, short).
        pretrained: False for a student without pretrained weights: then nothing is frozen, because frozen random layers
            and frozen random batch norm cannot learn. True leaves the stock settings.
        kept: the config of `kept_student`, which takes the place of the file.

    Pretrained downloads named in the file are removed: weights come from the run's `init` alone.

    Raises:
        InputError: unknown name, unreadable config, no model or pipeline in it, or a size the student cannot have.
    """
    from mmengine import Config

    from c2d.configs.input_size import apply_input_size, pipeline_size, resolve_input_size
    from c2d.configs.mmdet_config import student_parts

    source = _read(name_or_path) if kept is None else kept
    # A shipped student, or a config of one's own in the same form, has its size; mmdet's own configs do not.
    shipped = name_or_path in student_names()
    own = shipped or "input_size" in source
    parts = student_parts(source, name_or_path, own=own, shipped=shipped)
    model, closing = parts.model, {}
    remove_weight_files(model)
    size = resolve_input_size(source.get("input_size") if own else None, parts.test, input_size)
    pipelines = [parts.train, parts.test, *([parts.closing[0]] if parts.closing else [])]
    train, test, *last = apply_input_size(model, pipelines, pipeline_size(parts.test), size, name_or_path)
    if parts.closing:
        closing = {PIPELINE: last[0], SHARE: parts.closing[1]}
    if num_classes is not None:
        if num_classes < 1:
            raise InputError(f"num_classes is {num_classes}; a detector has at least one class")
        if _set_classes(model, num_classes) == 0:
            raise InputError(
                f"student '{name_or_path}' counts no classes: no num_classes in its heads; give a detector"
            )
    if not pretrained:
        _unfreeze(model.get("backbone", {}))
    return Config(dict(model=model, train_pipeline=train, test_pipeline=test, input_size=size, **closing))


def student_digest(name_or_path: str, kept: Config | None = None) -> str:
    """Return the sha256 (hex) of a resolved student: model, pipelines and input size, before the class count is set.

    The pipelines are part of it, because the student owns augmentation and normalisation.

    Args:
        name_or_path: as in `load_student`.
        kept: as in `load_student`.
    """
    config = load_student(name_or_path, kept=kept)
    text = json.dumps(config.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def config_text(name_or_path: str) -> str:
    """Return the resolved config of a student as the text of a config file, which has the same digest."""
    values = decode(encode(load_student(name_or_path).to_dict()))
    kept = ("model", "train_pipeline", "test_pipeline", PIPELINE, SHARE)
    return config_source({key: values[key] for key in kept if key in values})


def kept_student(path: Path, digest: str) -> Config:
    """Read a config that `config_text` made, without executing it, and verify its digest.

    Args:
        path: file in the store.
        digest: of the student, in the specs of its runs.

    Raises:
        InputError: it was changed, or holds anything but literal values.
    """
    from mmengine import Config

    config = Config(read_literal_config(path))
    if (found := student_digest(str(path), config)) != digest:
        raise InputError(
            f"{path} is the student {found[:12]}, the run needs {digest[:12]}; the file or the toolbox changed since: "
            "remove the file and give the student's config again, use the versions of env.json, or start a new run"
        )
    return config


def _read(name_or_path: str) -> Config:
    if name_or_path in student_names():
        return _shipped(name_or_path)
    if name_or_path.startswith("mmdet::"):
        from mmengine.hub import get_config

        inside = PurePosixPath(name_or_path.removeprefix("mmdet::"))
        if inside.is_absolute() or ".." in inside.parts:  # a spec.json of the store would execute any file
            raise InputError(f"student '{name_or_path}' lies outside mmdet's configs; {EXTERNAL}")
        try:
            return get_config(name_or_path)
        except Exception as error:  # a config is Python and may raise anything
            raise InputError(
                f"cannot read the student config '{name_or_path}': {first_line(error)}; {EXTERNAL}"
            ) from error
    if name_or_path.endswith(".py") or "/" in name_or_path:
        return read_config(name_or_path, EXTERNAL.removeprefix("or "))
    raise unknown_name("student", name_or_path, student_names(), EXTERNAL)


@cache
def _shipped(name: str) -> Config:
    """Read a shipped student; what follows takes copies of its parts (`c2d.configs.mmdet_config.student_parts`)."""
    from mmengine import Config

    from c2d.detectors.compat import read_metafiles_once

    read_metafiles_once()
    return Config.fromfile(STUDENTS / f"{name}.py")


def class_counts(node: Any, path: str = "model") -> dict[str, int]:
    """Return {dotted key: value} of every num_classes in a model config, but those of backbone and RPN (objectness).

    Args:
        node: config of the model.
        path: its dotted key.
    """
    return {f"{where}.num_classes": part["num_classes"] for where, part in _counting(node, path)}


def _set_classes(model: dict[str, Any], count: int) -> int:
    """Set every num_classes that `class_counts` returns, in place. Return how many were set."""
    parts = list(_counting(model, "model"))
    for _, part in parts:
        part["num_classes"] = count
    return len(parts)


def _counting(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    """(dotted key, part) of each part that counts classes."""
    if isinstance(node, dict):
        if "num_classes" in node:
            yield path, node
        for key, value in node.items():
            if key not in ("backbone", "rpn_head"):
                yield from _counting(value, f"{path}.{key}")
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from _counting(value, f"{path}.{index}")


def _unfreeze(backbone: dict[str, Any]) -> None:
    """Unfreeze everything in a backbone config, in place."""
    # For mmdet -1 freezes nothing; 0 would freeze the stem.
    if "frozen_stages" in backbone:
        backbone["frozen_stages"] = -1
    if "norm_eval" in backbone:
        backbone["norm_eval"] = False
    if isinstance(backbone.get("norm_cfg"), dict) and "requires_grad" in backbone["norm_cfg"]:
        backbone["norm_cfg"]["requires_grad"] = True
