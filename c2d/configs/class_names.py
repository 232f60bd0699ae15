"""Names of a detector's outputs: what its config and its checkpoint say, and that they agree.

A head has numbered outputs and no names. Four places may name them: the checkpoint's `meta`, where mmdet writes the
classes of the training; the config's data sets (`metainfo`); a top-level `metainfo` or `classes` of the config; and the
own class list of the data set's type, such as CocoDataset's 80. Statements that differ are an error. The type's list is
a default: it counts only where nothing is stated and it has one name for each output.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from c2d.configs.dataset_tree import DatasetNode, dataset_nodes
from c2d.core.errors import InputError, abbreviate
from c2d.core.regular_file import is_file
from c2d.detectors.mmdet_scope import mmdet_scope

LOADERS = ("train_dataloader", "test_dataloader", "val_dataloader")
TOP_LEVEL = ("metainfo", "classes", "CLASSES", "class_name", "class_names")


class NamedOutputs(NamedTuple):
    """Names of a detector's outputs.

    Attributes:
        names: in the order of the outputs.
        source: what states them.
    """

    names: tuple[str, ...]
    source: str


def name_outputs(
    config: Mapping[str, Any], checkpoint: Any, count: int | None, config_name: str, checkpoint_name: str
) -> NamedOutputs | None:
    """Return the names of a detector's outputs, or None where nothing names them.

    Args:
        config: a whole mmdet config.
        checkpoint: content of the weight file, as `safe_load.load` returns it.
        count: foreground classes of the head (`heads.count_classes`); None where it has no such number.
        config_name, checkpoint_name: for messages.

    Raises:
        InputError: two statements differ, have another number of names than the head has outputs, or cannot be read.
    """
    stated = [*_of_checkpoint(checkpoint, checkpoint_name), *_of_config(config, config_name)]
    for other in stated[1:]:
        _check_equal(stated[0], other)
    if stated:
        first = stated[0]
        if count is not None and len(first.names) != count:
            raise InputError(
                f"the model has {count} classes, and {first.source} names {len(first.names)} "
                f"({abbreviate(first.names, 4)}); give the config and the checkpoint of one training"
            )
        return first
    return next((default for default in _defaults(config, config_name) if len(default.names) == count), None)


def class_list(value: Any, source: str, folder: Path | None = None) -> tuple[str, ...]:
    """Return class names that are given as a list, as one name, or as a text file with one name a line.

    Args:
        value: as in a config's `metainfo`.
        source: what states it, for messages.
        folder: where a relative path may start, beside the working directory.

    Raises:
        InputError: another type, a missing file, an empty list, or a name that is given twice.
    """
    names: Sequence[Any]
    if isinstance(value, str):
        names = _names_of_text(value, source, folder)
    elif isinstance(value, (list, tuple)):
        names = value
    else:
        kind = "dict" if isinstance(value, Mapping) else type(value).__name__
        raise InputError(f"{source} is a {kind}; class names are a list, one name, or a text file with one a line")
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise InputError(f"{source} has {abbreviate(names, 4) or 'no name'}; every class needs a name of its own")
    if twice := sorted({name for name in names if list(names).count(name) > 1}):
        raise InputError(f"{source} names {abbreviate(twice, 4)} twice; every class needs a name of its own")
    return tuple(names)


def _names_of_text(value: str, source: str, folder: Path | None) -> Sequence[str]:
    """The lines of a file, as mmengine reads it; a text that is no path is the name of a single class."""
    for path in (Path(value), *([folder / value] if folder is not None else [])):
        try:
            if is_file(path):
                lines = path.read_text(encoding="utf-8-sig").splitlines()
                return [line.strip() for line in lines[: len(lines) - _blank_at_end(lines)]]
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"{source}: cannot read {path} ({error}); give a text file with one class a line"
            ) from None
    if "/" in value or "\\" in value or Path(value).suffix in (".txt", ".names", ".csv", ".json"):
        raise InputError(
            f"{source} is {value!r}, which is no file here; give the file with one class a line, or the list itself"
        )
    return [value]


def _blank_at_end(lines: Sequence[str]) -> int:
    count = 0
    while count < len(lines) and not lines[-1 - count].strip():
        count += 1
    return count


def _of_checkpoint(checkpoint: Any, name: str) -> list[NamedOutputs]:
    meta = checkpoint.get("meta") if isinstance(checkpoint, Mapping) else None
    if not isinstance(meta, Mapping):
        return []
    # mmdet 3: meta.dataset_meta.classes; its release candidates wrote CLASSES there; mmdet 2: meta.CLASSES.
    places = [(f"meta.dataset_meta.{key}", meta.get("dataset_meta"), key) for key in ("classes", "CLASSES")]
    places.append(("meta.CLASSES", meta, "CLASSES"))
    return [
        NamedOutputs(class_list(node[key], f"{name}, {place}"), f"{name}, {place}")
        for place, node, key in places
        if isinstance(node, Mapping) and node.get(key) is not None
    ]


def _of_config(config: Mapping[str, Any], name: str) -> Iterator[NamedOutputs]:
    folder = Path(name).parent
    for loader in LOADERS:
        for node in _datasets(config, loader):
            for key, value in _stated_classes(node.config):
                source = f"{name}, {node.path}.{key}"
                yield NamedOutputs(class_list(value, source, folder), source)
    for key in TOP_LEVEL:
        value = config.get(key)
        if isinstance(value, Mapping):
            value = value.get("classes", value.get("CLASSES"))
            key += ".classes"
        if isinstance(value, (list, tuple, str)):  # another type is a variable of the config's own
            yield NamedOutputs(class_list(value, f"{name}, {key}", folder), f"{name}, {key}")


def _datasets(config: Mapping[str, Any], loader: str) -> list[DatasetNode]:
    dataset = (config.get(loader) or {}).get("dataset")
    return dataset_nodes(dataset, f"{loader}.dataset") if dataset else []


def _stated_classes(dataset: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(key, value) of the class names in the config of a data set; `classes` beside `type` is mmdet 2's place."""
    metainfo = dataset.get("metainfo")
    if isinstance(metainfo, Mapping):
        yield from ((f"metainfo.{key}", metainfo[key]) for key in ("classes", "CLASSES") if metainfo.get(key))
    elif metainfo is not None:
        raise InputError(f"metainfo is {metainfo!r}; mmdet takes a dict, e.g. {{'classes': ('cat', 'dog')}}")
    if dataset.get("classes"):
        yield "classes", dataset["classes"]


def _defaults(config: Mapping[str, Any], name: str) -> Iterator[NamedOutputs]:
    with mmdet_scope():
        from mmdet.registry import DATASETS

        for loader in LOADERS:
            for node in _datasets(config, loader):
                given: Any = node.config.get("type")
                kind: Any = DATASETS.get(given) if isinstance(given, str) else given
                names = (getattr(kind, "METAINFO", None) or {}).get("classes")
                if names:
                    yield NamedOutputs(tuple(names), f"{name}, the own class list of {kind.__name__}")


def _check_equal(one: NamedOutputs, other: NamedOutputs) -> None:
    if one.names == other.names:
        return
    pairs = zip(one.names, other.names, strict=False)
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one.names), len(other.names)))

    def shown(item: NamedOutputs) -> str:
        part = ", ".join(item.names[at : at + 4]) or "nothing"
        return f"{item.source} ({len(item.names)} names) has {part}"

    raise InputError(
        f"two class lists differ from class {at} on: {shown(one)}; {shown(other)}; which of them the weights were "
        "trained for cannot be known: correct the config"
    )
