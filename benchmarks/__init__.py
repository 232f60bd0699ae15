"""Measure latency of students, cost of training steps, and speed of our own code. This file imports nothing."""
