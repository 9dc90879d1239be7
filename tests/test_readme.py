"""The first lines of Python in the README, run as a reader would paste them into a cell."""

from __future__ import annotations

import ast
import inspect
import re
from typing import Any

import matplotlib.pyplot as plt
import pytest
from kernel import ROOT


async def paste(source: str, names: dict[str, Any]) -> None:
    """Run lines that may await, as a cell does."""
    done = eval(compile(source, "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
    if inspect.isawaitable(done):
        await done


async def test_the_first_lines_print_what_they_say(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CPSIM_STACK", raising=False)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    boot, charge, *_ = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(charge.splitlines()) == 6
    names: dict[str, Any] = {}
    before = plt.get_fignums()
    try:
        await paste(boot, names)
        await paste(charge, names)
    finally:
        if "stack" in names:
            await names["stack"].close()
        drawn = set(plt.get_fignums()) - set(before)
        for figure in drawn:
            plt.close(figure)

    booted, beat, shadow, session, difference = capsys.readouterr().out.splitlines()
    assert booted.startswith("BootNotification(")
    assert "status='Accepted'" in booted
    assert beat.startswith("Beat(")
    assert "'model': 'ABC 123 XYZ'" in shadow
    assert f"print(session)  # {session};" in charge
    assert f"difference_wh.sum())  # {difference}:" in charge
    assert len(drawn) == 1
    assert {record.action for record in names["session"].messages} >= {"Authorize", "TransactionEvent"}
