"""What a customer has bought: days, the last of them and the sum, however the records come."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cxstream.kernels.layout import CHUNK_IDS, IDS, NEVER, NO_DAY, NONE, UNSAVED_PURCHASES
from cxstream.kernels.purchases import MAX_MONEY
from cxstream.model.errors import SnapshotError
from cxstream.model.parameters import DAY_MS, HOUR_MS, ScoringParams
from cxstream.scoring.codec.decode import decode
from cxstream.scoring.engine import Engine, Outcome, Records
from cxstream.scoring.state import purchases, snapshot
from cxstream.settings import ACTIONS
from saved import altered, payloads, sealed
from strategies import Entry, rfc3339
from test_scores import assert_agrees, assert_cuts_do_not_matter, encoded

RATES = ScoringParams.model_validate({"rates": {"USD": 0.5, "JPY": 0.01}})
DAY_0 = 20_500
Card = tuple[int, str | None, float]


class Shop:
    """An engine, and records with ids of their own unless told otherwise.

    Args:
        params: of the engine.
    """

    def __init__(self, params: ScoringParams = RATES) -> None:
        self.engine, self.n, self.params = Engine(params, ACTIONS), 0, params

    def say(self, kind: str, day: float, who: str = "ann", *, name: str = "", **data: Any) -> Outcome:
        self.n += 1
        event: dict[str, Any] = {
            "specversion": "1.0",
            "id": name or f"e{self.n}",
            "source": "/shop",
            "type": f"cx.{kind}.v1" if kind in {"tick", "forget"} else f"cx.touchpoint.{kind}.v1",
            "time": rfc3339(round((DAY_0 + day) * DAY_MS)),
        }
        if kind != "tick":
            event["subject"] = who
        if kind not in {"tick", "forget"}:
            event["data"] = {"channel": "store", **data}
        return self.engine.process(Records([json.dumps(event).encode()], [self.n]))

    def buy(self, day: float, amount: float = 10, currency: str = "EUR", **rest: Any) -> Outcome:
        return self.say("purchase", day, amount=amount, currency=currency, **rest)

    def bring_back(self, day: float, amount: float = 10, currency: str = "EUR", **rest: Any) -> Outcome:
        return self.say("return", day, amount=amount, currency=currency, **rest)

    def tell(
        self, day: float, count: int, first: int, last: int, amount: float = 100, currency: str = "EUR"
    ) -> Outcome:
        return self.say(
            "purchase_history",
            day,
            purchases=count,
            first=date(first),
            last=date(last),
            amount=amount,
            currency=currency,
        )

    def card(self, who: str = "ann") -> Card:
        data = json.loads(self.engine.card(who) or b"{}")["data"]
        return data["purchases"], data["last_purchase"], data["spent"]

    def reload(self) -> None:
        snapshot.mark_all(self.engine.partition)
        rows = {key: row for key, row in self.engine.snapshot() if row is not None}
        self.engine = Engine.restore(self.params, ACTIONS, rows)


def date(day: int) -> str:
    return str(np.datetime64(DAY_0 + day, "D"))


@pytest.fixture
def shop() -> Shop:
    return Shop()


def test_a_day_counts_once_and_every_amount(shop: Shop) -> None:
    shop.buy(0.1, 10)
    shop.buy(0.9, 5)
    shop.buy(3, 2.5)
    assert shop.card() == (2, date(3), 17.5)


def test_a_customer_without_purchases(shop: Shop) -> None:
    shop.say("page_view", 0)
    assert shop.card() == (0, None, 0.0)
    assert shop.engine.partition.state.purchases[0] == NONE


def test_a_late_purchase_counts_for_its_own_day(shop: Shop) -> None:
    shop.buy(20)
    shop.buy(3)
    shop.buy(3.5)
    shop.buy(20.5)
    assert shop.card() == (2, date(20), 40)


def test_a_purchase_that_is_sent_again_counts_once(shop: Shop) -> None:
    shop.buy(0, name="order-1")
    for hour in range(40):
        shop.say("error", hour / 24, name=f"x{hour}")
    shop.say("tick", 80)
    assert shop.buy(0, name="order-1").duplicates == 1
    assert shop.card() == (1, date(0), 10)


def test_the_sums_stay_when_the_days_have_left_the_window(shop: Shop) -> None:
    shop.buy(0, 10)
    shop.buy(1, 10)
    shop.say("page_view", 200)
    assert shop.card() == (2, date(1), 20)
    assert (shop.engine.partition.state.deals["day"] == 0).all()
    shop.buy(200, 1)
    assert shop.card() == (3, date(200), 21)


def test_a_return_takes_away_and_never_below_nothing(shop: Shop) -> None:
    shop.bring_back(0, 30)
    assert shop.card() == (0, None, 0.0)
    shop.buy(1, 50)
    shop.bring_back(2, 20)
    assert shop.card() == (1, date(1), 30)
    shop.bring_back(2, 500)
    assert shop.card() == (1, date(1), 0)
    shop.buy(2, 3)
    assert shop.card() == (2, date(2), 3)


def test_currencies_have_fixed_rates_and_one_without_counts_only_the_day(shop: Shop) -> None:
    assert shop.buy(0, 10, "USD").unconverted == []
    assert shop.buy(1, 1000, "JPY").unconverted == []
    assert shop.buy(2, 99, "CHF").unconverted == ["CHF"]
    assert shop.bring_back(2, 5, "CHF").unconverted == ["CHF"]
    assert shop.card() == (3, date(2), 15)
    again = shop.buy(2, 99, "CHF", name="e3")
    assert (again.duplicates, again.unconverted) == (1, [])


def test_another_base_currency() -> None:
    shop = Shop(ScoringParams.model_validate({"base_currency": "USD", "rates": {"EUR": 2}}))
    shop.buy(0, 10, "USD")
    shop.buy(0, 10, "EUR")
    assert shop.card() == (1, date(0), 30)


@pytest.mark.parametrize(
    "wrong",
    [
        {"rates": {"EUR": 2}},
        {"rates": {"USD": 0}},
        {"rates": {"USD": -1}},
        {"rates": {"USD": float("inf")}},
        {"rates": {"usd": 1}},
        {"base_currency": "EURO"},
    ],
)
def test_rates_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ScoringParams.model_validate(wrong)
    assert ScoringParams.model_validate({"rates": {"EUR": 1}}).rates == {"EUR": 1}


def test_sums_stay_finite(shop: Shop) -> None:
    for _ in range(3):
        shop.buy(0, 1e308)
    assert shop.card() == (1, date(0), MAX_MONEY)
    shop.reload()
    shop.bring_back(1, 1e308)
    assert shop.card() == (1, date(0), 0)


# --- purchase histories


def test_a_history_replaces_what_is_known_up_to_its_day_and_keeps_later_days(shop: Shop) -> None:
    shop.buy(-3, 7)
    shop.buy(0.2, 7)
    shop.buy(0.9, 7)  # of its own day, and later than it
    shop.buy(2, 20)
    shop.bring_back(3, 5)
    shop.tell(0.5, 12, -900, -4, 100)
    assert shop.card() == (13, date(2), 115)
    buyer = shop.engine.partition.state.buyers[0]
    assert buyer["first"] == DAY_0 - 900


def test_a_history_is_no_touch_and_does_not_win_back(shop: Shop) -> None:
    shop.say("churned", 0)
    shop.tell(1, 1, 0, 0)
    row = shop.engine.partition.state.rows[0]
    assert (row["suspended"], row["touched"]) == (1, 0)
    shop.buy(2)
    assert shop.engine.partition.state.rows[0]["suspended"] == 0


def test_what_a_history_covers_changes_nothing_when_it_comes_later(shop: Shop) -> None:
    shop.tell(10.5, 4, 0, 9, 100)
    shop.buy(8, 50)
    shop.bring_back(9, 50)
    shop.buy(10.5, 50)
    assert shop.card() == (4, date(9), 100)
    shop.buy(10.6, 1)  # later on its own day
    assert shop.card() == (5, date(10), 101)
    shop.buy(10.7, 1)
    assert shop.card() == (5, date(10), 102)


def test_another_purchase_of_the_last_day_of_a_history_adds_no_day(shop: Shop) -> None:
    shop.tell(10.5, 4, 0, 10, 100)
    shop.buy(10.6, 1)
    shop.reload()
    shop.buy(10.7, 1)
    assert shop.card() == (4, date(10), 102)


def test_of_two_histories_the_later_one_counts_in_any_order(shop: Shop) -> None:
    shop.buy(12, 1)
    shop.tell(10, 5, 0, 9, 50)
    assert shop.card() == (6, date(12), 51)
    shop.tell(8, 3, 0, 2, 30)
    assert shop.card() == (6, date(12), 51)
    shop.tell(10, 4, 0, 8, 40)  # of one time: the one that comes later
    assert shop.card() == (5, date(12), 41)
    shop.tell(12, 7, 0, 12, 70)
    assert shop.card() == (7, date(12), 70)


def test_returns_of_later_days_are_taken_from_a_history_in_order(shop: Shop) -> None:
    shop.buy(5, 10)
    shop.bring_back(3, 80)
    assert shop.card() == (1, date(5), 0)
    shop.tell(1, 2, 0, 1, 50)
    # 50, less 80 on the third day, which leaves nothing, and 10 on the fifth.
    assert shop.card() == (3, date(5), 10)


def test_a_history_without_a_rate_has_no_amount(shop: Shop) -> None:
    assert shop.tell(1, 2, 0, 1, 50, "CHF").unconverted == ["CHF"]
    assert shop.card() == (2, date(1), 0)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"first": "2026-02-30"}, "data.first"),
        ({"first": "yesterday"}, "data.first"),
        ({"last": "2026-02-16T00:00:00"}, "data.last"),
        ({"last": "2026-02-18"}, "data.last"),
        ({"last": "2026-02-17T23:30:00-01:00"}, "data.last"),
        ({"first": "2026-02-17"}, "data.first"),
        ({"first": "2026-02-12", "purchases": 6}, "data.purchases"),
        ({"purchases": 0}, "data.purchases"),
        ({"purchases": 1.5}, "data.purchases"),
        ({"amount": -1}, "data.amount"),
        ({"currency": None}, "data.currency"),
    ],
)
def test_histories_that_contradict_themselves_are_invalid(changes: dict[str, Any], field: str) -> None:
    data = {"channel": "crm", "purchases": 2, "first": "2020-01-01", "last": "2026-02-16", "amount": 1}
    event = {
        "specversion": "1.0",
        "id": "h",
        "source": "/crm",
        "type": "cx.touchpoint.purchase_history.v1",
        "subject": "ann",
        "time": "2026-02-17T12:00:00Z",
        "data": {**data, "currency": "EUR", **changes},
    }
    [rejected] = decode([json.dumps(event).encode()]).rejected
    assert (rejected.reason, rejected.field) == ("invalid", field)


def test_the_day_of_a_time_is_that_in_utc(shop: Shop) -> None:
    data = {"purchases": 1, "amount": 1, "currency": "EUR"}
    time = "2026-02-16T01:00:00+02:00"
    shop.say("purchase_history", 0, first=time, last=time, **data)
    assert shop.card() == (1, "2026-02-15", 1)


# --- the end of a customer


def test_erasure_and_expiry_leave_nothing(shop: Shop) -> None:
    shop.buy(0, who="ann")
    shop.buy(0, 17.25, who="bob")
    shop.tell(0, 2, -700, 0, 1234.5)
    saved = {key: row for key, row in shop.engine.snapshot() if row is not None}
    assert sum(key.startswith(purchases.PREFIX) for key in saved) == 2
    shop.say("forget", 1)
    shop.say("tick", 400)
    state = shop.engine.partition.state
    for arena, fields in (
        (state.buyers, ("spent", "history", "days", "first", "last")),
        (state.deals, ("net", "day", "bought")),
    ):
        for name in fields:
            assert not arena[name].any(), name
    assert (state.purchases[:2] == NONE).all()
    for key, row in shop.engine.snapshot():
        if row is None:
            saved.pop(key, None)
        else:
            saved[key] = row
    assert not any(key.startswith((purchases.PREFIX, b"c")) for key in saved)
    shop.buy(401, 1)
    assert shop.card() == (1, date(401), 1)


def test_a_history_does_not_bring_back_an_erased_customer(shop: Shop) -> None:
    shop.buy(0)
    shop.say("forget", 1)
    assert shop.tell(2, 1, 0, 0).erased == 1
    assert shop.engine.customers == 0


# --- saved state


def stored(shop: Shop) -> dict[bytes, bytes]:
    snapshot.mark_all(shop.engine.partition)
    return {key: row for key, row in shop.engine.snapshot() if row is not None}


@pytest.mark.parametrize(
    ("array", "name", "value"),
    [
        ("buyers", "spent", -1.0),
        ("buyers", "spent", float("nan")),
        ("buyers", "spent", 2 * MAX_MONEY),
        ("buyers", "history", 2**62),
        ("buyers", "history", NEVER + 1),
        ("buyers", "days", -1),
        ("buyers", "days", 9_000),
        ("buyers", "days", 0),
        ("buyers", "first", NO_DAY),
        ("buyers", "last", DAY_0 + 9),
        ("buyers", "last", DAY_0 - 1),
        ("deals", "net", float("inf")),
        ("deals", "day", DAY_0 + 9),
        ("deals", "day", DAY_0 - 5),
        ("deals", "bought", 2),
    ],
)
def test_impossible_purchases_are_refused(shop: Shop, array: str, name: str, value: float) -> None:
    shop.buy(0)
    getattr(shop.engine.partition.state, array)[name][0] = value
    with pytest.raises(SnapshotError, match="row of purchases is incomplete or impossible"):
        Engine.restore(RATES, ACTIONS, stored(shop))


def test_rows_of_purchases_that_are_missing_cut_or_of_nobody(shop: Shop) -> None:
    shop.buy(0, who="ann")
    shop.buy(0, who="bob")
    rows = stored(shop)
    first, second = (key for key in sorted(rows) if key.startswith(purchases.PREFIX))
    with pytest.raises(SnapshotError, match="1 of 2 rows of purchases"):
        Engine.restore(RATES, ACTIONS, {key: row for key, row in rows.items() if key != first})
    plain = payloads(rows)
    for cut in (0, 31, 33, len(plain[first]) - 1):
        damaged = sealed({**plain, first: plain[first][:cut] or b"x"})
        with pytest.raises(SnapshotError, match="incomplete or impossible"):
            Engine.restore(RATES, ACTIONS, rows | damaged)
    with pytest.raises(SnapshotError, match="key of purchases"):
        Engine.restore(RATES, ACTIONS, rows | sealed({first + b"x": plain[first]}))
    # Of a customer who is gone: another worker saved it, and its tombstone was not written.
    nobody = purchases.PREFIX + (99).to_bytes(6, "big")
    engine = Engine.restore(RATES, ACTIONS, rows | sealed({nobody: plain[second]}))
    assert (nobody, None) in engine.snapshot()
    with pytest.raises(SnapshotError):
        Engine.restore(RATES, ACTIONS, rows | altered(rows, purchases=3))


def test_only_changed_purchases_are_saved(shop: Shop) -> None:
    shop.buy(0, who="ann")
    shop.buy(0, who="bob")
    stored(shop)
    shop.buy(1, who="bob")
    shop.say("page_view", 1, "ann")
    keys = [key for key, _ in shop.engine.snapshot() if key.startswith(purchases.PREFIX)]
    assert len(keys) == 1
    unsaved = shop.engine.begin_checkpoint()
    assert len(unsaved.beside["purchases"]) == 0
    shop.buy(2, who="ann")
    unsaved = shop.engine.begin_checkpoint()
    shop.engine.roll_back_checkpoint(unsaved)
    assert (shop.engine.partition.state.purchases_dirty & UNSAVED_PURCHASES).sum() == 1
    assert len([key for key, _ in shop.engine.snapshot() if key.startswith(purchases.PREFIX)]) == 1


def test_what_purchases_cost_in_memory() -> None:
    state = Engine(ScoringParams(), ACTIONS).partition.state
    # Of each customer; of one with purchases; of each day with one. docs/scoring.md says so.
    assert state.purchases.itemsize + state.purchases_dirty.itemsize == 5
    assert (state.buyers.itemsize, state.deals.itemsize) == (32, 24)
    assert (CHUNK_IDS, IDS) == (5, 32)


# --- against the oracle

MOVES = st.sampled_from((0, 1, HOUR_MS, 5 * HOUR_MS, DAY_MS, -1, -HOUR_MS, -DAY_MS, -3 * DAY_MS, 40 * DAY_MS))
RARE = st.sampled_from(("tick", "forget", "page_view", "churned"))
KINDS = st.sampled_from(("purchase", "purchase", "return", "purchase_history", "purchase", "return", "rare"))


@st.composite
def dealings(draw: st.DrawFn) -> list[Entry]:
    """Purchases, returns and histories of two customers, late, out of order and sent again."""
    now, told = DAY_0 * DAY_MS + 11 * HOUR_MS, []
    for n in range(draw(st.integers(1, 40))):
        if told and draw(st.integers(0, 9)) == 9:
            told.append(draw(st.sampled_from(told)))
            continue
        now += draw(MOVES)
        kind = draw(KINDS)
        told.append((_dealing(draw, draw(RARE) if kind == "rare" else kind, n, now), None))
    return told


def _dealing(draw: st.DrawFn, kind: str, n: int, now: int) -> dict[str, Any]:
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": f"{n}",
        "source": "/shop",
        "type": f"cx.{kind}.v1" if kind in {"tick", "forget"} else f"cx.touchpoint.{kind}.v1",
        "time": rfc3339(now),
    }
    if kind == "tick":
        return event
    event["subject"] = draw(st.sampled_from("ab"))
    if kind == "forget":
        return event
    data: dict[str, Any] = {
        "channel": "store",
        "amount": draw(st.sampled_from((10, 0.1, 0, 33.3, 250, 1e308))),
        "currency": draw(st.sampled_from(("EUR", "USD", "JPY", "CHF"))),
    }
    if kind == "purchase_history":
        last = now // DAY_MS - draw(st.sampled_from((0, 0, 1, 2, 100)))
        first = last - draw(st.sampled_from((0, 1, 5, 800)))
        data |= {"purchases": draw(st.integers(1, min(last - first + 1, 5)))}
        data |= {"first": date(first - DAY_0), "last": date(last - DAY_0)}
    return {**event, "data": data}


@given(
    dealings(),
    st.sampled_from(
        (RATES, ScoringParams.model_validate({"window_days": 5, "surge_days": 2, "forget_days": 60}))
    ),
)
@settings(max_examples=300, deadline=None)
def test_purchases_agree_with_the_oracle(history: list[Entry], params: ScoringParams) -> None:
    assert_agrees(history, params)


@given(st.data(), dealings())
@settings(max_examples=100, deadline=None)
def test_batches_and_saved_state_do_not_matter(data: st.DataObject, history: list[Entry]) -> None:
    cuts = (
        data.draw(st.lists(st.integers(1, len(history) - 1), unique=True, max_size=6).map(sorted))
        if len(history) > 1
        else []
    )
    assert_cuts_do_not_matter(encoded(history), RATES, cuts)
