"""Differences of a table with intervals and tests over other seeds, other images, or both.

Over seeds the numbers of the runs are enough. The other two resample images and read the detections of both rows, so
they are for AP, AP50 and AP75 only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING

from analysis.loading.columns import quantity
from analysis.loading.derived_cache import evaluation_mismatch
from analysis.loading.schema import Study
from analysis.spec.table_spec import TableSpec
from analysis.stats import bootstrap, hierarchical
from analysis.stats.bootstrap import ImageDifference, resamples_for
from analysis.stats.hierarchical import SeedImageDifference
from analysis.stats.multiple_comparisons import HolmStep, holm_steps
from analysis.stats.permutation import ALPHA
from analysis.tables import differences
from analysis.tables.aggregate import FEW, FEW_NOTE, Samples
from analysis.tables.table import Cell
from c2d.core.errors import InputError
from c2d.core.run_folder import DETECTIONS_FILE, RESULT_FILE
from c2d.core.store_folder import RunStore

if TYPE_CHECKING:
    from c2d.metrics.coco_data import CocoData

FROM_DETECTIONS = ("AP", "AP50", "AP75")
_MOST_KEPT = 8
"""Lists of detections held in memory: a baseline is compared with row after row."""
_SAME = 1e-6
"""Tolerance between two ways to compute one AP, in 0-1."""


class Differences:
    """The difference cells of one table, with their detections in memory."""

    def __init__(self, study: Study, spec: TableSpec) -> None:
        """Check the columns.

        Raises:
            InputError: the uncertainty of the spec is not defined for a column.
        """
        self._study = study
        self._kind = spec.uncertainty
        self._truths: dict[str, CocoData] = {}
        self._read: OrderedDict[str, CocoData] = OrderedDict()
        frame = study.frame
        sizes = frame[["run", "dataset_digest", "images", "boxes", "detections"]].drop_duplicates("run")
        self._rows = {str(row["run"]): {str(key): value for key, value in row.items()}
                      for row in sizes.to_dict("records")}  # fmt: skip
        self._agrees: set[tuple[str, str]] = set()
        self._compared = 0
        self._refused: list[str] = []
        others = [key for key in spec.differences if key not in FROM_DETECTIONS]
        if self._kind != "seeds" and others:
            raise InputError(
                f"uncertainty {self._kind!r} resamples images, which is possible for {', '.join(FROM_DETECTIONS)}; "
                f"take {', '.join(others)} out of `differences`, or use `uncertainty: seeds`"
            )

    def cells(self, key: str, rows: Mapping[str, Samples], baseline: Samples) -> dict[str, Cell]:
        """Return the differences of one column between the rows of a baseline and the baseline.

        Args:
            key: of the column.
            rows: {row key: its numbers} in the shown unit, without the baseline.
            baseline: its numbers.
        """
        seed_cells = differences.seed_cells(rows, baseline)
        if self._kind == "seeds":
            return seed_cells
        resamples = resamples_for(sum(cell.kind == "value" for cell in seed_cells.values()))
        cells: dict[str, Cell] = {}
        resampled: dict[str, ImageDifference | SeedImageDifference] = {}
        for row, found in rows.items():
            one = self._resampled(key, found, baseline, seed_cells[row], resamples)
            if isinstance(one, Cell):
                cells[row] = one
            else:
                resampled[row] = one
        steps = holm_steps([one.p for one in resampled.values()])
        family = len(steps) - steps.count(None)
        for (row, one), step in zip(resampled.items(), steps, strict=True):
            cells[row] = _cell(one, quantity(key).scale, step, family, seed_cells[row])
        return {row: cells[row] for row in rows}

    def check(self) -> None:
        """Check, after all cells, that at least one difference has the wanted uncertainty.

        Raises:
            InputError: none has it, because of the number of seeds.
        """
        if self._refused and not self._compared:
            raise InputError(self._refused[0])

    def _wrong_seed_count(self, run: str, seeds: int) -> str:
        """Why that many common seeds are not what this kind compares; "" where they are."""
        if self._kind == "images" and seeds > 1:
            return (
                f"uncertainty 'images' compares one checkpoint with one other, but there are {seeds} seeds "
                f"({run}, ...); choose one with `seeds: [0]`, or use `uncertainty: seeds+images`"
            )
        if self._kind == "seeds+images" and seeds == 1:
            return (
                f"uncertainty 'seeds+images' needs two seeds on each side, but there is one ({run}); "
                "use `uncertainty: images` for two checkpoints as they are"
            )
        return ""

    def _resampled(
        self, key: str, row: Samples, baseline: Samples, seed_cell: Cell, resamples: int
    ) -> Cell | ImageDifference | SeedImageDifference:
        """The difference by resampled images; a missing cell where there is none."""
        if seed_cell.kind == "missing":
            return seed_cell
        common = sorted(row.values.keys() & baseline.values.keys())
        if not common:
            reason = f"no seed in common with its baseline, which uncertainty {self._kind!r} needs"
            return Cell(kind="missing", n_planned=seed_cell.n_planned, reason=reason)
        if problem := self._wrong_seed_count(row.runs[common[0]], len(common)):
            if self._kind == "images" or seed_cell.n_planned < 2:  # else more seeds may come
                self._refused.append(problem)
            return Cell(kind="missing", n_planned=seed_cell.n_planned, reason=problem)
        self._compared += 1
        try:
            mine, theirs = ([self._detections(key, found, seed) for seed in common] for found in (row, baseline))
            if self._kind == "images":
                return bootstrap.compare_over_images(None, mine[0], theirs[0], key, resamples=resamples)
            return hierarchical.compare_over_seeds_and_images(None, mine, theirs, key, resamples=resamples)
        except InputError as error:
            return Cell(kind="missing", n_planned=seed_cell.n_planned, reason=f"cannot be resampled: {error}")

    def _detections(self, key: str, found: Samples, seed: int) -> CocoData:
        """The detections of one seed, which must be those that its result was computed from."""
        run = found.runs[seed]
        data = self._prepared(run)
        if (run, key) not in self._agrees:
            from analysis.stats.bootstrap import full_set_values
            from c2d.metrics.resampling.resampled_ap import Curves

            value, recorded = full_set_values([Curves(data, key)])[0], found.values[seed] / quantity(key).scale
            if not abs(value - recorded) <= _SAME:
                path = self._study.folder(run) / DETECTIONS_FILE
                raise InputError(
                    f"{path} gives {key} {value:.4f}, {RESULT_FILE} has {recorded:.4f}: not one evaluation"
                )
            self._agrees.add((run, key))
        return data

    def _prepared(self, run: str) -> CocoData:
        from c2d.metrics.coco_json import read_detections, read_targets

        if run not in self._read:
            path, digest = self._study.folder(run) / DETECTIONS_FILE, str(self._rows[run]["dataset_digest"])
            if digest not in self._truths:
                self._truths[digest] = read_targets(RunStore(self._study.folder(run).parent).targets(digest))
            data = read_detections(path, self._truths[digest])
            if problem := evaluation_mismatch(self._rows[run], data.sizes):
                raise InputError(f"{path} {problem}")
            self._read[run] = data
            if len(self._read) > _MOST_KEPT:
                self._read.popitem(last=False)
        self._read.move_to_end(run)
        return self._read[run]


def _cell(
    found: ImageDifference | SeedImageDifference, scale: float, step: HolmStep | None, family: int, seed_cell: Cell
) -> Cell:
    """The cell of a difference in 0-1, with the interval that belongs to its adjusted p."""
    if isinstance(found, ImageDifference):
        mean, n, sd = found.difference, 1, None
    else:
        mean, n, sd = found.mean, found.n, scale * found.sd
    several = step is not None and family > 1
    low, high = (None, None) if step is None else found.interval_at(step.level)
    return Cell(
        value=scale * mean,
        n=n,
        n_planned=seed_cell.n_planned,
        sd=sd,
        low=None if low is None else scale * low,
        high=None if high is None else scale * high,
        interval=f"{found.interval} at Holm's level" if several else found.interval,
        p=found.p,
        p_adjusted=None if step is None else step.p,
        significant=None if step is None else step.p < ALPHA,
        family=0 if step is None else family,
        test=f"{found.test}, Holm" if several else found.test,
        notes=(FEW_NOTE,) if n < FEW else (),
        runs=seed_cell.runs,
    )
