"""A connection opens, closes or is lost, and leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from charge_point_fixtures import NOT_REGISTERED, data_transfer, gateway_aborts, gateway_closes, round_trips, spawn
from conftest import MS, SOON, cpsim_tasks, open_sockets, until
from csms_stub import (
    Behaviour,
    Csms,
    Link,
    abort,
    answer,
    close,
    error,
    garbage,
    held,
    raw_server,
    silent,
)
from websockets.asyncio.server import ServerConnection, serve

from cpsim_kit.charge_point import Transport
from cpsim_kit.charge_point.charge_point import ChargePoint
from cpsim_kit.charge_point.opening import open_websocket
from cpsim_kit.errors import (
    CallTimeout,
    Closed,
    ConnectError,
    ConnectionLost,
    CpsimError,
    LocalStackError,
    NotRegistered,
    WaitTimeout,
)

pytestmark = pytest.mark.usefixtures("no_hang")


async def test_awaiting_again_while_open_is_the_same_connection(csms: Csms, cp: ChargePoint) -> None:
    assert await cp is cp
    async with cp:
        await cp.heartbeat()
    assert len(csms.links) == 1


async def test_awaiting_many_times_at_once_opens_one_connection(csms: Csms) -> None:
    cp = ChargePoint("CP1", csms.url)
    await asyncio.gather(*(cp.connect() for _ in range(5)))
    await cp.heartbeat()
    assert len(csms.links) == 1
    await cp.close()


async def test_it_can_be_opened_again_after_close(csms: Csms, cp: ChargePoint) -> None:
    await cp.close()
    await cp
    assert cp.is_open
    assert cp.closed is None
    await cp.heartbeat()
    assert len(csms.links) == 2


async def test_it_can_be_opened_again_after_the_gateway_closed(csms: Csms, cp: ChargePoint) -> None:
    await csms.link.ws.close(1012)
    await cp.wait_closed(SOON)
    await cp
    await cp.heartbeat()
    assert len(csms.links) == 2


async def test_awaiting_while_it_closes_opens_it_again(csms: Csms, cp: ChargePoint) -> None:
    closing = spawn(cp.close())
    await asyncio.sleep(0)
    await cp
    await closing
    assert cp.is_open
    await cp.heartbeat()
    assert len(csms.links) == 2


async def test_closing_while_it_opens_leaves_it_closed(csms: Csms) -> None:
    cp = ChargePoint("CP1", csms.url)
    opening = spawn(cp.connect())
    await asyncio.sleep(0)
    await cp.close()
    await opening
    assert not cp.is_open


async def test_closing_twice_is_harmless(cp: ChargePoint) -> None:
    await asyncio.gather(cp.close(code=1001), cp.close(code=1002))
    await cp.close(code=1003)
    assert cp.closed == Closed(1001, "", "charge point")


async def test_closing_what_never_opened_is_harmless(csms: Csms) -> None:
    cp = ChargePoint("CP1", csms.url)
    await cp.close()
    assert repr(cp) == "<ChargePoint CP1 new ocpp2.0.1>"


async def test_close_sends_code_and_reason(csms: Csms, cp: ChargePoint) -> None:
    await cp.close(code=3001, reason="tired")
    assert cp.closed == Closed(3001, "tired", "charge point")
    await until(lambda: csms.link.ws.close_code == 3001)
    assert csms.link.ws.close_reason == "tired"


@pytest.mark.parametrize(("code", "reason"), [(99, ""), (1006, ""), (1000, "x" * 200)])
async def test_a_close_frame_that_rfc_6455_forbids_is_refused_and_the_connection_stays(
    cp: ChargePoint, code: int, reason: str
) -> None:
    with pytest.raises(ValueError, match="close"):
        await cp.close(code=code, reason=reason)
    await cp.heartbeat()


async def test_close_does_not_wait_for_ever_for_the_other_side(csms: Csms) -> None:
    cp = await ChargePoint("CP1", csms.url, close_timeout=20 * MS)
    csms.link.stop_reading()
    await cp.close()
    assert cp.closed == Closed(1000, "", "charge point")


async def test_close_does_not_wait_for_ever_behind_a_full_buffer(csms: Csms) -> None:
    cp = await ChargePoint("CP1", csms.url, ping_interval=None, close_timeout=20 * MS)
    csms.link.stop_reading()
    sending = spawn(cp.call(data_transfer("x" * 20_000_000)))
    await until(lambda: len(cp.messages) == 1)
    await cp.close()
    with pytest.raises(ConnectionLost):
        await sending


async def test_wait_closed_returns_how_it_ended(csms: Csms, cp: ChargePoint) -> None:
    waiting = spawn(cp.wait_closed(SOON))
    await csms.link.ws.close(4000, "enough")
    assert await waiting == Closed(4000, "enough", "gateway")
    assert await cp.wait_closed(0) == Closed(4000, "enough", "gateway")


async def test_wait_closed_has_a_timeout(cp: ChargePoint) -> None:
    with pytest.raises(WaitTimeout, match="CP1 to be closed") as caught:
        await cp.wait_closed(10 * MS)
    assert caught.value.last_seen is cp
    assert isinstance(caught.value, TimeoutError)
    await cp.heartbeat()


async def gateway_sends_an_empty_close_frame(cp: ChargePoint, link: Link) -> None:
    link.ws.transport.write(b"\x88\x00")


async def gateway_shuts_its_side(cp: ChargePoint, link: Link) -> None:
    link.ws.transport.write_eof()


async def gateway_goes_silent(cp: ChargePoint, link: Link) -> None:
    link.stop_reading()
    cp.ping_interval = 20 * MS


async def gateway_breaks_rfc_6455(cp: ChargePoint, link: Link) -> None:
    link.ws.transport.write(b"\xff\xff\xff\xff")


async def gateway_closes_with_a_reason_that_is_not_utf_8(cp: ChargePoint, link: Link) -> None:
    link.ws.transport.write(b"\x88\x04\x03\xe8\xff\xfe")


async def charge_point_closes(cp: ChargePoint, link: Link) -> None:
    await cp.close(code=1001, reason="going home")


ENDS = [
    (gateway_closes(1000, ""), Closed(1000, "", "gateway"), "Another connection with the same id"),
    (gateway_closes(1011, "oops"), Closed(1011, "oops", "gateway"), "connection lost, code 1011: oops"),
    (gateway_closes(1008, "no"), Closed(1008, "no", "gateway"), "connection lost, code 1008: no"),
    (gateway_closes(4321, "x"), Closed(4321, "x", "gateway"), "connection lost, code 4321: x"),
    (gateway_sends_an_empty_close_frame, Closed(1005, "", "gateway"), "connection lost, code 1005"),
    (gateway_aborts, Closed(1006, "", "network"), "No close frame came"),
    (gateway_shuts_its_side, Closed(1006, "", "network"), "No close frame came"),
    (gateway_goes_silent, Closed(1011, "keepalive ping timeout", "network"), "keepalive ping timeout"),
    (gateway_breaks_rfc_6455, Closed(1002, "invalid opcode", "network"), "connection lost, code 1002"),
    (
        gateway_closes_with_a_reason_that_is_not_utf_8,
        Closed(1007, "invalid start byte at position 0", "network"),
        "connection lost, code 1007",
    ),
    (charge_point_closes, Closed(1001, "going home", "charge point"), "was closed here"),
]


@pytest.mark.parametrize(
    ("end", "closed", "message"), ENDS, ids=[getattr(end, "__name__", "") + str(closed.code) for end, closed, _ in ENDS]
)
async def test_waiting_and_queued_calls_fail_when_the_connection_ends(
    csms: Csms, end: Any, closed: Closed, message: str
) -> None:
    csms.on["*"] = silent
    options = {"ping_timeout": 20 * MS, "close_timeout": 20 * MS, "call_timeout": 100 * SOON}
    async with ChargePoint("CP1", csms.url, ping_interval=None, **options) as cp:
        calls = [spawn(cp.heartbeat()) for _ in range(5)]
        await until(lambda: csms.calls)
        await end(cp, csms.link)
        for number, result in enumerate(await asyncio.gather(*calls, return_exceptions=True)):
            assert type(result) is ConnectionLost, number
            assert result.closed == closed
            assert message in str(result)
            assert str(result).startswith("CP1: ")
        assert await cp.wait_closed(SOON) == closed
        assert cp.closed == closed
        with pytest.raises(ConnectionLost):
            await cp.heartbeat()
    assert len(csms.calls) == 1


async def test_a_missed_keepalive_is_not_blamed_on_the_gateways_inside(csms: Csms) -> None:
    async with ChargePoint("CP1", csms.url, close_timeout=MS, ping_interval=10 * MS, ping_timeout=10 * MS) as cp:
        csms.link.stop_reading()
        await cp.wait_closed(SOON)
        with pytest.raises(ConnectionLost) as caught:
            await cp.heartbeat()
    assert "failed inside" not in str(caught.value)


async def test_what_explains_a_broken_connection_is_in_the_error(csms: Csms) -> None:
    why = ConnectError("the stack has died", url="ws://")
    async with ChargePoint("CP1", csms.url, explain=lambda: why) as cp:
        csms.once.append(abort)
        with pytest.raises(ConnectionLost, match="CP1: connection lost: the stack has died") as caught:
            await cp.heartbeat()
        assert caught.value.closed == Closed(1006, "", "network")
        await cp.connect()
        assert await cp.heartbeat()


async def test_a_connection_lost_twice_is_explained_by_its_own_reason(csms: Csms) -> None:
    reasons = iter([LocalStackError("the first"), None, LocalStackError("the third")])
    cp = ChargePoint("CP1", csms.url, explain=lambda: next(reasons))
    for expected in ("the first", "No close frame came", "the third"):
        csms.once.append(abort)
        await cp
        with pytest.raises(ConnectionLost, match=expected) as caught:
            await cp.heartbeat()
        assert (caught.value.__cause__ is None) == (expected == "No close frame came")


async def test_an_explanation_that_fails_changes_nothing(csms: Csms, caplog: pytest.LogCaptureFixture) -> None:
    def explain() -> None:
        raise ZeroDivisionError

    async with ChargePoint("CP1", csms.url, explain=explain) as cp:
        csms.once.append(abort)
        with pytest.raises(ConnectionLost, match="No close frame came"):
            await cp.heartbeat()
    assert "why the connection was lost is not known" in caplog.text


@pytest.mark.parametrize("end", [gateway_closes(1011, ""), charge_point_closes], ids=["by the gateway", "here"])
async def test_a_connection_that_ends_with_a_close_frame_needs_no_explanation(csms: Csms, end: Any) -> None:
    asked = []
    async with ChargePoint("CP1", csms.url, explain=lambda: asked.append(True)) as cp:
        await end(cp, csms.link)
        await cp.wait_closed(SOON)
    assert asked == []


async def test_a_charge_point_without_a_thing_is_told_how_to_create_it() -> None:
    async with Csms(refuse=(1008, NOT_REGISTERED)) as csms, ChargePoint("CP1", csms.url) as cp:
        with pytest.raises(NotRegistered) as caught:
            await cp.boot()
    assert caught.value.charge_point_id == "CP1"
    assert caught.value.closed == Closed(1008, NOT_REGISTERED, "gateway")
    assert f"the gateway closed with 1008: {NOT_REGISTERED}." in str(caught.value)
    assert 'await stack.things.create("CP1")' in str(caught.value)
    assert (
        f"received 1008 (policy violation) {NOT_REGISTERED}; then sent 1008 (policy violation) {NOT_REGISTERED}"
        == str(caught.value.closed)
    )


async def test_queued_calls_fail_even_when_it_is_opened_again_at_once(csms: Csms, cp: ChargePoint) -> None:
    csms.once.append(held)
    calls = [spawn(cp.call(data_transfer(number))) for number in range(300)]
    await until(lambda: csms.held)
    csms.link.abort()
    await cp.wait_closed(SOON)
    await cp
    await cp.heartbeat()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(result) for result in results} == {ConnectionLost}
    assert csms.actions == ["DataTransfer", "Heartbeat"]
    assert csms.overlaps == 0


async def test_an_answer_that_was_late_for_its_connection_is_ignored_on_the_next(csms: Csms, cp: ChargePoint) -> None:
    csms.once.append(held)
    lost = spawn(cp.heartbeat())
    await until(lambda: csms.held)
    csms.link.abort()
    with pytest.raises(ConnectionLost):
        await lost
    await cp
    await csms.link.answer(csms.calls[0])
    await round_trips(cp)
    assert cp.ignored == {"late": 1}


FAULTS: dict[str, Behaviour] = {
    "silent": silent,
    "close 1000": close(),
    "close 1008": close(1008, NOT_REGISTERED),
    "close 1011": close(1011),
    "abort": abort,
    "no JSON": garbage("no JSON"),
    "invalid UTF-8": garbage(b"\xff"),
    "CALLERROR": error("GenericError", "", {}),
    "bad schema": answer({"currentTime": 5}),
    "bad time": answer({"currentTime": "now"}),
    "error result": answer({"error": "Command [Heartbeat] not implemented."}),
    "a frame too large": garbage('"' + "x" * (2**20 + 1) + '"'),
    "bytes that are no frame": lambda link, asked: asyncio.sleep(0, link.ws.transport.write(b"\xff" * 100)),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_whatever_goes_wrong_is_an_error_of_the_kit(csms: Csms, fault: Behaviour) -> None:
    csms.on["Heartbeat"] = fault
    async with ChargePoint("CP1", csms.url, call_timeout=50 * MS, close_timeout=50 * MS) as cp:
        with pytest.raises(CpsimError, match=r"^CP1: "):
            await cp.heartbeat()


async def test_compression_is_off_unless_asked_for(csms: Csms, cp: ChargePoint) -> None:
    assert "Sec-WebSocket-Extensions" not in csms.requests[0].headers
    async with ChargePoint("CP1", csms.url, compression="deflate") as compressed:
        await compressed.call(data_transfer("x" * 10_000))
        assert "permessage-deflate" in csms.requests[1].headers["Sec-WebSocket-Extensions"]
        assert csms.link.ws.protocol.extensions


async def test_keepalive_keeps_an_idle_connection_that_answers(csms: Csms) -> None:
    async with ChargePoint("CP1", csms.url, ping_interval=5 * MS, ping_timeout=SOON) as cp:
        with pytest.raises(WaitTimeout):
            await cp.wait_closed(100 * MS)
        await cp.heartbeat()


async def test_without_keepalive_a_silent_gateway_is_not_noticed(csms: Csms) -> None:
    async with ChargePoint("CP1", csms.url, ping_interval=None, close_timeout=20 * MS) as cp:
        csms.link.stop_reading()
        with pytest.raises(WaitTimeout):
            await cp.wait_closed(50 * MS)


@pytest.mark.parametrize(("code", "reason"), [("1000", ""), (1000, None), (1000, b"why"), (None, "")])
async def test_a_close_code_or_reason_of_a_wrong_type_is_refused_and_the_connection_stays(
    cp: ChargePoint, code: Any, reason: Any
) -> None:
    with pytest.raises(TypeError, match="a close frame carries a number and a string"):
        await cp.close(code=code, reason=reason)
    await cp.heartbeat()


@pytest.mark.parametrize("subprotocols", [[], ["ocpp1.6", "ocpp2.0"]])
async def test_no_common_subprotocol_is_a_connect_error_that_says_what_to_choose(subprotocols: list[str]) -> None:
    async with Csms(subprotocols=subprotocols) as csms:
        cp = ChargePoint("CP1", csms.url)
        with pytest.raises(ConnectError, match=r'does not speak ocpp2\.0\.1 .* choose version="1\.6"') as caught:
            await cp
        assert caught.value.url == csms.url + "/CP1"
        assert not cp.is_open


class OneVersion(Csms):
    """A CSMS that ignores which subprotocols are offered, and names its own. RFC 6455, 4.2.2 forbids that."""

    def _select_subprotocol(self, ws: Any, offered: Any) -> Any:
        return self._subprotocols[0]


@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize(
    ("version", "answered", "hint"),
    [
        ("2.0.1", "ocpp1.6", "'ocpp1.6': choose version=\"1.6\""),
        ("1.6", "ocpp2.0.1", "'ocpp2.0.1': choose version=\"2.0.1\""),
        ("2.0.1", "ocpp2.1", "'ocpp2.1': choose version=\"2.1\""),
        ("2.0.1", "ocpp2.0", "'ocpp2.0'. The AWS OCPP Gateway lists ocpp1.6"),
        ("2.0.1", "mqtt", "'mqtt'. The AWS OCPP Gateway lists ocpp1.6"),
    ],
)
async def test_another_subprotocol_than_offered_is_a_connect_error_that_says_what_to_choose(
    version: str, answered: str, hint: str, compression: str | None
) -> None:
    async with OneVersion(subprotocols=[answered]) as csms:
        cp = ChargePoint("CP1", csms.url, version=version, compression=compression)
        with pytest.raises(ConnectError) as caught:
            await cp
    message = f"CP1: {csms.url}/CP1 does not speak ocpp{version} (OCPP {version}), it answers with the subprotocol "
    assert str(caught.value).startswith(message + hint)
    assert (caught.value.url, caught.value.status, cp.is_open) == (cp.url, None, False)


async def test_the_socket_goes_when_no_subprotocol_is_shared() -> None:
    """A CSMS may leave the connection open without a common subprotocol; the charge point closes it."""
    closed = asyncio.Event()

    async def serve_one(ws: ServerConnection) -> None:
        await ws.wait_closed()
        closed.set()

    async with serve(serve_one, "127.0.0.1", 0, select_subprotocol=lambda *_: None) as server:
        before = open_sockets()
        with pytest.raises(ConnectError, match=r"does not speak ocpp2\.0\.1"):
            await ChargePoint("CP1", f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await asyncio.wait_for(closed.wait(), SOON)
        await until(lambda: open_sockets() <= before)


async def test_listeners_are_told_of_each_connection(csms: Csms, caplog: pytest.LogCaptureFixture) -> None:
    lines_of: list[str] = []
    cp = ChargePoint("CP1", csms.url)
    cp.on_open(lambda: lines_of.append(f"open, {cp.is_open}"))
    cp.on_close(lambda error: lines_of.append(f"{error.closed.code} by the {error.closed.by}, {cp.is_open}"))
    cp.on_close(lambda error: 1 / 0)
    cp.on_close(lambda error: lines_of.append(type(error).__name__))
    async with cp:
        pass
    await cp
    csms.once.append(close(1008, NOT_REGISTERED))
    with pytest.raises(NotRegistered):
        await cp.heartbeat()
    assert lines_of == [
        *("open, True", "1000 by the charge point, False", "ConnectionLost"),
        *("open, True", "1008 by the gateway, False", "NotRegistered"),
    ]
    assert caplog.text.count("CP1: a listener failed") == 2


async def test_the_transport_is_a_parameter(csms: Csms) -> None:
    """A transport that wraps the kit's transport can lose messages on purpose."""

    class Losing:
        def __init__(self, inner: Transport) -> None:
            self.inner, self.subprotocol, self.lost = inner, inner.subprotocol, 0

        def send_now(self, message: bytes) -> bool:
            return False

        async def send(self, message: bytes) -> bool:
            if b"Heartbeat" in message and not self.lost:
                self.lost += 1
                return True
            return await self.inner.send(message)

        def receive(self, on_message: Callable[[bytes], None], on_closed: Callable[[Closed], None]) -> None:
            self.inner.receive(on_message, on_closed)

        async def close(self, code: int = 1000, reason: str = "") -> None:
            await self.inner.close(code, reason)

        def abort(self) -> None:
            self.inner.abort()

    opened: list[Losing] = []

    async def open_losing(charge_point_id: str, url: str, **options: Any) -> Losing:
        opened.append(Losing(await open_websocket(charge_point_id, url, **options)))
        return opened[-1]

    async with ChargePoint("CP1", csms.url, transport=open_losing) as cp:
        await cp.boot()
        with pytest.raises(CallTimeout):
            await cp.heartbeat(timeout=20 * MS)
        await cp.heartbeat()
    assert opened[0].lost == 1
    assert csms.actions == ["BootNotification", "Heartbeat"]
    assert cp.closed == Closed(1000, "", "charge point")


