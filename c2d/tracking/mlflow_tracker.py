"""MLflow: one run of the experiment `c2d`, found again by its tag `c2d.run_id`; a folder, or a server.

The folder needs neither a server nor SQLAlchemy, and each run writes files of its own, so that a hundred jobs can write
one folder on a network disk. MLflow keeps every value it is given and deletes none: what an earlier attempt has sent is
not sent again.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from filelock import SoftFileLock, Timeout

from c2d.core.store_folder import RunStore
from c2d.tracking.tracked_run import RUN_ID_TAG
from c2d.tracking.tracker import FAILED, FINISHED, INTERRUPTED, Outcome, Point, TrackedRun
from c2d.tracking.tracker_option import TrackerOption

EXPERIMENT = "c2d"
METRICS_A_CALL, PARAMS_A_CALL = 1000, 100
"""Limits of MLflow's own interface."""
LONGEST_VALUE = 5000
"""Characters of a parameter or tag; MLflow's limits are 6000 and 8000."""
LOCK_WAIT_S = 10.0
STATUSES = {FINISHED: "FINISHED", FAILED: "FAILED", INTERRUPTED: "KILLED"}


class MLflowTracker:
    """A run of MLflow. The experiment is MLFLOW_EXPERIMENT_NAME, else `c2d`.

    Args:
        option: its destination is a folder or a tracking URI; default: MLFLOW_TRACKING_URI, else a folder.
        store: of the run, for the default folder.
    """

    def __init__(self, option: TrackerOption, store: RunStore) -> None:
        self._folder = folder = option.local_folder(store)
        self.uri = folder.absolute().as_uri() if folder else option.destination or os.environ["MLFLOW_TRACKING_URI"]
        self._client: Any = None
        self._id = ""
        self._last_steps: dict[str, int] = {}

    def open(self, run: TrackedRun) -> None:
        """Find the run of an earlier attempt, or make it; a run that was ended is under way again."""
        # Before the import, which reads them: usage is reported to a server otherwise, and folders are refused.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow.tracking import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.ERROR)
        self._client = MlflowClient(self.uri)
        with self._lock():
            experiment = self._experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT)
        found = self._client.search_runs([experiment], f"tags.`{RUN_ID_TAG}` = '{run.folder.id}'", max_results=1)
        if found:
            self._id = found[0].info.run_id
            self._last_steps = {key: self._last_step(key) for key in found[0].data.metrics}
            self._client.update_run(self._id, "RUNNING")
        else:
            made = self._client.create_run(experiment, tags={RUN_ID_TAG: run.folder.id}, run_name=run.folder.id)
            self._id = made.info.run_id
        self._set_tags(run.tags)
        if not found or len(found[0].data.params) < len(run.params):
            self._log_params(run.params)

    def log(self, points: Sequence[Point]) -> None:
        """Store the points that an earlier attempt has not sent."""
        from mlflow.entities import Metric

        metrics = [
            Metric(name, value, int(1000 * point.time_s), point.step)
            for point in points
            for name, value in point.values.items()
            if point.step > self._last_steps.get(name, -1)
        ]
        for first in range(0, len(metrics), METRICS_A_CALL):
            part = metrics[first : first + METRICS_A_CALL]
            self._client.log_batch(self._id, metrics=part)
            self._last_steps |= {metric.key: metric.step for metric in part}

    def finish(self, outcome: Outcome) -> None:
        """Store the final numbers and the state; the numbers of each class are the artifact per_class.json."""
        if outcome.results:
            self.log([Point(outcome.iteration, time.time(), outcome.results)])
        if outcome.per_class:
            self._client.log_dict(self._id, outcome.per_class, "per_class.json")
        self._set_tags(outcome.tags)
        self._client.set_terminated(self._id, STATUSES.get(outcome.state, "KILLED"))

    def abandon(self) -> None:
        """Leave the run as it is, `RUNNING`: MLflow has no process of its own."""

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Hold a lock in the folder: two runs that begin together would make two experiments of one name."""
        lock = None
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = SoftFileLock(self._folder / ".experiment.lock")
            with suppress(Timeout):  # a killed process left it
                lock.acquire(timeout=LOCK_WAIT_S)
        try:
            yield
        finally:
            if lock is not None:
                lock.release()

    def _experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        if found := self._client.get_experiment_by_name(name):
            return str(found.experiment_id)
        try:
            return str(self._client.create_experiment(name))
        except MlflowException:  # another run of the sweep has made it
            if found := self._client.get_experiment_by_name(name):
                return str(found.experiment_id)
            raise

    def _last_step(self, key: str) -> int:
        return max((metric.step for metric in self._client.get_metric_history(self._id, key)), default=-1)

    def _log_params(self, params: dict[str, Any]) -> None:
        from mlflow.entities import Param

        found = [Param(name, str(value)[:LONGEST_VALUE]) for name, value in params.items() if value is not None]
        for first in range(0, len(found), PARAMS_A_CALL):
            self._client.log_batch(self._id, params=found[first : first + PARAMS_A_CALL])

    def _set_tags(self, tags: dict[str, str]) -> None:
        from mlflow.entities import RunTag

        self._client.log_batch(self._id, tags=[RunTag(name, value[:LONGEST_VALUE]) for name, value in tags.items()])
