"""Which objects the images should show: sampled from the teacher's anchors and class weights, changed by what it sees.

In: a frozen detector and a `TargetRecipe`, or images and `AdaptiveSampling`. Out: `Targets` of each image.
"""
