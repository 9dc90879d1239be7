"""The device model: the components and variables of a station, with their types, limits and defaults. Pure: no I/O.

The names are those of OCPP 2.0.1 part 2, "Referenced Components and Variables", and part 4, 8; the spellings those of
``dm_components_vars.csv`` of its appendices. The keys of OCPP 1.6 are other names for the same values: see
``dialects.v16``. All stations share these tables.

Displays, ISO 15118, tariffs and costs are not there. MonitoringCtrlr says that it is not available.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from cpsim_kit.station.charging.meter import MEASURANDS
from cpsim_kit.station.charging.transaction import POINTS
from cpsim_kit.station.device_model import live_values
from cpsim_kit.station.device_model.variable import Address, Live, Variable
from cpsim_kit.station.profiles.smart_charging import MAX_PERIODS, MAX_PROFILES, MAX_STACK_LEVEL
from cpsim_kit.station.rules.authorization import MAX_TOKENS

__all__ = [
    "MAX_BYTES",
    "MAX_ITEMS",
    "PLACES",
    "VARIABLES",
    "addresses",
    "all_names",
    "find_name",
    "has_component",
    "model",
]

MAX_ITEMS = 50  # in one GetVariables, SetVariables or GetReport, and keys of GetConfiguration
MAX_BYTES = 131_072  # of a message: what AWS IoT Core takes

_REGISTER = ("Energy.Active.Import.Register",)
_UPDATED = (*_REGISTER, "Power.Active.Import", "Current.Import", "Voltage", "SoC")
_ALL = tuple(MEASURANDS)
_STATES = ("Available", "Occupied", "Reserved", "Unavailable", "Faulted")
_PROFILES = ("1", "2")  # slots of network connections: by wire and by radio, both to the same CSMS
_PROTOCOLS = ("FTP", "FTPS", "HTTP", "HTTPS", "SFTP")


def _boolean(name: str, default: bool, **more: Any) -> Variable:
    return Variable(name, "boolean", default, **more)


def _integer(name: str, default: int | None, unit: str = "s", **more: Any) -> Variable:
    return Variable(name, "integer", default, unit, **more)


def _fixed(name: str, type: str, default: Any, **more: Any) -> Variable:  # noqa: A002
    return Variable(name, type, default, mutability="ReadOnly", **more)


def _live(name: str, type: str, live: Live, **more: Any) -> Variable:  # noqa: A002
    return Variable(name, type, mutability="ReadOnly", live=live, **more)


def _points(name: str, default: tuple[str, ...]) -> Variable:
    return Variable(name, "MemberList", default, members=POINTS, may_be_empty=False)


def _measurands(name: str, default: tuple[str, ...]) -> Variable:
    return Variable(name, "MemberList", default, members=_ALL)


_TRANSACTIONS = (
    _points("TxCtrlr.TxStartPoint", ("PowerPathClosed",)),
    _points("TxCtrlr.TxStopPoint", ("EVConnected", "Authorized")),
    _integer("TxCtrlr.EVConnectionTimeOut", 60),
    _boolean("TxCtrlr.StopTxOnEVSideDisconnect", True),
    _boolean("TxCtrlr.StopTxOnInvalidId", True),
    _integer("TxCtrlr.MaxEnergyOnInvalidId", None, "Wh"),
)
_METERING = (
    _fixed("SampledDataCtrlr.Available", "boolean", True),
    _boolean("SampledDataCtrlr.Enabled", True),
    _measurands("SampledDataCtrlr.TxStartedMeasurands", _REGISTER),
    _measurands("SampledDataCtrlr.TxUpdatedMeasurands", _UPDATED),
    _integer("SampledDataCtrlr.TxUpdatedInterval", 60),
    _measurands("SampledDataCtrlr.TxEndedMeasurands", _REGISTER),
    _integer("SampledDataCtrlr.TxEndedInterval", 0),
    _fixed("SampledDataCtrlr.RegisterValuesWithoutPhases", "boolean", True),
    _fixed("AlignedDataCtrlr.Available", "boolean", True),
    _boolean("AlignedDataCtrlr.Enabled", True),
    _integer("AlignedDataCtrlr.Interval", 0),
    _measurands("AlignedDataCtrlr.Measurands", _REGISTER),
    _integer("AlignedDataCtrlr.TxEndedInterval", 0),
    _measurands("AlignedDataCtrlr.TxEndedMeasurands", ()),
    _boolean("AlignedDataCtrlr.SendDuringIdle", False),
)
_AUTHORIZATION = (
    _boolean("AuthCtrlr.LocalPreAuthorize", False),
    _boolean("AuthCtrlr.AuthorizeRemoteStart", False),
    _boolean("AuthCtrlr.LocalAuthorizeOffline", True),
    _boolean("AuthCtrlr.OfflineTxForUnknownIdEnabled", False),
    _fixed("LocalAuthListCtrlr.Available", "boolean", True),
    _boolean("LocalAuthListCtrlr.Enabled", True),
    _live("LocalAuthListCtrlr.Entries", "integer", live_values.list_entries, maximum=MAX_TOKENS),
    _fixed("LocalAuthListCtrlr.ItemsPerMessage", "integer", MAX_TOKENS, minimum=1, maximum=MAX_TOKENS),
    _fixed("LocalAuthListCtrlr.BytesPerMessage", "integer", MAX_BYTES, minimum=1),
    _fixed("LocalAuthListCtrlr.SupportsExpiryDateTime", "boolean", True),
    _fixed("AuthCacheCtrlr.Available", "boolean", True),
    _boolean("AuthCacheCtrlr.Enabled", True),
    _integer("AuthCacheCtrlr.LifeTime", 86_400),
)
_COMMUNICATION = (
    _integer("OCPPCommCtrlr.HeartbeatInterval", 60, minimum=1),
    _integer("OCPPCommCtrlr.MessageTimeout[Default]", 30, minimum=1, mutability="ReadOnly"),
    _integer("OCPPCommCtrlr.MessageAttempts[TransactionEvent]", 3, "", minimum=1),
    _integer("OCPPCommCtrlr.MessageAttemptInterval[TransactionEvent]", 10),
    _integer("OCPPCommCtrlr.OfflineThreshold", 60),
    _integer("OCPPCommCtrlr.RetryBackOffWaitMinimum", 10),
    _integer("OCPPCommCtrlr.RetryBackOffRandomRange", 10),
    _integer("OCPPCommCtrlr.RetryBackOffRepeatTimes", 3, ""),
    _integer("OCPPCommCtrlr.WebSocketPingInterval", 20),
    Variable(
        "OCPPCommCtrlr.NetworkConfigurationPriority",
        "SequenceList",
        _PROFILES,
        members=_PROFILES,
        may_be_empty=False,
        needs_reboot=True,
    ),
    _integer("OCPPCommCtrlr.NetworkProfileConnectionAttempts", 3, "", minimum=1),
    _live("OCPPCommCtrlr.ActiveNetworkProfile", "integer", live_values.active_profile),
    _integer("OCPPCommCtrlr.ResetRetries", 0, ""),
    _boolean("OCPPCommCtrlr.UnlockOnEVSideDisconnect", True, only=live_values.unlocks_never),
    _fixed("OCPPCommCtrlr.FileTransferProtocols", "MemberList", _PROTOCOLS, members=_PROTOCOLS),
)
_SECURITY = (
    _live("SecurityCtrlr.Identity", "string", live_values.fact("id"), maximum=48),
    Variable("SecurityCtrlr.BasicAuthPassword", "string", minimum=16, maximum=40, mutability="WriteOnly"),
    _live("SecurityCtrlr.SecurityProfile", "integer", live_values.fact("security_profile"), maximum=3),
    Variable("SecurityCtrlr.OrganizationName", "string", ""),
    _fixed("SecurityCtrlr.CertificateEntries", "integer", 0, maximum=0),
)
_DEVICE_DATA = (
    *(
        _fixed(f"DeviceDataCtrlr.ItemsPerMessage[{action}]", "integer", MAX_ITEMS, minimum=1)
        for action in ("GetReport", "GetVariables", "SetVariables")
    ),
    *(
        _fixed(f"DeviceDataCtrlr.BytesPerMessage[{action}]", "integer", MAX_BYTES, minimum=1)
        for action in ("GetReport", "GetVariables", "SetVariables")
    ),
    _fixed("DeviceDataCtrlr.ConfigurationValueSize", "integer", 1000, maximum=1000),
    _fixed("DeviceDataCtrlr.ReportingValueSize", "integer", 2500, maximum=2500),
    _live("ClockCtrlr.DateTime", "dateTime", live_values.date_time),
    Variable(
        "ClockCtrlr.TimeSource",
        "SequenceList",
        ("RealTimeClock",),
        members=("RealTimeClock",),
        may_be_empty=False,
    ),
)
_OTHER_BLOCKS = (
    _fixed("ReservationCtrlr.Available", "boolean", True),
    _boolean("ReservationCtrlr.Enabled", True),
    _fixed("ReservationCtrlr.NonEvseSpecific", "boolean", True),
    _fixed("MonitoringCtrlr.Available", "boolean", False),
    _fixed("MonitoringCtrlr.ItemsPerMessage[SetVariableMonitoring]", "integer", 0),
    _fixed("MonitoringCtrlr.BytesPerMessage[SetVariableMonitoring]", "integer", 0),
)
_SMART_CHARGING = (
    _fixed("SmartChargingCtrlr.Available", "boolean", True),
    _fixed("SmartChargingCtrlr.Enabled", "boolean", True),
    _fixed("SmartChargingCtrlr.ACPhaseSwitchingSupported", "boolean", False),
    _fixed("SmartChargingCtrlr.Phases3to1", "boolean", True),
    _live("SmartChargingCtrlr.Entries[ChargingProfiles]", "integer", live_values.profile_entries, maximum=MAX_PROFILES),
    _boolean("SmartChargingCtrlr.ExternalControlSignalsEnabled", True),
    _boolean("SmartChargingCtrlr.NotifyChargingLimitWithSchedules", False),
    Variable("SmartChargingCtrlr.LimitChangeSignificance", "decimal", 1.0, "Percent", maximum=100),
    _fixed("SmartChargingCtrlr.PeriodsPerSchedule", "integer", MAX_PERIODS),
    _fixed("SmartChargingCtrlr.ProfileStackLevel", "integer", MAX_STACK_LEVEL),
    _fixed("SmartChargingCtrlr.RateUnit", "MemberList", ("A", "W"), members=("A", "W")),
)
_STATION = (
    _fixed("ChargingStation.Available", "boolean", True),
    _live("ChargingStation.AvailabilityState", "OptionList", live_values.station_state, members=_STATES),
    _live("ChargingStation.Problem", "boolean", live_values.station_problem),
    _live("ChargingStation.Model", "string", live_values.fact("model"), maximum=20),
    _live("ChargingStation.VendorName", "string", live_values.fact("vendor_name"), maximum=50),
    _live("ChargingStation.SerialNumber", "string", live_values.fact("serial_number"), maximum=25),
    _live("ChargingStation.FirmwareVersion", "string", live_values.fact("firmware_version"), maximum=50),
    _boolean("ChargingStation.AllowNewSessionsPendingFirmwareUpdate", False),
    _live("ChargingStation.SupplyPhases", "integer", live_values.station_phases, maximum=3),
)

VARIABLES: Mapping[str, Variable] = MappingProxyType(
    {
        variable.name: variable
        for variable in (
            *_STATION,
            *_TRANSACTIONS,
            *_METERING,
            *_AUTHORIZATION,
            *_COMMUNICATION,
            *_SECURITY,
            *_DEVICE_DATA,
            *_OTHER_BLOCKS,
            *_SMART_CHARGING,
        )
    }
)
"""The variables that every station has once."""

# Those of each EVSE, and of its one connector.
PLACES = (
    _fixed("EVSE[{0}].Available", "boolean", True),
    _live("EVSE[{0}].AvailabilityState", "OptionList", live_values.state, members=_STATES),
    _live("EVSE[{0}].Problem", "boolean", live_values.problem),
    _live("EVSE[{0}].Power", "decimal", live_values.power, unit="W", limit=live_values.max_power),
    _live("EVSE[{0}].SupplyPhases", "integer", live_values.phases, maximum=3),
    _live("TxCtrlr[{0}].ChargingTime", "decimal", live_values.charging_time, unit="s"),
    _fixed("Connector[{0},1].Available", "boolean", True),
    _live("Connector[{0},1].AvailabilityState", "OptionList", live_values.state, members=_STATES),
    _live("Connector[{0},1].Problem", "boolean", live_values.problem),
    _live("Connector[{0},1].ConnectorType", "string", live_values.connector_type),
    _live("Connector[{0},1].SupplyPhases", "integer", live_values.phases, maximum=3),
)


@functools.cache
def model(evse_count: int) -> Mapping[str, Variable]:
    """All variables of a station with so many EVSEs, by name."""
    variables = dict(VARIABLES)
    for number in range(1, evse_count + 1):
        for place in PLACES:
            name = place.name.format(number)
            variables[name] = Variable(**{**vars(place), "name": name})
    return MappingProxyType(variables)


@functools.cache
def all_names(evse_count: int) -> Mapping[str, tuple[str, ...]]:
    """The names as a dialect has them: each stands for itself."""
    return MappingProxyType({name: (name,) for name in model(evse_count)})


@functools.cache
def _index(evse_count: int) -> Mapping[tuple[str, int, int], Mapping[tuple[str, str], str]]:
    """The names by component, and then by variable and instance, all in small letters."""
    found: dict[tuple[str, int, int], dict[tuple[str, str], str]] = {}
    for name, address in addresses(evse_count).items():
        place = (address.component.casefold(), address.evse_id, address.connector_id)
        found.setdefault(place, {})[address.variable.casefold(), address.instance.casefold()] = name
    return found


def has_component(evse_count: int, address: Address) -> bool:
    """Whether a station has the component of an address."""
    return (address.component.casefold(), address.evse_id, address.connector_id) in _index(evse_count)


def find_name(evse_count: int, address: Address) -> str | None:
    """The name of a variable, whatever its case; None if a station has none at this address."""
    component = _index(evse_count).get((address.component.casefold(), address.evse_id, address.connector_id), {})
    return component.get((address.variable.casefold(), address.instance.casefold()))


@functools.cache
def addresses(evse_count: int) -> Mapping[str, Address]:
    """Where all variables are in the device model, by name."""
    return MappingProxyType({name: Address.parse(name) for name in model(evse_count)})
