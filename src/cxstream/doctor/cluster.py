"""The connection that the checks share, and what they ask Kafka through it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.admin import ApiVersionRequest

from cxstream.doctor.protocol import AuthorizedMetadata, DescribeLogDirs, DescribeTransactions
from cxstream.kafka.admin import administration
from cxstream.kafka.connection import connection
from cxstream.kafka.groups import patiently
from cxstream.model.errors import BrokerError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiokafka.admin import AIOKafkaAdminClient

    from cxstream.settings import Settings
    from cxstream.topology import Topology


# A coordinator that is loading, not appointed, or another.
_NOT_YET = (14, 15, 16)


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Kafka that answers.

    Attributes:
        admin: a connected admin client.
        client: a connected client, for requests that the admin client does not have.
        topology: the topics of the installation.
    """

    admin: AIOKafkaAdminClient
    client: AIOKafkaClient
    topology: Topology

    @property
    def brokers(self) -> list[int]:
        """Node ids of the brokers."""
        return sorted(broker.nodeId for broker in self.client.cluster.brokers())

    async def metadata(self) -> dict[str, Any]:
        """Brokers, controller, the topics of the installation, and what we may do with them."""
        return await self._ask(AuthorizedMetadata([topic.name for topic in self.topology.all]))

    async def versions(self, broker: int) -> dict[int, tuple[int, int]]:
        """Lowest and highest version of each request that a broker takes, by the request's number."""
        answer = await self.client.send(broker, ApiVersionRequest())
        return {key: (low, high) for key, low, high in answer.api_versions}

    async def transaction(self, transactional_id: str) -> dict[str, Any]:
        """State of a transactional id, or an `error_code`.

        Raises:
            KafkaError: its coordinator does not answer.
        """

        async def ask() -> dict[str, Any]:
            coordinator = await self.admin.find_coordinator(transactional_id, 1)
            answer = await self._ask(DescribeTransactions([transactional_id]), coordinator)
            [state] = answer["states"]
            if state["error_code"] in _NOT_YET:
                raise for_code(state["error_code"])(transactional_id)
            found: dict[str, Any] = state
            return found

        return await patiently(ask)

    async def log_dirs(self, broker: int) -> list[dict[str, Any]]:
        """Log folders of a broker.

        Raises:
            KafkaError: we may not see them.
        """
        answer = await self._ask(DescribeLogDirs(), broker)
        _refuse(answer["error_code"], "log folders")
        found: list[dict[str, Any]] = answer["results"]
        return found

    async def _ask(self, request: Any, node: int | None = None) -> dict[str, Any]:
        answer = await self.client.send(self.brokers[0] if node is None else node, request)
        found: dict[str, Any] = answer.to_object()
        return found


def _refuse(code: int, what: str) -> None:
    if code:
        raise for_code(code)(what)


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Cluster]:
    """Connect to Kafka.

    Raises:
        BrokerError: it does not answer.
        SettingsError: the security settings do not fit together.
    """
    async with administration(settings) as admin:
        client = AIOKafkaClient(**connection(settings))
        try:
            await client.bootstrap()
            yield Cluster(admin, client, settings.topology)
        except KafkaError as error:
            raise BrokerError(f"{settings.kafka}: {error!r}") from error
        finally:
            await client.close()
