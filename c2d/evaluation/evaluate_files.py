"""`c2d evaluate --config --checkpoint --data`: evaluate any stock config, checkpoint and data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine import Config

from c2d.configs.dataset_tree import one_pipeline
from c2d.configs.foreign_config import read_config, remove_weight_files
from c2d.configs.plain_config import to_plain
from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder
from c2d.data.card import LoadedCard
from c2d.data.card_lookup import load_card, verify_card
from c2d.evaluation.class_map import ClassSources, class_lines
from c2d.evaluation.datasets import coco_dataset
from c2d.evaluation.evaluate_detector import evaluate_and_check
from c2d.weights import safe_load


def evaluate_files(
    config: Path | None,
    checkpoint: Path | None,
    card: str | None,
    runs: Path,
    check: bool,
    classes: str | None = None,
    workers: int = 0,
) -> tuple[dict[str, Any], list[str]]:
    """Evaluate a stock config with a checkpoint on the evaluation split of a data card.

    Args:
        config: path of an mmdet config.
        checkpoint: path of its weights, stock keys.
        card: name or path of a data card.
        runs: the store, which keeps the ground truth.
        check: compare the engines of the metrics, too.
        classes: names of the model's outputs: `card`, names with commas, or a text file; None to read them from
            checkpoint and config.
        workers: loader processes of this rank.

    Returns:
        (result, lines to print).

    Raises:
        InputError: one of the three is missing or cannot be read, or the classes do not fit.
        RunError: the engines differ.
    """
    missing = [
        name for name, value in (("--config", config), ("--checkpoint", checkpoint), ("--data", card)) if value is None
    ]
    if config is None or checkpoint is None or card is None:
        raise InputError(f"{', '.join(missing)} missing; give a RUN, or --config C --checkpoint K --data CARD")
    loaded = load_card(card)
    verify_card(loaded, {loaded.evaluation_split: 0})
    given = read_config(config)
    stock = _with_card(given, loaded, str(config))
    content = safe_load.load(checkpoint)
    sources = ClassSources(given, content, str(config), str(checkpoint), classes)
    # A run folder that does not exist: only its store is used, for the ground truth.
    result, lines = evaluate_and_check(stock, checkpoint, loaded, RunFolder(runs / "none"), check, sources, workers)
    return result, [*class_lines(result["class_map"]), *lines] if result else []


def _with_card(config: Config, card: LoadedCard, name: str) -> Config:
    """The model of a config without downloads, and its test pipeline on the card's data set, which has boxes alone."""
    if not isinstance(config.get("model"), dict):
        raise InputError(f"{name} has no `model`; give a whole mmdet config")
    found = one_pipeline(config, ("test_dataloader", "val_dataloader"), name)
    pipeline = found.steps if found else None
    if pipeline is None and config.get("data") is not None:
        raise InputError(f"{name} is a config of mmdet 2 (it has `data`); give the config that mmdet 3 trained with")
    if pipeline is None:
        raise InputError(f"{name} has no pipeline in test_dataloader.dataset; give a whole mmdet config")
    loader = {
        "batch_size": 1,
        "num_workers": 0,
        "dataset": coco_dataset(card, card.evaluation_split, [_boxes_alone(step) for step in pipeline], test=True),
    }
    model = to_plain(config["model"])
    remove_weight_files(model)  # the checkpoint has every weight
    return Config({"default_scope": "mmdet", "model": model, "test_dataloader": loader})


def _boxes_alone(step: Any) -> Any:
    """A step of a pipeline; one that loads annotations loads no masks."""
    unread = {key: False for key in ("with_mask", "with_seg") if step.get(key)}
    return {**step, **unread}
