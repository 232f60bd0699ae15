"""WHAT to run, then WHERE. This file imports nothing, so a login node stays fast."""
