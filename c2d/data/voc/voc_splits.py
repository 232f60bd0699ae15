"""Read the splits of a VOC data set: lists, annotation files, images. Issues are collected, not raised."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from c2d.core.errors import unknown_name
from c2d.data.conversion.source_images import SourceImage, read_images
from c2d.data.decoding.image_facts import ImageFacts
from c2d.data.voc.class_spellings import merge_spellings, spelling_issues
from c2d.data.voc.image_sets import ImageSet, read_image_set
from c2d.data.voc.voc_boxes import VocImage, find_image, in_fractions, trained_boxes
from c2d.data.voc.voc_frame import Frame, Origin, frame_notes, frame_size, origin_note, xml_frame
from c2d.data.voc.voc_xml import BadAnnotation, VocAnnotation, drop_repeated, read_annotation


@dataclass(frozen=True)
class Entry:
    """One image of a split.

    Attributes:
        split: its split.
        images: the list that has it.
        annotation: its annotation file.
        image: path of its image.
    """

    split: str
    images: ImageSet
    annotation: VocAnnotation
    image: Path

    @property
    def xml(self) -> str:
        """Name of the annotation file, with the year where there are several."""
        return f"{self.images.prefix}{self.annotation.stem}.xml"

    @property
    def file_name(self) -> str:
        """Path of the image below the image folder."""
        folder = self.images.root.parent if self.images.year else self.images.root / "JPEGImages"
        return self.image.relative_to(folder).as_posix()


@dataclass
class Reading:
    """What was read.

    Attributes:
        splits: {split: its images}.
        objects: {split: number of objects in its files that are not difficult}.
        issues: a line for everything that cannot be trusted.
        notes: a line for everything that was dropped, corrected or may be wrong.
    """

    splits: dict[str, list[VocImage]] = field(default_factory=dict)
    objects: dict[str, int] = field(default_factory=dict)
    issues: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_splits(
    lists: Mapping[str, Sequence[ImageSet]],
    folder: Path,
    *,
    classes: Sequence[str] | None = None,
    merge: bool = False,
    origin: Origin | None = None,
    frame: Frame | None = None,
    published: bool = False,
) -> Reading:
    """Read the splits of a VOC data set.

    Args:
        lists: {split: its lists}.
        folder: image folder, which the file names of the images start at.
        classes: class names in the order of the labels; None to take all names.
        merge: class names that differ in case or blanks alone are one class.
        origin: pixel that counting starts at; None: 1, with a note where the boxes speak against it.
        frame: frame of the boxes of images with an orientation, where sizes do not tell it.
        published: see `read_images`.

    Raises:
        InputError: a list is missing or cannot be used.
    """
    reading = Reading()
    entries = _entries(lists, reading)
    annotations = [entry.annotation for entry in entries]
    reading.objects = dict.fromkeys(lists, 0)
    for entry in entries:
        reading.objects[entry.split] += sum(not item.flags.get("difficult", 0) for item in entry.annotation.objects)
    if merge:
        reading.notes += merge_spellings(annotations, classes)
    else:
        reading.issues += spelling_issues(annotations, classes)
    if classes is not None:
        reading.issues += _unknown_classes(entries, classes)
    for entry in entries:
        try:
            drop_repeated(entry.annotation)
        except BadAnnotation as error:
            reading.issues.append(f"{entry.xml}: {error}")
    facts_of = read_images(
        [SourceImage(entry.split, entry.xml, entry.file_name, entry.image) for entry in entries],
        folder,
        reading.issues,
        reading.notes,
        published=published,
    )
    framed: list[tuple[Entry, ImageFacts, Frame | None]] = []
    for entry, facts in zip(entries, facts_of, strict=True):
        if facts is None:
            continue
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
        image = trained_boxes(entry.annotation, entry.file_name, facts, own, origin or "1")
        reading.splits[entry.split].append(image)
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


def _entries(lists: Mapping[str, Sequence[ImageSet]], reading: Reading) -> list[Entry]:
    entries: list[Entry] = []
    owner: dict[tuple[Path, str], tuple[str, ImageSet]] = {}
    for split, listed in ((split, images) for split, several in lists.items() for images in several):
        for stem in read_image_set(listed.root, listed.name):
            name, key = f"{listed.prefix}{stem}", (listed.root, stem)
            if key in owner:
                other_split, other = owner[key]
                where = f"listed in {other}.txt ({other_split}) and {listed}.txt ({split})"
                reading.issues.append(f"{name}: {where}; {'a leak' if other_split != split else 'list it once'}")
                continue
            owner[key] = (split, listed)
            try:
                annotation = read_annotation(listed.root / "Annotations" / f"{stem}.xml")
                image = find_image(listed.root / "JPEGImages", stem, annotation.file_name)
            except BadAnnotation as error:
                reading.issues.append(f"{name}.xml: {error}")
                continue
            entries.append(Entry(split, listed, annotation, image))
    return entries


def _unknown_classes(entries: Sequence[Entry], classes: Sequence[str]) -> list[str]:
    found = {item.name: entry.xml for entry in entries for item in entry.annotation.objects}
    hint = "add it to --classes, or correct the XML"
    return [
        f"{found[name]}: {unknown_name('class', name, classes, hint)}" for name in sorted(set(found) - set(classes))
    ]
