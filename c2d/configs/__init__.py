"""Configs that are shipped: students (mmengine), schedules and classifier teachers (YAML), public data sets (JSON).

In: the name of a student, or any mmdet config. Out: its model and pipelines at an input size, and its digest.
"""
