"""`python -m tests.c2d.export.graph_table`: write the table of docs/export.md, which kind of student becomes a graph.

A row is one small student of its family with random weights: written as ONNX and OpenVINO, and compared with mmdet on
four generated images. What cannot be written has the reason.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine import Config
from mmengine.dataset import pseudo_collate

from c2d.configs.student_config import load_student
from c2d.core.errors import InputError, RunError
from c2d.data.card_lookup import load_card
from c2d.data.scenes.make_scenes import make_scenes
from c2d.detectors.families import detector_family
from c2d.evaluation.datasets import build_dataset, coco_dataset
from c2d.evaluation.stock_model import build_student
from c2d.export.graph_parity import Parity, compare, resized_images
from c2d.export.image_preparation import image_preparation
from c2d.export.onnx_graph import example_image, write_onnx
from c2d.export.runtimes import IR, ONNX, OPEN, write_openvino
from tests.c2d.support_table import STUDENTS

PAGE = Path(__file__).parents[3] / "docs" / "export.md"
BEGIN, END = "<!-- graphs: made by `make graphs` -->", "<!-- end of graphs -->"
KINDS = (ONNX, IR)
NOISE = 0.02
"""Smallest standard deviation of the noise of weights."""


class Row(NamedTuple):
    """One student.

    Attributes:
        family: see `c2d.detectors.families`.
        student: a shipped name.
        outcomes: of each graph: how it agrees, or why there is none.
    """

    family: str
    student: str
    outcomes: dict[str, Parity | str]


def noisy_student(name: str, classes: int, dataset: Any) -> Any:
    """Build a student whose boxes and scores differ from place to place, without a threshold of scores."""
    torch.manual_seed(0)
    model = build_student(load_student(name, num_classes=classes, pretrained=False))
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.add_(torch.randn_like(weight) * weight.std().clamp(min=NOISE))
        # Statistics of the normalisation that fit these weights; else the signal dies out, and all scores are equal.
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None
        batch = model.data_preprocessor(pseudo_collate([dataset[index] for index in range(4)]))
        maps = model.train().extract_feat(batch["inputs"])
        for head in (getattr(model, "bbox_head", None), getattr(model, "rpn_head", None)):
            if head is not None and any(isinstance(part, torch.nn.BatchNorm2d) for part in head.modules()):
                head(maps)
    model.eval()
    for module in model.modules():
        config: Any = getattr(module, "test_cfg", None)
        for part in (config, config.get("rcnn") if isinstance(config, dict) else None):
            if isinstance(part, dict) and "score_thr" in part:
                part["score_thr"] = 0.0
    return model


def measure(name: str, data: Path, kinds: tuple[str, ...] = KINDS) -> Row:
    """Write the graphs of a student and compare them.

    Args:
        name: of the student.
        data: folder of a data set with a card.
        kinds: file names of graphs.
    """
    card = load_card(str(data))
    config = load_student(name, num_classes=len(card.card.classes), pretrained=False)
    settings = coco_dataset(card, "val", config.test_pipeline, test=True)
    dataset = build_dataset(settings)
    model = noisy_student(name, len(card.card.classes), dataset)
    preparation = image_preparation(Config({"model": config.model, "test_dataloader": {"dataset": settings}}))
    outcomes: dict[str, Parity | str] = {}
    with tempfile.TemporaryDirectory() as place:
        folder, images = Path(place), resized_images(model, dataset, range(4), preparation)
        for kind in kinds:
            try:
                if kind == ONNX:
                    write_onnx(model, preparation, example_image(preparation), folder / ONNX)
                elif isinstance(outcomes[ONNX], str):
                    raise InputError("there is no ONNX graph")
                else:
                    write_openvino(folder / ONNX, folder / IR)
                outcomes[kind] = compare(kind, OPEN[kind](folder / kind), images)
            except (InputError, RunError) as error:
                outcomes[kind] = str(error)
    return Row(str(detector_family(model)), name, outcomes)


def table(rows: list[Row]) -> str:
    """Return the table and the reasons below it."""
    lines = ["| family | tried with | ONNX | OpenVINO |", "|---|---|---|---|"]
    reasons = []
    for row in rows:
        cells = []
        for kind in KINDS:
            outcome = row.outcomes[kind]
            if isinstance(outcome, str):
                cells.append("refused")
                reasons.append(f"- {row.family}, {kind}: {outcome.split('; ')[0]}")
            else:
                same = f"{outcome.detections - outcome.unmatched} of {outcome.detections}"
                cells.append(f"{same}, {outcome.box_px or 0:.1g} px")
        lines.append(f"| {row.family} | `{row.student}` | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *reasons])


def main() -> None:
    """Measure every family and write the page."""
    with tempfile.TemporaryDirectory() as place:
        make_scenes(Path(place) / "scenes", train=1, val=4, size=200, seed=0)
        rows = []
        for student in STUDENTS:
            rows.append(measure(student, Path(place) / "scenes"))
            print(rows[-1], flush=True)
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN, 1)
    PAGE.write_text(f"{before}{BEGIN}\n{table(rows)}\n{END}{rest.split(END, 1)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
