"""The read model: scored touchpoints, score cards and signals in a DuckDB file, kept up to date from Kafka or files."""
