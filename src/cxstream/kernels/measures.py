"""What a worker measures of its records: counts, and delays in the buckets of histograms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.jit import entry, kernel
from cxstream.kernels.layout import ACCEPTED

if TYPE_CHECKING:
    from numpy.typing import NDArray

KINDS = 256
"""Numbers that a kind may have."""

MOST_SOURCES = 64
"""Sources of a batch that are told apart here."""

NO_TIME = np.iinfo(np.int64).min


@entry
def count(
    columns: NDArray[np.void], status: NDArray[np.uint8], sources: NDArray[np.uint64], telling: NDArray[np.bool_],
    happened: NDArray[np.int64], accepted: NDArray[np.bool_], kinds: NDArray[np.int64], told: NDArray[np.int64],
    hashes: NDArray[np.uint64], firsts: NDArray[np.int64], counts: NDArray[np.int64], numbers: NDArray[np.int64],
) -> int:  # fmt: skip
    """Count the records of a batch by kind and by source.

    Args:
        columns: EVENT[n].
        status: uint8[n], what became of each.
        sources: uint64[n], hash of each source.
        telling: bool[KINDS], kinds of which the accepted ones are listed.
        happened: int64[n], filled in with their times, ms UTC.
        accepted: bool[n], filled in.
        kinds: int64[KINDS], filled in with the accepted ones of each.
        told: int64[n], filled in with places of the accepted ones of kinds that tell, in order.
        hashes: uint64[MOST_SOURCES], filled in with the sources in order of appearance.
        firsts: int64[MOST_SOURCES], filled in with the place of the first record of each.
        counts: int64[MOST_SOURCES], filled in with how many records each has.
        numbers: int64[2], filled in with how many are listed in `told`, and the latest time of an accepted one, ms UTC,
            NO_TIME without any.

    Returns:
        How many sources there are; -1 if they are more than MOST_SOURCES, which then mean nothing.
    """
    listed, known, at = 0, 0, 0
    newest = np.int64(NO_TIME)
    kinds[:] = 0
    for i in range(len(columns)):
        time, kind = columns[i].time, columns[i].kind
        happened[i], accepted[i] = time, status[i] == ACCEPTED
        if accepted[i]:
            kinds[kind] += 1
            newest = max(newest, time)
            if telling[kind]:
                told[listed] = i
                listed += 1
        if known < 0:
            continue
        # Records of one source often come together.
        if at < known and hashes[at] == sources[i]:
            counts[at] += 1
            continue
        at = 0
        while at < known and hashes[at] != sources[i]:
            at += 1
        if at == known:
            if known == MOST_SOURCES:
                known = -1
                continue
            hashes[at], firsts[at], counts[at] = sources[i], i, 0
            known += 1
        counts[at] += 1
    numbers[0], numbers[1] = listed, newest
    return known


@kernel
def _bucket(upper: NDArray[np.float64], value: float) -> int:
    """The first bound that a value is not above; as many as there are if it is above all."""
    low, high = 0, len(upper)
    while low < high:
        middle = (low + high) // 2
        if upper[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@entry
def delays(
    appended: NDArray[np.int64], happened: NDArray[np.int64], accepted: NDArray[np.bool_], now_ms: float,
    history_ms: int, upper: NDArray[np.float64], counts: NDArray[np.int64], event_upper: NDArray[np.float64],
    event_counts: NDArray[np.int64], sums: NDArray[np.float64],
) -> None:  # fmt: skip
    """Count records by how long before now they were appended, and accepted ones by how long before now they happened.

    Args:
        appended: int64[n], Kafka timestamps, ms UTC.
        happened: int64[n], event times, ms UTC.
        accepted: bool[n].
        now_ms: now, ms UTC.
        history_ms: what was appended so long after it happened, or sooner, is live.
        upper: float64[b], bounds in seconds, ascending.
        counts: int64[2, b + 1], added to: of live records, and of the others.
        event_upper: float64[e], bounds in seconds, ascending.
        event_counts: int64[e + 1], added to.
        sums: float64[3], added to: seconds of live records, of the others, and since accepted ones happened.
    """
    for i in range(len(appended)):
        delay = max(now_ms - appended[i], 0.0) / 1000
        old = np.int64(appended[i] - happened[i] > history_ms)
        counts[old, _bucket(upper, delay)] += 1
        sums[old] += delay
        if accepted[i]:
            delay = max(now_ms - happened[i], 0.0) / 1000
            event_counts[_bucket(event_upper, delay)] += 1
            sums[2] += delay
