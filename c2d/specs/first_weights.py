"""The grammar of `init`, which names the weights that a network starts from. Needs no torch.

    INIT   = none | SOURCE | teacher | SOURCE+teacher | WHOLE
    SOURCE = backbone, of a student: the classifier run of `teachers.backbone`; or
    SOURCE = torchvision:MODEL.WEIGHTS | package:NAME | timm:NAME | sha256:HEX of a file that the store keeps
    WHOLE  = zoo:FILE_STEM | detector:sha256:HEX of a file that the store keeps

A source fills the network of a classifier or the backbone of a student; `teacher` fills a student's neck and heads from
its detector teacher. WHOLE fills all of a student, which is then evaluated and never trained.
"""

from __future__ import annotations

NONE, TEACHER, BACKBONE = "none", "teacher", "backbone"
NAMED = ("torchvision:", "package:", "timm:")
"""Sources whose names stand for their content."""
KEPT = "sha256:"
_SOURCE = r"backbone|torchvision:[\w.]+|package:[\w.-]+|timm:[\w.]+|sha256:[0-9a-f]{64}"
WHOLE = ("zoo:", "detector:")
"""Sources of whole detectors."""
_WHOLE = r"zoo:[\w.+-]+|detector:sha256:[0-9a-f]{64}"
PATTERN = rf"^(none|teacher|({_SOURCE})(\+teacher)?|{_WHOLE})$"
ALLOWED = (
    "none, torchvision:MODEL.WEIGHTS, package:NAME, timm:NAME, a file, backbone, teacher, or one of them with "
    "+teacher; zoo:FILE_STEM or detector:PATH for a whole detector"
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


def is_whole(init: str) -> bool:
    """Return whether all weights of a detector come from one file.

    Args:
        init: of a spec.
    """
    return init.startswith(WHOLE)


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
