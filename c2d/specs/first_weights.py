"""The grammar of `init`, which names the weights that a network starts from. Needs no torch.

    INIT   = none | SOURCE | teacher | SOURCE+teacher
    SOURCE = backbone, of a student: the classifier run of `teachers.backbone`; or
    SOURCE = torchvision:MODEL.WEIGHTS | package:NAME | timm:NAME | sha256:HEX of a file that the store keeps

A source fills the network of a classifier or the backbone of a student; `teacher` fills a student's neck and heads from
its detector teacher.
"""

from __future__ import annotations

NONE, TEACHER, BACKBONE = "none", "teacher", "backbone"
NAMED = ("torchvision:", "package:", "timm:")
"""Sources whose names stand for their content."""
KEPT = "sha256:"
_SOURCE = r"backbone|torchvision:[\w.]+|package:[\w.-]+|timm:[\w.]+|sha256:[0-9a-f]{64}"
PATTERN = rf"^(none|teacher|({_SOURCE})(\+teacher)?)$"
ALLOWED = (
    "none, torchvision:MODEL.WEIGHTS, package:NAME, timm:NAME, a file, backbone, teacher, or one of them with +teacher"
)
_AND_TEACHER = f"+{TEACHER}"


def network_source(init: str) -> str:
    """Return what fills the network or backbone: a source, or `none`.

    >>> network_source("package:efficientnet-lite0+teacher"), network_source("teacher")
    ('package:efficientnet-lite0', 'none')

    Args:
        init: of a spec.
    """
    return NONE if init == TEACHER else init.removesuffix(_AND_TEACHER)


def inherits(init: str) -> bool:
    """Return whether neck and heads come from the detector teacher.

    Args:
        init: of a spec.
    """
    return init == TEACHER or init.endswith(_AND_TEACHER)


def joined(source: str, inherited: bool) -> str:
    """Return the `init` of a source, with neck and heads of the teacher or without.

    Args:
        source: as `network_source` returns it.
        inherited: as `inherits` returns it.
    """
    if not inherited:
        return source
    return TEACHER if source == NONE else source + _AND_TEACHER
