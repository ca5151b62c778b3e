"""Requests to the brokers that coordinate transactions and groups, asked again where that may help."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiokafka.client import ConnectionGroup
from aiokafka.errors import (
    ConcurrentTransactions,
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    GroupAuthorizationFailedError,
    InvalidProducerEpoch,
    KafkaError,
    NotCoordinatorError,
    ProducerClosed,
    ProducerFenced,
    RequestTimedOutError,
    TransactionalIdAuthorizationFailed,
    UnknownTopicOrPartitionError,
    for_code,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiokafka.client import AIOKafkaClient

BACKOFF_SECONDS = 0.1
# The markers of the transaction before are not written yet, which takes some milliseconds.
BUSY_SECONDS = 0.01

_MOVED = (NotCoordinatorError, CoordinatorNotAvailableError)
_LATER = (CoordinatorLoadInProgressError, UnknownTopicOrPartitionError)


class TransactionAbortableError(KafkaError):  # type: ignore[misc]
    """Kafka cannot say whether it has a request of the transaction, which must be aborted."""


# Errors that aiokafka has no number for; PRODUCER_FENCED is what INVALID_PRODUCER_EPOCH was.
_UNKNOWN: dict[int, type[KafkaError]] = {90: InvalidProducerEpoch, 120: TransactionAbortableError}


class TransactionExpiredError(ProducerFenced):  # type: ignore[misc]
    """Kafka answers as if another producer had claimed the transactional id, and may have aborted the transaction for its age."""


async def send(client: AIOKafkaClient, node: int, request: Any, **options: Any) -> Any:
    """Send a request by aiokafka's client.

    Of two requests on one connection that time out together, the second does not find the connection any more.

    Raises:
        RequestTimedOutError: there was no answer in time.
        KafkaError: there is none.
    """
    try:
        return await client.send(node, request, **options)
    except KeyError as error:
        if isinstance(error.__context__, TimeoutError):
            raise RequestTimedOutError from error
        raise


class Coordinators:
    """The coordinators of a transactional id and of a group.

    Args:
        client: knows the cluster.
        transactional_id: the producer's own.
        fenced: makes the error that says that the epoch of the producer is over.
    """

    def __init__(
        self, client: AIOKafkaClient, transactional_id: str, fenced: Callable[[], ProducerFenced]
    ) -> None:
        self._client = client
        self._id = transactional_id
        self._fenced = fenced
        self._closed = False
        self._known: dict[Any, int] = {}

    def close(self) -> None:
        """Ask no more."""
        self._closed = True

    async def ask(
        self,
        kind: Any,
        make: Callable[[], Any],
        take: Callable[[Any], float | None],
        key: str | None = None,
    ) -> None:
        """Ask a coordinator, again and again until it answers with yes or with an error that lasts.

        Args:
            kind: of the coordinator.
            make: makes the request.
            take: takes the response; None if that was it, or seconds until it is asked again.
            key: what the coordinator is of; by default the transactional id.

        Raises:
            ProducerClosed: the producer was closed meanwhile.
            KafkaError: asking again would not help.
        """
        while True:
            node = await self._coordinator(kind, key or self._id)
            try:
                wait = take(await send(self._client, node, make(), group=ConnectionGroup.COORDINATION))
            except KafkaError as error:
                if isinstance(error, ProducerFenced) or not error.retriable:
                    raise
                self._known.pop(kind, None)
                wait = BACKOFF_SECONDS
            if wait is None:
                return
            await asyncio.sleep(wait)
            if self._closed:
                raise ProducerClosed

    def pause(self, error: type[KafkaError], kind: Any, busy: float) -> float:
        """How long to wait until a coordinator is asked again.

        Raises:
            ProducerFenced: another producer has claimed the transactional id.
            KafkaError: asking again would not help.
        """
        if error in _MOVED:
            self._known.pop(kind, None)
            return BACKOFF_SECONDS
        if error is ConcurrentTransactions:
            return busy
        if error in _LATER:
            return BACKOFF_SECONDS
        if error is InvalidProducerEpoch:
            raise self._fenced()
        raise error(self._id) if error is TransactionalIdAuthorizationFailed else error()

    async def _coordinator(self, kind: Any, key: str) -> int:
        while kind not in self._known:
            try:
                node = await self._client.coordinator_lookup(kind, key)
                if await self._client.ready(node, group=ConnectionGroup.COORDINATION):
                    self._known[kind] = node
                    break
            except TransactionalIdAuthorizationFailed as error:
                raise TransactionalIdAuthorizationFailed(self._id) from error
            except GroupAuthorizationFailedError as error:
                raise GroupAuthorizationFailedError(key) from error
            except KafkaError as error:
                if not error.retriable:
                    raise
                await self._client.force_metadata_update()
            await asyncio.sleep(BACKOFF_SECONDS)
            if self._closed:
                raise ProducerClosed
        return self._known[kind]


def error_of(code: int) -> type[KafkaError]:
    """The error with a number, those included that aiokafka does not know."""
    found: type[KafkaError] = _UNKNOWN.get(code) or for_code(code)
    return found
