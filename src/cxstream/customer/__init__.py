"""One customer, for the operator: score card, its reasons, and the state in the worker that owns the partition."""
