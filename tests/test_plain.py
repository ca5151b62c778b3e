"""Plain records are read by a kernel, and mean the same as to the general decoder."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fuzz_plain
from cxstream.files.scored import decode as decode_scored
from cxstream.files.scored import encode, record_batch
from cxstream.kernels import events as kernel
from cxstream.model.fields import Data
from cxstream.model.kinds import Kind
from cxstream.model.parameters import ScoringParams
from cxstream.scoring.codec.decode import decode
from cxstream.scoring.codec.packed import Packed
from cxstream.scoring.codec.plain import MEMBERS, read_plain
from cxstream.scoring.codec.vocabulary import BUILT_IN
from cxstream.scoring.engine import Engine, Records
from cxstream.wire.examples import example
from strategies import random_history

FAST, GENERAL = fuzz_plain.vocabularies()


def is_plain(*values: bytes) -> list[bool]:
    assert BUILT_IN.contract is not None
    known: list[bool] = read_plain(BUILT_IN.contract, values).known.tolist()
    return known


def raw(event: dict[str, Any], **data: Any) -> bytes:
    return json.dumps({**event, "data": {**event["data"], **data}}, ensure_ascii=False).encode()


def test_sixty_thousand_records_mean_the_same_to_both() -> None:
    assert 0.15 < fuzz_plain.fuzz(60_000, 11, tell=lambda _: None) < 0.8


@pytest.mark.parametrize("member", MEMBERS)
def test_every_value_of_every_member_means_the_same_to_both(member: str) -> None:
    values = [
        json.dumps({**example(kind), "data": {**example(kind)["data"], member: 0.125}})
        .replace("0.125", value, 1)
        .encode()
        for kind in (
            Kind.contact,
            Kind.purchase,
            Kind.survey_nps,
        )
        for value in fuzz_plain.VALUES
    ]
    assert fuzz_plain.compare(values, FAST, GENERAL)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(
    kind=st.sampled_from(Kind),
    members=st.dictionaries(st.sampled_from(MEMBERS), json_values, max_size=4),
    unknown=st.dictionaries(st.text(max_size=12), json_values, max_size=3),
    escapes=st.booleans(),
)
@settings(deadline=None, max_examples=300)
def test_any_json_in_an_event_means_the_same_to_both(
    kind: Kind, members: dict[str, Any], unknown: dict[str, Any], escapes: bool
) -> None:
    event = example(kind)
    event = {**unknown, **event, "data": {**unknown, **event["data"], **members}}
    fuzz_plain.compare([json.dumps(event, ensure_ascii=escapes).encode()], FAST, GENERAL)


@given(number=st.from_regex(r"-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,14})?([eE][+-]?[0-9]{1,3})?", fullmatch=True))
@settings(deadline=None, max_examples=300)
def test_numbers_are_rounded_as_python_rounds_them(number: str) -> None:
    text = raw(example(Kind.click), x=0.125).replace(b"0.125", number.encode())
    fuzz_plain.compare([text], FAST, GENERAL)
    if is_plain(text)[0]:
        [found] = decode([text]).columns["a"].tolist()
        assert (found, str(found)) == (float(number), str(float(number)))


def test_ordinary_events_are_plain() -> None:
    kinds = [kind for kind in Kind if kind != Kind.purchase_history]
    assert all(is_plain(*(json.dumps(example(kind), ensure_ascii=False).encode() for kind in kinds)))
    event = example(Kind.page_view)
    assert (
        is_plain(
            json.dumps(dict(sorted(event.items()))).encode(),
            json.dumps(
                {**event, "datacontenttype": "application/json", "x": [{"y": [1, None, {}]}]}, indent=2
            ).encode(),
            raw(event, text="a line\nand another", hashtags=["late", "żółć"], session=None),
            raw({**event, "subject": "żółć" * 32}),
        )
        == [True] * 4
    )


def test_what_is_not_certain_is_for_the_general_decoder() -> None:
    event = example(Kind.contact)
    odd = [
        raw(event, wait_s=1.2345678901234567),
        raw(event, topic="a\nb"),
        raw({**event, "id": "a\u0001"}),
        raw(event).replace(b'"channel"', b'"ch\\u0061nnel"'),
        raw(event).replace(b'"data": {', b'"data": {"channel": "call", '),
        raw({**event, "subject": "x" * 129}),
        raw(event, channel="web"),
        raw(example(Kind.purchase_history)),
        raw(event) + b"x",
        b"\xef\xbb\xbf" + raw(event),
        b"",
    ]
    assert not any(is_plain(*odd))


def test_a_record_ends_where_it_ends_even_if_the_next_one_goes_on() -> None:
    event = raw(example(Kind.click))
    cut = event.index(b'"time"')
    values = [event[:cut], event[cut:], event[:-1], b"}", event[:-2] + b" ", b"}}", event, b"", event + b"\t"]
    read = decode(fuzz_plain.lines(values))
    assert read.valid.tolist() == [6, 8]
    assert fuzz_plain.compare(values, FAST, GENERAL) == 2


def test_what_came_before_never_changes_what_is_read() -> None:
    event = example(Kind.contact)
    compact, spaced = json.dumps(event, separators=(",", ":")).encode(), json.dumps(event).encode()
    values = [
        compact,
        compact.replace(b'"data":{', b'"data": \t{'),
        compact.replace(b',"time":', b',"time":\n'),
        compact.replace(b'"channel":', b'"channel": '),
        compact.replace(b',"time":', b',"id":"x","time":'),
        compact.replace(b',"time":', b',"time":1,"Time":'),
        compact.replace(b'"subject":"', b'"subject":"", "x":"'),
        compact.replace(b'":', b'" :'),
        compact.replace(b',"time":', b',"timf":'),
        compact.replace(b'"channel":', b'"channem":'),
        spaced,
        json.dumps(event, indent=7).encode(),
        json.dumps(dict(reversed(event.items()))).encode(),
        compact[: compact.index(b',"time"')],
        compact[compact.index(b',"time"') :],
        compact[:-1],
        b"}",
        compact[:-2],
        b',"channel":"call"}}',
    ]
    order = [i for first in range(len(values)) for second in range(len(values)) for i in (first, second)]
    alone = [is_plain(value)[0] for value in values]
    assert is_plain(*(values[i] for i in order)) == [alone[i] for i in order]
    assert sum(alone) >= 7
    assert fuzz_plain.compare([values[i] for i in order], FAST, GENERAL) == sum(alone[i] for i in order)


def test_a_text_that_goes_on_to_the_end_of_memory_is_not_read_beyond() -> None:
    """Behind the lines of a block lies the beginning of the next one, which may be cut anywhere."""
    event = raw(example(Kind.click))
    for tail in (
        b',"x":"' + b"a" * 200,
        b" " * 200,
        b"[" + b"1," * 90,
        b',"x":' + b"[[1]," * 40,
        b"," * 200,
        "ż".encode() * 99,
    ):
        for size in range(32, 120):
            text = event[:-1] + b"\n" + tail[:size]
            packed = Packed(text, np.array([0]), np.array([len(event) - 1]))
            assert BUILT_IN.contract is not None
            assert not read_plain(BUILT_IN.contract, packed).known[0]


def test_packed_texts_are_a_sequence() -> None:
    texts = [b"a", b"", "żółć".encode(), b"b"]
    packed = Packed.of(texts)
    assert (packed, packed[2], packed[1:3], len(packed)) == (texts, texts[2], texts[1:3], 4)
    assert packed.taken([3, 0]) == [b"b", b"a"] != packed
    assert packed.strings() == ["a", "", "żółć", "b"]
    assert Packed.of([None, b"x"]) == [b"", b"x"]
    assert len(Packed.of([])) == 0


def test_every_member_has_a_form_that_the_kernel_knows() -> None:
    contract = BUILT_IN.contract
    assert contract is not None
    assert set(MEMBERS) == {each.name for each in msgspec.structs.fields(Data)}
    read = [int(kind) for kind in Kind if kind != Kind.purchase_history]
    assert (contract.rules["form"][read] != kernel.UNSURE).all()
    assert (contract.rules["form"][Kind.purchase_history] == kernel.UNSURE).all()
    assert np.count_nonzero(contract.table >= 0) == len(contract.entries) <= len(contract.table) // 2


def test_an_event_is_made_when_it_is_asked_for() -> None:
    event = example(Kind.contact)
    values = [raw({**event, "id": str(i), "subject": f"c{i}"}, topic=f"t{i}") for i in range(6)]
    values[2] = values[2].replace(b'"c2"', rb'"c\u0032"')
    decoded = decode([*values, b"{"])
    events = decoded.events.taken([4, 2, 0])
    assert events.subjects() == ["c4", "c2", "c0"]
    assert list(events.topics(np.array([0, 2]))) == [(0, "t4"), (2, "t0")]
    events.rename(["x", "y", "z"])
    assert [(each.id, each.subject, each.data.topic) for each in events] == [
        ("4", "x", "t4"), ("2", "y", "t2"), ("0", "z", "t0"),
    ]  # fmt: skip
    assert events[0] is events[0]
    assert [each.subject for each in events[1:]] == ["y", "z"]
    assert events.kept(np.array([False, True, True])).subjects() == ["y", "z"]


def scored_values(records: list[bytes]) -> list[bytes]:
    engine, found = Engine(ScoringParams(), {}), []
    engine.scored = True
    for start in range(0, len(records), 300):
        some = records[start : start + 300]
        outcome = engine.process(Records(some, range(start, start + len(some))))
        if outcome.scored is not None:
            batch = record_batch(outcome.scored)
            batch.validate(full=True)
            found.append(encode(batch))
    return found


def test_scored_touchpoints_have_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    random = fuzz_plain.Writer(3).records()
    told = [json.dumps(event, ensure_ascii=False).encode() for event, _ in random_history(3, 1500)]
    escaped = [
        raw(event, session="a\nb", hashtags=["ż", "\n"], resolved=True) for event in map(example, Kind)
    ]
    records = [*told, *(next(random) for _ in range(3000)), *escaped, *told[::-1]]
    found = scored_values(records)
    monkeypatch.setattr(BUILT_IN, "contract", None)
    assert found == scored_values(records)
    assert sum(decode_scored(value).num_rows for value in found) > 500


def test_events_with_a_member_are_found_without_making_the_others() -> None:
    event = example(Kind.contact)
    lines = [
        raw(event),
        raw(event, action_id="a"),
        raw(event, action_id="a").replace(b"action_id", rb"action\u005fid"),
        raw(event, topic='"action_id"'),
        raw(event),
        raw(event, action_id="b"),
    ]
    events = decode(Packed.of(lines)).events
    assert set(events.having("action_id")) - {3} == {1, 2, 5}
    assert set(events.taken([0, 5, 4]).having("action_id")) == {1}
    assert set(decode(Packed.of(lines)[2:]).events.having("action_id")) - {0, 1} == {3}
    assert set(decode(Packed.of(lines)[:1]).events.having("action_id")) == set()
    assert not len(decode(Packed.of(lines)[:0]).events.having("action_id"))
    assert events.having("case_id").tolist() == [2, 3]  # what is made may have anything
