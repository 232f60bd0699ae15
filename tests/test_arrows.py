"""Which folder may import which: every import statement of the four packages is read (`test_light_imports.py` imports
the light ones).

The table below is the design. A folder without a line fails `test_every_folder_has_a_line`.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from c2d.cli.missing_packages import EXTRA_OF

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("c2d", "sweeps", "analysis", "benchmarks")
HEAVY = ("torch", "torchvision", "mmengine", "mmcv", "mmdet", "timm")
OF_THE_CORE = {"PIL", "cv2", "defusedxml", "filelock", "hotcoco", "numpy", "pycocotools", "pydantic", "rich",
               "submitit", "typer", "yaml"}  # fmt: skip
LOOKED_FOR = {"IPython", "huggingface_hub", "markupsafe", "mlflow", "tensorboard", "tensorrt", "wandb"}
"""Packages whose absence their own module reports, or that come with another package of an extra."""

# folder: the folders it may import. `c2d` alone is c2d/__init__.py (the version), which every folder may import.
# Imports inside functions and imports of types alone count as well.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "c2d.core": ("c2d.core.process",),
    "c2d.core.process": (),
    "c2d.core.archives": ("c2d.core",),
    "c2d.core.curves": ("c2d.core",),
    "c2d.core.download": ("c2d.core",),
    "c2d.core.yaml": ("c2d.core",),
    "c2d.markup": ("c2d.core",),
    "c2d.metrics": ("c2d.core",),
    "c2d.metrics.protocols": ("c2d.core", "c2d.metrics"),
    "c2d.metrics.resampling": ("c2d.core", "c2d.metrics"),
    "c2d.metrics.scoring": ("c2d.core", "c2d.metrics", "c2d.metrics.protocols"),
    "c2d.data.decoding": ("c2d.core",),
    "c2d.data": ("c2d.core", "c2d.data.decoding"),
    "c2d.data.coco": ("c2d.core", "c2d.data", "c2d.data.decoding"),
    "c2d.data.conversion": ("c2d.core", "c2d.data", "c2d.data.decoding"),
    "c2d.data.scenes": ("c2d.core", "c2d.data", "c2d.data.conversion"),
    "c2d.data.subset": ("c2d.core", "c2d.data", "c2d.data.conversion"),
    "c2d.data.kitti": ("c2d.core", "c2d.data", "c2d.data.conversion", "c2d.data.decoding"),
    "c2d.data.yolo": ("c2d.core", "c2d.core.yaml", "c2d.data", "c2d.data.conversion", "c2d.data.decoding"),
    "c2d.data.cvat": ("c2d.core", "c2d.data", "c2d.data.conversion", "c2d.data.decoding"),
    "c2d.data.voc": ("c2d.core", "c2d.data", "c2d.data.decoding", "c2d.data.conversion"),
    "c2d.data.fetch": (
        "c2d.core", "c2d.core.archives", "c2d.core.download", "c2d.data", "c2d.data.coco", "c2d.data.kitti",
        "c2d.data.voc",
    ),
    "c2d.data.imagenet": ("c2d.core", "c2d.core.process", "c2d.data", "c2d.data.decoding", "c2d.data.conversion"),
    "c2d.tracking": ("c2d.core", "c2d.core.curves"),
    "c2d.detectors": ("c2d.core",),
    "c2d.detectors.recording": ("c2d.core", "c2d.detectors"),
    "c2d.ops": ("c2d.core", "c2d.core.process", "c2d.detectors", "c2d.detectors.recording"),
    "c2d.configs": ("c2d.core", "c2d.core.yaml", "c2d.detectors"),
    "c2d.specs.scaling": ("c2d.core",),
    "c2d.specs": (
        "c2d.core", "c2d.core.archives", "c2d.core.yaml", "c2d.data", "c2d.configs", "c2d.weights",
        "c2d.weights.zoo", "c2d.specs.scaling",
    ),
    "c2d.weights": ("c2d.core", "c2d.core.download", "c2d.detectors"),
    "c2d.weights.zoo": ("c2d.core", "c2d.detectors", "c2d.weights"),
    "c2d.teachers.fitting": ("c2d.core", "c2d.specs", "c2d.weights"),
    "c2d.teachers": (
        "c2d.core", "c2d.detectors", "c2d.detectors.recording", "c2d.ops", "c2d.configs", "c2d.specs", "c2d.weights",
        "c2d.teachers.fitting",
    ),
    "c2d.methods.parts": ("c2d.core", "c2d.detectors", "c2d.detectors.recording", "c2d.ops"),
    "c2d.methods": (
        "c2d.core", "c2d.detectors", "c2d.detectors.recording", "c2d.ops", "c2d.specs", "c2d.teachers",
        "c2d.methods.parts",
    ),
    "c2d.distillation": ("c2d.core", "c2d.detectors", "c2d.detectors.recording", "c2d.ops", "c2d.specs", "c2d.methods"),
    "c2d.evaluation": (
        "c2d.core", "c2d.core.process", "c2d.metrics", "c2d.metrics.protocols", "c2d.data", "c2d.detectors", "c2d.ops",
        "c2d.configs", "c2d.specs", "c2d.weights", "c2d.teachers",
    ),
    "c2d.evaluation.crops": (
        "c2d.core", "c2d.data", "c2d.detectors", "c2d.configs", "c2d.specs", "c2d.teachers", "c2d.evaluation",
    ),
    "c2d.impressions.images": ("c2d.core", "c2d.detectors", "c2d.ops"),
    "c2d.impressions.page": ("c2d.core", "c2d.markup", "c2d.data", "c2d.data.decoding"),
    "c2d.impressions.sampling": (
        "c2d.core", "c2d.detectors", "c2d.detectors.recording", "c2d.ops", "c2d.specs", "c2d.teachers",
    ),
    "c2d.impressions.pixels": (
        "c2d.core", "c2d.detectors", "c2d.detectors.recording",
        "c2d.ops", "c2d.specs", "c2d.teachers", "c2d.impressions.sampling",
    ),
    "c2d.impressions": (
        "c2d.core", "c2d.core.curves", "c2d.data", "c2d.ops", "c2d.configs", "c2d.specs",
        "c2d.weights", "c2d.teachers", "c2d.evaluation", "c2d.impressions.sampling", "c2d.impressions.pixels",
        "c2d.impressions.images", "c2d.impressions.page", "c2d.tracking",
    ),
    "c2d.training.without_steps": (
        "c2d.core", "c2d.data", "c2d.specs", "c2d.weights.zoo", "c2d.teachers", "c2d.teachers.fitting",
        "c2d.evaluation",
    ),
    "c2d.training": (
        "c2d.core", "c2d.core.archives", "c2d.core.process", "c2d.core.curves", "c2d.core.yaml", "c2d.metrics",
        "c2d.data", "c2d.detectors",
        "c2d.detectors.recording", "c2d.ops",
        "c2d.configs", "c2d.specs", "c2d.impressions", "c2d.weights", "c2d.weights.zoo", "c2d.teachers",
        "c2d.teachers.fitting", "c2d.methods", "c2d.distillation", "c2d.evaluation", "c2d.training.without_steps",
        "c2d.tracking",
    ),
    "c2d.preflight": (
        "c2d.core", "c2d.data", "c2d.detectors", "c2d.ops", "c2d.configs", "c2d.specs", "c2d.weights", "c2d.teachers",
        "c2d.teachers.fitting", "c2d.weights.zoo",
        "c2d.impressions.sampling", "c2d.impressions.pixels", "c2d.methods", "c2d.distillation", "c2d.evaluation",
        "c2d.training", "c2d.training.without_steps",
    ),
    "c2d.api": (
        "c2d.core", "c2d.core.yaml", "c2d.data", "c2d.detectors", "c2d.configs", "c2d.specs", "c2d.evaluation",
        "c2d.tracking", "c2d.training",
    ),
    "c2d.cli.checks": (),
    "c2d.export": (
        "c2d.core", "c2d.data", "c2d.detectors", "c2d.configs", "c2d.specs", "c2d.weights", "c2d.metrics",
        "c2d.evaluation",
    ),
    "c2d.cli": (
        "c2d.api", "c2d.cli.checks", "c2d.core", "c2d.core.process", "c2d.core.yaml", "c2d.metrics",
        "c2d.metrics.scoring", "c2d.data", "c2d.data.coco", "c2d.data.fetch", "c2d.data.scenes", "c2d.data.voc",
        "c2d.data.imagenet", "c2d.data.kitti", "c2d.data.yolo", "c2d.data.cvat", "c2d.data.conversion",
        "c2d.data.subset",
        "c2d.data.decoding", "c2d.specs", "c2d.evaluation", "c2d.training", "c2d.preflight", "c2d.export",
    ),
    "c2d": ("c2d.api", "c2d.cli", "c2d.core"),
    "sweeps.scheduler": ("c2d.core",),
    "sweeps.definition": (
        "c2d.core", "c2d.core.yaml", "c2d.markup", "c2d.specs", "c2d.specs.scaling", "c2d.tracking",
    ),
    "sweeps.failures": ("c2d.core", "sweeps.scheduler"),
    "sweeps.state": (
        "c2d.core", "c2d.core.archives", "c2d.specs", "sweeps.definition", "sweeps.scheduler", "sweeps.failures",
    ),
    "sweeps.node": ("c2d.core", "c2d.core.process", "c2d.data", "c2d.training", "sweeps.scheduler", "sweeps.failures"),
    "sweeps.launchers": (
        "c2d.core", "c2d.core.process", "sweeps.definition", "sweeps.scheduler", "sweeps.failures", "sweeps.node",
    ),
    "sweeps.notification": ("c2d.core", "sweeps.definition", "sweeps.scheduler", "sweeps.state", "sweeps.node",
        "sweeps.launchers",
    ),
    "sweeps.watch": ("c2d.core", "c2d.markup", "sweeps.scheduler", "sweeps.state"),
    "sweeps.checks": (
        "c2d.core", "c2d.core.process", "c2d.data", "c2d.specs", "sweeps.definition", "sweeps.scheduler",
        "sweeps.failures", "sweeps.node", "sweeps.launchers",
    ),
    "sweeps.actions": (
        "c2d.core", "c2d.core.archives", "c2d.specs", "c2d.tracking", "sweeps.definition", "sweeps.scheduler",
        "sweeps.failures", "sweeps.state",
        "sweeps.node",
        "sweeps.launchers", "sweeps.notification", "sweeps.checks",
    ),
    "sweeps.archive": ("c2d.core", "c2d.core.archives", "c2d.core.curves", "c2d.specs", "sweeps.launchers"),
    "sweeps.reproduce": (
        "c2d.core", "c2d.data", "sweeps.definition", "sweeps.launchers", "sweeps.actions",
    ),
    "sweeps.prefetch": (
        "c2d.core", "c2d.core.download", "c2d.data", "c2d.data.fetch", "c2d.specs", "c2d.weights", "c2d.weights.zoo",
        "sweeps.definition", "sweeps.actions",
    ),
    "sweeps.smoke": (
        "c2d.core", "c2d.core.curves", "c2d.core.process", "c2d.data", "c2d.data.scenes", "c2d.specs",
        "c2d.weights", "c2d.training", "sweeps.definition", "sweeps.state", "sweeps.node", "sweeps.reproduce",
        "sweeps.actions",
    ),
    "sweeps.commands": (
        "c2d.core", "c2d.core.archives", "c2d.core.process", "sweeps.definition", "sweeps.launchers",
        "sweeps.notification", "sweeps.state",
        "sweeps.checks", "sweeps.actions", "sweeps.archive", "sweeps.smoke", "sweeps.watch",
    ),
    "sweeps": (
        "c2d.core", "c2d.core.process", "sweeps.definition", "sweeps.state", "sweeps.launchers", "sweeps.actions",
        "sweeps.commands", "sweeps.prefetch", "sweeps.reproduce",
    ),
    "analysis.stats": ("c2d.core", "c2d.metrics", "c2d.metrics.resampling"),
    "analysis.stats.contrasts": ("c2d.core", "c2d.metrics", "analysis.stats"),
    "analysis.stats.power": ("analysis.stats",),
    "analysis.loading": (
        "c2d.core", "c2d.core.archives", "c2d.core.curves", "c2d.metrics", "c2d.metrics.protocols", "analysis.stats",
    ),
    "analysis.spec": ("c2d.core", "c2d.markup", "analysis.loading"),
    "analysis.tables": (
        "c2d.core", "c2d.core.yaml", "c2d.markup", "c2d.metrics", "c2d.metrics.resampling", "analysis.loading",
        "analysis.spec", "analysis.stats",
    ),
    "analysis.claims": (
        "c2d.core", "c2d.core.yaml", "c2d.markup", "analysis.loading", "analysis.spec", "analysis.stats",
        "analysis.stats.contrasts", "analysis.tables",
    ),
    "analysis.tables.seeds_needed": (
        "c2d.core", "analysis.loading", "analysis.spec", "analysis.stats.power", "analysis.tables",
    ),
    "analysis.formats": ("c2d.core", "c2d.markup", "analysis.tables"),
    "analysis.plots": (
        "c2d.core", "c2d.markup", "c2d.data.decoding", "c2d.metrics", "analysis.loading", "analysis.spec",
        "analysis.stats", "analysis.tables",
    ),
    "analysis.page": ("c2d.core", "c2d.markup", "analysis.loading", "analysis.tables", "analysis.formats"),
    "analysis.report": (
        "c2d.core", "c2d.core.yaml", "c2d.markup", "analysis.loading", "analysis.spec", "analysis.tables",
        "analysis.tables.seeds_needed", "analysis.claims", "analysis.formats", "analysis.plots", "analysis.page",
    ),
    "analysis.comparison": (
        "c2d.core", "c2d.core.archives", "c2d.metrics", "c2d.metrics.resampling", "c2d.metrics.scoring",
        "analysis.loading", "analysis.stats", "analysis.formats",
    ),
    "analysis.api": (
        "c2d.core", "analysis.loading", "analysis.spec", "analysis.tables", "analysis.tables.seeds_needed",
        "analysis.claims", "analysis.formats", "analysis.plots", "analysis.report", "analysis.comparison",
        "analysis.commands",
    ),
    "analysis.browse": (
        "c2d.core", "c2d.core.process", "c2d.markup", "c2d.data.decoding", "c2d.metrics", "c2d.metrics.scoring",
        "analysis.loading", "analysis.plots", "analysis.page", "analysis.comparison",
    ),
    "analysis.commands": ("c2d.core", "analysis.comparison", "analysis.browse"),
    "analysis": ("c2d.core", "analysis.api", "analysis.report", "analysis.commands"),
    "benchmarks.machine": ("c2d.core.process",),
    "benchmarks.flops": ("c2d.detectors",),
    "benchmarks.backends": ("c2d.core",),
    "benchmarks.latency": (
        "c2d.core", "c2d.core.process", "c2d.metrics", "c2d.data", "c2d.detectors", "c2d.configs", "c2d.weights",
        "analysis.stats", "benchmarks.machine",
        "benchmarks.flops", "benchmarks.backends",
    ),
    "benchmarks.training": (
        "c2d.core", "c2d.core.process", "c2d.configs", "c2d.detectors", "c2d.distillation", "c2d.methods", "c2d.specs",
        "c2d.teachers", "c2d.evaluation", "c2d.training", "c2d.core.curves", "c2d.tracking",
        "c2d.impressions.sampling", "c2d.impressions.pixels", "c2d.ops", "benchmarks.machine",
    ),
    "benchmarks.hours": (
        "c2d.core", "c2d.core.process", "c2d.data", "c2d.detectors", "c2d.configs", "c2d.specs", "c2d.ops",
        "c2d.teachers", "c2d.distillation", "c2d.evaluation", "c2d.training", "benchmarks.flops",
    ),
    "benchmarks.suite": (
        "c2d.core", "c2d.core.process", "c2d.metrics", "analysis.loading", "analysis.stats",
    ),
    "benchmarks": (
        "c2d.core", "benchmarks.latency", "benchmarks.training", "benchmarks.suite", "benchmarks.hours",
    ),
}  # fmt: skip
TORCH_FREE = ("c2d.core", "c2d.markup", "c2d.metrics", "c2d.data", "c2d.specs", "sweeps", "analysis")
COMMAND_MODULES = ("c2d.cli.commands", "c2d.cli.convert_commands", "c2d.cli.data_commands", "c2d.cli.doctor",
                   "c2d.cli.main", "c2d.__main__", "sweeps.cli", "analysis.cli", "benchmarks.cli",
                   "analysis.commands.compare_command", "analysis.commands.browse_command",
                   "c2d.cli.score_command")  # fmt: skip
METHOD_FRAME = ("c2d.methods", "c2d.methods.base", "c2d.methods.__main__")  # all other files of the folder are methods
# The step benchmark of one method, and the method in a synthetic store that reports are tried on.
NAMES_A_METHOD = ("benchmarks.training.step", "benchmarks.suite.synthetic_run", "benchmarks.hours.hours_check")
MOST_FILES = 16
LONG_FOLDERS = ("c2d.methods", "analysis.plots")  # one paper or one kind of figure a file


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


@cache
def tree_of(path: Path) -> ast.Module:
    """The syntax tree of a file, which is parsed once for all tests."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@cache
