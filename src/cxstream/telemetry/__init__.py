"""Metrics of programs beside the worker: made from the table that describes them."""
