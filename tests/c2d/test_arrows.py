"""Who imports whom: every import statement of the four packages is read (`test_light.py` imports the light ones).

The map below is the design's. A new module fails `test_every_module_has_a_place` until somebody says where it stands.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("c2d", "sweeps", "analysis", "benchmarks")
HEAVY = ("torch", "torchvision", "mmengine", "mmcv", "mmdet", "timm")

# c2d from the ground up: a module imports its own floor and lower ones. Longest prefix decides.
FLOORS = {
    "c2d": 0,
    "c2d.errors": 0,
    "c2d.compat": 0,
    "c2d.runfolder": 0,
    "c2d.spec": 0,
    "c2d.anatomy": 1,
    "c2d.attempt": 1,
    "c2d.audit": 1,
    "c2d.backbones": 1,
    "c2d.batch": 1,
    "c2d.boxes": 1,
    "c2d.chunks": 1,
    "c2d.configs": 1,
    "c2d.data": 1,
    "c2d.distribution": 1,
    "c2d.finite": 1,
    "c2d.heads": 1,
    "c2d.instances": 1,
    "c2d.known": 1,
    "c2d.masks": 1,
    "c2d.methodpage": 1,
    "c2d.outputs": 1,
    "c2d.pairs": 1,
    "c2d.params": 1,
    "c2d.pixels": 1,
    "c2d.positives": 1,
    "c2d.priors": 1,
    "c2d.prototypes": 1,
    "c2d.provenance": 1,
    "c2d.pursuit": 1,
    "c2d.question": 1,
    "c2d.regions": 1,
    "c2d.safeload": 1,
    "c2d.secondstage": 1,
    "c2d.shadow": 1,
    "c2d.shares": 1,
    "c2d.taps": 1,
    "c2d.teachers": 1,
    "c2d.watch": 1,
    "c2d.distillers": 2,
    "c2d.averaging": 3,
    "c2d.checkpoint": 3,
    "c2d.evaluate": 3,
    "c2d.liveness": 3,
    "c2d.mixed": 3,
    "c2d.monitor": 3,
    "c2d.recorder": 3,
    "c2d.sampling": 3,
    "c2d.stop": 3,
    "c2d.student": 3,
    "c2d.weighting": 3,
    "c2d.wrapper": 3,
    "c2d.config": 4,
    "c2d.engine": 4,
    "c2d.teachers.evaluation": 4,
    "c2d.build": 5,
    "c2d.evaluation": 5,
    "c2d.fit": 5,
    "c2d.train": 5,
    "c2d.standins": 5,
    "c2d.firststep": 5,
    "c2d.trial": 6,
    "c2d.sights": 6,
    "c2d.suggest": 6,
    "c2d.tryout": 6,
    "c2d.rehearse": 6,
    "c2d.__main__": 6,
    "c2d.cli": 6,
    "c2d.checkup": 6,
    "c2d.doctor": 6,
    "c2d.face": 6,
}
COMMAND_MODULES = ("c2d.cli", "c2d.data.cli", "c2d.doctor", "c2d.face", "c2d.__main__")
FRAME = ("c2d.distillers", "c2d.distillers.base", "c2d.distillers.__main__")  # of the methods; all others are methods
NUMBERS = ("coco", "tide", "classification", "inputs", "parity", "errors")  # what c2d may ask analysis
# What sweeps know of c2d: the question, the data it names, the folder, who writes it and with which code. No torch.
SWEEPS_KNOW = (
    "c2d.spec",
    "c2d.runfolder",
    "c2d.errors",
    "c2d.question",
    "c2d.data.card",
    "c2d.attempt",
    "c2d.provenance",
)
NO_TORCH = ("c2d", "c2d.errors", "c2d.runfolder", "c2d.spec")  # compat fits torch to its host and needs it


class Arrow(NamedTuple):
    """One import statement: from which module to which, on which line, and whether only a call runs it."""

    source: str
    target: str
    line: int
    lazy: bool

    def __str__(self) -> str:
        return f"{self.source}:{self.line} imports {self.target}"


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> dict[str, Path]:
    """Every module of the four packages; mmengine's config files are read by mmengine, not imported."""
    found = (path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py")))
    return {module_name(p): p for p in found if p.parent.parent.name != "configs"}


def imports_of(module: str) -> Iterator[Arrow]:
    """All imports of one module, those inside functions included."""
    path = modules()[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]

    def visit(node: ast.AST, lazy: bool) -> Iterator[Arrow]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Arrow(module, alias.name, node.lineno, lazy)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            for alias in node.names:  # `from c2d.distillers import icod` points at the file icod, if there is one
                full = f"{base}.{alias.name}"
                yield Arrow(module, full if full in modules() else base, node.lineno, lazy)
        inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside)

    yield from visit(ast.parse(path.read_text(encoding="utf-8"), filename=str(path)), lazy=False)


def within(module: str, *packages: str) -> bool:
    return any(module == p or module.startswith(p + ".") for p in packages)


def floor(module: str) -> int | None:
    parts = module.split(".")
    for length in range(len(parts), 1 if len(parts) > 1 else 0, -1):
        if ".".join(parts[:length]) in FLOORS:
            return FLOORS[".".join(parts[:length])]
    return None


