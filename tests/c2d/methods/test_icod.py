"""ICOD's formulas, by the numbers and properties of its specification (1.10), and it on every head family."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from c2d.core.errors import InputError
from c2d.detectors.batch import Batch, batch_from_mmdet
from c2d.detectors.normalization import IMAGENET, Normalization
from c2d.detectors.recording.positives import Positives
from c2d.detectors.recording.record_positives import record_positives
from c2d.methods.base import Context, Term, View
from c2d.methods.icod import ICOD
from c2d.methods.parts.icod_kl import kl_bernoulli, kl_scores, kl_softmax
from tests.c2d import tiny_detectors
from tests.c2d.tiny_teacher import TinyTeacher

RAW = Normalization((0.0,) * 3, (1.0,) * 3, "rgb")
Params = ICOD.Params
Result = tuple[dict[str, Term], dict[str, Tensor]]


def positives(boxes: Tensor, image: list[int], gt: list[int], per_image: tuple[int, ...], kind: Any = "sigmoid",
              classes: int = 3, seed: int = 0) -> Positives:  # fmt: skip
    channels = classes + (kind == "softmax")
    logits = torch.randn(len(boxes), channels, generator=torch.Generator().manual_seed(seed), dtype=boxes.dtype)
    return Positives(
        logits.requires_grad_(), boxes, torch.tensor(image).long(), torch.tensor(gt).long(), kind, per_image
    )


def batch_of(images: Tensor, boxes: list[Tensor], normalization: Normalization = RAW) -> Batch:
    labels = tuple(torch.arange(len(b)) % 3 for b in boxes)
    sizes = tuple(tuple(images.shape[-2:]) for _ in boxes)
    return Batch(images, tuple(boxes), labels, sizes, normalization, 3)  # type: ignore[arg-type]


def run(found: list[Positives] | Positives, batch: Batch, teacher: Any = None, seed: int = 0, **params: Any) -> Result:
    teacher = teacher or TinyTeacher(dtype=batch.images.dtype)
    distiller = ICOD(Params(**params), Context(3, teacher))
    entries = found if isinstance(found, list) else [found]
    result: Result = distiller(View(batch, entries, teacher, None, torch.Generator().manual_seed(seed)))
    return result


def example(dtype: torch.dtype = torch.float32, kind: Any = "sigmoid") -> tuple[Positives, Batch]:
    """Two images with 2 and 1 ground truths, five positives."""
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(2, 3, 48, 56, generator=generator, dtype=dtype)
    truth = [
        torch.tensor([[4.0, 5, 30, 33], [20, 8, 50, 40]], dtype=dtype),
        torch.tensor([[10.0, 6, 41, 37]], dtype=dtype),
    ]
    image, gt = [0, 0, 0, 1, 1], [0, 1, 1, 0, 0]
    shift = torch.randn(5, 4, generator=generator, dtype=dtype) * 2
    boxes = torch.stack([truth[i][g] for i, g in zip(image, gt, strict=True)]) + shift
    return positives(boxes.requires_grad_(), image, gt, (3, 2), kind), batch_of(images, truth)


def values(result: Result) -> dict[str, float]:
    return {name: float(term.value.detach()) for name, term in result[0].items()}


# --- 1 to 4: KD_cls --------------------------------------------------------------------------------------------------


def test_softmax_number_1() -> None:
    z_t, z_s = torch.tensor([[2.0, 0, -1]]), torch.tensor([[1.0, 0.5, -0.5, 0.2]], requires_grad=True)
    loss = kl_softmax(z_s, z_t, 2.0)
    assert float(loss.detach()) == pytest.approx(1.3165, abs=1e-4)
    (gradient,) = torch.autograd.grad(loss.sum(), z_s)
    p_s, p_t = torch.tensor([0.3423, 0.2666, 0.1617, 0.2294]), torch.tensor([0.6285, 0.2312, 0.1402, 0.0])
    torch.testing.assert_close(gradient[0], 2 * (p_s - p_t), rtol=0, atol=2e-4)


def test_softmax_number_2_background_is_pushed_down() -> None:
    z, b = torch.tensor([[2.0, 0, -1]]), 0.7
    loss = float(kl_softmax(torch.cat([z, torch.tensor([[b]])], 1), z, 2.0))
    assert loss == pytest.approx(1.13506, abs=1e-5)
    assert loss == pytest.approx(4 * math.log(1 + math.exp(b / 2) / float((z / 2).exp().sum())), abs=1e-5)
    assert float(kl_softmax(torch.cat([z, torch.tensor([[-60.0]])], 1), z, 2.0)) == pytest.approx(0, abs=1e-6)


def test_sigmoid_number_3() -> None:
    z_t, z_s = torch.tensor([[2.0, -1, 0]]), torch.tensor([[1.0, -2, 0.5]], requires_grad=True)
    loss = kl_bernoulli(z_s, z_t, 2.0)
    assert float(loss.detach()) == pytest.approx(0.082789, abs=1e-6)
    (gradient,) = torch.autograd.grad(loss.sum(), z_s)
    torch.testing.assert_close(gradient, 2 / 3 * (torch.sigmoid(z_s / 2) - torch.sigmoid(z_t / 2)))
    assert float(kl_bernoulli(z_t, z_t, 2.0)) == 0.0


def test_second_sigmoid_form_is_the_kl_of_normalised_scores() -> None:
    z_t, z_s = torch.tensor([[2.0, -1, 0]]), torch.tensor([[1.0, -2, 0.5]])
    p_t, p_s = (torch.sigmoid(z / 2) / torch.sigmoid(z / 2).sum() for z in (z_t, z_s))
    assert float(kl_scores(z_s, z_t, 2.0)) == pytest.approx(4 * float((p_t * (p_t / p_s).log()).sum()), abs=1e-6)


def test_number_4_a_constant_on_the_teacher_logits() -> None:
    z_t, z_s = torch.tensor([[2.0, -1, 0]]), torch.tensor([[1.0, -2, 0.5, 0.1]])
    torch.testing.assert_close(kl_softmax(z_s, z_t + 5, 2.0), kl_softmax(z_s, z_t, 2.0))
    assert not torch.allclose(kl_bernoulli(z_s[:, :3], z_t + 5, 2.0), kl_bernoulli(z_s[:, :3], z_t, 2.0))


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_extreme_logits_stay_finite(kind: str) -> None:
    z_t = torch.tensor([[300.0, -300, 0]])
    z_s = torch.tensor([[-300.0, 300, 5, 80]], requires_grad=True)
    loss = kl_softmax(z_s, z_t, 1.0) if kind == "softmax" else kl_bernoulli(z_s[:, :3], z_t, 1.0)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(z_s.grad).all()  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_each_positive_learns_from_its_own_ground_truth_crop(kind: str) -> None:
    found, batch = example(kind=kind)
    teacher = TinyTeacher()
    result = run(found, batch, teacher, lambda_kl=0, lambda_l=0)
    from c2d.ops.crop import crop_and_resize

    boxes, image = batch.all_boxes()
    z_t = teacher.logits(teacher.normalize(crop_and_resize(batch.images, boxes, image, 32), RAW))[[0, 1, 1, 2, 2]]
    form = kl_softmax if kind == "softmax" else kl_bernoulli
    assert values(result) == pytest.approx({"cls": float(form(found.logits, z_t, 2.0).mean().detach())}, rel=1e-5)
    assert not torch.allclose(z_t[1], z_t[0])


# --- 5 is in test_regions; 6 to 9: KD_loc ----------------------------------------------------------------------------


def ramp(shift: list[float]) -> tuple[float, Tensor]:
    """The crop term and its box gradient on I(x) = column index, ground truth (16, 16, 48, 48) in 64 x 64."""
    images = torch.arange(64.0).expand(1, 3, 64, 64)
    truth = torch.tensor([[16.0, 16, 48, 48]])
    box = (truth + torch.tensor([shift])).requires_grad_()
    result = run(positives(box, [0], [0], (1,)), batch_of(images, [truth]), lambda_kc=0, lambda_kl=0, size=112)
    (gradient,) = torch.autograd.grad(result[0]["crop"].value, box)
    return values(result)["crop"], gradient[0]


@pytest.mark.parametrize("d", [2.0, -3.0])
def test_number_6_shifted_box_on_a_ramp(d: float) -> None:
    value, gradient = ramp([d, 0, d, 0])
    assert value == pytest.approx(abs(d), abs=1e-4)
    sign = math.copysign(0.5, d)
    torch.testing.assert_close(gradient, torch.tensor([sign, 0, sign, 0]), rtol=0, atol=1e-4)


def test_number_6_one_moved_side() -> None:
    assert ramp([0, 0, 4.0, 0])[0] == pytest.approx(2.0, abs=1e-4)


def test_number_7_prediction_equal_to_the_truth_costs_nothing() -> None:
    _, batch = example()
    boxes = torch.cat(batch.boxes).clone().requires_grad_()
    got = values(run(positives(boxes, [0, 0, 1], [0, 1, 0], (2, 1)), batch, lambda_kc=0))
    assert got == {"crop": 0.0, "feat": 0.0}


def test_number_7_constant_image_has_no_crop_term_for_interior_boxes() -> None:
    found, batch = example()
    flat = Batch(torch.full_like(batch.images, 0.3), batch.boxes, batch.labels, batch.sizes, RAW, 3)
    inside = Positives(
        found.logits, found.boxes.detach().clamp(2, 45).requires_grad_(), found.image, found.gt, "sigmoid", (3, 2)
    )
    assert values(run(inside, flat, lambda_kc=0, lambda_kl=0))["crop"] == pytest.approx(0, abs=1e-6)


def test_number_8_side_beyond_the_image_has_no_gradient() -> None:
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    truth = torch.tensor([[4.0, 4, 28, 28]])
    box = torch.tensor([[5.0, 6, 40, 27]], requires_grad=True)
    terms, _ = run(positives(box, [0], [0], (1,)), batch_of(images, [truth]), lambda_kc=0)
    for term in terms.values():
        (gradient,) = torch.autograd.grad(term.value, box, retain_graph=True)
        assert gradient[0, 2] == 0
        assert (gradient[0, [0, 1, 3]] != 0).all()


def test_number_9_gradients_go_to_boxes_and_logits_only() -> None:
    found, batch = example()
    batch.images.requires_grad_()
    for box in batch.boxes:
        box.requires_grad_()
    teacher = TinyTeacher()
    teacher.network.requires_grad_(False)
    terms, _ = run(found, batch, teacher)
    sum(t.value * t.weight for t in terms.values()).backward()  # type: ignore[union-attr]
    assert batch.images.grad is None
    assert all(box.grad is None for box in batch.boxes)
    assert all(p.grad is None for p in teacher.network.parameters())
    assert (found.boxes.grad != 0).any(1).all()  # type: ignore[union-attr]
    assert (found.logits.grad != 0).any(1).all()  # type: ignore[union-attr]


@pytest.mark.parametrize("term", ["crop", "feat"])
def test_number_9_finite_differences(term: str) -> None:
    """In fp64 with a smooth teacher and a smooth image; the L1 norm and bilinear kinks are met rarely at this step."""
    found, batch = example(torch.float64)
    ys, xs = torch.meshgrid(torch.arange(48.0), torch.arange(56.0), indexing="ij")
    waves = torch.stack([(xs / 9).sin(), (ys / 7).cos(), ((xs + ys) / 11).sin()]).double()
    smooth = Batch(torch.stack([waves, waves.flip(0)]), batch.boxes, batch.labels, batch.sizes, RAW, 3)
    teacher = TinyTeacher(dtype=torch.float64, smooth=True)
    weights = {"crop": {"lambda_kl": 0}, "feat": {"lambda_l": 0}}[term]

    def value(boxes: Tensor) -> Tensor:
        moved = Positives(found.logits, boxes, found.image, found.gt, "sigmoid", (3, 2))
        return run(moved, smooth, teacher, lambda_kc=0, **weights)[0][term].value

    start = found.boxes.detach()
    leaf = start.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(leaf), leaf)
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        direction = torch.randn(5, 4, generator=generator, dtype=torch.float64)
        step = 1e-5
        quotient = float(value(start + step * direction) - value(start - step * direction)) / (2 * step)
        assert float((gradient * direction).sum()) == pytest.approx(quotient, rel=1e-2)


# --- 10 and 11: equal forms, order, nothing to learn -----------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_number_10_chunks_change_neither_value_nor_gradient(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for size in (3, chunk):
        monkeypatch.setattr(ICOD, "CHUNK", {"cpu": size})
        found, batch = example(torch.float64)
        terms, _ = run(found, batch)
        sum(t.value for t in terms.values()).backward()  # type: ignore[union-attr]
        results.append(
            (terms["cls"].value, terms["crop"].value, terms["feat"].value, found.boxes.grad, found.logits.grad)
        )
    torch.testing.assert_close(results[0], results[1], rtol=1e-9, atol=1e-12)


def test_number_10_order_of_positives_does_not_matter() -> None:
    found, batch = example(torch.float64)
    order = torch.tensor([4, 1, 3, 0, 2])
    mixed = Positives(found.logits[order], found.boxes[order], found.image[order], found.gt[order], "sigmoid", (3, 2))
    assert values(run(mixed, batch)) == pytest.approx(values(run(found, batch)), rel=1e-9)


@pytest.mark.parametrize("name", tiny_detectors.NAMES)
def test_number_11_batch_without_boxes_gives_attached_zeros(name: str) -> None:
    student = tiny_detectors.build(name)
    terms, seen = distil(student, *tiny_detectors.sample(2, 96, 0))
    assert {key: float(t.value.detach()) for key, t in terms.items()} == {"cls": 0.0, "crop": 0.0, "feat": 0.0}
    assert float(seen["positives"]) == 0
    for term in terms.values():
        assert term.value.requires_grad
        term.value.backward(retain_graph=True)
    gradients = [p.grad for p in student.parameters() if p.grad is not None]
    assert gradients
    assert all((g == 0).all() for g in gradients)


# --- options ---------------------------------------------------------------------------------------------------------


def test_composition_has_the_papers_weights() -> None:
    terms, _ = run(*example())
    assert {name: term.weight for name, term in terms.items()} == {"cls": 0.4, "crop": 0.15, "feat": 0.15}


@pytest.mark.parametrize(
    ("params", "terms", "passes"),
    [
        ({}, {"cls", "crop", "feat"}, {"both", "features"}),
        ({"lambda_kl": 0, "lambda_l": 0}, {"cls"}, {"logits"}),
        ({"lambda_kl": 0}, {"cls", "crop"}, {"logits"}),
        ({"lambda_kc": 0}, {"crop", "feat"}, {"features"}),
        ({"lambda_kc": 0, "lambda_kl": 0}, {"crop"}, set()),
        ({"lambda_kc": 0, "layers": ["l1"]}, {"feat"}, {"features"}),
        ({"lambda_kc": 0, "lambda_kl": 0, "lambda_l": 0}, set(), set()),
    ],
)
def test_what_is_switched_off_costs_no_teacher_pass(params: dict[str, Any], terms: set[str], passes: set[str]) -> None:
    found, batch = example()
    teacher = TinyTeacher()
    result, _ = run(found, batch, teacher, **params)
    assert set(result) == terms
    assert {kind for kind, _ in teacher.shown} == passes


def test_every_ground_truth_is_shown_once_and_unneeded_ones_never() -> None:
    found, batch = example()
    teacher = TinyTeacher()
    run(found, batch, teacher)
    assert sum(n for kind, n in teacher.shown if kind == "both") == 3
    keep = torch.tensor([1, 2])  # both of the second ground truth of image 0
    part = Positives(found.logits[keep], found.boxes[keep], found.image[keep], found.gt[keep], "sigmoid", (2, 0))
    teacher = TinyTeacher()
    run(part, batch, teacher)
    assert sum(n for kind, n in teacher.shown if kind == "both") == 1


def test_feature_layers_are_averaged() -> None:
    found, batch = example()
    pooling = {"l0": 4, "l1": 2}
    each = [values(run(found, batch, lambda_kc=0, layers=[n], pooling=pooling))["feat"] for n in ("l0", "l1")]
    both = values(run(found, batch, lambda_kc=0, layers=["l0", "l1"], pooling=pooling))["feat"]
    assert both == pytest.approx(sum(each) / 2, rel=1e-5)


def test_normaliser_counts_images_without_positives_as_one() -> None:
    found, batch = example()
    keep = torch.tensor([0, 1, 2])
    part = Positives(found.logits[keep], found.boxes[keep], found.image[keep], found.gt[keep], "sigmoid", (3, 0))
    exact, floor = (values(run(part, batch, normaliser=n)) for n in ("exact", "per_image_floor"))
    assert floor["cls"] == pytest.approx(exact["cls"] * 3 / 4, rel=1e-5)
    assert (floor["crop"], floor["feat"]) == (exact["crop"], exact["feat"])


def test_max_positives_is_a_logged_reproducible_unbiased_subset() -> None:
    found, batch = example(torch.float64)
    full = values(run(found, batch))
    draws = [run(found, batch, seed=seed, max_positives=2) for seed in range(60)]
    assert all(float(seen["positives_used"]) == 2 and float(seen["positives"]) == 5 for _, seen in draws)
    assert all(values(d)["cls"] == pytest.approx(full["cls"]) for d in draws)
    assert values(run(found, batch, seed=3, max_positives=2)) == values(draws[3])
    crops = torch.tensor([values(d)["crop"] for d in draws])
    assert crops.std() > 0
    assert abs(float(crops.mean()) - full["crop"]) < 4 * float(crops.std()) / math.sqrt(len(draws))
    assert values(run(found, batch, max_positives=5)) == full


def test_cascade_stages_are_averaged_and_the_last_is_the_default() -> None:
    found, batch = example(kind="softmax")
    other = positives(found.boxes.detach() + 1, [0, 0, 0, 1, 1], [0, 1, 1, 0, 0], (3, 2), "softmax", seed=9)
    last, first = values(run([other, found], batch)), values(run(other, batch))
    assert last == values(run(found, batch))
    every = values(run([other, found], batch, roi_stages="all"))
    assert every == pytest.approx({name: (last[name] + first[name]) / 2 for name in last}, rel=1e-5)


def test_teacher_sees_its_own_pixels_and_the_crop_term_the_students() -> None:
    found, batch = example()
    rgb = batch.images * 255
    shown = {}
    for pixels in (IMAGENET, IMAGENET.reversed_channels()):
        mean, std = (torch.tensor(v)[:, None, None] for v in (pixels.mean, pixels.std))
        images = ((rgb if pixels.order == "rgb" else rgb.flip(1)) - mean) / std
        again = Batch(images, batch.boxes, batch.labels, batch.sizes, pixels, 3)
        shown[pixels.order] = values(run(found, again, TinyTeacher(normalization=IMAGENET)))
    assert shown["rgb"] == pytest.approx(shown["bgr"], rel=1e-4)


def test_terms_are_fp32_under_autocast_and_equal_to_fp32() -> None:
    found, batch = example()
    plain = run(found, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = run(found, batch)
    assert all(term.value.dtype == torch.float32 for term in mixed[0].values())
    assert values(mixed) == values(plain)


@pytest.mark.parametrize("name", tiny_detectors.NAMES)
def test_student_under_autocast_gets_finite_fp32_terms_and_gradients(name: str) -> None:
    student = tiny_detectors.build(name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms, _ = distil(student, *tiny_detectors.sample(2, 96, [2, 1]))
    assert all(t.value.dtype == torch.float32 and torch.isfinite(t.value) and t.value > 0 for t in terms.values())
    sum(t.value * t.weight for t in terms.values()).backward()  # type: ignore[union-attr]
    gradients = [p.grad for p in student.parameters() if p.grad is not None]
    assert any((g != 0).any() for g in gradients)
    assert all(torch.isfinite(g).all() for g in gradients)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize(("autocast", "tolerance"), [(None, 1e-4), (torch.bfloat16, 0.05), (torch.float16, 0.01)])
def test_cuda_agrees_with_the_cpu(autocast: torch.dtype | None, tolerance: float) -> None:
    found, batch = example()
    want = run(found, batch)
    boxes, logits = (t.detach().cuda().requires_grad_() for t in (found.boxes, found.logits))
    moved = Positives(logits, boxes, found.image.cuda(), found.gt.cuda(), found.kind, found.per_image)
    truth, labels = (tuple(t.cuda() for t in ts) for ts in (batch.boxes, batch.labels))
    teacher = TinyTeacher()
    teacher.network.cuda()
    with torch.autocast("cuda", dtype=autocast, enabled=autocast is not None):
        got = run(moved, Batch(batch.images.cuda(), truth, labels, batch.sizes, RAW, 3), teacher)
    assert all(term.value.dtype == torch.float32 for term in got[0].values())
    assert values(got) == pytest.approx(values(want), rel=tolerance)
    for result in (want, got):
        sum(t.value * t.weight for t in result[0].values()).backward()  # type: ignore[union-attr]
    assert boxes.grad is not None
    assert found.boxes.grad is not None
    error = (boxes.grad.cpu() - found.boxes.grad).norm() / found.boxes.grad.norm()
    assert error < max(tolerance, 0.2 if autocast else 0)  # signs of near-zero differences flip in half precision


def test_teacher_top1_is_that_of_the_ground_truth_crops() -> None:
    found, batch = example()
    teacher = TinyTeacher()
    head = teacher.network.get_submodule("fc.2")
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.tensor([0.0, 9.0, 0.0]))
    _, seen = run(found, batch, teacher)  # labels are 0, 1 and 0: one of three is class 1
    assert float(seen["teacher_top1"]) == pytest.approx(1 / 3)


# --- every head family -----------------------------------------------------------------------------------------------


def distil(student: Any, inputs: Tensor, samples: Any, **params: Any) -> Result:
    torch.manual_seed(0)
    with record_positives(student, "all") as record:
        student.loss(inputs, samples)
    batch = batch_from_mmdet(inputs, samples, Normalization.from_preprocessor(student.data_preprocessor), 3)
    return run(record.positives(batch), batch, TinyTeacher(), **params)


@pytest.mark.parametrize("name", [*tiny_detectors.NAMES, *tiny_detectors.NEWER])
def test_every_term_teaches_the_right_branch_of_every_head(name: str) -> None:
    student: nn.Module = tiny_detectors.build(name)
    terms, _ = distil(student, *tiny_detectors.sample(2, 96, [3, 0], pad=8), roi_stages="all")
    layers = {"ssd": "{}_convs", "retinanet": "retina_{}", "atss": "atss_{}", "gfl": "gfl_{}", "fcos": "conv_{}",
              "rtmdet": "rtm_{}", "yolox": "multi_level_conv_{}", "paa": "atss_{}", "tood": "tood_{}",
              "centernet-update": "conv_{}"}  # fmt: skip
    layer = layers.get(name, "fc_{}")
    # YOLOF's class logits hold its objectness, of the box branch; VFNet's depend on its first boxes.
    pair = {"yolof": ("cls_score", "bbox_pred"), "vfnet": ("vfnet_cls", "vfnet_reg_refine")}
    branches = dict(zip(("cls", "reg"), pair.get(name, (layer.format("cls"), layer.format("reg"))), strict=True))
    for term, value in terms.items():
        student.zero_grad()
        value.value.backward(retain_graph=True)
        assert torch.isfinite(value.value)
        assert value.value > 0
        touched = {n for n, p in student.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        wanted, other = ("cls", "reg") if term == "cls" else ("reg", "cls")
        assert any(branches[wanted] in n for n in touched), term
        assert not any(branches[other] in n for n in touched), term


# --- parameters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"T": 0}, "greater than 0"),
        ({"lambda_kc": -1}, "greater than or equal to 0"),
        ({"lambda_kl": float("nan")}, "finite number"),
        ({"layers": ["crop", "layer1"]}, "unknown layer 'layer1'; known: crop, l0, l1"),
        ({"layers": ["l0", "l0"]}, "listed twice"),
        ({"pooling": {"l0": 0}}, "greater than 0"),
        ({"pooling": {"stem": 3}}, "unknown layer 'stem'"),
        ({"max_positives": 0}, "greater than 0"),
        ({"normaliser": "mean"}, "'exact' or 'per_image_floor'"),
        ({"temperature": 2}, "Extra inputs are not permitted"),
    ],
)
def test_bad_parameters_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Params(**params)


def test_defaults_are_the_papers() -> None:
    p = Params()
    assert (p.T, p.lambda_kc, p.lambda_kl, p.lambda_l, p.layers) == (2.0, 0.4, 0.15, 0.15, ("crop", "l0"))
    assert [p.side(name) for name in ("crop", "l0", "l1", "l2")] == [4, 8, 16, 32]
    assert p.max_positives is None


def test_pixels_alone_need_no_teacher_and_have_the_values_of_before() -> None:
    found, batch = example()
    off: dict[str, Any] = {"lambda_kc": 0, "lambda_kl": 0, "size": 28}
    distiller = ICOD(Params(**off), Context(3, None))
    view = View(batch, [found], None, None, torch.Generator().manual_seed(0))
    terms, seen = distiller(view)
    with_teacher = values(run(found, batch, **off))
    assert {name: float(term.value.detach()) for name, term in terms.items()} == with_teacher
    assert set(with_teacher) == {"crop"}
    assert set(seen) == {"positives", "positives_used"}
    assert [sight.name for sight in distiller.visualize(view)] == ["true crops", "predictions of the positives"]
    assert ICOD(Params(lambda_kc=0, lambda_kl=0), Context(3, None)).size == 112
    for taught in (Params(lambda_kc=0), Params(lambda_kl=0)):
        with pytest.raises(InputError, match="needs a classifier teacher"):
            ICOD(taught, Context(3, None))


def test_teacher_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="needs a classifier teacher"):
        ICOD(Params(), Context(3, None))
    with pytest.raises(InputError, match="has 5 classes, the student 3"):
        ICOD(Params(), Context(3, TinyTeacher(num_classes=5)))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"unknown teacher layer 'l4'.*known: crop, l0, l1"):
        ICOD(Params(layers=("crop", "l4")), Context(3, TinyTeacher()))  # type: ignore[arg-type]
