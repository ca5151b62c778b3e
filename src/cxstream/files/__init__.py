"""Touchpoint files: NDJSON, plain or compressed, and Parquet, in bounded memory."""
