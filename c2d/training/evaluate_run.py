"""`c2d evaluate`: evaluate a finished run again, or any stock config, checkpoint and data set."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from mmengine import Config

from c2d.core.errors import InputError, RunError
from c2d.core.run_folder import RunFolder, read_json
from c2d.core.store_folder import find_run
from c2d.data.card import LoadedCard
from c2d.data.card_lookup import find_card, load_card, verify_card
from c2d.specs.spec import parse_spec
from c2d.training import evaluate
from c2d.training.distributed import join_process_group


def evaluate_run(name: str, runs: Path, data: Path | None, check: bool) -> tuple[dict[str, Any], list[str]]:
    """Evaluate a run's exported file again. The run folder is not changed.

    Args:
        name: id of the run, or its beginning.
        runs: the store.
        data: root of the data cards (default: C2D_DATA, else ./data).
        check: compare the engines of the metrics, too.

    Returns:
        (result, lines to print).

    Raises:
        InputError: the run is not finished, or its data set is missing.
        RunError: the numbers differ from those of result.json, or the engines from each other.
    """
    folder = find_run(name, runs)
    spec = parse_spec(read_json(folder.spec), str(folder.spec))
    weights = folder.student if spec.kind == "detector" else folder.classifier
    if not weights.exists() or not folder.result.exists():
        raise InputError(
            f"run {folder.id} is {folder.read_status()['state']} and has no result yet; "
            f"finish it: c2d train {folder.path}"
        )
    card = find_card(spec.dataset.name, spec.dataset.digest, data)
    verify_card(card)
    config = Config.fromfile(folder.config)
    if spec.kind == "classifier":
        from c2d.training.evaluate_classifier import evaluate_classifier

        lines: list[str] = []
        result = evaluate_classifier(config, weights, card, join_process_group(), lambda: None)
        key = "top1"
    else:
        result, lines = _detector(config, weights, card, folder, check)
        key = "AP"
    before = read_json(folder.result)[key]  # None where undefined, e.g. without any ground truth
    if (before is None) != (result[key] is None) or (
        before is not None and not math.isclose(before, result[key], abs_tol=1e-6)
    ):
        raise RunError(
            f"{key} is {result[key]} now and {before} in {folder.result}: another device, toolbox or precision?", "data"
        )
    return result, [*lines, f"{key} equals {folder.result.name}: {before}"]


def evaluate_files(
    config: Path | None, checkpoint: Path | None, card: str | None, runs: Path, check: bool
) -> tuple[dict[str, Any], list[str]]:
    """Evaluate a stock config with a checkpoint on the `val` split of a data card.

    Args:
        config: path of an mmdet config.
        checkpoint: path of its weights, stock keys.
        card: name or path of a data card.
        runs: the store, which keeps the ground truth.
        check: compare the engines of the metrics, too.

    Returns:
        (result, lines to print).

    Raises:
        InputError: one of the three is missing or cannot be read, or the classes differ.
        RunError: the engines differ.
    """
    missing = [
        name for name, value in (("--config", config), ("--checkpoint", checkpoint), ("--data", card)) if value is None
    ]
    if config is None or checkpoint is None or card is None:
        raise InputError(f"{', '.join(missing)} missing; give a RUN, or --config C --checkpoint K --data CARD")
    loaded = load_card(card)
    verify_card(loaded)
    # A run folder that does not exist: only its store is used, for the ground truth.
    return _detector(_stock(config, loaded), checkpoint, loaded, RunFolder(runs / "none"), check)


def _stock(path: Path, card: LoadedCard) -> Config:
    """An mmdet config whose test data set is the card's; it keeps the class names of the config, if it has them."""
    if not path.is_file():
        raise InputError(f"no config {path}; check the path")
    try:
        config = Config.fromfile(path)
        dataset = config["test_dataloader"]["dataset"]
    except KeyError:
        raise InputError(f"{path} has no test_dataloader.dataset; give a whole mmdet config") from None
    except Exception as error:  # a config is Python and may raise anything
        raise InputError(f"cannot read {path}: {error}") from None
    named = (dataset.get("metainfo") or {}).get("classes")
    pipeline = dataset["pipeline"]
    classes = tuple(named) if named else tuple(card.card.classes)
    config["test_dataloader"]["dataset"] = {
        **evaluate.coco_dataset(card, "val", pipeline, test=True),
        "metainfo": {"classes": classes},
    }
    return config


def _detector(
    config: Config, weights: Path, card: LoadedCard, folder: RunFolder, check: bool
) -> tuple[dict[str, Any], list[str]]:
    truth = evaluate.load_ground_truth(card, folder)
    result, detections = evaluate.evaluate_detector(config, weights, card, truth, join_process_group())
    if not check:
        return result, []
    from c2d.metrics import engine_parity

    report = engine_parity.compare_engines(truth, detections)
    lines = list(report["lines"])
    if not report["ok"]:
        raise RunError("the two engines differ: " + "; ".join(lines), "data")
    return result, lines
