"""The grammar of `init`, which names the weights that a network starts from. Needs no torch.

none | torchvision:MODEL.WEIGHTS | package:NAME | sha256:HEX of a file that the store keeps
"""

from __future__ import annotations

NONE = "none"
NAMED = ("torchvision:", "package:")
"""Sources whose names stand for their content."""
KEPT = "sha256:"
PATTERN = r"^(none|torchvision:[\w.]+|package:[\w.-]+|sha256:[0-9a-f]{64})$"
ALLOWED = "none, torchvision:MODEL.WEIGHTS, package:NAME, or a file"
