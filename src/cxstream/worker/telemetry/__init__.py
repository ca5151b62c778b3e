"""The metrics of the worker: counted when results are committed, collected when Prometheus scrapes."""
