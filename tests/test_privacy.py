"""What is kept of customers and of secrets where nobody would look for it."""

from __future__ import annotations

import json
import logging
import traceback
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiokafka.protocol.fetch import FetchResponse_v4
from aiokafka.protocol.produce import ProduceRequest_v3
from click.testing import CliRunner

from cxstream.cli import forget
from cxstream.erasure.requests import Left
from cxstream.kafka.connection import connection
from cxstream.kafka.oauth import ClientCredentials
from cxstream.model.errors import SettingsError
from cxstream.model.kinds import FORGET_TYPE
from cxstream.model.parameters import ScoringParams
from cxstream.scoring.codec.pseudonym import Pseudonyms
from cxstream.scoring.engine import Engine, Records
from cxstream.settings import Security, Settings, load
from cxstream.topology import topology
from cxstream.worker.ownership.outbox import Outbox
from workers import touchpoint

if TYPE_CHECKING:
    from pathlib import Path

KEY = b"sixteen bytes or more"


def asks(customer: str) -> bytes:
    event = json.loads(touchpoint(customer, 1000))
    return json.dumps({**event, "type": FORGET_TYPE}).encode()


def test_a_request_about_a_stranger_takes_what_an_earlier_state_left_of_him() -> None:
    engine = Engine(ScoringParams(), {})
    engine.process(Records([touchpoint("bert", 1), asks("anna")], [0, 1]))
    assert (b"anna", None) in engine.take_cards()
    assert (b"canna", None) in engine.snapshot()


def test_a_customer_who_is_back_keeps_his_card() -> None:
    engine = Engine(ScoringParams(), {})
    engine.process(Records([asks("anna"), touchpoint("anna", 2000)], [0, 1]))
    [(customer, card)] = engine.take_cards()
    assert customer == b"anna"
    assert card is not None
    assert b"canna" in {key for key, row in engine.snapshot() if row is not None}


def test_the_own_name_of_who_was_erased_is_not_kept() -> None:
    pseudonyms = Pseudonyms(KEY)
    engine = Engine(ScoringParams(), {}, pseudonyms=pseudonyms)
    tick = json.dumps({**json.loads(asks("x")), "type": "cx.tick.v1"}).encode()
    engine.process(Records([touchpoint("anna", 1), tick, touchpoint("bert", 2), asks("anna")], range(4)))
    assert set(pseudonyms) == {"bert"}
    engine.process(Records([touchpoint("anna", 3)], [4]))
    assert set(pseudonyms) == {"bert"}, "nor is it when something comes late"


def test_keys_of_rejected_records_are_not_kept() -> None:
    class Broken:
        key, value, headers, offset = b"k" * 1000, b"{", (), 0

    pseudonyms = Pseudonyms(KEY)
    outbox = Outbox(topology(), pseudonyms)
    outbox.add_rejected(Broken(), ("cx.touchpoints", 0), "malformed", "")
    assert outbox.rows["cx.rejected"] == [(pseudonyms.of("k" * 1000).encode(), None)]
    assert not pseudonyms


def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> tuple[Any, list[str]]:
    """How `cxstream forget --from` ends with a file, and whom it asks to be erased."""
    asked: list[str] = []

    async def ask(_: Settings, customers: list[str], __: float) -> Left:
        asked.extend(customers)
        return Left(0, [])

    monkeypatch.setattr(forget, "_forget", ask)
    (tmp_path / "leavers.txt").write_bytes(content)
    arguments = ["--from", str(tmp_path / "leavers.txt")]
    return CliRunner().invoke(forget.command, arguments, obj=None), asked


def test_a_list_from_a_spreadsheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done, asked = listed(tmp_path, monkeypatch, b"\xef\xbb\xbfanna\r\n\r\nbert \r\n")
    assert done.exit_code == 0, done.output
    assert asked == ["anna", "bert"]


def test_a_list_that_is_not_utf_8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done, asked = listed(tmp_path, monkeypatch, "jürgen\n".encode("latin-1"))
    assert done.exit_code == 2
    assert "leavers.txt: not UTF-8" in done.output
    assert asked == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CXSTREAM_PRIVACY__KEY", "hunter2"),
        ("CXSTREAM_SECURITY__PASWORD", "hunter2"),
        ("CXSTREAM_SECURITY", '{"password": ["hunter2"]}'),
    ],
)
def test_no_traceback_of_wrong_settings_has_a_secret(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as wrong:
        load()
    assert "hunter2" not in "".join(traceback.format_exception(wrong.value))


def test_the_client_logs_neither_records_nor_secrets(caplog: pytest.LogCaptureFixture) -> None:
    connection(Settings())
    caplog.set_level(logging.DEBUG)
    records = b"anna wrote to us"
    fetched = FetchResponse_v4(0, [("cx.touchpoints", [(0, 0, 1, 1, [], records)])])
    produced = ProduceRequest_v3(None, -1, 1000, [("cx.scores", [(0, records)])])
    client = logging.getLogger("aiokafka.conn")
    for message in (fetched, produced):
        client.debug("Response from %s:%d %d: %s", "localhost", 9092, 1, message)
    logging.getLogger("aiokafka.producer.producer").debug(
        "Sending (key=%s value=%s) to %s", b"anna", records, "x"
    )
    client.debug("Request to %s:%d %d: %s", "localhost", 9092, 1, "what may be seen")
    assert "anna" not in caplog.text
    assert "what may be seen" in caplog.text


async def test_a_secret_for_this_computer_goes_through_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def answer(name: str, _: web.Request) -> web.Response:
        asked.append(name)
        return web.json_response({"access_token": "token", "expires_in": 60})

    async with AsyncExitStack() as stack:
        urls = {}
        for name in ("endpoint", "proxy"):
            app = web.Application()
            app.router.add_route("*", "/{tail:.*}", partial(answer, name))
            server = await stack.enter_async_context(TestServer(app))
            urls[name] = str(server.make_url("/token"))
        monkeypatch.setenv("http_proxy", urls["proxy"])
        monkeypatch.delenv("no_proxy", raising=False)
        provider = ClientCredentials(
            Security(
                protocol="SASL_SSL",
                sasl_mechanism="OAUTHBEARER",
                token_url=urls["endpoint"].replace("127.0.0.1", "localhost"),
                client_id="worker",
                client_secret="hunter2",
            )
        )
        assert await provider.token() == "token"
    assert asked == ["endpoint"]
