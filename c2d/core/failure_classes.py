"""The classes of failures: which action follows, how many retries are allowed, and what to do.

Every failed run has one of these classes in status.json and in attempts.jsonl. The attempt, the sweeps and the reports
read this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from c2d.core.errors import InputError, RunError


@dataclass(frozen=True)
class FailureClass:
    """The handling of one class of failure.

    Attributes:
        kind: infrastructure: retried automatically. resource: retried with more of the resource. code: retried only on
            request, as the same code fails the same way. person: stopped by a person, retried only on request.
        max_retries: number of automatic retries. A run that fails this way once more stays failed.
        suggestion: one sentence that a person can act on.
        raised_resource: the value of a profile that is raised before a retry, or "".
        progress_resets: a failure after progress starts the count again, so that a long training may need fifty jobs.
    """

    kind: Literal["infrastructure", "resource", "code", "person"]
    max_retries: int
    suggestion: str
    raised_resource: Literal["", "mem_gb", "hours"] = ""
    progress_resets: bool = False


FAILURE_CLASSES: Final[dict[str, FailureClass]] = {
    "preempted": FailureClass(
        "infrastructure", 5, "nothing to do: it continues from its newest checkpoint", progress_resets=True
    ),
    "node-failure": FailureClass(
        "infrastructure", 5, "nothing to do; a node that fails twice is left out of the sweep", progress_resets=True
    ),
    "killed": FailureClass(
        "infrastructure", 3, "killed from outside without a reason; check the node's log if it happens again"
    ),
    "time-limit": FailureClass(
        "infrastructure",
        3,
        "it continues in its next job; raise `hours` in the profile if each job makes little progress",
        progress_resets=True,
    ),
    "hang": FailureClass("infrastructure", 2, "a rank stopped responding; check the log of the rank named first"),
    "host-oom": FailureClass(
        "resource", 3, "more memory: retry raises mem_gb by half up to max_mem_gb; or fewer loader workers", "mem_gb"
    ),
    "cuda-oom": FailureClass(
        "code", 0, "the GPU is too small for it: a profile with another gpu_type, or precision amp-fp16"
    ),
    "nan": FailureClass(
        "code", 0, "the loss is not finite: a lower learning rate or loss weight, or fp32; check metrics.jsonl"
    ),
    "config": FailureClass(
        "code", 0, "fix the definition, then submit again; `c2d sweep check` finds most of these before"
    ),
    "data": FailureClass("code", 0, "`c2d data check` on that node's copy of the data set"),
    "disk": FailureClass("code", 0, "free some space or quota (`c2d sweep gc`), then retry --class disk"),
    "import": FailureClass(
        "code", 0, "a package is missing on the node, or python finds another one: `c2d doctor --profile P` shows which"
    ),
    "snapshot": FailureClass(
        "code",
        0,
        "its copy of the code is missing or altered; `retry --class snapshot --update-code` uses the current code",
    ),
    "user-code": FailureClass("code", 0, "an error in the code: fix it, then retry --class user-code --update-code"),
    "cancelled": FailureClass("person", 0, "it was cancelled; `retry --class cancelled` submits it again"),
    "unknown": FailureClass(
        "code", 0, "no known pattern in log, exit code and accounting: read the last lines of its log"
    ),
}
"""Every class there is, in the order in which `c2d sweep triage` lists them."""


def class_of_name(name: object) -> FailureClass:
    """Return the class with this name; that of `unknown` for any other value."""
    return FAILURE_CLASSES.get(str(name), FAILURE_CLASSES["unknown"])


def classify_error(error: BaseException) -> str:
    """Return the name of the failure class of an exception: its own, or the one that its type means."""
    if isinstance(error, (RunError, InputError)):
        return error.failure_class
    name = type(error).__name__
    if name == "OutOfMemoryError":  # torch's, without importing torch
        return "cuda-oom"
    if (name.startswith("Dist") and name.endswith("Error")) or "gloo/" in str(error):
        return "hang"  # DistBackendError and related: another rank ended or hangs, and has the reason
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):  # torch's allocator on the CPU
        return "host-oom"
    return "import" if isinstance(error, ImportError) else "user-code"
