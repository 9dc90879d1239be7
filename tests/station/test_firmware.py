"""Firmware updates as trains of statuses: L01 and L02 of OCPP 2.0.1, 5.19 of 1.6, L01 of its security white paper."""

from __future__ import annotations

import json

import pytest
from core_player import Player
from maintenance_player import KINDS, SIGNED, ask_update, lines, make, timeline, update_fields
from ocpp.exceptions import GenericError, PropertyConstraintViolationError

from cpsim_kit.station import Evse, Vehicle
from cpsim_kit.station.maintenance.firmware import DOWNLOAD_S, INSTALL_S, version_of
from cpsim_kit.station.rules.events import Accepted, Offline, Online, PlugIn, PowerOff, Unplug
from cpsim_kit.station.rules.memory import recall, remember

TWO = (Evse(), Evse())
ALLOW = {"ChargingStation.AllowNewSessionsPendingFirmwareUpdate": True}


def test_the_lengths_that_the_tables_are_made_with() -> None:
    assert (DOWNLOAD_S, INSTALL_S) == (30, 60)


TRAINS = {
    "1.6": [
        "30 Downloaded",
        "30 connector 1 Unavailable",
        "30 Installing",
        "95 boot FirmwareUpdate",
        "95 connector 0 Available",
        "95 connector 1 Available",
        "95 Installed",
    ],
    "1.6 signed": [
        "30 Downloaded 7",
        "30 SignatureVerified 7",
        "30 connector 1 Unavailable",
        "30 Installing 7",
        "90 InstallRebooting 7",
        "95 boot FirmwareUpdate",
        "95 connector 0 Available",
        "95 connector 1 Available",
        "95 Installed 7",
        "95 event FirmwareUpdated",
    ],
    "2.0.1": [
        "30 Downloaded 7",
        "30 connector 1 Unavailable",
        "30 Installing 7",
        "90 InstallRebooting 7",
        "95 boot FirmwareUpdate",
        "95 connector 1 Available",
        "95 event ResetOrReboot",
        "95 Installed 7",
        "95 event FirmwareUpdated",
    ],
}
TRAINS["2.0.1 signed"] = [*TRAINS["2.0.1"][:1], "30 SignatureVerified 7", *TRAINS["2.0.1"][1:]]
TRAINS |= {kind.replace("2.0.1", "2.1"): train for kind, train in TRAINS.items() if kind.startswith("2.0.1")}


def test_there_is_a_train_for_each_kind() -> None:
    assert set(TRAINS) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_an_update_is_a_train_of_statuses_and_ends_with_a_boot(kind: str) -> None:
    player, versions = make(kind), []
    player.core.on_firmware = versions.append
    status, said = ask_update(player, kind)
    assert status == ("" if kind == "1.6" else "Accepted")
    assert said == ["Downloading" if kind == "1.6" else "Downloading 7"]

    assert timeline(player, 89.9) == [line for line in TRAINS[kind] if not line.startswith("9")]
    assert versions == []
    player.now -= 89.9
    assert timeline(player, 600) == [line for line in TRAINS[kind] if line.startswith("9")]
    assert versions == ["2.1.0"]
    assert told_of_a_session(player)[0] != "refused"


def told_of_a_session(player: Player) -> list[str]:
    player.act("plug 1")
    said = player.act("swipe TAG-1 1")
    return lines(said) if said else ["refused"]


@pytest.mark.parametrize("kind", KINDS)
def test_firmware_from_what_is_no_url_is_installed_too(kind: str) -> None:
    player = make(kind)
    installed: list[str] = []
    player.core.on_firmware = installed.append
    ask_update(player, kind, location="ftp://[fw.example/fw-2.0.bin")
    assert timeline(player, 600) == TRAINS[kind]
    assert installed == ["2.0"]


@pytest.mark.parametrize("kind", KINDS[1:])
def test_download_and_installation_wait_for_their_dates(kind: str) -> None:  # L01.FR.13, .16; TC_L_02, TC_L_03
    player = make(kind)
    assert ask_update(player, kind, retrieve_in=100, install_in=500)[1] == ["DownloadScheduled 7"]
    lines_of = timeline(player, 2000)
    verified = ["130 SignatureVerified 7"] if kind.endswith("signed") else []
    assert lines_of[: 3 + len(verified)] == [
        "100 Downloading 7",
        "130 Downloaded 7",
        *verified,
        "130 InstallScheduled 7",
    ]
    assert lines_of[3 + len(verified) : 5 + len(verified)] == ["500 connector 1 Unavailable", "500 Installing 7"]
    assert "565 boot FirmwareUpdate" in lines_of


