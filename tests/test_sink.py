"""The sink: what is in PostgreSQL is what the warehouse has, however the log is cut; one writer; nothing older wins."""

from __future__ import annotations

import json
import random
import re
import socket
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from cxstream.model.errors import FencedError, LostRecordsError, SinkError
from cxstream.scoring.router import Router
from cxstream.settings import Settings, Sink
from cxstream.sink import database as database_module
from cxstream.sink import rows
from cxstream.sink.address import Address
from cxstream.sink.database import Database, UnavailableError
from cxstream.sink.feed import positions
from cxstream.sink.partitions import TABLES, shifted
from cxstream.sink.verify import Report, verify_against
from cxstream.topology import CHURN_RISK, FORGOTTEN, FRICTION, INSIGHTS, SCORED, SCORES
from cxstream.warehouse import aggregates
from cxstream.warehouse.store import Store
from generate import BOARDS
from sink_log import Log, Target, content, fill, sink_settings, target
from test_warehouse_follow import cards, written
from warehouse_rows import card as card_of
from warehouse_rows import signal as signal_of
from workers import touchpoint

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from cxstream.sink.embedded import Embedded

PARTITIONS = 2
KINDS: list[tuple[str, dict[str, Any]]] = [
    ("error", {"touchpoint": "checkout", "stage": "purchase", "product": "p1"}),
    (
        "contact",
        {
            "channel": "call",
            "wait_s": 93.5,
            "handle_s": 300,
            "agent": "a7",
            "topic": "bill",
            "resolved": False,
        },
    ),
    ("survey_nps", {"channel": "email", "score": 3}),
    ("survey_csat", {"channel": "call", "score": 4, "agent": "a7"}),
    ("page_view", {"touchpoint": "nul\x00 and ü", "segment": "\x00"}),
    ("review", {"rating": 4.5, "location": "L"}),
]


def events(count: int, customers: int = 6) -> list[bytes]:
    """Touchpoints of all kinds; some customers are erased in the middle."""
    made = []
    for i in range(count):
        kind, data = KINDS[i % len(KINDS)]
        made.append(touchpoint(f"c{i * 7 % customers}", i * 1801, kind, **data))
        if i == count // 2:
            made += [asked("c1", i * 1801), asked("c2", i * 1801)]
    return made


def asked(customer: str, number: int) -> bytes:
    event = json.loads(touchpoint(customer, number)) | {"type": "cx.forget.v1", "id": f"f-{customer}"}
    event.pop("data")
    return json.dumps(event).encode()


def batches(values: list[bytes], size: int) -> list[dict[tuple[str, int], Any]]:
    """What workers write about them, in parts, with the cards after each."""
    settings = Settings()
    router = Router(settings.scoring, settings.actions, partitions=PARTITIONS, scored=True)
    made = []
    for i in range(0, len(values), size):
        made += [written(router, values[i : i + size]), cards(router)]
    return made


