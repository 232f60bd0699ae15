"""Outputs of a foreign detector and the classes of a card: paired by name, and said where they are not the same list.

A detection counts for the class that its output is called by. Outputs whose class the card does not have are dropped;
classes of the card that no output has keep their ground truth, so their AP is 0, as COCO defines it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from c2d.configs.class_names import NamedOutputs, class_list, name_outputs
from c2d.core.errors import InputError, abbreviate

SAME_ORDER = "card"
"""Value of `--classes`: the outputs are the card's classes, in the card's order."""

MISNAMED_AP = 0.05
"""By how much the AP by position may exceed that by name before the names count as wrong. Chance moves the AP of a
detector that detects nothing by less."""


@dataclass(frozen=True)
class ClassMap:
    """Which class of a card each output of a detector is.

    Attributes:
        outputs: names of the outputs.
        source: what names them.
        classes: of the card.
    """

    outputs: tuple[str, ...]
    source: str
    classes: tuple[str, ...]

    @property
    def unused(self) -> tuple[str, ...]:
        """Outputs whose class the card does not have."""
        return tuple(name for name in self.outputs if name not in self.classes)

    @property
    def missing(self) -> tuple[str, ...]:
        """Classes of the card that no output has."""
        return tuple(name for name in self.classes if name not in self.outputs)

    @property
    def is_identity(self) -> bool:
        """Whether output k is class k of the card for every k, and there are no others."""
        return self.outputs == self.classes

    @property
    def is_permutation(self) -> bool:
        """Whether the outputs are the card's classes in another order."""
        return not self.is_identity and set(self.outputs) == set(self.classes)

    def category_ids(self, card_ids: Sequence[Any]) -> list[Any]:
        """Return the category id of each output; None for an unused one.

        Args:
            card_ids: category id of each class of the card.
        """
        ids = dict(zip(self.classes, card_ids, strict=True))
        return [ids.get(name) for name in self.outputs]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types for the result: the outputs, and the class of the card that each is (an index)."""
        index = {name: number for number, name in enumerate(self.classes)}
        return {
            "source": self.source,
            "outputs": list(self.outputs),
            "card": list(self.classes),
            "class_of_output": [index.get(name) for name in self.outputs],
            "unused_outputs": list(self.unused),
            "classes_without_output": list(self.missing),
        }


def class_lines(classes: Mapping[str, Any]) -> list[str]:
    """Return what to print: where the names are from, and every difference to the card.

    Args:
        classes: what `ClassMap.to_dict` returns, and `seems_to_be`: {class: the class whose boxes it lies on}.
    """
    outputs, card = classes["outputs"], classes["card"]
    moved = [f"'{name}' on boxes of '{true}'" for name, true in classes["seems_to_be"].items()]
    sign = [
        f"warning: outputs seem to have each other's names: most detections of {', '.join(moved[:4])}"
        f"{f' and {len(moved) - 4} more' if len(moved) > 4 else ''}; check their order (--classes)"
    ]
    return [*_lists(classes, outputs, card), *(sign if moved else [])]


def _lists(classes: Mapping[str, Any], outputs: Sequence[str], card: Sequence[str]) -> list[str]:
    head = f"classes: {len(outputs)} outputs named by {classes['source']}"
    if outputs == card:
        return [f"{head}: the card's, in its order"]
    found = [index for index in classes["class_of_output"] if index is not None]
    order = ", in another order" if found != sorted(found) else ""
    lines = [f"{head}; {len(found)} of the card's {len(card)} classes by name{order}"]
    if unused := classes["unused_outputs"]:
        lines.append(
            f"classes: {len(unused)} outputs are no class of the card, their detections do not count: "
            f"{abbreviate(unused)}"
        )
    if missing := classes["classes_without_output"]:
        lines.append(
            f"warning: {len(missing)} classes of the card have no output, and count in the mean with AP 0 where they "
            f"have boxes: {abbreviate(missing)}"
        )
    return lines


@dataclass(frozen=True)
class ClassSources:
    """What names the outputs of a detector that is evaluated.

    Attributes:
        config: a whole mmdet config.
        checkpoint: content of the weight file.
        config_name, checkpoint_name: their paths.
        stated: value of `--classes`; None where it was not given.
    """

    config: Mapping[str, Any]
    checkpoint: Any
    config_name: str
    checkpoint_name: str
    stated: str | None = None

    def map(self, count: int | None, classes: Sequence[str], card_name: str) -> ClassMap:
        """Pair the outputs with the classes of a card.

        Args:
            count: foreground classes of the head; None where it has no such number.
            classes: of the card.
            card_name: for messages.

        Raises:
            InputError: the head cannot be counted, nothing names the outputs, two statements differ, no name is a class
                of the card, one is spelled differently, or as many classes have other names (new names perhaps).
        """
        if count is None:
            raise InputError(
                f"the model of {self.config_name} has no head that predicts boxes of a number of classes; give a "
                "detector with a bbox_head or roi_head"
            )
        found = self._stated(count, classes) if self.stated is not None else self._found(count, classes)
        result = ClassMap(found.names, found.source, tuple(classes))
        _check_spelling(result)
        if set(result.missing) == set(classes):
            raise InputError(
                f"no output of the model is a class of {card_name}: {found.source} names "
                f"{abbreviate(found.names, 4)}, the card has {abbreviate(classes, 4)}; evaluate on a card with classes "
                f"of this model, or state its names with --classes ({SAME_ORDER}: the card's list)"
            )
        if self.stated is None and result.unused and len(result.outputs) == len(classes):
            raise InputError(
                f"model and {card_name} have {len(classes)} classes each, but outputs {abbreviate(result.unused, 4)} "
                f"({found.source}) are no class of the card, whose {abbreviate(result.missing, 4)} have no output; "
                "state the names of the outputs, renamed or not: --classes NAMES.txt (one name a line)"
            )
        return result

    def _found(self, count: int, classes: Sequence[str]) -> NamedOutputs:
        try:
            found = name_outputs(self.config, self.checkpoint, count, self.config_name, self.checkpoint_name)
        except InputError as error:
            raise InputError(f"{error}, or state the names with --classes") from None
        if found is None:
            raise InputError(
                f"nothing names the {count} outputs of the model: no metainfo in {self.config_name}, no "
                f"meta.dataset_meta.classes in {self.checkpoint_name}, and the card has {len(classes)} classes "
                f"({abbreviate(classes, 4)}); state the order: --classes {SAME_ORDER} (the card's), or --classes "
                "NAMES.txt (one name a line)"
            )
        return found

    def _stated(self, count: int, classes: Sequence[str]) -> NamedOutputs:
        assert self.stated is not None
        if self.stated == SAME_ORDER:
            names = tuple(classes)
        else:
            given = self.stated.split(",") if "," in self.stated else self.stated
            given = [name.strip() for name in given] if isinstance(given, list) else given
            names = class_list(given, "--classes")
        if len(names) != count:
            raise InputError(
                f"--classes {self.stated} gives {len(names)} names ({abbreviate(names, 4)}), the model has {count} "
                "classes; name every output, in the order of the outputs"
            )
        return NamedOutputs(names, f"--classes {self.stated}")


def check_names_by_ap(by_name: float | None, by_position: float | None, class_map: ClassMap) -> None:
    """Check that the names are in the order of the outputs, where they are the card's in another order.

    mmdet's CocoDataset numbers the classes in the order of the annotation file, whatever the order in `metainfo`, and
    writes the latter to its checkpoints. So a list in another order may be wrong; then the AP without it is the higher.

    Args:
        by_name: AP with the outputs paired by name.
        by_position: AP with output k as class k of the card.
        class_map: a permutation.

    Raises:
        InputError: by position the AP is clearly higher.
    """
    if (by_position or 0) > (by_name or 0) + MISNAMED_AP:
        raise InputError(
            f"the class names of {class_map.source} are not in the order of the outputs: AP {by_name or 0:.3f} by "
            f"name, {by_position:.3f} with the outputs in the card's order (mmdet's CocoDataset numbers classes as "
            f"the training's annotation file lists them); state the order: --classes {SAME_ORDER}"
        )


def _check_spelling(class_map: ClassMap) -> None:
    def bare(name: str) -> str:
        return re.sub(r"[\W_]+", "", name).casefold()

    spelled = {bare(name): name for name in class_map.unused}
    for name in class_map.missing:
        if bare(name) in spelled:
            raise InputError(
                f"class {name!r} of the card and output {spelled[bare(name)]!r} of the model "
                f"({class_map.source}) differ in spelling alone; give the model's names as the card has them: "
                "--classes NAMES.txt (one name a line)"
            )
