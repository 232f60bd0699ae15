"""The table of model-zoo files, `c2d/configs/zoo.json`: facts that a spec can name. Needs no torch."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import NamedTuple

from c2d.core.errors import InputError, unknown_name

PREFIX = "zoo:"


class ZooFile(NamedTuple):
    """A published checkpoint of a whole detector, trained on COCO train2017.

    Attributes:
        stem: its file name without `.pth`; ends with the first 8 digits of its sha256.
        url: where it is published.
        student: the student that has its weights.
        config: mmdet's config of it.
        ap_percent: published box AP on COCO val2017, 0 to 100.
    """

    stem: str
    url: str
    student: str
    config: str
    ap_percent: float

    @property
    def is_of(self) -> tuple[str, str]:
        """Names of students that have its weights: ours, and mmdet's config itself."""
        return self.student, f"mmdet::{self.config}"


@cache
def zoo_files() -> dict[str, ZooFile]:
    """Return {stem: file} of the table."""
    table = json.loads((resources.files("c2d") / "configs" / "zoo.json").read_text(encoding="utf-8"))
    return {
        stem: ZooFile(stem, table["address"] + row["path"], row["student"], row["config"], row["ap_percent"])
        for stem, row in table["files"].items()
    }


def zoo_file(init: str) -> ZooFile:
    """Return the entry of `zoo:FILE_STEM`.

    Raises:
        InputError: the table has none of that name.
    """
    stem = init.removeprefix(PREFIX)
    if stem not in zoo_files():
        raise unknown_name(
            "file of the model zoo", stem, zoo_files(), "c2d/configs/zoo.json lists them; another file: detector:PATH"
        )
    return zoo_files()[stem]


def check_student(init: str, student: str) -> None:
    """Check that a student is the one of a model-zoo file.

    Args:
        init: `zoo:FILE_STEM`; other sources belong to any student.
        student: its name.

    Raises:
        InputError: it is another one.
    """
    if init.startswith(PREFIX) and student not in (entry := zoo_file(init)).is_of:
        raise InputError(
            f"init {init} is a {entry.student}, and the student is {student}; write student: {entry.student}, or "
            f"take a file of {student}"
        )
