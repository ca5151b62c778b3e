"""What signals say in words, as steps that a kernel takes: constant texts, and numbers, names and choices between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cxstream.kernels.decimals import put_number, put_whole
from cxstream.kernels.documents import Texts, put_escaped, put_text
from cxstream.kernels.evidence import facts_of, weigh
from cxstream.kernels.jit import entry, kernel
from cxstream.kernels.layout import (
    FEATURES,
    FIRST_OWN,
    FRICTION,
    OWN_NAMED,
    S_BOUGHT,
    S_BOUGHT_AGE,
    S_BOUGHT_SPAN,
    S_COMPLAINT_TIME,
    S_COMPLAINTS,
    S_CONTACTS,
    S_OWN,
    S_SPAN,
    S_TOPIC_N,
    S_WHAT,
    S_X,
    SIGNAL_WIDTH,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cxstream.kernels.purchases import Int

# What a step does; the columns are those of facts.
(
    SAY,  # write a text
    COUNT,  # write a whole number of a column, and a text for one or another for several
    WHOLE,  # write a column without what is behind its point
    TENTHS,  # write a column with one digit behind the point
    AGO,  # write how many days ago
    WAITED,  # write a time in seconds, in minutes from one minute on
    SPAN,  # write in how many days
    TOPIC,  # write the contact topic
    OWN,  # write the kinds of the company's own that cost effort (1) or that only annoy (0)
    NEXT,  # write a comma unless nothing is written yet
    UNLESS,  # pass over some steps where a column is 0
    UNLESS_SAID,  # ... where nothing is written yet
    SKIP,  # pass over some steps
) = range(13)
# Columns of facts behind those of a signal: what choices depend on, and what is worked out for the texts.
(
    F_RAISES, F_LOWERS, F_NAMED, F_ALL_NAMED, F_OLD_COMPLAINT, F_COMPLAINTS, F_AGAIN, F_LAPSED, F_EVERY, F_COSTLY, F_ANNOYING,
    FACTS,
) = range(SIGNAL_WIDTH, SIGNAL_WIDTH + 12)  # fmt: skip
# The first texts of a program, whatever it says.
COMMA, TODAY, YESTERDAY, DAYS_AGO, MINUTES, SECONDS, IN, DAYS, SPACE, SHORT_TIME, FIXED = range(11)
FIXED_TEXTS = (
    ", ", "today", "yesterday", " days ago", " min waited", " s waited", "in ", " days", " ", "effort in a short time",
)  # fmt: skip
# Programs behind those of the features.
TROUBLES, COMPLAINTS, PROGRAMS = FEATURES, FEATURES + 1, FEATURES + 2
_MINUTE = 60.0
_POINT, _ZERO, _MINUS, _COMMA, _QUOTE, _OPEN, _CLOSE, _END = 46, 48, 45, 44, 34, 91, 93, 125
# What is written of a reason around its evidence: what comes before the value, the contribution and the evidence.
PIECES = 3


class Program(NamedTuple):
    """How texts are put together.

    Attributes:
        steps: int64[m, 4], of all programs, one after the other: what to do, and up to three numbers.
        begins: int64[PROGRAMS + 1], where each program begins.
        texts: constant texts, as JSON has them within quotes: FIXED_TEXTS, and others.
        pieces: PIECES texts for each feature.
    """

    steps: NDArray[np.int64]
    begins: NDArray[np.int64]
    texts: Texts
    pieces: Texts


@kernel
def _put(out: NDArray[np.uint8], at: int, texts: Texts, which: Int) -> int:
    return put_text(out, at, texts.text, texts.begins[which], texts.ends[which])


@kernel
def _put_tenths(out: NDArray[np.uint8], at: int, x: float) -> int:
    """Write a number below 2^53 as Python formats it with `.1f`: of two that are equally near the even one."""
    if x < 0.0:
        out[at] = _MINUS
        at += 1
        x = -x
    whole = np.floor(x)
    # Ten times what is behind the point, exactly: two summands and what is lost in their sum.
    most, more = 8.0 * (x - whole), 2.0 * (x - whole)
    total = most + more
    seen = total - most
    lost = (most - (total - seen)) + (more - seen)
    digit = np.floor(total)
    rest = total - digit
    if rest > 0.5 or (rest == 0.5 and (lost > 0.0 or (lost == 0.0 and digit % 2.0 == 1.0))):
        digit += 1.0
    if digit == 10.0:
        whole, digit = whole + 1.0, 0.0
    at = put_whole(out, at, np.int64(whole))
    out[at], out[at + 1] = _POINT, _ZERO + np.int64(digit)
    return at + 2


@kernel
def _put_ago(out: NDArray[np.uint8], at: int, texts: Texts, days: float) -> int:
    if days < 1.0:
        return _put(out, at, texts, TODAY)
    if days < 2.0:
        return _put(out, at, texts, YESTERDAY)
    return _put(out, put_whole(out, at, np.int64(days)), texts, DAYS_AGO)


@kernel
def _put_own(
    out: NDArray[np.uint8], at: int, begin: int, texts: Texts, facts: NDArray[np.float64], own: Texts,
    costs: NDArray[np.int64], wanted: int,
) -> int:  # fmt: skip
    for place in range(S_OWN, S_OWN + 2 * OWN_NAMED, 2):
        if facts[place + 1] == 0.0:
            continue
        kind = np.int64(facts[place]) - FIRST_OWN
        if costs[kind] != wanted:
            continue
        if at > begin:
            at = _put(out, at, texts, COMMA)
        at = _put(out, put_whole(out, at, np.int64(facts[place + 1])), texts, SPACE)
        at = _put(out, at, own, kind)
    return at


@kernel
def _say(
    out: NDArray[np.uint8], at: int, program: Program, which: int, facts: NDArray[np.float64], own: Texts,
    costs: NDArray[np.int64], topics: Texts, topic: int,
) -> int:  # fmt: skip
    """Take the steps of a program; returns where the text ends."""
    texts, begin = program.texts, at
    i = program.begins[which]
    while i < program.begins[which + 1]:
        op, a, b, c = program.steps[i, 0], program.steps[i, 1], program.steps[i, 2], program.steps[i, 3]
        i += 1
        if op == SAY:
            at = _put(out, at, texts, a)
        elif op == COUNT:
            n = np.int64(facts[a])
            at = _put(out, put_whole(out, at, n), texts, b if n == 1 else c)
        elif op == WHOLE:
            at = put_whole(out, at, np.int64(facts[a]))
        elif op == TENTHS:
            at = _put_tenths(out, at, facts[a])
        elif op == AGO:
            at = _put_ago(out, at, texts, facts[a])
        elif op == WAITED:
            minutes = facts[a] >= _MINUTE
            number = np.rint(facts[a] / _MINUTE) if minutes else facts[a]
            at = _put(out, put_whole(out, at, np.int64(number)), texts, MINUTES if minutes else SECONDS)
        elif op == SPAN:
            if facts[S_SPAN] == 1.0:
                at = _put(out, at, texts, TODAY)
            else:
                at = _put(out, put_whole(out, _put(out, at, texts, IN), np.int64(facts[S_SPAN])), texts, DAYS)
        elif op == TOPIC:
            at = put_escaped(out, at, topics.text, topics.begins[topic], topics.ends[topic])
        elif op == OWN:
            at = _put_own(out, at, begin, texts, facts, own, costs, a)
        elif op == NEXT:
            if at > begin:
                at = _put(out, at, texts, COMMA)
        elif op == UNLESS:
            i += b if facts[a] == 0.0 else 0
        elif op == UNLESS_SAID:
            i += b if at == begin else 0
        else:
            i += b
    return at


@kernel
def _has_own(facts: NDArray[np.float64], kind: Int) -> bool:
    for place in range(S_OWN, S_OWN + 2 * OWN_NAMED, 2):
        if facts[place + 1] != 0.0 and np.int64(facts[place]) == kind:
            return True
    return False


@kernel
def _put_friction(
    out: NDArray[np.uint8], at: int, program: Program, facts: NDArray[np.float64], own: Texts, costs: NDArray[np.int64],
    topics: Texts, topic: int, kind: Int,
) -> int:  # fmt: skip
    """Write what is behind a signal of friction: what cost effort, or else open complaints; its own event in any case."""
    begin = at
    at = _say(out, at, program, TROUBLES, facts, own, costs, topics, topic)
    if kind >= FIRST_OWN and kind - FIRST_OWN < len(costs) and not _has_own(facts, kind):
        if at > begin:
            at = _put(out, at, program.texts, COMMA)
        at = _put(out, at, own, kind - FIRST_OWN)
    if at == begin:
        at = _say(out, at, program, COMPLAINTS, facts, own, costs, topics, topic)
    return at if at > begin else _put(out, at, program.texts, SHORT_TIME)


@kernel
def _choose(facts: NDArray[np.float64], costs: NDArray[np.int64], named: bool) -> None:
    """Fill in the columns behind those of a signal, but for those about a contribution."""
    facts[F_NAMED] = 1.0 if named and facts[S_TOPIC_N] != 0.0 else 0.0
    facts[F_ALL_NAMED] = 1.0 if facts[S_TOPIC_N] == facts[S_CONTACTS] else 0.0
    facts[F_OLD_COMPLAINT] = 1.0 if facts[S_COMPLAINT_TIME] >= 1.0 else 0.0
    facts[F_COMPLAINTS] = 1.0 if facts[S_COMPLAINTS] != 1.0 else 0.0
    bought = np.trunc(facts[S_BOUGHT])
    facts[F_AGAIN] = 1.0 if bought > 1.0 else 0.0
    facts[F_LAPSED] = np.trunc(facts[S_BOUGHT_AGE] - facts[S_BOUGHT_SPAN])
    facts[F_EVERY] = np.rint(facts[S_BOUGHT_SPAN] / (bought - 1.0)) if bought > 1.0 else 0.0
    facts[F_COSTLY] = facts[F_ANNOYING] = 0.0
    for place in range(S_OWN, S_OWN + 2 * OWN_NAMED, 2):
        if facts[place + 1] != 0.0:
            if costs[np.int64(facts[place]) - FIRST_OWN] != 0:
                facts[F_COSTLY] = 1.0
            else:
                facts[F_ANNOYING] = 1.0


@entry
def say(
    rows: NDArray[np.float64], facts: NDArray[np.float64], program: Program, which: int, contribution: float, own: Texts,
    costs: NDArray[np.int64], topics: Texts, out: NDArray[np.uint8],
) -> int:  # fmt: skip
    """Write one text about one signal.

    Args:
        rows: float64[1, SIGNAL_WIDTH].
        facts: float64[1, FACTS], scratch.
        program: how.
        which: number of the program.
        contribution: of the feature that it is about.
        own: names of kinds of the company's own, as JSON has them within quotes.
        costs: int64[...], which of them cost effort.
        topics: one contact topic, "" for none.
        out: uint8[...], filled in.

    Returns:
        Where it ends.
    """
    facts_of(rows, facts)
    _choose(facts[0], costs, topics.ends[0] > topics.begins[0])
    facts[0, F_RAISES], facts[0, F_LOWERS] = (
        1.0 if contribution > 0.0 else 0.0,
        1.0 if contribution < 0.0 else 0.0,
    )
    return _say(out, 0, program, which, facts[0], own, costs, topics, 0)


@entry
def say_all(
    rows: NDArray[np.float64], facts: NDArray[np.float64], b: NDArray[np.float64], typical: NDArray[np.float64],
    contributions: NDArray[np.float64], order: NDArray[np.int64], counts: NDArray[np.int64], program: Program, own: Texts,
    costs: NDArray[np.int64], topics: Texts, kinds: NDArray[np.int64], out: NDArray[np.uint8], ends: NDArray[np.int64],
    bits: NDArray[np.uint64], weights: NDArray[np.uint64],
) -> int:  # fmt: skip
    """Write what signals say in words.

    Args:
        rows: float64[n, SIGNAL_WIDTH].
        facts: float64[n, FACTS], filled in.
        b: float64[FEATURES], coefficients.
        typical: float64[FEATURES].
        contributions: float64[n, FEATURES], filled in.
        order: int64[n, FEATURES], filled in with the numbers of features, the strongest first.
        counts: int64[n], filled in: how many of them are reasons.
        program: how.
        own: names of kinds of the company's own, as JSON has them within quotes.
        costs: int64[...], which of them cost effort.
        topics: contact topics of the signals, "" for none.
        kinds: int64[n], of the events that caused the signals; one below FIRST_OWN is not named.
        out: uint8[...], filled in, with WIDE more bytes than are written: of a signal of friction a text of JSON, of others a list of
            reasons.
        ends: int64[n], filled in: where each ends.
        bits: uint64[n, SIGNAL_WIDTH], the memory of `rows`: to view it so in a kernel needs what Numba loads to compile.
        weights: uint64[n, FEATURES], the memory of `contributions`.

    Returns:
        Where the last one ends.
    """
    facts_of(rows, facts)
    weigh(rows, b, typical, contributions, order, counts)
    at = 0
    for i in range(len(rows)):
        fact = facts[i]
        _choose(fact, costs, topics.ends[i] > topics.begins[i])
        if rows[i, S_WHAT] == FRICTION:
            out[at] = _QUOTE
            at = _put_friction(out, at + 1, program, fact, own, costs, topics, i, kinds[i])
            out[at] = _QUOTE
            at = ends[i] = at + 1
            continue
        out[at] = _OPEN
        at += 1
        for place in range(counts[i]):
            j = order[i, place]
            mine = contributions[i, j]
            fact[F_RAISES], fact[F_LOWERS] = 1.0 if mine > 0.0 else 0.0, 1.0 if mine < 0.0 else 0.0
            if place > 0:
                out[at] = _COMMA
                at += 1
            at = _put(out, at, program.pieces, PIECES * j)
            at = put_number(out, at, bits[i, S_X + j])
            at = _put(out, at, program.pieces, PIECES * j + 1)
            at = put_number(out, at, weights[i, j])
            at = _put(out, at, program.pieces, PIECES * j + 2)
            at = _say(out, at, program, j, fact, own, costs, topics, i)
            out[at], out[at + 1] = _QUOTE, _END
            at += 2
        out[at] = _CLOSE
        at += 1
        ends[i] = at
    return at
