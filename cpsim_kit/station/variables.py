"""The station's variables: what each may hold, its default, and what it holds now. Pure: no I/O.

Names and types are those of the device model of OCPP 2.0.1 (``dm_components_vars.csv`` of its appendices). The keys of
OCPP 1.6 are other names for the same values: see ``dialects.v16``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cpsim_kit.basics.cards import card
from cpsim_kit.basics.tables import table
from cpsim_kit.station.meter import MEASURANDS, PER_PHASE
from cpsim_kit.station.transaction import POINTS

if TYPE_CHECKING:
    import pandas as pd

    from cpsim_kit.station.dialects import Dialect

__all__ = ["VARIABLES", "Variable", "Variables"]


_WHOLE_NUMBER = re.compile(r"0|[1-9][0-9]*")  # no leading zeros, no plus sign
_LARGEST = 2**31 - 1  # OCPP 2.0.1 part 2, 3 (primitive datatypes): 32 bits with the sign


@dataclass(frozen=True)
class Variable:
    """One variable.

    Attributes:
        name: Component, a dot, and the variable, with the instance in brackets where it has one.
        type: "boolean", "integer" or "MemberList".
        default: Its value at first; None for a variable that has no value until it is set.
        unit: The unit of an integer, or "".
        members: What a MemberList may hold.
        minimum: The least value of an integer.
        may_be_empty: Whether a MemberList may be empty.
    """

    name: str
    type: str
    default: Any
    unit: str = ""
    members: tuple[str, ...] = ()
    minimum: int = 0
    may_be_empty: bool = True

    def parse(self, value: object) -> Any:
        """Make a value of this variable from a text, as OCPP writes it, or from a Python value.

        Raises:
            ValueError: The variable cannot hold it; the message says what it can hold.
        """
        match self.type:
            case "boolean":
                if isinstance(value, bool):
                    return value
                text = str(value).strip().lower()
                if text in {"true", "false"}:
                    return text == "true"
                raise ValueError(f"{self.name} is true or false, not {_shortened(value)}")
            case "integer":
                text = str(value).strip()
                number = int(text) if _WHOLE_NUMBER.fullmatch(text) and len(text) <= 10 else -1
                if isinstance(value, bool) or not self.minimum <= number <= _LARGEST:
                    raise ValueError(
                        f"{self.name} is a whole number from {self.minimum} to {_LARGEST}, not {_shortened(value)}"
                    )
                return number
            case _:
                return self._parse_list(value)

    def _parse_list(self, value: object) -> tuple[str, ...]:
        if not isinstance(value, Iterable):
            raise ValueError(f"{self.name} is a list of {', '.join(self.members)}, not {_shortened(value)}")
        parts = value.split(",") if isinstance(value, str) else list(value)
        names = {name.casefold(): name for name in self.members}
        items = []
        for part in parts:
            text = str(part).strip()
            if not text:
                continue
            stem, dot, phase = text.rpartition(".")
            has_phase = bool(dot) and phase in {"L1", "L2", "L3"}
            found = names.get((stem if has_phase else text).casefold())
            if found is None or (has_phase and found not in PER_PHASE):
                raise ValueError(f"{self.name} holds {', '.join(self.members)}; not {_shortened(text)}")
            items.append(f"{found}.{phase}" if has_phase else found)
        if not items and not self.may_be_empty:
            raise ValueError(f"{self.name} holds at least one of {', '.join(self.members)}")
        return tuple(dict.fromkeys(items))

    def to_text(self, value: Any) -> str:
        """A value as OCPP writes it."""
        if isinstance(value, bool):
            return str(value).lower()
        return ",".join(value) if isinstance(value, tuple) else str(value)


def _shortened(value: object) -> str:
    """A value as Python writes it, at most 60 characters: it may come from the CSMS."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


_REGISTER = ("Energy.Active.Import.Register",)
_UPDATED = (*_REGISTER, "Power.Active.Import", "Current.Import", "Voltage", "SoC")
_ALL = tuple(MEASURANDS)


def _integer(name: str, default: int | None, unit: str = "s", **more: Any) -> Variable:
    return Variable(name, "integer", default, unit, **more)


