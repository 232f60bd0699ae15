"""Blocks of commands in a page, with what they printed; and the files that a page tells its reader to write.

    <!-- lines: 2...3 -->
    ```console
    $ c2d train student.yaml
    what it printed, by default whole; here its first 2 and its last 3 lines
    ```

A block with a title is a file: "```yaml title="student.yaml"". The last line of a page has the digest of all these
blocks, so that nothing in them is edited by hand.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

BLOCK = re.compile(
    r'(?P<settings>(?:^<!-- [a-z]+: [^\n]* -->\n)*)^```(?P<language>[a-z]+)(?: title="(?P<title>[^"\n]+)")?\n'
    r"(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
SETTING = re.compile(r"<!-- ([a-z]+): (.*?) -->")
MARK = re.compile(r"\n<!-- outputs: written by `make docs-outputs`, sha256 ([0-9a-f]{16}|none) -->\n\Z")
SETTINGS = ("lines", "exit", "picture")
"""`lines: 2...3`; `exit: 2`, exit code of the last command; `picture: FILE to images/NAME`, copied after the block."""


@dataclass(frozen=True)
class Block:
    """One fenced block: a file to write, or commands to run.

    Attributes:
        title: Name of the file, or None.
        body: The text between the fences.
        span: Start and end of `body` in the page.
        settings: What the comments before the block set.
    """

    title: str | None
    body: str
    span: tuple[int, int]
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def commands(self) -> list[str]:
        """The commands of the block, in order; one with a trailing backslash has several lines."""
        found: list[str] = []
        continued = False
        for line in self.body.splitlines():
            if continued:
                found[-1] += f"\n{line}"
            elif line.startswith("$ "):
                found.append(line[2:])
            else:
                continue
            continued = line.endswith("\\")
        return found

    @property
    def recorded(self) -> bool:
        """Whether the block has an output already."""
        return self.title is None and self.body.count("\n") > sum(1 + one.count("\n") for one in self.commands)


def blocks(text: str) -> list[Block]:
    """Return the files and the commands of a page, in order.

    Raises:
        ValueError: A comment before a block sets what does not exist.
    """
    found = []
    for match in BLOCK.finditer(text):
        if match["language"] != "console" and match["title"] is None:
            continue
        settings = dict(SETTING.findall(match["settings"]))
        if unknown := set(settings) - set(SETTINGS):
            raise ValueError(f"unknown setting of a block: {', '.join(sorted(unknown))}; known: {', '.join(SETTINGS)}")
        found.append(Block(match["title"], match["body"], match.span("body"), settings))
    return found


def digest(text: str) -> str:
    """Return the digest of all files, commands and outputs of a page."""
    content = "\0".join(f"{block.title}\0{block.settings}\0{block.body}" for block in blocks(text))
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def marked_digest(text: str) -> str | None:
    """Return the digest in the last line of a page; None where it has no such line."""
    match = MARK.search(text)
    return match[1] if match else None


def with_digest(text: str) -> str:
    """Return the page with a last line that has its digest."""
    return MARK.sub(f"\n<!-- outputs: written by `make docs-outputs`, sha256 {digest(text)} -->\n", text)


def shortened(output: str, lines: str | None) -> str:
    """Return an output with the lines that a block shows.

    Args:
        output: All that was printed.
        lines: `2...3` for the first 2 and the last 3 lines, or None for all.
    """
    if lines is None:
        return output
    first, _, last = lines.partition("...")
    head, tail = int(first), int(last)
    shown = output.splitlines(keepends=True)
    if len(shown) <= head + tail + 1:
        return output
    return "".join([*shown[:head], "...\n", *shown[len(shown) - tail :]])
