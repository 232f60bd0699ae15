"""c2d: classifier-to-detector distillation, benchmarked. This file imports nothing, so a login node stays fast."""

__version__ = "0.1.0"
