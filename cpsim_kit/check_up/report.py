"""The report of a check-up: a table, a card, JUnit XML. Does no I/O but to write a file when asked."""

from __future__ import annotations

import xml.etree.ElementTree as ET  # it writes, and reads nothing
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cpsim_kit.basics.cards import card
from cpsim_kit.basics.tables import table
from cpsim_kit.check_up.checks import Check
from cpsim_kit.check_up.verdicts import FAILED, NOT_SUPPORTED, NOT_TRIED, PASSED, VERDICTS, clean
from cpsim_kit.records.messages import MessageLog

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "CheckUp", "Finding"]

COLUMNS = ("check", "verdict", "seen", "demand", "requirement", "duration_s")


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        check: The check: its id, title, demand, and where the specification says so.
        verdict: "passed", "failed", "not supported" or "not tried".
        seen: What was seen; or why it was not tried.
        duration: Seconds.
        messages: Every frame that was sent and received.
    """

    check: Check
    verdict: str
    seen: str
    duration: float = 0.0
    messages: MessageLog = field(default_factory=lambda: MessageLog(None), repr=False, compare=False)

    def _repr_html_(self) -> str:
        rows = {
            "plays": self.check.title,
            "demand": self.check.demand,
            "requirement": self.check.requirement,
            "seen": self.seen,
        }
        return card(f"{self.check.id}, OCPP {self.check.version}", self.verdict, rows)


@dataclass(frozen=True)
class CheckUp:
    """What a check-up found; made by ``check_up``. ``report["offline"]`` is one finding.

    Attributes:
        url: The address of the CSMS, or of the gateway before it.
        version: The OCPP version.
        findings: One for each check that was chosen, in the order of the table.
    """

    url: str
    version: str
    findings: tuple[Finding, ...]

    def __repr__(self) -> str:
        return f"<CheckUp OCPP {self.version} {self.url} {self._counts()}>"

    def _repr_html_(self) -> str:
        rows = {
            "address": self.url,
            **{finding.check.id: f"{finding.verdict}: {finding.seen}" for finding in self if finding.verdict != PASSED},
            "passed": ", ".join(finding.check.id for finding in self if finding.verdict == PASSED),
            "table": ".to_frame()",
        }
        return card(f"Check-up, OCPP {self.version}", self._counts(), rows)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    def __getitem__(self, check_id: str) -> Finding:
        found = next((finding for finding in self if finding.check.id == check_id), None)
        if found is None:
            raise KeyError(f"{check_id!r}; there are {', '.join(finding.check.id for finding in self)}")
        return found

    def _counts(self) -> str:
        counts = {verdict: sum(finding.verdict == verdict for finding in self) for verdict in VERDICTS}
        return ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)

    @property
    def failed(self) -> list[str]:
        """The ids of the checks that failed; empty if none did."""
        return [finding.check.id for finding in self if finding.verdict == FAILED]

    def to_frame(self) -> pd.DataFrame:
        """One row per check: check, verdict, seen, demand, requirement, duration_s."""
        rows = [
            (
                finding.check.id,
                finding.verdict,
                finding.seen,
                finding.check.demand,
                finding.check.requirement,
                finding.duration,
            )
            for finding in self
        ]
        return table(rows, COLUMNS)

    @staticmethod
    def compare(**reports: CheckUp) -> pd.DataFrame:
        """The verdicts of several check-ups side by side: ``CheckUp.compare(kit=report, mine=other)``.

        Returns:
            One row per check, its id as the index, and one column per report; missing where a report has no such check.
        """
        import pandas as pd  # noqa: PLC0415 - half a second that a check-up need not spend

        columns = {
            name: pd.Series({finding.check.id: finding.verdict for finding in report}, dtype="object")
            for name, report in reports.items()
        }
        order = dict.fromkeys(finding.check.id for report in reports.values() for finding in report)
        return pd.DataFrame(columns, index=pd.Index(list(order), name="check"))

    # -- JUnit ---------------------------------------------------------------------------------------------------------

    def to_junit(self) -> str:
        """The report as JUnit XML, as build servers read it.

        "not supported" and "not tried" are skipped tests, each with its reason.
        """
        skipped = sum(finding.verdict in {NOT_SUPPORTED, NOT_TRIED} for finding in self)
        counts = {
            "tests": str(len(self)),
            "failures": str(len(self.failed)),
            "errors": "0",
            "skipped": str(skipped),
            "time": f"{sum(finding.duration for finding in self):.3f}",
        }
        root = ET.Element("testsuites", counts)
        suite = ET.SubElement(root, "testsuite", {"name": f"cpsim check, OCPP {self.version}"} | counts)
        for finding in self:
            _add_test_case(suite, finding)
        ET.indent(root)
        return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'

    def to_junit_xml(self, path: str | Path) -> Path:
        """Write :meth:`to_junit` to a file, and return its path.

        Raises:
            OSError: It cannot be written.
        """
        path = Path(path)
        path.write_text(self.to_junit(), encoding="utf-8")
        return path


def _add_test_case(suite: ET.Element, finding: Finding) -> None:
    check = finding.check
    attributes = {
        "classname": f"cpsim.check.ocpp{check.version.replace('.', '')}",
        "name": check.id,
        "time": f"{finding.duration:.3f}",
    }
    case = ET.SubElement(suite, "testcase", attributes)
    seen = clean(finding.seen)
    if finding.verdict == FAILED:
        failure = ET.SubElement(case, "failure", {"message": seen, "type": check.requirement})
        failure.text = f"{check.demand}\n{check.requirement}\nSeen: {seen}"
    elif finding.verdict != PASSED:
        ET.SubElement(case, "skipped", {"message": f"{finding.verdict}: {seen}"})
    ET.SubElement(case, "system-out").text = f"{check.title}. {check.demand} ({check.requirement})\nSeen: {seen}"
