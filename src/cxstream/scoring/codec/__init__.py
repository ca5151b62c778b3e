"""Records to columns and back: decoding, signatures, routing, rejection."""
