"""The demo as a user has it: signals come, it ends when asked, and nothing of it stays."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
from playwright.async_api import async_playwright
from rich.console import Console

from cxstream.demo.board import Board, Line
from cxstream.demo.view import Plain, Screen, customer, table
from cxstream.model.outputs import (
    Cause,
    ChurnRisk,
    ChurnRiskSignal,
    ErasedCustomer,
    ErasedSignal,
    Friction,
    FrictionSignal,
    Reason,
    read_signal,
)
from cxstream.model.work import CONSOLE
from workers import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PROC = Path("/proc")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
# A browser, a worker and a broker share two cores with other tests.
PATIENCE_MS = 240_000
WHY = (
    "from 39% for a typical customer; 3 contacts about 'invoice' in 7 days (up to 72%); "
    "satisfaction 90 of 100 (down to 61%)"
)


def churn_risk(subject: str = "c-1", change: str = "raised", level: str = "high") -> ChurnRiskSignal:
    reasons = [
        Reason("effort", 0.9, 1.4, "3 contacts about 'invoice' in 7 days"),
        Reason("dissatisfaction", 0.1, -0.5, "satisfaction 90 of 100"),
    ]
    data = ChurnRisk(
        *(change, level, "none", 0.613, 90.0, 20.0, 40.0, 20.0, reasons, None, "call_back", "default"),
        Cause("cx.touchpoints", 0, 7),
    )
    return ChurnRiskSignal(id="1", subject=subject, time="2026-02-03T04:05:06.789Z", data=data)


def friction() -> FrictionSignal:
    data = Friction(9.24, "call", "service desk", "14 min waited", Cause("cx.touchpoints", 0, 8))
    return FrictionSignal(id="2", subject="c-2", time="2026-02-03T04:06:00.000Z", data=data)


class TestBoard:
    def test_it_counts_signals_and_knows_the_levels(self) -> None:
        board = Board()
        for each in (churn_risk("c-1"), churn_risk("c-2"), churn_risk("c-1", "cleared", "none"), friction()):
            board.signal(each)
        assert board.signals == {"raised to high": 2, "cleared to none": 1, "friction": 1}
        assert board.by_level() == {"elevated": 0, "high": 1, "critical": 0}
        assert [line.subject for line in board.newest] == ["c-2", "c-1", "c-2", "c-1"]

    def test_who_was_erased_is_on_no_list_and_has_no_scores(self) -> None:
        board = Board()
        board.signal(churn_risk("c-1"))
        data = ErasedCustomer("erased", "none", "high", Cause("cx.touchpoints", 0, 9))
        raw = msgspec.json.encode(ErasedSignal(id="3", subject="c-1", time="2026-02-03T04:07:00Z", data=data))
        line = board.signal(read_signal(raw))
        assert (line.what, line.level, line.action) == ("erased", "none", "")
        assert board.levels == {}
        assert board.signals == {"raised to high": 1, "erased": 1}
        for each in (churn_risk(), friction()):
            assert read_signal(msgspec.json.encode(each)) == each

    def test_a_line_says_what_why_and_what_to_do(self) -> None:
        line = Board().signal(churn_risk())
        assert (line.time, line.what, line.action) == (
            "2026-02-03 04:05",
            "raised to high (61%)",
            "call_back",
        )
        assert line.why == WHY
        assert Board().signal(friction()).what == "friction 9.2 (call, service desk)"

    def test_rates_are_those_of_the_last_seconds(self) -> None:
        board = Board()
        assert board.rates(10.0) == (0.0, 0.0)
        for second in range(1, 21):
            board.sent += 100 if second <= 10 else 20
            board.done += 10
            rates = board.rates(10.0 + second)
        assert rates == (20.0, 10.0)

    def test_delays(self) -> None:
        board = Board()
        assert board.delay() is None
        board.delays += [index / 100 for index in range(101)]
        assert board.delay() == (0.5, 0.95)


class TestView:
    @pytest.fixture(autouse=True)
    def terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TERM", "xterm")

    def test_a_screen_shows_numbers_and_signals(self) -> None:
        board, out = Board(sent=1234, done=1200), io.StringIO()
        with Screen(board, Console(file=out, force_terminal=True, width=150)) as screen:
            board.rejected["invalid"] += 3
            screen.tell(board.signal(churn_risk()))
            screen.note("2,000 customers")
        shown = out.getvalue()
        for part in (
            "1,234 touchpoints",
            "1,197 scored",
            "3 rejected",
            "1 high",
            "raised to high",
            "'invoice'",
            "2,000",
        ):
            assert part in shown

    def test_a_screen_says_for_how_long_it_waits(self) -> None:
        now = [0.0]
        console = Console(file=io.StringIO(), force_terminal=True, width=100, height=20)
        with Screen(Board(), console, lambda: now[0]) as screen:
            for note, seconds, shown in (
                ("compiling ...", 1.0, "compiling ... ─"),
                ("compiling ...", 73.0, "compiling ... 73 s"),
                ("starting ...", 0.0, "starting ... ─"),
                ("2,000 customers", 90.0, "2,000 customers ─"),
            ):
                now[0] += seconds
                screen.note(note)
                lines = console.render_lines(screen.render(), pad=False)
                text = "".join(segment.text for line in lines for segment in line)
                assert shown in text

    def test_a_suggested_action_is_wrapped_between_words(self) -> None:
        line = Line(
            "2026-02-03 04:05", "c-000001", "raised to high (61%)", "high", WHY, "call_back_with_owner"
        )
        console = Console(file=io.StringIO(), force_terminal=True, width=100)
        lines = console.render_lines(table([line]), pad=False)
        words = "".join(segment.text for line in lines for segment in line).split()
        assert {"call", "back", "with", "owner"} <= set(words)

    def test_the_customer_to_look_at_is_the_latest_at_the_highest_level(self) -> None:
        board = Board(kafka="localhost:5")
        seen = []
        for each in (
            friction(),
            churn_risk("c-1", level="elevated"),
            churn_risk("c-3", level="critical"),
            churn_risk("c-4"),
            friction(),
            churn_risk("c-5", "worsened", "critical"),
        ):
            board.signal(each)
            seen.append(board.example)
        assert seen == ["c-2", "c-1", "c-3", "c-3", "c-3", "c-5"]

    @pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 40), (200, 70)])
    def test_a_screen_fills_the_terminal_and_cuts_nothing_off(self, width: int, height: int) -> None:
        board = Board(sent=1234, kafka="localhost:54321", metrics="http://127.0.0.1:5432/metrics")
        console = Console(file=io.StringIO(), force_terminal=True, width=width, height=height)
        screen = Screen(board, console)
        signal = churn_risk()
        evidence = [f"{n} contacts about 'a rather long topic' in 7 days, {n} min waited" for n in range(3)]
        reasons = [Reason("effort", 0.9, 1.4, each) for each in evidence]
        signal.data.reasons[:] = reasons
        for _ in range(100):
            board.signal(signal)
        lines = console.render_lines(screen.render(), pad=False)
        shown = "".join(segment.text for line in lines for segment in line)
        # The words of a cell that is wrapped stand between those of others.
        assert all(shown.count(word) % 3 == 0 for word in ("rather", "waited"))
        assert shown.count("rather") >= 3
        assert "…" not in shown
        assert len(lines) <= height
        assert len(lines) >= height - 8

    def test_plain_lines_are_never_wrapped(self) -> None:
        board, out = Board(), io.StringIO()
        with Plain(board, Console(file=out, width=20)) as plain:
            plain.tell(board.signal(churn_risk()))
        assert out.getvalue() == (f"2026-02-03 04:05  c-1  raised to high (61%): {WHY} -> call_back\n")

    def test_plain_lines_say_once_that_nothing_changes_and_now_and_then_for_how_long(self) -> None:
        seconds = iter(range(1000))
        board, out = Board(), io.StringIO()
        plain = Plain(board, Console(file=out), lambda: float(next(seconds)))
        plain.note("compiling the kernels ...")
        plain.note("compiling the kernels ...")
        for _ in range(62):
            plain.refresh()
        assert out.getvalue().splitlines() == [
            "compiling the kernels ...",
            "-- 30 s: compiling the kernels ...",
            "-- 60 s: compiling the kernels ...",
        ]
        board.sent = 10
        for _ in range(8):
            plain.refresh()
        lines = out.getvalue().splitlines()[3:]
        assert len(lines) == 1
        assert lines[0].startswith("-- 10 touchpoints sent")

    @pytest.mark.parametrize("on_path", [True, False])
    def test_commands_to_try_can_be_typed_as_they_are_shown(
        self, on_path: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program = tmp_path / "cxstream"
        program.touch(0o755)
        monkeypatch.setattr(sys, "argv", [str(program), "demo"])
        monkeypatch.setenv("PATH", str(tmp_path if on_path else tmp_path / "elsewhere"))
        board = Board(kafka="localhost:5")
        board.signal(churn_risk())
        typed = "cxstream" if on_path else program
        assert customer(board) == f"{typed} customer c-1 --kafka localhost:5"


class Demo:
    """A running `cxstream demo` whose temporary files, and so whose processes, can be told from all others."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self.process = process
        self.folder = folder
        assert process.stdout
        self.stdout = process.stdout

    async def until(self, part: str) -> str:
        """Read lines until one contains the part; returns it."""
        while part not in (line := (await self.stdout.readline()).decode()):
            assert line, f"ended before it said {part!r}"
        return line

    async def drain(self) -> None:
        """Read what it has said, so that it can say more."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                while await self.stdout.readline():
                    pass

    async def end(self) -> tuple[str, str]:
        said, complained = await self.process.communicate()
        return said.decode(), complained.decode()

    def processes(self) -> dict[int, str]:
        """The processes of the demo that run now, with their command lines."""
        mine = f"TMPDIR={self.folder}".encode()
        found = {}
        for pid in (int(each.name) for each in PROC.iterdir() if each.name.isdigit()):
            with contextlib.suppress(OSError):
                if mine in (PROC / str(pid) / "environ").read_bytes().split(b"\0"):
                    found[pid] = (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return found

    def leaves_nothing(self) -> bool:
        return not self.processes() and not list(self.folder.iterdir())


@contextlib.asynccontextmanager
async def demo(folder: Path, *arguments: str) -> AsyncIterator[Demo]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "cxstream", "demo", "--customers", "400", "--history", "10", "--rate", "200", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(folder), "CXSTREAM_SECURITY__PROTOCOL": "SSL"},
    )
    try:
        yield Demo(process, folder)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _shows_customers(running: Demo, address: str, name: str, password: str) -> None:
    """Wait until the queue of the console has somebody."""
    async with httpx.AsyncClient(base_url=address) as client:
        assert (await client.get("/queue")).status_code == 303
        form = {"name": name, "password": password}
        answer = await client.post("/sign-in", data=form, headers={"sec-fetch-site": "same-origin"})
        assert answer.status_code == 303

        async def filled() -> bool:
            await running.drain()
            found = await client.get("/api/v1/queue")
            return found.status_code == 200 and bool(found.json()["customers"])

        await until(filled, 120.0, lambda: "nobody is in the queue")


@contextlib.asynccontextmanager
async def listened_to(running: Demo) -> AsyncIterator[None]:
    """Read what the demo says meanwhile, so that it can go on."""

    async def listen() -> None:
        while True:
            await running.drain()

    listening = asyncio.create_task(listen())
    try:
        yield
    finally:
        listening.cancel()


async def _signed_in(browser: Any, address: str, where: str, language: str, *who: str) -> Any:
    """A page of a browser of its own, for somebody who has signed in there."""
    context = await browser.new_context(locale=language, viewport={"width": 1280, "height": 900})
    page = await context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    await page.goto(address + where)
    for name, value in zip(("name", "password"), who, strict=True):
        await page.locator(f"input[name={name}]").fill(value)
    await page.locator("form[action='/sign-in'] button").click()
    await page.wait_for_url(f"**{where}*")
    # It can be told, if it was not reloaded, that it is the same page.
    await page.evaluate("window.same = true")
    return page


async def _acts_and_sees_it_come_back(address: str, *who: str) -> None:
    """Press in the queue, and see on a page that was open before what the worker made of it, then erase the customer."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        queue = await _signed_in(browser, address, "/queue", "en-GB", *who)
        customer = await queue.locator(".qrow[aria-current] a").inner_text()
        page = await _signed_in(browser, address, f"/customers/{customer}", "pl-PL", *who)
        sources = page.locator("dl.kv > dt:text-is('Źródła') + dd")
        assert CONSOLE not in await sources.inner_text()
        # The queue may show somebody else first in the meantime.
        await queue.goto(f"{address}/queue?customer={customer}")
        done = queue.get_by_label("What was done")

        async def menu_is_open() -> bool:
            # The key does nothing while the page that is shown offers no action, as where the customer just left the queue.
            await queue.keyboard.press("x")
            return bool(await done.is_visible())

        await until(menu_is_open, 120.0, lambda: "the menu of actions does not open")
        await done.select_option("call_back")
        await queue.get_by_role("button", name="Record the action").click()
        # By Kafka, the worker and the read model: only what is scored has a source there.
        await sources.filter(has_text=CONSOLE).wait_for()
        first = page.locator("section[aria-labelledby=h-done] tbody tr").first
        assert "Oddzwonić" in await first.inner_text()
        await page.get_by_text("wysłane, jeszcze nie w danych").wait_for(state="detached")
        assert await page.evaluate("window.same") is True
        # An erasure is asked for by typing the id, and the page empties once the worker has done it.
        erasing = queue.locator("form[action='/erase']")
        await queue.goto(f"{address}/customers/{customer}")
        await queue.get_by_text("Erase this customer").click()
        await erasing.locator("input[name=typed]").fill(customer)
        await erasing.locator("button").click()
        for each, said in ((queue, "This customer was erased"), (page, "Dane tego klienta usunięto")):
            await each.get_by_role("heading", name=said).wait_for()
        assert await page.evaluate("window.same") is True
        await browser.close()


