"""Erasure of customers: requests, receipts, and what is left of an erased customer."""
