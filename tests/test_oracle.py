"""The oracle against examples worked by hand from the scoring document.

Day 0 of these examples is a day in 2024; `at(3, h=5)` is five in the morning of day 3.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from cxstream.model.events import EVENT_TYPE
from cxstream.model.kinds import FORGET_TYPE, TICK_TYPE, Kind
from cxstream.model.parameters import DAY_MS, HOUR_MS, MINUTE_MS, ScoringParams
from default_1 import DEFAULT_1, default_1
from oracle import Oracle, pane_of, to_ms
from strategies import PARAMS, histories, long_histories, random_history, rfc3339

DAY_0 = 19_800 * DAY_MS
REQUIRED: dict[Kind, dict[str, Any]] = {
    Kind.contact: {"channel": "chat"},
    Kind.purchase: {"amount": 1, "currency": "EUR"},
    Kind.return_: {"amount": 1, "currency": "EUR"},
    Kind.purchase_history: {
        "purchases": 3,
        "first": "2020-01-01",
        "last": "2021-01-01",
        "amount": 30,
        "currency": "EUR",
    },
    Kind.complaint_opened: {"case_id": "k"},
    Kind.complaint_resolved: {"case_id": "k"},
    Kind.action_taken: {"action": "call"},
}


def at(day: int, *, h: float = 0, m: float = 0, ms: int = 0) -> int:
    return DAY_0 + day * DAY_MS + round(h * HOUR_MS) + round(m * MINUTE_MS) + ms


@dataclass
class Story:
    """Feeds an oracle, one record an offset, each with an id of its own unless told otherwise."""

    oracle: Oracle = field(default_factory=lambda: Oracle(DEFAULT_1))
    offset: int = -1

    def say(
        self, time: int, kind: Kind, who: str = "ann", *, event_id: str = "", source: str = "//s",
        limit: int | None = None, **data: Any,
    ) -> str:  # fmt: skip
        self.offset += 1
        event = {
            "specversion": "1.0",
            "id": event_id or f"id-{self.offset}",
            "source": source,
            "type": kind.type,
            "subject": who,
            "time": rfc3339(time),
            "data": {"channel": "web", **REQUIRED.get(kind, {}), **data},
        }
        return self.oracle.feed(event, self.offset, limit)

    def tick(self, time: int, limit: int | None = None) -> str:
        self.offset += 1
        event = {"specversion": "1.0", "id": "t", "source": "//t", "type": TICK_TYPE, "time": rfc3339(time)}
        return self.oracle.feed(event, self.offset, limit)

    def forget(self, time: int, who: str) -> str:
        self.offset += 1
        event = {"id": f"f-{self.offset}", "source": "//f", "type": FORGET_TYPE, "time": rfc3339(time)}
        return self.oracle.feed({"specversion": "1.0", "subject": who, **event}, self.offset, None)

    def card(self, who: str = "ann") -> dict[str, Any]:
        return self.oracle.card(who)

    def acute(self, who: str = "ann") -> float:
        return float(self.card(who)["acute"])

    def changes(self) -> list[tuple[str, str, str]]:
        churn = [s for s in self.oracle.signals if s["kind"] == "churn_risk"]
        return [(s["change"], s["previous"], s["level"]) for s in churn]

    def frictions(self) -> list[dict[str, Any]]:
        return [s for s in self.oracle.signals if s["kind"] == "friction"]


@pytest.fixture
def story() -> Story:
    return Story()


def effort_of(points: float) -> float:
    return 100 * (1 - 2 ** (-points / 10))


def satisfaction_of(mood: float) -> float:
    if mood < -1000:
        return 0.0
    return 100 / (1 + math.exp(-(math.log(0.7 / 0.3) + mood / 4)))


def close(value: float) -> Any:
    return pytest.approx(value, rel=1e-12, abs=1e-12)


# --- 1. time


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T23:59:59.999Z", -1),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("1970-01-02T00:00:00.0019Z", DAY_MS + 1),
        ("2024-02-29T12:00:00.5-05:30", 1_709_227_800_500),
    ],
)
def test_times_are_read_to_the_millisecond(text: str, ms: int) -> None:
    assert to_ms(text) == ms


def test_panes_are_floored_before_1970_too() -> None:
    assert [pane_of(t) for t in (-DAY_MS - 1, -DAY_MS, -1, 0, DAY_MS - 1, DAY_MS)] == [-2, -1, -1, 0, 0, 1]


def test_the_clock_is_the_largest_accepted_time_and_never_goes_back(story: Story) -> None:
    story.say(at(1), Kind.click)
    assert story.oracle.clock == at(1)
    story.say(at(0), Kind.click)
    assert story.oracle.clock == at(1)
    assert story.tick(at(0, h=3)) == "tick"
    assert story.oracle.clock == at(1)
    assert story.tick(at(1, h=2)) == "tick"
    assert story.oracle.clock == at(1, h=2)
    assert story.card()["time"] == at(1)


def test_each_day_start_crossed_is_a_sweep_and_the_first_record_is_none(story: Story) -> None:
    story.tick(at(0, h=1))
    story.say(at(2, h=23), Kind.click)
    assert story.card()["time"] == at(2, h=23)
    story.tick(at(3, ms=-1))
    assert story.card()["time"] == at(2, h=23)
    story.tick(at(3))
    assert story.card()["time"] == at(3)
    story.oracle.advance(at(9, h=7), 99)
    assert (story.card()["time"], story.oracle.clock) == (at(9), at(9, h=7))


def test_a_late_event_is_evaluated_at_the_clock(story: Story) -> None:
    story.say(at(10), Kind.error, "bob")
    story.say(at(3), Kind.error)
    # error 2/-1, seven days old: w = 2^(-7/14)
    assert story.card()["time"] == at(10)
    assert story.card()["effort"] == close(effort_of(2 * 2**-0.5))


# --- 1. rejects and duplicates


def test_from_the_future_is_later_than_the_limit_and_moves_nothing(story: Story) -> None:
    assert story.say(at(0), Kind.click, limit=at(0)) == "accepted"
    assert story.say(at(0, ms=1), Kind.error, limit=at(0)) == "from_the_future"
    assert story.tick(at(5), limit=at(5) - 1) == "from_the_future"
    assert story.oracle.clock == at(0)
    assert story.acute() == 0


def test_too_late_is_90_panes_before_the_clock(story: Story) -> None:
    story.say(at(90, h=5), Kind.click)
    assert story.say(at(1) - 1, Kind.click) == "too_late"
    assert story.tick(at(1) - 1) == "too_late"
    assert story.say(at(1), Kind.click) == "accepted"
    assert story.say(at(0, h=23), Kind.click, "bob") == "too_late"
    assert "bob" not in story.oracle.customers


def test_too_late_looks_at_the_clock_before_the_record(story: Story) -> None:
    story.say(at(0), Kind.click)
    assert story.say(at(400), Kind.click) == "accepted"


def test_a_duplicate_has_source_and_id_of_one_of_the_customers_last_32(story: Story) -> None:
    story.say(at(0), Kind.click, event_id="a")
    assert story.say(at(1), Kind.error, event_id="a") == "duplicate"
    assert story.oracle.clock == at(0)
    assert story.say(at(0), Kind.click, event_id="a", source="//other") == "accepted"
    assert story.say(at(0), Kind.click, "bob", event_id="a") == "accepted"
    # "a" is the 2nd of ann's; 30 more make it the oldest of 32. A day on which it was not is none that remembers it.
    for _ in range(30):
        story.say(at(0), Kind.click)
    assert story.say(at(2), Kind.click, event_id="a") == "duplicate"
    story.say(at(0), Kind.click)
    assert story.say(at(2), Kind.click, event_id="a") == "accepted"


def test_a_duplicate_counted_before_on_the_same_day_of_the_window(story: Story) -> None:
    story.say(at(0, h=3), Kind.error, event_id="a")
    story.say(at(0, h=4), Kind.churned, event_id="b")
    for day in range(1, 90):
        story.say(at(day), Kind.click)
    assert story.say(at(0, h=3), Kind.error, event_id="a") == "duplicate"
    # The id and the day tell, whatever else the event says.
    assert story.say(at(1) - 1, Kind.purchase, event_id="a") == "duplicate"
    assert story.say(at(0, h=4), Kind.churned, event_id="b") == "duplicate"
    assert story.say(at(1), Kind.error, event_id="a") == "accepted"
    story.say(at(90), Kind.click)
    assert story.say(at(0, h=4), Kind.churned, event_id="b") == "too_late"


def test_a_plain_visit_is_remembered_on_the_last_2_days_of_the_clock(story: Story) -> None:
    story.say(at(0), Kind.page_view, event_id="a")
    for _ in range(32):
        story.say(at(1, h=23), Kind.error)
    assert story.say(at(0), Kind.page_view, event_id="a") == "duplicate"
    story.say(at(2), Kind.error)
    assert story.say(at(0), Kind.page_view, event_id="a") == "accepted"


def test_only_the_last_32_are_remembered_where_the_setting_says_so() -> None:
    story = Story(Oracle(default_1(dedupe="recent")))
    story.say(at(0), Kind.error, event_id="a")
    for _ in range(32):
        story.say(at(0), Kind.error)
    assert story.say(at(0), Kind.error, event_id="a") == "accepted"


def test_clicks_of_days_that_are_not_remembered_take_no_part_in_a_run(story: Story) -> None:
    story.say(at(2), Kind.error)
    for ms in range(3):
        story.say(at(0, ms=ms), Kind.click, x=1, y=1)
    assert story.oracle.customers["ann"].click is None
    for ms in range(2):
        story.say(at(1, ms=ms), Kind.click, x=1, y=1)
    story.say(at(0, ms=3), Kind.click, x=1, y=1)
    assert story.oracle.customers["ann"].panes[pane_of(at(1))].effort == 0
    story.say(at(1, ms=2), Kind.click, x=1, y=1)
    assert story.oracle.customers["ann"].panes[pane_of(at(1))].effort == 2


def test_order_of_checks_future_then_duplicate_then_too_late(story: Story) -> None:
    story.say(at(0), Kind.click, event_id="old")
    story.say(at(0), Kind.click, event_id="ahead")
    story.say(at(100), Kind.click, "bob")
    assert story.say(at(0), Kind.click, event_id="old") == "duplicate"
    assert story.say(at(0), Kind.click, event_id="new") == "too_late"
    assert story.say(at(101), Kind.click, event_id="ahead", limit=at(100)) == "from_the_future"


def test_rejected_ids_are_not_remembered(story: Story) -> None:
    story.say(at(0), Kind.click)
    assert story.say(at(2), Kind.click, event_id="a", limit=at(1)) == "from_the_future"
    assert story.say(at(2), Kind.click, event_id="a") == "accepted"


# --- 2. the catalogue: effort and mood of one event

CATALOGUE: list[tuple[Kind, dict[str, Any], float, float]] = [
    *(
        (kind, {}, 0, 0)
        for kind in (Kind.page_view, Kind.search, Kind.click, Kind.app_open, Kind.store_visit)
    ),
    *((kind, {}, 0, 0) for kind in (Kind.email_sent, Kind.campaign_sent, Kind.campaign_opened)),
    (Kind.purchase_history, {}, 0, 0),
    *((kind, {}, 0, 0) for kind in (Kind.campaign_clicked, Kind.action_taken, Kind.churned, Kind.won_back)),
    (Kind.search_no_result, {}, 1, -0.5),
    (Kind.rage_click, {}, 2, -1),
    (Kind.dead_click, {}, 1, -0.25),
    (Kind.error, {}, 2, -1),
    (Kind.app_crash, {}, 3, -1.5),
    (Kind.login_failed, {}, 1.5, -0.5),
    (Kind.form_abandoned, {}, 2, -0.5),
    (Kind.cart_abandoned, {}, 1, -0.25),
    (Kind.contact, {}, 2, 0),
    (Kind.contact, {"channel": "call"}, 2, 0),
    (Kind.contact, {"wait_s": 60}, 2, 0),
    (Kind.contact, {"wait_s": 90}, 2.5, 0),  # half a minute beyond the first
    (Kind.contact, {"wait_s": 660}, 12, 0),  # ten minutes beyond the first
    (Kind.contact, {"wait_s": 661}, 12, 0),
    (Kind.contact, {"wait_s": 1e308}, 12, 0),
    (Kind.contact, {"wait_s": 0, "transfers": 0}, 2, 0),
    (Kind.contact, {"transfers": 3}, 8, -1.5),
    (Kind.contact, {"transfers": 5}, 12, -2.5),
    (Kind.contact, {"transfers": 1e308}, 12, -2.5),
    (Kind.contact, {"abandoned": True}, 5, -1.5),
    (Kind.contact, {"abandoned": True, "resolved": True}, 5, -1.5),
    (Kind.contact, {"abandoned": False, "resolved": True}, 2, 1),
    (Kind.contact, {"resolved": False}, 5, -1.5),
    (Kind.contact, {"wait_s": 180, "transfers": 1, "resolved": False}, 2 + 2 + 2 + 3, -0.5 - 1.5),
    (Kind.contact, {"wait_s": None, "transfers": None, "abandoned": None, "resolved": None}, 2, 0),
    (Kind.queue, {"channel": "store"}, 0, 0),
    (Kind.queue, {"channel": "store", "wait_s": 30}, 0, 0),
    (Kind.queue, {"channel": "store", "wait_s": 150, "transfers": 2, "resolved": False}, 1.5, 0),
    (Kind.purchase, {}, 0, 1),
    (Kind.return_, {}, 2, -1),
    (Kind.delivery, {}, 0, 0.5),
    (Kind.delivery, {"late_days": 0}, 0, 0.5),
    (Kind.delivery, {"late_days": 2}, 2, -1),
    (Kind.delivery, {"late_days": 5}, 5, -2.5),
    (Kind.delivery, {"late_days": 6}, 5, -2.5),
    (Kind.complaint_opened, {}, 4, -3),
    (Kind.complaint_resolved, {}, 0, 2),
    (Kind.loyalty_joined, {}, 0, 1),
    (Kind.loyalty_redeemed, {}, 0, 1),
    (Kind.discount_used, {}, 0, 0.5),
    (Kind.referral, {}, 0, 2),
    (Kind.unsubscribed, {}, 0, -2),
    (Kind.social_post, {}, 0, 0),
    # What a kind does not read adds nothing.
    (
        Kind.page_view,
        {"wait_s": 600, "transfers": 2, "abandoned": True, "late_days": 3, "sentiment": -1},
        0,
        0,
    ),
]


@pytest.mark.parametrize(("kind", "data", "effort", "mood"), CATALOGUE)
def test_catalogue(story: Story, kind: Kind, data: dict[str, Any], effort: float, mood: float) -> None:
    assert story.say(at(0), kind, **data) == "accepted"
    card = story.card()
    assert card["acute"] == close(effort)
    assert card["effort"] == close(effort_of(effort))
    assert card["satisfaction"] == close(satisfaction_of(mood))
    assert card["touches"]["1"] == (0 if kind.spec.company else 1)


ANSWERS: list[tuple[Kind, dict[str, Any], float, float]] = [
    # satisfaction: value, weight; the prior of 70 counts 1
    (Kind.survey_csat, {"score": 1}, 0, 1),
    (Kind.survey_csat, {"score": 4}, 75, 1),
    (Kind.review, {"rating": 5}, 100, 0.5),
    (Kind.review, {"rating": 2}, 25, 0.5),
    (Kind.survey_nps, {"score": 10}, 100, 0.5),
    (Kind.survey_nps, {"score": 3}, 30, 0.5),
    (Kind.social_post, {"sentiment": -1}, 0, 0.25),
    (Kind.social_post, {"sentiment": 0.5}, 75, 0.25),
]


@pytest.mark.parametrize(("kind", "data", "value", "weight"), ANSWERS)
def test_answers_of_satisfaction(
    story: Story, kind: Kind, data: dict[str, Any], value: float, weight: float
) -> None:
    story.say(at(0), kind, **data)
    card = story.card()
    assert card["satisfaction"] == close((70 + weight * value) / (1 + weight))
    spread = min(weight, weight**2) / (1 + weight) ** 2
    assert card["satisfaction_halfwidth"] == close(1.96 * 27 * math.sqrt(1 + spread))
    touches = 1
    assert (card["effort"], card["acute"]) == (0, 0)
    assert card["effort_halfwidth"] == close(1.96 * math.sqrt(27**2 + 38**2 / (1 + 0.01 * touches)))


@pytest.mark.parametrize(("score", "value"), [(7, 0), (1, 100), (4, 50)])
def test_answers_of_ease_are_evidence_of_effort(story: Story, score: int, value: float) -> None:
    story.say(at(0), Kind.survey_ces, score=score)
    card = story.card()
    # E0 = 0 counts 1, the answer counts 1
    assert card["effort"] == close(value / 2)
    # A quarter of the variance of an answer, and of the implicit effort, which one touch makes surer.
    assert card["effort_halfwidth"] == close(1.96 * math.sqrt(27**2 * 1.25 + 38**2 / 4 / 1.01))
    assert (card["satisfaction"], card["satisfaction_halfwidth"]) == (close(70), close(52.92))


# --- 2. derived


def repeat_effort(story: Story, time: int, **data: Any) -> float:
    """What a chat adds beyond its own 2 points, measured right away."""
    before = story.oracle.customers["ann"].panes.get(pane_of(time))
    had = before.effort if before else 0.0
    story.say(time, Kind.contact, **data)
    return story.oracle.customers["ann"].panes[pane_of(time)].effort - had - 2


def test_repeat_contact_within_7_days(story: Story) -> None:
    story.say(at(0), Kind.contact, topic="bill")
    assert repeat_effort(story, at(7), topic="bill") == 0
    assert repeat_effort(story, at(14) - 1, topic="bill") == 3
    assert repeat_effort(story, at(14) - 1, topic="bill") == 3
    assert repeat_effort(story, at(14), topic="Bill") == 0
    # (3 repeat -1) of the two: mood; a pane has both of the repeats
    assert story.oracle.customers["ann"].panes[pane_of(at(13))].mood == -2


def test_repeat_contact_ignores_contacts_after_it(story: Story) -> None:
    story.say(at(3), Kind.contact, topic="bill")
    assert repeat_effort(story, at(3, ms=-1), topic="bill") == 0
    assert repeat_effort(story, at(3), topic="bill") == 3


def test_contacts_without_a_topic_are_not_kept_and_an_empty_topic_is_one(story: Story) -> None:
    story.say(at(0), Kind.contact)
    assert repeat_effort(story, at(0)) == 0
    assert repeat_effort(story, at(0), topic=None) == 0
    assert repeat_effort(story, at(0), topic="") == 0
    assert repeat_effort(story, at(0), topic="") == 3


def test_only_the_last_4_accepted_contacts_are_compared(story: Story) -> None:
    story.say(at(0), Kind.contact, topic="bill")
    for n in range(3):
        story.say(at(0), Kind.contact, topic=f"other {n}")
        story.say(at(0), Kind.contact)
    assert repeat_effort(story, at(0), topic="bill") == 3
    # acceptance counts, not event time: three later ones, and the first leaves with the fourth
    for n in range(3):
        story.say(at(-3), Kind.contact, topic=f"older {n}")
    assert repeat_effort(story, at(0), topic="bill") == 3
    for n in range(4):
        story.say(at(-3), Kind.contact, topic=f"again {n}")
    assert repeat_effort(story, at(0), topic="bill") == 0


def test_a_repeat_counts_once_however_many_it_repeats(story: Story) -> None:
    for _ in range(4):
        story.say(at(0), Kind.contact, topic="bill")
    assert repeat_effort(story, at(0), topic="bill") == 3


@pytest.mark.parametrize(
    "failed",
    [
        Kind.search_no_result,
        Kind.rage_click,
        Kind.dead_click,
        Kind.error,
        Kind.app_crash,
        Kind.login_failed,
        Kind.form_abandoned,
    ],
)
def test_channel_switch_follows_each_failed_step(story: Story, failed: Kind) -> None:
    story.say(at(0), failed)
    assert repeat_effort(story, at(0, h=1), channel="call") == 2


def test_cart_abandoned_is_no_failed_step(story: Story) -> None:
    story.say(at(0), Kind.cart_abandoned)
    assert repeat_effort(story, at(0, h=1), channel="call") == 0


@pytest.mark.parametrize(
    ("channel", "points"), [("call", 2), ("store", 2), ("social", 2), ("chat", 0), ("email", 0)]
)
def test_channel_switch_is_through_call_store_or_social(story: Story, channel: str, points: float) -> None:
    story.say(at(0), Kind.error)
    assert repeat_effort(story, at(0, h=1), channel=channel) == points
    mood = story.oracle.customers["ann"].panes[pane_of(at(0))].mood
    assert mood == -1 - points / 4


def test_channel_switch_is_within_24_hours_of_the_latest_failed_step(story: Story) -> None:
    story.say(at(0), Kind.error)
    assert repeat_effort(story, at(0), channel="call") == 2
    assert repeat_effort(story, at(1), channel="call") == 2
    assert repeat_effort(story, at(1, ms=1), channel="call") == 0
    assert repeat_effort(story, at(0, ms=-1), channel="call") == 0


def test_only_the_latest_failed_step_by_event_time_is_kept(story: Story) -> None:
    story.say(at(2), Kind.error)
    story.say(at(0), Kind.error)
    # The one of day 0 is not kept, the one of day 2 lies after.
    assert repeat_effort(story, at(0, h=2), channel="call") == 0
    assert repeat_effort(story, at(2, h=2), channel="call") == 2


def clicks(story: Story, *spots: tuple[int, float, float]) -> list[float]:
    """Effort points that each click (ms, x, y) adds on day 0."""
    added = []
    for ms, x, y in spots:
        had = story.oracle.customers["ann"].panes[pane_of(at(0))].effort if story.oracle.customers else 0.0
        story.say(at(0, ms=ms), Kind.click, x=x, y=y)
        added.append(story.oracle.customers["ann"].panes[pane_of(at(0))].effort - had)
    return added


def test_three_quick_clicks_on_one_spot_are_a_rage_click_once(story: Story) -> None:
    assert clicks(story, *((n * 100, 5.0, 5.0) for n in range(7))) == [0, 0, 2, 0, 0, 0, 0]
    assert story.oracle.customers["ann"].panes[pane_of(at(0))].mood == -1
    # The breaking click begins a new run.
    assert clicks(story, (1600, 5, 5), (1700, 5, 5), (1800, 5, 5)) == [0, 0, 2]


@pytest.mark.parametrize(
    ("gap", "dx", "dy", "points"),
    [
        (999, 0, 0, 2),
        (1000, 0, 0, 0),
        (0, 0, 0, 2),
        (-1, 0, 0, 0),
        (10, 29.5, 0, 2),
        (10, 30, 0, 0),
        (10, -15, 14, 2),
        (10, -15, 15, 0),
        (10, 1e308, -1e308, 0),
    ],
)
def test_a_run_of_clicks_is_less_than_1000_ms_and_30_px(
    story: Story, gap: int, dx: float, dy: float, points: float
) -> None:
    start = 50_000
    spots = ((start, 0.0, 0.0), (start + 10, 0.0, 0.0), (start + 10 + gap, dx, dy))
    assert clicks(story, *spots) == [0, 0, points]


def test_distance_is_from_the_click_before_not_the_first(story: Story) -> None:
    assert clicks(story, (0, 0, 0), (900, 29, 0), (1800, 58, 0)) == [0, 0, 2]


def test_a_click_that_breaks_out_of_order_is_the_one_before_the_next(story: Story) -> None:
    assert clicks(story, (500, 0, 0), (600, 0, 0), (100, 0, 0), (200, 0, 0), (300, 0, 0)) == [0, 0, 0, 0, 2]


def test_other_kinds_and_clicks_without_a_place_do_not_break_a_run(story: Story) -> None:
    story.say(at(0), Kind.click, x=0, y=0)
    story.say(at(0), Kind.page_view)
    story.say(at(0, ms=1), Kind.click, x=0, y=0)
    story.say(at(0, ms=5000), Kind.click, x=900)
    story.say(at(0, ms=5000), Kind.click)
    assert story.acute() == 0
    story.say(at(0, ms=2), Kind.click, x=0, y=0)
    assert story.oracle.customers["ann"].panes[pane_of(at(0))].effort == 2


def test_a_duplicate_click_is_not_in_the_run_and_customers_have_their_own(story: Story) -> None:
    story.say(at(0), Kind.click, x=0, y=0, event_id="one")
    story.say(at(0), Kind.click, x=0, y=0, event_id="one")
    story.say(at(0), Kind.click, "bob", x=0, y=0)
    story.say(at(0), Kind.click, x=0, y=0)
    assert story.acute() == 0
    story.say(at(0), Kind.click, x=0, y=0)
    assert story.acute() == 2


def test_a_derived_rage_click_is_a_failed_step_at_its_click(story: Story) -> None:
    clicks(story, (0, 0, 0), (10, 0, 0), (20, 0, 0))
    assert repeat_effort(story, at(1, ms=20), channel="call") == 2
    assert repeat_effort(story, at(0, ms=19), channel="call") == 0


def test_the_bound_of_points_is_for_all_that_one_event_adds() -> None:
    story = Story(Oracle(default_1(max_effort=6, max_mood=2)))
    story.say(at(0), Kind.contact, topic="bill")
    assert repeat_effort(story, at(0), topic="bill", abandoned=True) == 4  # 2 + 3 + 3 is cut at 6
    story.say(at(5), Kind.contact, "bob", transfers=100)
    assert story.card("bob")["satisfaction"] == close(satisfaction_of(-2))  # -2.5 is cut at -2
    # Two events of one day: the limit is of an event.
    story.say(at(5), Kind.referral, "eve")
    story.say(at(5), Kind.referral, "eve")
    assert story.card("eve")["satisfaction"] == close(satisfaction_of(4))


def test_at_most_five_transfers_count(story: Story) -> None:
    for who, transfers in (("ann", 5), ("bob", 1e9), ("eve", 4.5)):
        story.say(at(0), Kind.contact, who, transfers=transfers)
    assert [story.acute(who) for who in ("ann", "bob", "eve")] == [12, 12, 11]
    assert story.card("bob")["satisfaction"] == close(satisfaction_of(-2.5))


def test_the_limits_of_points_are_for_derived_points_too() -> None:
    """A repeated contact, a switch of channel and a rage click out of raw clicks do not go beyond them."""
    points = {kind: {"effort": 1e6, "mood": -1e6} for kind in ("rage_click", "error")}
    story = Story(Oracle(default_1(points=points)))
    story.say(at(0), Kind.error)
    clicks(story, (1, 0, 0), (2, 0, 0), (3, 0, 0))
    worst = {"topic": "bill", "wait_s": 1e9, "transfers": 1e9, "abandoned": True, "channel": "call"}
    story.say(at(0, ms=4), Kind.contact, **worst)
    before = story.oracle.customers["ann"].panes[pane_of(at(0))]
    assert (before.effort, before.mood) == (30 + 30 + 2 + 10 + 10 + 3 + 2, -10 - 10 - 2.5 - 1.5 - 0.5)
    story.say(at(0, ms=5), Kind.contact, **worst)
    after = story.oracle.customers["ann"].panes[pane_of(at(0))]
    assert after.effort == 87 + 30  # 2 + 10 + 10 + 3 + 2, and 3 for the repeat, are exactly the limit


def test_no_single_record_keeps_a_customer_at_risk(story: Story) -> None:
    story.say(at(0), Kind.contact, channel="call", transfers=1e9, wait_s=1e9, abandoned=True)
    assert story.changes() == [("raised", "none", "elevated")]
    story.tick(at(28))
    assert story.changes()[1:] == [("cleared", "elevated", "none")]


# --- 2. touches


def test_what_the_company_does_is_no_touch_but_stands_in_for_the_first(story: Story) -> None:
    story.say(at(2), Kind.email_sent)
    assert (story.card()["last_touch"], story.card()["touches"]["90"]) == (at(2), 0)
    story.say(at(3), Kind.action_taken)
    assert story.card()["last_touch"] == at(2)
    story.say(at(1), Kind.page_view)
    assert (story.card()["last_touch"], story.card()["touches"]["90"]) == (at(1), 1)
    story.say(at(0), Kind.page_view)
    assert story.card()["last_touch"] == at(1)
    story.say(at(4), Kind.campaign_sent)
    assert story.card()["last_touch"] == at(1)
    story.say(at(5), Kind.campaign_opened)
    assert story.card()["last_touch"] == at(5)


def test_touches_are_counted_in_1_7_30_and_90_panes(story: Story) -> None:
    for day in (0, 1, 60, 61, 83, 84, 89, 90):
        story.say(at(day, h=12), Kind.page_view)
    # at day 90: 1 -> 90; 7 -> 84..90; 30 -> 61..90; 90 -> 1..90
    assert story.card()["touches"] == {"1": 1, "7": 3, "30": 5, "90": 7}


# --- 3. scores


def test_panes_fade_with_a_half_life_of_14_days_and_leave_after_90(story: Story) -> None:
    story.say(at(0), Kind.complaint_opened)
    story.tick(at(14, h=9))
    assert story.card()["effort"] == close(effort_of(2))
    assert story.card()["satisfaction"] == close(satisfaction_of(-1.5))
    story.tick(at(89))
    assert story.card()["effort"] == close(effort_of(4 * 2 ** (-89 / 14)))
    story.tick(at(90))
    assert (story.card()["effort"], story.card()["satisfaction"]) == (0, close(70))


def test_answers_fade_with_their_weight(story: Story) -> None:
    story.say(at(0), Kind.survey_csat, score=5)
    story.say(at(14), Kind.survey_ces, score=1)
    card = story.card()
    # csat: weight 1/2, 100; ces: weight 1, 100
    assert card["satisfaction"] == close((70 + 50) / 1.5)
    assert card["effort_halfwidth"] == close(1.96 * math.sqrt(27**2 * 1.25 + 38**2 / 4 / (1 + 0.01 * 1.5)))
    assert card["effort"] == close(50)


def test_effort_points_that_halve_the_distance_to_100(story: Story) -> None:
    story.say(at(0), Kind.contact, wait_s=540)  # 2 + 8
    assert story.card()["effort"] == close(50)


# --- 3. acute friction


def test_acute_friction_goes_out_at_8_once_and_arms_again_below_4(story: Story) -> None:
    story.say(at(0), Kind.contact, wait_s=60 * 6.75)  # 2 + 5.75
    assert story.frictions() == []
    story.say(at(0), Kind.survey_csat, score=1)
    assert story.frictions() == []
    story.say(at(0), Kind.queue, channel="store", touchpoint="desk", wait_s=75)  # 7.75 + 0.25
    assert story.frictions() == [
        {
            "id": "cx.touchpoints-0-2-0",
            "kind": "friction",
            "subject": "ann",
            "time": at(0),
            "effort_points": 8.0,
            "channel": "store",
            "touchpoint": "desk",
        }
    ]
    # half an hour: found at exactly 4, which does not arm
    story.say(at(0, m=30), Kind.contact, wait_s=3600)  # 4 + 12
    assert story.acute() == close(16)
    assert len(story.frictions()) == 1
    # an hour: 4, still not below; and the event that finds it below arms it even if it adds nothing
    story.say(at(0, m=90), Kind.page_view)
    story.say(at(0, m=90), Kind.contact, wait_s=3600)
    assert len(story.frictions()) == 1
    story.say(at(0, m=150.5), Kind.page_view)  # 16 faded to a little less than 4
    story.say(at(0, m=150.5), Kind.contact, wait_s=240)  # 2 + 3, about 8.95
    assert len(story.frictions()) == 2
    assert story.frictions()[1]["effort_points"] == close(16 * 2 ** (-60.5 / 30) + 5)
    assert story.frictions()[1]["touchpoint"] is None


def test_it_arms_on_what_is_found_before_adding(story: Story) -> None:
    story.say(at(0), Kind.contact, wait_s=3600)  # 12: goes out
    # An hour later it finds 3, arms, and adds 12.
    story.say(at(0, h=1), Kind.contact, wait_s=3600)
    assert [s["effort_points"] for s in story.frictions()] == [12, close(15)]


def test_an_older_event_adds_its_faded_points_and_does_not_move_the_friction_back(story: Story) -> None:
    story.say(at(0, h=2), Kind.error)
    story.say(at(0, h=1), Kind.contact, wait_s=3600)  # 12 / 4 on top of 2
    assert story.acute() == close(5)
    story.say(at(0, h=1, m=30), Kind.contact, abandoned=True, wait_s=120)  # 6 / 2
    assert story.acute() == close(8)
    assert [s["effort_points"] for s in story.frictions()] == [close(8)]
    assert story.frictions()[0]["time"] == at(0, h=2)


def test_friction_on_the_card_is_faded_to_the_evaluation(story: Story) -> None:
    story.say(at(0, h=23), Kind.app_crash)
    story.tick(at(1, h=5))
    assert story.acute() == close(3 / 4)


# --- 4. features


def feature(story: Story, name: str) -> float:
    return float(story.card()["features"][name])


def test_a_customer_of_whom_nothing_is_known(story: Story) -> None:
    story.say(at(0), Kind.page_view)
    card = story.card()
    assert card["features"] == {
        "effort": 0,
        "surge": 0,
        "dissatisfaction": close(0.3),
        "detractor": 0,
        "complaint": 0,
        "silence": 0,
        "lapse": 0,
        "unsubscribed": 0,
        "slowdown": 0,
        "just_unsubscribed": 0,
        "unresolved": 0,
    }
    # -3 + 2.5 * 0.3 = -2.25
    assert card["probability"] == close(1 / (1 + math.exp(2.25)))
    assert (card["level"], card["announced"]) == ("none", "none")


def test_surge_is_effort_of_7_panes_beyond_that_of_90(story: Story) -> None:
    story.say(at(0), Kind.survey_ces, score=7)
    story.say(at(6), Kind.error)
    assert feature(story, "surge") == 0
    story.say(at(7), Kind.page_view)
    # 90: E0 of 2 * 2^(-1/14) counts 1, the easy answer 2^(-1/2); 7: E0 alone
    implicit = effort_of(2 * 2 ** (-1 / 14))
    assert feature(story, "surge") == close((implicit - implicit / (1 + 2**-0.5)) / 100)
    story.tick(at(13))
    assert feature(story, "surge") == 0


def test_the_latest_nps_answer_by_event_time_makes_a_detractor(story: Story) -> None:
    story.say(at(5), Kind.survey_nps, score=6)
    assert feature(story, "detractor") == 1
    story.say(at(4), Kind.survey_nps, score=10)
    assert feature(story, "detractor") == 1
    story.say(at(5), Kind.survey_nps, score=7)
    assert feature(story, "detractor") == 0
    story.say(at(6), Kind.survey_nps, score=0)
    story.tick(at(95))
    assert feature(story, "detractor") == 1
    story.tick(at(96))
    assert feature(story, "detractor") == 0


def test_an_old_detractor_does_not_come_back_when_the_latest_answer_is_gone(story: Story) -> None:
    story.say(at(3), Kind.survey_nps, score=9)
    story.say(at(2), Kind.survey_nps, score=1)
    assert feature(story, "detractor") == 0


def test_complaints_are_open_until_their_own_case_is_resolved(story: Story) -> None:
    for n, case in enumerate(("a", "b", "a", "c", "d")):
        story.say(at(0, h=n), Kind.complaint_opened, case_id=case)
    assert feature(story, "complaint") == 1
    for case in ("never opened", "a", "b"):
        story.say(at(1), Kind.complaint_resolved, case_id=case)
    assert feature(story, "complaint") == close(2 / 3)
    story.say(at(0), Kind.complaint_resolved, case_id="c")
    assert feature(story, "complaint") == close(1 / 3)
    story.tick(at(200))
    assert feature(story, "complaint") == close(1 / 3)


def open_cases(story: Story) -> set[str]:
    return set(story.oracle.customers["ann"].complaints)


def test_the_ninth_complaint_drives_out_the_one_opened_first(story: Story) -> None:
    story.say(at(0, h=5), Kind.complaint_opened, case_id="0")
    story.say(at(0, h=4), Kind.complaint_opened, case_id="first of equals")
    for n in range(2, 8):
        story.say(at(0, h=4), Kind.complaint_opened, case_id=str(n))
    # Opened once more it is no ninth, and keeps its time.
    story.say(at(0, h=9), Kind.complaint_opened, case_id="first of equals")
    assert len(open_cases(story)) == 8
    story.say(at(0, h=4), Kind.complaint_opened, case_id="8")
    assert open_cases(story) == {"0", "8", *"234567"}
    story.say(at(0, h=4, ms=-1), Kind.complaint_opened, case_id="the newcomer itself")
    assert open_cases(story) == {"0", "8", *"234567"}


def test_an_evicted_complaint_can_be_opened_anew(story: Story) -> None:
    for n in range(9):
        story.say(at(0, h=n), Kind.complaint_opened, case_id=str(n))
    assert open_cases(story) == set("12345678")
    story.say(at(0, h=9), Kind.complaint_opened, case_id="0")
    assert open_cases(story) == set("02345678")


def test_silence_measures_missed_rhythms(story: Story) -> None:
    story.say(at(0), Kind.page_view)
    story.say(at(4), Kind.page_view)
    story.tick(at(40))
    assert feature(story, "silence") == 0  # two active panes have no rhythm
    story = Story()
    for day in (0, 2, 4):
        story.say(at(day), Kind.page_view)
    story.say(at(3), Kind.email_sent)  # makes no pane active
    # g = 4 / 2; (day - 4) / 2 - 1 missed, of at most 3
    for day, x in ((5, 0), (6, 0), (7, 0.5 / 3), (8, 1 / 3), (12, 1), (30, 1)):
        story.tick(at(day))
        assert feature(story, "silence") == close(x)
    story.tick(at(89))
    assert feature(story, "silence") == 1
    story.tick(at(90))
    assert feature(story, "silence") == 0


def test_slowdown_counts_active_days_missed_in_14(story: Story) -> None:
    for day in (0, 2, 4, 6):
        story.say(at(day), Kind.page_view)
    story.tick(at(16))
    assert feature(story, "slowdown") == 0  # only two active panes before the last 14
    story.tick(at(18))
    # Days 0, 2 and 4 are before, and usually 14 * 2 / 4 of 14 days are active; day 6 is one of the last 14.
    assert feature(story, "slowdown") == 1
    story.say(at(18), Kind.page_view)
    # 14 * 2 / 4 - 2 = 5, of at most 6
    assert feature(story, "slowdown") == close(5 / 6)
    for day in (19, 21, 22, 23, 24, 25):
        story.say(at(day), Kind.page_view)
    # 14 * 3 / (25 - 14) - 7 is below 0
    assert feature(story, "slowdown") == 0


def test_contacts_that_did_not_help_weigh_less_by_age(story: Story) -> None:
    story.say(at(0), Kind.contact, channel="call", resolved=False)
    story.say(at(0), Kind.contact, channel="call", resolved=True)
    assert feature(story, "unresolved") == close(1 / 2)
    story.say(at(14), Kind.contact, channel="chat", abandoned=True)
    assert feature(story, "unresolved") == close(1.5 / 2)
    story.say(at(14), Kind.contact, channel="chat", abandoned=True, resolved=True)
    assert feature(story, "unresolved") == 1


def test_unsubscribed_stays_for_90_panes(story: Story) -> None:
    story.say(at(0), Kind.unsubscribed)
    story.tick(at(20))
    assert feature(story, "just_unsubscribed") == 1
    story.tick(at(21))
    assert feature(story, "just_unsubscribed") == 0
    story.tick(at(89))
    assert feature(story, "unsubscribed") == 1
    story.tick(at(90))
    assert feature(story, "unsubscribed") == 0


def test_probability_and_contributions_of_a_bad_day(story: Story) -> None:
    story.say(at(0), Kind.complaint_opened)  # 4/-3
    story.say(at(0), Kind.survey_nps, score=0)
    # effort 24.2142 -> x 0.242142; S0 of D = -3 with the answer 0 of weight 0.5: 52.4293 / 1.5 = 34.9529;
    # z = -3 + 2 * 0.242142 + 2.5 * 0.650471 + 1 + 1.5 / 3 = 0.610462
    card = story.card()
    assert card["effort"] == pytest.approx(24.21417, rel=1e-6)
    assert card["satisfaction"] == pytest.approx(satisfaction_of(-3) / 1.5, rel=1e-12)
    z = -3 + 2 * effort_of(4) / 100 + 2.5 * (1 - satisfaction_of(-3) / 150) + 1 + 0.5
    assert z == pytest.approx(0.61046, abs=1e-4)
    assert card["probability"] == close(1 / (1 + math.exp(-z)))
    signal = story.oracle.signals[-1]
    assert signal["probability"] == card["probability"]
    assert signal["contributions"]["effort"] == close(2 * (effort_of(4) / 100 - 0.2))
    assert signal["contributions"]["dissatisfaction"] == close(2.5 * (0.7 - satisfaction_of(-3) / 150))
    assert signal["contributions"]["complaint"] == close(0.5)
    assert signal["contributions"]["silence"] == 0


# --- 4. levels; the dial: p = logistic(n - 4.1) with n open complaints
#        n     0..3    4      5      6      7
#        p    < .25   .475   .711   .870   .948
#   rises to   none  elev.   high  crit.            falls below .30, .50, .70

DIAL = default_1(
    intercept=-4.1,
    complaints_scale=8,
    coefficients={
        **dict.fromkeys(("effort", "surge", "dissatisfaction", "detractor", "silence", "unsubscribed"), 0),
        "complaint": 8,
    },
)


def dial(story: Story, time: int, n: int, who: str = "ann") -> None:
    """Turn the number of open complaints to n, one event at a time."""
    customer = story.oracle.customers.get(who)
    has = len(customer.complaints) if customer else 0
    for case in range(has, n):
        story.say(time, Kind.complaint_opened, who, case_id=str(case))
    for case in range(n, has):
        story.say(time, Kind.complaint_resolved, who, case_id=str(case))


@pytest.fixture
def dialed() -> Story:
    return Story(Oracle(DIAL))


def test_a_level_begins_at_its_threshold_and_falls_below_it_minus_hysteresis() -> None:
    p = 1 / (1 + math.exp(2.25))  # of a customer of whom nothing is known
    for low, level in ((p, "elevated"), (math.nextafter(p, 1), "none")):
        story = Story(Oracle(default_1(thresholds=(low, 0.8, 0.9))))
        story.say(at(0), Kind.page_view)
        assert story.card()["level"] == level
    # A purchase (0/+1) lowers it to where it does or does not hold.
    lower = 1 / (1 + math.exp(3 - 2.5 * (1 - satisfaction_of(1) / 100)))
    for floor, level in ((lower - 1e-9, "elevated"), (lower + 1e-9, "none")):
        story = Story(Oracle(default_1(thresholds=(p, 0.8, 0.9), hysteresis=p - floor)))
        story.say(at(0), Kind.page_view)
        story.say(at(0), Kind.purchase)
        assert story.card()["level"] == level


def test_levels_rise_and_fall_with_hysteresis(dialed: Story) -> None:
    dial(dialed, at(0), 6)
    dial(dialed, at(1), 5)
    assert dialed.card()["level"] == "critical"  # .711 is not below .70
    dial(dialed, at(1), 4)
    assert dialed.card()["level"] == "elevated"  # .475 is below .50
    dial(dialed, at(1), 3)
    assert dialed.changes() == [
        ("raised", "none", "elevated"),
        ("raised", "elevated", "high"),
        ("raised", "high", "critical"),
        ("eased", "critical", "elevated"),
        ("cleared", "elevated", "none"),
    ]


def test_a_level_can_jump(story: Story) -> None:
    story.oracle = Oracle(default_1(intercept=5))
    story.say(at(0), Kind.page_view)
    assert story.changes() == [("raised", "none", "critical")]


def test_a_raise_waits_for_its_cooldown_of_7_days(dialed: Story) -> None:
    dial(dialed, at(0, h=12), 4)
    dial(dialed, at(1), 3)
    dial(dialed, at(2), 4)
    assert dialed.oracle.held_back == 1
    dialed.tick(at(7, h=11))
    dialed.say(at(7, h=12, ms=-1), Kind.page_view)
    assert dialed.changes() == [("raised", "none", "elevated"), ("cleared", "elevated", "none")]
    assert (dialed.card()["level"], dialed.card()["announced"]) == ("elevated", "none")
    dialed.say(at(7, h=12), Kind.page_view)
    assert dialed.changes()[2:] == [("raised", "none", "elevated")]
    assert dialed.oracle.held_back == 1


def test_a_held_raise_goes_out_with_a_sweep(dialed: Story) -> None:
    dial(dialed, at(0), 4)
    dial(dialed, at(1), 3)
    dial(dialed, at(2), 4)
    dialed.tick(at(12, h=6))
    signal = dialed.oracle.signals[-1]
    assert (signal["change"], signal["time"], signal["id"]) == (
        "raised",
        at(7),
        f"cx.touchpoints-0-{dialed.offset}-0",
    )


def test_a_raise_beyond_the_last_raise_does_not_wait(dialed: Story) -> None:
    dial(dialed, at(0), 4)
    dial(dialed, at(1), 3)
    dial(dialed, at(2), 5)  # waits at 4, goes out at 5
    assert dialed.oracle.held_back == 1
    assert dialed.changes()[2:] == [("raised", "none", "high")]
    dial(dialed, at(3), 3)
    dial(dialed, at(4), 5)  # waits as elevated and as high: one wait
    assert dialed.oracle.held_back == 2
    dial(dialed, at(4), 3)
    dial(dialed, at(4), 4)
    assert dialed.oracle.held_back == 3
    dialed.tick(at(9))
    assert dialed.changes()[3:] == [
        ("eased", "high", "elevated"),
        ("cleared", "elevated", "none"),
        ("raised", "none", "elevated"),
    ]


def test_the_last_raise_is_what_was_raised_last_not_the_highest(dialed: Story) -> None:
    dial(dialed, at(0), 6)  # critical
    dial(dialed, at(1), 3)
    dial(dialed, at(8), 4)  # elevated again, and remembered as such
    dial(dialed, at(9), 5)
    assert dialed.changes()[-1] == ("raised", "elevated", "high")
    assert dialed.oracle.held_back == 0


def test_easing_is_told_at_once_and_keeps_the_chain(dialed: Story) -> None:
    dial(dialed, at(0), 6)
    dial(dialed, at(0), 4)
    dial(dialed, at(1), 6)  # high and critical wait: the last raise was critical
    assert dialed.oracle.held_back == 1
    dial(dialed, at(2), 3)
    assert dialed.changes()[3:] == [("eased", "critical", "elevated"), ("cleared", "elevated", "none")]


def test_worse_at_the_same_level_is_told_by_how_much_and_how_late(dialed: Story) -> None:
    dial(dialed, at(0), 6)  # .870: critical
    told = dialed.changes()
    dial(dialed, at(0, h=1), 7)  # .948 is not .970
    dialed.tick(at(2))
    assert dialed.changes() == told
    dial(dialed, at(2, h=1), 8)  # .980 is, and the last signal is two days old
    assert dialed.changes()[len(told) :] == [("worsened", "critical", "critical")]
    signal = dialed.oracle.signals[-1]
    assert (signal["time"], signal["probability"]) == (at(2, h=1), close(1 / (1 + math.exp(-3.9))))
    dialed.tick(at(9))
    assert len(dialed.changes()) == len(told) + 1


def test_worse_is_told_when_the_last_signal_is_a_day_old_by_the_clock(dialed: Story) -> None:
    dial(dialed, at(0), 6)
    told = len(dialed.changes())
    dial(dialed, at(0, h=1), 8)
    dialed.tick(at(0, h=23, m=59))
    dialed.say(at(0, h=23, m=59), Kind.page_view)
    assert len(dialed.changes()) == told
    dialed.tick(at(1))  # the sweep, to the millisecond
    assert dialed.changes()[told:] == [("worsened", "critical", "critical")]


def test_worse_is_measured_against_the_last_signal_of_any_kind(dialed: Story) -> None:
    dial(dialed, at(0), 8)
    dial(dialed, at(1), 4)  # eased to elevated at .475
    assert dialed.changes()[-1] == ("eased", "critical", "elevated")
    dial(dialed, at(3), 5)  # .711: high, and waits for its cooldown
    assert (dialed.card()["level"], dialed.card()["announced"]) == ("high", "elevated")
    assert dialed.changes()[-1] == ("eased", "critical", "elevated")
    assert dialed.oracle.held_back == 1


def test_worse_is_no_raise() -> None:
    story = Story(Oracle(DIAL.model_copy(update={"thresholds": (0.35, 0.36, 0.9), "worsened": 0.2})))
    dial(story, at(0), 4)  # .475: high
    dial(story, at(6), 5)  # .711
    assert story.changes()[-1] == ("worsened", "high", "high")
    dial(story, at(6, h=1), 0)
    dial(story, at(7), 4)
    assert story.changes()[-2:] == [("cleared", "high", "none"), ("raised", "none", "high")]


def test_nobody_who_has_churned_is_worse(dialed: Story) -> None:
    dial(dialed, at(0), 6)
    dialed.say(at(0), Kind.churned, channel="crm")
    told = len(dialed.changes())
    dial(dialed, at(2), 8)
    assert len(dialed.changes()) == told
    dialed.say(at(2), Kind.won_back, channel="crm")
    assert dialed.changes()[told:] == [("worsened", "critical", "critical")]


def test_set_aside_until_won_back_or_a_purchase(dialed: Story) -> None:
    dial(dialed, at(0), 3)
    dialed.say(at(0), Kind.churned, channel="crm")
    dial(dialed, at(1), 6)
    dialed.tick(at(2))
    card = dialed.card()
    assert dialed.changes() == []
    assert (card["level"], card["announced"]) == ("none", "none")
    assert card["effort"] > 0
    assert (card["probability"], card["time"]) == (close(1 / (1 + math.exp(-1.9))), at(2))
    assert dialed.frictions() != []
    dialed.say(at(2), Kind.won_back, channel="crm")
    assert dialed.changes() == [("raised", "none", "critical")]
    dialed.say(at(3), Kind.churned, channel="crm")
    dial(dialed, at(3), 0)
    assert dialed.card()["level"] == "critical"
    dialed.say(at(3), Kind.purchase)
    assert dialed.changes()[1:] == [("cleared", "critical", "none")]


def test_the_churned_event_itself_is_not_judged(dialed: Story) -> None:
    # With the clock on the day of the raise's end of cooldown, a churned event does not let it out.
    dial(dialed, at(0, h=12), 4)
    dial(dialed, at(1), 3)
    dial(dialed, at(2), 4)
    dialed.tick(at(7, h=1))
    dialed.say(at(7, h=13), Kind.churned, channel="crm")
    dialed.tick(at(9))
    assert len(dialed.changes()) == 2


# --- 1. forgetting


def test_forgotten_365_days_after_the_last_touch(story: Story) -> None:
    story.say(at(0), Kind.page_view)
    story.say(at(0, ms=1), Kind.page_view, "bob")
    story.say(at(30), Kind.email_sent)
    story.tick(at(364, h=23))
    assert list(story.oracle.customers) == ["ann", "bob"]
    story.tick(at(365))
    assert list(story.oracle.customers) == ["bob"]
    story.tick(at(366))
    assert list(story.oracle.customers) == []
    assert story.oracle.signals == []
    story.tick(at(2_000_000))  # nobody is left, so the years ahead cost nothing
    assert story.oracle.clock == at(2_000_000)


def test_forgetting_clears_what_the_crm_still_holds(dialed: Story) -> None:
    dial(dialed, at(0), 5)
    dialed.tick(at(365))
    signal = dialed.oracle.signals[-1]
    assert dialed.changes()[-1] == ("cleared", "high", "none")
    assert (signal["time"], signal["probability"]) == (at(365), close(1 / (1 + math.exp(-0.9))))
    assert dialed.oracle.customers == {}


def test_forgetting_is_silent_for_one_set_aside(dialed: Story) -> None:
    dial(dialed, at(0), 5)
    dialed.say(at(0), Kind.churned, channel="crm")
    told = len(dialed.oracle.signals)
    dialed.tick(at(365))
    assert (dialed.oracle.customers, len(dialed.oracle.signals)) == ({}, told)


def test_the_crm_hears_of_an_erasure_where_it_holds_a_level(dialed: Story) -> None:
    dial(dialed, at(0), 5)
    dialed.tick(at(1, h=5))
    assert dialed.forget(at(1), "ann") == "erases"
    assert dialed.oracle.signals[-1] == {
        "id": f"cx.touchpoints-0-{dialed.offset}-0",
        "subject": "ann",
        "time": at(1, h=5),
        "kind": "churn_risk",
        "change": "erased",
        "level": "none",
        "previous": "high",
    }
    told = len(dialed.oracle.signals)
    assert dialed.forget(at(1, ms=1), "ann") == "erases"
    dialed.say(at(2), Kind.page_view, "bob")
    dialed.forget(at(2), "bob")
    assert len(dialed.oracle.signals) == told  # of them it holds none


def test_the_crm_hears_of_an_erasure_of_one_who_has_churned(dialed: Story) -> None:
    dial(dialed, at(0), 5)
    dialed.say(at(0), Kind.churned, channel="crm")
    dialed.forget(at(1), "ann")
    assert dialed.changes()[-1] == ("erased", "high", "none")


def test_who_comes_back_is_new(dialed: Story) -> None:
    dial(dialed, at(0), 4)
    dialed.say(at(0), Kind.page_view, event_id="same")
    dialed.say(at(300), Kind.page_view, "bob")
    assert dialed.say(at(365), Kind.page_view, event_id="same") == "duplicate"
    assert dialed.say(at(365), Kind.page_view) == "accepted"
    assert list(dialed.oracle.customers) == ["bob", "ann"]
    assert dialed.card()["features"]["complaint"] == 0
    assert dialed.say(at(365), Kind.page_view, event_id="same") == "accepted"


# --- 5. ids


def test_ids_count_sweeps_first_then_friction_then_churn_risk() -> None:
    story = Story(Oracle(DIAL, topic="in", partition=3))
    for time, n in ((at(0, h=12), 4), (at(1), 3), (at(2), 4)):
        for who in ("bob", "ann"):
            dial(story, time, n, who)
    story.oracle.signals.clear()
    # One record ends both waits on day 8 (in order of appearance), then hurts and raises bob.
    story.say(at(9), Kind.complaint_opened, "bob", case_id="one more")
    cause = f"in-3-{story.offset}"
    assert [(s["id"], s["subject"], s["kind"], s["time"]) for s in story.oracle.signals] == [
        (f"{cause}-0", "bob", "churn_risk", at(8)),
        (f"{cause}-1", "ann", "churn_risk", at(8)),
        (f"{cause}-2", "bob", "churn_risk", at(9)),
    ]


def test_friction_comes_before_churn_risk_of_the_same_record() -> None:
    story = Story(Oracle(default_1(intercept=5)))
    story.say(at(0), Kind.contact, wait_s=3600)
    assert [(s["id"], s["kind"]) for s in story.oracle.signals] == [
        ("cx.touchpoints-0-0-0", "friction"),
        ("cx.touchpoints-0-0-1", "churn_risk"),
    ]


# --- random lives


def live(
    history: list[tuple[dict[str, Any], int | None]], params: ScoringParams
) -> tuple[Oracle, Counter[str]]:
    oracle = Oracle(params)
    seen = Counter(oracle.feed(event, offset, limit) for offset, (event, limit) in enumerate(history))
    for signal in oracle.signals:
        seen[str(signal.get("change", signal["kind"]))] += 1
        # below its threshold by the hysteresis it would have been cleared at an evaluation
        if (
            signal.get("change") == "cleared"
            and signal["probability"] >= params.thresholds[0] - params.hysteresis
        ):
            seen["cleared by forgetting"] += 1
    seen.update({"held_back": oracle.held_back, "forgotten": oracle.forgotten, "evicted": oracle.evicted})
    return oracle, seen


def test_a_random_history_meets_everything() -> None:
    history = random_history(1, 6000)
    assert history == random_history(1, 6000)
    assert history != random_history(2, 6000)
    kinds = {event["type"] for event, _ in history}
    assert kinds == {*(kind.type for kind in Kind), TICK_TYPE, FORGET_TYPE}
    for name, params in PARAMS.items():
        oracle, seen = live(history, params)
        wanted = [
            "accepted",
            "duplicate",
            "too_late",
            "from_the_future",
            "tick",
            "raised",
            "worsened",
            "eased",
            "cleared",
            "erased",
        ]
        wanted += ["friction", "held_back", "forgotten", "evicted"]
        if name == "unforgiving":
            wanted.append("cleared by forgetting")
        assert {what for what in wanted if seen[what] == 0} == set(), name
        levels = {(s["previous"], s["level"]) for s in oracle.signals if s["kind"] == "churn_risk"}
        assert len(levels) >= 10, name
        assert len({s["id"] for s in oracle.signals}) == len(oracle.signals)


@pytest.mark.parametrize("seed", range(3))
def test_random_events_are_valid(seed: int) -> None:
    for event, _ in random_history(seed, 3000):
        msgspec.convert(event, EVENT_TYPE)


def check_chain(oracle: Oracle, churned: set[str]) -> None:
    """Signals leave no gap, and what the CRM heard last is what the card says was announced.

    Who is forgotten while set aside leaves silently: his chain may begin anew.
    """
    announced: dict[str, str] = {}
    for signal in oracle.signals:
        if signal["kind"] == "churn_risk":
            subject = signal["subject"]
            assert signal["previous"] == announced.get(subject, "none") or subject in churned
            assert (signal["previous"] == signal["level"]) == (signal["change"] == "worsened")
            announced[subject] = signal["level"]
    for subject in oracle.customers:
        card = oracle.card(subject)
        assert card["announced"] == announced.get(subject, "none") or subject in churned
        assert 0 <= card["probability"] <= 1
        assert 0 <= card["effort"] <= 100
        assert 0 <= card["satisfaction"] <= 100
        assert all(0 <= x <= 1 for x in card["features"].values())


def check_life(history: list[tuple[dict[str, Any], int | None]], params: ScoringParams) -> None:
    oracle, _ = live(history, params)
    check_chain(oracle, {event["subject"] for event, _ in history if event["type"] == Kind.churned.type})


@settings(max_examples=25, deadline=None)
@given(histories(20, 80))
def test_signals_are_a_chain_without_gaps(history: list[tuple[dict[str, Any], int | None]]) -> None:
    assert 20 <= len(history) <= 80
    check_life(history, PARAMS["default"])


@settings(max_examples=5, deadline=None)
@given(long_histories(300, 900))
def test_signals_are_a_chain_over_long_histories(history: list[tuple[dict[str, Any], int | None]]) -> None:
    for params in PARAMS.values():
        check_life(history, params)
