"""Commands that look at one or two runs: parse, call, print. Nothing heavy is imported before a command runs."""
