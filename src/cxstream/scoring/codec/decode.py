"""Bytes to validated events and their columns. A record that cannot be used gets a reason and a field path.

How hostile input is classified: anything that is not one well-formed JSON object (bytes that are not UTF-8 in a known
field, NaN, a lone surrogate, nesting deeper than MAX_DEPTH, no value at all) is `malformed`; a well-formed
object that breaks the contract (numbers beyond float64 too) is `invalid`. Of duplicate keys the last counts.
Each record takes time in proportion to its own length, and an invalid one takes none from the others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from cxstream.kernels.layout import (
    ABANDONED,
    EVENT,
    HAS_VALUE,
    NONE,
    RESOLVED,
    RULES,
    SWITCHES,
    UNRESOLVED,
)
from cxstream.kernels.text import BAD_TIME, depth, hash64, hash_all, parse_times
from cxstream.model.cloudevents import content_bytes, require_text, structured
from cxstream.model.enumerations import SWITCH_CHANNELS
from cxstream.model.errors import CloudEventError
from cxstream.model.events import CONTROL
from cxstream.model.fields import MAX_SUBJECT, Data, HistoryData, MoneyData, currency_code
from cxstream.model.kinds import Columns, Kind
from cxstream.model.rules import RulesError, read_rules
from cxstream.scoring.codec.events import Events
from cxstream.scoring.codec.histories import fill_days
from cxstream.scoring.codec.packed import Packed
from cxstream.scoring.codec.plain import read_plain
from cxstream.scoring.codec.remembered import Remembered
from cxstream.scoring.codec.rows import Rows
from cxstream.scoring.codec.signatures import SIGNATURE, Authority
from cxstream.scoring.codec.texts import fill_sentiments, plain_sentiments
from cxstream.scoring.codec.vocabulary import BUILT_IN, Vocabulary

if TYPE_CHECKING:
    from cxstream.text.model import TextModel

MALFORMED, INVALID = "malformed", "invalid"
FROM_THE_FUTURE, TOO_LATE = "from_the_future", "too_late"
MISROUTED, TOO_LARGE, FORGED = "misrouted", "too_large", "forged"

# Deeper than any source nests, and well within the recursion limit of the JSON parser, whatever the caller's depth.
MAX_DEPTH = 512

# A few dozen sources of a few dozen bytes each need some kilobytes.
_SEEDS_BYTES = 4 << 20

Headers = Sequence[tuple[str, bytes | None]]

_ANY_MEMBER = np.uint64((1 << 64) - 1)

_NAME, _TEXT = itemgetter(0), itemgetter(1)

_well_formed = msgspec.json.Decoder(msgspec.Raw).decode
_MAX_MESSAGE = 300
# The decoder's message ends in the path. Before it, the message may repeat a value, which may contain anything.
_AT = " - at `"
_PATH = re.compile(r"\$\.?([\w.\[\]]*)`")
_MISSING = re.compile(r"Object missing required field `(\w+)`")
_NO_KIND = re.compile(r"Invalid value 'cx\.touchpoint\.([a-z][a-z0-9_]*)\.v1'")


class Rejected(msgspec.Struct, frozen=True, order=True, gc=False):
    """Why a record is not used.

    Attributes:
        index: its position in the batch.
        reason: malformed, invalid, forged, misrouted, from_the_future, too_late or too_large.
        field: path of the field, "" where there is none.
        message: what is wrong, for the reader.
    """

    index: int
    reason: str
    field: str
    message: str


_ROW = np.dtype((np.void, EVENT.itemsize))


def raw(columns: NDArray[np.void]) -> NDArray[np.void]:
    """Columns of events without members: NumPy copies such rows at once, and others member by member."""
    return columns.view(_ROW)


def rows_of(columns: NDArray[np.void], which: NDArray[np.int64] | NDArray[np.bool_]) -> NDArray[np.void]:
    """Some rows of the columns of events."""
    return raw(columns)[which].view(EVENT)


@dataclass(slots=True)
class Decoded:
    """A decoded batch.

    Attributes:
        valid: int64[g], positions of the valid records.
        events: g events, each made when it is asked for.
        columns: EVENT[g]; `slot` and `topic` are filled in by the partition.
        sources: uint64[g], hash of each event's source.
        rejected: the others, in order.
        touchpoints: whether all of them are known to be touchpoints: no control record is among them.
    """

    valid: NDArray[np.int64]
    events: Events
    columns: NDArray[np.void]
    sources: NDArray[np.uint64]
    rejected: list[Rejected]
    touchpoints: bool = False

    def reject(self, wrong: Mapping[int, tuple[str, str, str]]) -> None:
        """Reject some of the valid records.

        Args:
            wrong: reason, field and message by the place among the valid ones.
        """
        if not wrong:
            return
        self.rejected += [Rejected(int(self.valid[i]), *why) for i, why in wrong.items()]
        self.rejected.sort()
        keep = np.ones(len(self.events), bool)
        keep[list(wrong)] = False
        self.valid, self.columns, self.sources = (
            self.valid[keep],
            rows_of(self.columns, keep),
            self.sources[keep],
        )
        self.events = self.events.kept(keep)

    def taken(self, places: NDArray[np.int64], rejected: list[Rejected]) -> Decoded:
        """The valid records at some places among them, with these rejections."""
        return Decoded(
            self.valid[places],
            self.events.taken(places),
            rows_of(self.columns, places),
            self.sources[places],
            rejected,
            self.touchpoints,
        )


def text_column(strings: list[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Join strings for a kernel.

    Returns:
        uint8[...] with all of them in UTF-8, and int64[n] with the end of each.
    """
    joined = "".join(strings)
    if joined.isascii():
        encoded = joined.encode()
        lengths = np.fromiter(map(len, strings), np.int64, len(strings))
    else:
        parts = [s.encode() for s in strings]
        encoded = b"".join(parts)
        lengths = np.fromiter(map(len, parts), np.int64, len(parts))
    return np.frombuffer(encoded, np.uint8), np.cumsum(lengths)