def imports_of(module: str) -> tuple[Arrow, ...]:
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
            for alias in node.names:  # `from c2d.methods import icod` points at the file icod, if there is one
                full = f"{base}.{alias.name}"
                yield Arrow(module, full if full in modules() else base, node.lineno, lazy)
        inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside)

    return tuple(visit(tree_of(path), lazy=False))


def within(module: str, *packages: str) -> bool:
    return any(module == p or module.startswith(p + ".") for p in packages)


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


def folder_of(module: str) -> str:
    """The folder of a module: `c2d.ops.boxes` -> `c2d.ops`; a package is its own folder."""
    return module if modules()[module].name == "__init__.py" else module.rpartition(".")[0]


def folders() -> list[str]:
    return sorted({folder_of(name) for name in modules()})


def folder_arrows() -> list[Arrow]:
    """The imports that leave their folder. Everyone may read the version in c2d/__init__.py."""
    found = [arrow for arrow in of_ours(arrows(*ROOMS)) if arrow.target != "c2d"]
    missing = [arrow for arrow in found if arrow.target not in modules()]
    assert not missing, f"imports of modules that do not exist:\n{shown(missing)}"
    return [arrow for arrow in found if folder_of(arrow.source) != folder_of(arrow.target)]


def test_every_folder_has_a_line() -> None:
    assert folders() == sorted(MAY_IMPORT), f"MAY_IMPORT of {Path(__file__).name} and the folders differ"


