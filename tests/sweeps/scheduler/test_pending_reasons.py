"""Every reason that SLURM documents has an entry, and the commands of an entry have the job's own names."""

from __future__ import annotations

import re

import pytest

from sweeps.scheduler.pending_reasons import PENDING_REASONS, find_pending_reason

RESOURCES = ("BB", "Billing", "Cpu", "CPU", "Energy", "GRES", "License", "Mem", "Memory", "Node", "Unknown")
LIMITS = [
    *(f"{of}Grp{what}{end}" for of in ("Assoc", "QOS") for what in RESOURCES
      for end in ("", "Limit", "Minutes", "MinutesLimit", "RunMinutes", "RunMinutesLimit")),
    *(f"{of}Max{what}{end}" for of in ("Assoc", "QOS") for what in RESOURCES
      for end in ("PerJob", "PerJobLimit", "PerNode", "MinutesPerJob", "MinutesPerJobLimit")),
    *(f"QOSMax{what}Per{whom}" for what in RESOURCES for whom in ("User", "UserLimit", "Account")),
    *(f"QOSMin{what}" for what in RESOURCES),
    *(f"Max{what}PerAccount" for what in (*RESOURCES, "Jobs", "SubmitJobs")),
    "AssocGrpJobsLimit", "AssocGrpSubmitJobsLimit", "AssocGrpWallLimit", "AssocMaxJobsLimit", "AssocMaxSubmitJobLimit",
    "AssocMaxWallDurationPerJobLimit", "QOSGrpJobsLimit", "QOSGrpSubmitJobsLimit", "QOSGrpWallLimit",
    "QOSMaxJobsPerUserLimit", "QOSMaxSubmitJobPerUserLimit", "QOSMaxWallDurationPerJobLimit", "QOSMinCpuNotSatisfied",
    "QOSJobLimit", "QOSResourceLimit", "QOSTimeLimit", "QOSUsageThreshold", "AssociationJobLimit",
    "AssociationResourceLimit", "AssociationTimeLimit", "AccountingPolicy", "MaxMemPerLimit",
]  # fmt: skip
NEVER = [
    *LIMITS, "AccountNotAllowed", "BadConstraints", "DependencyNeverSatisfied", "InvalidAccount", "InvalidQOS",
    "JobHeldAdmin", "JobHeldUser", "JobHoldMaxRequeue", "JobLaunchFailure", "NodeDown", "PartitionConfig",
    "PartitionDown", "PartitionInactive", "PartitionNodeLimit", "PartitionTimeLimit", "QOSNotAllowed",
    "ReqNodeNotAvail", "ReqNodeNotAvail, UnavailableNodes:n[1-4]", "ReqNodeNotAvail, Reserved for maintenance",
    "ReservationDeleted", "launch failed requeued held", "launch_failed_requeued_held", "job requeued in held state",
    "FrontEndDown", "BurstBufferOperation",
    "Job's QOS not permitted to use this partition (gpu allows long not normal)",
    "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions",
]  # fmt: skip
LATER = ["BeginTime", "Licenses", "Reservation"]
NORMAL = [
    "", "None", "Priority", "Resources", "Dependency", "JobArrayTaskLimit", "Prolog", "Cleaning",
    "WaitingForScheduling", "SchedDefer", "BurstBufferResources", "BurstBufferStageIn", "NonZeroExitCode",
    "TimeLimit", "OutOfMemory",
    "InactiveLimit", "SystemFailure",
]  # fmt: skip
VALUES = {"jobs": "7_[0-2]", "partition": "gpu", "qos": "long", "account": "vision", "sweep": "lr"}


@pytest.mark.parametrize("reason", [*NEVER, *LATER, *NORMAL])
def test_every_documented_reason_is_in_the_table(reason: str) -> None:
    found = find_pending_reason(reason)
    assert found in PENDING_REASONS
    assert bool(found.commands) == (reason not in NORMAL)
    assert found.starts_itself == (reason not in NEVER)
    for text in (*found.filled_commands(VALUES), found.filled_meaning(VALUES)):
        assert "{" not in text
        assert "PARTITION" not in text


@pytest.mark.parametrize(
    ("reason", "command"),
    [
        ("PartitionTimeLimit", "scontrol update jobid=7_[0-2] timelimit=$(sinfo -hp gpu -o %l | head -1)"),
        ("QOSMaxWallDurationPerJobLimit",
         "scontrol update jobid=7_[0-2] timelimit=$(sacctmgr -nP show qos long format=maxwall)"),
        ("PartitionDown", "scontrol update jobid=7_[0-2] partition=NAME"),
        ("PartitionConfig", "c2d sweep cancel lr"),
        ("JobHeldUser", "c2d sweep release lr"),
        ("JobHeldAdmin", "scontrol release 7_[0-2]"),
        ("launch failed requeued held", "c2d sweep release lr"),
        ("AssocGrpJobsLimit", "scontrol show assoc_mgr accounts=vision flags=assoc"),
        ("AssocGrpCPUMinutesLimit", "scontrol update jobid=7_[0-2] account=NAME"),
        ("QOSMaxJobsPerUserLimit", "scontrol show assoc_mgr qos=long flags=qos"),
        ("QOSMaxGRESPerJob", "c2d sweep retry lr --class cancelled --profile CHANGED.yaml"),
        ("ReqNodeNotAvail, UnavailableNodes:n1", "sinfo -R"),
        ("DependencyNeverSatisfied", "c2d sweep retry lr"),
        ("BeginTime", "scontrol update jobid=7_[0-2] starttime=now"),
    ],
)  # fmt: skip
def test_the_command_to_type(reason: str, command: str) -> None:
    assert command in find_pending_reason(reason).filled_commands(VALUES)


def test_an_unknown_reason_and_unknown_names() -> None:
    found = find_pending_reason("QueueOfTheMoon")
    assert found not in PENDING_REASONS
    assert found.filled_commands(VALUES) == ["scontrol show job 7_[0-2]"]
    held = find_pending_reason("PartitionTimeLimit").filled_commands({"jobs": "7"})
    assert held == ["scontrol update jobid=7 timelimit=$(sinfo -hp PARTITION -o %l | head -1)"]
    several = find_pending_reason("PartitionTimeLimit").filled_commands({"jobs": "7", "partition": "gpu,cpu"})
    assert several == ["scontrol update jobid=7 timelimit=$(sinfo -hp gpu -o %l | head -1)"]


def test_patterns_are_whole_and_valid() -> None:
    for item in PENDING_REASONS:
        re.compile(item.pattern)
        assert item.meaning
        assert item.commands or item.starts_itself
