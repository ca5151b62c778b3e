"""The record of cx.rejected: a copy, or a reference that is small whatever the record is like."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxstream.rejected.listing import from_source
from cxstream.rejected.plan import plan
from cxstream.rejected.record import read
from cxstream.scoring.codec.pseudonym import Pseudonyms
from cxstream.scoring.codec.rejection import (
    EXPLANATION,
    REFERENCE,
    Reference,
    Row,
    by_reference,
    content_bytes,
    copy,
    shortened,
    unfold,
)
from cxstream.topology import FORGET, REJECTED, TOUCHPOINTS, topology
from cxstream.worker.ownership.outbox import Outbox

PLACE = (TOUCHPOINTS.name, 3)
LIMIT = 2_000

names = st.text(max_size=8) | st.sampled_from(EXPLANATION + REFERENCE)
headers = st.lists(st.tuples(names, st.none() | st.binary(max_size=8)), max_size=9)
records = st.builds(
    SimpleNamespace,
    key=st.none() | st.binary(max_size=8),
    value=st.none() | st.binary(max_size=8),
    headers=headers,
    offset=st.integers(0, 2**62),
)


def record(**more: Any) -> Any:
    given = {"key": b"anna", "value": b"{}", "headers": [], "offset": 17, "timestamp": 5, **more}
    return SimpleNamespace(**given)


def written(row: Row) -> Any:
    return record(key=row.key, value=row.value, headers=row.headers)


@given(records)
def test_both_forms_are_told_apart_whatever_the_headers_of_the_record(one: Any) -> None:
    for make in (copy, by_reference):
        row = make(one, PLACE, "invalid", "data.score")
        found = unfold(row.headers)
        assert found is not None
        own, said, reference = found
        assert [said[name] for name in EXPLANATION] == [
            b"invalid", b"data.score", TOUCHPOINTS.name.encode(), b"3", str(one.offset).encode(),
        ]  # fmt: skip
        if make is copy:
            assert (row.key, row.value, own, reference) == (one.key, one.value, one.headers, None)
        else:
            digest = hashlib.sha256(one.value or b"").hexdigest()
            size = content_bytes(one.key, one.value, one.headers)
            assert (row.key, row.value, own, reference) == (one.key, None, [], Reference(size, digest))
            assert reference.fits(one.key, one.value, one.headers)
            assert not reference.fits(one.key, (one.value or b"") + b"x", one.headers)


@given(records)
def test_a_copy_that_is_shortened_is_the_reference(one: Any) -> None:
    reference = by_reference(one, PLACE, "invalid", "")
    assert shortened(copy(one, PLACE, "invalid", "")) == reference
    assert shortened(reference) == reference


@pytest.mark.parametrize(
    "more",
    [
        {"key": b"k" * 1_000_000},
        {"key": b"k" * 1_000_000, "value": None},
        {"value": b"v" * 1_000_000},
        {"headers": [("h" * 1_000_000, b"")]},
        {"headers": [("h", b"v" * 1_000_000)]},
        {"headers": [("h", None)] * 100_000},
    ],
    ids=["key", "key alone", "value", "header name", "header value", "headers"],
)
def test_a_reference_is_small_whatever_is_large(more: dict[str, Any]) -> None:
    row = by_reference(record(**more), PLACE, "invalid", "f" * 1_000_000)
    assert row.size < 1_024
    outbox = Outbox(topology())
    outbox.add_rejected(record(**more), PLACE, "invalid", "")
    outbox.add_rejected(record(), PLACE, "malformed", "")
    outbox.shorten(LIMIT)
    rows = [
        Row(*pair, said) for pair, said in zip(outbox.rows[REJECTED.name], outbox.explanations, strict=True)
    ]
    assert rows == [
        by_reference(record(**more), PLACE, "invalid", ""),
        copy(record(), PLACE, "malformed", ""),
    ]


def test_a_key_of_a_customer_is_kept() -> None:
    longest = "\U0001f600" * 128
    assert by_reference(record(key=longest.encode()), PLACE, "x", "").key == longest.encode()
    assert by_reference(record(key=longest.encode() + b"x"), PLACE, "x", "").key is None


def test_a_header_whose_name_is_not_utf_8_makes_a_reference() -> None:
    broken = record(headers=[("caf\udce9", b"1")])
    assert copy(broken, PLACE, "malformed", "") == by_reference(broken, PLACE, "malformed", "")
    found = unfold(by_reference(broken, PLACE, "malformed", "").headers)
    assert found is not None
    assert found[2] is not None
    assert found[2].size == len(b"anna{}caf\xe91")


def test_under_pseudonyms_neither_the_key_nor_a_digest_of_the_value_is_kept() -> None:
    pseudonyms = Pseudonyms(b"k" * 16)
    row = by_reference(record(key=b"k" * 1_000), PLACE, "too_large", "", pseudonyms)
    assert row.key == pseudonyms.of("k" * 1_000).encode()
    found = unfold(row.headers)
    assert found is not None
    assert found[2] == Reference(1_002, "")


@pytest.mark.parametrize("size", [b"", b"x", None])
def test_a_reference_without_a_size_is_no_rejected_record(size: bytes | None) -> None:
    said = by_reference(record(), PLACE, "too_large", "").headers
    said[-2] = ("size", size)
    assert read(record(headers=said)) is None


class Source:
    """Stands in for a reader of cx.touchpoints."""

    topology = topology()

    def __init__(self, found: Any) -> None:
        self.found = found

    async def one(self, topic: str, partition: int, offset: int) -> Any:
        assert (topic, partition, offset) == (TOUCHPOINTS.name, 3, 17)
        return self.found


@pytest.mark.parametrize(
    ("there", "whole"),
    [(record(), True), (None, False), (record(value=b"[]"), False), (record(key=b"bertha"), False)],
    ids=["there", "gone", "another value", "another size"],
)
async def test_a_reference_leads_to_the_record_it_names_and_no_other(there: Any, whole: bool) -> None:
    reader: Any = Source(there)
    rejection = read(written(by_reference(record(), PLACE, "too_large", "")))
    assert rejection is not None
    found = await from_source(reader, rejection)
    assert found.value == (b"{}" if whole else None)
    refusal = plan(found, None, topology=topology(), partitions=1, latest_ms=2**62).refusal
    assert ("no longer has the record: have the source send it again" in refusal) is not whole


async def test_a_reference_to_a_request_is_not_sent() -> None:
    rejection = read(written(by_reference(record(), (FORGET.name, 3), "too_large", "")))
    assert rejection is not None
    assert (
        "use 'cxstream forget'"
        in plan(rejection, None, topology=topology(), partitions=1, latest_ms=0).refusal
    )
