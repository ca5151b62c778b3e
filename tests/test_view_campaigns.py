"""The view `campaigns` against loops over the rows."""

from __future__ import annotations

import statistics
from collections import defaultdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxstream.warehouse.views.selection import Filter
from cxstream.warehouse.views.statistics import wilson
from view_rows import START, answer, database, in_order, made_up, touchpoint

if TYPE_CHECKING:
    import duckdb

    from view_rows import Row

# More of what campaigns are about.
_KINDS = ("campaign_sent", "campaign_opened", "campaign_clicked", "email_sent", "purchase", "unsubscribed")
ROWS = made_up(17, 900, 14)
for number, made in enumerate(ROWS):
    if number % 3:
        kind = _KINDS[number % 7 % 6]
        made |= {"kind": kind, "campaign": ("autumn", "winter", None)[number % 5 % 3]}
        if kind == "purchase":
            amount = number % 40 / 8
            made |= {"amount": amount, "amount_base": amount if number % 4 else None}
ROWS.append({**ROWS[5], "offset": 9_001})  # At the same time as another.
SENT = ("campaign_sent", "email_sent")
RESPONSES = {
    "opened": "campaign_opened", "clicked": "campaign_clicked", "bought": "purchase", "unsubscribed": "unsubscribed",
    "complained": "complaint_opened", "churned": "churned",
}  # fmt: skip
SHARES = {
    "opened": "open", "clicked": "click", "bought": "buy", "unsubscribed": "unsubscribe", "complained": "complaint",
    "churned": "churn",
}  # fmt: skip


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    return database(ROWS)


def is_sent(row: Row) -> bool:
    return row["kind"] == "campaign_sent" or (row["kind"] == "email_sent" and row["campaign"] is not None)


def what(row: Row) -> str | None:
    if is_sent(row):
        return "sent"
    return {"campaign_opened": "opened", "campaign_clicked": "clicked", "unsubscribed": "unsubscribed"}.get(
        row["kind"]
    )


class World:
    """All touchpoints, by customer; what depends on the options but on no filter."""

    def __init__(self, rows: list[Row], within: float, touch: str, half_life: float) -> None:
        self.end = max(row["time"] for row in rows)
        self.within = timedelta(days=within)
        self.by_customer: dict[int, list[Row]] = defaultdict(list)
        for row in sorted(rows, key=in_order):
            self.by_customer[row["customer_id"]].append(row)
        levels = ("clicked", "opened", "sent")
        earning = levels[: levels.index(touch) + 1]
        self.entries: list[Row] = []
        for row in rows:
            if what(row):
                self.entries.append(
                    row
                    | {"what": what(row), "messages": self.messages(row), "sent_at": self.sent_at(row)}
                    | self.after(row)
                )
        for row in rows:
            if row["kind"] == "purchase":
                self.entries += self.credited(row, earning, half_life)

    def messages(self, row: Row) -> int:
        begin = row["time"] - timedelta(days=7)
        return sum(
            is_sent(one) and begin <= one["time"] <= row["time"]
            for one in self.by_customer[row["customer_id"]]
        )

    def sent_at(self, row: Row) -> datetime | None:
        """When the message was sent that a touch answers."""
        return max(
            (
                one["time"]
                for one in self.by_customer[row["customer_id"]]
                if is_sent(one) and one["campaign"] == row["campaign"] and one["time"] <= row["time"]
            ),
            default=None,
        )

    def after(self, row: Row) -> Row:
        """Whether a message has been followed by each response."""
        found: Row = {"is_followed": is_sent(row) and row["time"] + self.within <= self.end}
        for name, kind in RESPONSES.items():
            same_campaign = name in {"opened", "clicked"}
            found[name] = any(
                one["kind"] == kind
                and row["time"] <= one["time"] <= row["time"] + self.within
                and (not same_campaign or one["campaign"] == row["campaign"])
                for one in self.by_customer[row["customer_id"]]
            )
        return found

    def credited(self, purchase: Row, earning: tuple[str, ...], half_life: float) -> list[Row]:
        """An entry for each touch that earns a part of a purchase."""
        touches = [
            one
            for one in self.by_customer[purchase["customer_id"]]
            if what(one) in earning and purchase["time"] - self.within <= one["time"] <= purchase["time"]
        ]
        if not touches:
            return []
        last = touches[-1]["time"]

        def weight(one: Row) -> float:
            if one["time"] == last:
                return 1.0
            days = (last - one["time"]).total_seconds() / 86_400
            return 2 ** (-days / half_life) if half_life else 0.0

        total = sum(map(weight, touches))
        return [
            one
            | {
                "what": "purchase", "time": purchase["time"], "amount_base": purchase.get("amount_base"), "is_followed": False,
                "is_first": i == 0, "is_last": i == len(touches) - 1, "part": weight(one) / total,
                "messages": self.messages(one), "sent_at": self.sent_at(one),
            }
            for i, one in enumerate(touches)
        ]  # fmt: skip


