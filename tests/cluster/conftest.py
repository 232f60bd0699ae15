"""One real SLURM for the tests of a session; they skip, with the reason, where it cannot be started."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.slurm import NODES, Cluster, ClusterError, missing


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Four emulated nodes, `main` and `urgent`; about three seconds to start."""
    if reason := missing():
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="c2d-slurm-", dir="/tmp"))  # sockets need a short path
    up = Cluster(folder)
    try:
        try:
            up.start()
        except ClusterError as error:
            pytest.fail(f"the cluster did not start: {error}", pytrace=False)
        yield up
    finally:
        up.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def client(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """The cluster as this process and those it starts see it; afterwards no job is left and every node is idle."""
    for name in list(os.environ):
        if name.startswith(("SLURM_", "SBATCH_")):
            monkeypatch.delenv(name)
    for name, value in cluster.env().items():
        monkeypatch.setenv(name, value)
    yield cluster
    cluster.clear()
    for node in NODES:
        if node not in cluster.daemons:
            cluster.start_slurmd(node)
    cluster.until_idle()
