"""Receives the responses to fetches into memory that stays, without aiokafka's and asyncio's copies between.

    socket -> frame, the same memory for each response -> the records of each partition

asyncio's streams receive into a new buffer, append it to another one and copy each response out of that. Here the socket writes
where a response is decoded from, and only the records of each partition are copied.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from aiokafka.conn import CloseReason
from aiokafka.errors import CorrelationIdError

if TYPE_CHECKING:
    from aiokafka.conn import AIOKafkaConnection

_FETCH = 1  # the number of the request
_LENGTH_BYTES = 4
KEPT_BYTES = 8 << 20
"""The memory that a consumer which always reads may keep for its next response."""


class Reader:
    """Gives the bytes of a frame, one after the other, as a file does."""

    def __init__(self, frame: memoryview) -> None:
        self._frame = frame
        self._at = 0

    def read(self, size: int) -> bytes:
        """The next bytes, as many as there are."""
        begin = self._at
        self._at = min(begin + size, len(self._frame)) if size >= 0 else len(self._frame)
        return bytes(self._frame[begin : self._at])


class Frames(asyncio.BufferedProtocol):
    """The protocol of a connection whose requests have all been answered.

    aiokafka's own protocol still hears of the end of the connection, and closes it.

    Args:
        connection: aiokafka's.
        before: its protocol until now.
        keep: a response of so many bytes, or fewer, comes into memory that is kept for the next one; a longer one has its own.
    """

    def __init__(self, connection: AIOKafkaConnection, before: asyncio.Protocol, keep: int) -> None:
        self._keep = keep
        self._connection = connection
        self._before = before
        self._length = memoryview(bytearray(_LENGTH_BYTES))
        self._kept = memoryview(bytearray(0))
        self._wanted, self._got = self._length, 0

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - as asyncio calls it
        """Where the next bytes go."""
        return self._wanted[self._got :]

    def buffer_updated(self, nbytes: int) -> None:
        """Take bytes that have come."""
        self._got += nbytes
        if self._got < len(self._wanted):
            return
        self._got = 0
        if self._wanted is self._length:
            size = int.from_bytes(self._length, signed=True)
            if size < 0:
                self._connection.close(reason=CloseReason.OUT_OF_SYNC)
                return
            self._wanted = self._room(size)
            if size:
                return
        frame, self._wanted = self._wanted, self._length
        self._take(frame)

    def _room(self, size: int) -> memoryview:
        if size > self._keep:
            # Not zeros: what a wrong length asks for takes no memory until that many bytes have come.
            return memoryview(np.empty(size, np.uint8))  # type: ignore[arg-type]  # an array has a buffer
        if size > len(self._kept):
            self._kept = memoryview(bytearray(size))
        return self._kept[:size]

    def _take(self, frame: memoryview) -> None:
        connection = self._connection
        if connection._reader is None:  # noqa: SLF001 - closed
            return
        number, request, answer = connection._requests[0]  # noqa: SLF001
        if request is None or request.API_KEY != _FETCH:
            connection._handle_frame(bytes(frame))  # noqa: SLF001
            return
        reader: Any = Reader(frame)
        header = request.parse_response_header(reader)
        if header.correlation_id != number:
            if not answer.done():
                answer.set_exception(CorrelationIdError(f"sent {number}, received {header.correlation_id}"))
            connection.close(reason=CloseReason.OUT_OF_SYNC)
            return
        if not answer.done():
            answer.set_result(request.RESPONSE_TYPE.decode(reader))
        connection._last_action = time.monotonic()  # noqa: SLF001
        connection._requests.popleft()  # noqa: SLF001

    def eof_received(self) -> bool | None:
        """Pass it on."""
        return self._before.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass it on: who waits for aiokafka's stream closes the connection."""
        self._before.connection_lost(exc)

    def pause_writing(self) -> None:
        """Pass it on."""
        self._before.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self._before.resume_writing()


def receive_at_once(connection: AIOKafkaConnection, keep: int) -> None:
    """Let a connection receive into frames, if nothing is on its way just now; once is enough.

    Args:
        connection: aiokafka's.
        keep: bytes of memory that may be kept.
    """
    writer, protocol = connection._writer, connection._protocol  # noqa: SLF001
    if writer is None or connection._requests or connection._reader._buffer:  # noqa: SLF001
        return
    transport = writer.transport
    if transport.get_protocol() is protocol and not transport.is_closing():
        transport.set_protocol(Frames(connection, protocol, keep))
