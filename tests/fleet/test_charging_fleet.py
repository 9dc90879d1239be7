"""Fleets of stations: drivers come, sessions are rows, and nothing is lost without being counted."""

from __future__ import annotations

import asyncio
import logging
import math
import random as random_module
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import FACTOR, SOON, until
from csms_stub import Csms, answer, error, silent
from small_fleets import STARTED, UNIT, children, run_long_enough, run_quietly, run_until, run_until_the_line_has

from cpsim_kit import Backoff, ChargePoint, Evse, Fleet, FleetResult, Network, Station, Vehicle, errors
from cpsim_kit.fleet.charging import Charging
from cpsim_kit.fleet.session_table import SESSIONS

AT_ONCE = {"speed": math.inf}
SOON_AGAIN = Backoff(UNIT, UNIT, 0)


def three(random: random_module.Random) -> Iterator[float]:
    """Three drivers, within an hour each."""
    for _ in range(3):
        yield random.uniform(0, 3600)


def one_at_once(_random: random_module.Random) -> float:
    return 0.0


def two_at_once(_random: random_module.Random) -> list[float]:
    return [0, 0]


def stations(csms: Csms, size: int = 3, **options: Any) -> Fleet:
    """A fleet that starts at once, and whose stations go from event to event."""
    return Fleet(csms.url, size, **{"ramp_time": 0, "station": AT_ONCE, **options})


async def run(csms: Csms, size: int = 3, **options: Any) -> FleetResult:
    """Run such a fleet until all drivers have left."""
    return await stations(csms, size, **options).run(6 * SOON, **run_quietly)


# -- Drivers and sessions ---------------------------------------------------------------------------------------------


async def test_each_arrival_is_a_session_with_what_was_said_and_what_is_true(csms: Csms) -> None:
    result = await run(csms, arrivals=three)
    frame = result.sessions()
    assert tuple(frame.columns) == SESSIONS
    assert frame.charge_point_id.value_counts().to_dict() == dict.fromkeys(("LOAD-0001", "LOAD-0002", "LOAD-0003"), 3)
    assert frame.begin.is_monotonic_increasing
    assert (frame.end > frame.begin).all()
    assert frame.true_wh.between(4999, 20_001).all()
    assert (frame.reported_wh == frame.true_wh).all()
    assert (frame.messages == frame.answered).all()
    events = sum(call.action == "TransactionEvent" for call in csms.calls)
    assert frame.messages.sum() == events > 9 * 4
    assert frame.token.str.fullmatch(r"TAG-\d{4}").all()
    assert frame.transaction_id.is_unique
    assert not frame.offline.any()
    assert not frame[["waiting", "given_up"]].to_numpy().any()
    assert result.truth().energy_wh.sum() == frame.true_wh.sum()
    assert f"9 sessions, {frame.true_wh.sum() / 1000:,.1f} kWh, " in repr(result)
    actions = result.to_frame().action.value_counts()
    assert (actions["TransactionEvent"], actions["Authorize"], actions["connect"]) == (events, 9, 3)


async def test_a_reset_ends_a_session_and_the_next_drivers_come_all_the_same(csms: Csms) -> None:
    """It is no lost connection: the station has closed it itself."""
    asked: list[str] = []

    async def behave(link: Any, call: Any) -> None:
        if not asked and call.payload["eventType"] == "Updated":
            asked.append(call.action)
            await link.send([2, "reset", "Reset", {"type": "Immediate"}])
        await answer()(link, call)

    csms.on["TransactionEvent"] = behave
    result = await run(csms, 1, arrivals=three)
    boots = [call.payload["reason"] for call in csms.calls if call.action == "BootNotification"]
    assert boots == ["PowerUp", "RemoteReset"]
    frame = result.sessions()
    assert len(frame) == 3
    assert frame.true_wh.iloc[0] < 4999
    assert frame.true_wh.iloc[1:].between(4999, 20_001).all()
    assert (frame.reported_wh == frame.true_wh).all()
    assert set(result.to_frame().outcome) == {"answered"}


@pytest.mark.parametrize("version", ["1.6", "2.1"])
async def test_other_versions_have_the_same_columns(csms: Csms, version: str) -> None:
    csms.on["StartTransaction"] = answer({"transactionId": 7, "idTagInfo": {"status": "Accepted"}})
    csms.on["Authorize"] = answer({("idTagInfo" if version == "1.6" else "idTokenInfo"): {"status": "Accepted"}})
    frame = (await run(csms, 2, arrivals=one_at_once, version=version)).sessions()
    assert frame.version.tolist() == [version] * 2
    assert (frame.reported_wh == frame.true_wh).all()
    assert frame.true_wh.min() > 4000
    assert (frame.answered == frame.messages).all()
    if version == "1.6":
        assert frame.transaction_id.tolist() == ["7", "7"]


