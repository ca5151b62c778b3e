"""Compressed data as blocks of what it holds, in bounded memory however much a few bytes stand for.

A file may consist of several members one after the other (concatenated files), and of zeros as padding after
them. Anything else that follows is an error, and so is an end within a member: half of a file is not taken for a whole.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from typing import TYPE_CHECKING, Any, Protocol

import zstandard

from cxstream.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cxstream.files.formats import Packed

_BLOCK_BYTES = 1 << 20
# A zstd block of 4 bytes can stand for 128 KiB: small slices bound what one step can grow to.
_ZSTD_SLICE = 1024
# What a decompressor has not used yet is copied for each block that comes out of it.
_SLICE = 64 << 10
# xz -9 needs 65 MiB; a header can ask for 4 GiB.
_XZ_MEMORY_BYTES = 256 << 20


class _Member(Protocol):
    """One member, as `bz2.BZ2Decompressor` has it."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gzip:
    """A gzip member; its checksum and length are checked at its end."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=31)
        self._rest = b""

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def needs_input(self) -> bool:
        return not self._rest

    @property
    def unused_data(self) -> bytes:
        return self._inflate.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        block = self._inflate.decompress(self._rest + data, max_length)
        self._rest = self._inflate.unconsumed_tail
        return block


class _Zstd:
    """A zstd frame."""

    needs_input = True

    def __init__(self, context: Any) -> None:
        self._frame = context.decompressobj()

    @property
    def eof(self) -> bool:
        return bool(self._frame.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._frame.unused_data)

    def decompress(self, data: bytes, _max_length: int) -> bytes:
        return bytes(self._frame.decompress(data))


def _members_of(kind: Packed) -> Callable[[], _Member]:
    if kind == "gzip":
        return _Gzip
    if kind == "bzip2":
        return bz2.BZ2Decompressor
    if kind == "xz":
        return lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY_BYTES)
    context = zstandard.ZstdDecompressor()
    return lambda: _Zstd(context)


def unpacked(blocks: Iterable[bytes], kind: Packed, name: str, size: int = _BLOCK_BYTES) -> Iterator[bytes]:
    """What the data holds.

    Args:
        blocks: the compressed data.
        kind: how it is compressed; not zip, which is read from its end.
        name: what messages call the input.
        size: most bytes of a block that comes back; zstd gives up to 128 KiB for each 4 bytes.

    Raises:
        InputError: the data is broken or ends early.
    """
    begin = _members_of(kind)
    member: _Member | None = None
    complete = 0
    for block in _sliced(blocks, _ZSTD_SLICE if kind == "zstd" else _SLICE):
        data = block
        while True:
            if member is None:
                data = data.lstrip(b"\0") if complete else data
                if not data:
                    break
                member = begin()
            try:
                yield from _drained(member, data, min(size, _BLOCK_BYTES))
            except (OSError, ValueError, EOFError, lzma.LZMAError, zlib.error, zstandard.ZstdError) as error:
                raise _broken(name, kind, complete, error) from error
            if not member.eof:
                break
            data, member = member.unused_data, None
            complete += 1
    if member is not None or not complete:
        raise InputError(f"{name}: {kind} data ends early; the file is cut off, copy it again")


def _drained(member: _Member, data: bytes, size: int) -> Iterator[bytes]:
    """What comes of `data`, a bounded block at a time."""
    while True:
        block = member.decompress(data, size)
        full = len(block) >= size
        if block:
            yield block
        del block
        data = b""
        # A full block may have left more in the decompressor even where it wants input.
        if member.eof or (member.needs_input and not full):
            return


def _sliced(blocks: Iterable[bytes], size: int) -> Iterator[bytes]:
    for block in blocks:
        for first in range(0, len(block), size):
            yield block[first : first + size]


def _broken(name: str, kind: Packed, complete: int, error: Exception) -> InputError:
    if complete:
        return InputError(
            f"{name}: other bytes follow the end of the {kind} data ({error}); copy the file again"
        )
    return InputError(f"{name}: not {kind} data that can be read ({error}); copy the file again")
