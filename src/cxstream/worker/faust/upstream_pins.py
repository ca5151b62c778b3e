"""Checks that Faust and aiokafka are the versions that the transport was written for."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import textwrap
from typing import Any

# Digests of the sources that the transport was written for. If one differs after an upgrade of Faust, read the
# new source, adapt the transport, run the broker tests, and enter the new digest here.
DIGESTS = {
    "faust.transport.consumer:Consumer.getmany": "e486c434b7928ee8",
    "faust.transport.consumer:Consumer._wait_next_records": "ba40cd3671328d3b",
    "faust.transport.consumer:Consumer._drain_messages": "8f35dd7a11144daa",
    "faust.transport.consumer:Consumer.on_partitions_assigned": "c07feb1175f7dcf1",
    "faust.transport.consumer:ThreadDelegateConsumer._getmany": "8dbffeccb0e3267f",
    "faust.transport.drivers.aiokafka:Consumer._new_consumer_thread": "8fd0d41b15145615",
    "faust.transport.drivers.aiokafka:Consumer._to_message": "a2a5aefda42d9cd1",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._create_worker_consumer": "c179c0bdb9755c3a",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._fetch_records": "9e7369fc572de4d0",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.on_thread_stop": "cdbbe53230d20fb6",
    "faust.app.base:App._on_partitions_revoked": "c1abd58dcb37f0a2",
    "faust.app.base:App._on_partitions_assigned": "c9c5485eb273837f",
    "faust.app.base:App._on_rebalance_when_stopped": "603ccb5e2c261c23",
    "faust.app.base:App._stop_consumer": "96573acf5f044586",
    "faust.app.base:App.on_stop": "d8e7904b258c93f5",
    "faust.tables.recovery:Recovery._wait": "768af810dce80586",
    "faust.tables.recovery:Recovery._restart_recovery.fun": "f93138b040ef1bc2",
    "faust.tables.recovery:Recovery._resume_streams": "fbe0f747b84c0b27",
    "aiokafka.consumer.group_coordinator:GroupCoordinator._do_heartbeat": "5628cb32b3d29bf4",
    "aiokafka.consumer.group_coordinator:GroupCoordinator._maybe_leave_group": "7bc230e3f4dc0222",
    "aiokafka.consumer.group_coordinator:GroupCoordinator.ensure_coordinator_known": "4f7b42e9896dfed8",
    "aiokafka.consumer.fetcher:FetchResult.getall": "b638929de3431c67",
    "aiokafka.consumer.fetcher:PartitionRecords": "94aa0da0dbec8d1b",
    "aiokafka.consumer.fetcher:Fetcher.__init__": "15b78b16e0ee3c19",
    "aiokafka.consumer.fetcher:Fetcher.fetched_records": "e20ce0c8117f12d2",
    "aiokafka.consumer.fetcher:Fetcher._proc_fetch_request": "ace04969424fc674",
    "aiokafka.consumer.fetcher:Fetcher._get_actions_per_node": "fd175a69d8d4f9b9",
    "aiokafka.consumer.fetcher:FetchError": "10966ad4c7954483",
    "aiokafka.consumer.subscription_state:TopicPartitionState.pause": "f62189fab1d9806b",
    "aiokafka.consumer.subscription_state:TopicPartitionState.resume": "3a11dd5b4c69ace3",
    "aiokafka.conn:AIOKafkaConnection": "ac26ab36fe7cd5b4",
    "aiokafka.client:AIOKafkaClient._wait_on_metadata": "957d529bb4739e38",
    "aiokafka.client:AIOKafkaClient.coordinator_lookup": "38a46a4273ed3211",
    "aiokafka.client:AIOKafkaClient.send": "fb1726e3ed8e63ef",
    "aiokafka.protocol.api:Request": "1dc66f0574be1673",
    "aiokafka.protocol.api:RequestStruct": "0c94b7d190186c2a",
    "aiokafka.producer.message_accumulator:BatchBuilder": "8050802ca7514186",
    "aiokafka.producer.message_accumulator:MessageBatch": "36a7b1dac89d2910",
    "aiokafka.producer.transaction_manager:TransactionManager": "d0932794d69a6780",
}


def digest(name: str) -> str:
    """Digest of the source of `module:path`.

    Raises:
        ImportError: there is no such module.
        AttributeError: the module has no such attribute.
        OSError: its source is not installed.
    """
    module, _, path = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    source = textwrap.dedent(inspect.getsource(inspect.unwrap(found)))
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def drifted() -> list[str]:
    """The sources that differ or are gone."""
    return [name for name, expected in DIGESTS.items() if _differs(name, expected)]


def _differs(name: str, expected: str) -> bool:
    try:
        return digest(name) != expected
    except (ImportError, AttributeError, OSError, TypeError):
        return True
