"""The check-up's charge points do what the specification demands of a station, but for what each check is about.

The strict CSMS finds nothing else wrong. It is a judge of stations, so it refuses what a CSMS may not refuse.
"""

from __future__ import annotations

import logging

import pytest
from conftest import SOON
from strict_csms import StrictCsms, Token

from cpsim_kit import check_up

# What each check does wrong on purpose.
BROKEN_ON_PURPOSE = {
    "1.6": {
        "CPSIM-CHECK-03": "unknown_action",
        "CPSIM-CHECK-07": "start_busy",
        "CPSIM-CHECK-08": "stop_twice",
        "CPSIM-CHECK-11": "register_decreases",
    },
    "2.0.1": {
        "CPSIM-CHECK-03": "unknown_action",
        "CPSIM-CHECK-07": "started_twice",
        "CPSIM-CHECK-09": "seq_no_gap",
        "CPSIM-CHECK-10": "seq_no_gap",
        "CPSIM-CHECK-11": "register_decreases",
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("version", BROKEN_ON_PURPOSE)
async def test_only_what_a_check_is_about_is_wrong(version: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "ocpp")
    async with StrictCsms(version, tokens={"NOBODY": Token(status="Blocked")}) as csms:

        async def ledger(_charge_point_id: str, transaction_id: str | int) -> float | None:
            session = csms.ledger.get(transaction_id)
            return None if session is None else session.wh

        report = await check_up(csms.url, version, refused_token="NOBODY", ledger=ledger, timeout=SOON)
    first = {each.charge_point_id: each.rule for each in reversed(csms.violations)}  # what follows it, follows from it
    assert first == BROKEN_ON_PURPOSE[version]
    assert len(report.failed) == len(first)
    assert "the bill says 1000 Wh" in report["cable_first"].seen
    assert "the bill says 1000 Wh" in report["offline"].seen
