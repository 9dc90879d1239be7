"""The wheel as its reader installs it, away from the checkout: ``cpsim lab`` and the notebooks that travel along."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import ENDED, SOON
from jupyter_client.asynchronous import AsyncKernelClient
from kernel import NOTEBOOKS, is_gone
from stack_fixtures import READERS_VARIABLES

ROOT = Path(__file__).resolve().parents[1]
FIRST = NOTEBOOKS[0].name
JMETER = {"README.md", "charge_points.jmx"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the kit installed; what it depends on is this interpreter's."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(folder)]
    subprocess.run([*command, str(wheel)], check=True)
    return folder


def test_the_wheel_has_the_notebooks_and_nothing_that_was_left_lying_about(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for path in NOTEBOOKS:
        assert f"cpsim_kit/notebooks/{path.name}" in names
    others = {name for name in names if "/notebooks/" in name and not name.endswith(".ipynb")}
    assert others == {f"cpsim_kit/notebooks/{name}" for name in ("cluster.md", *(f"jmeter/{each}" for each in JMETER))}
    assert not [name for name in names if re.search(r"\.ipynb_checkpoints|__pycache__|^tests/", name)]


async def ready(kernel: Path) -> None:
    """Wait for a kernel to answer; one that still starts would print where it was interrupted."""
    client = AsyncKernelClient(connection_file=str(kernel))
    client.load_connection_file()
    client.start_channels()
    try:
        deadline = time.monotonic() + 9 * SOON
        while True:
            try:
                await client.wait_for_ready(timeout=3 * SOON)
            except RuntimeError:  # a busy machine: it has not beaten for a second
                assert time.monotonic() < deadline
            else:
                break
    finally:
        client.stop_channels()
        client.context.destroy()


class RunningLab:
    """``cpsim lab --no-browser`` of the installed kit."""

    def __init__(self, process: subprocess.Popen[str], runtime: Path) -> None:
        self.process = process
        self.runtime = runtime
        address = runtime / f"jpserver-{process.pid}.json"  # of JupyterLab, which has taken the command's place
        deadline = time.monotonic() + 9 * SOON
        self.address: dict[str, Any] = {}
        while not self.address:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
            with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):  # not there, or not written to its end
                self.address = json.loads(address.read_text())

    def ask(self, path: str, method: str = "GET") -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.address['port']}/{path}",
            method=method,
            headers={"Authorization": f"token {self.address['token']}"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + 3 * SOON
        while True:  # its address is known a moment before it listens
            try:
                with opener.open(request, timeout=6 * SOON) as answer:
                    body = answer.read()
            except urllib.error.URLError as exc:
                if not isinstance(exc.reason, ConnectionRefusedError) or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                break
        return json.loads(body) if path.startswith("api/") else body

    def start_kernel(self) -> None:
        kernel = self.ask("api/kernels", "POST")["id"]
        asyncio.run(ready(self.runtime / f"kernel-{kernel}.json"))

    def end(self, how: signal.Signals) -> tuple[str, str]:
        """What it has printed; it and a kernel have ended on this signal."""
        self.start_kernel()
        children = psutil.Process(self.process.pid).children(recursive=True)
        assert children, "the kernel"
        self.process.send_signal(how)
        out, err = self.process.communicate(timeout=2 * ENDED)
        assert self.process.returncode == 0
        assert "Traceback" not in out + err
        psutil.wait_procs(children, timeout=ENDED)
        assert all(map(is_gone, children))
        return out, err


@contextlib.contextmanager
def lab(site: Path, folder: Path) -> Iterator[RunningLab]:
    """Started by its console script, in a folder of the reader's."""
    state = folder.parent / "state"
    kept = {
        key: value for key, value in os.environ.items() if not key.upper().startswith((*READERS_VARIABLES, "JUPYTER"))
    }
    places = {f"JUPYTER_{name}_DIR": str(state / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    settings = state / "config/lab/user-settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text('{"fetchNews": "false"}')
    process = subprocess.Popen(
        [sys.executable, str(site / "bin" / "cpsim"), "lab", "--no-browser"],
        env=kept | places | {"PYTHONPATH": str(site)},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield RunningLab(process, state / "runtime")
    finally:
        process.kill()
        process.communicate()


def test_lab_of_the_wheel_serves_copies_and_keeps_what_the_reader_changed(site: Path, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    copies = folder / "cpsim-notebooks"
    with lab(site, folder) as first:
        assert first.address["root_dir"] == str(copies)
        served = first.ask(f"api/contents/{FIRST}")["content"]
        assert served["cells"][0]["source"].startswith("# 00")
        assert b"jupyter-config-data" in first.ask(f"lab/tree/{FIRST}")
        out, _ = first.end(signal.SIGINT)
    assert out == f"The notebooks are in {copies}\n"
    assert [path.name for path in folder.iterdir()] == [copies.name]
    assert {path.name for path in copies.glob("*.ipynb")} == {path.name for path in NOTEBOOKS}
    assert {path.name for path in (copies / "jmeter").iterdir()} == JMETER
    for path in copies.glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        prose = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        for target in re.findall(r"\]\(((?!https?://|#)[^)#]+)", prose):
            assert (copies / target).is_file(), f"{path.name} refers to {target}, which is not copied"

    (copies / FIRST).write_text(json.dumps({**served, "cells": []}))
    (copies / NOTEBOOKS[1].name).unlink()
    with lab(site, folder) as second:
        assert second.ask(f"api/contents/{FIRST}")["content"]["cells"] == []
        out, _ = second.end(signal.SIGTERM)
    assert f"Kept with your changes: {FIRST};" in out
    assert (copies / NOTEBOOKS[1].name).read_bytes() == NOTEBOOKS[1].read_bytes()
