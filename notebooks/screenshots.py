"""Run the tutorial notebooks in a real JupyterLab, in Chromium, and take pictures of what their reader sees.

It works on a copy of the notebooks. Playwright drives a Chromium that is installed already, and downloads none.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import getpass
import io
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from execute import FOLDER, find, progress
from PIL import Image  # matplotlib brings it

try:
    from playwright.async_api import Browser, BrowserContext, ElementHandle, Error, Page, async_playwright
except ImportError:  # said by `lab`, where it is needed
    async_playwright = None
    Error = RuntimeError

BROWSERS = ("chromium", "google-chrome", "chromium-browser", "google-chrome-stable")
LIGHT, DARK = "JupyterLab Light", "JupyterLab Dark"
WINDOW = {"width": 1200, "height": 780}
START_TIMEOUT = 90.0  # seconds; a cold JupyterLab on a slow disk takes a dozen
RUN_TIMEOUT = 300.0
STOP_TIMEOUT = 15.0
IMAGES = FOLDER / "images"
IMAGE_WIDTH, IMAGE_BYTES = 900, 60_000


@dataclass(frozen=True)
class Picture:
    """What a picture in the README shows: a cell with its output, or the whole window scrolled to that cell."""

    notebook: str
    cell: str
    window: bool = False


# File name -> what it shows. One line is one more picture for the README, renewed by --readme.
PICTURES = {
    "jupyterlab": Picture("01_boot_and_heartbeat", "plot", window=True),
    "heartbeat_timing": Picture("07_heartbeat_timing", "outage-plot"),
    "message_path": Picture("08_message_path", "diagram"),
    "charging_session": Picture("10_charging_session", "powers"),
}


class Missing(Exception):
    """Something is not installed that these pictures need; the message says how to get it."""


class LabFailed(Exception):
    """JupyterLab or a notebook in it did not do what was waited for; the message says what, and shows its log's end."""


@dataclass
class Report:
    """What a notebook looks like to its reader after Run All Cells.

    Attributes:
        name: The notebook's name, without its suffix.
        cells: How many code cells it has.
        not_run: The ids of those without an execution count.
        checkpoints: The lines that begin with a check mark.
        plots: For each picture among the outputs, the id of its cell.
        errors: Errors and what was written to stderr, each with its cell's id.
        seconds: How long the cells took, together.
    """

    name: str
    cells: int = 0
    not_run: list[str] = field(default_factory=list)
    checkpoints: list[str] = field(default_factory=list)
    plots: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @classmethod
    def of(cls, name: str, notebook: dict[str, Any], seconds: float = 0.0) -> Report:
        """What a notebook's JSON says."""
        report = cls(name, seconds=seconds)
        for cell in notebook["cells"]:
            if cell["cell_type"] != "code":
                continue
            report.cells += 1
            if not cell["execution_count"]:
                report.not_run.append(cell["id"])
            for output in cell["outputs"]:
                report._add(cell["id"], output)
        return report

    def _add(self, cell: str, output: dict[str, Any]) -> None:
        if output["output_type"] == "error":
            self.errors.append(f"{cell}: {output['ename']}: {output['evalue']}")
        elif output["output_type"] == "stream":
            text = "".join(output["text"])
            if output["name"] == "stderr":
                self.errors.append(f"{cell}: stderr: {text.strip()}")
            self.checkpoints += [line for line in text.splitlines() if line.startswith("✓ ")]
        elif "image/png" in output["data"]:
            self.plots.append(cell)

    def __str__(self) -> str:
        return (
            f"{count(self.cells, 'cell')}, {count(len(self.checkpoints), 'checkpoint')}, "
            f"{count(len(self.plots), 'plot')}, {self.seconds:.1f} s"
        )

    @property
    def problems(self) -> list[str]:
        """What is wrong with it, one line each; none when all is well."""
        return self.errors + [f"{cell}: was not run" for cell in self.not_run]


def count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


# -- The driver -------------------------------------------------------------------------------------------------------


def browser_path() -> str:
    """Where Chromium is.

    Raises:
        Missing: It is not on PATH, or Playwright is not installed.
    """
    if async_playwright is None:
        raise Missing("playwright is not installed; try: pip install -e '.[test]'")
    for name in BROWSERS:
        if path := shutil.which(name):
            return path
    raise Missing(f"none of {', '.join(BROWSERS)} is on PATH; on Debian and Ubuntu: sudo apt-get install chromium")