def hash_text(text: str, seed: int = 0) -> int:
    """64-bit hash of one string."""
    data = np.frombuffer(text.encode(), np.uint8)
    return int(hash64(data, 0, len(data), np.uint64(seed)))


class _Seeds(Remembered[int]):
    """Hash of each source name."""

    def __missing__(self, source: str) -> int:
        return self.keep(source, hash_text(source))


_seeds = _Seeds(_SEEDS_BYTES)


# --- columns of the kinds that carry more than their points

_Columns = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.uint8], NDArray[np.uint64]]


def _contact(c: _Columns, i: int, d: Data) -> None:
    if d.wait_s is not None:
        c[0][i] = d.wait_s
    if d.transfers is not None:
        c[1][i] = d.transfers
    flags = SWITCHES if d.channel in SWITCH_CHANNELS else 0
    if d.abandoned:
        flags |= ABANDONED
    elif d.resolved is not None:
        flags |= RESOLVED if d.resolved else UNRESOLVED
    c[2][i] = flags


def _queue(c: _Columns, i: int, d: Data) -> None:
    c[0][i] = d.wait_s or 0.0


def _delivery(c: _Columns, i: int, d: Data) -> None:
    c[0][i] = d.late_days or 0.0


def _score(c: _Columns, i: int, d: Data) -> None:
    c[0][i] = d.score


def _rating(c: _Columns, i: int, d: Data) -> None:
    c[0][i] = d.rating


def _sentiment(c: _Columns, i: int, d: Data) -> None:
    if d.sentiment is not None:
        c[0][i] = d.sentiment
        c[2][i] = HAS_VALUE


def _click(c: _Columns, i: int, d: Data) -> None:
    if d.x is not None and d.y is not None:
        c[0][i] = d.x
        c[1][i] = d.y
        c[2][i] = HAS_VALUE


