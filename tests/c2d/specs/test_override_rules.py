"""Overrides hold names of types and plain values: nothing that loads weights, imports, or is filled in."""

from __future__ import annotations

from typing import Any

import pytest

from c2d.core.errors import InputError
from c2d.specs.override_rules import check_override_values
from c2d.specs.spec import parse_spec

ALLOWED: dict[str, Any] = {
    "model.backbone.depth": 18,
    "model.backbone.init_cfg": None,
    "model.backbone.pretrained": None,
    "model.neck": {"type": "PAFPN", "init_cfg": {"type": "Xavier", "layer": "Conv2d", "distribution": "uniform"}},
    "model.init_cfg": [{"type": "Normal", "layer": "Linear"}, {"type": "Constant", "layer": "BatchNorm2d"}],
    "optim_wrapper.paramwise_cfg": {"custom_keys": {"backbone.layer1": {"lr_mult": 0.1}, ".bias": {"decay_mult": 0.0}}},
    "train_dataloader.dataset.pipeline.3.prob": 0.25,
    "model.bbox_head.loss_cls.reduction": "a {b} c",
}
WEIGHTS = {"type": "Pretrained", "checkpoint": "x.pth"}
BAD: list[tuple[str, Any, str]] = [
    *[
        (key, value, r"would load weights; weights come from `init:`")
        for key, value in [
            ("model.init_cfg", WEIGHTS),
            ("model.backbone.init_cfg", WEIGHTS),
            ("model.backbone.init_cfg", [{"type": "Kaiming", "layer": "Conv2d"}, WEIGHTS]),
            ("model.backbone.init_cfg.type", "Pretrained"),
            ("model.backbone.init_cfg.checkpoint", "x.pth"),
            ("model.backbone.init_cfg.override", {"name": "a", "type": "PretrainedInit"}),
            ("model.backbone", {"type": "ResNet", "depth": 18, "init_cfg": WEIGHTS}),
            ("model.backbone.init_cfg", {"type": "mmengine.model.PretrainedInit", "checkpoint": "x.pth"}),
            ("model.backbone.init_cfg", {"checkpoint": "x.pth"}),
            ("model.pretrained", "torchvision://resnet50"),
            ("model.backbone.pretrained", "x.pth"),
            ("model.backbone.pretrained", True),
            ("model.teacher_ckpt", "x.pth"),
            ("model.teacher_config", "x.py"),
            ("model.load_from", "x.pth"),
            ("load_from", "x.pth"),
            ("resume", True),
            ("model.roi_head.bbox_head.0", {"type": "BBoxHead", "deep": [[{"pretrained": "x.pth"}]]}),
        ]
    ],
    *[
        (key, value, r"never an import path: write ")
        for key, value in [
            ("model.backbone", {"type": "os.system", "command": "x"}),
            ("model.backbone.type", "os.system"),
            ("train_dataloader.dataset.pipeline.0", {"type": "subprocess.Popen", "args": ["x"]}),
            ("train_dataloader.dataset.pipeline", [{"type": "RandomChoice", "transforms": [[{"type": "a.b"}]]}]),
            ("optim_wrapper.constructor", "os.system"),
            ("optim_wrapper.optimizer.type", "torch.optim.SGD"),
            ("param_scheduler.0.type", "builtins.exec"),
            ("model.backbone.type", "mmdet.ResNet"),
            ("model.backbone.type", "os:system"),
            ("model.backbone.type", "__import__"),
            ("model.backbone.type", "ResNet "),
            ("model.backbone.type", "ResNet\n"),
            ("model.backbone.type", ""),
            ("model.backbone.type", 5),
            ("model.backbone.type", None),
            ("model.backbone.type", ["ResNet"]),
            ("model.backbone.type", {"type": "ResNet"}),
            ("model.test_cfg.nms", {"type": "__import__('os').system('x')"}),
        ]
    ],
    ("model.bbox_head.loss_cls.gamma", "{{ $HOME:x }}", "a template that mmengine would fill in"),
    ("train_dataloader.dataset.data_root", "{{$HOME:x}}/data", "a template"),
    ("model.bbox_head.tags", [{"a": "{{ fileDirname }}"}], "a template"),
    ("model._scope_", "evil", "syntax of mmengine's config files"),
    ("model.backbone", {"type": "ResNet", "_scope_": "evil"}, "syntax of mmengine's config files"),
    ("model.backbone", {"type": "ResNet", "_delete_": True, "init_cfg": WEIGHTS}, "syntax of mmengine's config files"),
    ("_base_", "x.py", "syntax of mmengine's config files"),
    ("model.neck", [{"_module_": "os"}], "syntax of mmengine's config files"),
    ("custom_imports", {"imports": ["evil"]}, "configures mmengine's Runner"),
    ("model.custom_imports", {"imports": ["evil"]}, "configures mmengine's Runner"),
    ("default_scope", "evil", "configures mmengine's Runner"),
    ("default_hooks.logger", {"type": "LoggerHook"}, "configures mmengine's Runner"),
    ("model.neck", {"type": "FPN", "vis_backends": []}, "configures mmengine's Runner"),
    ("train_dataloader.dataset.metainfo", {"x' + str(1) + '": 1}, "a key is the name of an argument"),
    ("model.neck", {"a\nb": 1}, r"has the key 'a\\\\nb'"),
    ("model.neck", {"": 1}, "a key is the name of an argument"),
    ("model.neck", {"type": "FPN", 3: 1}, "a key is the name of an argument"),
]


def test_plain_values_are_allowed() -> None:
    check_override_values(ALLOWED)


@pytest.mark.parametrize(("key", "value", "message"), BAD)
def test_other_values_are_refused_in_one_line(key: str, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        check_override_values({key: value})
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_spec_of_a_run_folder_is_checked_too() -> None:
    """A spec.json with such an override was not written by this version: resuming it must not load the file."""
    with pytest.raises(InputError, match=r"overrides: override 'model\.init_cfg\.type' is 'Pretrained'"):
        parse_spec({"overrides": {"model.init_cfg": WEIGHTS}}, "spec.json")


def test_a_deep_value_is_refused() -> None:
    value: Any = 1
    for _ in range(5000):
        value = [value]
    with pytest.raises(InputError, match="is nested too deeply"):
        check_override_values({"model.neck": value})
