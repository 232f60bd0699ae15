"""What the images were that a student was trained on: the data set's own, made by a run, or real ones without labels.

The text of a row is a fact of its protocol; the sentences are footnotes, so that no table shows a data-free number
without saying so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from analysis.tables.groups import Group

FACT = "training images"
READ = ("data_free", "init", "teacher.impressions", "training_images.run", "training_images.images_from",
        "training_images.schedule", "training_images.teacher", "training_images.n_images")  # fmt: skip
"""Columns of the frame."""
LABELLED = "real, labelled"
"""The text of the data set's own images and labels."""
DATA_FREE, LABEL_FREE = "data-free", "label-free"
NO_BOLD = (
    "Rows that were trained on no real image, on real ones without labels, and on labelled ones are not compared with "
    "each other for bold"
)
_REAL = "real"
_CALLED = {"optimised": "impressions", "noise": "noise images", "procedural": "procedural images", _REAL: "real images"}
"""{images_from: what the images are called}."""
_CONTROLS = ("noise", "procedural")


def images_text(row: Mapping[str, Any]) -> str:
    """Return "500 impressions of RUN (preset moi)", or `LABELLED`.

    Args:
        row: of the frame.
    """
    run = row["training_images.run"] or row["teacher.impressions"]
    images_from = row["training_images.images_from"]
    if not images_from:  # of a run that is not finished, or was made by hand
        return f"images of {run}" if run else "images of its data card" if row["data_free"] else LABELLED
    number, preset = row["training_images.n_images"], row["training_images.schedule"]
    counted = f"{number:.0f} " if number == number else ""
    of_preset = f" (preset {preset})" if preset else ""
    labels = ", labelled by a detector" if images_from == _REAL else ""
    return f"{counted}{_CALLED.get(images_from, images_from)} of {run or 'its data card'}{of_preset}{labels}"


def data_need(row: Mapping[str, Any]) -> str:
    """Return `DATA_FREE`, `LABEL_FREE`, or "" for a row of the frame that was trained on labelled images."""
    if images_text(row) == LABELLED:
        return ""
    return LABEL_FREE if row["training_images.images_from"] == _REAL else DATA_FREE


def needs_of(group: Group) -> tuple[str, ...]:
    """Return the different values of `data_need` in the finished runs of a row."""
    return tuple(dict.fromkeys(map(data_need, _records(group))))


def sentences(group: Group, among: Sequence[Group]) -> Iterator[str]:
    """Yield the footnotes on the images of one row of a table.

    Args:
        group: the row.
        among: all rows. Labelled images have a footnote only where another row has other images.
    """
    for row in _records(group):
        need, text, teacher = data_need(row), images_text(row), row["training_images.teacher"]
        if not need:
            if any(any(needs_of(other)) for other in among):
                yield "trained on the data set's own images with their labels"
            continue
        by = f", teacher {teacher}" if teacher else ""
        targets = ", with the targets of the impressions" * (row["training_images.images_from"] in _CONTROLS)
        without = "no real image" if need == DATA_FREE else "no label of the data set"
        yield f"{need}: trained on {text}{targets}{by}; {without}"
        if need == DATA_FREE and row["init"] not in ("", "none", "teacher"):
            yield f"its student does not start from random weights (init {row['init']}): real images are in its start"


def _records(group: Group) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in group.done[list(READ)].to_dict("records")]
