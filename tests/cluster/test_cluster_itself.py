"""The emulated cluster does what the other tests take for granted: arrays, preemption, lost nodes, accounting."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from tests.cluster.slurm import MAX_ARRAY, NODES, Cluster, ClusterError, marked

pytestmark = pytest.mark.cluster

POLITE = "srun --kill-on-bad-exit=1 bash -c 'trap \"exit 130\" TERM USR2; echo begun; while :; do sleep 0.1; done'"


def test_an_array_of_four_by_submitit(client: Cluster, tmp_path: Path) -> None:
    submitit = pytest.importorskip("submitit")
    executor = submitit.AutoExecutor(tmp_path / "logs", cluster="slurm")
    executor.update_parameters(timeout_min=2, slurm_partition="main", slurm_mem="200M", cpus_per_task=1)
    jobs = executor.map_array(pow, [2, 3, 4, 5], [2, 2, 2, 2])
    assert [job.result() for job in jobs] == [4, 9, 16, 25]
    array = jobs[0].job_id.partition("_")[0]
    assert [job.job_id for job in jobs] == [f"{array}_{number}" for number in range(4)]
    client.wait_for(f"{array}_0", "COMPLETED")


@pytest.mark.slow
def test_preempted_requeued_once_and_finished(client: Cluster, tmp_path: Path) -> None:
    done = tmp_path / "done"
    log = tmp_path / "log"
    text = f'[ -n "$SLURM_RESTART_COUNT" ] && exit 0; trap : TERM\n{POLITE}\nrc=$?\ntouch {done}'
    text += '\n[ $rc = 130 ] && scontrol requeue "$SLURM_JOB_ID"'
    job = client.submit(text, "-w", "n1", "-c2", "--requeue", "--open-mode=append", "-o", str(log))
    client.until(lambda: log.exists() and "begun" in log.read_text(), "the job has begun")
    urgent = client.submit("sleep 1", "-p", "urgent", "-w", "n1", "-c2")
    client.wait_for(urgent, "COMPLETED")
    assert done.exists()
    client.release(job)
    client.wait_for(job, "COMPLETED")
    assert client.field(job, "Restarts") == "1"


@pytest.mark.slow
def test_a_node_that_went_down_gives_its_job_back(client: Cluster, tmp_path: Path) -> None:
    log = tmp_path / "log"
    job = client.submit(POLITE, "--requeue", "--open-mode=append", "-o", str(log))
    client.until(lambda: log.exists() and "begun" in log.read_text(), "the job has begun")
    node = client.field(job, "NodeList")
    client.down(node)
    client.wait_for(job, "PENDING")
    assert client.field(job, "Restarts") == "1"
    assert "Node failure on " + node in log.read_text()


@pytest.mark.slow
def test_a_killed_slurmd_is_noticed(client: Cluster, tmp_path: Path) -> None:
    log = tmp_path / "log"
    job = client.submit(POLITE, "--requeue", "-o", str(log))
    client.until(lambda: log.exists() and "begun" in log.read_text(), "the job has begun")
    node = client.field(job, "NodeList")
    client.kill_slurmd(node)
    client.until(lambda: client.field(job, "Restarts") == "1", "the job is requeued")
    assert client.states()[node].startswith("down")
    client.run(f"scancel {job}")
    client.start_slurmd(node)
    client.until(lambda: client.states()[node] == "idle", f"{node} is back")


def test_limits_are_real(client: Cluster) -> None:
    with pytest.raises(ClusterError, match="Invalid job array specification"):
        client.submit("true", f"--array=0-{MAX_ARRAY}")
    held = client.submit("true", "--hold", f"--array=0-{MAX_ARRAY - 1}")
    client.run(f"scancel {held}")
    greedy = client.submit(
        "srun python3 -c 'import time; x = b\"x\" * (300 << 20); time.sleep(60)'; exit $?", "--mem=50M"
    )
    client.wait_for(greedy, "FAILED")
    assert client.field(greedy, "ExitCode") == "137:0"


def test_everything_carries_the_mark_by_which_it_is_ended(client: Cluster) -> None:
    job = client.submit("exec sleep 60")
    client.wait_for(job, "RUNNING")
    # SLURM says RUNNING when the step's daemon starts, a moment before the script does
    client.until(lambda: [b"sleep", b"60"] in commands(marked(client.conf)), "the script runs and carries the mark")
    assert {daemon.pid for daemon in client.daemons.values()} <= set(marked(client.conf))
    assert len(client.daemons) == 4 + len(NODES)


def commands(pids: list[int]) -> list[list[bytes]]:
    """The first two words of each process that is still there."""
    found = []
    for pid in pids:
        with suppress(OSError):
            found.append(Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:2])
    return found
