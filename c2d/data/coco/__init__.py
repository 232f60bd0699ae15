"""Checks of COCO annotation files.

In: COCO files and the folders of their images. Out: a report with errors and warnings, each with file and id.
"""
