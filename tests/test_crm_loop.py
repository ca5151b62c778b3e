"""The whole loop on a real Kafka: signal, work list, action, `action_taken`, its effect, with both sides killed.

    events -> worker -> cx.churn-risk -> CRM -> action_taken -> worker -> cxstream customer

The worker and the CRM are killed (SIGKILL) in the middle and started again, the CRM at last as the other program, on
the same store. No signal is acted on twice, by its id, and whoever needs an action gets one.
"""

from __future__ import annotations

import asyncio
import functools
import json
import signal
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from crm_programs import TYPESCRIPT, CrmProcess, command
from cxstream.topology import CHURN_RISK, TOUCHPOINTS
from test_customer import run as customer
from workers import Watcher, WorkerProcess, customers_of, until, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cxstream.settings import Settings

PARTITIONS = 2
SECONDS = 120.0
QUICK = {"CXSTREAM_WORKER__FLUSH_SECONDS": "0.1"}
BAD_DAY: list[tuple[str, dict[str, Any]]] = [
    ("contact", {"channel": "call", "topic": "invoice", "wait_s": 600, "resolved": False}),
    ("contact", {"channel": "call", "topic": "invoice", "wait_s": 600, "resolved": False}),
    ("survey_nps", {"channel": "email", "score": 1}),
    ("complaint_opened", {"channel": "email", "case_id": "c"}),
]


@functools.cache
def people() -> dict[int, list[str]]:
    """Customers of each partition."""
    return {partition: customers_of(partition, PARTITIONS, 4) for partition in range(PARTITIONS)}


def events(customers: list[str], *what: tuple[str, dict[str, Any]], wave: str) -> list[bytes]:
    """These touchpoints of each customer, now."""
    now = datetime.now(UTC) - timedelta(seconds=len(what))
    return [
        json.dumps(
            {
                "specversion": "1.0",
                "id": f"{wave}-{n}",
                "source": "/shop",
                "type": f"cx.touchpoint.{kind}.v1",
                "subject": name,
                "time": (now + timedelta(seconds=n)).isoformat(timespec="milliseconds"),
                "data": data,
            }
        ).encode()
        for name in customers
        for n, (kind, data) in enumerate(what)
    ]


async def signals(watcher: Watcher) -> dict[str, list[dict[str, Any]]]:
    """The churn-risk signals of each customer, in order."""
    found = defaultdict(list)
    for records in (await watcher.read(CHURN_RISK.name)).values():
        for record in records:
            found[record.key.decode()].append(json.loads(record.value))
    return found


async def reported(watcher: Watcher) -> dict[str, set[bytes]]:
    """The different events of each action, by its id."""
    found = defaultdict(set)
    for records in (await watcher.read(TOUCHPOINTS.name)).values():
        for record in records:
            event = json.loads(record.value)
            if event["type"] == "cx.touchpoint.action_taken.v1":
                found[event["data"]["action_id"]].add(record.value)
    return found


def to_act_on(history: list[dict[str, Any]]) -> str | None:
    """The signal that must have been acted on, whenever the earlier ones were read: the last that is bad news."""
    if history[-1]["data"]["change"] in ("raised", "worsened"):
        return str(history[-1]["id"])
    return None


async def all_helped(watcher: Watcher, customers: int) -> bool:
    """Whether so many customers of each partition have signals, and whoever needs an action got it."""
    told, acted = await signals(watcher), await reported(watcher)
    wanted = {to_act_on(history) for history in told.values()} - {None}
    return len(told) == PARTITIONS * customers and wanted <= set(acted)


@pytest.mark.broker
@pytest.mark.timeout(290)
async def test_signals_are_acted_on_once_though_everybody_is_killed(
    settings: Settings,
    topics: Callable[[int], None],
    typescript: Path,
    tmp_path: Path,
) -> None:
    topics(PARTITIONS)
    store, group = tmp_path / "crm.sqlite", ["--group", f"{settings.worker.group}-crm"]
    first = {partition: names[:2] for partition, names in people().items()}
    async with Watcher(settings, PARTITIONS) as watcher:
        with (
            WorkerProcess(settings, tmp_path / "log", **QUICK) as worker,
            CrmProcess(command("python", TYPESCRIPT), settings, store, *group) as crm,
        ):
            await asyncio.to_thread(worker.ready)
            await write(
                settings, TOUCHPOINTS.name, {p: events(c, *BAD_DAY, wave="1") for p, c in first.items()}
            )
            await until(crm.actions, SECONDS, lambda: worker.log + crm.said)
            await asyncio.to_thread(crm.stop, signal.SIGKILL)
            await asyncio.to_thread(worker.stop, signal.SIGKILL)
            done = crm.actions()
        await write(
            settings, TOUCHPOINTS.name, {p: events(c[2:3], *BAD_DAY, wave="2") for p, c in people().items()}
        )
        with WorkerProcess(settings, tmp_path / "log", **QUICK) as worker:
            with CrmProcess(command("python", TYPESCRIPT), settings, store, *group) as crm:
                await until(lambda: all_helped(watcher, 3), SECONDS, lambda: worker.log + crm.said)
                await the_customer_shows_it(settings, watcher, worker)
                await asyncio.to_thread(crm.stop, signal.SIGKILL)
                done += crm.actions()
            await write(
                settings,
                TOUCHPOINTS.name,
                {p: events(c[3:], *BAD_DAY, wave="4") for p, c in people().items()},
            )
            # Clients whose assignors have different names are never members of one group.
            group[1] += "-typescript"
            with CrmProcess(command("typescript", typescript), settings, store, *group) as crm:
                await until(lambda: all_helped(watcher, 4), SECONDS, lambda: worker.log + crm.said)
                await asyncio.to_thread(crm.waits)
                assert await asyncio.to_thread(crm.stop) == 0
                done += crm.actions()
            assert await asyncio.to_thread(worker.stop) == 0
        acted, told = await reported(watcher), await signals(watcher)
    assert {action for action, copies in acted.items() if len(copies) > 1} == set()
    assert set(acted) <= {each["id"] for history in told.values() for each in history}
    heads = [line.partition(": ")[0] for line in done]
    assert len(heads) == len(set(heads))
    assert "partition failed" not in worker.log


async def the_customer_shows_it(settings: Settings, watcher: Watcher, worker: WorkerProcess) -> None:
    """What comes after an action is beside it."""
    name = people()[0][0]
    last = (await signals(watcher))[name][-1]["id"]
    after = [
        ("complaint_resolved", {"channel": "email", "case_id": "c", "action_id": last}),
        ("survey_csat", {"channel": "email", "score": 5, "action_id": last}),
        ("survey_nps", {"channel": "email", "score": 9}),
    ]
    await write(settings, TOUCHPOINTS.name, {0: events([name], *after, wave="3")})
    await until(watcher.all_committed, SECONDS, lambda: worker.log)
    result = await asyncio.to_thread(customer, settings, name, "--no-worker", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    counted = [each for each in found["touchpoints"] if each["kind"] == "action_taken"]
    assert len([each for each in counted if each["outcome"] == "counted"]) == len(found["actions"])
    action = found["actions"][-1]
    assert action["action_id"] == last
    assert action["answers"].startswith(("raised from ", "worsened from "))
    what = [each["what"] for each in action["after"]]
    assert [each for each in what if each.split()[0] not in ("eased", "cleared")] == [
        "complaint_resolved",
        "survey_csat 5",
        "survey_nps 9",
    ]
    assert [each for each in what if each.startswith(("eased from critical", "cleared from"))]
    shown = await asyncio.to_thread(customer, settings, name, "--no-worker")
    assert "Actions taken" in shown.output
