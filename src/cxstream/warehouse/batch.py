"""What is taken into a warehouse at a time: records of several topics, decoded, and the positions after them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import orjson
import pyarrow as pa
from msgspec import UNSET

from cxstream.model.outputs import ChurnRiskSignal, FrictionSignal, Receipt, Score, read_signal
from cxstream.model.work import customer_of, read_work

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    from cxstream.scoring.codec.changes import Marker

_score = msgspec.json.Decoder(Score).decode
_receipt = msgspec.json.Decoder(Receipt).decode

_ROW = [("customer", pa.string()), ("partition", pa.int32()), ("offset", pa.int64()), ("time", pa.string())]
_SCORES = [
    (name, pa.float64())
    for name in ("probability", "effort", "effort_halfwidth", "satisfaction", "satisfaction_halfwidth")
]
CARDS = pa.schema(
    [
        *_ROW,
        ("record", pa.int64()),
        *_SCORES,
        ("level", pa.string()),
        ("announced", pa.string()),
        ("acute", pa.float64()),
        ("last_touch", pa.string()),
        *[(name, pa.int32()) for name in ("touches_1", "touches_7", "touches_30", "touches_90", "purchases")],
        ("last_purchase", pa.string()),
        ("spent", pa.float64()),
        ("model", pa.string()),
        ("features", pa.string()),
        *[(name, pa.float64()) for name in ("p_alive", "clv", "value_at_risk")],
    ]
)
TOMBSTONES = pa.schema([("customer", pa.string()), ("partition", pa.int32()), ("record", pa.int64())])
SIGNALS = pa.schema(
    [
        *_ROW,
        ("n", pa.int32()),
        ("id", pa.string()),
        ("change", pa.string()),
        ("level", pa.string()),
        ("previous", pa.string()),
        *_SCORES,
        ("reasons", pa.string()),
        ("leading_reason", pa.string()),
        ("suggested_action", pa.string()),
        ("model", pa.string()),
        ("value_at_risk", pa.float64()),
        ("experiment", pa.string()),
        ("arm", pa.string()),
        ("p_alive", pa.float64()),
        ("clv", pa.float64()),
    ]
)
FRICTION = pa.schema(
    [
        *_ROW,
        ("n", pa.int32()),
        ("id", pa.string()),
        ("effort_points", pa.float64()),
        ("channel", pa.string()),
        ("touchpoint", pa.string()),
        ("evidence", pa.string()),
        ("model", pa.string()),
    ]
)


CHANGES = pa.schema(
    [
        *[(name, pa.string()) for name in ("id", "source")],
        ("time", pa.timestamp("us")),
        *[(name, pa.string()) for name in ("name", "channel", "touchpoint", "product", "location")],
    ]
)
WORK = pa.schema(
    [
        ("customer", pa.string()),
        ("partition", pa.int32()),
        ("item", pa.string()),
        ("record", pa.int64()),
        # NULL ends the item.
        ("time", pa.timestamp("us")),
        *[(name, pa.string()) for name in ("id", "by", "assignee", "text")],
        ("until", pa.timestamp("us")),
    ]
)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the warehouse has UTC without a zone


class Erasure(NamedTuple):
    """A receipt of an erasure.

    Attributes:
        digest: of the customer.
        partition: of the request in cx.touchpoints.
        offset: of the request there.
        time: of the request, RFC 3339.
    """

    digest: bytes
    partition: int
    offset: int
    time: str


class Refusal(NamedTuple):
    """What rejected records are counted by.

    Attributes:
        day: of the record, UTC; None if it is not known.
        source: the system that sent it; None if it cannot be read.
        reason: why it was rejected.
    """

    day: date | None
    source: str | None
    reason: str


@dataclass(slots=True)
class Batch:
    """Records to take in.

    Attributes:
        scored: rows of cx.scored.
        cards: rows of CARDS.
        tombstones: rows of TOMBSTONES.
        signals: rows of SIGNALS.
        friction: rows of FRICTION.
        changes: rows of CHANGES.
        rejected: how many records were rejected.
        work: rows of WORK; later ones replace earlier ones of the same customer, partition and item.
        erasures: receipts.
        positions: the next offset, by topic and partition.
        clocks: how far partitions of cx.touchpoints are, if records of cx.scored say so; ms UTC.
    """

    scored: list[pa.Table] = field(default_factory=list)
    cards: list[dict[str, Any]] = field(default_factory=list)
    tombstones: list[dict[str, Any]] = field(default_factory=list)
    signals: list[dict[str, Any]] = field(default_factory=list)
    friction: list[dict[str, Any]] = field(default_factory=list)
    changes: list[dict[str, Any]] = field(default_factory=list)
    rejected: Counter[Refusal] = field(default_factory=Counter)
    work: list[dict[str, Any]] = field(default_factory=list)
    erasures: list[Erasure] = field(default_factory=list)
    positions: dict[tuple[str, int], int] = field(default_factory=dict)
    clocks: dict[int, int] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        small = (
            self.cards,
            self.tombstones,
            self.signals,
            self.friction,
            self.changes,
            self.rejected,
            self.work,
            self.erasures,
        )
        touchpoints: int = sum(table.num_rows for table in self.scored)
        return touchpoints + sum(map(len, small))

    def add_signals(self, values: Iterable[bytes]) -> None:
        """Take signals of cx.churn-risk or cx.friction.

        Raises:
            msgspec.MsgspecError: a value is no signal.
        """
        for value in values:
            signal = read_signal(value)
            if isinstance(signal, ChurnRiskSignal):
                self.signals.append(_risk(signal))
            elif isinstance(signal, FrictionSignal):
                self.friction.append(_friction(signal))
            # The signal of an erasure says no more than the customer's name.

    def add_changes(self, changes: Iterable[Marker]) -> None:
        """Take changes of the experience."""
        for time, event in changes:
            place = msgspec.structs.asdict(event.data)
            moment = _EPOCH + timedelta(milliseconds=time)
            self.changes.append({"id": event.id, "source": event.source, "time": moment, **place})

    def add_card(self, record: int, value: bytes) -> None:
        """Take a score card.

        Args:
            record: its offset in its partition of cx.scores, which has the number of that of its touchpoints.
            value: the card.

        Raises:
            msgspec.MsgspecError: it is no score card.
        """
        self.cards.append(_card(record, _score(value)))

    def add_tombstone(self, partition: int, record: int, customer: str) -> None:
        """Take the end of a customer's score card in a partition; `record` is as in `add_card`."""
        self.tombstones.append({"customer": customer, "partition": partition, "record": record})

    def add_work(self, partition: int, record: int, key: bytes, value: bytes | None) -> None:
        """Take a record of cx.work.

        Args:
            partition: of the record.
            record: its offset there.
            key: CUSTOMER/ITEM.
            value: None ends the item.

        Raises:
            msgspec.MsgspecError: the value is none of cx.work.
            ValueError: the key is none, or does not fit the value.
        """
        if not value:
            customer, item = customer_of(key)
            row = dict.fromkeys(WORK.names) | {"customer": customer}
        else:
            item, work = read_work(key, value)
            row = msgspec.structs.asdict(work.data) | {
                "customer": work.subject,
                "id": work.id,
                "time": _moment(work.time),
            }
            row["until"] = None if work.data.until is None else _moment(work.data.until)
        self.work.append({**row, "partition": partition, "record": record, "item": item})

    def add_receipt(self, value: bytes) -> None:
        """Take the receipt of an erasure.

        Raises:
            msgspec.MsgspecError: it is no receipt.
        """
        receipt = _receipt(value)
        cause = receipt.data.cause
        digest = bytes.fromhex(receipt.subject)
        self.erasures.append(Erasure(digest, cause.partition, cause.offset, receipt.data.requested_at))


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)


