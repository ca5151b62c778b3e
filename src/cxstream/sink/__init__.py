"""The sink: score cards, signals and daily aggregates in PostgreSQL, for BI and other programs."""
