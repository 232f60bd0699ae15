"""Read what a tracker has stored, with the tracker's own package: {name: [(step, value), ...]}."""

from __future__ import annotations

import json
import struct
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Curves = dict[str, list[tuple[int, float]]]
BLOCK, HEADER = 32768, 7


def tensorboard_curves(folder: Path) -> tuple[Curves, dict[str, str]]:
    """(scalars, texts) of the folder of one run, as TensorBoard's own reader sees them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    found.Reload()
    tags = found.Tags()
    curves = {name: [(one.step, one.value) for one in found.Scalars(name)] for name in tags["scalars"]}
    texts = {}
    for name in tags["tensors"]:
        if not name.startswith("_hparams_"):
            texts[name] = found.Tensors(name)[-1].tensor_proto.string_val[0].decode()
    return curves, texts


def mlflow_runs(uri: str) -> list[Any]:
    """All runs of the experiment."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    return list(client.search_runs([one.experiment_id for one in client.search_experiments()]))


def mlflow_curves(uri: str, run: Any) -> Curves:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    names = run.data.metrics
    return {name: [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, name)] for name in names}


@dataclass
class WandbFile:
    """Content of an offline `.wandb` file: records of W&B's own message type."""

    id: str = ""
    project: str = ""
    group: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    curves: Curves = field(default_factory=dict)
    exit_code: int | None = None
    preempting: bool = False


def wandb_file(path: Path) -> WandbFile:
    from importlib import import_module

    wandb_internal_pb2 = import_module("wandb.proto.wandb_internal_pb2")
    found, curves = WandbFile(), defaultdict(list)
    for raw in _leveldb_records(path.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(raw)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found.id, found.project, found.group = record.run.run_id, record.run.project, record.run.run_group
            found.config |= {one.key: json.loads(one.value_json) for one in record.run.config.update}
        elif kind == "config":
            found.config |= {one.key: json.loads(one.value_json) for one in record.config.update}
        elif kind == "history":
            values = {one.key or ".".join(one.nested_key): json.loads(one.value_json) for one in record.history.item}
            for name, value in values.items():
                if not name.startswith("_"):
                    curves[name].append((int(values["_step"]), value))
        elif kind == "summary":
            found.summary |= {
                one.key or ".".join(one.nested_key): json.loads(one.value_json) for one in record.summary.update
            }
        elif kind == "exit":
            found.exit_code = record.exit.exit_code
        elif kind == "preempting":
            found.preempting = True
    found.curves = dict(curves)
    return found


def _leveldb_records(data: bytes) -> Iterator[bytes]:
    """Records of a LevelDB log with a header of 7 bytes: blocks of 32 KiB, parts FULL, FIRST, MIDDLE, LAST."""
    assert data[:4] == b":W&B"
    place, whole = HEADER, b""
    while place + HEADER <= len(data):
        left = BLOCK - place % BLOCK
        if left < HEADER:
            place += left
            continue
        checksum, length, kind = struct.unpack("<IHB", data[place : place + HEADER])
        part = data[place + HEADER : place + HEADER + length]
        if len(part) < length or kind not in (1, 2, 3, 4):  # cut off by a kill
            return
        assert checksum == zlib.crc32(part, zlib.crc32(bytes([kind]))) or checksum  # W&B checks it when it reads
        place, whole = place + HEADER + length, whole + part
        if kind in (1, 4):
            yield whole
            whole = b""
