"""c2d: classifier-to-detector distillation, benchmarked. Nothing heavy is imported here: a login node.

The names of `__all__` are the public interface (docs/api.md); everything else may change.
"""

import os

from c2d.api.run_handle import Run
from c2d.api.train_run import evaluate, resolve, train
from c2d.api.trained_student import Detections, Student, load_student
from c2d.core import __version__
from c2d.core.errors import Busy, InputError, RunError

__all__ = [
    "Busy",
    "Detections",
    "InputError",
    "Run",
    "RunError",
    "Student",
    "__version__",
    "evaluate",
    "load_student",
    "resolve",
    "train",
]

# OpenCV reads it once, when it is loaded. Its own limit is 2^30 pixels, 3 GiB of memory for each image that is decoded,
# and a file of a few kB can state so many. Loader processes inherit the variable.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(2**27))
