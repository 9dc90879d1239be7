"""Each fault of a network on a real connection, in both directions, as the charge point and the CSMS see it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import trustme
from charge_point_fixtures import CLEAR_CACHE, RESET, client_tls, data_transfer, reset_accepted, round_trips, spawn
from conftest import MS, SOON, cpsim_tasks, until
from csms_stub import Csms, answer, both, garbage, held, silent

from cpsim_kit.charge_point import ChargePoint, Network
from cpsim_kit.errors import CallTimeout, Closed, ConnectionLost, ProtocolViolation

pytestmark = pytest.mark.usefixtures("no_hang")

SHORT = 30 * MS
ANSWERS = {"direction": "received", "kinds": {"CALLRESULT", "CALLERROR"}}
CALLS = {"direction": "sent", "kinds": "CALL"}
CSMS_CALLS = {"direction": "received", "kinds": "CALL"}
OWN_ANSWERS = {"direction": "sent", "kinds": {"CALLRESULT", "CALLERROR"}}

LIMITS: dict[str, Any] = {
    "ssl": None,
    "compression": None,
    "open_timeout": SOON,
    "close_timeout": SHORT,
    "ping_interval": None,
    "ping_timeout": None,
}


@contextlib.asynccontextmanager
async def connected(csms: Csms, network: Network, **options: Any) -> AsyncIterator[ChargePoint]:
    async with ChargePoint("CP1", csms.url, transport=network, **options) as cp:
        cp.on("Reset", reset_accepted)
        yield cp


@contextlib.contextmanager
def asked(csms: Csms) -> Iterator[asyncio.Task[list[Any]]]:
    """The CSMS asks for a reset, and does not wait for the answer."""
    asking = spawn(csms.call("Reset", RESET))
    yield asking
    asking.cancel()


def rows(network: Network) -> list[tuple[str, str, str, str]]:
    return [(each.fault, each.direction, each.kind, each.action) for each in network.faults]


def received(cp: ChargePoint) -> list[str]:
    """The message ids of what the charge point received, in order."""
    return [record.message_id for record in cp.messages if record.direction == "received"]


def timers() -> int:
    """How many timers of the event loop wait to be called."""
    return sum(not timer.cancelled() for timer in asyncio.get_running_loop()._scheduled)  # type: ignore[attr-defined]


def under_way(network: Network) -> tuple[bool, bool]:
    """Whether a frame that was sent is under way on the only connection, and one that will be received."""
    (connection,) = network._connections
    return not connection._sent.is_empty, not connection._received.is_empty


# -- Drop -------------------------------------------------------------------------------------------------------------


async def test_a_call_whose_answer_is_dropped_times_out(csms: Csms) -> None:
    network = Network(drop=1, **ANSWERS)
    async with connected(csms, network) as cp:
        with pytest.raises(CallTimeout) as caught:
            await cp.heartbeat(timeout=SHORT)
        await until(lambda: network.faults)
        assert csms.actions == ["Heartbeat"], "the CSMS has answered it"
        assert [(record.direction, record.kind) for record in cp.messages] == [("sent", "CALL")]
        assert rows(network) == [("drop", "received", "CALLRESULT", "Heartbeat")]
        assert network.faults[0].message_id == caught.value.message_id
        network.drop = 0
        await cp.heartbeat()


async def test_a_dropped_call_does_not_reach_the_csms(csms: Csms) -> None:
    network = Network(drop=1, **CALLS)
    async with connected(csms, network) as cp:
        with pytest.raises(CallTimeout):
            await cp.heartbeat(timeout=SHORT)
        network.drop = 0
        await cp.boot()
    assert csms.actions == ["BootNotification"]
    assert rows(network) == [("drop", "sent", "CALL", "Heartbeat")]


async def test_a_dropped_call_of_the_csms_does_not_reach_the_charge_point(csms: Csms) -> None:
    network = Network(drop=1, **CSMS_CALLS)
    async with connected(csms, network) as cp:
        with asked(csms):
            await until(lambda: network.faults)
            await round_trips(cp)
        assert csms.answers == []
        assert "Reset" not in {record.action for record in cp.messages}
    assert rows(network) == [("drop", "received", "CALL", "Reset")]


async def test_a_dropped_answer_to_the_csms_was_given(csms: Csms) -> None:
    network = Network(drop=1, **OWN_ANSWERS)
    async with connected(csms, network) as cp:
        with asked(csms):
            await until(lambda: network.faults)
            await round_trips(cp)
        assert csms.answers == []
        assert ("sent", "CALLRESULT", "Reset") in {(each.direction, each.kind, each.action) for each in cp.messages}
    assert rows(network) == [("drop", "sent", "CALLRESULT", "Reset")]


async def test_only_the_actions_named_have_faults_and_an_answer_has_its_calls_action(csms: Csms) -> None:
    network = Network(drop=1, actions="Heartbeat", direction="received")
    async with connected(csms, network) as cp:
        await cp.boot()
        assert (await csms.call("Reset", RESET))[0] == 3
        with pytest.raises(CallTimeout):
            await cp.heartbeat(timeout=SHORT)
        await until(lambda: network.faults)
        await csms.link.send([3, "nobody-asked", {}])
        await cp.boot()
        assert cp.ignored == {"unknown": 1}, "an answer without a CALL has no action"
    assert rows(network) == [("drop", "received", "CALLRESULT", "Heartbeat")]


async def test_a_malformed_frame_can_be_dropped(csms: Csms) -> None:
    network = Network(drop=1, kinds="malformed")
    csms.once.append(both(garbage("}"), answer()))
    async with connected(csms, network) as cp:
        await cp.heartbeat()
        assert cp.ignored == {}
    assert rows(network) == [("drop", "received", "malformed", "")]


async def test_the_callresulterror_of_a_call_has_its_action(csms: Csms) -> None:
    network = Network(drop=1, kinds="CALLRESULTERROR")
    csms.once.append(answer({"wrong": True}))
    async with connected(csms, network, version="2.1") as cp:
        with pytest.raises(ProtocolViolation):
            await cp.heartbeat()
        await until(lambda: network.faults)
        await cp.heartbeat()
    assert rows(network) == [("drop", "sent", "CALLRESULTERROR", "Heartbeat")]
    assert csms.answers == []


# -- Duplicate --------------------------------------------------------------------------------------------------------


async def test_a_duplicate_answer_is_counted_as_ignored(csms: Csms) -> None:
    network = Network(duplicate=1, **ANSWERS)
    async with connected(csms, network) as cp:
        await cp.heartbeat()
        assert cp.ignored == {"duplicate": 1}
        assert [record.kind for record in cp.messages] == ["CALL", "CALLRESULT", "CALLRESULT"]
    assert rows(network) == [("duplicate", "received", "CALLRESULT", "Heartbeat")]


async def test_a_duplicate_call_reaches_the_csms_twice(csms: Csms) -> None:
    network = Network(duplicate=1, **CALLS)
    async with connected(csms, network) as cp:
        await cp.boot()
        await until(lambda: cp.ignored == {"duplicate": 1}, "the second answer")
        assert [record.kind for record in cp.messages].count("CALL") == 1
    assert csms.calls[0] == csms.calls[1]
    assert rows(network) == [("duplicate", "sent", "CALL", "BootNotification")]


async def test_a_duplicate_call_of_the_csms_is_answered_twice(csms: Csms) -> None:
    network = Network(duplicate=1, **CSMS_CALLS)
    async with connected(csms, network):
        await csms.call("Reset", RESET)
        await until(lambda: len(csms.answers) == 2)
        assert csms.answers[0] == csms.answers[1]
    assert rows(network) == [("duplicate", "received", "CALL", "Reset")]


async def test_a_duplicate_answer_reaches_the_csms_twice(csms: Csms) -> None:
    network = Network(duplicate=1, **OWN_ANSWERS)
    async with connected(csms, network):
        await csms.call("Reset", RESET)
        await until(lambda: len(csms.answers) == 2)
    assert rows(network) == [("duplicate", "sent", "CALLRESULT", "Reset")]


# -- Delay ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("filters", [ANSWERS, CALLS], ids=["answers", "calls"])
async def test_a_delayed_frame_takes_so_long(csms: Csms, filters: dict[str, Any]) -> None:
    network = Network(delay=SHORT, **filters)
    async with connected(csms, network) as cp:
        beat = await cp.heartbeat()
        assert beat.latency_ms >= SHORT * 1000
        network.delay = 0
        await cp.heartbeat()
    assert [(each.fault, each.detail) for each in network.faults] == [("delay", f"{SHORT:.3f} s")]


async def test_a_delay_in_both_directions_counts_twice(csms: Csms) -> None:
    async with connected(csms, Network(delay=SHORT)) as cp:
        assert (await cp.heartbeat()).latency_ms >= 2 * SHORT * 1000


async def test_the_close_frame_does_not_overtake_what_is_under_way(csms: Csms) -> None:
    async with connected(csms, Network(delay=SHORT, **OWN_ANSWERS)) as cp:
        with asked(csms) as asking:
            await until(lambda: any(record.direction == "sent" for record in cp.messages))
            await cp.close()
            assert (await asking)[2]["status"] == "Accepted"
    assert cp.closed is not None
    assert cp.closed.code == 1000


async def test_an_answer_that_is_delayed_beyond_the_timeout_is_late(csms: Csms) -> None:
    async with connected(csms, Network(delay=2 * SHORT, **ANSWERS)) as cp:
        with pytest.raises(CallTimeout):
            await cp.heartbeat(timeout=SHORT)
        await until(lambda: cp.ignored == {"late": 1})


async def test_random_delays_keep_the_order(csms: Csms) -> None:
    network = Network(delay=(0, SHORT), seed=3)
    ids = [f"nobody-asked-{number}" for number in range(20)]
    async with connected(csms, network) as cp:
        for each in ids:
            await csms.link.send([3, each, {}])
        await until(lambda: len(cp.messages) == 20)
        assert received(cp) == ids
    delays = [float(fault.detail.split()[0]) for fault in network.faults]
    assert delays != sorted(delays), "in the order of their delays they would have come in another one"


async def test_delayed_calls_keep_the_order_also_long_ones(csms: Csms) -> None:
    """A long message waits for the send buffer; a short one must not overtake it."""
    network = Network(delay=SHORT, **CALLS)
    async with connected(csms, network) as cp:
        for data in ("x" * 300_000, "short"):
            with pytest.raises(CallTimeout):
                await cp.call(data_transfer(data), timeout=MS)
        await until(lambda: len(csms.calls) == 2)
        assert [len(call.payload["data"]) for call in csms.calls] == [300_000, 5]


async def test_frames_without_faults_overtake_delayed_ones(csms: Csms) -> None:
    network = Network(delay=SHORT, actions="Heartbeat", **ANSWERS)
    csms.once.append(both(answer(), garbage([2, "reset-1", "Reset", RESET])))
    async with connected(csms, network) as cp:
        beat = await cp.heartbeat()
        assert beat.latency_ms >= SHORT * 1000
        assert [record.kind for record in cp.messages if record.direction == "received"] == ["CALL", "CALLRESULT"]


async def test_frames_keep_their_order_when_the_network_is_switched_off(csms: Csms) -> None:
    network = Network(delay=SHORT, direction="received")
    async with connected(csms, network) as cp:
        await csms.link.send([3, "first", {}])
        await until(lambda: network.faults)
        network.is_on = False
        await csms.link.send([3, "second", {}])
        await until(lambda: len(received(cp)) == 2)
        assert received(cp) == ["first", "second"]
    assert len(network.faults) == 1


# -- Reorder ----------------------------------------------------------------------------------------------------------


async def test_an_answer_is_overtaken_by_a_call_of_the_csms(csms: Csms) -> None:
    network = Network(reorder=1, reorder_within=SOON, **ANSWERS)
    csms.once.append(both(answer(), garbage([2, "reset-1", "Reset", RESET])))
    async with connected(csms, network) as cp:
        await cp.heartbeat()
        assert [(record.kind, record.action) for record in cp.messages if record.direction == "received"] == [
            ("CALL", "Reset"),
            ("CALLRESULT", "Heartbeat"),
        ]
    assert [(each.fault, each.detail) for each in network.faults] == [("reorder", "overtaken by CALL Reset")]


async def test_an_answer_that_nothing_overtakes_arrives_later(csms: Csms) -> None:
    network = Network(reorder=1, reorder_within=SHORT, **ANSWERS)
    async with connected(csms, network) as cp:
        assert (await cp.heartbeat()).latency_ms >= SHORT * 1000
    assert [each.detail for each in network.faults] == [f"nothing overtook it within {SHORT:g} s"]


async def test_what_overtakes_is_not_held_back_itself(csms: Csms) -> None:
    network = Network(reorder=1, reorder_within=10 * SOON)
    async with connected(csms, network) as cp:
        before = timers()
        for each in "abcd":
            await csms.link.send([3, each, {}])
        await until(lambda: len(cp.messages) == 4)
        assert received(cp) == ["b", "a", "d", "c"]
        await until(lambda: timers() <= before, "the timers to be cancelled")
    assert [each.message_id for each in network.faults] == ["a", "c"]


async def test_a_call_is_overtaken_by_the_next(csms: Csms) -> None:
    network = Network(reorder=1, reorder_within=SOON, actions="Heartbeat", **CALLS)
    async with connected(csms, network) as cp:
        with pytest.raises(CallTimeout):
            await cp.heartbeat(timeout=SHORT)
        await cp.boot()
        await until(lambda: cp.ignored == {"late": 1}, "the answer to the first CALL")
    assert csms.actions == ["BootNotification", "Heartbeat"]


async def test_faults_of_one_frame_add_up(csms: Csms) -> None:
    network = Network(delay=SHORT, duplicate=1, reorder=1, reorder_within=SHORT, **ANSWERS)
    async with connected(csms, network) as cp:
        assert (await cp.heartbeat()).latency_ms >= 2 * SHORT * 1000
        await until(lambda: cp.ignored == {"duplicate": 1})
    assert [each.fault for each in network.faults] == ["duplicate", "delay", "reorder"]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("direction", ["received", "sent"])
async def test_each_frame_arrives_as_often_as_the_table_says(csms: Csms, direction: Any, seed: int) -> None:
    chances = {"drop": 0.2, "duplicate": 0.2, "reorder": 0.3, "reorder_within": 5 * MS, "delay": (0, 5 * MS)}
    network = Network(**chances, direction=direction, seed=seed)
    ids = [f"nobody-asked-{number}" for number in range(60)]
    async with connected(csms, network) as cp:
        for each in ids:
            if direction == "received":
                await csms.link.send([3, each, {}])
            else:
                await csms.link.send([9, each, "no such message type"])  # is answered with a CALLERROR
        arrived = (lambda: received(cp)) if direction == "received" else lambda: [frame[1] for frame in csms.answers]
        await until(lambda: sum(each.fault in {"drop", "delay"} for each in network.faults) == 60, "all fates")
        await until(lambda: not any(under_way(network)), "all frames")
        of = {name: {each.message_id for each in network.faults if each.fault == name} for name in chances}
        expected = [each for each in ids if each not in of["drop"] for _ in range(1 + (each in of["duplicate"]))]
        await until(lambda: len(arrived()) >= len(expected), "all arrivals")
        assert sorted(arrived()) == sorted(expected)
    assert all(of[name] for name in ("drop", "duplicate", "delay", "reorder"))


# -- The end of a connection ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize(("filters", "reached"), [(ANSWERS, ["Heartbeat"]), (CALLS, [])], ids=["answer", "call"])
async def test_both_sides_see_the_other_one_close_with_the_code(
    csms: Csms, compression: str | None, filters: dict[str, Any], reached: list[str]
) -> None:
    network = Network(close=(1011, 1), **filters)
    async with connected(csms, network, compression=compression) as cp:
        with pytest.raises(ConnectionLost, match="code 1011") as lost:
            await cp.heartbeat()
        assert lost.value.closed == cp.closed == Closed(1011, "", "gateway")
        assert str(cp.closed) == "received 1011 (internal error); then sent 1011 (internal error)"
        assert csms.link.ws.close_code == 1011
    assert csms.actions == reached
    ((fault, direction, kind, action),) = rows(network)
    assert (fault, network.faults[0].detail, action) == ("close", "1011", "Heartbeat")
    assert (direction, kind) == (("received", "CALLRESULT") if reached else ("sent", "CALL"))


@pytest.mark.parametrize("filters", [ANSWERS, CALLS], ids=["answer", "call"])
async def test_with_1006_there_is_no_close_frame(csms: Csms, filters: dict[str, Any]) -> None:
    network = Network(close=(1006, 1), **filters)
    async with connected(csms, network) as cp:
        with pytest.raises(ConnectionLost):
            await cp.heartbeat()
        assert cp.closed == Closed(1006, "", "network")
        await until(lambda: csms.link.ws.close_code == 1006)
    assert [each.detail for each in network.faults] == ["1006"]


async def test_it_can_connect_again_after_a_close(csms: Csms) -> None:
    network = Network(close=(1012, 1), actions="Heartbeat")
    async with connected(csms, network) as cp:
        for _ in range(3):
            await cp
            with pytest.raises(ConnectionLost):
                await cp.heartbeat()
        await cp
        await cp.boot()
    assert len(csms.links) == 4


async def test_cut_aborts_the_connection_at_once(csms: Csms) -> None:
    network = Network()
    csms.on["Heartbeat"] = silent
    async with connected(csms, network) as cp, ChargePoint("CP2", csms.url, transport=network) as other:
        beating = spawn(cp.heartbeat())
        await until(lambda: csms.calls)
        assert network.cut("CP1") == 1
        with pytest.raises(ConnectionLost):
            await beating
        assert cp.closed == Closed(1006, "", "network")
        await until(lambda: csms.links[0].ws.close_code == 1006)
        await other.boot()
        with pytest.raises(ValueError, match="CP1 has no open connection through <Network 1 open 1 faults>"):
            network.cut("CP1")
        assert network.cut() == 1
        await other.wait_closed(SOON)
        assert network.cut() == 0
    assert [(each.charge_point_id, each.fault) for each in network.faults] == [("CP1", "cut"), ("CP2", "cut")]


async def test_nothing_can_be_sent_after_a_cut(csms: Csms) -> None:
    network = Network()
    transport = await network("CP1", f"{csms.url}/CP1", subprotocol="ocpp2.0.1", headers={}, **LIMITS)
    ended: list[Closed] = []
    transport.receive(lambda message: None, ended.append)
    assert await transport.send(b'[3,"1",{}]') is True
    network.cut()
    assert transport.send_now(b'[3,"2",{}]') is False
    assert await transport.send(b'[3,"2",{}]') is False
    assert ended == [Closed(1006, "", "network")]
    assert await transport.send(b'[3,"2",{}]') is False


async def test_cut_also_ends_a_connection_whose_csms_does_not_read(csms: Csms) -> None:
    network = Network()
    async with connected(csms, network) as cp:
        csms.link.stop_reading()
        sending = spawn(cp.call(data_transfer("x" * 20_000_000)))
        await until(lambda: "cpsim[CP1].network" in cpsim_tasks())
        network.cut()
        with pytest.raises(ConnectionLost):
            await sending
        assert cpsim_tasks() == set()


# -- Half-open --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [None, "deflate"])
async def test_a_half_open_connection_ends_by_its_ping_timeout(csms: Csms, compression: str | None) -> None:
    network = Network()
    options = {"ping_interval": 20 * MS, "ping_timeout": SOON, "close_timeout": 20 * MS, "compression": compression}
    async with connected(csms, network, **options) as cp:
        await asyncio.sleep(60 * MS)
        assert cp.is_open
        network.half_open = True
        cp._connection._transport._inner._ping_timeout = 20 * MS  # a slow machine would have exceeded it before
        cp.ping_interval = 20 * MS
        pong = await csms.link.ws.ping()
        with pytest.raises(ConnectionLost, match="answered no ping within"):
            await cp.heartbeat(timeout=SOON)
        assert cp.closed == Closed(1011, "keepalive ping timeout", "network")
        await until(lambda: csms.link.ws.close_code)
        assert csms.link.ws.close_code == 1006, "no close frame came through"
        with contextlib.suppress(Exception):
            await pong
        assert pong.exception() is not None, "and no pong"
    assert csms.actions == []
    assert rows(network) == [("half-open", "", "", ""), ("half-open", "sent", "CALL", "Heartbeat")]


async def test_nothing_passes_a_half_open_connection_and_nothing_closes_it(csms: Csms) -> None:
    network = Network()
    async with connected(csms, network, ping_interval=None, close_timeout=20 * MS) as cp:
        await cp.boot()
        network.half_open = True
        network.half_open = True
        with asked(csms):
            with pytest.raises(CallTimeout):
                await cp.heartbeat(timeout=SHORT)
            with pytest.raises(CallTimeout):
                await cp.call(data_transfer("x" * 100_000), timeout=SHORT)
            closing = spawn(csms.link.ws.close(1001))
            await asyncio.sleep(SHORT)
            assert cp.is_open
        assert len(received(cp)) == 1
        assert csms.actions == ["BootNotification"]
        await cp.close(code=1000)
        assert cp.closed == Closed(1000, "", "charge point")
        await closing
    assert [each.action for each in network.faults] == ["", "Heartbeat", "DataTransfer"]


async def test_half_open_holds_over_tls(secure_csms: Csms, authority: trustme.CA) -> None:
    network = Network()
    context: ssl.SSLContext = client_tls(authority, authority)
    async with connected(secure_csms, network, ssl=context, ping_interval=None, close_timeout=20 * MS) as cp:
        await cp.heartbeat()
        network.half_open = True
        with pytest.raises(CallTimeout):
            await cp.heartbeat(timeout=SHORT)
        assert cp.is_open
    assert secure_csms.actions == ["Heartbeat"]


async def test_a_connection_that_went_dead_stays_so_and_the_next_one_works(csms: Csms) -> None:
    network = Network(half_open=True)
    async with connected(csms, network, ping_interval=None, close_timeout=20 * MS) as cp:
        with pytest.raises(CallTimeout):
            await cp.heartbeat(timeout=SHORT)
        network.half_open = False
        with pytest.raises(CallTimeout):
            await cp.heartbeat(timeout=SHORT)
        await cp.close()
        await cp
        await cp.heartbeat()
    assert len(csms.links) == 2
    assert csms.actions == ["Heartbeat"]


async def test_what_was_under_way_when_the_connection_went_dead_is_lost(csms: Csms) -> None:
    before = timers()
    network = Network(delay=10 * SOON, direction="received")
    async with connected(csms, network, ping_interval=None, close_timeout=20 * MS) as cp:
        await csms.link.send([3, "late", {}])
        await until(lambda: network.faults)
        network.half_open = True
        await until(lambda: timers() <= before, "the timer to be cancelled")
        assert received(cp) == []
    assert [(each.fault, each.detail) for each in network.faults] == [
        ("delay", f"{10 * SOON:.3f} s"),
        ("half-open", ""),
        ("lost", "the connection went dead while it was under way"),
    ]


# -- Nothing is left behind -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["charge point", "gateway", "cut", "fault"])
@pytest.mark.parametrize("settings", [{"delay": 10 * SOON}, {"reorder": 1, "reorder_within": 10 * SOON}], ids=str)
async def test_frames_under_way_are_lost_when_the_connection_ends(
    csms: Csms, end: str, settings: dict[str, Any]
) -> None:
    before = timers()
    network = Network(kinds="CALLRESULT", **settings)
    async with connected(csms, network, ping_interval=None) as cp:
        with asked(csms):
            await until(lambda: under_way(network) == (True, False), "the answer to the CSMS")
        await csms.link.send([3, "nobody-asked", {}])
        await until(lambda: under_way(network) == (True, True), "an answer of the CSMS")
        match end:
            case "charge point":
                await cp.close()
            case "gateway":
                await csms.link.ws.close(1001)
            case "cut":
                network.cut()
            case "fault":
                network.kinds = "CALL"
                network.close = (1011, 1)
                with pytest.raises(ConnectionLost):
                    await cp.call(CLEAR_CACHE)
        await cp.wait_closed(SOON)
        assert cpsim_tasks() == set()
        assert received(cp) == ["csms-1"]
    assert csms.answers == []
    lost = [(each.message_id, each.detail) for each in network.faults if each.fault == "lost"]
    assert lost == [(each, "the connection ended while it was under way") for each in ("csms-1", "nobody-asked")]
    await until(lambda: timers() <= before, "the timers to be cancelled")


async def test_a_call_that_waits_behind_a_full_buffer_times_out_and_leaves_nothing(csms: Csms) -> None:
    network = Network(delay=MS, **CALLS)
    async with connected(csms, network, ping_interval=None, close_timeout=20 * MS) as cp:
        csms.link.stop_reading()
        for _ in range(2):
            with pytest.raises(CallTimeout):
                await cp.call(data_transfer("x" * 20_000_000), timeout=SHORT)
        await until(lambda: cpsim_tasks() == {"cpsim[CP1].network"})
    assert cpsim_tasks() == set()


async def test_an_action_is_remembered_while_the_network_is_off(csms: Csms) -> None:
    network = Network(drop=1, actions="Heartbeat", is_on=False)
    csms.on["Heartbeat"] = held
    async with connected(csms, network) as cp:
        beating = spawn(cp.heartbeat(timeout=5 * SHORT))
        await until(lambda: csms.held)
        network.is_on = True
        await csms.release()
        with pytest.raises(CallTimeout):
            await beating
    assert rows(network) == [("drop", "received", "CALLRESULT", "Heartbeat")]