@pytest.mark.parametrize("seed", range(3))
async def test_it_has_what_the_warehouse_has_however_the_log_is_cut(
    postgres: Embedded, tmp_path: Path, seed: int
) -> None:
    chance, log = random.Random(seed), Log(PARTITIONS)
    with target(postgres, flush_rows=chance.choice([1, 13, 1000])) as sink:
        for some in batches(events(240), 60):
            log.extend(some)
            if chance.random() < 0.5:
                await sink.catch_up(log)
                if chance.random() < 0.5:
                    await sink.take_out(log)
        # Customers with a value, as a purchase model gives it, and without one.
        worth = {"p_alive": 0.25, "clv": 80.5, "value_at_risk": 40.25}
        held = {"experiment": "retention", "arm": "holdout", "p_alive": 0.25, "clv": 80.5}
        log.append(SCORES.name, 0, b"rich", card_of("rich", 0, 9_000, **worth))
        log.append(CHURN_RISK.name, 0, b"rich", signal_of("rich", 0, 9_000, value_at_risk=40.25, **held))
        # The end of a card.
        log.append(SCORES.name, 0, b"c3", None)
        log.append(SCORES.name, 1, b"c3", None)
        await sink.catch_up(log)
        await sink.take_out(log)
        assert await sink.catch_up(log) == 0
        with Store(tmp_path / "w.duckdb", sink.settings.warehouse) as store:
            fill(store, log)
            expected, found = content(store.connection), sink.content()
        for table, rows_there in expected.items():
            shown = {tuple(rows.text(v) if isinstance(v, str) else v for v in row) for row in rows_there}
            assert found[table] == shown, table
            assert found[table], table
        assert not any("c3" in row for row in found["cards"])
        assert sink.select("SELECT count(value_at_risk), sum(p_alive + clv) FROM cards") == [(1, 80.75)]
        worths = "SELECT sum(value_at_risk), sum(p_alive), sum(clv) FROM signals"
        assert sink.select(worths) == [(40.25, 0.25, 80.5)]
        assert sink.select("SELECT experiment, arm FROM signals WHERE arm IS NOT NULL") == [
            ("retention", "holdout")
        ]
        assert not sink.ingest.erasures.pending


async def test_the_same_touchpoints_count_once_and_what_cannot_be_read_is_left_out(
    postgres: Embedded,
) -> None:
    log = Log(PARTITIONS)
    [first, *_] = batches(events(40), 1000)
    log.extend(first)
    with target(postgres) as sink:
        await sink.catch_up(log)
        before = sink.content()
        log.extend({place: some for place, some in first.items() if place[0] != FORGOTTEN.name})
        good = json.loads(log.records[CHURN_RISK.name, 0][0].value or b"")
        card = json.loads(cards_of(events(3))[0])
        for topic, value in {
            SCORED.name: b"nothing",
            CHURN_RISK.name: json.dumps(good | {"time": "yesterday", "id": "x-1-2"}).encode(),
            FRICTION.name: b"{}",
            FORGOTTEN.name: b"[]",
        }.items():
            log.append(topic, 1, b"x", value)
        for broken in (
            card | {"time": "never"},
            card | {"id": "cx.touchpoints-99999999999-0:c"},
            card | {"data": card["data"] | {"purchases": 2**40}},
            card | {"data": card["data"] | {"last_purchase": "soon"}},
        ):
            log.append(SCORES.name, 0, b"c", json.dumps(broken).encode())
        await sink.catch_up(log)
        assert sink.content() == before


def cards_of(values: list[bytes]) -> list[bytes]:
    settings = Settings()
    router = Router(settings.scoring, settings.actions, partitions=1)
    router.process(values)
    return [card for _, card in router.cards()]


PLACE_SIGNAL: dict[str, Any] = {
    "specversion": "1.0",
    "id": "i-1",
    "source": "/cxstream",
    "type": "cx.signal.touchpoint.v1",
    "subject": "touchpoint/web/check\x00out",
    "time": "2025-03-02T10:05:00.000Z",
    "data": {
        "change": "raised",
        "dimension": "touchpoint",
        "channel": "web",
        "name": "check\x00out",
        "measure": "failure",
        "since": "2025-03-02T09:58:00.000Z",
        "visits": 40,
        "bad": 31,
        "share": 0.775,
        "usual": 0.02,
        "customers": 28,
        "reasons": [{"kind": "error", "touchpoints": 31, "customers": 28, "evidence": "31 error\x00"}],
    },
}


async def test_alerts_on_places_are_inserted_once(postgres: Embedded) -> None:
    log = Log(PARTITIONS)
    for value in (
        PLACE_SIGNAL,
        PLACE_SIGNAL,
        PLACE_SIGNAL | {"data": PLACE_SIGNAL["data"] | {"visits": 2**63}},
        {"id": "i-2"},
    ):
        log.append(INSIGHTS.name, 0, b"x", json.dumps(value).encode())
    with target(postgres) as sink:
        await sink.catch_up(log)
        assert sink.select(
            "SELECT place, name, bad, customers, reasons->0->>'evidence' FROM place_alerts"
        ) == [("touchpoint/web/check�out", "check�out", 31, 28, "31 error�")]


