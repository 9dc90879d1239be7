"""The table of the checks: what each plays, what the specification demands, and where it says so. Does no I/O.

Requirement ids such as "E02.FR.02" are of OCPP 2.0.1 part 2 (edition 3), ids such as "TC_E_03_CSMS" of its part 6 (test
cases); part 4 is OCPP-J 2.0.1. OCPP 2.1 (edition 1) has the same requirements by the same ids. OCPP 1.6 has numbered
sections only: "3.7.1" is of OCPP 1.6 (edition 2), "J 4.2.3" of OCPP-J 1.6, "errata 3.18" and "J errata 3.10" of their
errata sheets.

A demand that follows from the specification without being written there begins with "Follows:".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["CHECKS", "PREFIX", "Check", "choose"]

PREFIX = "CPSIM-CHECK-"  # how the ids of the charge points begin


@dataclass(frozen=True, slots=True)
class Check:
    """A check of one version.

    Attributes:
        id: E.g. "cable_first"; the same in both versions where they check the same.
        version: "1.6", "2.0.1" or "2.1".
        title: What it plays.
        demand: What the CSMS has to do.
        requirement: Where the specification says so: requirement ids, test case ids, sections.
    """

    id: str
    version: str
    title: str
    demand: str
    requirement: str


_V201 = (
    (
        "boot",
        "A charging station boots",
        "BootNotification is answered with a status, a time, and an interval that is not negative. While the status is "
        "Pending or Rejected, any other message gets CALLERROR SecurityError, and Pending leaves the connection open.",
        "B01.FR.02, B01.FR.10, B02.FR.06, B02.FR.09, B03.FR.07; TC_B_01_CSMS, TC_B_02_CSMS, TC_B_30_CSMS",
    ),
    (
        "heartbeat_time",
        "A heartbeat asks for the time",
        "The answer has the CSMS's current time in the form of RFC 3339, with a time zone and at most three decimals "
        "of a second. UTC is recommended.",
        "G02.FR.03; part 2, 3.1 Time Format Requirements",
    ),
    (
        "unknown_action",
        "A message with an action that OCPP does not have",
        "It is answered with CALLERROR NotImplemented: the action is not known.",
        "part 4, 4.1.7 and 4.3",
    ),
    (
        "refused_token",
        "A token that the CSMS does not accept: in a transaction that was authorized without asking, then in Authorize",
        "The status in both answers is not Accepted: the token is verified again when the transaction names it.",
        "C01.FR.07, E01.FR.11, E01.FR.12, E05.FR.01; TC_C_02_CSMS, TC_C_06_CSMS, TC_E_16_CSMS",
    ),
    (
        "cable_first",
        "A session: cable, token, charging, token, cable",
        "Every message is answered. The answer to the event that names the token accepts it. "
        "The bill is the difference of the registers.",
        "E02.FR.02, E02.FR.04, J02.FR.19; TC_E_03_CSMS, TC_E_09_CSMS",
    ),
    (
        "token_first",
        "A session: token, cable, charging, token, cable; it starts before the EVSE is known",
        "Every message is answered. The answer to the event that names the token accepts it. "
        "The bill is the difference of the registers.",
        "E03.FR.02, E01.FR.12, J02.FR.19; TC_E_04_CSMS, TC_E_10_CSMS",
    ),
    (
        "repeated_event",
        "Each event of a session is sent twice, as after an answer that was lost",
        "Both are answered. Follows: the two have one seqNo, so they are one event, and count once.",
        "E13.FR.02, J02.FR.19; part 2, E 1.3.1 and E 1.3.2",
    ),
    (
        "offline",
        "A whole session that happened hours ago, offline, is sent after reconnecting",
        "Events that are flagged as offline are answered as others are. "
        "Follows: the bill is that of a session that was online.",
        "E04.FR.02, E04.FR.03, E12.FR.02, J02.FR.19; TC_E_33_CSMS",
    ),
    (
        "ended_first",
        "The Ended event arrives before an Updated event with a lower seqNo",
        "Events may arrive in another order than they happened; each is answered. "
        "Follows: the bill is that of the registers at the start and at the end.",
        "part 2, E 1.3.2; J02.FR.19; TC_E_31_CSMS",
    ),
    (
        "seq_no_gap",
        "A seqNo is missing, and does not come any more",
        "The events after the gap are answered. Follows: what is billed are the registers at the start and at the end; "
        "a CSMS may wait with the bill.",
        "part 2, E 1.3.2; E01.FR.07, J02.FR.19; TC_E_31_CSMS",
    ),
    (
        "register_back",
        "In the middle of a session the energy register is lower than before, once",
        "Registers must not fall, but whatever the CSMS thinks of it, the event is answered. "
        "Follows: energy is not billed twice; a CSMS may hold the bill back.",
        "J02.FR.16, J02.FR.19; part 2, E03 remark",
    ),
    (
        "unanswered_call",
        "A CALL of the CSMS is never answered",
        "Such a CALL times out, and the CSMS goes on. Meanwhile it answers the charging station.",
        "part 4, 4.1.1",
    ),
)

_V16 = (
    (
        "boot",
        "A charge point boots",
        "BootNotification is answered with a status, a time, and an interval that is not negative. While the status is "
        "Pending, the connection stays open. Before acceptance, CALLERROR SecurityError to other messages is "
        "recommended.",
        "4.2, 6.4; J errata 3.10",
    ),
    (
        "heartbeat_time",
        "A heartbeat asks for the time",
        "The answer has the central system's current time in the form of ISO 8601. UTC is recommended.",
        "4.6, 3.14, 3.15",
    ),
    (
        "unknown_action",
        "A message with an action that OCPP does not have",
        "It is answered with CALLERROR NotImplemented: the action is not known.",
        "J 4.2.3, table 7",
    ),
    (
        "refused_token",
        "A token that the central system does not accept: in a StartTransaction without asking, then in Authorize",
        "The status in both answers is not Accepted: the token is verified again when the transaction names it. "
        "The answer to StartTransaction has a transaction id all the same.",
        "4.1, 4.8",
    ),
    (
        "cable_first",
        "A session: cable, token, charging, token, cable",
        "Every message is answered. StartTransaction gets a transaction id and accepts the token. "
        "The bill is meterStop - meterStart.",
        "4.1, 4.7, 4.8, 4.9, 4.10",
    ),
    (
        "token_first",
        "A session: token, cable, charging, token, cable",
        "Every message is answered. StartTransaction gets a transaction id and accepts the token. "
        "The bill is meterStop - meterStart.",
        "4.1, 4.7, 4.8, 4.9, 4.10",
    ),
    (
        "repeated_start",
        "StartTransaction is sent twice, as after an answer that was lost",
        "Both are answered. Follows: they are one transaction, so they get the same id, and it counts once; "
        "another transaction gets another id.",
        "3.7.1, 4.8; errata 3.54",
    ),
    (
        "repeated_stop",
        "StopTransaction is sent twice, as after an answer that was lost",
        "Both are answered: a transaction that has stopped already is no reason not to. Follows: it counts once.",
        "3.7.1, 4.10",
    ),
    (
        "offline",
        "A whole session that happened hours ago, offline, is sent after reconnecting",
        "Messages with old timestamps are handled as others are. "
        "Follows: the bill is that of a session that was online.",
        "3.7, 4.8, 4.10",
    ),
    (
        "unknown_transaction",
        "MeterValues and StopTransaction with the transaction id -1: the answer to StartTransaction never came",
        "They are answered as if the id were valid, so that the charge point's queue goes on.",
        "errata 3.18, 4.7, 4.10",
    ),
    (
        "register_back",
        "MeterValues with a register that is lower than at the start of the transaction",
        "Whatever the central system thinks of it, the message is answered. "
        "Follows: energy is not billed twice; a central system may hold the bill back.",
        "4.7",
    ),
    (
        "unanswered_call",
        "A CALL of the central system is never answered",
        "Such a CALL times out, and the central system goes on. Meanwhile it answers the charge point.",
        "J 4.1.1",
    ),
)

# OCPP 2.1 has the same requirements by the same ids; its test cases are not published with it.
_V21 = tuple((*row[:3], row[3].partition("; TC_")[0]) for row in _V201)

CHECKS: dict[str, tuple[Check, ...]] = {
    version: tuple(Check(name, version, title, demand, where) for name, title, demand, where in rows)
    for version, rows in (("1.6", _V16), ("2.0.1", _V201), ("2.1", _V21))
}


def choose(version: str, ids: Sequence[str] | None = None) -> tuple[Check, ...]:
    """The checks of a version with these ids, in the order of the table; all when None.

    Raises:
        ValueError: There is no such version, or no such check.
    """
    if version not in CHECKS:
        raise ValueError(f"version is one of {', '.join(CHECKS)}, not {version!r}")
    known = [check.id for check in CHECKS[version]]
    if ids is None:
        return CHECKS[version]
    if isinstance(ids, str) or not ids:
        raise ValueError(f"checks is a list of ids, e.g. {known[:2]}, not {ids!r}")
    unknown = [name for name in ids if name not in known]
    if unknown:
        raise ValueError(f"OCPP {version} has no check {', '.join(map(repr, unknown))}; choose from {', '.join(known)}")
    return tuple(check for check in CHECKS[version] if check.id in ids)
