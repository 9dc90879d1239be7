"""Uploads of logs, DataTransfer and GetTransactionStatus: N01, P01 and E14 of OCPP 2.0.1; 5.6 and 5.9 of 1.6."""

from __future__ import annotations

from typing import Any

import pytest
from core_player import Player
from maintenance_player import lines, timeline

from cpsim_kit.station.maintenance.maintenance import UPLOAD_S
from cpsim_kit.station.rules.events import Accepted, Offline, Online, PowerOff

LOGS = ("1.6", "2.0.1", "2.1")  # GetLog
KINDS = ("diagnostics", *LOGS)  # and GetDiagnostics of OCPP 1.6


def make(kind: str, **options: Any) -> Player:
    return Player("1.6" if kind == "diagnostics" else kind, **options)


def ask(player: Player, kind: str, number: int = 7, log_type: str = "DiagnosticsLog", **fields: Any) -> Any:
    """Ask for a log; ``oldest`` and ``latest`` are seconds of the player's clock. The answer, and what is said."""
    at = player.core.dialect.time
    oldest, latest = (fields.pop(name, None) for name in ("oldest", "latest"))
    if kind == "diagnostics":
        times = {"start_time": oldest, "stop_time": latest}
        more = {name: at(moment) for name, moment in times.items() if moment is not None}
        answer, said = player.command("GetDiagnostics", location="ftp://logs.example/", **more, **fields)
    else:
        times = {"oldest_timestamp": oldest, "latest_timestamp": latest}
        log = {name: at(moment) for name, moment in times.items() if moment is not None}
        log["remote_location"] = "https://logs.example/"
        answer, said = player.command("GetLog", log=log, log_type=log_type, request_id=number, **fields)
    return answer, lines(said)


def test_the_length_that_the_tables_are_made_with() -> None:
    assert UPLOAD_S == 10


@pytest.mark.parametrize("kind", KINDS)
def test_an_upload_is_a_train_of_statuses(kind: str) -> None:  # TC_N_25
    player = make(kind)
    answer, said = ask(player, kind)
    number = "" if kind == "diagnostics" else " 7"
    assert said == [f"Uploading{number}"]
    assert timeline(player, 100) == [f"10 Uploaded{number}"]
    assert (answer.file_name if kind == "diagnostics" else answer.filename) == "diagnostics-2027-01-15T080000Z.log"
    assert getattr(answer, "status", "Accepted") == "Accepted"


@pytest.mark.parametrize("kind", LOGS)
def test_the_security_log_is_another_file(kind: str) -> None:  # TC_N_35
    player = make(kind)
    answer, _said = ask(player, kind, log_type="SecurityLog")
    assert answer.filename == "security-2027-01-15T080000Z.log"
    assert timeline(player, 100) == ["10 Uploaded 7"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("oldest", "latest", "is_there"),
    [
        (None, None, True),
        (-1000, None, True),
        (None, 50, True),
        (10, 20, True),
        (60, 100, True),
        (101, None, True),
        (101, 200, True),
        (None, -1, False),
        (20, 10, False),
    ],
)
def test_a_time_of_which_the_log_has_nothing_is_refused(  # N01.FR.05, TC_N_34
    kind: str, oldest: float | None, latest: float | None, is_there: bool
) -> None:
    player = make(kind)
    player.wait(100)
    answer, said = ask(player, kind, oldest=oldest, latest=latest)
    assert bool(said) is is_there
    assert bool(timeline(player, 100)) is is_there
    if kind == "diagnostics":
        assert (answer.file_name is not None) is is_there
    else:
        assert answer.status == ("Accepted" if is_there else "Rejected")
        assert (answer.filename is not None) is is_there


def test_a_kind_of_log_that_the_station_does_not_have_is_refused() -> None:
    answer, said = ask(player := make("2.1"), "2.1", log_type="DataCollectorLog")
    assert (answer.status, said, timeline(player, 100)) == ("Rejected", [], [])


@pytest.mark.parametrize("kind", LOGS)
@pytest.mark.parametrize("failure", ["UploadFailure", "BadMessage", "PermissionDenied", "NotSupportedOperation"])
def test_an_upload_fails_on_request_once(kind: str, failure: str) -> None:  # N01.FR.10
    player = make(kind)
    player.core.maintenance.fail_next(failure, None)
    ask(player, kind)
    assert timeline(player, 100) == [f"10 {failure} 7"]
    ask(player, kind, 8)
    assert timeline(player, 100) == ["10 Uploaded 8"]


def test_diagnostics_fail_in_one_word() -> None:
    player = make("diagnostics")
    player.core.maintenance.fail_next("BadMessage", None)
    ask(player, "diagnostics")
    assert timeline(player, 100) == ["10 UploadFailed"]


@pytest.mark.parametrize(("kind", "retries"), [("diagnostics", 4), ("1.6", 4), ("2.0.1", 3), ("2.1", 3)])
def test_an_upload_is_tried_as_often_as_the_csms_says(kind: str, retries: int) -> None:  # TC_N_26 with its erratum
    player = make(kind)
    player.core.maintenance.fail_next("UploadFailure", None)
    ask(player, kind, retries=retries, retry_interval=60)
    number = "" if kind == "diagnostics" else " 7"
    failed = "UploadFailed" if kind == "diagnostics" else "UploadFailure"
    uploading = [f"{at} Uploading{number}" for at in (60, 120, 180)]
    assert timeline(player, 1000) == [*uploading, f"190 {failed}{number}"]


