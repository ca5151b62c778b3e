"""Reasons of many signals at once are those of each row alone, in plain Python."""

from __future__ import annotations

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import evidence
from cxstream.kernels import layout as k
from cxstream.model.features import FEATURES
from cxstream.model.outputs import Reason
from cxstream.model.parameters import DAY_MS, OwnKind, ScoringParams
from cxstream.model.rules import rules_of
from cxstream.scoring import words
from cxstream.scoring.signals import Writer
from cxstream.scoring.words import Own

KINDS = {"parcel_lost": OwnKind(effort=4), "bad_coffee": OwnKind(mood=-2)}
PARAMS = ScoringParams(
    kinds=KINDS, coefficients={name: 0.5 + 0.25 * (i % 3) for i, name in enumerate(FEATURES)}
)
CLOCK = 20_500 * DAY_MS + 5_000_000

few = st.one_of(st.integers(0, 3), st.integers(0, 70_000))
ages = st.integers(0, 100 * DAY_MS)
scores = st.floats(0, 100)


@st.composite
def rows(draw: st.DrawFn) -> list[float]:
    """The numbers of a signal as the kernel writes them."""
    row = [0.0] * k.SIGNAL_WIDTH
    row[k.S_WHAT] = draw(st.sampled_from([k.RAISED, k.WORSENED, k.EASED, k.CLEARED]))
    row[k.S_CLOCK] = CLOCK
    for at in (k.S_EFFORT, k.S_EFFORT_SHORT, k.S_SAT):
        row[at] = draw(scores)
    for at in (k.S_CONTACTS, k.S_FAILED, k.S_TRANSFERS, k.S_UNRESOLVED, k.S_ABANDONED, k.S_LATE, k.S_WAITED):
        row[at] = draw(few)
    row[k.S_SPAN] = draw(st.sampled_from([1, 7, 90]))
    row[k.S_TOPIC_N] = draw(st.integers(0, max(int(row[k.S_CONTACTS]), 1)))
    row[k.S_COMPLAINTS], row[k.S_NPS] = draw(st.integers(0, 8)), draw(st.integers(-1, 10))
    row[k.S_COMPLAINT_TIME], row[k.S_NPS_TIME] = CLOCK - draw(ages), CLOCK - draw(ages)
    row[k.S_QUIET], row[k.S_RHYTHM] = draw(st.floats(0, 90)), draw(st.floats(0, 90))
    row[k.S_ACTIVE], row[k.S_USUAL] = draw(st.integers(0, 30)), draw(st.floats(0, 30))
    row[k.S_ANSWERS], row[k.S_UNSUBSCRIBED] = draw(st.floats(0, 5)), draw(st.integers(-1, 90))
    row[k.S_BOUGHT], row[k.S_BOUGHT_SPAN] = draw(st.integers(0, 9)), draw(st.integers(0, 900))
    row[k.S_BOUGHT_AGE] = row[k.S_BOUGHT_SPAN] + draw(st.integers(0, 900))
    for i, name in enumerate(FEATURES):
        row[k.S_X + i] = draw(st.one_of(st.just(PARAMS.typical[name]), st.just(0.5), st.floats(0, 1)))
    for at in range(k.S_OWN, k.SIGNAL_WIDTH, 2):
        row[at], row[at + 1] = draw(
            st.sampled_from([(k.NONE, 0), (k.FIRST_OWN, 2), (k.FIRST_OWN + 1, 1), (k.FIRST_OWN, 1)])
        )
    return row


def text(said: bytes) -> str:
    """What stands in JSON within quotes."""
    found: str = msgspec.json.decode(b'"%b"' % said)
    return found


def own_of(row: list[float]) -> list[Own]:
    named = list(PARAMS.kinds)
    return [
        Own(name, int(row[at + 1]), PARAMS.kinds[name].effort > 0)
        for at in range(k.S_OWN, k.SIGNAL_WIDTH, 2)
        if row[at + 1]
        for name in [named[int(row[at]) - k.FIRST_OWN]]
    ]


@settings(deadline=None, max_examples=60)
@given(st.lists(rows(), min_size=1, max_size=8), st.sampled_from(["", "faktura „VAT”"]))
def test_reasons_of_many_signals_are_those_of_each(some: list[list[float]], topic: str) -> None:
    writer = Writer(rules_of(PARAMS, {}), "cx.touchpoints", 0)
    drafts = writer.drafts(np.array(some), [topic] * len(some))
    for row, draft in zip(some, drafts, strict=True):
        own = own_of(row)
        expected = evidence.reasons(PARAMS, row, topic, own)
        assert draft.reasons == msgspec.json.encode([Reason(*each) for each in expected])
        assert (draft.leading, draft.raises) == (
            (expected[0][0], expected[0][2] > 0) if expected else (None, False)
        )


@settings(deadline=None, max_examples=30)
@given(st.lists(rows(), min_size=1, max_size=8), st.sampled_from(["", "invoice"]))
def test_troubles_of_friction_signals_are_those_of_each(some: list[list[float]], topic: str) -> None:
    for row in some:
        row[k.S_WHAT] = k.FRICTION
    drafts = Writer(rules_of(PARAMS, {}), "cx.touchpoints", 0).drafts(np.array(some), [topic] * len(some))
    for row, draft in zip(some, drafts, strict=True):
        assert text(draft.troubles) == ", ".join(evidence.troubles(row, topic, own_of(row)))
        assert text(draft.complaints) == evidence.complaints(row)
        assert draft.reasons == b"[]"


@settings(deadline=None, max_examples=60)
@given(rows(), st.sampled_from(["", "fak\ttura „VAT”"]), st.sampled_from([-0.5, 0.5]))
def test_the_evidence_of_one_signal_is_that_of_many(
    row: list[float], topic: str, contribution: float
) -> None:
    own = own_of(row)
    for name in FEATURES:
        assert words.evidence(name, row, topic, contribution, own) == evidence.evidence(
            name, row, topic, contribution, own
        )


tenths = st.one_of(
    st.floats(0, 1e6),
    st.integers(0, 10**6).map(lambda n: n / 20),
    st.integers(0, 10**6).map(lambda n: n / 1000),
)


@settings(deadline=None, max_examples=300)
@given(tenths, st.sampled_from([-1, 0, 1]))
def test_numbers_are_rounded_as_python_rounds(number: float, beside: int) -> None:
    row = [0.0] * k.SIGNAL_WIDTH
    row[k.S_RHYTHM] = float(np.nextafter(number, beside * np.inf)) if beside else number
    said = words.evidence("silence", row, "", 1.0)
    assert said == f"no touch for 0 days, usually one every {row[k.S_RHYTHM]:.1f} days"


def test_a_text_does_not_depend_on_the_sign_of_nothing() -> None:
    row = [0.0] * k.SIGNAL_WIDTH
    row[k.S_EFFORT] = row[k.S_EFFORT_SHORT] = row[k.S_SAT] = -0.25
    assert words.evidence("surge", row, "", 1.0) == "effort 0 of 100 this week against 0 over the window"
