"""Start our own modules as processes, and the signals that ask one to end.

In: the name of a module. Out: the command and the variables that run it with our packages first.
"""
