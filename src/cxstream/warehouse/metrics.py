"""Metrics of `cxstream warehouse follow`, for Prometheus."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cxstream.insights.places import DIMENSIONS, MEASURES
from cxstream.telemetry.described import Described
from cxstream.warehouse.predictions import FIGURES, OF_BAND

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prometheus_client import CollectorRegistry, Gauge

    from cxstream.warehouse.predictions import Quality

SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
# Name, type, meaning and labels of each metric; docs/warehouse.md has the same table.
METRICS = {
    "cxstream_warehouse_lag_records": (
        "gauge",
        "Records that are not taken in, at the last look.",
        ("topic",),
    ),
    "cxstream_warehouse_lag_seconds": (
        "gauge",
        "Age of the last record that was taken in, if there are more; 0 if there are none.",
        ("topic",),
    ),
    "cxstream_warehouse_rows_total": ("counter", "Rows taken in.", ()),
    "cxstream_warehouse_batch_seconds": ("histogram", "Time to take in what there was.", ()),
    "cxstream_warehouse_errors_total": (
        "counter",
        (
            "Times that Kafka did not answer (kafka), records that cannot be read and were left out (record), and times that the memory "
            "did not suffice to compare predictions (predictions)."
        ),
        ("reason",),
    ),
    "cxstream_warehouse_caught_up_timestamp_seconds": (
        "gauge",
        "When all that was there was taken in the last time, Unix time; before the first time, the start.",
        (),
    ),
    "cxstream_place_alarms_open": (
        "gauge",
        "Places that are out of their own range, by measure.",
        ("dimension", "measure"),
    ),
    "cxstream_place_signals_total": (
        "counter",
        "Signals about places that Kafka has confirmed.",
        ("change",),
    ),
    "cxstream_place_signals_waiting": ("gauge", "Signals about places that are not sent.", ()),
    "cxstream_place_watch_timestamp_seconds": (
        "gauge",
        "Event time up to which places have been watched, Unix time; 0 before the first.",
        (),
    ),
    "cxstream_predictions": (
        "gauge",
        (
            "Predictions of the last days (warehouse.prediction_days) by the rules in force, or by all: with an outcome that counts "
            "(followed), too early to tell (waiting), followed by an action (treated), of customers held out (held_out)."
        ),
        ("rules", "state"),
    ),
    "cxstream_prediction_auc": (
        "gauge",
        "Area under the ROC curve of the predictions: how well they rank who leaves; no number where there are not enough outcomes yet.",
        ("rules",),
    ),
    "cxstream_prediction_calibration_error": (
        "gauge",
        "Expected calibration error of the predictions: mean distance of probability and share who left; no number likewise.",
        ("rules",),
    ),
    "cxstream_prediction_brier": ("gauge", "Brier score of the predictions; no number likewise.", ("rules",)),
    "cxstream_prediction_log_loss": ("gauge", "Log loss of the predictions; no number likewise.", ("rules",)),
    "cxstream_prediction_expected": (
        "gauge",
        "Mean probability of the predictions, by tenth (1 has the smallest) and of all; no number likewise.",
        ("rules", "band"),
    ),
    "cxstream_prediction_observed": (
        "gauge",
        "Share of them after which the customer left; no number likewise.",
        ("rules", "band"),
    ),
    "cxstream_prediction_observed_low": ("gauge", "Lower end of its interval of 95%.", ("rules", "band")),
    "cxstream_prediction_observed_high": ("gauge", "Upper end of its interval of 95%.", ("rules", "band")),
    "cxstream_prediction_drift": (
        "gauge",
        (
            "Population stability index of today's customers since the training, of their probability and each feature: below 0.1 "
            "is little, above 0.25 much. Wants warehouse.model_card."
        ),
        ("of",),
    ),
    "cxstream_prediction_checked_timestamp_seconds": (
        "gauge",
        "When predictions were compared with what happened, Unix time; 0 before the first time.",
        (),
    ),
}
REASONS = ("kafka", "record", "predictions")
CHANGES = ("raised", "cleared")


class FollowMetrics:
    """The metrics of one process.

    Attributes:
        registry: what is served.

    Args:
        topics: topics that are read, by the names of the contract.
        beside: where they stand beside others of this process.
    """

    def __init__(self, topics: list[str], beside: CollectorRegistry | None = None) -> None:
        described = Described(METRICS, beside)
        self.registry = described.registry
        self._lag = described.gauge("cxstream_warehouse_lag_records")
        self._age = described.gauge("cxstream_warehouse_lag_seconds")
        self._rows = described.counter("cxstream_warehouse_rows_total")
        self._batch = described.histogram("cxstream_warehouse_batch_seconds", SECONDS)
        self._errors = described.counter("cxstream_warehouse_errors_total")
        self._caught_up = described.gauge("cxstream_warehouse_caught_up_timestamp_seconds")
        self._open = described.gauge("cxstream_place_alarms_open")
        self._sent = described.counter("cxstream_place_signals_total")
        self._waiting = described.gauge("cxstream_place_signals_waiting")
        self._watched = described.gauge("cxstream_place_watch_timestamp_seconds")
        self._series: dict[Gauge, frozenset[tuple[str, ...]]] = {}
        self._predictions = described.gauge("cxstream_predictions")
        self._figures = {name: described.gauge(f"cxstream_prediction_{name}") for name in FIGURES}
        self._of_band = {name: described.gauge(f"cxstream_prediction_{name}") for name in OF_BAND}
        self._drift = described.gauge("cxstream_prediction_drift")
        self._checked = described.gauge("cxstream_prediction_checked_timestamp_seconds")
        # Series exist from the start, so that the first increase is seen.
        for topic in topics:
            self._lag.labels(topic)
            self._age.labels(topic)
        for reason in REASONS:
            self._errors.labels(reason)
        for change in CHANGES:
            self._sent.labels(change)
        self.open_alarms({})
        self._is_behind = True
        self._caught_up.set(time.time())

    def behind(self, topic: str, records: int, last_ms: int | None) -> None:
        """What a topic still has.

        Args:
            topic: its name in the contract.
            records: how many records are not taken in.
            last_ms: Kafka's timestamp of the last one that was, ms UTC; None if it is not known.
        """
        self._lag.labels(topic).set(records)
        if not records:
            self._age.labels(topic).set(0)
        elif last_ms is not None:
            self._age.labels(topic).set(max(0.0, time.time() - last_ms / 1000))

    def taken(self, rows: int, seconds: float) -> None:
        """All that was there is taken in."""
        if rows:
            self._rows.inc(rows)
            self._batch.observe(seconds)
        self._is_behind = False
        self._caught_up.set(time.time())

    def hangs(self) -> str | None:
        """Why it has to be started again: nothing is known here; the time without an end of the log tells."""
        return None

    def unready(self) -> str | None:
        """Why the file is not up to date; None once all that was there has been taken in."""
        return "not all that was there has been taken in yet" if self._is_behind else None

    def failed(self, reason: str, times: int = 1) -> None:
        """Something went wrong; `reason` is one of REASONS."""
        self._errors.labels(reason).inc(times)

    def open_alarms(self, found: Mapping[tuple[str, str], int]) -> None:
        """How many places are out of their range, by dimension and measure."""
        for dimension in DIMENSIONS:
            for measure in MEASURES:
                self._open.labels(dimension, measure).set(found.get((dimension, measure), 0))

    def watched(self, until_s: float) -> None:
        """Places have been watched up to an event time, Unix time."""
        self._watched.set(until_s)

    def predicted(self, found: Mapping[str, Quality], drift: Mapping[str, float]) -> None:
        """Predictions have been compared with what happened.

        Args:
            found: how good they are, by rules.
            drift: population stability index, by what it is of.
        """
        self._replace(
            self._predictions,
            {(rules, state): n for rules, each in found.items() for state, n in each.counts.items()},
        )
        for name, gauge in self._figures.items():
            self._replace(gauge, {(rules,): each.figures[name] for rules, each in found.items()})
        for name, gauge in self._of_band.items():
            shares: dict[tuple[str, ...], float] = {
                (rules, band): said[name]
                for rules, each in found.items()
                for band, said in each.bands.items()
            }
            self._replace(gauge, shares)
        self._replace(self._drift, {(name,): index for name, index in drift.items()})
        self._checked.set(time.time())

    def _replace(self, gauge: Gauge, values: Mapping[tuple[str, ...], float]) -> None:
        """Set these series and remove the others, such as those of a tenth that has no outcomes any more."""
        before = self._series.get(gauge, frozenset())
        for labels, number in values.items():
            gauge.labels(*labels).set(number)
        for labels in before - values.keys():
            gauge.remove(*labels)
        self._series[gauge] = frozenset(values)

    def waiting(self, signals: int) -> None:
        """So many signals are not sent."""
        self._waiting.set(signals)

    def sent(self, change: str) -> None:
        """Kafka has confirmed a signal."""
        self._sent.labels(change).inc()
