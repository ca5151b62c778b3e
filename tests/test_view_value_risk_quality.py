"""The views `value`, `risk` and `quality` against loops over the rows."""

from __future__ import annotations

import random
import statistics
from collections import Counter, defaultdict
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from cxstream.console.queries import own
from cxstream.warehouse.views import definition, query
from cxstream.warehouse.views.selection import Filter, Selection
from cxstream.warehouse.views.statistics import wilson
from view_rows import (
    DAYS,
    START,
    answer,
    answers,
    database,
    made_up,
    made_up_cards,
    made_up_signals,
    touchpoint,
)

if TYPE_CHECKING:
    import duckdb

    from view_rows import Row

ROWS = made_up(7, 2500, 50)
for number, row in enumerate(ROWS):
    row["arrived"] = row["time"] + timedelta(seconds=number % 17) if number % 3 else None
SIGNALS = made_up_signals(7, ROWS, 600)
REJECTED = [
    {"day": (START + timedelta(days=day)).date() if day >= 0 else None, "source": source, "reason": reason, "records": count}
    for day, source, reason, count in [
        (0, "shop", "invalid", 4), (0, "shop", "invalid", 3), (1, "shop", "too_late", 9), (8, "crm", "invalid", 2),
        (9, None, "malformed", 5), (9, "crm", "too_late", 2), (10, "old", "invalid", 1), (11, "shop", "too_late", -9),
        (-1, "crm", "malformed", 7), (2, "shop", "misrouted", 3), (2, "shop", "misrouted", -1), (9, "crm", "misrouted", 6),
    ]
]  # fmt: skip
CARDS = made_up_cards(7, 50)
COMMERCE = {"purchase", "return", "discount_used", "loyalty_joined", "loyalty_redeemed", "referral"}


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    return database(ROWS, SIGNALS, REJECTED, cards=CARDS)


def same(found: Row, expected: Row) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name] == (pytest.approx(value, rel=1e-9) if isinstance(value, float) else value), name


# --- value


def worth(rows: list[Row]) -> Row:
    kinds = Counter(row["kind"] for row in rows)
    paid = [
        row["amount_base"] for row in rows if row["kind"] == "purchase" and row["amount_base"] is not None
    ]
    back = [row["amount_base"] for row in rows if row["kind"] == "return" and row["amount_base"] is not None]
    buyers = {row["customer_id"] for row in rows if row["kind"] == "purchase"}
    return {
        "customers": len({row["customer_id"] for row in rows}),
        "buyers": len(buyers),
        "purchases": kinds["purchase"],
        "returns": kinds["return"],
        "revenue": float(sum(paid)),
        "returned": float(sum(back)),
        "net": float(sum(paid) - sum(back)),
        "per_purchase": sum(paid) / len(paid) if paid else None,
        "per_buyer": sum(paid) / len(buyers) if buyers else None,
        "return_share": kinds["return"] / kinds["purchase"] if kinds["purchase"] else None,
        "unconverted": kinds["purchase"] + kinds["return"] - len(paid) - len(back),
        "discounts_used": kinds["discount_used"],
        "loyalty_joined": kinds["loyalty_joined"],
        "loyalty_redeemed": kinds["loyalty_redeemed"],
        "referrals": kinds["referral"],
        **{
            name: value
            for name, value in money([row["customer_id"] for row in rows]).items()
            if name != "spent"
        },
    }


def staying() -> dict[int, Row]:
    """The latest score card of each customer who has not left."""
    last: dict[int, str] = {}
    for row in sorted(ROWS, key=lambda one: (one["time"], one["partition"], one["offset"])):
        if row["kind"] in {"churned", "won_back"}:
            last[row["customer_id"]] = row["kind"]
    return {
        card["customer_id"]: card
        for card in CARDS
        if card["latest"] and last.get(card["customer_id"]) != "churned"
    }


def money(customers: list[int]) -> Row:
    """What some customers are expected to bring; each counts once."""
    cards = [card for number, card in staying().items() if number in customers]

    def total(name: str) -> float | None:
        known = [card[name] for card in cards if card[name] is not None]
        return sum(known) if known else None

    return {
        "valued": sum(card["clv"] is not None for card in cards),
        "alive": total("p_alive"),
        **{name: total(name) for name in ("clv", "value_at_risk", "spent")},
    }