def _points(name: str, default: tuple[str, ...]) -> Variable:
    return Variable(name, "MemberList", default, members=POINTS, may_be_empty=False)


def _measurands(name: str, default: tuple[str, ...]) -> Variable:
    return Variable(name, "MemberList", default, members=_ALL)


VARIABLES: Mapping[str, Variable] = {
    variable.name: variable
    for variable in (
        _points("TxCtrlr.TxStartPoint", ("PowerPathClosed",)),
        _points("TxCtrlr.TxStopPoint", ("EVConnected", "Authorized")),
        _integer("TxCtrlr.EVConnectionTimeOut", 60),
        Variable("TxCtrlr.StopTxOnEVSideDisconnect", "boolean", True),
        Variable("TxCtrlr.StopTxOnInvalidId", "boolean", True),
        _integer("TxCtrlr.MaxEnergyOnInvalidId", None, "Wh"),
        _measurands("SampledDataCtrlr.TxStartedMeasurands", _REGISTER),
        _measurands("SampledDataCtrlr.TxUpdatedMeasurands", _UPDATED),
        _integer("SampledDataCtrlr.TxUpdatedInterval", 60),
        _measurands("SampledDataCtrlr.TxEndedMeasurands", _REGISTER),
        _integer("SampledDataCtrlr.TxEndedInterval", 0),
        _integer("AlignedDataCtrlr.Interval", 0),
        _measurands("AlignedDataCtrlr.Measurands", _REGISTER),
        _integer("AlignedDataCtrlr.TxEndedInterval", 0),
        _measurands("AlignedDataCtrlr.TxEndedMeasurands", ()),
        Variable("AlignedDataCtrlr.SendDuringIdle", "boolean", False),
        Variable("AuthCtrlr.LocalPreAuthorize", "boolean", False),
        Variable("AuthCtrlr.AuthorizeRemoteStart", "boolean", False),
        Variable("AuthCtrlr.LocalAuthorizeOffline", "boolean", True),
        Variable("AuthCtrlr.OfflineTxForUnknownIdEnabled", "boolean", False),
        Variable("LocalAuthListCtrlr.Enabled", "boolean", True),
        Variable("AuthCacheCtrlr.Enabled", "boolean", True),
        _integer("AuthCacheCtrlr.LifeTime", 86_400),
        Variable("ReservationCtrlr.Enabled", "boolean", True),
        Variable("ReservationCtrlr.NonEvseSpecific", "boolean", True),
        Variable("ChargingStation.AllowNewSessionsPendingFirmwareUpdate", "boolean", False),
        _integer("OCPPCommCtrlr.HeartbeatInterval", 60, minimum=1),
        _integer("OCPPCommCtrlr.MessageTimeout[Default]", 30, minimum=1),
        _integer("OCPPCommCtrlr.MessageAttempts[TransactionEvent]", 3, "", minimum=1),
        _integer("OCPPCommCtrlr.MessageAttemptInterval[TransactionEvent]", 10),
        _integer("OCPPCommCtrlr.OfflineThreshold", 60),
        _integer("OCPPCommCtrlr.RetryBackOffWaitMinimum", 10),
        _integer("OCPPCommCtrlr.RetryBackOffRandomRange", 10),
        _integer("OCPPCommCtrlr.RetryBackOffRepeatTimes", 3, ""),
    )
}


