"""Warehouse and places: is the read model up to date, and which places are out of their range?"""

from __future__ import annotations

from board import GREEN, RED, YELLOW, Board, Panel, Query, Row
from promql import LATELY, PER_SECOND, increase, quantile, rate

LAGS = ("CxstreamWarehouseLags",)
STALLED = ("CxstreamWarehouseStalled",)
SINK_LAGS = ("CxstreamSinkLags",)
SINK_STALLED = ("CxstreamSinkStalled",)

PLACES = Row(
    "Places",
    (
        Panel(
            "Places out of their range",
            "Touchpoints, channels, topics and teams that are worse than is usual at this hour of the week, by measure.",
            (
                Query(
                    "max by (dimension, measure) (cxstream_place_alarms_open)", "{{dimension}}, {{measure}}"
                ),
            ),
            low=0,
            width=12,
            alerts=("CxstreamPlaceAlarm",),
        ),
        Panel(
            "Signals about places",
            "Signals sent to cx.insights in the last day, raised and cleared.",
            (Query(increase("cxstream_place_signals_total", "change", "1d"), "{{change}}"),),
            kind="number",
            width=4,
            steps=((0, GREEN),),
        ),
        Panel(
            "Signals that wait",
            "Signals about places that Kafka has not confirmed.",
            (Query("max(cxstream_place_signals_waiting)", "waiting"),),
            kind="number",
            width=4,
            steps=((0, GREEN), (1, YELLOW)),
        ),
        Panel(
            "Watched up to",
            "How long ago the last minute of event time is up to which places have been watched.",
            (Query("time() - max(cxstream_place_watch_timestamp_seconds)", "event time"),),
            unit="s",
            kind="number",
            width=4,
            steps=((0, GREEN), (900, YELLOW), (3600, RED)),
        ),
    ),
)

PREDICTIONS = Row(
    "Predictions",
    (
        Panel(
            "AUC of predictions",
            "How well the churn risk ranks who leaves, of the rules in force and of all; 0.5 is chance. Nothing where there are not "
            "enough outcomes yet.",
            (Query("max by (rules) (cxstream_prediction_auc)", "{{rules}}"),),
            low=0,
            width=6,
            alerts=("CxstreamPredictionsRankBadly",),
        ),
        Panel(
            "Expected and observed share",
            "Mean churn risk of the rules in force, and the share of customers who left within the horizon, with its interval of 95%.",
            (
                Query('max(cxstream_prediction_expected{rules="in_force", band="all"})', "expected"),
                Query('max(cxstream_prediction_observed{rules="in_force", band="all"})', "observed"),
                Query('max(cxstream_prediction_observed_low{rules="in_force", band="all"})', "at least"),
                Query('max(cxstream_prediction_observed_high{rules="in_force", band="all"})', "at most"),
            ),
            unit="percentunit",
            low=0,
            width=6,
            alerts=("CxstreamPredictionsOff",),
        ),
        Panel(
            "Errors of predictions",
            "Calibration error, Brier score and log loss of the rules in force.",
            (
                Query('max(cxstream_prediction_calibration_error{rules="in_force"})', "calibration error"),
                Query('max(cxstream_prediction_brier{rules="in_force"})', "Brier score"),
                Query('max(cxstream_prediction_log_loss{rules="in_force"})', "log loss"),
            ),
            low=0,
            width=6,
            alerts=("CxstreamPredictionsOff",),
        ),
        Panel(
            "Drift since the training",
            "Population stability index of today's customers, by feature and of their probability: above 0.25 is much.",
            (Query("max by (of) (cxstream_prediction_drift)", "{{of}}"),),
            low=0,
            width=6,
            alerts=("CxstreamPredictionsDrift",),
        ),
        Panel(
            "Predictions by state",
            "Predictions of the rules in force: with an outcome that counts, too early to tell, followed by an action, held out.",
            (Query('max by (state) (cxstream_predictions{rules="in_force"})', "{{state}}"),),
            low=0,
            width=12,
        ),
        Panel(
            "Compared",
            "How long ago predictions were compared with what happened.",
            (Query("time() - max(cxstream_prediction_checked_timestamp_seconds)", "compared"),),
            unit="s",
            kind="number",
            width=4,
            steps=((0, GREEN), (14400, YELLOW)),
        ),
    ),
)

