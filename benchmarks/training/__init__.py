"""Time and memory of a training step.

In: students and methods, or specs. Out: plain and distilled steps in turn, their ratio, peak memory.
Measures the real training code.
"""
