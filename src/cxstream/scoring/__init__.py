"""Touchpoints in, scores and signals out: pure and deterministic.

    bytes --decode--> events and columns --partition--> state, statuses, signal rows --signals--> CloudEvents

`engine` is one partition as the shells see it, `router` several at once. Nothing here reads a clock, a file or
the environment, so that the same records always give the same bytes.
"""
