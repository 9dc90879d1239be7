"""The report: its table, card, JUnit XML, and several side by side."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pandas as pd
import pytest

from cpsim_kit import CheckUp
from cpsim_kit.check_up import CHECKS, Finding

SEEN = {
    "boot": ("passed", "2 messages answered"),
    "heartbeat_time": ("failed", 'currentTime: "<&>" \x00 \U0001f50c'),
    "cable_first": ("not supported", "Authorize"),
    "offline": ("not tried", "because"),
}


@pytest.fixture
def report() -> CheckUp:
    checks = {check.id: check for check in CHECKS["2.0.1"]}
    return CheckUp("ws://h", "2.0.1", tuple(Finding(checks[name], *seen, 0.25) for name, seen in SEEN.items()))


def test_table(report: CheckUp) -> None:
    frame = report.to_frame()
    assert list(frame.columns) == ["check", "verdict", "seen", "demand", "requirement", "duration_s"]
    assert list(frame.verdict) == ["passed", "failed", "not supported", "not tried"]
    assert "B01.FR.02" in frame.requirement[0]
    assert frame.duration_s.sum() == 1


def test_failed_lists_the_failed_ones_only(report: CheckUp) -> None:
    assert report.failed == ["heartbeat_time"]
    assert CheckUp("ws://h", "2.0.1", report.findings[:1]).failed == []


def test_one_finding_by_its_id(report: CheckUp) -> None:
    assert report["offline"].seen == "because"
    with pytest.raises(KeyError, match="'lunch'; there are boot, heartbeat_time"):
        report["lunch"]


def test_shown_in_a_cell(report: CheckUp) -> None:
    assert repr(report) == "<CheckUp OCPP 2.0.1 ws://h 1 passed, 1 failed, 1 not supported, 1 not tried>"
    html = report._repr_html_()
    assert "&lt;&amp;&gt;" in html
    assert "not tried: because" in html
    assert "B01.FR.02" in report["boot"]._repr_html_()


def test_junit_is_xml_that_counts(report: CheckUp, tmp_path: Path) -> None:
    path = report.to_junit_xml(tmp_path / "check.xml")
    [suite] = ET.parse(path).getroot()
    assert suite.tag == "testsuite"
    counts = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped", "time")}
    assert counts == {"tests": "4", "failures": "1", "errors": "0", "skipped": "2", "time": "1.000"}
    cases = {case.get("name"): case for case in suite.iter("testcase")}
    assert list(cases) == list(SEEN)
    assert [child.tag for child in cases["boot"]] == ["system-out"]
    failure = cases["heartbeat_time"].find("failure")
    assert failure is not None
    assert failure.get("message") == 'currentTime: "<&>" � \U0001f50c'
    assert "G02.FR.03" in (failure.text or "")
    for name, message in (("cable_first", "not supported: Authorize"), ("offline", "not tried: because")):
        skipped = cases[name].find("skipped")
        assert skipped is not None
        assert skipped.get("message") == message


def test_several_side_by_side(report: CheckUp) -> None:
    other = CheckUp("ws://i", "1.6", (Finding(CHECKS["1.6"][6], "passed", ""), Finding(CHECKS["1.6"][0], "failed", "")))
    frame = CheckUp.compare(kit=report, mine=other)
    assert list(frame.columns) == ["kit", "mine"]
    assert list(frame.index) == [*SEEN, "repeated_start"]
    assert frame.loc["boot"].tolist() == ["passed", "failed"]
    assert pd.isna(frame.mine["offline"])


def test_the_check_up_of_an_address_needs_nothing_of_aws() -> None:
    code = "import sys; from cpsim_kit import check_up; sys.exit('boto3' in sys.modules or 'paho' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
