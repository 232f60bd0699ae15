"""`python -m c2d`: the same face, for torchrun and for places without the script."""

from c2d.cli.main import main

if __name__ == "__main__":
    main()
