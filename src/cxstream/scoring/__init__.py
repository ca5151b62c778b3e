"""Touchpoints in, scores and signals out: pure and deterministic.

    bytes --decode--> events and columns --partition--> state, statuses, signal rows --signals--> CloudEvents

The adapters use `engine` for one partition and `router` for several at once. Nothing here reads a clock, a file or
the environment, so the same records always give the same bytes.
"""
