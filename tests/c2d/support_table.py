"""`python -m tests.c2d.support_table`: write docs/students.md, which method teaches which students.

A cell is one training step of a small student of that family under one method: noise images with boxes, a teacher of
the same config with other weights, an untrained classifier. A pair that c2d refuses before the first batch is refused
in the table with that reason; anything else that fails is an error here.
"""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch

from c2d.configs.student_config import load_student
from c2d.core.errors import InputError
from c2d.detectors.families import detector_family
from c2d.detectors.normalization import IMAGENET
from c2d.detectors.outputs import Needs
from c2d.distillation.build_methods import build_distillation
from c2d.distillation.wrapper import Distillation, TeacherSet
from c2d.evaluation.stock_model import build_student
from c2d.methods import DISTILLERS
from c2d.preflight import synthetic
from c2d.teachers.classifier import ClassifierTeacher
from c2d.teachers.detector import DetectorTeacher
from c2d.teachers.networks import build_network
from tests.c2d.methods.training_set import samples_like

PAGE = Path(__file__).parents[2] / "docs" / "students.md"
BASELINE = "baseline"
WRONG_FAMILY = " does not teach "
"""In the message for a family that is not in a method's DETECTORS."""
HEAD = """# Students and what teaches them

A family is what the head does, not its name: any mmdet config whose head keeps the losses and targets of a family is a
student of it. `works`: one training step of the student named here under the method's default parameters ran, every
loss was finite and the student got a gradient. `refused`: c2d refuses the pair before the first batch, with a reason. A
step shows that a method runs, not that it helps: for that see [the results](results/README.md)."""
CLASSES = ("beetle", "moth", "wasp", "fly")
STUDENTS = (
    "ssdlite-mbv2", "retinanet-qr18", "atss-qr18", "fcos-qr18", "gfl-qr18", "paa-qr18", "tood-qr18", "vfnet-qr18",
    "yolof-qr18", "yolox-q", "rtmdet-q", "centernet-qr18", "faster-rcnn-qr18", "cascade-rcnn-qr18", "sparse-rcnn-qr18",
    "detr-qr18", "conditional-detr-qr18", "dab-detr-qr18", "deformable-detr-qr18", "dino-qr18", "ddq-detr-qr18",
)  # fmt: skip
"""One small student of each family; a test compares the families with those of all shipped students."""
SIDES = {"ssdlite-mbv2": 320}
SIDE = 160
"""Of the noise images in px."""


class Cell(NamedTuple):
    """One student under one method.

    Attributes:
        family: of the student, see `c2d.detectors.families`.
        refusal: why c2d refuses the pair; "" where a step was trained.
        reads_heads: whether the method reads more than the maps of neck and backbone; False where it is refused.
    """

    family: str
    student: str
    method: str
    refusal: str
    reads_heads: bool


def build(student: str, method: str, *, classes: tuple[str, ...] = CLASSES) -> Distillation:
    """Build a student under one method, as a run would.

    Args:
        student: a shipped name.
        method: its name, with its default parameters from the first iteration on.
        classes: of student and teachers.

    Raises:
        InputError: c2d refuses the pair.
    """
    kinds = DISTILLERS[method].TEACHERS if method != BASELINE else ()
    teachers = TeacherSet()
    if "classifier" in kinds:
        torch.manual_seed(2)
        teachers.classifier = ClassifierTeacher(build_network("resnet18", len(classes), 32), classes, 32, IMAGENET)
    if "detector" in kinds:
        teachers.detector = DetectorTeacher(_network(student, 1, classes))
        teachers.detector.classes = classes
    method_list = [] if method == BASELINE else [{method: {"start": 0, "ramp": 0}}]
    training = SimpleNamespace(iterations=1000, batch=2)
    spec: Any = SimpleNamespace(method=method_list, seed=0, has_steps=True, training=training)
    samples = samples_like(classes=len(classes))
    return build_distillation(spec, _network(student, 0, classes), teachers, len(classes), samples, soft_labels=True)


