"""Measure time and memory of a training step.

In: students and methods, or specs. Out: samples of plain and distilled steps in turn, their ratio, peak memory.
The steps run the real training code.
"""
