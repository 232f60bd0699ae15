r"""The text of one batch script. submitit writes it (no SLURM is needed for that), so `dry` prints what `slurm` sends.

What runs: setup lines of the profile, exports, then ONE srun step with submitit's runner in every process, then the
teardown, which hands a death to `sweeps.node.on_exit` and passes the exit code on.

`$NAME` and `${NAME}` in the profile's `environment` are the node's (`TMPDIR` differs on every node and job); all other
characters are literal, a dollar sign before a name is written `\$`. `setup`, `python` and nothing else are shell code.
"""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

from c2d.core.errors import InputError
from c2d.core.store_folder import RunStore
from sweeps.definition.profile import Profile
from sweeps.launchers.arrays import Array
from sweeps.launchers.launch_request import LaunchRequest
from sweeps.launchers.snapshot import snapshot_folder
from sweeps.launchers.submission import FOLDERS, pickle_name

OURS = (
    "array", "chdir", "dependency", "error", "job_name", "kill_on_invalid_dep", "no_requeue", "open_mode", "output",
    "requeue", "signal", "wrap",
)  # fmt: skip
"""Flags of sbatch that a profile cannot change: a launch that loses nothing rests on them."""

NAME = r"[A-Za-z_][A-Za-z0-9_]*"
# bash runs a trap when the command in the foreground has ended, so the script outlives the TERM of a preemption (which
# srun hands on to the processes) and reaches its teardown.
_PROLOGUE = ["rc=0", "trap : TERM USR2"]


def script(array: Array, request: LaunchRequest, dependency: str = "") -> str:
    """The batch script of one array.

    Args:
        dependency: value of the one --dependency flag, "afterok:12_3:14,afterany:15", or "".

    Raises:
        InputError: submitit is not installed; the profile names a flag or a variable that it cannot.
    """
    profile, first = request.profile, array.tasks[0]
    folder, code = (
        RunStore(request.runs).submission(request.sweep, array.name),
        snapshot_folder(request.runs, array.tasks[0].snapshot or request.snapshot),
    )
    count = len(array.tasks)
    more: dict[str, Any] = {
        "requeue": True,
        "kill_on_invalid_dep": "yes",
        "chdir": str(code),
        **_more_flags(profile),
    }
    text = _sbatch_string()(
        command=f"{python(profile)} -u -m submitit.core._submit {shlex.quote(str(folder))} || rc=$?",
        folder=folder,
        job_name=array.name,
        partition=profile.partition,
        account=profile.account,
        qos=profile.qos,
        constraint=profile.constraint,
        gres=_gres(profile),
        nodes=profile.nodes,
        ntasks_per_node=profile.processes_per_node,
        cpus_per_task=profile.cpus,
        mem=f"{round((first.mem_gb or profile.mem_gb) * 1024)}M",
        time=profile.limit_min(first.size, first.hours),
        exclude=",".join(first.exclude) or None,
        dependency=dependency or None,
        signal_delay_s=profile.signal_delay_s,
        wckey=None,
        stderr_to_stdout=True,
        map_count=count if count > 1 else None,
        array_parallelism=array.throttle,
        setup=[*_PROLOGUE, *profile.setup, *_exports(request, code), *_claim(folder)],
        teardown=_teardown(folder, profile),
        additional_parameters=more,
        # In a step neither the cores nor the environment nor the open mode of the job are a matter of course: srun has
        # its own --cpus-per-task since SLURM 22.05, and --export=NONE of a job holds for its steps too.
        srun_args=[
            "--kill-on-bad-exit=1",
            "--wait=0",
            "--open-mode=append",
            "--export=ALL",
            f"--cpus-per-task={profile.cpus}",
            *profile.srun,
        ],
    )
    return text + "\n"


def python(profile: Profile) -> str:
    """The command that starts python, as shell code."""
    return profile.python or shlex.quote(sys.executable)


