"""The result of a comparison: numbers of both checkpoints, differences, flipped objects and images."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from analysis.comparison.sections import Section, html_of, text_of
from analysis.formats.cell_text import DASH, format_interval, format_number
from analysis.stats.permutation import ALPHA

FOR_CHECKPOINTS = (
    "This is about these two checkpoints on images like these. Another seed of the same method may give another "
    "result: for methods over seeds see `c2d report` (docs/analysis.md)."
)
_MOST_CLASSES = 20
"""Classes that the text shows; JSON has all."""


@dataclass(frozen=True)
class Side:
    """One of the two checkpoints.

    Attributes:
        name: run id, or name of the file.
        detections: number of detections.
        threshold: score from which its detections count for flips; None without detections.
        f1: F1 (0-1) over all classes at that score; None where it is undefined.
        false_positives: from that score on.
    """

    name: str
    detections: int
    threshold: float | None
    f1: float | None
    false_positives: int


@dataclass(frozen=True)
class Change:
    """One number of both checkpoints. All numbers are in 0-1.

    Attributes:
        name: AP, AP50, AP75; a class; small, medium or large; a TIDE error.
        a, b: the number of each side; None where there are no objects.
        difference: b - a.
        low, high: 95 % interval of the difference; None where there is none.
        p: two-sided p value of no difference, below 0.05 exactly when the interval leaves out 0; adjusted where the
            interval is simultaneous.
        images: images with objects of this kind, or where a side has errors of this type.
        reason: why there is no interval; "" where there is one.
    """

    name: str
    a: float | None
    b: float | None
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    images: int
    reason: str = ""


@dataclass(frozen=True)
class FlippedObject:
    """An object that one checkpoint finds and the other does not.

    Attributes:
        annotation: its place in the list of annotations, from 0.
        image_id: its image.
        file_name: of the image; "" where the ground truth has none.
        class_name: its class.
        box: x, y, width, height in px of the original image.
        found_by: a or b.
        score: of the detection that found it.
        missed_as: what the other side made of it: Cls or Loc (a detection of the wrong class, in the wrong place) or
            Miss.
    """

    annotation: int
    image_id: Any
    file_name: str
    class_name: str
    box: tuple[float, float, float, float]
    found_by: str
    score: float
    missed_as: str


@dataclass(frozen=True)
class ImageChange:
    """One image. Errors are objects that were not found, and false positives.

    Attributes:
        image_id: its id.
        file_name: "" where the ground truth has none.
        errors_a, errors_b: number of errors of each side.
        change: errors_b - errors_a; below 0 where b is better.
        only_a, only_b: objects that one side alone finds.
    """

    image_id: Any
    file_name: str
    errors_a: int
    errors_b: int
    change: int
    only_a: int
    only_b: int


@dataclass(frozen=True)
class Comparison:
    """Two checkpoints on the same images, b - a.

    Attributes:
        a, b: both sides.
        dataset: name of the data set, or of the file of ground truth.
        images, objects, classes: sizes of the ground truth; classes are those with objects.
        overall: AP, AP50, AP75, each with its own 95 % interval.
        per_class: AP of each class; intervals hold together for all classes.
        per_size: AP of small, medium and large objects; intervals hold together.
        tide: AP lost to each type of error (dAP); below 0 means that b loses less; intervals hold together.
        both, neither: objects that both find, that none finds; the others are in `flipped`.
        flipped: objects that one side alone finds.
        changed: images whose errors differ or with flipped objects, the largest change first.
        iou: IoU from which an object is found, and of TIDE.
        samples: number of resamples of the images.
        seed: of the resamples.
        interval: name of the interval of `overall`.
        notes: what to know before trusting the numbers.
    """

    a: Side
    b: Side
    dataset: str
    images: int
    objects: int
    classes: int
    overall: tuple[Change, ...]
    per_class: tuple[Change, ...]
    per_size: tuple[Change, ...]
    tide: tuple[Change, ...]
    both: int
    neither: int
    flipped: tuple[FlippedObject, ...]
    changed: tuple[ImageChange, ...]
    iou: float
    samples: int
    seed: int
    interval: str
    notes: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """One sentence: which of the two has the higher AP, or that no difference is shown."""
        ap = self.overall[0]
        if ap.difference is None:
            return "AP is undefined: the ground truth has no objects"
        if ap.p is None:
            return f"AP {_signed(ap.difference)} points, without an interval: objects {ap.reason}"
        shown = f"AP {_signed(ap.difference)} points, 95 % interval {_interval(ap)}, p = {_p(ap.p)}"
        if ap.p >= ALPHA:
            return f"No difference in AP is shown: {shown}"
        return f"{'B' if ap.difference > 0 else 'A'} has the higher AP: {shown}"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as values that JSON can hold; numbers in 0-1."""
        return {"format": 1, "verdict": self.verdict, **asdict(self)}

    def to_json(self) -> str:
        """Return everything as one JSON object; numbers in 0-1."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    def text(self, images: int = 10) -> str:
        """Return the comparison as lines of text; numbers in AP points, 0-100.

        Args:
            images: number of images to list.
        """
        return text_of(self._sections(images))

    def _repr_html_(self) -> str:
        """Return the comparison for a notebook."""
        return html_of(self._sections(10))

    def _sections(self, images: int) -> Iterator[Section]:
        sides = [[mark, side.name, f"{side.detections:,} detections"] for mark, side in (("A", self.a), ("B", self.b))]
        yield Section(
            f"{self.verdict}.", (), sides,
            f"On {self.dataset}: {self.images:,} images, {self.objects:,} objects of {_count(self.classes, 'class')}. "
            f"Differences are B − A in AP points (0 to 100) over {self.samples:,} resamples of the images, the same "
            f"for both (seed {self.seed}). {FOR_CHECKPOINTS}",
        )  # fmt: skip
        if self.notes:
            yield Section("Notes", (), [[f"- {note}"] for note in self.notes])
        yield _changes("AP", self.overall, f"Each row: {self.interval}.")
        together = "The intervals hold all rows together with 95 %; p is adjusted for the number of rows."
        yield _changes("By size of the objects", self.per_size, together, images=True)
        ranked = sorted(self.per_class, key=lambda one: (one.difference is None, -abs(one.difference or 0.0)))
        hidden = f" {len(ranked) - _MOST_CLASSES} more classes: --json." if len(ranked) > _MOST_CLASSES else ""
        title = "By class, largest difference first"
        yield _changes(title, ranked[:_MOST_CLASSES], f"{together}{hidden}", images=True)
        yield _changes(
            f"TIDE: AP lost to each type of error, at IoU {self.iou:g}", self.tide,
            f"Below 0: B loses less to it. Images: where a side has such errors. {together}", images=True,
        )  # fmt: skip
        yield self._objects()
        if images and self.changed:
            rows = [
                [str(one.file_name or one.image_id), str(one.errors_a), str(one.errors_b),
                 _whole(one.change), str(one.only_a), str(one.only_b)]
                for one in self.changed[:images]
            ]  # fmt: skip
            yield Section(
                f"Images with the largest change, {len(rows)} of {len(self.changed):,}",
                ("image", "errors A", "errors B", "B − A", "only A finds", "only B finds"), rows,
                "Errors are objects that were not found, and false positives, at the scores above.",
            )  # fmt: skip

    def _objects(self) -> Section:
        only_a = sum(one.found_by == "a" for one in self.flipped)
        rows = [
            ["found by both", f"{self.both:,}"], ["only by A", f"{only_a:,}"],
            ["only by B", f"{len(self.flipped) - only_a:,}"], ["by neither", f"{self.neither:,}"],
            ["false positives of A", f"{self.a.false_positives:,}"],
            ["false positives of B", f"{self.b.false_positives:,}"],
        ]  # fmt: skip
        at = "; ".join(f"{mark}: {_threshold(side)}" for mark, side in (("A", self.a), ("B", self.b)))
        return Section(f"Objects, found from IoU {self.iou:g} on", (), rows, f"Detections that count: {at}.")


def _changes(title: str, changes: Sequence[Change], note: str, images: bool = False) -> Section:
    """A table of numbers; `images` adds the column of images with such objects."""
    rows = []
    for one in changes:
        p = one.reason if one.p is None else _p(one.p)
        difference = DASH if one.difference is None else _signed(one.difference)
        counts = [f"{one.images:,}"] * images
        rows.append([one.name, *counts, _points(one.a), _points(one.b), difference, _interval(one), p])
    return Section(title, ("", *["images"] * images, "A", "B", "B − A", "95 % interval", "p"), rows, note)


def _p(value: float) -> str:
    """Three digits, more where a value beside 0.05 would read as 0.050."""
    text = f"{value:.3f}"
    return text if float(text) != ALPHA else f"{value:.5f}"


def _points(value: float | None) -> str:
    return DASH if value is None else format_number(100 * value, 1)


def _signed(value: float) -> str:
    return format_number(100 * value, 1, signed=True)


def _interval(one: Change) -> str:
    return DASH if one.low is None or one.high is None else format_interval(100 * one.low, 100 * one.high, 1)


def _whole(value: int) -> str:
    return format_number(value, 0, signed=True)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}es"


def _threshold(side: Side) -> str:
    if side.threshold is None:
        return "none"
    f1 = "" if side.f1 is None else f" (F1 {100 * side.f1:.1f})"
    return f"score {side.threshold:.3f} and above{f1}"
