"""Other engines of streams beside cxstream: what they are, how they are installed, run and timed."""
