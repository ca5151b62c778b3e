"""A batch of records, in order, on a partition's state: scoring sections 1, 2 and 4.

The outcome depends on the records alone, not on where a batch begins or ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cxstream.kernels.ahead import LINE, fetch
from cxstream.kernels.evaluate import DAY, NO_RAISE, evaluate, half, judge
from cxstream.kernels.evidence import gather
from cxstream.kernels.jit import entry, kernel
from cxstream.kernels.layout import (
    ABANDONED,
    ACCEPTED,
    CHANGED,
    CHUNK_WORDS,
    CLEARED,
    CLOCK,
    CONTACTS,
    DAY_AT,
    DAY_PANE,
    DUPLICATE,
    ERASED,
    ERASES,
    ERASURE,
    FAILED,
    FLOOR,
    FORGET,
    FORGOTTEN,
    FRICTION,
    FROM_THE_FUTURE,
    HAS_VALUE,
    IDS,
    KEPT,
    LATE,
    LIVE,
    NEVER,
    NO_DAY,
    NO_SIGNAL,
    NONE,
    OUT,
    PAGE_IDS,
    RAGED,
    READ,
    RECEIPT,
    REPEATED,
    RESOLVED,
    S_ACUTE,
    S_CLOCK,
    S_EFFORT,
    S_ERASED_COMPLAINTS,
    S_ERASED_CONTACTS,
    S_ERASED_OWN,
    S_ERASED_PANES,
    S_ERASED_PURCHASES,
    S_INDEX,
    S_LEVEL,
    S_P,
    S_PREVIOUS,
    S_SAT,
    S_SEQ,
    S_SLOT,
    S_SWEPT,
    S_TOPIC,
    S_WHAT,
    SEQ,
    SHARED,
    STARTED,
    SWEEPING,
    SWEPT_OFFSET,
    SWITCHED,
    SWITCHES,
    TICK,
    TICKED,
    TOO_LATE,
    TOUCHED,
    UNREFERENCED_TOPICS,
    UNRESOLVED,
    UNSETTLED,
    VACATED,
    Constants,
    State,
)
from cxstream.kernels.panes import (
    AHEAD,
    answers_of,
    close_complaint,
    free_complaints,
    free_panes,
    open_complaint,
    pane_of,
    touch_panes,
    trim,
)
from cxstream.kernels.purchases import (
    cut_purchases,
    drop_purchases,
    purchase,
    replace_history,
    take_back,
    touch_deals,
)
from cxstream.kernels.recent_ids import drop_ids, is_recent, keep_id
from cxstream.kernels.remembered_ids import (
    cut_memory,
    drop_memory,
    older,
    remember,
    remembers,
    touch_due,
)
from cxstream.kernels.seldom import drop_seldom, seldom_of
from cxstream.kernels.tallies import cut_tallies, drop_tallies, tally, total
from cxstream.model.kinds import Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLICK, CONTACT, QUEUE, DELIVERY = int(Kind.click), int(Kind.contact), int(Kind.queue), int(Kind.delivery)
COMPLAINT_OPENED, COMPLAINT_RESOLVED = int(Kind.complaint_opened), int(Kind.complaint_resolved)
PURCHASE, CHURNED, WON_BACK = int(Kind.purchase), int(Kind.churned), int(Kind.won_back)
RETURN, PURCHASE_HISTORY = int(Kind.return_), int(Kind.purchase_history)
RAGE_CLICK, UNSUBSCRIBED_KIND = int(Kind.rage_click), int(Kind.unsubscribed)
CES, CSAT, NPS = int(Kind.survey_ces), int(Kind.survey_csat), int(Kind.survey_nps)
REVIEW, SOCIAL = int(Kind.review), int(Kind.social_post)
# The last byte of a pane and of a chunk.
_PANE_END, _CHUNK_END = DAY_PANE.itemsize - 1, 2 * CHUNK_WORDS - 1
RECENT_SPAN = 7  # days of evidence behind a churn-risk signal


@kernel
def _emit(
    st: State, c: Constants, out: NDArray[np.float64], values: NDArray[np.float64],
    index: int, slot: int, clock: int, what: int, previous: int, span: int,
) -> None:  # fmt: skip
    """Append a signal. The caller makes sure that there is room."""
    gather(st, c, slot, clock, span, values)
    values[S_INDEX] = index
    values[S_SLOT] = slot
    values[S_WHAT] = what
    values[S_LEVEL] = st.rows[slot].notified_level
    values[S_PREVIOUS] = previous
    values[S_CLOCK] = clock
    values[S_ACUTE] = st.rows[slot].acute
    values[S_SEQ] = st.rows[slot].seq
    values[S_SWEPT] = st.at[SWEEPING]
    n = st.at[OUT]
    for i in range(len(values)):
        out[n, i] = values[i]
    st.at[OUT] = n + 1


@kernel
def _judge(
    st: State,
    c: Constants,
    out: NDArray[np.float64],
    values: NDArray[np.float64],
    index: int,
    slot: int,
    clock: int,
) -> None:
    """Update the level of a customer who has just been evaluated, unless they are suspended; append the signal that is due."""
    row = st.rows[slot]
    if row.suspended:
        return
    previous = row.notified_level
    what = judge(st, c, slot, clock, values[S_P])
    if what != NO_SIGNAL:
        _emit(st, c, out, values, index, slot, clock, what, previous, RECENT_SPAN)


@kernel
def _keep(st: State, slot: int, values: NDArray[np.float64]) -> None:
    """Keep what an evaluation has found, where outcomes tell it of each event."""
    if len(st.after) > 0:
        st.after[slot, 0] = values[S_EFFORT]
        st.after[slot, 1] = values[S_SAT]
        st.after[slot, 2] = values[S_P]


@kernel
def _let_go(st: State, topic: int) -> None:
    st.topic_refs[topic] -= 1
    if st.topic_refs[topic] == 0:
        st.at[UNREFERENCED_TOPICS] += 1


@kernel
def _empty(st: State, slot: int) -> None:
    """Free the panes, complaints, topics and side state of a customer."""
    row = st.rows[slot]
    free_panes(st, row.head)
    free_complaints(st, slot)
    # All side state: `cxstream.scoring.state.side`.
    drop_memory(st, slot)
    drop_purchases(st, slot)
    drop_tallies(st, slot)
    for i in range(row.contacts_n):
        _let_go(st, st.contact_topics[st.seldom[slot], i])
    row.head = NONE
    row.contacts_n = 0
    row.contacts_at = 0
    drop_seldom(st, slot)
    drop_ids(st, slot)


@kernel
def _vacate(st: State, slot: int) -> None:
    """Vacate a customer's slot. The caller of the kernel knows whose it was."""
    st.rows[slot].live = 0
    st.row_dirty[slot] = VACATED
    st.card_dirty[slot] = 0
    st.at[FORGOTTEN] += 1


