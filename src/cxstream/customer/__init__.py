"""One customer for the one on call: his card, what moved it, and what the worker that owns him holds."""
