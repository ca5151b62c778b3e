"""What is remembered of what is sent is bounded by bytes, however many and however long the texts are."""

from __future__ import annotations

import tracemalloc
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxstream.model.parameters import ScoringParams
from cxstream.scoring.codec import decode as d
from cxstream.scoring.codec.pseudonym import Pseudonyms
from cxstream.scoring.codec.remembered import Remembered
from cxstream.scoring.engine import Engine, Records
from cxstream.worker.metrics.process import Measures
from cxstream.worker.metrics.tally import FlushTally
from workers import touchpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20


class Lengths(Remembered[int]):
    def __missing__(self, text: str) -> int:
        return self.keep(text, len(text))


@given(st.lists(st.text(max_size=300)))
def test_what_was_forgotten_is_worked_out_again(texts: list[str]) -> None:
    lengths = Lengths(10_000)
    for text in texts:
        assert lengths[text] == len(text)
        assert sum(4 * len(each) + 320 for each in lengths) <= 10_000


def taken(texts: Iterator[str], remembered: Any) -> int:
    """Memory that is left in use, in bytes."""
    tracemalloc.start()
    try:
        for text in texts:
            remembered[text]
            del text
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("count", "length"), [(200, 2_000_000), (3000, 60_000), (60_000, 250)])
def test_many_or_long_texts_leave_no_more_than_the_bound(count: int, length: int) -> None:
    """200 sources of 2 MB left 400 MB."""
    texts = (f"{n}-{chr(0x1F600)}".ljust(length, "s") for n in range(count))
    assert taken(texts, Lengths(4 * MIB)) < 4 * MIB


def test_hashes_of_sources_and_pseudonyms_are_bounded_so() -> None:
    assert isinstance(d._seeds, Remembered)
    assert d._seeds._most <= 8 * MIB
    assert Pseudonyms(b"k" * 16)._most <= 256 * MIB
    assert d._seeds["a"] == d.hash_text("a")


def values(count: int, length: int) -> list[bytes]:
    """Records of as many sources, valid and not in turn."""
    made = [touchpoint(f"c{n}", n).replace(b"/test", f"/{n}/{'s' * length}".encode()) for n in range(count)]
    return [value.replace(b'"time":"', b'"time":"x') if n % 2 else value for n, value in enumerate(made)]


@pytest.mark.parametrize(("count", "length"), [(200, 20_000), (5000, 200)])
def test_a_flush_tells_a_bounded_number_of_sources_apart(count: int, length: int) -> None:
    some = values(count, length)
    engine, tally, measures = Engine(ScoringParams(), {}), FlushTally(), Measures(5)
    for first in range(0, count, 500):
        part = some[first : first + 500]
        records = Records(part, list(range(first, first + len(part))))
        decoded = engine.read(records)
        outcome = engine.score(decoded, records)
        kept = [SimpleNamespace(value=value, headers=[]) for value in part]
        tally.observe(decoded, outcome, kept, np.zeros(len(part), np.int64))
    told = [*tally.sources, *(source or "" for _, source in tally.rejected)]
    assert len(told) <= 2 * 1001
    assert max(map(len, told)) <= 64
    assert sum(tally.sources.values()) + sum(tally.rejected.values()) == count
    measures.add(tally, 0.0)
    assert len(measures.sources) <= 6
    assert sum(measures.sources.values()) + sum(measures.rejected.values()) == count