def test_a_date_to_retrieve_counts_in_1_6_too_and_has_no_status_there() -> None:
    player = make("1.6")
    assert ask_update(player, "1.6", retrieve_in=100) == ("", [])
    assert timeline(player, 130)[:2] == ["100 Downloading", "130 Downloaded"]


# -- Transactions -----------------------------------------------------------------------------------------------------


def charging(kind: str, **options: object) -> Player:
    """A station with two EVSEs, the first of which charges."""
    player = make(kind, evses=TWO, **options)
    player.do(PlugIn(Vehicle(soc=0.1), 1))
    player.act("swipe TAG-1 1")
    return player


@pytest.mark.parametrize("kind", KINDS)
def test_installing_waits_for_transactions_and_free_evses_are_unavailable(kind: str) -> None:  # L01.FR.06, .07, .34
    player = charging(kind)
    ask_update(player, kind)
    lines_of = [line for line in timeline(player, 500) if line.split()[1] not in ("Updated", "MeterValues")]
    assert lines_of[-1] == "30 connector 2 Unavailable"
    if kind != "1.6":
        assert "30 InstallScheduled 7" in lines_of
    assert not any("Installing" in line for line in lines_of)

    said = lines(player.act("unplug 1"))
    installing = "Installing" if kind == "1.6" else "Installing 7"
    assert said.index("connector 1 Unavailable") < said.index(installing)
    assert "connector 1 Available" in [line.split(" ", 1)[1] for line in timeline(player, 100)]


def test_nobody_begins_at_an_unavailable_evse() -> None:
    player = charging("2.0.1")
    ask_update(player, "2.0.1")
    timeline(player, 60)
    player.do(PlugIn(Vehicle(), 2))
    assert lines(player.act("swipe TAG-2 2")) == []
    assert player.act("remote start TAG-2 2")[0] == ("-> Rejected", {})


def test_new_sessions_begin_where_the_variable_allows_it_and_are_waited_for() -> None:  # TC_L_14
    player = charging("2.0.1", variables=ALLOW)
    ask_update(player, "2.0.1")
    assert "connector 2 Unavailable" not in " ".join(timeline(player, 60))
    player.do(PlugIn(Vehicle(soc=0.1), 2))
    assert "Started" in lines(player.act("swipe TAG-2 2"))
    assert not any(line.startswith("Installing") for line in lines(player.do(Unplug(1))))
    assert lines(player.do(Unplug(2)))[-3:] == ["connector 1 Unavailable", "connector 2 Unavailable", "Installing 7"]


def test_the_variable_takes_effect_while_an_update_waits() -> None:
    player = charging("2.0.1")
    ask_update(player, "2.0.1")
    timeline(player, 60)
    component, name = ({"name": part} for part in next(iter(ALLOW)).split("."))
    for value, status in (("true", "Available"), ("false", "Unavailable")):
        data = {"component": component, "variable": name, "attribute_value": value}
        _answer, said = player.command("SetVariables", set_variable_data=[data])
        assert lines(said) == [f"connector 2 {status}"]


def test_a_token_that_waits_for_its_vehicle_is_waited_for_where_new_sessions_are_allowed() -> None:
    player = make("2.0.1", variables=ALLOW)
    player.act("swipe TAG-1")
    ask_update(player, "2.0.1")
    assert timeline(player, 59)[-1] == "30 InstallScheduled 7"
    assert timeline(player, 2) == ["1 connector 1 Unavailable", "1 Installing 7"]  # C01.FR.26


def test_an_install_date_that_comes_during_a_transaction_is_waited_beyond() -> None:
    player = charging("2.0.1 signed")
    ask_update(player, "2.0.1 signed", install_in=300)
    lines_of = [line for line in timeline(player, 400) if not line.endswith("Updated")]
    assert lines_of[-2:] == ["30 InstallScheduled 7", "300 connector 2 Unavailable"]
    assert lines(player.act("unplug 1"))[-1] == "Installing 7"


def test_a_vehicle_that_stayed_begins_nothing_by_itself_after_the_update() -> None:
    player = make("2.0.1", variables={"TxCtrlr.TxStartPoint": "EVConnected", "TxCtrlr.TxStopPoint": "Authorized"})
    player.act("plug")
    player.act("swipe TAG-1")
    ask_update(player, "2.0.1")
    timeline(player, 40)
    player.act("swipe TAG-1")
    lines_of = timeline(player, 100)
    assert "65 boot FirmwareUpdate" in lines_of
    assert not any("Started" in line for line in lines_of)
    assert player.core.evses[1].vehicle is not None


