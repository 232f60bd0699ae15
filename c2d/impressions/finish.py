"""The end of a synthesis: its data card, the targets that the teacher finds, sheet, page, content of result.json."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from c2d.core.curves.event_file import read_events
from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, atomic_write_bytes, atomic_write_text, read_json
from c2d.data.card import LoadedCard, Synthesis
from c2d.data.coco_file import read_coco
from c2d.evaluation.rank_shares import Heartbeat
from c2d.evaluation.redetection import MIN_IOU, detect_saved, redetection
from c2d.impressions.page.diagnostics import diagnostics_page, percent
from c2d.impressions.page.sheet import draw_sheet, encode_image
from c2d.impressions.sampling.targets import Targets
from c2d.impressions.write_card import ImageFiles, write_card
from c2d.specs.spec import RunSpec
from c2d.teachers.detector import DetectorTeacher

SHEET_ON_PAGE_PX = 1280
LEAST_EXPECTED = 5.0
"""Expected count of a class below which the distribution of chi-square is no approximation."""


@dataclass(frozen=True)
class SynthesisFacts:
    """What the making of the images measured.

    Attributes:
        seconds: spent on the images, of all attempts.
        memory_mib: peak; None: not measured.
        terms_dropped: {term of the objective: why it is left out}.
        notes: further sentences for the reader of the page.
    """

    seconds: float
    memory_mib: float | None = None
    terms_dropped: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


def finish(
    folder: RunFolder,
    spec: RunSpec,
    teacher_run: RunFolder,
    teacher: DetectorTeacher,
    real: LoadedCard,
    targets: Sequence[Targets],
    images: ImageFiles,
    facts: SynthesisFacts,
    heartbeat: Heartbeat = lambda: None,
) -> dict[str, Any]:
    """Write card, sheet and page of a synthesis whose images are saved.

    Args:
        folder: the run.
        spec: of the run, kind `impressions`.
        teacher_run: the finished run of the teacher.
        teacher: the detector of that run.
        real: the teacher's data set.
        targets: of each image.
        images: in the order of `targets`.
        facts: of the making.
        heartbeat: called often.

    Returns:
        The content of result.json. Shares are 0-1, null where there is nothing to share.

    Raises:
        InputError: see `write_card`.
        RunError: an image cannot be read.
    """
    schedule = spec.impressions
    teacher_facts = _teacher_facts(teacher_run)
    synthesis = Synthesis(
        images_from=schedule.images_from,
        run=spec.id,
        schedule=spec.schedule.name,
        teacher=teacher_run.id,
        teacher_sha256=teacher_facts["sha256"],
        soft_labels=schedule.targets.soft_labels,
    )
    card = LoadedCard(write_card(folder, real, targets, images, synthesis), folder.path)
    coco = read_coco(folder.train_annotations)
    found = redetection(coco, detect_saved(teacher, teacher_run, card, heartbeat))
    counts = _label_counts(coco)
    n_images = len(coco["images"])
    result = {
        "format": 1,
        "kind": "impressions",
        "images_from": schedule.images_from,
        "images": n_images,
        "boxes": len(coco["annotations"]),
        "soft_labels": synthesis.soft_labels,
        "redetected": found.share,
        "redetected_by_class": found.by_class,
        "redetected_by_size": found.by_size,
        "redetected_images": found.images,
        "unmatched_detections": found.unmatched,
        "redetection": {"iou": MIN_IOU, "min_score": found.min_score},
        "labels": counts,
        "label_uniformity": uniformity(list(counts.values())),
        "seconds": round(facts.seconds, 3),
        "images_per_minute": round(60 * n_images / facts.seconds, 3) if facts.seconds > 0 else None,
        "memory_mib": facts.memory_mib,
        "terms_dropped": dict(facts.terms_dropped),
        "notes": list(facts.notes),
        "teacher": teacher_facts,
        "card_digest": card.card.digest,
    }
    _draw(folder, spec, card, coco, found.found, result)
    return result


def uniformity(counts: Sequence[int]) -> float | None:
    """Return the p value of the chi-square test that all classes are equally frequent.

    Args:
        counts: objects of each class.

    Returns:
        0-1; None for a single class, or where fewer than 5 objects of each class are expected.
    """
    expected = sum(counts) / len(counts) if counts else 0.0
    if len(counts) < 2 or expected < LEAST_EXPECTED:
        return None
    statistic = sum((count - expected) ** 2 / expected for count in counts)
    # The upper tail of chi-square with C - 1 degrees of freedom.
    degrees, value = (torch.tensor(number / 2, dtype=torch.float64) for number in (len(counts) - 1, statistic))
    return float(torch.special.gammaincc(degrees, value))


def _draw(
    folder: RunFolder,
    spec: RunSpec,
    card: LoadedCard,
    coco: Mapping[str, Any],
    found: Collection[int],
    result: Mapping[str, Any],
) -> None:
    """Write sheet.png and diagnostics.html."""
    title = (
        f"{folder.id}: images {result['images_from']}; the teacher finds {percent(result['redetected'])} of the targets"
    )
    sheet = draw_sheet(coco, card.images("train"), found, f"{title} (dashed: not found)")
    atomic_write_bytes(folder.sheet, encode_image(sheet, "PNG"))
    small = encode_image(sheet, "JPEG", SHEET_ON_PAGE_PX)
    schedule = spec.schedule.model_dump(mode="json")
    page = diagnostics_page(folder.id, schedule, coco, result, read_events(folder.metrics), small)
    atomic_write_text(folder.diagnostics, page)


def _label_counts(coco: Mapping[str, Any]) -> dict[str, int]:
    """{class: number of objects}, classes without objects included."""
    counts = Counter(one["category_id"] for one in coco["annotations"])
    return {item["name"]: counts[item["id"]] for item in coco["categories"]}


def _teacher_facts(run: RunFolder) -> dict[str, Any]:
    """Run id, digest of the weights, and AP (None where its result has none)."""
    digest = hashlib.sha256(run.student.read_bytes()).hexdigest()
    try:
        ap = read_json(run.result).get("AP")
    except InputError:  # an exported detector without a result can teach as well
        ap = None
    return {"run": run.id, "sha256": digest, "AP": ap}
