"""What the customers of the simulation do: histories made beforehand and shared by many seeds."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka.partitioner import murmur2

from cxstream.model.kinds import FORGET_TYPE, RULES_TYPE, TICK_TYPE
from cxstream.model.parameters import DAY_MS, HOUR_MS, MINUTE_MS
from cxstream.scoring.codec.signatures import Authority
from default_1 import DEFAULT_1
from simulation.broker import APPENDED_MS, Row
from strategies import PARAMS, random_history, rfc3339

if TYPE_CHECKING:
    from cxstream.model.parameters import ScoringParams

# Half of the scenarios have this key, and then only what is signed with it moves a clock or erases a customer.
KEY = b"of the simulation: 32 bytes, or more"
POOL = 48
LENGTH = 160
FUTURE_MS = 5 * MINUTE_MS
# What a record says by which its processing fails, in every third history.
POISON = "poison"
# So many records of a history go with one request to be erased.
_RECORDS_PER_REQUEST = 8
# When somebody asks to be erased, as seen from something that he has just done: what he does next may be earlier.
_ASKS_AFTER = (-DAY_MS, -HOUR_MS, 0, 0, 1, HOUR_MS, DAY_MS, 3 * DAY_MS)
_POISONED = 0.02
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Asked(NamedTuple):
    """A record of cx.forget.

    Attributes:
        after: how many records of the history are written before it.
        row: the record.
        refused: why it is no request, and which field says so; empty where it is one.
    """

    after: int
    row: Row
    refused: tuple[str, str] | tuple[()]


def params() -> list[ScoringParams]:
    """Parameters that make few records say much; all allow for clocks that are wrong by FUTURE_MS.

    Not the default: each seed keeps what happens in it, whatever the default is.
    """
    return [
        each.model_copy(update={"future_minutes": FUTURE_MS / MINUTE_MS})
        for each in {**PARAMS, "default": DEFAULT_1}.values()
    ]


@lru_cache(maxsize=POOL)
def history(number: int) -> list[Row]:
    """The records of a history: mostly touchpoints, some that must be rejected, each for its own reason.

    In every fourth, the rules change now and then.
    """
    chance = random.Random(number)
    signing = random.Random(f"{number} signing")
    rows = []
    for event, limit in random_history(number, LENGTH, rules=number % 4 == 1):
        if number % 3 == 0 and "data" in event and chance.random() < _POISONED:
            event["data"]["touchpoint"] = POISON
        value = json.dumps(_signed(signing, event)).encode()
        key = event.get("subject", "").encode() or None
        timestamp = APPENDED_MS if limit is None else limit - FUTURE_MS
        headers = (("trace", b"\x01"),) if chance.random() < 0.1 else ()
        rows.append(_spoilt(chance, Row(key, value, headers, timestamp)))
    return rows


def _signed(chance: random.Random, event: dict[str, Any]) -> dict[str, Any]:
    """A control record with its signature, mostly: a few have none, or one of somebody else's key."""
    if event["type"] not in {TICK_TYPE, FORGET_TYPE, RULES_TYPE} or (drawn := chance.random()) < 0.15:
        return event
    return Authority([KEY if drawn < 0.9 else KEY[::-1]]).sign(event)


def home(key: bytes, count: int) -> int:
    """The partition of a customer among `count`, as Kafka's default partitioner has it."""
    return int(murmur2(key) & 0x7FFFFFFF) % count


@lru_cache(maxsize=POOL * 6)
def requests(number: int, partition: int, count: int) -> list[Asked]:
    """Who of a history asks to be erased, if its partition among `count` is that of the customer."""
    chance = random.Random(f"{number} {partition} {count}")
    told = [
        (index, json.loads(row.value or b"")) for index, row in enumerate(history(number)) if _usable(row)
    ]
    asked = []
    for after in sorted(chance.randrange(1, LENGTH) for _ in range(LENGTH // _RECORDS_PER_REQUEST)):
        recent = [event for index, event in told if after - 8 <= index < after + 4]
        event = chance.choice(recent or [event for _, event in told])
        if home(event["subject"].encode(), count) == partition:
            name = f"request-{number}-{partition}-{len(asked)}"
            asked.append(_asked(chance, after, event, name))
    return asked


def _usable(row: Row) -> bool:
    try:
        subject = json.loads(row.value or b"").get("subject", "")
    except ValueError:
        return False
    return bool(subject) and row.key == subject.encode()


def _asked(chance: random.Random, after: int, event: dict[str, str], name: str) -> Asked:
    time = (datetime.fromisoformat(event["time"]) - _EPOCH) // timedelta(milliseconds=1)
    time += chance.choice(_ASKS_AFTER)
    key = event["subject"].encode()
    request = {"specversion": "1.0", "id": name, "source": "//shop", "type": FORGET_TYPE}
    value = json.dumps(request | {"subject": event["subject"], "time": rfc3339(time)}).encode()
    row = Row(key, value, (), chance.choice((APPENDED_MS, time, time - FUTURE_MS)))
    if chance.random() < 0.3:
        return Asked(after, Row(key, chance.choice((None, b"")), (), max(0, time)), ())
    if chance.random() < 0.75:
        return Asked(after, row, ())
    spoilt: tuple[tuple[Row, tuple[str, str]], ...] = (
        (row._replace(value=value[:-5], headers=(("trace", b"\x00"),)), ("malformed", "")),
        (row._replace(value=json.dumps(event | {"type": TICK_TYPE}).encode()), ("invalid", "type")),
        (row._replace(key=b"somebody else"), ("invalid", "key")),
        (row._replace(key=None), ("invalid", "key")),
        (row._replace(key=b"\xff"), ("invalid", "key")),
        (row._replace(key=b"y" * 129, value=None), ("invalid", "key")),
        (row._replace(timestamp=time - FUTURE_MS - 1), ("from_the_future", "time")),
    )
    return Asked(after, *chance.choice(spoilt))


def _spoilt(chance: random.Random, row: Row) -> Row:
    if chance.random() > 0.04:
        return row
    assert row.value is not None
    return chance.choice(
        (
            row._replace(value=row.value[:-7], headers=(("trace", b"\x00"),)),
            row._replace(value=None),
            row._replace(value=b"{}"),
            row._replace(key=b"somebody else"),
        )
    )