@kernel
def _forget(st: State, slot: int) -> None:
    _empty(st, slot)
    _vacate(st, slot)


@kernel
def _begin(st: State, slot: int, time: int) -> None:
    """Fill the slot of a customer about whom nothing is known."""
    row = st.rows[slot]
    row.last_touch = time
    row.eval_clock = time
    row.eval_offset = 0
    row.acute = 0.0
    row.acute_time = time
    row.last_raise = 0
    row.nps_time = NEVER
    row.failed_time = NEVER
    row.click_time = 0
    row.click_x = 0.0
    row.click_y = 0.0
    row.head = NONE
    row.complaints = NONE
    row.unsubscribed_day = NO_DAY
    row.touched = 0
    row.suspended = 0
    row.armed = 1
    row.suppressed = 0
    row.level = 0
    row.notified_level = 0
    row.raise_level = NO_RAISE
    row.nps = 0
    row.run = 0
    row.spent = 0
    row.ids_at = 0
    row.ids_n = 0
    row.contacts_at = 0
    row.contacts_n = 0
    row.complaints_n = 0
    row.kept_next = 0
    row.visits_next = 0


@kernel
def _appear(st: State, slot: int, time: int, offset: int) -> None:
    """Start a customer at their first accepted event, also after their state has expired."""
    row = st.rows[slot]
    _begin(st, slot, time)
    if st.at[SHARED]:
        st.at[SEQ] = offset
    row.seq = st.at[SEQ]
    st.at[SEQ] += 1
    row.live = 1
    st.order[st.at[LIVE]] = slot
    st.at[LIVE] += 1