@pytest.mark.slow
async def test_the_same_seed_gives_the_same_sessions_over_however_many_processes(csms: Csms) -> None:
    def energies(result: FleetResult) -> dict[str, list[tuple[int, str, float]]]:
        frame = result.sessions()
        return {
            name: list(zip(rows.evse_id, rows.token, rows.true_wh, strict=True))
            for name, rows in frame.groupby("charge_point_id")
        }

    options: dict[str, Any] = {"station": {**AT_ONCE, "evses": [Evse(max_kw=22), Evse(max_kw=7.4)]}, "arrivals": three}
    one, two = await run(csms, 4, **options), await run(csms, 4, **options, processes=2)
    other = await run(csms, 4, **options, seed=1)
    assert not children()
    assert energies(one) == energies(two) != energies(other)
    assert len(one.sessions()) == len(two.sessions()) == 12
    assert not set(one.sessions().transaction_id) & set(two.sessions().transaction_id), "no id is used again"


async def test_a_drive_gets_the_station_and_a_source_of_random_numbers_of_its_own(csms: Csms) -> None:
    seen: list[tuple[str, str, float]] = []

    async def drive(station: Station, random: random_module.Random) -> None:
        seen.append((station.id, station.charge_point.boot_status, random.random()))

    async def without(station: Station) -> None:
        seen.append((station.id, "", 0.0))

    await run(csms, 2, scenario=drive, arrivals=two_at_once)
    first, seen[:] = sorted(seen), []
    assert [name for name, _status, _number in first] == ["LOAD-0001"] * 2 + ["LOAD-0002"] * 2
    assert {status for _name, status, _number in first} == {"Accepted"}
    assert len({number for _name, _status, number in first}) == 4
    await run(csms, 2, scenario=drive, arrivals=two_at_once)
    assert sorted(seen) == first
    seen.clear()
    await run(csms, 2, scenario=without)
    assert sorted(name for name, _status, _number in seen) == ["LOAD-0001", "LOAD-0002"], "without arrivals, once"


async def test_there_are_no_more_drivers_at_once_than_evses_and_the_others_wait(csms: Csms) -> None:
    at_once: list[int] = []

    async def drive(station: Station) -> None:
        mine = next(number for number, each in station.evses.items() if each.vehicle is None)
        await station.plug_in(Vehicle(), evse=mine)
        at_once.append(sum(each.vehicle is not None for each in station.evses.values()))
        await station.until(minutes=30, evse=mine)
        await station.unplug(evse=mine)

    result = await run(
        csms, 1, station={**AT_ONCE, "evses": [Evse(), Evse()]}, scenario=drive, arrivals=lambda _: [0] * 5
    )
    assert len(result.sessions()) == len(at_once) == 5
    assert max(at_once) == 2
    begins = result.sessions().begin
    assert (begins.max() - begins.min()).total_seconds() == pytest.approx(3600, abs=1)


@pytest.mark.parametrize(("more", "keeps_rows"), [({}, False), ({"record": True}, True)])
async def test_stations_of_a_fleet_keep_no_rows_of_their_sessions_unless_told_to(
    csms: Csms, more: dict[str, Any], keeps_rows: bool
) -> None:
    rows: list[bool] = []

    async def drive(station: Station) -> None:
        session = await station.charge(Vehicle(), token="TAG-1", minutes=10)
        rows.append(len(session.rows) > 0)

    await run(csms, 1, station={**AT_ONCE, **more}, scenario=drive)
    assert rows == [keeps_rows]


async def test_arrivals_are_of_the_stations_clock(csms: Csms) -> None:
    async def drive(station: Station) -> None:
        await station.plug_in(Vehicle())
        await station.unplug()

    frame = (await run(csms, 1, scenario=drive, arrivals=lambda _: [600, 7200, 60])).sessions()
    assert frame.begin.diff().dt.total_seconds().tolist()[1:] == pytest.approx([7200, 60])


