"""Python processes that start without importing torch and mmdet again: forks of a server that has imported them.

For tests of what a command does in a process of its own. The server imports libraries and `compat`, and none of the
tests' memory is in its forks. What a fresh interpreter is needed for (foreign modules, environment variables that
libraries read when they are loaded, seccomp) is tested with `subprocess` itself.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any
from unittest.mock import patch

from c2d.detectors import compat
from tests import forked_python_imports

ROOT = Path(__file__).parents[1]
ROOMS = ("c2d", "sweeps", "analysis", "benchmarks")


@cache
def _context() -> Any:
    """Start the server; it ends with this process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([forked_python_imports.__name__])
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    with patch.dict(os.environ, {"PYTHONPATH": path, "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1"}):
        multiprocessing.forkserver.ensure_running()
    return context


class ForkedPython:
    """A Python process with the methods of `subprocess.Popen` that tests use."""

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
        start_new_session: bool = False,
        **_: Any,
    ) -> None:
        """Start a command.

        Args:
            command: `python [-P] -m MODULE ARGUMENTS` or `python -c CODE ARGUMENTS`.
            env, cwd, start_new_session: as for Popen.
            stdout, stderr: an open file; stdout may be PIPE, and stderr STDOUT.
        """
        self.args = list(command)
        self.stdout: IO[str] | None = None
        out, pipe = _path(stdout), stdout == subprocess.PIPE
        if pipe:
            out = os.path.join(tempfile.mkdtemp(), "stdout")
            os.mkfifo(out)
        environment = dict(os.environ if env is None else env)
        err = out if stderr == subprocess.STDOUT else _path(stderr)
        # `multiprocessing` imports the main module of this process again, which is pytest's: hidden meanwhile.
        main, sys.modules["__main__"] = sys.modules["__main__"], type(sys)("__main__")
        try:
            arguments = (self.args, environment, str(cwd or Path.cwd()), out, err, start_new_session)
            self._process = _context().Process(target=_run, args=arguments)
            self._process.start()
        finally:
            sys.modules["__main__"] = main
        if pipe:
            self.stdout = open(out)  # noqa: SIM115 (waits until the process has opened it)
            shutil.rmtree(os.path.dirname(out))

    @property
    def pid(self) -> int:
        """Of the process."""
        return int(self._process.pid)

    @property
    def returncode(self) -> int | None:
        """None while it runs, -N after the signal N."""
        code: int | None = self._process.exitcode
        return code

    def poll(self) -> int | None:
        """Return `returncode`."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code.

        Raises:
            TimeoutExpired: the process runs after that many seconds.
        """
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal to a process that has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End the process outright."""
        self.send_signal(signal.SIGKILL)


def run_forked(
    command: Sequence[str],
    check: bool = False,
    capture_output: bool = False,
    text: bool = False,
    timeout: float | None = None,
    **options: Any,
) -> subprocess.CompletedProcess[Any]:
    """Run a command to its end, as `subprocess.run` does."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as files:
        names = ("stdout", "stderr") if capture_output else ()
        captured = {name: files.enter_context(open(Path(folder) / name, "wb")) for name in names}
        code = ForkedPython(command, **(options | captured)).wait(timeout)
        read = [Path(file.name).read_bytes() for file in captured.values()]
    found: list[bytes | None] = [*read] if capture_output else [None, None]
    done = [content.decode() if text and content is not None else content for content in found]
    if check and code:
        raise subprocess.CalledProcessError(code, list(command), *done)
    return subprocess.CompletedProcess(list(command), code, *done)


SUBPROCESS = SimpleNamespace(**{**vars(subprocess), "run": run_forked, "Popen": ForkedPython})
"""In place of a module's `subprocess`: `monkeypatch.setattr(module, "subprocess", SUBPROCESS)`."""


def _path(file: int | IO[Any] | None) -> str:
    return "" if file is None or isinstance(file, int) else str(file.name)


def _run(command: list[str], env: dict[str, str], cwd: str, out: str, err: str, session: bool) -> None:
    """Become that command, in a fork of the server."""
    if session:
        os.setsid()
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    for number, path in ((1, out), (2, err)):
        if path:
            os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), number)
    sys.path[:0] = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path]
    # Our modules are those on that path, which may be a snapshot's; compat.py has prepared the host already.
    for name in [name for name in sys.modules if name.split(".")[0] in ROOMS and name != compat.__name__]:
        del sys.modules[name]
    words = [word for word in command[1:] if word != "-P"]
    sys.argv = [words[1], *words[2:]]
    if words[0] == "-m":
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        exec(words[1], {"__name__": "__main__"})
