"""Rejected records for the one on call: which, why, and sent again exactly once."""
