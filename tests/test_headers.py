"""Kafka headers from the producer to the score card, the rejection and what is sent again."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiokafka
import pytest
from click.testing import CliRunner

from cxstream.cli import group
from cxstream.kafka.connection import connection
from cxstream.rejected.explain import check
from cxstream.topology import TOUCHPOINTS
from workers import Watcher, WorkerProcess, touchpoint, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from cxstream.settings import Settings

CASES = [
    json.loads(line)
    for line in (Path(__file__).parent / "cases/null-header/records.ndjson").read_text().splitlines()
]
SECONDS = 90.0


def encoded(text: str | None) -> bytes | None:
    return None if text is None else text.encode("latin-1")


def headers(case: dict[str, Any]) -> list[tuple[str, bytes | None]]:
    return [(name, encoded(value)) for name, value in case["headers"]]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_what_headers_make_of_a_record(case: dict[str, Any]) -> None:
    problems = check(encoded(case["value"]), headers(case), encoded(case["key"]))
    problem = next((each for each in problems if each.reason), None)
    assert (problem and [problem.reason, problem.field]) == case["rejected"]


async def send(settings: Settings, records: list[dict[str, Any]]) -> None:
    async with aiokafka.AIOKafkaProducer(**connection(settings)) as producer:
        for record in records:
            await producer.send_and_wait(TOUCHPOINTS.name, partition=0, **record)


def run(settings: Settings, *arguments: str) -> list[dict[str, Any]]:
    """A command's objects."""
    result = CliRunner().invoke(
        group, [*arguments, "--json", "--kafka", settings.kafka],
        env={"CXSTREAM_WORKER__GROUP": settings.worker.group},
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


@pytest.mark.broker
async def test_null_headers_reach_the_score_card_and_rejections_keep_them(
    settings: Settings, topics: Callable[[int], None], tmp_path: Path
) -> None:
    topics(1)
    bad = {"key": b"anna", "value": touchpoint("anna", 1, channel="phone"), "headers": [("trace", None)]}
    await send(
        settings,
        [
            *({"key": encoded(c["key"]), "value": encoded(c["value"]), "headers": headers(c)} for c in CASES),
            bad,
        ],
    )
    repaired = tmp_path / "fix.toml"
    repaired.write_text("[[fix]]\nwhen = { 'data.channel' = 'phone' }\nset = { 'data.channel' = 'call' }\n")
    with WorkerProcess(settings, tmp_path / "log") as worker:
        await asyncio.to_thread(worker.ready)
        async with Watcher(settings, 1) as watcher:
            await until(watcher.all_committed, SECONDS, lambda: worker.log)
            found = {
                each["place"]: each for each in await asyncio.to_thread(run, settings, "rejected", "list")
            }
            wanted = {f"cx.touchpoints-0-{i}": c for i, c in enumerate(CASES) if c["rejected"]}
            last = f"cx.touchpoints-0-{len(CASES)}"
            assert {place: [each["reason"], each["field"]] for place, each in found.items()} == {
                **{place: c["rejected"] for place, c in wanted.items()},
                last: ["invalid", "data.channel"],
            }
            for place, case in wanted.items():
                [shown] = await asyncio.to_thread(run, settings, "rejected", "show", place)
                assert shown["headers"] == case["headers"]
                bare = not any(name.startswith("ce_") for name, _ in case["headers"])
                bare &= "cloudevents" not in str(case["headers"])
                assert ("taken as `data`" in shown["message"]) == bare
            [sent] = await asyncio.to_thread(
                run, settings, "rejected", "resend", last, "--fix", str(repaired), "--send"
            )
            assert sent["status"] == "sent", sent
            wanted_cards = {"anna", *(case["key"] for case in CASES if not case["rejected"])}

            async def carded() -> bool:
                return {r.key.decode() for r in (await watcher.read("cx.scores")).get(0, [])} == wanted_cards

            await until(carded, SECONDS, lambda: worker.log)
        assert await asyncio.to_thread(worker.stop) == 0, worker.log
    [shown] = await asyncio.to_thread(run, settings, "customer", "bin")
    assert {each["outcome"] for each in shown["touchpoints"]} >= {"counted", "invalid"}