class _Currencies(dict[str, int]):
    """Code of each currency; there are not many, for each has three letters."""

    def __missing__(self, currency: str) -> int:
        self[currency] = code = currency_code(currency)
        return code


_currencies = _Currencies()


def _money(c: _Columns, i: int, d: MoneyData) -> None:
    c[0][i] = d.amount
    c[3][i] = _currencies[d.currency]


def _history(c: _Columns, i: int, d: HistoryData) -> None:
    c[0][i] = d.amount
    c[1][i] = d.purchases
    c[3][i] = _currencies[d.currency]


def _case(c: _Columns, i: int, d: Data) -> None:
    c[3][i] = hash_text(d.case_id or "")


FILLS: dict[Columns, Callable[[_Columns, int, Any], None]] = {
    "case": _case,
    "click": _click,
    "contact": _contact,
    "delivery": _delivery,
    "history": _history,
    "money": _money,
    "queue": _queue,
    "rating": _rating,
    "score": _score,
    "sentiment": _sentiment,
}
_FILL: list[Callable[[_Columns, int, Any], None] | None] = [None] * 256
for _kind in Kind:
    if _kind.spec.fills is not None:
        _FILL[_kind] = FILLS[_kind.spec.fills]


_HAS_MORE = np.array([fill is not None for fill in _FILL])


def _columns(events: list[Any]) -> tuple[NDArray[np.void], NDArray[np.uint64]]:
    """EVENT of each event, and the hash of its source."""
    n = len(events)
    columns = np.zeros(n, EVENT)
    kinds = np.array([e.KIND for e in events], np.uint8)
    columns["kind"] = kinds
    columns["topic"] = NONE
    times = np.empty(n, np.int64)
    parse_times(*text_column([e.time for e in events]), times)
    columns["time"] = times
    seeds = np.array([_seeds[e.source] for e in events], np.uint64)
    hashes = np.empty(n, np.uint64)
    hash_all(*text_column([e.id for e in events]), seeds, hashes)
    columns["id"] = hashes
    views = (columns["a"], columns["b"], columns["flags"], columns["case"])
    more = np.flatnonzero(_HAS_MORE[kinds])
    for i, kind in zip(more.tolist(), kinds[more].tolist(), strict=True):
        _FILL[kind](views, i, events[i].data)
    return columns, seeds