async def test_a_card_is_never_replaced_by_an_older_one(postgres: Embedded) -> None:
    log = Log(PARTITIONS)
    oldest, old, new = (cards_of(events(n, 1))[0] for n in (3, 6, 9))
    elsewhere = old.replace(b"cx.touchpoints-0-", b"cx.touchpoints-1-")
    assert elsewhere != old
    log.append(SCORES.name, 0, b"c0", oldest)
    log.append(SCORES.name, 0, b"c0", new)
    # A partition that the customer has left, when partitions were added.
    log.append(SCORES.name, 1, b"c0", elsewhere)
    with target(postgres) as sink:
        await sink.catch_up(log)
        latest = "SELECT partition, record FROM score_cards WHERE latest"
        assert sink.select(latest) == [(0, 1)]
        # Records that come again, as after a restored backup of half a database.
        sink.database.connection.execute("UPDATE positions SET next_offset = 0")
        log.records[SCORES.name, 0].pop()
        await sink.catch_up(log)
        assert sink.select(latest) == [(0, 1)]
        assert sink.select("SELECT count(*) FROM cards") == [(1,)]
        # When the card that counts ends, the other one counts.
        log.append(SCORES.name, 0, b"c0", oldest)
        log.append(SCORES.name, 0, b"c0", b"")
        await sink.catch_up(log)
        assert sink.select(latest) == [(1, 0)]
        log.append(SCORES.name, 1, b"c0", b"")
        await sink.catch_up(log)
        assert sink.select("SELECT count(*) FROM score_cards") == [(0,)]


async def test_a_second_writer_fences_the_first(postgres: Embedded) -> None:
    log = Log(PARTITIONS)
    log.extend(batches(events(20), 1000)[0])
    with target(postgres) as first, target(postgres, schema_name=first.settings.sink.schema_name) as second:
        await second.catch_up(log)
        before = second.content()
        log.extend(batches(events(20), 1000)[1])
        with pytest.raises(FencedError, match=rf"the writer is process \d+ on {socket.gethostname()}"):
            await first.catch_up(log)
        with pytest.raises(FencedError):
            first.partitions.keep()
        assert second.content() == before
        first.database.reconnect()
        with pytest.raises(FencedError):
            await first.catch_up(log)
        await second.catch_up(log)


async def test_a_writer_whose_connection_is_cut_goes_on_as_the_same_writer(postgres: Embedded) -> None:
    log = Log(PARTITIONS)
    log.extend(batches(events(20), 1000)[0])
    with target(postgres) as sink, target(postgres) as other:
        [(pid,)] = sink.select("SELECT pg_backend_pid()")
        other.select("SELECT pg_terminate_backend(%s)", [pid])
        with pytest.raises(UnavailableError):
            await sink.catch_up(log)
        sink.database.reconnect()
        assert await sink.catch_up(log) > 0