@kernel
def _first_day(st: State, c: Constants) -> int:
    """The first day whose records are not too late."""
    return max(st.at[CLOCK] // DAY - c.window + 1, st.at[FLOOR])


@kernel
def _asked(st: State, c: Constants, slot: int) -> int:
    """Time of the customer's erasure request. NEVER without one, or if it is so old that such events are too late."""
    if st.rows[slot].erased == 0:
        return NEVER
    asked = st.erased[st.seldom[slot]]
    if st.at[STARTED] and asked // DAY < _first_day(st, c):
        return NEVER
    return asked


@kernel
def _leave_order(st: State, slot: int) -> None:
    found = False
    for i in range(st.at[LIVE]):
        if found:
            st.order[i - 1] = st.order[i]
        elif st.order[i] == slot:
            found = True
    st.at[LIVE] -= 1


@kernel
def _blank(st: State, out: NDArray[np.float64], index: int, slot: int, what: int, clock: int) -> int:
    """Append a row without scores and return its number."""
    n = st.at[OUT]
    for i in range(out.shape[1]):
        out[n, i] = 0.0
    out[n, S_INDEX] = index
    out[n, S_SLOT] = slot
    out[n, S_WHAT] = what
    out[n, S_CLOCK] = clock
    st.at[OUT] = n + 1
    return n


@kernel
def _erase(st: State, slot: int, time: int, index: int, out: NDArray[np.float64]) -> None:
    """Erase a customer who asked for it: append the signal for the CRM and the row of the receipt."""
    row = st.rows[slot]
    clock = st.at[CLOCK] if st.at[STARTED] else time
    known = row.live
    panes = complaints = contacts = purchases = own = 0
    if known:
        complaints, contacts, own = row.complaints_n, row.contacts_n, total(st, slot)
        if st.purchases[slot] != NONE:
            purchases = st.buyers[st.purchases[slot]].days
        pane = row.head
        while pane != NONE:
            panes += 1
            pane = st.panes[pane].next
        # The CRM also has the level of a churned customer.
        if row.notified_level > 0:
            n = _blank(st, out, index, slot, ERASURE, clock)
            out[n, S_PREVIOUS] = row.notified_level
            out[n, S_TOPIC] = NONE
        _empty(st, slot)
        _begin(st, slot, clock)
        _leave_order(st, slot)
        _vacate(st, slot)
    row.erased = 1
    st.erased[seldom_of(st, slot)] = time
    n = _blank(st, out, index, slot, RECEIPT, clock)
    out[n, S_LEVEL] = known
    out[n, S_ERASED_PANES] = panes
    out[n, S_ERASED_COMPLAINTS] = complaints
    out[n, S_ERASED_CONTACTS] = contacts
    out[n, S_ERASED_PURCHASES] = purchases
    out[n, S_ERASED_OWN] = own


@kernel
def _touch_swept(st: State, begin: int, end: int, day: int, ahead: NDArray[np.int64]) -> int:
    """Read the rows, panes, purchases and expiring ids of customers begin..end-1 of `order`."""
    seen = 0
    for i in range(begin, end):
        slot = st.order[i]
        row = st.rows[slot]
        seen += row.last_touch + st.memory_due[slot, 0] + st.purchases[slot]
        ahead[i - begin] = row.head
    seen += touch_panes(st, ahead, end - begin)
    buyers = 0
    for i in range(begin, end):
        buyer = st.purchases[st.order[i]]
        if buyer != NONE:
            ahead[buyers] = st.buyers[buyer].head
            buyers += 1
    seen += touch_deals(st, ahead, buyers)
    for which in range(2):
        seen += touch_due(st, begin, end, which, day, ahead)
    return seen


@kernel
def _sweep(
    st: State, c: Constants, index: int, offset: int,
    out: NDArray[np.float64], values: NDArray[np.float64], ahead: NDArray[np.int64],
) -> bool:  # fmt: skip
    """Evaluate every customer at the start of the day in at[DAY_AT]; expire those who have been inactive for too long.

    Returns:
        Whether it reached the end. If `out` is full, the next call continues where this one stopped.
    """
    at = st.at
    day = at[DAY_AT]
    clock = day * DAY
    oldest = day - c.window + 1
    while at[READ] < at[LIVE]:
        if at[OUT] == len(out):
            return False
        if at[READ] % AHEAD == 0:
            at[TOUCHED] = _touch_swept(st, at[READ], min(at[READ] + AHEAD, at[LIVE]), day, ahead)
        slot = st.order[at[READ]]
        at[READ] += 1
        row = st.rows[slot]
        trim(st, slot, oldest)
        cut_memory(st, c, slot, day)
        cut_purchases(st, slot, oldest)
        cut_tallies(st, slot, oldest)
        evaluate(st, c, slot, clock, values)
        _keep(st, slot, values)
        previous = row.notified_level
        if clock - row.last_touch >= c.forget_ms:
            if previous > 0 and not row.suspended:
                row.notified_level = 0
                _emit(st, c, out, values, index, slot, clock, CLEARED, previous, RECENT_SPAN)
            _forget(st, slot)
            continue
        st.order[at[KEPT]] = slot
        at[KEPT] += 1
        row.eval_clock = clock
        row.eval_offset = offset
        st.card_dirty[slot] = 1
        _judge(st, c, out, values, index, slot, clock)
    at[LIVE] = at[KEPT]
    return True


@kernel
def _advance(
    st: State, c: Constants, time: int, index: int, offset: int,
    out: NDArray[np.float64], values: NDArray[np.float64], ahead: NDArray[np.int64],
) -> bool:  # fmt: skip
    """Move the clock to `time`, with a sweep at the start of each day crossed.

    Returns:
        Whether it reached `time`. If `out` is full, the next call continues where this one stopped.
    """
    at = st.at
    if not at[STARTED]:
        at[STARTED] = 1
        at[CLOCK] = time
        return True
    if time <= at[CLOCK]:
        return True
    day = at[DAY_AT] if at[SWEEPING] else at[CLOCK] // DAY + 1
    while day <= time // DAY:
        if not at[SWEEPING]:
            if at[LIVE] == 0:
                break
            at[SWEEPING] = 1
            at[SWEPT_OFFSET] = offset
            at[DAY_AT] = day
            at[READ] = at[KEPT] = 0
        if not _sweep(st, c, index, offset, out, values, ahead):
            return False
        at[SWEEPING] = 0
        day += 1
    at[CLOCK] = time
    return True


@kernel
def _waiting(c: Constants, seconds: float) -> float:
    return min(max(0.0, (seconds / 60.0 - c.wait_free) * c.wait_rate), c.wait_max)


@kernel
def _is_rage(st: State, c: Constants, slot: int, time: int, x: float, y: float) -> bool:
    """Update the customer's run of clicks; true if this click makes it a rage click."""
    row = st.rows[slot]
    continues = (
        row.run > 0
        and time >= row.click_time
        and time - row.click_time < c.rage_ms
        and abs(x - row.click_x) + abs(y - row.click_y) < c.rage_px
    )
    row.click_time = time
    row.click_x = x
    row.click_y = y
    if not continues:
        row.run = 1
        row.spent = 0
        return False
    if row.spent:
        return False
    row.run += 1
    if row.run >= c.rage_clicks:
        row.spent = 1
        return True
    return False


@kernel
def _repeats(st: State, c: Constants, slot: int, time: int, topic: int) -> bool:
    """Whether a recent contact had the same topic; then remember this one."""
    row = st.rows[slot]
    ring = seldom_of(st, slot)
    found = False
    for i in range(row.contacts_n):
        past = st.contact_times[ring, i]
        if st.contact_topics[ring, i] == topic and past <= time and past > time - c.repeat_ms:
            found = True
    place = row.contacts_at
    if row.contacts_n == CONTACTS:
        _let_go(st, st.contact_topics[ring, place])
    else:
        row.contacts_n += 1
    st.contact_times[ring, place] = time
    st.contact_topics[ring, place] = topic
    st.topic_refs[topic] += 1
    row.contacts_at = (place + 1) % CONTACTS
    return found


@kernel
def _answer(st: State, c: Constants, slot: int, event: Any, pane: int) -> None:
    """Add an answer or a sentiment: evidence of effort or satisfaction on 0..100."""
    kind = event.kind
    if kind == CES:
        answers = st.answers[answers_of(st, pane)]
        answers.effort_weight += c.ces_weight
        answers.effort_sum += c.ces_weight * (100.0 * (7.0 - event.a) / 6.0)
        return
    weight = 0.0
    value = 0.0
    if kind == CSAT:
        weight = c.csat_weight
        value = 25.0 * (event.a - 1.0)
    elif kind == REVIEW:
        weight = c.review_weight
        value = 25.0 * (event.a - 1.0)
    elif kind == NPS:
        weight = c.nps_weight
        value = 10.0 * event.a
        row = st.rows[slot]
        if event.time >= row.nps_time:
            row.nps_time = event.time
            row.nps = int(event.a)
    elif event.flags & HAS_VALUE:
        weight = c.social_weight
        value = 50.0 * (event.a + 1.0)
    else:
        return
    answers = st.answers[answers_of(st, pane)]
    answers.sat_n += weight
    answers.sat_sum += weight * value


@kernel
def _apply(st: State, c: Constants, event: Any, slot: int) -> tuple[float, float, int, bool]:
    """Add an accepted event to the customer's state.

    Returns:
        Its effort points, its mood points, flags of SCORED (REPEATED, SWITCHED, RAGED, FAILED), and whether the
        risk is what it was.
    """
    row = st.rows[slot]
    kind = event.kind
    time = event.time
    day = time // DAY
    effort = c.effort[kind]
    mood = c.mood[kind]
    failed = c.failed[kind] != 0
    flags = 0
    index = pane_of(st, slot, day)
    pane = st.panes[index]

    if kind == CONTACT:
        transfers = min(event.b, c.transfers_max)
        effort += _waiting(c, event.a) + transfers * c.transfer_e
        mood += transfers * c.transfer_m
        if event.flags & ABANDONED:
            effort += c.abandoned_e
            mood += c.abandoned_m
            pane.abandoned = min(pane.abandoned + 1, 255)
        elif event.flags & RESOLVED:
            effort += c.resolved_e
            mood += c.resolved_m
        elif event.flags & UNRESOLVED:
            effort += c.unresolved_e
            mood += c.unresolved_m
            pane.unresolved = min(pane.unresolved + 1, 255)
        if event.topic != NONE and _repeats(st, c, slot, time, event.topic):
            effort += c.repeat_e
            mood += c.repeat_m
            flags |= REPEATED
        since = time - row.failed_time
        if event.flags & SWITCHES and row.failed_time != NEVER and 0 <= since <= c.switch_ms:
            effort += c.switch_e
            mood += c.switch_m
            flags |= SWITCHED
        pane.contacts = min(pane.contacts + 1, 65535)
        pane.transfers = int(min(pane.transfers + transfers, 255.0))
        pane.waited = int(min(pane.waited + event.a, 4294967295.0))
    elif kind == QUEUE:
        effort += _waiting(c, event.a)
        pane.waited = int(min(pane.waited + event.a, 4294967295.0))
    elif kind == DELIVERY:
        if event.a > 0.0:
            late = min(event.a, c.late_max)
            effort += late * c.late_e
            mood += late * c.late_m
            pane.late = min(pane.late + 1, 255)
        else:
            effort += c.on_time_e
            mood += c.on_time_m
    elif kind == CLICK:
        recent = day > st.at[CLOCK] // DAY - c.visit_window
        if recent and event.flags & HAS_VALUE and _is_rage(st, c, slot, time, event.a, event.b):
            effort += c.effort[RAGE_CLICK]
            mood += c.mood[RAGE_CLICK]
            flags |= RAGED
            failed = True
    elif kind == COMPLAINT_OPENED:
        open_complaint(st, slot, event.case, time)
    elif kind == COMPLAINT_RESOLVED:
        close_complaint(st, slot, event.case)
    elif CES <= kind <= SOCIAL:
        _answer(st, c, slot, event, index)
    elif kind == UNSUBSCRIBED_KIND:
        row.unsubscribed_day = max(row.unsubscribed_day, day)
    elif kind == CHURNED:
        row.suspended = 1
    elif kind == PURCHASE:
        purchase(st, c, slot, event)
    elif kind == RETURN:
        take_back(st, c, slot, event)
    elif kind == PURCHASE_HISTORY:
        replace_history(st, c, slot, event)
    if kind in (PURCHASE, WON_BACK):
        row.suspended = 0

    if failed:
        flags |= FAILED
        row.failed_time = max(row.failed_time, time)
    if c.tallied[kind]:
        tally(st, c, slot, kind, day)
    elif failed:
        pane.failed = min(pane.failed + 1, 65535)
    # Of a visit that costs nothing, the risk knows only whether the day had one.
    same = c.plain[kind] != 0 and effort == 0.0 and mood == 0.0
    if not c.company[kind]:
        same &= pane.touches > 0
        pane.touches += 1
        if not row.touched:
            row.touched = 1
            row.last_touch = time
        else:
            row.last_touch = max(row.last_touch, time)
    effort = min(effort, c.max_effort)
    mood = min(max(mood, -c.max_mood), c.max_mood)
    pane.effort += effort
    pane.mood += mood
    return effort, mood, flags, same


@kernel
def _is_friction(st: State, c: Constants, slot: int, time: int, effort: float) -> bool:
    """Add to acute friction; true if it reaches the threshold while armed."""
    row = st.rows[slot]
    if time >= row.acute_time:
        if row.acute != 0.0:
            row.acute *= half((time - row.acute_time) / c.acute_half_life)
        row.acute_time = time
        added = effort
    elif effort == 0.0:
        added = 0.0
    else:
        added = effort * half((row.acute_time - time) / c.acute_half_life)
    if row.acute < c.acute_rearm:
        row.armed = 1
    row.acute += added
    if row.armed and row.acute >= c.acute_threshold:
        row.armed = 0
        return True
    return False


@kernel
def _is_settled(st: State, slot: int, clock: int) -> bool:
    """Whether the level, none, follows from the present risk as long as it and the day stay the same.

    A customer with a level is judged at each event: time alone may end a cooldown, or make worse what is.
    """
    row = st.rows[slot]
    return (
        row.level == 0
        and row.notified_level == 0
        and row.suppressed == 0
        and row.eval_offset > st.at[UNSETTLED]
        and row.eval_clock // DAY == clock // DAY
    )


@kernel
def _fetch_rows(st: State, events: NDArray[np.void], begin: int, end: int) -> None:
    """Ask for what is found by the slots of events."""
    for i in range(begin, end):
        slot = events[i].slot
        fetch(st.rows, slot, 0)
        fetch(st.rows, slot, LINE)
        fetch(st.id_pages, slot, 0)
        fetch(st.memory, slot, 0)
        fetch(st.row_dirty, slot, 0)
        fetch(st.card_dirty, slot, 0)
        fetch(st.memory_dirty, slot, 0)


@kernel
def _fetch_lists(st: State, events: NDArray[np.void], begin: int, end: int) -> None:
    """Ask for what is found by the rows of events: ids, the newest pane, and the newest chunks of remembered ids."""
    for i in range(begin, end):
        slot = events[i].slot
        head = st.rows[slot].head
        # A pane or a chunk may begin in one line of the cache and end in the next.
        fetch(st.panes, head, 0)
        fetch(st.panes, head, _PANE_END)
        for page in range(IDS // PAGE_IDS):
            fetch(st.ids, st.id_pages[slot, page], 0)
        for which in range(2):
            chunk = st.memory[slot, which].head
            fetch(st.chunks, chunk, 0)
            fetch(st.chunks, chunk, _CHUNK_END)


@kernel
def _touch(
    st: State,
    c: Constants,
    events: NDArray[np.void],
    begin: int,
    end: int,
    ahead: NDArray[np.int64],
) -> int:
    """Read the older panes of customers who will be evaluated, so that their cache misses overlap; see `touch_panes`.

    Args:
        st: the partition.
        c: the constants.
        events: EVENT[n].
        begin: the first event.
        end: the one after the last.
        ahead: int64[AHEAD], scratch.
    """
    n = 0
    for i in range(begin, end):
        event = events[i]
        row = st.rows[event.slot]
        if row.ids_n == IDS:
            for which in range(2):
                chunk = np.int64(st.memory[event.slot, which].head)
                if 0 <= chunk < len(st.chunks):
                    fetch(st.chunks, older(st, chunk), 0)  # type: ignore[arg-type]
        if row.live == 0 or row.head == NONE:
            continue
        pane = st.panes[row.head]
        plain = event.kind < len(c.plain) and c.plain[event.kind] != 0
        if row.level > 0 or not plain or pane.day != event.time // DAY or pane.touches == 0:
            ahead[n] = pane.next
            n += 1
    return touch_panes(st, ahead, n)


@kernel
def _look_ahead(
    st: State,
    c: Constants,
    events: NDArray[np.void],
    i: int,
    begin: int,
    ahead: NDArray[np.int64],
) -> int:
    """Get what the AHEAD events from i on need, and ask for what those behind them need: rows first, their lists one step later.

    Args:
        st: the partition.
        c: the constants.
        events: EVENT[n].
        i: the first event, a multiple of AHEAD.
        begin: the event with which the batch goes on.
        ahead: int64[AHEAD], scratch.
    """
    n = len(events)
    if i < begin + AHEAD:
        _fetch_rows(st, events, i, min(i + 2 * AHEAD, n))
        _fetch_lists(st, events, i, min(i + AHEAD, n))
    _fetch_rows(st, events, min(i + 2 * AHEAD, n), min(i + 3 * AHEAD, n))
    _fetch_lists(st, events, min(i + AHEAD, n), min(i + 2 * AHEAD, n))
    return _touch(st, c, events, i, min(i + AHEAD, n), ahead)


@entry
def apply(
    st: State, c: Constants, events: NDArray[np.void], limits: NDArray[np.int64], offsets: NDArray[np.int64],
    status: NDArray[np.uint8], scored: NDArray[np.void], out: NDArray[np.float64], values: NDArray[np.float64],
    ahead: NDArray[np.int64], begin: int,
) -> int:  # fmt: skip
    """Apply decoded records in order.

    Args:
        st: the partition; its arenas have room for a pane, its answers, a page of ids, a complaint and what `Partition.reserve` says per event.
        c: the constants.
        events: EVENT[n].
        limits: int64[n], latest event time that is not from the future.
        offsets: int64[n], source offsets.
        status: uint8[n], receives what became of each record.
        scored: SCORED[n], receives what each accepted event counted for, if State.after has slots; SCORED[0] to leave it out.
        out: float64[m, SIGNAL_WIDTH], m >= 2, receives the signals: st.at[OUT] rows.
        values: float64[SIGNAL_WIDTH], scratch.
        ahead: int64[AHEAD], scratch.
        begin: the record to begin with.

    Returns:
        n, or, if `out` is full, the record to continue with after the caller has read `out`.
    """
    at = st.at
    at[OUT] = 0
    for i in range(begin, len(events)):
        if i % AHEAD == 0:
            at[TOUCHED] = _look_ahead(st, c, events, i, begin, ahead)
        if at[OUT] + 2 > len(out):
            return i
        event = events[i]
        time = event.time
        slot = event.slot
        if time > limits[i]:
            status[i] = FROM_THE_FUTURE
            continue
        if event.kind == FORGET:
            if time <= _asked(st, c, slot):
                status[i] = DUPLICATE
            else:
                _erase(st, slot, time, i, out)
                status[i] = ERASES
            continue
        tick = event.kind == TICK
        if not tick and st.rows[slot].erased:
            asked = _asked(st, c, slot)
            # An action of the company does not create a customer.
            if asked != NEVER and (time <= asked or (st.rows[slot].live == 0 and c.company[event.kind])):
                status[i] = ERASED
                continue
        if (
            not tick
            and st.rows[slot].live
            and (
                is_recent(st, slot, event.id)
                # Until the ring is full, it has all ids of the customer.
                or (
                    st.rows[slot].ids_n == IDS
                    and remembers(st, c, slot, event.id, time // DAY, at[CLOCK] // DAY)
                )
            )
        ):
            status[i] = DUPLICATE
            continue
        if at[STARTED] and time // DAY < _first_day(st, c):
            status[i] = TOO_LATE
            continue
        if not _advance(st, c, time, i, offsets[i], out, values, ahead):
            return i
        if tick:
            status[i] = TICKED
            continue
        # The sweep may have filled `out`, and this event may append two more rows.
        if at[OUT] + 2 > len(out):
            return i
        status[i] = ACCEPTED
        row = st.rows[slot]
        clock = at[CLOCK]
        settled = row.live != 0 and _is_settled(st, slot, clock)
        if not row.live:
            _appear(st, slot, time, offsets[i])
        keep_id(st, slot, event.id)
        remember(st, c, slot, event.kind, event.id, time // DAY, clock // DAY)
        effort, mood, flags, same = _apply(st, c, event, slot)
        friction = _is_friction(st, c, slot, time, effort)
        row.eval_clock = clock
        row.eval_offset = offsets[i]
        st.row_dirty[slot] = CHANGED
        st.card_dirty[slot] = 1
        if friction:
            for j in range(len(values)):
                values[j] = 0.0
            _emit(st, c, out, values, i, slot, clock, FRICTION, 0, 1)
        if not (same and settled) and (len(scored) > 0 or not row.suspended):
            evaluate(st, c, slot, clock, values)
            _keep(st, slot, values)
            _judge(st, c, out, values, i, slot, clock)
        if len(scored) > 0:
            verdict = scored[i]
            verdict.behind = clock - time
            verdict.effort = effort
            verdict.mood = mood
            verdict.effort_after = st.after[slot, 0]
            verdict.satisfaction_after = st.after[slot, 1]
            verdict.probability_after = st.after[slot, 2]
            verdict.flags = flags | (LATE if time // DAY < clock // DAY else 0)
            verdict.level_after = row.level
    return len(events)


@entry
def advance(
    st: State, c: Constants, time: int, index: int, offset: int,
    out: NDArray[np.float64], values: NDArray[np.float64], ahead: NDArray[np.int64],
) -> bool:  # fmt: skip
    """Let time pass until `time`; signals as in `apply`, with `index` for their record.

    Returns:
        Whether it reached `time`. If not, read `out` and call again.
    """
    st.at[OUT] = 0
    return _advance(st, c, time, index, offset, out, values, ahead)


@entry
def narrow(st: State, c: Constants, today: int) -> None:
    """Drop what the window does not cover any more, because its length has changed.

    Args:
        st: the partition; its arenas have room for the saved lists that end: four for each customer.
        c: the new constants.
        today: day of the clock.
    """
    first = _first_day(st, c)
    for i in range(st.at[LIVE]):
        slot = st.order[i]
        trim(st, slot, first)
        cut_purchases(st, slot, first)
        cut_tallies(st, slot, first)
        row = st.rows[slot]
        if row.nps_time != NEVER and row.nps_time // DAY < first:
            row.nps_time = NEVER
            row.nps = 0
            st.row_dirty[slot] = CHANGED
        if row.unsubscribed_day != NO_DAY and row.unsubscribed_day < first:
            row.unsubscribed_day = NO_DAY
            st.row_dirty[slot] = CHANGED
        for which in range(2):
            # Days on which ids expire were reckoned with the length before.
            st.memory_due[slot, which] = today & 0xFFFF
        cut_memory(st, c, slot, today)