# -- Asked for ---------------------------------------------------------------------------------------------------------


def ask_status(player: Player, kind: str) -> list[str]:
    action = "ExtendedTriggerMessage" if kind == "1.6 signed" else "TriggerMessage"
    answer, said = player.command(action, requested_message="FirmwareStatusNotification")
    assert answer.status == "Accepted"
    return lines(said)


@pytest.mark.parametrize("kind", KINDS)
def test_the_status_can_be_asked_for(kind: str) -> None:  # L01.FR.25, .26; F06.FR.16
    player, number = make(kind), "" if kind == "1.6" else " 7"
    assert ask_status(player, kind) == ["Idle"]
    ask_update(player, kind, retrieve_in=10)
    assert ask_status(player, kind) == ["Idle" if kind == "1.6" else "DownloadScheduled 7"]
    timeline(player, 20)
    assert ask_status(player, kind) == [f"Downloading{number}"]
    timeline(player, 30)
    assert ask_status(player, kind) == [f"Installing{number}"]
    timeline(player, 100)
    assert ask_status(player, kind) == ["Idle"]
    player.core.maintenance.firmware.fail_next("DownloadFailed", None)
    ask_update(player, kind)
    timeline(player, 100)
    assert ask_status(player, kind) == [f"DownloadFailed{number}"]


def test_a_status_that_1_6_has_no_word_for_is_the_nearest_one() -> None:
    player = charging("1.6")
    ask_update(player, "1.6")
    timeline(player, 100)
    assert ask_status(player, "1.6") == ["Downloaded"]


# -- Failures ---------------------------------------------------------------------------------------------------------

FAILURES = {
    ("DownloadFailed", "1.6"): ["30 DownloadFailed"],
    ("DownloadFailed", "2.0.1"): ["30 DownloadFailed 7"],
    ("InvalidSignature", "1.6 signed"): [
        "30 Downloaded 7",
        "30 InvalidSignature 7",
        "30 event InvalidFirmwareSignature",
    ],
    ("InvalidSignature", "2.0.1 signed"): [
        "30 Downloaded 7",
        "30 InvalidSignature 7",
        "30 event InvalidFirmwareSignature",
    ],
    ("InstallVerificationFailed", "1.6"): [
        "30 Downloaded",
        "30 connector 1 Unavailable",
        "30 Installing",
        "90 InstallationFailed",
        "90 connector 1 Available",
    ],
    ("InstallVerificationFailed", "2.0.1"): [
        "30 Downloaded 7",
        "30 connector 1 Unavailable",
        "30 Installing 7",
        "90 InstallVerificationFailed 7",
        "90 connector 1 Available",
    ],
    ("InstallationFailed", "2.1"): [
        "30 Downloaded 7",
        "30 connector 1 Unavailable",
        "30 Installing 7",
        "90 InstallationFailed 7",
        "90 connector 1 Available",
    ],
}


@pytest.mark.parametrize(("failure", "kind"), FAILURES)
def test_an_update_fails_on_request_once(failure: str, kind: str) -> None:
    player, versions = make(kind), []
    player.core.on_firmware = versions.append
    player.core.maintenance.firmware.fail_next(failure, None)
    ask_update(player, kind)
    assert timeline(player, 1000) == FAILURES[failure, kind]
    assert versions == []
    assert ask_update(player, kind, 7)[0] in ("", "Accepted")
    assert timeline(player, 1000) == TRAINS[kind]


@pytest.mark.parametrize("kind", SIGNED)
@pytest.mark.parametrize("status", ["InvalidCertificate", "RevokedCertificate"])
def test_an_invalid_certificate_is_refused_with_a_security_event(kind: str, status: str) -> None:  # TC_L_05
    player = make(kind)
    player.core.maintenance.firmware.fail_next(status, None)
    assert ask_update(player, kind) == (status, ["event InvalidFirmwareSigningCertificate"])
    assert timeline(player, 1000) == []
    assert ask_update(player, kind)[0] == "Accepted"


