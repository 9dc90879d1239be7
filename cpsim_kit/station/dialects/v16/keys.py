"""The configuration keys of OCPP 1.6, and the variables that they stand for. No I/O. OCPP 1.6, 9."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import MappingProxyType

from cpsim_kit.station.charging.meter import MEASURANDS, PER_PHASE
from cpsim_kit.station.device_model.device_model import MAX_ITEMS, model
from cpsim_kit.station.device_model.variable import Variable
from cpsim_kit.station.profiles.smart_charging import MAX_PERIODS, MAX_PROFILES, MAX_STACK_LEVEL
from cpsim_kit.station.rules.authorization import MAX_TOKENS

__all__ = ["NAMES", "read_only", "variables_of"]

# The keys that stand for variables of OCPP 2.0.1, or for one of 1.6 alone.
NAMES: Mapping[str, tuple[str, ...]] = {
    "ConnectionTimeOut": ("TxCtrlr.EVConnectionTimeOut",),
    "StopTransactionOnEVSideDisconnect": ("TxCtrlr.StopTxOnEVSideDisconnect",),
    "StopTransactionOnInvalidId": ("TxCtrlr.StopTxOnInvalidId",),
    "MaxEnergyOnInvalidId": ("TxCtrlr.MaxEnergyOnInvalidId",),
    "MeterValuesSampledData": ("SampledDataCtrlr.TxUpdatedMeasurands",),
    "MeterValueSampleInterval": ("SampledDataCtrlr.TxUpdatedInterval", "SampledDataCtrlr.TxEndedInterval"),
    "StopTxnSampledData": ("SampledDataCtrlr.TxEndedMeasurands",),
    "MeterValuesAlignedData": ("AlignedDataCtrlr.Measurands",),
    "ClockAlignedDataInterval": ("AlignedDataCtrlr.Interval", "AlignedDataCtrlr.TxEndedInterval"),
    "StopTxnAlignedData": ("AlignedDataCtrlr.TxEndedMeasurands",),
    "LocalPreAuthorize": ("AuthCtrlr.LocalPreAuthorize",),
    "AuthorizeRemoteTxRequests": ("AuthCtrlr.AuthorizeRemoteStart",),
    "LocalAuthListEnabled": ("LocalAuthListCtrlr.Enabled",),
    "AuthorizationCacheEnabled": ("AuthCacheCtrlr.Enabled",),
    "LocalAuthorizeOffline": ("AuthCtrlr.LocalAuthorizeOffline",),
    "AllowOfflineTxForUnknownId": ("AuthCtrlr.OfflineTxForUnknownIdEnabled",),
    "TransactionMessageAttempts": ("OCPPCommCtrlr.MessageAttempts[TransactionEvent]",),
    "TransactionMessageRetryInterval": ("OCPPCommCtrlr.MessageAttemptInterval[TransactionEvent]",),
    "HeartbeatInterval": ("OCPPCommCtrlr.HeartbeatInterval",),
    "WebSocketPingInterval": ("OCPPCommCtrlr.WebSocketPingInterval",),
    "ResetRetries": ("OCPPCommCtrlr.ResetRetries",),
    "UnlockConnectorOnEVSideDisconnect": ("OCPPCommCtrlr.UnlockOnEVSideDisconnect",),
    "ReserveConnectorZeroSupported": ("ReservationCtrlr.NonEvseSpecific",),
    "SupportedFileTransferProtocols": ("OCPPCommCtrlr.FileTransferProtocols",),
    "SendLocalListMaxLength": ("LocalAuthListCtrlr.ItemsPerMessage",),
    "ConnectorPhaseRotation": ("ConnectorPhaseRotation",),
    "AuthorizationKey": ("SecurityCtrlr.BasicAuthPassword",),  # this and the next two: security white paper, 7
    "CpoName": ("SecurityCtrlr.OrganizationName",),
    "SecurityProfile": ("SecurityCtrlr.SecurityProfile",),
}

_ROTATIONS = "NotApplicable|Unknown|RST|RTS|SRT|STR|TRS|TSR"
_MOST_MEASURANDS = len(MEASURANDS) + 3 * len(PER_PHASE)  # each with and without its phases


@functools.cache
def variables_of(evse_count: int) -> Mapping[str, Variable]:
    """The variables of a station with so many connectors: those of 2.0.1, and what 1.6 has otherwise.

    Only 1.6 has ConnectorPhaseRotation (9.1.7), and its password is written in hexadecimal digits.
    """
    numbers = range(1, evse_count + 1)
    rotation = Variable(
        "ConnectorPhaseRotation",
        "string",
        ",".join(f"{number}.Unknown" for number in numbers),
        pattern=f"({'|'.join(str(number) for number in (0, *numbers))})\\.({_ROTATIONS})",
    )
    key = Variable(
        "SecurityCtrlr.BasicAuthPassword",
        "string",
        minimum=32,
        maximum=40,
        mutability="WriteOnly",
        pattern="([0-9A-Fa-f]{2})+",
    )
    return MappingProxyType({**model(evse_count), rotation.name: rotation, key.name: key})


@functools.cache
def read_only(evse_count: int) -> Mapping[str, str]:
    """The keys whose values never change."""
    longest = dict.fromkeys(
        (
            "MeterValuesAlignedDataMaxLength",
            "MeterValuesSampledDataMaxLength",
            "StopTxnAlignedDataMaxLength",
            "StopTxnSampledDataMaxLength",
        ),
        str(_MOST_MEASURANDS),
    )
    return MappingProxyType(
        {
            "NumberOfConnectors": str(evse_count),
            "SupportedFeatureProfiles": "Core,LocalAuthListManagement,Reservation,RemoteTrigger,FirmwareManagement,"
            "SmartCharging",
            "ChargeProfileMaxStackLevel": str(MAX_STACK_LEVEL),
            "ChargingScheduleAllowedChargingRateUnit": "Current,Power",
            "ChargingScheduleMaxPeriods": str(MAX_PERIODS),
            "MaxChargingProfilesInstalled": str(MAX_PROFILES),
            "ConnectorSwitch3to1PhaseSupported": "true",
            "GetConfigurationMaxKeys": str(MAX_ITEMS),
            "LocalAuthListMaxLength": str(MAX_TOKENS),
            "ConnectorPhaseRotationMaxLength": str(evse_count + 1),
            **longest,
        }
    )
