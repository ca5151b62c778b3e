"""Metrics of the sink, for Prometheus.

cxstream_sink_lag_records{topic}               records that are in Kafka and not in the database, at the last look
cxstream_sink_rows_total{table}                rows that were committed
cxstream_sink_errors_total{system}             attempts that failed: kafka, postgresql
cxstream_sink_last_commit_timestamp_seconds    when a batch was last committed, Unix time
cxstream_sink_last_look_timestamp_seconds      when the sink last had all that was in Kafka, Unix time
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import structlog
from prometheus_client import PROCESS_COLLECTOR, CollectorRegistry, Counter, Gauge

from cxstream.model.errors import SettingsError
from cxstream.worker.telemetry.metrics_server import MetricsServer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cxstream.settings import Sink
    from cxstream.sink.records import Rows

log = structlog.get_logger(__name__)

_SYSTEMS = ("kafka", "postgresql")


class Metrics:
    """Counts what happens, and serves it.

    Attributes:
        port: of the server; 0 before it is started.

    Args:
        settings: where to serve.
    """

    def __init__(self, settings: Sink) -> None:
        self._settings = settings
        self.port = 0
        self._server: MetricsServer | None = None
        self.registry = CollectorRegistry()
        self.registry.register(PROCESS_COLLECTOR)
        self._lag = Gauge(
            "cxstream_sink_lag_records",
            "Records that are in Kafka and not in the database, at the last look.",
            ["topic"],
            registry=self.registry,
        )
        self._rows = Counter(
            "cxstream_sink_rows", "Rows that were committed.", ["table"], registry=self.registry
        )
        self._errors = Counter(
            "cxstream_sink_errors", "Attempts that failed.", ["system"], registry=self.registry
        )
        self._commit = Gauge(
            "cxstream_sink_last_commit_timestamp_seconds",
            "When a batch was last committed, Unix time.",
            registry=self.registry,
        )
        self._look = Gauge(
            "cxstream_sink_last_look_timestamp_seconds",
            "When the sink last had all that was in Kafka, Unix time.",
            registry=self.registry,
        )
        for system in _SYSTEMS:
            self._errors.labels(system)

    def start(self) -> None:
        """Start serving, if it is to be served.

        Raises:
            SettingsError: the port is taken, or the address is not one of this computer.
        """
        if not self._settings.metrics:
            return
        server = MetricsServer(self.registry, self._settings.metrics_hosts)
        host, port = self._settings.metrics_host, self._settings.metrics_port
        try:
            self.port = self._listen(server, host, port)
        except OSError as error:
            raise SettingsError(
                f"sink.metrics_port: cannot serve metrics on {host}:{port} ({error.strerror or error}): choose another port, "
                "or 0 for a free one"
            ) from error
        self._server = server

    def _listen(self, server: MetricsServer, host: str, port: int) -> int:
        try:
            return server.start(host, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or "metrics_port" in self._settings.model_fields_set:
                raise
        found = server.start(host, 0)
        log.warning("the default metrics port is in use, using a free one", port=found)
        return found

    def stop(self) -> None:
        """Stop serving."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def committed(self, rows: Rows) -> None:
        """A batch is in the database."""
        for table, count in rows.by_table().items():
            self._rows.labels(table).inc(count)
        self._commit.set_to_current_time()

    def lag(self, lag: Mapping[str, int], *, whole: bool = False) -> None:
        """Records that are in Kafka and not in the database, by topic; `whole` if all that was there at the last look is."""
        for topic, records in lag.items():
            self._lag.labels(topic).set(records)
        if whole:
            self._look.set_to_current_time()

    def failed(self, system: str) -> None:
        """An attempt failed: kafka or postgresql."""
        self._errors.labels(system).inc()