def test_folders_import_as_the_table_says() -> None:
    wrong = [a for a in folder_arrows() if folder_of(a.target) not in MAY_IMPORT[folder_of(a.source)]]
    assert not wrong, shown(wrong)


def test_the_table_allows_nothing_that_is_not_used() -> None:
    used = {(folder_of(a.source), folder_of(a.target)) for a in folder_arrows()}
    unused = [(source, target) for source, allowed in MAY_IMPORT.items() for target in allowed
              if (source, target) not in used]  # fmt: skip
    assert not unused, f"take these out of MAY_IMPORT: {unused}"


def test_the_table_has_no_circles() -> None:
    """A topological order of the folders exists; each step removes the folders that import no other left."""
    left = {source: set(allowed) for source, allowed in MAY_IMPORT.items()}
    while left:
        free = {source for source, allowed in left.items() if not allowed}
        assert free, f"circle among {sorted(left)}"
        left = {source: allowed - free for source, allowed in left.items() if source not in free}


def test_no_circles_between_files() -> None:
    """Imports inside functions and imports of types alone count."""
    targets: dict[str, set[str]] = {name: set() for name in modules()}
    for arrow in of_ours(arrows(*ROOMS)):
        if arrow.target != arrow.source:
            targets[arrow.source].add(arrow.target)
    left = targets
    while left:
        free = {name for name, found in left.items() if not found & left.keys()}
        if not free:
            break
        left = {name: found for name, found in left.items() if name not in free}
    circle = _shortest_circle(left)
    assert not circle, " -> ".join(circle)


