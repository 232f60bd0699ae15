"""Signals by which a machine asks a process to save and end."""

from __future__ import annotations

import signal

STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR2") if hasattr(signal, name))
"""TERM, and USR2, SLURM's warning before the time limit. Windows has no USR2."""