def copy_notebooks(paths: Sequence[Path], folder: Path) -> None:
    """Copy notebooks without their outputs, so that whatever is seen later is new."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                cell["outputs"], cell["execution_count"] = [], None
        (folder / path.name).write_text(json.dumps(notebook), encoding="utf-8")


# JupyterLab as `python -m jupyterlab` runs it. Its standard input is a pipe that is never written to: when that ends,
# however the parent did, it stops its kernels and itself.
_JUPYTERLAB = f"""
import os, runpy, signal, threading

def watch():
    os.read(0, 1)
    stop = threading.Timer({STOP_TIMEOUT}, os._exit, args=(1,))
    stop.daemon = True
    stop.start()
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=watch, daemon=True).start()
runpy.run_module("jupyterlab", run_name="__main__", alter_sys=True)
"""

_SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # every output is on the page, seen or not
    "filebrowser-extension/browser": {"showLastModifiedColumn": False},  # leaves room for the notebooks' names
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True},
}


class Lab:
    """A JupyterLab on a folder, and a browser to see it with. Made by :func:`lab`.

    Attributes:
        folder: The notebooks' folder.
        url: JupyterLab's address, which ends in a slash.
        token: What lets a browser in.
        process: The server.
        browser: Playwright's browser.
    """

    def __init__(self, folder: Path, state: Path) -> None:
        self.folder = folder.resolve()
        self.token = secrets.token_hex(24)
        self.url = ""
        self.process: subprocess.Popen[bytes]
        self.browser: Browser
        self._context: BrowserContext
        self._state = state
        self._log = state / "jupyterlab.log"

    def _start(self) -> None:
        for name, settings in _SETTINGS.items():
            path = self._state / f"settings/@jupyterlab/{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(settings))
        config = {
            "KernelSpecManager": {"kernel_dirs": []},  # this interpreter, whatever kernels are installed
            "IdentityProvider": {"token": self.token},  # in a file, as other users see a command line
            "LabApp": {"extension_manager": "readonly", "expose_app_in_browser": True},
            "ServerApp": {
                "ip": "127.0.0.1",
                "port": _free_port(),
                "open_browser": False,
                "root_dir": str(self.folder),
                "allow_root": True,  # in a container
                "terminals_enabled": False,
            },
        }
        (self._state / "config").mkdir()
        (self._state / "config" / "jupyter_lab_config.json").write_text(json.dumps(config))
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(  # noqa: S603 - this interpreter
                [sys.executable, "-c", _JUPYTERLAB],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=self._environment(),
                cwd=self.folder,
                start_new_session=True,  # Ctrl-C is for the parent, which ends it in good order
            )

    async def _ready(self) -> None:
        port = await self._until(self._port, "JupyterLab's address", START_TIMEOUT)
        self.url = f"http://127.0.0.1:{port}/"

    def _port(self) -> int | None:
        """Where the server listens; None until it has written that down to the end."""
        try:
            port: int = json.loads((self._state / "runtime" / f"jpserver-{self.process.pid}.json").read_text())["port"]
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return port

    def _environment(self) -> dict[str, str]:
        """The caller's, without what would change the outcome; all that JupyterLab writes goes into its own folder."""
        dropped = ("JUPYTER", "CPSIM_", "AWS_", "MPLBACKEND", "IPYTHON")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
        places = {"CONFIG_DIR": "config", "DATA_DIR": "data", "RUNTIME_DIR": "runtime"}
        places_of_lab = {"SETTINGS_DIR": "settings", "WORKSPACES_DIR": "workspaces"}
        return (
            kept
            | {f"JUPYTER_{name}": str(self._state / place) for name, place in places.items()}
            | {f"JUPYTERLAB_{name}": str(self._state / place) for name, place in places_of_lab.items()}
            | {"IPYTHONDIR": str(self._state / "ipython")}
            | {"PYTHONPATH": os.pathsep.join(filter(None, [str(FOLDER.parent), os.environ.get("PYTHONPATH")]))}
        )

    async def _stop(self) -> None:
        """End the server and with it the kernels: by closing its standard input, then by force."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            await asyncio.to_thread(self.process.wait, 2 * STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            await asyncio.to_thread(self.process.wait)

    async def _until(
        self, condition: Callable[[], object | Awaitable[object]], what: str, timeout: float = START_TIMEOUT
    ) -> Any:
        """What ``condition()`` returns, once that is true."""
        deadline = time.monotonic() + timeout
        while True:
            seen = condition()
            if isinstance(seen, Awaitable):
                seen = await seen
            if seen:
                return seen
            if self.process.poll() is not None:
                raise LabFailed(f"JupyterLab ended with {self.process.returncode}\n{self.log()}")
            if time.monotonic() > deadline:
                raise LabFailed(f"waited {timeout:g} s for {what}\n{self.log()}")
            await asyncio.sleep(0.05)

    def log(self, lines: int = 15) -> str:
        """The last lines that JupyterLab wrote."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])

    @asynccontextmanager
    async def opened(self, name: str) -> AsyncIterator[OpenNotebook]:
        """A notebook in a window of its own, its kernel ready; the kernel is shut down at the end."""
        page = await self._context.new_page()
        notebook = OpenNotebook(self, page, name)
        try:
            await page.goto(f"{self.url}lab/tree/{name}?reset&token={self.token}")
            await self._until(notebook.is_ready, f"the kernel of {name}")
            yield notebook
        finally:
            with contextlib.suppress(Error):  # the page is gone: the kernel ends with the server
                await page.evaluate("() => window.jupyterapp?.shell.currentWidget?.sessionContext?.shutdown()")
                await page.close()