def _shortest_circle(targets: dict[str, set[str]]) -> list[str]:
    best: list[str] = []
    for start in targets:
        paths = [[start]]
        seen = {start}
        while paths:
            path = paths.pop(0)
            following = sorted(targets[path[-1]] & targets.keys())
            if start in following:
                best = min([path, best], key=len) if best else path
                break
            paths += [[*path, name] for name in following if name not in seen]
            seen.update(following)
    return [*best, best[0]] if best else []


def test_folders_stay_small() -> None:
    counts = {name: sum(folder_of(module) == name for module in modules()) for name in folders()}
    large = {name: count for name, count in counts.items() if count > MOST_FILES and name not in LONG_FOLDERS}
    assert not large, f"more than {MOST_FILES} files: {large}"


def test_a_name_of_a_file_occurs_once() -> None:
    stems: dict[str, list[str]] = {}
    for name, path in modules().items():
        if path.stem not in ("__init__", "__main__", "base", "cli"):
            stems.setdefault(path.stem, []).append(name)
    twice = {stem: names for stem, names in stems.items() if len(names) > 1}
    assert not twice, twice


def test_an_import_keeps_its_name() -> None:
    """`from a import b as c` hides which b is meant; only libraries keep their usual short names."""
    renamed = []
    for name, path in modules().items():
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ROOMS:
                renamed += [f"{name}:{node.lineno} {a.name} as {a.asname}" for a in node.names if a.asname]
    assert not renamed, "\n".join(renamed)


