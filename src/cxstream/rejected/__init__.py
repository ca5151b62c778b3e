"""Rejected records, for the operator: lists, explains, and sends them again exactly once."""
