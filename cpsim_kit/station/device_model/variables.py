"""The variables of one station, and what they hold now. Pure: no I/O.

Which there are is in ``device_model``; a station keeps only what differs from the defaults.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from cpsim_kit.basics.cards import card
from cpsim_kit.basics.tables import table
from cpsim_kit.station.device_model.device_model import VARIABLES
from cpsim_kit.station.device_model.variable import Address, Variable

if TYPE_CHECKING:
    import pandas as pd

    from cpsim_kit.station.dialects import Dialect
    from cpsim_kit.station.rules.core import Core

__all__ = ["VARIABLES", "Entry", "Variable", "Variables"]

_STRING = Variable("", "string")  # what a version reports beyond the device model


class Entry(NamedTuple):
    """A variable of a station as it is now.

    Attributes:
        name: The version's name.
        variable: What it may hold.
        text: Its value as OCPP writes it; None where it has none, or may not be read.
        mutability: "ReadWrite", "ReadOnly" or "WriteOnly", at this station.
        limit: The greatest number, or the most characters of a string; None for no limit.
        members: What a list may hold.
    """

    name: str
    variable: Variable
    text: str | None
    mutability: str
    limit: float | None
    members: tuple[str, ...] = ()

    @property
    def least(self) -> float | None:
        """The least number, or the fewest characters of a string, where it can be set; None for no limit."""
        is_number = self.variable.type in {"integer", "decimal"}
        has_limit = self.mutability != "ReadOnly" and (is_number or self.variable.minimum > 0)
        return float(self.variable.minimum) if has_limit else None


class Variables(Mapping[str, Any]):
    """The variables of one station, by the names of its version.

    ``station.variables["TxCtrlr.TxStartPoint"]`` reads one, ``station.variables["EVSE[1].Power"]`` one of an EVSE, and
    ``station.variables["Connector[1,1].ConnectorType"]`` one of a connector. A variable without a value is not in the
    mapping. The CSMS sets them with SetVariables, or in OCPP 1.6 with ChangeConfiguration. ``to_frame()`` shows all.

    Args:
        dialect: What the version calls them, its defaults, and its further values that nobody can set.
        given: Values that differ from the defaults, by the version's names. What only the CSMS may not set, such as
            ``DeviceDataCtrlr.ItemsPerMessage[GetReport]``, can be given.

    Raises:
        ValueError: There is no such variable, it is read-only, or it cannot hold the value.

    Attributes:
        clock: Tells the moment, for what comes from the station's state.
    """

    __slots__ = ("_changed", "_core", "_defaults", "_dialect", "clock")

    def __init__(self, dialect: Dialect, given: Mapping[str, object]) -> None:
        self._dialect = dialect
        self._defaults = _defaults(type(dialect), dialect.evse_count)
        self._changed: dict[str, Any] = {}
        self._core: Core | None = None
        self.clock: Callable[[], float] | None = None
        for name, value in given.items():
            if name in dialect.read_only():
                raise ValueError(f"{name} is read-only")
            if name not in dialect.names:
                raise ValueError(f"this station has no variable {name!r}{self._hint(name)}")
            self.set(name, value)

    def attach(self, core: Core) -> None:
        """Read what comes from the station's state from this core."""
        self._core = core

    def _hint(self, name: object) -> str:
        by_name = {known.casefold(): known for known in self._dialect.names}
        close = difflib.get_close_matches(str(name).casefold(), by_name, n=3, cutoff=0.5)
        return f"; did you mean {' or '.join(by_name[each] for each in close)}?" if close else ""

    def __repr__(self) -> str:
        names = self._dialect.names.values()
        changed = sum(1 for variables in names if not self._changed.keys().isdisjoint(variables))
        return f"<Variables: {len(self)}, {changed} of them changed>"

    def _repr_html_(self) -> str:
        rows = {each.name: each.text for each in self.entries() if each.mutability == "ReadWrite"}
        return card("Variables", f"{len(self)}", {name: text for name, text in rows.items() if text is not None})

    # -- Reading ------------------------------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Any:
        if name in self._dialect.read_only():
            return self._dialect.read_only()[name]
        if name not in self._dialect.names:
            raise KeyError(f"this station has no variable {name!r}{self._hint(name)}")
        variable = self.variable(name)
        if variable.mutability == "WriteOnly":
            raise KeyError(f"{name} can be set, and not read")
        value = self._read(variable, self._moment(None))
        if value is None:
            raise KeyError(f"{name} is not set")
        return value

    def __setitem__(self, name: str, _value: object) -> None:
        raise TypeError(
            f"the CSMS sets {name}, or you give it when the station is made: stack.station(…, variables={{…: …}})"
        )

    def __iter__(self) -> Iterator[str]:
        return (each.name for each in self.entries() if each.text is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.has(name) and self.entry(name).text is not None

    def value(self, variable: str) -> Any:
        """The kept value of a variable, by its name in OCPP 2.0.1, e.g. a bool, an int or a tuple; or None."""
        if variable in self._changed:
            return self._changed[variable]
        return self._defaults[variable]

    def is_changed(self, variable: str) -> bool:
        """Whether somebody has set a variable, by its name in OCPP 2.0.1."""
        return variable in self._changed

    def has(self, name: str) -> bool:
        """Whether the version has a variable of this name, set or not."""
        return name in self._dialect.names or name in self._dialect.read_only()

    def variable(self, name: str) -> Variable:
        """What a variable may hold, by the version's name."""
        return self._dialect.variables[self._dialect.names[name][0]]

    def text(self, name: str, now: float | None = None) -> str:
        """A value as OCPP writes it, by the version's name; "" for a variable that has none, or may not be read."""
        return self.entry(name, now).text or ""

    def is_read_only(self, name: str) -> bool:
        """Whether the CSMS cannot set it, by the version's name."""
        return self.entry(name).mutability == "ReadOnly"

    def entry(self, name: str, now: float | None = None) -> Entry:
        """A variable as it is now, by the version's name.

        Args:
            name: The version's name.
            now: The moment; that of the station's clock when None.
        """
        return self._entry(name, self._moment(now))

    def entries(self, now: float | None = None) -> Iterator[Entry]:
        """All variables as they are now. The arguments are those of :meth:`entry`."""
        now = self._moment(now)
        for name in (*self._dialect.read_only(), *self._dialect.names):
            yield self._entry(name, now)

    def _entry(self, name: str, now: float) -> Entry:
        fixed = self._dialect.read_only()
        if name in fixed:
            return Entry(name, _STRING, fixed[name], "ReadOnly", None)
        variable = self.variable(name)
        mutability, core = variable.mutability, self._core
        if core is not None and variable.only is not None and variable.only(core, None, now) is not None:
            mutability = "ReadOnly"
        limit = (
            variable.maximum if variable.limit is None or core is None else self._find(variable.limit, variable, now)
        )
        value = None if mutability == "WriteOnly" else self._read(variable, now)
        members = variable.members
        if not self._dialect.no_measurands.isdisjoint(members):
            members = tuple(each for each in members if each not in self._dialect.no_measurands)
        return Entry(name, variable, None if value is None else variable.to_text(value), mutability, limit, members)

    def _read(self, variable: Variable, now: float) -> Any:
        """Its value: that of the station's state where it comes from there, else the kept one."""
        for find in (variable.live, variable.only):
            if find is not None and self._core is not None:
                value = self._find(find, variable, now)
                if value is not None:
                    return value
        return None if variable.live is not None else self.value(variable.name)

    def _find(self, find: Callable[..., Any], variable: Variable, now: float) -> Any:
        assert self._core is not None
        evse_id = Address.parse(variable.name).evse_id if "[" in variable.name else 0
        return find(self._core, self._core.evses[evse_id] if evse_id else None, now)

    def _moment(self, now: float | None) -> float:
        if now is not None:
            return now
        return 0.0 if self.clock is None else self.clock()

    # -- Setting ------------------------------------------------------------------------------------------------------

    def set(self, name: str, value: object) -> None:
        """Set a variable, by the version's name.

        Raises:
            ValueError: It cannot hold the value, or comes from the station's state.
            KeyError: There is no such variable, or it is read-only in this version.
        """
        known = self._dialect.variables
        parsed = {}
        for each in self._dialect.names[name]:
            if known[each].live is not None:
                raise ValueError(f"{name} is read-only: it comes from the station's state")
            parsed[each] = known[each].parse(value)
        for items in parsed.values():
            if isinstance(items, tuple) and (unknown := self._dialect.no_measurands.intersection(items)):
                raise ValueError(f"{name}: this version has no measurand {', '.join(sorted(unknown))}")
        self._changed |= parsed

    def change(self, name: str, value: object) -> dict[str, Any]:
        """Set a variable for the CSMS, by the version's name.

        Returns:
            What its variables held before, by their names in OCPP 2.0.1.

        Raises:
            ValueError: It is read-only, or cannot hold the value.
        """
        if self.entry(name).mutability == "ReadOnly":
            raise ValueError(f"{name} is read-only")
        before = {each: self.value(each) for each in self._dialect.names[name]}
        self.set(name, value)
        return before

    def dump(self) -> dict[str, Any]:
        """What differs from the defaults, by the names of OCPP 2.0.1, as JSON can hold it."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in self._changed.items()}

    def load(self, saved: Mapping[str, Any]) -> None:
        """Take what :meth:`dump` gave."""
        self._changed |= {name: self._dialect.variables[name].parse(value) for name, value in saved.items()}

    # -- As a table ---------------------------------------------------------------------------------------------------

    def to_frame(self) -> pd.DataFrame:
        """One row for each variable, also for one that has no value, or may not be read.

        Columns: variable, value (as OCPP writes it, "" for none), unit, read_only (for the CSMS), type, mutability,
        min_limit and max_limit (of a number, or of a string's length), values_list, attribute_types,
        supports_monitoring, needs_reboot (whether a new value counts from the next start on).
        """
        rows = []
        for entry in self.entries():
            name, variable, text, mutability, limit, members = entry
            rows.append(
                (
                    name,
                    text or "",
                    variable.unit,
                    mutability == "ReadOnly",
                    variable.type,
                    mutability,
                    entry.least,
                    None if limit is None else float(limit),
                    ",".join(members),
                    "Actual",
                    False,
                    variable.needs_reboot,
                )
            )
        booleans = dict.fromkeys(("read_only", "supports_monitoring", "needs_reboot"), "bool")
        return table(rows, _COLUMNS).astype({**booleans, "min_limit": "float64", "max_limit": "float64"})


_COLUMNS = (
    "variable",
    "value",
    "unit",
    "read_only",
    "type",
    "mutability",
    "min_limit",
    "max_limit",
    "values_list",
    "attribute_types",
    "supports_monitoring",
    "needs_reboot",
)


@functools.cache
def _defaults(kind: type[Dialect], evse_count: int) -> Mapping[str, Any]:
    """The defaults of all kept variables; all stations of a version share them."""
    known = kind.variables_of(evse_count).values()
    return {each.name: kind.defaults.get(each.name, each.default) for each in known if each.live is None}
