"""Whole detectors of mmdet's model zoo, and files of that form.

In: `zoo:FILE_STEM` or a file. Out: every weight of a student, with an account of every key, and what the file says
about its pixels.
"""
