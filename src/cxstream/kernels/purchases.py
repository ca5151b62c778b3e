"""Purchases of a customer: days, first, last and sum, for ever, and what each day of the window adds to them.

A purchase adds its day once and its amount always; a return takes its amount away, never below 0. A purchase history
replaces all that is known up to its own day, and the days of the window after it are added again, in order. What has a
time that a history covers, and comes later, changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cxstream.kernels.evaluate import DAY
from cxstream.kernels.jit import kernel
from cxstream.kernels.layout import (
    BUYER_FREE,
    BUYER_TOP,
    BUYERS,
    DEAL_FREE,
    DEAL_TOP,
    ENDED,
    NEVER,
    NO_DAY,
    NONE,
    SAVED_PURCHASES,
    UNSAVED_PURCHASES,
    Constants,
    State,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Int = int | np.integer[Any]

# The most that a sum of money can be: far above any, and sums of it stay finite.
MAX_MONEY = 1e18


@kernel
def _converted(c: Constants, event: Any) -> float:
    """The event's amount in the base currency; 0 if there is no rate for its currency."""
    for i in range(len(c.currencies)):
        if c.currencies[i] == event.case:
            return min(event.a * c.rates[i], MAX_MONEY)
    return 0.0


@kernel
def new_buyer(st: State) -> Int:
    """Allocate the place of a customer who has bought nothing. The caller makes sure that there is room."""
    at = st.at
    index = at[BUYER_FREE]
    if index != NONE:
        at[BUYER_FREE] = st.buyers[index].head
    else:
        index = at[BUYER_TOP]
        at[BUYER_TOP] += 1
    at[BUYERS] += 1
    buyer = st.buyers[index]
    buyer.spent = 0.0
    buyer.history = NEVER
    buyer.days = 0
    buyer.first = NO_DAY
    buyer.last = NO_DAY
    buyer.head = NONE
    return index


@kernel
def new_deal(st: State, day: Int) -> Int:
    """Allocate an empty day. The caller makes sure that there is room."""
    at = st.at
    index = at[DEAL_FREE]
    if index != NONE:
        at[DEAL_FREE] = st.deals[index].next
    else:
        index = at[DEAL_TOP]
        at[DEAL_TOP] += 1
    deal = st.deals[index]
    deal.net = 0.0
    deal.day = day
    deal.next = NONE
    deal.bought = 0
    return index


@kernel
def _free_deals(st: State, index: Int) -> None:
    """Clear and free a day and all that are linked behind it."""
    while index != NONE:
        deal = st.deals[index]
        older = deal.next
        deal.net = 0.0
        deal.day = 0
        deal.bought = 0
        deal.next = st.at[DEAL_FREE]
        st.at[DEAL_FREE] = index
        index = older


@kernel
def _keep_from(st: State, buyer: Int, oldest: Int) -> None:
    """Free the days before `oldest`."""
    before = NONE
    index = st.buyers[buyer].head
    while index != NONE and st.deals[index].day >= oldest:
        before = index
        index = st.deals[index].next
    if index == NONE:
        return
    if before == NONE:
        st.buyers[buyer].head = NONE
    else:
        st.deals[before].next = NONE
    _free_deals(st, index)


@kernel
def cut_purchases(st: State, slot: Int, oldest: Int) -> None:
    """Free the days of the customer that have left the window; the sums stay."""
    buyer = st.purchases[slot]
    if buyer != NONE:
        _keep_from(st, buyer, oldest)


@kernel
def touch_deals(st: State, ahead: NDArray[np.int64], n: int) -> int:
    """Read all days with a purchase of n customers, the newest of each in `ahead`: one of each before the next."""
    seen = 0
    while n:
        left = 0
        for i in range(n):
            if ahead[i] != NONE:
                deal = st.deals[ahead[i]]
                seen += deal.day
                ahead[left] = deal.next
                left += 1
        n = left
    return seen


