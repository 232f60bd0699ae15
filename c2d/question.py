"""SPEC.yaml -> RunSpec: names looked up, defaults written out, files named by content. No torch for shipped names.

SPEC.yaml has the schema of spec.json with defaults left out; `dataset`, `student`, `schedule` and `init` may be given
by name or path alone, and a teacher by the beginning of its run id.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from c2d.data.card import load_card
from c2d.errors import InputError, unknown
from c2d.runfolder import RunFolder, atomic_write_text, read_json
from c2d.spec import Method, RunSpec, needed_teachers, parse_spec, resolve_method, run_name

DEFAULT_RUNS = "runs"


def store(runs: Path | str | None) -> Path:
    """The folder of all runs: `--runs`, or C2D_RUNS, or ./runs."""
    return Path(runs or os.environ.get("C2D_RUNS") or DEFAULT_RUNS)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping; a mistake of syntax is named with file and line."""
    try:
        value = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise InputError(f"no file {path}; check the path") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder without spec.json; give a SPEC.yaml or a run folder") from None
    except PermissionError:
        raise InputError(f"{path} cannot be read; check its permissions") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not text; give a YAML file") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        raise InputError(f"{place}: not valid YAML ({getattr(error, 'problem', error)}); mend the line") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} holds {type(value).__name__}, not keys and values; see docs/spec.md")
    return value


def ask(given: dict[str, Any], *, where: str, runs: Path, data: Path | None = None) -> RunSpec:
    """The full spec of a question given in short.

    Args:
        given: keys of spec.json, defaults left out.
        where: file name for messages.
        runs: the store, where teachers are looked up and weight files are kept.
        data: root of the data cards (default: C2D_DATA, else ./data).
    """
    for key in given:
        if key not in RunSpec.model_fields:
            raise unknown(f"key of {where}:", key, RunSpec.model_fields)
    if "dataset" not in given or "schedule" not in given or not ("student" in given or "network" in given):
        raise InputError(f"{where}: a question needs dataset, schedule and a student (or a network for a classifier)")
    for key in ("dataset", "student"):
        if isinstance(given.get(key), dict) and not isinstance(given[key].get("name"), str):
            raise InputError(f"{where}: {key} {given[key]!r} has no name")
    kind = given.get("kind") or ("classifier" if "network" in given else "detector")
    catalog = distiller_catalog()
    method = resolve_method(_method(given.get("method") or [], where), catalog)
    reference = given["dataset"]
    card = load_card(reference["name"] if isinstance(reference, dict) else reference, data).card
    if isinstance(reference, dict) and reference.get("digest", card.digest) != card.digest:
        raise InputError(
            f"{where}: data set {card.name} has digest {card.digest[:12]}, "
            f"the spec wants {reference['digest'][:12]}; use the same data"
        )
    subject = given.get("student") or given.get("network")
    student = _student(subject, runs, where) if kind == "detector" else None
    schedule = load_schedule(given["schedule"], kind)
    size = given.get("input")
    if size is None and kind == "classifier":
        size = schedule["values"].get("input")
    value = {
        "name": run_name(kind, student["name"] if student else str(subject), method),
        "kind": kind,
        "dataset": {"name": card.name, "digest": card.digest},
        "student": student,
        "network": subject if kind == "classifier" else None,
        "input": size,
        "init": _init(given.get("init") or "none", runs),
        "teachers": _teachers(given.get("teachers") or {}, method, catalog, runs, where),
        "method": method,
        "schedule": schedule,
        "overrides": given.get("overrides") or {},
        "seed": given.get("seed", 0),
    }
    return parse_spec(value, where)


def distiller_catalog() -> dict[str, Any]:
    """{name: {title, version, teachers, schema}} of the shipped distillers, without torch."""
    return json.loads((resources.files("c2d") / "distillers" / "catalog.json").read_text())


def student_catalog() -> dict[str, str]:
    """{name: digest} of the shipped students, without torch."""
    value: dict[str, Any] = json.loads((resources.files("c2d") / "configs" / "students" / "catalog.json").read_text())
    return {name: entry["digest"] if isinstance(entry, dict) else entry for name, entry in value.items()}


def load_schedule(given: Any, kind: str) -> dict[str, Any]:
    """{name, values} of a schedule given by name, by path, or as {name, values: {what differs}}."""
    name = given.get("name") if isinstance(given, dict) else given
    changes = (given.get("values") or {}) if isinstance(given, dict) else {}
    if (
        not isinstance(name, str)
        or not isinstance(changes, dict)
        or (isinstance(given, dict) and set(given) - {"name", "values"})
    ):
        raise InputError(f"schedule {given!r} is neither a name nor {{name: ..., values: {{...}}}}")
    folder = resources.files("c2d") / "configs" / ("teachers" if kind == "classifier" else "schedules")
    known = sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))
    if name in known:
        values = yaml.safe_load((folder / f"{name}.yaml").read_text())
    elif Path(name).is_file():
        values, name = read_yaml(Path(name)), Path(name).stem
    else:
        raise unknown(f"schedule of a {kind}", name, known, "or give the path of a YAML file")
    return {"name": name, "values": _merged(values, changes)}


