"""What was counted counts once: ids are remembered for the window, those of plain visits for two days."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxstream.kernels.layout import CHUNK_TOP, CHUNK_WORDS, CHUNKS, EVENT, LANE_TOP, MEMORY, MEMORY_ROWS, NONE
from cxstream.kernels.remembered_ids import LANE_IDS, LONG
from cxstream.model.errors import SnapshotError
from cxstream.model.kinds import Kind
from cxstream.model.parameters import DAY_MS, HOUR_MS, ScoringParams
from cxstream.scoring.codec.events import Events
from cxstream.scoring.engine import MARKER_KEY, Engine, Outcome, Records
from cxstream.scoring.router import Router
from cxstream.scoring.state import remembered_ids
from cxstream.scoring.state.partition import NO_LIMIT, PartitionState
from cxstream.simulate.stream import Plan, Simulation
from oracle import Oracle
from saved import payloads, sealed
from strategies import PARAMS, Entry, Event, histories, random_history, rfc3339

CASE = Path(__file__).parent / "cases" / "export-twice" / "day.ndjson"
DAY_0 = 19_800 * DAY_MS
Rows = dict[bytes, bytes]


def event(n: int | str, time: int, kind: Kind = Kind.error, who: str = "ann", **data: Any) -> Event:
    return {
        "specversion": "1.0", "id": f"e{n}", "source": "/s", "type": kind.type, "subject": who,
        "time": rfc3339(time), "data": {"channel": "web", **data},
    }  # fmt: skip


def feed(engine: Engine, events: list[Event]) -> Outcome:
    begin = engine.next_offset
    values = [json.dumps(each).encode() for each in events]
    return engine.process(Records(values, range(begin, begin + len(values))))


def agrees(engine: Engine, oracle: Oracle, events: list[Event]) -> Counter[str]:
    """Both say of each event whether it is a duplicate, and score alike."""
    begin = engine.next_offset
    said = Counter(oracle.feed(each, begin + i) for i, each in enumerate(events))
    outcome = feed(engine, events)
    assert (outcome.accepted, outcome.duplicates) == (said["accepted"], said["duplicate"])
    return said


def taken(engine: Engine, rows: Rows) -> Rows:
    """Save what has changed into the latest values of a compacted topic; what was written."""
    written = {}
    for key, value in engine.snapshot():
        if value is None:
            rows.pop(key, None)
        else:
            rows[key] = written[key] = value
    return written


def ids_of(rows: Rows) -> Rows:
    return {key: row for key, row in rows.items() if key.startswith(remembered_ids.PREFIXES)}


def whole(engine: Engine) -> None:
    """Every chunk is in one list or free, and the count of saved rows is that of the rows."""
    state, held = engine.partition.state, 0

    def chain(chunk: int) -> int:
        n = 0
        while chunk != NONE:
            n += 1
            words = state.chunks[chunk]
            chunk = int(np.int32(np.uint32(int(words[0]) | int(words[1]) << 16)))
        return n

    for slot in engine.partition.live().tolist():
        for found in state.memory[slot]:
            head, place = int(found["head"]), -1 - int(found["head"])
            lanes = state.lanes[place : place + (1 << int(found["first"])), 0] if head < NONE else [head]
            held += sum(chain(int(lane)) for lane in lanes)
    assert held == state.at[CHUNKS]


# --- what counts


def test_a_file_that_is_sent_twice_counts_once() -> None:
    lines = CASE.read_bytes().splitlines()
    once, twice = Router(ScoringParams(), {}), Router(ScoringParams(), {})
    first = once.process(lines)
    assert (first.accepted, first.duplicates) == (36, 0)
    outcome = twice.process(lines * 2)
    assert (outcome.accepted, outcome.duplicates) == (36, 36)
    assert [s.value for s in outcome.signals] == [s.value for s in first.signals]
    assert list(twice.cards()) == list(once.cards())


@pytest.mark.parametrize(("days", "said"), [(89, "duplicate"), (90, "too_late")])
def test_what_moves_a_score_is_remembered_for_the_window(days: int, said: str) -> None:
    engine, oracle = Engine(ScoringParams(), {}), Oracle()
    agrees(engine, oracle, [event(0, DAY_0)])
    later = [event(f"v{n}", DAY_0 + days * DAY_MS + n, Kind.page_view) for n in range(33)]
    agrees(engine, oracle, later)
    assert agrees(engine, oracle, [event(0, DAY_0)])[said] == 1


@pytest.mark.parametrize("kind", [Kind.action_taken, Kind.churned, Kind.won_back])
def test_what_the_company_does_is_remembered_for_the_window(kind: Kind) -> None:
    engine, oracle = Engine(ScoringParams(), {}), Oracle()
    done = event(0, DAY_0, kind, action="call")
    agrees(engine, oracle, [done])
    agrees(engine, oracle, [event(f"v{n}", DAY_0 + 60 * DAY_MS + n, Kind.page_view) for n in range(33)])
    assert agrees(engine, oracle, [done])["duplicate"] == 1


@pytest.mark.parametrize(
    ("keep", "days", "said"),
    [(2, 1, "duplicate"), (2, 2, "accepted"), (1, 1, "accepted"), (366, 89, "duplicate")],
)
def test_plain_visits_are_remembered_for_days(keep: int, days: int, said: str) -> None:
    params = ScoringParams(visit_dedupe_days=keep)
    engine, oracle = Engine(params, {}), Oracle(params)
    agrees(engine, oracle, [event(0, DAY_0 + DAY_MS - 1, Kind.click)])
    agrees(engine, oracle, [event(f"e{n}", DAY_0 + days * DAY_MS + n) for n in range(33)])
    assert agrees(engine, oracle, [event(0, DAY_0 + DAY_MS - 1, Kind.click)])[said] == 1


def test_a_visit_with_points_moves_a_score_and_is_remembered_like_it() -> None:
    params = ScoringParams.model_validate({"points": {"page_view": {"effort": 1}}})
    engine, oracle = Engine(params, {}), Oracle(params)
    agrees(engine, oracle, [event(0, DAY_0, Kind.page_view)])
    agrees(engine, oracle, [event(f"v{n}", DAY_0 + 60 * DAY_MS + n, Kind.click) for n in range(33)])
    assert agrees(engine, oracle, [event(0, DAY_0, Kind.page_view)])["duplicate"] == 1


def test_an_id_on_another_day_is_another_event() -> None:
    engine, oracle = Engine(ScoringParams(), {}), Oracle()
    agrees(engine, oracle, [event(0, DAY_0), *(event(f"x{n}", DAY_0) for n in range(33))])
    assert agrees(engine, oracle, [event(0, DAY_0 + DAY_MS), event(0, DAY_0 + 1)]) == {
        "accepted": 1,
        "duplicate": 1,
    }


def test_only_the_last_32_are_known_where_the_setting_says_so() -> None:
    params = ScoringParams(dedupe="recent")
    engine, oracle = Engine(params, {}), Oracle(params)
    agrees(engine, oracle, [event(n, DAY_0) for n in range(33)])
    assert agrees(engine, oracle, [event(0, DAY_0), event(32, DAY_0)]) == {"accepted": 1, "duplicate": 1}
    assert engine.partition.state.at[CHUNKS] == 0


@pytest.mark.parametrize("days", [1, 2])
def test_clicks_of_days_that_are_not_remembered_take_no_part_in_a_run(days: int) -> None:
    engine, oracle = Engine(ScoringParams(), {}), Oracle()
    clicks = [event(f"c{n}", DAY_0 + n, Kind.click, x=1, y=1) for n in range(2)]
    agrees(engine, oracle, [event("now", DAY_0 + days * DAY_MS), *clicks])
    # Old clicks neither start nor continue nor break a run of today's.
    today = [event(f"t{n}", DAY_0 + days * DAY_MS + n, Kind.click, x=1, y=1) for n in range(3)]
    agrees(engine, oracle, [*today[:2], event("c2", DAY_0 + 2, Kind.click, x=1, y=1), today[2]])
    ours, theirs = json.loads(engine.card("ann") or b"")["data"], oracle.card("ann")
    assert ours["acute"] == pytest.approx(theirs["acute"])


def test_an_erased_or_forgotten_customers_ids_are_gone_and_count_anew() -> None:
    params = ScoringParams(forget_days=30)
    engine, oracle, rows = Engine(params, {}), Oracle(params), {}
    agrees(engine, oracle, [event(n, DAY_0 + n) for n in range(200)])
    agrees(engine, oracle, [event(f"v{n}", DAY_0 + n, Kind.click) for n in range(200)])
    agrees(engine, oracle, [event("bob", DAY_0, who="bob")])
    taken(engine, rows)
    assert len(ids_of(rows)) > 10
    request = event("forget", DAY_0 - 1) | {"type": "cx.forget.v1"}
    del request["data"]
    agrees(engine, oracle, [request])
    whole(engine)
    assert engine.partition.state.at[CHUNKS] == 1  # bob's
    taken(engine, rows)
    assert len(ids_of(rows)) == 1
    assert agrees(engine, oracle, [event(n, DAY_0 + n) for n in range(200)])["accepted"] == 200
    agrees(engine, oracle, [event("last", DAY_0 + 31 * DAY_MS, who="eve")])
    assert set(engine.partition.slots) == {"eve"}
    assert engine.partition.state.at[CHUNKS] == 1
    taken(engine, rows)
    assert len(ids_of(rows)) == 1


# --- against the oracle, wherever it is cut


def test_far_repeats_are_met_by_the_histories() -> None:
    oracle = Oracle()
    for offset, (each, limit) in enumerate(random_history(5, 4000)):
        oracle.feed(each, offset, limit)
    assert oracle.recalled > 3


def _crowded(seed: int, n: int) -> list[Event]:
    """Few customers with many events a day, old ones again, over months: lists grow into lanes and shrink."""
    rng = random.Random(seed)
    time, sent = DAY_0, []
    for i in range(n):
        time += rng.choice((0, 1000, 60_000, 60_000, rng.random() < 0.004 and rng.randint(1, 40) * DAY_MS))
        if sent and rng.random() < 0.3:
            sent.append(rng.choice(sent[-rng.choice((10, 100, 2000)) :]))
            continue
        kind = rng.choice((Kind.error, Kind.page_view, Kind.delivery, Kind.churned, Kind.email_sent))
        late = rng.choice((0, 0, 0, rng.randint(0, 3) * DAY_MS, rng.randint(0, 95) * DAY_MS))
        sent.append(event(i, time - late, kind, rng.choice(("ann", "ann", "ann", "bob"))))
    return sent


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("keep", [2, 366])
def test_crowded_customers_agree_with_the_oracle_across_restarts(seed: int, keep: int) -> None:
    params = ScoringParams.model_validate({"visit_dedupe_days": keep, "forget_days": 60})
    engine, oracle, rows = Engine(params, {}), Oracle(params), {}
    events, lanes = _crowded(seed, 5000), 0
    for begin in range(0, len(events), 250):
        agrees(engine, oracle, events[begin : begin + 250])
        whole(engine)
        lanes = max(lanes, int(engine.partition.state.at[LANE_TOP]))
        taken(engine, rows)
        if begin % 500:
            engine = Engine.restore(params, {}, rows)
            whole(engine)
    assert lanes > 0
    assert oracle.recalled > 100


def _saved_at_random(seed: int, events: list[Event], params: ScoringParams) -> tuple[Engine, Rows]:
    """A worker that saves now and then, and a copy that follows it and then takes over."""
    rng = random.Random(seed)
    owner, copy, rows = Engine(params, {}), Engine(params, {}), {}
    apart = None
    saved_at = -1
    step = rng.choice((20, 90, 400))
    for begin in range(0, len(events), step):
        some = events[begin : begin + step]
        feed(owner, some)
        cut = rng.randint(0, len(some))  # batches of their own
        feed(copy, some[:cut])
        feed(copy, some[cut:])
        if rng.random() < 0.4:
            taken(owner, rows)
            saved_at = owner.next_offset
        if rng.random() < 0.3 and (apart is None or saved_at >= apart.offset):
            apart = copy.begin_checkpoint()
    if apart is not None:
        copy.roll_back_checkpoint(apart)
    return copy, rows


@pytest.mark.parametrize("seed", range(12))
def test_an_heir_saves_what_its_predecessor_did_not(seed: int) -> None:
    params = ScoringParams.model_validate({"visit_dedupe_days": 2, "forget_days": 60, "window_days": 40})
    events = _crowded(seed, 1500)
    heir, rows = _saved_at_random(seed, events, params)
    taken(heir, rows)
    alone, fresh = Engine(params, {}), {}
    feed(alone, events)
    taken(alone, fresh)
    engine = Engine.restore(params, {}, rows)
    whole(engine)
    # Rows whose tombstones were lost with the predecessor tell by themselves that they are of no use.
    stale = engine.partition.dead_keys
    assert {key: row for key, row in rows.items() if key not in stale}.keys() == fresh.keys()
    again = events[-1200:]
    assert feed(engine, again).duplicates == feed(alone, again).duplicates
    taken(engine, rows)
    taken(alone, fresh)
    assert rows.keys() == fresh.keys()


@given(history=histories(max_size=60), data=st.data(), params=st.sampled_from(sorted(PARAMS)))
@settings(max_examples=60, deadline=None)
def test_no_chunk_is_lost_and_a_loaded_state_saves_the_same_rows(
    history: list[Entry], data: st.DataObject, params: str
) -> None:
    engine, rows = Engine(PARAMS[params], {}), {}
    events = [each for each, _ in history]
    for begin in range(0, len(events), 7):
        feed(engine, events[begin : begin + 7])
        whole(engine)
        if data.draw(st.booleans()):
            taken(engine, rows)
    taken(engine, rows)
    other = Engine.restore(PARAMS[params], {}, rows)
    whole(other)
    assert other.partition.state.at[MEMORY_ROWS] == len(ids_of(rows))
    remembered_ids.mark(other.partition, other.partition.live().astype(np.int64))
    again = ids_of(taken(other, dict(rows)))
    assert again.keys() == ids_of(rows).keys()
    # A block is not written again because its oldest chunks have left.
    before = payloads(rows)
    assert all(before[key].startswith(row) for key, row in payloads(again).items())


# --- what it costs


def _many(engine: PartitionState, n: int, first: int, kind: Kind, day: int) -> Any:
    columns = np.zeros(n, EVENT)
    columns["time"] = day * DAY_MS + np.arange(first, first + n) % DAY_MS
    columns["id"] = np.arange(first, first + n).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    columns["kind"], columns["topic"] = kind, NONE
    subject = type("One", (), {"subject": "bot"})()
    applied = engine.apply(Events.of([subject] * n), columns, np.arange(n), np.full(n, NO_LIMIT))
    engine.release_slots()
    return np.bincount(applied.status, minlength=8).tolist()


@pytest.mark.parametrize("kind", [Kind.page_view, Kind.error])
def test_a_hundred_thousand_events_of_a_customer_in_a_day(kind: Kind) -> None:
    partition, n, part = PartitionState(ScoringParams()), 100_000, 10_000
    for first in range(0, n, part):
        assert _many(partition, part, first, kind, 19_800)[1] == part
    for first in range(0, n, part):
        assert _many(partition, part, first, kind, 19_800)[2] == part
    state = partition.state
    # A lookup reads a lane: it is short however many there are. That is what makes it linear.
    [found] = [each for each in state.memory[0] if each["head"] < NONE]
    lanes = 1 << int(found["first"])
    assert n / LANE_IDS <= lanes <= 2 * n / LANE_IDS
    place = -1 - int(found["head"])
    assert state.lanes[place - 1, 0] == n
    taken_bytes = (
        int(state.at[CHUNK_TOP]) * CHUNK_WORDS * 2 + int(state.at[LANE_TOP]) * 8 + MEMORY.itemsize * 2
    )
    assert taken_bytes <= 10 * n
    # Days later all of it is free again.
    partition.advance((19_800 + 90) * DAY_MS, 0, 0)
    partition.release_slots()
    assert state.at[CHUNKS] == 0
    assert state.memory[0]["head"].tolist() == [NONE, NONE]


def test_a_new_id_rewrites_a_block_and_not_all_that_is_remembered() -> None:
    engine, rows = Engine(ScoringParams(), {}), {}
    n = LONG * 5
    feed(engine, [event(i, DAY_0 + i * HOUR_MS) for i in range(n - 1)])
    taken(engine, rows)
    sealed = 12  # generation and checksum of each row
    assert sum(map(len, ids_of(rows).values())) <= 7 * n + sealed * len(ids_of(rows))
    main = len(rows[b"cann"])
    feed(engine, [event("one", DAY_0 + n * HOUR_MS)])
    written = taken(engine, rows)
    assert len(ids_of(written)) == 1
    assert sum(map(len, ids_of(written).values())) <= 3 + 4 * 32 + sealed * len(ids_of(written))
    assert len(written[b"cann"]) <= main + 64  # a pane, no ids
    # One more, and it is lanes: from now on one of them is written.
    feed(engine, [event("two", DAY_0 + n * HOUR_MS), event("three", DAY_0 + n * HOUR_MS)])
    taken(engine, rows)
    feed(engine, [event("four", DAY_0 + n * HOUR_MS)])
    assert len(ids_of(taken(engine, rows))) == 1
    assert not ids_of(taken(engine, rows))
    Engine.restore(ScoringParams(), {}, rows)


def test_three_months_that_are_sent_twice_give_the_same_scores() -> None:
    plan, end = Plan(customers=40, start=DAY_0, days=90), DAY_0 + 90 * DAY_MS
    lines = [line for block in Simulation(plan).blocks() for line in block.values]
    for keep in (2, 90):
        params = ScoringParams(visit_dedupe_days=keep)
        once, twice = Router(params, {}), Router(params, {})
        first = once.process(lines, end)
        twice.process(lines, end)
        again = twice.process(lines, end)
        assert again.duplicates > first.accepted / 20
        ours, theirs = dict(twice.cards()), dict(once.cards())
        if keep == 90:
            # Nothing that was accepted is accepted again.
            assert again.accepted == 0
            assert ours == theirs
            continue
        assert ours.keys() == theirs.keys()
        for subject, card in ours.items():
            a, b = json.loads(card)["data"], json.loads(theirs[subject])["data"]
            for name in ("effort", "satisfaction", "probability", "features", "last_touch"):
                assert a[name] == b[name], (subject, name)


# --- rows that cannot be trusted


@pytest.fixture(scope="module")
def saved() -> Rows:
    engine, rows = Engine(ScoringParams(), {}), {}
    feed(engine, _crowded(1, 700))
    taken(engine, rows)
    return rows


def test_a_missing_row_is_noticed(saved: Rows) -> None:
    for key in ids_of(saved):
        with pytest.raises(SnapshotError):
            Engine.restore(ScoringParams(), {}, {k: row for k, row in saved.items() if k != key})


def test_a_torn_row_is_refused_or_harmless(saved: Rows) -> None:
    rng, refused = random.Random(3), 0
    for _ in range(400):
        key = rng.choice(sorted(ids_of(saved)))
        row = bytearray(payloads(saved)[key])
        at = rng.randrange(len(row))
        torn = rng.choice(
            (
                bytes(row[:at]),
                bytes(row) + b"\0",
                bytes(row[:at]) + bytes([rng.randrange(256)]) + bytes(row[at + 1 :]),
            )
        )
        name = (
            key if rng.random() < 0.8 else key[: rng.randrange(1, len(key) + 1)] + bytes([rng.randrange(256)])
        )
        try:
            engine = Engine.restore(ScoringParams(), {}, {**saved, **sealed({name: torn})})
        except SnapshotError:
            refused += 1
        else:
            whole(engine)
            feed(engine, _crowded(2, 50))
    assert refused > 200


def test_rows_of_nobody_go_with_the_next_snapshot(saved: Rows) -> None:
    stray = b"i" + (10**6).to_bytes(6, "big") + b"\0"
    rows = {**saved, **sealed({stray: next(iter(ids_of(payloads(saved)).values()))})}
    engine = Engine.restore(ScoringParams(), {}, rows)
    taken(engine, rows)
    assert rows.keys() == saved.keys()
    assert json.loads(rows[MARKER_KEY]) == json.loads(saved[MARKER_KEY])


def test_no_key_or_row_of_ids_names_the_customer(saved: Rows) -> None:
    assert not any(b"ann" in key or b"bob" in key for key in ids_of(saved))


def test_plain_visits_are_kinds_without_points() -> None:
    defaults = ScoringParams().points
    assert all(
        defaults[kind.label].effort == defaults[kind.label].mood == 0 for kind in Kind if kind.spec.visit
    )


def test_ids_of_customers_of_other_partitions_are_left_out_and_go() -> None:
    rows: Rows = {}
    one = Engine(ScoringParams(), {}, partitions=1)
    feed(one, [event(n, DAY_0 + n, who=f"c{n % 9}") for n in range(900)])
    taken(one, rows)
    half = Engine.restore(ScoringParams(), {}, rows, partition=0, partitions=2)
    assert 0 < half.customers < 9
    whole(half)
    taken(half, rows)
    again = Engine.restore(ScoringParams(), {}, rows, partition=0, partitions=2)
    assert len(ids_of(rows)) == again.partition.state.at[MEMORY_ROWS]
    whole(again)


def test_nothing_of_an_erased_customers_ids_stays_in_memory() -> None:
    engine = Engine(ScoringParams(), {})
    feed(engine, [event(n, DAY_0 + n) for n in range(500)] + [event("v", DAY_0, Kind.click)])
    request = event("forget", DAY_0 - 1) | {"type": "cx.forget.v1"}
    del request["data"]
    feed(engine, [request])
    state = engine.partition.state
    assert state.at[CHUNKS] == 0
    assert not state.chunks[: state.at[CHUNK_TOP], 2:].any()


@pytest.mark.parametrize("days", [1, 60, 125, 127, 128, 129, 131])
def test_numbers_of_chunks_that_come_round_between_two_snapshots_do_no_harm(days: int) -> None:
    """Two chunks a day, of 256 numbers: after 128 days without a snapshot they are those that were saved."""
    engine, rows = Engine(ScoringParams(forget_days=1000), {}), {}
    for day in range(days + 4):
        feed(engine, [event(f"{day}-{n}", DAY_0 + day * DAY_MS + n, Kind.page_view) for n in range(10)])
        if day == 3:
            taken(engine, rows)
    taken(engine, rows)
    other = Engine.restore(ScoringParams(forget_days=1000), {}, rows)
    whole(other)
    last = DAY_0 + (days + 3) * DAY_MS
    feed(other, [event(f"x{n}", last) for n in range(33)])
    again = [event(f"{days + 3}-{n}", last + n, Kind.page_view) for n in range(10)]
    assert feed(other, again).duplicates == 10


@pytest.mark.parametrize("n", [30, 500])
def test_an_heir_removes_what_its_predecessor_did_not_of_the_erased(n: int) -> None:
    owner, copy, rows = Engine(ScoringParams(), {}), Engine(ScoringParams(), {}), {}
    for engine in (owner, copy):
        feed(engine, [event(i, DAY_0 + i) for i in range(n)])
    taken(owner, rows)
    copy.begin_checkpoint()  # the owner has saved it
    request = event("forget", DAY_0 - 1) | {"type": "cx.forget.v1"}
    del request["data"]
    feed(copy, [request])
    apart = copy.begin_checkpoint()
    copy.roll_back_checkpoint(apart)  # the owner stops before it saves
    assert ids_of(rows)
    taken(copy, rows)
    assert not ids_of(rows)