def test_an_older_database_is_migrated_and_a_newer_or_foreign_one_is_refused(
    postgres: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = sink_settings(postgres).sink
    address = Address(postgres.url, settings)
    steps = database_module.migrations()
    newest = steps[-1][0]

    def migrate(*more: tuple[int, str]) -> list[tuple[Any, ...]]:
        monkeypatch.setattr(database_module, "migrations", lambda: [*steps, *more])
        made = Database(address, settings)
        try:
            made.migrate()
            return made.connection.execute("SELECT number FROM migrations ORDER BY 1").fetchall()
        finally:
            made.close()

    before = [(number,) for number, _ in steps]
    assert migrate() == before
    assert migrate() == before
    with pytest.raises(SinkError, match="division by zero"):
        migrate((newest + 1, "CREATE TABLE half (x integer); SELECT 1 / 0"))
    assert migrate((newest + 1, "CREATE TABLE half (x integer)")) == [*before, (newest + 1,)]
    with pytest.raises(
        SinkError, match=f"later version of cxstream \\(step {newest + 1}, this one knows {newest}\\)"
    ):
        migrate()

    monkeypatch.undo()
    foreign = sink_settings(postgres).sink
    with psycopg.connect(**address.parameters(), autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {foreign.schema_name} CREATE TABLE mine (x integer)")
    made = Database(Address(postgres.url, foreign), foreign)
    with pytest.raises(SinkError, match=r"tables of something else: .*sink\.schema_name"):
        made.migrate()
    made.close()


async def test_months_are_partitions_made_in_advance_and_dropped_by_age(postgres: Embedded) -> None:
    log = Log(PARTITIONS)
    # All in March 2025.
    log.extend(batches(events(40), 1000)[0])
    with target(postgres, keep_months=1, ahead_months=1) as sink:
        sink.select("SELECT 1")
        sink.database.connection.execute("DELETE FROM properties")
        sink.partitions.keep(date(2025, 3, 20))
        for table in TABLES:
            assert {f"{table}_2025_03", f"{table}_2025_04"} <= partitions(sink, table)
        await sink.catch_up(log)
        assert sink.content()["daily"]
        sink.partitions.keep(date(2025, 4, 30))
        before = sink.content()
        assert before["daily"]
        # Who reads keeps a month from being dropped, and the writer goes on.
        with psycopg.connect(**sink.database.address.parameters()) as reader:
            reader.execute(f"SELECT * FROM {sink.settings.sink.schema_name}.daily")
            sink.partitions.keep(date(2025, 5, 1))
            assert "daily_2025_03" in partitions(sink, "daily")
        sink.partitions.keep(date(2025, 5, 1))
        for table in TABLES:
            assert f"{table}_2025_03" not in partitions(sink, table)
        # What is older does not come back, not even with a clock that goes back.
        sink.partitions.keep(date(2025, 3, 1))
        sink.database.connection.execute("DELETE FROM counted; UPDATE positions SET next_offset = 0")
        await sink.catch_up(log)
        after = sink.content()
        assert after["cards"] == before["cards"]
        assert not any(after[table] for table in after if table != "cards")


def partitions(sink: Target, table: str) -> set[str]:
    found = sink.select("SELECT relid::regclass::text FROM pg_partition_tree(%s) WHERE isleaf", [table])
    return {name for (name,) in found}


def test_months_are_counted_across_years() -> None:
    assert shifted(date(2025, 1, 1), -1) == date(2024, 12, 1)
    assert shifted(date(2025, 11, 1), 14) == date(2027, 1, 1)
    assert shifted(date(2025, 1, 1), -100_000) == date(1, 1, 1)
    assert shifted(date(2025, 1, 1), 100_000) == date(9999, 12, 1)


def test_the_columns_of_the_aggregates_are_those_of_the_warehouse(postgres: Embedded) -> None:
    """A column that the warehouse gains needs a migration of the sink's schema."""
    with target(postgres) as sink:
        for table in aggregates.TABLES:
            found = sink.select(
                "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0", [table]
            )
            keys, sums = aggregates.columns(table)
            assert {name for (name,) in found} == {"key", *keys, *sums}, table


async def test_a_log_that_lost_records_or_is_another_one_is_refused(postgres: Embedded) -> None:
    log = Log(PARTITIONS)
    log.extend(batches(events(20), 1000)[0])
    with target(postgres) as sink:
        await sink.catch_up(log)
        sink.database.connection.execute(
            "UPDATE positions SET next_offset = 0 WHERE topic = 'cx.scored' AND partition = 0"
        )
        log.first[SCORED.name, 0] = 1
        with pytest.raises(
            LostRecordsError, match=r"cx\.scored-0: .* offset 0, and the log begins at 1: .*--accept-loss"
        ):
            await sink.catch_up(log)
        await sink.catch_up(log, accept_loss=True)
        sink.database.connection.execute("UPDATE positions SET next_offset = 100000")
        with pytest.raises(LostRecordsError, match="another log"):
            await sink.catch_up(log)


def test_what_postgresql_refuses_is_replaced() -> None:
    assert rows.text("a\x00b") == "a�b"
    assert json.loads(rows.document(json.dumps({"a\x00": ["\x00", {"b": "ü\x00"}, 1, None]}))) == {
        "a�": ["�", {"b": "ü�"}, 1, None]
    }
    assert rows.document('{"a": "\\\\u0000"}') == '{"a": "\\\\u0000"}'


SECRET = "s3cr3t-&-more"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://user:{SECRET}@x@host/db",
        f"postgresql://user:{SECRET}/x@host/db",
        f"postgresql://user:{SECRET}#x@host/db",
        f"postgresql://user:{SECRET}?x@host/db",
        f"postgresql://user:{SECRET}@host:port/db",
        f"mysql://user:{SECRET}@host/db",
        f"user={SECRET}",
        f"postgresql://host/db?password {SECRET}",
        f"postgresql://host/db?options=-c%20x={SECRET}",
        f"postgresql://user:{SECRET} @host/db",
    ],
)
def test_an_address_that_cannot_be_read_is_not_repeated(url: str) -> None:
    with pytest.raises(SinkError) as caught:
        Address(url, Sink())
    assert "s3cr3t" not in f"{caught.value}{caught.value.__cause__}"


