"""Asks a Prometheus what a dashboard asks, with Grafana's variables filled in."""

from __future__ import annotations

import json
import math
import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from board import Query

_SECONDS = 30
_REFUSED = (400, 422)


@dataclass(frozen=True, slots=True)
class Span:
    """What to ask for.

    Attributes:
        start: Unix time.
        end: Unix time.
        step: seconds from point to point.
        lately: in place of $__rate_interval, as `15s`.
        window: in place of $window.
        channel: in place of $channel, a regular expression.
    """

    start: float
    end: float
    step: float
    lately: str = "15s"
    window: str = "7d"
    channel: str = ".*"


@dataclass(frozen=True, slots=True)
class Series:
    """One series.

    Attributes:
        name: by the query's legend.
        labels: of the series.
        times: Unix times of the points.
        values: their values; none is NaN.
    """

    name: str
    labels: dict[str, str]
    times: list[float]
    values: list[float]


def filled(expr: str, span: Span) -> str:
    """PromQL without variables.

    Raises:
        ValueError: a variable is left that Grafana would fill in, and this cannot.
    """
    for name, value in (
        ("$__rate_interval", span.lately),
        ("$window", span.window),
        ("$channel", span.channel),
    ):
        expr = expr.replace(name, value)
    if "$" in expr:
        raise ValueError(f"unknown variable in {expr}")
    return expr


def asked(address: str, query: Query, span: Span) -> list[Series]:
    """What Prometheus has for a query, without points that are not a number.

    Args:
        address: of Prometheus, as http://localhost:9090.
        query: what to ask.
        span: when, and the variables' values.

    Raises:
        OSError: Prometheus does not answer.
        ValueError: it refuses the query.
    """
    question = {"query": filled(query.expr, span), "start": span.start, "end": span.end, "step": span.step}
    url = f"{address}/api/v1/query_range?{urllib.parse.urlencode(question)}"
    try:
        with urllib.request.urlopen(url, timeout=_SECONDS) as answer:  # noqa: S310  # the address is the user's own
            found = json.load(answer)["data"]["result"]
    except urllib.error.HTTPError as error:
        if error.code not in _REFUSED:
            raise
        raise ValueError(f"Prometheus refuses {question['query']}: {error.read().decode()}") from error
    made = (_series(query.legend, one) for one in found)
    return [one for one in made if one.values]


def _series(legend: str, found: dict[str, Any]) -> Series:
    labels = found["metric"]
    name = re.sub(r"\{\{(\w+)\}\}", lambda label: labels.get(label[1], ""), legend)
    points = [(time, float(value)) for time, value in found["values"]]
    points = [(time, value) for time, value in points if not math.isnan(value)]
    return Series(name, labels, [time for time, _ in points], [value for _, value in points])
