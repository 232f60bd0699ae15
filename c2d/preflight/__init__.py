"""Checks and previews of a run before it is trained.

In: a spec. Out: one step on synthetic images, a picture of what each method uses, a proposal of loss weights.
Writes no run folder.
"""