@asynccontextmanager
async def lab(folder: Path) -> AsyncIterator[Lab]:
    """A running JupyterLab on this folder, and a running browser. Both end with the block, and with this process.

    Raises:
        Missing: Chromium or Playwright is not installed.
        LabFailed: JupyterLab did not start.
    """
    executable = browser_path()
    with tempfile.TemporaryDirectory(prefix="cpsim-lab-", ignore_cleanup_errors=True) as state:
        lab = Lab(folder, Path(state))
        try:
            async with async_playwright() as playwright:
                lab._start()
                lab.browser = await playwright.chromium.launch(
                    executable_path=executable,
                    chromium_sandbox=False,  # it cannot run as root, nor in many containers; it sees our page only
                    args=[
                        "--disable-background-networking",
                        "--disable-component-update",
                        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # nothing else is ever asked
                    ],
                    env={**os.environ, "HOME": state, "XDG_CONFIG_HOME": state, "XDG_CACHE_HOME": state},
                    handle_sigint=False,  # this process closes it
                    handle_sigterm=False,
                    handle_sighup=False,
                )
                await lab._ready()
                lab._context = await lab.browser.new_context(viewport=WINDOW)  # one, so that its cache is warm
                lab._context.set_default_timeout(START_TIMEOUT * 1000)
                try:
                    yield lab
                finally:
                    await lab.browser.close()
        finally:
            if hasattr(lab, "process"):
                await lab._stop()


