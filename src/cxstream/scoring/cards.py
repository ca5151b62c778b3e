"""Score cards in JSON, many at a time, by a kernel."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from cxstream.kernels import layout as k
from cxstream.kernels.shares import merge, put_lines
from cxstream.model import outputs as o
from cxstream.model.enumerations import LEVELS
from cxstream.model.features import FEATURES
from cxstream.scoring.codec.packed import AFTER, Packed
from cxstream.scoring.documents import (
    DAY,
    NUMBER,
    STRING,
    TIME,
    WHOLE,
    WORD,
    documents,
    form_of,
    mark,
    quoted,
    texts,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from cxstream.kernels.documents import Form

_encode = msgspec.json.Encoder().encode

_TOUCHES_AT = [k.C_T1, k.C_T7, k.C_T30, k.C_T90]
# Numbers behind those of the kernel, and the whole numbers of a card.
_SPENT, _CLV, _AT_RISK, _NUMBERS = range(k.CARD_WIDTH, k.CARD_WIDTH + 4)
(_WHO, _ORIGIN, _OFFSET, _CLOCK, _LEVEL, _ANNOUNCED, _TOUCHED, _PURCHASES, _LAST, _LABEL, _TOUCHES) = range(
    11
)
_LEVELS = [_encode(level) for level in LEVELS]


class Facts(NamedTuple):
    """What score cards say of n customers beside their scores.

    Attributes:
        levels: int64[n], index in LEVELS.
        announced: int64[n], the last notified level, likewise.
        touched: int64[n], last touch, ms UTC.
        clocks: int64[n], clock of the last evaluation, ms UTC.
        offsets: int64[n], of the record that caused it.
        purchases: int64[n], days with a purchase.
        last_purchases: int64[n], the last of them; NO_DAY without one.
        spent: float64[n], in the base currency.
        clvs: float64[n], what the customers are worth; NaN where it is not known.
        labels: of rules.
        judged: int64[n], which of these made the last evaluation.
    """

    levels: NDArray[np.integer]
    announced: NDArray[np.integer]
    touched: NDArray[np.int64]
    clocks: NDArray[np.int64]
    offsets: NDArray[np.int64]
    purchases: NDArray[np.int64]
    last_purchases: NDArray[np.int64]
    spent: NDArray[np.float64]
    clvs: NDArray[np.float64]
    labels: Sequence[str]
    judged: NDArray[np.int64]


def _card() -> Form:
    def number(column: int) -> Any:
        return mark(NUMBER, column)

    who = mark(STRING, _WHO)
    card = o.ScoreCard(
        effort=number(k.C_EFFORT),
        effort_halfwidth=number(k.C_EFFORT_HW),
        satisfaction=number(k.C_SAT),
        satisfaction_halfwidth=number(k.C_SAT_HW),
        probability=number(k.C_P),
        level=mark(WORD, _LEVEL),
        announced=mark(WORD, _ANNOUNCED),
        acute=number(k.C_ACUTE),
        features={name: number(k.C_X + j) for j, name in enumerate(FEATURES)},
        last_touch=quoted(mark(TIME, _TOUCHED)),
        touches=o.Touches(*(mark(WHOLE, _TOUCHES + j) for j in range(len(_TOUCHES_AT)))),
        purchases=mark(WHOLE, _PURCHASES),
        last_purchase=mark(DAY, _LAST),
        spent=number(_SPENT),
        model=mark(WORD, _LABEL),
        p_alive=number(k.C_ALIVE),
        clv=number(_CLV),
        value_at_risk=number(_AT_RISK),
    )
    whole = quoted(mark(WORD, _ORIGIN), "-", mark(WHOLE, _OFFSET), ":", who)
    return form_of(o.Score(id=whole, subject=quoted(who), time=quoted(mark(TIME, _CLOCK)), data=card))


_CARD = _card()


def cards(origin: str, subjects: Packed, values: NDArray[np.float64], facts: Facts) -> Packed:
    """The score cards of customers, in order, with a line feed behind each.

    Args:
        origin: the beginning of the ids: topic and partition.
        subjects: n customers.
        values: float64[n, CARD_WIDTH].
        facts: what else the cards say.
    """
    n = len(subjects)
    numbers = np.empty((n, _NUMBERS))
    numbers[:, : k.CARD_WIDTH] = values
    numbers[:, _SPENT], numbers[:, _CLV] = facts.spent, facts.clvs
    numbers[:, _AT_RISK] = facts.clvs * values[:, k.C_P]
    wholes = np.empty((n, _TOUCHES + len(_TOUCHES_AT)), np.int64)
    wholes[:, _WHO], wholes[:, _ORIGIN] = np.arange(n), len(_LEVELS)
    wholes[:, _OFFSET], wholes[:, _CLOCK] = facts.offsets, facts.clocks
    wholes[:, _LEVEL], wholes[:, _ANNOUNCED] = facts.levels, facts.announced
    wholes[:, _TOUCHED], wholes[:, _PURCHASES] = facts.touched, facts.purchases
    wholes[:, _LAST], wholes[:, _LABEL] = facts.last_purchases, len(_LEVELS) + 1 + facts.judged
    wholes[:, _TOUCHES:] = values[:, _TOUCHES_AT]
    words = texts([*_LEVELS, _encode(origin)[1:-1], *map(_encode, facts.labels)])
    return documents(_CARD, numbers, wholes, words, texts(subjects))


class _Stream:
    """Cards in the order of their customers, some at a time."""

    def __init__(self, blocks: Iterator[tuple[Packed, Packed]]) -> None:
        self._blocks, self._at = blocks, 0
        self.names = self._cards = Packed.of([])

    def fill(self) -> bool:
        """Get the next cards if there are none left; whether there are any."""
        while self._at == len(self.names) and (block := next(self._blocks, None)) is not None:
            (self.names, self._cards), self._at = block, 0
        return self._at < len(self.names)

    def taken(self, last: bytes) -> tuple[Packed, Packed]:
        """The customers up to one, and their cards."""
        begin, self._at = self._at, bisect_right(self.names, last, self._at)
        return self.names[begin : self._at], self._cards[begin : self._at]


def _in_order(some: Sequence[Packed]) -> tuple[Packed, NDArray[np.int64]]:
    """Sorted texts from several places, one place after the other, and their order."""
    places = np.cumsum([0, *(len(each.text) for each in some[:-1])]).tolist()
    whole = Packed(
        b"".join(each.text for each in some),
        np.concatenate([each.begins + place for each, place in zip(some, places, strict=True)]),
        np.concatenate([each.ends + place for each, place in zip(some, places, strict=True)]),
    )
    counts = np.array([len(each) for each in some if len(each)])
    stops, order, lasts = np.cumsum(counts), np.empty(len(whole), np.int64), np.zeros(len(whole), np.bool_)
    lasts[stops - 1] = True
    merge(whole.data, whole.begins, whole.ends, stops - counts, lasts, np.empty(len(counts), np.int64), order)
    return whole, order


def merged(streams: Sequence[Iterator[tuple[Packed, Packed]]]) -> Iterator[tuple[Packed, Packed]]:
    """Put score cards from several places into one order.

    Args:
        streams: customers and their cards, in the order of the customers' names in UTF-8, some at a time; behind each card is a
            line feed.
    """
    if len(streams) == 1:
        yield from streams[0]
        return
    waiting = [_Stream(blocks) for blocks in streams]
    while waiting := [stream for stream in waiting if stream.fill()]:
        last = min(stream.names[-1] for stream in waiting)
        taken = [stream.taken(last) for stream in waiting]
        names, order = _in_order([some for some, _ in taken])
        sizes = np.concatenate([some.lengths for _, some in taken]) + 1
        ends = np.cumsum(sizes[order])
        begins = np.empty_like(ends)
        begins[order] = ends - sizes[order]
        text, at = bytearray(int(ends[-1]) + len(AFTER)), 0
        out = np.frombuffer(text, np.uint8)
        for _, some in taken:
            data = some.data
            # One machine code for all, wherever they lie.
            data.flags.writeable = False
            put_lines(data, some.begins, some.ends, begins[at : at + len(some)], out)
            at += len(some)
        # Nobody changes it any more; to copy it takes as long as to write it.
        whole: Any = text
        yield names.taken(order), Packed(whole, ends - sizes[order], ends - 1)
