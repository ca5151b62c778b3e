"""Files in, results in a folder out: the same scoring as the worker's, without a broker."""
