"""`python -m c2d.configs` writes students/catalog.json: the digest of every shipped student."""

from __future__ import annotations

import json

from c2d.configs.student_config import CATALOG, student_digest, student_names


def render() -> str:
    """Return the text of the catalog: one line a student, sorted."""
    return json.dumps({name: student_digest(name) for name in student_names()}, indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    CATALOG.write_text(render(), "utf-8")
    print(f"wrote {CATALOG.name}: {len(student_names())} students")
