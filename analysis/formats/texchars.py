"""Any text as LaTeX that compiles with pdflatex and only the fonts every LaTeX has (OT1 Computer Modern).

Characters that are shorthands of a language (babel) or make ligatures are written as commands. A letter with an accent
is that accent on its letter. A character that these fonts do not have is shown by its code, [U+4F60], which compiles.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

from analysis.formats.cell_text import printable_line
from c2d.markup.composed_text import math_source
from c2d.markup.label_text import parse_label
from c2d.markup.math_symbols import SUBSCRIPTS, SUPERSCRIPTS, SYMBOLS

LONG_WORD = 16
"""A longer run without a space may be broken inside, so that no name sticks out of its box."""

_COMMANDS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "_": r"\_",
    "%": r"\%",
    "&": r"\&",
    "#": r"\#",
    "$": r"\ensuremath{\$}",  # in text the italic fonts of OT1 print a pound sign for \$
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    # OT1 has no < > | in text and would print ¡ ¿ and a dash.
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedblright{}",
    "'": r"\textquoteright{}",
    "`": r"\textquoteleft{}",
    "‘": r"\textquoteleft{}",
    "’": r"\textquoteright{}",
    "“": r"\textquotedblleft{}",
    "”": r"\textquotedblright{}",
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "‐": "-",
    "‑": "-",
    "…": r"\dots{}",
    "ß": r"\ss{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "œ": r"\oe{}",
    "Œ": r"\OE{}",
    "å": r"\aa{}",
    "Å": r"\AA{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "ı": r"\i{}",
    "¡": r"\textexclamdown{}",
    "¿": r"\textquestiondown{}",
    "ﬁ": "fi",
    "ﬂ": "fl",
}
_MATH = {
    "−": "-",
    "±": r"\pm",
    "×": r"\times",
    "·": r"\cdot",
    "÷": r"\div",
    "≤": r"\leq",
    "≥": r"\geq",
    "≠": r"\neq",
    "≈": r"\approx",
    "∞": r"\infty",
    "∆": r"\Delta",
    "∈": r"\in",
    "√": r"\surd",
    "∑": r"\sum",
    "§": r"\mathsection",
    "¶": r"\mathparagraph",
    "£": r"\mathsterling",
    "†": r"\dagger",
    "‡": r"\ddagger",
    "•": r"\bullet",
    "→": r"\rightarrow",
    "←": r"\leftarrow",
    "↑": r"\uparrow",
    "↓": r"\downarrow",
    "⇒": r"\Rightarrow",
    "°": r"^\circ",
    "′": r"^\prime",
    "¬": r"\neg",
    "µ": r"\mu",
    "ϵ": r"\epsilon",
    "ϕ": r"\phi",
    "ο": "o",
    "ς": r"\varsigma",
    "ε": r"\varepsilon",
    "φ": r"\varphi",
    **{chr(shown): f"_{chr(char)}".replace("−", "-") for char, shown in SUBSCRIPTS.items()},
    **{chr(shown): f"^{chr(char)}".replace("−", "-") for char, shown in SUPERSCRIPTS.items()},
}
_GREEK = (
    *("alpha", "beta", "gamma", "delta", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu", "xi", "pi"),
    *("rho", "sigma", "tau", "upsilon", "chi", "psi", "omega"),
)
_GREEK_CAPITALS = ("Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega")
_ACCENTS = {
    0x300: "`",
    0x301: "'",
    0x302: "^",
    0x303: "~",
    0x304: "=",
    0x306: "u",
    0x307: ".",
    0x308: '"',
    0x30A: "r",
    0x30B: "H",
    0x30C: "v",
    0x327: "c",
    0x323: "d",
    0x331: "b",
}
for _kind, _names in (("SMALL", _GREEK), ("CAPITAL", _GREEK_CAPITALS)):
    for _name in _names:
        # Unicode's name of the letter is LAMDA.
        _MATH[unicodedata.lookup(f"GREEK {_kind} LETTER {_name.upper().replace('LAMBDA', 'LAMDA')}")] = f"\\{_name}"
for _command, _shown in SYMBOLS.items():
    if len(_shown) == 1 and not _shown.isascii():
        _MATH.setdefault(_shown, f"\\{_command}")


def escape(text: str) -> str:
    """Return one line of LaTeX that prints the text; long words may be broken."""
    return " ".join(_word(word) for word in printable_line(unicodedata.normalize("NFC", text)).split(" "))


def label(text: str, math: Mapping[str, str]) -> str:
    r"""Return one line of LaTeX that prints a label: its math as math, all other text as text.

    Args:
        text: in Unicode.
        math: of `analysis.tables.table.Table.math`.
    """
    source = math_source(text, math)
    if source is None:
        return escape(text)
    parts = [_math(piece.source) if piece.is_math else _text(piece.source) for piece in parse_label(source)]
    return "".join(parts)


def _math(source: str) -> str:
    """Math with the characters that a math font of OT1 does not have as commands."""
    return "$" + "".join(char if " " <= char <= "~" else f"{{{_math_char(char)}}}" for char in source) + "$"


def _math_char(char: str) -> str:
    return _MATH[char] if char in _MATH else rf"\text{{{_char(char)}}}"


def _text(text: str) -> str:
    """Text beside math, with the spaces at its ends."""
    spaces = " " * text.startswith(" "), " " * text.endswith(" ")
    return text[:1] if text.isspace() else spaces[0] + escape(text) + spaces[1]


def comment(text: str) -> str:
    """Return the text as one plain line that is safe behind a percent sign."""
    return printable_line(text)


def identifier(text: str) -> str:
    r"""Return the text for \label: letters, digits, hyphens and dots only."""
    plain = "".join(char if char.isascii() and (char.isalnum() or char in "-.") else "-" for char in text)
    return plain[:80] or "table"


def _word(word: str) -> str:
    pieces = [_char(char) for char in word]
    widths = [len(piece) if piece.startswith("[U+") else 1 for piece in pieces]
    if sum(widths) <= LONG_WORD:
        return _apart(pieces)
    # Breaks behind punctuation where there is some, else anywhere.
    parts, since = [], 0
    for char, piece, width in zip(word, pieces, widths, strict=True):
        since += width
        breaks = since >= LONG_WORD or (since >= 4 and not char.isalnum())
        parts.append(piece + (r"\allowbreak{}" if breaks else ""))
        since = 0 if breaks else since
    return _apart(parts)


def _apart(pieces: list[str]) -> str:
    """Joined, with hyphens that make no dash: -- stays two hyphens."""
    # Twice, because `replace` does not see overlaps: --- becomes -{}-- first.
    return "".join(pieces).replace("--", "-{}-").replace("--", "-{}-").replace(",,", ",{},").replace(",,", ",{},")


def _char(char: str) -> str:
    if char in _COMMANDS:
        return _COMMANDS[char]
    if char in _MATH:
        return rf"\ensuremath{{{_MATH[char]}}}"
    if " " <= char <= "~":
        return char
    accented = unicodedata.normalize("NFD", char)
    if len(accented) == 2 and accented[0].isascii() and accented[0].isalpha() and ord(accented[1]) in _ACCENTS:
        # An accent above i or j goes on the dotless letter.
        base = rf"\{accented[0]}" if accented[0] in "ij" and ord(accented[1]) < 0x320 else accented[0]
        return rf"\{_ACCENTS[ord(accented[1])]}{{{base}}}"
    return rf"[U+{ord(char):04X}]"
