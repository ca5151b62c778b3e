"""Columns of cx.scored that grow batch by batch are those that Arrow makes of the events, however they are cut."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxstream.files import scored_columns
from cxstream.files.scored_columns import CODE, SCHEMA, ScoredColumns
from cxstream.model.kinds import Kind
from cxstream.model.parameters import ScoringParams
from cxstream.model.scored import COLUMNS
from cxstream.scoring.engine import Engine, Records
from cxstream.settings import ACTIONS

APPENDED = 1_800_000_000_000
# Escapes are for the general decoder; an empty text is another than none.
TEXT = st.sampled_from(["", "a", "b", "Łódź", 'say "hi"', "x" * 300, "\x00", "line\nfeed", "🙂"]) | st.text(
    "ab", max_size=18
)
FIELDS = {
    "touchpoint": TEXT,
    "session": TEXT,
    "campaign": TEXT,
    "product": TEXT,
    "segment": TEXT,
    "wait_s": st.floats(0, 1e4),
    "topic": st.sampled_from(["bill", "Łódź", 'a "b"']),
}
EVENT = st.tuples(st.sampled_from(["ann", "bob", "Łukasz"]), st.fixed_dictionaries({}, optional=FIELDS))


def records_of(said: list[tuple[str, dict[str, Any]]]) -> list[bytes]:
    return [
        json.dumps(
            {
                "specversion": "1.0",
                "id": f"e-{i}",
                "source": f"/{i % 3}",
                "type": Kind.contact.type,
                "subject": subject,
                "time": f"2026-01-{1 + i // 1440:02}T{i // 60 % 24:02}:{i % 60:02}:00Z",
                "data": {**Kind.contact.spec.example, **data},
            },
            ensure_ascii=i % 2 == 0,
        ).encode()
        for i, (subject, data) in enumerate(said)
    ]


def columns_of(values: list[bytes], cuts: list[int]) -> pa.RecordBatch:
    engine, columns = Engine(ScoringParams(), ACTIONS), ScoredColumns()
    engine.scored = True
    for begin, end in zip([0, *cuts], [*cuts, len(values)], strict=True):
        scored = engine.process(Records(values[begin:end], range(begin, end))).scored
        if scored is not None:
            columns.add(scored, APPENDED + scored.offsets)
    return columns.batch()


@settings(max_examples=60, deadline=None)
@given(
    said=st.lists(EVENT, min_size=1, max_size=40),
    cuts=st.sets(st.integers(1, 39), max_size=5),
    room=st.sampled_from((1, 3, 1024)),
)
def test_columns_are_those_that_arrow_makes_of_the_events(
    said: list[tuple[str, dict[str, Any]]], cuts: set[int], room: int
) -> None:
    values = records_of(said)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scored_columns, "_FIRST_ROWS", room)
        patch.setattr(scored_columns, "_FIRST_BYTES", room)
        batch = columns_of(values, sorted(cut for cut in cuts if cut < len(values)))
    batch.validate(full=True)
    assert batch.schema == SCHEMA
    events = [json.loads(value) for value in values]
    accepted = [events[offset] for offset in batch["offset"].to_pylist()]
    told = {
        "customer": [each["subject"] for each in accepted],
        "source": [each["source"] for each in accepted],
        "id": [each["id"] for each in accepted],
        "kind": ["contact"] * len(accepted),
        **{c.name: [each["data"].get(c.name) for each in accepted] for c in COLUMNS if c.data},
    }
    for name, wanted in told.items():
        field = SCHEMA.field(name)
        if field.type != CODE:
            assert batch[name].equals(pa.array(wanted, field.type)), name
            continue
        # Also the words and their order, which are bytes of a record.
        arrow = pa.array(wanted, pa.string()).dictionary_encode()
        assert batch[name].equals(arrow if arrow.null_count < len(arrow) else pa.nulls(len(arrow), CODE)), (
            name
        )


def test_rows_count_their_memory_before_they_are_arrow() -> None:
    engine, columns = Engine(ScoringParams(), ACTIONS), ScoredColumns()
    engine.scored = True
    assert columns.nbytes == 0
    values = records_of([("ann", {"session": "s" * 200})] * 50)
    scored = engine.process(Records(values, range(len(values)))).scored
    assert scored is not None
    columns.add(scored, None)
    assert columns.nbytes > 50 * 400
    assert columns.batch()["arrived"].null_count == columns.rows == 50


def test_words_that_were_seen_before_and_words_in_one_place_stay_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # More short words than there are places; the second time most are known, as are words of columns before.
    words = [text for i in range(1000) for text in (f"product-{i}", f"{i}-product", f"{i}")]
    monkeypatch.setattr(scored_columns, "_KEPT_WORDS", scored_columns.deque(maxlen=1))
    for order in (words, words[::-1], words):
        batch = columns_of(records_of([("ann", {"product": word}) for word in order]), [1500])
        assert batch["product"].equals(pa.array(order, pa.string()).dictionary_encode())
    assert len(scored_columns._KEPT_WORDS) == 1
