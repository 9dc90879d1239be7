"""The versions of OCPP: their names, actions, schemas and codes."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest
from ocpp.v16 import call_result as result16
from ocpp.v16 import enums as enums16
from ocpp.v21 import datatypes as types21
from ocpp.v201 import call_result as result201
from ocpp.v201 import datatypes as types201

from cpsim_kit.errors import ProtocolViolation
from cpsim_kit.ocpp_j.versions import CHARGE_POINT_ACTIONS, Version, messages_of

PACKAGES = {"1.6": "v16", "2.0.1": "v201", "2.1": "v21"}
# It has a schema, but ocpp 2.1.0 has no action and no dataclass for it.
NO_DATACLASS = {"1.6": set(), "2.0.1": set(), "2.1": {"NotifyPeriodicEventStream"}}


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """Replaces conftest's check, which takes longer than these tests; they open no socket and start no task."""


@pytest.mark.parametrize(
    ("name", "code", "spelled"),
    [
        ("1.6", "FormatViolation", "FormationViolation"),
        ("1.6", "OccurrenceConstraintViolation", "OccurenceConstraintViolation"),
        ("1.6", "RpcFrameworkError", "FormationViolation"),
        ("1.6", "NotImplemented", "NotImplemented"),
        ("2.0.1", "FormatViolation", "FormatViolation"),
        ("2.0.1", "OccurrenceConstraintViolation", "OccurenceConstraintViolation"),
        ("2.0.1", "RpcFrameworkError", "RpcFrameworkError"),
        ("2.1", "OccurrenceConstraintViolation", "OccurrenceConstraintViolation"),
        ("2.1", "FormatViolation", "FormatViolation"),
        ("1.6", "FormationViolation", "FormationViolation"),
        ("2.0.1", "FormationViolation", "FormatViolation"),
        ("2.1", "FormationViolation", "FormatViolation"),
        ("2.1", "OccurenceConstraintViolation", "OccurrenceConstraintViolation"),
        ("1.6", "MessageTypeNotSupported", "GenericError"),
    ],
)
def test_a_code_is_spelled_as_the_version_spells_it(name: str, code: str, spelled: str) -> None:
    assert Version.get(name).code(code) == spelled


@pytest.mark.parametrize("name", PACKAGES)
def test_a_call_dataclass_belongs_to_its_version(name: str) -> None:
    version = Version.get(name)
    everything = vars(version.calls).values()
    classes = [cls for cls in everything if getattr(cls, "__module__", "") == version.calls.__name__]
    assert {cls.__name__ for cls in classes} == version.actions - NO_DATACLASS[name]
    for cls in classes:
        assert messages_of(cls)[0] is Version.get(name)


@pytest.mark.parametrize(
    "kind",
    [result201.Heartbeat, types201.IdTokenType, types21.IdTokenType, result16.Heartbeat, enums16.Action, dict, Version],
    ids=lambda kind: f"{kind.__module__}.{kind.__name__}",
)
def test_what_is_no_call_belongs_to_no_version(kind: type) -> None:
    with pytest.raises(TypeError, match=kind.__qualname__):
        messages_of(kind)[0]


@pytest.mark.parametrize(
    ("name", "subprotocol"), [("1.6", "ocpp1.6"), ("2.0.1", "ocpp2.0.1"), ("2.1", "ocpp2.1")], ids=PACKAGES
)
def test_a_version_knows_its_parts_and_is_made_once(name: str, subprotocol: str) -> None:
    version = Version.get(name)
    assert version is Version.get(name)
    assert (version.name, version.subprotocol) == (name, subprotocol)
    assert version.calls.__name__ == f"ocpp.{PACKAGES[name]}.call"
    assert version.call_results.__name__ == f"ocpp.{PACKAGES[name]}.call_result"
    assert {"BootNotification", "Heartbeat", "DataTransfer"} <= version.actions
    assert all(type(action) is str for action in version.actions)
    assert name in repr(version)


@pytest.mark.parametrize("name", ["2.0", "1.5", "", "ocpp2.0.1", "v201", " 1.6"])
def test_an_unknown_version_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(ValueError, match=r"use one of 1\.6, 2\.0\.1, 2\.1"):
        Version.get(name)


@pytest.mark.parametrize("action", ["Levitate", "", "bootNotification", "BootNotificationRequest", "../Heartbeat"])
@pytest.mark.parametrize("name", PACKAGES)
@pytest.mark.parametrize("side", ["request", "response"])
def test_an_unknown_action_is_not_implemented(name: str, side: str, action: str) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        getattr(Version.get(name), side)(action)
    violation = caught.value
    assert (violation.action, violation.path, violation.code) == (action, "", "NotImplemented")
    assert violation.text == f"OCPP {name} has no {action} {side}"


@pytest.mark.parametrize(("name", "action"), [("1.6", "TransactionEvent"), ("2.0.1", "StartTransaction")])
def test_an_action_of_another_version_is_not_implemented(name: str, action: str) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        Version.get(name).request(action)
    assert caught.value.code == "NotImplemented"


@pytest.mark.parametrize("name", CHARGE_POINT_ACTIONS)
def test_a_charge_points_actions_are_actions_of_the_version(name: str) -> None:
    assert CHARGE_POINT_ACTIONS[name] < Version.get(name).actions
    for action in CHARGE_POINT_ACTIONS[name]:
        assert Version.get(name).response(action).cls is not None


SCRIPT = """
import sys, threading
from cpsim_kit.ocpp_j.versions import Version
sys.setswitchinterval(1e-6)
together, found = threading.Barrier(4), []
def get():
    together.wait()
    found.append(Version.get("1.6"))
threads = [threading.Thread(target=get) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(found), len(set(map(id, found))))
"""


def test_threads_that_ask_for_a_version_at_the_same_time_get_the_same() -> None:
    """This runs in a separate process, because a version is made only once."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["4", "1"]


@pytest.mark.parametrize("name", PACKAGES)
def test_the_actions_are_those_of_the_ocpp_package(name: str) -> None:
    enums = importlib.import_module(f"ocpp.{PACKAGES[name]}.enums")
    assert Version.get(name).actions == {str(action) for action in enums.Action} | NO_DATACLASS[name]


LAZY = """
import sys
from cpsim_kit.ocpp_j.versions import Version
version = Version.get("2.0.1")
version.request("Heartbeat").check({})
version.response("Heartbeat").example()
print(version.is_loaded, "ocpp.v201" in sys.modules, "jsonschema" in sys.modules)
version.load()
print(version.is_loaded, "ocpp.v201" in sys.modules, None in sys.modules.values())
from ocpp.v201 import datatypes
print(hasattr(datatypes.EVSEType, "custom_data"))
"""


def test_the_dataclasses_are_imported_when_they_are_needed_and_stay_as_they_are() -> None:
    """A process that only validates does not import jsonschema; it can still import it and the dataclasses later."""
    done = subprocess.run([sys.executable, "-c", LAZY], capture_output=True, text=True, check=True)
    first, second, third = done.stdout.splitlines()
    assert first == "False False False"
    assert second == "True True False", "an import was made to fail"
    assert third == "False", "an attribute was set on a class of the ocpp package"
