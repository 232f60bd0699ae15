"""Commands of `c2d sweep`.

In: options of the command line. Out: printed lines and an exit code.
Parse, call `actions` or `state`, print; everything heavy is imported inside a command.
"""