def summed(rows: list[Row], few: int, message_cost: float, attribution: str, since: datetime) -> Row:
    sent = [row for row in rows if row["what"] == "sent"]
    followed = [row for row in rows if row["is_followed"]]
    bought = [row for row in rows if row["what"] == "purchase"]
    first, last = [row for row in bought if row["is_first"]], [row for row in bought if row["is_last"]]
    found: Row = {
        **{name: sum(row["what"] == name for row in rows) for name in ("sent", "opened", "clicked", "unsubscribed")},
        "customers": len({row["customer_id"] for row in rows}),
        "messages_7d": statistics.fmean(row["messages"] for row in sent) if sent else None,
        "messages_7d_max": max((row["messages"] for row in sent), default=None),
        "followed": len(followed),
    }  # fmt: skip
    for name, share in SHARES.items():
        hits = sum(row[name] for row in followed)
        enough = followed and len(followed) >= few
        values = (hits / len(followed), *wilson(hits, len(followed))) if enough else (None, None, None)
        found |= {
            f"followed_{name}": hits,
            f"{share}_share": values[0],
            f"{share}_low": values[1],
            f"{share}_high": values[2],
        }
    revenue = {
        "first": float(sum(row.get("amount_base") or 0 for row in first)),
        "last": float(sum(row.get("amount_base") or 0 for row in last)),
        "decay": float(sum((row.get("amount_base") or 0) * row["part"] for row in bought)),
    }
    own = [row for row in bought if row["sent_at"] and row["sent_at"] >= since]
    parts = {"first": "is_first", "last": "is_last", "decay": "part"}
    of_sent = float(sum((row.get("amount_base") or 0) * row[parts[attribution]] for row in own))
    named = [row["amount_base"] for row in sent if row.get("amount_base") is not None]
    cost = sum(named) + (len(sent) - len(named)) * message_cost if named or (message_cost and sent) else None
    return found | {
        "converted_first": len(first),
        "converted_last": len(last),
        "converted_decay": float(sum(row["part"] for row in bought)),
        **{f"revenue_{name}": value for name, value in revenue.items()},
        "unconverted": sum(row.get("amount_base") is None for row in last),
        "revenue_of_sent": of_sent,
        "cost": None if cost is None else float(cost),
        "roi": (of_sent - cost) / cost if cost else None,
        "too_few": "shares" if 0 < len(followed) < few else None,
    }


def band(row: Row) -> str:
    count = row["messages"]
    return "5+" if count >= 5 else "3-4" if count >= 3 else str(count)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    by=st.sampled_from([(), ("campaign",), ("channel", "segment")]),
    bands=st.sampled_from(["none", "pressure"]),
    days=st.lists(st.integers(0, 21), min_size=2, max_size=2, unique=True).map(sorted),
    touch=st.sampled_from(["clicked", "opened", "sent"]),
    attribution=st.sampled_from(["last", "first", "decay"]),
    within=st.sampled_from(["7", "0", "2.5", "40"]),
    half_life=st.sampled_from(["3", "0", "0.25"]),
    message_cost=st.sampled_from(["0", "0.5"]),
    few=st.sampled_from([0, 10, 60]),
    autumn=st.booleans(),
)
def test_campaigns(
    connection: duckdb.DuckDBPyConnection, by: tuple[str, ...], bands: str, days: list[int], touch: str, attribution: str,
    within: str, half_life: str, message_cost: str, few: int, autumn: bool,
) -> None:  # fmt: skip
    since, until = (START + timedelta(days=day) for day in days)
    world = World(ROWS, float(within), touch, float(half_life))
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for entry in world.entries:
        if since <= entry["time"] < until and (not autumn or entry["campaign"] == "autumn"):
            key = (*(entry[name] for name in by), band(entry) if bands == "pressure" else None)
            groups[key].append(entry)
    found = answer(
        connection, "campaigns", by=by, since=since, until=until, few=few,
        where=(Filter("campaign", ("autumn",)),) if autumn else (),
        options={"band": bands, "touch": touch, "attribution": attribution, "within": within, "half_life": half_life,
                 "message_cost": message_cost},
    )  # fmt: skip
    assert len(found) == len(groups)
    for row in found:
        key = (*(row[name] for name in by), row["pressure"])
        wanted = {name: row[name] for name in (*by, "pressure")} | summed(
            groups[key], few, float(message_cost), attribution, since
        )
        assert set(row) == set(wanted)
        for name, value in wanted.items():
            # Parts of purchases are rounded to a millionth each.
            close = pytest.approx(value, rel=1e-5, abs=1e-4) if isinstance(value, float) else value
            assert row[name] == close, (name, key)


