"""`cxstream sink` as a process: it is killed and goes on, stops cleanly, serves metrics, and brings its own server."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

import sink_kills
from cxstream.local.ports import free
from cxstream.model.errors import SinkError
from cxstream.settings import Settings
from cxstream.sink.embedded import Embedded
from in_process import cxstream_text
from sink_log import sink_settings, target
from test_sink import events
from workers import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECONDS = 90.0


@pytest.mark.broker
@pytest.mark.timeout(280)
async def test_a_sink_that_is_killed_loses_and_doubles_nothing(
    kafka: str, topics: Callable[[int], None], postgres: Embedded
) -> None:
    topics(sink_kills.PARTITIONS)
    settings = sink_settings(postgres, flush_rows=20).model_copy(update={"kafka": kafka})
    found = await sink_kills.run(settings, postgres, events(400), kills=2, seed=1, size=50)
    assert found["kills"] == 2
    assert found["daily"]


@pytest.mark.broker
@pytest.mark.timeout(280)
async def test_it_follows_until_sigterm_and_a_second_one_takes_over(
    kafka: str, topics: Callable[[int], None], postgres: Embedded
) -> None:
    topics(sink_kills.PARTITIONS)
    settings = sink_settings(postgres).model_copy(update={"kafka": kafka})
    with sink_kills.start(settings, postgres.url) as first:
        assert first.stdout is not None
        line = await asyncio.to_thread(first.stdout.readline)
        assert line == f"ready: {postgres.url} is up to date\n"
        with sink_kills.start(settings, postgres.url) as second:
            assert second.stdout is not None
            assert (await asyncio.to_thread(second.stdout.readline)).startswith("ready: ")
            await sink_kills.produce(settings, events(30), 100)
            _, said = await asyncio.to_thread(first.communicate)
            assert first.returncode == 1
            assert f"the writer is process {second.pid} on" in said
            assert postgres.password() not in said
            with target(postgres, schema_name=settings.sink.schema_name) as looking:
                # Whoever looks has become the writer: the second one ends, too, at its next commit.
                await until(lambda: bool(looking.content()["cards"]), SECONDS, lambda: "no cards")
            await sink_kills.produce(settings, events(40), 100)
            _, said = await asyncio.to_thread(second.communicate)
            assert second.returncode == 1
    with sink_kills.start(settings, postgres.url) as third:
        assert third.stdout is not None
        assert (await asyncio.to_thread(third.stdout.readline)).startswith("ready: ")
        third.send_signal(signal.SIGTERM)
        await asyncio.to_thread(third.communicate)
        assert third.returncode == 0


@pytest.fixture(scope="module")
def folder(postgres: Embedded) -> Iterator[Path]:
    """Where the user that PostgreSQL runs as can enter."""
    with sink_kills.open_folder() as made:
        yield made


def test_the_embedded_server_asks_for_its_password(postgres: Embedded) -> None:
    assert postgres.password_file.stat().st_mode & 0o077 == 0
    assert postgres.folder.stat().st_mode & 0o077 == 0
    where = {"host": "127.0.0.1", "port": postgres.port, "user": "cxstream", "dbname": "cxstream"}
    for password in ("", "wrong"):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(**where, password=password, passfile="/dev/null")
    with psycopg.connect(**where, password=postgres.password()) as connection:
        ask = connection.execute(
            "SELECT name, setting FROM pg_settings WHERE name IN ('listen_addresses', 'password_encryption')"
        )
        assert dict(ask.fetchall()) == {
            "listen_addresses": "127.0.0.1",
            "password_encryption": "scram-sha-256",
        }
        methods = connection.execute("SELECT DISTINCT auth_method FROM pg_hba_file_rules").fetchall()
        assert methods == [("scram-sha-256",)]


def test_a_server_that_was_left_behind_is_ended_and_its_data_stays(folder: Path) -> None:
    place = folder / "left"
    code = f"from pathlib import Path; from cxstream.sink.embedded import Embedded; import os, signal; Embedded(Path({str(place)!r}), durable=False); os.kill(os.getpid(), signal.SIGKILL)"
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    before = (place / "password").read_text()
    others = ("{all}", "{cxstream}", "all", "scram-sha-256")
    for host, listens in (("0.0.0.0", "*"), ("127.0.0.1", "127.0.0.1")):
        with (
            Embedded(place, host=host, durable=False) as server,
            psycopg.connect(server.url, password=server.password()) as connection,
        ):
            found = connection.execute(
                "SELECT database::text, user_name::text, address, auth_method FROM pg_hba_file_rules"
            ).fetchall()
            # Other computers are let in while it listens for them.
            assert (others in found) == (host == "0.0.0.0")
            assert {method for *_, method in found} == {"scram-sha-256"}
            assert connection.execute("SHOW listen_addresses").fetchone() == (listens,)
    assert (place / "password").read_text() == before


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    with pytest.raises(SinkError, match=r"not the folder of an embedded PostgreSQL: .*sink\.embedded_data"):
        Embedded(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_command_starts_its_own_server_and_ends_it(folder: Path) -> None:
    [nobody] = free(1)
    done = cxstream_text(
        "sink",
        "--embedded",
        "--kafka",
        f"127.0.0.1:{nobody}",
        environ={
            "CXSTREAM_SINK__EMBEDDED_DATA": str(folder / "own"),
            "CXSTREAM_SINK__EMBEDDED_PORT": "0",
            "CXSTREAM_SINK__METRICS_PORT": "0",
        },
    )
    assert done.returncode == 1
    assert f"its password is in {folder / 'own' / 'password'}" in done.stdout
    assert "127.0.0.1" in done.stderr
    assert not (folder / "own" / "data" / "postmaster.pid").exists()
    assert (folder / "own" / "password").read_text().strip() not in done.stdout + done.stderr


def test_metrics_are_served(postgres: Embedded) -> None:
    from cxstream.sink.metrics import Metrics
    from cxstream.sink.records import Rows

    metrics = Metrics(Settings(sink={"metrics_port": 0}).sink)
    metrics.start()
    try:
        metrics.failed("kafka")
        metrics.committed(Rows(taken=3))
        metrics.lag({"cx.scores": 7}, whole=True)
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics.port}/metrics", timeout=SECONDS) as answer:
            text = answer.read().decode()
    finally:
        metrics.stop()
    page = (Path(__file__).parents[1] / "docs" / "postgresql.md").read_text()
    for line in (
        'cxstream_sink_lag_records{topic="cx.scores"} 7.0',
        'cxstream_sink_rows_total{table="cards"} 3.0',
        'cxstream_sink_errors_total{system="kafka"} 1.0',
        'cxstream_sink_errors_total{system="postgresql"} 0.0',
    ):
        assert line in text
    names = {
        line.split("{")[0].split(" ")[0] for line in text.splitlines() if line.startswith("cxstream_sink_")
    }
    assert all(f"`{name}`" in page for name in names if not name.endswith("_created"))


def test_the_page_names_every_column_of_the_views(postgres: Embedded) -> None:
    page = (Path(__file__).parents[1] / "docs" / "postgresql.md").read_text()
    with target(postgres) as sink:
        found = sink.select(
            "SELECT table_name, column_name FROM information_schema.columns JOIN information_schema.views "
            "USING (table_schema, table_name) WHERE table_schema = %s",
            [sink.settings.sink.schema_name],
        )
        assert len({view for view, _ in found}) == 9
        for view, column in found:
            assert f"cxstream.{view}" in page, view
            assert f"`{column}`" in page, (view, column)
        for query in page.split("## Queries")[1].split("```sql")[1].split("```")[0].split(";"):
            if query.strip():
                sink.select(query.replace("cxstream.", f"{sink.settings.sink.schema_name}."))
        for grant in page.split("### Read-only users")[1].split("```sql")[1].split("```")[0].split(";"):
            if grant.strip():
                with sink.database.connection.transaction(force_rollback=True):
                    if not grant.strip().startswith("CREATE"):
                        sink.database.connection.execute("CREATE ROLE bi_reader")
                    sink.database.connection.execute(
                        grant.replace("SCHEMA cxstream", f"SCHEMA {sink.settings.sink.schema_name}")
                        .replace("cxstream.", f"{sink.settings.sink.schema_name}.")
                        .encode()
                    )
