"""A client of a worker's web server: HTTP on a port, or on the Unix socket of the same user."""
