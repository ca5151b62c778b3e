"""JSON documents of one form, many at a time: the form is read off one that the encoder of the type writes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from cxstream.kernels import documents as kernel
from cxstream.kernels.documents import DAY, NUMBER, STRING, TIME, WHOLE, WORD, Form, Texts
from cxstream.kernels.wide import WIDE
from cxstream.scoring.codec.packed import Packed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "DAY",
    "NUMBER",
    "STRING",
    "TIME",
    "WHOLE",
    "WORD",
    "documents",
    "form_of",
    "mark",
    "quoted",
    "texts",
]

_MARK = re.compile(rb"@(\d+):(\d+)@")
_encode = msgspec.json.Encoder().encode


def mark(kind: int, column: int) -> Any:
    """What stands in a document of `form_of` for a value of a kind."""
    return msgspec.Raw(b"@%d:%d@" % (kind, column))


def quoted(*parts: msgspec.Raw | str) -> Any:
    """A string of JSON out of marks and texts."""
    said = [bytes(part) if isinstance(part, msgspec.Raw) else _encode(part)[1:-1] for part in parts]
    return msgspec.Raw(b'"%b"' % b"".join(said))


def form_of(document: msgspec.Struct) -> Form:
    """The form of documents: of one with marks for what differs, and a line feed behind each."""
    parts = _MARK.split(_encode(document) + b"\n")
    constant = parts[::3]
    return Form(
        np.frombuffer(b"".join([*constant, bytes(WIDE)]), np.uint8),
        np.cumsum([len(part) for part in constant]),
        np.array([int(part) for part in parts[1::3]]),
        np.array([int(part) for part in parts[2::3]]),
    )


def texts(of: Packed | Sequence[bytes]) -> Texts:
    """Texts for a kernel."""
    packed = of if isinstance(of, Packed) else Packed.of(of)
    return Texts(packed.data, packed.begins, packed.ends)


def documents(
    form: Form, numbers: NDArray[np.float64], wholes: NDArray[np.int64], words: Texts, names: Texts
) -> Packed:
    """Documents with a line feed behind each.

    Args:
        form: of `form_of`.
        numbers: float64[n, ...], for marks of NUMBER.
        wholes: int64[n, ...], for all others.
        words: texts that are JSON already.
        names: texts that are not.
    """
    out = np.empty(kernel.room(form, wholes, words, names) + WIDE, np.uint8)
    ends = np.empty(len(wholes), np.int64)
    end = kernel.fill_in(form, numbers.view(np.uint64), wholes, words, names, out, ends)
    out[end : end + WIDE] = 0
    begins = np.empty_like(ends)
    begins[:1] = 0
    begins[1:] = ends[:-1]
    return Packed(out[: end + WIDE].tobytes(), begins, ends - 1)
