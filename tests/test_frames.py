"""Responses to fetches that are received where they are decoded, over a connection of aiokafka's to a broker of a few lines."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.client import ConnectionGroup
from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.errors import CorrelationIdError, KafkaConnectionError
from aiokafka.protocol.admin import ApiVersionResponse_v0
from aiokafka.protocol.fetch import FetchRequest, FetchResponse_v4
from aiokafka.protocol.metadata import MetadataRequest, MetadataResponse_v0

from cxstream.kafka.fetch_screen import Screen
from cxstream.kafka.frames import Frames, receive_at_once
from cxstream.worker.memory_budget import taken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FETCH, METADATA = 1, 3
VERSIONS = ApiVersionResponse_v0(0, [(FETCH, 4, 4), (METADATA, 0, 0), (18, 0, 0)])
NOTHING = MetadataResponse_v0([], [])


def fetched(*records: bytes) -> FetchResponse_v4:
    return FetchResponse_v4(0, [("t", [(n, 0, 9, 9, [], some) for n, some in enumerate(records)])])


class Broker:
    """Answers fetches with `answers`, one after the other, cut into pieces of so many bytes.

    Attributes:
        shift: what is added to the numbers of its responses.
        cut: how many bytes of a response it sends before it closes the connection; None for all.
    """

    def __init__(self) -> None:
        self.answers: list[FetchResponse_v4] = []
        self.at_once = 1 << 30
        self.shift = 0
        self.cut: int | None = None
        self.go = asyncio.Event()
        self.go.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                message = await reader.readexactly(int.from_bytes(await reader.readexactly(4)))
                await self.go.wait()
                kind, number = int.from_bytes(message[:2]), int.from_bytes(message[4:8])
                if kind == FETCH:
                    body: Any = self.answers.pop(0)
                else:
                    body = NOTHING if kind == METADATA else VERSIONS
                data = (number + self.shift * (kind == FETCH)).to_bytes(4) + body.encode()
                data = len(data).to_bytes(4) + data
                for at in range(0, len(data[: self.cut]), self.at_once):
                    writer.write(data[: self.cut][at : at + self.at_once])
                    await writer.drain()
                if self.cut is not None and kind == FETCH:
                    return
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def connected(broker: Broker) -> AsyncIterator[AIOKafkaConnection]:
    server = await asyncio.start_server(broker.serve, "localhost", 0)
    connection = await create_conn("localhost", server.sockets[0].getsockname()[1], request_timeout_ms=60_000)
    try:
        yield connection
    finally:
        closed = connection.close()
        if closed is not None:
            await closed
        server.close()


def fetch() -> FetchRequest:
    return FetchRequest(1, 1, 1, 1, [("t", [(0, 0, 1)])])


def received(connection: AIOKafkaConnection) -> bool:
    return isinstance(connection._writer.transport.get_protocol(), Frames)


@pytest.mark.parametrize("keep", [0, 5000])
@pytest.mark.parametrize("at_once", [1, 3, 1000, 1 << 30])
async def test_responses_are_the_same_however_they_are_cut(at_once: int, keep: int) -> None:
    broker = Broker()
    broker.at_once = at_once
    async with connected(broker) as connection:
        receive_at_once(connection, keep)
        receive_at_once(connection, keep)
        assert received(connection)
        some = [
            fetched(),
            fetched(b"a" * 3000, b"b"),
            fetched(b"c"),
            fetched(b"d" * 9000),
            fetched(b"e" * 2000),
        ]
        broker.answers += some
        asked = [connection.send(fetch()), connection.send(MetadataRequest([]))]
        asked += [connection.send(fetch()) for _ in some[1:]]
        found = await asyncio.gather(*asked)
        # The longest response has not left its memory behind.
        assert (3000 if keep else 0) <= len(connection._writer.transport.get_protocol()._kept) <= keep
    assert [each.encode() for each in found] == [each.encode() for each in (some[0], NOTHING, *some[1:])]


async def test_records_stay_as_they_are_when_the_next_response_comes() -> None:
    broker = Broker()
    async with connected(broker) as connection:
        receive_at_once(connection, 5000)
        broker.answers += [fetched(b"a" * 100), fetched(b"b" * 100)]
        first = await connection.send(fetch())
        second = await connection.send(fetch())
    assert [each.topics[0][1][0][-1] for each in (first, second)] == [b"a" * 100, b"b" * 100]


async def test_a_connection_is_left_as_it_is_while_a_request_is_under_way() -> None:
    broker = Broker()
    async with connected(broker) as connection:
        broker.go.clear()
        broker.answers += [fetched(b"a")]
        asked = asyncio.ensure_future(connection.send(fetch()))
        receive_at_once(connection, 5000)
        assert not received(connection)
        broker.go.set()
        assert (await asked).encode() == fetched(b"a").encode()
        receive_at_once(connection, 5000)
        assert received(connection)


@pytest.mark.parametrize("cut", [0, 3, 20])
async def test_who_waits_hears_of_the_end_of_the_connection(cut: int) -> None:
    broker = Broker()
    async with connected(broker) as connection:
        receive_at_once(connection, 5000)
        broker.answers += [fetched(b"a" * 100)]
        broker.cut = cut
        with pytest.raises(KafkaConnectionError):
            await connection.send(fetch())
        assert not connection.connected()
        receive_at_once(connection, 5000)


async def test_a_response_to_another_request_ends_the_connection() -> None:
    broker = Broker()
    async with connected(broker) as connection:
        receive_at_once(connection, 5000)
        broker.answers += [fetched(b"a")]
        broker.shift = 1
        with pytest.raises(CorrelationIdError):
            await connection.send(fetch())
        assert not connection.connected()


async def test_a_consumer_that_is_screened_receives_so() -> None:
    broker = Broker()
    async with connected(broker) as connection:
        client = SimpleNamespace(
            _conns={(1, ConnectionGroup.DEFAULT): connection},
            send=lambda _, request: connection.send(request),
        )
        broker.answers += [fetched(b"")]
        await Screen(client, lambda *_: pytest.fail("it can be read")).send(1, fetch())
        assert received(connection)


async def test_an_impossible_length_ends_the_connection_and_a_wrong_one_takes_no_memory() -> None:
    for size, ends in ((-1, True), (1 << 30, False)):
        async with connected(Broker()) as connection:
            receive_at_once(connection, 5000)
            protocol: Any = connection._writer.transport.get_protocol()
            protocol.get_buffer(-1)[:] = size.to_bytes(4, signed=True)
            before = taken()
            protocol.buffer_updated(4)
            assert taken() - before < 100 << 20
            assert connection.connected() is not ends
