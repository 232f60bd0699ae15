"""The checks of `c2d doctor`: in, this machine and its packages; out, results with their fixes."""
