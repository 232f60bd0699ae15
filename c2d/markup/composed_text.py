r"""Find the labels with math inside a text that was composed of labels: "λ_kc=0.1, T₁", "Δ λ_kc (%)"."""

from __future__ import annotations

import re
from collections.abc import Mapping

from c2d.markup.label_text import has_math, plain_label

_BEFORE = (
    r"(?:^|(?<=, )|(?<=/)|(?<==)|(?<=: )|(?<= · )|(?<=\()|(?<=Δ )|(?<=Δ)|(?<=against )|(?<=over )|(?<=and )"
    r"|(?<=gain in )|(?<=− )|(?<=\+ ))"
)
_AFTER = r"(?=$|\n|, |/|=|: | · |\)| [(\[=±−+]| and )"
"""What stands between the labels of a text."""


def math_labels(written: list[str]) -> dict[str, str]:
    """Return {label in Unicode: the label as it was written} of those labels that have math."""
    return {plain_label(text): text for text in written if has_math(text)}


def math_source(text: str, math: Mapping[str, str]) -> str | None:
    r"""Return a text as a label with the math of its parts; None where no part has math.

    Args:
        text: in Unicode.
        math: of `math_labels`.
    """
    if text in math:
        return math[text]
    if not math:
        return None
    known = "|".join(re.escape(label) for label in sorted(math, key=len, reverse=True))
    parts = re.split(f"{_BEFORE}({known}){_AFTER}", text)
    if len(parts) == 1:
        return None
    return "".join(math[part] if place % 2 else part.replace("$", r"\$") for place, part in enumerate(parts))
