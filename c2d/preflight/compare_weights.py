"""Two sources of weights compared key by key, as text: files, torchvision's and timm's names, packages and runs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder
from c2d.core.store_folder import find_run
from c2d.specs import first_weights
from c2d.weights import pretrained, safe_load
from c2d.weights.audit import first_keys
from c2d.weights.weight_comparison import Comparison, compare_weights


class WeightReport(NamedTuple):
    """What a comparison prints.

    Attributes:
        lines: a line for each key, and the sums.
        are_equal: see `Comparison`.
    """

    lines: list[str]
    are_equal: bool


def compare_sources(first: str, second: str, runs: Path, *, download: bool = False) -> WeightReport:
    """Compare two sources of weights.

    Args:
        first: a name of an `init`, a file, or the id of a run.
        second: the same.
        runs: the store.
        download: fetch a file that is not in its cache.

    Raises:
        InputError: a source does not exist, or they have no key in common.
    """
    states = [_weights(given, runs, download) for given in (first, second)]
    compared = compare_weights(*states)
    if not compared.keys:
        raise InputError(
            f"{first} and {second} have no key in common: the first has {first_keys(sorted(states[0]), 2)}, the second "
            f"{first_keys(sorted(states[1]), 2)}; give weights of one network"
        )
    return WeightReport([*_lines(compared), *_sums(compared, first, second)], compared.are_equal)


def _weights(given: str, runs: Path, download: bool) -> Mapping[str, Tensor]:
    """The state dict of a source."""
    if given.startswith(first_weights.NAMED) or Path(given).is_file():
        weights = pretrained.read_weights(given, download=download)
    else:
        run = find_run(given, runs)
        weights = pretrained.read_weights(str(_file_of(run)))
    found, _ = safe_load.weights_of(weights.loaded, weights.source)
    return {weights.rename(key): value for key, value in found.items()}


def _file_of(run: RunFolder) -> Path:
    for path in (run.student, run.classifier):
        if path.is_file():
            return path
    raise InputError(f"run {run.id} has no weights yet; finish it first: c2d train {run.path}")


def _lines(compared: Comparison) -> Iterator[str]:
    width = max(len(key.key) for key in compared.keys)
    for key in compared.keys:
        about = f" by {', '.join(f'{value:.6g}' for value in key.scale)}" if key.scale else ""
        numbers = "" if math.isnan(key.difference) else f"  max difference {key.difference:.3g}"
        numbers += "" if math.isnan(key.correlation) else f"  correlation {key.correlation:.6f}"
        yield f"{key.key:{width}}  {key.relation}{about}{numbers}"


def _sums(compared: Comparison, first: str, second: str) -> Iterator[str]:
    counts = Counter(key.relation for key in compared.keys)
    yield f"{len(compared.keys)} keys in both: {', '.join(f'{count} {name}' for name, count in counts.items())}"
    for name, only in ((first, compared.only_first), (second, compared.only_second)):
        if only:
            yield f"{len(only)} keys in {name} alone: {first_keys(only, 4)}"
    yield "equal" if compared.are_equal else "not equal"
