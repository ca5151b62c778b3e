"""Records divided among processes: whose each is, what each process must know of the others' for the clock, and texts of all in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.evaluate import DAY
from cxstream.kernels.events import SUBJECT_BEGIN, SUBJECT_END, TOPIC_BEGIN, TOPIC_END
from cxstream.kernels.jit import entry
from cxstream.kernels.layout import FORGET, NEVER, NONE
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
def texts_bytes(spans: NDArray[np.int64], rows: NDArray[np.int64]) -> int:
    """The room that `gather_texts` needs, without the WIDE bytes."""
    size = 2 * len(rows)
    for i in range(len(rows)):
        row = rows[i]
        size += max(spans[row, SUBJECT_END] - spans[row, SUBJECT_BEGIN], 0)
        size += max(spans[row, TOPIC_END] - spans[row, TOPIC_BEGIN], 0)
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
    times: NDArray[np.int64], kinds: NDArray[np.uint8], limits: NDArray[np.int64], mine: NDArray[np.bool_], clock: int,
    places: NDArray[np.int64], what: NDArray[np.uint8],
) -> tuple[int, int]:  # fmt: skip
    """Choose what a process applies of the records of a partition of which it has some of the customers.

    It takes all records of its own, and of the others those that move the clock, as ticks; of those that no record of its own
    lies between, only the last one and those that begin a day. Each record is taken to count: the process that scores it knows better,
    see SCORED_AND_AHEAD.

    Args:
        times: int64[n], of all valid records of the partition in a batch, ms UTC.
        kinds: uint8[n], likewise.
        limits: int64[n], latest event time that is not from the future.
        mine: bool[n], the records that are scored here.
        clock: the latest time of the records before; NEVER where there is none.
        places: int64[n], places of records to apply, in order; filled in.
        what: uint8[n], PASSES for a tick, SCORED_AND_AHEAD for a record of its own that must count because it is later than
            all before it, else SCORED_HERE; filled in.

    Returns:
        How many there are to apply, and the clock after them.
    """
    n = 0
    waiting = np.int64(NONE)
    for i in range(len(times)):
        time = times[i]
        ahead = time <= limits[i] and kinds[i] != FORGET and (time > clock or clock == NEVER)
        begins = ahead and (clock == NEVER or time // DAY > clock // DAY)
        if not ahead and not mine[i]:
            continue
        if ahead:
            clock = time
        if not mine[i]:
            waiting = i
            if begins:
                places[n], what[n] = i, PASSES
                n += 1
                waiting = NONE
        else:
            if waiting != NONE:
                places[n], what[n] = waiting, PASSES
                n += 1
                waiting = NONE
            places[n], what[n] = i, SCORED_AND_AHEAD if ahead else SCORED_HERE
            n += 1
    if waiting != NONE:
        places[n], what[n] = waiting, PASSES
        n += 1
    return n, clock


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
