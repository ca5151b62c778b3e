"""What the worker counts: definitions, counters and histograms, without a server."""
