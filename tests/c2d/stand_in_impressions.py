"""A synthesis in milliseconds: noise with random boxes in the place of optimised images, and the files of a real one.

It counts iterations, saves its state, and continues from it, as `c2d.impressions.make` does.
"""

from __future__ import annotations

import hashlib
import json
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from c2d.core.attempt import Interrupted
from c2d.core.run_folder import RunFolder, atomic_write_json, read_json
from c2d.data.card import LoadedCard, Synthesis
from c2d.impressions.sampling.targets import Targets
from c2d.impressions.write_card import ImageFiles, write_card
from c2d.specs.spec import RunSpec

SIDE = 96


def make_impressions(
    spec: RunSpec, folder: RunFolder, teacher: RunFolder, card: LoadedCard, *, source: RunFolder | None = None,
    log: Any, stop_after: int | None = None, **_: Any,
) -> dict[str, Any]:  # fmt: skip
    from PIL import Image

    schedule, state = spec.impressions, folder.checkpoints / "iter_00000001.pth"
    done = read_json(state)["iteration"] if state.exists() else 0
    total = schedule.final.iterations
    log.info(f"from iteration {done}")
    for iteration in range(done + 1, total + 1):
        folder.write_status("running", stage="fit", iteration=iteration, iterations=total)
        with folder.metrics.open("a") as events:
            events.write(json.dumps({"event": "train", "iteration": iteration}) + "\n")
        if stop_after == iteration < total:
            atomic_write_json(state, {"iteration": iteration})
            raise Interrupted(f"stopped after iteration {iteration}", iteration, planned=True)
    random, classes = np.random.default_rng(spec.seed), len(card.card.classes)
    folder.train_images.mkdir(parents=True, exist_ok=True)
    names = [f"{number:04}.png" for number in range(schedule.images)]
    targets = []
    for name in names:
        pixels = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder.train_images / name)
        label = int(random.integers(classes))
        soft = torch.full((1, classes), 0.1 / (classes - 1)).index_fill(1, torch.tensor([label]), 0.9)
        targets.append(Targets(torch.tensor([[0.2, 0.2, 0.7, 0.8]]), torch.tensor([label]), soft))
    made = Synthesis(
        images_from=schedule.images_from,
        run=spec.id,
        schedule=spec.schedule.name,
        teacher=teacher.id,
        teacher_sha256=hashlib.sha256(teacher.student.read_bytes()).hexdigest(),
        soft_labels=True,
    )
    written = write_card(folder, card, targets, ImageFiles(names, [(SIDE, SIDE)] * len(names)), made)
    return {
        "format": 1, "kind": "impressions", "images_from": schedule.images_from, "images": len(names),
        "boxes": len(names), "redetected": 0.5, "card_digest": written.digest, "source": source and source.id,
    }  # fmt: skip


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the stand-in in the place of the synthesis."""
    module = ModuleType("c2d.impressions.make")
    module.make_impressions = make_impressions  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
