"""Requests to be erased whose processing fails for a reason that nobody foresaw stop nobody else's."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from cxstream.kafka.records import Record
from cxstream.scoring.codec.rejection import Reference, unfold
from cxstream.scoring.engine import Engine, Records
from cxstream.settings import Settings
from cxstream.topology import FORGET, REJECTED
from cxstream.worker.metrics.counters import Counters
from cxstream.worker.ownership import requests
from cxstream.worker.ownership.restore import Restored
from cxstream.worker.ownership.session import OwnershipSession
from cxstream.worker.ownership.suspects import Cause, Suspects


def session(suspects: Suspects) -> Any:
    settings: Any = Settings()
    engine = Engine(settings.scoring, settings.actions)
    restored = Restored(engine, 0, saved=False, problem="")
    nobody: Any = None
    return OwnershipSession(
        settings, nobody, 0, nobody, nobody, nobody, restored, Counters(), suspects, lambda: None
    )


def asked(offset: int, key: bytes | None) -> Any:
    return SimpleNamespace(offset=offset, key=key, value=None, headers=(), timestamp=1_700_000_000_000)


async def test_a_request_that_fails_is_rejected_by_reference_and_the_others_are_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = requests.read

    def fails(record: Any, *more: Any) -> Any:
        if record.key == b"anna":
            raise ZeroDivisionError("anna")
        return read(record, *more)

    inlet = requests.ERASURES._replace(translate=fails)
    suspects = Suspects(0)
    # Kafka has refused twice what follows from this one.
    suspects.found[Cause(FORGET.contract, 8)] = "cx.touchpoints refuses a row"
    owner = session(suspects)
    unheld = Record(9, 1_700_000_000_000, 1, b"dora", reference=Reference(1 << 25, "00"))
    broken = Record(10, 1_700_000_000_000, 1, None, reference=Reference(1 << 25, ""), broken="cut off")
    with capture_logs() as said:
        owner.forward(
            inlet,
            [asked(6, b"anna"), asked(7, b"bert"), asked(8, b"carl"), unheld, broken, asked(11, b"eva")],
        )
    outbox = owner._outbox
    assert [key for key, _ in outbox.requests] == [b"bert", b"eva"]
    assert outbox.taken == {FORGET.contract: 12}
    found = [unfold(headers) for headers in outbox.explanations]
    assert all(value is None for _, value in outbox.rows[REJECTED.contract])
    told = [(each[1]["reason"], each[1]["offset"], each[2] is not None) for each in found if each]
    assert told == [
        (b"failed", b"6", True),
        (b"failed", b"8", True),
        (b"too_large", b"9", True),
        (b"malformed", b"10", True),
    ]
    passed = [(each["topic"], each["offset"]) for each in said if each["log_level"] == "error"]
    assert passed == [(FORGET.name, 6), (FORGET.name, 8)]
    assert "anna" not in str(said)


async def test_no_request_is_blamed_where_sound_records_fail_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise ZeroDivisionError

    owner = session(Suspects(0))
    inlet = requests.ERASURES._replace(translate=fails)
    monkeypatch.setattr(Engine, "_score", fails)
    with pytest.raises(ZeroDivisionError):
        owner.forward(inlet, [asked(6, b"anna")])
    assert not owner._outbox.rows


async def test_the_rules_in_force_say_how_far_a_request_may_be_ahead() -> None:
    owner = session(Suspects(0))
    event = {"specversion": "1.0", "source": "/crm", "type": "cx.forget.v1", "subject": "anna"}
    ahead = json.dumps({**event, "id": "1", "time": "2023-11-14T22:23:20Z"}).encode()
    record = SimpleNamespace(**{**vars(asked(6, b"anna")), "value": ahead})
    owner.forward(requests.ERASURES, [record])
    assert owner._outbox.requests == []
    roomy = {"scoring": {"name": "roomy", "future_minutes": 10}}
    rules = {**event, "id": "r", "type": "cx.rules.v1", "time": "2023-11-14T22:00:00Z", "data": roomy}
    del rules["subject"]
    assert owner.engine.process(Records([json.dumps(rules).encode()], [0])).rules == 1
    record.offset = 7
    owner.forward(requests.ERASURES, [record])
    [(key, value)] = owner._outbox.requests
    # The log says what its rules say, at the place where it lies.
    assert (key, json.loads(value)["time"]) == (b"anna", "2023-11-14T22:13:20.000Z")
