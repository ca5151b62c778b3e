"""Saved views: addresses with a name, for each person, in one file beside the read model.

Addresses of pages name a period, filters and choices. What names a customer is left out, so that an erasure has nothing to find here.
"""

from __future__ import annotations

import secrets
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

import msgspec

from cxstream.console.scope import split
from cxstream.files.private import draft, put
from cxstream.model.errors import InputError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

MAX_NAME = 80
MOST = 200
"""Views that a person may have."""

_MAX_ADDRESS = 2000
# They name customers, or a place in a list of them.
_PERSONAL = frozenset(("customer", "id", "after", "at"))


class ViewsFileError(SettingsError):
    """The file of the saved views cannot be read or written."""


class SavedView(msgspec.Struct, frozen=True):
    """A saved view.

    Attributes:
        id: of its link.
        owner: whose it is.
        name: as they call it.
        address: path and parameters of a page.
        saved_ms: when, ms UTC.
    """

    id: str
    owner: str
    name: str
    address: str
    saved_ms: int


class _File(msgspec.Struct):
    views: list[SavedView] = []


class SavedViews:
    """The views of everybody; the file is read again when it has changed.

    Args:
        path: the file; made with the first view.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._read: tuple[int, dict[str, SavedView]] | None = None

    def of(self, owner: str) -> list[SavedView]:
        """Somebody's views, by name.

        Raises:
            ViewsFileError: the file cannot be read.
        """
        found = [each for each in self._known().values() if each.owner == owner]
        return sorted(found, key=lambda each: (each.name.casefold(), each.id))

    def get(self, number: str) -> SavedView | None:
        """A view by its id: everybody who has the link may follow it."""
        return self._known().get(number)

    def save(self, owner: str, name: str, address: str, paths: Collection[str]) -> SavedView:
        """Keep a view under a name; one of the same name is replaced, and keeps its link.

        Args:
            owner: whose it is.
            name: up to 80 printable characters.
            address: of a page.
            paths: of the pages whose views can be saved.

        Raises:
            InputError: it cannot be kept.
            ViewsFileError: the file cannot be read or written.
        """
        kept = _address(address, paths)
        with self._lock:
            views = self._known()
            mine = [each for each in views.values() if each.owner == owner]
            same = next((each for each in mine if each.name == name.strip()), None)
            if same is None and len(mine) >= MOST:
                raise InputError(f"you have {MOST} views: delete one first")
            number = same.id if same else secrets.token_urlsafe(9)
            found = SavedView(number, owner, _name(name), kept, round(time.time() * 1000))
            self._write({**views, number: found})
        return found

    def rename(self, owner: str, number: str, name: str) -> None:
        """Give a view of somebody another name.

        Raises:
            InputError: it is no such view, or no name.
        """
        with self._lock:
            views = self._known()
            self._write(
                {**views, number: msgspec.structs.replace(_own(views, owner, number), name=_name(name))}
            )

    def delete(self, owner: str, number: str) -> None:
        """Take a view of somebody away.

        Raises:
            InputError: it is no such view.
        """
        with self._lock:
            views = self._known()
            _own(views, owner, number)
            self._write({each: view for each, view in views.items() if each != number})

    def _known(self) -> dict[str, SavedView]:
        try:
            changed = self._path.stat().st_mtime_ns
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise _unreadable(self._path, error) from error
        if self._read is None or self._read[0] != changed:
            try:
                found = msgspec.json.decode(self._path.read_bytes(), type=_File)
            except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
                raise _unreadable(self._path, error) from error
            self._read = changed, {each.id: each for each in found.views}
        return self._read[1]

    def _write(self, views: dict[str, SavedView]) -> None:
        try:
            file, place = draft(self._path)
            with file:
                file.write(msgspec.json.format(msgspec.json.encode(_File(list(views.values())))))
            put(place, self._path)
        except OSError as error:
            raise ViewsFileError(
                f"console.views_file: {self._path}: {error.strerror}: name a file that can be written"
            ) from error
        self._read = None


def _unreadable(path: Path, error: Exception) -> ViewsFileError:
    why = error.strerror if isinstance(error, OSError) else error
    return ViewsFileError(
        f"console.views_file: {path}: {why}: put back a copy of the file, or move it away to begin without views"
    )


def _own(views: dict[str, SavedView], owner: str, number: str) -> SavedView:
    found = views.get(number)
    if found is None or found.owner != owner:
        raise InputError("there is no such view of yours; somebody may have deleted it")
    return found


def _name(text: str) -> str:
    name = text.strip()
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise InputError(f"name: a view has 1 to {MAX_NAME} printable characters as its name")
    return name


def _address(text: str, paths: Collection[str]) -> str:
    """The address without what names a customer."""
    parts = split(text)
    is_page = parts is not None and not parts.scheme and not parts.netloc and parts.path in paths
    if parts is None or not is_page or len(text) > _MAX_ADDRESS:
        raise InputError("address: is none of a page whose views can be saved")
    kept = [
        (name, value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
        if name not in _PERSONAL
    ]
    return f"{parts.path}?{urlencode(kept)}" if kept else parts.path