async def test_no_task_survives_close(csms: Csms) -> None:
    async def never(**_: Any) -> None:
        await asyncio.Event().wait()

    before = open_sockets()
    cp = await ChargePoint("CP1", csms.url)
    assert cpsim_tasks() == set(), "an open connection needs none"
    cp.on("Reset", never)
    asking = asyncio.create_task(csms.call("Reset", {"type": "Immediate"}))
    await until(lambda: cpsim_tasks() == {"cpsim[CP1].handler"})
    await cp.close()
    assert cpsim_tasks() == set()
    asking.cancel()
    await until(lambda: open_sockets() <= before, "the sockets to be closed")


async def test_no_task_survives_an_error_in_the_body(csms: Csms) -> None:
    cp = ChargePoint("CP1", csms.url)

    async def body() -> None:
        async with cp:
            await cp.heartbeat()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await body()
    assert cpsim_tasks() == set()
    assert cp.closed == Closed(1000, "", "charge point")


async def test_no_task_survives_a_cancelled_body(csms: Csms) -> None:
    entered = asyncio.Event()

    async def body() -> None:
        async with ChargePoint("CP1", csms.url):
            entered.set()
            await asyncio.Event().wait()

    task = spawn(body())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cpsim_tasks() == set()


async def test_no_task_survives_a_timeout_around_the_body(csms: Csms) -> None:
    csms.on["*"] = silent
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(20 * MS), ChargePoint("CP1", csms.url) as cp:
            await cp.heartbeat()
    assert cpsim_tasks() == set()


