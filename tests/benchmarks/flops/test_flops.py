"""Counts against closed forms that fit on a slip of paper, and against counts that others have published."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.flops import mmcv_ops, op_formulas
from benchmarks.flops.flops import count
from c2d.detectors import compat

CLOSED: dict[str, tuple[nn.Module, tuple[int, ...], int]] = {
    # c_out h w x c_in / groups k k
    "convolution, stride 2": (nn.Conv2d(4, 6, 3, stride=2, padding=1), (1, 4, 8, 8), 6 * 4 * 4 * 4 * 9),
    "a batch of two": (nn.Conv2d(4, 6, 1, bias=False), (2, 4, 8, 8), 2 * 6 * 64 * 4),
    "grouped": (nn.Conv2d(4, 6, 3, padding=1, groups=2), (1, 4, 8, 8), 6 * 64 * 2 * 9),
    "depthwise": (nn.Conv2d(4, 4, 3, padding=1, groups=4), (1, 4, 8, 8), 4 * 64 * 1 * 9),
    "dilated": (nn.Conv2d(4, 6, 3, padding=2, dilation=2), (1, 4, 8, 8), 6 * 64 * 4 * 9),
    "transposed": (nn.ConvTranspose2d(4, 6, 2, stride=2), (1, 4, 8, 8), 4 * 64 * 6 * 4),
    "linear": (nn.Linear(10, 7), (3, 10), 3 * 10 * 7),
    "linear without bias": (nn.Linear(10, 7, bias=False), (2, 3, 10), 2 * 3 * 10 * 7),
}


@pytest.mark.parametrize("name", CLOSED)
def test_closed_forms(name: str) -> None:
    model, shape, macs = CLOSED[name]
    found = count(model.eval(), torch.randn(shape))
    assert (found["macs"], found["flops"], found["uncounted"]) == (macs, 2 * macs, {})
    assert found["params"] == found["trainable"] == sum(weight.numel() for weight in model.parameters())


class Attention(nn.Module):
    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v)


def test_attention() -> None:
    """Two matrix products for each of N h heads: L x S x d and L x S x d_v."""
    q, k, v = torch.randn(2, 4, 8, 16), torch.randn(2, 4, 12, 16), torch.randn(2, 4, 12, 16)
    found = count(Attention(), q, k, v)
    assert found["macs"] == 2 * 4 * (8 * 12 * 16 + 8 * 12 * 16)
    assert found["uncounted"] == {}


class Products(nn.Module):
    """What torch's own counter passes over in silence."""

    def forward(self, matrix: Tensor, vector: Tensor) -> Tensor:
        return matrix.mv(vector).dot(torch.addmv(vector, matrix, vector))


def test_products_with_vectors() -> None:
    found = count(Products(), torch.randn(5, 5), torch.randn(5))
    assert found["macs"] == 25 + 25 + 5


def test_deformable_convolution() -> None:
    """Without an offset it is a convolution; every pixel it reads costs four multiply-adds more."""
    from torchvision.ops import DeformConv2d

    found = count(DeformConv2d(4, 6, 3, padding=1), torch.randn(1, 4, 8, 8), torch.zeros(1, 18, 8, 8))
    assert found["macs"] == 6 * 64 * 4 * 9 + 64 * 4 * 9 * 4


@torch.library.custom_op("c2dtest::mystery", mutates_args=())
def mystery(x: Tensor) -> Tensor:
    return x @ x


class Unknown(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return mystery(mystery(self.layer(x))).relu().softmax(1)


def test_an_unknown_operator_is_reported() -> None:
    found = count(Unknown(), torch.randn(4, 4))
    assert found["uncounted"] == {"aten._softmax": 1, "c2dtest.mystery": 2}
    assert found["macs"] == 4 * 4 * 4
    assert found["free"]["aten.relu"] == 1


def test_parts_and_what_is_frozen() -> None:
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Sequential(nn.Conv2d(2, 5, 1), nn.ReLU()))
    model[0].requires_grad_(False)
    before = [len(module._forward_hooks) for module in model.modules()]
    found = count(model, torch.randn(1, 3, 4, 4))
    assert {part: one["macs"] for part, one in found["by_part"].items()} == {"0": 16 * 6, "1": 16 * 10}
    assert (found["params"], found["trainable"]) == (3 * 2 + 2 + 2 * 5 + 5, 2 * 5 + 5)
    assert [len(module._forward_hooks) for module in model.modules()] == before


def test_a_callable_needs_its_module() -> None:
    layer = nn.Linear(4, 2)
    with pytest.raises(TypeError, match="module="):
        count(lambda x: layer(x), torch.randn(1, 4))
    assert count(lambda x: layer(x) @ torch.randn(2, 3), torch.randn(1, 4), module=layer)["by_part"] == {
        "rest": {"flops": 2 * (8 + 6), "macs": 8 + 6}
    }


