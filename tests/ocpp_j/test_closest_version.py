"""The version whose schema a CALL fits best."""

from typing import Any

import pytest

from cpsim_kit.ocpp_j.closest_version import closest_version
from cpsim_kit.ocpp_j.versions import Version

BOOT = {"chargingStation": {"model": "M", "vendorName": "V"}, "reason": "PowerUp"}
BOOT16 = {"chargePointModel": "M", "chargePointVendor": "V"}


@pytest.mark.parametrize(
    ("action", "payload", "usual", "expected", "code"),
    [
        ("BootNotification", BOOT, None, "2.0.1", None),
        ("BootNotification", BOOT16, None, "1.6", None),
        ("BootNotification", BOOT16, "2.0.1", "1.6", None),
        ("Heartbeat", {}, None, "2.0.1", None),
        ("Heartbeat", {}, "1.6", "1.6", None),
        ("BootNotification", {**BOOT16, "extra": 1}, None, "1.6", "FormationViolation"),
        ("BootNotification", {**BOOT, "reason": 7}, None, "2.0.1", "TypeConstraintViolation"),
        ("StartTransaction", {}, None, "1.6", "ProtocolError"),
        ("Reset", {}, None, None, "NotSupported"),
        ("Nothing", {}, None, None, "NotImplemented"),
    ],
)
def test_closest_version(action: str, payload: Any, usual: str | None, expected: str | None, code: str | None) -> None:
    version, violation = closest_version(action, payload, None if usual is None else Version.get(usual))
    assert (None if version is None else version.name) == expected
    assert (None if violation is None else violation.code) == code
