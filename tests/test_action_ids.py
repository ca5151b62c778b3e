"""Which `action_id`s can be those of signals, and that the others are counted, wherever the log is cut."""

from __future__ import annotations

import functools
import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxstream.model.parameters import ScoringParams
from cxstream.scoring.action_ids import may_be_known
from cxstream.scoring.engine import Engine, Records
from workers import touchpoint

ORIGIN = "cx.touchpoints-3"


@pytest.mark.parametrize(
    ("action_id", "known"),
    [
        ("cx.touchpoints-3-41-0", True),
        ("cx.touchpoints-3-0-12", True),
        ("cx.touchpoints-3-42-0", False),  # the record itself
        ("cx.touchpoints-3-43-0", False),
        ("cx.touchpoints-2-41-0", False),  # a customer of another partition
        ("cx.touchpoints-31-41-0", False),
        ("cx.touchpoints-3-041-0", False),
        ("cx.touchpoints-3-41", False),
        ("cx.touchpoints-3-41-0-0", False),
        ("cx.touchpoints-3-41-0 ", False),
        ("cx.touchpoints-3-41-0\n", False),
        ("cx.touchpoints-3-٤-0", False),
        ("cx.churn-risk-3-41-0", False),
        ("other.cx.touchpoints-3-41-0", False),
        ("cx.touchpoints-3-" + "9" * 30 + "-0", False),
        ("task-17", False),
        ("", False),
    ],
)
def test_what_may_be_a_signal(action_id: str, known: bool) -> None:
    assert may_be_known(action_id, ORIGIN, 42) is known


@functools.cache
def log() -> list[bytes]:
    """A customer who gets signals, what the CRM did about them, and ids that are none."""
    story = [
        touchpoint("anna", 1, "contact", channel="call", topic="invoice", wait_s=600, resolved=False),
        touchpoint("anna", 2, "contact", channel="call", topic="invoice", wait_s=600, resolved=False),
        touchpoint("anna", 3, "survey_nps", score=1),
        touchpoint("anna", 4, "complaint_opened", case_id="c"),
    ]
    sent = Engine(ScoringParams(), {}).process(Records(story, range(len(story)))).signals
    ids = [json.loads(each.value)["id"] for each in sent]
    assert len(ids) > 1
    taken = [
        touchpoint("anna", 10 + n, "action_taken", channel="crm", action="call", action_id=each)
        for n, each in enumerate(ids)
    ]
    wrong = [
        touchpoint("anna", 30, "action_taken", channel="crm", action="call", action_id="task-1"),
        touchpoint(
            "anna", 30, "action_taken", channel="crm", action="call", action_id="task-1"
        ),  # a duplicate
        touchpoint("anna", 31, "won_back", channel="crm", action_id="cx.touchpoints-0-999-0"),
        touchpoint("anna", 32, "purchase", amount=1, currency="EUR", action_id="cx.touchpoints-7-0-0"),
        touchpoint("anna", 33, "won_back", channel="crm"),
        touchpoint("anna", 34, "action_taken", channel="crm", action="call", action_id=7),  # invalid
    ]
    return [*story, *taken, *wrong]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=30))
def test_unknown_ids_are_counted_once_wherever_the_log_is_cut(sizes: list[int]) -> None:
    values, engine, begin = log(), Engine(ScoringParams(), {}), 0
    found: Counter[str] = Counter()
    for size in [*sizes, len(values)]:
        part = values[begin : begin + size]
        found.update(engine.process(Records(part, range(begin, begin + len(part)))).unknown_actions)
        begin += len(part)
    assert found == {"/test": 3}