async def test_what_the_stations_are_may_depend_on_their_ids(csms: Csms) -> None:
    def station(name: str) -> dict[str, Any]:
        return {"speed": math.inf, "evses": [Evse(max_kw=3.7 if name == "A" else 11, register_kwh=5)], "seed": 1}

    async def drive(station: Station) -> None:
        await station.charge(Vehicle(60, 0.2, 22), token="TAG-1", minutes=60)

    result = await Fleet(
        csms.url,
        ids=["A", "B"],
        ramp_time=0,
        station=station,
        scenario=drive,
        attributes=lambda name: {"model": f"model of {name}"},
    ).run(SOON, **run_quietly)
    assert result.sessions().set_index("charge_point_id").true_wh.to_dict() == {"A": 3700, "B": 11_000}
    assert set(result.truth().start_wh) == {5000}
    boots = [call.payload["chargingStation"]["model"] for call in csms.calls if call.action == "BootNotification"]
    assert sorted(boots) == ["model of A", "model of B"]


async def test_without_drive_and_arrivals_one_driver_comes_after_the_other_until_the_time_is_over(csms: Csms) -> None:
    def sessions_of_each(result: FleetResult) -> int:
        counts = Counter(result.sessions().charge_point_id)
        return min(counts.values()) if len(counts) == 2 else 0

    result = await run_long_enough(csms, stations(csms, 2), 2 * FACTOR, lambda each: sessions_of_each(each) > 3)
    frame = result.sessions()
    assert sessions_of_each(result) > 3
    assert frame.end.isna().sum() <= 2
    gaps = (frame.groupby("charge_point_id").begin.shift(-1) - frame.end).dropna().dt.total_seconds()
    assert gaps.between(-1, 601).all()
    assert gaps.max() > 60


async def test_what_a_station_says_wrongly_is_not_what_is_true(csms: Csms) -> None:
    frame = (await run(csms, 2, station={**AT_ONCE, "quirks": ["register_rollback"]}, arrivals=one_at_once)).sessions()
    assert (frame.reported_wh < frame.true_wh).all()


# -- What goes wrong --------------------------------------------------------------------------------------------------


async def test_a_driver_whose_act_failed_unplugs_and_the_next_one_charges(csms: Csms) -> None:
    failed: list[str] = []

    async def refuse_the_first(link: Any, call: Any) -> None:
        if failed:
            return await link.answer(call)
        failed.append(call.action)
        return await error("InternalError", "not today", {})(link, call)

    csms.on["Authorize"] = refuse_the_first
    result = await run(csms, 1, arrivals=two_at_once)
    frame = result.sessions()
    assert frame.end.notna().all()
    assert frame.true_wh.tolist()[0] == 0 < frame.true_wh.tolist()[1]
    assert frame.transaction_id.isna().tolist() == [True, False]
    failures = result.failures()
    assert failures[["action", "count"]].to_numpy().tolist() == [["Authorize", 1]], "no second row for the drive"


async def test_a_fault_of_a_drive_comes_out_and_names_its_station(csms: Csms) -> None:
    async def drive(station: Station) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine") as caught:
        await run(csms, 2, scenario=drive)
    assert "LOAD-000" in "".join(caught.value.__notes__)