def _card(record: int, score: Score) -> dict[str, Any]:
    card, touches = score.data, score.data.touches
    # ORIGIN-OFFSET:CUSTOMER, where ORIGIN is TOPIC-PARTITION; no topic has a colon.
    _, partition, offset = score.id.partition(":")[0].rsplit("-", 2)
    return {
        "customer": score.subject,
        "partition": int(partition),
        "offset": int(offset),
        "time": score.time,
        "record": record,
        "probability": card.probability,
        "effort": card.effort,
        "effort_halfwidth": card.effort_halfwidth,
        "satisfaction": card.satisfaction,
        "satisfaction_halfwidth": card.satisfaction_halfwidth,
        "level": card.level,
        "announced": card.announced,
        "acute": card.acute,
        "last_touch": card.last_touch,
        "touches_1": touches.day,
        "touches_7": touches.week,
        "touches_30": touches.month,
        "touches_90": touches.quarter,
        "purchases": card.purchases,
        "last_purchase": card.last_purchase,
        "spent": card.spent,
        "model": card.model,
        "features": orjson.dumps(card.features).decode(),
        "p_alive": card.p_alive,
        "clv": card.clv,
        "value_at_risk": card.value_at_risk,
    }


def _place(signal: ChurnRiskSignal | FrictionSignal) -> dict[str, Any]:
    cause = signal.data.cause
    return {
        "customer": signal.subject,
        "partition": cause.partition,
        "offset": cause.offset,
        "time": signal.time,
        # ORIGIN-OFFSET-N
        "n": int(signal.id.rpartition("-")[2]),
        "id": signal.id,
    }


def _risk(signal: ChurnRiskSignal) -> dict[str, Any]:
    data = signal.data
    return _place(signal) | {
        "change": data.change,
        "level": data.level,
        "previous": data.previous,
        "probability": data.probability,
        "effort": data.effort,
        "effort_halfwidth": data.effort_halfwidth,
        "satisfaction": data.satisfaction,
        "satisfaction_halfwidth": data.satisfaction_halfwidth,
        "reasons": msgspec.json.encode(data.reasons).decode(),
        "leading_reason": data.reasons[0].feature if data.reasons else None,
        "suggested_action": data.suggested_action,
        "model": data.model,
        "value_at_risk": data.value_at_risk,
        "experiment": data.experiment or None,
        "arm": data.arm or None,
        "p_alive": None if data.p_alive is UNSET else data.p_alive,
        "clv": None if data.clv is UNSET else data.clv,
    }


def _friction(signal: FrictionSignal) -> dict[str, Any]:
    data = signal.data
    return _place(signal) | {
        "effort_points": data.effort_points,
        "channel": data.channel,
        "touchpoint": data.touchpoint,
        "evidence": data.evidence,
        "model": data.model,
    }
