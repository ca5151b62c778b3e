"""The /metrics endpoint, and the background tasks that it needs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR, CollectorRegistry

from cxstream.model.errors import SettingsError
from cxstream.worker.telemetry.collector import WorkerCollector
from cxstream.worker.telemetry.distribution import DistributionMonitor
from cxstream.worker.telemetry.metrics_server import MetricsServer
from cxstream.worker.web.ports import gives_way

if TYPE_CHECKING:
    from cxstream.worker.telemetry.sources import Offsets, Rebalances, Worker

log = structlog.get_logger(__name__)


class Exporter:
    """Serves /metrics, and runs the background tasks that it needs.

    Args:
        worker: the worker to measure.
        offsets: first and last offsets of the partitions.
        rebalances: those of the group.

    Attributes:
        registry: the worker's metrics and those of the process.
        port: 0 before it is started.
        distribution: the score distribution.
        offsets: first and last offsets of the partitions.
    """

    def __init__(self, worker: Worker, offsets: Offsets, rebalances: Rebalances) -> None:
        self.port = 0
        self.distribution = DistributionMonitor(worker.partitions)
        self.offsets = offsets
        self.registry = CollectorRegistry(support_collectors_without_names=True)
        ours = WorkerCollector(worker, self.distribution, offsets, rebalances)
        for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR, ours):
            self.registry.register(collector)
        self._settings = worker.settings.worker
        self._server: MetricsServer | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def address(self) -> str:
        """The address for Prometheus."""
        return f"http://{self._settings.metrics_host}:{self.port}/metrics"

    def start(self) -> None:
        """Start the server and the background tasks.

        Raises:
            SettingsError: the port is taken, or the address is not one of this computer.
        """
        worker = self._settings
        server = MetricsServer(self.registry, worker.web_hosts)
        try:
            self.port = self._listen(server)
        except OSError as error:
            raise SettingsError(
                f"worker.metrics_port: cannot serve metrics on {worker.metrics_host}:{worker.metrics_port} "
                f"({error.strerror or error}): choose another port with --metrics-port, or 0 for a free one"
            ) from error
        self._server = server
        self._tasks = [
            asyncio.create_task(self.distribution.run(), name="score_distribution"),
            asyncio.create_task(self.offsets.watch(), name="offsets"),
        ]

    def _listen(self, server: MetricsServer) -> int:
        worker = self._settings
        try:
            return server.start(worker.metrics_host, worker.metrics_port)
        except OSError as error:
            if not gives_way(worker, "metrics_port", error):
                raise
        port = server.start(worker.metrics_host, 0)
        log.warning("the default metrics port is in use, using a free one", port=port)
        return port

    async def stop(self) -> None:
        """Stop serving."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            server, self._server = self._server, None
            await asyncio.to_thread(server.stop)
