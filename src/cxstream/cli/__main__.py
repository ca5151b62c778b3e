"""`python -m cxstream.cli` is the same as `cxstream`."""

from cxstream.cli import main

main()
