"""Frozen teachers, and the model that trains a classifier teacher.

In: finished runs, or a network with its weights. Out: logits, feature maps and detector outputs for a student's batch.
Teachers are plain objects, no submodules: the student's optimizer, DDP, EMA and checkpoints do not contain them.
"""