@pytest.mark.parametrize("missing", ["signature", "signing_certificate"])
def test_a_signature_or_certificate_that_is_missing_is_an_invalid_signature(missing: str) -> None:  # L01, step 5
    player = make("2.0.1")
    action, fields = update_fields(player, "2.0.1 signed")
    del fields["firmware"][missing]
    assert player.command(action, **fields)[0].status == "Accepted"
    assert timeline(player, 1000)[1:] == ["30 InvalidSignature 7", "30 event InvalidFirmwareSignature"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_number_of_any_length_is_no_trouble(kind: str) -> None:
    player = make(kind)
    player.core.maintenance.firmware.fail_next("DownloadFailed", 1)
    ask_update(player, kind, retries=10**400, retry_interval=10**400)
    assert timeline(player, 3600) == []
    assert player.core.due() > 1e11


@pytest.mark.parametrize(("kind", "retries"), [("1.6", 4), ("1.6 signed", 4), ("2.0.1", 3), ("2.1 signed", 3)])
def test_a_download_is_tried_as_often_as_the_csms_says(kind: str, retries: int) -> None:  # L01.FR.30; 6.55
    player = make(kind)
    player.core.maintenance.firmware.fail_next("DownloadFailed", None)
    ask_update(player, kind, retries=retries, retry_interval=100)
    number = "" if kind == "1.6" else " 7"
    assert timeline(player, 5000) == [
        *(f"{at} Downloading{number}" for at in (100, 200, 300)),
        f"330 DownloadFailed{number}",
    ]


def test_a_download_that_fails_twice_succeeds_at_the_third_attempt() -> None:
    player = make("2.0.1")
    player.core.maintenance.firmware.fail_next("DownloadFailed", 2)
    ask_update(player, "2.0.1", retries=5, retry_interval=10)
    assert timeline(player, 200)[:3] == ["30 Downloading 7", "60 Downloading 7", "90 Downloaded 7"]


def test_without_the_network_a_download_fails_and_is_told_afterwards() -> None:
    player = make("2.0.1")
    ask_update(player, "2.0.1")
    player.do(Offline())
    assert timeline(player, 100) == []
    assert lines(player.do(Online())) == ["connector 1 Available", "DownloadFailed 7"]
    player.do(Offline())
    assert lines(player.do(Online())) == []


# -- Another update meanwhile -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize("when", [0, 20, 100])  # DownloadScheduled, Downloading, InstallScheduled
def test_another_update_takes_the_place_of_one_that_is_not_being_installed(kind: str, when: int) -> None:  # TC_L_10
    player = make(kind)
    ask_update(player, kind, 7, retrieve_in=10, install_in=500)
    timeline(player, when)
    assert ask_update(player, kind, 8) == ("AcceptedCanceled", ["Downloading 8"])
    lines_of = timeline(player, 1000)
    assert not any(line.endswith(" 7") for line in lines_of)
    assert "95 Installed 8" in lines_of


def test_the_evses_are_free_again_when_another_update_takes_the_place_of_one_that_waits() -> None:
    player = charging("2.0.1")
    ask_update(player, "2.0.1", 7)
    timeline(player, 60)
    assert ask_update(player, "2.0.1", 8, retrieve_in=900)[1] == ["connector 2 Available", "DownloadScheduled 8"]


@pytest.mark.parametrize("kind", KINDS[1:])
def test_an_update_is_refused_while_one_is_being_installed(kind: str) -> None:  # L01.FR.27
    player = make(kind)
    ask_update(player, kind, 7)
    timeline(player, 40)
    assert ask_update(player, kind, 8) == ("Rejected", [])
    assert any(line.endswith("Installed 7") for line in timeline(player, 100))


def test_in_1_6_that_is_a_callerror_as_the_answer_has_no_status() -> None:
    player = make("1.6")
    ask_update(player, "1.6")
    timeline(player, 40)
    with pytest.raises(GenericError):
        ask_update(player, "1.6")
    assert timeline(player, 100)[-1] == "55 Installed"


@pytest.mark.parametrize("kind", KINDS)
def test_a_date_that_is_none_is_a_callerror(kind: str) -> None:
    player = make(kind)
    action, fields = update_fields(player, kind)
    (fields if kind == "1.6" else fields["firmware"])["retrieve_date" if kind == "1.6" else "retrieve_date_time"] = (
        "now"
    )
    with pytest.raises(PropertyConstraintViolationError):
        player.command(action, **fields)
    assert timeline(player, 100) == []


# -- Power loss -------------------------------------------------------------------------------------------------------


def of_another_object(player: Player, kind: str) -> Player:
    other = make(kind, is_started=False)
    other.now = player.now
    recall(other.core, json.loads(json.dumps(remember(player.core, player.now))))
    return other


@pytest.mark.parametrize("is_saved", [False, True])
@pytest.mark.parametrize(
    ("after", "begins_anew", "end"),
    [(10, "", 555), (110, "Downloading", 455), (150, "", 415), (520, "Installing", 65)],
)
def test_an_update_goes_on_after_a_power_loss(after: float, begins_anew: str, end: int, is_saved: bool) -> None:
    player = make("2.0.1")
    ask_update(player, "2.0.1", retrieve_in=100, install_in=500)
    timeline(player, after)
    player.do(PowerOff())
    assert timeline(player, 0) == []
    if is_saved:
        player = of_another_object(player, "2.0.1")
    said = [line for line in lines(player.do(Accepted())) if line.endswith(" 7")]
    assert said == ([f"{begins_anew} 7"] if begins_anew else [])
    assert f"{end} Installed 7" in timeline(player, 1000)


@pytest.mark.parametrize(("after", "downloads"), [(10, 2), (40, 1)])  # during the first attempt, and before the second
def test_an_attempt_that_a_power_loss_broke_off_does_not_count(after: float, downloads: int) -> None:
    player = make("2.0.1")
    player.core.maintenance.firmware.fail_next("DownloadFailed", None)
    ask_update(player, "2.0.1", retries=1, retry_interval=60)
    timeline(player, after)
    player.do(PowerOff())
    said = lines(player.do(Accepted())) + timeline(player, 1000)
    assert sum("Downloading" in line for line in said) == downloads
    assert said[-1].endswith("DownloadFailed 7")


def test_the_version_outlives_the_power_supply() -> None:
    player, versions = make("2.0.1"), []
    ask_update(player, "2.0.1")
    timeline(player, 200)
    other = make("2.0.1", is_started=False)
    other.core.on_firmware = versions.append
    recall(other.core, json.loads(json.dumps(remember(player.core, player.now))))
    assert versions == ["2.1.0"]
    assert "Installed 7" not in lines(other.do(Accepted()))


def test_security_events_wait_for_the_connection_and_outlive_the_power_supply() -> None:  # A04.FR.02
    player = make("2.0.1")
    player.do(Offline())
    player.core.report_security_event("MemoryExhaustion", player.now)
    assert player.said[-1][1] != "MemoryExhaustion"
    other = of_another_object(player, "2.0.1")
    assert lines(other.do(Accepted()))[-1] == "event MemoryExhaustion"
    assert "event MemoryExhaustion" not in lines(other.do(Accepted()))
    assert lines(player.do(Online()))[-1] == "event MemoryExhaustion"
    player.do(Offline())
    assert "event MemoryExhaustion" not in lines(player.do(Online()))


@pytest.mark.parametrize("kind", SIGNED)
def test_what_happens_before_the_station_is_accepted_is_said_once(kind: str) -> None:  # B02.FR.02
    player = make(kind, is_started=False)
    player.core.maintenance.firmware.fail_next("InvalidCertificate", None)
    assert ask_update(player, kind) == ("InvalidCertificate", [])
    assert ask_update(player, kind, retrieve_in=100) == ("Accepted", [])
    said = lines(player.do(Accepted()))
    assert [line for line in said if line.startswith(("event Invalid", "Download"))] == [
        "event InvalidFirmwareSigningCertificate",
        "DownloadScheduled 7",
    ]


@pytest.mark.parametrize("version", ["1.6", "2.0.1", "2.1"])
def test_a_queue_that_is_full_is_a_security_event(version: str) -> None:
    player = Player(version)
    player.act("plug")
    player.act("swipe TAG-1")
    player.act("offline")
    player.core.queue._limit = 5
    player.act("wait 600")
    assert player.core.queue.dropped
    events = [line for line in lines(player.act("online")) if line.startswith("event")]
    assert set(events) == (set() if version == "1.6" else {"event MemoryExhaustion"})


# -- The version ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("location", "version"),
    [
        ("https://x.example/fw-2.1.0.bin", "2.1.0"),
        ("ftp://user:secret@10.0.0.1:21/a/b/model-22.5-v3.0.7-rc1.tar.gz?x=9.9", "3.0.7"),
        ("https://x.example/firmware_v3.bin", "firmware_v3"),
        ("https://x.example/nightly", "nightly"),
        ("https://x.example/", "https://x.example/"),
        ("", ""),
        ("https://x.example/" + "f" * 80 + ".bin", "f" * 50),
        ("ftp://[fw.example/fw-2.0.bin", "2.0"),  # no URL: the bracket has no end
        ("fw-2.0.bin", "2.0"),
        ("https://2.0.example?fw=3.0", "https://2.0.example?fw=3.0"),
    ],
)
def test_the_version_is_read_from_the_file_name(location: str, version: str) -> None:
    assert version_of(location) == version


def test_a_very_long_number_is_read_as_any_other_name() -> None:
    assert version_of("https://x.example/" + "1" * 100_000) == "1" * 50
