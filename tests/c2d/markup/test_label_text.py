r"""Labels with math: what they show in Unicode, the LaTeX that every program accepts, and one line for each mistake."""

from __future__ import annotations

import pytest

from c2d.core.errors import InputError
from c2d.markup.composed_text import math_labels, math_source
from c2d.markup.label_text import parse_label, plain_label
from c2d.markup.math_symbols import ARGUMENTS, SYMBOLS

SHOWN = {
    r"$\lambda_{kc}$": "λ_kc",
    r"weight $\lambda_{kc}$ of KD_cls": "weight λ_kc of KD_cls",
    r"$T_1^{2}$": "T₁²",
    r"$10^{-3}$": "10⁻³",
    r"costs \$5 and 50 %": "costs $5 and 50 %",
    r"$KD_\mathrm{cls}$": "KD_cls",
    r"$\mathcal{L}_\text{loc}$": "L_loc",
    r"$\frac{a+b}{2}$": "(a+b)/2",
    r"$\frac12$": "1/2",
    r"$\sqrt\alpha$": "√α",
    r"$\hat y$": "y\u0302",
    r"$8 \times 8$": "8 × 8",
    r"$\alpha x$": "αx",
    r"$x_{a,b}$": "x_(a,b)",
    r"$\Delta$AP, $\beta \le 3$": "ΔAP, β ≤ 3",
    "C:\\path, {braces} & <b>": "C:\\path, {braces} & <b>",
}
MISTAKES = {
    r"$\lambda_{kc}": ("unclosed $", r"write \$"),
    "a $ b": ("unclosed $", r"write \$"),
    "$$": ("no math", r"write \$"),
    r"$\lamda$": (r"unknown math command \lamda", r"did you mean \lambda?"),
    r"$\input{x}$": (r"unknown math command \input", "known: Greek letters"),
    "$x_a_b$": ("two _ on one base", "write _{both}"),
    "$x_$": ("nothing behind _", "write _{...}"),
    "${a$": ("unclosed {", "write one }"),
    "$a}$": ("a } too many", "write one {"),
    "$50%$": ("has % in its math", r"write \%"),
    "$a & b$": ("has & in its math", "close the math"),
    r"$\text{a_b}$": (r"has _ inside \text", r"write \_"),
    r"$\frac{a}$": (r"nothing behind \frac", r"write \frac{...}"),
    "$a^2'$": ("has a ' behind ^", "write ^{"),
}


@pytest.mark.parametrize(("label", "shown"), SHOWN.items())
def test_a_label_is_shown_in_unicode(label: str, shown: str) -> None:
    assert plain_label(label) == shown


@pytest.mark.parametrize(("label", "parts"), MISTAKES.items())
def test_a_mistake_is_one_line_with_the_label_and_its_fix(label: str, parts: tuple[str, str]) -> None:
    with pytest.raises(InputError) as caught:
        parse_label(label)
    message = str(caught.value)
    assert f"'{label}'" in message or label in message
    assert all(part in message for part in parts)
    assert "\n" not in message


def test_the_latex_has_every_argument_in_braces_and_names_that_mathtext_knows() -> None:
    source = "".join(piece.source for piece in parse_label(r"$KD_\mathrm{a} \le \frac12, x_\hat y'$"))
    assert source == r"KD_{\mathrm{a}} \leq \frac{1}{2}, x_{\hat {y}}'"


def test_every_known_command_can_be_drawn_by_matplotlib() -> None:
    from matplotlib.mathtext import MathTextParser

    parser = MathTextParser("path")
    labels = [rf"$a\{name} b$" for name in SYMBOLS]
    labels += [rf"$\{name}" + "{a}" * number + "$" for name, number in ARGUMENTS.items()]
    for label in labels:
        (piece,) = parse_label(label)
        parser.parse(f"${piece.source}$")  # raises a ValueError for what it cannot draw


def test_math_is_found_in_texts_that_are_composed_of_labels() -> None:
    math = math_labels([r"$\lambda_{kc}$", r"$KD_\mathrm{cls}$", "plain"])
    assert math == {"λ_kc": r"$\lambda_{kc}$", "KD_cls": r"$KD_\mathrm{cls}$"}
    assert math_source("λ_kc=0.1, KD_cls", math) == r"$\lambda_{kc}$=0.1, $KD_\mathrm{cls}$"
    assert math_source("Δ λ_kc (%)", math) == r"Δ $\lambda_{kc}$ (%)"
    assert math_source("KD_cls/$x$", math) == r"$KD_\mathrm{cls}$/\$x\$"
    assert math_source("KD_clsification", math) is None
    assert math_source("plain", math) is None
