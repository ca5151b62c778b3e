"""Records of Kafka as rows of the sink's tables.

What PostgreSQL would refuse is found here, so that a record that no worker wrote cannot stop the sink: it is left out,
and a warning names it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import orjson
import pyarrow as pa
import structlog
from msgspec import Meta, Struct

from cxstream.files.scored import decode
from cxstream.model.outputs import Touches  # noqa: TC001  # msgspec evaluates the annotations
from cxstream.model.place_signals import PlaceSignal
from cxstream.model.scored import COLUMNS
from cxstream.scoring.state.erasures import digest
from cxstream.sink import rows
from cxstream.topology import INSIGHTS, SCORED, SCORES
from cxstream.warehouse import batch, feed

if TYPE_CHECKING:
    from collections.abc import Sequence

_SCORED = [column.name for column in COLUMNS]
# Row of a card: the digest of the customer, then these columns.
CARD = tuple(batch.CARDS.names)
PLACE = (
    *(
        "id",
        "time",
        "place",
        "change",
        "dimension",
        "channel",
        "name",
        "measure",
        "since",
        "visits",
        "bad",
        "share",
    ),
    *("usual", "customers", "reasons"),
)
_MOST_INT, _MOST_BIGINT = 2**31, 2**63

log = structlog.get_logger(__name__)

_Int = Annotated[int, Meta(ge=0, lt=_MOST_INT)]


class _Data(Struct, gc=False):
    """`data` of a score card, without what is not stored."""

    effort: float
    effort_halfwidth: float
    satisfaction: float
    satisfaction_halfwidth: float
    probability: float
    level: str
    announced: str
    acute: float
    features: dict[str, float]
    last_touch: datetime
    touches: Touches
    purchases: _Int = 0
    last_purchase: str | None = None
    spent: float = 0.0
    model: str = ""
    p_alive: float | None = None
    clv: float | None = None
    value_at_risk: float | None = None


class _Card(Struct, gc=False):
    id: str
    subject: str
    time: datetime
    data: _Data


_card = msgspec.json.Decoder(_Card).decode
_place = msgspec.json.Decoder(PlaceSignal).decode


@dataclass(slots=True)
class Rows:
    """What is taken in at a time.

    Attributes:
        scored: rows of cx.scored.
        cards: by customer and partition the last card, as a row of CARD after the digest.
        gone: ... or the digest and the offset of the record that ended it.
        signals: rows of risk_signals, as the warehouse has them.
        friction: rows of friction_signals.
        places: rows of PLACE.
        erasures: receipts.
        positions: the next offset, by topic and partition.
        taken: records of cx.scores.
    """

    scored: list[pa.Table] = field(default_factory=list)
    cards: dict[tuple[str, int], tuple[Any, ...]] = field(default_factory=dict)
    gone: dict[tuple[str, int], tuple[bytes, int]] = field(default_factory=dict)
    signals: list[dict[str, Any]] = field(default_factory=list)
    friction: list[dict[str, Any]] = field(default_factory=list)
    places: list[tuple[Any, ...]] = field(default_factory=list)
    erasures: list[batch.Erasure] = field(default_factory=list)
    positions: dict[tuple[str, int], int] = field(default_factory=dict)
    taken: int = 0

    @property
    def count(self) -> int:
        """How many rows there are."""
        return sum(self.by_table().values())

    def by_table(self) -> dict[str, int]:
        """How many rows there are, by what they are of."""
        return {
            "touchpoints": sum(each.num_rows for each in self.scored),
            "cards": self.taken,
            "signals": len(self.signals),
            "friction": len(self.friction),
            "place_alerts": len(self.places),
            "erasures": len(self.erasures),
        }

    def take(self, topic: str, partition: int, records: Sequence[Any]) -> None:
        """Decode records of a topic of the contract; what is not what the topic should have is left out."""
        for record in records:
            try:
                if topic == SCORES.contract:
                    self._take_card(partition, record)
                elif topic == INSIGHTS.contract:
                    self.places.append(_place_row(_place(record.value)))
                elif topic == SCORED.contract:
                    self._take_scored(record.value)
                else:
                    self._take_other(topic, partition, record)
            except (msgspec.MsgspecError, pa.ArrowException, ValueError, TypeError, KeyError) as error:
                log.warning(
                    "a record cannot be read and is left out",
                    topic=topic,
                    partition=partition,
                    offset=record.offset,
                    reason=type(error).__name__,
                )

    def _take_card(self, partition: int, record: Any) -> None:
        self.taken += 1
        if not record.value:
            customer = record.key.decode()
            place = customer, partition
            self.cards.pop(place, None)
            self.gone[place] = digest(customer), record.offset
            return
        card = _card(record.value)
        data, touches = card.data, card.data.touches
        # ORIGIN-OFFSET:CUSTOMER, where ORIGIN is TOPIC-PARTITION; no topic has a colon.
        _, origin, offset = card.id.partition(":")[0].rsplit("-", 2)
        if data.last_purchase is not None:
            datetime.fromisoformat(data.last_purchase)
        self.cards[card.subject, partition] = (
            digest(card.subject),
            rows.text(card.subject),
            _within(int(origin), _MOST_INT),
            _within(int(offset), _MOST_BIGINT),
            card.time,
            record.offset,
            data.probability,
            data.effort,
            data.effort_halfwidth,
            data.satisfaction,
            data.satisfaction_halfwidth,
            rows.text(data.level),
            rows.text(data.announced),
            data.acute,
            data.last_touch,
            _within(touches.day, _MOST_INT),
            _within(touches.week, _MOST_INT),
            _within(touches.month, _MOST_INT),
            _within(touches.quarter, _MOST_INT),
            data.purchases,
            data.last_purchase,
            data.spent,
            rows.text(data.model),
            rows.document(orjson.dumps(data.features).decode()),
            data.p_alive,
            data.clv,
            data.value_at_risk,
        )

    def _take_scored(self, value: bytes) -> None:
        # Columns that a later version adds are not known here.
        self.scored.append(decode(value).select(_SCORED))

    def _take_other(self, topic: str, partition: int, record: Any) -> None:
        # One at a time: a record that cannot be used leaves nothing.
        one = batch.Batch()
        feed.take(one, topic, partition, [record])
        for row in (*one.signals, *one.friction):
            _within(row["partition"], _MOST_INT)
            _within(row["offset"], _MOST_BIGINT)
            _within(row["n"], _MOST_INT)
            row["time"] = datetime.fromisoformat(row["time"])
        for each in one.erasures:
            _within(each.partition, _MOST_INT)
            _within(each.offset, _MOST_BIGINT)
            datetime.fromisoformat(each.time)
        self.signals += one.signals
        self.friction += one.friction
        self.erasures += one.erasures


def _place_row(signal: PlaceSignal) -> tuple[Any, ...]:
    data = signal.data
    counts = (data.visits, data.bad, *(() if data.customers is None else (data.customers,)))
    for number in counts:
        _within(number, _MOST_BIGINT)
    return (
        rows.text(signal.id),
        datetime.fromisoformat(signal.time),
        rows.text(signal.subject),
        data.change,
        data.dimension,
        None if data.channel is None else rows.text(data.channel),
        None if data.name is None else rows.text(data.name),
        data.measure,
        datetime.fromisoformat(data.since),
        data.visits,
        data.bad,
        data.share,
        data.usual,
        data.customers,
        rows.document(msgspec.json.encode(data.reasons).decode()),
    )


def _within(number: int, most: int) -> int:
    """The number.

    Raises:
        ValueError: PostgreSQL's type does not have it.
    """
    if not 0 <= number < most:
        raise ValueError(number)
    return number