def _free_port() -> int:
    """A port that is free now; where it is taken meanwhile, JupyterLab looks for the next."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


# What JupyterLab itself knows of the notebook in front. An execution state of a cell that waits is "running", too.
_STATE = """() => {
    const widget = window.jupyterapp?.shell.currentWidget;
    const kernel = widget?.sessionContext?.session?.kernel;
    if (!widget?.context?.isReady || !kernel || document.getElementById('jupyterlab-splash')) return null;
    const cells = Array.from(widget.content.model.cells).filter(cell => cell.type === 'code');
    return {
        path: widget.context.path,
        kernel: kernel.status,
        running: cells.filter(cell => cell.executionState === 'running').length,
        counted: cells.filter(cell => cell.executionCount !== null).length,
        failed: cells.some(cell => cell.outputs.toJSON().some(output => output.output_type === 'error')),
        cells: cells.length,
    };
}"""


class OpenNotebook:
    """A notebook in a browser's window.

    Attributes:
        page: Playwright's page.
        name: The notebook's file name.
    """

    def __init__(self, lab: Lab, page: Page, name: str) -> None:
        self.page = page
        self.name = name
        self._lab = lab

    async def _look(self) -> dict[str, Any]:
        try:
            state = await self.page.evaluate(_STATE)
        except Error as exc:
            if "Execution context was destroyed" in str(exc):  # the page goes from one address to another
                return {}
            raise
        return state if state is not None and state["path"] == self.name else {}

    async def is_ready(self) -> bool:
        """Whether it is loaded, and its kernel idle."""
        return (await self._look()).get("kernel") == "idle"

    async def choose(self, menu: str, item: str) -> None:
        """Click an item of the menu bar."""
        await self.page.locator(".lm-MenuBar-item", has_text=re.compile(rf"^{menu}$")).click()
        await self.page.locator(".lm-Menu-itemLabel", has_text=re.compile(rf"^{item}$")).click()

    async def run_all(self, show: Callable[[str], None] = lambda _: None) -> Report:
        """Run → Run All Cells, and what came of it once every cell has been run, or one failed.

        Args:
            show: Called with what is being done.

        Raises:
            LabFailed: It took too long, or the kernel died.
        """
        started = time.perf_counter()
        begun = False

        async def done() -> bool:
            nonlocal begun
            state = await self._look()
            if state.get("kernel") in {"dead", "autorestarting"}:
                raise LabFailed(f"{self.name}: its kernel is {state['kernel']}\n{self._lab.log()}")
            begun = begun or bool(state.get("running"))
            show(f"{state.get('counted', 0)} of {state.get('cells', 0)} cells …")
            idle = state.get("kernel") == "idle" and not state["running"]
            return idle and (state["counted"] == state["cells"] or (begun and state["failed"]))

        await self.choose("Run", "Run All Cells")
        await self._lab._until(done, f"the cells of {self.name}", RUN_TIMEOUT)
        seconds = time.perf_counter() - started
        return Report.of(Path(self.name).stem, await self.to_json(), seconds)

    async def to_json(self) -> dict[str, Any]:
        """The notebook as it would be saved now."""
        notebook: dict[str, Any] = await self.page.evaluate(
            "() => window.jupyterapp.shell.currentWidget.context.model.toJSON()"
        )
        return notebook

    async def save(self) -> None:
        """Save it, in JupyterLab's own folder."""
        await self.page.evaluate("() => window.jupyterapp.shell.currentWidget.context.save()")

    async def restart_kernel(self) -> None:
        """Kernel → Restart Kernel…, and yes."""
        await self.choose("Kernel", "Restart Kernel…")
        await self.page.locator(".jp-Dialog button", has_text="Restart").click()
        await self._lab._until(self.is_ready, f"the kernel of {self.name}, restarted")

    async def theme(self, name: str) -> None:
        """Switch to LIGHT or DARK."""
        await self.page.evaluate(
            "name => window.jupyterapp.commands.execute('apputils:change-theme', {theme: name})", name
        )
        shown = "name => document.body.dataset.jpThemeName === name && !document.getElementById('jupyterlab-splash')"
        await self._lab._until(lambda: self.page.evaluate(shown, name), name)

    async def cell(self, cell_id: str) -> ElementHandle:
        """A cell's element, with its output."""
        ids = [cell["id"] for cell in (await self.to_json())["cells"]]
        return (await self.page.query_selector_all(".jp-Notebook-cell"))[ids.index(cell_id)]

    async def pictures(self) -> list[bytes]:
        """A PNG of each plot, as it is shown."""
        images = await self.page.query_selector_all(".jp-OutputArea-output img")
        for image in images:
            await image.evaluate("image => image.decode()")
        return [await image.screenshot() for image in images]


