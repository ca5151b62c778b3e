"""Score cards in JSON, many at a time.

What a card looks like is read off one that the encoder of its type has written: the places of its values are then filled
in with their texts, which the same encoder writes for all cards at once.
"""

from __future__ import annotations

from operator import itemgetter
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

_SCORES = ("effort", "effort_halfwidth", "satisfaction", "satisfaction_halfwidth", "probability", "acute")
_SCORES_AT = [k.C_EFFORT, k.C_EFFORT_HW, k.C_SAT, k.C_SAT_HW, k.C_P, k.C_ACUTE]
_TOUCHES_AT = [k.C_T1, k.C_T7, k.C_T30, k.C_T90]
_WORTH = ("spent", "p_alive", "clv", "value_at_risk")
_TEXTS = (
    *("id", "subject", "time", "level", "announced"),
    *("last_touch", "last_purchase", "model"),
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


def _template() -> tuple[bytes, Any]:
    """A card with `%b` for each value, and what takes the values out of numbers and texts in the order of the card."""
    count = len(_SCORES) + len(FEATURES) + len(_TOUCHES_AT) + 1 + len(_WORTH)
    # No number is in another one, and none in the rest of a card.
    numbers = [7_000_001.5 + i for i in range(count)]
    whole = range(len(_SCORES) + len(FEATURES), count - len(_WORTH))
    marks: list[Any] = [int(each) if i in whole else each for i, each in enumerate(numbers)]
    texts = {name: f"@{name}@" for name in _TEXTS}
    scores, rest = marks[: len(_SCORES)], marks[len(_SCORES) :]
    features, rest = dict(zip(FEATURES, rest, strict=False)), rest[len(FEATURES) :]
    touches, (purchases, *worth) = o.Touches(*rest[: len(_TOUCHES_AT)]), rest[len(_TOUCHES_AT) :]
    said = {name: texts[name] for name in ("level", "announced", "last_touch", "last_purchase", "model")}
    data: dict[str, Any] = {
        **dict(zip(_SCORES, scores, strict=True)),
        **said,
        "features": features,
        "touches": touches,
        "purchases": purchases,
        **dict(zip(_WORTH, worth, strict=True)),
    }
    card = _encode(
        o.Score(id=texts["id"], subject=texts["subject"], time=texts["time"], data=o.ScoreCard(**data))
    )
    found = [(card.index(mark), i, mark) for i, mark in enumerate(map(_encode, [*marks, *texts.values()]))]
    found.sort()
    card = card.replace(b"%", b"%%")
    for _, _, mark in found:
        card = card.replace(mark, b"%b")
    return card, itemgetter(*(i for _, i, _ in found))


_CARD, _in_order = _template()


def _each(values: Sequence[Any]) -> list[bytes]:
    """The JSON of each of some numbers, times or nulls."""
    return _encode(values)[1:-1].split(b",") if len(values) else []


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
    at_risk = [None if clv is None else clv * p for clv, p in zip(facts.clvs, risks, strict=True)]
    columns = [
        *(values[:, at].tolist() for at in _SCORES_AT),
        *values[:, k.C_X : k.C_X + len(FEATURES)].T.tolist(),
        *values[:, _TOUCHES_AT].astype(np.int64).T.tolist(),
        facts.purchases,
        facts.spent,
        alive,
        facts.clvs,
        at_risk,
    ]
    numbers = _encode(list(zip(*columns, strict=True)))[2:-2].split(b"],[")
    begin = _encode(f"{origin}-")[:-1]
    labels = {label: _encode(label) for label in set(facts.labels)}
    for subject, row, offset, clock, level, announced, touched, bought, label in zip(
        subjects,
        numbers,
        facts.offsets.tolist(),
        _each(rfc3339_all(facts.clocks)),
        facts.levels.tolist(),
        facts.announced.tolist(),
        _each(rfc3339_all(facts.touched)),
        _each(facts.last_purchases),
        facts.labels,
        strict=True,
    ):
        whose = _encode(subject)
        texts = (
            b"%b%d:%b" % (begin, offset, whose[1:]),
            whose,
            clock,
            _LEVELS[level],
            _LEVELS[announced],
            touched,
            bought,
            labels[label],
        )
        yield subject, _CARD % _in_order([*row.split(b","), *texts])


def _with_nan(values: NDArray[np.float64]) -> tuple[list[float], list[bool]]:
    return values.tolist(), np.isnan(values).tolist()
