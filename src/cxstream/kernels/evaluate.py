"""Scores, churn risk and levels of one customer at a clock: scoring sections 3 and 4.

`values` is a float64 row whose first columns are laid out like a signal's (S_P ... S_X + FEATURES).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.jit import entry, kernel
from cxstream.kernels.layout import (
    C_ACUTE,
    C_ALIVE,
    C_BOUGHT,
    C_BOUGHT_AGE,
    C_BOUGHT_SPAN,
    C_EFFORT,
    C_EFFORT_HW,
    C_P,
    C_SAT,
    C_SAT_HW,
    C_SPENT,
    C_T1,
    C_T7,
    C_T30,
    C_T90,
    C_X,
    CHANGED,
    CLEARED,
    EASED,
    FEATURES,
    NEVER,
    NO_DAY,
    NO_SIGNAL,
    NONE,
    RAISED,
    S_ACTIVE,
    S_ALIVE,
    S_BOUGHT,
    S_BOUGHT_AGE,
    S_BOUGHT_SPAN,
    S_EFFORT,
    S_EFFORT_HW,
    S_EFFORT_SHORT,
    S_P,
    S_QUIET,
    S_RHYTHM,
    S_SAT,
    S_SAT_HW,
    S_SPENT,
    S_USUAL,
    S_X,
    SUPPRESSED,
    WORSENED,
    X_COMPLAINT,
    X_DETRACTOR,
    X_DISSATISFACTION,
    X_EFFORT,
    X_JUST_UNSUBSCRIBED,
    X_LAPSE,
    X_SILENCE,
    X_SLOWDOWN,
    X_SURGE,
    X_UNRESOLVED,
    X_UNSUBSCRIBED,
    Constants,
    State,
)
from cxstream.kernels.panes import AHEAD, touch_panes
from cxstream.kernels.seldom import seldom_of
from cxstream.kernels.worth import alive

if TYPE_CHECKING:
    from numpy.typing import NDArray

DAY = 86_400_000
NO_RAISE = 255


@kernel
def half(exponent: float) -> float:
    """2 ** -exponent."""
    return math.exp(-exponent * 0.6931471805599453)


@kernel
def _half_width(c: Constants, spread: float, answers: float, touches: float) -> float:
    """Half of the interval that the next answer lies in: it varies, and so do those in the score; the implicit score errs."""
    total = c.k + answers
    # Their squared weights are not known. They add up to the sum of weights or its square at most, whichever is less.
    of_answers = answers * min(answers, 1.0) / (total * total)
    implicit = c.k / total
    error = spread * implicit * implicit / (1.0 + c.touch_weight * touches)
    return c.z * math.sqrt(c.answer_variance * (1.0 + of_answers) + error)


@kernel
def _lapse(st: State, c: Constants, slot: int, today: int, values: NDArray[np.float64]) -> float:
    """1 - P(alive); 0 without a purchase model or a purchase. The facts behind it go into `values`."""
    values[S_ALIVE] = math.nan
    values[S_BOUGHT] = 0.0
    if c.alive_r == 0.0 or st.purchases[slot] == NONE:
        return 0.0
    buyer = st.buyers[st.purchases[slot]]
    if buyer.days <= 0:
        return 0.0
    span = float(buyer.last - buyer.first)
    age = max(float(today - buyer.first), span)
    values[S_ALIVE] = alive(c.alive_r, c.alive_alpha, c.alive_a, c.alive_b, buyer.days - 1.0, span, age)
    values[S_BOUGHT] = buyer.days
    values[S_BOUGHT_SPAN] = span
    values[S_BOUGHT_AGE] = age
    values[S_SPENT] = buyer.spent
    return 1.0 - values[S_ALIVE]


@kernel
def evaluate(st: State, c: Constants, slot: int, clock: int, values: NDArray[np.float64]) -> None:
    """Write scores, probability and features at `clock` into `values`."""
    row = st.rows[slot]
    today = clock // DAY
    effort = mood = effort_answers_sum = effort_answers_weight = sat_sum = sat_n = touches = unresolved = 0.0
    short_effort = short_sum = short_n = 0.0
    active = recent = 0
    newest = oldest = 0
    index = row.head
    while index != NONE:
        pane = st.panes[index]
        age = today - pane.day
        if age >= c.window:
            break
        w = c.weights[age]
        effort += w * pane.effort
        mood += w * pane.mood
        if pane.answers != 0:
            answers = st.answers[pane.answers]
            effort_answers_sum += w * answers.effort_sum
            effort_answers_weight += w * answers.effort_weight
            sat_sum += w * answers.sat_sum
            sat_n += w * answers.sat_n
        touches += w * pane.touches
        unresolved += w * (pane.unresolved + pane.abandoned)
        if age < c.surge_window:
            short_effort, short_sum, short_n = effort, effort_answers_sum, effort_answers_weight
        if pane.touches > 0:
            if active == 0:
                newest = pane.day
            oldest = pane.day
            active += 1
            if age < c.slowdown_window:
                recent += 1
        index = pane.next

    # Most customers have no effort at all, or none that is old: then there is nothing to work out twice.
    long_rest = half(effort / c.effort_scale) if effort != 0.0 else 1.0
    short_rest = long_rest
    if short_effort != effort:
        short_rest = half(short_effort / c.effort_scale) if short_effort != 0.0 else 1.0
    long_score = (c.k * 100.0 * (1.0 - long_rest) + effort_answers_sum) / (c.k + effort_answers_weight)
    short_score = (c.k * 100.0 * (1.0 - short_rest) + short_sum) / (c.k + short_n)
    implicit = 100.0 / (1.0 + math.exp(-(c.logit_prior + mood / c.mood_scale)))
    satisfaction = (c.k * implicit + sat_sum) / (c.k + sat_n)

    values[S_EFFORT] = long_score
    values[S_EFFORT_HW] = _half_width(c, c.effort_spread, effort_answers_weight, touches)
    values[S_SAT] = satisfaction
    values[S_SAT_HW] = _half_width(c, c.satisfaction_spread, sat_n, touches)
    values[S_EFFORT_SHORT] = short_score
    values[S_X + X_EFFORT] = long_score / 100.0
    values[S_X + X_SURGE] = max(0.0, short_score - long_score) / 100.0
    values[S_X + X_DISSATISFACTION] = 1.0 - satisfaction / 100.0
    detractor = (
        row.nps_time != NEVER and row.nps <= c.detractor_max and today - row.nps_time // DAY < c.window
    )
    values[S_X + X_DETRACTOR] = 1.0 if detractor else 0.0
    values[S_X + X_COMPLAINT] = min(float(row.complaints_n), c.complaints_scale) / c.complaints_scale
    values[S_X + X_SILENCE] = 0.0
    values[S_QUIET] = float(today - newest) if active > 0 else -1.0
    values[S_RHYTHM] = 0.0
    if active >= c.silence_min:
        gap = (newest - oldest) / (active - 1)
        values[S_RHYTHM] = gap
        values[S_X + X_SILENCE] = min(max((today - newest) / gap - 1.0, 0.0), c.silence_max) / c.silence_max
    usual = 0.0
    if active - recent >= c.silence_min:
        # Days with a touch for each day after the first one, before the recent days.
        usual = c.slowdown_window * (active - recent - 1) / (today - oldest - c.slowdown_window)
    values[S_ACTIVE] = recent
    values[S_USUAL] = usual
    values[S_X + X_SLOWDOWN] = min(max(usual - recent, 0.0), c.slowdown_max) / c.slowdown_max
    values[S_X + X_UNRESOLVED] = min(unresolved, c.unresolved_scale) / c.unresolved_scale
    values[S_X + X_LAPSE] = _lapse(st, c, slot, today, values)
    unsubscribed = row.unsubscribed_day != NO_DAY and today - row.unsubscribed_day < c.window
    values[S_X + X_UNSUBSCRIBED] = 1.0 if unsubscribed else 0.0
    just = unsubscribed and today - row.unsubscribed_day < c.unsubscribed_window
    values[S_X + X_JUST_UNSUBSCRIBED] = 1.0 if just else 0.0
    score = c.intercept
    for i in range(FEATURES):
        score += c.b[i] * values[S_X + i]
    values[S_P] = 1.0 / (1.0 + math.exp(-score))


@kernel
def _note(st: State, slot: int, clock: int, probability: float) -> None:
    """Remember what the CRM is told now."""
    told = st.told[seldom_of(st, slot)]
    told.time = clock
    told.probability = probability
    st.row_dirty[slot] = CHANGED


@kernel
def _is_worse(st: State, c: Constants, slot: int, clock: int, probability: float) -> bool:
    """Whether the risk has risen enough since the last signal to tell the CRM although the level stays."""
    told = st.told[st.seldom[slot]]
    if told.time == NEVER:
        _note(st, slot, clock, probability)
        return False
    return probability >= told.probability + c.worsened and clock - told.time >= c.worsened_ms


@kernel
def judge(st: State, c: Constants, slot: int, clock: int, probability: float) -> int:
    """Update the level, and decide whether the CRM is told.

    Returns:
        RAISED, WORSENED, EASED, CLEARED or NO_SIGNAL.
    """
    row = st.rows[slot]
    level = np.int64(row.level)
    while level < 3 and probability >= c.thresholds[level]:
        level += 1
    while level > 0 and probability < c.thresholds[level - 1] - c.hysteresis:
        level -= 1
    if level != row.level:
        row.level = level
        st.row_dirty[slot] = CHANGED
    if level <= row.notified_level and row.suppressed:
        row.suppressed = 0
        st.row_dirty[slot] = CHANGED
    if level > row.notified_level:
        waited = row.raise_level == NO_RAISE or clock - row.last_raise >= c.cooldown_ms
        if waited or level > row.raise_level:
            row.notified_level = level
            row.last_raise = clock
            row.raise_level = level
            row.suppressed = 0
            _note(st, slot, clock, probability)
            return RAISED
        if not row.suppressed:
            row.suppressed = 1
            st.at[SUPPRESSED] += 1
            st.row_dirty[slot] = CHANGED
        return NO_SIGNAL
    if level < row.notified_level:
        row.notified_level = level
        _note(st, slot, clock, probability)
        return EASED if level > 0 else CLEARED
    if level > 0 and _is_worse(st, c, slot, clock, probability):
        _note(st, slot, clock, probability)
        return WORSENED
    return NO_SIGNAL


@kernel
def acute_at(st: State, c: Constants, slot: int, clock: int) -> float:
    """Acute friction decayed to `clock` (never before its own time)."""
    row = st.rows[slot]
    return row.acute * half((clock - row.acute_time) / c.acute_half_life)


@entry
def score_cards(
    st: State, c: Constants, slots: NDArray[np.int32], out: NDArray[np.float64], values: NDArray[np.float64],
    ahead: NDArray[np.int64],
) -> int:  # fmt: skip
    """The cards of customers at their last evaluation.

    Args:
        st: the partition.
        c: the constants.
        slots: int32[n].
        out: float64[n, CARD_WIDTH], filled in.
        values: float64[SIGNAL_WIDTH], scratch.
        ahead: int64[AHEAD], scratch.

    Returns:
        Nothing of use; without it, the reads ahead would be left out.
    """
    seen = 0
    for n in range(len(slots)):
        if n % AHEAD == 0:
            more = min(AHEAD, len(slots) - n)
            for i in range(more):
                row = st.rows[slots[n + i]]
                seen += row.last_touch
                ahead[i] = row.head
            seen += touch_panes(st, ahead, more)
        slot = slots[n]
        clock = st.rows[slot].eval_clock
        evaluate(st, c, slot, clock, values)
        out[n, C_P] = values[S_P]
        out[n, C_EFFORT] = values[S_EFFORT]
        out[n, C_EFFORT_HW] = values[S_EFFORT_HW]
        out[n, C_SAT] = values[S_SAT]
        out[n, C_SAT_HW] = values[S_SAT_HW]
        out[n, C_ACUTE] = acute_at(st, c, slot, clock)
        for i in range(FEATURES):
            out[n, C_X + i] = values[S_X + i]
        out[n, C_ALIVE] = values[S_ALIVE]
        out[n, C_BOUGHT] = values[S_BOUGHT]
        out[n, C_BOUGHT_SPAN] = values[S_BOUGHT_SPAN]
        out[n, C_BOUGHT_AGE] = values[S_BOUGHT_AGE]
        out[n, C_SPENT] = values[S_SPENT]
        out[n, C_T1] = out[n, C_T7] = out[n, C_T30] = out[n, C_T90] = 0.0
        today = clock // DAY
        index = st.rows[slot].head
        while index != NONE:
            pane = st.panes[index]
            age = today - pane.day
            if age < 90:
                out[n, C_T90] += pane.touches
                if age < 30:
                    out[n, C_T30] += pane.touches
                    if age < 7:
                        out[n, C_T7] += pane.touches
                        if age < 1:
                            out[n, C_T1] += pane.touches
            index = pane.next
    return seen
