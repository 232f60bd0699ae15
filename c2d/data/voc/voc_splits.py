"""Read the splits of a VOC data set: lists, annotation files, images. Issues are collected, not raised."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from c2d.core.errors import unknown_name
from c2d.data.decoding.image_facts import ImageFacts, facts_of_images
from c2d.data.image_issues import content_issue, depth_issue, read_error
from c2d.data.images import ImageFile
from c2d.data.leaks import find_leaks
from c2d.data.voc.class_spellings import merge_spellings, spelling_issues
from c2d.data.voc.image_sets import read_image_set
from c2d.data.voc.voc_boxes import VocImage, find_image, in_fractions, trained_boxes
from c2d.data.voc.voc_frame import Frame, Origin, frame_notes, frame_size, origin_note, xml_frame
from c2d.data.voc.voc_xml import BadAnnotation, VocAnnotation, drop_repeated, read_annotation


@dataclass(frozen=True)
class Entry:
    """One image of a split.

    Attributes:
        split: its split.
        annotation: its annotation file.
        image: path of its image.
    """

    split: str
    annotation: VocAnnotation
    image: Path

    @property
    def xml(self) -> str:
        """Name of the annotation file."""
        return f"{self.annotation.stem}.xml"


@dataclass
class Reading:
    """What was read.

    Attributes:
        splits: {split: its images}.
        issues: a line for everything that cannot be trusted.
        notes: a line for everything that was dropped, corrected or may be wrong.
    """

    splits: dict[str, list[VocImage]] = field(default_factory=dict)
    issues: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_splits(
    src: Path,
    lists: dict[str, str],
    *,
    classes: Sequence[str] | None = None,
    merge: bool = False,
    origin: Origin | None = None,
    frame: Frame | None = None,
) -> Reading:
    """Read the splits of a VOC data set.

    Args:
        src: its folder.
        lists: {split: name of a list in ImageSets/Main}.
        classes: class names in the order of the labels; None to take all names.
        merge: class names that differ in case or blanks alone are one class.
        origin: pixel that counting starts at; None: 1, with a note where the boxes speak against it.
        frame: frame of the boxes of images with an orientation, where sizes do not tell it.

    Raises:
        InputError: a list is missing or cannot be used.
    """
    reading = Reading()
    entries = _entries(src, lists, reading)
    annotations = [entry.annotation for entry in entries]
    if merge:
        reading.notes += merge_spellings(annotations, classes)
    else:
        reading.issues += spelling_issues(annotations, classes)
    if classes is not None:
        reading.issues += _unknown_classes(annotations, classes)
    for entry in entries:
        try:
            drop_repeated(entry.annotation)
        except BadAnnotation as error:
            reading.issues.append(f"{entry.xml}: {error}")
    read = _images(entries, src / "JPEGImages", reading)
    framed: list[tuple[Entry, ImageFacts, Frame | None]] = []
    for entry, facts in read:
        try:
            framed.append((entry, facts, xml_frame(entry.annotation.size, facts, frame)))
        except BadAnnotation as error:
            reading.issues.append(f"{entry.xml}: {error}")
            continue
        if entry.annotation.size is None:
            size = f"{facts.size[0]} x {facts.size[1]}"
            entry.annotation.notes.insert(0, f"states no image size; the image's own, {size}, is used")
    boxes = [(item.corners, frame_size(f, own)) for entry, f, own in framed for item in entry.annotation.objects]
    reading.issues += _fractions(entry for entry, _, _ in framed)
    if origin is None and (note := origin_note(boxes)) is not None:
        reading.notes.append(note)
    reading.notes += frame_notes([(entry.xml, facts, own) for entry, facts, own in framed])
    for split in lists:
        reading.splits[split] = []
    for entry, facts, own in framed:
        name = entry.image.relative_to(src / "JPEGImages").as_posix()
        reading.splits[entry.split].append(trained_boxes(entry.annotation, name, facts, own, origin or "1"))
    reading.notes += [f"{entry.xml}: {note}" for entry in entries for note in entry.annotation.notes]
    return reading


def _fractions(entries: Iterable[Entry]) -> list[str]:
    """Return a line where boxes are in fractions of their image."""
    objects = [(entry.xml, item) for entry in entries for item in entry.annotation.objects]
    wrong = [(xml, item) for xml, item in objects if in_fractions(item.corners)]
    if not wrong:
        return []
    xml, item = wrong[0]
    return [
        f"{xml}: {item}: in units from 0 to 1, as {len(wrong)} of {len(objects)} boxes; VOC has pixels, multiply them "
        "by the width and height of the image"
    ]


def _entries(src: Path, lists: dict[str, str], reading: Reading) -> list[Entry]:
    entries: list[Entry] = []
    owner: dict[str, str] = {}
    for split, listed in lists.items():
        for stem in read_image_set(src, listed):
            if stem in owner:
                first = f"{lists[owner[stem]]}.txt ({owner[stem]})"
                reading.issues.append(f"{stem}: listed in {first} and {listed}.txt ({split}); a leak")
                continue
            owner[stem] = split
            try:
                annotation = read_annotation(src / "Annotations" / f"{stem}.xml")
                image = find_image(src / "JPEGImages", stem, annotation.file_name)
            except BadAnnotation as error:
                reading.issues.append(f"{stem}.xml: {error}")
                continue
            entries.append(Entry(split, annotation, image))
    return entries


def _unknown_classes(annotations: Sequence[VocAnnotation], classes: Sequence[str]) -> list[str]:
    found = {item.name: annotation.stem for annotation in annotations for item in annotation.objects}
    hint = "add it to --classes, or correct the XML"
    return [
        f"{found[name]}.xml: {unknown_name('class', name, classes, hint)}" for name in sorted(set(found) - set(classes))
    ]


def _images(entries: Sequence[Entry], folder: Path, reading: Reading) -> list[tuple[Entry, ImageFacts]]:
    """Decode the images as training does; report what it cannot read or drops, and pictures that occur twice."""
    read: list[tuple[Entry, ImageFacts]] = []
    for entry, facts in zip(entries, facts_of_images([entry.image for entry in entries]), strict=True):
        if isinstance(facts, Exception):
            kind, message = read_error(facts, folder)
            name = entry.image.name
            what = f"does not exist in {folder}" if kind == "missing image" else f"cannot be used: {message}"
            reading.issues.append(f"{entry.xml}: its image {name} {what}")
            continue
        read.append((entry, facts))
        if (issue := content_issue(facts, folder)) is not None:
            into = reading.issues if issue.severity == "error" else reading.notes
            into.append(f"{entry.xml}: its image {entry.image.name}: {issue.message}")
    if (deep := depth_issue([(facts, entry.image) for entry, facts in read], folder)) is not None:
        reading.notes.append(deep.message)
    files = [
        ImageFile(entry.split, number, entry.image.name, str(entry.image.resolve()), facts.pixels)
        for number, (entry, facts) in enumerate(read, start=1)
    ]
    for leak in find_leaks(files):
        into = reading.issues if leak.severity == "error" else reading.notes
        into.append(f"{leak.file}: {leak.where}: {leak.message}")
    return read