@pytest.mark.parametrize(
    ("band", "score"), [("satisfaction", "satisfaction_after"), ("effort", "effort_after")]
)
def test_value_by_segment_and_band(connection: duckdb.DuckDBPyConnection, band: str, score: str) -> None:
    groups: dict[tuple[str | None, str], list[Row]] = defaultdict(list)
    for row in ROWS:
        if row["kind"] in COMMERCE and row["time"] >= START + timedelta(days=3):
            low = min(80, int(row[score] // 20) * 20)
            groups[row["segment"], f"{low}-{low + 20}"].append(row)
    found = answer(
        connection, "value", by=("segment",), options={"band": band}, since=START + timedelta(days=3)
    )
    assert len(found) == len(groups) == 10
    for row in found:
        key = {"segment": row["segment"], "band": row["band"]}
        same(row, {**key, **worth(groups[row["segment"], row["band"]])})


def test_value_without_a_band(connection: duckdb.DuckDBPyConnection) -> None:
    (found,) = answer(connection, "value")
    same(found, {"band": None, **worth([row for row in ROWS if row["kind"] in COMMERCE])})


def test_what_customers_are_worth_by_level_and_by_their_chance_to_buy(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    cards = staying()
    assert 10 < len(cards) < 50
    bands = {
        number: None
        if card["p_alive"] is None
        else "{}-{}".format(*(20 * (int(card["p_alive"] * 5) + more) for more in (0, 1)))
        for number, card in cards.items()
    }
    levels = {number: card["announced"] for number, card in cards.items()}
    for each, part_of in (("level", levels), ("alive", bands)):
        found = answer(connection, "worth", options={"each": each}, since=START + timedelta(days=3))
        assert {row["part"] for row in found} == set(part_of.values())
        for row in found:
            group = [number for number, part in part_of.items() if part == row["part"]]
            same(row, {"part": row["part"], "customers": len(group), **money(group)})


# --- risk


def share(hits: int, count: int, few: int, name: str) -> Row:
    values = (hits / count, *wilson(hits, count)) if count >= max(few, 1) else (None, None, None)
    return {name: hits, **dict(zip((f"{name}_share", f"{name}_low", f"{name}_high"), values, strict=True))}


def followed(signal: Row, kind: str, days: float) -> bool:
    return any(
        row["kind"] == kind
        and row["customer_id"] == signal["customer_id"]
        and signal["time"] < row["time"] <= signal["time"] + timedelta(days=days)
        and (kind != "action_taken" or row["action_id"] in {None, signal["id"]})
        for row in ROWS
    )


def at_risk(signals: list[Row]) -> Row:
    last: dict[int, float] = {}
    for signal in sorted(signals, key=lambda one: (one["time"], one["partition"], one["offset"], one["n"])):
        if signal["value_at_risk"] is not None:
            last[signal["customer_id"]] = signal["value_at_risk"]
    valued = sum(signal["value_at_risk"] is not None for signal in signals)
    return {"value_at_risk": sum(last.values()) if last else None, "valued": valued}


def told(signals: list[Row], days: float, few: int) -> Row:
    end = max(row["time"] for row in ROWS)
    changes = Counter(signal["change"] for signal in signals)
    past = [signal for signal in signals if signal["time"] + timedelta(days=days) <= end]
    reasons = Counter(signal["leading_reason"] for signal in signals if signal["leading_reason"])
    first = min(((-count, name) for name, count in reasons.items()), default=None)
    return {
        "signals": len(signals),
        "customers": len({signal["customer_id"] for signal in signals}),
        **{change: changes[change] for change in ("raised", "worsened", "eased", "cleared")},
        "entries": sum(signal["previous"] == "none" for signal in signals),
        "exits": sum(signal["level"] == "none" for signal in signals),
        **{name: statistics.fmean(signal[name] for signal in signals) for name in ("probability", "effort", "satisfaction")},
        **at_risk(signals),
        "leading_reason": first and first[1],
        "leading_share": first and -first[0] / len(signals),
        "followed": len(past),
        **share(sum(followed(signal, "churned", days) for signal in past), len(past), few, "churned"),
        **share(sum(followed(signal, "purchase", days) for signal in past), len(past), few, "bought"),
        "acted": sum(followed(signal, "action_taken", days) for signal in past),
        "too_few": "churned_share, bought_share" if 0 < len(past) < few else None,
    }  # fmt: skip


@pytest.mark.parametrize(("days", "few"), [("10", 30), ("2.5", 0)])
def test_risk_by_channel_of_the_cause(connection: duckdb.DuckDBPyConnection, days: str, few: int) -> None:
    causes = {(row["partition"], row["offset"]): row for row in ROWS}
    groups: dict[tuple[str | None, str, str], list[Row]] = defaultdict(list)
    for signal in SIGNALS:
        cause = causes[signal["partition"], signal["offset"]]
        own = cause["customer_id"] == signal["customer_id"]
        if not own or cause["topic"] != "invoice":
            groups[cause["channel"] if own else None, signal["previous"], signal["level"]].append(signal)
    found = answer(
        connection,
        "risk",
        by=("channel",),
        where=(Filter("topic", ("invoice",), negated=True),),
        options={"within": days},
        few=few,
    )
    assert len(found) == len(groups) > 40
    for row in found:
        key = row["channel"], row["previous"], row["new_level"]
        names = dict(zip(("channel", "previous", "new_level"), key, strict=True))
        same(row, {**names, **told(groups[key], float(days), few)})


def test_risk_in_the_order_of_the_value_at_risk(connection: duckdb.DuckDBPyConnection) -> None:
    found = answer(connection, "risk", by=("segment",), options={"sort": "value"})
    values = [row["value_at_risk"] for row in found]
    known = [value for value in values if value is not None]
    assert values == [*sorted(known, reverse=True), *[None] * (len(values) - len(known))]
    assert len(known) > 10
    assert found != answer(connection, "risk", by=("segment",))


# --- quality


@pytest.mark.parametrize("by", [(), ("source",)])
@pytest.mark.parametrize("grain", [None, "day", "week"])
def test_deliveries_of_whole_days_are_those_of_quality(
    connection: duckdb.DuckDBPyConnection, by: Any, grain: Any
) -> None:
    selection = Selection(since=START + timedelta(days=2), until=START + timedelta(days=15), by=by, grain=grain,
                          where=(Filter("source", ("shop", None)),))  # fmt: skip
    found = answers(connection, query.result(own("deliveries"), selection))
    expected = answers(connection, query.result(definition.view("quality"), selection))
    assert len(found) > 0
    assert found == [{name: row[name] for name in found[0]} for row in expected]


@pytest.mark.parametrize("grain", [None, "week", "day"])
def test_quality_by_source(connection: duckdb.DuckDBPyConnection, grain: Any) -> None:
    since = START + timedelta(days=1) if grain else None

    def period(day: date) -> datetime | None:
        back = {"week": day.weekday(), "day": 0}.get(grain)
        return None if back is None else datetime.combine(day - timedelta(days=back), datetime.min.time())

    def inside(day: date | None) -> bool:
        return since is None or (day is not None and day >= since.date())

    accepted: dict[Any, list[Row]] = defaultdict(list)
    for row in ROWS:
        if since is None or row["time"] >= since:
            accepted[row["source"], period(row["time"].date())].append(row)
    refused: dict[Any, Counter[str]] = defaultdict(Counter)
    for one in REJECTED:
        if inside(one["day"]):
            refused[one["source"], one["day"] and period(one["day"])][one["reason"]] += one["records"]
    refused = {key: Counter({r: n for r, n in counts.items() if n > 0}) for key, counts in refused.items()}
    keys = set(accepted) | {key for key, counts in refused.items() if counts}
    found = answer(connection, "quality", by=("source",), grain=grain, since=since)
    assert {(row["source"], row.get("period")) for row in found} == keys
    assert len(found) == len(keys) >= (4 if grain is None else DAYS // 7)
    for row in found:
        key = row["source"], row.get("period")
        rows = sorted(accepted.get(key, []), key=lambda one: one["time"])
        gaps = [(after["time"] - before["time"]).total_seconds() for before, after in pairwise(rows)]
        delays = sorted((one["arrived"] - one["time"]).total_seconds() for one in rows if one["arrived"])
        reasons = refused.get(key, Counter())
        bad, late = sum(reasons.values()), sum(one["late"] for one in rows)
        assert (row["touchpoints"], row["late"], row["rejected"]) == (len(rows), late, bad)
        assert row["customers"] == len({one["customer_id"] for one in rows})
        assert row["misrouted"] == reasons["misrouted"]
        assert row["late_share"] == (pytest.approx(late / len(rows)) if rows else None)
        assert row["rejected_share"] == pytest.approx(bad / (bad + len(rows)))
        assert row["longest_gap_s"] == max(gaps, default=None)
        assert row["delay_median_s"] == (statistics.median(delays) if delays else None)
        assert (row["first_time"], row["last_time"]) == (
            (rows[0]["time"], rows[-1]["time"]) if rows else (None, None)
        )
        told_reasons = sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0]))
        assert row["reasons"] == (", ".join(f"{name} {count}" for name, count in told_reasons) or None)


@pytest.mark.parametrize("seed", range(8))
def test_the_longest_gap_and_delays_of_dense_touchpoints(seed: int) -> None:
    """Gaps within a second and a minute, and across them: minutes are looked into only where it matters."""
    chance = random.Random(seed)
    spread, count = chance.choice([(900, 40), (5_000, 30), (70_000, 60), (400_000, 300), (90_000, 900)])
    moments = [START + timedelta(seconds=58, milliseconds=chance.randrange(spread)) for _ in range(count)]
    rows = [
        touchpoint(
            offset=i,
            time=time,
            source=chance.choice("ab"),
            arrived=time + timedelta(milliseconds=chance.randrange(40)),
        )
        for i, time in enumerate(moments)
    ]
    (found,) = answer(database(rows), "quality")
    delays = [(row["arrived"] - row["time"]).total_seconds() for row in rows]
    gaps = [(after - before).total_seconds() for before, after in pairwise(sorted(moments))]
    assert found["longest_gap_s"] == max(gaps)
    assert found["delay_median_s"] == pytest.approx(np.quantile(delays, 0.5), abs=1e-12)
    assert found["delay_p95_s"] == pytest.approx(np.quantile(delays, 0.95), abs=1e-12)
    for row in answer(database(rows), "quality", by=("source",)):
        mine = sorted(each["time"] for each in rows if each["source"] == row["source"])
        gaps = [(after - before).total_seconds() for before, after in pairwise(mine)]
        assert row["longest_gap_s"] == max(gaps, default=None)


def test_touchpoints_of_one_moment_have_no_gap() -> None:
    (found,) = answer(database([touchpoint(offset=i) for i in range(3)]), "quality")
    assert found["longest_gap_s"] == 0
    (found,) = answer(database([touchpoint()]), "quality")
    assert found["longest_gap_s"] is None
