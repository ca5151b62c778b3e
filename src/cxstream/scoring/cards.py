"""Score cards in JSON, many at a time.

The encoder of the types writes what cards say for all of them at once. What is around it is read off one card that the same
encoder has written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from cxstream.kernels import layout as k
from cxstream.model import outputs as o
from cxstream.model.enumerations import LEVELS
from cxstream.model.features import FEATURES
from cxstream.model.rfc3339 import rfc3339_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

_encode = msgspec.json.Encoder().encode

_SCORES_AT = [k.C_EFFORT, k.C_EFFORT_HW, k.C_SAT, k.C_SAT_HW, k.C_P]
_TOUCHES_AT = [k.C_T1, k.C_T7, k.C_T30, k.C_T90]
# In JSON, what the dictionary of a card is.
_Features: Any = msgspec.defstruct("_Features", FEATURES, gc=False)
# What stands between two cards; no text has it, since a quote in a text is escaped.
_FIRST = b'{"%b":' % msgspec.structs.fields(o.ScoreCard)[0].encode_name.encode()
_BETWEEN = b"}," + _FIRST


class Facts(NamedTuple):
    """What score cards say of n customers beside their scores.

    Attributes:
        levels: int64[n], index in LEVELS.
        announced: int64[n], the last notified level, likewise.
        touched: int64[n], last touch, ms UTC.
        clocks: int64[n], clock of the last evaluation, ms UTC.
        offsets: int64[n], of the record that caused it.
        purchases: days with a purchase.
        last_purchases: the last of them; None without one.
        spent: in the base currency.
        clvs: what the customers are worth; None where it is not known.
        labels: of the rules of the last evaluation.
    """

    levels: NDArray[Any]
    announced: NDArray[Any]
    touched: NDArray[np.int64]
    clocks: NDArray[np.int64]
    offsets: NDArray[Any]
    purchases: Sequence[int]
    last_purchases: Sequence[str | None]
    spent: Sequence[float]
    clvs: Sequence[float | None]
    labels: Sequence[str]


def _template() -> bytes:
    """A card with `%d:%b`, `%b`, `%b` and `%b` for the end of its id, subject, time and what follows the beginning of its data.

    The beginning of its id is `@id@`.
    """
    marks = {
        b'"@end@"': b'"@id@-%d:%b"',
        b'"@subject@"': b'"%b"',
        b'"@time@"': b'"%b"',
        b'"@data@"': _FIRST + b"%b}",
    }
    raws: list[Any] = [msgspec.Raw(mark) for mark in marks]
    card = _encode(o.Score(id=raws[0], subject=raws[1], time=raws[2], data=raws[3])).replace(b"%", b"%%")
    for mark, put in marks.items():
        card = card.replace(mark, put)
    return card


_CARD = _template()


def _each(texts: Sequence[str]) -> list[bytes]:
    """The JSON of each of some texts, without its quotes."""
    said = _encode(texts)
    if b'\\","' in said:
        # A text that ends in a quote and a comma looks like the end of one before it.
        return [_encode(text)[1:-1] for text in texts]
    return said[2:-2].split(b'","') if len(texts) else []


def cards(
    origin: str, subjects: Sequence[str], values: NDArray[np.float64], facts: Facts
) -> Iterator[tuple[str, bytes]]:
    """Customers and their score cards, in order.

    Args:
        origin: the beginning of the ids: topic and partition.
        subjects: n customers.
        values: float64[n, CARD_WIDTH].
        facts: what else the cards say.
    """
    if not len(subjects):
        return
    alive = [None if nan else p for p, nan in zip(*_with_nan(values[:, k.C_ALIVE]), strict=True)]
    risks = values[:, k.C_P].tolist()
    data = map(
        o.ScoreCard,
        *(values[:, at].tolist() for at in _SCORES_AT),
        map(LEVELS.__getitem__, facts.levels.tolist()),
        map(LEVELS.__getitem__, facts.announced.tolist()),
        values[:, k.C_ACUTE].tolist(),
        map(_Features, *values[:, k.C_X : k.C_X + len(FEATURES)].T.tolist()),
        rfc3339_all(facts.touched),
        map(o.Touches, *values[:, _TOUCHES_AT].astype(np.int64).T.tolist()),
        facts.purchases,
        facts.last_purchases,
        facts.spent,
        facts.labels,
        alive,
        facts.clvs,
        [None if clv is None else clv * p for clv, p in zip(facts.clvs, risks, strict=True)],
    )
    # Without the brackets of the list, the beginning of the first card and the end of the last.
    rest = _encode(list(data))[1 + len(_FIRST) : -2].split(_BETWEEN)
    card = _CARD.replace(b"@id@", _encode(origin)[1:-1].replace(b"%", b"%%"))
    whose, times = _each(subjects), _each(rfc3339_all(facts.clocks))
    each = zip(facts.offsets.tolist(), whose, whose, times, rest, strict=True)
    yield from zip(subjects, map(card.__mod__, each), strict=True)


def _with_nan(values: NDArray[np.float64]) -> tuple[list[float], list[bool]]:
    return values.tolist(), np.isnan(values).tolist()
