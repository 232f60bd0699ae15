"""The stock student as files: config.py and weights of mmdet, and the names and rules that other programs read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from c2d.configs.config_literals import config_source
from c2d.configs.stored_config import decode, encode
from c2d.export.image_preparation import ImagePreparation
from c2d.weights import safe_load

CONFIG, WEIGHTS, TENSORS = "config.py", "student.pth", "model.safetensors"
HUB_CONFIG, PREPROCESSOR, CLASSES = "config.json", "preprocessor_config.json", "classes.txt"


def write_stock_student(config: Any, weights: Path, classes: tuple[str, ...], folder: Path) -> None:
    """Write config.py, student.pth and model.safetensors, which stock mmdet and any reader of tensors load.

    Args:
        config: of the run, with `model` and `test_dataloader`.
        weights: student.pth of the run.
        classes: names of the labels.
        folder: to write into.
    """
    from safetensors.torch import save_file

    values = decode(encode(config.to_dict()))
    dataset = {**values["test_dataloader"]["dataset"], "data_root": "", "ann_file": "", "data_prefix": {"img": ""}}
    loader = {**values["test_dataloader"], "dataset": dataset}
    text = config_source({"default_scope": "mmdet", "model": values["model"], "test_dataloader": loader})
    (folder / CONFIG).write_text(text, encoding="utf-8")
    state = safe_load.load(weights)
    # Copies: two keys may share their memory, which safetensors refuses.
    tensors = {key: value.detach().cpu().clone().contiguous() for key, value in state.items()}
    torch.save({"meta": {"dataset_meta": {"classes": tuple(classes)}}, "state_dict": tensors}, folder / WEIGHTS)
    save_file(tensors, folder / TENSORS, metadata={"format": "pt"})
    shutil.copymode(folder / WEIGHTS, folder / TENSORS)  # safetensors writes files that their owner alone may read


def write_hub_config(config: Any, classes: tuple[str, ...], preparation: ImagePreparation | None, folder: Path) -> None:
    """Write config.json, classes.txt and preprocessor_config.json, by the names that the hub expects.

    Args:
        config: of the run.
        classes: names of the labels.
        preparation: of images; None where it has no form as a rule, then there is no preprocessor_config.json.
        folder: to write into.
    """
    labels = {str(index): name for index, name in enumerate(classes)}
    content = {
        "architectures": [config["model"]["type"]],
        "model_type": "mmdet",
        "num_labels": len(classes),
        "id2label": labels,
        "label2id": {name: int(index) for index, name in labels.items()},
        "torch_dtype": "float32",
    }
    _write_json(folder / HUB_CONFIG, content)
    (folder / CLASSES).write_text("".join(f"{name}\n" for name in classes), encoding="utf-8")
    if preparation is not None:
        _write_json(folder / PREPROCESSOR, preparation.to_hub())


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
