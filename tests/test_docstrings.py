"""Docstrings of the four packages: each public name has one, tensors have a shape, and the words are plain."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("c2d", "sweeps", "analysis", "benchmarks")
ARRAY_FOLDERS = ("c2d/metrics", "analysis/stats")  # numpy arrays need a shape here, as tensors do everywhere

_SIZE = r"(?:\.\.\.|\d+(?: [A-Z])?|[A-Z][\w ]*|[a-z]\d?|height|width|size|side|count|images|chunk)(?: ?[*+/-] ?\w+)*"
# (N, C, H, W) | (K,) | () | "scalar" | "any shape" | "same shape": the shape of a tensor in a docstring.
SHAPE = re.compile(rf"\(\)|\({_SIZE},\)|\({_SIZE}(?:, {_SIZE})+\)|\b(?:[Ss]calars?|any shape|same shape|shape of)\b")
# Everyday words that a reader has to translate; use raise, report, check, fix, missing, failed, exists, retry.
BANNED = re.compile(
    r"\b(whoever|nobody|somebody|mends?|mended|anew|so long and so often|as it stands"
    r"|(?:is|are|was|were|be|been) (?:told|asked))\b",
    re.IGNORECASE,
)

# Rules that a folder does not keep yet. A folder that is clean loses its line; the goal is an empty table.
NOT_YET: dict[str, tuple[str, ...]] = {}


class Definition(NamedTuple):
    """One public module, class, function or method."""

    folder: str
    name: str
    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef

    @property
    def docstring(self) -> str:
        return ast.get_docstring(self.node) or ""


Body = list[ast.stmt]


def public_definitions() -> Iterator[Definition]:
    """Every module, and every class, function and method whose name and class have no leading underscore."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.parent.parent.name == "configs":
                continue  # read by mmengine as a config
            tree = ast.parse(path.read_text(encoding="utf-8"))
            folder = path.parent.relative_to(ROOT).as_posix()
            name = path.relative_to(ROOT).as_posix()
            if tree.body:
                yield Definition(folder, name, tree)
            yield from _public(folder, name, tree.body)


def _public(folder: str, name: str, body: Body) -> Iterator[Definition]:
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            if any("overload" in ast.unparse(d) or ".setter" in ast.unparse(d) for d in node.decorator_list):
                continue
            yield Definition(folder, f"{name}:{node.lineno} {node.name}", node)
            if isinstance(node, ast.ClassDef):
                yield from _public(folder, name, node.body)


def annotation_text(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
    found = [argument.annotation for argument in arguments if argument is not None and argument.annotation is not None]
    return " ".join(ast.unparse(part) for part in [*found, *([node.returns] if node.returns is not None else [])])


def takes_tensors(found: Definition) -> bool:
    """Whether a parameter or the result is a tensor (in numeric folders: or an array)."""
    if not isinstance(found.node, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    words = r"\bTensor\b|ndarray" if found.folder.startswith(ARRAY_FOLDERS) else r"\bTensor\b"
    return bool(re.search(words, annotation_text(found.node)))


def lacks_shape(found: Definition) -> bool:
    return takes_tensors(found) and not SHAPE.search(found.docstring)


def lacks_docstring(found: Definition) -> bool:
    return not found.docstring


def lacks_forward_sections(found: Definition) -> bool:
    """A method's `forward` documents what it takes or returns."""
    is_forward = found.folder == "c2d/methods" and getattr(found.node, "name", "") == "forward"
    return is_forward and not re.search(r"^(Args|Returns):", found.docstring, re.MULTILINE)


def has_banned_words(found: Definition) -> bool:
    return bool(BANNED.search(found.docstring))


RULES: dict[str, Callable[[Definition], bool]] = {
    "shape": lacks_shape,
    "missing": lacks_docstring,
    "forward": lacks_forward_sections,
    "words": has_banned_words,
}


@pytest.mark.parametrize("rule", RULES)
def test_docstrings(rule: str) -> None:
    broken = [d.name for d in public_definitions() if RULES[rule](d) and rule not in NOT_YET.get(d.folder, ())]
    assert not broken, f"{len(broken)} docstrings break the rule '{rule}':\n" + "\n".join(broken)


@pytest.mark.parametrize(
    "text", ["(N, C, H, W)", "(K, 4)", "(B,)", "()", "a scalar", "any shape", "(..., 4)", "(2 K, 4)"]
)
def test_a_shape_is_recognised(text: str) -> None:
    assert SHAPE.search(f"Boxes {text} in px.")


@pytest.mark.parametrize("text", ["boxes (of an image)", "(student, teacher)", "the sum (per term)"])
def test_other_brackets_are_no_shape(text: str) -> None:
    assert not SHAPE.search(text)