def on(day: float) -> datetime:
    return START + timedelta(days=day)


STORY = [
    touchpoint(offset=0, kind="campaign_sent", channel="email", campaign="a", time=on(0), amount=2.0, amount_base=2.0),
    touchpoint(offset=1, kind="campaign_clicked", channel="email", campaign="a", time=on(1)),
    touchpoint(offset=2, kind="campaign_sent", channel="app", campaign="b", time=on(3)),
    touchpoint(offset=3, kind="campaign_clicked", channel="app", campaign="b", time=on(4)),
    touchpoint(offset=4, kind="purchase", channel="web", time=on(5), amount=90.0, amount_base=90.0),
    touchpoint(offset=5, kind="complaint_opened", channel="call", case_id="c", time=on(6)),
    touchpoint(offset=6, kind="page_view", time=on(30)),
]  # fmt: skip


def test_attribution_by_hand() -> None:
    # The click on a is 4 days before the purchase, that on b 1 day: with a half-life of 3 days a weighs half of b.
    rows = answer(database(STORY), "campaigns", by=("campaign",), few=0)
    found = {row["campaign"]: row for row in rows}
    assert {name: row["revenue_first"] for name, row in found.items()} == {"a": 90, "b": 0}
    assert {name: row["revenue_last"] for name, row in found.items()} == {"a": 0, "b": 90}
    assert {name: row["revenue_decay"] for name, row in found.items()} == pytest.approx(
        {"a": 30, "b": 60}, abs=1e-4
    )
    assert found["a"]["converted_decay"] == pytest.approx(1 / 3, abs=1e-6)
    assert (found["a"]["cost"], found["a"]["roi"], found["b"]["cost"], found["b"]["roi"]) == (
        2,
        -1,
        None,
        None,
    )
    assert (found["a"]["complaint_share"], found["b"]["messages_7d"]) == (1, 2)
    (total,) = answer(
        database(STORY),
        "campaigns",
        few=0,
        options={"half_life": "1", "attribution": "decay", "message_cost": "1"},
    )
    assert (total["revenue_decay"], total["converted_decay"]) == pytest.approx((90, 1), abs=1e-4)
    assert (total["cost"], total["roi"]) == (3, pytest.approx(29, abs=1e-4))


def test_a_filter_does_not_change_who_gets_the_credit() -> None:
    rows = answer(database(STORY), "campaigns", where=(Filter("campaign", ("a",)),))
    assert [(row["converted_first"], row["converted_last"]) for row in rows] == [(1, 0)]


def test_clicks_before_the_window_earn_credit_in_it() -> None:
    rows = answer(database(STORY), "campaigns", by=("campaign",), since=on(4.5), until=on(5.5))
    assert {row["campaign"]: (row["converted_first"], row["converted_last"]) for row in rows} == {
        "a": (1, 0),
        "b": (0, 1),
    }
    (found,) = answer(
        database(STORY), "campaigns", since=on(4.5), until=on(5.5), options={"within": "2", "touch": "opened"}
    )
    assert (found["sent"], found["clicked"], found["converted_first"], found["converted_last"]) == (
        0,
        0,
        1,
        1,
    )


def test_roi_sets_the_cost_of_messages_against_the_revenue_of_the_same() -> None:
    def roi(since: float, grain: str | None = None) -> list[tuple[float, float, float | None, float | None]]:
        rows = answer(
            database(STORY), "campaigns", few=0, since=on(since), until=on(8), grain=grain,
            options={"message_cost": "1"},
        )  # fmt: skip
        return [(row["revenue_last"], row["revenue_of_sent"], row["cost"], row["roi"]) for row in rows]

    assert roi(2.5) == [(90, 90, 1, 89)]
    # The message was sent before the window: its cost is not in it, and its revenue is no return on what is.
    assert roi(3.5) == [(90, 0, None, None)]
    # With a grain, that of the same period.
    assert sum(row[1] for row in roi(0, "day")) == 0
    assert sum(row[1] for row in roi(0, "month")) == 90


def test_days_beyond_the_calendar_are_for_ever() -> None:
    (found,) = answer(
        database(STORY), "campaigns", since=on(0), until=on(20), options={"within": "1000000000"}
    )
    assert (found["converted_last"], found["followed"]) == (1, 0)
