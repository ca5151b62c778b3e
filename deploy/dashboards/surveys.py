"""NPS, CSAT and CES of a window, each with the half-width of its 95 % interval.

An answer is a draw from what customers think, and a score of n answers is the mean of n draws, so its standard error is
sd / sqrt(n), and 1.96 of them to either side hold the truth in 95 of 100 cases:

    NPS   an answer is 1 (promoter), 0 or -1 (detractor). With the shares p and d its mean is p - d, its mean square
          p + d, so sd = sqrt(p + d - (p - d)^2). On the scale of -100 to 100: margin = 196 sd / sqrt(n).
    CSAT  an answer is 1 (4 or 5 points) or 0. With the share s, sd = sqrt(s (1 - s)). In percent:
          margin = 196 sd / sqrt(n).
    CES   an answer is 1 to 7. With the mean m and the mean square q, the variance of the sample is q - m^2, and with
          Bessel's correction margin = 1.96 sqrt((q - m^2) / (n - 1)).

The mean square of CES comes from the buckets B(k), answers of at most k: there are B(k) - B(k-1) answers of k, so the
sum of squares is 49 B(7) - 3 B(1) - 5 B(2) - ... - 13 B(6).

Under 30 answers the normal distribution is no fair picture of the mean: the score is shown, its margin is not.
"""

from __future__ import annotations

from dataclasses import dataclass

from promql import increase

# Answers below which no margin is shown.
FEW = 30
_TOP = 7


@dataclass(frozen=True, slots=True)
class Score:
    """PromQL of a score.

    Attributes:
        value: the score.
        margin: half-width of its 95 % interval; nothing under FEW answers.
        answers: how many it is made of.
    """

    value: str
    margin: str
    answers: str

    @property
    def lower(self) -> str:
        """The lower end of the interval."""
        return f"{self.value} - {self.margin}"

    @property
    def upper(self) -> str:
        """The upper end of the interval."""
        return f"{self.value} + {self.margin}"


def _chosen(more: str = "") -> str:
    return '{channel=~"$channel"' + (f", {more}" if more else "") + "}"


def nps(by: str = "") -> Score:
    """Net promoter score, -100 to 100."""
    series = "cxstream_nps_answers_total"
    answers = increase(series + _chosen(), by)
    promoters = increase(series + _chosen('class="promoter"'), by)
    detractors = increase(series + _chosen('class="detractor"'), by)
    told = increase(series + _chosen('class!="passive"'), by)
    balance = f"(({promoters} - {detractors}) / ({answers} > 0))"
    variance = f"clamp_min({told} / ({answers} > 0) - {balance} ^ 2, 0)"
    return Score(f"100 * {balance}", f"196 * sqrt({variance} / ({answers} >= {FEW}))", answers)


def csat(by: str = "") -> Score:
    """Share of the satisfied, who answer 4 or 5, in percent."""
    series = "cxstream_csat_score"
    answers = increase(f"{series}_count{_chosen()}", by)
    below = increase(f"{series}_bucket" + _chosen('le="3.0"'), by)
    share = f"({below} / ({answers} > 0))"
    return Score(
        f"100 * (1 - {share})",
        f"196 * sqrt(clamp_min({share} * (1 - {share}), 0) / ({answers} >= {FEW}))",
        answers,
    )


def ces(by: str = "") -> Score:
    """Mean ease, 1 to 7; 7 is the least effort."""
    series = "cxstream_ces_score"
    answers = increase(f"{series}_count{_chosen()}", by)
    mean = f"({increase(f'{series}_sum{_chosen()}', by)} / ({answers} > 0))"

    def at_most(points: int) -> str:
        return increase(f"{series}_bucket" + _chosen(f'le="{points}.0"'), by)

    squares = f"{_TOP**2} * {at_most(_TOP)}" + "".join(
        f" - {2 * points + 1} * {at_most(points)}" for points in range(1, _TOP)
    )
    variance = f"clamp_min(({squares}) / ({answers} > 0) - {mean} ^ 2, 0)"
    return Score(mean, f"1.96 * sqrt({variance} / (({answers} >= {FEW}) - 1))", answers)
