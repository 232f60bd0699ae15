"""Characters that a terminal obeys or cannot show are escaped; printing never fails for lack of a character."""

import io
import subprocess
import sys

import pytest
from rich.console import Console
from rich.text import Text

from c2d.core.printable import log_text, printable_line, printable_markup, printable_streams, printable_text
from c2d.core.process.python_process import module_environment

HOSTILE = [
    *("\x00", "\x07", "\x08", "\x1b", "\x7f", "\x85", "\x9b", "\r", "\x0b", "\x0c"),
    *("\u200b", "\u200d", "\u200e", "\u202a", "\u202b", "\u202c", "\u202d", "\u202e", "\u2066", "\u2067", "\u2068"),
    *("\u2069", "\u2028", "\u2029", "\ufeff", "\ud800", "\udfff", "\ue000", "\U000e0041"),
]


@pytest.mark.parametrize("char", HOSTILE, ids=ascii)
def test_a_character_that_does_not_show_is_escaped(char):
    shown = printable_text(f"a{char}b\tc\nd")
    assert char not in shown
    assert shown == f"a{ascii(char)[1:-1]}b\tc\nd"
    assert shown.encode()


def test_what_shows_is_kept():
    text = "Ä × 漢字 🙂 – Δ é\u0301\n"
    assert printable_text(text) == text
    assert printable_line("a\nb\tc") == r"a\nb\tc"


def test_streams_escape_and_come_back(capsys):
    before = sys.stdout
    with printable_streams():
        print("a\x1b[31mb\u202e", file=sys.stdout)
        print("x\ud800y", file=sys.stderr)
        sys.stdout.writelines(["1\r", "2\n"])
    assert sys.stdout is before
    out = capsys.readouterr()
    assert out.out == "a\\x1b[31mb\\u202e\n1\\r2\n"
    assert out.err == "x\\ud800y\n"


def test_a_stream_that_is_closed_takes_what_is_printed(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with printable_streams():
        print("nobody reads this")
        assert not sys.stdout.isatty()
    assert sys.stdout is None


def test_rich_shows_markup_of_a_name_as_text():
    for name in ("[red]x[/red]", "[/]", "[link=https://h]x[/link]", "a\\[red]", "\x1b[31m", ":smile:"):
        out = io.StringIO()
        Console(file=out, width=80, emoji=False).print(printable_markup(name))
        assert out.getvalue() == printable_line(name) + "\n"


def test_rich_writes_its_own_escape_sequences(monkeypatch):
    raw = io.StringIO()
    monkeypatch.setattr(sys, "stdout", raw)
    with printable_streams():
        Console(force_terminal=True, color_system="standard").print(Text("red", style="red"))
    assert raw.getvalue() == "\x1b[31mred\x1b[0m\n"


def test_a_log_has_no_secret():
    assert log_text("https://u:p@h\x1b") == "https://***@h\\x1b"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_command_prints_on_every_terminal(encoding, tmp_path):
    environment = module_environment(PYTHONIOENCODING=encoding, LC_ALL="C")
    for arguments in (
        ["evaluate", "Ä\x1b[31m‮漢.pth"],
        ["x\u2028y"],
        ["--nö-such"],
        ["sweep", "check", "漢\n[red].yaml"],
    ):
        done = subprocess.run(
            [sys.executable, "-P", "-m", "c2d", *arguments],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            check=False,
        )
        err = done.stderr.decode(encoding)
        assert done.returncode == 2, err
        assert "Traceback" not in err
        assert not set(err) & (set(HOSTILE) - {"\n"})
