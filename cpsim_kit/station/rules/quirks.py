"""Quirks: what awkward stations say, by name, each with the public reports that it comes from.

``quirky_queue`` carries them out. Pure: no clock, no I/O.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

__all__ = ["QUIRKS", "Quirk", "Quirks"]

_ALL = ("1.6", "2.0.1", "2.1")


class Quirk(NamedTuple):
    """One way to be awkward.

    Attributes:
        name: As ``Station(…, quirks=[name])`` takes it.
        description: What the station says, and when.
        seen: What the reports say.
        reports: Where they are.
        versions: The OCPP versions in which it can happen.
    """

    name: str
    description: str
    seen: str
    reports: tuple[str, ...]
    versions: tuple[str, ...] = _ALL


QUIRKS: Mapping[str, Quirk] = MappingProxyType(
    {
        quirk.name: quirk
        for quirk in (
            Quirk(
                "begin_zero_offline",
                "A transaction that begins offline has 0 as its first register value.",
                "A station that cannot read its meter yet sends 0 as Transaction.Begin; the ledger takes that for the"
                " start, and the driver pays for the whole register.",
                ("https://github.com/citrineos/citrineos-core/pull/1060",),
            ),
            Quirk(
                "register_rollback",
                "The register falls to 0 at the second reading after a transaction's start, at the latest at its end,"
                " and counts on from there; the next transaction has the right values.",
                "Registers that drop out in a session, or go back to 0 at a restart; a ledger that takes the low value"
                " for a new start, and a CSMS that wants to flag every register that falls.",
                (
                    "https://github.com/lbbrhzn/ocpp/issues/374",
                    "https://github.com/ChargeTimeEU/Java-OCA-OCPP/issues/331",
                    "https://github.com/evcc-io/evcc/pull/30267",
                    "https://github.com/steve-community/steve/issues/1962",
                ),
            ),
            Quirk(
                "stop_twice",
                "The last message of a transaction is sent once more after its answer, word for word.",
                "A StopTransaction that comes again; two stops of one transaction in the database, and its meter values"
                " counted twice.",
                (
                    "https://github.com/citrineos/citrineos-core/pull/880",
                    "https://github.com/steve-community/steve/issues/955",
                    "https://github.com/steve-community/steve/issues/1293",
                ),
            ),
            Quirk(
                "ended_before_updated",
                "The last Updated of a transaction (OCPP 1.6: MeterValues) comes after its Ended (StopTransaction). So"
                " each one waits for the next message of its transaction.",
                "Meter values that come after their StopTransaction and revive the session; events after an Ended that"
                " resurrect the transaction.",
                ("https://github.com/lbbrhzn/ocpp/pull/2075", "https://github.com/lbbrhzn/ocpp/pull/2141"),
            ),
            Quirk(
                "clock_a_day_off",
                "Each time in a message is a day ahead.",
                "A station whose times are two hours ahead until it has set its clock; a CSMS that wants to flag starts"
                " in the future, as station clocks go wrong.",
                (
                    "https://github.com/steve-community/steve/issues/136",
                    "https://github.com/steve-community/steve/issues/1963",
                ),
            ),
            Quirk(
                "seq_no_restarted",
                "After a time without a connection, the seqNo of a running transaction begins at 0 again.",
                "A CSMS forgets the numbers it has seen at a BootNotification, as a station that has restarted may"
                " begin at zero again; before, it ignored the numbers altogether.",
                ("https://github.com/lbbrhzn/ocpp/pull/2141", "https://github.com/lbbrhzn/ocpp/issues/2135"),
                ("2.0.1", "2.1"),
            ),
            Quirk(
                "available_while_charging",
                "After the first meter values of a transaction, its connector is reported as Available.",
                "A station that reports its connectors as Available while one of them charges; a CSMS that forgot the"
                " transaction at Available, while its meter values still came.",
                (
                    "https://github.com/road-labs/chargestation-one/issues/177",
                    "https://github.com/lbbrhzn/ocpp/pull/1777",
                ),
            ),
        )
    }
)


class Quirks:
    """The quirks of one station, and in how many messages each of them was.

    Args:
        names: The quirks.
        version: The station's OCPP version.
        on_first: Called with a quirk when it is applied for the first time.

    Raises:
        ValueError: There is no such quirk, or not in this version.
    """

    __slots__ = ("_on_first", "counts")

    def __init__(self, names: Sequence[str], version: str, on_first: Callable[[Quirk], None]) -> None:
        if isinstance(names, str) or not isinstance(names, Sequence):
            raise ValueError(f"quirks is a list of names, not {names!r}; there are {', '.join(QUIRKS)}")
        for name in names:
            if name not in QUIRKS:
                close = difflib.get_close_matches(str(name), QUIRKS, n=1)
                hint = f", did you mean {close[0]!r}?" if close else ""
                raise ValueError(f"there is no quirk {name!r}{hint}; there are {', '.join(QUIRKS)}")
            if version not in QUIRKS[name].versions:
                raise ValueError(
                    f"the quirk {name!r} is one of OCPP {' and '.join(QUIRKS[name].versions)}, not of {version}"
                )
        self.counts = dict.fromkeys(names, 0)
        self._on_first = on_first

    def __contains__(self, name: str) -> bool:
        return name in self.counts

    def count(self, name: str) -> None:
        """It was applied to one more message."""
        self.counts[name] += 1
        if self.counts[name] == 1:
            self._on_first(QUIRKS[name])
