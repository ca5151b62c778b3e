"""Console: do pages come quickly and without errors, and how old is what they show?"""

from __future__ import annotations

from board import GREEN, RED, YELLOW, Board, Panel, Query, Row
from promql import LATELY, PER_SECOND, increase, quantile, rate

PAGES = Row(
    "Pages",
    (
        Panel(
            "Requests a second, by status",
            "Requests by status of the answer. 499: the browser did not wait for it.",
            (Query(rate("cxstream_console_requests_total", "status"), "{{status}}"),),
            unit=PER_SECOND,
            low=0,
            width=12,
            alerts=("CxstreamConsoleFails",),
        ),
        Panel(
            "Requests that failed, by route",
            "Requests with an error of the console in the chosen time: a query over its limit, a file that cannot be read, a defect.",
            (
                Query(
                    'sum by (route) (increase(cxstream_console_requests_total{status=~"5.."}[$window])) > 0',
                    "{{route}}",
                ),
            ),
            low=0,
            width=12,
            alerts=("CxstreamConsoleFails",),
        ),
        Panel(
            "Time of requests",
            "Time to answer a request, without the streams of live pages. 95 of 100 are to take less than 0.3 s.",
            (
                Query(quantile(0.5, "cxstream_console_request_seconds"), "50 %"),
                Query(quantile(0.95, "cxstream_console_request_seconds"), "95 %"),
            ),
            unit="s",
            low=0,
            width=12,
            alerts=("CxstreamConsoleSlow",),
        ),
        Panel(
            "Time of requests, by route",
            "The time that 95 of 100 requests of a route stay below.",
            (Query(quantile(0.95, "cxstream_console_request_seconds", by="route"), "{{route}}"),),
            unit="s",
            low=0,
            width=12,
            alerts=("CxstreamConsoleSlow",),
        ),
    ),
)

READING = Row(
    "What the pages read",
    (
        Panel(
            "Ready",
            "Consoles that answer Prometheus, and those of them whose read model can be read.",
            (
                Query("sum(cxstream_console_ready)", "ready"),
                Query("count(cxstream_console_ready)", "there are"),
            ),
            kind="number",
            width=6,
            alerts=("CxstreamConsoleDown",),
        ),
        Panel(
            "Age of the read model",
            "How long ago the file that the console reads, the warehouse or its copy, was written.",
            (Query("time() - min(cxstream_console_read_model_timestamp_seconds)", "ago"),),
            unit="s",
            kind="number",
            width=6,
            steps=((0, GREEN), (1800, YELLOW), (3600, RED)),
            alerts=("CxstreamConsoleOld",),
        ),
        Panel(
            "Queries a second, by outcome",
            "Answered, from the cache, stopped by the time limit, stopped since the browser had gone, failed.",
            (Query(rate("cxstream_console_queries_total", "outcome"), "{{outcome}}"),),
            unit=PER_SECOND,
            low=0,
            width=6,
            alerts=("CxstreamConsoleSlow",),
        ),
        Panel(
            "Time of queries",
            "Time of a query, with its wait for a thread.",
            (
                Query(quantile(0.5, "cxstream_console_query_seconds"), "50 %"),
                Query(quantile(0.95, "cxstream_console_query_seconds"), "95 %"),
            ),
            unit="s",
            low=0,
            width=6,
            alerts=("CxstreamConsoleSlow",),
        ),
    ),
)

PEOPLE = Row(
    "People",
    (
        Panel(
            "Open streams",
            "Browsers with a page that follows the read model.",
            (Query("sum(cxstream_console_streams_open)", "streams"),),
            low=0,
            width=8,
        ),
        Panel(
            "Sign-ins, by outcome",
            "Sign-ins in the chosen time. Limited: not tried, after too many wrong passwords.",
            (Query(increase("cxstream_console_sign_ins_total", "outcome"), "{{outcome}}"),),
            kind="number",
            width=8,
            alerts=("CxstreamConsoleSignInsRefused",),
        ),
        Panel(
            "Sign-ins a second",
            "Somebody who tries passwords is seen here.",
            (
                Query(
                    f"sum by (outcome) (rate(cxstream_console_sign_ins_total[{LATELY}]))",
                    "{{outcome}}",
                ),
            ),
            unit=PER_SECOND,
            low=0,
            width=8,
            alerts=("CxstreamConsoleSignInsRefused",),
        ),
    ),
)

BOARD = Board(
    uid="cxstream-console",
    file="console.json",
    title="cxstream / Console",
    about="For who runs `cxstream serve`: do pages come quickly and without errors, and how old is what they show?",
    rows=(PAGES, READING, PEOPLE),
    windows=("1h", "6h", "1d", "7d"),
)
