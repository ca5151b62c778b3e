"""The valid events of a batch, each made when somebody asks for it: most are only ever columns."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import msgspec
import numpy as np

from cxstream.kernels.events import SPANS, SUBJECT_BEGIN, SUBJECT_END, TOPIC_BEGIN, TYPE
from cxstream.kernels.layout import NONE
from cxstream.kernels.shares import homes, shares
from cxstream.kernels.text import partitions
from cxstream.scoring.codec.packed import AFTER, Packed
from cxstream.scoring.codec.plain import NUMBER
from cxstream.scoring.codec.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from cxstream.scoring.codec.plain import Fields


class Where(msgspec.Struct, gc=False):
    """The part of `data` that says where something happened."""

    channel: str
    touchpoint: str | None = None


class Felt(msgspec.Struct, gc=False):
    """What a friction signal says of the event in which it was felt.

    Attributes:
        type: of the CloudEvent.
        data: None of a control record.
    """

    type: str
    data: Where | None = None


_felt = msgspec.json.Decoder(Felt).decode
_CHANNEL, _TOUCHPOINT = NUMBER["channel"], NUMBER["touchpoint"]


class Parts(NamedTuple):
    """What another process needs of the events of a batch of n records, beside the records.

    Attributes:
        text: bytes in which their texts lie.
        spans: int64[n, SPANS], see `Events`.
        members: uint64[n], likewise.
        sentiments: likewise.
        made: places of the records that no kernel read.
    """

    text: bytes
    spans: NDArray[np.int64]
    members: NDArray[np.uint64]
    sentiments: dict[int, float]
    made: list[int]


class Events(Sequence[Any]):
    """Events of a batch, in order.

    Args:
        raws: n records; the others' do not matter.
        decode: makes an event of a record.
        text: bytes in which their texts lie.
        spans: int64[n, SPANS], where the subject and the topic of each event lie there.
        fields: all texts and numbers of the batch, where they are known.
        sentiments: of the texts, by record, of those that came without one.
        members: uint64[n], bits of the members of `data` that are there, or may be there; None where that is not known.
        rows: int64[g], the rows of the events that are meant; None for all.

    Attributes:
        fields: see above.
        rows: int64[n], the rows of these events in what is told of the batch.
    """

    __slots__ = (
        "_decode",
        "_made",
        "_members",
        "_raws",
        "_sentiments",
        "_spans",
        "_subjects",
        "_text",
        "_whole",
        "fields",
        "rows",
    )

    def __init__(
        self,
        raws: Sequence[bytes | None],
        decode: Callable[[bytes], Any],
        text: bytes,
        spans: NDArray[np.int64],
        fields: Fields | None = None,
        sentiments: Mapping[int, float] = MappingProxyType({}),
        members: NDArray[np.uint64] | None = None,
        rows: NDArray[np.int64] | None = None,
    ) -> None:
        self._raws, self._decode, self._text, self._spans, self.fields = raws, decode, text, spans, fields
        self._whole = rows is None
        self.rows = np.arange(len(spans)) if rows is None else rows
        self._sentiments, self._members = sentiments, members
        self._made: dict[int, Any] = {}
        self._subjects: list[str] | None = None

    @classmethod
    def of(cls, made: Sequence[Any]) -> Events:
        """Events that are there."""
        events = cls((), _unknown, AFTER, np.zeros((len(made), SPANS), np.int64))
        events.put(range(len(made)), made)
        return events

    @classmethod
    def of_parts(
        cls,
        raws: Sequence[bytes | None],
        decode: Callable[[bytes], Any],
        parts: Parts,
        rows: NDArray[np.int64],
        made: Mapping[int, Any],
    ) -> Events:
        """Events of another process.

        Args:
            raws: n records.
            decode: makes an event of a record.
            parts: of these events.
            rows: int64[g], those of the batch that are valid.
            made: events of records that no kernel read.
        """
        events = cls(raws, decode, parts.text, parts.spans, None, parts.sentiments, parts.members)
        events.rows, events._made = rows, dict(made)
        return events

    def parts(self) -> Parts | None:
        """See there; None where they cannot be told."""
        if self._members is None or self._subjects is not None or isinstance(self._raws, Rows):
            return None
        made = sorted(set(self._made).intersection(self.rows.tolist())) if self._made else []
        return Parts(self._text, self._spans, self._members, dict(self._sentiments), made)

    def put(self, places: Iterable[int], made: Sequence[Any]) -> None:
        """Put events that are there in some places of the batch."""
        parts, at = [self._text], len(self._text)
        for i, event in zip(places, made, strict=True):
            self._made[i] = event
            parts.append(getattr(event, "subject", "").encode())
            self._spans[i, SUBJECT_BEGIN] = at
            at += len(parts[-1])
            self._spans[i, SUBJECT_END] = at
        self._text = b"".join([*parts, AFTER])

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, i: int) -> Any: ...
    @overload
    def __getitem__(self, i: slice) -> list[Any]: ...
    def __getitem__(self, i: int | slice) -> Any:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        row = int(self.rows[i])
        event = self._made.get(row)
        if event is None:
            raw = self._raws[row]
            assert raw is not None  # noqa: S101  # it was read before
            event = self._decode(raw)
            if self._subjects is not None:
                event.subject = self._subjects[i]
            if (sentiment := self._sentiments.get(row)) is not None:
                event.data.sentiment = sentiment
            self._made[row] = event
        return event

    def felt(self, i: int) -> Felt:
        """The little of an event that a friction signal needs; that takes a third of the time of the whole event."""
        row = int(self.rows[i])
        event = self._made.get(row)
        if event is not None:
            data: Any = getattr(event, "data", None)
            here = Where(data.channel, data.touchpoint) if hasattr(data, "channel") else None
            return Felt(type(event).__struct_config__.tag, here)
        raws = self._raws
        if isinstance(raws, Rows) and not raws.nests:
            here = Where(raws.member_of(_CHANNEL, row) or "", raws.member_of(_TOUCHPOINT, row))
            return Felt(raws.text_of(TYPE, row), here)
        raw = raws[row]
        assert raw is not None  # noqa: S101  # it was read before
        return _felt(raw)

    def make_felt(self, places: NDArray[np.int64]) -> None:
        """Make what `felt` needs of the events at some places; as `make`."""
        if isinstance(self._raws, Rows) and self._raws.nests:
            self.make(places)

    def make(self, places: NDArray[np.int64]) -> None:
        """Make the events at some places that are rows of columns: together they take less time than one by one."""
        if isinstance(self._raws, Rows):
            self._raws.at(self.rows[places].tolist())

    def packed_subjects(self) -> Packed:
        """Subject of each event; "" for one without."""
        if self._subjects is not None:
            return Packed.of([subject.encode() for subject in self._subjects])
        begins, ends = self._spans[:, SUBJECT_BEGIN], self._spans[:, SUBJECT_END]
        if self._whole:
            return Packed(self._text, begins, ends)
        # Column by column takes a third of the time that whole rows take.
        some = np.empty((len(self.rows), 2), np.int64)
        some[:, 0], some[:, 1] = begins[self.rows], ends[self.rows]
        return Packed(self._text, some[:, 0], some[:, 1])

    def coded_subjects(self) -> tuple[NDArray[np.int32], NDArray[np.int32]] | None:
        """Which of the words of a column each subject is, and the slots that these had, see `Slots.find`; None for other records."""
        raws = self._raws
        if not isinstance(raws, Rows) or raws.customers is None or self._subjects is not None:
            return None
        codes, slots = raws.customers
        return codes if self._whole else codes[self.rows], slots

    def homes(self, count: int) -> NDArray[np.int32]:
        """Which of `count` partitions of Kafka each event's customer belongs to, int32[n]; 0 for those without one."""
        found = np.zeros(len(self.rows), np.int32)
        if self._subjects is not None:
            names = self.packed_subjects()
            partitions(names.data, names.begins, names.ends, count, found)
            found[names.lengths == 0] = 0
            return found
        homes(np.frombuffer(self._text, np.uint8), self._spans, self.rows, count, found)
        return found

    def shares(self, bits: int) -> NDArray[np.int32]:
        """Which of 2**bits equal parts each event's customer belongs to, int32[n]; 0 for those without one."""
        found = np.zeros(len(self.rows), np.int32)
        shares(np.frombuffer(self._text, np.uint8), self._spans, self.rows, bits, found)
        return found

    def subjects(self) -> list[str]:
        """Subject of each event; "" for one without."""
        return self.packed_subjects().strings() if self._subjects is None else self._subjects

    def rename(self, subjects: list[str]) -> None:
        """Give the events other subjects; "" for one without."""
        for row, subject in zip(self.rows.tolist(), subjects, strict=True):
            if subject and (event := self._made.get(row)) is not None:
                event.subject = subject
        self._subjects = subjects

    def topics(self, places: NDArray[np.int64]) -> Iterator[tuple[int, str]]:
        """The contacts with a topic among the events at some places, and their topics."""
        rows = self.rows[places]
        spans = self._spans[rows, TOPIC_BEGIN:]
        if not self._made:
            there = spans[:, 0] != NONE
            text = self._text
            for i, (begin, end) in zip(places[there].tolist(), spans[there].tolist(), strict=True):
                yield i, text[begin:end].decode()
            return
        for i, row, (begin, end) in zip(places.tolist(), rows.tolist(), spans.tolist(), strict=True):
            event = self._made.get(row)
            if event is not None:
                if event.data.topic is not None:
                    yield i, event.data.topic
            elif begin != NONE:
                yield i, self._text[begin:end].decode()

    def having(self, member: str, among: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """Places of the events whose `data` has a member, and of those of which that is not known.

        Args:
            member: its name.
            among: int64[n], the places to look at; all by default.
        """
        places = np.arange(len(self)) if among is None else among
        if self._members is None:
            return places
        found: NDArray[np.int64] = places[
            self._members[self.rows[places]] & np.uint64(1 << NUMBER[member]) != 0
        ]
        return found

    def taken(self, places: NDArray[np.int64] | Sequence[int]) -> Events:
        """Those at some places."""
        places = np.asarray(places, np.int64)
        some = Events(
            self._raws,
            self._decode,
            self._text,
            self._spans,
            self.fields,
            self._sentiments,
            self._members,
            self.rows[places],
        )
        some._made = dict(self._made)
        if self._subjects is not None:
            some._subjects = list(map(self._subjects.__getitem__, places.tolist()))
        return some

    def kept(self, keep: NDArray[np.bool_]) -> Events:
        """Those for which a flag is set."""
        return self.taken(np.flatnonzero(keep))


def _unknown(_: bytes) -> Any:
    raise ValueError("an event that is not there has no record")


def joined(parts: Iterable[Events]) -> Events:
    """The events of several batches, one after the other."""
    return Events.of([event for part in parts for event in part])
