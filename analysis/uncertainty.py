"""What the intervals and tests of a table's differences speak about: other seeds, other images, or both.

Over seeds the numbers of the runs are enough. The other two draw images anew and read the detections of both rows, so
they are for AP, AP50 and AP75 only.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from analysis import differences
from analysis.columns import quantity
from analysis.errors import InputError
from analysis.frame import Study
from analysis.measured import FEW, FEW_NOTE, Samples
from analysis.reportspec import TableSpec
from analysis.store import DETECTIONS, targets_path
from analysis.table import Cell

if TYPE_CHECKING:
    from analysis.inputs import Prepared

FROM_DETECTIONS = ("AP", "AP50", "AP75")
_MOST_KEPT = 8
"""Lists of detections held in memory: a baseline is compared with row after row."""


class Differences:
    """Makes the difference cells of one table."""

    def __init__(self, study: Study, spec: TableSpec) -> None:
        """Refuses columns that the wanted kind of uncertainty cannot speak about."""
        self._study = study
        self._kind = spec.uncertainty
        self._truths: dict[str, Prepared] = {}
        self._read: OrderedDict[str, Prepared] = OrderedDict()
        frame = study.frame
        self._digests = dict(zip(frame["run"], frame["dataset_digest"], strict=True))
        others = [key for key in spec.differences if key not in FROM_DETECTIONS]
        if self._kind != "seeds" and others:
            raise InputError(
                f"uncertainty {self._kind!r} draws images anew, which is possible for {', '.join(FROM_DETECTIONS)}; "
                f"take {', '.join(others)} out of `differences`, or use `uncertainty: seeds`"
            )

    def cell(self, key: str, row: Samples, baseline: Samples) -> Cell:
        """The difference of one column between a row and its baseline."""
        plain = differences.cell(row, baseline)
        if self._kind == "seeds" or plain.kind == "missing":
            return plain
        common = sorted(row.values.keys() & baseline.values.keys())
        if not common:
            reason = f"no seed in common with its baseline, which uncertainty {self._kind!r} needs"
            return Cell(kind="missing", promised=plain.promised, reason=reason)
        if self._kind == "images" and len(common) > 1:
            raise InputError(
                f"uncertainty 'images' compares one checkpoint with one other, here are {len(common)} seeds "
                f"({row.runs[common[0]]}, ...); use `uncertainty: seeds+images`"
            )
        if self._kind == "seeds+images" and len(common) == 1:
            raise InputError(
                f"uncertainty 'seeds+images' needs two seeds on each side, here is one ({row.runs[common[0]]}); "
                "use `uncertainty: images` for two checkpoints as they are"
            )
        try:
            mine, theirs = ([self._detections(found.runs[seed]) for seed in common] for found in (row, baseline))
            return self._over_images(key, mine, theirs, plain)
        except InputError as error:
            return Cell(kind="missing", promised=plain.promised, reason=f"cannot be drawn from images: {error}")

    def _over_images(self, key: str, mine: list[Prepared], theirs: list[Prepared], plain: Cell) -> Cell:
        scale = quantity(key).scale

        def shown(value: float | None) -> float | None:
            return None if value is None else scale * value

        notes = (FEW_NOTE,) if len(mine) < FEW else ()
        if self._kind == "images":
            from analysis import bootstrap

            one = bootstrap.compare(None, mine[0], theirs[0], key)
            value, sd, low, high, p = one.difference, None, one.low, one.high, one.p
            return Cell("value", shown(value), 1, plain.promised, sd, shown(low), shown(high), one.interval, p,
                        test=one.test, notes=notes, runs=plain.runs)  # fmt: skip
        from analysis import hierarchical

        many = hierarchical.compare(None, mine, theirs, key)
        return Cell("value", shown(many.mean), many.n, plain.promised, shown(many.sd), shown(many.low),
                    shown(many.high), many.interval, many.p, test=many.test, notes=notes, runs=plain.runs)  # fmt: skip

    def _detections(self, run: str) -> Prepared:
        from analysis.resultsfile import read_detections, read_targets

        if run not in self._read:
            digest = self._digests[run]
            if digest not in self._truths:
                self._truths[digest] = read_targets(targets_path(self._study.runs, digest))
            self._read[run] = read_detections(self._study.runs / run / DETECTIONS, self._truths[digest])
            if len(self._read) > _MOST_KEPT:
                self._read.popitem(last=False)
        self._read.move_to_end(run)
        return self._read[run]
