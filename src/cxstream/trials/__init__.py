"""Whether acting helped: the treated against the holdout, with intervals."""
