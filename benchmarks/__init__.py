"""MEASURE: the cost of training steps, later the latency of students. This file imports nothing."""
