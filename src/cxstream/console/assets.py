"""Files for the browser, each under a name with its hash: what has changed has another address, so all may be kept for a year."""

from __future__ import annotations

import hashlib
import mimetypes
from functools import cache
from importlib import resources
from typing import NamedTuple

from starlette.responses import Response

PREFIX = "/static"
_YEAR = "public, max-age=31536000, immutable"


class Asset(NamedTuple):
    """A file: its content, and how the browser takes it."""

    content: bytes
    media_type: str


@cache
def _assets() -> dict[str, Asset]:
    """All files, by their name with the hash."""
    return {_hashed(name, asset.content): asset for name, asset in _files().items()}


@cache
def _files() -> dict[str, Asset]:
    folder = resources.files("cxstream.console") / "static"
    found = {}
    for each in sorted(folder.iterdir(), key=lambda file: file.name):
        if each.is_file():
            kind = mimetypes.guess_type(each.name)[0] or "application/octet-stream"
            found[each.name] = Asset(each.read_bytes(), kind)
    return found


def has(name: str) -> bool:
    """Whether there is such a file."""
    return name in _files()


def url(name: str) -> str:
    """The address of a file.

    Raises:
        KeyError: there is no such file.
    """
    return f"{PREFIX}/{_hashed(name, _files()[name].content)}"


def response(name: str) -> Response | None:
    """A file by its name with the hash; None if there is none."""
    asset = _assets().get(name)
    if asset is None:
        return None
    return Response(asset.content, media_type=asset.media_type, headers={"cache-control": _YEAR})


def _hashed(name: str, content: bytes) -> str:
    stem, dot, ending = name.rpartition(".")
    return f"{stem}.{hashlib.sha256(content).hexdigest()[:12]}{dot}{ending}"
