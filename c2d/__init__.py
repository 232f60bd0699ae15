"""c2d: classifier-to-detector distillation, benchmarked. Nothing heavy is imported here: a login node."""

import os

# OpenCV reads it once, when it is loaded. Its own limit is 2^30 pixels, 3 GiB of memory for each image that is decoded,
# and a file of a few kB can state so many. Loader processes inherit the variable.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(2**27))

__version__ = "0.1.0"