def _diagnose(raw: bytes | None, note: tuple[str, str] | None, error: Exception) -> tuple[str, str, str]:
    """Reason, field path and message of a record that did not decode."""
    message = str(error)
    if note is not None:
        return note[0], "", note[1]
    if not isinstance(error, msgspec.ValidationError):
        return MALFORMED, "", _short(message)
    assert raw is not None  # noqa: S101 - a record without an event has a note
    # The decoder stops at the first error: only a well-formed object can be invalid.
    try:
        _well_formed(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as worse:
        return MALFORMED, "", str(worse)
    said, _, end = message.rpartition(_AT)
    found = _PATH.fullmatch(end) if said else None
    path = found[1] if found else ""
    if not found:
        said = message
    missing = _MISSING.fullmatch(said)
    if missing:
        path = f"{path}.{missing[1]}" if path else missing[1]
    if not path:
        return MALFORMED, "", "not a JSON object"
    if path == "type" and (named := _NO_KIND.fullmatch(said)):
        said = f"{said}; a kind of your own must be in the rules: [scoring.kinds.{named[1]}]"
    return INVALID, path.replace("[...]", ""), _short(said)


def _short(message: str) -> str:
    """Shorten the decoder's message, which may repeat a value of any length."""
    return message if len(message) <= _MAX_MESSAGE else f"{message[:_MAX_MESSAGE]}..."


def _too_deep(raw: bytes) -> bool:
    brackets = raw.count(b"{") + raw.count(b"[")
    return brackets > MAX_DEPTH and bool(depth(np.frombuffer(raw, np.uint8)) > MAX_DEPTH)


def _longest(values: Sequence[bytes | None]) -> int:
    if isinstance(values, Packed | Rows):
        return values.longest
    return max(map(len, filter(None, values)), default=0)


def _names(headers: Sequence[Headers] | None) -> str:
    """The names of all headers of a batch, joined."""
    return "".join(map(_NAME, chain.from_iterable(headers))) if headers else ""


def _texts(headers: Sequence[Headers] | None) -> bytes:
    """The values of all headers of a batch, joined."""
    return b"".join(filter(None, map(_TEXT, chain.from_iterable(headers)))) if headers else b""


def _too_large(
    values: Sequence[bytes | None],
    headers: Sequence[Headers] | None,
    keys: Sequence[bytes | None] | None,
    together: int,
    limit: int,
) -> list[int]:
    """Positions of the records that have more than `limit` bytes.

    Args:
        values: n values.
        headers: n lists of headers.
        keys: n keys.
        together: at least the bytes of all headers.
        limit: bytes of key, value and headers.
    """
    # The bytes of all headers are counted at once; only a batch with many of them is examined record by record.
    if _longest(values) + _longest(keys or ()) + together <= limit:
        return []
    nothing = [None] * len(values)
    rows = zip(keys or nothing, values, headers or nothing, strict=True)
    return [i for i, (key, value, given) in enumerate(rows) if content_bytes(key, value, given or ()) > limit]


def _is_flat(values: Sequence[bytes | None]) -> bool:
    """Whether all records are there, and none can be nested too deeply."""
    if isinstance(values, Rows):
        return not values.nests
    return isinstance(values, Packed) and _longest(values) <= 2 * MAX_DEPTH


def _prepare(
    values: Sequence[bytes | None],
    headers: Sequence[Headers] | None = None,
    large: Collection[int] = (),
    *,
    odd: bool = False,
) -> tuple[Sequence[bytes | None], dict[int, tuple[str, str]]]:
    """Structured records; None, with a reason and a note, for those that must not reach the parser.

    Args:
        values: n records.
        headers: their Kafka headers.
        large: positions of those that are too large.
        odd: names of headers may not be UTF-8.
    """
    if not headers and not large and _is_flat(values):
        return values, {}
    raws: list[bytes | None] = list(values)
    notes = {i: (MALFORMED, "no value") for i, raw in enumerate(raws) if raw is None} if None in raws else {}
    for i, given in enumerate(headers or ()):
        if given and i not in large:
            try:
                if odd:
                    require_text(given)
                raws[i] = structured(given, values[i])
            except CloudEventError as error:
                raws[i], notes[i] = None, (MALFORMED, _short(str(error)))
    for i in large:
        raws[i], notes[i] = None, (TOO_LARGE, "larger than scoring.max_record_bytes")
    # A record too short for that many brackets cannot be nested too deeply.
    if _longest(raws) > 2 * MAX_DEPTH:
        for i, raw in enumerate(raws):
            if raw and len(raw) > 2 * MAX_DEPTH and _too_deep(raw):
                raws[i], notes[i] = None, (MALFORMED, f"nested deeper than {MAX_DEPTH}")
    return raws, notes


def decode(
    values: Sequence[bytes | None],
    headers: Sequence[Headers] | None = None,
    *,
    keys: Sequence[bytes | None] | None = None,
    limit: int | None = None,
    unheld: Collection[int] = (),
    authority: Authority | None = None,
    appended: NDArray[np.int64] | None = None,
    vocabulary: Vocabulary = BUILT_IN,
    texts: TextModel | None = None,
    fields: bool = False,
) -> Decoded:
    """Decode and validate a batch.

    Args:
        values: n records; None is a record without a value.
        headers: their Kafka headers, where there are any.
        keys: their Kafka keys, where there are any; they count for the size alone.
        limit: the most bytes of a record's key, value and headers; None for no limit.
        unheld: positions of records whose values were too large to be kept in memory.
        authority: verifies the signatures of control records; None: signatures are not required.
        appended: int64[n], when each record came into the log, ms UTC; None where that is not known.
        vocabulary: the kinds of events that there are.
        texts: gives a sentiment to events that have a text and none; None: they stay without.
        fields: also tell all texts and numbers of the events, where that costs no Python for each of them.
    """
    names = _names(headers)
    large = (
        []
        if limit is None
        else _too_large(values, headers, keys, 4 * len(names) + len(_texts(headers)), limit)
    )
    skipped = {*large, *unheld} if large or unheld else ()
    raws, notes = _prepare(values, headers, skipped, odd=not names.isascii())
    decoded = _read(raws, notes, vocabulary, texts, fields=fields)
    if authority is not None:
        _reject_forged(decoded, raws, authority, appended)
    _reject_wrong_rules(decoded)
    return decoded


def _read(
    raws: Sequence[bytes | None],
    notes: Mapping[int, tuple[str, str]],
    vocabulary: Vocabulary,
    texts: TextModel | None,
    *,
    fields: bool,
) -> Decoded:
    """Read structured records: plain ones by a kernel, and the others one by one.

    Args:
        raws: n records; None for one that must not be read.
        notes: reason and note of each of those.
        vocabulary: the kinds of events that there are.
        texts: see `decode`.
        fields: also tell all texts and numbers.
    """
    if vocabulary.contract is None:
        return _read_others(raws, range(len(raws)), notes, vocabulary, texts)
    plain = read_plain(vocabulary.contract, raws, fields=fields or texts is not None)
    sentiments = {} if texts is None else plain_sentiments(raws, plain, texts)
    events = Events(
        raws,
        vocabulary.decode,
        plain.text,
        plain.spans,
        plain.fields if fields else None,
        sentiments,
        plain.members,
    )
    # No plain record is a control record.
    decoded = Decoded(np.arange(len(raws)), events, plain.columns, plain.sources, [], touchpoints=True)
    others = np.flatnonzero(~plain.known)
    if not len(others):
        return decoded
    plain.members[others] = _ANY_MEMBER
    rest = _read_others(raws, others.tolist(), notes, vocabulary, texts)
    if len(rest.valid):
        plain.known[rest.valid] = True
        plain.columns[rest.valid], plain.sources[rest.valid] = rest.columns, rest.sources
        events.put(rest.valid.tolist(), rest.events)
        decoded.touchpoints = not (rest.columns["kind"] >= CONTROL).any()
    return decoded.taken(np.flatnonzero(plain.known), rest.rejected) if rest.rejected else decoded


def _read_others(
    raws: Sequence[bytes | None],
    which: Sequence[int],
    notes: Mapping[int, tuple[str, str]],
    vocabulary: Vocabulary,
    texts: TextModel | None,
) -> Decoded:
    """Read some records of a batch one by one; see `_read`."""
    events: list[Any] = []
    rejected: list[Rejected] = []
    unread = iter(raws.at(which)) if isinstance(raws, Rows) else map(raws.__getitem__, which)
    while True:
        # `extend` keeps the events before a record that cannot be read, and `unread` then continues after it.
        try:
            events.extend(map(vocabulary.decode, unread))  # type: ignore[arg-type]
            break
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError) as error:
            i = which[len(events) + len(rejected)]
            rejected.append(Rejected(i, *_diagnose(raws[i], notes.get(i), error)))
    if not events:
        return Decoded(
            np.empty(0, np.int64), Events.of([]), np.empty(0, EVENT), np.empty(0, np.uint64), rejected
        )
    refused = {r.index for r in rejected}
    positions = np.array([i for i in which if i not in refused], np.int64)
    if texts is not None:
        fill_sentiments(events, texts)
    columns, sources = _columns(events)
    decoded = Decoded(positions, Events.of(events), columns, sources, rejected)
    decoded.reject(
        {
            i: (INVALID, "time", f"not RFC 3339 with an offset: {events[i].time[:40]!r}")
            for i in np.flatnonzero(columns["time"] == BAD_TIME).tolist()
        }
    )
    decoded.reject({i: (INVALID, path, said) for i, path, said in fill_days(decoded.events, decoded.columns)})
    return decoded


