"""The file in a ZIP archive. Archives of several files, of none and of Office documents are refused by name."""

from __future__ import annotations

import copy
import struct
import zipfile
import zlib
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO

from cxstream.files.unpack import unpacked
from cxstream.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cxstream.files.formats import Packed

_SHOWN = 5
_ENCRYPTED = 0x1
_ENDS_WITH_MARKER = 0x2
_SLICE = 64 << 10
# Version and length of the properties in 4 bytes, and the properties in 5.
_LZMA_HEAD = 9
_OWN: dict[int, Packed] = {zipfile.ZIP_BZIP2: "bzip2", zipfile.ZIP_LZMA: "xz"}
_OFFICE = {
    "xl/workbook.xml": "an Excel workbook; save it as CSV (UTF-8) and use 'cxstream convert mapping'",
    "xl/workbook.bin": "an Excel workbook; save it as CSV (UTF-8) and use 'cxstream convert mapping'",
    "word/document.xml": "a Word document; name a file of events",
    "ppt/presentation.xml": "a presentation; name a file of events",
    "content.xml": "an OpenDocument file; save it as CSV (UTF-8) and use 'cxstream convert mapping'",
    "META-INF/MANIFEST.MF": "a Java archive; name a file of events",
}


def member_blocks(file: BinaryIO, name: str, size: int, on_taken: Callable[[], None]) -> Iterator[bytes]:
    """The only file of an archive, decompressed.

    Args:
        file: the archive, at its start.
        name: what messages call it.
        size: most bytes of a block.
        on_taken: called after each block is read.

    Raises:
        InputError: not one file, encrypted, broken, compressed in a way that is not known, or from a pipe.
    """
    if not file.seekable():
        raise InputError(f"{name}: a ZIP archive cannot be read from a pipe; name a file, or pipe unzip -p")
    try:
        with zipfile.ZipFile(file) as archive:
            member = _only(archive, name)
            for block in _blocks(archive, member, name, size):
                on_taken()
                yield block
    except NotImplementedError as error:
        raise InputError(f"{name}: ZIP archive with an unknown compression ({error}); unzip it") from error
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InputError(f"{name}: ZIP archive that is broken or cut off ({error}); copy it again") from error


def _blocks(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str, size: int) -> Iterator[bytes]:
    """A member, unpacked.

    Of bzip2 and LZMA zipfile unpacks at once all that it reads at once, be it gigabytes: these are unpacked here.
    """
    kind = _OWN.get(member.compress_type)
    if kind is None:
        with archive.open(member) as data:
            yield from iter(lambda: data.read(size), b"")
        return
    packed = copy.copy(member)
    packed.compress_type, packed.file_size = zipfile.ZIP_STORED, member.compress_size
    del packed.CRC
    checksum = 0
    with archive.open(packed) as data:
        head = _alone(data.read(_LZMA_HEAD), member) if kind == "xz" else b""
        for block in unpacked(chain([head], iter(lambda: data.read(_SLICE), b"")), kind, name, size):
            checksum = zlib.crc32(block, checksum)
            yield block
    if checksum != member.CRC:
        raise zipfile.BadZipFile(f"bad CRC-32 for file {member.filename!r}")


def _alone(head: bytes, member: zipfile.ZipInfo) -> bytes:
    """The head of an .lzma file in place of that of a member: properties, and the size where no marker ends the data."""
    size = -1 if member.flag_bits & _ENDS_WITH_MARKER else member.file_size
    return head[4:] + struct.pack("<q", size)


def _only(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    names = {info.filename for info in archive.infolist()}
    for sign, what in _OFFICE.items():
        if sign in names:
            raise InputError(f"{name}: is {what}")
    members = [info for info in archive.infolist() if _counts(info)]
    if not members:
        raise InputError(f"{name}: ZIP archive without a file in it; copy it again")
    if len(members) > 1:
        shown = ", ".join(info.filename for info in members[:_SHOWN])
        more = ", ..." if len(members) > _SHOWN else ""
        raise InputError(
            f"{name}: ZIP archive of {len(members)} files ({shown}{more}); unzip it and name them in order"
        )
    (member,) = members
    if member.flag_bits & _ENCRYPTED:
        raise InputError(f"{name}: encrypted ZIP archive; unzip it with its password first")
    return member


def _counts(info: zipfile.ZipInfo) -> bool:
    """Whether a member is a file of somebody's, and not what an operating system adds."""
    last = info.filename.rpartition("/")[2]
    added = info.filename.startswith("__MACOSX/") or last in {".DS_Store", "Thumbs.db", "desktop.ini"}
    return not info.is_dir() and not added
