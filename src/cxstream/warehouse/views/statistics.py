"""Margins of 95%: the normal quantile, Student's t, Wilson's interval of a share; and the tails of F and chi-square.

They are functions for SQL, too.
"""

from __future__ import annotations

import math
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING

import duckdb

if TYPE_CHECKING:
    from collections.abc import Callable

Z = 1.959963984540054
"""The 97.5% quantile of the normal distribution."""

Z_POWER = 0.8416212335729143
"""The 80% quantile of the normal distribution: the chance with which `detectable` effects are found."""

SEQUENCE = (-2 * math.log(0.05) + math.log(-2 * math.log(0.05)) + 1) / 2000
"""Of the confidence sequence of `cxstream.trials.statistics.anytime`, which is narrowest at 2,000 customers."""

_STEPS = 200
_EPSILON = 1e-15
_TINY = 1e-300

MACROS = f"""
CREATE OR REPLACE TEMP MACRO wilson_low(hits, n) AS CASE WHEN n > 0 AND hits = 0 THEN 0.0 WHEN n > 0 THEN greatest(0, (hits / n + {Z * Z / 2} / n
    - {Z} * sqrt(hits / n * (1 - hits / n) / n + {Z * Z / 4} / n / n)) / (1 + {Z * Z} / n)) END;
CREATE OR REPLACE TEMP MACRO wilson_high(hits, n) AS CASE WHEN n > 0 THEN least(1, (hits / n + {Z * Z / 2} / n
    + {Z} * sqrt(hits / n * (1 - hits / n) / n + {Z * Z / 4} / n / n)) / (1 + {Z * Z} / n)) END;
CREATE OR REPLACE TEMP MACRO clipped(x, low, high) AS CASE WHEN x IS NOT NULL THEN least(high, greatest(low, x)) END;
CREATE OR REPLACE TEMP MACRO t_margin(deviation, n) AS CASE WHEN n > 1 THEN
    student_t(n - 1) * deviation / sqrt(n) END;
CREATE OR REPLACE TEMP MACRO newcombe_low(hits_1, n_1, hits_2, n_2) AS hits_1 / n_1 - hits_2 / n_2
    - sqrt(pow(hits_1 / n_1 - wilson_low(hits_1, n_1), 2) + pow(wilson_high(hits_2, n_2) - hits_2 / n_2, 2));
CREATE OR REPLACE TEMP MACRO newcombe_high(hits_1, n_1, hits_2, n_2) AS hits_1 / n_1 - hits_2 / n_2
    + sqrt(pow(wilson_high(hits_1, n_1) - hits_1 / n_1, 2) + pow(hits_2 / n_2 - wilson_low(hits_2, n_2), 2));
CREATE OR REPLACE TEMP MACRO shares_p(hits_1, n_1, hits_2, n_2) AS CASE
    WHEN n_1 > 0 AND n_2 > 0 AND hits_1 + hits_2 IN (0, n_1 + n_2) THEN 1.0
    WHEN n_1 > 0 AND n_2 > 0 THEN chi_square_tail(pow(hits_1 / n_1 - hits_2 / n_2, 2)
        / ((hits_1 + hits_2) / (n_1 + n_2) * (1 - (hits_1 + hits_2) / (n_1 + n_2)) * (1 / n_1 + 1 / n_2)), 1) END;
CREATE OR REPLACE TEMP MACRO welch_margin(var_1, n_1, var_2, n_2) AS CASE
    WHEN n_1 > 1 AND n_2 > 1 AND var_1 + var_2 = 0 THEN 0.0
    WHEN n_1 > 1 AND n_2 > 1 THEN sqrt(var_1 / n_1 + var_2 / n_2) * student_t(floor(pow(var_1 / n_1 + var_2 / n_2, 2)
        / (pow(var_1 / n_1, 2) / (n_1 - 1) + pow(var_2 / n_2, 2) / (n_2 - 1)))::BIGINT) END;
CREATE OR REPLACE TEMP MACRO sequence_margin(error, n) AS CASE WHEN n > 0 THEN
    error * sqrt(2 * (n * {SEQUENCE} + 1) / (n * {SEQUENCE}) * ln(sqrt(n * {SEQUENCE} + 1) / 0.05)) END;
CREATE OR REPLACE TEMP MACRO detectable(var_1, n_1, var_2, n_2) AS CASE WHEN n_1 > 0 AND n_2 > 0 THEN
    {Z + Z_POWER} * sqrt((var_1 + var_2) / 2 * (1 / n_1 + 1 / n_2)) END;
CREATE OR REPLACE TEMP MACRO deviation(n, total, squares) AS CASE WHEN n > 1 THEN
    sqrt(greatest(0, squares - total * total / n) / (n - 1)) END;
"""


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Wilson's interval of a share of `hits` in `n`, which is above 0."""
    share, z2 = hits / n, Z * Z / n
    middle, margin = share + z2 / 2, Z * math.sqrt(share * (1 - share) / n + z2 / 4 / n)
    return max(0.0, (middle - margin) / (1 + z2)), min(1.0, (middle + margin) / (1 + z2))


