r"""The batch script of one job array. submitit writes it without SLURM, so `dry` prints what `slurm` submits.

The script: setup lines of the profile, exports, ONE srun step with submitit's runner in every process, and a teardown,
which calls `sweeps.node.on_exit` after a failure and returns the exit code. Before the step and before the teardown's
python, `sweeps.node.verify_snapshot` checks that the submitted code is there and unaltered; no other code ever runs.

`$NAME` and `${NAME}` in the profile's `environment` expand on the node (`TMPDIR` differs on every node and job); all
other characters are literal, and a dollar sign before a name is written `\$`. Only `setup` and `python` are shell code.
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
from sweeps.definition.sbatch_flags import flag_name
from sweeps.launchers.arrays import JobArray
from sweeps.launchers.job_names import array_comment, has_comment, name_job_lines
from sweeps.launchers.launch_request import LaunchRequest
from sweeps.launchers.snapshot import snapshot_folder
from sweeps.launchers.submission import FOLDERS, VERIFY, pickle_name

_PERCENT = "\ue000"
"""Stands for a % of the log's path while submitit writes its own patterns (%j) into it."""
_SUBMITIT_TAG = re.compile("%[jtaA]")
NAME = r"[A-Za-z_][A-Za-z0-9_]*"
# bash runs a trap after the foreground command has ended, so the script survives the TERM of a preemption (which srun
# passes on to the processes) and reaches its teardown.
_PROLOGUE = ["rc=0", "trap : TERM USR2"]


def batch_script(array: JobArray, request: LaunchRequest, dependency: str = "") -> str:
    """Return the batch script of one array.

    Args:
        dependency: value of the one --dependency flag, "afterok:12_3:14,afterany:15", or "".

    Raises:
        InputError: submitit is missing; the profile has a reserved flag, a wrong variable name, or a signal_delay_s as
            long as its limit; see also `check_store_path`.
    """
    check_store_path(request.runs)
    profile, first = request.profile, array.tasks[0]
    if problem := profile.signal_problem(first.size, first.hours):
        raise InputError(problem)
    folder, code = (
        RunStore(request.runs).submission(request.sweep, array.name),
        snapshot_folder(request.runs, array.tasks[0].snapshot or request.snapshot),
    )
    count = len(array.tasks)
    more: dict[str, Any] = {
        "requeue": True,
        "kill_on_invalid_dep": "yes",
        "chdir": str(code),
        **_more_flags(profile, first.exclude),
    }
    comment = array_comment(array.tasks)
    if comment and not has_comment(profile):
        more["comment"] = comment
    text = _sbatch_string()(
        command=f"{python_command(profile)} -u -m submitit.core._submit {_folder_argument(folder)} || rc=$?",
        folder=str(folder).replace("%", _PERCENT),
        job_name=array.name,
        partition=profile.partition,
        account=profile.account,
        qos=profile.qos,
        constraint=profile.constraint,
        gres=_gres(profile),
        nodes=profile.nodes,
        ntasks_per_node=profile.processes_per_node,
        cpus_per_task=profile.cpus,
        mem=_mem(profile, first.mem_gb),
        time=profile.limit_min(first.size, first.hours),
        exclude=",".join(first.exclude) or None,
        dependency=dependency or None,
        signal_delay_s=profile.signal_delay_s,
        # submitit's default would write the workload key `submitit`, which a cluster may not know.
        wckey=None,
        stderr_to_stdout=True,
        map_count=count if count > 1 else None,
        array_parallelism=array.throttle,
        setup=[
            *_PROLOGUE,
            *profile.setup,
            *export_lines(profile, request.data, code),
            *_take_pickle(folder),
            *name_job_lines(folder, profile),
            *_verify(folder, code, profile),
            *([f"cd {shlex.quote(str(folder))}"] if _SUBMITIT_TAG.search(str(folder)) else []),
            *_balance(array, folder, profile, "&"),  # beside the training, which does not wait for it
        ],
        teardown=_teardown(array, folder, profile),
        additional_parameters=more,
        # A step does not inherit these from its job: srun has its own --cpus-per-task since SLURM 22.05, and
        # --export=NONE of a job holds for its steps too.
        srun_args=[
            # When a rank fails, the others end at once (kill-on-bad-exit); a rank that is done never ends them
            # (wait=0). A requeued job appends to its log.
            "--kill-on-bad-exit=1",
            "--wait=0",
            "--open-mode=append",
            "--export=ALL",
            f"--cpus-per-task={profile.cpus}",
            *profile.srun,
        ],
    )
    return str(text).replace(_PERCENT, "%%") + "\n"  # SLURM reads %% in the path of a log as %


def check_store_path(runs: Path) -> None:
    """Refuse a store whose path cannot be part of a batch script.

    Raises:
        InputError: it has a backslash, a line break or another character that does not show.
    """
    if "\\" in str(runs) or not str(runs).isprintable():
        raise InputError(
            f"{str(runs)!a}: SLURM reads a backslash in the path of a log as a sign of its own, and a line break as "
            "the end of a flag; use a store without backslash and line break in its path"
        )


def _folder_argument(folder: Path) -> str:
    """Return the folder of the pickles for submitit, which puts numbers in the place of its tags, without an escape."""
    return "/proc/self/cwd" if _SUBMITIT_TAG.search(str(folder)) else shlex.quote(str(folder))


