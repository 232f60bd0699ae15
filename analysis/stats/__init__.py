"""Numbers of several seeds or images.

In: arrays. Out: mean, spread, interval, test, with a reason where none can be given.
Randomness comes in as a generator.
"""