@pytest.mark.broker
@pytest.mark.skipif(not PROC.is_dir(), reason="looks for leftovers in /proc")
class TestWhole:
    async def test_signals_come_and_it_ends_by_itself(self, tmp_path: Path) -> None:
        async with demo(tmp_path, "--no-console", "--for", "2") as running:
            said, complained = await running.end()
        assert running.process.returncode == 0, complained
        lines = said.splitlines()
        assert [line for line in lines if "  raised to " in line]
        counts = re.search(
            r"^([\d,]+) touchpoints sent: ([\d,]+) scored, ([\d,]+) rejected, ([\d,]+) duplicates$",
            said,
            re.MULTILINE,
        )
        assert counts
        sent, scored, rejected, duplicates = (int(number.replace(",", "")) for number in counts.groups())
        assert sent == scored + rejected + duplicates
        assert scored > 1_000
        assert rejected
        assert duplicates
        summary = {line.split(":")[0]: line for line in lines}
        assert "friction" in summary["signals"]
        # Which of the reasons come up in so short a run is chance; the counts are those of the records.
        assert re.fullmatch(
            r"rejected: (\d+ (malformed|invalid|from_the_future|too_late)(, )?)+", summary["rejected"]
        )
        assert running.leaves_nothing()

    @pytest.mark.timeout(900)
    async def test_ctrl_c_ends_it_in_good_order(self, tmp_path: Path) -> None:
        async with demo(tmp_path, "--console") as running:
            line = await running.until("console: ")
            found = re.fullmatch(r"console: (http://127\.0\.0\.1:\d+)/  name (\w+), password (\S+)\n", line)
            assert found
            await running.until("  raised to ")
            await _shows_customers(running, *found.groups())
            if CHROMIUM is not None:
                async with listened_to(running):
                    await _acts_and_sees_it_come_back(*found.groups())
            running.process.send_signal(signal.SIGINT)
            said, complained = await running.end()
        assert running.process.returncode == 130, complained
        assert "\nsignals: " in said
        assert complained == ""
        assert running.leaves_nothing()

    async def test_a_worker_that_dies_ends_it_with_the_reason(self, tmp_path: Path) -> None:
        async with demo(tmp_path, "--no-console") as running:
            await running.until("  raised to ")
            [worker] = [
                pid
                for pid, command in running.processes().items()
                if " worker --no-ticker " in command and "guard.py" not in command
            ]
            os.kill(worker, signal.SIGKILL)
            _, complained = await running.end()
        assert running.process.returncode == 1
        assert "cxstream: the worker ended; its last lines:" in complained
        assert "Traceback" not in complained
        assert running.leaves_nothing()
