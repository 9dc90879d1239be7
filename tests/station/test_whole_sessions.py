"""Whole sessions with all fields of all messages, in order: the acts, and what is on the wire."""

from __future__ import annotations

import pytest
from core_player import Player, Said

from cpsim_kit.station import Evse, Vehicle
from cpsim_kit.station.rules.events import PlugIn

IN_201: list[Said] = [
    (
        "StatusNotification",
        {"timestamp": "2027-01-15T08:00:00.000Z", "connectorStatus": "Occupied", "evseId": 1, "connectorId": 1},
    ),
    (
        "TransactionEvent",
        {
            "eventType": "Started",
            "timestamp": "2027-01-15T08:00:00.000Z",
            "triggerReason": "CablePluggedIn",
            "seqNo": 0,
            "transactionInfo": {
                "transactionId": "cd613e30-d8f1-4adf-91b7-584a2265b1f5",
                "chargingState": "EVConnected",
            },
            "meterValue": [
                {
                    "timestamp": "2027-01-15T08:00:00.000Z",
                    "sampledValue": [
                        {
                            "value": 0,
                            "context": "Transaction.Begin",
                            "measurand": "Energy.Active.Import.Register",
                            "unitOfMeasure": {"unit": "Wh"},
                        }
                    ],
                }
            ],
            "cableMaxCurrent": 32,
            "evse": {"id": 1, "connectorId": 1},
        },
    ),
    ("Authorize", {"idToken": {"idToken": "TAG-1", "type": "ISO14443"}}),
    (
        "TransactionEvent",
        {
            "eventType": "Updated",
            "timestamp": "2027-01-15T08:00:00.000Z",
            "triggerReason": "Authorized",
            "seqNo": 1,
            "transactionInfo": {"transactionId": "cd613e30-d8f1-4adf-91b7-584a2265b1f5"},
            "idToken": {"idToken": "TAG-1", "type": "ISO14443"},
        },
    ),
    (
        "TransactionEvent",
        {
            "eventType": "Updated",
            "timestamp": "2027-01-15T08:00:00.000Z",
            "triggerReason": "ChargingStateChanged",
            "seqNo": 2,
            "transactionInfo": {"transactionId": "cd613e30-d8f1-4adf-91b7-584a2265b1f5", "chargingState": "Charging"},
            "numberOfPhasesUsed": 3,
        },
    ),
    (
        "TransactionEvent",
        {
            "eventType": "Updated",
            "timestamp": "2027-01-15T08:01:00.000Z",
            "triggerReason": "MeterValuePeriodic",
            "seqNo": 3,
            "transactionInfo": {"transactionId": "cd613e30-d8f1-4adf-91b7-584a2265b1f5"},
            "meterValue": [
                {
                    "timestamp": "2027-01-15T08:01:00.000Z",
                    "sampledValue": [
                        {
                            "value": 183,
                            "context": "Sample.Periodic",
                            "measurand": "Energy.Active.Import.Register",
                            "unitOfMeasure": {"unit": "Wh"},
                        },
                        {
                            "value": 11000.0,
                            "context": "Sample.Periodic",
                            "measurand": "Power.Active.Import",
                            "unitOfMeasure": {"unit": "W"},
                        },
                        {
                            "value": 15.94,
                            "context": "Sample.Periodic",
                            "measurand": "Current.Import",
                            "phase": "L1",
                            "unitOfMeasure": {"unit": "A"},
                        },
                        {
                            "value": 15.94,
                            "context": "Sample.Periodic",
                            "measurand": "Current.Import",
                            "phase": "L2",
                            "unitOfMeasure": {"unit": "A"},
                        },
                        {
                            "value": 15.94,
                            "context": "Sample.Periodic",
                            "measurand": "Current.Import",
                            "phase": "L3",
                            "unitOfMeasure": {"unit": "A"},
                        },
                        {
                            "value": 230.0,
                            "context": "Sample.Periodic",
                            "measurand": "Voltage",
                            "phase": "L1-N",
                            "unitOfMeasure": {"unit": "V"},
                        },
                        {
                            "value": 230.0,
                            "context": "Sample.Periodic",
                            "measurand": "Voltage",
                            "phase": "L2-N",
                            "unitOfMeasure": {"unit": "V"},
                        },
                        {
                            "value": 230.0,
                            "context": "Sample.Periodic",
                            "measurand": "Voltage",
                            "phase": "L3-N",
                            "unitOfMeasure": {"unit": "V"},
                        },
                        {
                            "value": 30.3,
                            "context": "Sample.Periodic",
                            "measurand": "SoC",
                            "location": "EV",
                            "unitOfMeasure": {"unit": "Percent"},
                        },
                    ],
                }
            ],
        },
    ),
    (
        "TransactionEvent",
        {
            "eventType": "Ended",
            "timestamp": "2027-01-15T08:01:00.000Z",
            "triggerReason": "StopAuthorized",
            "seqNo": 4,
            "transactionInfo": {
                "transactionId": "cd613e30-d8f1-4adf-91b7-584a2265b1f5",
                "chargingState": "EVConnected",
                "stoppedReason": "Local",
            },
            "meterValue": [
                {
                    "timestamp": "2027-01-15T08:00:00.000Z",
                    "sampledValue": [
                        {
                            "value": 0,
                            "context": "Transaction.Begin",
                            "measurand": "Energy.Active.Import.Register",
                            "unitOfMeasure": {"unit": "Wh"},
                        }
                    ],
                },
                {
                    "timestamp": "2027-01-15T08:01:00.000Z",
                    "sampledValue": [
                        {
                            "value": 183,
                            "context": "Transaction.End",
                            "measurand": "Energy.Active.Import.Register",
                            "unitOfMeasure": {"unit": "Wh"},
                        }
                    ],
                },
            ],
            "idToken": {"idToken": "TAG-1", "type": "ISO14443"},
        },
    ),
    (
        "StatusNotification",
        {"timestamp": "2027-01-15T08:01:30.000Z", "connectorStatus": "Available", "evseId": 1, "connectorId": 1},
    ),
]

