"""What keeps a kind of fault from being brought about."""


class NotHereError(Exception):
    """What a kind of fault needs is not to be had on this computer; says what, and how to get it."""
