"""Notebooks as files, and a real kernel and a browser to run them; conftest.py registers the fixtures."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from conftest import ENDED, FACTOR, until
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
CELL_TIMEOUT = 120 * FACTOR  # seconds

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)

# -- Reading ----------------------------------------------------------------------------------------------------------


def read(path: Path) -> nbformat.NotebookNode:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def prose(path: Path) -> str:
    return "\n\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")


def solutions(path: Path) -> list[str]:
    """The code in the folded blocks."""
    folded = re.findall(r"<details>.*?</details>", prose(path), re.DOTALL)
    return [re.findall(r"```python\n(.*?)```", block, re.DOTALL)[0] for block in folded]


# -- A kernel ---------------------------------------------------------------------------------------------------------


def environment(folder: Path) -> dict[str, str]:
    """The developer's own, without what would change the outcome, and with the kit of this checkout."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "CPSIM_", "MPLBACKEND"))}
    return kept | {"PYTHONPATH": str(ROOT), "IPYTHONDIR": str(folder / ".ipython")}


@dataclass
class Ran:
    """What a cell did: what it printed, showed, and showed in place of that, and the error that it ended with."""

    stdout: str = ""
    stderr: str = ""
    shown: list[dict[str, Any]] = field(default_factory=list)
    updated: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""

    @property
    def value(self) -> str:
        """The plain text of what it showed last."""
        return str(self.shown[-1]["text/plain"]) if self.shown else ""


class Kernel:
    """A real kernel, to which cells are sent as JupyterLab sends them."""

    def __init__(self, manager: AsyncKernelManager, client: Any) -> None:
        self.manager = manager
        self.client = client

    @classmethod
    @contextlib.asynccontextmanager
    async def started(cls, folder: Path, **variables: str) -> AsyncIterator[Kernel]:
        """A kernel of this interpreter in this folder; it is shut down at the end."""
        for tries_left in reversed(range(3)):
            manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
            await manager.start_kernel(
                cwd=str(folder), env=environment(folder) | variables, extra_arguments=["--log-level=ERROR"]
            )
            client = manager.client()
            client.start_channels()
            try:
                try:
                    await client.wait_for_ready(timeout=60 * FACTOR)
                except RuntimeError:
                    if not tries_left or await manager.is_alive():
                        raise
                    continue  # somebody else has taken one of the ports that were free when they were chosen for it
                yield cls(manager, client)
                return
            finally:
                client.stop_channels()
                if manager.has_kernel:
                    await manager.shutdown_kernel()

    async def run(self, source: str, ran: Ran | None = None) -> Ran:
        """Run a cell to its end; what it does shows in ``ran`` meanwhile."""
        ran = ran or Ran()

        def look(message: dict[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] == "stream":
                setattr(ran, content["name"], getattr(ran, content["name"]) + content["text"])
            elif message["msg_type"] in {"execute_result", "display_data"}:
                ran.shown.append(content["data"])
            elif message["msg_type"] == "update_display_data":
                ran.updated.append(content["data"])

        reply = await self.client.execute_interactive(source, allow_stdin=False, timeout=CELL_TIMEOUT, output_hook=look)
        if reply["content"]["status"] != "ok":
            ran.error = f"{reply['content'].get('ename')}: {reply['content'].get('evalue')}"
        return ran

    async def must(self, source: str, where: str = "") -> Ran:
        """Run a cell that has to end without an error, and without a warning."""
        ran = await self.run(source)
        assert not ran.error, f"{where}: {ran.error}\n{source}"
        assert not ran.stderr, f"{where}: {ran.stderr}\n{source}"
        return ran

    def local_stacks(self) -> list[psutil.Process]:
        """The processes of local stacks that this kernel started."""
        process = psutil.Process(self.manager.provisioner.pid)
        return [child for child in process.children(recursive=True) if is_local_stack(child)]


def is_local_stack(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):  # it has ended meanwhile
        return "cpsim_kit.local" in process.cmdline()
    return False


def is_gone(process: psutil.Process) -> bool:
    """Whether it has ended; an orphan may stay a zombie where nobody reaps it."""
    try:
        return not process.is_running() or bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


async def ends(processes: Collection[psutil.Process], within: float = ENDED) -> None:
    """Wait until all of them have ended; fail with those that have not."""
    left: list[psutil.Process] = []

    def none_left() -> bool:
        left[:] = [process for process in processes if not is_gone(process)]
        return not left

    await until(none_left, left, within)


async def run_all(kernel: Kernel, path: Path, *, but: str = "") -> str:
    """Run all cells in order, except this one; returns what they printed."""
    printed = ""
    for cell in code_cells(path):
        if cell.id != but:
            printed += (await kernel.must(cell.source, f"{path.stem}, {cell.id}")).stdout
    return printed


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """A copy of the notebooks, and of the command that executes them."""
    ignore = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
    return Path(shutil.copytree(FOLDER, tmp_path / "notebooks", ignore=ignore))


@pytest.fixture
async def kernel(copies: Path) -> AsyncIterator[Kernel]:
    async with Kernel.started(copies) as kernel:
        yield kernel


@pytest.fixture(scope="session")
def chromium() -> str:
    """Where Chromium is; without it nothing is skipped in continuous integration, where nobody would see it."""
    import screenshots

    try:
        return screenshots.browser_path()
    except screenshots.Missing as exc:
        if os.environ.get("CI") == "true":
            pytest.fail(str(exc))
        pytest.skip(str(exc))
