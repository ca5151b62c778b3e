"""Actions taken for a customer, the signals that they answer, and what came after each."""

from __future__ import annotations

import json
from typing import Any

from cxstream.customer.actions import After, actions, change_in_words
from cxstream.customer.history import touches
from cxstream.settings import Settings
from test_customer import Written
from workers import touchpoint


def signal(offset: int, change: str, previous: str, level: str, p: float) -> dict[str, Any]:
    """As much of a churn-risk signal as is looked at."""
    cause = {"topic": "cx.touchpoints", "partition": 0, "offset": offset}
    data = {"change": change, "previous": previous, "level": level, "probability": p, "cause": cause}
    return {"id": f"cx.touchpoints-0-{offset}-0", "time": f"2025-03-01T00:00:{offset:02}.000Z", "data": data}


def taken(number: int, signal_offset: int, **data: Any) -> bytes:
    """An `action_taken`."""
    given = {"channel": "crm", "action": "call_back", "arm": "treated", **data}
    return touchpoint(
        "anna", number, "action_taken", action_id=f"cx.touchpoints-0-{signal_offset}-0", **given
    )


LOG = [
    touchpoint("anna", 0),
    taken(1, 0),
    touchpoint("anna", 2, "contact", channel="call", resolved=True),
    touchpoint("anna", 3, "survey_nps", score=9, action_id="cx.touchpoints-0-0-0"),
    taken(1, 0),
    touchpoint("anna", 5, "purchase", amount=20, currency="EUR"),
    taken(6, 5, arm="holdout"),
    touchpoint("anna", 7, "churned", channel="crm", reason="moved away"),
    taken(8, 99),
]
SIGNALS = [
    signal(0, "raised", "none", "high", 0.61),
    signal(3, "eased", "high", "elevated", 0.44),
    signal(5, "raised", "elevated", "critical", 0.8),
    signal(5, "worsened", "critical", "critical", 0.95),
    {"id": "f", "time": "", "data": {"effort_points": 9.0}},
]
SIGNALS[3]["id"] = "cx.touchpoints-0-5-1"


def test_each_action_has_what_it_answers_and_what_came_after() -> None:
    records = [Written(offset, value) for offset, value in enumerate(LOG)]
    found = actions(records, touches(Settings(), "anna", records), SIGNALS, "cx.touchpoints")
    assert [(each.offset, each.action, each.arm, each.answers) for each in found] == [
        (1, "call_back", "treated", "raised from none to high, 61%"),
        (6, "call_back", "holdout", "raised from elevated to critical, 80%"),
        (8, "call_back", "treated", ""),  # the one at 4 is a duplicate
    ]
    assert [[after.what for after in each.after] for each in found] == [
        [
            "eased from high to elevated, 44%",
            "survey_nps 9",
            "raised from elevated to critical, 80%",
            "worsened at critical, 95%",
            "purchase 20 EUR",
        ],
        ["churned moved away"],
        [],
    ]
    assert found[0].after[1] == After("2025-03-01T00:00:03Z", "survey_nps 9", "cx.touchpoints-0-0-0")
    assert found[2].action_id == "cx.touchpoints-0-99-0"


def test_a_signal_of_an_erased_customer_has_no_scores() -> None:
    assert change_in_words({"change": "erased", "cause": {}}) == "erased on request"


def test_actions_in_binary_mode_and_without_details() -> None:
    event = json.loads(LOG[1])
    event["data"] = {"channel": "crm", "action": "call_back"}
    headers = [("content-type", b"application/json")]
    headers += [(f"ce_{name}", str(event[name]).encode()) for name in event if name != "data"]
    record = Written(0, json.dumps(event["data"]).encode())
    record.headers = tuple(headers)  # type: ignore[assignment]
    (found,) = actions([record], touches(Settings(), "anna", [record]), [], "cx.touchpoints")
    assert (found.action, found.arm, found.action_id, found.answers) == ("call_back", "", "", "")