@kernel
def drop_purchases(st: State, slot: Int) -> None:
    """Delete all that is known of the customer's purchases."""
    index = st.purchases[slot]
    if index == NONE:
        return
    buyer = st.buyers[index]
    _free_deals(st, buyer.head)
    buyer.spent = 0.0
    buyer.history = 0
    buyer.days = 0
    buyer.first = 0
    buyer.last = 0
    buyer.head = st.at[BUYER_FREE]
    st.at[BUYER_FREE] = index
    st.at[BUYERS] -= 1
    if st.purchases_dirty[slot] & SAVED_PURCHASES:
        st.ended[st.at[ENDED]] = st.rows[slot].seq
        st.at[ENDED] += 1
    st.purchases[slot] = NONE
    st.purchases_dirty[slot] = 0


@kernel
def _buyer_of(st: State, slot: Int) -> Int:
    if st.purchases[slot] == NONE:
        st.purchases[slot] = new_buyer(st)
    st.purchases_dirty[slot] |= UNSAVED_PURCHASES
    return st.purchases[slot]


@kernel
def _deal_of(st: State, buyer: Int, day: Int) -> Int:
    """The customer's entry of that day, made if there is none; the list stays sorted, newest first."""
    before = NONE
    index = st.buyers[buyer].head
    while index != NONE and st.deals[index].day > day:
        before = index
        index = st.deals[index].next
    if index != NONE and st.deals[index].day == day:
        return index
    fresh = new_deal(st, day)
    st.deals[fresh].next = index
    if before == NONE:
        st.buyers[buyer].head = fresh
    else:
        st.deals[before].next = fresh
    return fresh


@kernel
def _spend(buyer: Any, amount: float) -> None:
    """Add to what the customer has spent; a negative amount takes away, but never below 0."""
    buyer.spent = min(max(buyer.spent + amount, 0.0), MAX_MONEY)


@kernel
def _count_day(buyer: Any, day: Int) -> None:
    buyer.first = day if buyer.days == 0 else min(buyer.first, day)
    buyer.last = day if buyer.days == 0 else max(buyer.last, day)
    buyer.days += 1


@kernel
def _is_covered(st: State, slot: Int, time: Int) -> bool:
    """Whether a purchase history has told what happened until then."""
    buyer = st.purchases[slot]
    return buyer != NONE and time <= st.buyers[buyer].history


@kernel
def purchase(st: State, c: Constants, slot: Int, event: Any) -> None:
    """Count a purchase."""
    if _is_covered(st, slot, event.time):
        return
    index = _buyer_of(st, slot)
    buyer = st.buyers[index]
    day = event.time // DAY
    deal = st.deals[_deal_of(st, index, day)]
    if deal.bought == 0:
        deal.bought = 1
        _count_day(buyer, day)
    amount = _converted(c, event)
    deal.net = min(deal.net + amount, MAX_MONEY)
    _spend(buyer, amount)


@kernel
def take_back(st: State, c: Constants, slot: Int, event: Any) -> None:
    """Count a return."""
    amount = _converted(c, event)
    if amount == 0.0 or _is_covered(st, slot, event.time):
        return
    index = _buyer_of(st, slot)
    deal = st.deals[_deal_of(st, index, event.time // DAY)]
    deal.net = max(deal.net - amount, -MAX_MONEY)
    _spend(st.buyers[index], -amount)


@kernel
def _reversed(st: State, index: Int) -> Int:
    """Turn a list of days around; returns its new head."""
    behind = NONE
    while index != NONE:
        before = st.deals[index].next
        st.deals[index].next = behind
        behind = index
        index = before
    return behind


@kernel
def replace_history(st: State, c: Constants, slot: Int, event: Any) -> None:
    """Replace what is known up to the day of a purchase history, unless a later one has been accepted."""
    time, day = event.time, event.time // DAY
    if st.purchases[slot] != NONE and time < st.buyers[st.purchases[slot]].history:
        return
    index = _buyer_of(st, slot)
    buyer = st.buyers[index]
    _keep_from(st, index, day + 1)
    buyer.history = time
    buyer.spent = _converted(c, event)
    buyer.days = int(event.b)
    buyer.first = event.topic
    buyer.last = event.day
    oldest = _reversed(st, buyer.head)
    deal = oldest
    while deal != NONE:
        _spend(buyer, st.deals[deal].net)
        if st.deals[deal].bought:
            _count_day(buyer, st.deals[deal].day)
        deal = st.deals[deal].next
    buyer.head = _reversed(st, oldest)
    if event.day == day:
        # Another purchase of this day adds no day.
        st.deals[_deal_of(st, index, day)].bought = 1
