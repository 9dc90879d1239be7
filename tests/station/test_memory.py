"""What outlives the power supply: saved, loaded, and told to the CSMS afterwards."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from core_player import Player, Said
from csms_stub import Csms, answer
from message_lines import lines_of

from cpsim_kit.station import Evse, Station, Vehicle
from cpsim_kit.station.rules.authorization import TokenInfo
from cpsim_kit.station.rules.events import Accepted, Answer, Failure, Outgoing, Swipe
from cpsim_kit.station.rules.memory import recall, remember

OFFLINE_TX = "AuthCtrlr.OfflineTxForUnknownIdEnabled"
TOKENS = {"TAG-1": TokenInfo("Accepted", "GROUP", (1,), 4e9)}


def after_a_power_loss(player: Player, version: str, evses: int = 1) -> Player:
    """Another player whose core has the memory of this one's."""
    data = json.loads(json.dumps(remember(player.core, player.now)))
    other = Player(version, [Evse()] * evses, tokens=TOKENS, is_started=False)
    recall(other.core, data)
    return other


@pytest.mark.parametrize("version", ["1.6", "2.0.1", "2.1"])
def test_the_queue_outlives_the_process_and_is_sent_in_order(version: str) -> None:
    player = Player(version, tokens=TOKENS)
    player.act("plug")
    player.act("swipe TAG-1")
    player.act("offline")
    player.act("wait 180")
    waiting = len(player.core.queue)
    assert waiting == 3

    other = after_a_power_loss(player, version)
    lines = lines_of(other.do(Accepted()))

    if version == "1.6":
        assert [line for line in lines if line.startswith(("meter", "stop"))] == [
            *["meter 1 transaction 1 Periodic:9"] * 3,
            "stop 1 PowerLoss 550 Wh Begin:1 Periodic:1 Periodic:1 Periodic:1 End:1",
        ]
    else:
        events = [line for line in lines if line.startswith(("Updated", "Ended"))]
        assert [line.split()[1] for line in events] == ["2", "3", "4", "5"]
        assert events[-1].startswith("Ended 5 AbnormalCondition")
    assert other.core.evses[1].reading_wh(other.now) == 550
    assert [each.end_wh for each in other.core.transactions] == [550]


def test_variables_and_known_tokens_outlive_it() -> None:
    player = Player(
        variables={"TxCtrlr.TxStartPoint": "EVConnected", "AuthCtrlr.LocalPreAuthorize": True}, tokens=TOKENS
    )
    player.act("plug")
    player.act("swipe TAG-1")
    player.act("swipe TAG-1")
    player.act("unplug")
    other = after_a_power_loss(player, "2.0.1")
    other.do(Accepted())
    assert other.core.variables["TxCtrlr.TxStartPoint"] == ("EVConnected",)
    other.act("plug")
    assert lines_of(other.act("swipe TAG-1"))[0].startswith("Updated 1 Authorized TAG-1")


def test_ended_transactions_stay_in_the_truth() -> None:
    player = Player()
    player.act("plug")
    player.act("swipe TAG-1")
    player.act("wait 600")
    player.act("unplug")
    other = after_a_power_loss(player, "2.0.1")
    assert [(each.start_wh, each.end_wh) for each in other.core.transactions] == [(0, 1833)]


@pytest.mark.parametrize(("version", "unknown"), [("1.6", "AllowOfflineTxForUnknownId"), ("2.0.1", OFFLINE_TX)])
def test_a_transaction_of_which_nothing_was_said_yet_is_told_by_another_process(version: str, unknown: str) -> None:
    player = Player(version, variables={unknown: True})
    for act in ("offline", "plug", "swipe TAG-1", "wait 200"):
        player.act(act)
    (before,) = player.core.transactions
    assert math.isnan(before.reported_start_wh)
    other = after_a_power_loss(player, version)
    (transaction,) = other.core.transactions
    assert [math.isnan(wh) for wh in (transaction.reported_start_wh, transaction.reported_end_wh)] == [True, True]
    other.do(Accepted())
    assert (transaction.reported_start_wh, transaction.reported_end_wh) == (0, transaction.end_wh)


def test_a_transaction_whose_start_was_refused_is_told_further_by_another_process() -> None:
    player = Player(variables={OFFLINE_TX: True})

    def refuse_start(message: Outgoing, said: Said) -> Answer | Failure:
        is_start = said[1].get("eventType") == "Started"
        return Failure(message, is_final=True) if is_start else player.answer(message, said)

    player.answers = refuse_start
    for act in ("plug", "swipe TAG-1", "offline", "wait 200"):
        player.act(act)
    other = after_a_power_loss(player, "2.0.1")
    other.do(Accepted())
    (transaction,) = other.core.transactions
    assert (transaction.reported_start_wh, transaction.reported_end_wh) == (0, transaction.end_wh)


