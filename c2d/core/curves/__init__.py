"""Curves of a run, appended while it is under way: metrics.jsonl. Needs no torch."""
