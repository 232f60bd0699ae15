"""Measure our own code: evaluation, planning, reading a store, reporting.

In: sizes. Out: seconds and MiB on synthetic data, beside goals or beside pycocotools and tidecv.
Tests use the synthetic stores and data sets too.
"""
