"""Ways to run a student's network: eager, compiled, half precision, exported to other runtimes.

In: the network with an example input and a folder (`base.BackendContext`). Out: a callable on one batch of images.
`registry` lists the backends by name; a new one is a file in this folder and a line in `registry`.
"""