class Variables(Mapping[str, Any]):
    """The variables of one station, by the names of its version.

    ``station.variables["TxCtrlr.TxStartPoint"]`` reads one; a variable without a value is not in the mapping. The CSMS
    sets them with SetVariables, or in OCPP 1.6 with ChangeConfiguration. ``to_frame()`` shows all of them.

    Args:
        dialect: What the version calls them, its defaults, and its further values that nobody can set.
        given: Values that differ from the defaults, by the version's names.

    Raises:
        ValueError: There is no such variable, it is read-only, or it cannot hold the value.
    """

    __slots__ = ("_changed", "_defaults", "_names", "_no_measurands", "_read_only")

    def __init__(self, dialect: Dialect, given: Mapping[str, object]) -> None:
        self._names = dialect.names
        self._read_only = dialect.read_only()
        self._defaults = dialect.defaults
        self._no_measurands = dialect.no_measurands
        self._changed: dict[str, Any] = {}
        for name, value in given.items():
            if name in self._read_only:
                raise ValueError(f"{name} is read-only")
            if name not in self._names:
                raise ValueError(f"this station has no variable {name!r}{self._hint(name)}")
            self.set(name, value)

    def _hint(self, name: object) -> str:
        by_name = {known.casefold(): known for known in self._names}
        close = difflib.get_close_matches(str(name).casefold(), by_name, n=3, cutoff=0.5)
        return f"; did you mean {' or '.join(by_name[each] for each in close)}?" if close else ""

    def __repr__(self) -> str:
        changed = sum(1 for variables in self._names.values() if not self._changed.keys().isdisjoint(variables))
        return f"<Variables: {len(self)}, {changed} of them changed>"

    def _repr_html_(self) -> str:
        return card("Variables", f"{len(self)}", {name: self.text(name) for name in self})

    def __getitem__(self, name: str) -> Any:
        if name in self._read_only:
            return self._read_only[name]
        if name not in self._names:
            raise KeyError(f"this station has no variable {name!r}{self._hint(name)}")
        value = self.value(self._names[name][0])
        if value is None:
            raise KeyError(f"{name} is not set")
        return value

    def __setitem__(self, name: str, _value: object) -> None:
        raise TypeError(
            f"the CSMS sets {name}, or you give it when the station is made: stack.station(…, variables={{…: …}})"
        )

    def __iter__(self) -> Iterator[str]:
        yield from self._read_only
        yield from (name for name, (variable, *_) in self._names.items() if self.value(variable) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def value(self, variable: str) -> Any:
        """The value of a variable, by its name in OCPP 2.0.1: a bool, an int, a tuple of strings, or None."""
        if variable in self._changed:
            return self._changed[variable]
        return self._defaults[variable] if variable in self._defaults else VARIABLES[variable].default

    def has(self, name: str) -> bool:
        """Whether the version has a variable of this name, set or not."""
        return name in self._names or name in self._read_only

    def set(self, name: str, value: object) -> None:
        """Set a variable, by the version's name.

        Raises:
            ValueError: It cannot hold the value.
            KeyError: There is no such variable, or it is read-only.
        """
        parsed = {variable: VARIABLES[variable].parse(value) for variable in self._names[name]}
        for items in parsed.values():
            if isinstance(items, tuple) and (unknown := self._no_measurands.intersection(items)):
                raise ValueError(f"{name}: this version has no measurand {', '.join(sorted(unknown))}")
        self._changed |= parsed

    def dump(self) -> dict[str, Any]:
        """What differs from the defaults, by the names of OCPP 2.0.1, as JSON can hold it."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in self._changed.items()}

    def load(self, saved: Mapping[str, Any]) -> None:
        """Take what :meth:`dump` gave."""
        self._changed |= {name: VARIABLES[name].parse(value) for name, value in saved.items()}

    def text(self, name: str) -> str:
        """A value as OCPP writes it, by the version's name; "" for a variable that is not set."""
        if name in self._read_only:
            return self._read_only[name]
        variable = VARIABLES[self._names[name][0]]
        value = self.value(variable.name)
        return "" if value is None else variable.to_text(value)

    def is_read_only(self, name: str) -> bool:
        """Whether nobody can set it, by the version's name."""
        return name in self._read_only

    def to_frame(self) -> pd.DataFrame:
        """One row for each variable that has a value.

        Columns: variable, value (as OCPP writes it), unit, read_only, type.
        """
        rows = []
        for name in self:
            known = None if name in self._read_only else VARIABLES[self._names[name][0]]
            kind, unit = ("string", "") if known is None else (known.type, known.unit)
            rows.append((name, self.text(name), unit, self.is_read_only(name), kind))
        return table(rows, ["variable", "value", "unit", "read_only", "type"]).astype({"read_only": bool})
