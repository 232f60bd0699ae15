"""Optimisation of a batch of images: the teacher's losses, priors, augmentation, steps.

In: a frozen detector, `Targets` of each image, an `ImpressionsSchedule`. Out: images in the teacher's normalization.
"""
