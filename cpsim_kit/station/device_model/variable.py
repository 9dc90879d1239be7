"""One variable: its name, what it may hold, who may set it, and its values as texts. Pure: no I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from cpsim_kit.station.charging.meter import PER_PHASE

if TYPE_CHECKING:
    from cpsim_kit.station.charging.evse import LiveEvse
    from cpsim_kit.station.rules.core import Core

__all__ = ["Address", "Variable", "shorten"]

_WHOLE_NUMBER = re.compile(r"0|[1-9][0-9]*")  # no leading zeros, no plus sign
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_LARGEST = 2**31 - 1  # OCPP 2.0.1 part 2, 3 (primitive datatypes): 32 bits with the sign
_LONGEST = 1000  # characters that SetVariables carries
_NAME = re.compile(r"(\w+)(?:\[(\d+)(?:,(\d+))?\])?\.(\w+)(?:\[(\w+)\])?")

Live = Callable[["Core", "LiveEvse | None", float], Any]


class Address(NamedTuple):
    """Where a variable is in the device model of OCPP 2.0.1: component, variable and instance; 0 and "" for none."""

    component: str
    variable: str
    instance: str = ""
    evse_id: int = 0
    connector_id: int = 0

    @classmethod
    def parse(cls, name: str) -> Address:
        """The address of a name, e.g. ``EVSE[1].Power``, ``Connector[1,1].ConnectorType``.

        Raises:
            ValueError: It is no such name.
        """
        found = _NAME.fullmatch(name)
        if found is None:
            raise ValueError(f"{name!r} is no name of a variable, such as TxCtrlr.TxStartPoint or EVSE[1].Power")
        component, evse_id, connector_id, variable, instance = found.groups()
        return cls(component, variable, instance or "", int(evse_id or 0), int(connector_id or 0))


@dataclass(frozen=True)
class Variable:
    """One variable.

    Attributes:
        name: Component, a dot, and the variable, with the instance in brackets where it has one. Behind the component
            of an EVSE or a connector stand its numbers: ``EVSE[1].Power``, ``Connector[1,1].ConnectorType``.
        type: The data type: "boolean", "integer", "decimal", "string", "dateTime", "OptionList", "SequenceList" or
            "MemberList".
        default: Its value at first; None for a variable that has no value until it is set.
        unit: The unit of a number, or "".
        members: What a list may hold.
        minimum: The least value of a number, or the fewest characters of a string.
        maximum: The greatest value of a number, or the most characters of a string; None for that of the type.
        may_be_empty: Whether a list may be empty.
        mutability: "ReadWrite", "ReadOnly" or "WriteOnly": what the CSMS may do.
        needs_reboot: Whether a new value counts from the next start of the station on.
        pattern: What each item of a string matches, with commas between them; "" for any string.
        live: Finds the value in the station's state; nobody sets such a variable. None for a value that is kept.
        only: Finds the one value that this station can have, or None where it can be set.
        limit: Finds the maximum in the station's state, where it is not the same for all stations.
    """

    name: str
    type: str
    default: Any = None
    unit: str = ""
    members: tuple[str, ...] = ()
    minimum: int = 0
    maximum: float | None = None
    may_be_empty: bool = True
    mutability: str = "ReadWrite"
    needs_reboot: bool = False
    pattern: str = ""
    live: Live | None = None
    only: Live | None = None
    limit: Live | None = None

    @property
    def is_list(self) -> bool:
        """Whether it holds several of its members."""
        return self.type in {"SequenceList", "MemberList"}

    @property
    def largest(self) -> float:
        """The greatest value, or the most characters."""
        if self.maximum is not None:
            return self.maximum
        return _LONGEST if self.type == "string" else _LARGEST

    def parse(self, value: object) -> Any:
        """Make a value of this variable from a text, as OCPP writes it, or from a Python value.

        Raises:
            ValueError: The variable cannot hold it; the message says what it can hold.
        """
        match self.type:
            case "boolean":
                return self._parse_boolean(value)
            case "integer":
                return self._parse_integer(value)
            case "decimal":
                return self._parse_decimal(value)
            case "string":
                return self._parse_string(value)
            case "OptionList":
                return self._parse_option(value)
            case _:
                return self._parse_list(value)

    def _parse_boolean(self, value: object) -> bool:
        if isinstance(value, bool):
            return value
        text = str(value).strip().lower()
        if text in {"true", "false"}:
            return text == "true"
        raise ValueError(f"{self.name} is true or false, not {shorten(value)}")

    def _parse_integer(self, value: object) -> int:
        text = str(value).strip()
        number = int(text) if _WHOLE_NUMBER.fullmatch(text) and len(text) <= 10 else -1
        if isinstance(value, bool) or not self.minimum <= number <= self.largest:
            raise ValueError(
                f"{self.name} is a whole number from {self.minimum} to {self.largest}, not {shorten(value)}"
            )
        return number

    def _parse_decimal(self, value: object) -> float:
        text = str(value).strip()
        number = float(text) if _DECIMAL.fullmatch(text) and len(text) <= 20 else None
        if isinstance(value, bool) or number is None or not self.minimum <= number <= self.largest:
            raise ValueError(f"{self.name} is a number from {self.minimum} to {self.largest}, not {shorten(value)}")
        return number

    def _parse_string(self, value: object) -> str:
        text = shorten(value) if self.mutability != "WriteOnly" else "what was given"
        if not isinstance(value, str) or not self.minimum <= len(value) <= self.largest:
            raise ValueError(f"{self.name} has {self.minimum} to {self.largest} characters, not {text}")
        if self.pattern and not all(re.fullmatch(self.pattern, item.strip()) for item in value.split(",")):
            raise ValueError(f"{self.name} holds no {text}")
        return value

    def _parse_option(self, value: object) -> str:
        names = {name.casefold(): name for name in self.members}
        found = names.get(str(value).strip().casefold())
        if found is None:
            raise ValueError(f"{self.name} is one of {', '.join(self.members)}, not {shorten(value)}")
        return found

    def _parse_list(self, value: object) -> tuple[str, ...]:
        if not isinstance(value, Iterable):
            raise ValueError(f"{self.name} is a list of {', '.join(self.members)}, not {shorten(value)}")
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
                raise ValueError(f"{self.name} holds {', '.join(self.members)}; not {shorten(text)}")
            items.append(f"{found}.{phase}" if has_phase else found)
        if not items and not self.may_be_empty:
            raise ValueError(f"{self.name} holds at least one of {', '.join(self.members)}")
        return tuple(dict.fromkeys(items))

    def to_text(self, value: Any) -> str:
        """A value as OCPP writes it."""
        if isinstance(value, bool):
            return str(value).lower()
        return ",".join(value) if isinstance(value, tuple) else str(value)


def shorten(value: object) -> str:
    """A value as Python writes it, at most 60 characters: it may come from the CSMS."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
