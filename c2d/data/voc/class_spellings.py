"""Class names of VOC objects, which are typed for every object: names that differ in case or blanks alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from c2d.data.plain_name import plain_name
from c2d.data.voc.voc_xml import VocAnnotation


def _spellings(names: Iterable[str]) -> list[list[str]]:
    """Return the groups of different names that are equal without case and blanks."""
    groups: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        groups.setdefault(plain_name(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def spelling_issues(annotations: Iterable[VocAnnotation], classes: Sequence[str] | None) -> list[str]:
    """Return a line for each class that is spelled in several ways, unless `classes` names all of them.

    Args:
        annotations: of all splits.
        classes: the chosen class list; None to take all names.
    """
    if classes is not None:  # names that are not in the list are reported as unknown
        return []
    counts = Counter(item.name for annotation in annotations for item in annotation.objects)
    return [
        f"class names {', '.join(f'{name!r} ({counts[name]} objects)' for name in group)} differ in case or blanks "
        "alone; correct the XML files, or make them one class with --merge-spellings, or name each in --classes"
        for group in _spellings(counts)
    ]


def merge_spellings(annotations: Sequence[VocAnnotation], classes: Sequence[str] | None) -> list[str]:
    """Give every class one spelling: that of `classes`, else the most frequent one.

    Args:
        annotations: of all splits; their objects are changed.
        classes: the chosen class list; None to take all names.

    Returns:
        A note for each class with several spellings.
    """
    counts = Counter(item.name for annotation in annotations for item in annotation.objects)
    chosen: dict[str, str] = {}
    notes: list[str] = []
    for group in _spellings([*counts, *(classes or ())]):
        listed = [name for name in group if name in (classes or ())]
        if len(listed) > 1:
            continue
        best = listed[0] if listed else max(group, key=lambda name: counts[name])
        others = [name for name in group if name != best]
        chosen |= dict.fromkeys(others, best)
        shown = ", ".join(f"{name!r} ({counts[name]} objects)" for name in others)
        notes.append(f"class names {shown} were read as {best!r}")
    for annotation in annotations:
        annotation.objects = [replace(item, name=chosen.get(item.name, item.name)) for item in annotation.objects]
    return notes
