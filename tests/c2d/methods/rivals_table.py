"""docs/results/rivals.md: terms of rivals before and after a change, beside the released forms, on the same tensors.

    git worktree add OLD COMMIT
    cp tests/c2d/methods/rivals_table.py OLD/tests/c2d/methods/; cp tests/c2d/tiny_detectors.py OLD/tests/c2d/
    (cd OLD && PYTHONPATH=. python -m tests.c2d.methods.rivals_table --measure before.pt)
    python -m tests.c2d.methods.rivals_table --measure after.pt
    python -m tests.c2d.methods.rivals_table --before before.pt --after after.pt > table.md

Everything is seeded: tiny detectors, images, boxes and trained-like weights are the same in both trees. The released
forms are the literal ones of `tests/reference`, which measure only the tree that they are in.
"""

from __future__ import annotations

import argparse
import importlib
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from c2d.detectors.recording.layout import DetectorLayout, Level
from c2d.methods.base import Context
from c2d.methods.pkd import PKD, PKDParams
from c2d.ops import matching_pursuit
from tests.c2d.methods.tiny_setup import Stage, stage, view_of
from tests.c2d.methods.training_set import samples_like
from tests.reference import gkd_reference

Values = dict[str, Any]


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Seeded normal numbers of any shape."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def flat_gradient(value: Tensor, at: Sequence[Tensor]) -> Tensor:
    """The gradient of a value with respect to maps, as one vector."""
    found = torch.autograd.grad(value, list(at), retain_graph=True, allow_unused=True, materialize_grads=True)
    return torch.cat([part.flatten() for part in found])


# ---------------------------------------------------------------------------------------------------------------------
# Measurements: the same calls in both trees


def measure_ld() -> Values:
    """Class distillation of a step with positives on two levels, in both forms, and the VLR."""
    play = stage("ld", "gfl", size=64, counts=(3, 2), lambda_cls=10.0)
    play.samples[0].gt_instances.bboxes[0] = torch.tensor([2.0, 6.0, 60.0, 58.0])
    view = play.view()
    terms, seen = play.method(view)
    found: Values = {f"ld {name}": float(term.value.detach()) for name, term in terms.items()}
    found["ld vlr anchors"] = float(seen["vlr_anchors"])
    found["ld class weight by default"] = type(play.method.params)().lambda_cls
    if "ring" in type(play.method.params).model_fields:
        released = stage("ld", "gfl", size=64, counts=(3, 2), ring="released")
        released.samples = play.samples
        found["released: ld vlr anchors"] = float(released.method(released.view())[1]["vlr_anchors"])
        found["released: ld cls"] = released_class_distillation(play, view)
    return found


def released_class_distillation(play: Stage, view: Any) -> float:
    """The literal per-level mean of class distillation, summed over levels."""
    from c2d.methods.ld import count_per_level, positive_mask, predictions
    from tests.reference import ld_reference

    chosen = positive_mask(view)
    student, _, teacher, _ = predictions(view, chosen)
    counts = count_per_level(view, chosen)
    levels = (rows.detach().double().split(counts) for rows in (student, teacher))
    return float(ld_reference.classification(*levels))


def measure_gkd() -> Values:
    """The global term of a Faster R-CNN and of a RetinaNet step, and candidates among a few instances."""
    found: Values = {}
    for name in ("faster", "retinanet"):
        play = stage("gkd", name, size=64, samples=samples_like(), prototypes=4)
        view = play.view()
        value = play.method(view)[0]["global"].value
        found[f"gkd global, {name}"] = float(value.detach())
        found[f"gkd global gradient, {name}"] = flat_gradient(value, view.student.neck)
        if hasattr(gkd_reference, "global_every_level"):
            found[f"released: gkd global, {name}"] = released_global(play, view)
    for n in (5, 11):
        unit = torch.nn.functional.normalize(noise(n, 3, seed=n).abs().double(), dim=1)
        found[f"gkd candidates of {n}"] = int(matching_pursuit.is_dense(unit).sum())
        if hasattr(gkd_reference, "global_every_level"):
            found[f"released: gkd candidates of {n}"] = len(gkd_reference.dense_instances(unit, unit))
    return found