def node_quote(value: str) -> str:
    r"""Shell word in which only $NAME and ${NAME} expand, on the node.

    >>> print(node_quote('$TMPDIR/a b/`date`'))
    "$TMPDIR/a b/\`date\`"
    """
    kept = re.split(rf"(\\\$|\${NAME}|\${{{NAME}}})", value)  # odd places are references, and \$
    return '"' + "".join(part if at % 2 else re.sub(r'([\\"`$])', r"\\\1", part) for at, part in enumerate(kept)) + '"'


def _sbatch_string() -> Any:
    try:
        from submitit.slurm.slurm import _make_sbatch_string
    except ImportError:
        raise InputError(
            "missing: submitit, which writes batch scripts; fix: pip install submitit, or use --where local"
        ) from None
    return _make_sbatch_string


def _gres(profile: Profile) -> str | None:
    """--gres is understood by every SLURM; --gpus-per-node is not."""
    if profile.gres or not profile.gpus:
        return profile.gres
    return ":".join(["gpu", *([profile.gpu_type] if profile.gpu_type else []), str(profile.gpus)])


def _more_flags(profile: Profile) -> dict[str, Any]:
    """The profile's own sbatch flags, spelt as submitit spells parameters; one that is false is left out."""
    flags = {key.lstrip("-").replace("-", "_"): value for key, value in profile.sbatch.items()}
    for key in flags:
        if key in OURS or not re.fullmatch(r"[a-z][a-z0-9_]+", key):
            raise InputError(
                f"profile {profile.name}: sbatch flag '{key.replace('_', '-')}' cannot be given; "
                f"not allowed are {', '.join(one.replace('_', '-') for one in OURS)}, and one-letter flags"
            )
    return {key: value for key, value in flags.items() if value is not False}


def _exports(request: LaunchRequest, code: Path) -> list[str]:
    profile = request.profile
    values = {
        "PYTHONSAFEPATH": "1",  # the folder a job starts in is not searched for modules
        "C2D_SNAPSHOT": shlex.quote(code.name),
        "C2D_DATA": shlex.quote(str(request.data)),
        "OMP_NUM_THREADS": str(profile.cpus),
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    for name, value in profile.environment.items():
        if not re.fullmatch(NAME, name):
            raise InputError(
                f"profile {profile.name}: environment '{name}' is no name of a variable; use letters, digits, _"
            )
        values[name] = node_quote(value)
    # Last, so that nothing comes before the code that was submitted.
    values["PYTHONPATH"] = shlex.quote(str(code)) + '"${PYTHONPATH:+:$PYTHONPATH}"'
    return [f"export {name}={value}" for name, value in values.items()]


def _claim(folder: Path) -> list[str]:
    """Take this task's pickle. A rename is atomic: of two submissions of the same array (sbatch timed out, but had
    submitted) one runs, the other ends; and nothing is left to do for a launcher that died after sbatch."""
    base = shlex.quote(str(folder))
    return [
        "task=${SLURM_ARRAY_TASK_ID:-0}",
        f'mine={base}/"${{SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}}${{SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}}_submitted.pkl"',
        f'if [ ! -e "$mine" ] && ! mv {base}/"{pickle_name("$task")}" "$mine" 2>/dev/null && [ ! -e "$mine" ]; then',
        '    echo "another job of this submission has taken task $task; nothing to do"',
        "    exit 0",
        "fi",
    ]


def _teardown(folder: Path, profile: Profile) -> list[str]:
    """Nobody but the job itself is there when it dies, so it says so itself: noted, and requeued or not.

    srun ends with 0 when its node fails (seen with 22.05). That must not pass for success, on which others wait.
    """
    return [
        'if [ "$rc" -eq 0 ] && [ ! -e "${mine%_submitted.pkl}_0_result.pkl" ]; then',
        "    rc=143",
        "fi",
        'if [ "$rc" -ne 0 ]; then',
        '    trap "" TERM',  # a lost node, a preemption and a requeue send it: the death has to be noted all the same
        f'    {python(profile)} -m sweeps.node.on_exit {shlex.quote(str(folder / FOLDERS))} "$rc" && rc=0  # the run is done',
        "fi",
        'exit "$rc"',
    ]
