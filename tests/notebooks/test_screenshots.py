"""notebooks/screenshots.py, the command that takes pictures of what a reader sees."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import screenshots
from conftest import ENDED, SOON
from kernel import NOTEBOOKS, ROOT, ends, is_local_stack
from screenshots import Report


@pytest.mark.parametrize(
    ("arguments", "words"), [(["77"], NOTEBOOKS[0].stem), (["--readme", "01"], "PICTURES"), (["--bogus"], "--bogus")]
)
def test_bad_arguments_say_what_there_is(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        screenshots.main(arguments)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        screenshots.main(["--help"])
    assert ended.value.code == 0
    assert "python notebooks/screenshots.py --readme" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["chromium", "playwright"])
def test_what_is_missing_is_said_with_how_to_get_it(
    what: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if what == "chromium":
        monkeypatch.setenv("PATH", str(tmp_path))
    else:
        monkeypatch.setattr(screenshots, "async_playwright", None)
    with pytest.raises(SystemExit) as ended:
        screenshots.main(["00"])
    assert ended.value.code == 2
    assert re.search(rf"install .*{what if what == 'chromium' else 'test'}", capsys.readouterr().err)


def test_a_report_counts_and_complains() -> None:
    def cell(name: str, *outputs: dict[str, object], count: int | None = 1) -> dict[str, object]:
        return {"cell_type": "code", "id": name, "execution_count": count, "outputs": list(outputs)}

    notebook = {
        "cells": [
            {"cell_type": "markdown", "id": "title"},
            cell("fine", {"output_type": "stream", "name": "stdout", "text": ["✓ one\n", "two\n", "✓ three\n"]}),
            cell("plot", {"output_type": "display_data", "data": {"image/png": "…"}}),
            cell("warned", {"output_type": "stream", "name": "stderr", "text": "careful\n"}),
            cell("wrong", {"output_type": "error", "ename": "ValueError", "evalue": "no"}),
            cell("after", count=None),
        ]
    }
    report = Report.of("99_notebook", notebook, 1.25)
    assert str(report) == "5 cells, 2 checkpoints, 1 plot, 1.2 s"
    assert report.plots == ["plot"]
    assert report.problems == ["warned: stderr: careful", "wrong: ValueError: no", "after: was not run"]


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """The command, beside one notebook that fails and one that takes long."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for name in ("execute.py", "screenshots.py"):
        (folder / name).write_bytes((ROOT / "notebooks" / name).read_bytes())
    for name, source in (("98_wrong", "1 / 0"), ("99_long", "import asyncio\nawait asyncio.sleep(600)")):
        notebook = json.loads(NOTEBOOKS[0].read_text())
        cell = next(cell for cell in notebook["cells"] if cell["id"] == "setup")
        after = cell | {"id": "after", "source": source, "outputs": [], "execution_count": None}
        notebook["cells"] = [cell, after, after | {"id": "last", "source": "0"}]
        (folder / f"{name}.ipynb").write_text(json.dumps(notebook))
    return folder


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(folder / "screenshots.py"), *arguments],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(folder.parents[1]),  # what SIGKILL leaves, pytest removes; Chromium's socket wants it short
        },
        cwd=folder.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a terminal's Ctrl-C goes to the whole group: to nobody else here
    )


@pytest.mark.slow
async def test_a_notebook_that_fails_is_reported(broken: Path, chromium: str) -> None:
    before = (broken / "98_wrong.ipynb").read_bytes()
    with start(broken, "98") as process:
        out, err = await asyncio.to_thread(process.communicate)
    assert process.returncode == 1
    assert "98_wrong: failed" in out
    assert "after: ZeroDivisionError: division by zero" in err
    assert "last: was not run" in err
    assert "Traceback" not in err
    assert (broken / "98_wrong.ipynb").read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=lambda how: how.name)
async def test_the_command_takes_all_it_started_along(broken: Path, chromium: str, how: signal.Signals) -> None:
    with start(broken, "99") as process:
        try:
            me = psutil.Process(process.pid)
            async with asyncio.timeout(12 * SOON):
                while not any(map(is_local_stack, me.children(recursive=True))):
                    assert process.poll() is None, process.communicate()
                    await asyncio.sleep(0.1)
            children = me.children(recursive=True)
            os.killpg(process.pid, how)  # as a terminal does
            out, err = await asyncio.to_thread(process.communicate, timeout=screenshots.STOP_TIMEOUT + ENDED)
        finally:
            process.kill()
    await ends(children, screenshots.STOP_TIMEOUT + ENDED)  # JupyterLab may take so long to stop its kernels
    if how is signal.SIGINT:
        assert process.returncode == 130
        assert "interrupted" in err
        assert "Traceback" not in out + err
