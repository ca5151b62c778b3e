"""Records held against the contract, as a producer's own test would: every problem, its place, and what was meant."""
