"""The state of one partition: decoded records in, statuses and signal rows out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cxstream.kernels import apply as kernels
from cxstream.kernels.batches import KINDS, prepare
from cxstream.kernels.invariants import NO_LIMIT as NO_LIMIT  # noqa: PLC0414  # beside what it limits
from cxstream.kernels.layout import (
    ANSWERS,
    ANSWERS_FREE,
    ANSWERS_TOP,
    BUYER,
    BUYER_FREE,
    BUYER_TOP,
    BUYERS,
    CHUNK_FREE,
    CHUNK_TOP,
    CHUNK_WORDS,
    CLEAN,
    CLOCK,
    COMPLAINT,
    COMPLAINT_FREE,
    COMPLAINT_TOP,
    CONTACTS,
    CURSORS,
    DAY_PANE,
    DEAD,
    DEAL,
    DEAL_FREE,
    DEAL_TOP,
    ENDED,
    ERASED,
    ERASES,
    FLOOR,
    FORGET,
    FORGOTTEN,
    ID_PAGE_FREE,
    ID_PAGE_TOP,
    IDS,
    LANE_FREE,
    LANE_TOP,
    LIVE,
    MEMORY,
    MISROUTED,
    NO_DAY,
    NONE,
    OUT,
    PAGE_IDS,
    PANE_FREE,
    PANE_TOP,
    PANES,
    ROW,
    S_INDEX,
    SCORED,
    SELDOM_FREE,
    SELDOM_TOP,
    SHARED,
    SIGNAL_WIDTH,
    STARTED,
    TALLIED,
    TALLIES_ENDED,
    TALLY,
    TALLY_TOP,
    TOLD,
    UNREFERENCED_TOPICS,
    UNSETTLED,
    VACATED,
    VISIT_FLOOR,
    State,
)
from cxstream.kernels.names import UNKNOWN
from cxstream.kernels.panes import AHEAD
from cxstream.kernels.remembered_ids import FIRST_LEVEL
from cxstream.kernels.seldom import recall_erased, release_seldom
from cxstream.model.kinds import Kind
from cxstream.model.parameters import DAY_MS
from cxstream.scoring.codec.routing import partition_of, partition_of_keys
from cxstream.scoring.state import side
from cxstream.scoring.state.constants import constants
from cxstream.scoring.state.erasures import Erasures
from cxstream.scoring.state.memory import grown, zeros
from cxstream.scoring.state.names import Slots, Topics
from cxstream.scoring.state.passed_over import Passed
from cxstream.scoring.state.purchases import OF_MONEY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cxstream.model.parameters import ScoringParams
    from cxstream.scoring.codec.events import Events
    from cxstream.scoring.codec.packed import Packed

_FIRST = 1024
_AFTER = 3  # what State.after has of each customer
# As a kernel takes it: Numba looks up the type of a member of an enumeration at each call, which takes 0.3 ms.
_CONTACT = int(Kind.contact)
_NOBODY = np.empty(0, np.int32)
# In the worst case, each event of a batch splits a customer's list into this many lanes.
_LANES_AN_EVENT = 1 + (1 << FIRST_LEVEL)
# Arrays of State that are by State.seldom.
_SELDOM = ("contact_times", "contact_topics", "told", "erased")


class Applied(NamedTuple):
    """The results of a batch.

    Attributes:
        status: uint8[n], one of ACCEPTED, DUPLICATE, TOO_LATE, FROM_THE_FUTURE, TICKED, ERASED, ERASES,
            MISROUTED a record.
        signals: float64[m, SIGNAL_WIDTH], in order.
        scored: SCORED[n], what each accepted record counted for; SCORED[0] if that is left out.
        elsewhere: the partition that each misrouted record belongs to, by its position.
    """

    status: NDArray[np.uint8]
    signals: NDArray[np.float64]
    scored: NDArray[np.void]
    elsewhere: dict[int, int]


def _places_of_some(st: State, size: int, *, needed: bool) -> dict[str, NDArray[Any]]:
    """Larger arrays of side state that have no places until the first customer needs one.

    Args:
        st: the state.
        size: how many slots there are.
        needed: a customer may need one now.
    """
    return {
        name: grown(places, size)
        for name in side.ARRAYS_OF_SOME
        if len(places := getattr(st, name)) < size and (needed or len(places))
    }


class PartitionState:
    """Customers, panes and clock of one partition.

    Only customers who belong to the partition have a slot, and for a moment a customer whose erasure is requested. So a
    record of a customer with a slot is in the right partition, and only the ids of unknown customers are hashed.

    Args:
        params: constants of the scores.
        number: of the partition.
        count: how many partitions there are; None if every record is in the right partition.

    Attributes:
        slots: customers and their rows.
        topics: contact topics and their numbers.
        gone: customers removed since this set was last cleared; some may be back.
        erasures: the erasure requests that still count.
        passed: records that are passed over.
        dead: int64 arrays of saved lists of ids that no longer exist.
        ended: numbers of first appearance whose saved purchases no longer exist.
        tallies_ended: likewise, of tallies.
        dead_keys: keys of snapshot rows to delete.
    """

    def __init__(self, params: ScoringParams, number: int = 0, count: int | None = None) -> None:
        self.number = number
        self.count = count
        self.constants = constants(params)
        self.slots = Slots()
        self.topics = Topics()
        self.gone: dict[str, None] = {}
        self.erasures = Erasures()
        self.passed = Passed()
        self._erased = False
        self._fresh = _NOBODY
        self.dead: list[NDArray[np.int64]] = []
        self.dead_keys: dict[bytes, None] = {}
        self.ended: list[int] = []
        self.tallies_ended: list[int] = []
        self._out = np.empty((_FIRST, SIGNAL_WIDTH))
        self._scratch = np.zeros(SIGNAL_WIDTH)
        self._ahead = np.zeros(AHEAD, np.int64)
        at = np.zeros(CURSORS, np.int64)
        at[PANE_FREE] = at[COMPLAINT_FREE] = at[CHUNK_FREE] = at[BUYER_FREE] = at[DEAL_FREE] = NONE
        at[LANE_FREE:] = at[ID_PAGE_FREE] = at[SELDOM_FREE] = at[ANSWERS_FREE] = NONE
        at[FLOOR] = at[VISIT_FLOOR] = NO_DAY
        at[UNSETTLED] = NONE
        at[TALLY_TOP] = at[SELDOM_TOP] = at[ANSWERS_TOP] = 1
        self.state = State(
            rows=np.zeros(_FIRST, ROW),
            ids=np.zeros((_FIRST, PAGE_IDS), np.uint64),
            id_pages=np.zeros((_FIRST, IDS // PAGE_IDS), np.int32),
            seldom=np.zeros(_FIRST, np.int32),
            contact_times=np.zeros((_FIRST + 1, CONTACTS), np.int64),
            contact_topics=np.zeros((_FIRST + 1, CONTACTS), np.int32),
            told=np.zeros(_FIRST + 1, TOLD),
            erased=np.zeros(_FIRST + 1, np.int64),
            panes=np.zeros(_FIRST, DAY_PANE),
            answers=np.zeros(_FIRST, ANSWERS),
            complaints=np.zeros(_FIRST, COMPLAINT),
            order=np.zeros(_FIRST, np.int32),
            topic_refs=np.zeros(_FIRST, np.int32),
            row_dirty=np.zeros(_FIRST, np.uint8),
            card_dirty=np.zeros(_FIRST, np.uint8),
            after=np.zeros((0, _AFTER), np.float32),
            memory=np.zeros((_FIRST, 2), MEMORY),
            memory_due=np.zeros((_FIRST, 2), np.uint16),
            memory_dirty=np.zeros(_FIRST, np.uint8),
            chunks=np.zeros((_FIRST, CHUNK_WORDS), np.uint16),
            lanes=np.zeros((_FIRST, 2), np.int32),
            dead=np.zeros(_FIRST, np.int64),
            purchases=np.zeros(_FIRST, np.int32),
            purchases_dirty=np.zeros(_FIRST, np.uint8),
            buyers=np.zeros(_FIRST, BUYER),
            deals=np.zeros(_FIRST, DEAL),
            ended=np.zeros(_FIRST, np.int64),
            tallied=np.zeros(0, np.int32),
            tallies_dirty=np.zeros(0, np.uint8),
            tallies=np.zeros(1, TALLY),
            tallies_ended=np.zeros(0, np.int64),
            at=at,
        )

    @property
    def scored(self) -> bool:
        """Whether `apply` tells what each accepted record counted for."""
        return len(self.state.after) > 0

    @scored.setter
    def scored(self, wanted: bool) -> None:
        if wanted != self.scored:
            slots = len(self.state.rows) if wanted else 0
            self.state = self.state._replace(after=zeros((slots, _AFTER), np.float32))
            # What the last evaluations have found is not there.
            self.unsettle()

    def share(self) -> None:
        """Other processes have the other customers: count those of this one by the offsets at which they appear."""
        self.state.at[SHARED] = 1

    @property
    def clock(self) -> int | None:
        """Event time reached, ms UTC; None before the first accepted record."""
        return int(self.state.at[CLOCK]) if self.state.at[STARTED] else None

    @property
    def customers(self) -> int:
        """Customers that are known."""
        return int(self.state.at[LIVE])

    @property
    def panes(self) -> int:
        """Day panes in use."""
        return int(self.state.at[PANES])

    @property
    def state_bytes(self) -> int:
        """Bytes reserved for the state, with names."""
        st = self.state
        untouched = sum(getattr(st, name)[st.at[SELDOM_TOP] :].nbytes for name in _SELDOM)
        return sum(array.nbytes for array in st) + self.slots.nbytes - int(untouched)

    def change(self, params: ScoringParams) -> bool:
        """Go on with other constants: no score, level or time changes, and nobody is evaluated.

        Days that either the old or the new window does not cover stop counting for good: what happened on them is not
        all known.

        Returns:
            Whether the window has another length.
        """
        before, self.constants = self.constants, constants(params)
        self.unsettle()
        old = before.window, before.visit_window
        new = self.constants.window, self.constants.visit_window
        if old == new or self.clock is None:
            return False
        at, today = self.state.at, self.clock // DAY_MS
        for place, days in ((FLOOR, min(old[0], new[0])), (VISIT_FLOOR, min(old[1], new[1]))):
            at[place] = max(at[place], today - days + 1)
        self._fresh = _NOBODY
        self.reserve(self.slots.top, 0, 0)
        kernels.narrow(self.state, self.constants, today)
        self.release_slots()
        return old[0] != new[0]

    def unsettle(self) -> None:
        """Judge each customer at their next event, whatever it is: other constants may have decided their level."""
        self.state.at[UNSETTLED] = self.state.rows["eval_offset"].max()

    def live(self) -> NDArray[np.int32]:
        """Slots in order of first appearance, int32[customers]."""
        return self.state.order[: self.customers]

    def reserve(
        self,
        slots: int,
        panes: int,
        complaints: int,
        chunks: int | None = None,
        lanes: int | None = None,
        *,
        purchases: int = 0,
        tallies: int = 0,
    ) -> None:
        """Make room for that many slots in all, and that many more panes, complaints and chunks of ids.

        Args:
            slots: all customers, including the present ones.
            panes: events that may come; each may need a pane, its answers and a page of ids.
            complaints: complaints that may be opened.
            chunks: chunks of remembered ids; by default as many as the events can need.
            lanes: lanes of such chunks; likewise.
            purchases: purchases, returns and purchase histories that may come.
            tallies: events that tallies may count.
        """
        st, at = self.state, self.state.at
        larger: dict[str, NDArray[Any]] = {}
        size = len(st.rows)
        if slots > len(st.rows):
            size = max(slots, len(st.rows) * 3 // 2)
            for name in (
                "rows",
                "id_pages",
                "seldom",
                "order",
                "row_dirty",
                "card_dirty",
                *side.ARRAYS,
                *(["after"] if self.scored else []),
            ):
                larger[name] = grown(getattr(st, name), size)
            for name in _SELDOM:
                larger[name] = grown(getattr(st, name), size + 1, int(at[SELDOM_TOP]))
        larger |= _places_of_some(st, size, needed=tallies > 0)
        if lanes is None:
            lanes = panes * _LANES_AN_EVENT + 2 * int(at[LANE_TOP])
        if chunks is None:
            # A split of a lane leaves one more chunk that is not full.
            chunks = lanes + panes
        for name, top, more in (
            ("panes", PANE_TOP, panes),
            ("answers", ANSWERS_TOP, panes),
            ("ids", ID_PAGE_TOP, panes),
            ("complaints", COMPLAINT_TOP, complaints),
            ("chunks", CHUNK_TOP, chunks),
            ("lanes", LANE_TOP, lanes),
            # Each list, present or made by an event, ends once, in at most two parts.
            ("dead", DEAD, 4 * (self.customers + panes)),
            ("buyers", BUYER_TOP, purchases),
            ("deals", DEAL_TOP, purchases),
            ("ended", ENDED, int(at[BUYERS]) + purchases),
            ("tallies", TALLY_TOP, tallies),
            ("tallies_ended", TALLIES_ENDED, int(at[TALLIED]) + tallies),
        ):
            arena, need = getattr(st, name), int(at[top]) + more
            if need > len(arena):
                larger[name] = grown(arena, max(need, len(arena) * 3 // 2), int(at[top]))
        if len(self.topics.texts) > len(st.topic_refs):
            refs = grown(st.topic_refs, max(len(self.topics.texts), len(st.topic_refs) * 3 // 2))
            refs[len(st.topic_refs) :] = 0
            larger["topic_refs"] = refs
        if larger:
            self.state = st._replace(**larger)

    def _elsewhere(
        self, names: Packed, slots: NDArray[np.int32], kinds: NDArray[np.uint8], own: Sequence[str]
    ) -> dict[int, int]:
        """The partition that each misrouted record belongs to, by its position.

        Args:
            names: n customers, empty for a tick.
            slots: int32[n], their slots, UNKNOWN for an unknown customer.
            kinds: uint8[n]; ticks and erasure requests belong to the partition that they are in.
            own: n original customer ids, if the names are pseudonyms.
        """
        if self.count is None:
            return {}
        # A pseudonym does not tell the partition of its customer, so even one with a slot may be misrouted.
        asked = np.flatnonzero(((slots == UNKNOWN) | bool(own)) & (names.lengths > 0) & (kinds != FORGET))
        if own:
            homes = partition_of([own[i] for i in asked.tolist()], self.count)
        else:
            homes = partition_of_keys(names.taken(asked), self.count)
        away = homes != self.number
        return dict(zip(asked[away].tolist(), homes[away].tolist(), strict=True))

    def strangers(self, subjects: list[str]) -> set[str]:
        """The customers who belong to another partition."""
        if self.count is None:
            return set()
        partitions = partition_of(subjects, self.count).tolist()
        return {each for each, home in zip(subjects, partitions, strict=True) if home != self.number}

    def make_vacant(self, slots: NDArray[np.int32] | slice) -> None:
        """Mark new slots as empty rows."""
        self.state.rows["live"][slots] = 0
        self.state.rows["erased"][slots] = 0
        # No rule sets it, and it is saved: without this, a new row would contain old bytes of memory.
        self.state.rows["spare"][slots] = 0
        self.state.seldom[slots] = 0
        self.state.row_dirty[slots] = 0
        self.state.card_dirty[slots] = 0
        side.vacate(self.state, slots)

    def remember_erased(self, slots: NDArray[np.int32]) -> None:
        """Tell the kernel the erasure requests of these customers."""
        if not self.erasures.times:
            return
        times = [self.erasures.time_of(name) for name in self.slots.names(slots)]
        asked = [i for i, time in enumerate(times) if time is not None]
        if asked:
            recall_erased(self.state, slots[asked], np.array([times[i] for i in asked], np.int64))

    def apply(
        self,
        events: Events,
        columns: NDArray[np.void],
        offsets: NDArray[np.int64],
        limits: NDArray[np.int64],
        own: Sequence[str] = (),
    ) -> Applied:
        """Apply decoded records; those that are misrouted change nothing.

        Call `release_slots` once the signals have been read: until then their slots keep their customers.

        Args:
            events: n events.
            columns: EVENT[n]; `slot` and `topic` are filled in here.
            offsets: int64[n].
            limits: int64[n], ms UTC, latest time that is not from the future; NO_LIMIT for none.
            own: n original customer ids, if the subjects of the events are pseudonyms.
        """
        kinds = columns["kind"]
        names = events.packed_subjects()
        slots, unknown = self.slots.find(names, events.coded_subjects())
        elsewhere = self._elsewhere(names, slots, kinds, own) if unknown or own else {}
        if not elsewhere:
            return self._apply(events, columns, offsets, limits, names, slots, unknown)
        kept = np.array([i for i in range(len(events)) if i not in elsewhere], np.int64)
        mine = slots[kept]
        unknown = int(np.count_nonzero(mine == UNKNOWN))
        applied = self._apply(
            events.taken(kept), columns[kept], offsets[kept], limits[kept], names.taken(kept), mine, unknown
        )
        status = np.full(len(events), MISROUTED, np.uint8)
        status[kept] = applied.status
        scored = np.zeros(len(events) if self.scored else 0, SCORED)
        if self.scored:
            scored[kept] = applied.scored
        applied.signals[:, S_INDEX] = kept[applied.signals[:, S_INDEX].astype(np.int64)]
        return Applied(status, applied.signals, scored, elsewhere)

    def _apply(
        self,
        events: Events,
        columns: NDArray[np.void],
        offsets: NDArray[np.int64],
        limits: NDArray[np.int64],
        names: Packed,
        slots: NDArray[np.int32],
        unknown: int,
    ) -> Applied:
        """Apply records of this partition's customers, of which some are unknown."""
        n, top, known = len(events), self.slots.top, len(self.topics.of)
        self._fresh = self.slots.add(names, slots, unknown) if unknown else _NOBODY
        of_kind, places = np.zeros(KINDS, np.int64), np.empty(n, np.int64)
        contacts = prepare(columns, slots, _CONTACT, of_kind, places)
        if contacts:
            topics = columns["topic"]
            for i, topic in events.topics(places[:contacts]):
                topics[i] = self.topics.number(topic)
        # Until a contact refers to them, new topics count as unreferenced.
        self.state.at[UNREFERENCED_TOPICS] += len(self.topics.of) - known
        self.reserve(
            self.slots.top,
            n,
            int(of_kind[Kind.complaint_opened]),
            purchases=int(of_kind[OF_MONEY].sum()),
            tallies=int(of_kind[self.constants.tallied != 0].sum()),
        )
        if unknown:
            # Slices are written in less than half of the time.
            behind = self.slots.top - top == len(self._fresh)
            self.make_vacant(slice(top, self.slots.top) if behind else self._fresh)
            self.remember_erased(self._fresh)
        status, scored = np.zeros(n, np.uint8), np.zeros(n if self.scored else 0, SCORED)
        signals: list[NDArray[np.float64]] = []
        done = 0
        while not signals or done < n:
            done = kernels.apply(
                self.state,
                self.constants,
                columns,
                limits,
                offsets,
                status,
                scored,
                self._out,
                self._scratch,
                self._ahead,
                done,
            )
            signals.append(self._out[: self.state.at[OUT]].copy())
        if n and status.max() >= ERASED:
            self._erased = True
            # The last signals of an erased customer are in them.
            self._out[:] = 0
            self._scratch[:] = 0
            for asked in np.flatnonzero(status == ERASES).tolist():
                self.erasures.add(events[asked].subject, int(columns["time"][asked]))
                # Also for an unknown customer: rows that an earlier state wrote about them may still exist.
                self.gone[events[asked].subject] = None
        return Applied(status, np.concatenate(signals), scored, {})

    def advance(self, time: int, index: int, offset: int) -> NDArray[np.float64]:
        """Let time pass; signals as `apply`, with `index` for their record. Call `release_slots` afterwards."""
        self._fresh = _NOBODY
        self.reserve(0, 0, 0)
        signals: list[NDArray[np.float64]] = []
        done = False
        while not done:
            done = kernels.advance(
                self.state, self.constants, time, index, offset, self._out, self._scratch, self._ahead
            )
            signals.append(self._out[: self.state.at[OUT]].copy())
        return np.concatenate(signals)

    def release_slots(self) -> None:
        """Release the slots of customers who were removed or never accepted, and unreferenced topics."""
        st, at = self.state, self.state.at
        if at[DEAD]:
            self.dead.append(st.dead[: at[DEAD]].copy())
            at[DEAD] = 0
        if at[ENDED]:
            self.ended += st.ended[: at[ENDED]].tolist()
            st.ended[: at[ENDED]] = 0
            at[ENDED] = 0
        if at[TALLIES_ENDED]:
            self.tallies_ended += st.tallies_ended[: at[TALLIES_ENDED]].tolist()
            st.tallies_ended[: at[TALLIES_ENDED]] = 0
            at[TALLIES_ENDED] = 0
        released = self._fresh[st.rows["live"][self._fresh] == 0]
        if at[FORGOTTEN]:
            vacated = np.flatnonzero(st.row_dirty[: self.slots.top] == VACATED)
            st.row_dirty[vacated] = CLEAN
            at[FORGOTTEN] = 0
            self.gone |= dict.fromkeys(self.slots.names(vacated))
            released = np.union1d(vacated, released)
        if len(released):
            self.slots.release(released)
            release_seldom(st, released.astype(np.int32))
            st.rows[released] = np.zeros((), ROW)
            if self.scored:
                st.after[released] = 0
        # An unreferenced topic may be one that only an erased customer called about.
        if at[UNREFERENCED_TOPICS] > _FIRST + len(self.topics.of) // 2 or (
            self._erased and at[UNREFERENCED_TOPICS]
        ):
            self._release_topics()
        self._erased = False

    def _release_topics(self) -> None:
        used = np.array(list(self.topics.of.values()), np.int64)
        for number in used[self.state.topic_refs[used] == 0].tolist():
            self.topics.release(number)
        self.state.at[UNREFERENCED_TOPICS] = 0
