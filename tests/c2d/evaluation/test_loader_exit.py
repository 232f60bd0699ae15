"""A process whose loader is still in use when it exits, for example in a traceback, ends at once."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import builtins
import torch
from c2d.evaluation.loader_processes import image_loader

class Numbers(torch.utils.data.Dataset):
    def __len__(self):
        return 64

    def __getitem__(self, key):
        return {"inputs": torch.zeros(1), "data_samples": key}

builtins.kept = iter(image_loader(Numbers(), [[key] for key in range(64)], 2))
print(next(builtins.kept)["data_samples"])
"""


def test_workers_do_not_outlive_the_exit() -> None:
    # A process of its own: the exit is what is tested.
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[0]\n", "")
