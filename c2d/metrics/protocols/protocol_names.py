"""Names of the numbers of both protocols, as result.json has them.

A name says the IoU threshold, the interpolation and the policy for difficult objects. VOC:
`AP50_area_difficult_ignored`. KITTI: `AP70_R40_moderate`, where R40 and R11 are means over 40 and 11 recall positions,
and easy, moderate and hard say which objects count.
"""

from __future__ import annotations

VOC_NUMBERS = {"AP50_area": "AP50_area_difficult_ignored", "AP50_11point": "AP50_11point_difficult_ignored"}
"""{short name, used in reports: name in result.json}."""

DIFFICULTIES = ("easy", "moderate", "hard")
POSITIONS = ("R40", "R11")
KITTI_IOUS = {"Car": 0.7, "Pedestrian": 0.5, "Cyclist": 0.5}
"""{evaluated class: IoU that a detection has to exceed}."""
KITTI_MEANS = tuple(f"AP_{positions}_{which}" for positions in POSITIONS for which in (*DIFFICULTIES, "mean"))
"""Over the classes; `mean` is over the classes and the three difficulties."""


def kitti_number(class_name: str, positions: str, difficulty: str) -> str:
    """Return the name of a number of an evaluated class: AP70 of cars, AP50 of the others."""
    return f"AP{100 * KITTI_IOUS[class_name]:.0f}_{positions}_{difficulty}"


def kitti_numbers(class_name: str) -> list[str]:
    """Return the names of all numbers of an evaluated class."""
    return [kitti_number(class_name, positions, which) for positions in POSITIONS for which in DIFFICULTIES]


REPORTED: dict[str, tuple[str, ...]] = {
    **{f"voc.{short}": ("voc", name) for short, name in VOC_NUMBERS.items()},
    **{f"kitti.{name}": ("kitti", name) for name in KITTI_MEANS},
    **{
        f"kitti.{class_name}.{name}": ("kitti", "per_class", class_name, name)
        for class_name in KITTI_IOUS
        for name in kitti_numbers(class_name)
    },
}
"""{name in reports: keys below `protocols` of result.json}."""
