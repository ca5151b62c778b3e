"""cxstream: which customers are having a hard time, and why, while it can still be changed."""

__version__: str
__all__ = ["__version__"]


def __getattr__(name: str) -> str:
    """The version, looked up when it is asked for: that takes longer than everything else at the start of a command."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version

    return version("cxstream")
