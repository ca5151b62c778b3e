"""PromQL that several dashboards need."""

from __future__ import annotations

from board import Query

# Four scrapes at least, however far one looks back; Grafana computes it.
LATELY = "$__rate_interval"
# Whose kafka_* is asked for: a kafka_exporter in the same Prometheus has these names, for other groups and topics too.
OURS = '{job="cxstream"}'
PER_SECOND = "suffix:/s"


def rate(series: str, by: str = "", window: str = LATELY) -> str:
    """How fast a counter grows, a second, summed over workers."""
    return f"{total(by)}(rate({series}[{window}]))"


def increase(series: str, by: str = "", window: str = "$window") -> str:
    """By how much a counter has grown, summed over workers."""
    return f"{total(by)}(increase({series}[{window}]))"


def total(by: str = "") -> str:
    """The head of a sum that keeps these labels."""
    return f"sum by ({by}) " if by else "sum"


def quantile(q: float, histogram: str, labels: str = "", by: str = "", window: str = LATELY) -> str:
    """A quantile of what was observed lately; `histogram` without `_bucket`."""
    kept = f"{by}, le" if by else "le"
    return f"histogram_quantile({q:g}, {rate(f'{histogram}_bucket{labels}', kept, window)})"


def standing(q: float, histogram: str) -> str:
    """A quantile of a histogram as it stands: of a gauge histogram, or since the workers started."""
    return f"histogram_quantile({q:g}, sum by (le) ({histogram}_bucket))"


def mean(histogram: str) -> str:
    """The mean of what was observed lately; nothing where nothing was."""
    return f"{rate(histogram + '_sum')} / ({rate(histogram + '_count')} > 0)"


def quantiles(
    histogram: str, labels: str = "", of: tuple[float, ...] = (0.5, 0.95, 0.99)
) -> tuple[Query, ...]:
    """Some quantiles of what was observed lately, as lines."""
    return tuple(Query(quantile(q, histogram, labels), f"{100 * q:g} %") for q in of)