async def test_connecting_may_be_cancelled_at_any_moment(csms: Csms) -> None:
    opened = 0
    for turns in range(60):
        cp = ChargePoint("CP1", csms.url)
        connecting = spawn(cp.connect())
        for _ in range(turns):
            await asyncio.sleep(0)
        connecting.cancel()
        await asyncio.wait([connecting])
        if connecting.cancelled():
            assert not cp.is_open
            assert cpsim_tasks() == set()
        else:
            opened += 1
            await cp.close()
    assert 0 < opened < 60


async def test_connecting_to_what_speaks_no_common_subprotocol_may_be_cancelled() -> None:
    async with Csms(subprotocols=[]) as csms:
        before = open_sockets()
        cp = ChargePoint("CP1", csms.url)
        connecting = spawn(cp.connect())
        await until(lambda: csms.links)
        csms.link.stop_reading()  # no close frame comes back
        await asyncio.sleep(20 * MS)
        connecting.cancel()
        with pytest.raises((asyncio.CancelledError, ConnectError)):
            await connecting
        await until(lambda: len(open_sockets() - before) <= 1, "the socket to be closed; the other one is the stub's")


async def test_connecting_to_a_silent_server_may_be_cancelled() -> None:
    async with raw_server() as server:
        connecting = spawn(ChargePoint("CP1", f"ws://127.0.0.1:{server.port}").connect())
        await until(lambda: server.received)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting


