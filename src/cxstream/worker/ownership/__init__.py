"""Partitions of the worker: claim, restore, ownership session, commit, standby."""