async def test_a_station_that_lost_its_connection_charges_on_and_says_all_when_it_is_back(
    csms: Csms, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    network = Network()

    async def drive(station: Station) -> None:
        await station.plug_in(Vehicle())
        await station.swipe("TAG-1")
        network.cut(station.id)
        await until(lambda: not station.is_online, "the loss")
        await station.until(minutes=5)
        await station.swipe("TAG-1")
        await station.unplug()

    result = await run(csms, 3, scenario=drive, reconnect=SOON_AGAIN, transport=network)
    frame, calls = result.sessions(), result.to_frame()
    assert frame.offline.all()
    assert (frame.answered == frame.messages).all()
    assert frame.true_wh.tolist() == frame.reported_wh.tolist() == [917] * 3
    counts = Counter(zip(calls.action, calls.outcome, strict=True))
    assert counts["connect", "answered"] == 6, "the second time, too, is measured"
    assert counts["connection", "connection lost"] == 3
    assert counts["BootNotification", "answered"] == 3
    assert not caplog.records, "the table has what one of many would warn of"


async def test_a_loss_of_the_connection_is_one_failure_of_the_call_that_had_no_answer(csms: Csms) -> None:
    lost: list[str] = []

    async def cut_the_first_end(link: Any, call: Any) -> None:
        if not lost and call.payload["eventType"] == "Ended":
            lost.append(call.action)
            link.abort()
        else:
            await link.answer(call)

    csms.on["TransactionEvent"] = cut_the_first_end
    result = await run(csms, 1, arrivals=two_at_once, reconnect=SOON_AGAIN)
    calls = result.to_frame()
    assert calls[calls.outcome == "connection lost"].action.tolist() == ["TransactionEvent"]
    assert (calls.action == "connect").sum() == 2
    frame = result.sessions()
    assert frame.offline.tolist() == [True, False]
    assert (frame.answered == frame.messages).all()


async def test_from_event_to_event_no_driver_comes_while_a_station_is_offline(csms: Csms) -> None:
    network = Network()

    online: list[bool] = []

    async def drive(station: Station) -> None:
        online.append(station.is_online)
        network.cut(station.id)
        await until(lambda: not station.is_online, "the loss")

    await run(csms, 1, scenario=drive, arrivals=three, reconnect=SOON_AGAIN, transport=network)
    assert online == [True] * 3


async def test_a_station_that_may_not_reconnect_ends_with_its_connection(csms: Csms) -> None:
    network = Network()

    async def drive(station: Station) -> None:
        if station.id == "LOAD-0001":
            network.cut(station.id)
        await station.charge(Vehicle(), token="TAG-1", minutes=60)

    result = await run(
        csms, 2, station={**AT_ONCE, "reconnect": False}, scenario=drive, arrivals=three, transport=network
    )
    assert result.sessions().query("charge_point_id == 'LOAD-0002' and true_wh > 0").shape[0] == 3
    assert result.sessions().query("charge_point_id == 'LOAD-0001'").shape[0] <= 1
    lost = result.to_frame().query("outcome == 'connection lost'")
    assert set(lost.charge_point_id) == {"LOAD-0001"}


async def test_a_boot_without_an_answer_is_tried_again(csms: Csms) -> None:
    asked: list[str] = []

    async def answer_the_second(link: Any, call: Any) -> None:
        asked.append(call.action)
        if len(asked) > 1:
            await link.answer(call)

    csms.on["BootNotification"] = answer_the_second
    result = await run(csms, 1, arrivals=one_at_once, reconnect=SOON_AGAIN, call_timeout=4 * UNIT)
    assert result.booted == 1
    assert len(result.sessions()) == 1
    *before, last = result.to_frame().query("action == 'BootNotification'").outcome
    assert last == "answered"
    assert set(before) == {"no answer"}, "once; where the machine is slow, the next answer may come too late as well"
    assert len(asked) == len(before) + 1


async def test_stations_that_nobody_accepts_are_tried_until_the_end(csms: Csms) -> None:
    fleet = Fleet("ws://127.0.0.1:9", 2, ramp_time=0, station={}, reconnect=SOON_AGAIN)
    with pytest.raises(errors.FleetError, match="not one of 2 charge points could start"):  # noqa: PT012
        await fleet.run(10 * UNIT, **run_quietly)
        await fleet.run(SOON, **run_quietly)  # a slow machine had not tried any so soon


async def test_when_the_time_is_over_nothing_hangs_and_what_waits_is_counted(csms: Csms) -> None:
    csms.on["TransactionEvent"] = silent
    fleet = stations(csms, 3, station={"speed": 60}, arrivals=one_at_once)
    result = await run_long_enough(csms, fleet, 20 * UNIT, lambda each: sum(each.sessions().waiting > 0) == 3)
    frame = result.sessions()
    assert frame.end.isna().all()
    assert frame.reported_wh.isna().all()
    assert (frame.waiting == frame.messages).all()
    assert frame.waiting.min() >= 1
    assert f"3 sessions, 0.0 kWh, 3 go on, {frame.waiting.sum()} messages wait, " in repr(result)
    assert f"{frame.waiting.sum()} messages wait" in result._repr_html_()
    assert result.load_samples[-1][1] == 3
    assert result.load_samples[-1][3] == frame.waiting.sum()


async def test_all_that_waits_is_said_before_the_run_ends(csms: Csms) -> None:
    tried: Counter[Any] = Counter()

    async def fail_once(link: Any, call: Any) -> None:
        key = call.payload["transactionInfo"]["transactionId"], call.payload["seqNo"]
        tried[key] += 1
        if tried[key] == 1 and call.payload["eventType"] == "Ended":
            return await error("InternalError", "not now", {})(link, call)
        return await link.answer(call)

    csms.on["TransactionEvent"] = fail_once
    frame = (await run(csms, 2, arrivals=one_at_once)).sessions()
    assert (frame.answered == frame.messages).all()
    assert sorted(tried.values())[-2:] == [2, 2]


async def test_messages_given_up_are_counted(csms: Csms) -> None:
    csms.on["TransactionEvent"] = error("InternalError", "never", {})
    frame = (await run(csms, 1, arrivals=one_at_once)).sessions()
    assert frame.given_up.tolist() == frame.messages.tolist()
    assert frame.answered.tolist() == frame.waiting.tolist() == [0]
    assert frame.reported_wh.isna().all()


async def test_an_interrupted_run_keeps_its_sessions(csms: Csms) -> None:
    fleet = Fleet(csms.url, 2, ramp_time=0, station={"speed": 60}, arrivals=one_at_once)
    running = asyncio.create_task(fleet.run(6 * SOON, **run_quietly))
    await until(lambda: fleet.result is not None and len(fleet.result.session_table) == 2, "sessions")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert fleet.result is not None
    assert len(fleet.result.sessions()) == 2
    assert fleet.result.sessions().end.isna().all()
    assert "interrupted" in repr(fleet.result)


# -- Other processes --------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_lost_process_leaves_its_sessions_and_others_begin_in_a_new_one(csms: Csms) -> None:
    fleet = Fleet(csms.url, 2, ramp_time=0, station={"speed": 60, "seed": 5}, arrivals=one_at_once, processes=2)
    running = asyncio.create_task(fleet.run(9 * SOON, **run_quietly))
    await until(
        lambda: fleet.result is not None and sum(row.answered > 2 for row in fleet.result.session_table.rows) == 2,
        "sessions",
        STARTED,
    )
    assert fleet.result is not None
    before = fleet.result.sessions()
    children()[0].kill()
    await until(lambda: fleet.result is not None and len(fleet.result.session_table) == 3, "a new session", STARTED)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    after = fleet.result.sessions()
    assert len(fleet.result.lost) == 1
    assert after.charge_point_id.value_counts().tolist() == [2, 1]
    assert set(before.transaction_id) < set(after.transaction_id)
    assert after.transaction_id.is_unique, "those of the lost process are not used again, whatever the seed"


def test_stations_that_start_again_use_nothing_again() -> None:
    charging = Charging({"seed": 1}, arrivals=three)
    again = charging.again()
    assert [wait for wait, _ in charging.drivers("A")] != [wait for wait, _ in again.drivers("A")]
    assert [wait for wait, _ in charging.drivers("A")] == [
        wait for wait, _ in Charging({}, arrivals=three).drivers("A")
    ]
    seeds = [charging.options("A")["seed"], again.options("A")["seed"], again.again().options("A")["seed"]]
    assert len(set(seeds)) == 3


# -- What is shown ----------------------------------------------------------------------------------------------------


async def test_the_line_says_how_many_charge_and_with_what_power(
    csms: Csms, capsys: pytest.CaptureFixture[str]
) -> None:
    async def drive(station: Station) -> None:
        await station.charge(Vehicle(max_kw=11), token="TAG-1", minutes=60)

    fleet = stations(csms, 3, station={"speed": 1}, scenario=drive)
    await run_until_the_line_has(["3 booted, 3 sessions, 33 kW, "], fleet, capsys)


async def test_the_picture_has_power_sessions_and_failures(csms: Csms) -> None:
    from matplotlib.figure import Figure

    async def drive(station: Station) -> None:
        await station.charge(Vehicle(max_kw=11), token="TAG-1", minutes=60)

    fleet = stations(csms, 2, station={"speed": 1}, scenario=drive)
    result = await run_until(
        fleet,
        lambda: fleet.result and [load for load in fleet.result.load_samples if load[2] > 21.9],
        "both to charge",
    )
    axes = result.plot_power(ax=Figure().subplots(3))
    assert [ax.get_ylabel() for ax in axes] == ["power (kW)", "sessions", "calls"]
    assert axes[0].lines[0].get_ydata()[-1] == pytest.approx(22)
    assert axes[1].lines[0].get_ydata()[-1] == 2
    assert "real time" in axes[2].get_xlabel()


async def test_charge_points_that_are_no_stations_are_as_before(csms: Csms) -> None:
    async def scenario(cp: ChargePoint) -> None:
        assert type(cp) is ChargePoint

    result = await Fleet(csms.url, 1, ramp_time=0, scenario=scenario).run(SOON, **run_quietly)
    assert not result.load_samples