def _merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for key, value in changes.items():
        inner = merged.get(key)
        merged[key] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged


def _method(given: Any, where: str) -> Method:
    if not isinstance(given, list):
        raise InputError(f"{where}: method is a list, e.g. [{{icod: {{T: 2}}}}], given {given!r}")
    return [{item: {}} if isinstance(item, str) else item for item in given]


def _student(given: Any, runs: Path, where: str) -> dict[str, str]:
    """{name, digest} of a shipped student, of one of mmdet's, or of a config file.

    A file is resolved and kept in the store under its digest: its path is no part of the question, and a run does not
    change when the file does.
    """
    name = str(given["name"] if isinstance(given, dict) else given)
    catalog = student_catalog()
    if name in catalog:
        digest = catalog[name]
    elif name.startswith("mmdet::"):
        from c2d.configs import student_digest  # reading an mmdet config needs mmengine

        digest = student_digest(name)
    elif name.endswith(".py"):
        from c2d.configs import student_digest
        from c2d.configs.external import stock_text

        digest, kept = student_digest(name), RunFolder(runs / "any")
        if not kept.student_config(digest).exists():
            atomic_write_text(kept.student_config(digest), stock_text(name))
        name = Path(name).stem
    elif isinstance(given, dict) and RunFolder(runs / "any").student_config(str(given.get("digest"))).exists():
        digest = given["digest"]
    else:
        raise unknown("student", name, catalog, "or give an mmdet config: a path, or mmdet::folder/name.py")
    if isinstance(given, dict) and given.get("digest", digest) != digest:
        raise InputError(
            f"{where}: student {name} is {digest[:12]} here, the spec wants {given['digest'][:12]}; "
            "the toolbox or the config changed"
        )
    return {"name": name, "digest": digest}


def _init(given: str, runs: Path) -> str:
    """`none`, `torchvision:NAME`, or a file: kept in the store under its sha256, so that a run finds it again."""
    if not isinstance(given, str):
        raise InputError(f"init {given!r} is not text; allowed: none, torchvision:NAME, or a file")
    if given == "none" or given.startswith(("torchvision:", "sha256:")):
        return given
    path = Path(given)
    if not path.is_file():
        raise InputError(f"init '{given}' is neither none, nor torchvision:NAME, nor a file that exists")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    kept = RunFolder(runs / "any").weights(digest)
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(f".{os.getpid()}.partial")
        shutil.copyfile(path, partial)
        os.replace(partial, kept)
    return f"sha256:{digest}"


def _teachers(
    given: dict[str, Any], method: Method, catalog: dict[str, Any], runs: Path, where: str
) -> dict[str, str | None]:
    """Full run ids of the teachers the methods need; a kind that no method needs is null."""
    for kind in given:
        if kind not in ("classifier", "detector"):
            raise unknown("kind of teacher", kind, ["classifier", "detector"])
    needed = needed_teachers(method, catalog)
    found: dict[str, str | None] = {"classifier": None, "detector": None}
    for kind in sorted(needed):
        if not given.get(kind):
            names = ", ".join(next(iter(item)) for item in method)
            raise InputError(
                f"{where}: method {names} needs a {kind} teacher; add teachers: {{{kind}: RUN}} "
                "(train one first with `c2d train`)"
            )
        found[kind] = find_run(str(given[kind]), runs).id
    return found


def find_run(given: str, runs: Path) -> RunFolder:
    """A run by its id, by the beginning of its id if that fits one run only, or by its folder."""
    if (Path(given) / "spec.json").is_file():
        return RunFolder(Path(given).resolve())
    here = sorted(path.parent.name for path in runs.glob("*/spec.json"))
    whole = re.search(r"-[0-9a-f]{12}-s\d+$", given)  # a whole id is no beginning of another: s1 is not s10
    fits = [given] if given in here else [] if whole else [name for name in here if name.startswith(given)]
    if len(fits) == 1:
        return RunFolder(runs / fits[0])
    if fits:
        raise InputError(f"run '{given}' fits {len(fits)} runs ({', '.join(fits[:3])}, ...); give more of the id")
    raise unknown(f"run in {runs}/", given, here[:20], "train it first, or name another store with --runs")


def teacher_run(run_id: str, student: RunFolder) -> RunFolder:
    """The teacher of a spec, by its whole id, in the student's own store."""
    run = RunFolder(student.path.parent / run_id)
    if not run.spec.exists():
        raise InputError(
            f"teacher {run_id} is not in {student.path.parent}/; train it there first, or name its store with --runs"
        )
    return run


def teacher_result(run: RunFolder, kind: str) -> tuple[RunSpec, dict[str, Any]]:
    """(spec, result) of a finished teacher run of that kind."""
    spec = parse_spec(read_json(run.spec), str(run.spec))
    if spec.kind != kind:
        raise InputError(f"run {run.id} is a {spec.kind}, a {kind} teacher is wanted")
    if run.read_status()["state"] != "done":
        raise InputError(f"teacher {run.id} is {run.read_status()['state']}; finish it first: c2d train {run.path}")
    return spec, read_json(run.result)
