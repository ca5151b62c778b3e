"""Structured logs: their set-up, their limit, and text that is safe to print."""
