"""What a file is, by its first bytes: what can be unpacked, and what is refused with advice.

Each format is refused in one line that says what it is and what to do: a file that is read as text although it is
none gives thousands of rejected lines, which say neither.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

Packed: TypeAlias = Literal["gzip", "zstd", "bzip2", "xz", "zip"]

PEEKED_BYTES = 512
"""How many first bytes tell every format."""

PARQUET = b"PAR1"
ARROW_FILE, ARROW_STREAM = b"ARROW1\x00\x00", b"\xff\xff\xff\xff"

_PACKED: dict[bytes, Packed] = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x5d\x00\x00": "xz",  # the format before xz, .lzma
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"PK\x07\x08": "zip",
}
# zstd allows for frames without data in front, which have sixteen signatures.
_SKIPPABLE_ZSTD = range(0x50, 0x60), b"\x2a\x4d\x18"

SUFFIXES: dict[str, Packed] = {
    ".gz": "gzip",
    ".zst": "zstd",
    ".zstd": "zstd",
    ".bz2": "bzip2",
    ".xz": "xz",
    ".lzma": "xz",
    ".zip": "zip",
}
"""What a name promises."""


class _Foreign(NamedTuple):
    """A format that is not read.

    Attributes:
        magic: bytes that tell it.
        what: what it is called.
        advice: what to do with it.
        at: the offset of `magic`.
    """

    magic: bytes
    what: str
    advice: str
    at: int = 0


_UNPACK = "unpack it first"
_AS_NDJSON = "export it as NDJSON, CSV or Parquet"
_ARROW = "unpack it if it is packed, else write it as Parquet"
_NO_DATA = "name a file of events"
_LOOK = "a server sent it instead of the data: open it to see why, and download again"
_XML = "XML"
_AS_CSV = "save it as CSV (UTF-8) and use 'cxstream convert mapping'"

_FOREIGN = (
    _Foreign(b"ustar", "a tar archive", "unpack it first, with tar -xf", 257),
    _Foreign(b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first, with 7z x"),
    _Foreign(b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    _Foreign(b"\x04\x22\x4d\x18", "lz4-compressed", "unpack it first, with lz4 -d"),
    _Foreign(b"\x02\x21\x4c\x18", "lz4-compressed", "unpack it first, with lz4 -d"),
    _Foreign(b"\xff\x06\x00\x00sNaPpY", "snappy-compressed", _UNPACK),
    _Foreign(b"LZIP\x01", "lzip-compressed", "unpack it first, with lzip -d"),
    _Foreign(b"\x89LZO\x00", "lzop-compressed", "unpack it first, with lzop -d"),
    _Foreign(b"\x1f\x9d", "compressed with compress (.Z)", "unpack it first, with gzip -d"),
    _Foreign(b"\x78\x01", "a raw zlib stream", "unpack it first, with pigz -dz"),
    _Foreign(b"\x78\x9c", "a raw zlib stream", "unpack it first, with pigz -dz"),
    _Foreign(b"\x78\xda", "a raw zlib stream", "unpack it first, with pigz -dz"),
    _Foreign(b"MSCF\x00\x00\x00\x00", "a Windows cabinet", _UNPACK),
    _Foreign(b"!<arch>\n", "an ar archive", _UNPACK),
    _Foreign(b"PARE", "encrypted Parquet", "write it without encryption"),
    _Foreign(b"Obj\x01", "Avro", _AS_NDJSON),
    _Foreign(b"ARROW1\x00\x00", "an Arrow file (Feather)", _ARROW),
    _Foreign(b"FEA1", "a Feather file", "write it as Parquet"),
    _Foreign(b"\xff\xff\xff\xff", "an Arrow stream", _ARROW),
    _Foreign(b"SEQ\x06", "a Hadoop sequence file", _AS_NDJSON),
    _Foreign(b"\x07_id\x00", "BSON", "convert it with bsondump", 4),
    _Foreign(b"\x89HDF\r\n\x1a\n", "HDF5", _AS_NDJSON),
    _Foreign(b"\x93NUMPY", "a NumPy array", _AS_NDJSON),
    _Foreign(b"\x80\x04\x95", "a Python pickle", _AS_NDJSON),
    _Foreign(b"\x80\x05\x95", "a Python pickle", _AS_NDJSON),
    _Foreign(b"\xac\xed\x00\x05", "serialized Java objects", _AS_NDJSON),
    _Foreign(b"SQLite format 3\x00", "an SQLite database", _AS_NDJSON),
    _Foreign(b"DUCK", "a DuckDB database", "export it with COPY ... TO 'file.parquet'", 8),
    _Foreign(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office file (.xls or .doc)", _AS_CSV),
    _Foreign(b"{\\rtf", "an RTF document", _NO_DATA),
    _Foreign(b"%PDF-", "a PDF document", _NO_DATA),
    _Foreign(b"\x89PNG\r\n", "a PNG image", _NO_DATA),
    _Foreign(b"\xff\xd8\xff", "a JPEG image", _NO_DATA),
    _Foreign(b"GIF8", "a GIF image", _NO_DATA),
    _Foreign(b"\x7fELF", "a program", _NO_DATA),
    _Foreign(b"MZ\x90\x00", "a program", _NO_DATA),
    _Foreign(b"\xd4\xc3\xb2\xa1", "a capture of network packets (pcap)", _NO_DATA),
    _Foreign(b"\xa1\xb2\xc3\xd4", "a capture of network packets (pcap)", _NO_DATA),
    _Foreign(b"\x4d\x3c\xb2\xa1", "a capture of network packets (pcap)", _NO_DATA),
    _Foreign(b"\xa1\xb2\x3c\x4d", "a capture of network packets (pcap)", _NO_DATA),
    _Foreign(b"\x0a\x0d\x0d\x0a", "a capture of network packets (pcapng)", _NO_DATA),
    _Foreign(b"-----BEGIN PGP", "encrypted or signed with PGP", "decrypt it first, with gpg -d"),
    _Foreign(b"age-encryption.org/", "encrypted with age", "decrypt it first, with age -d"),
    _Foreign(b"Salted__", "encrypted with OpenSSL", "decrypt it first"),
    _Foreign(b"version https://git-lfs", "a Git LFS pointer, not the file itself", "run git lfs pull"),
)
_MARKUP = (
    (b"<!doctype html", "an HTML page", _LOOK),
    (b"<html", "an HTML page", _LOOK),
    (b"<head", "an HTML page", _LOOK),
    (b"<error", "an XML document with an error", _LOOK),
    (b"<?xml", _XML, _AS_NDJSON),
)
# Signatures of letters alone, which a CSV could begin with: what follows must be no text.
_LETTERS = (
    (b"ORC", "ORC", "write it as Parquet"),
    (PARQUET, "Parquet", "unpack it, and name it by itself"),
)
_BOM = b"\xef\xbb\xbf"


def packed(head: bytes) -> Packed | None:
    """How the data is packed, if it is, by its first bytes."""
    if head[1:4] == _SKIPPABLE_ZSTD[1] and head[0] in _SKIPPABLE_ZSTD[0]:
        return "zstd"
    return next((kind for magic, kind in _PACKED.items() if head.startswith(magic)), None)


def foreign(head: bytes, *, xml: bool = False) -> str | None:
    """What data is that cannot be read, and what to do; None where its first bytes tell no such format.

    Args:
        head: the first bytes.
        xml: whether XML is read.
    """
    for magic, what, advice, at in _FOREIGN:
        if head.startswith(magic, at):
            return f"is {what}; {advice}"
    text = head.removeprefix(_BOM).lstrip().lower()
    for magic, what, advice in _MARKUP:
        if text.startswith(magic) and not (xml and what == _XML):
            return f"is {what}; {advice}"
    for magic, what, advice in _LETTERS:
        if head.startswith(magic) and not head[len(magic) : len(magic) + 1].decode("latin-1").isprintable():
            return f"is {what}; {advice}"
    return None
