"""`c2d evaluate --config --checkpoint --data`: evaluate any stock config, checkpoint and data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine import Config

from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder
from c2d.data.card import LoadedCard
from c2d.data.card_lookup import load_card, verify_card
from c2d.evaluation.datasets import coco_dataset
from c2d.evaluation.evaluate_detector import evaluate_and_check


def evaluate_files(
    config: Path | None, checkpoint: Path | None, card: str | None, runs: Path, check: bool
) -> tuple[dict[str, Any], list[str]]:
    """Evaluate a stock config with a checkpoint on the evaluation split of a data card.

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
    verify_card(loaded, {loaded.evaluation_split: 0})
    # A run folder that does not exist: only its store is used, for the ground truth.
    return evaluate_and_check(_stock(config, loaded), checkpoint, loaded, RunFolder(runs / "none"), check)


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
        **coco_dataset(card, card.evaluation_split, pipeline, test=True),
        "metainfo": {"classes": classes},
    }
    return config