@lru_cache(maxsize=4096)
def student_t(freedom: float) -> float:
    """The 97.5% quantile of Student's t with so many degrees of freedom, at least 1.

    >>> round(student_t(1), 4), round(student_t(10), 4), round(student_t(10_000_000), 4)
    (12.7062, 2.2281, 1.96)
    """
    low, high = Z, 13.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        low, high = (middle, high) if _outside(middle, freedom) > 0.05 else (low, middle)  # noqa: PLR2004
    return (low + high) / 2


def _outside(t: float, freedom: float) -> float:
    """The probability of a value of Student's t beyond -t or t, which is above 0."""
    return _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t))


def f_tail(f: float, between: float, within: float) -> float | None:
    """The probability of a value of F, or a larger one.

    Args:
        f: 0 or more.
        between: degrees of freedom of the numerator, above 0.
        within: those of the denominator, above 0.

    Returns:
        0..1; None where there are no degrees of freedom.

    >>> round(f_tail(5.181, 2, 17.128), 5)
    0.01739
    """
    if between <= 0 or within <= 0:
        return None
    return _incomplete_beta(within / 2, between / 2, within / (within + between * f))


def chi_square_tail(value: float, freedom: int) -> float | None:
    """The probability of a value of chi-square, or a larger one.

    Returns:
        0..1; None where there are no degrees of freedom.

    >>> round(chi_square_tail(3.841459, 1), 6), round(chi_square_tail(18.307038, 10), 6)
    (0.05, 0.05)
    """
    if freedom <= 0:
        return None
    if value <= 0:
        return 1.0
    a, x = freedom / 2, value / 2
    front = math.exp(a * math.log(x) - x - math.lgamma(a))
    return 1 - front * _lower_series(a, x) if x < a + 1 else front * _upper_fraction(a, x)


def _lower_series(a: float, x: float) -> float:
    """The lower incomplete gamma function without its factor x^a exp(-x), by its series."""
    term = total = 1 / a
    for n in range(1, 10_000):
        term *= x / (a + n)
        total += term
        if term < total * _EPSILON:
            break
    return total


def _upper_fraction(a: float, x: float) -> float:
    """The upper incomplete gamma function without its factor x^a exp(-x), by Lentz's method."""
    b = x + 1 - a
    c, d = 1 / _TINY, 1 / _away(b)
    total = d
    for n in range(1, 10_000):
        step = n * (a - n)
        b += 2
        d = 1 / _away(step * d + b)
        c = _away(b + step / c)
        total *= d * c
        if abs(d * c - 1) < _EPSILON:
            break
    return total


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularized incomplete beta function, by the continued fraction where it converges fast."""
    if x <= 0 or x >= 1:
        return float(x > 0)
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(b, a, 1 - x)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    return front * _fraction(a, b, x) / a


def _fraction(a: float, b: float, x: float) -> float:
    """Lentz's method."""
    c, d = 1.0, 1 / _away(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 10_000):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _away(1 + step * d)
            c = _away(1 + step / c)
            value *= d * c
        if abs(d * c - 1) < _EPSILON:
            break
    return value


def _away(x: float) -> float:
    return x if abs(x) > _TINY else _TINY


def distinct_customers(highest: int | None) -> str:
    """The SQL of a macro that counts distinct customers.

    Args:
        highest: the largest id: a bit for each customer is several times as fast as a set. None for a set, which needs
            less memory in many groups.
    """
    count = (
        "count(DISTINCT id)"
        if highest is None
        else f"coalesce(bit_count(bitstring_agg(id, 0, {highest:d})), 0)"
    )
    return f"CREATE OR REPLACE TEMP MACRO distinct_customers(id) AS {count};"


_FUNCTIONS: tuple[tuple[str, Callable[..., float | None], tuple[str, ...]], ...] = (
    ("student_t", student_t, ("DOUBLE",)),
    ("t_tail", _outside, ("DOUBLE", "DOUBLE")),
    ("f_tail", f_tail, ("DOUBLE", "DOUBLE", "DOUBLE")),
    ("chi_square_tail", chi_square_tail, ("DOUBLE", "BIGINT")),
)


def install(connection: duckdb.DuckDBPyConnection, highest: int | None = None) -> None:
    """Give a connection the functions that views use.

    They are wilson_low(hits, n), wilson_high(hits, n), newcombe_low and newcombe_high(hits_1, n_1, hits_2, n_2),
    shares_p of the same (chi-square test), t_margin(deviation, n), welch_margin(var_1, n_1, var_2, n_2),
    student_t(freedom), t_tail(t, freedom) (two-sided), sequence_margin(error, n), detectable(var_1, n_1, var_2, n_2),
    deviation(n, total, squares), clipped(x, low, high), f_tail(f, between, within), chi_square_tail(value, freedom) and distinct_customers(id).
    """
    for name, function, parameters in _FUNCTIONS:
        # It stays with the database, and is there already where another cursor of it has asked before.
        with suppress(duckdb.CatalogException):
            connection.create_function(name, function, list(parameters), "DOUBLE")
    connection.execute(MACROS + distinct_customers(highest))