async def test_closing_may_be_cancelled_at_any_moment(csms: Csms) -> None:
    for turns in range(30):
        cp = await ChargePoint("CP1", csms.url)
        closing = spawn(cp.close())
        for _ in range(turns):
            await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        if turns:  # otherwise it has not begun
            assert cpsim_tasks() == set()
            assert not cp.is_open
        await cp.close()


async def test_a_cancelled_body_does_not_wait_for_a_silent_gateway(csms: Csms) -> None:
    async def body() -> None:
        async with ChargePoint("CP1", csms.url, close_timeout=100 * SOON) as cp:
            csms.link.stop_reading()
            closing.set()
            await cp.close()

    closing = asyncio.Event()
    task = spawn(body())
    await closing.wait()
    await asyncio.sleep(5 * MS)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cpsim_tasks() == set()


@pytest.mark.parametrize("turns", range(6))
async def test_closing_while_the_end_of_the_connection_is_noticed(csms: Csms, turns: int) -> None:
    """What is sent to a socket that is closed already breaks the connection, before its end was read."""
    async with ChargePoint("CP1", csms.url) as cp:
        csms.link.abort()
        await asyncio.sleep(0)
        beat = asyncio.ensure_future(cp.heartbeat())
        for _ in range(turns):
            await asyncio.sleep(0)
        await cp.close()
        with pytest.raises(ConnectionLost):
            await beat
