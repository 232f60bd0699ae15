"""Run a Python program as if on Windows or macOS, as far as a Linux machine can imitate one.

    python -m tests.other_system CODE windows=FOLDER macos=FOLDER

What the system lacks is removed from the standard library before the program imports anything of ours. Other packages
have wheels of their own for each system, and are imported first, once: each system is a fork, whose working directory
is its folder, with its output in `output.txt` there.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import signal
import sys
import traceback
from importlib.machinery import ModuleSpec
from typing import Any

OTHER_PACKAGES = (
    "concurrent.futures.process", "cv2", "fontTools.ttLib", "hotcoco", "jinja2", "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_pdf", "matplotlib.backends.backend_svg", "msgspec", "multiprocessing.connection",
    "numpy", "pandas", "PIL.Image", "pycocotools.coco", "pydantic", "pytest", "rich.console", "rich.progress",
    "scipy.stats", "submitit", "tidecv", "typer", "yaml",
)  # fmt: skip
NO_TORCH = ("torch", "torchvision", "mmengine", "mmcv", "mmdet")
"""Reports and plans need none, and a laptop often has none."""
MODULES = {"windows": ("fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"), "macos": ()}
WINDOWS_SIGNALS = ("SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM")
"""The signals of Python on Windows, of those that Linux has as well (documentation of the module signal)."""
OS_NAMES = {
    "windows": (
        "chown", "confstr", "fchmod", "fchown", "fork", "forkpty", "fstatvfs", "getegid", "geteuid", "getgid",
        "getgroups", "getloadavg", "getpgid", "getpgrp", "getpriority", "getuid", "killpg", "lchown", "mkfifo", "mknod",
        "nice", "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_PATH", "O_TMPFILE", "pidfd_open", "pipe2",
        "posix_fadvise", "posix_fallocate", "pread", "pwrite", "sched_getaffinity", "sched_setaffinity", "sendfile",
        "setpriority", "setsid", "statvfs", "sync", "sysconf", "uname", "wait3", "wait4", "WNOHANG",
    ),
    "macos": (
        "eventfd", "memfd_create", "O_PATH", "O_TMPFILE", "pidfd_open", "pipe2", "posix_fadvise", "posix_fallocate",
        "sched_getaffinity", "sched_setaffinity",
    ),
}  # fmt: skip


class MissingModules:
    """A finder that refuses the modules which the system does not have."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Refuse a missing module; leave all others to the next finder."""
        if name in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def imitate(system: str) -> None:
    """Remove what the system lacks from this process."""
    missing = (*MODULES[system], *NO_TORCH)
    sys.meta_path.insert(0, MissingModules(missing))
    find_spec = importlib.util.find_spec
    importlib.util.find_spec = lambda name, package=None: None if name in missing else find_spec(name, package)
    for name in missing:
        sys.modules.pop(name, None)
    for name in OS_NAMES[system]:
        if hasattr(os, name):
            delattr(os, name)
    if system == "windows":
        shutil.disk_usage = lambda path: shutil._ntuple_diskusage(2**40, 2**39, 2**39)
        for name in [name for name in dir(signal) if name.startswith("SIG") and not name.startswith("SIG_")]:
            if name not in WINDOWS_SIGNALS:
                delattr(signal, name)
    sys.platform = {"windows": "win32", "macos": "darwin"}[system]


def run_as(system: str, folder: str, code: str) -> int:
    """Run a program in a fork of this process, as if on a system; return the status of the fork."""
    if pid := os.fork():
        return os.waitpid(pid, 0)[1]
    end, exit_code = os._exit, 1
    os.chdir(folder)
    output = os.open("output.txt", os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    try:
        imitate(system)
        exec(compile(code, "<program>", "exec"), {"__name__": "__main__"})
        exit_code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        end(exit_code)
    raise AssertionError("the fork has ended")


if __name__ == "__main__":
    for name in OTHER_PACKAGES:
        importlib.import_module(name)
    from filelock import FileLock, SoftFileLock, Timeout  # noqa: F401  (it imports its own modules by name)

    pairs = [word.partition("=") for word in sys.argv[2:]]
    statuses = [run_as(system, folder, sys.argv[1]) for system, _, folder in pairs]
    sys.exit(any(statuses))
