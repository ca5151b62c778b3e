"""The facts behind a signal, counted when it is sent. Signals are rare, so this may read more than the scores do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.evaluate import DAY
from cxstream.kernels.jit import entry, kernel
from cxstream.kernels.layout import (
    CONTACTS,
    ERASURE,
    FEATURES,
    FRICTION,
    NEVER,
    NO_DAY,
    NONE,
    S_ABANDONED,
    S_ANSWERS,
    S_CLOCK,
    S_COMPLAINT_TIME,
    S_COMPLAINTS,
    S_CONTACTS,
    S_EFFORT,
    S_EFFORT_SHORT,
    S_FAILED,
    S_LATE,
    S_NPS,
    S_NPS_TIME,
    S_QUIET,
    S_SAT,
    S_SPAN,
    S_TOPIC,
    S_TOPIC_N,
    S_TOUCHES,
    S_TRANSFERS,
    S_UNRESOLVED,
    S_UNSUBSCRIBED,
    S_WAITED,
    S_WHAT,
    S_X,
    Constants,
    State,
)
from cxstream.kernels.tallies import name_own

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MINUTE = 60.0
# A contribution this small is rounding, not a reason.
NOTHING = 1e-12


@kernel
def _count(st: State, c: Constants, slot: int, today: int, span: int, out: NDArray[np.float64]) -> float:
    """Sum the panes of the last `span` days into `out`; a total of 0 means that there was nothing."""
    for i in range(S_CONTACTS, S_LATE + 1):
        out[i] = 0.0
    out[S_SPAN] = span
    out[S_ANSWERS] = 0.0
    out[S_TOUCHES] = 0.0
    index = st.rows[slot].head
    while index != NONE and today - st.panes[index].day < span:
        pane = st.panes[index]
        out[S_CONTACTS] += pane.contacts
        out[S_WAITED] += pane.waited
        out[S_FAILED] += pane.failed
        out[S_TRANSFERS] += pane.transfers
        out[S_UNRESOLVED] += pane.unresolved
        out[S_ABANDONED] += pane.abandoned
        out[S_LATE] += pane.late
        out[S_TOUCHES] += pane.touches
        index = pane.next
    own = name_own(st, c, slot, today, span, out)
    return out[S_CONTACTS] + out[S_WAITED] + out[S_FAILED] + out[S_LATE] + own


@kernel
def gather(st: State, c: Constants, slot: int, clock: int, span: int, out: NDArray[np.float64]) -> None:
    """Write the evidence columns of a signal; a quiet `span` of days widens to the whole window."""
    row = st.rows[slot]
    today = clock // DAY
    if _count(st, c, slot, today, span, out) == 0.0 and span < c.window:
        span = c.window
        _count(st, c, slot, today, span, out)

    out[S_TOPIC] = NONE
    out[S_TOPIC_N] = 0
    # From the contact accepted last to the first, so that a tie goes to the more recent topic.
    ring = st.seldom[slot]
    for back in range(1, row.contacts_n + 1):
        topic = st.contact_topics[ring, (row.contacts_at - back) % CONTACTS]
        n = 0
        for j in range(row.contacts_n):
            if st.contact_topics[ring, j] == topic and today - st.contact_times[ring, j] // DAY < span:
                n += 1
        if n > out[S_TOPIC_N]:
            out[S_TOPIC] = topic
            out[S_TOPIC_N] = n

    out[S_COMPLAINTS] = row.complaints_n
    out[S_COMPLAINT_TIME] = 0
    first = row.complaints
    if first != NONE:
        oldest = st.complaints[first].time
        while first != NONE:
            oldest = min(oldest, st.complaints[first].time)
            first = st.complaints[first].next
        out[S_COMPLAINT_TIME] = oldest
    out[S_NPS] = row.nps if row.nps_time != NEVER else -1
    out[S_NPS_TIME] = row.nps_time if row.nps_time != NEVER else 0
    out[S_UNSUBSCRIBED] = today - row.unsubscribed_day if row.unsubscribed_day != NO_DAY else -1
    index = row.head
    while index != NONE and today - st.panes[index].day < c.window:
        out[S_ANSWERS] += st.answers[st.panes[index].answers].sat_n
        index = st.panes[index].next


@entry
def facts_of(rows: NDArray[np.float64], found: NDArray[np.float64]) -> None:
    """Rows of signals as evidence reads them: ages in days for times, and numbers as they are rounded in the texts.

    Args:
        rows: float64[n, SIGNAL_WIDTH].
        found: float64[n, SIGNAL_WIDTH], filled in.
    """
    for i in range(len(rows)):
        row, to = rows[i], found[i]
        for at in range(len(row)):
            to[at] = row[at]
        # A text is kept for 0 and -0 alike, whichever comes first.
        to[S_EFFORT] = np.rint(row[S_EFFORT]) + 0.0
        to[S_EFFORT_SHORT] = np.rint(row[S_EFFORT_SHORT]) + 0.0
        to[S_SAT] = np.rint(row[S_SAT]) + 0.0
        seconds = row[S_WAITED]
        to[S_WAITED] = np.rint(seconds / _MINUTE) * _MINUTE if seconds >= _MINUTE else np.rint(seconds)
        to[S_ANSWERS] = 1.0 if row[S_ANSWERS] != 0.0 else 0.0
        to[S_QUIET] = np.trunc(row[S_QUIET])
        clock = np.int64(row[S_CLOCK])
        to[S_COMPLAINT_TIME] = (clock - np.int64(row[S_COMPLAINT_TIME])) // DAY
        to[S_NPS_TIME] = clock // DAY - np.int64(row[S_NPS_TIME]) // DAY


@entry
def weigh(
    rows: NDArray[np.float64], b: NDArray[np.float64], typical: NDArray[np.float64],
    contributions: NDArray[np.float64], order: NDArray[np.int64], counts: NDArray[np.int64],
) -> None:  # fmt: skip
    """The features in which customers differ from a typical one, the strongest first; ties as in FEATURES.

    Args:
        rows: float64[n, SIGNAL_WIDTH].
        b: float64[FEATURES].
        typical: float64[FEATURES].
        contributions: float64[n, FEATURES], filled in.
        order: int64[n, FEATURES], filled in with the numbers of features.
        counts: int64[n], filled in: how many of them are reasons; 0 where the signal is not one of churn risk.
    """
    for i in range(len(rows)):
        is_risk = rows[i, S_WHAT] != FRICTION and rows[i, S_WHAT] != ERASURE
        n = 0
        for j in range(FEATURES):
            mine = b[j] * (rows[i, S_X + j] - typical[j])
            contributions[i, j] = mine
            if is_risk and abs(mine) > NOTHING:
                place = n
                while place > 0 and contributions[i, order[i, place - 1]] < mine:
                    order[i, place] = order[i, place - 1]
                    place -= 1
                order[i, place] = j
                n += 1
        counts[i] = n
