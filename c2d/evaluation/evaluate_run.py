"""`c2d evaluate RUN`: evaluate a finished run again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from c2d.configs.run_config import read_run_config
from c2d.core.errors import InputError, RunError
from c2d.core.json_values import number, optional, read_object, required
from c2d.core.regular_file import FormatError, Problem
from c2d.core.run_folder import read_json
from c2d.core.store_folder import find_run
from c2d.data.card_lookup import find_card, verify_card
from c2d.evaluation.distributed import is_main, join_process_group
from c2d.evaluation.evaluate_detector import evaluate_and_check
from c2d.specs.spec import parse_spec


def evaluate_run(
    name: str, runs: Path, data: Path | None, check: bool, workers: int = 0
) -> tuple[dict[str, Any], list[str]]:
    """Evaluate a run's exported file again. The run folder is not changed.

    Args:
        name: id of the run, or its beginning.
        runs: the store.
        data: root of the data cards (default: C2D_DATA, else ./data).
        check: compare the engines of the metrics, too.
        workers: loader processes of this rank.

    Returns:
        (result, lines to print); both are empty on ranks other than 0.

    Raises:
        InputError: the run is not finished, or made images; its data set is missing.
        RunError: the numbers differ from those of result.json, or the engines from each other.
    """
    folder = find_run(name, runs)
    spec = parse_spec(read_json(folder.spec), str(folder.spec))
    spec.check_trains()
    weights = folder.student if spec.kind == "detector" else folder.classifier
    if folder.is_done and not weights.exists():
        raise InputError(
            f"run {folder.id} has no {weights.name} here; import the run from an archive that has its weights"
        )
    if not weights.exists() or not folder.result.exists():
        raise InputError(
            f"run {folder.id} is {folder.read_status()['state']} and has no result yet; "
            f"finish it: c2d train {folder.path}"
        )
    card = find_card(spec.dataset.name, spec.dataset.digest, data, runs)
    verify_card(card, {card.evaluation_split: 0})
    config = read_run_config(folder)
    if spec.kind == "classifier":
        from c2d.evaluation.evaluate_classifier import evaluate_classifier

        lines: list[str] = []
        result = evaluate_classifier(
            config, weights, card, join_process_group(), workers=workers, calibrated=spec.is_calibrated
        )
        key = "top1"
    else:
        result, lines = evaluate_and_check(config, weights, card, folder, check, workers=workers)
        key = "AP"
    if not is_main():
        return {}, []
    for path in ((key,), *_protocol_paths(result)):
        now, before = optional(result, *path), _recorded_value(folder.result, path)
        name = " ".join(path[-2:])
        if (before is None) != (now is None) or (before is not None and not math.isclose(before, now, abs_tol=1e-6)):
            raise RunError(
                f"{name} is {now} now and {before} in {folder.result}: another device, toolbox or precision?", "data"
            )
        lines.append(f"{name} equals {folder.result.name}: {before}")
    return result, lines


def _protocol_paths(result: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the keys of the numbers over all classes of each evaluation protocol, in the order of the file."""
    return [
        ("protocols", protocol, name)
        for protocol, block in result.get("protocols", {}).items()
        for name in block
        if name.startswith("AP")
    ]


def _recorded_value(path: Path, keys: tuple[str, ...]) -> float | None:
    """Return a number of result.json; None where it is undefined, e.g. without any ground truth.

    Raises:
        InputError: the file has another form.
    """
    found = read_object(path)
    try:
        if isinstance(found, Problem):
            raise FormatError(found.message)
        return number(required(found, *keys), ".".join(keys), 0, 1)
    except FormatError as error:
        raise InputError(
            f"{path} cannot be used: {error}; remove it and call c2d train {path.parent}: it is written again"
        ) from None
