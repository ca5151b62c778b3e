"""Signals written together are those of each row alone, in plain Python."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import evidence
import signal_events
from cxstream.kernels import layout as k
from cxstream.model.enumerations import CHANNELS
from cxstream.model.experiments import Experiment
from cxstream.model.features import FEATURES
from cxstream.model.kinds import Kind
from cxstream.model.parameters import DAY_MS, OwnKind, PurchaseModel, ScoringParams
from cxstream.model.rules import Rules, rules_of
from cxstream.scoring import words
from cxstream.scoring.codec.events import Felt, Where
from cxstream.scoring.codec.packed import Packed
from cxstream.scoring.signals import Signals, Writer
from cxstream.settings import ACTIONS

KINDS = {"parcel_lost": OwnKind(effort=4), "bad_coffee": OwnKind(mood=-2)}
PARAMS = ScoringParams(
    kinds=KINDS, coefficients={name: 0.5 + 0.25 * (i % 3) for i, name in enumerate(FEATURES)}
)
TRIALS = {
    "calls": Experiment(holdout=0.5, levels=("high", "critical")),
    "mails": Experiment(holdout=0.5, levels=("elevated",)),
}
RULES = [
    rules_of(PARAMS.model_copy(update={"experiments": trials, "purchase_model": model}), actions)
    for trials, model, actions in (
        ({}, None, ACTIONS),
        (TRIALS, None, {"effort": 'ring "up"'}),
        ({}, PurchaseModel(r=1, alpha=1, a=1, b=1), {}),
        ({"calls": TRIALS["calls"]}, PurchaseModel(r=1, alpha=1, a=1, b=1), ACTIONS),
    )
]
WHATS = [k.FRICTION, k.RAISED, k.WORSENED, k.EASED, k.CLEARED, k.ERASURE]
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


texts = st.sampled_from(["", "anna", "faktura „VAT”", 'a"b\\c\n\x00\x7f', "😀" * 9, "x" * 70])
felts = st.builds(
    Felt,
    st.sampled_from(["click", "contact", *KINDS]).map(lambda name: f"cx.touchpoint.{name}.v1"),
    st.builds(Where, st.sampled_from(CHANNELS), st.none() | texts),
)
worths = st.just(math.nan) | st.floats(0, 1e5)


@settings(deadline=None, max_examples=120)
@given(
    st.data(), st.sampled_from(RULES), st.lists(st.tuples(rows(), texts, texts, felts, worths), max_size=9)
)
def test_signals_are_those_of_each_row_alone(data: st.DataObject, rules: Rules, some: list[Any]) -> None:
    table, names, topics, felt, clvs = map(list, zip(*some, strict=True)) if some else ([[]] * 5)
    for i, row in enumerate(table):
        row[k.S_INDEX], row[k.S_WHAT] = i, data.draw(st.sampled_from(WHATS))
        row[k.S_LEVEL], row[k.S_PREVIOUS] = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 3))
        row[k.S_P : k.S_X] = data.draw(
            st.lists(st.floats(0, 100), min_size=k.S_X - k.S_P, max_size=k.S_X - k.S_P)
        )
        row[k.S_ALIVE] = data.draw(st.just(math.nan) | st.floats(0, 1))
    causes = [(10**9 * i + 7, i % 3) for i in range(len(some))]
    labels = [*(kind.label for kind in Kind), *rules.params.kinds]
    told = Signals(
        np.array(table).reshape(-1, k.SIGNAL_WIDTH),
        Packed.of([name.encode() for name in names]),
        topics,
        np.array([offset for offset, _ in causes], np.int64),
        np.array([turn for _, turn in causes], np.int64),
        np.array([labels.index(each.type.split(".")[2]) for each in felt], np.int64),
        np.array(clvs, np.float64),
        np.arange(len(some)),
        felt.__getitem__,
    )
    writer = Writer(rules, 'eu."cx"', 3)
    expected = [
        signal_events.signal(rules, ('eu."cx"', 3), *rest)
        for rest in zip(table, names, topics, causes, felt, clvs, strict=True)
    ]
    assert writer.signals(told) == expected
    assert [writer.signals(one) for one in told.parts(1)] == [[each] for each in expected]


@settings(deadline=None, max_examples=60)
@given(rows(), st.sampled_from(["", "fak\ttura „VAT”"]), st.sampled_from([-0.5, 0.5]))
def test_the_evidence_of_one_signal_is_that_of_many(
    row: list[float], topic: str, contribution: float
) -> None:
    own = signal_events.own_of(RULES[0], row)
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
