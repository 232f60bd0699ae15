"""Audit the locked requirements for known vulnerabilities: `make audit`, with pip-audit and the index that pip uses.

    python .ci/audit.py constraints/locked-py311.txt

Exit code 0: every package was audited, and what was found is in constraints/audit_exceptions.csv, with a reason.
1: a vulnerability is not among the exceptions, or an exception is no longer needed. 3: nothing was found, but some
packages could not be audited, because the index has no data for them; such an audit proves nothing about them.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

EXCEPTIONS = Path(__file__).resolve().parents[1] / "constraints" / "audit_exceptions.csv"
"""Columns package, id, reason. A reason says why the vulnerability does not reach a user of c2d."""
NOT_AUDITED = 3


class Finding(NamedTuple):
    """A vulnerability of a package.

    Attributes:
        package: its name.
        version: the locked one.
        id: of the vulnerability, and its other names.
        fixed: versions without it.
    """

    package: str
    version: str
    ids: tuple[str, ...]
    fixed: tuple[str, ...]


def read_report(report: dict[str, Any]) -> tuple[list[Finding], list[str], int]:
    """Return the findings, "package: why" of the packages that were not audited, and the number of those that were."""
    findings, left_out, audited = [], [], 0
    for package in report["dependencies"]:
        if "skip_reason" in package:
            left_out.append(f"{package['name']}: {package['skip_reason']}")
            continue
        audited += 1
        for found in package.get("vulns", []):
            ids = (found["id"], *found.get("aliases", []))
            findings.append(Finding(package["name"], package["version"], ids, tuple(found.get("fix_versions", []))))
    return findings, left_out, audited


def verdict(report: dict[str, Any], exceptions: list[dict[str, str]]) -> tuple[int, list[str]]:
    """Return the exit code and the lines to print.

    Args:
        report: JSON of pip-audit.
        exceptions: rows of constraints/audit_exceptions.csv.
    """
    findings, left_out, audited = read_report(report)
    lines, used, wrong = [], set(), 0
    for finding in findings:
        known = [row for row in exceptions if row["package"] == finding.package and row["id"] in finding.ids]
        used |= {row["id"] for row in known}
        name = f"{finding.package} {finding.version}: {', '.join(finding.ids)}"
        if known:
            lines.append(f"accepted: {name}: {known[0]['reason']}")
        else:
            wrong += 1
            fix = f"fixed in {', '.join(finding.fixed)}" if finding.fixed else "no version without it"
            lines.append(
                f"VULNERABLE: {name}; {fix}: raise the version and lock again, or explain it in {EXCEPTIONS.name}"
            )
    for row in exceptions:
        if row["id"] not in used and not any(line.startswith(f"{row['package']}: ") for line in left_out):
            wrong += 1
            lines.append(f"exception without a finding: {row['package']} {row['id']}: remove it from {EXCEPTIONS.name}")
    lines.append(f"{audited} packages audited, {len(findings)} vulnerabilities, {len(left_out)} packages not audited")
    if left_out:
        lines.append(f"NOT AUDITED: {'; '.join(left_out[:3])}{' ...' if len(left_out) > 3 else ''}")
    return (1 if wrong else NOT_AUDITED if left_out or not audited else 0), lines


def read_exceptions(path: Path = EXCEPTIONS) -> list[dict[str, str]]:
    """Return the rows of the exceptions.

    Raises:
        SystemExit: a row has no package, id or reason.
    """
    with open(path, newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        if not all((row.get(key) or "").strip() for key in ("package", "id", "reason")):
            raise SystemExit(f"{path}: every exception needs package, id and reason: {row}")
    return rows


def main(requirements: list[str]) -> int:
    """Audit each file of locked requirements and return the largest exit code."""
    worst = 0
    for file in requirements:
        command = [sys.executable, "-m", "pip_audit", "--require-hashes", "--disable-pip", "-r", file, "-f", "json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        try:
            report = json.loads(done.stdout)
        except ValueError:
            print(f"{file}: pip-audit did not answer: {(done.stderr.strip() or 'no output').splitlines()[-1][:300]}")
            worst = max(worst, NOT_AUDITED)
            continue
        code, lines = verdict(report, read_exceptions())
        print(f"{file}:", *lines, sep="\n  ")
        worst = 1 if 1 in (code, worst) else max(code, worst)
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
