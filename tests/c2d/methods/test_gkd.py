"""GKD: paper and pencil, the slow reference, student equals teacher, tables and resume, no boxes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from c2d.core.errors import InputError
from c2d.detectors.outputs import DetectorOutputs
from c2d.methods.parts.gkd_instances import reliability
from c2d.methods.parts.gkd_losses import feature_loss, global_loss
from c2d.ops import masks, matching_pursuit
from c2d.ops.boxes import broadcast_iou
from tests.c2d import tiny_detectors
from tests.c2d.methods import tiny_setup
from tests.c2d.methods.tiny_setup import Stage, stage, touched, without_adapters
from tests.c2d.methods.training_set import samples_like
from tests.reference import gkd_reference as reference

TERMS = ("fg", "bg", "soft", "global")


def gkd(student: str = "retinanet", **more: Any) -> Stage:
    return stage("gkd", student, **{"samples": samples_like(), "prototypes": 4, **more})


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---------------------------------------------------------------------------------------------------------------------
# Prototypes


def test_tables_hold_vectors_of_the_training_set_and_leave_the_student_alone() -> None:
    play = gkd()
    student, before = play.model.student, torch.random.get_rng_state()
    modes = [m.training for m in student.modules()]
    play.method.refresh(student)
    assert [m.training for m in student.modules()] == modes
    assert torch.equal(torch.random.get_rng_state(), before)
    student.eval()
    images = [samples_like()[i] for i in range(4)]
    ready = [student.data_preprocessor({"inputs": [o.inputs], "data_samples": [o.sample]}, False) for o in images]
    maps = [[m.detach() for m in student.extract_feat(one["inputs"])] for one in ready]
    labels = torch.cat([one.labels for one in images])
    for level, (table, stride) in enumerate(zip(play.method.table.tables()[0], (4, 8, 16), strict=True)):
        pairs = zip(maps, images, strict=True)
        pooled = [reference.pool_pgm(m[level][0], box, stride) for m, one in pairs for box in one.boxes]
        near = (torch.stack(pooled)[:, None] - table).norm(dim=2)
        own = labels[:, None] == torch.arange(12) // 4
        assert float(near.masked_fill(~own, torch.inf).amin(0).max()) < 1e-5  # each is an instance of its class
    assert bool(play.method.table.valid.all())


def test_tables_survive_a_resume() -> None:
    play, other = gkd(), gkd(seed=5)
    play.model.iteration = 0
    first = play.losses()
    other.model.load_state_dict(copy.deepcopy(play.model.state_dict()))
    other.model.teachers.detector.network.load_state_dict(play.model.teachers.detector.network.state_dict())
    other.inputs, other.samples = play.inputs, play.samples
    play.model.iteration = other.model.iteration = 1
    assert not other.method.due(1)
    again = other.losses()
    for key, value in play.losses().items():
        if "gkd" in key:
            assert torch.equal(again[key], value), key
    assert not torch.equal(first["loss_kd_gkd_fg"], again["loss_kd_gkd_fg"])  # it fades


@pytest.mark.parametrize(("params", "wanted"), [({"every": 3}, [0, 3, 6]), ({}, [0, 4, 8]), ({"start": 2}, [2, 6]),
                                                ({"start": 2, "ramp": 5}, [3, 7])])  # fmt: skip
def test_prototypes_are_due_at_the_first_active_step_and_once_per_pass(
    params: dict[str, Any], wanted: list[int]
) -> None:
    method = gkd(**params).method  # four images, one per iteration
    assert [i for i in range(9) if method.due(i)] == wanted


# ---------------------------------------------------------------------------------------------------------------------
# Formulas


def test_omega_by_hand() -> None:
    own = torch.ones(1, 2, dtype=torch.bool)
    student = F.cosine_similarity(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1.0], [1.0, 1.0]]))[None]
    teacher = F.cosine_similarity(torch.tensor([[0.0, 2.0]]), torch.tensor([[0.0, 1.0], [1.0, 0.0]]))[None]
    assert float(reliability(student, teacher, own)) == pytest.approx(0.7071, abs=5e-5)
    assert float(reliability(torch.tensor([[-1.0]]), torch.tensor([[1.0]]), own[:, :1])) == 0
    assert float(reliability(student, teacher, ~own)) == 1


def test_equal_cosines_are_fully_trusted_and_nothing_is_left_to_learn() -> None:
    cos, own = noise(3, 5).clamp(-1, 1), torch.ones(3, 5, dtype=torch.bool)
    assert torch.equal(reliability(cos, cos, own), torch.ones(3, dtype=torch.float64))
    assert float(global_loss(cos, cos, torch.ones(3), own[0])) == 0


def test_unit_difference_is_a_half_inside_and_outside() -> None:
    maps = [(torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4))]
    mask = torch.zeros(2, 4, 4).index_fill(1, torch.tensor([1]), 0.25)
    assert float(feature_loss(maps, [mask])) == pytest.approx(0.5)
    assert float(feature_loss(maps, [torch.zeros(2, 4, 4)])) == 0


def test_painting_equals_the_reference() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        corner = torch.rand(5, 2, generator=generator) * 64
        sides = torch.rand(5, 2, generator=generator) ** 3 * 40
        boxes = torch.cat([corner, torch.minimum(corner + sides, torch.tensor(64.0))], 1)
        omega, image = torch.rand(5, generator=generator), torch.tensor([0, 0, 0, 1, 1])
        ours = masks.paint_boxes(boxes, image, omega, (2, 16, 16), 4)
        (theirs,) = reference.masks([(16, 16)], boxes.split([3, 2]), omega.split([3, 2]), [4])
        assert torch.equal(ours, theirs)


def apart(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    a, b = (torch.cat([t.detach().double().flatten() for t in of]) for of in (ours, theirs))
    return float((a - b).norm() / b.norm())


def parity(student: str = "retinanet") -> float:
    """The largest relative deviation of a step's terms and their gradients (fp32) from the reference (fp64)."""
    play = gkd(student, size=48)
    view = play.view()
    tables = [[t.double() for t in of] for of in play.method.table.tables()]
    classes = (torch.arange(4 * tiny_detectors.NUM_CLASSES) // 4).tolist()
    here = play.method._instances(view)
    two = view.student.rois is not None

    def leaves(dtype: torch.dtype) -> tuple[list[Tensor], list[Tensor]]:
        heads = [view.student.rois.logits] if two else view.student.dense.scores  # type: ignore[union-attr]
        return tuple([m.detach().to(dtype).requires_grad_() for m in of] for of in (view.student.neck, heads))  # type: ignore[return-value]

    (neck, logits), (neck64, logits64) = leaves(torch.float32), leaves(torch.float64)
    head = {"rois": replace(view.student.rois, logits=logits[0])} if two else {  # type: ignore[type-var]
        "dense": replace(view.student.dense, scores=tuple(logits))}  # type: ignore[type-var]  # fmt: skip
    given = replace(view, student=replace(view.student, neck=tuple(neck), **head))
    ours = {name: term.value for name, term in play.method(given)[0].items()}
    neck_t = [m.double() for m in view.teacher.neck]
    adapted = copy.deepcopy(play.method.phi).double()(
        DetectorOutputs(neck=tuple(neck64)), DetectorOutputs(neck=tuple(neck_t))
    )
    strides, base = play.method.phi.strides, 56.0
    split = [here.boxes[here.image == i] for i in range(len(view.batch.boxes))]
    f_s, level = reference.instance_vectors(neck64, split, strides, base)
    f_t, _ = reference.instance_vectors(neck_t, split, strides, base)

    def trusted(one: Tensor, other: Tensor, at: list[int], labels: list[int]) -> Tensor:
        rows = [reference.reliability(one[n : n + 1], other[n : n + 1], labels[n : n + 1], tables[0][at[n]],
                                      tables[1][at[n]], classes) for n in range(len(at))]  # fmt: skip
        return torch.cat(rows)

    labels = here.labels.tolist()
    omega = trusted(f_s, f_t, level, labels)
    shapes = [(m.shape[-2], m.shape[-1]) for m in neck_t]
    painted = reference.masks(shapes, split, omega.split([len(s) for s in split]), strides, base)
    fg, bg = reference.point_losses([s for s, _ in adapted], neck_t, painted)
    shared = reference.global_every_level(neck64, neck_t, split, labels, strides, (tables[0], tables[1]), classes,
                                          factor=1.0)  # fmt: skip
    if two:
        s, t = view.student.rois, view.teacher.rois
        assert s is not None
        assert t is not None
        rows = s.positive
        sizes = [((b[3] - b[1]) * (b[4] - b[2])).sqrt() / 16 for b in s.rois[rows]]
        at = [min(max(int((size + 1e-6).log2().floor()), 0), 2) for size in sizes]
        means = [of.features[rows].double().mean((2, 3)) for of in (s, t)]
        soft = reference.soft_label(logits64[0][rows], t.logits[rows].double(), trusted(means[0], means[1], at, labels))
    else:
        found = view.positives[-1]
        heads: Any = view.student.dense, view.teacher.dense
        flat = tiny_detectors.flat_scores(replace(heads[0], scores=tuple(logits64)))[found.image, found.prior]
        z_t = tiny_detectors.flat_scores(heads[1])[found.image, found.prior].double()
        soft = reference.soft_label(flat, z_t, omega, kind="sigmoid")
    theirs = {"fg": fg, "bg": bg, "soft": soft, "global": shared}
    assert set(ours) == set(theirs)
    worst = 0.0
    for name, value in theirs.items():
        grads, exact = (torch.autograd.grad(v, of, retain_graph=True, allow_unused=True, materialize_grads=True)
                        for v, of in ((ours[name], [*neck, *logits]), (value, [*neck64, *logits64])))  # fmt: skip
        worst = max(worst, apart([ours[name]], [value]), apart(grads, exact))
    return worst


@pytest.mark.parametrize("student", ["retinanet", "faster"])
def test_equals_the_reference_in_value_and_gradient(student: str) -> None:
    assert parity(student) < 1e-5


def test_the_released_global_term_sums_levels_by_hand() -> None:
    # One instance, one prototype, two levels. Level 0: cosines 1 and 0.6, level 1: 0 and 0.8. omega = 0.6 and 0.2.
    one, zero, own = torch.tensor([[1.0]]), torch.tensor([[0.0]]), torch.ones(1, 1, dtype=torch.bool)
    levels = [(one, 0.6 * one), (zero, 0.8 * one)]
    omega = [reliability(s, t, own) for s, t in levels]
    assert [float(o) for o in omega] == pytest.approx([0.6, 0.2])
    parts = [global_loss(s, t, o, own[0]) for (s, t), o in zip(levels, omega, strict=True)]
    assert [float(part) for part in parts] == pytest.approx([(0.6 * 0.4) ** 2 / 2, (0.2 * 0.8) ** 2 / 2])


def test_the_two_forms_of_the_global_term() -> None:
    play = gkd("retinanet")
    view, method = play.view(), play.method
    everywhere = float(method(view)[0]["global"].value.detach())
    selected = method._instances(view)
    compared, valid = method._compared(view, selected), method.table.valid
    parts = [float(global_loss(s, t, o, valid).detach()) for s, t, o in zip(*compared, strict=True)]
    assert everywhere == pytest.approx(sum(parts))
    # `own` is one mean: of the row of each instance on its own level.
    method.params = method.params.model_copy(update={"global_levels": "own"})
    level = torch.arange(len(selected.labels)) % 3
    cos_s, cos_t, omega = compared
    rows = [
        global_loss(cos_s[at][n : n + 1], cos_t[at][n : n + 1], omega[at][n : n + 1], valid)
        for n, at in enumerate(level.tolist())
    ]
    assert float(method._global(compared, level).detach()) == pytest.approx(float(torch.stack(rows).mean().detach()))
    assert float(method._global(compared, torch.full_like(level, 1)).detach()) == pytest.approx(parts[1])


@pytest.mark.parametrize(("n", "kept"), [(1, 0), (2, 1), (4, 2), (5, 2), (10, 5), (11, 6)])
def test_candidates_are_strictly_above_an_entry_of_the_sorted_densities(
    n: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of 5 densities 0 to 4 the entry int(0.4 n) is 2, and two are above it; above the quantile 1.6 there are three.
    monkeypatch.setattr(matching_pursuit, "density", lambda unit: unit[:, 0])
    assert int(matching_pursuit.is_dense(torch.arange(float(n)).flip(0)[:, None]).sum()) == kept == n - 1 - int(0.4 * n)


def test_candidates_equal_the_references() -> None:
    unit = F.normalize(noise(11, 3).abs(), dim=1)
    found = matching_pursuit.is_dense(unit).nonzero().flatten().tolist()
    assert len(found) == 6
    assert reference.dense_instances(unit, unit) == found


# ---------------------------------------------------------------------------------------------------------------------
# Steps


@pytest.mark.parametrize("name", [*tiny_detectors.NAMES, *tiny_detectors.NEWER])
def test_every_detector_is_taught(name: str) -> None:
    play = gkd(name)
    terms = play.terms()
    assert set(terms) == set(TERMS)
    assert all(float(value.detach()) > 0 for value in terms.values())
    for term in ("fg", "bg", "global"):
        found = touched(play.model, terms[term])
        assert any(n.startswith("student.backbone") for n in found)
        assert not any("head" in n for n in found)
        assert any(".phi." in n for n in found) == (term != "global")
    assert any("head" in n for n in touched(play.model, terms["soft"]))


@pytest.mark.parametrize("proposals", [True, False])
@pytest.mark.parametrize("name", ["retinanet", "fcos", "faster"])
def test_no_boxes_at_all_is_a_finite_step(name: str, proposals: bool) -> None:
    play = gkd(name, counts=(0, 0), proposals=proposals)
    terms = play.terms()
    torch.stack(list(terms.values())).sum().backward()
    assert all(float(terms[term].detach()) == 0 for term in ("fg", "soft", "global"))
    assert all(value.requires_grad for value in terms.values())
    assert all(bool(w.grad.isfinite().all()) for w in play.model.parameters() if w.grad is not None)


@pytest.mark.parametrize("name", ["retinanet", "faster"])
def test_student_equals_teacher_gives_zero(name: str) -> None:
    play = without_adapters(gkd(name, same=True, pad=0))
    play.model.eval()
    terms, seen = play.method(play.view())
    assert float(seen["omega"]) == pytest.approx(1, abs=1e-6)
    values = {name: float(term.value.detach()) for name, term in terms.items()}
    assert values == pytest.approx(dict.fromkeys(TERMS, 0), abs=1e-9)


def test_instances_are_positive_anchors_or_ground_truths() -> None:
    play = gkd("retinanet")
    view = play.view()
    here, found = play.method._instances(view), view.positives[-1]
    truths = view.batch.all_boxes()[0][view.batch.offsets()[found.image] + found.gt]
    assert float(broadcast_iou(here.boxes, truths).min()) > 0.1
    assert view.student.dense is not None
    assert found.prior is not None
    assert torch.equal(view.student.dense.gather_scores(found.image, found.prior), found.logits)
    plain = gkd("retinanet", proposals=False)
    assert torch.equal(plain.method._instances(plain.view()).boxes, view.batch.all_boxes()[0])


def test_all_but_the_soft_labels_fade() -> None:
    play = gkd(iterations=10)
    play.model.iteration = 9
    terms, _ = play.method(play.view())
    assert {name: term.weight for name, term in terms.items()} == pytest.approx(
        {"fg": 0.1, "bg": 0.4, "soft": 1.0, "global": 0.5}
    )
    terms, _ = gkd(attenuation=False).method(play.view())
    assert terms["bg"].weight == 4


def test_a_term_of_weight_0_is_left_out() -> None:
    play = gkd(lambda_fg=0, lambda_bg=0, lambda_soft=0)
    assert set(play.terms()) == {"global"}
    assert not list(play.method.parameters())
    assert not play.method.needs.dense


def test_sights_are_masks_and_instances() -> None:
    play = gkd()
    found = play.method.visualize(play.view())
    assert [s.name for s in found] == ["instances", *(f"omega, stride {s}" for s in (4, 8, 16))]
    assert found[1].heat.shape == (2, 24, 24)
    assert not found[1].heat.requires_grad


@pytest.mark.parametrize(("student", "teacher", "params"), [("retinanet", "faster", {}), ("fcos", "retinanet", {}),
                                                            ("faster", "gfl", {"proposals": False})])  # fmt: skip
def test_another_family_teaches_without_soft_labels(student: str, teacher: str, params: dict[str, Any]) -> None:
    play = gkd(student, teacher=teacher, lambda_soft=0, **params)
    assert all(torch.isfinite(value) for value in play.terms().values())


@pytest.mark.parametrize(("student", "params", "words"), [
    ("retinanet", {"teacher": "faster"}, "lambda_soft to 0"),
    ("faster", {"teacher": "retinanet"}, "second stage"),
    ("faster", {"levels": (8, 16)}, "levels to null"),
    ("retinanet", {"levels": (64,)}, "no level of stride 64"),
])  # fmt: skip
def test_refusals(student: str, params: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        gkd(student, **params)


def test_without_training_images_the_first_step_raises() -> None:
    with pytest.raises(InputError, match="training images"):
        gkd(samples=None).losses()


def test_other_anchors_teach_without_soft_labels_only(monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_detectors.config("retinanet")
    config.bbox_head.anchor_generator.update(ratios=[2.0, 1.0, 0.5])
    monkeypatch.setattr(tiny_setup, "teaching", lambda *_: tiny_detectors.MODELS.build(config))
    assert set(gkd(lambda_soft=0).terms()) == {"fg", "bg", "global"}
    with pytest.raises(InputError, match=r"other anchors or points.*lambda_soft to 0"):
        gkd()
