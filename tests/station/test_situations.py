"""Each situation of a session, as a table: acts in, messages out, for OCPP 2.0.1 and 1.6.

The messages are abbreviated by ``lines_of``; ``test_whole_sessions`` has all fields. Requirements are those of
OCPP 2.0.1 part 2 and its errata; a letter and a number after "1.6" is a move in its table of connector states (4.9),
numbers with dots are its chapters.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from core_player import Player
from message_lines import lines_of

from cpsim_kit.station import Evse
from cpsim_kit.station.rules.authorization import TokenInfo

TOKENS = {
    "TAG-1": TokenInfo("Accepted", "GROUP"),
    "TAG-1B": TokenInfo("Accepted", "GROUP"),
    "TAG-BLOCKED": TokenInfo("Blocked"),
}
IN_TRANSACTION = {"TAG-LATER": TokenInfo("Invalid")}  # accepted by Authorize only


@dataclass(frozen=True)
class Situation:
    """What happens, and what is said then: for each act the lines in 2.0.1, and the lines in 1.6."""

    name: str
    requirements: str
    acts: list[tuple[str, list[str], list[str] | None]]
    variables: dict[str, object] = field(default_factory=dict)
    keys: dict[str, object] = field(default_factory=dict)
    evses: tuple[Evse, ...] = (Evse(),)


SITUATIONS = [
    Situation(
        "cable_first",
        "E02.FR.01, .05, E07.FR.02, E01.FR.09; 1.6 4.9 A2 B3 C6 F1",
        [
            ("plug", ["status 1 Occupied"], ["status 1 Preparing"]),
            (
                "swipe TAG-1",
                [
                    "authorize TAG-1",
                    "Started 0 Authorized EVConnected TAG-1 evse 1 32 A Begin:1",
                    "Updated 1 ChargingStateChanged Charging 3 phases",
                ],
                ["authorize TAG-1", "start 1 TAG-1 0 Wh", "status 1 Charging"],
            ),
            (
                "wait 120",
                ["Updated 2 MeterValuePeriodic Periodic:9", "Updated 3 MeterValuePeriodic Periodic:9"],
                ["meter 1 transaction 1 Periodic:9", "meter 1 transaction 1 Periodic:9"],
            ),
            (
                "swipe TAG-1",
                ["Ended 4 StopAuthorized EVConnected Local TAG-1 Begin:1 End:1"],
                ["stop 1 Local 367 Wh TAG-1 Begin:1 Periodic:1 Periodic:1 End:1", "status 1 Finishing"],
            ),
            ("unplug", ["status 1 Available"], ["status 1 Available"]),
        ],
    ),
    Situation(
        "token_first",
        "E03.FR.01, E01.FR.16; 1.6 4.9 A2 B3",
        [
            ("swipe TAG-1", ["authorize TAG-1"], ["authorize TAG-1", "status 1 Preparing"]),
            (
                "plug",
                [
                    "status 1 Occupied",
                    "Started 0 CablePluggedIn EVConnected TAG-1 evse 1 32 A Begin:1",
                    "Updated 1 ChargingStateChanged Charging 3 phases",
                ],
                ["start 1 TAG-1 0 Wh", "status 1 Charging"],
            ),
            ("wait 60", ["Updated 2 MeterValuePeriodic Periodic:9"], ["meter 1 transaction 1 Periodic:9"]),
            (
                "swipe TAG-1",
                ["Ended 3 StopAuthorized EVConnected Local TAG-1 Begin:1 End:1"],
                ["stop 1 Local 183 Wh TAG-1 Begin:1 Periodic:1 End:1", "status 1 Finishing"],
            ),
            ("unplug", ["status 1 Available"], ["status 1 Available"]),
        ],
    ),
    Situation(
        "no_vehicle_in_time",
        "C01.FR.26; 1.6 9.1.6, 4.9 B1",
        [
            ("swipe TAG-1", ["authorize TAG-1"], ["authorize TAG-1", "status 1 Preparing"]),
            ("wait 59", [], []),
            ("wait 1", [], ["status 1 Available"]),
            ("plug", ["status 1 Occupied"], ["status 1 Preparing"]),
        ],
    ),
    Situation(
        "no_vehicle_in_time_after_a_transaction_started",
        "E03.FR.05",
        [
            ("swipe TAG-1", ["authorize TAG-1", "Started 0 Authorized Idle TAG-1"], None),
            ("wait 60", ["Ended 1 EVConnectTimeout Timeout"], None),
        ],
        variables={"TxCtrlr.TxStartPoint": "Authorized"},
    ),
    Situation(
        "no_token_in_time",
        "1.6 4.9 B6 F2",
        [
            ("plug", ["status 1 Occupied"], ["status 1 Preparing"]),
            ("wait 60", [], ["status 1 Finishing"]),
            (
                "swipe TAG-1",
                [
                    "authorize TAG-1",
                    "Started 0 Authorized EVConnected TAG-1 evse 1 32 A Begin:1",
                    "Updated 1 ChargingStateChanged Charging 3 phases",
                ],
                ["authorize TAG-1", "status 1 Preparing", "start 1 TAG-1 0 Wh", "status 1 Charging"],
            ),
            (
                "swipe TAG-1",
                ["Ended 2 StopAuthorized EVConnected Local TAG-1 Begin:1 End:1"],
                ["stop 1 Local 0 Wh TAG-1 Begin:1 End:1", "status 1 Finishing"],
            ),
            ("unplug", ["status 1 Available"], ["status 1 Available"]),
        ],
    ),
    Situation(
        "token_refused",
        "C01.FR.07, E02.FR.20",
        [
            ("plug", ["status 1 Occupied"], ["status 1 Preparing"]),
            ("swipe TAG-BLOCKED", ["authorize TAG-BLOCKED"], ["authorize TAG-BLOCKED"]),
            ("unplug", ["status 1 Available"], ["status 1 Available"]),
        ],
    ),
    Situation(
        "token_refused_with_the_transaction_running",
        "E02.FR.20",
        [
            ("plug", ["status 1 Occupied", "Started 0 CablePluggedIn EVConnected evse 1 32 A Begin:1"], None),
            ("swipe TAG-BLOCKED", ["authorize TAG-BLOCKED"], None),
            ("unplug", ["status 1 Available", "Ended 1 EVCommunicationLost Idle EVDisconnected Begin:1 End:1"], None),
        ],
        variables={"TxCtrlr.TxStartPoint": "EVConnected"},
    ),
    Situation(
        "token_refused_later",
        "E05.FR.10, E06.FR.04; 1.6 9.1.24",
        [
            ("plug", ["status 1 Occupied"], ["status 1 Preparing"]),
            (
                "swipe TAG-LATER",
                [
                    "authorize TAG-LATER",
                    "Started 0 Authorized EVConnected TAG-LATER evse 1 32 A Begin:1",
                    "Updated 1 ChargingStateChanged Charging 3 phases",
                    "Ended 2 Deauthorized EVConnected DeAuthorized Begin:1 End:1",
                ],
                [
                    "authorize TAG-LATER",
                    "start 1 TAG-LATER 0 Wh",
                    "status 1 Charging",
                    "stop 1 DeAuthorized 0 Wh Begin:1 End:1",
                    "status 1 Finishing",
                ],
            ),
            ("unplug", ["status 1 Available"], ["status 1 Available"]),
        ],
    ),
    Situation(
        "token_refused_later_and_the_transaction_goes_on",
        "E05.FR.02; 1.6 4.9 C5",
        [
            ("plug", ["status 1 Occupied"], ["status 1 Preparing"]),
            (
                "swipe TAG-LATER",
                [
                    "authorize TAG-LATER",
                    "Started 0 Authorized EVConnected TAG-LATER evse 1 32 A Begin:1",
                    "Updated 1 ChargingStateChanged Charging 3 phases",
                    "Updated 2 ChargingStateChanged SuspendedEVSE",
                ],
                ["authorize TAG-LATER", "start 1 TAG-LATER 0 Wh", "status 1 Charging", "status 1 SuspendedEVSE"],
            ),
            ("wait 60", ["Updated 3 MeterValuePeriodic Periodic:9"], ["meter 1 transaction 1 Periodic:9"]),
            (
                "swipe TAG-LATER",
                ["Ended 4 StopAuthorized EVConnected Local TAG-LATER Begin:1 End:1"],
                ["stop 1 Local 0 Wh TAG-LATER Begin:1 Periodic:1 End:1", "status 1 Finishing"],
            ),
            ("unplug", ["status 1 Available"], ["status 1 Available"]),
        ],
        variables={"TxCtrlr.StopTxOnInvalidId": False},
        keys={"StopTransactionOnInvalidId": False},
    ),
    Situation(
        "token_refused_later_with_energy_allowed",
        "E05.FR.03; 1.6 9.1.14",
        [
            ("plug", ["status 1 Occupied"], ["status 1 Preparing"]),
            (
                "swipe TAG-LATER",
                [
                    "authorize TAG-LATER",
                    "Started 0 Authorized EVConnected TAG-LATER evse 1 32 A Begin:1",
                    "Updated 1 ChargingStateChanged Charging 3 phases",
                ],
                ["authorize TAG-LATER", "start 1 TAG-LATER 0 Wh", "status 1 Charging"],
            ),
            ("wait 330", ["Updated 2 ChargingStateChanged SuspendedEVSE"], ["status 1 SuspendedEVSE"]),
            (
                "unplug",
                ["status 1 Available", "Ended 3 EVCommunicationLost Idle EVDisconnected Begin:1 End:1"],
                ["stop 1 EVDisconnected 1000 Wh Begin:1 End:1", "status 1 Available"],
            ),
        ],
        variables={
            "TxCtrlr.StopTxOnInvalidId": False,
            "TxCtrlr.MaxEnergyOnInvalidId": 1000,
            "SampledDataCtrlr.TxUpdatedInterval": 0,
        },
        keys={"StopTransactionOnInvalidId": False, "MaxEnergyOnInvalidId": 1000, "MeterValueSampleInterval": 0},
    ),
    Situation(
        "token_refused_later_and_the_cable_ends_it",
        "E05.FR.09",
        [
            ("plug", ["status 1 Occupied"], None),
            (
                "swipe TAG-LATER",
                [
                    "authorize TAG-LATER",
                    "Started 0 Authorized EVConnected TAG-LATER evse 1 32 A Begin:1",
                    "Updated 1 ChargingStateChanged Charging 3 phases",
                    "Updated 2 Deauthorized EVConnected",
                ],
                None,
            ),
            ("unplug", ["status 1 Available", "Ended 3 EVCommunicationLost Idle DeAuthorized Begin:1 End:1"], None),
        ],
        variables={"TxCtrlr.TxStopPoint": "EVConnected"},
    ),
    Situation(
        "same_token_stops_and_the_cable_ends_it",
        "E07.FR.01, table 433",
        [
            ("plug", ["status 1 Occupied"], None),
            (
                "swipe TAG-1",
                [
                    "authorize TAG-1",
                    "Started 0 Authorized EVConnected TAG-1 evse 1 32 A Begin:1",
                    "Updated 1 ChargingStateChanged Charging 3 phases",
                ],
                None,
            ),
            ("swipe TAG-1", ["Updated 2 StopAuthorized TAG-1", "Updated 3 ChargingStateChanged EVConnected"], None),
            ("unplug", ["status 1 Available", "Ended 4 EVCommunicationLost Idle Local Begin:1 End:1"], None),
        ],
        variables={"TxCtrlr.TxStopPoint": "EVConnected"},
    ),
    Situation(
        "token_of_the_same_group_stops",
        "C09.FR.03; 1.6 4.10",
        [
            ("plug", ["status 1 Occupied"], ["status 1 Preparing"]),
            (
                "swipe TAG-1",
                [
                    "authorize TAG-1",
                    "Started 0 Authorized EVConnected TAG-1 evse 1 32 A Begin:1",
                    "Updated 1 ChargingStateChanged Charging 3 phases",
                ],
                ["authorize TAG-1", "start 1 TAG-1 0 Wh", "status 1 Charging"],
            ),
            (
                "swipe TAG-1B",
                ["authorize TAG-1B", "Ended 2 StopAuthorized EVConnected Local TAG-1B Begin:1 End:1"],
                ["authorize TAG-1B", "stop 1 Local 0 Wh TAG-1B Begin:1 End:1", "status 1 Finishing"],
            ),
            ("unplug", ["status 1 Available"], ["status 1 Available"]),
        ],
    ),
    Situation(
        "other_token_is_refused",
        "C01.FR.23, C09",
        [
            ("plug", ["status 1 Occupied"], ["status 1 Preparing"]),
            (
                "swipe TAG-1",
                [
                    "authorize TAG-1",
                    "Started 0 Authorized EVConnected TAG-1 evse 1 32 A Begin:1",
                    "Updated 1 ChargingStateChanged Charging 3 phases",
                ],
                ["authorize TAG-1", "start 1 TAG-1 0 Wh", "status 1 Charging"],
            ),
            ("swipe TAG-9", ["authorize TAG-9"], ["authorize TAG-9"]),
            (
                "unplug",
                ["status 1 Available", "Ended 2 EVCommunicationLost Idle EVDisconnected Begin:1 End:1"],
                ["stop 1 EVDisconnected 0 Wh Begin:1 End:1", "status 1 Available"],
            ),
        ],
    ),
    Situation(
        "vehicle_suspends",
        "E01.FR.19; 1.6 4.9 C4 D3",
        [
            ("plug", ["status 1 Occupied"], ["status 1 Preparing"]),
            (
                "swipe TAG-1",
                [
                    "authorize TAG-1",
                    "Started 0 Authorized EVConnected TAG-1 evse 1 32 A Begin:1",
                    "Updated 1 ChargingStateChanged Charging 3 phases",
                ],
                ["authorize TAG-1", "start 1 TAG-1 0 Wh", "status 1 Charging"],
            ),
            ("suspend ev", ["Updated 2 ChargingStateChanged SuspendedEV"], ["status 1 SuspendedEV"]),
            ("resume ev", ["Updated 3 ChargingStateChanged Charging"], ["status 1 Charging"]),
            ("suspend ev", ["Updated 4 ChargingStateChanged SuspendedEV"], ["status 1 SuspendedEV"]),
            (
                "swipe TAG-1",
                ["Ended 5 StopAuthorized EVConnected Local TAG-1 Begin:1 End:1"],
                ["stop 1 Local 0 Wh TAG-1 Begin:1 End:1", "status 1 Finishing"],
            ),
            ("unplug", ["status 1 Available"], ["status 1 Available"]),
        ],
    ),
    Situation(
        "vehicle_suspends_with_stop_point_energy_transfer",
        "E06.FR.07, table 431",
        [
            ("plug", ["status 1 Occupied"], None),
            (
                "swipe TAG-1",
                [
                    "authorize TAG-1",
                    "Started 0 Authorized EVConnected TAG-1 evse 1 32 A Begin:1",
                    "Updated 1 ChargingStateChanged Charging 3 phases",
                ],
                None,
            ),
            ("suspend ev", ["Ended 2 ChargingStateChanged SuspendedEV StoppedByEV Begin:1 End:1"], None),
            ("resume ev", [], None),
            ("unplug", ["status 1 Available"], None),
        ],
        variables={"TxCtrlr.TxStopPoint": "EnergyTransfer"},
    ),
    Situation(
        "evse_suspends",
        "E01.FR.18; 1.6 4.9 C5 E4 D3, precedence",
        [
            ("plug", ["status 1 Occupied"], ["status 1 Preparing"]),
            (
                "swipe TAG-1",
                [
                    "authorize TAG-1",
                    "Started 0 Authorized EVConnected TAG-1 evse 1 32 A Begin:1",
                    "Updated 1 ChargingStateChanged Charging 3 phases",
                ],
                ["authorize TAG-1", "start 1 TAG-1 0 Wh", "status 1 Charging"],
            ),
            ("suspend evse", ["Updated 2 ChargingStateChanged SuspendedEVSE"], ["status 1 SuspendedEVSE"]),
            ("suspend ev", [], []),
            ("resume evse", ["Updated 3 ChargingStateChanged SuspendedEV"], ["status 1 SuspendedEV"]),
            ("resume ev", ["Updated 4 ChargingStateChanged Charging"], ["status 1 Charging"]),
        ],
    ),
    Situation(
        "cable_out_at_the_evse",
        "E06.FR.02; 1.6 4.9 C1",
        [
            ("plug", ["status 1 Occupied"], ["status 1 Preparing"]),
            (
                "swipe TAG-1",
                [
                    "authorize TAG-1",
                    "Started 0 Authorized EVConnected TAG-1 evse 1 32 A Begin:1",
                    "Updated 1 ChargingStateChanged Charging 3 phases",
                ],
                ["authorize TAG-1", "start 1 TAG-1 0 Wh", "status 1 Charging"],
            ),
            ("wait 30", [], []),
            (
                "unplug",
                ["status 1 Available", "Ended 2 EVCommunicationLost Idle EVDisconnected Begin:1 End:1"],
                ["stop 1 EVDisconnected 92 Wh Begin:1 End:1", "status 1 Available"],
            ),
        ],
    ),
    Situation(
        "cable_out_at_the_vehicle",
        "E09.FR.01; 1.6 4.9 C6 F1",
        [
            ("plug", ["status 1 Occupied"], ["status 1 Preparing"]),
            (
                "swipe TAG-1",
                [
                    "authorize TAG-1",
                    "Started 0 Authorized EVConnected TAG-1 evse 1 32 A Begin:1",
                    "Updated 1 ChargingStateChanged Charging 3 phases",
                ],
                ["authorize TAG-1", "start 1 TAG-1 0 Wh", "status 1 Charging"],
            ),
            ("wait 30", [], []),
            (
                "unplug ev",
                ["Ended 2 EVCommunicationLost Idle EVDisconnected Begin:1 End:1"],
                ["stop 1 EVDisconnected 92 Wh Begin:1 End:1", "status 1 Finishing (EV side disconnected)"],
            ),
            ("unplug", ["status 1 Available"], ["status 1 Available"]),
        ],
    ),
    Situation(
        "cable_out_at_the_vehicle_and_back",
        "E10; 1.6 4.9 C4",
        [
            ("plug", ["status 1 Occupied"], ["status 1 Preparing"]),
            (
                "swipe TAG-1",
                [
                    "authorize TAG-1",
                    "Started 0 Authorized EVConnected TAG-1 evse 1 32 A Begin:1",
                    "Updated 1 ChargingStateChanged Charging 3 phases",
                ],
                ["authorize TAG-1", "start 1 TAG-1 0 Wh", "status 1 Charging"],
            ),
            ("unplug ev", ["Updated 2 EVCommunicationLost Idle"], ["status 1 SuspendedEV (EV side disconnected)"]),
            ("wait 30", [], []),
            (
                "plug",
                ["Updated 3 CablePluggedIn EVConnected", "Updated 4 ChargingStateChanged Charging"],
                ["status 1 Charging"],
            ),
            (
                "swipe TAG-1",
                ["Ended 5 StopAuthorized EVConnected Local TAG-1 Begin:1 End:1"],
                ["stop 1 Local 0 Wh TAG-1 Begin:1 End:1", "status 1 Finishing"],
            ),
        ],
        variables={"TxCtrlr.StopTxOnEVSideDisconnect": False, "TxCtrlr.TxStopPoint": "Authorized"},
        keys={"StopTransactionOnEVSideDisconnect": False},
    ),
    Situation(
        "cable_out_at_the_vehicle_and_not_back",
        "E10.FR.02",
        [
            ("plug", ["status 1 Occupied"], ["status 1 Preparing"]),
            (
                "swipe TAG-1",
                [
                    "authorize TAG-1",
                    "Started 0 Authorized EVConnected TAG-1 evse 1 32 A Begin:1",
                    "Updated 1 ChargingStateChanged Charging 3 phases",
                ],
                ["authorize TAG-1", "start 1 TAG-1 0 Wh", "status 1 Charging"],
            ),
            ("unplug ev", ["Updated 2 EVCommunicationLost Idle"], ["status 1 SuspendedEV (EV side disconnected)"]),
            (
                "wait 60",
                ["Ended 3 EVCommunicationLost EVDisconnected Begin:1 End:1"],
                ["stop 1 EVDisconnected 0 Wh Begin:1 End:1", "status 1 Finishing (EV side disconnected)"],
            ),
            ("unplug", ["status 1 Available"], ["status 1 Available"]),
        ],
        variables={"TxCtrlr.StopTxOnEVSideDisconnect": False, "TxCtrlr.TxStopPoint": "Authorized"},
        keys={"StopTransactionOnEVSideDisconnect": False},
    ),
    Situation(
        "fault_while_charging",
        "E06.FR.16; 1.6 4.9 C9 I6",
        [
            ("plug", ["status 1 Occupied"], ["status 1 Preparing"]),
            (
                "swipe TAG-1",
                [
                    "authorize TAG-1",
                    "Started 0 Authorized EVConnected TAG-1 evse 1 32 A Begin:1",
                    "Updated 1 ChargingStateChanged Charging 3 phases",
                ],
                ["authorize TAG-1", "start 1 TAG-1 0 Wh", "status 1 Charging"],
            ),
            (
                "fault GroundFault",
                ["status 1 Faulted", "Ended 2 AbnormalCondition EVConnected GroundFault Begin:1 End:1"],
                ["stop 1 Other 0 Wh Begin:1 End:1", "status 1 Faulted GroundFailure"],
            ),
            ("clear fault", ["status 1 Occupied"], ["status 1 Finishing"]),
            ("unplug", ["status 1 Available"], ["status 1 Available"]),
        ],
    ),
    Situation(
        "fault_without_a_session",
        "1.6 4.9 A9 I1",
        [
            ("fault HighTemperature", ["status 1 Faulted"], ["status 1 Faulted HighTemperature"]),
            ("swipe TAG-1", [], []),
            ("clear fault", ["status 1 Available"], ["status 1 Available"]),
        ],
    ),
    Situation(
        "remote_start_with_the_cable_in",
        "F01.FR.19, .25, F02.FR.21, .26",
        [
            ("plug", ["status 1 Occupied"], ["status 1 Preparing"]),
            (
                "remote start TAG-1",
                [
                    "-> Accepted",
                    "Started 0 RemoteStart EVConnected remote 5 TAG-1 evse 1 32 A Begin:1",
                    "Updated 1 ChargingStateChanged Charging 3 phases",
                ],
                ["-> Accepted", "start 1 TAG-1 0 Wh", "status 1 Charging"],
            ),
            ("remote start TAG-1", ["-> Rejected"], ["-> Rejected"]),
            (
                "remote stop",
                ["-> Accepted", "Ended 2 RemoteStop EVConnected Remote Begin:1 End:1"],
                ["-> Accepted", "stop 1 Remote 0 Wh Begin:1 End:1", "status 1 Finishing"],
            ),
            ("remote stop", ["-> Rejected"], ["-> Rejected"]),
            ("unplug", ["status 1 Available"], ["status 1 Available"]),
        ],
    ),
    Situation(
        "remote_start_before_the_cable",
        "F02.FR.21",
        [
            ("remote start TAG-1 1", ["-> Accepted"], ["-> Accepted", "status 1 Preparing"]),
            (
                "plug",
                [
                    "status 1 Occupied",
                    "Started 0 RemoteStart EVConnected remote 5 TAG-1 evse 1 32 A Begin:1",
                    "Updated 1 ChargingStateChanged Charging 3 phases",
                ],
                ["start 1 TAG-1 0 Wh", "status 1 Charging"],
            ),
            (
                "remote stop",
                ["-> Accepted", "Ended 2 RemoteStop EVConnected Remote Begin:1 End:1"],
                ["-> Accepted", "stop 1 Remote 0 Wh Begin:1 End:1", "status 1 Finishing"],
            ),
            ("unplug", ["status 1 Available"], ["status 1 Available"]),
        ],
    ),
    Situation(
        "remote_start_without_a_vehicle_in_time",
        "F02.FR.07",
        [
            ("remote start TAG-1", ["-> Accepted", "Started 0 RemoteStart Idle remote 5 TAG-1"], None),
            ("wait 60", ["Ended 1 EVConnectTimeout Timeout"], None),
        ],
        variables={"TxCtrlr.TxStartPoint": "Authorized"},
    ),
    Situation(
        "remote_start_that_is_authorized_first",
        "F02.FR.09; 1.6 9.1.3",
        [
            ("plug", ["status 1 Occupied"], ["status 1 Preparing"]),
            (
                "remote start TAG-1",
                [
                    "-> Accepted",
                    "authorize TAG-1",
                    "Started 0 RemoteStart EVConnected remote 5 TAG-1 evse 1 32 A Begin:1",
                    "Updated 1 ChargingStateChanged Charging 3 phases",
                ],
                ["-> Accepted", "authorize TAG-1", "start 1 TAG-1 0 Wh", "status 1 Charging"],
            ),
            (
                "unplug",
                ["status 1 Available", "Ended 2 EVCommunicationLost Idle EVDisconnected Begin:1 End:1"],
                ["stop 1 EVDisconnected 0 Wh Begin:1 End:1", "status 1 Available"],
            ),
            ("plug", ["status 1 Occupied"], ["status 1 Preparing"]),
            (
                "remote start TAG-BLOCKED",
                ["-> Accepted", "authorize TAG-BLOCKED"],
                ["-> Accepted", "authorize TAG-BLOCKED"],
            ),
        ],
        variables={"AuthCtrlr.AuthorizeRemoteStart": True},
        keys={"AuthorizeRemoteTxRequests": True},
    ),
    Situation(
        "remote_start_at_an_unknown_evse",
        "F02.FR.25",
        [
            ("remote start TAG-1 9", ["-> Rejected"], ["-> Rejected"]),
        ],
    ),
    Situation(
        "remote_start_chooses_the_evse_with_the_vehicle",
        "F02.FR.22",
        [
            ("plug 2", ["status 2 Occupied"], ["status 2 Preparing"]),
            (
                "remote start TAG-1",
                [
                    "-> Accepted",
                    "Started 0 RemoteStart EVConnected remote 5 TAG-1 evse 2 32 A Begin:1",
                    "Updated 1 ChargingStateChanged Charging 3 phases",
                ],
                ["-> Accepted", "start 2 TAG-1 0 Wh", "status 2 Charging"],
            ),
        ],
        evses=(Evse(), Evse()),
    ),
    Situation(
        "remote_start_waits_for_the_cable_at_any_evse",
        "F02.FR.22",
        [
            ("remote start TAG-1", ["-> Accepted"], ["-> Accepted"]),
            (
                "plug 2",
                [
                    "status 2 Occupied",
                    "Started 0 RemoteStart EVConnected remote 5 TAG-1 evse 2 32 A Begin:1",
                    "Updated 1 ChargingStateChanged Charging 3 phases",
                ],
                ["status 2 Preparing", "start 2 TAG-1 0 Wh", "status 2 Charging"],
            ),
        ],
        evses=(Evse(), Evse()),
    ),
    Situation(
        "remote_stop_and_the_cable_ends_it",
        "F03.FR.02",
        [
            ("plug", ["status 1 Occupied"], None),
            (
                "remote start TAG-1",
                [
                    "-> Accepted",
                    "Started 0 RemoteStart EVConnected remote 5 TAG-1 evse 1 32 A Begin:1",
                    "Updated 1 ChargingStateChanged Charging 3 phases",
                ],
                None,
            ),
            (
                "remote stop",
                ["-> Accepted", "Updated 2 RemoteStop", "Updated 3 ChargingStateChanged EVConnected"],
                None,
            ),
            ("unplug", ["status 1 Available", "Ended 4 EVCommunicationLost Idle Remote Begin:1 End:1"], None),
        ],
        variables={"TxCtrlr.TxStopPoint": "EVConnected"},
    ),
    Situation(
        "two_evses_at_once",
        "E01.FR.07, .14",
        [
            ("plug 1", ["status 1 Occupied"], ["status 1 Preparing"]),
            (
                "swipe TAG-1",
                [
                    "authorize TAG-1",
                    "Started 0 Authorized EVConnected TAG-1 evse 1 32 A Begin:1",
                    "Updated 1 ChargingStateChanged Charging 3 phases",
                ],
                ["authorize TAG-1", "start 1 TAG-1 0 Wh", "status 1 Charging"],
            ),
            ("plug 2", ["status 2 Occupied"], ["status 2 Preparing"]),
            (
                "swipe TAG-9",
                [
                    "authorize TAG-9",
                    "Started 0 Authorized EVConnected TAG-9 evse 2 32 A Begin:1",
                    "Updated 1 ChargingStateChanged Charging 3 phases",
                ],
                ["authorize TAG-9", "start 2 TAG-9 0 Wh", "status 2 Charging"],
            ),
            (
                "wait 60",
                ["Updated 2 MeterValuePeriodic Periodic:9", "Updated 2 MeterValuePeriodic Periodic:9"],
                ["meter 1 transaction 1 Periodic:9", "meter 2 transaction 2 Periodic:9"],
            ),
            (
                "swipe TAG-1",
                ["Ended 3 StopAuthorized EVConnected Local TAG-1 Begin:1 End:1"],
                ["stop 1 Local 183 Wh TAG-1 Begin:1 Periodic:1 End:1", "status 1 Finishing"],
            ),
            ("unplug 1", ["status 1 Available"], ["status 1 Available"]),
            (
                "swipe TAG-9",
                ["Ended 3 StopAuthorized EVConnected Local TAG-9 Begin:1 End:1"],
                ["stop 2 Local 183 Wh TAG-9 Begin:1 Periodic:1 End:1", "status 2 Finishing"],
            ),
            ("unplug 2", ["status 2 Available"], ["status 2 Available"]),
        ],
        evses=(Evse(), Evse()),
    ),
    Situation(
        "token_first_at_a_station_with_two_evses",
        "E03, E01.FR.16",
        [
            ("swipe TAG-1", ["authorize TAG-1", "Started 0 Authorized Idle TAG-1"], None),
            (
                "plug 2",
                [
                    "status 2 Occupied",
                    "Updated 1 CablePluggedIn EVConnected evse 2 32 A",
                    "Updated 2 ChargingStateChanged Charging 3 phases Begin:1",
                ],
                None,
            ),
        ],
        variables={"TxCtrlr.TxStartPoint": "Authorized"},
        evses=(Evse(), Evse()),
    ),
    Situation(
        "unavailable",
        "F02.FR.25; G01",
        [
            ("plug", [], []),
            ("swipe TAG-1", [], []),
            ("remote start TAG-1", ["-> Rejected"], ["-> Rejected"]),
            ("unplug", [], []),
        ],
        evses=(Evse(available=False),),
    ),
    Situation(
        "full_vehicle",
        "E01.FR.19",
        [
            ("plug", ["status 1 Occupied"], ["status 1 Preparing"]),
            (
                "swipe TAG-1",
                [
                    "authorize TAG-1",
                    "Started 0 Authorized EVConnected TAG-1 evse 1 32 A Begin:1",
                    "Updated 1 ChargingStateChanged Charging 3 phases",
                ],
                ["authorize TAG-1", "start 1 TAG-1 0 Wh", "status 1 Charging"],
            ),
            ("wait 40000", ["Updated 2 ChargingStateChanged SuspendedEV"], ["status 1 SuspendedEV"]),
            (
                "swipe TAG-1",
                ["Ended 3 StopAuthorized EVConnected Local TAG-1 Begin:1 End:1"],
                ["stop 1 Local 41970 Wh TAG-1 Begin:1 End:1", "status 1 Finishing"],
            ),
        ],
        variables={"SampledDataCtrlr.TxUpdatedInterval": 0},
        keys={"MeterValueSampleInterval": 0},
    ),
]


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.name)
def test_ocpp_201_says_what_the_situation_demands(situation: Situation) -> None:
    require("2.0.1", situation, 1, situation.variables)


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.name)
def test_ocpp_21_says_the_same_as_201(situation: Situation) -> None:
    require("2.1", situation, 1, situation.variables)


@pytest.mark.parametrize(
    "situation", [each for each in SITUATIONS if each.acts[0][2] is not None], ids=lambda situation: situation.name
)
def test_ocpp_16_says_what_the_situation_demands(situation: Situation) -> None:
    require("1.6", situation, 2, situation.keys)


def require(version: str, situation: Situation, column: int, variables: dict[str, object]) -> None:
    player = Player(version, situation.evses, variables, TOKENS, IN_TRANSACTION)
    said = [(row[0], lines_of(player.act(row[0]))) for row in situation.acts]
    assert said == [(row[0], row[column]) for row in situation.acts]
