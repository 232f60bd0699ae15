"""A real SLURM on this one machine: four emulated nodes, accounting on, all of it in one private folder.

`Cluster(folder).start()` brings up munged, mariadbd, slurmdbd, slurmctld and four slurmd in about ten seconds; `stop()`
ends them newest first, and every job process they left. Ports, sockets, keys and data bases belong to the folder, so
several clusters can live side by side. Needs root and the packages slurm-wlm, slurmdbd, mariadb-server and munge.

Two partitions: `main` (requeue, grace time 10 s) and `urgent`, whose jobs preempt those of `main`. The nodes n1 to n4
have two CPUs each and are one machine: node-local disks and GPUs are not told apart.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

NODES = ("n1", "n2", "n3", "n4")
PROGRAMS = ("munged", "mariadbd", "mariadb-install-db", "slurmdbd", "slurmctld", "slurmd", "sbatch", "sacctmgr")
SEARCH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
MAX_ARRAY = 50
"""MaxArraySize: the largest index is one less, as SLURM counts."""

SLURM_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[ctld]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=10
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/ctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=1000
ReturnToService=2
SlurmdTimeout=15
MessageTimeout=10
KillWait=15
MinJobAge=300
SchedulerParameters={scheduler}
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={ports[dbd]}
AccountingStoragePass={folder}/munge/socket
SlurmdParameters=config_overrides
MailProg=/bin/true
MaxArraySize={max_array}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=10
PartitionName=urgent Nodes=ALL Default=NO MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
{extra}
"""

SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
DbdHost=localhost
DbdPort={ports[dbd]}
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={ports[sql]}
StorageUser=slurm
StoragePass={password}
StorageLoc=slurm_acct
LogFile={folder}/log/slurmdbd.log
PidFile={folder}/dbd.pid
"""


class ClusterError(Exception):
    """A daemon did not come up, or the cluster did not do in time what was waited for."""


def missing() -> str:
    """Why no cluster can be started here, or "" when it can."""
    if os.geteuid() != 0:
        return "a private SLURM needs root"
    absent = [name for name in PROGRAMS if not shutil.which(name, path=SEARCH)]
    packages = "apt-get install slurm-wlm slurmdbd mariadb-server munge"
    return f"no {', '.join(absent)} here ({packages})" if absent else ""


class Cluster:
    """One private SLURM. `folder` must not exist or be empty, and have a short path (sockets: 100 characters)."""

    def __init__(self, folder: Path, scheduler: str = "", extra: str = "", max_array: int = MAX_ARRAY) -> None:
        self.folder = folder.resolve()
        self.scheduler = scheduler or "sched_interval=2"
        self.extra = extra
        self.max_array = max_array
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        self.guard: subprocess.Popen[bytes] | None = None

    @property
    def conf(self) -> Path:
        return self.folder / "slurm.conf"

    def env(self) -> dict[str, str]:
        """The environment of a client (sbatch, submitit, c2d): this process's, pointed at this cluster."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "SBATCH_"))}
        return {**kept, "PATH": SEARCH, "SLURM_CONF": str(self.conf)}

    # -- up and down

    def start(self) -> Cluster:
        """Bring everything up; ends what it began when a daemon does not come up.

        Raises:
            ClusterError: with the last lines of that daemon's log.
        """
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def _start(self) -> None:
        for name in ("log", "state", "spool", "munge", "mysql"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        ports = dict(zip(("ctld", "dbd", "sql", *NODES), free_ports(3 + len(NODES)), strict=True))
        password, host = secrets.token_hex(8), socket.gethostname()
        nodes = "\n".join(
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[node]} CPUs=2 RealMemory=8000"
            " State=UNKNOWN"
            for node in NODES
        )
        facts = dict(folder=self.folder, ports=ports, password=password, host=host, nodes=nodes)
        conf = dict(scheduler=self.scheduler, extra=self.extra, max_array=self.max_array)
        self.conf.write_text(SLURM_CONF.format(**facts, **conf))
        dbd = self.folder / "slurmdbd.conf"
        dbd.touch(0o600)
        dbd.write_text(SLURMDBD_CONF.format(**facts))
        hosts(NODES)
        self.guard = guard(self.conf)
        self._start_munge()
        self._start_sql(ports["sql"], password)
        self._daemon("slurmdbd", "slurmdbd", "-D")
        self._until("slurmdbd", lambda: self.run("sacctmgr -n list cluster", check=False).returncode == 0)
        self.run("sacctmgr -i add cluster test")
        self._daemon("slurmctld", "slurmctld", "-D")
        self._until("slurmctld", lambda: "UP" in self.run("scontrol ping", check=False).stdout)
        for node in NODES:
            self.start_slurmd(node)
        self._until("slurmctld", lambda: self.states() == dict.fromkeys(NODES, "idle"), 180)

    def _start_munge(self) -> None:
        home = self.folder / "munge"
        key = home / "key"
        key.touch(0o600)
        key.write_bytes(secrets.token_bytes(128))
        files = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        options = [f"--{option}={home / name}" for option, name in files.items()]
        self._daemon("munged", "munged", "--foreground", "--force", "--num-threads=2", *options)
        self._until("munged", (home / "socket").exists)

    def _start_sql(self, port: int, password: str) -> None:
        data, log = self.folder / "mysql", self.folder / "log" / "mariadb-install.log"
        shutil.chown(data, "mysql", "mysql")
        with log.open("wb") as stream:
            subprocess.run(
                ["mariadb-install-db", "--no-defaults", "--user=mysql", f"--datadir={data}", "--skip-test-db",
                 "--auth-root-authentication-method=normal"],
                env=self.env(), stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, check=True,
            )  # fmt: skip
        sock = data / "s"
        self._daemon(
            "mariadbd", "mariadbd", "--no-defaults", "--user=mysql", f"--datadir={data}", f"--port={port}",
            f"--socket={sock}", f"--pid-file={data}/pid", "--bind-address=127.0.0.1",
            "--innodb-flush-log-at-trx-commit=0", "--innodb-lock-wait-timeout=900",
        )  # fmt: skip
        client = ["mariadb", "--no-defaults", f"--socket={sock}", "-uroot"]
        up = [*client, "-e", "select 1"]
        self._until("mariadbd", lambda: subprocess.run(up, env=self.env(), capture_output=True).returncode == 0)
        rights = f"create database slurm_acct; create user slurm@'%' identified by '{password}';"
        rights += f"create user slurm@localhost identified by '{password}';"
        rights += "grant all on slurm_acct.* to slurm@'%'; grant all on slurm_acct.* to slurm@localhost;"
        subprocess.run([*client, "-e", rights], env=self.env(), check=True, capture_output=True)

    def _daemon(self, name: str, program: str, *options: str) -> None:
        """Start one daemon in the foreground as a child of this process, its output in log/NAME.out."""
        path = shutil.which(program, path=SEARCH) or program
        with (self.folder / "log" / f"{name}.out").open("ab") as stream:
            self.daemons[name] = subprocess.Popen(
                [path, *options],
                env=self.env(),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                cwd=self.folder,
                start_new_session=True,  # Ctrl-C at the keyboard ends the test, which then ends them in order
            )

    def _until(self, name: str, ready: Callable[[], bool], seconds: float = 120) -> None:
        """Wait for a daemon to be ready.

        Raises:
            ClusterError: it ended or was not ready in time; with its log's last lines.
        """
        begun = time.monotonic()
        while not ready():
            ended = self.daemons[name].poll()
            if ended is not None or time.monotonic() - begun > seconds:
                what = f"ended with exit code {ended}" if ended is not None else f"was not ready after {seconds:.0f} s"
                raise ClusterError(f"{name} {what}\n{self.log_tail(name)}")
            time.sleep(0.1)

    def log_tail(self, name: str, lines: int = 30) -> str:
        """The last lines of a daemon's log and output (munged, mariadbd, slurmdbd, slurmctld, n1 to n4)."""
        found = []
        for path in (f"log/{name}.log", f"log/slurmd.{name}.log", f"log/{name}.out", f"{name.rstrip('d')}/log"):
            with contextlib.suppress(OSError):
                found += (self.folder / path).read_text(errors="replace").splitlines()[-lines:]
        return "\n".join(found)

    def stop(self) -> None:
        """End everything: jobs, daemons newest first, and whatever a killed slurmd left behind."""
        if "slurmctld" in self.daemons:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.run("scancel --user=root", check=False, timeout=10)
        for name in reversed(self.daemons):
            end(self.daemons[name])
        self.daemons.clear()
        end_marked(self.conf)
        if self.guard is not None:
            end(self.guard)
            self.guard = None

    # -- nodes

    def start_slurmd(self, node: str) -> None:
        (self.folder / "spool" / node).mkdir(parents=True, exist_ok=True)
        self._daemon(node, "slurmd", "-D", "-N", node)

    def kill_slurmd(self, node: str) -> None:
        """kill -9: the controller finds out after SlurmdTimeout (15 s); the node's job steps live on."""
        daemon = self.daemons.pop(node)
        daemon.kill()
        daemon.wait()

    def down(self, node: str) -> None:
        """Mark a node down: its jobs are requeued at once, as after a node failure. It returns by `resume`."""
        self.run(f"scontrol update nodename={node} state=down reason=test")

    def resume(self, node: str) -> None:
        self.run(f"scontrol update nodename={node} state=resume", check=False)

    def states(self) -> dict[str, str]:
        """State of every node: idle, mixed, allocated, down, ..."""
        rows = self.run("sinfo -hN -p main -o '%N %T'", check=False).stdout.split("\n")
        return dict(row.split(" ", 1) for row in rows if " " in row)

    # -- jobs

    def run(
        self, command: str, check: bool = True, timeout: float = 60, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """One shell command as a client of this cluster.

        Raises:
            ClusterError: it failed and `check` is set; with what it wrote.
        """
        done = subprocess.run(
            ["bash", "-c", command], env={**self.env(), **env}, capture_output=True, text=True, timeout=timeout
        )
        if check and done.returncode != 0:
            raise ClusterError(f"{command}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def submit(self, text: str, *options: str, folder: Path | None = None) -> str:
        """sbatch a script given as text (`#!/bin/bash` is put before it); returns the job's number."""
        done = subprocess.run(
            ["sbatch", "--parsable", *options],
            input=f"#!/bin/bash\n{text}\n",
            env=self.env(),
            capture_output=True,
            text=True,
            cwd=folder or self.folder,
        )
        if done.returncode != 0:
            raise ClusterError(f"sbatch: exit code {done.returncode}: {done.stderr.strip()}")
        return done.stdout.strip().split(";")[0]

    def field(self, job: str, name: str) -> str:
        """One field of `scontrol show job` (JobState, Reason, Restarts, NodeList, ...), "" when it is not known."""
        shown = self.run(f"scontrol -o show job {job}", check=False).stdout.splitlines()
        words = shown[0].split() if shown else []
        return next((word.split("=", 1)[1] for word in words if word.startswith(f"{name}=")), "")

    def state(self, job: str) -> str:
        """State now, by the controller, or by accounting when the controller has forgotten the job."""
        return self.field(job, "JobState") or self.run(f"sacct -XPn -o State -j {job}").stdout.partition("\n")[0]

    def until(self, true: Callable[[], bool], what: str, seconds: float = 120) -> None:
        """Wait until something is the case.

        Raises:
            ClusterError: not in time; with the queue and the nodes.
        """
        begun = time.monotonic()
        while not true():
            if time.monotonic() - begun > seconds:
                seen = self.run("squeue; sinfo -N", check=False).stdout
                raise ClusterError(f"not the case after {seconds:.0f} s: {what}\n{seen}")
            time.sleep(0.2)

    def clear(self) -> None:
        """Cancel every job and kill what is left of them on the nodes."""
        self.run("scancel --user=root", check=False)
        self.run("scancel --signal=KILL --full --user=root", check=False)

    def until_idle(self, seconds: float = 90) -> None:
        """Wait until every node is idle again; nodes that are down or drained are resumed."""

        def idle() -> bool:
            states = self.states()
            for node, state in states.items():
                if state.rstrip("*") in ("down", "drained", "draining"):
                    self.resume(node)
            return states == dict.fromkeys(NODES, "idle")

        self.until(idle, "every node is idle", seconds)

    def wait_for(self, job: str, *states: str, seconds: float = 120) -> str:
        """Wait until the job is in one of `states` (PENDING, RUNNING, COMPLETED, ...) and return which.

        Raises:
            ClusterError: not in time; with what SLURM says of the job.
        """
        begun = time.monotonic()
        while (state := self.state(job)).split(" ")[0] not in states:
            if time.monotonic() - begun > seconds:
                shown = self.run(f"scontrol show job {job}", check=False).stdout
                raise ClusterError(f"job {job} is {state!r} after {seconds:.0f} s, not {' or '.join(states)}\n{shown}")
            time.sleep(0.2)
        return state

    def release(self, job: str) -> None:
        """Start a requeued job now: SLURM holds it back for about two minutes (BeginTime)."""
        self.run(f"scontrol update jobid={job} starttime=now", check=False)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on; held together while they are chosen, so that they differ."""
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(count):
            listener = stack.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            found.append(listener.getsockname()[1])
        return found


def hosts(names: Iterable[str]) -> None:
    """Make the nodes' names resolve, as they do on a cluster (rendezvous of several nodes)."""
    path = Path("/etc/hosts")
    known = {word for line in path.read_text().splitlines() for word in line.partition("#")[0].split()[1:]}
    lines = "".join(f"127.0.0.1 {name}\n" for name in names if name not in known)
    if lines:
        with path.open("a") as stream:
            stream.write(lines)


def end(process: subprocess.Popen[bytes], seconds: float = 10) -> None:
    """SIGTERM, then SIGKILL, to a child of this process."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def marked(conf: Path) -> list[int]:
    """Processes that were started with SLURM_CONF set to this file: daemons and jobs of one cluster, newest first."""
    sign, found = f"SLURM_CONF={conf}".encode(), []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if sign in (entry / "environ").read_bytes().split(b"\0"):
                    started = int((entry / "stat").read_text().rpartition(")")[2].split()[19])
                    found.append((started, int(entry.name)))
    return [pid for _, pid in sorted(found, reverse=True)]


def end_marked(conf: Path, seconds: float = 5) -> None:
    """SIGTERM to every process of one cluster, newest first; SIGKILL to those that are there after `seconds`."""
    ours = ancestors()  # somebody may have called us with SLURM_CONF set
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in marked(conf):
            if pid not in ours:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        until = time.monotonic() + seconds
        while time.monotonic() < until and set(marked(conf)) - ours:
            time.sleep(0.1)


def ancestors() -> set[int]:
    """This process, its parent, and so on."""
    found, pid = set(), os.getpid()
    while pid > 0:
        found.add(pid)
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            break
    return found


def guard(conf: Path) -> subprocess.Popen[bytes]:
    """A process that outlives this one by a moment: when this one is gone, however it ended, it ends the cluster."""
    return subprocess.Popen(
        [sys.executable, __file__, str(conf)],
        stdin=subprocess.PIPE,  # closed by the kernel when this process ends
        start_new_session=True,
        env={key: value for key, value in os.environ.items() if key != "SLURM_CONF"},
    )


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.stdin.buffer.read()
    end_marked(Path(sys.argv[1]))
