"""The valid events of a batch, each made when somebody asks for it: most are only ever columns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from cxstream.kernels.events import SPANS, SUBJECT_BEGIN, SUBJECT_END, TOPIC_BEGIN, TOPIC_END
from cxstream.kernels.layout import NONE
from cxstream.scoring.codec.plain import NUMBER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from cxstream.scoring.codec.plain import Fields


class Events(Sequence[Any]):
    """Events of a batch, in order.

    Args:
        made: n events; None for one that is made of its record when it is asked for.
        raws: n records; the others' do not matter.
        decode: makes an event of a record.
        text: records that are known, one after the other.
        spans: int64[n, SPANS], where the subject and the topic of such an event lie in it.
        fields: all texts and numbers of the batch, where they are known.
        rows: int64[n], the rows of these events in `fields`.

    Attributes:
        fields: see above.
        rows: see above.
    """

    __slots__ = ("_decode", "_made", "_raws", "_renamed", "_spans", "_subjects", "_text", "fields", "rows")

    def __init__(
        self,
        made: list[Any],
        raws: Sequence[bytes | None] = (),
        decode: Callable[[bytes], Any] | None = None,
        text: bytes = b"",
        spans: NDArray[np.int64] | None = None,
        fields: Fields | None = None,
        rows: NDArray[np.int64] | None = None,
    ) -> None:
        self._made, self._raws, self._decode, self._text = made, raws, decode, text
        self._spans = np.zeros((len(made), SPANS), np.int64) if spans is None else spans
        self.fields = fields
        self.rows = np.arange(len(made)) if rows is None else rows
        self._subjects: list[str] | None = None
        self._renamed = False

    def __len__(self) -> int:
        return len(self._made)

    @overload
    def __getitem__(self, i: int) -> Any: ...
    @overload
    def __getitem__(self, i: slice) -> list[Any]: ...
    def __getitem__(self, i: int | slice) -> Any:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        event = self._made[i]
        if event is None:
            raw = self._raws[i]
            assert raw is not None and self._decode is not None  # noqa: S101, PT018  # it was read before
            event = self._decode(raw)
            if self._renamed:
                event.subject = self.subjects()[i]
            self._made[i] = event
        return event

    def subjects(self) -> list[str]:
        """Subject of each event; "" for one without."""
        if self._subjects is None:
            begins, ends = (
                self._spans[:, SUBJECT_BEGIN].tolist(),
                self._spans[:, SUBJECT_END].tolist(),
            )
            if self._text.isascii():
                text = self._text.decode("ascii")
                self._subjects = [text[begin:end] for begin, end in zip(begins, ends, strict=True)]
            else:
                self._subjects = [
                    self._text[begin:end].decode() for begin, end in zip(begins, ends, strict=True)
                ]
            for i, event in enumerate(self._made):
                if event is not None:
                    self._subjects[i] = getattr(event, "subject", "")
        return self._subjects

    def rename(self, subjects: list[str]) -> None:
        """Give the events other subjects; "" for one without."""
        for event, subject in zip(self._made, subjects, strict=True):
            if event is not None and subject:
                event.subject = subject
        self._subjects, self._renamed = subjects, True

    def topic(self, i: int) -> str | None:
        """The topic of a contact."""
        event = self._made[i]
        if event is not None:
            topic: str | None = event.data.topic
            return topic
        begin, end = self._spans[i, TOPIC_BEGIN], self._spans[i, TOPIC_END]
        return None if begin == NONE else self._text[begin:end].decode()

    def having(self, member: str) -> list[int]:
        """Places of the events whose `data` has a member, and of those of which that is not known."""
        if self.fields is None:
            return list(range(len(self)))
        bit = np.uint64(1 << NUMBER[member])
        there = (self.fields.members[self.rows] & bit != 0) | ~self.fields.whole[self.rows]
        places: list[int] = np.flatnonzero(there).tolist()
        return places

    def taken(self, places: NDArray[np.int64] | Sequence[int]) -> Events:
        """Those at some places."""
        return self._copied(np.asarray(places, np.int64).tolist())

    def kept(self, keep: NDArray[np.bool_]) -> Events:
        """Those for which a flag is set."""
        return self._copied(list(compress(range(len(self)), keep.tolist())))

    def _copied(self, places: list[int]) -> Events:
        some = Events(
            list(map(self._made.__getitem__, places)),
            list(map(self._raws.__getitem__, places)) if self._raws else (),
            self._decode,
            self._text,
            self._spans[places],
            self.fields,
            self.rows[places],
        )
        some._renamed = self._renamed
        if self._subjects is not None:
            some._subjects = list(map(self._subjects.__getitem__, places))
        return some


def joined(parts: Iterable[Events]) -> Events:
    """The events of several batches, one after the other."""
    return Events([event for part in parts for event in part])
