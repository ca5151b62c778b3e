"""Rows of a read model for tests of views: made up, kept as plain Python, and put into a database as they are."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from cxstream.model.kinds import Kind
from cxstream.model.scored import COLUMNS, FLAGS
from cxstream.warehouse import aggregates
from cxstream.warehouse.store import migrations
from cxstream.warehouse.views import definition, query
from cxstream.warehouse.views.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Iterable

Row = dict[str, Any]

START = datetime(2026, 3, 2)  # noqa: DTZ001 - a Monday; the read model has UTC without a zone
DAYS = 21
_FLAGS = tuple(FLAGS)
_DATA = tuple(column.name for column in COLUMNS if column.data)
CHOICES: dict[str, tuple[str | None, ...]] = {
    "channel": ("web", "app", "call", "chat"),
    "touchpoint": ("checkout", "search, all", "o'clock", None),
    "stage": ("awareness", "purchase", None),
    "product": ("p-1", "p-2", None),
    "location": ("Kraków", None),
    "agent": ("a-1", "a-2", "a-3", None),
    "segment": ("gold", None),
    "campaign": ("autumn", None),
    "topic": ("invoice", "delivery", None),
    "source": ("shop", "crm"),
    "level_after": ("none", "elevated", "high", "critical"),
}
_KINDS = tuple(kind.label for kind in Kind if kind.label != "purchase_history")
_ARMS = ("treated", "holdout", "treated", None)
EXPERIMENTS, ACTIONS = ("one", "two"), ("call", "mail", None)
_SCORES = {"survey_ces": (1, 7), "survey_csat": (1, 5), "survey_nps": (0, 10)}


def touchpoint(**values: Any) -> Row:
    """A row with what every row has, and these values."""
    row: Row = {
        "customer_id": 1, "partition": 0, "offset": 0, "time": START, "kind": "page_view", "source": "shop", "id": "e",
        "channel": "web", "effort": 0.0, "mood": 0.0, "effort_after": 0.0, "satisfaction_after": 70.0,
        "probability_after": 0.1, "level_after": "none", "model": "m", "behind_ms": 0, **dict.fromkeys(_FLAGS, False),
    }  # fmt: skip
    row = {**dict.fromkeys(_DATA), **row, **values}
    row["day"] = row["time"].date()
    return row


def made_up(seed: int, count: int, customers: int) -> list[Row]:
    """Touchpoints of every kind, over three weeks; the same for the same seed."""
    chance = random.Random(seed)
    # What came later does not change the rest.
    more = random.Random(-seed - 1)
    rows = []
    for offset in range(count):
        kind = chance.choice(_KINDS)
        values: Row = {name: chance.choice(choices) for name, choices in CHOICES.items()}
        values |= {
            "customer_id": chance.randrange(customers) + 1, "partition": offset % 2, "offset": offset, "id": f"e-{offset}",
            "time": START + timedelta(minutes=chance.randrange(DAYS * 24 * 60)), "kind": kind,
            "session": chance.choice(("s-1", "s-2", None)), "case_id": chance.choice(("c-1", "c-2", None)),
            # Eighths add up exactly, in any order.
            "effort": chance.randrange(80) / 8, "mood": chance.randrange(-40, 40) / 8,
            "effort_after": chance.randrange(800) / 8, "satisfaction_after": chance.randrange(800) / 8,
            "probability_after": chance.random(), **{flag: chance.random() < 0.2 for flag in _FLAGS},
        }  # fmt: skip
        if kind in _SCORES:
            values["score"] = float(chance.randint(*_SCORES[kind]))
        if kind == "review":
            values["rating"] = chance.randint(2, 10) / 2
        if kind in {"contact", "queue"}:
            values |= {"wait_s": float(chance.randrange(600)), "handle_s": float(chance.randrange(900)),
                       "transfers": float(chance.randrange(3)), "abandoned": chance.random() < 0.2,
                       "resolved": chance.choice((True, False, None))}  # fmt: skip
        if kind in {"purchase", "return", "loyalty_redeemed"}:
            amount = chance.randrange(1, 4000) / 8
            values |= {"amount": amount, "currency": "EUR", "amount_base": chance.choice((amount, None))}
        if kind == "action_taken":
            values |= {"action": ACTIONS[offset % 3], "arm": _ARMS[offset // 3 % 4]}
        rows.append(touchpoint(**values, **_said(more, kind)))
    return rows


def _said(chance: random.Random, kind: str) -> Row:
    """What customers say and why, and what a campaign costs."""
    values: Row = {}
    if kind in {"social_post", "review", "survey_nps", "contact"}:
        values["sentiment"] = chance.choice((None, -1.0, -0.5, -0.0625, 0.0, 0.03125, 0.75))
    if kind == "social_post":
        values |= {"hashtags": chance.choice((None, [], ["#Late"], ["late", "Refund ", "#late"], ["refund", "", "o'clock"])),
                   **{name: chance.choice((None, 0.0, 3.0)) for name in ("likes", "shares", "comments")}}  # fmt: skip
    if kind in {"return", "complaint_opened", "unsubscribed", "churned"}:
        values["reason"] = chance.choice((None, "too small", "price"))
    if kind == "campaign_sent" and chance.random() < 0.3:
        values |= {"amount": 0.125, "currency": "EUR", "amount_base": 0.125}
    return values


def made_up_signals(seed: int, rows: list[Row], count: int) -> list[Row]:
    """Churn-risk signals: some caused by a touchpoint of the customer, some by another record."""
    chance = random.Random(seed)
    signals = []
    for number in range(count):
        cause = chance.choice(rows)
        own = chance.random() < 0.7
        customer_id = cause["customer_id"] if own else cause["customer_id"] % 3 + 1
        previous, level = chance.sample(CHOICES["level_after"], 2)
        signals.append(
            {
                "partition": cause["partition"], "offset": cause["offset"], "n": number, "id": f"s-{number}",
                "time": cause["time"], "customer_id": customer_id, "level": level, "previous": previous,
                "change": chance.choice(("raised", "worsened", "eased", "cleared")),
                "probability": chance.randrange(64) / 64, "effort": chance.randrange(800) / 8, "effort_halfwidth": 1.0,
                "satisfaction": chance.randrange(800) / 8, "satisfaction_halfwidth": 1.0, "reasons": "[]",
                "leading_reason": chance.choice(("effort", "silence", "surge", None)), "suggested_action": None, "model": "m",
                # Of some customers nothing is expected, and of some signals the value is not known.
                "value_at_risk": chance.choice((None, chance.randrange(800) / 8)) if customer_id % 4 else None,
                "experiment": (arm := _ARMS[number % 4]) and EXPERIMENTS[number // 4 % 2], "arm": arm,
            }
        )  # fmt: skip
    return signals


def made_up_changes(seed: int, count: int) -> list[Row]:
    """Changes of the experience, some of them limited to a place."""
    chance = random.Random(seed)
    places = ("channel", "touchpoint", "product", "location")
    return [
        {"id": f"r-{number}", "source": chance.choice(("/web", "/shops")), "name": f"release {number % 3}",
         "time": START + timedelta(hours=chance.randrange(DAYS * 24)),
         **{place: chance.choice(CHOICES[place]) if chance.random() < 0.3 else None for place in places}}
        for number in range(count)
    ]  # fmt: skip


_FACTS = (
    "partition", "effort", "effort_halfwidth", "satisfaction", "satisfaction_halfwidth", "probability", "acute",
    "touches_1", "touches_7", "touches_30", "touches_90", "purchases",
)  # fmt: skip


def made_up_cards(seed: int, customers: int) -> list[Row]:
    """The latest score card of each customer, and an earlier one that counts for nothing."""
    chance = random.Random(seed)
    cards = []
    for customer in range(1, customers + 1):
        known = chance.random() < 0.8
        money = {
            "p_alive": round(chance.random(), 6),
            "clv": round(chance.random() * 500, 4),
            "value_at_risk": round(chance.random() * 90, 4),
        }
        for is_latest in (False, True):
            time = START + timedelta(hours=chance.randrange(DAYS * 24))
            cards.append(
                {
                    **dict.fromkeys(_FACTS, 0), **(money if known else dict.fromkeys(money)),
                    "customer_id": customer, "offset": 2 * customer + is_latest, "record": 2 * customer + is_latest,
                    "latest": is_latest, "time": time, "last_touch": time, "level": "none", "model": "made-up", "features": "{}",
                    "announced": chance.choice(("none", "elevated", "high", "critical")),
                    "spent": round(chance.random() * 900, 2),
                }
            )  # fmt: skip
    return cards


def database(
    rows: Iterable[Row],
    signals: Iterable[Row] = (),
    rejected: Iterable[Row] = (),
    changes: Iterable[Row] = (),
    cards: Iterable[Row] = (),
) -> duckdb.DuckDBPyConnection:
    """A read model in memory with these touchpoints, signals, counts of rejected records, changes and score cards."""
    connection = duckdb.connect(config={"threads": 2})
    for _, sql in migrations():
        connection.execute(sql)
    fill(connection, rows)
    _insert(connection, "risk_signals", signals)
    _insert(connection, "rejected", rejected)
    _insert(connection, "changes", changes)
    _insert(connection, "score_cards", cards)
    return connection


def fill(connection: duckdb.DuckDBPyConnection, rows: Iterable[Row]) -> None:
    """Put touchpoints, and their customers c-1, c-2 and so on, into a read model."""
    _insert(connection, "touchpoints", rows)
    aggregates.add(connection, "touchpoints")
    connection.execute(
        "INSERT INTO customers SELECT DISTINCT customer_id, 'c-' || customer_id, ''::BLOB FROM touchpoints"
    )


def _insert(connection: duckdb.DuckDBPyConnection, name: str, rows: Iterable[Row]) -> None:
    schema = connection.sql(f"SELECT * FROM {name} LIMIT 0").to_arrow_table().schema
    # JSON is an extension type, which takes no text.
    plain = pa.schema(
        [(field.name, pa.string() if "json" in str(field.type) else field.type) for field in schema]
    )
    connection.register("made", pa.Table.from_pylist(list(rows), plain))
    connection.execute(f"INSERT INTO {name} SELECT * FROM made")
    connection.unregister("made")


def answers(connection: duckdb.DuckDBPyConnection, found: query.Query) -> list[Row]:
    """The rows that a query of a view finds."""
    cursor = query.run(connection, found)
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def answer(connection: duckdb.DuckDBPyConnection, name: str, **selection: Any) -> list[Row]:
    """The rows of a view."""
    return answers(connection, query.result(definition.view(name), Selection(**selection)))


def in_order(row: Row) -> tuple[Any, ...]:
    """The order of a customer's touchpoints."""
    return row["time"], row["partition"], row["offset"]
