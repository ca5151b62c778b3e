"""Numba kernels on raw arrays. The only package that imports numba; everything here is pure and deterministic.

How a partition lies in memory (`layout.py`): a 128-byte row per customer, and their day panes, 48 bytes each, in an arena
with a free list, linked from the newest day to the oldest. Rows and panes are records rather than one array
per field, because an event touches one customer: two or three cache lines instead of thirty.
"""
