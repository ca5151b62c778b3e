"""What has been seen so far, as numbers and the newest signals: no I/O."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from statistics import median

from cxstream.model.enumerations import LEVELS
from cxstream.model.outputs import ChurnRiskSignal, ErasedSignal, FrictionSignal
from cxstream.scoring.explain import reasons_in_words

# More than the highest terminal shows.
_NEWEST = 100
_RATE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Line:
    """One signal as a person reads it.

    Attributes:
        time: event time, to the minute.
        subject: the customer.
        what: what happened.
        level: the customer's level after it; "friction" for friction.
        why: the evidence.
        action: what to do about it, "" where nothing is suggested.
    """

    time: str
    subject: str
    what: str
    level: str
    why: str
    action: str


@dataclass(slots=True)
class Board:
    """The state of the demo.

    Attributes:
        sent: touchpoints sent.
        done: touchpoints whose results are committed: scored, rejected, or found to be duplicates.
        duplicates: touchpoints that came more than once.
        kafka: where Kafka is, once it runs.
        metrics: where the worker's metrics are, once it is ready.
        console: where the console is and how to sign in, once it is there.
        history: touchpoints sent as fast as it goes, before the pace began; None until it did.
        signals: number of signals by what they say ("raised to high", "friction", ...).
        rejected: number of rejected records by reason.
        levels: what the CRM knows of each customer.
        newest: the newest signals, newest first.
        delays: seconds from the log to the reader of the signal, for records that came when the worker had caught up.
    """

    sent: int = 0
    done: int = 0
    duplicates: int = 0
    kafka: str | None = None
    metrics: str | None = None
    console: str | None = None
    history: int | None = None
    signals: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    levels: dict[str, str] = field(default_factory=dict)
    newest: deque[Line] = field(default_factory=lambda: deque(maxlen=_NEWEST))
    delays: list[float] = field(default_factory=list)
    _history: deque[tuple[float, int, int]] = field(default_factory=deque)
    _raised: ChurnRiskSignal | None = None

    def signal(self, signal: ChurnRiskSignal | ErasedSignal | FrictionSignal) -> Line:
        """Take a signal; returns it as a line."""
        if isinstance(signal, ChurnRiskSignal):
            line = _churn_risk(signal)
            self.levels[signal.subject] = signal.data.level
            self.signals[_change(signal)] += 1
            if self._raised is None or _more_urgent(signal, self._raised):
                self._raised = signal
        elif isinstance(signal, ErasedSignal):
            line = Line(_minute(signal.time), signal.subject, "erased", "none", "on request", "")
            self.levels.pop(signal.subject, None)
            self.signals["erased"] += 1
        else:
            line = _friction(signal)
            self.signals["friction"] += 1
        self.newest.appendleft(line)
        return line

    @property
    def example(self) -> str:
        """A customer to look at: the latest one at the highest level, so that it seldom changes."""
        return self._raised.subject if self._raised else self.newest[0].subject

    @property
    def scored(self) -> int:
        """Touchpoints that were accepted, and whose results are committed."""
        return max(0, self.done - sum(self.rejected.values()) - self.duplicates)

    def rates(self, now: float) -> tuple[float, float]:
        """Return touchpoints sent and done a second, lately; `now` in seconds, of any rising clock."""
        self._history.append((now, self.sent, self.done))
        long_ago = [at for at, _, _ in self._history if at <= now - _RATE_SECONDS]
        for _ in long_ago[:-1]:
            self._history.popleft()
        then, sent, done = self._history[0]
        elapsed = now - then
        return ((self.sent - sent) / elapsed, (self.done - done) / elapsed) if elapsed > 0 else (0.0, 0.0)

    def by_level(self) -> dict[str, int]:
        """Return how many customers the CRM knows at each level above none."""
        known = Counter(self.levels.values())
        return {level: known[level] for level in LEVELS[1:]}

    def delay(self) -> tuple[float, float] | None:
        """Return the median and the 95th percentile of the delays in seconds; None without any."""
        if not self.delays:
            return None
        return median(self.delays), sorted(self.delays)[int(0.95 * (len(self.delays) - 1))]


def _more_urgent(signal: ChurnRiskSignal, than: ChurnRiskSignal) -> bool:
    return LEVELS.index(signal.data.level) >= LEVELS.index(than.data.level)


def _minute(time: str) -> str:
    return time[:16].replace("T", " ")


def _change(signal: ChurnRiskSignal) -> str:
    data = signal.data
    return f"{data.change} {'at' if data.change == 'worsened' else 'to'} {data.level}"


def _churn_risk(signal: ChurnRiskSignal) -> Line:
    data = signal.data
    why = reasons_in_words(
        data.probability, [(reason.evidence, reason.contribution) for reason in data.reasons]
    )
    what = f"{_change(signal)} ({data.probability:.0%})"
    return Line(_minute(signal.time), signal.subject, what, data.level, why, data.suggested_action or "")


def _friction(signal: FrictionSignal) -> Line:
    data = signal.data
    place = f"{data.channel}, {data.touchpoint}" if data.touchpoint else data.channel
    what = f"friction {data.effort_points:.1f} ({place})"
    return Line(_minute(signal.time), signal.subject, what, "friction", data.evidence, "")
