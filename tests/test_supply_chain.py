"""The locked requirements: complete, pinned by digest, with licences that fit; the audit reports what it did not do."""

import csv
import importlib.util
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
VERSIONS = ("311", "312", "313")
PERMISSIVE = {
    *(
        "0BSD",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSL-1.0",
        "ISC",
        "MIT",
        "MIT-0",
        "MIT-CMU",
        "PSF-2.0",
        "Zlib",
    ),
    "Apache-2.0 WITH LLVM-exception",
}
# MPL 2.0 asks for the source of its own files only. NVIDIA's libraries come with torch's CUDA build under their own
# agreement; c2d does not distribute them, and the CPU build of torch does without.
ACCEPTED = {**dict.fromkeys(PERMISSIVE), "MPL-2.0": None, "LicenseRef-NVIDIA-Proprietary": "nvidia- cuda-"}


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and named tuples look their module up
    spec.loader.exec_module(module)
    return module


audit, locked_files = script("audit"), script("locked_files")


def locked(file):
    text = (ROOT / "constraints" / file).read_text()
    entries = re.findall(r"^([a-z0-9-]+)==(\S+) \\\n    --hash=sha256:([0-9a-f]{64})$", text, re.MULTILINE)
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert len(lines) == 2 * len(entries), "a line without a version and a digest"
    return {name: (version, digest) for name, version, digest in entries}


def pinned(short):
    lines = (ROOT / "constraints" / f"py{short}.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {locked_files.canonical(name): version for name, version in pairs}


@pytest.mark.parametrize("short", VERSIONS)
def test_every_locked_package_has_the_tested_version_and_a_digest(short):
    found, tested = locked(f"locked-py{short}.txt"), pinned(short)
    assert {name: version for name, (version, _) in found.items() if name in tested} == {
        name: version for name, version in tested.items() if name in found
    }
    assert set(tested) - set(found) <= {"opencv-python"}
    build = locked("locked-build.txt")
    assert build.items() <= found.items()


@pytest.mark.parametrize("short", VERSIONS)
def test_every_requirement_of_c2d_is_locked(short):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [
        *project["dependencies"],
        *(line for name in ("train", "analysis", "export", "dev", "docs", "track") for line in extras[name]),
    ]
    names = {locked_files.canonical(re.split(r"[^A-Za-z0-9._-]", line)[0]) for line in wanted} - {"c2d-suite"}
    assert names <= set(locked(f"locked-py{short}.txt"))


@pytest.mark.parametrize("short", VERSIONS)
def test_every_package_of_a_run_has_a_licence_that_fits(short):
    with open(ROOT / "constraints" / f"licences-py{short}.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["package"] for row in rows] == sorted(locked(f"locked-py{short}.txt"))
    assert {row["used"] for row in rows} == {"run", "development"}
    for row in rows:
        parts = re.split(r" (?:AND|OR) ", row["licence"].replace("(", "").replace(")", ""))
        unknown = [part for part in parts if part not in ACCEPTED]
        assert not unknown, row
        prefixes = ACCEPTED[parts[0]]
        assert prefixes is None or row["package"].startswith(tuple(prefixes.split())), row


def test_a_licence_is_read_from_what_a_package_declares():
    read = locked_files.licence
    assert read({"license_expression": "MIT", "license": "x"}) == "MIT"
    osi = ["License :: OSI Approved", "License :: OSI Approved :: MIT License"]
    assert read({"classifier": osi}) == "MIT License"
    assert read({"license": "Copyright\n\n  Apache License\n Version 2.0, January\n"}) == "Apache License, Version 2.0"
    assert read({}) == ""


def test_what_a_run_needs_is_followed_through_extras_and_markers():
    def package(name, *needs):
        return {"metadata": {"name": name, "requires_dist": list(needs)}}

    own = {"requires_dist": ["a", "b[fast]; extra == 'train'", "tool; extra == 'dev'"]}
    packages = {name: package(name) for name in ("c", "d", "tool", "old")}
    packages |= {
        "a": package("a", "old; python_version < '3'"),
        "b": package("b", "c; extra == 'fast'", "d; extra == 'slow'"),
    }
    assert locked_files.closure(own, packages, ("", "train"), {"python_version": "3.11"}) == {"a", "b", "c"}


VULNERABLE = {"name": "b", "version": "1", "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2"]}]}
CLEAN = {"name": "a", "version": "1", "vulns": []}
SKIPPED = {"name": "c", "skip_reason": "Dependency not found and could not be audited: c (1)"}
EXCEPTION = {"package": "b", "id": "CVE-1", "reason": "the parser is not used"}


@pytest.mark.parametrize(
    ("packages", "exceptions", "code", "text"),
    [
        ([CLEAN], [], 0, "1 packages audited, 0 vulnerabilities, 0 packages not audited"),
        ([CLEAN, VULNERABLE], [], 1, "VULNERABLE: b 1: PYSEC-1, CVE-1; fixed in 2"),
        ([CLEAN, VULNERABLE], [EXCEPTION], 0, "accepted: b 1: PYSEC-1, CVE-1: the parser is not used"),
        ([CLEAN], [EXCEPTION], 1, "exception without a finding: b CVE-1"),
        ([CLEAN, SKIPPED], [], 3, "NOT AUDITED: c: Dependency not found"),
        ([VULNERABLE, SKIPPED], [], 1, "1 packages not audited"),
        ([], [], 3, "0 packages audited"),
    ],
)
def test_the_verdict_of_the_audit(packages, exceptions, code, text):
    found, lines = audit.verdict({"dependencies": packages, "fixes": []}, exceptions)
    assert found == code
    assert any(text in line for line in lines)


def test_every_exception_has_a_reason(tmp_path):
    assert isinstance(audit.read_exceptions(), list)
    file = tmp_path / "e.csv"
    file.write_text("package,id,reason\na,CVE-1,\n")
    with pytest.raises(SystemExit, match="needs package, id and reason"):
        audit.read_exceptions(file)
