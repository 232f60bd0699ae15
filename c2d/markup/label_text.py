r"""Read a label: plain text with LaTeX math between dollar signs.

    weight $\lambda_{kc}$      text and math
    price in \$                a dollar sign

Everything outside the dollar signs is text, whatever LaTeX would make of it. Math is checked completely: an unclosed
dollar sign, an unknown command, a brace or a script without its partner is an error here, not in the paper.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from c2d.core.errors import InputError, closest_name
from c2d.markup.math_symbols import ACCENTS, ARGUMENTS, FONTS, SHORT, SPACED, SUBSCRIPTS, SUPERSCRIPTS, SYMBOLS

Place = Literal["line", "sub", "sup"]
_DOLLAR = re.compile(r"\\\$|\$")
_TOKEN = re.compile(r"\\(?:[A-Za-z]+|.)|\s+|.", re.DOTALL)
_CHARACTERS = {"'": "′", "-": "−", "*": "∗"}
_FORBIDDEN = {"%": r"write \%", "#": r"write \#", "~": r"write \, for a space", "&": "close the math in front of it"}
"""{character that LaTeX takes for a command: what to do}."""


@dataclass(frozen=True)
class Stretch:
    """Unicode characters of a label that stand in one place.

    Attributes:
        text: the characters.
        place: on the line, or as sub- or superscript.
    """

    text: str
    place: Place = "line"


@dataclass(frozen=True)
class Piece:
    """A part of a label: text as it is, or math.

    Attributes:
        source: the text; of math LaTeX, as between the dollar signs, with every argument in braces.
        is_math: which of both.
        shown: the piece in Unicode.
    """

    source: str
    is_math: bool
    shown: tuple[Stretch, ...]


MAX_LENGTH, MAX_DEPTH, MAX_SHOWN = 10_000, 50, 300
"""Characters of a label, groups inside each other, characters that a message shows."""


def parse_label(text: str) -> tuple[Piece, ...]:
    """Return the pieces of a label in their order.

    Raises:
        InputError: an unclosed dollar sign, or math that LaTeX or the figures could not show.
    """
    if len(text) > MAX_LENGTH:
        raise InputError(f"the label {_quoted(text)} has {len(text)} characters; a label has at most {MAX_LENGTH}")
    parts: list[str] = [""]
    at = 0
    for found in _DOLLAR.finditer(text):
        parts[-1] += text[at : found.start()]
        at = found.end()
        if found[0] == "$":
            parts.append("")
        else:  # inside math \$ is a command
            parts[-1] += r"\$" if len(parts) % 2 == 0 else "$"
    parts[-1] += text[at:]
    if len(parts) % 2 == 0:
        raise InputError(
            rf"the label {_quoted(text)} has an unclosed $; close the math ($\lambda_{{kc}}$), "
            r"or write \$ for a dollar sign"
        )
    pieces = []
    for place, part in enumerate(parts):
        if place % 2:
            reader = _Reader(part, text)
            shown = tuple(_joined(reader.all()))
            pieces.append(Piece(reader.source, True, shown))
        elif part:
            pieces.append(Piece(part, False, (Stretch(part),)))
    return tuple(pieces)


def has_math(text: str) -> bool:
    """Whether a label has math; the label must be valid."""
    return any(piece.is_math for piece in parse_label(text))


def plain_label(text: str) -> str:
    r"""Return a label as Unicode text: `$\lambda_{kc}$` is λ_kc, `$T_1$` is T₁, `\$` is $."""
    return "".join(_plain(stretch) for piece in parse_label(text) for stretch in piece.shown)


def _plain(stretch: Stretch) -> str:
    if stretch.place == "line":
        return stretch.text
    sign, table = ("_", SUBSCRIPTS) if stretch.place == "sub" else ("^", SUPERSCRIPTS)
    if all(ord(char) in table for char in stretch.text):
        return stretch.text.translate(table)
    return sign + (stretch.text if stretch.text.isalnum() else f"({stretch.text})")


def _joined(stretches: Sequence[Stretch]) -> Iterator[Stretch]:
    """Neighbours in one place as one."""
    text, place = "", None
    for stretch in stretches:
        if stretch.place != place and place is not None:
            yield Stretch(text, place)
            text = ""
        text, place = text + stretch.text, stretch.place
    if text and place is not None:
        yield Stretch(text, place)


def _sign(token: str) -> str:
    """One character, or one command without groups, in Unicode; an unknown one as it is."""
    return SYMBOLS.get(token[1:], token) if token.startswith("\\") else _CHARACTERS.get(token, token)


class _Reader:
    """Reads the LaTeX between two dollar signs."""

    def __init__(self, source: str, label: str) -> None:
        self._label = label
        self._tokens = [f"\\{SHORT[token[1:]]}" if token[1:] in SHORT else token for token in _TOKEN.findall(source)]
        self._at = 0
        self._depth = 0
        self._braces: list[tuple[int, str]] = []

    @property
    def source(self) -> str:
        """What was read, with the braces that LaTeX or mathtext would miss."""
        added = {at: "".join(brace for place, brace in self._braces if place == at) for at, _ in self._braces}
        text = "".join(added.get(at, "") + token for at, token in enumerate([*self._tokens, ""]))
        return text.strip()

    def all(self) -> list[Stretch]:
        """The whole math; it must not be empty."""
        found = self._until("")
        if not "".join(stretch.text for stretch in found).strip():
            raise self._error("has no math between two dollar signs", r"write \$ for a dollar sign")
        return found

    def _until(self, end: str) -> list[Stretch]:
        """Everything up to the closing brace, or up to the end for ""."""
        out: list[Stretch] = []
        scripts: set[str] = set()  # of the current base
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            self._at += 1
            if token == end:
                return out
            if token in ("_", "^"):
                if token in scripts:
                    raise self._error(f"has two {token} on one base", f"write {token}{{both}}")
                scripts.add(token)
                text = "".join(stretch.text for stretch in self._argument(token))
                out.append(Stretch(text, "sub" if token == "_" else "sup"))
                continue
            if token == "}":
                raise self._error("has a } too many", "write one { for each }")
            if token == "'":
                if "^" in scripts:
                    raise self._error("has a ' behind ^", "write ^{...'}")
            elif not token.isspace():
                scripts = set()
            out += self._symbol(token)
        if end:
            raise self._error("has an unclosed {", "write one } for each {")
        return out

    def _argument(self, command: str) -> list[Stretch]:
        """The group, or the one symbol, behind a command."""
        while self._at < len(self._tokens) and self._tokens[self._at].isspace():
            self._at += 1
        if self._at == len(self._tokens) or self._tokens[self._at] in ("}", "_", "^"):
            raise self._error(f"has nothing behind {command}", f"write {command}{{...}}")
        token = self._tokens[self._at]
        if token != "{":
            self._braces.append((self._at, "{"))
        self._at += 1
        found = self._symbol(token)
        if token != "{":
            self._braces.append((self._at, "}"))
        if not found:
            raise self._error(f"has nothing behind {command}", f"write {command}{{...}}")
        return found

    def _symbol(self, token: str) -> list[Stretch]:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(f"has more than {MAX_DEPTH} groups inside each other", "write it flatter")
        found = self._shown(token)
        self._depth -= 1
        return found

    def _shown(self, token: str) -> list[Stretch]:
        if token == "{":
            return self._until("}")
        if token.isspace():
            around = self._tokens[max(self._at - 2, 0) : self._at - 1] + self._tokens[self._at : self._at + 1]
            return [Stretch(" ")] if any(_sign(sign) in SPACED for sign in around) else []
        if token in _FORBIDDEN:
            raise self._error(f"has {token} in its math", _FORBIDDEN[token])
        if not token.startswith("\\"):
            if not token.isprintable():
                raise self._error(f"has the character {token!a} in its math", "take it out")
            return [Stretch(_sign(token))]
        name = token[1:]
        if name in SYMBOLS:
            return [Stretch(_sign(token))]
        if name == "text":
            return self._words()
        if name not in ARGUMENTS:
            close = closest_name(name, [*SYMBOLS, *ARGUMENTS])
            guess = f"did you mean \\{close}? " if close else ""
            listed = ", ".join(f"\\{known}" for known in ARGUMENTS)
            raise self._error(
                f"has the unknown math command {token}",
                f"{guess}known: Greek letters, common signs and functions, {listed}; "
                "text outside the dollar signs may have anything",
            )
        groups = [self._argument(token) for _ in range(ARGUMENTS[name])]
        if name in FONTS:
            return groups[0]
        texts = ["".join(map(_plain, _joined(group))) for group in groups]
        if name in ACCENTS:
            return [Stretch("".join(char + ACCENTS[name] for char in texts[0]))]
        enclosed = [text if len(text) == 1 or text.isalnum() else f"({text})" for text in texts]
        return [Stretch(f"√{enclosed[0]}" if name == "sqrt" else "/".join(enclosed))]

    def _words(self) -> list[Stretch]:
        r"""The group of \text: words with their spaces, without math."""
        if self._at == len(self._tokens) or self._tokens[self._at] != "{":
            raise self._error(r"has no { behind \text", r"write \text{...}")
        words = ""
        for place in range(self._at + 1, len(self._tokens)):
            token = self._tokens[place]
            if token == "}":
                self._at = place + 1
                return [Stretch(words)]
            if token in ("{", "_", "^", *_FORBIDDEN) or (token.startswith("\\") and token[1:] not in ("_", *"%&#{} ")):
                raise self._error(rf"has {token} inside \text", r"close \text in front of it, or write \_ \% \& \#")
            words += " " if token.isspace() else token.removeprefix("\\")
        raise self._error("has an unclosed {", "write one } for each {")

    def _error(self, what: str, fix: str) -> InputError:
        return InputError(f"the label {_quoted(self._label)} {what}; {fix}")


def _quoted(text: str) -> str:
    """In quotes, with its backslashes as they are in the file."""
    text = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
    return f"'{text}'" if text.isprintable() else ascii(text)
