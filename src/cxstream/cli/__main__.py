"""`python -m cxstream.cli` is the same as `cxstream`, but for Ctrl-C while it imports."""

from cxstream.cli import main

main()