def test_a_transaction_without_an_evse_ends_when_another_process_starts() -> None:
    player = Player(evses=[Evse(), Evse()], variables={"TxCtrlr.TxStartPoint": "Authorized"})
    assert lines_of(player.act("swipe TAG-1")) == ["authorize TAG-1", "Started 0 Authorized Idle TAG-1"]
    other = after_a_power_loss(player, "2.0.1", 2)
    assert "Ended 1 AbnormalCondition PowerLoss" in lines_of(other.do(Accepted()))
    assert other.core.transactions[0].end == other.now
    other.act("plug 1")
    other.act("swipe TAG-1")
    assert other.core.evses[1].power_kw(other.now) > 0


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
def test_a_loaded_station_has_no_power_before_it_starts(version: str) -> None:
    other = after_a_power_loss(Player(version), version)
    swipe = Swipe(other.core.dialect.token("TAG-1", "ISO14443"))
    assert other.do(swipe) == []
    assert swipe.result is not None
    assert swipe.result.reason == "the station has no power"
    other.do(Accepted())
    assert other.core.has_power


@pytest.mark.parametrize(
    "data", [{}, {"format": 99, "version": "2.0.1"}, {"format": 1, "version": "1.6"}, {"format": 1, "version": "2.0.1"}]
)
def test_what_is_no_memory_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"not the memory|it is format"):
        recall(Player().core, data)


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_a_saved_station_goes_on_in_another_object(version: str, tmp_path: Path) -> None:
    async with Csms() as csms:
        if version == "1.6":
            csms.on["Authorize"] = answer({"idTagInfo": {"status": "Accepted"}})
            csms.on["StartTransaction"] = answer({"transactionId": 7, "idTagInfo": {"status": "Accepted"}})
        url = f"ws://127.0.0.1:{csms.port}"
        async with Station("CP1", url, version=version, evses=[Evse(11)], speed=math.inf) as station:
            await station.plug_in(Vehicle())
            await station.swipe("TAG-1")
            await station.until(minutes=10)
            await station.disconnect()
            await station.until(minutes=10)
            saved = station.save(tmp_path / "CP1.json")
            later = station.now
            waiting = len(station.queue)
        csms.calls.clear()
        async with Station.load(saved, url, speed=math.inf) as loaded:
            assert loaded.now >= later
            assert loaded.evses[1].energy_kwh == pytest.approx(11 / 3)
            assert len(loaded.queue) == 0
            actions = [call.action for call in csms.calls]
            assert actions.count("MeterValues" if version == "1.6" else "TransactionEvent") == waiting + (
                version != "1.6"
            )
            assert loaded.truth().energy_wh.tolist() == [3667]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"id": "CP1"}'])
def test_a_file_that_is_no_saved_station_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "CP1.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"CP1\.json is not a saved station"):
        Station.load(path, "ws://127.0.0.1:1")


async def test_a_station_that_is_closed_says_what_it_did_not_send(caplog: pytest.LogCaptureFixture) -> None:
    async with Csms() as csms, Station("CP1", f"ws://127.0.0.1:{csms.port}", speed=math.inf) as station:
        await station.plug_in(Vehicle())
        await station.swipe("TAG-1")
        await station.disconnect()
        await station.until(minutes=3)
        await station.close()
        await station.close()
    assert caplog.messages == ["CP1: closed, and 3 transaction messages were not sent"]


async def test_power_off_and_on(tmp_path: Path) -> None:
    async with Csms() as csms, Station("CP1", f"ws://127.0.0.1:{csms.port}", speed=math.inf) as station:
        await station.plug_in(Vehicle())
        await station.swipe("TAG-1")
        await station.until(minutes=10)
        await station.power_off()
        assert "offline" in repr(station)
        assert station.evses[1].power_kw == 0
        assert (await station.swipe("TAG-1")).reason == "the station has no power"
        csms.calls.clear()
        await station.power_on()
        actions = [call.action for call in csms.calls]
        assert actions[0] == "BootNotification"
        assert sorted(actions[1:]) == ["SecurityEventNotification", "StatusNotification", "TransactionEvent"]
        ended = next(call.payload for call in csms.calls if call.action == "TransactionEvent")
        assert ended["transactionInfo"]["stoppedReason"] == "PowerLoss"
        assert ended["offline"] is True
        await station.unplug()
        session = await station.charge(Vehicle(), token="TAG-1", minutes=6)
        assert session.energy_wh == 1100
