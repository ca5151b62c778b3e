"""Records divided among processes: whose each is, what each process must know of the others' for the clock, and texts of all in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.evaluate import DAY
from cxstream.kernels.events import SUBJECT_BEGIN, SUBJECT_END, TOPIC_BEGIN, TOPIC_END
from cxstream.kernels.jit import entry, kernel
from cxstream.kernels.layout import ACCEPTED, FORGET, NEVER, NONE, TICKED
from cxstream.kernels.text import murmur2
from cxstream.kernels.wide import WIDE, copy, word

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WORD = 8
_ONE = np.uint64(1)
# Odd, with as many ones as zeros: 2**64 divided by the golden ratio.
_ODD = np.uint64(0x9E3779B97F4A7C15)

# What becomes of a record: it is scored here, or lets time pass as a tick does.
SCORED_HERE, SCORED_AND_AHEAD, PASSES = 0, 1, 2


@entry
def homes(
    text: NDArray[np.uint8], spans: NDArray[np.int64], rows: NDArray[np.int64], count: int, out: NDArray[np.int32]
) -> None:  # fmt: skip
    """Fill `out`, int32[n], with the Kafka partition among `count` of the subjects of some rows; 0 for those without one.

    Args:
        text: uint8[...], in which the subjects lie.
        spans: int64[..., SPANS], where.
        rows: int64[n].
        count: partitions.
        out: filled in.
    """
    for i in range(len(rows)):
        row = rows[i]
        begin, end = spans[row, SUBJECT_BEGIN], spans[row, SUBJECT_END]
        out[i] = 0
        if end > begin:
            out[i] = np.int64(murmur2(text, begin, end) & np.uint32(0x7FFFFFFF)) % count


@entry
def shares(
    text: NDArray[np.uint8], spans: NDArray[np.int64], rows: NDArray[np.int64], bits: int, out: NDArray[np.int32]
) -> None:  # fmt: skip
    """Fill `out`, int32[n], with one of 2**bits equal parts of the customers for each of some rows. It says nothing about partitions.

    Args:
        text: uint8[...], in which the subjects lie, and 8 bytes more.
        spans: int64[..., SPANS], where.
        rows: int64[n].
        bits: 1..31.
        out: filled in; 0 for those without a subject.
    """
    for i in range(len(rows)):
        begin, end = spans[rows[i], SUBJECT_BEGIN], spans[rows[i], SUBJECT_END]
        mixed = np.uint64(0)
        while begin < end:
            some = word(text, begin)
            if end - begin < _WORD:
                some &= (_ONE << np.uint64(8 * (end - begin))) - _ONE
            mixed = (mixed ^ some) * _ODD
            mixed ^= mixed >> np.uint64(32)
            begin += _WORD
        out[i] = np.int32((mixed * _ODD) >> np.uint64(64 - bits))


@entry
def take_rows(
    columns: NDArray[np.uint64], members: NDArray[np.uint64], spans: NDArray[np.int64], valid: NDArray[np.int64],
    mine: NDArray[np.bool_], columns_out: NDArray[np.uint64], members_out: NDArray[np.uint64], rows: NDArray[np.int64],
) -> int:  # fmt: skip
    """Take some of the valid records of a batch of n.

    Args:
        columns: uint64[g, k], a row for each valid record.
        members: uint64[n].
        spans: int64[n, SPANS].
        valid: int64[g], positions of the valid records.
        mine: bool[g], which of them are taken.
        columns_out: uint64[m + 1, k], their rows; filled in, and zeros behind them.
        members_out: uint64[m + 1], likewise.
        rows: int64[m + 1], their positions; filled in.

    Returns:
        The room that `gather_texts` needs for them, without the WIDE bytes.
    """
    n, size = 0, np.int64(0)
    for i in range(len(mine)):
        row, taken = valid[i], np.int64(mine[i])
        # Whose the next record is, no processor can tell: what is not taken is overwritten.
        rows[n], members_out[n] = row, members[row]
        for k in range(columns.shape[1]):
            columns_out[n, k] = columns[i, k]
        subject, topic = (
            spans[row, SUBJECT_END] - spans[row, SUBJECT_BEGIN],
            spans[row, TOPIC_END] - spans[row, TOPIC_BEGIN],
        )
        size += taken * (2 + max(subject, 0) + max(topic, 0))
        n += taken
    members_out[n] = 0
    for k in range(columns.shape[1]):
        columns_out[n, k] = 0
    return size


@entry
def gather_texts(
    text: NDArray[np.uint8], spans: NDArray[np.int64], rows: NDArray[np.int64], out: NDArray[np.uint8],
    places: NDArray[np.int64],
) -> int:  # fmt: skip
    """Put subjects and topics of some rows one behind the other, with a zero behind each.

    Args:
        text: uint8[...], in which they lie, and WIDE bytes more.
        spans: int64[..., SPANS], where.
        rows: int64[n].
        out: uint8[...], filled in; has room for a zero behind each, and for WIDE bytes more.
        places: int64[n, SPANS], where they lie in `out`; filled in.

    Returns:
        How many bytes they take.
    """
    at = 0
    for i in range(len(rows)):
        row = rows[i]
        for begin, end in ((SUBJECT_BEGIN, SUBJECT_END), (TOPIC_BEGIN, TOPIC_END)):
            first, last = spans[row, begin], spans[row, end]
            if first == NONE or last <= first:
                places[i, begin], places[i, end] = (first if first == NONE else at), at
                continue
            places[i, begin] = at
            for step in range(0, int(last - first), WIDE):
                copy(text, int(first) + step, out, int(at) + step)
            at += last - first
            places[i, end] = at
            out[at] = 0
            at += 1
    return at


@entry
def follow_shared(
    times: NDArray[np.int64], kinds: NDArray[np.uint8], limits: NDArray[np.int64], codes: NDArray[np.int32], code: int, clock: int,
    tick: int, no_limit: int, places: NDArray[np.int64], what: NDArray[np.uint8], rows: NDArray[np.int64], latest: NDArray[np.int64],
) -> tuple[int, int]:  # fmt: skip
    """Choose what a process applies of the records of a partition of which it has some of the customers.

    It takes all records of its own, and of the others those that move the clock, as ticks; of those that no record of its own
    lies between, only the last one and those that begin a day. Each record is taken to count: the process that scores it knows better,
    see SCORED_AND_AHEAD.

    Args:
        times: int64[n], of all valid records of the partition in a batch, ms UTC.
        kinds: uint8[n], likewise.
        limits: int64[n], latest event time that is not from the future.
        codes: int32[n], whose each is.
        code: of the records that are scored here.
        clock: the latest time of the records before; NEVER where there is none.
        tick: a row.
        no_limit: the limit of a tick.
        places: int64[n], places of records to apply, in order; filled in.
        what: uint8[n], PASSES for a tick, SCORED_AND_AHEAD for a record of its own that must count because it is later than
            all before it, else SCORED_HERE; filled in.
        rows: int64[n], which of its own records each is, and `tick` for a tick; filled in.
        latest: int64[n], their limits; filled in.

    Returns:
        How many there are to apply, and the clock after them.
    """
    n, own = 0, 0
    waiting = np.int64(NONE)
    for i in range(len(times)):
        time, mine = times[i], codes[i] == code
        ahead = time <= limits[i] and kinds[i] != FORGET and (time > clock or clock == NEVER)
        begins = ahead and (clock == NEVER or time // DAY > clock // DAY)
        if not ahead and not mine:
            continue
        if ahead:
            clock = time
        if not mine:
            waiting = i
            if begins:
                places[n], what[n], rows[n], latest[n] = i, PASSES, tick, no_limit
                n += 1
                waiting = NONE
        else:
            if waiting != NONE:
                places[n], what[n], rows[n], latest[n] = waiting, PASSES, tick, no_limit
                n += 1
                waiting = NONE
            places[n], what[n] = i, SCORED_AND_AHEAD if ahead else SCORED_HERE
            rows[n], latest[n] = own, limits[i]
            own += 1
            n += 1
    if waiting != NONE:
        places[n], what[n], rows[n], latest[n] = waiting, PASSES, tick, no_limit
        n += 1
    return n, clock


@entry
def time_ticks(
    columns: NDArray[np.void], what: NDArray[np.uint8], places: NDArray[np.int64], times: NDArray[np.int64]
) -> None:
    """Fill in the times of the ticks among records.

    Args:
        columns: EVENT[n]; changed.
        what: uint8[n], as of `follow_shared`.
        places: int64[n], likewise.
        times: int64[...], likewise.
    """
    for i in range(len(columns)):
        if what[i] == PASSES:
            columns[i].time = times[places[i]]


@entry
def own_status(status: NDArray[np.uint8], what: NDArray[np.uint8], out: NDArray[np.uint8]) -> bool:
    """Take the status of the records that are scored here.

    Args:
        status: uint8[n], what became of each record.
        what: uint8[n], as of `follow_shared`.
        out: uint8[m], of the records that are no ticks; filled in.

    Returns:
        Whether each record counts that must.
    """
    n, all_count = 0, True
    for i in range(len(status)):
        if what[i] != PASSES:
            out[n] = status[i]
            n += 1
            all_count &= what[i] != SCORED_AND_AHEAD or status[i] == ACCEPTED or status[i] == TICKED
    return all_count


@entry
def put_lines(
    text: NDArray[np.uint8], begins: NDArray[np.int64], ends: NDArray[np.int64], places: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> None:  # fmt: skip
    """Copy texts, with the byte behind each, to places of another text.

    Args:
        text: uint8[...], in which they lie.
        begins: int64[n], where each begins.
        ends: int64[n], where each ends.
        places: int64[n], where they begin in `out`.
        out: uint8[...], filled in.
    """
    for i in range(len(begins)):
        begin, size, at = begins[i], ends[i] + 1 - begins[i], places[i]
        step = np.int64(0)
        while step + WIDE <= size:
            copy(text, begin + step, out, at + step)
            step += WIDE
        for j in range(step, size):
            out[at + j] = text[begin + j]


@kernel
def _is_before(
    text: NDArray[np.uint8], begins: NDArray[np.int64], ends: NDArray[np.int64], one: int, other: int
) -> bool:
    """Whether a text sorts before another one, by bytes; of equal ones, the first does."""
    at, there = begins[one], begins[other]
    while at < ends[one] and there < ends[other]:
        if text[at] != text[there]:
            return text[at] < text[there]
        at += 1
        there += 1
    left, other_left = ends[one] - at, ends[other] - there
    return left < other_left or (left == other_left and one < other)


@kernel
def _sink(
    text: NDArray[np.uint8], begins: NDArray[np.int64], ends: NDArray[np.int64], heap: NDArray[np.int64], at: int, n: int
) -> None:  # fmt: skip
    """Let a text in a heap of n sink to its place."""
    sinking = heap[at]
    while 2 * at + 1 < n:
        child = 2 * at + 1
        if child + 1 < n and _is_before(text, begins, ends, heap[child + 1], heap[child]):
            child += 1
        if not _is_before(text, begins, ends, heap[child], sinking):
            break
        heap[at] = heap[child]
        at = child
    heap[at] = sinking


@entry
def merge(
    text: NDArray[np.uint8], begins: NDArray[np.int64], ends: NDArray[np.int64], places: NDArray[np.int64],
    lasts: NDArray[np.bool_], heap: NDArray[np.int64], order: NDArray[np.int64],
) -> None:  # fmt: skip
    """Put sorted texts from several places into one order; of equal ones, those of an earlier place come first.

    Args:
        text: uint8[...], in which they lie.
        begins: int64[n], where each begins, those of one place after those of another.
        ends: int64[n], where each ends.
        places: int64[k], the first text of each place that has some.
        lasts: bool[n], whether each is the last one of its place.
        heap: int64[k], scratch.
        order: int64[n], filled in.
    """
    size = len(places)
    for k in range(size):
        heap[k] = places[k]
    for k in range(size // 2 - 1, -1, -1):
        _sink(text, begins, ends, heap, k, size)
    for i in range(len(order)):
        least = heap[0]
        order[i] = least
        if lasts[least]:
            size -= 1
            heap[0] = heap[size]
        else:
            heap[0] = least + 1
        _sink(text, begins, ends, heap, 0, size)