def train_one_step(model: Distillation, student: str) -> None:
    """Train one step on noise images; every loss is finite, and the student gets a gradient from every method."""
    model.train()
    data = model.data_preprocessor(synthetic.batch(SIDES.get(student, SIDE), len(CLASSES)), True)
    losses = model.loss(data["inputs"], data["data_samples"])
    total, _ = model.parse_losses(losses)
    total.backward()
    assert torch.isfinite(total), (student, losses)
    assert any(weight.grad is not None and weight.grad.any() for weight in model.student.parameters())
    taught = [value for key, value in losses.items() if key.startswith("loss_kd_")]
    assert bool(taught) == bool(model.methods), (student, list(losses))


def measure(student: str) -> list[Cell]:
    """Train one step of a student under every method, and alone; a pair that is refused has the reason."""
    family, found = str(detector_family(_network(student, 0, CLASSES))), []
    for method in (BASELINE, *DISTILLERS):
        refusal, reads_heads = "", False
        try:
            model = build(student, method)
            reads_heads = any(needs_heads(one.needs) for one in model.methods.values())
            train_one_step(model, student)
        except InputError as error:
            refusal = str(error)
        found.append(Cell(family, student, method, refusal, reads_heads))
    return found


def needs_heads(needs: Needs) -> bool:
    """Return whether a method reads more than the maps of neck and backbone."""
    return needs != Needs(neck=needs.neck, backbone=needs.backbone)


def page(cells: list[Cell]) -> str:
    """Return docs/students.md.

    Args:
        cells: of every family of `STUDENTS` under every method.
    """
    reads_heads = {cell.method for cell in cells if cell.reads_heads}
    rivals = [method for method in DISTILLERS if method != "icod"]
    groups = {
        "Neck": [m for m in rivals if m not in reads_heads],
        "Head": [m for m in rivals if m in reads_heads],
    }
    families = list(dict.fromkeys(cell.family for cell in cells))
    outcome = {(cell.family, cell.method): cell for cell in cells}
    rows: list[list[str]] = []
    table: list[list[str]] = []
    for family in families:
        alone, icod = (_mark(outcome[family, method].refusal) for method in (BASELINE, "icod"))
        counts = [_count([outcome[family, m].refusal for m in group]) for group in groups.values()]
        rows.append([family, f"`{outcome[family, BASELINE].student}`", alone, icod, *counts])
        table.append([family, *(_mark(outcome[family, m].refusal) for m in DISTILLERS)])
    refusals = [f"- {c.family}, {c.method}: {c.refusal}" for c in cells if c.refusal and WRONG_FAMILY not in c.refusal]
    own = [f"- {m}: {', '.join(DISTILLERS[m].DETECTORS)}" for m in DISTILLERS if DISTILLERS[m].DETECTORS]
    parts = [
        "<!-- made by `make students` from training steps; edit tests/c2d/support_table.py -->",
        HEAD,
        _table(["family", "trained here", BASELINE, "ICOD", "neck methods", "head methods"], rows),
        " ".join(f"{kind} methods ({len(group)}): {', '.join(group)}." for kind, group in groups.items()),
        "## Every method",
        _table(["family", *DISTILLERS], table),
        "Some methods are defined for some families alone:",
        "\n".join(own),
    ]
    if refusals:
        parts += ["Other refusals, in the words of the command:", "\n".join(refusals)]
    return "\n\n".join(parts) + "\n"


def rows_of(text: str) -> list[dict[str, str]]:
    """Read the rows of the first Markdown table in a text: {column: cell}."""
    lines = list(takewhile(lambda line: line.startswith("|"), text[text.index("\n|") + 1 :].splitlines()))
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(table[0], row, strict=True)) for row in table[2:]]


def _table(header: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows])


def _mark(refusal: str) -> str:
    return "refused" if refusal else "works"


def _count(refusals: list[str]) -> str:
    """`all`, `none`, or how many of a group of methods work."""
    works = refusals.count("")
    return {len(refusals): "all", 0: "none"}.get(works, f"{works} of {len(refusals)}")


def _network(name: str, seed: int, classes: tuple[str, ...]) -> Any:
    torch.manual_seed(seed)
    return build_student(load_student(name, num_classes=len(classes), pretrained=False))


if __name__ == "__main__":
    made = page([cell for student in STUDENTS for cell in measure(student)])
    PAGE.write_text(made, encoding="utf-8")
