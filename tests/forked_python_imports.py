"""What the server of `tests.forked_python` imports before it forks; in any other process this module does nothing."""

from __future__ import annotations

import gc
import sys

if "pytest" not in sys.modules:
    import torch
    import torchvision  # noqa: F401

    from c2d.detectors.compat import prepare

    prepare()
    torch.set_num_threads(1)
    gc.freeze()  # as in conftest.py
