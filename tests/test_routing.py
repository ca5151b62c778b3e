"""Records in a partition that is not their customer's: they change nothing there, wherever the log is cut."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.partitioner import murmur2
from hypothesis import given, settings
from hypothesis import strategies as st

from cxstream.model.kinds import FORGET_TYPE
from cxstream.model.parameters import ScoringParams
from cxstream.scoring.codec.pseudonym import Pseudonyms
from cxstream.scoring.codec.routing import FORWARDED_FROM, MAX_FORWARDS, partition_of
from cxstream.scoring.engine import MARKER_KEY, Engine, Outcome, Records
from cxstream.settings import Settings
from oracle import Oracle, home_of
from strategies import PARAMS, Entry, histories, random_history
from test_scores import encoded, receipt_of, reloaded
from workers import touchpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cxstream.scoring.codec.decode import Headers

ACTIONS = Settings().actions
COUNT = 3


def engine_of(partition: int, count: int | None = COUNT, **options: Any) -> Engine:
    return Engine(ScoringParams(), ACTIONS, partition=partition, partitions=count, **options)


def process(engine: Engine, values: Sequence[bytes], headers: Sequence[Headers] | None = None) -> Outcome:
    start = engine.next_offset
    keys = [json.loads(value)["subject"].encode() for value in values]
    return engine.process(Records(values, range(start, start + len(values)), None, keys, headers))


def subjects_at(partition: int, count: int = COUNT) -> list[str]:
    return [name for name in (f"customer-{n}" for n in range(60)) if home_of(name, count) == partition]


HERE, ELSEWHERE = subjects_at(0)[0], subjects_at(1)[0]


def request(subject: str, time: str = "2025-06-01T00:00:00Z", name: str = "r1") -> bytes:
    event = {"specversion": "1.0", "id": name, "source": "/s", "type": FORGET_TYPE}
    return json.dumps(event | {"subject": subject, "time": time}).encode()


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=128), st.integers(1, 200))
def test_a_customers_partition_is_that_of_kafkas_default_partitioner(subject: str, count: int) -> None:
    expected = (murmur2(subject.encode()) & 0x7FFFFFFF) % count
    assert partition_of([subject], count).tolist() == [expected]
    assert home_of(subject, count) == expected


def results(outcomes: Sequence[Outcome], starts: Sequence[int], engine: Engine) -> Any:
    return (
        [(s.topic, s.key, s.value) for o in outcomes for s in o.signals],
        [(s.topic, s.key, s.value) for o in outcomes for s in o.receipts],
        [(start + m.index, m.partition, m.source) for o, start in zip(outcomes, starts, strict=True) for m in o.misrouted],
        [(start + r.index, r.reason) for o, start in zip(outcomes, starts, strict=True) for r in o.rejected],
        [sum(getattr(o, n) for o in outcomes) for n in ("accepted", "duplicates", "ticks", "erased", "erasures", "held_back")],
        engine.clock,
        list(engine.cards()),
    )  # fmt: skip


def run(engine: Engine, log: tuple[list[bytes], list[int]], begin: int, end: int) -> Outcome:
    return engine.process(Records(log[0][begin:end], range(begin, end), log[1][begin:end]))


@given(
    data=st.data(),
    history=histories(min_size=2, max_size=80) | histories(min_size=2, max_size=80, rules=True),
    params=st.sampled_from(sorted(PARAMS)),
    count=st.integers(1, 3),
)
@settings(max_examples=100, deadline=None)
def test_misrouted_records_change_nothing_wherever_the_log_is_cut(
    data: st.DataObject, history: list[Entry], params: str, count: int
) -> None:
    """Against the oracle, and against the same log without them."""
    partition = data.draw(st.integers(0, count - 1))
    oracle = Oracle(PARAMS[params], partition=partition, partitions=count)
    status = [oracle.feed(event, offset, limit) for offset, (event, limit) in enumerate(history)]
    log = encoded(history)

    def fresh() -> Engine:
        return Engine(PARAMS[params], ACTIONS, partition=partition, partitions=count)

    whole = fresh()
    outcome = run(whole, log, 0, len(history))
    expected = results([outcome], [0], whole)
    assert [index for index, *_ in expected[2]] == [i for i, s in enumerate(status) if s == "misrouted"]
    assert all(
        to == home_of(history[i][0]["subject"], count) and source == history[i][0]["source"]
        for i, to, source in expected[2]
    )
    assert expected[3] == [
        (i, s) for i, s in enumerate(status) if s in ("too_late", "from_the_future", "invalid")
    ]
    assert (outcome.accepted, outcome.duplicates) == (status.count("accepted"), status.count("duplicate"))
    assert outcome.erasures == status.count("erases")
    assert whole.clock == oracle.clock
    assert set(dict(expected[-1])) == set(oracle.customers)
    told = [
        r
        for r, (event, _) in zip(oracle.receipts, _requests(history, status), strict=True)
        if r["known"] or home_of(event["subject"], count) == partition
    ]
    assert [receipt_of(each) for each in outcome.receipts] == told

    cuts = data.draw(st.lists(st.integers(1, len(history) - 1), unique=True, max_size=6).map(sorted))
    starts = [0, *cuts]
    parts, saved, outcomes = fresh(), dict[bytes, bytes](), []
    for begin, end in zip(starts, [*cuts, len(history)], strict=True):
        outcomes.append(run(parts, log, begin, end))
        parts = reloaded(parts, saved, PARAMS[params])
    assert results(outcomes, starts, parts) == expected

    without = fresh()
    run(without, log, 0, 0)
    for index, said in enumerate(status):
        if said != "misrouted":
            run(without, log, index, index + 1)
    assert list(without.cards()) == expected[-1]


def _requests(history: list[Entry], status: list[str]) -> list[Entry]:
    return [entry for entry, said in zip(history, status, strict=True) if said == "erases"]


def test_a_long_history_has_all_that_was_to_be_tried() -> None:
    """Otherwise the property above says nothing."""
    history = random_history(3, 6_000)
    found = [
        run(Engine(ScoringParams(), ACTIONS, partition=p, partitions=2), encoded(history), 0, len(history))
        for p in range(2)
    ]
    assert min(len(each.misrouted) for each in found) > 500
    assert min(each.accepted for each in found) > 500
    assert min(each.erasures for each in found) > 5


def test_every_check_has_its_place_in_the_order() -> None:
    """Invalid and a wrong key come before misrouted; from the future, erased and too late come after it."""
    engine = engine_of(0)
    process(engine, [touchpoint(HERE, 86_400 * 20)])
    broken = touchpoint(ELSEWHERE, 1, "survey_nps", score=99)
    event = json.loads(touchpoint(ELSEWHERE, 2))
    old = json.dumps(event | {"time": "2020-01-01T00:00:00Z"}).encode()
    future = json.dumps(event | {"time": "2099-01-01T00:00:00Z"}).encode()
    values = [broken, touchpoint(ELSEWHERE, 3), old, future, touchpoint(ELSEWHERE, 4)]
    keys = [ELSEWHERE.encode()] * 4 + [HERE.encode()]
    outcome = engine.process(Records(values, range(1, 6), [1_800_000_000_000] * 5, keys))
    assert [(r.index, r.reason, r.field) for r in outcome.rejected] == [
        (0, "invalid", "data.score"),
        (4, "invalid", "key"),
    ]
    assert [(m.index, m.partition) for m in outcome.misrouted] == [(1, 1), (2, 1), (3, 1)]


def test_a_request_to_erase_is_followed_in_every_partition() -> None:
    engine = engine_of(0)
    outcome = process(engine, [touchpoint(HERE, 1), request(ELSEWHERE)])
    assert (outcome.misrouted, outcome.receipts, outcome.erasures) == ([], [], 1)
    assert engine.must_save
    # Nothing is known of the customer here, and a card that an earlier version left goes all the same.
    assert (ELSEWHERE.encode(), None) in engine.take_cards()
    assert (b"c" + ELSEWHERE.encode(), None) in engine.snapshot()
    outcome = process(engine, [request(HERE), request(HERE, name="r2", time="2025-06-02T00:00:00Z")])
    assert [json.loads(r.value)["data"]["known"] for r in outcome.receipts] == [True, False]


def saved_by_an_earlier_version(partition: int, subjects: Sequence[str]) -> dict[bytes, bytes]:
    """Rows of a version that scored customers wherever their records lay."""
    engine = engine_of(partition, None)
    process(engine, [touchpoint(subject, n) for n, subject in enumerate(subjects)])
    engine.take_cards()
    return {key: value for key, value in engine.snapshot() if value is not None}


def test_a_snapshot_gives_up_customers_who_belong_elsewhere() -> None:
    rows = saved_by_an_earlier_version(0, [HERE, ELSEWHERE, *subjects_at(2)[:3]])
    engine = Engine.restore(ScoringParams(), ACTIONS, rows, partition=0, partitions=COUNT)
    assert [subject for subject, _ in engine.cards()] == [HERE]
    gone = {ELSEWHERE, *subjects_at(2)[:3]}
    cards = engine.take_cards()
    assert {key.decode() for key, card in cards if card is None} == gone
    saved = engine.snapshot()
    tombstones = [key for key, row in saved if row is None]
    assert {key[1:].decode() for key in tombstones if key.startswith(b"c")} == gone
    latest = {key: row for key, row in {**rows, **dict(saved)}.items() if row is not None}
    # One customer, and the ids of their events.
    assert sorted(key[:1] for key in latest) == [b"\0", b"c", b"i"]
    assert {MARKER_KEY, b"c" + HERE.encode()} < latest.keys()
    again = Engine.restore(ScoringParams(), ACTIONS, latest, partition=0, partitions=COUNT)
    assert again.take_cards() == []
    assert json.loads(latest[MARKER_KEY])["partitions"] == COUNT


def test_a_snapshot_of_fewer_partitions_gives_up_who_moves() -> None:
    names = subjects_at(0, 2)
    before = engine_of(0, 2)
    process(before, [touchpoint(name, n) for n, name in enumerate(names)])
    rows = {key: value for key, value in before.snapshot() if value is not None}
    after = Engine.restore(ScoringParams(), ACTIONS, rows, partition=0, partitions=COUNT)
    stay = sorted(name for name in names if home_of(name, COUNT) == 0)
    assert [subject for subject, _ in after.cards()] == stay
    assert not after.fits(_marker(rows))


def _marker(rows: dict[bytes, bytes]) -> Any:
    from cxstream.scoring.state.marker import read_marker

    return read_marker(rows[MARKER_KEY])


def test_what_was_committed_after_the_last_snapshot_of_an_earlier_version_goes_too() -> None:
    """A card was written, and no row yet: only the log tells of the customer."""
    engine = Engine.restore(
        ScoringParams(), ACTIONS, saved_by_an_earlier_version(0, [HERE]), partition=0, partitions=COUNT
    )
    assert engine.clears
    outcome = process(engine, [touchpoint(ELSEWHERE, 7)])
    engine.clear(outcome, [ELSEWHERE.encode()])
    assert (ELSEWHERE.encode(), None) in engine.take_cards()
    assert (b"c" + ELSEWHERE.encode(), None) in engine.snapshot()
    assert not engine.clears


def test_under_pseudonyms_the_own_id_decides() -> None:
    pseudonyms = Pseudonyms(b"a key that is long enough")
    engine = engine_of(0, pseudonyms=pseudonyms)
    outcome = process(engine, [touchpoint(HERE, 1), touchpoint(ELSEWHERE, 2), touchpoint(HERE, 3)])
    assert [(m.index, m.partition) for m in outcome.misrouted] == [(1, 1)]
    assert outcome.accepted == 2
    assert ELSEWHERE not in pseudonyms
    outcome = process(engine, [request(ELSEWHERE), request(HERE)])
    assert [json.loads(r.value)["data"]["known"] for r in outcome.receipts] == [True]


@pytest.mark.parametrize("hops", [0, 1, MAX_FORWARDS - 1, MAX_FORWARDS, MAX_FORWARDS + 5])
def test_a_record_is_forwarded_a_few_times_at_most(hops: int) -> None:
    engine = engine_of(0)
    headers = [[], [("trace", b"1"), *[(FORWARDED_FROM, b"cx.touchpoints-2-1")] * hops]]
    outcome = process(engine, [touchpoint(HERE, 1), touchpoint(ELSEWHERE, 2)], headers)
    if hops < MAX_FORWARDS:
        assert [(m.index, m.partition) for m in outcome.misrouted] == [(1, 1)]
        assert outcome.rejected == []
    else:
        assert outcome.misrouted == []
        assert [(r.index, r.reason, r.field) for r in outcome.rejected] == [(1, "misrouted", "key")]
    assert outcome.accepted == 1
