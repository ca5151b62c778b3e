"""What flows through cxstream: kinds, events, signals, score cards, parameters and errors. No logic, no I/O."""
