"""analysis: numbers, tables and plots of finished runs. It needs no torch and no mmdet.

The names of `__all__` are the public interface (docs/api.md); everything else may change.

`c2d.metrics.coco` and `c2d.metrics.tide` own the detection numbers, `c2d.metrics.classification` those of a classifier;
`c2d.metrics.engine_parity` checks that two engines agree on given files.
"""

from analysis.api.column_table import columns
from analysis.api.compare_runs import compare
from analysis.api.load_store import load
from analysis.api.make_figure import plot
from analysis.api.make_table import table
from analysis.api.result_table import ResultTable
from analysis.api.run_details import latency, losses, per_class, tide, validations
from c2d.core.errors import InputError

__all__ = [
    "InputError",
    "ResultTable",
    "columns",
    "compare",
    "latency",
    "load",
    "losses",
    "per_class",
    "plot",
    "table",
    "tide",
    "validations",
]
