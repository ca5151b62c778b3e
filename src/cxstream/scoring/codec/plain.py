"""Plain records of a batch to columns, in a kernel; the tables that it reads by are made of the types of the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
from msgspec import inspect

from cxstream.kernels import events as kernel
from cxstream.kernels.layout import EVENT
from cxstream.kernels.rows import read_rows
from cxstream.model.enumerations import CHANNELS, SWITCH_CHANNELS
from cxstream.model.fields import Data
from cxstream.model.kinds import Kind, type_of
from cxstream.scoring.codec.packed import AFTER, Packed
from cxstream.scoring.codec.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

_WORDS_BITS = 64
_MOST_TEXT = np.iinfo(np.int32).max
_CURRENCY = "^[A-Z]{3}$"
_EXTRA = frozenset(each.name for each in msgspec.structs.fields(Data)) - frozenset(kernel.ROLES)
MEMBERS = (*kernel.ROLES, *sorted(_EXTRA))
NUMBER = {name: i for i, name in enumerate(MEMBERS)}
"""Number of each member of `data`."""


class Fields(NamedTuple):
    """All texts and numbers of the plain records of a batch of n; what is said of the others means nothing.

    Attributes:
        text: bytes in which the records lie.
        own: int64[n, len(ENVELOPE), 2], where the texts of the envelope lie in it.
        numbers: float64[n, len(MEMBERS)], the numbers in `data`, 1 for true and 0 for false.
        spans: int64[n, len(MEMBERS), 2], where the texts in `data` lie.
        members: uint64[n], bits of the members that are there.
        whole: bool[n], the records whose texts all lie in `text` as they are: plain and without escapes.
    """

    text: bytes
    own: NDArray[np.int64]
    numbers: NDArray[np.float64]
    spans: NDArray[np.int64]
    members: NDArray[np.uint64]
    whole: NDArray[np.bool_]


class Plain(NamedTuple):
    """What the kernel read of a batch of n records.

    Attributes:
        known: bool[n], which records are plain. The others' columns mean nothing.
        columns: EVENT[n], without `slot` and `topic`.
        sources: uint64[n], hash of each source.
        text: bytes in which the records lie.
        spans: int64[n, SPANS], where subject and topic of each lie in it; 0 for the others.
        members: uint64[n], bits of the members of `data` that are there; what is said of the others means nothing.
        fields: all of their texts and numbers; None where nobody needs them.
    """

    known: NDArray[np.bool_]
    columns: NDArray[np.void]
    sources: NDArray[np.uint64]
    text: bytes
    spans: NDArray[np.int64]
    members: NDArray[np.uint64]
    fields: Fields | None


def _rule(declared: inspect.Type, words: dict[str, int]) -> tuple[Any, ...]:
    """The RULE of a member by its type; `words` are the numbers of the words that it may be, and take new ones."""
    optional = isinstance(declared, inspect.UnionType)
    if isinstance(declared, inspect.UnionType):
        [declared] = [each for each in declared.types if not isinstance(each, inspect.NoneType)]
    low, high, allowed, least, most, items, form, whole = 0.0, 0.0, 0, 0, _MOST_TEXT, 0, kernel.UNSURE, 0
    match declared:
        case inspect.StrType(min_length=least_, max_length=most_, pattern=None):
            form, least, most = kernel.TEXT, least_ or 0, most if most_ is None else most_
        case inspect.StrType(pattern=pattern) if pattern == _CURRENCY:
            form = kernel.LETTERS
        case inspect.FloatType(gt=None, lt=None, ge=ge, le=le, multiple_of=step) if step in (None, 1):
            form, whole = kernel.NUMBER, int(step is not None)
            low, high = -np.inf if ge is None else ge, np.inf if le is None else le
        case inspect.BoolType():
            form = kernel.BOOLEAN
        case inspect.LiteralType(values=values) if all(isinstance(each, str) for each in values):
            form = kernel.CHOICE
            for each in values:
                number = words.setdefault(str(each), len(words))
                allowed |= 1 << number
        case inspect.ListType(item_type=inspect.StrType(pattern=None) as item, min_length=None) if (
            item.min_length in (None, 0) and item.max_length is not None and declared.max_length is not None
        ):
            form, items, most = kernel.TEXTS, declared.max_length, item.max_length
    return low, high, allowed, least, most, items, form, int(not optional), whole


def _kinds(envelopes: Sequence[Any]) -> Iterator[tuple[int, type[Data]]]:
    """Numbers of the kinds that the kernel reads, and the types of their data."""
    for envelope in envelopes:
        # To look at all fields of each type takes milliseconds a kind, and most kinds share the type of their data.
        data = envelope.__annotations__["data"]
        named = set(data.__struct_fields__)
        fills = Kind(envelope.KIND).spec.fills if len(Kind) > envelope.KIND else None
        # Members and columns that the kernel does not know are for the general decoder.
        if named <= NUMBER.keys() and (fills or "") in kernel.FILLS:
            yield envelope.KIND, data


def contract(envelopes: Sequence[Any], labels: Sequence[str]) -> kernel.Contract:
    """The tables of events.

    Args:
        envelopes: types of the events of each kind.
        labels: names of the kinds, by their numbers.
    """
    kinds = dict(_kinds(envelopes))
    values: list[dict[str, int]] = [{} for _ in MEMBERS]
    values[NUMBER["channel"]] = {channel: i for i, channel in enumerate(CHANNELS)}
    rules = np.zeros((len(labels), len(MEMBERS)), kernel.RULE)
    fills = np.zeros(len(labels), np.uint8)
    known: dict[type[Data], NDArray[np.void]] = {}
    for number, data in kinds.items():
        if data not in known:
            for each in inspect.type_info(data).fields:  # type: ignore[attr-defined]  # of a struct
                m = NUMBER[each.name]
                rules[number, m] = _rule(each.type, values[m])
            known[data] = rules[number]
        rules[number] = known[data]
        if number < len(Kind):
            fills[number] = kernel.FILLS.index(Kind(number).spec.fills or "")
    # The last bit of the members says that a text has an escape.
    if any(len(each) > _WORDS_BITS for each in values) or len(MEMBERS) >= _WORDS_BITS:
        raise ValueError("more words than a set of bits has")
    required = np.array(
        [sum(1 << m for m in np.flatnonzero(of_kind["required"]).tolist()) for of_kind in rules], np.uint64
    )
    switches = sum(1 << values[NUMBER["channel"]][channel] for channel in SWITCH_CHANNELS)
    spaces = {
        kernel.NAMES: {name: i for i, name in enumerate(kernel.ENVELOPE)},
        kernel.MEMBERS: NUMBER,
        kernel.TYPES: {type_of(labels[number]): number for number in kinds},
        **{kernel.VALUES + m: words for m, words in enumerate(values)},
    }
    return kernel.Contract(*_table(spaces), rules, required, fills, np.array([switches], np.uint64))


def _table(
    spaces: dict[int, dict[str, int]],
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int16]]:
    """The words of each space with their numbers, and a table of them: open addressing, compared byte by byte."""
    flat = [
        (space, word.encode(), number) for space, words in spaces.items() for word, number in words.items()
    ]
    joined = np.frombuffer(b"".join(word for _, word, _ in flat) + AFTER, np.uint8).copy()
    table = np.full(1 << (4 * len(flat)).bit_length(), -1, np.int16)
    entries = np.zeros((len(flat), 4), np.int64)
    at = 0
    for i, (space, word, number) in enumerate(flat):
        entries[i] = space, at, at + len(word), number
        place = kernel.place_of(joined, at, at + len(word), space, len(table))
        while table[place] >= 0:
            place = (place + 1) % len(table)
        table[place] = i
        at += len(word)
    return joined, entries, table


def read_plain(known: kernel.Contract, raws: Sequence[bytes | None], *, fields: bool = False) -> Plain:
    """Read the plain records of a batch.

    Args:
        known: the contract.
        raws: n structured records, or rows; None for one that must not be read.
        fields: also tell all texts and numbers.
    """
    n = len(raws)
    columns, sources = np.zeros(n, EVENT), np.empty(n, np.uint64)
    spans, plain = np.zeros((n, kernel.SPANS), np.int64), np.empty(n, np.bool_)
    kept, members = n if fields else 1, len(MEMBERS)
    own, numbers = np.empty((kept, len(kernel.ENVELOPE), 2), np.int64), np.empty((kept, members))
    texts, there = np.empty((kept, members, 2), np.int64), np.zeros(n, np.uint64)
    nexts = np.zeros((kernel.places_of(len(known.rules), members), kernel.NEXT), np.int64)
    filled = columns, sources, spans, plain, own, numbers, texts, there, nexts
    if isinstance(raws, Rows):
        text = raws.text
        read_rows(known, raws.cells, raws.learned(known), *filled)
    else:
        packed = raws if isinstance(raws, Packed) else Packed.of(raws)
        text = packed.text
        kernel.read_events(known, packed.data, packed.begins, packed.ends, *filled)
    found = None
    if fields:
        found = Fields(text, own, numbers, texts, there, plain & (there & kernel.ESCAPED == 0))
    return Plain(plain, columns, sources, text, spans, there, found)