FILE = Row(
    "Warehouse",
    (
        Panel(
            "Not taken in, by topic",
            "Records that were there at the last look and are not taken in.",
            (Query("max by (topic) (cxstream_warehouse_lag_records)", "{{topic}}"),),
            low=0,
            width=6,
            alerts=LAGS,
        ),
        Panel(
            "Age of what is taken in, by topic",
            "Age of the last record that was taken in, if there are more.",
            (Query("max by (topic) (cxstream_warehouse_lag_seconds)", "{{topic}}"),),
            unit="s",
            low=0,
            width=6,
            alerts=LAGS,
        ),
        Panel(
            "Rows a second",
            "Touchpoints, score cards, signals and counts taken in.",
            (Query(rate("cxstream_warehouse_rows_total"), "rows"),),
            unit=PER_SECOND,
            low=0,
            width=6,
        ),
        Panel(
            "Time to take in what there is",
            "Time from a look at the log until all that was there is committed.",
            (Query(quantile(0.95, "cxstream_warehouse_batch_seconds"), "95 %"),),
            unit="s",
            low=0,
            width=6,
        ),
        Panel(
            "Since the end of the log",
            "How long ago all that was there was taken in.",
            (Query("time() - max(cxstream_warehouse_caught_up_timestamp_seconds)", "ago"),),
            unit="s",
            low=0,
            width=12,
            alerts=STALLED,
        ),
        Panel(
            "Errors a second",
            "Times that Kafka did not answer, and records that cannot be read and were left out.",
            (Query(f"sum by (reason) (rate(cxstream_warehouse_errors_total[{LATELY}]))", "{{reason}}"),),
            unit=PER_SECOND,
            low=0,
            width=12,
            alerts=STALLED,
        ),
    ),
)

SINK = Row(
    "PostgreSQL",
    (
        Panel(
            "Not in PostgreSQL, by topic",
            "Records that were there at the last look of `cxstream sink` and are not in the database.",
            (Query("max by (topic) (cxstream_sink_lag_records)", "{{topic}}"),),
            low=0,
            width=12,
            alerts=SINK_LAGS,
        ),
        Panel(
            "Rows a second in PostgreSQL, by table",
            "Rows that were committed.",
            (Query(f"sum by (table) (rate(cxstream_sink_rows_total[{LATELY}]))", "{{table}}"),),
            unit=PER_SECOND,
            low=0,
            width=12,
        ),
        Panel(
            "Since PostgreSQL was written",
            "How long ago a batch was committed, and how long ago all that was in Kafka was in the database.",
            (
                Query("time() - max(cxstream_sink_last_commit_timestamp_seconds)", "committed"),
                Query("time() - max(cxstream_sink_last_look_timestamp_seconds)", "had everything"),
            ),
            unit="s",
            low=0,
            width=12,
            alerts=SINK_STALLED,
        ),
        Panel(
            "Errors of the sink a second",
            "Attempts that failed, since Kafka or PostgreSQL did not answer.",
            (Query(f"sum by (system) (rate(cxstream_sink_errors_total[{LATELY}]))", "{{system}}"),),
            unit=PER_SECOND,
            low=0,
            width=12,
            alerts=SINK_STALLED,
        ),
    ),
)

BOARD = Board(
    uid="cxstream-warehouse",
    file="warehouse.json",
    title="cxstream / Warehouse and places",
    about="For CX teams and who runs the warehouse: which places are worse than usual, and is the read model up to date?",
    rows=(PLACES, PREDICTIONS, FILE, SINK),
)
