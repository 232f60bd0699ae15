"""Overrides: the key exists, and the value is of the kind that the config has there."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from c2d.core.errors import InputError
from c2d.training.overrides import apply_overrides

CONFIG: dict[str, Any] = {
    "model": {
        "type": "RetinaNet",
        "use_sigmoid": True,
        "add_extra_convs": False,
        "style": "pytorch",
        "neck": None,
        "strides": [8, 16],
        "scale": (96, 64),
        "loss": [{"type": "L1Loss", "weight": 1.0}],
    },
    "train_cfg": {"max_iters": 9},
    "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.01}},
}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.use_sigmoid", False), ("model.add_extra_convs", "on_output"), ("model.style", "1"), ("model.style", 5),
        ("model.neck", {"type": "FPN", "num": 5}), ("model.strides", [4, 8, 16]), ("model.strides.1", 32),
        ("model.loss.0.weight", 2), ("train_cfg.max_iters", None), ("model.new", "sum"), ("model.scale", [64, 48]),
    ],
)  # fmt: skip
def test_values_of_the_same_kind_are_applied(key: str, value: Any) -> None:
    config = copy.deepcopy(CONFIG)
    apply_overrides(config, {key: value})
    node: Any = config
    for part in key.split("."):
        node = node[int(part)] if isinstance(node, list) else node[part]
    assert node == value


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model.use_sigmoid", "False", "'model.use_sigmoid' is 'False', and the config has True there; write true or"),
        ("model.use_sigmoid", 0, "is 0, and the config has True there; write true or false"),
        ("model.use_sigmoid", "off", "write true or false without quotes"),
        ("model.add_extra_convs", "1", "write true or false without quotes"),
        ("train_cfg.max_iters", "9", "is '9', and the config has 9 there; write a number, without quotes"),
        ("train_cfg.max_iters", True, "is True, and the config has 9 there; write a number"),
        ("train_cfg.max_iters", "many", "write a number"),
        ("optim_wrapper.optimizer.lr", None, "is None, and the config has 0.01 there; write a number"),
        ("optim_wrapper.optimizer.lr", [0.1, 0.2], "the config has 0.01 there; write a number"),
        ("optim_wrapper.optimizer", {"type": "SGD", "lr": {}}, r"'optim_wrapper\.optimizer\.lr' is {}"),
        ("optim_wrapper.optimizer.type", 5, "is 5, and the config has 'SGD' there; write the name of a type"),
        ("model.strides", [8, "16"], r"'model.strides\.1' is '16', and the config has 16 there"),
        ("model.strides", [8, 16, "32"], r"'model.strides\.2' is '32'"),
        ("model.scale", ["64", 48], r"'model.scale\.0' is '64', and the config has 96 there"),
        ("model.loss.0", {"type": "L1Loss", "weight": "1e-3"}, r"'model.loss\.0\.weight' is '1e-3'"),
        (
            "model.neck",
            {"type": "FPN", "num": "5"},
            "is '5', and the config has no value there; write it without quotes",
        ),
        ("model.new", "1e-3", "has no value there"),
        ("model.neck", "null", "has no value there"),
        ("model.stlye.x", 1, "did you mean 'style'"),
        ("train_cfg.iters", 1, "did you mean 'train_cfg.max_iters'"),
        ("seed", 1, "is a part of the spec itself"),
    ],
)
def test_values_of_another_kind_and_unknown_keys_are_refused(key: str, value: Any, message: str) -> None:
    config = copy.deepcopy(CONFIG)
    with pytest.raises(InputError, match=message):
        apply_overrides(config, {key: value})
    assert config == CONFIG