@pytest.mark.parametrize("fails", [1, 3])
def test_an_upload_that_fails_some_times_succeeds_then(fails: int) -> None:
    player = make("2.0.1")
    player.core.maintenance.fail_next("UploadFailure", fails)
    ask(player, "2.0.1", retries=5)
    assert [line.split()[1] for line in timeline(player, 1000)] == [*["Uploading"] * fails, "Uploaded"]
    ask(player, "2.0.1")
    assert timeline(player, 1000) == ["10 Uploaded 7"]


def test_attempts_are_counted_over_several_uploads() -> None:
    player = make("2.0.1")
    player.core.maintenance.fail_next("BadMessage", 2)
    for status in ("BadMessage", "BadMessage", "Uploaded"):
        ask(player, "2.0.1")
        assert timeline(player, 100) == [f"10 {status} 7"]


@pytest.mark.parametrize("kind", LOGS)
def test_another_log_takes_the_place_of_one_that_is_being_uploaded(kind: str) -> None:  # N01.FR.12, .20; TC_N_36
    player = make(kind)
    ask(player, kind, 7)
    answer, said = ask(player, kind, 8)
    assert answer.status == "AcceptedCanceled"
    assert said == [*([] if kind == "1.6" else ["AcceptedCanceled 7"]), "Uploading 8"]
    assert timeline(player, 100) == ["10 Uploaded 8"]
    assert ask(player, kind, 9)[0].status == "Accepted"


def test_diagnostics_take_the_place_of_others() -> None:
    player = make("diagnostics")
    ask(player, "diagnostics")
    timeline(player, 5)
    assert ask(player, "diagnostics")[1] == ["Uploading"]
    assert timeline(player, 100) == ["10 Uploaded"]


@pytest.mark.parametrize("kind", KINDS)
def test_without_the_network_an_upload_fails_and_is_told_afterwards(kind: str) -> None:
    player = make(kind)
    ask(player, kind)
    player.do(Offline())
    assert timeline(player, 30) == []
    assert lines(player.do(Online())) == ["UploadFailed" if kind == "diagnostics" else "UploadFailure 7"]
    player.do(Offline())
    assert lines(player.do(Online())) == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_status_can_be_asked_for(kind: str) -> None:  # N01.FR.13, F06.FR.15
    player = make(kind)
    action = "ExtendedTriggerMessage" if kind == "1.6" else "TriggerMessage"
    message = "DiagnosticsStatusNotification" if kind == "diagnostics" else "LogStatusNotification"
    ask(player, kind)
    number = "" if kind == "diagnostics" else " 7"
    for status in (f"Uploading{number}", "Idle"):
        assert lines(player.command(action, requested_message=message)[1]) == [status]
        timeline(player, 100)


def test_a_power_loss_breaks_an_upload_off() -> None:
    player = make("2.0.1")
    ask(player, "2.0.1")
    player.do(PowerOff())
    assert timeline(player, 100) == []
    assert lines(player.do(Accepted()))[-1] == "UploadFailure 7"
    assert timeline(player, 100) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_first_start", [True, False])
@pytest.mark.parametrize(("pending", "end"), [(4, 6), (60, 0)])
def test_an_upload_that_is_asked_for_before_the_station_is_accepted_goes_on(
    kind: str, is_first_start: bool, pending: int, end: int
) -> None:
    player = make(kind, is_started=not is_first_start)
    if not is_first_start:
        player.do(PowerOff())
    assert ask(player, kind)[1] == []  # B02.FR.02
    player.now += pending
    number = "" if kind == "diagnostics" else " 7"
    said = lines(player.do(Accepted()))
    assert [line for line in said if line.startswith("Upload")] == [f"Uploading{number}"]
    assert timeline(player, 100) == [f"{end} Uploaded{number}"]


@pytest.mark.parametrize("failure", ["Uploaded", "uploadfailure", "DownloadFailed", 1])
def test_a_failure_that_there_is_not_is_refused(failure: Any) -> None:
    maintenance = make("2.0.1").core.maintenance
    with pytest.raises(ValueError, match="fails with UploadFailure"):
        maintenance.fail_next(failure, None)
    with pytest.raises(ValueError, match="fails with DownloadFailed"):
        maintenance.firmware.fail_next(failure if failure != "DownloadFailed" else "Idle", None)
    for attempts in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="attempts"):
            maintenance.fail_next("UploadFailure", attempts)  # type: ignore[arg-type]


def test_a_station_that_was_asked_for_nothing_keeps_nothing() -> None:
    player = make("2.0.1")
    player.act("plug")
    player.act("swipe TAG-1")
    player.wait(1000)
    assert not player.core.has_maintenance


# -- DataTransfer and GetTransactionStatus ----------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.6", "2.0.1", "2.1"])
def test_data_of_a_vendor_is_not_known(version: str) -> None:  # P01.FR.05, TC_P_01
    answer, said = Player(version).command("DataTransfer", vendor_id="org.example", message_id="x", data="y")
    assert (answer.status, answer.data, said) == ("UnknownVendorId", None, [])


@pytest.mark.parametrize("version", ["2.0.1", "2.1"])
def test_the_status_of_a_transaction(version: str) -> None:  # E14.FR.01-.08
    player = Player(version)

    def status(key: str | None = None) -> tuple[bool | None, bool]:
        fields = {} if key is None else {"transaction_id": key}
        answer, said = player.command("GetTransactionStatus", **fields)
        assert said == []
        return answer.ongoing_indicator, answer.messages_in_queue

    assert status() == (None, False)
    assert status("unknown") == (False, False)
    player.act("plug")
    player.act("swipe TAG-1")
    key = player.core.transactions[0].key
    assert status(key) == (True, False)
    player.act("offline")
    player.act("wait 60")
    assert (status(key), status(), status("unknown")) == ((True, True), (None, True), (False, False))
    player.act("unplug")
    assert status(key) == (False, True)
    player.act("online")
    assert (status(key), status()) == ((False, False), (None, False))
