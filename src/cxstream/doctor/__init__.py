"""Checks of an installation: each looks at one thing, changes nothing, and says what to do."""
