"""What the worker tells Prometheus: counted as results are committed, put together when it is asked for."""
