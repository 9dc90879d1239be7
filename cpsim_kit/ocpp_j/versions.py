"""The versions of OCPP: their actions, dataclasses, schemas, names, and spellings of the CALLERROR codes. No I/O.

The dataclasses and the JSON schemas are those of the ``ocpp`` package. The dataclasses are imported at their first use,
which takes half a second, because the package imports ``jsonschema`` too.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.resources
import re
import sys
import threading
from collections.abc import Callable, Mapping
from types import ModuleType

import orjson

from cpsim_kit.errors import ProtocolViolation
from cpsim_kit.ocpp_j.payloads import Kind, Message

__all__ = ["CHARGE_POINT_ACTIONS", "VERSIONS", "Version", "messages_of", "version_of"]

_SUBPROTOCOLS = {"1.6": "ocpp1.6", "2.0.1": "ocpp2.0.1", "2.1": "ocpp2.1"}
_PACKAGES = {"1.6": "v16", "2.0.1": "v201", "2.1": "v21"}
VERSIONS = tuple(_PACKAGES)

_versions: dict[str, Version] = {}
_version_lock = threading.Lock()  # held while a version is made; versions are compared by identity

# What a charge point may ask a CSMS: OCPP 2.0.1 part 2, appendix; OCPP 1.6, chapter 4, and its security white paper.
CHARGE_POINT_ACTIONS = {
    "2.0.1": frozenset(
        {
            "Authorize",
            "BootNotification",
            "ClearedChargingLimit",
            "DataTransfer",
            "FirmwareStatusNotification",
            "Get15118EVCertificate",
            "GetCertificateStatus",
            "Heartbeat",
            "LogStatusNotification",
            "MeterValues",
            "NotifyChargingLimit",
            "NotifyCustomerInformation",
            "NotifyDisplayMessages",
            "NotifyEVChargingNeeds",
            "NotifyEVChargingSchedule",
            "NotifyEvent",
            "NotifyMonitoringReport",
            "NotifyReport",
            "PublishFirmwareStatusNotification",
            "ReportChargingProfiles",
            "ReservationStatusUpdate",
            "SecurityEventNotification",
            "SignCertificate",
            "StatusNotification",
            "TransactionEvent",
        }
    ),
    "1.6": frozenset(
        {
            "Authorize",
            "BootNotification",
            "DataTransfer",
            "DiagnosticsStatusNotification",
            "FirmwareStatusNotification",
            "Heartbeat",
            "LogStatusNotification",
            "MeterValues",
            "SecurityEventNotification",
            "SignCertificate",
            "SignedFirmwareStatusNotification",
            "StartTransaction",
            "StatusNotification",
            "StopTransaction",
        }
    ),
}

# The spelling in each version of the codes that the versions spell differently. OCPP-J 1.6 keeps its two spellings
# (errata 5.1 and 5.2), and has no code for a broken frame or an unknown message type.
_SPELLINGS = {
    "1.6": {
        "FormatViolation": "FormationViolation",
        "OccurrenceConstraintViolation": "OccurenceConstraintViolation",
        "RpcFrameworkError": "FormationViolation",
        "MessageTypeNotSupported": "GenericError",
    },
    "2.0.1": {
        "FormationViolation": "FormatViolation",
        "OccurrenceConstraintViolation": "OccurenceConstraintViolation",
    },
    "2.1": {
        "FormationViolation": "FormatViolation",
        "OccurenceConstraintViolation": "OccurrenceConstraintViolation",
    },
}


class Version:
    """One OCPP version: its actions, dataclasses, schemas and names.

    Attributes:
        name: "1.6", "2.0.1" or "2.1".
        subprotocol: The WebSocket subprotocol, e.g. "ocpp2.0.1".
        actions: All actions of the version.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.subprotocol = _SUBPROTOCOLS[name]
        self._package = f"ocpp.{_PACKAGES[name]}"
        self._schemas = importlib.resources.files("ocpp") / _PACKAGES[name] / "schemas"
        stems = (file.name.removesuffix(".json") for file in self._schemas.iterdir() if file.name.endswith(".json"))
        self.actions = frozenset(stem.removesuffix("Response").removesuffix("Request") for stem in stems)

    def __repr__(self) -> str:
        return f"<OCPP {self.name}>"

    @staticmethod
    def get(name: str) -> Version:
        """The version with this name. It is made once, even if two threads ask for it at the same time.

        Raises:
            ValueError: There is no such version.
        """
        with _version_lock:
            if name not in _versions:
                if name not in _PACKAGES:
                    raise ValueError(f"OCPP version {name!r} is not known; use one of {', '.join(_PACKAGES)}")
                _versions[name] = Version(name)
            return _versions[name]

    @functools.cached_property
    def calls(self) -> ModuleType:
        """The ``call`` module of the ocpp package."""
        return importlib.import_module(f"{self._package}.call")

    @functools.cached_property
    def call_results(self) -> ModuleType:
        """The ``call_result`` module of the ocpp package."""
        return importlib.import_module(f"{self._package}.call_result")

    @functools.cached_property
    def datatypes(self) -> ModuleType:
        """The ``datatypes`` module of the ocpp package."""
        return importlib.import_module(f"{self._package}.datatypes")

    @property
    def is_loaded(self) -> bool:
        """Whether the dataclasses are imported."""
        return f"{self._package}.call_result" in sys.modules and "_field_names" in vars(self)

    def load(self) -> None:
        """Import the dataclasses. Call it in a thread, so that it does not block the event loop."""
        _ = self.calls, self.call_results, self.datatypes, self._field_names

    @functools.cache  # noqa: B019 - versions live as long as the process
    def request(self, action: str) -> Message:
        """The request of ``action``.

        Raises:
            ProtocolViolation: The version has no such action.
        """
        return self._message(action, "request")

    @functools.cache  # noqa: B019 - versions live as long as the process
    def response(self, action: str) -> Message:
        """The response of ``action``.

        Raises:
            ProtocolViolation: The version has no such action, or the action has no answer.
        """
        return self._message(action, "response")

    def code(self, name: str) -> str:
        """A CALLERROR code in the spelling of this version; ``name`` may have that of another version or of ocpp."""
        return _SPELLINGS[self.name].get(name, name)

    def python_name(self, wire: str) -> str:
        """The dataclass field for a name of a schema: the names are equal but for underscores and capitals."""
        snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", wire).lower()
        candidates = self._field_names.get(_without_underscores(wire), {snake})
        return snake if snake in candidates else min(candidates)

    def _message(self, action: str, kind: Kind) -> Message:
        suffix = "Response" if kind == "response" else "" if self.name == "1.6" else "Request"
        path = self._schemas / f"{action}{suffix}.json"
        if action not in self.actions or not path.is_file():
            text = f"OCPP {self.name} has no {action} {kind}"
            code = "NotSupported" if action in self.actions else "NotImplemented"
            raise ProtocolViolation(text, action=action, path="", text=text, code=code)
        return Message(self, action, kind, orjson.loads(path.read_text(encoding="utf-8-sig")))

    @functools.cached_property
    def _field_names(self) -> Mapping[str, set[str]]:
        """All dataclass fields of the version, by their names in lower case without underscores."""
        names: dict[str, set[str]] = {}
        for module in (self.calls, self.call_results, self.datatypes):
            for cls in vars(module).values():
                if dataclasses.is_dataclass(cls):
                    for field in dataclasses.fields(cls):
                        names.setdefault(_without_underscores(field.name), set()).add(field.name)
        return names


def _without_underscores(name: str) -> str:
    return name.replace("_", "").lower()


def version_of(kind: type) -> Version | None:
    """The version in whose part of the ocpp package a class is defined; None if it is not defined there."""
    parts = kind.__module__.split(".")
    name = next((name for name, package in _PACKAGES.items() if parts[:2] == ["ocpp", package]), None)
    return None if name is None else Version.get(name)


def _find_messages(kind: type) -> tuple[Version, Message, Message]:
    """The version, the request and the response of a ``call`` dataclass.

    Raises:
        TypeError: It is not a dataclass of ``ocpp.v16.call``, ``ocpp.v201.call`` or ``ocpp.v21.call``.
        ProtocolViolation: The version has no such action, or the action has no answer.
    """
    version = version_of(kind)
    if version is not None and kind.__module__.endswith(".call"):
        return version, version.request(kind.__name__), version.response(kind.__name__)
    raise TypeError(f"expected a dataclass of ocpp.v16.call, ocpp.v201.call or ocpp.v21.call, not {kind.__qualname__}")


messages_of: Callable[[type], tuple[Version, Message, Message]] = functools.cache(_find_messages)