def test_torch_free_folders_import_no_torch() -> None:
    """At the top of a file; a function may, where its docstring says which package it needs."""
    heavy = [a for a in arrows(*TORCH_FREE) if not a.lazy and within(a.target, *HEAVY)]
    heavy += [a for a in arrows("c2d.metrics", "analysis") if within(a.target, *HEAVY)]
    assert not heavy, shown(heavy)


def test_command_modules_import_nothing_heavy_at_the_top() -> None:
    heavy = [a for a in arrows(*COMMAND_MODULES) if not a.lazy and within(a.target, *HEAVY)]
    assert not heavy, shown(heavy)


def test_every_package_that_an_extra_brings_has_an_error() -> None:
    """Here, where all imports are read anyway; what the error says is in test_missing_packages.py."""
    imported = {arrow.target.partition(".")[0] for arrow in arrows(*ROOMS)}
    others = imported - set(sys.stdlib_module_names) - set(ROOMS) - OF_THE_CORE - LOOKED_FOR
    assert others - {"typing_extensions"} <= set(EXTRA_OF)


def test_the_command_imports_no_room() -> None:
    allowed = (
        "c2d", "c2d.cli.missing_packages", "c2d.core.disk", "c2d.core.errors", "c2d.core.masking", "c2d.core.printable",
    )  # fmt: skip
    wrong = [a for a in of_ours(arrows("c2d.cli.main")) if a.target not in allowed]
    assert not wrong, shown(wrong)


