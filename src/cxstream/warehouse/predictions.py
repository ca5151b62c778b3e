"""Predictions against what happened, as metrics: the view `predictions` over the last days, and drift since the training.

    touchpoints of the last days -> view predictions -> AUC, calibration, log loss    by the rules in force, and by all
    score cards of today         -> PSI              <- spread of the training, in the model card

Nothing is kept: each time all is computed again from the rows, so that a late event or an erasure counts as if it had
always been there, and another process finds the same figures. The worker takes no part.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import duckdb
import msgspec
import numpy as np
import orjson
import structlog

from cxstream.insights.drift import Spread, psi
from cxstream.model.errors import InputError
from cxstream.warehouse.cursors import Cursors
from cxstream.warehouse.views.definition import view
from cxstream.warehouse.views.query import result, run
from cxstream.warehouse.views.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from cxstream.settings import Settings
    from cxstream.warehouse.metrics import FollowMetrics
    from cxstream.warehouse.store import Store

IN_FORCE, ALL = "in_force", "all"
RULES = (IN_FORCE, ALL)
STATES = ("followed", "waiting", "treated", "held_out")
FIGURES = ("auc", "brier", "log_loss", "calibration_error")
OF_BAND = ("expected", "observed", "observed_low", "observed_high")
PROBABILITY = "probability"
# With fewer customers who left, and who stayed, a figure is chance.
FEW = 30
# Rules that do not say the days that their risk is for.
_DAYS = 30
# Customers whose features are read.
_SAMPLE = 50_000
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the warehouse has UTC without a zone

log = structlog.get_logger(__name__)


class _Training(msgspec.Struct):
    probability: Spread
    features: dict[str, Spread]


class _Card(msgspec.Struct):
    training: _Training | None = None


@dataclass(frozen=True, slots=True)
class Quality:
    """How good the predictions of some rules are.

    Attributes:
        counts: predictions by STATES.
        figures: FIGURES; NaN where there are not enough outcomes yet.
        bands: OF_BAND by band, a tenth or `all`; NaN likewise.
    """

    counts: Mapping[str, int]
    figures: Mapping[str, float]
    bands: Mapping[str, Mapping[str, float]]


def read_card(path: Path) -> dict[str, Spread]:
    """How probabilities and features were spread in the training, by name, of a report of `cxstream train churn`.

    Raises:
        InputError: the file cannot be read, or does not say so.
    """
    try:
        card = msgspec.json.decode(path.read_bytes(), type=_Card)
    except OSError as error:
        raise InputError(f"warehouse.model_card: {path}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise InputError(
            f"warehouse.model_card: {path}: {error}: name the JSON report of 'cxstream train churn'"
        ) from error
    if card.training is None:
        raise InputError(
            f"warehouse.model_card: {path}: has no `training`: there was not enough data, or an older version wrote it; "
            "make it again with 'cxstream train churn ... --report FILE.json'"
        )
    return {PROBABILITY: card.training.probability} | card.training.features


def quality(connection: duckdb.DuckDBPyConnection, horizon_days: int, window_days: int) -> dict[str, Quality]:
    """How good the predictions of the last days are, by RULES; nothing without touchpoints.

    Args:
        connection: to the warehouse.
        horizon_days: days within which customers leave.
        window_days: days before the end of the data.
    """
    end, model = _latest(connection)
    if end is None:
        return {}
    since, found = end - timedelta(days=window_days), {}
    for rules, together, name in ((IN_FORCE, "apart", model), (ALL, "together", ALL)):
        rows = [
            row
            for band in ((ALL, "tenth") if rules == IN_FORCE else (ALL,))
            for row in _rows(
                connection, since, {"within": str(horizon_days), "rules": together, "band": band}
            )
            if row["model"] == name
        ]
        found[rules] = _quality(rows)
    return found


def _latest(connection: duckdb.DuckDBPyConnection) -> tuple[datetime | None, str | None]:
    """How far the data reach, and the rules of the last touchpoint."""
    made = "epoch_ms(time) + behind_ms"
    [(last, model)] = connection.execute(
        f'SELECT max({made}), arg_max(model, ({made}, partition, "offset")) FROM touchpoints'
    ).fetchall()
    return None if last is None else _EPOCH + timedelta(milliseconds=last), model


def _rows(
    connection: duckdb.DuckDBPyConnection, since: datetime, options: dict[str, str]
) -> list[dict[str, Any]]:
    cursor = run(connection, result(view("predictions"), Selection(since=since, options=options, few=FEW)))
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _quality(rows: list[dict[str, Any]]) -> Quality:
    """The figures of one model: the row of all bands first, if there are any."""
    whole = rows[0] if rows else {}
    return Quality(
        {state: whole.get(state, 0) for state in STATES},
        {name: _number(whole.get(name)) for name in FIGURES},
        {row["band"]: _of_band(row) for row in rows},
    )


def _of_band(row: dict[str, Any]) -> dict[str, float]:
    """What was expected is shown where what was observed is."""
    shown = row["churned_share"] is not None
    columns = ("expected", "churned_share", "churned_low", "churned_high")
    return {
        name: _number(row[column] if shown else None) for name, column in zip(OF_BAND, columns, strict=True)
    }


def _number(found: float | None) -> float:
    return math.nan if found is None else float(found)


_TODAY = """
SELECT probability, features FROM score_cards c
WHERE latest AND touches_90 > 0 AND customer_id NOT IN (
    SELECT customer_id FROM touchpoints WHERE kind IN ('churned', 'won_back', 'purchase')
    GROUP BY customer_id HAVING arg_max(kind, (epoch_ms(time) + behind_ms, partition, "offset")) = 'churned'
)
ORDER BY hash(customer_id), customer_id LIMIT ?
"""


def drifts(connection: duckdb.DuckDBPyConnection, training: Mapping[str, Spread]) -> dict[str, float]:
    """Drift of today's customers since the training, by `probability` and feature; nothing without customers.

    Who has left, or has had no touchpoint for 90 days, is left out, as in the training.

    Args:
        connection: to the warehouse.
        training: of `read_card`.
    """
    rows = connection.execute(_TODAY, [_SAMPLE]).fetchall()
    if len(rows) < FEW:
        return {}
    cards = [orjson.loads(features) for _, features in rows]
    now = {PROBABILITY: np.array([probability for probability, _ in rows])}
    now |= {
        name: np.array([card.get(name, 0.0) for card in cards]) for name in training if name != PROBABILITY
    }
    return {name: psi(before, now[name]) for name, before in training.items()}


class PredictionWatch:
    """Computes the metrics of predictions when they are due.

    Args:
        store: the warehouse.
        settings: how often, over which days, and the model card.
        metrics: told what is found.
        monotonic: seconds by a clock that never goes back.

    Raises:
        InputError: the model card cannot be read.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        metrics: FollowMetrics,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._settings, self._metrics, self._monotonic = (
            store,
            settings.warehouse,
            metrics,
            monotonic,
        )
        self._horizon = settings.scoring.churn_horizon_days or _DAYS
        card = settings.warehouse.model_card
        self._training = {} if card is None else read_card(card)
        self._due = -math.inf
        self._cursors = Cursors()

    def interrupt(self) -> None:
        """Let the step that another thread does end, and any later one; it may have to be said again."""
        self._cursors.interrupt()

    def step(self) -> None:
        """Compute them, if they are due."""
        minutes, now = self._settings.prediction_minutes, self._monotonic()
        if minutes is None or now < self._due:
            return
        try:
            with self._cursors.of(self._store.connection):
                connection = cast("duckdb.DuckDBPyConnection", self._cursors)
                found = quality(connection, self._horizon, self._settings.prediction_days)
                drift = drifts(connection, self._training) if self._training else {}
        except (duckdb.InterruptException, InterruptedError):
            return
        except duckdb.OutOfMemoryException as error:
            # Records are taken in all the same.
            found = {}
            self._metrics.failed("predictions")
            log.warning("predictions not compared: give more memory (warehouse.memory_mib)", error=str(error))
        else:
            self._metrics.predicted(found, drift)
        # What takes long is done less often.
        took = self._monotonic() - now
        self._due = now + max(minutes * 60, 20 * took)
        if found:
            log.info("predictions compared", seconds=round(took, 3), **found[IN_FORCE].counts)
