"""The records of a batch whose texts have no sentiment yet, and what they get."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cxstream.kernels.jit import entry, kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Members(NamedTuple):
    """Numbers of the members of `data` that the model is about."""

    text: int
    lang: int
    sentiment: int


@kernel
def _has(members: NDArray[np.uint64], i: int, member: int) -> bool:
    return (members[i] >> np.uint64(member)) & np.uint64(1) != 0


@entry
def choose(
    cells: NDArray[np.uint8],
    kind_at: int,
    known: NDArray[np.bool_],
    members: NDArray[np.uint64],
    where: NDArray[np.int64],
    whole: NDArray[np.bool_],
    reads: NDArray[np.bool_],
    named: Members,
    rows: NDArray[np.int64],
    spans: NDArray[np.int64],
    tags: NDArray[np.int64],
) -> tuple[int, int]:
    """Choose the records of a batch that have a text to be read and no sentiment.

    Args:
        cells: uint8[n, bytes], the columns of the records: the type of such an array costs less to tell than theirs.
        kind_at: where in them the number of the kind lies.
        known: bool[n], which records are plain.
        members: uint64[n], bits of the members of `data` that are there.
        where: int64[n, members, 2], where texts lie.
        whole: bool[n], the records whose texts lie there without escapes.
        reads: bool[256], whether texts of a kind are read.
        named: numbers of members.
        rows: int64[n], receives the records: those that are whole from the front, others from the end.
        spans: int64[n, 2], receives where the text of each that is whole lies.
        tags: int64[n, 2], receives where its language tag does; nothing between the two if it has none.

    Returns:
        How many are whole, and how many others there are.
    """
    front, back = 0, len(known)
    for i in range(len(known)):
        if not known[i] or not _has(members, i, named.text) or _has(members, i, named.sentiment):
            continue
        if not reads[cells[i, kind_at]]:
            continue
        if not whole[i]:
            back -= 1
            rows[back] = i
            continue
        rows[front] = i
        for k in range(2):
            spans[front, k] = where[i, named.text, k]
            tags[front, k] = where[i, named.lang, k] if _has(members, i, named.lang) else 0
        front += 1
    return front, len(known) - back


@entry
def put(
    members: NDArray[np.uint64],
    numbers: NDArray[np.float64],
    named: Members,
    rows: NDArray[np.int64],
    scores: NDArray[np.float64],
) -> int:
    """Give records their sentiments.

    Args:
        members: uint64[n], bits of the members of `data` that are there.
        numbers: float64[n, members], receives the sentiments.
        named: numbers of members.
        rows: int64[k], records; those that have one then come first.
        scores: float64[k], their sentiments, NaN for none; likewise.

    Returns:
        How many have one.
    """
    found = 0
    for j in range(len(rows)):
        if math.isnan(scores[j]):
            continue
        i, score = rows[j], scores[j]
        rows[found], scores[found] = i, score
        found += 1
        numbers[i, named.sentiment] = score
        members[i] |= np.uint64(1) << np.uint64(named.sentiment)
    return found
