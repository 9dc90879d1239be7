"""A network with faults on purpose: its settings, its switches, its seed, its table, and fleets that use it."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from charge_point_fixtures import data_transfer, round_trips, spawn, time_is_up
from conftest import MS, until
from csms_stub import Csms, close

from cpsim_kit import ChargePoint, Network
from cpsim_kit.charge_point.websocket import WebSocket
from cpsim_kit.errors import CallTimeout, ConnectError, ConnectionLost

pytestmark = pytest.mark.usefixtures("no_hang")

SHORT = 30 * MS
HALF = {"drop": 0.5, "actions": "DataTransfer", "direction": "received", "seed": 1}


async def lost_of(cp: ChargePoint, network: Network, count: int) -> list[int]:
    """Make so many calls; return the numbers of those that had no answer because of a fault."""

    def is_faulty() -> bool:
        pending = cp._exchange._pending
        return pending is not None and pending.message_id in {fault.message_id for fault in network.faults}

    lost = []
    for number in range(count):
        calling = spawn(cp.call(data_transfer(number)))
        await until(lambda calling=calling: calling.done() or is_faulty())  # type: ignore[misc]
        time_is_up(cp)
        try:
            await calling
        except CallTimeout:
            lost.append(number)
    return lost


# -- Settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"drop": 2}, ValueError, "drop= is a probability"),
        ({"actions": "Hartbeat"}, ValueError, "did you mean 'Heartbeat'"),
        ({"transport": None}, TypeError, "transport= takes what opens a connection, .*; not None"),
        ({"transport": Network}, TypeError, "transport= takes what opens a connection, .*; not <class"),
        ({"max_faults": 1.5}, TypeError, "max_faults= is a whole number or None, not 1.5"),
        ({"max_faults": -1}, ValueError, "max_faults= is the number of faults to keep, 0 or more; not -1"),
    ],
)
def test_arguments_are_checked(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Network(**arguments)


def test_every_setting_is_an_attribute() -> None:
    settings = {
        "drop": 0.1,
        "delay": (0.1, 2.0),
        "duplicate": 0.2,
        "reorder": 0.3,
        "reorder_within": 5.0,
        "close": (1011, 0.4),
        "half_open": True,
        "direction": "sent",
        "kinds": {"CALL"},
        "actions": {"Heartbeat"},
        "seed": 7,
        "is_on": False,
    }
    made, changed = Network(**settings), Network()  # type: ignore[arg-type]
    for name, value in settings.items():
        assert getattr(made, name) == value
        setattr(changed, name, value)
        assert getattr(changed, name) == value
    assert repr(changed) == repr(made)


def test_a_wrong_value_is_refused_and_the_former_one_stays() -> None:
    network = Network(drop=0.1)
    with pytest.raises(ValueError, match="drop= is a probability"):
        network.drop = 2
    with pytest.raises(ValueError, match="delay="), network.temporarily(drop=0.5, delay=-1):
        raise AssertionError("not reached")
    assert (network.drop, network.delay) == (0.1, 0)


def test_a_misspelt_setting_is_refused() -> None:
    network = Network()
    with pytest.raises(AttributeError):
        network.dorp = 1.0  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="no setting 'dorp'; did you mean drop"), network.temporarily(dorp=1.0):
        raise AssertionError("not reached")


def test_it_shows_what_it_is(csms: Csms) -> None:
    network = Network(drop=0.1, delay=(0.1, 2.0), actions={"Heartbeat"})
    assert repr(network) == "<Network drop=0.1 delay=(0.1, 2.0) actions={'Heartbeat'} 0 open 0 faults>"
    html = network._repr_html_()
    assert "(0.1, 2.0)" in html
    assert ">on<" in html
    network.is_on = False
    assert ">off<" in network._repr_html_()


# -- Switches ---------------------------------------------------------------------------------------------------------


async def test_faults_can_be_changed_while_it_runs(csms: Csms) -> None:
    network = Network()
    async with ChargePoint("CP1", csms.url, transport=network) as cp:
        assert await lost_of(cp, network, 2) == []
        network.drop = 1.0
        assert await lost_of(cp, network, 2) == [0, 1]
        network.is_on = False
        assert await lost_of(cp, network, 2) == []
        network.is_on = True
        network.actions = {"Heartbeat"}
        assert await lost_of(cp, network, 2) == []
    assert len(network.faults) == 2


async def test_faults_of_a_context_end_with_it(csms: Csms) -> None:
    network = Network(is_on=False)
    async with ChargePoint("CP1", csms.url, transport=network) as cp:
        with network.temporarily(is_on=True, drop=1) as same:
            assert same is network
            assert await lost_of(cp, network, 1) == [0]
            with network.temporarily(direction="sent", actions="Heartbeat"):
                assert await lost_of(cp, network, 1) == []
            assert await lost_of(cp, network, 1) == [0]
        assert await lost_of(cp, network, 1) == []
        with pytest.raises(ZeroDivisionError), network.temporarily(is_on=True, drop=1):
            raise ZeroDivisionError
        assert await lost_of(cp, network, 1) == []
    assert repr(network) == "<Network is_on=False 0 open 2 faults>"


async def test_what_was_changed_inside_a_context_and_is_not_its_own_stays() -> None:
    network = Network()
    with network.temporarily(drop=1):
        network.duplicate = 0.5
        network.drop = 0.7
    assert (network.drop, network.duplicate) == (0, 0.5)


async def test_a_network_that_is_off_is_not_noticed(csms: Csms) -> None:
    network = Network(drop=1, duplicate=1, reorder=1, close=(1011, 1), delay=1, half_open=True, is_on=False)
    async with ChargePoint("CP1", csms.url, transport=network) as cp:
        await cp.boot()
        await round_trips(cp)
        assert (await csms.call("Reset", {"type": "Immediate"}))[0] == 4
        await cp.call(data_transfer("x" * 200_000))
        assert cp.ignored == {}
        csms.once.append(close(1012, "maintenance"))
        with pytest.raises(ConnectionLost, match="maintenance"):
            await cp.heartbeat()
    assert list(network.faults) == []


async def test_a_charge_point_without_a_network_has_nothing_between(csms: Csms, cp: ChargePoint) -> None:
    assert cp._connection is not None
    assert type(cp._connection._transport) is WebSocket


async def test_an_opening_that_fails_is_the_charge_points_error(csms: Csms) -> None:
    network = Network()
    with pytest.raises(ConnectError):
        await ChargePoint("CP1", "ws://127.0.0.1:1", transport=network)
    async with Csms(subprotocols=()) as deaf:
        with pytest.raises(ConnectError, match="does not speak"):
            await ChargePoint("CP1", deaf.url, transport=network)
    assert network.cut() == 0


# -- Seeds ------------------------------------------------------------------------------------------------------------


async def run(csms: Csms, network: Network, *, busy: bool = False) -> list[int]:
    async with ChargePoint("CP1", csms.url, transport=network) as cp:
        if busy:
            await cp.boot()
            await round_trips(cp)
        return await lost_of(cp, network, 12)


async def test_the_same_seed_has_the_same_faults_whatever_else_is_said(csms: Csms) -> None:
    first = await run(csms, Network(**HALF))
    assert first[:6] == [0, 3, 4, 5, 6, 7]
    assert await run(csms, Network(**HALF), busy=True) == first
    assert await run(csms, Network(**HALF | {"seed": 2})) != first


async def test_a_connection_goes_on_in_the_sequence_of_the_one_before(csms: Csms) -> None:
    expected = await run(csms, Network(**HALF))
    network = Network(**HALF)
    cp = ChargePoint("CP1", csms.url, transport=network)
    found = []
    for number in range(3):
        async with cp:
            found += [4 * number + each for each in await lost_of(cp, network, 4)]
    assert found == expected


async def test_a_seed_begins_the_sequence_again_and_a_context_gives_it_back(csms: Csms) -> None:
    network = Network(**HALF)
    async with ChargePoint("CP1", csms.url, transport=network) as cp:
        first = await lost_of(cp, network, 6)
        with network.temporarily(seed=1):
            assert await lost_of(cp, network, 6) == first
        rest = await lost_of(cp, network, 6)
        network.seed = 1
        assert (
            await lost_of(cp, network, 12) == [*first, *(6 + each for each in rest)] == await run(csms, Network(**HALF))
        )


# -- The table --------------------------------------------------------------------------------------------------------


async def test_the_table_goes_with_the_record_of_messages(csms: Csms) -> None:
    network = Network(drop=1, duplicate=1, direction="received", actions="Heartbeat")
    async with ChargePoint("CP1", csms.url, transport=network) as cp:
        with pytest.raises(CallTimeout):
            await cp.heartbeat(timeout=SHORT)
        await until(lambda: network.faults)
        network.drop = 0
        await cp.heartbeat()
        network.cut()
    table, record = network.to_frame(), cp.messages.to_frame()
    assert list(table.fault) == ["drop", "duplicate", "cut"]
    merged = record[record.direction == "sent"].merge(table, on="message_id", suffixes=("", "_fault"))
    assert list(merged.action) == list(merged.action_fault) == ["Heartbeat", "Heartbeat"]
    assert (merged.sent_at_fault >= merged.sent_at).all()
    assert table.sent_at.dtype == record.sent_at.dtype
    assert set(table.charge_point_id) == {"CP1"}


async def test_faults_are_logged(csms: Csms, caplog: pytest.LogCaptureFixture) -> None:
    network = Network(delay=MS, actions="Heartbeat", direction="received")
    with caplog.at_level("INFO", "ocpp"):
        async with ChargePoint("CP1", csms.url, transport=network) as cp:
            await cp.heartbeat()
            network.cut()
    message_id = network.faults[0].message_id
    lines = [record.message for record in caplog.records if "network" in record.message]
    assert lines == [
        f"CP1: network: delay received CALLRESULT Heartbeat {message_id} {MS:.3f} s",
        "CP1: network: cut",
    ]


# -- Another transport, and another process ---------------------------------------------------------------------------


async def test_a_network_over_a_network_has_faults_of_both(csms: Csms) -> None:
    below = Network(drop=1, actions="Heartbeat", direction="received")
    above = Network(duplicate=1, actions="BootNotification", direction="received", transport=below)
    async with ChargePoint("CP1", csms.url, transport=above, ping_interval=None, close_timeout=MS) as cp:
        await cp.boot()
        with pytest.raises(CallTimeout):
            await cp.heartbeat(timeout=SHORT)
        await until(lambda: below.faults)
        assert cp.ignored == {"duplicate": 1}
        above.half_open = True
        with pytest.raises(CallTimeout):
            await cp.boot(timeout=SHORT)
    assert [each.fault for each in below.faults] == ["drop", "half-open"]
    assert [each.fault for each in above.faults] == ["duplicate", "half-open", "half-open"]
    assert csms.actions == ["BootNotification", "Heartbeat"]


async def test_a_copy_for_another_process_has_the_settings_and_begins_anew(csms: Csms) -> None:
    network = Network(**HALF, max_faults=3)
    async with ChargePoint("CP1", csms.url, transport=network) as cp:
        first = await lost_of(cp, network, 6)
        copy = pickle.loads(pickle.dumps(network))
    assert (copy.drop, copy.actions, copy.seed) == (0.5, {"DataTransfer"}, 1)
    assert copy.faults.maxlen == 3
    assert list(copy.faults) == []
    async with ChargePoint("CP1", csms.url, transport=copy) as cp:
        assert await lost_of(cp, copy, 6) == first