def test_an_address_shows_no_password_and_is_encrypted_unless_it_is_this_computer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("PGSSLMODE", "PGSSLROOTCERT", "PGHOST"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "password"
    file.write_text("from file\n")
    far = Address("postgresql://me:s%40cret@db.example.com:6432/bi?application_name=x", Sink())
    assert far.shown == "postgresql://me@db.example.com:6432/bi"
    assert "cret" not in repr(far)
    assert far.without_password("no s@cret\n here") == "no *** here"
    chosen = far.parameters()
    assert chosen["password"] == "s@cret"
    assert (chosen["sslmode"], chosen["sslrootcert"]) == ("verify-full", "system")
    assert Address("postgres://me@db/bi?sslmode=require", Sink()).parameters()["sslmode"] == "require"
    for here in (
        "postgresql:///bi",
        "postgresql://localhost/bi",
        "postgresql://[::1]:5/x",
        "postgresql:///x?host=/run/pg",
    ):
        assert "sslmode" not in Address(here, Sink()).parameters()
    assert (
        Address("postgresql://me@localhost/bi", Sink(password_file=file)).parameters()["password"]
        == "from file"
    )
    monkeypatch.setenv("PGSSLMODE", "verify-ca")
    assert "sslmode" not in Address("postgresql://db/bi", Sink()).parameters()


def test_a_wrong_password_and_a_server_that_is_not_there_are_told_without_secrets(postgres: Embedded) -> None:
    for url, said in {
        postgres.url.replace("@", f":{SECRET.replace('&', '%26')}@"): "password authentication failed",
        "postgresql://me:s3cr3t@127.0.0.1:1/x": "refused",
        postgres.url.removesuffix("cxstream") + "nowhere": "does not exist",
    }.items():
        settings = sink_settings(postgres).sink
        with pytest.raises(SinkError, match=said) as caught:
            Database(Address(url, settings), settings)
        assert "s3cr3t" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_database_of_another_encoding_is_refused(postgres: Embedded) -> None:
    settings = sink_settings(postgres).sink
    with psycopg.connect(**Address(postgres.url, settings).parameters(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
        try:
            with pytest.raises(SinkError, match=r"encoding is LATIN1.*CREATE DATABASE"):
                Database(Address(postgres.url.removesuffix("cxstream") + "latin", settings), settings)
        finally:
            connection.execute("DROP DATABASE latin")


def test_rights_that_are_missing_are_named(postgres: Embedded) -> None:
    settings = sink_settings(postgres).sink
    owner = Address(postgres.url, settings)
    with psycopg.connect(**owner.parameters(), autocommit=True) as connection:
        connection.execute("CREATE ROLE weak LOGIN PASSWORD 'weak'")
        made = Database(Address(postgres.url.replace("cxstream@", "weak:weak@"), settings), settings)
        try:
            with pytest.raises(SinkError, match=r"permission denied .*docs/postgresql\.md"):
                made.migrate()
        finally:
            made.close()
            connection.execute("DROP ROLE weak")


# What is changed of one row of a table.
CHANGED = {
    "score_cards": "spent = spent + 0.25",
    "risk_signals": "probability = -probability",
    "friction_signals": "evidence = evidence || ' '",
    "place_signals": "bad = bad + 1",
    "daily": "effort_micro = effort_micro + 1",
    "daily_values": "records = records + 1",
    "daily_by": "touchpoints = touchpoints - 1",
    "daily_values_by": "bucket = bucket + 1",
    "erasures": "time = time + interval '1 ms'",
    "counted": "through = through - 1",
}


async def test_verify_finds_a_single_changed_row_and_nothing_else(postgres: Embedded) -> None:
    log = Log(PARTITIONS)
    *parts, last = batches(events(60), 20)
    log.append(INSIGHTS.name, 0, b"x", json.dumps(PLACE_SIGNAL).encode())
    with target(postgres) as sink:
        for some in parts:
            log.extend(some)
            await sink.catch_up(log)

        async def found() -> Report:
            return await verify_against(sink.settings, sink.database.address, log)  # type: ignore[arg-type]

        # Erasures that the aggregates still count, and those that they do not.
        for _ in range(2):
            report = await found()
            assert (report.differences, report.left_out) == ([], [])
            assert set(CHANGED) == {table for table, rows in report.rows.items() if rows}
            await sink.take_out(log)
        # The log goes on, and the sink is not there yet; Kafka drops a card for a newer one.
        log.extend(last)
        report = await found()
        assert (report.differences, report.left_out) == ([], [])
        read = {place: end for place, end in positions(sink.database).items() if place[0] == SCORES.contract}
        (_, partition), end = max(read.items(), key=lambda each: each[1])
        cards = log.records[SCORES.name, partition]
        newer = {record.key for record in cards[end:]}
        dropped = [record for record in cards[:end] if record.key in newer and record.value]
        kept, dropped[-1].value = dropped[-1].value, b"{}"
        report = await found()
        assert report.differences == []
        assert report.left_out == [f"score_cards: 1 with newer cards in {SCORES.name}-{partition}"]
        dropped[-1].value = kept
        await sink.catch_up(log)

        async def changed(tables: Iterable[str]) -> set[str]:
            """Change a row of each; the tables of which such a change was found."""
            for table in tables:
                sink.select(
                    f"UPDATE {table} SET {CHANGED[table]} WHERE (tableoid, ctid) = "
                    f"(SELECT tableoid, ctid FROM {table} ORDER BY random() LIMIT 1) RETURNING 1"
                )
            named = set()
            for each in (await found()).differences:
                [here], [there] = each.only_here, each.only_there
                assert [name for name in here if here[name] != there[name]] == [
                    CHANGED[each.table].split(" ")[0]
                ]
                named.add(each.table)
            return named

        assert await changed(["daily_by"]) == {"daily_by"}
        assert await changed(CHANGED.keys() - {"daily_by"}) == CHANGED.keys()
        # Nothing is left of it.
        assert sink.select("SELECT nspname FROM pg_namespace WHERE nspname LIKE '%\\_verify'") == []


async def test_verify_compares_what_the_log_still_has_and_says_what_not(postgres: Embedded) -> None:
    log = Log(PARTITIONS)
    with target(postgres) as sink:
        for some in batches(events(240), 60):
            log.extend(some)
        await sink.catch_up(log)
        for (topic, partition), records in log.records.items():
            for record in records:
                record.timestamp = int(datetime(2025, 3, 3, tzinfo=UTC).timestamp() * 1000)
            if topic != SCORES.name:
                log.first[topic, partition] = len(records) // 2
        report = await verify_against(sink.settings, sink.database.address, log)  # type: ignore[arg-type]
        assert report.differences == []
        assert any(text.startswith("daily, ") for text in report.left_out)
        assert min(report.rows["score_cards"], report.rows["daily"]) > 0
        # Another log is none to compare with.
        log.records[SCORED.name, 0].clear()
        log.first[SCORED.name, 0] = 0
        with pytest.raises(LostRecordsError, match="another log"):
            await verify_against(sink.settings, sink.database.address, log)  # type: ignore[arg-type]


async def test_verify_wants_a_schema_of_the_sink_and_drops_no_other(postgres: Embedded) -> None:
    log = Log(PARTITIONS)
    settings = sink_settings(postgres)
    address = Address(postgres.url, settings.sink)
    with pytest.raises(SinkError, match="there is no schema"):
        await verify_against(settings, address, log)  # type: ignore[arg-type]
    with target(postgres) as sink:
        await sink.catch_up(log)
        other = f"{sink.settings.sink.schema_name[:32]}_verify"
        run = sink.database.connection.execute
        run(f"CREATE SCHEMA {other}".encode())
        run(f"CREATE TABLE {other}.mine (x int)".encode())
        with pytest.raises(SinkError, match="something else"):
            await verify_against(sink.settings, sink.database.address, log)  # type: ignore[arg-type]
        assert sink.select(f"SELECT count(*) FROM {other}.mine") == [(0,)]
        run(f"DROP SCHEMA {other} CASCADE".encode())


async def test_views_have_units(postgres: Embedded) -> None:
    log = Log(PARTITIONS)
    log.extend(batches(events(60, customers=7), 1000)[0])
    with target(postgres) as sink:
        await sink.catch_up(log)
        [(waited, wait_s, handle_s)] = sink.select("SELECT sum(waited), sum(wait_s), sum(handle_s) FROM days")
        assert (float(wait_s) / float(waited), float(handle_s) / float(waited)) == (93.5, 300)
        assert sink.select("SELECT DISTINCT measure, answer FROM answers ORDER BY 1, 2") == [
            ("rating", 4.5),
            ("score", 3.0),
            ("score", 4.0),
        ]
        [(nps,)] = sink.select("SELECT DISTINCT nps::float8 FROM nps")
        assert nps == -100
        for measure, seconds in (("wait", 93.5), ("handle", 300)):
            [(found,)] = sink.select("SELECT DISTINCT seconds FROM times WHERE measure = %s", [measure])
            assert found == pytest.approx(seconds, rel=0.01)
        assert sink.select("SELECT count(*) FROM cards") == sink.select("SELECT 0::bigint")
        [(first, last)] = sink.select("SELECT min(time), max(time) FROM friction")
        assert datetime(2025, 3, 1, tzinfo=UTC) <= first <= last


async def test_every_query_of_the_dashboard_is_answered(postgres: Embedded) -> None:
    log = Log(PARTITIONS)
    answers = [touchpoint(f"n{i}", 500_000 + i, "survey_nps", channel="app", score=i % 11) for i in range(33)]
    for some in batches([*events(60, customers=9), *answers], 1000):
        log.extend(some)
    log.append(INSIGHTS.name, 0, b"x", json.dumps(PLACE_SIGNAL).encode())
    span = "BETWEEN '2025-01-01T00:00:00Z' AND '2025-12-31T00:00:00Z'"
    [board] = [each for each in BOARDS if each.source == "postgresql"]
    with target(postgres) as sink:
        await sink.catch_up(log)
        for panel in board.panels():
            for query in panel.queries:
                text = query.expr.replace("$schema", sink.settings.sink.schema_name)
                text = re.sub(r"\$__timeFilter\((\w+)\)", rf"\1 {span}", text)
                assert "$" not in text, panel.title
                cursor = sink.database.connection.execute(text.encode())
                assert cursor.rowcount > 0, panel.title
                if panel.kind == "lines":
                    assert [each.name for each in cursor.description or ()] == ["time", "metric", "value"], (
                        panel.title
                    )