# -- The command ------------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Take pictures; returns the exit status: 0 done, 1 failed, 2 bad arguments or not installed, 130 interrupted."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="Examples:\n"
        "  python notebooks/screenshots.py 01 --folder /tmp/plots    the plots of one notebook\n"
        "  python notebooks/screenshots.py --readme                  the pictures that the README shows\n\n"
        "Exit status: 0 done, 1 a notebook failed, 2 bad arguments or something is not installed, 130 interrupted.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="a notebook, or how its name begins; all when missing")
    parser.add_argument("--folder", type=Path, default=Path("screenshots"), help="where the pictures go (%(default)s)")
    parser.add_argument("--readme", action="store_true", help=f"renew {IMAGES.name}/*.png beside the notebooks instead")
    options = parser.parse_args(arguments)
    if options.readme and options.names:
        parser.error("--readme takes its notebooks from the table PICTURES; leave the names out")
    try:
        names = {picture.notebook for picture in PICTURES.values()} if options.readme else options.names
        paths = find(sorted(names))
        browser_path()
    except (ValueError, Missing) as exc:
        parser.error(str(exc))
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # as Ctrl-C: the server ends first
    try:
        well = asyncio.run(_take(paths, options.folder, readme=options.readme))
    except KeyboardInterrupt:
        print("\ninterrupted; JupyterLab and the browser are stopped", file=sys.stderr)
        return 130
    except (LabFailed, Error) as exc:
        print(f"\n{exc}", file=sys.stderr)
        return 1
    return 0 if well else 1


async def _take(paths: Sequence[Path], folder: Path, *, readme: bool) -> bool:
    """Run each notebook and take its pictures; whether all went well."""
    well = True
    with tempfile.TemporaryDirectory(prefix="cpsim-notebooks-", ignore_cleanup_errors=True) as copies:
        progress(paths[0].stem)("JupyterLab starts …")
        copy_notebooks(find([]), Path(copies))  # all of them, as a reader has them beside the one that is open
        async with lab(Path(copies)) as running:
            for path in paths:
                show = progress(path.stem)
                async with running.opened(path.name) as notebook:
                    report = await notebook.run_all(show)
                    if report.problems:
                        show("failed", end=True)
                        print("\n".join(report.problems), file=sys.stderr)
                        well = False
                        continue
                    taken = await (for_readme(notebook) if readme else _plots(notebook, report))
                target = IMAGES if readme else folder
                for name, png in taken.items():
                    target.mkdir(parents=True, exist_ok=True)
                    (target / f"{name}.png").write_bytes(png)
                show(f"{report}{''.join(f'; {name}.png' for name in taken)}", end=True)
    return well


async def _plots(notebook: OpenNotebook, report: Report) -> dict[str, bytes]:
    """PNGs of the plots, named by notebook and cell."""
    taken: dict[str, bytes] = {}
    for cell, png in zip(report.plots, await notebook.pictures(), strict=True):
        number = sum(name.startswith(f"{report.name}-{cell}-") for name in taken) + 1
        taken[f"{report.name}-{cell}-{number}"] = png
    return taken


async def for_readme(notebook: OpenNotebook) -> dict[str, bytes]:
    """Small PNGs of what PICTURES names in this notebook."""
    await notebook.save()  # no mark of unsaved work
    text = await notebook.page.inner_text("body")
    if private := [word for word in _private() if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text)]:
        raise LabFailed(f"{notebook.name} shows {', '.join(private)}, which is nobody's business")
    taken = {}
    for name, picture in PICTURES.items():
        if picture.notebook == Path(notebook.name).stem:
            cell = await notebook.cell(picture.cell)
            if picture.window:
                await cell.evaluate("cell => cell.scrollIntoView({block: 'end'})")
            png = await (notebook.page if picture.window else cell).screenshot()
            taken[name] = _small(png)
    return taken


def _private() -> set[str]:
    """What this machine is called, who works on it, and where."""
    words = {socket.gethostname(), str(Path.home()), tempfile.gettempdir(), str(FOLDER)}
    with contextlib.suppress(KeyError, OSError):  # a container's user may have no name
        words.add(getpass.getuser())
    return {word for word in words if len(word) > 2}


def _small(png: bytes) -> bytes:
    """The same picture, no wider than IMAGE_WIDTH and with as many colours as fit into IMAGE_BYTES."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    if image.width > IMAGE_WIDTH:
        height = round(image.height * IMAGE_WIDTH / image.width)
        image = image.resize((IMAGE_WIDTH, height), Image.Resampling.LANCZOS)
    for colours in (256, 128, 64, 32, 16):
        small = io.BytesIO()
        image.quantize(colours, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
        if small.tell() < IMAGE_BYTES:
            return small.getvalue()
    raise LabFailed(f"a picture of {small.tell()} bytes is too large for the README; show less")


if __name__ == "__main__":
    sys.exit(main())
