"""The data set of a config's data loader, through mmdet's wrappers (ConcatDataset, RepeatDataset, ...)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from c2d.configs.plain_config import to_plain
from c2d.core.errors import InputError


class DatasetNode(NamedTuple):
    """A data set that reads files, inside its wrappers.

    Attributes:
        path: dotted key in the config, e.g. `test_dataloader.dataset.datasets.0`.
        config: of the data set itself.
        steps: its own pipeline, then the pipelines of its wrappers, from the inside outwards.
        partner_steps: for each step of a wrapper, how many steps the data set inside it has, which is where
            MultiImageMixDataset takes further images from; None for each step of the data set itself.
    """

    path: str
    config: Mapping[str, Any]
    steps: list[Any]
    partner_steps: list[int | None]


def dataset_nodes(dataset: Any, path: str) -> list[DatasetNode]:
    """Return the data sets that read files, in the order of the config.

    Args:
        dataset: config of a data set or wrapper, or a list of them.
        path: its dotted key, for messages.

    Raises:
        InputError: something in it is no config of a data set.
    """
    return list(_nodes(dataset, path, []))


def _nodes(node: Any, path: str, outside: list[list[Any]]) -> Iterator[DatasetNode]:
    if isinstance(node, (list, tuple)):
        for index, item in enumerate(node):
            yield from _nodes(item, f"{path}.{index}", outside)
        return
    if not isinstance(node, Mapping):
        raise InputError(f"{path} is {type(node).__name__} {str(node)[:60]!r}; a data set is a dict with a `type`")
    skipped = node.get("skip_type_keys") or ()
    own = [
        step for step in node.get("pipeline") or () if not isinstance(step, Mapping) or step.get("type") not in skipped
    ]
    inner = [key for key in ("dataset", "datasets") if node.get(key) is not None]
    if not inner:
        steps: list[Any] = own
        partner_steps: list[int | None] = [None] * len(own)
        for level in outside:
            partner_steps += [len(steps)] * len(level)
            steps = [*steps, *level]
        yield DatasetNode(path, node, steps, partner_steps)
    for key in inner:
        yield from _nodes(node[key], f"{path}.{key}", [own, *outside])


def one_pipeline(config: Mapping[str, Any], loaders: tuple[str, ...], source: str) -> DatasetNode | None:
    """Return the data set whose pipeline stands for the first data loader that has one.

    Args:
        config: a whole mmdet config.
        loaders: keys of data loaders, the first that has a pipeline counts.
        source: the config's name, for messages.

    Returns:
        The first data set with steps, its own and its wrappers'; None where there is none.

    Raises:
        InputError: the data sets inside a wrapper have different pipelines.
    """
    for loader in loaders:
        dataset = (config.get(loader) or {}).get("dataset")
        nodes = [node for node in dataset_nodes(dataset, f"{loader}.dataset") if node.steps] if dataset else []
        if not nodes:
            continue
        first = to_plain(nodes[0].steps)
        for node in nodes[1:]:
            if to_plain(node.steps) != first:
                raise InputError(
                    f"{source}: {nodes[0].path} and {node.path} have different pipelines, and one data set of a card "
                    "takes the place of all; copy the config and give its data sets one pipeline"
                )
        return nodes[0]
    return None
