"""The worker's web server: two pages, on loopback, and nothing that Faust would serve besides."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import sys
import urllib.request
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from cxstream.settings import Settings, Worker
from cxstream.worker.faust.app import create_app
from cxstream.worker.web.ports import gives_way
from workers import WorkerProcess, in_process, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PAGES = {"/livez", "/readyz", "/customers/anna"}
# What Faust serves when nobody says otherwise, and with its `debug`.
FAUSTS = (
    "/",
    "/graph/",
    "/router/",
    "/router/touchpoints/",
    "/table/",
    "/table/x/",
    "/table/x/y/",
    "/assignment/",
)
FAUSTS += ("/performance/", "/performance", "/stats/", "/docs", "/debug", "/livez/x", "/agents/")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "SEARCH")
CHANGING = METHODS[2:]


async def test_no_page_but_ours_and_none_that_changes_anything() -> None:
    app = create_app(Settings())
    app.finalize()
    app.web.init_server()
    served = {(route.method, route.resource.canonical) for route in app.web.web_app.router.routes()}
    pages = {page.replace("anna", "{customer}") for page in PAGES}
    assert served == {(method, page) for page in pages for method in ("GET", "HEAD")}


@pytest.mark.parametrize("debug", ["0", "1"])
async def test_variables_of_faust_open_nothing(debug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    everywhere = {"WEB_BIND": "0.0.0.0", "WEB_HOST": "example.org", "WEB_PORT": "1", "APP_DEBUG": debug}
    for name, value in {
        **everywhere,
        "BROKER_URL": "kafka://elsewhere:9092",
        "WEB_CORS_OPTIONS": "{}",
    }.items():
        monkeypatch.setenv(name, value)
    conf = create_app(Settings()).conf
    assert (conf.web_bind, conf.web_host, conf.web_port, conf.debug) == (
        "127.0.0.1",
        "127.0.0.1",
        6066,
        False,
    )
    assert [url.scheme for url in conf.broker] == ["cxstream"]
    assert not conf.web_cors_options


@pytest.mark.broker
async def test_every_other_request_is_refused(
    settings: Settings, topics: Callable[[int], None], tmp_path: Path
) -> None:
    topics(1)
    with WorkerProcess(settings, tmp_path / "log", APP_DEBUG="1", WEB_BIND="0.0.0.0") as worker:
        address = (await asyncio.to_thread(worker.ready)).rpartition(" ")[2]
        async with aiohttp.ClientSession() as session:

            async def status(method: str, path: str) -> int:
                async with session.request(method, address + path) as answer:
                    return answer.status

            # Without a token nobody is told of customers through the port, the computer's own programs included.
            assert [await status("GET", page) for page in sorted(PAGES)] == [403, 200, 200]
            assert {await status(method, page) for page in PAGES for method in CHANGING} == {405}
            assert {await status(method, path) for path in FAUSTS for method in METHODS} == {404}
        port = int(address.rpartition(":")[2])
        # Nobody listens on the other addresses of this computer.
        for other in other_addresses():
            with pytest.raises(OSError, match="refused"), socket.create_connection((other, port), timeout=5):
                pass
        assert worker.stop() == 0, worker.log


def other_addresses() -> list[str]:
    """This computer's addresses that are not loopback, as far as its name leads to them; and one that always is there."""
    found = {str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    return sorted({"127.0.0.2", *found} - {"127.0.0.1"})


@pytest.mark.broker
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere 127.0.0.3 is no address of this computer")
async def test_the_address_is_what_is_asked_for(settings: Settings, topics: Callable[[int], None]) -> None:
    topics(1)
    chosen = settings.model_copy(
        update={"worker": Worker(group="elsewhere", web_host="127.0.0.3", web_port=0)}
    )
    app = create_app(chosen)
    async with in_process(app):

        async def answers() -> bool:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.3", app.conf.web_port)
            except OSError:
                return False
            writer.close()
            return reader is not None

        await until(answers, 60, lambda: "no answer")
        with pytest.raises(OSError, match=r"refused|Connect call failed"):
            await asyncio.open_connection("127.0.0.1", app.conf.web_port)


@pytest.mark.broker
async def test_default_ports_that_are_in_use_give_way(
    settings: Settings, topics: Callable[[int], None]
) -> None:
    topics(1)
    defaults = Worker(group="second")
    app = create_app(settings.model_copy(update={"worker": defaults}))
    with contextlib.ExitStack() as taken:
        for port in (defaults.web_port, defaults.metrics_port):
            with contextlib.suppress(OSError):  # somebody else has it: just as well
                taken.enter_context(socket.create_server(("127.0.0.1", port)))
        async with in_process(app):
            assert app.exporter

            async def answers() -> bool:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", app.web.port)
                except OSError:
                    return False
                writer.close()
                return app.web.port != defaults.web_port

            await until(answers, 60, lambda: "no answer")
            address = app.exporter.address
            assert app.exporter.port not in {0, defaults.metrics_port}

            async def measures() -> bool:
                return "cxstream_events_total" in await asyncio.to_thread(_metrics, address)

            await until(measures, 60, lambda: "no metrics")


@pytest.mark.parametrize("setting", ["web_port", "metrics_port"])
def test_a_port_that_was_chosen_does_not_give_way(setting: Any) -> None:
    in_use, other = OSError(errno.EADDRINUSE, "in use"), OSError(errno.EACCES, "no")
    assert gives_way(Worker(group="g"), setting, in_use)
    assert not gives_way(Worker(group="g"), setting, other)
    assert not gives_way(Worker(**{"group": "g", setting: 1234}), setting, in_use)
    assert gives_way(Worker(**{"group": "g", setting: 0}), setting, in_use)


def _metrics(address: str) -> str:
    """One metric alone, as ?name[]= asks."""
    with urllib.request.urlopen(f"{address}?name[]=cxstream_events_total", timeout=60) as answer:
        text: str = answer.read().decode()
    assert "cxstream_rejected_total" not in text
    return text
