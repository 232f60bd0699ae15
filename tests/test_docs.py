"""Names in the pages exist: files, dotted names, commands with their options, targets of make, links.

A path starts at the repository root or is the name of one file. Capitals are a placeholder: `docs/methods/NAME.md`.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("c2d", "sweeps", "analysis", "benchmarks", "tests")
HISTORY = ("docs/results/structure.md",)  # compares the tree with an earlier one
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = [*PAGES, ROOT / "Makefile", ROOT / "pyproject.toml", *sorted((ROOT / ".ci").iterdir())]
CHECKED = [path for path in TEXTS if path.relative_to(ROOT).as_posix() not in HISTORY]
USER_FILES = {"config.py", "train_config.py", "c2d.py", "analysis.py", "benchmarks.py", "retinanet_r18_fpn_1x_coco.py"}
"""Files of a run folder, of a reader's own folder, or of mmdet."""
STORE_FILES = {"sweeps/NAME.json", "sweeps/NAME/JOB", "sweeps/NAME/end"}
"""Files of a store whose folder has the name of a package."""
GROUPS = {"c2d.commands", "c2d.doctor"}
"""Entry points."""

PATH = re.compile(rf"(?<![\w./:$<>-])(?:{'|'.join(PACKAGES)}|docs|constraints|\.ci)/[\w./*-]*\w(?![\w$])")
FILE = re.compile(r"(?<![\w./$*-])\w+\.py\b")
DOTTED = re.compile(rf"(?<![\w./:-])(?:{'|'.join(PACKAGES)})(?:\.[A-Za-z_]\w*)+\*?(?!\w)")
CAPITALISED = re.compile(r"`([A-Z]\w+)`")
CALL = re.compile(r"`([a-z_]+)\([a-z_, .]*\)")
NAME_IN_FILE = re.compile(r"`(\w+)(?:\([^`]*\))?` (?:in|of) `([\w./]+\.py)`")
CODE = re.compile(r"^```.*?^```|^ {4}.*?$|`[^`\n]+(?:\n[^`\n]+)?`", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:^ *|`|\$ |bin/)c2d((?: +[^`#|>\n]+)?)", re.MULTILINE)
OPTION = re.compile(r"(?<=\s)--[a-z][\w-]*")
TARGET = re.compile(r"(?:^ *|`|\$ )make ([a-z][a-z-]*)\b", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"")


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8").replace("\\\n", " ")


def code_of(page: Path) -> str:
    """Fenced blocks, indented lines and inline code, one after the other, without `$(...)`."""
    return re.sub(r"\$\([^)]*\)", "", "\n".join(CODE.findall(text_of(page))))


@cache
def names_of(module: Path) -> dict[str, set[str]]:
    """{name at the top of a file: names inside, where it is a class}."""
    found: dict[str, set[str]] = {}
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            assigned: list[ast.expr] = [n.target for n in node.body if isinstance(n, ast.AnnAssign)]
            assigned += [target for n in node.body if isinstance(n, ast.Assign) for target in n.targets]
            methods = {n.name for n in node.body if isinstance(n, ast.FunctionDef)}
            found[node.name] = methods | {t.id for t in assigned if isinstance(t, ast.Name)}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found[node.name] = set()
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found.update({target.id: set() for target in targets if isinstance(target, ast.Name)})
            if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
                # the public interface of a package, which it imports from the files that define it
                found.update({name: set() for name in ast.literal_eval(node.value or ast.List([]))})
    return found


def dotted_name_exists(name: str) -> bool:
    """Whether `c2d.core.errors.unknown_name` is a module, or a name in one; a last `*` stands for any ending."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        base = ROOT.joinpath(*parts[:count])
        module = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
        rest = parts[count:]
        if not rest and (module.exists() or base.is_dir()):
            return True
        if rest and module.exists():
            names = names_of(module)
            if rest[0].endswith("*"):
                return any(one.startswith(rest[0][:-1]) for one in names)
            return rest[0] in names and (len(rest) == 1 or rest[1] in names[rest[0]])
    return False


def path_exists(path: str) -> bool:
    pattern = re.sub(r"\b[A-Z]{2,}\b|XY", "*", path)
    return any(ROOT.glob(pattern)) if "*" in pattern else (ROOT / path).exists()


@cache
def file_names() -> set[str]:
    return {path.name for package in PACKAGES for path in (ROOT / package).rglob("*.py")}


@cache
def code() -> str:
    return "\n".join(
        path.read_text(encoding="utf-8") for package in PACKAGES for path in (ROOT / package).rglob("*.py")
    )


@cache
def commands() -> dict[str, Any]:
    """{`sweep submit`: its click command}, read from the entry points."""
    import typer

    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["c2d.commands"]
    found: dict[str, Any] = {}
    for name, target in points.items():
        module, _, attribute = target.partition(":")
        value = getattr(import_module(module), attribute)
        if not isinstance(value, typer.Typer):
            app = typer.Typer()
            app.command(name)(value)
            found[name] = typer.main.get_command(app)
            continue
        found[name] = group = typer.main.get_command(value)
        found.update({f"{name} {inner}": command for inner, command in getattr(group, "commands", {}).items()})
    return found


def mistakes_of_command(words: str) -> Iterator[str]:
    """What does not exist in `c2d WORDS`: the command, the command of its group, or an option."""
    first, *rest = words.split() or ["--help"]
    if first.startswith("-") or not re.fullmatch(r"[a-z][a-z-]*", first):
        return
    if first not in commands():
        yield f"c2d {first}"
        return
    name = first
    if getattr(commands()[first], "commands", None):
        inner = rest[0] if rest else ""
        if re.fullmatch(r"[a-z][a-z0-9-]*", inner):
            name = f"{first} {inner}"
            if name not in commands():
                yield f"c2d {name}"
                return
    options = {"--help"}
    for parameter in commands()[name].params:
        options |= {*parameter.opts, *parameter.secondary_opts}
    yield from (f"c2d {name} {option}" for option in OPTION.findall(" " + words) if option not in options)


def test_the_readers_see_what_is_missing() -> None:
    assert dotted_name_exists("c2d.core.errors.unknown_name")
    assert dotted_name_exists("c2d.core.run_folder.atomic_write_*")
    assert dotted_name_exists("c2d.methods.base.Distiller.visualize")
    for name in ("c2d.core.nothing", "c2d.core.errors.nothing", "c2d.methods.base.Distiller.nothing"):
        assert not dotted_name_exists(name)
    assert path_exists("constraints/pyXY.txt")
    assert not path_exists("c2d/nothing.py")
    assert list(mistakes_of_command("sweep submit demo --where dry --nothing 1")) == ["c2d sweep submit --nothing"]
    assert list(mistakes_of_command("sweep nothing demo")) == ["c2d sweep nothing"]
    assert list(mistakes_of_command("nothing")) == ["c2d nothing"]


@pytest.mark.parametrize("page", CHECKED, ids=relative)
def test_files_and_folders_exist(page: Path) -> None:
    text = text_of(page)
    missing = {path for path in PATH.findall(text) if path not in STORE_FILES and not path_exists(path)}
    missing |= set(FILE.findall(text)) - file_names() - USER_FILES
    assert not missing, f"{relative(page)}: {', '.join(sorted(missing))}"


@pytest.mark.parametrize("page", CHECKED, ids=relative)
def test_dotted_names_exist(page: Path) -> None:
    names = {
        name
        for name in DOTTED.findall(text_of(page))
        if name not in GROUPS and not name.endswith((".py", ".md", ".ipynb"))
    }
    missing = sorted(name for name in names if not dotted_name_exists(name))
    assert not missing, f"{relative(page)}: {', '.join(missing)}"


@pytest.mark.parametrize("page", CHECKED, ids=relative)
def test_names_in_files_exist(page: Path) -> None:
    pairs = NAME_IN_FILE.findall(re.sub(r"\s+", " ", text_of(page)))
    missing = [f"{name} in {path}" for name, path in pairs if name not in names_of(ROOT / path)]
    assert not missing, f"{relative(page)}: {', '.join(missing)}"


def test_names_in_contributing_exist() -> None:
    text = text_of(ROOT / "CONTRIBUTING.md")
    missing = [name for name in CAPITALISED.findall(text) if not re.search(rf"\b{name}\b", code())]
    missing += [f"{name}()" for name in CALL.findall(text) if not re.search(rf"\bdef {name}\(", code())]
    assert not missing, ", ".join(missing)


def section(page: str, start: str, end: str) -> str:
    """The text of a page between two marks."""
    return (ROOT / page).read_text(encoding="utf-8").partition(start)[2].partition(end)[0]


def first_cells(table: str) -> set[str]:
    """Names in the first cell of each row but the header."""
    return {name for row in re.findall(r"^\|([^|]+)\|", table, re.MULTILINE)[2:] for name in re.findall(r"[\w-]+", row)}


def test_columns_of_reports_are_listed() -> None:
    from analysis.loading.columns import QUANTITIES

    listed = set(re.findall(r"`([\w.]+)`", section("docs/analysis.md", "\nColumns: ", "\n\n").partition("(peaks")[0]))
    listed |= set(re.findall(r"`(\w+)`", section("docs/analysis.md", "eager measurements),", ".")))
    ranges = ("iou.", "kitti.AP", "kitti.Car", "kitti.Pedestrian", "kitti.Cyclist")
    keys = [[key for key in QUANTITIES if key.startswith(start)] for start in ranges]
    ends = {end for one in keys for end in (one[0], one[-1])}
    assert listed == {key for key in QUANTITIES if not key.startswith(ranges)} | ends


def test_figures_failures_profiles_and_extras_are_listed() -> None:
    from analysis.plots import FIGURES
    from c2d.core.failure_classes import FAILURE_CLASSES
    from sweeps.definition.profile import Profile

    keys = re.findall(r"\w+(?=:|`)", section("docs/sweeps.md", "# mine.yaml", "`c2d doctor"))
    assert set(Profile.model_fields) - set(keys) == {"name"}
    assert first_cells(section("docs/analysis.md", "\n## Figures", "\nAll take")) == set(FIGURES)
    assert first_cells(section("docs/sweeps.md", "## 5.", "\n## ")) == set(FAILURE_CLASSES)
    assert f"\n{FAILURE_CLASSES['nan'].suggestion}\n" in (ROOT / "docs/sweeps.md").read_text(encoding="utf-8")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert first_cells(section("docs/install.md", "## With pip or uv", "`timm")) == {"none", *extras}


def test_shipped_students_are_listed() -> None:
    listed = re.findall(r"`([\w-]+)`", section("docs/train.md", "\nAll: ", "\n\n"))
    shipped = sorted(path.stem for path in (ROOT / "c2d/configs/students").glob("*.py"))
    assert listed == shipped
    assert f"\n{len(shipped)} students are shipped" in (ROOT / "docs/train.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_commands_exist(page: Path) -> None:
    missing = sorted({mistake for words in COMMAND.findall(code_of(page)) for mistake in mistakes_of_command(words)})
    assert not missing, f"{relative(page)}: {', '.join(missing)}"


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_targets_of_make_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    missing = sorted(set(TARGET.findall(code_of(page))) - targets)
    assert not missing, f"{relative(page)}: make {', '.join(missing)}"


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_links_resolve(page: Path) -> None:
    links = [one or other for one, other in LINK.findall(text_of(page))]
    files = [link.partition("#")[0] for link in links if not re.match(r"[a-z]+:", link)]
    missing = [file for file in files if file and not (page.parent / file).exists()]
    assert not missing, f"{relative(page)}: {', '.join(missing)}"