def rules_among(decoded: Decoded) -> list[int]:
    """Places of sets of rules among the valid records."""
    if decoded.touchpoints:
        return []
    places: list[int] = np.flatnonzero(decoded.columns["kind"] == RULES).tolist()
    return places


def _reject_wrong_rules(decoded: Decoded) -> None:
    """Reject sets of rules that are not valid as a whole."""
    wrong = {}
    for i in rules_among(decoded):
        try:
            read_rules(decoded.events[i].data)
        except RulesError as error:
            wrong[i] = INVALID, error.field, _short(error.reason)
    decoded.reject(wrong)


def _reject_forged(
    decoded: Decoded,
    raws: Sequence[bytes | None],
    authority: Authority,
    appended: NDArray[np.int64] | None,
) -> None:
    """Reject control records without a valid signature."""
    decoded.rejected = [
        Rejected(each.index, FORGED, each.field, each.message)
        if (each.reason, each.field) == (INVALID, SIGNATURE)
        else each
        for each in decoded.rejected
    ]
    if decoded.touchpoints:
        return
    doubts = {}
    for i in np.flatnonzero(decoded.columns["kind"] >= CONTROL).tolist():
        place = int(decoded.valid[i])
        since = None if appended is None else int(appended[place])
        if doubt := authority.doubt(raws[place] or b"", since):
            doubts[i] = FORGED, SIGNATURE, doubt
    decoded.reject(doubts)