def rois() -> Tensor:
    """Two regions of 16 x 8 and 4 x 4 px of the image."""
    return torch.tensor([[0.0, 0, 0, 16, 8], [0, 4, 4, 8, 8]])


@pytest.mark.parametrize(("samples", "points"), [(2, 2 * 3 * 3 * 4), (0, 9 * 3 * 2 + 9 * 1 * 1)])
def test_roi_align_of_mmcv_and_torchvision(samples: int, points: int) -> None:
    """Scale 1/2, 3 x 3 bins: with 0 the first region (8 x 4) has 3 x 2 samples a bin, the second (2 x 2) one."""
    compat.prepare()
    from mmcv.ops import RoIAlign

    x = torch.randn(1, 5, 16, 16)
    found = count(RoIAlign(3, 0.5, samples), x, rois())
    assert found["macs"] == 4 * 5 * points
    assert found["by_operator"] == {"mmcv.roi_align_forward": {"flops": 8 * 5 * points, "calls": 1}}
    assert found["uncounted"] == {}
    theirs = count(RoIAlign(3, 0.5, samples, use_torchvision=True), x, rois())
    assert theirs["macs"] == found["macs"]


def test_nms_of_mmcv_is_listed() -> None:
    compat.prepare()
    from mmcv.ops import nms

    boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 5], [9, 9, 12, 12]])
    found = count(lambda b: nms(b, torch.tensor([0.9, 0.8, 0.7]), 0.5), boxes, module=nn.Identity())
    assert found["uncounted"] == {"mmcv.nms": 1}
    assert found["flops"] == 0


def test_compiled_functions_are_recorded_and_restored() -> None:
    """As a compiled mmcv would call them: functions that torch's dispatcher knows nothing of."""

    def nothing(*args: Any, **kwargs: Any) -> None:
        return None

    module = SimpleNamespace(modulated_deform_conv_forward=nothing, deform_conv_forward=nothing, other=nothing)
    seen: list[tuple[str, int | None]] = []
    x, weight, offset = torch.zeros(1, 4, 8, 8), torch.zeros(6, 4, 3, 3), torch.zeros(1, 18, 8, 8)
    with mmcv_ops.record_mmcv_calls(lambda name, flops: seen.append((name, flops)), module):
        module.modulated_deform_conv_forward(x, weight, torch.zeros(6), None, offset, None, None, None, kernel_h=3)
        module.deform_conv_forward(x, weight, offset, None, None, None, kW=3)
        module.other()
    flops = 2 * (6 * 64 * 4 * 9 + 64 * 4 * 9 * 4)
    assert seen == [
        ("mmcv.modulated_deform_conv_forward", flops), ("mmcv.deform_conv_forward", flops), ("mmcv.other", None)
    ]  # fmt: skip
    assert module.other is nothing


def test_lists_do_not_overlap() -> None:
    assert not op_formulas.LAYOUT & op_formulas.ELEMENTWISE
    assert not {
        name for name in op_formulas.LAYOUT | op_formulas.ELEMENTWISE if name in ("mm", "bmm", "convolution", "nms")
    }


def test_resnet50() -> None:
    """torchvision's own figures, `ResNet50_Weights.IMAGENET1K_V1.meta`: 4.089 (of multiply-adds), 25,557,032."""
    import torchvision

    published = torchvision.models.ResNet50_Weights.IMAGENET1K_V1.meta
    with torch.device("meta"):
        found = count(torchvision.models.resnet50().eval(), torch.empty(1, 3, 224, 224))
    assert round(found["macs"] / 1e9, 3) == published["_ops"] == 4.089
    assert found["params"] == published["num_params"]
    assert found["uncounted"] == {"aten.max_pool2d_with_indices": 1, "aten.mean": 1}


def test_retinanet_r50() -> None:
    """detectron2's tests/test_model_analysis.py: 146 (10^9 multiply-adds, rounded down) for 800 x 800, 80 classes.

    Its ResNet has the stride in the 1 x 1 convolutions, mmdet's `style="caffe"`; the stock config has it in the 3 x 3.
    """
    compat.prepare()
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    from mmengine.hub import get_config
    from mmengine.registry import DefaultScope

    register_all_modules(init_default_scope=False)
    config = get_config("mmdet::retinanet/retinanet_r50_fpn_1x_coco.py")
    config.model.backbone |= {"init_cfg": None, "style": "caffe"}
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(config.model).eval().to("meta")
    found = count(lambda x: model(x, mode="tensor"), torch.empty(1, 3, 800, 800, device="meta"), module=model)
    assert int(found["macs"] / 1e9) == 146
    assert set(found["by_part"]) == {"backbone", "neck", "bbox_head"}
