"""TensorBoard: one folder of event files a run, `FOLDER/RUN`. An attempt writes a file of its own.

Each file begins with a session start at step 0, at which TensorBoard discards what earlier files have (its
`purge_step`), and holds the whole history of the run. Files of earlier attempts are removed once it does.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from c2d.core.store_folder import RunStore
from c2d.tracking.metric_names import RESULT
from c2d.tracking.tracked_run import TAG
from c2d.tracking.tracker import FINISHED, Outcome, Point, TrackedRun
from c2d.tracking.tracker_option import TrackerOption

SCALARS = {f"{RESULT}/{key}" for key in ("AP", "AP50", "AP75", "APs", "APm", "APl", "top1", "ece", "redetected")}
"""Final numbers with a chart of one point, which the table of HPARAMS shows; the others are text."""
CLASS_COLUMNS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "boxes", "n", "top1")
PREFIX = "events.out.tfevents."


class TensorBoardTracker:
    """Event files, written without TensorFlow and without the package's own thread.

    Args:
        option: its destination is the folder of all runs.
        store: of the run, for the default folder.
    """

    def __init__(self, option: TrackerOption, store: RunStore) -> None:
        self.folder = option.local_folder(store) or store.tracking
        self._earlier: list[Path] = []
        self._file: Any = None
        self._records = BytesIO()

    def open(self, run: TrackedRun) -> None:
        """Make the file of this attempt, with the parameters of the run."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.plugins.hparams import metadata, plugin_data_pb2

        place = self.folder / run.folder.id
        place.mkdir(parents=True, exist_ok=True)
        self._earlier = sorted(place.glob(f"{PREFIX}*"))
        name = f"{PREFIX}{time.time():017.6f}.{socket.gethostname()}.{os.getpid()}"
        self._file = (place / name).open("wb", buffering=0)
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        self._write(Event(wall_time=time.time(), step=0, session_log=SessionLog(status=SessionLog.START)))
        start = plugin_data_pb2.SessionStartInfo(group_name=run.folder.id, start_time_secs=time.time())
        for name, value in run.params.items():
            if name == "format" or name.endswith(".digest"):
                continue  # they say nothing in a table of few columns
            if isinstance(value, bool):
                start.hparams[name].bool_value = value
            elif isinstance(value, int | float):
                start.hparams[name].number_value = value
            elif value is not None:
                start.hparams[name].string_value = str(value)
        self._hparams(metadata.SESSION_START_INFO_TAG, session_start_info=start)
        self._text("run/spec", _table(run.params))
        self._text("run/tags", _table(run.tags))
        self._flush()

    def log(self, points: Sequence[Point]) -> None:
        """Append points; TensorBoard shows them when it reads the file again."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        for point in points:
            values = [Summary.Value(tag=name, simple_value=value) for name, value in point.values.items()]
            self._write(Event(wall_time=point.time_s, step=point.step, summary=Summary(value=values)))
        self._flush()
        self._remove_earlier()

    def finish(self, outcome: Outcome) -> None:
        """Append the final numbers and the state, and close the file."""
        from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

        if outcome.results:
            shown = {name: value for name, value in outcome.results.items() if name in SCALARS}
            self.log([Point(outcome.iteration, time.time(), shown)])
            self._text(f"{RESULT}/numbers", _table(outcome.results), outcome.iteration)
        if outcome.per_class:
            self._text(f"{RESULT}/per_class", _class_table(outcome.per_class), outcome.iteration)
        self._text("run/tags", _table(outcome.tags), outcome.iteration)
        statuses = api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE
        status = statuses[outcome.state != FINISHED]
        end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
        self._hparams(metadata.SESSION_END_INFO_TAG, session_end_info=end)
        self._flush()
        self._file.close()
        self._remove_earlier()

    def abandon(self) -> None:
        """Leave the file as it is: TensorBoard reads one that has no end."""

    def _write(self, event: Any) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        RecordWriter(self._records).write(event.SerializeToString())

    def _flush(self) -> None:
        """Append all records, or none: behind a part of one, which a full disk leaves, TensorBoard reads nothing."""
        data, place = self._records.getvalue(), self._file.tell()
        self._records = BytesIO()
        try:
            written = self._file.write(data)
            if written < len(data):
                self._file.write(data[written:])  # which raises the reason
        except OSError:
            self._file.truncate(place)
            self._file.seek(place)
            raise

    def _hparams(self, tag: str, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.hparams import metadata, plugin_data_pb2

        about = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(**content))
        value = Summary.Value(tag=tag, metadata=about, tensor=metadata.NULL_TENSOR)
        self._write(Event(wall_time=time.time(), summary=Summary(value=[value])))

    def _text(self, tag: str, markdown: str, step: int = 0) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.types_pb2 import DT_STRING
        from tensorboard.plugins.text import metadata

        about = metadata.create_summary_metadata(display_name=tag, description="")
        tensor = TensorProto(dtype=DT_STRING, string_val=[markdown.encode()])
        value = Summary.Value(tag=tag, metadata=about, tensor=tensor)
        self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=[value])))

    def _remove_earlier(self) -> None:
        for path in self._earlier:
            path.unlink(missing_ok=True)
        self._earlier = []


def _table(values: dict[str, Any]) -> str:
    rows = [f"| {name.removeprefix(TAG)} | {_cell(value)} |" for name, value in values.items()]
    return "\n".join(["| name | value |", "|---|---|", *rows])


def _class_table(per_class: dict[str, dict[str, float | None]]) -> str:
    columns = [key for key in next(iter(per_class.values())) if key in CLASS_COLUMNS]
    rows = [
        f"| {_cell(name)} | {' | '.join(_cell(row.get(key)) for key in columns)} |" for name, row in per_class.items()
    ]
    return "\n".join([f"| class | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|", *rows])


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if value and abs(value) < 0.001 else f"{round(value, 4):g}"
    return "" if value is None else (value if isinstance(value, str) else json.dumps(value)).replace("|", "\\|")
