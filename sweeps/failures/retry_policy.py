"""What is done about a death, by its class: who acts, how often, and what a person is told.

Infrastructure deaths are retried by themselves with back-off, resource deaths with more of the resource, and code is
never run again without being asked: the same code on the same question fails the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["infrastructure", "resource", "code", "person"]


@dataclass(frozen=True)
class Rule:
    """How one class of failure is treated.

    kind: infrastructure (again, later), resource (again, with more), code (only when asked), person (somebody's wish).
    attempts: how often a run may die this way before it stays failed; deaths after progress do not count for
        `preempted`, `time-limit` and `node-failure` (`forgiven`), so a long training may need fifty slices.
    raises: the resource of a profile that is raised before the next attempt, or "".
    suggestion: one sentence for `triage`.
    """

    kind: Kind
    attempts: int
    suggestion: str
    raises: Literal["", "mem_gb", "hours"] = ""
    forgiven: bool = False


RULES: Final[dict[str, Rule]] = {
    "preempted": Rule("infrastructure", 5, "nothing to do: it continues from its newest checkpoint", forgiven=True),
    "node-failure": Rule(
        "infrastructure", 5, "nothing to do; a node that fails twice is left out of the sweep", forgiven=True
    ),
    "killed": Rule(
        "infrastructure", 3, "killed from outside without a reason; look at the node's log if it happens again"
    ),
    "time-limit": Rule(
        "infrastructure",
        3,
        "it continues in the next slice; raise `hours` in the profile if no slice gets far",
        forgiven=True,
    ),
    "hang": Rule("infrastructure", 2, "a rank stopped answering; the rank named first is the one to look at"),
    "host-oom": Rule(
        "resource", 3, "more memory: retry raises mem_gb by half up to max_mem_gb; or fewer loader workers", "mem_gb"
    ),
    "cuda-oom": Rule("code", 0, "the GPU is too small for it: a profile with another gpu_type, or precision amp-fp16"),
    "nan": Rule(
        "code", 0, "the loss is not finite: a lower learning rate or loss weight, or fp32; look at metrics.jsonl"
    ),
    "config": Rule("code", 0, "mend the definition, then submit again; `c2d sweep check` finds most of these before"),
    "data": Rule("code", 0, "`c2d data check` on that node's copy of the data set"),
    "disk": Rule("code", 0, "free some space or quota (`c2d sweep gc`), then retry --class disk"),
    "import": Rule(
        "code", 0, "the node's python lacks a package or finds another: `c2d doctor --profile P` shows what it sees"
    ),
    "user-code": Rule("code", 0, "an error in the code: mend it, then retry --class user-code --update-code"),
    "cancelled": Rule("person", 0, "somebody cancelled it; `retry --class cancelled` submits it again"),
    "unknown": Rule("code", 0, "no known sign in log, exit code and accounting: read the last lines of its log"),
}
"""Every failure class there is, in the order in which `triage` lists them."""

AUTOMATIC: Final = tuple(name for name, rule in RULES.items() if rule.kind in ("infrastructure", "resource"))
BACKOFF_S: Final = (0.0, 60.0, 300.0, 900.0, 1800.0)
NODE_FAILURES: Final = 2
"""Deaths of infrastructure on one node after which a sweep leaves that node out."""


def backoff_s(deaths: int) -> float:
    """Seconds to wait before the next attempt after so many deaths of one class in a row."""
    return BACKOFF_S[min(max(deaths - 1, 0), len(BACKOFF_S) - 1)]


def exhausted(failure_class: str, deaths: list[dict[str, object]]) -> bool:
    """True when a run that died of `failure_class` must not be started again by itself.

    Args:
        failure_class: of the newest death.
        deaths: lines of attempts.jsonl, oldest first, the newest death included: {class, iteration, ...}.
    """
    rule = RULES.get(failure_class, RULES["unknown"])
    count, reached = 0, -1
    for death in deaths:
        iteration = int(str(death.get("iteration") or 0))
        if death.get("class") == failure_class:
            count = 1 if rule.forgiven and iteration > reached else count + 1
        reached = max(reached, iteration)
    return rule.kind not in ("infrastructure", "resource") or count > rule.attempts
