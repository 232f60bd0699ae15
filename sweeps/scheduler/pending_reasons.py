"""Why a job waits, by SLURM's reason: what it means, whether it starts by itself, and the commands that help.

The reasons are those of `squeue --format=%r` in SLURM 22.05 to 24.11. SLURM may print a sentence in place of a name.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

SHOW_JOB = "scontrol show job {jobs}"
RESUBMIT = ("c2d sweep cancel {sweep}", "c2d sweep retry {sweep} --class cancelled --profile CHANGED.yaml")
"""Another request needs another job: a changed profile counts for jobs that are submitted again."""
_ASSOCIATIONS = "sacctmgr -P show assoc user=$USER format=account,partition,qos"


@dataclass(frozen=True)
class PendingReason:
    """One kind of reason.

    Attributes:
        pattern: regular expression of the whole reason; case does not count, and `_` is a blank.
        meaning: one phrase.
        commands: what to type, in this order; {jobs}, {partition}, {qos}, {account} and {sweep} are filled in, names in
            capitals are a person's choice. Empty: nothing to do.
        starts_itself: the job starts later without any of them.
    """

    pattern: str
    meaning: str
    commands: tuple[str, ...] = ()
    starts_itself: bool = False

    def filled_commands(self, values: Mapping[str, str]) -> list[str]:
        """Return the commands with their values; a value that is unknown is its name in capitals.

        Args:
            values: of jobs, partition, qos, account, sweep.
        """
        known = _known(values)
        # squeue prints several partitions of one job with commas. scontrol's ranges of tasks need no quotes of bash.
        quoted = {
            name: text if name == "jobs" else shlex.quote(text.split(",")[0] if name == "partition" else text)
            for name, text in known.items()
        }
        return [command.format_map(quoted) for command in self.commands]

    def filled_meaning(self, values: Mapping[str, str]) -> str:
        """Return the meaning with its values; see `filled_commands`."""
        return self.meaning.format_map(_known(values))


def _known(values: Mapping[str, str]) -> dict[str, str]:
    return {name: values.get(name) or name.upper() for name in ("jobs", "partition", "qos", "account", "sweep")}


PENDING_REASONS: tuple[PendingReason, ...] = (
    PendingReason(
        "None|Priority|Resources|Dependency|JobArrayTaskLimit|Prolog|Cleaning|WaitingForScheduling|SchedDefer|"
        "Federation|FedJobLock|PowerReserved|BurstBuffer(Resources|StageIn)|BlockedByLicense",
        "it waits for its turn",
        starts_itself=True,
    ),
    PendingReason(
        # Of the end of an earlier start of a job that was requeued.
        "NonZeroExitCode|TimeLimit|OutOfMemory|InactiveLimit|RaisedSignal.*|SystemFailure|JobRequeue|RequeueExit|"
        "Preempted|Preemption|Deadline",
        "its last start ended so, and it starts again",
        starts_itself=True,
    ),
    PendingReason(
        "BeginTime",
        "its earliest start is later; SLURM delays a requeued job by about two minutes",
        ("scontrol update jobid={jobs} starttime=now",),
        starts_itself=True,
    ),
    PendingReason("JobHeldUser|job requeued in held state", "it is held by its owner", ("c2d sweep release {sweep}",)),
    PendingReason(
        "JobHeldAdmin|job held by (an )?admin.*",
        "it is held by an administrator, or has priority 0; only an operator can release it: give the number to the "
        "cluster's support",
        ("scontrol release {jobs}",),
    ),
    PendingReason(
        "launch failed requeued held|JobLaunchFailure|RequeueExitHold|JobHoldMaxRequeue|.*requeued held.*",
        "SLURM could not start it on a node (a prolog that fails, for instance) and holds it",
        (SHOW_JOB, "c2d sweep release {sweep}"),
    ),
    PendingReason(
        "PartitionTimeLimit",
        "its time limit is longer than partition {partition} allows; lower `hours` in the profile for later runs",
        ("scontrol update jobid={jobs} timelimit=$(sinfo -hp {partition} -o %l | head -1)",),
    ),
    PendingReason(
        "QOSMaxWall.*",
        "its time limit is longer than QOS {qos} allows; lower `hours` in the profile for later runs",
        ("scontrol update jobid={jobs} timelimit=$(sacctmgr -nP show qos {qos} format=maxwall)",),
    ),
    PendingReason(
        "AssocMaxWall.*|AssociationTimeLimit",
        "its time limit is longer than account {account} allows you; lower `hours` in the profile for later runs",
        (
            "scontrol update jobid={jobs} "
            "timelimit=$(sacctmgr -nP show assoc user=$USER account={account} format=maxwall | grep -m1 .)",
        ),
    ),
    PendingReason(
        "PartitionDown|PartitionInactive",
        "partition {partition} starts no job until an administrator brings it up; NAME is one that is up",
        ("sinfo -s", "scontrol update jobid={jobs} partition=NAME"),
    ),
    PendingReason(
        "PartitionConfig|PartitionNodeLimit|PartitionMinNodes|PartitionMaxNodes|MaxMemPerLimit",
        "its nodes or memory do not fit partition {partition}; change the profile",
        ("scontrol show partition {partition}", *RESUBMIT),
    ),
    PendingReason(
        "BadConstraints|Requested node configuration is not available|NodeFeatures|"
        "(Required|Requested) node not available.*",
        "no node has what it requests (constraint, GPU type, cores or memory); change the profile",
        ("sinfo -No '%N %P %f %G %c %m'", *RESUBMIT),
    ),
    PendingReason(
        "AccountNotAllowed|InvalidAccount|Invalid account.*",
        "account {account} may not be used here or in partition {partition}",
        (_ASSOCIATIONS, "scontrol update jobid={jobs} account=NAME"),
    ),
    PendingReason(
        "InvalidQOS|QOSNotAllowed|Job's QOS not permitted.*|QOS .*not (allowed|permitted).*",
        "QOS {qos} may not be used here or in partition {partition}",
        (_ASSOCIATIONS, "scontrol update jobid={jobs} qos=NAME"),
    ),
    PendingReason(
        "QOSMin.*|QOSMax.*Per(Job|Node)(Limit)?",
        "it requests less or more than QOS {qos} allows a job; change the profile",
        ("scontrol show assoc_mgr qos={qos} flags=qos", *RESUBMIT),
    ),
    PendingReason(
        "AssocMax.*Per(Job|Node)(Limit)?",
        "it requests more than account {account} allows a job; change the profile",
        ("scontrol show assoc_mgr accounts={account} flags=assoc", *RESUBMIT),
    ),
    PendingReason(
        "AssocGrp.*(Minutes|Wall).*",
        "the hours of account {account} are used up; it starts when the account gets new ones",
        ("scontrol show assoc_mgr accounts={account} flags=assoc", "scontrol update jobid={jobs} account=NAME"),
    ),
    PendingReason(
        "QOSGrp.*(Minutes|Wall).*|QOSTimeLimit|QOSUsageThreshold",
        "the hours of QOS {qos} are used up; it starts when the QOS gets new ones",
        ("scontrol show assoc_mgr qos={qos} flags=qos", "scontrol update jobid={jobs} qos=NAME"),
    ),
    PendingReason(
        "Assoc.*|AccountingPolicy",
        "account {account} is at a limit; it starts when jobs of the account end, unless it alone is above the limit",
        ("scontrol show assoc_mgr accounts={account} flags=assoc",),
    ),
    PendingReason(
        "QOS.*|Max.*PerAccount",
        "QOS {qos} is at a limit; it starts when jobs of the QOS end, unless it alone is above the limit",
        ("scontrol show assoc_mgr qos={qos} flags=qos",),
    ),
    PendingReason(
        "ReqNodeNotAvail.*|NodeDown|FrontEndDown|Nodes required for job are .*|PowerNotAvail",
        "nodes that it needs are down, drained, or reserved before its time limit would be over",
        ("sinfo -R", "scontrol show reservation"),
    ),
    PendingReason(
        "ReservationDeleted|InvalidReservation|RequiresReservation|ReqResv",
        "its reservation does not exist, or its partition or QOS requires one",
        ("scontrol show reservation", "scontrol update jobid={jobs} reservation=NAME"),
    ),
    PendingReason("Reservation", "its reservation has not begun", ("scontrol show reservation",), starts_itself=True),
    PendingReason("Licenses", "no licence is free", ("scontrol show licenses",), starts_itself=True),
    PendingReason(
        "DependencyNeverSatisfied",
        "a job that it waits for has failed",
        ("c2d sweep triage {sweep}", "c2d sweep retry {sweep}"),
    ),
    PendingReason(
        "BurstBuffer.*|AccountGather|JobAccountGather",
        "a service of the cluster fails; give the cluster's support its number",
        (SHOW_JOB,),
    ),
)
"""In this order; the first pattern that fits decides."""

_UNKNOWN = PendingReason("", "SLURM gives this reason", (SHOW_JOB,))


def find_pending_reason(reason: str) -> PendingReason:
    """Return the kind of a reason of squeue; for one that is not listed, how to see the whole job."""
    text = " ".join(reason.replace("_", " ").split()) or "None"
    found = (item for item in PENDING_REASONS if re.fullmatch(item.pattern, text, re.IGNORECASE | re.DOTALL))
    return next(found, _UNKNOWN)
