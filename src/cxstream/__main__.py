"""`python -m cxstream` is the same as `cxstream`."""

from cxstream.cli import main

main()