def python_command(profile: Profile) -> str:
    """Return the command that starts python, as shell code."""
    return profile.python or shlex.quote(sys.executable)


def node_quote(value: str) -> str:
    r"""Return a shell word in which only $NAME and ${NAME} expand, on the node.

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
    """Return the value of --gres, which every SLURM understands; --gpus-per-node is newer."""
    if profile.gres or not profile.gpus:
        return profile.gres
    return ":".join(["gpu", *([profile.gpu_type] if profile.gpu_type else []), str(profile.gpus)])


def _mem(profile: Profile, raised_gb: float | None) -> str | None:
    """Return the value of --mem in MB, because SLURM accepts whole numbers only; None: no --mem."""
    return None if profile.mem_gb is None else f"{round((raised_gb or profile.mem_gb) * 1024)}M"


def _more_flags(profile: Profile, exclude: tuple[str, ...]) -> dict[str, Any]:
    """Return the profile's own sbatch flags in submitit's spelling, without those that are false.

    Args:
        exclude: nodes that a retry leaves out; they are added to those of the profile.
    """
    flags = {flag_name(key): value for key, value in profile.sbatch.items()}
    if isinstance(flags.get("exclude"), str):
        flags["exclude"] = ",".join([str(flags["exclude"]), *exclude])
    return {key: value for key, value in flags.items() if value is not False}


def export_lines(profile: Profile, data: Path, code: Path) -> list[str]:
    """Return shell lines that set the variables of a job.

    Args:
        data: root of the data cards.
        code: folder of the snapshot.

    Raises:
        InputError: the profile has a wrong variable name.
    """
    values = {
        "PYTHONSAFEPATH": "1",  # no modules from the folder a job starts in
        "C2D_SNAPSHOT": shlex.quote(code.name),
        "C2D_DATA": shlex.quote(str(data)),
        "OMP_NUM_THREADS": str(profile.cpus),
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    for name, value in profile.environment.items():
        if not re.fullmatch(NAME, name):
            raise InputError(
                f"profile {profile.name}: environment '{name}' is not a variable name; use letters, digits, _"
            )
        values[name] = node_quote(value)
    # Last, so that no variable of the profile comes before the submitted code.
    values["PYTHONPATH"] = shlex.quote(str(code)) + '"${PYTHONPATH:+:$PYTHONPATH}"'
    return [f"export {name}={value}" for name, value in values.items()]


def _take_pickle(folder: Path) -> list[str]:
    """Return lines that rename this task's pickle to the name submitit reads.

    A rename is atomic: of two submissions of the same array (sbatch timed out after submitting) one runs, and the other
    ends. A launcher that dies after sbatch has nothing left to do.
    """
    base = shlex.quote(str(folder))
    return [
        f"if [ ! -e {base} ]; then",
        f"    echo {shlex.quote(f'missing: {folder}; fix: the store has to be on the disk of every node')}",
        "    exit 1",
        "fi",
        "task=${SLURM_ARRAY_TASK_ID:-0}",
        'job="${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"',
        f'mine={base}/"${{job}}_submitted.pkl"',
        f'if [ ! -e "$mine" ] && ! mv {base}/"{pickle_name("$task")}" "$mine" 2>/dev/null && [ ! -e "$mine" ]; then',
        '    echo "another job of this submission has taken task $task; nothing to do"',
        "    exit 0",
        "fi",
    ]


def _verify(folder: Path, code: Path, profile: Profile) -> list[str]:
    """Return lines that check the submitted code and open the condition of the step; `_teardown` closes it."""
    words = shlex.join([str(folder / VERIFY), str(code), code.name])
    return [
        "verify_code() {",
        f'    {python_command(profile)} -I {words} "$@"',
        "}",
        "verify_code || rc=$?",
        'if [ "$rc" -eq 0 ]; then',
    ]


def _balance(array: JobArray, folder: Path, profile: Profile, end: str) -> list[str]:
    """Return the line that gives free slots to the sweep's other arrays; none where the array has the cap alone."""
    call = f"{python_command(profile)} -m sweeps.node.balance_arrays {shlex.quote(str(folder))} {end}"
    return [call] if array.shares_cap else []


def _teardown(array: JobArray, folder: Path, profile: Profile) -> list[str]:
    """Return lines that call on_exit after a failure, which records it and may requeue the job.

    on_exit is code of the snapshot: where that is missing, the check records the failure instead.

    srun returns 0 when its node fails (seen with 22.05). This must not count as success, on which other jobs wait.
    """
    folders = shlex.quote(str(folder / FOLDERS))
    return [
        "fi",
        'if [ "$rc" -eq 0 ] && [ ! -e "${mine%_submitted.pkl}_0_result.pkl" ]; then',
        "    rc=143",
        "fi",
        'if [ "$rc" -ne 0 ]; then',
        '    trap "" TERM',  # a lost node, a preemption and a requeue send it, and the failure must still be recorded
        f"    verify_code {folders} && {python_command(profile)} -m sweeps.node.on_exit {folders} "
        '"$rc" && rc=0  # the run is done',
        "fi",
        *(f"verify_code && {line} || true" for line in _balance(array, folder, profile, "ended")),
        'exit "$rc"',
    ]
