"""cxstream: which customers are having a hard time, and why, while it can still be changed."""

from importlib.metadata import version

__version__ = version("cxstream")
__all__ = ["__version__"]
