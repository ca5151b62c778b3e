"""Erasure requests as the console reads them from cx.forget: those that the worker takes, whatever else stands there."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from structlog.testing import capture_logs

from console_app import console, warehouse
from cxstream.console import requested
from cxstream.console.desk import Desk
from cxstream.model.forget import erasure_request
from cxstream.model.rfc3339 import rfc3339
from cxstream.settings import Settings
from cxstream.topology import FORGET
from view_rows import touchpoint
from workers import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    import pytest

NOW = round(datetime.now(UTC).timestamp() * 1000)


class Asks(NamedTuple):
    """A record of cx.forget."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()
    timestamp: int = NOW
    offset: int = 0


def asks(customer: str, time: str = rfc3339(NOW), **record: Any) -> Asks:
    return Asks(customer.encode(), erasure_request(f"r-{customer}", "/cli", customer, time), **record)


class Topic:
    """cx.forget, in one partition, and none after `fails`."""

    partitions = {FORGET.name: 1}  # noqa: RUF012 - nobody changes it

    def __init__(self, records: Sequence[Asks]) -> None:
        self._records = records

    async def bounds(self, *_: object) -> tuple[int, int]:
        return 0, len(self._records)

    async def offset_at(self, *_: object) -> int:
        return 0

    async def read(self, _: str, __: int, start: int, stop: int) -> AsyncIterator[Sequence[Asks]]:
        yield self._records[start:stop]


async def told(monkeypatch: pytest.MonkeyPatch, records: Sequence[Asks], **sections: Any) -> Desk:
    """The desk, once it knows of the customer "last", and of those before; the first attempt to read fails."""
    failures = [RuntimeError("a defect")]
    settings = Settings(kafka="nowhere:1", **sections)

    @asynccontextmanager
    async def reading(*_: object) -> AsyncIterator[Topic]:
        if failures:
            raise failures.pop()
        yield Topic([*records, asks("last")])

    monkeypatch.setattr(requested, "reading", reading)
    monkeypatch.setattr(requested, "_RETRY_SECONDS", 0.0)
    desk = Desk(settings)
    learning = asyncio.create_task(requested.learn(settings, desk))
    try:
        await until(
            lambda: learning.done() or desk.erasure_of("last") is not None, 120, lambda: "it is not told"
        )
        assert not learning.done()
    finally:
        learning.cancel()
        with suppress(asyncio.CancelledError):
            await learning
        await desk.close()
    return desk


async def test_one_request_does_not_end_the_reading_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    early, late = "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"
    far = rfc3339(NOW + 86_400_000)
    records = [
        asks("early", early),
        *(asks("late", each) for each in (late, far)),
        Asks(b"c-1", b"no request"),
        Asks(None, b"{}"),
        Asks(b"other", asks("named").value),
        Asks(b"typed", (asks("typed").value or b"").replace(b"cx.forget.v1", b"cx.tick.v1")),
        Asks(b"large", None, (("more", b"x" * 2_000_000),)),
        Asks(b"binary", b"{}", (("ce_specversion", b"1.0"), ("ce_type", b"cx.forget.v1"))),
        # A key alone is a request.
        Asks(b"bare", None),
        asks("soon", rfc3339(NOW + 1000)),
    ]
    desk = await told(monkeypatch, records)
    assert list(desk._erasures) == ["early", "bare", "soon", "last"]
    assert desk._erasures["early"].time == datetime.min  # noqa: DTZ901 - UTC without a zone
    # The worker lets no request be later than its record.
    assert desk._erasures["soon"].time == datetime.fromtimestamp(NOW / 1000, UTC).replace(tzinfo=None)


async def test_requests_need_no_signature_where_there_is_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker signs what it takes over: `cxstream forget` and the console send requests without one."""
    key = tmp_path / "key"
    key.write_text("0" * 64)
    key.chmod(0o600)
    desk = await told(monkeypatch, [asks("c-1")], control={"key_file": key})
    assert desk._settings.control.authority() is not None
    forged = json.loads(asks("c-2").value or b"") | {"signature": "0" * 64}
    desk = await told(monkeypatch, [asks("c-1"), Asks(b"c-2", json.dumps(forged).encode())])
    assert list(desk._erasures) == ["c-1", "c-2", "last"]


async def test_what_fails_beside_the_pages_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("cxstream.console.app._Console._forget_people", fails)
    with capture_logs() as said:
        async with console(warehouse(tmp_path / "w.duckdb", [touchpoint(customer_id=1)])):
            await until(lambda: bool(said), 60, lambda: "nothing is logged")
    (only,) = said
    assert (only["log_level"], repr(only["exc_info"])) == ("error", "RuntimeError('a defect')")