class _Subject(msgspec.Struct, gc=False):
    subject: str | None = None


class _Source(msgspec.Struct, gc=False):
    source: str | None = None


_subject = msgspec.json.Decoder(_Subject).decode
_source = msgspec.json.Decoder(_Source).decode


def _read_with(decoder: Callable[[bytes], Any], raw: bytes | None) -> Any:
    if raw is None or (len(raw) > 2 * MAX_DEPTH and _too_deep(raw)):
        return None
    try:
        return decoder(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def read_source(raw: bytes | None) -> str | None:
    """The source of a record, also of an invalid one; None if it cannot be read."""
    found = _read_with(_source, raw)
    return found.source if found else None


def read_subject(raw: bytes | None) -> str | None:
    """The subject of a record, also of an invalid one; None if it cannot be read."""
    found = _read_with(_subject, raw)
    subject = found.subject if found else None
    return subject if subject and len(subject) <= MAX_SUBJECT else None


class _Timed(msgspec.Struct, gc=False):
    time: str = ""


_timed = msgspec.json.Decoder(_Timed).decode


def read_times(values: Sequence[bytes | None]) -> NDArray[np.int64]:
    """The event time of each record, also of an invalid one; int64[n], ms UTC.

    BAD_TIME if it cannot be read.
    """
    raws, _ = _prepare(values)
    found: list[str] = []
    unread = iter(raws)
    while True:
        # As in `decode`: the events before a record that cannot be read are kept.
        try:
            found.extend(timed.time for timed in map(_timed, unread))  # type: ignore[arg-type]
            break
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError):
            found.append("")
    times = np.empty(len(found), np.int64)
    parse_times(*text_column(found), times)
    return times


def subjects_of(events: Sequence[Any]) -> list[str]:
    """Subject of each event; "" for a tick."""
    if isinstance(events, Events):
        return events.subjects()
    try:
        return [e.subject for e in events]
    except AttributeError:  # a tick is rare
        return [getattr(e, "subject", "") for e in events]