def test_compat_imports_nothing_of_ours() -> None:
    """A copy of this one file runs an exported student outside the package."""
    assert not (ours := of_ours(arrows("c2d.detectors.compat"))), shown(ours)


def test_a_method_never_imports_another_method() -> None:
    methods = [n for n in modules() if folder_of(n) == "c2d.methods" and n not in METHOD_FRAME]
    assert "c2d.methods.icod" in methods
    across = [
        a
        for name in [*methods, "c2d.methods.base"]
        for a in imports_of(name)
        if (a.target in methods and a.target != name) or a.target == "c2d.methods"
    ]
    assert not across, shown(across)


def test_shared_code_names_no_method() -> None:
    """A method declares what it needs on its class; docstrings and comments may take one as an example.

    Only whole string constants count, and names of the methods' weights (`lambda_...`).
    """
    methods = {n.rpartition(".")[2] for n in modules() if folder_of(n) == "c2d.methods" and n not in METHOD_FRAME}
    methods -= {"at", "soft_labels"}  # also keys of other things
    shared = [n for n in modules() if not within(n, "c2d.methods") and n not in NAMES_A_METHOD]
    wrong = []
    for name in shared:
        for node in ast.walk(tree_of(modules()[name])):
            if isinstance(node, ast.Constant) and node.value in methods:
                wrong.append(f"{name}:{node.lineno} {node.value!r}")
            elif isinstance(node, ast.Constant | ast.Attribute | ast.Name):
                word = node.value if isinstance(node, ast.Constant) else ast.unparse(node)
                if isinstance(word, str) and re.fullmatch(r"(.*\.)?lambda_\w+", word):
                    wrong.append(f"{name}:{node.lineno} {word}")
    assert not wrong, "\n".join(wrong)


def test_a_part_belongs_to_one_method() -> None:
    parts = [n for n in modules() if within(n, "c2d.methods.parts") and n != "c2d.methods.parts"]
    found = arrows("c2d")
    users = {part: {a.source for a in found if a.target == part} for part in parts}
    assert parts
    assert all(len(sources) == 1 for sources in users.values()), users


def test_evaluation_imports_no_distillation() -> None:
    names = ("c2d.evaluation.evaluate_detector", "c2d.evaluation.evaluate_run")
    wrong = [a for a in arrows(*names) if within(a.target, "c2d.methods", "c2d.distillation")]
    # A classifier run is scored by the classifier's own module, which only that kind of run may load.
    wrong += [
        a
        for a in arrows(*names)
        if within(a.target, "c2d.teachers", "c2d.evaluation.evaluate_classifier") and not a.lazy
    ]
    assert not wrong, shown(wrong)


def test_only_the_job_trains() -> None:
    """The worker of a smoke runs that job; what it imports compares pixels."""
    jobs = ("sweeps.node.job", "sweeps.smoke.smoke_worker")
    wrong = [a for a in arrows("sweeps") if within(a.target, "c2d.training") and not (a.source in jobs and a.lazy)]
    assert not wrong, shown(wrong)