IN_16: list[Said] = [
    (
        "StatusNotification",
        {"connectorId": 1, "errorCode": "NoError", "status": "Preparing", "timestamp": "2027-01-15T08:00:00.000Z"},
    ),
    ("Authorize", {"idTag": "TAG-1"}),
    (
        "StartTransaction",
        {"connectorId": 1, "idTag": "TAG-1", "meterStart": 0, "timestamp": "2027-01-15T08:00:00.000Z"},
    ),
    (
        "StatusNotification",
        {"connectorId": 1, "errorCode": "NoError", "status": "Charging", "timestamp": "2027-01-15T08:00:00.000Z"},
    ),
    (
        "MeterValues",
        {
            "connectorId": 1,
            "meterValue": [
                {
                    "timestamp": "2027-01-15T08:01:00.000Z",
                    "sampledValue": [
                        {
                            "value": "833",
                            "context": "Sample.Periodic",
                            "measurand": "Energy.Active.Import.Register",
                            "unit": "Wh",
                        },
                        {
                            "value": "50000",
                            "context": "Sample.Periodic",
                            "measurand": "Power.Active.Import",
                            "unit": "W",
                        },
                        {"value": "125", "context": "Sample.Periodic", "measurand": "Current.Import", "unit": "A"},
                        {"value": "400", "context": "Sample.Periodic", "measurand": "Voltage", "unit": "V"},
                        {
                            "value": "31.4",
                            "context": "Sample.Periodic",
                            "measurand": "SoC",
                            "location": "EV",
                            "unit": "Percent",
                        },
                    ],
                }
            ],
            "transactionId": 1,
        },
    ),
    (
        "StopTransaction",
        {
            "meterStop": 833,
            "timestamp": "2027-01-15T08:01:00.000Z",
            "transactionId": 1,
            "reason": "Local",
            "idTag": "TAG-1",
            "transactionData": [
                {
                    "timestamp": "2027-01-15T08:00:00.000Z",
                    "sampledValue": [
                        {
                            "value": "0",
                            "context": "Transaction.Begin",
                            "measurand": "Energy.Active.Import.Register",
                            "unit": "Wh",
                        }
                    ],
                },
                {
                    "timestamp": "2027-01-15T08:01:00.000Z",
                    "sampledValue": [
                        {
                            "value": "833",
                            "context": "Sample.Periodic",
                            "measurand": "Energy.Active.Import.Register",
                            "unit": "Wh",
                        }
                    ],
                },
                {
                    "timestamp": "2027-01-15T08:01:00.000Z",
                    "sampledValue": [
                        {
                            "value": "833",
                            "context": "Transaction.End",
                            "measurand": "Energy.Active.Import.Register",
                            "unit": "Wh",
                        }
                    ],
                },
            ],
        },
    ),
    (
        "StatusNotification",
        {"connectorId": 1, "errorCode": "NoError", "status": "Finishing", "timestamp": "2027-01-15T08:01:00.000Z"},
    ),
    (
        "StatusNotification",
        {"connectorId": 1, "errorCode": "NoError", "status": "Available", "timestamp": "2027-01-15T08:01:30.000Z"},
    ),
]


@pytest.mark.parametrize(
    ("version", "evse", "vehicle", "variables", "said"),
    [
        ("2.0.1", Evse(22), Vehicle(60, 0.3, 11), {"TxCtrlr.TxStartPoint": "EVConnected"}, IN_201),
        ("2.1", Evse(22), Vehicle(60, 0.3, 11), {"TxCtrlr.TxStartPoint": "EVConnected"}, IN_201),
        ("1.6", Evse(50, "DC"), Vehicle(60, 0.3, 50), {}, IN_16),
    ],
)
def test_every_field_of_a_session_of_a_minute(
    version: str, evse: Evse, vehicle: Vehicle, variables: dict[str, object], said: list[Said]
) -> None:
    player = Player(version, [evse], variables)
    player.said.clear()
    player.do(PlugIn(Vehicle(vehicle.capacity_kwh, vehicle.soc, vehicle.max_kw)))
    player.act("swipe TAG-1")
    player.wait(60)
    player.act("swipe TAG-1")
    player.wait(30)
    player.act("unplug")
    assert player.said == said
