"""What has to follow a command: each rule is broken on purpose, and what is right breaks none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import follow_ups
import pytest
from follow_ups import FollowUps

Step = tuple[Any, ...]
BOOT: Step = ("BootNotification", {"reason": "PowerUp"})
BEAT: Step = ("Heartbeat", {})
OK = {"status": "Accepted"}
NEW: Step = ("a new connection",)


def ask(action: str, answer: Any = OK, **payload: Any) -> Step:
    return "ask", action, payload, answer


def part(seq_no: int, tbc: bool, number: int = 4) -> Step:
    return "NotifyReport", {"requestId": number, "seqNo": seq_no, "tbc": tbc}


def firmware(*statuses: str) -> list[Step]:
    return [("FirmwareStatusNotification", {"status": status, "requestId": 7}) for status in statuses]


def log(*statuses: str) -> list[Step]:
    return [("LogStatusNotification", {"status": status, "requestId": 8}) for status in statuses]


REPORT = ask("GetBaseReport", requestId=4)
REFUSED = ask("GetReport", {"status": "Rejected"}, requestId=4)
UPDATE = ask("UpdateFirmware", requestId=7)
INSTALLS = ("Downloading", "Downloaded", "Installing", "InstallRebooting")
LOG = ask("GetLog", requestId=8)
RESET = ask("Reset", type="Immediate")
TRIGGER = ask("TriggerMessage", requestedMessage="FirmwareStatusNotification")
REMOTE_BOOT: Step = ("BootNotification", {"reason": "RemoteReset"})
NEW_BOOT: Step = ("BootNotification", {"reason": "FirmwareUpdate"})
OUT: Step = ("StatusNotification", {"evseId": 1, "connectorId": 1, "connectorStatus": "Unavailable"})
START: Step = ("TransactionEvent", {"eventType": "Started", "evse": {"id": 1}})


def play(steps: list[Step]) -> list[str]:
    """The rules that are broken."""
    follow, broken = FollowUps(), []
    for number, step in enumerate(steps):
        match step:
            case ("a new connection",):
                follow.connected()
            case ("ask", action, payload, answer):
                follow.asked(str(number), action, payload)
                if answer != "nothing":
                    follow.answered(str(number), answer)
            case action, payload:
                broken += [rule for rule, _ in follow.said(action, payload)]
    return broken + [rule for rule, _ in follow.end()]


CASES: dict[str, tuple[list[Step], list[str]]] = {
    "a report in parts": ([REPORT, part(0, True), part(1, False)], []),
    "a report that nobody asked for": ([part(0, False)], ["report_unasked"]),
    "a report before its answer": ([ask("GetBaseReport", "nothing", requestId=4), part(0, False)], ["report_unasked"]),
    "a report that was refused": (
        [ask("GetReport", {"status": "Rejected"}, requestId=4), part(0, False)],
        ["report_unasked"],
    ),
    "a report whose parts do not count": ([REPORT, part(0, True), part(2, False)], ["report_seq_no"]),
    "a report without a last part": ([REPORT, part(0, True)], ["report_not_ended"]),
    "a report after its last part": ([REPORT, part(0, False), part(1, False)], ["report_unasked"]),
    "a report that the connection broke off": ([REPORT, part(0, True), NEW], []),
    "a boot after a reset": ([BOOT, BEAT, RESET, NEW, REMOTE_BOOT], []),
    "a boot of its own": ([BOOT, BEAT, NEW, REMOTE_BOOT], ["boot_unasked"]),
    "a boot for another reason": ([BOOT, BEAT, RESET, NEW, NEW_BOOT], ["boot_unasked"]),
    "one reset, two boots": ([BOOT, BEAT, RESET, NEW, REMOTE_BOOT, BEAT, NEW, REMOTE_BOOT], ["boot_unasked"]),
    "a boot again as the first had no answer": ([BOOT, BEAT, RESET, NEW, REMOTE_BOOT, NEW, REMOTE_BOOT], []),
    "a reset and no boot": ([BOOT, BEAT, RESET], ["promise_not_kept"]),
    "a reset of an EVSE needs no boot": ([BOOT, BEAT, ask("Reset", type="Immediate", evseId=1)], []),
    "a reset whose answer was lost": ([BOOT, BEAT, ask("Reset", "nothing", type="Immediate"), NEW, REMOTE_BOOT], []),
    "a message that was promised": ([TRIGGER, ("FirmwareStatusNotification", {"status": "Idle"})], []),
    "a step before the message that was promised": (
        [UPDATE, *firmware("Downloading"), TRIGGER, *firmware("Downloaded", "Downloaded")],
        [],
    ),
    "a step in the place of the message that was promised": (
        [UPDATE, *firmware("Downloading"), TRIGGER, *firmware("Downloaded")],
        ["promise_not_kept"],
    ),
    "a message that was promised and did not come": ([TRIGGER], ["promise_not_kept"]),
    "a log": ([LOG, *log("Uploading", "Uploading", "Uploaded")], []),
    "a log that ends first": ([LOG, *log("Uploaded")], ["status_order_of_job"]),
    "a log that nobody asked for": (log("Uploading"), ["status_unasked"]),
    "a log that cannot be": ([ask("GetLog", None, requestId=8), *log("Uploading")], ["status_unasked"]),
    "an update": (
        [BOOT, UPDATE, *firmware(*INSTALLS), NEW, NEW_BOOT, *firmware("Installed")],
        [],
    ),
    "an update without a boot": (
        [UPDATE, *firmware(*INSTALLS, "Installed")],
        ["installed_without_boot"],
    ),
    "an update backwards": ([UPDATE, *firmware("Downloading", "Downloaded", "Downloading")], ["status_order_of_job"]),
    "an update with a status lost": ([UPDATE, *firmware("Downloading"), NEW, *firmware("Installing")], []),
    "a transaction where it is available": ([START], []),
    "a transaction where it is out of service": ([OUT, START], ["start_unavailable"]),
    "a transaction of before": ([OUT, (START[0], {**START[1], "offline": True})], []),
}


@pytest.mark.parametrize("name", CASES)
def test_the_rules_that_are_broken(name: str) -> None:
    steps, broken = CASES[name]
    assert play(steps) == broken


def test_every_rule_is_broken_by_some_case() -> None:
    rules = set(re.findall(r'yield\s*\(?\s*"(\w+)"', Path(follow_ups.__file__).read_text()))
    assert len(rules) > 5
    assert rules == {rule for _, broken in CASES.values() for rule in broken}


def test_the_csms_was_not_made_by_the_kit() -> None:
    folder = Path(follow_ups.__file__).parent
    files = [*folder.glob("strict_*.py"), *(folder / f"{name}.py" for name in ("follow_ups", "commanding_csms"))]
    assert len(files) == 7
    for path in [*files, folder / "commands_by_hand.py"]:
        assert not re.search(r"^\s*(from|import) cpsim_kit", path.read_text(), re.MULTILINE), path.name
