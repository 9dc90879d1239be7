"""The OCPP version whose schema a charge point's CALL fits best, as MQTT does not tell the version. Does no I/O."""

from __future__ import annotations

from typing import Any

from cpsim_kit.errors import ProtocolViolation
from cpsim_kit.ocpp_j.versions import CHARGE_POINT_ACTIONS, Version

__all__ = ["closest_version"]


def closest_version(
    action: str, payload: Any, usual: Version | None = None
) -> tuple[Version | None, ProtocolViolation | None]:
    """Return the version whose schema a payload fits best, and how it breaks that schema.

    MQTT does not tell which version a charge point speaks.

    Args:
        action: The action of the CALL.
        payload: The payload of the CALL.
        usual: The version of the charge point's boot. It is preferred unless the payload fits another one better.

    Returns:
        The version, None if the payload fits several equally badly; and the violation, None if the payload is valid.
    """
    names = sorted((name for name in CHARGE_POINT_ACTIONS if action in CHARGE_POINT_ACTIONS[name]), reverse=True)
    versions = [Version.get(name) for name in names]
    if usual in versions:
        versions.sort(key=lambda version: version is not usual)
    violations = []
    for version in versions:
        try:
            version.request(action).check(payload)
        except ProtocolViolation as exc:
            violations.append((version, exc))
        else:
            return version, None
    if not violations:
        text = f"a CSMS does not answer {action}"
        is_known = any(action in Version.get(name).actions for name in ("1.6", "2.0.1", "2.1"))
        code = "NotSupported" if is_known else "NotImplemented"
        return None, ProtocolViolation(text, action=action, path="", text=text, code=code)
    try:
        distances = [version.request(action).mismatch(payload) for version, _ in violations]
    except (ValueError, RecursionError):
        return None, violations[0][1]
    best = min(distances)
    version, violation = violations[distances.index(best)]
    return (version if distances.count(best) == 1 else None), violation
