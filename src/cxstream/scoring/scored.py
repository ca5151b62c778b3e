"""Accepted touchpoints with what they counted for: the rows of cx.scored, before they become Arrow columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cxstream.kernels.layout import ACCEPTED
from cxstream.kernels.purchases import MAX_MONEY
from cxstream.scoring.codec.events import joined
from cxstream.scoring.codec.plain import NUMBER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from cxstream.scoring.codec.decode import Decoded
    from cxstream.scoring.codec.events import Events
    from cxstream.scoring.codec.plain import Fields
    from cxstream.scoring.state.partition import Applied

_NO_AMOUNT = float("nan")
_CURRENCY = np.uint64(1 << NUMBER["currency"])


class Codes(NamedTuple):
    """Words that repeat, as numbers.

    Attributes:
        numbers: int32[n].
        words: the word of each number.
    """

    numbers: NDArray[np.int32]
    words: tuple[str, ...]

    def strings(self) -> list[str]:
        """The words."""
        return [self.words[number] for number in self.numbers.tolist()]

    def in_order(self) -> Codes:
        """The same with numbers in the order in which the words appear, and no other words."""
        found, firsts, places = np.unique(self.numbers, return_index=True, return_inverse=True)
        order = np.argsort(firsts)
        ranks = np.empty(len(order), np.int32)
        ranks[order] = np.arange(len(order))
        return Codes(ranks[places], tuple(self.words[number] for number in found[order].tolist()))

    @classmethod
    def joined(cls, parts: Sequence[Codes]) -> Codes:
        """The words of several, one after the other."""
        known: dict[str, int] = {}
        numbers = []
        for part in parts:
            new = np.array([known.setdefault(word, len(known)) for word in part.words], np.int32)
            numbers.append(new[part.numbers])
        return cls(np.concatenate(numbers), tuple(known))


@dataclass(slots=True, eq=False)
class Scored:
    """Accepted touchpoints of a batch, in the order in which they were scored.

    Attributes:
        positions: int64[n], of the records in the batch.
        partitions: int32[n], of cx.touchpoints.
        offsets: int64[n], there; in files, ordinals in the partition.
        times: int64[n], event times, ms UTC.
        kinds: names of the kinds.
        events: the events; `subject` is the pseudonym where there are pseudonyms.
        verdicts: SCORED[n], what they counted for.
        models: the rules that scored them: their name and a digest.
        amounts: float64[n], `amount` in the base currency; NaN without an amount or a rate.
    """

    positions: NDArray[np.int64]
    partitions: NDArray[np.int32]
    offsets: NDArray[np.int64]
    times: NDArray[np.int64]
    kinds: Codes
    events: Events
    verdicts: NDArray[np.void]
    models: Codes
    amounts: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.events)

    def taken(self, order: Sequence[int]) -> Scored:
        """The rows at some places."""
        return Scored(
            self.positions[order],
            self.partitions[order],
            self.offsets[order],
            self.times[order],
            self.kinds._replace(numbers=self.kinds.numbers[order]),
            self.events.taken(order),
            self.verdicts.take(order),
            self.models._replace(numbers=self.models.numbers[order]),
            self.amounts[order],
        )


def scored(
    decoded: Decoded,
    applied: Applied,
    offsets: NDArray[np.int64],
    *,
    partition: int,
    labels: Sequence[str],
    model: str,
    rates: Mapping[str, float],
) -> Scored | None:
    """The rows of a batch that was applied; None where the kernel did not tell what its records counted for.

    Args:
        decoded: g valid records of a batch.
        applied: their results.
        offsets: int64[batch].
        partition: number of the partition.
        labels: names of the kinds, by their numbers.
        model: the rules in force.
        rates: units of the base currency for one unit of each currency that has a rate.
    """
    if not len(applied.scored):
        return None
    which = np.flatnonzero(applied.status == ACCEPTED)
    positions = decoded.valid[which]
    events = decoded.events.taken(which)
    return Scored(
        positions,
        np.full(len(which), partition, np.int32),
        offsets[positions],
        decoded.columns["time"][which],
        Codes(decoded.columns["kind"][which].astype(np.int32), tuple(labels)),
        events,
        # By an index NumPy copies rows of several fields field by field, which takes thirty times as long.
        applied.scored.take(which),
        Codes(np.zeros(len(which), np.int32), (model,)),
        _converted(events, rates),
    )


def _converted(events: Events, rates: Mapping[str, float]) -> NDArray[np.float64]:
    """The amount of each event in the base currency."""
    found = np.full(len(events), _NO_AMOUNT)
    places = events.having("amount")
    if events.fields is not None:
        whole = events.fields.whole[events.rows[places]]
        _convert_columns(events.fields, events.rows, places[whole], rates, found)
        places = places[~whole]
    for i in places.tolist():
        data = events[i].data
        if data.amount is not None and (rate := rates.get(data.currency)) is not None:
            found[i] = min(data.amount * rate, MAX_MONEY)
    return found


def _convert_columns(
    fields: Fields,
    rows: NDArray[np.int64],
    places: NDArray[np.int64],
    rates: Mapping[str, float],
    found: NDArray[np.float64],
) -> None:
    """Fill in the amounts at some places, whose records are whole: a currency of theirs is three capital letters."""
    places = places[fields.members[rows[places]] & _CURRENCY != 0]
    begins = fields.spans[rows[places], NUMBER["currency"], 0]
    text = np.frombuffer(fields.text, np.uint8)
    first, second, third = (text[begins + i].astype(np.int32) for i in range(3))
    codes = (first << 16) | (second << 8) | third
    amounts = fields.numbers[rows[places], NUMBER["amount"]]
    for code in np.unique(codes).tolist():
        if (rate := rates.get(code.to_bytes(3).decode())) is not None:
            of_code = codes == code
            with np.errstate(over="ignore"):
                found[places[of_code]] = np.minimum(amounts[of_code] * rate, MAX_MONEY)


def together(parts: Sequence[tuple[int, Scored | None]]) -> Scored | None:
    """The rows of several pieces of a batch, one after the other; None where no piece has any.

    Args:
        parts: the position in the batch at which each piece begins, and its rows.
    """
    found = [(begin, part) for begin, part in parts if part is not None]
    if not found:
        return None
    some = [part for _, part in found]
    return Scored(
        np.concatenate([part.positions + begin for begin, part in found]),
        np.concatenate([part.partitions for part in some]),
        np.concatenate([part.offsets for part in some]),
        np.concatenate([part.times for part in some]),
        Codes.joined([part.kinds for part in some]),
        joined(part.events for part in some),
        np.concatenate([part.verdicts for part in some]),
        Codes.joined([part.models for part in some]),
        np.concatenate([part.amounts for part in some]),
    )


def in_order(rows: Scored | None) -> Scored | None:
    """Rows of several partitions in the order of the batch."""
    return None if rows is None else rows.taken(np.argsort(rows.positions, kind="stable").tolist())
