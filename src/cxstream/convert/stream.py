"""An input of a conversion, opened once: a pipe, a named pipe or standard input gives its bytes only once."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from cxstream.files.streams import STDIN, blocks, opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cxstream.convert.report import Report

BLOCK_BYTES = 1 << 20


class Stream:
    """The decompressed bytes of one input, from front to end, in blocks.

    An iterator of blocks: what one consumer takes is gone for the next. The report hears how many stored bytes
    were taken.

    Args:
        path: the input; `-` is standard input.
        report: is told of the progress.
        xml: whether XML is read.

    Attributes:
        path: as given.
        name: how messages call it.
    """

    def __init__(self, path: Path, report: Report, *, xml: bool = False) -> None:
        self.path = path
        self.name = name_of_input(path)
        self._blocks = _counted(path, report, xml=xml)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._blocks)

    def peek(self, size: int) -> bytes:
        """The first `size` bytes of what is left, or all of it, without taking them.

        Raises:
            InputError: the input cannot be read.
        """
        taken: list[bytes] = []
        length = 0
        while length < size and (block := next(self._blocks, None)) is not None:
            taken.append(block)
            length += len(block)
        self._blocks = chain(taken, self._blocks)
        return b"".join(taken)[:size]


def name_of_input(path: Path) -> str:
    """How an input is called in problems, counts and the ids that are made of its lines."""
    return "standard input" if str(path) == STDIN else str(path)


def _counted(path: Path, report: Report, *, xml: bool) -> Iterator[bytes]:
    told = 0
    with opened(path) as source:
        for block in blocks(source, path, BLOCK_BYTES, xml=xml):
            report.on_bytes(source.taken - told)
            told = source.taken
            yield block
        report.on_bytes(source.taken - told)
