"""The memory layout of a partition's state, and the columns that go into and come out of the kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cxstream.model.features import FEATURES as _FEATURES
from cxstream.model.kinds import Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Number of the layout of saved state; `cxstream.scoring.state.migrations` reads the earlier ones.
LAYOUT = 4

IDS = 32  # accepted (source, id) hashes kept per customer
PAGE_IDS = 8  # ... in pages of so many
CONTACTS = 4  # accepted contacts with a topic kept per customer
COMPLAINTS = 8  # open complaints kept per customer
NONE = -1  # "no index" in linked lists, "no topic"
NO_DAY = -(2**31)  # "no such day"
NEVER = np.iinfo(np.int64).min  # "no such time"

# One customer. Times are int64 ms UTC, days are panes (floor of time / day).
ROW = np.dtype(
    [
        ("seq", "i8"),  # order of first appearance
        ("last_touch", "i8"),
        ("eval_clock", "i8"),  # clock and offset of the last evaluation: what the score card shows
        ("eval_offset", "i8"),
        ("acute", "f8"),  # acute friction, in effort points, at acute_time
        ("acute_time", "i8"),
        ("last_raise", "i8"),
        ("nps_time", "i8"),
        ("failed_time", "i8"),  # the latest failed digital step
        ("click_time", "i8"),
        ("click_x", "f8"),
        ("click_y", "f8"),
        ("head", "i4"),  # newest pane
        ("complaints", "i4"),  # first open complaint
        ("unsubscribed_day", "i4"),
        ("live", "u1"),  # in use
        ("touched", "u1"),  # last_touch is a real touch, not a stand-in
        ("suspended", "u1"),  # churned: no risk is judged
        ("armed", "u1"),  # a friction signal may go out
        ("suppressed", "u1"),  # a raise waits for its cooldown to end
        ("level", "u1"),
        ("notified_level", "u1"),  # the level that the CRM was last told
        ("raise_level", "u1"),  # level of the last raise
        ("nps", "u1"),
        ("run", "u1"),  # clicks in the present run
        ("spent", "u1"),  # ... which has counted as a rage click
        ("ids_at", "u1"),
        ("ids_n", "u1"),
        ("contacts_at", "u1"),
        ("contacts_n", "u1"),
        ("complaints_n", "u1"),
        ("erased", "u1"),  # State.erased holds a time for this customer
        ("kept_next", "u1"),  # number of the next chunk of remembered ids, mod 256: MEMORY
        ("visits_next", "u1"),
        ("spare", "u1", 1),
    ],
    align=True,
)

# A customer's last churn-risk signal, which `worsened` is measured against; it counts while the last notified level
# is not none. A time of NEVER: not known, because the snapshot is older than this field.
TOLD = np.dtype([("time", "i8"), ("probability", "f8")])

# One customer's day, as it is saved. The counts are for evidence; they saturate.
PANE = np.dtype(
    [
        ("effort", "f8"),
        ("mood", "f8"),
        ("effort_answers_sum", "f8"),  # sum of weight * value of effort answers
        ("sat_sum", "f8"),
        ("effort_answers_weight", "f4"),  # sum of weights
        ("sat_n", "f4"),
        ("day", "i4"),
        ("next", "i4"),  # the next older pane
        ("touches", "u4"),
        ("waited", "u4"),  # seconds
        ("contacts", "u2"),
        ("failed", "u2"),
        ("transfers", "u1"),
        ("unresolved", "u1"),
        ("abandoned", "u1"),
        ("late", "u1"),
    ],
    align=True,
)

# ... and in memory: few days have answers.
DAY_PANE = np.dtype(
    [
        ("effort", "f8"),
        ("mood", "f8"),
        ("day", "i4"),
        ("next", "i4"),
        ("answers", "i4"),  # place in State.answers, 0 for none
        ("touches", "u4"),
        ("waited", "u4"),
        ("contacts", "u2"),
        ("failed", "u2"),
        ("transfers", "u1"),
        ("unresolved", "u1"),
        ("abandoned", "u1"),
        ("late", "u1"),
    ],
    align=True,
)
# The answers of one customer's day; of a free place, `effort_sum` is the next free one.
ANSWERS = np.dtype(
    [("effort_sum", "f8"), ("sat_sum", "f8"), ("effort_weight", "f4"), ("sat_n", "f4")], align=True
)

# The ids of a customer's accepted events, so that each counts once: one list for the ids that are kept for the
# window and one for those of plain visits. A list is a chain of chunks, the newest first; see `cxstream.kernels.remembered_ids`.
MEMORY = np.dtype(
    [
        (
            "head",
            "i4",
        ),  # newest chunk; if below NONE, -2 - the place of its lanes, and `first` is their level
        ("first", "u1"),  # number of the oldest chunk, mod 256; the newest is the row's `*_next` - 1
        ("saved", "u1"),  # the row's `*_next` when the list was last saved
        ("base", "u1"),  # the oldest saved block
        ("flags", "u1"),
    ]
)
KEPT_IDS, VISIT_IDS = 0, 1
# MEMORY.flags and the flags of a lane
SAVED, APPENDED, CUT, ALL = 1, 2, 4, 8
CHUNK_IDS = 5
CHUNK_WORDS = 3 + 3 * CHUNK_IDS  # uint16: the next older chunk (two), day of the newest id, ids of three each
LANE_LEVELS = 24

COMPLAINT = np.dtype([("case", "u8"), ("time", "i8"), ("next", "i4")], align=True)

# What a customer has bought, for ever; only of customers with a purchase, a return or a purchase history.
BUYER = np.dtype(
    [
        ("spent", "f8"),  # in the base currency
        ("history", "i8"),  # time of the latest purchase history; NEVER without one
        ("days", "i4"),  # days with a purchase
        ("first", "i4"),  # the first of them; NO_DAY without one
        ("last", "i4"),
        (
            "head",
            "i4",
        ),  # newest day of the window with a purchase or a return; of a free place, the next free one
    ],
    align=True,
)
# One day of the window with a purchase or a return.
DEAL = np.dtype(
    [
        ("net", "f8"),  # purchases less returns, in the base currency
        ("day", "i4"),
        ("next", "i4"),  # the next older day
        ("bought", "i8"),  # 1: there was a purchase
    ],
    align=True,
)

# How many events of one kind of the company's own a customer had on a day; only of kinds that cost effort or annoy.
TALLY = np.dtype(
    [
        ("kind", "u8"),  # digest of the kind's name: its number changes with the rules
        ("day", "i4"),
        ("next", "i4"),  # the next entry, of this day or an older one; 0 at the end
        ("n", "i8"),
    ],
    align=True,
)

SIZES = (
    (ROW, 128), (PANE, 64), (TOLD, 16), (MEMORY, 8), (COMPLAINT, 24), (BUYER, 32), (DEAL, 24), (TALLY, 24),
)  # fmt: skip
if any(each.itemsize != size for each, size in SIZES):
    # A field may have been added, or a platform may align them in another way.
    raise TypeError(f"the sizes of saved state must be {[size for _, size in SIZES]} bytes")

# One decoded record on its way into the kernel.
EVENT = np.dtype(
    [
        ("time", "i8"),
        ("id", "u8"),  # hash of (source, id)
        ("case", "u8"),  # hash of case_id | code of a currency
        ("a", "f8"),  # wait_s | late_days | score | rating | sentiment | x | amount
        ("b", "f8"),  # transfers | y | purchases
        ("slot", "i4"),
        ("topic", "i4"),  # topic | first day of a purchase history
        ("kind", "u1"),
        ("flags", "u1"),
        ("day", "i4"),  # last day of a purchase history
    ],
    align=True,
)
FIRST_OWN = len(Kind)  # EVENT.kind of the first kind of the company's own
TICK, FORGET = 255, 254  # EVENT.kind of a tick and of an erasure request
RULES = 253  # ... and of a set of rules, which no kernel sees
# EVENT.flags
RESOLVED, UNRESOLVED, ABANDONED, SWITCHES, HAS_VALUE = 1, 2, 4, 8, 16

# What an accepted event counted for, on its way out of the kernel.
SCORED = np.dtype(
    [
        ("behind", "i8"),  # its time behind the clock, ms
        ("effort", "f4"),  # points that it added
        ("mood", "f4"),
        ("effort_after", "f4"),  # the customer's scores after it
        ("satisfaction_after", "f4"),
        ("probability_after", "f4"),
        ("flags", "u1"),
        ("level_after", "u1"),
    ],
    align=True,
)
# SCORED.flags, as in `cxstream.model.scored`: derived rules that the event met, an event of a day before the clock's,
# and a failed digital step.
REPEATED, SWITCHED, RAGED, LATE, FAILED = 1, 2, 4, 8, 16

# What became of a record.
ACCEPTED, DUPLICATE, TOO_LATE, FROM_THE_FUTURE, TICKED, ERASED, ERASES = 1, 2, 3, 4, 5, 6, 7
# No kernel sets these: such records do not reach one.
MISROUTED, RULED = 8, 9

# Counters and cursors of a partition: State.at
(
    CLOCK,
    STARTED,
    SEQ,
    LIVE,
    PANE_FREE,
    PANE_TOP,
    PANES,
    COMPLAINT_FREE,
    COMPLAINT_TOP,
    SWEPT_OFFSET,
    SUPPRESSED,
    OUT,
    FORGOTTEN,
    UNREFERENCED_TOPICS,
    TOUCHED,
    SWEEPING,
    DAY_AT,
    READ,
    KEPT,
    CHUNK_FREE,
    CHUNK_TOP,
    CHUNKS,
    LANE_TOP,
    DEAD,
    MEMORY_ROWS,
    # The first day that counts, and the first of plain visits. Only a change of the window sets them: days that were
    # outside of it once stay outside, because what happened on them is no longer known.
    FLOOR,
    VISIT_FLOOR,
    BUYER_FREE,
    BUYER_TOP,
    BUYERS,
    DEAL_FREE,
    DEAL_TOP,
    ENDED,
    TALLY_FREE,
    TALLY_TOP,
    TALLIED,
    TALLIES_ENDED,
    ID_PAGE_FREE,
    ID_PAGE_TOP,
    SELDOM_FREE,
    SELDOM_TOP,
    ANSWERS_FREE,
    ANSWERS_TOP,
    # The latest offset at which a customer's level may have been decided by other constants.
    UNSETTLED,
    # Whether other processes have the partition's other customers. Then the sequence number of a customer is the offset of the record
    # of first appearance, so that all can be put into one order.
    SHARED,
) = range(45)
LANE_FREE = 45  # ... one free list a level
CURSORS = LANE_FREE + LANE_LEVELS

# State.purchases_dirty
UNSAVED_PURCHASES, SAVED_PURCHASES = 1, 2
# State.tallies_dirty
UNSAVED_TALLIES, SAVED_TALLIES = 1, 2
# The first place of State.tallies stays empty: 0 is "no entry", as a new array has it.
NO_TALLY = 0

# State.row_dirty
CLEAN, CHANGED, VACATED = 0, 1, 2

# A signal as it leaves the kernel: a float64 row (every integer here is below 2**53).
(
    S_INDEX, S_SLOT, S_WHAT, S_LEVEL, S_PREVIOUS, S_CLOCK, S_P, S_EFFORT, S_EFFORT_HW, S_SAT, S_SAT_HW,
    S_EFFORT_SHORT, S_ACUTE, S_X,
) = range(14)  # fmt: skip
# The features of the risk, at S_X in a signal and at C_X in a score card; see `cxstream.model.features`.
FEATURES = len(_FEATURES)
(X_EFFORT, X_SURGE, X_DISSATISFACTION, X_DETRACTOR, X_COMPLAINT, X_SILENCE, X_LAPSE, X_UNSUBSCRIBED, X_SLOWDOWN, X_JUST_UNSUBSCRIBED,
 X_UNRESOLVED) = range(FEATURES)  # fmt: skip
(
    S_SPAN, S_CONTACTS, S_WAITED, S_FAILED, S_TRANSFERS, S_UNRESOLVED, S_ABANDONED, S_LATE, S_TOPIC, S_TOPIC_N,
    S_COMPLAINTS, S_COMPLAINT_TIME, S_NPS, S_NPS_TIME, S_QUIET, S_RHYTHM, S_ACTIVE, S_USUAL, S_ANSWERS, S_UNSUBSCRIBED, S_TOUCHES,
    S_ERASED_PANES, S_ERASED_COMPLAINTS, S_ERASED_CONTACTS, S_ERASED_PURCHASES, S_ERASED_OWN,
    # Facts about purchases, in the order of `cxstream.kernels.worth`; set where a purchase model is in the rules.
    S_ALIVE, S_BOUGHT, S_BOUGHT_SPAN, S_BOUGHT_AGE, S_SPENT, S_OWN,
) = range(S_X + FEATURES, S_X + FEATURES + 32)  # fmt: skip
# Of a signal: the customer's sequence number, and whether a sweep is its cause. What only a receipt has is free there.
S_SEQ, S_SWEPT = S_ERASED_PANES, S_ERASED_COMPLAINTS
# From S_OWN on: numbers of the most frequent kinds of the company's own, NONE for none, and how often each occurred.
OWN_NAMED = 3
SIGNAL_WIDTH = S_OWN + 2 * OWN_NAMED
# S_WHAT of a signal.
NO_SIGNAL, FRICTION, RAISED, EASED, CLEARED, RECEIPT, ERASURE, WORSENED = range(8)

# A score card as it leaves the kernel: a float64 row.
(
    C_P, C_EFFORT, C_EFFORT_HW, C_SAT, C_SAT_HW, C_ACUTE, C_T1, C_T7, C_T30, C_T90,
    C_ALIVE, C_BOUGHT, C_BOUGHT_SPAN, C_BOUGHT_AGE, C_SPENT, C_X,
) = range(16)  # fmt: skip
CARD_WIDTH = C_X + FEATURES


class State(NamedTuple):
    """One partition.

    Attributes:
        rows: ROW[slots].
        ids: uint64[arena, 8], pages of rings of accepted id hashes.
        id_pages: int32[slots, 4], the pages of a ring, as far as its ids fill them.
        seldom: int32[slots], place in the next four, 0 for none; see `cxstream.kernels.seldom`.
        contact_times: int64[slots + 1, 4], ms UTC, ring of contacts with a topic.
        contact_topics: int32[slots + 1, 4], beside contact_times.
        told: TOLD[slots + 1], the last churn-risk signal.
        erased: int64[slots + 1], ms UTC: what is not later is dropped; counts where the row says so.
        panes: DAY_PANE[arena].
        answers: ANSWERS[arena]; the first is of days without answers, and stays zero.
        complaints: COMPLAINT[arena].
        order: int32[slots], live slots in order of first appearance; the first at[LIVE] count.
        topic_refs: int32[topics], how many ring places hold a topic.
        row_dirty: uint8[slots], CLEAN, CHANGED since the last snapshot, or VACATED by the kernel.
        card_dirty: uint8[slots], evaluated since its score card was last taken.
        after: float32[slots, 3], effort, satisfaction and probability of the last evaluation; no slots where nobody asks.
        memory: MEMORY[slots, 2], remembered ids.
        memory_due: uint16[slots, 2], day (mod 2**16) on which a chunk of the list may leave.
        memory_dirty: uint8[slots], 1: a list has changed since the last snapshot.
        chunks: uint16[arena, 18].
        lanes: int32[arena, 2], newest chunk and flags.
        dead: int64[...], saved lists that no longer exist, packed; the first at[DEAD] count.
        purchases: int32[slots], place in buyers, NONE for most.
        purchases_dirty: uint8[slots], UNSAVED_PURCHASES and SAVED_PURCHASES.
        buyers: BUYER[arena].
        deals: DEAL[arena].
        ended: int64[...], numbers of first appearance whose saved purchases no longer exist; the first at[ENDED] count.
        tallied: int32[slots], newest place in tallies, NO_TALLY for most; empty until somebody has an entry.
        tallies_dirty: uint8[slots], UNSAVED_TALLIES and SAVED_TALLIES; likewise.
        tallies: TALLY[arena].
        tallies_ended: int64[...], as `ended`, of saved tallies; the first at[TALLIES_ENDED] count.
        at: int64[68], counters and cursors.
    """

    rows: NDArray[np.void]
    ids: NDArray[np.uint64]
    id_pages: NDArray[np.int32]
    seldom: NDArray[np.int32]
    contact_times: NDArray[np.int64]
    contact_topics: NDArray[np.int32]
    told: NDArray[np.void]
    erased: NDArray[np.int64]
    panes: NDArray[np.void]
    answers: NDArray[np.void]
    complaints: NDArray[np.void]
    order: NDArray[np.int32]
    topic_refs: NDArray[np.int32]
    row_dirty: NDArray[np.uint8]
    card_dirty: NDArray[np.uint8]
    after: NDArray[np.float32]
    memory: NDArray[np.void]
    memory_due: NDArray[np.uint16]
    memory_dirty: NDArray[np.uint8]
    chunks: NDArray[np.uint16]
    lanes: NDArray[np.int32]
    dead: NDArray[np.int64]
    purchases: NDArray[np.int32]
    purchases_dirty: NDArray[np.uint8]
    buyers: NDArray[np.void]
    deals: NDArray[np.void]
    ended: NDArray[np.int64]
    tallied: NDArray[np.int32]
    tallies_dirty: NDArray[np.uint8]
    tallies: NDArray[np.void]
    tallies_ended: NDArray[np.int64]
    at: NDArray[np.int64]


class Constants(NamedTuple):
    """ScoringParams in the units of the kernels: ms, days, float64; see `cxstream.model.parameters`."""

    effort: NDArray[np.float64]  # [kinds]
    mood: NDArray[np.float64]  # [kinds]
    company: NDArray[np.uint8]  # [kinds], 1: not an act of the customer
    failed: NDArray[np.uint8]  # [kinds], 1: a failed digital step
    plain: NDArray[np.uint8]  # [kinds], 1: a visit that changes no score
    tallied: NDArray[np.uint8]  # [256], 1: of the company's own, and costs effort or annoys
    own: NDArray[np.uint64]  # digests of the names of the company's own kinds, by number from FIRST_OWN on
    weights: NDArray[np.float64]  # [window], 2 ** (-age / half-life)
    b: NDArray[np.float64]  # [FEATURES]
    thresholds: NDArray[np.float64]  # [3]
    window: int
    visit_window: int  # days, at most the window
    remembers: bool  # ids of the window, not only the last 32
    surge_window: int
    forget_ms: int
    max_effort: float
    max_mood: float
    wait_free: float
    wait_rate: float
    wait_max: float
    transfer_e: float
    transfer_m: float
    transfers_max: float
    abandoned_e: float
    abandoned_m: float
    resolved_e: float
    resolved_m: float
    unresolved_e: float
    unresolved_m: float
    late_e: float
    late_m: float
    late_max: float
    on_time_e: float
    on_time_m: float
    repeat_e: float
    repeat_m: float
    repeat_ms: int
    switch_e: float
    switch_m: float
    switch_ms: int
    rage_clicks: int
    rage_ms: int
    rage_px: float
    csat_weight: float
    ces_weight: float
    review_weight: float
    nps_weight: float
    social_weight: float
    k: float
    effort_scale: float
    logit_prior: float
    mood_scale: float
    z: float
    answer_variance: float  # of answers of one customer, about their mean
    effort_spread: float  # variance of the implicit effort about that mean, without a touch
    satisfaction_spread: float
    touch_weight: float  # that variance is divided by 1 + this for each touch
    acute_half_life: float  # ms
    acute_threshold: float
    acute_rearm: float
    intercept: float
    detractor_max: int
    complaints_scale: float
    silence_min: int
    silence_max: float
    slowdown_window: int
    slowdown_max: float  # days
    unsubscribed_window: int
    unresolved_scale: float
    hysteresis: float
    cooldown_ms: int
    worsened: float
    worsened_ms: int
    currencies: NDArray[np.uint64]  # codes of those with a rate, the base currency first
    rates: NDArray[np.float64]  # beside currencies: units of the base currency
    alive_r: float  # of the MBG/NBD; 0: there is no purchase model
    alive_alpha: float  # days
    alive_a: float
    alive_b: float
