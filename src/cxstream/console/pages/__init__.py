"""The pages: a module each, with `PAGE`."""
