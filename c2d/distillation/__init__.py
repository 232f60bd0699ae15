"""Student, teachers and methods in one training step.

In: a stock student, frozen teachers, methods with weights and schedules. Out: one dict of losses and observations per
step. The student is never edited.
"""