def arrows(*packages: str) -> list[Arrow]:
    return [arrow for name in modules() if within(name, *packages) for arrow in imports_of(name)]


def of_ours(found: list[Arrow]) -> list[Arrow]:
    return [arrow for arrow in found if within(arrow.target, *ROOMS)]


def shown(found: list[Arrow]) -> str:
    return "\n".join(str(arrow) for arrow in found)


def test_the_walk_reads_every_form_of_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top = "import a.b\nfrom . import near\nfrom ..up import thing\nfrom c2d.pack import near\n"
    path = tmp_path / "c2d" / "pack" / "one.py"
    known = {"c2d.pack.one": path, "c2d.pack.near": path}
    path.parent.mkdir(parents=True)
    path.write_text(top + "def f():\n    import torch\n")
    monkeypatch.setattr(sys.modules[__name__], "modules", lambda: known)
    found = [(a.target, a.lazy) for a in imports_of("c2d.pack.one")]
    assert found == [
        ("a.b", False),
        ("c2d.pack.near", False),
        ("c2d.up", False),
        ("c2d.pack.near", False),
        ("torch", True),
    ]


def test_every_module_has_a_place() -> None:
    homeless = [name for name in modules() if within(name, "c2d") and floor(name) is None]
    assert not homeless, f"say in FLOORS of {Path(__file__).name} where these stand: {homeless}"


def test_c2d_imports_downwards_only() -> None:
    up = [
        arrow
        for arrow in arrows("c2d")
        if within(arrow.target, "c2d")
        and arrow.source not in COMMAND_MODULES
        and (floor(arrow.target) or 0) > (floor(arrow.source) or 0)
    ]
    assert not up, shown(up)


def test_command_modules_import_nothing_heavy_at_the_top() -> None:
    heavy = [a for a in arrows(*COMMAND_MODULES) if not a.lazy and within(a.target, *HEAVY)]
    assert not heavy, shown(heavy)


def test_the_face_imports_no_room() -> None:
    wrong = [a for a in of_ours(arrows("c2d.face")) if a.target not in ("c2d", "c2d.errors")]
    assert not wrong, shown(wrong)


def test_the_ground_floor_needs_no_torch_and_compat_nothing_of_ours() -> None:
    ground = [a for name in NO_TORCH for a in imports_of(name)]
    assert not (heavy := [a for a in ground if within(a.target, *HEAVY)]), shown(heavy)
    assert not (ours := of_ours(arrows("c2d.compat"))), shown(ours)


def test_a_method_never_imports_another_method() -> None:
    names = [n for n in modules() if within(n, "c2d.distillers") and n not in FRAME]
    assert "c2d.distillers.icod" in names
    across = [
        a
        for name in [*names, "c2d.distillers.base"]
        for a in imports_of(name)
        if (within(a.target, *names) and a.target != name) or a.target == "c2d.distillers"
    ]
    assert not across, shown(across)


def test_evaluation_knows_no_distillation() -> None:
    wrong = [a for a in arrows("c2d.evaluate") if within(a.target, "c2d.distillers", "c2d.wrapper", "c2d.teachers")]
    wrong += [a for a in arrows("c2d.evaluation") if within(a.target, "c2d.distillers", "c2d.wrapper")]
    # A classifier run is scored by the classifier's own module, which only that kind of run may load.
    wrong += [a for a in arrows("c2d.evaluation") if within(a.target, "c2d.teachers") and not a.lazy]
    assert not wrong, shown(wrong)


def test_c2d_crosses_to_analysis_for_its_numbers_only() -> None:
    crossing = [a for a in of_ours(arrows("c2d")) if not within(a.target, "c2d")]
    wrong = [a for a in crossing if not within(a.target, *(f"analysis.{name}" for name in NUMBERS))]
    assert not wrong, shown(wrong)


def test_analysis_imports_nothing_of_ours_and_no_torch() -> None:
    found = arrows("analysis")
    wrong = [a for a in found if within(a.target, "c2d", "sweeps", "benchmarks", *HEAVY)]
    assert found, "no import statement found: is the room empty?"
    assert not wrong, shown(wrong)


def test_sweeps_know_the_question_and_the_folder_only() -> None:
    wrong = []
    for arrow in of_ours(arrows("sweeps")):
        if within(arrow.target, "sweeps", *SWEEPS_KNOW) or arrow.target == "c2d":
            continue
        if arrow.source == "sweeps.job" and arrow.target == "c2d.train" and arrow.lazy:
            continue
        wrong.append(arrow)
    assert not wrong, shown(wrong)


def test_benchmarks_measure_stock_students() -> None:
    wrong = []
    for arrow in of_ours(arrows("benchmarks")):
        if within(arrow.target, "benchmarks", "c2d.compat", "c2d.errors", "c2d.runfolder", "c2d.data.card", "analysis"):
            continue
        # What a training step costs is asked of the training itself: of made cases, and of whole questions.
        if arrow.source in ("benchmarks.step", "benchmarks.questions") or arrow.target == "c2d":
            continue
        wrong.append(arrow)
    assert not wrong, shown(wrong)
