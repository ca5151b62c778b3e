"""Rules in a real Kafka: what is in force, and putting other rules in force."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from cxstream.cli.rules import command
from cxstream.kafka.producer import route
from cxstream.model.errors import BrokerError
from cxstream.model.kinds import RULES_TYPE
from cxstream.model.parameters import ScoringParams
from cxstream.model.rules import rules_of
from cxstream.rules.log import in_force
from cxstream.rules.write import event, write, writing
from cxstream.scoring.codec.signatures import Authority
from cxstream.settings import ACTIONS, Settings
from workers import touchpoint
from workers import write as write_records

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PARTITIONS = 2
KEY = "k" * 32


def rules(name: str, **scoring: Any) -> Any:
    return rules_of(ScoringParams.model_validate({"name": name, **scoring}), ACTIONS)


def record(name: str, at: int, authority: Authority | None = None, **more: Any) -> bytes:
    made = event(rules(name), f"id-{name}", "/test", at, authority)
    return json.dumps({**json.loads(made), **more}).encode()


def now() -> int:
    return round(time.time() * 1000)


def run(settings: Settings, *arguments: str, answer: str = "") -> Any:
    environment = {"CXSTREAM_KAFKA": settings.kafka, "CXSTREAM_WORKER__GROUP": settings.worker.group}
    return CliRunner().invoke(command, arguments, input=answer, env=environment)


def fill(settings: Settings, values: dict[int, list[bytes]]) -> None:
    asyncio.run(write_records(settings, settings.topology.touchpoints.name, values))


def labels(settings: Settings) -> list[str]:
    return [each.rules.rules.params.name for each in asyncio.run(in_force(settings))]


def test_the_latest_set_that_workers_accept_is_in_force(
    settings: Settings, topics: Callable[[int], None]
) -> None:
    topics(3)
    then = now() - 60_000
    fill(
        settings,
        {
            0: [
                touchpoint("c", 1),
                record("one", then),
                record("two", then + 1),
                # None of these counts: not later, from the future, not valid, not a set of rules.
                record("three", then + 1),
                record("future", now() + 3_600_000),
                record("bad", then + 5, data={"scoring": {"window_days": 0}}),
                record("odd", then + 6, type="cx.tick.v1"),
                touchpoint("c", 2, text=RULES_TYPE),
            ],
            1: [record("escaped", then).replace(b"cx.rules", b"cx\\u002erules")],
        },
    )
    found = asyncio.run(in_force(settings))
    assert [each.rules.rules.params.name for each in found] == ["two", "escaped", ScoringParams().name]
    two = found[0]
    assert (two.rules.offset, two.rules.id, two.rules.source) == (2, "id-two", "/test")
    assert two.since is not None
    assert two.since >= then
    assert [each.rules.of_log for each in found] == [True, True, False]
    shown = run(settings, "show")
    assert shown.exit_code == 0, shown.output
    assert "partitions have different rules" in shown.output
    as_json = json.loads(run(settings, "show", "--format", "json").stdout)
    assert [each["of"] for each in as_json["partitions"]] == ["log", "log", "settings"]
    assert not as_json["agree"]
    # They differ in their names alone.
    assert not as_json["settings_differ"]
    assert run(settings, "show", "--format", "toml").exit_code == 1


def test_with_a_key_only_signed_rules_count(settings: Settings, topics: Callable[[int], None]) -> None:
    topics(1)
    then = now() - 60_000
    fill(settings, {0: [record("signed", then, Authority([KEY.encode()])), record("forged", then + 1)]})
    assert labels(settings) == ["forged"]
    assert labels(settings.model_copy(update={"control": Settings(control={"key": KEY}).control})) == [
        "signed"
    ]


def test_apply_writes_to_all_partitions_and_shows_what_changes(
    settings: Settings, topics: Callable[[int], None], tmp_path: Path
) -> None:
    topics(PARTITIONS)
    customers = [f"c{n}" for n in range(20)]
    events: dict[int, list[bytes]] = {p: [] for p in range(PARTITIONS)}
    for number, customer in enumerate(customers * 2):
        [home] = route([customer.encode()], PARTITIONS)
        kind, more = ("complaint_opened", {"case_id": str(number)}) if number < 40 else ("parcel_lost", {})
        events[home].append(touchpoint(customer, number, kind, **more))
    [home] = route([b"c0"], PARTITIONS)
    events[home].append(touchpoint("c0", 99, "parcel_lost"))
    fill(settings, events)
    file = tmp_path / "rules.toml"
    file.write_text(
        '[scoring]\nname = "strict-1"\nintercept = -1.0\n[scoring.kinds.parcel_lost]\neffort = 4\n'
        'description = "The parcel is lost."\n'
    )
    asked = run(settings, "apply", str(file), answer="n\n")
    assert asked.exit_code == 1
    assert labels(settings) == [ScoringParams().name] * PARTITIONS
    done = run(settings, "apply", str(file), "--yes")
    assert done.exit_code == 0, done.output
    assert f"scoring.intercept: {ScoringParams().intercept} -> -1.0" in done.output
    assert "sample of 41 recent records, 20 customers" in done.output
    assert "20 of 20 customers change their level" in done.output
    assert "rejected records: 1 -> 0" in done.output
    found = asyncio.run(in_force(settings))
    assert {each.rules.rules.params.name for each in found} == {"strict-1"}
    assert len({(each.rules.id, each.rules.time) for each in found}) == 1
    shown = run(settings, "show")
    assert "cx.touchpoint.parcel_lost.v1" in shown.output
    assert "The parcel is lost." in shown.output
    assert "differ from the rules in the log" in shown.output
    again = run(settings, "apply", str(file), "--yes")
    assert again.exit_code == 0
    assert "in force already" in again.output
    kept = tmp_path / "kept.toml"
    kept.write_text(run(settings, "show", "--format", "toml").stdout)
    assert "nothing changes" in run(settings, "diff", str(kept)).output
    # Another set right after it, and back again: each is later than the one before.
    file.write_text('[scoring]\nname = "other"\n')
    for _ in range(2):
        assert run(settings, "apply", str(file), "--yes", "--sample", "0").exit_code == 0
        file.write_text('[scoring]\nname = "third"\n')
    assert labels(settings) == ["third"] * PARTITIONS


def test_a_set_of_the_future_cannot_be_followed(
    settings: Settings, topics: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    topics(1)
    fill(settings, {0: [record("first", now() - 60_000)]})

    async def attempt(ahead_ms: int) -> int:
        before = await in_force(settings)
        monkeypatch.setattr("cxstream.rules.write.time.time", lambda: (real() + ahead_ms) / 1000)
        async with writing(settings) as producer:
            return (await write(settings, producer, rules("next"), before)).time

    def real() -> int:
        return time.time_ns() // 1_000_000

    # This computer's clock is an hour ahead: the set is dated by the broker's.
    assert asyncio.run(attempt(3_600_000)) <= real()
    assert labels(settings) == ["next"]

    async def refused() -> None:
        [before] = await in_force(settings)
        later = [
            before.__class__(0, before.rules.__class__(before.rules.rules, 0, real() + 3_600_000), None, 1)
        ]
        async with writing(settings) as producer:
            await write(settings, producer, rules("never"), later)

    with pytest.raises(BrokerError, match="must be later than the one in force"):
        asyncio.run(refused())
    assert labels(settings) == ["next"]


def test_wait_says_where_no_worker_reads(
    settings: Settings, topics: Callable[[int], None], tmp_path: Path
) -> None:
    topics(PARTITIONS)
    file = tmp_path / "rules.toml"
    file.write_text('[scoring]\nname = "waiting"\n')
    waited = run(settings, "apply", str(file), "--yes", "--wait", "0.1", "--sample", "0")
    assert waited.exit_code == 1
    assert "in partitions 0, 1" in waited.output
    assert labels(settings) == ["waiting"] * PARTITIONS