def released_global(play: Stage, view: Any) -> float:
    """The literal released form, before its factor 5."""
    here, method = play.method._instances(view), play.method
    order = here.image.argsort(stable=True)
    boxes = [here.boxes[here.image == image] for image in range(len(view.batch.boxes))]
    student, teacher = ([m.detach().double() for m in of] for of in (view.student.neck, view.teacher.neck))
    ours, theirs = ([table.double() for table in of] for of in method.table.tables())
    labels, classes = (
        here.labels[order].tolist(),
        (torch.arange(len(method.table.valid)) // method.table.count).tolist(),
    )
    value = gkd_reference.global_every_level(
        student, teacher, boxes, labels, method.phi.strides, (ours, theirs), classes, factor=1.0
    )
    return float(value)


def measure_fkd() -> Values:
    """L_NL at the start and with seeded weights, the same in both trees for the layers that both have."""
    found: Values = {}
    for name in ("start", "trained"):
        play = stage("fkd")
        if name == "trained":
            for key, weight in play.method.named_parameters():
                with torch.no_grad():
                    weight.add_(0.2 * noise(*weight.shape, seed=zlib.crc32(key.encode())))
            for module in play.method.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    with torch.no_grad():
                        module.weight.fill_(1.0)
        view = play.view()
        value = play.method(view)[0]["nl"].value
        found[f"fkd nl, {name}"] = float(value.detach())
        found[f"fkd nl gradient, {name}"] = flat_gradient(value, view.student.neck)
    return found


def measure_pkd() -> Values:
    """The term of a RetinaNet student with five levels."""
    neck = tuple(Level(f"neck[{i}]", 8 * 2**i, 6, (2 ** (5 - i), 2 ** (5 - i))) for i in range(5))
    layout = DetectorLayout("retinanet", neck, neck, None)
    student, teacher = ([noise(2, 6, *level.size, seed=seed + i) for i, level in enumerate(neck)] for seed in (0, 50))
    found: Values = {}
    for name, levels in (("pkd, RetinaNet", None), ("released: pkd, RetinaNet", (8, 16, 32, 64))):
        method = PKD(PKDParams(levels=levels), Context(3, student_layout=layout, teacher_layout=layout))
        found[name] = float(method(view_of(student, teacher, None))[0]["pkd"].value)
    return found


def measure_level_order() -> Values:
    """DeFeat's mask and FKD's sub-sampling for a YOLOv3 student, whose neck is coarse first; and for a RetinaNet."""
    found: Values = {}
    for name in ("yolov3", "retinanet"):
        play = stage("defeat", name, "retinanet")
        view = play.view()
        strides, masks = [pair.stride for pair in play.method.pairs], play.method.masks(view)
        cells = {stride: int(mask.sum()) for stride, mask in zip(strides, masks, strict=True)}
        text = ", ".join(f"{cells[stride]} at stride {stride}" for stride in sorted(cells))
        found["defeat cells, YOLOv3" if name == "yolov3" else "released: defeat cells, YOLOv3"] = text
    play = stage("fkd", "yolov3", "retinanet")
    blocks = zip(play.method.phi.pairs, play.method.blocks, strict=True)
    steps = {pair.stride: block["nl_s"].step for pair, block in blocks}
    found["fkd steps, YOLOv3"] = ", ".join(f"{steps[stride]} at stride {stride}" for stride in sorted(steps))
    found["released: fkd steps, YOLOv3"] = "8 at stride 4, 4 at stride 8, 2 at stride 16"
    return found


def measure_icod() -> Values:
    """KD_cls of softmax logits of usual size and 30 times larger; released: 1e-10 is added to both probabilities."""
    found: Values = {}
    icod = importlib.import_module("c2d.methods.icod")  # its namespace has `kd_cls` in both trees
    z_s, z_t = noise(64, 81, seed=1).double(), noise(64, 80, seed=2).double()
    for scale in (1, 30):
        found[f"icod kl, logits x {scale}"] = float(icod.kd_cls(scale * z_s, scale * z_t, 2.0, "softmax").mean())
        p_s, p_t = (scale * z_s / 2).softmax(1), torch.nn.functional.pad((scale * z_t / 2).softmax(1), (0, 1))
        capped = p_t * ((p_t + 1e-10).log() - (p_s + 1e-10).log())
        found[f"released: icod kl, logits x {scale}"] = float(4 * capped.sum(1).mean())
    return found


MEASUREMENTS: tuple[Callable[[], Values], ...] = (
    measure_ld, measure_gkd, measure_fkd, measure_pkd, measure_level_order, measure_icod
)  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# Table


@dataclass
class Row:
    """One line of the table.

    Attributes:
        text: what is measured.
        key: of the values.
        quoted: figures of the comparison with released code, which has other tensors.
    """

    text: str
    key: str
    quoted: str = ""


ROWS = (
    Row("LD cls, raw, positives on two levels (weight 10)", "ld cls", "released 0.605, ours before 0.311"),
    Row("LD class distillation, weight by default", "ld class weight by default", "on, weight 10"),
    Row("LD main, raw", "ld main", "equal to 1e-5"),
    Row("LD VLR anchors (`ring`: defined; released form: `released`)", "ld vlr anchors",
        "59 COCO images: defined 58,408, released 148,990"),
    Row("GKD global, raw, Faster R-CNN", "gkd global, faster", "released 0.6948, ours before 0.2285"),
    Row("GKD global, raw, RetinaNet", "gkd global, retinanet"),
    Row("GKD candidates among 5 instances", "gkd candidates of 5"),
    Row("GKD candidates among 11 instances", "gkd candidates of 11"),
    Row("FKD nl, raw, first step", "fkd nl, start", "equal at initialisation"),
    Row("FKD nl, raw, weights away from the start", "fkd nl, trained", "7 % apart"),
    Row("PKD, raw, RetinaNet with five levels", "pkd, RetinaNet", "five levels: 1.25 x"),
    Row("DeFeat object cells, YOLOv3 student", "defeat cells, YOLOv3"),
    Row("FKD sub-sampling, YOLOv3 student", "fkd steps, YOLOv3"),
    Row("ICOD KD_cls, softmax, usual logits", "icod kl, logits x 1", "equal to 1e-6"),
    Row("ICOD KD_cls, softmax, logits x 30", "icod kl, logits x 30", "released 29.9, ours 111.2"),
)  # fmt: skip


def shown(values: Values, key: str) -> str:
    """A value with four digits, a text as it is, a dash where it was not measured."""
    value = values.get(key, "–")
    return value if isinstance(value, str) else f"{value:.4g}"


def table(before: Values, after: Values) -> str:
    """The table in Markdown, and how far the gradients of the two are apart."""
    lines = ["| quantity | before | after | released form, literal | comparison with released code (quoted) |",
             "|---|---|---|---|---|"]  # fmt: skip
    for row in ROWS:
        cells = [row.text, shown(before, row.key), shown(after, row.key), shown(after, f"released: {row.key}")]
        lines.append(f"| {' | '.join([*cells, row.quoted or '–'])} |")
    lines += ["", "| gradient at the student's neck, before against after | cosine | distance over norm |",
              "|---|---|---|"]  # fmt: skip
    for key in (key for key in after if "gradient" in key):
        a, b = before[key].double(), after[key].double()
        cosine = float(a @ b / (a.norm() * b.norm()))
        lines.append(f"| {key.replace(' gradient', '')} | {cosine:.3f} | {float((a - b).norm() / b.norm()):.3f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure this tree, or print the table of two measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", type=Path, help="file for the values of this tree")
    parser.add_argument("--before", type=Path)
    parser.add_argument("--after", type=Path)
    given = parser.parse_args()
    if given.measure:
        torch.save({key: value for measure in MEASUREMENTS for key, value in measure().items()}, given.measure)
    else:
        print(table(torch.load(given.before), torch.load(given.after)))


if __name__ == "__main__":
    main()
