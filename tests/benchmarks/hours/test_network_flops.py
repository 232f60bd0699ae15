"""FLOPs of steps: by hand, and on the meta device beside a real step."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.flops.training_flops import WorkCounter, forward_and_training_work
from benchmarks.hours.image_shapes import batch_shape
from benchmarks.hours.method_flops import MethodFlops, cut_off, method_flops, step_operators
from benchmarks.hours.network_flops import classifier_work, detector_flops
from benchmarks.hours.synthetic_step import BOXES, noise_batch
from c2d.configs.student_config import load_student
from c2d.detectors import compat
from c2d.detectors.outputs import Needs
from c2d.detectors.recording.positives import Positives
from c2d.distillation.wrapper import TeacherSet
from c2d.evaluation.stock_model import build_student

compat.prepare()


@pytest.mark.parametrize(("groups", "needs_input", "passes"), [(1, False, 2), (8, False, 2), (8, True, 3)])
def test_each_gradient_of_a_convolution_costs_as_much_as_its_forward_pass(
    groups: int, needs_input: bool, passes: int
) -> None:
    """8 channels to 8 on 4 x 4 cells, 3 x 3: 2 * 16 * 8 * 9 * 8 / groups FLOPs, also where torch counts one group."""
    layer = nn.Conv2d(8, 8, 3, padding=1, groups=groups, bias=False)
    images = torch.randn(1, 8, 4, 4, requires_grad=needs_input)
    forward, training = forward_and_training_work(lambda: layer(images))
    assert forward.flops == 2 * 16 * 8 * 9 * 8 // groups
    assert training.flops == passes * forward.flops
    assert training.operators > forward.operators >= 1


def test_frozen_layers_cost_their_forward_pass_alone() -> None:
    layers = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)).requires_grad_(False)
    layers[1].requires_grad_(True)
    forward, training = forward_and_training_work(lambda: {"out": [layers(torch.randn(1, 3, 2, 2))]})
    assert forward.flops == 2 * 4 * (12 + 16)
    assert training.flops == forward.flops + 2 * 4 * 16  # the weight of the last layer, no input


@pytest.mark.parametrize("name", ["retinanet-qr18", "rtmdet-q"])
def test_the_meta_device_counts_what_a_real_step_does(name: str) -> None:
    config = load_student(name, num_classes=3, pretrained=False)
    counted = detector_flops(config["model"].to_dict(), 128, 128)
    student = build_student(config).train()
    inputs, samples = noise_batch(128, 128, 3)
    with WorkCounter() as counter:
        losses, _ = student.parse_losses(student.loss(inputs, samples))
        losses.backward()
        step = counter.work()
    assert counted.step == pytest.approx(step.flops, rel=0.02)
    assert counted.step == pytest.approx(3 * counted.forward, rel=0.05)  # all but the gradient to the image
    assert counted.maps < counted.forward
    assert step_operators(student, 3, None) == pytest.approx(step.operators, rel=0.1)
    assert all(weight.grad is None for weight in student.parameters())


def test_a_second_stage_counts_the_rois_of_its_sampler() -> None:
    config = load_student("faster-rcnn-qr18", num_classes=3, pretrained=False)["model"].to_dict()
    flops = detector_flops(config, 128, 128)
    sampler = config["train_cfg"]["rcnn"]["sampler"]
    assert flops.rois == sampler["num"]
    assert flops.step == flops.training + sampler["num"] * flops.roi_training
    assert flops.roi_training == pytest.approx(3 * flops.roi_forward)
    assert flops.scaled(2).step == 2 * flops.training + sampler["num"] * flops.roi_training


def test_a_resnet50_has_the_published_work() -> None:
    forward, training = classifier_work("resnet50", 1000, 224)
    assert forward.flops / 2e9 == pytest.approx(4.089, abs=0.001)  # GMACs
    assert training.flops == pytest.approx(3 * forward.flops, rel=0.02)


def test_batches_are_padded_to_their_largest_image() -> None:
    pad = {"data_preprocessor": {"pad_size_divisor": 32}}
    steps = [{"type": "Resize", "scale": (1333, 800), "keep_ratio": True}, {"type": "PackDetInputs"}]
    one, four = (batch_shape(steps, steps, pad, images) for images in (1, 4))
    assert one.height % 32 == one.width % 32 == 0
    assert 800 * 900 < one.mean_pixels < four.mean_pixels < 1344 * 1344  # a tall image beside a wide one
    assert four.scale == pytest.approx(1, abs=0.2)
    fixed = [{"type": "Resize", "scale": (300, 200), "keep_ratio": False}, {"type": "PackDetInputs"}]
    square = batch_shape(fixed, fixed, {}, 8)
    assert (square.height, square.width, square.mean_pixels) == (200, 300, 60000.0)


@dataclass
class FakeView:
    """What the fake methods read."""

    positives: list[Positives]
    maps: Tensor
    generator: Any = field(default=None)
    classifier: Any = None
    detector: Any = None


class FakeMethod(nn.Module):
    """A method whose terms are matrix products of known sizes."""

    def __init__(self, needs: Needs, product: Any) -> None:
        super().__init__()
        self.needs, self.product, self.refresh, self.roi_stages = needs, product, lambda _: None, "last"

    def forward(self, view: FakeView) -> tuple[dict[str, tuple[Tensor, float]], dict[str, Tensor]]:
        return {"term": (self.product(view), 1.0)}, {}


class FakeModel:
    """A student of one stride-8 map, with two positives for each of two ground truths."""

    def __init__(self, method: FakeMethod) -> None:
        self.methods, self.student, self.teachers = {"fake": method}, None, TeacherSet()

    def view(self, inputs: Tensor, samples: Any) -> FakeView:
        boxes = torch.zeros(4, 4, requires_grad=True)
        rows = torch.tensor([0, 0, 1, 1])
        found = Positives(torch.zeros(4, 3), boxes, torch.zeros(4, dtype=torch.long), rows, "sigmoid", (4,))
        return FakeView([found], F.avg_pool2d(inputs, 8)[:, 0].requires_grad_(True))


def test_work_on_crops_is_split_into_that_of_truths_and_of_positives() -> None:
    """A product of (1 x 4) x (4 x 4) for the truth, without a gradient; one forward and back to the boxes for each."""
    constant = torch.ones(4, 4)

    def product(view: FakeView) -> Tensor:
        [stage] = view.positives
        return (torch.ones(1, 4) @ constant).sum() + (stage.boxes @ constant).sum()

    model = FakeModel(FakeMethod(Needs(positives=True), product))
    found = method_flops(model, 3, None)["fake"]
    assert (found.truth, found.positive, found.linear, found.quadratic, found.note) == (32.0, 64.0, 0.0, 0.0, "")
    assert found.of_image(2, 10, 1e6) == 2 * 32 + 10 * 64
    assert model.methods["fake"].refresh is None


def test_work_on_maps_is_linear_or_quadratic_in_the_image() -> None:
    """Every cell times 5 numbers, or every cell with every other; 8 x 8 px a cell; forward and one gradient."""

    def cells(view: FakeView) -> Tensor:
        return view.maps.reshape(-1, 1)

    needs = Needs(neck=True)
    linear = FakeModel(FakeMethod(needs, lambda view: (cells(view) @ torch.ones(1, 5)).sum()))
    assert method_flops(linear, 3, None)["fake"].of_image(0, 0, 6400) == 2 * 100 * 2 * 5
    both = FakeModel(FakeMethod(needs, lambda view: (cells(view) @ cells(view).detach().T).sum()))
    assert method_flops(both, 3, None)["fake"].of_image(0, 0, 6400) == pytest.approx(2 * 2 * 100**2)
    [fixed] = method_flops(both, 3, 80).values()  # one size, so nothing tells the two apart
    assert (fixed.linear, fixed.quadratic) == (2 * 2 * 100**2 / 6400, 0.0)


def test_a_method_that_cannot_run_is_named() -> None:
    def fails(view: FakeView) -> Tensor:
        raise ValueError("no table")

    found = method_flops(FakeModel(FakeMethod(Needs(neck=True), fails)), 3, None)["fake"]
    assert found == MethodFlops(note="fake: its own terms are not counted (ValueError: no table)")


def test_cut_off_tensors_are_leaves() -> None:
    weight = torch.ones(2, requires_grad=True)
    view = FakeView([], weight * 2)
    copied = cut_off({"view": view, "plain": (weight.detach(), SimpleNamespace(kept=1))})
    assert copied["view"].maps.is_leaf
    assert copied["view"].maps.requires_grad
    assert not copied["plain"][0].requires_grad
    copied["view"].maps.sum().backward()
    assert weight.grad is None


def test_noise_images_have_as_many_boxes_as_coco() -> None:
    inputs, [sample] = noise_batch(64, 128, 3)
    assert inputs.shape == (1, 3, 64, 128)
    assert len(sample.gt_instances.bboxes) == len(BOXES) == 7
    assert sample.gt_instances.bboxes[:, 2].max() <= 128
    assert sample.gt_instances.labels.max() == 2
