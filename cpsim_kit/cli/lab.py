"""``cpsim lab``: JupyterLab on the notebooks."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from cpsim_kit.errors import CpsimError

__all__ = ["jupyter_command", "notebooks_folder", "replace_process", "run"]

_PACKAGE = Path(__file__).parents[1]


def replace_process(command: list[str]) -> int:
    """Run this program in the place of this process, so that Ctrl-C, SIGTERM and the exit status are the program's."""
    if sys.platform != "win32":
        os.execv(command[0], command)  # noqa: S606 - this interpreter
    # On Windows, exec returns to the terminal at once. There, Ctrl-C reaches both processes.
    signal.signal(signal.SIGINT, lambda *_: None)
    return subprocess.run(command, check=False).returncode  # noqa: S603 - this interpreter


def run(
    options: argparse.Namespace, *, package: Path = _PACKAGE, start: Callable[[list[str]], int] = replace_process
) -> int:
    """Copy the notebooks where that is needed, then start JupyterLab on them."""
    try:
        folder = notebooks_folder(Path(options.folder), package=package)
    except OSError as exc:
        raise ValueError(f"cannot copy the notebooks to --folder {options.folder}: {exc.strerror}") from exc
    print(f"The notebooks are in {folder}", flush=True)
    if options.port is not None:
        _check_port(options.port)
    return start(jupyter_command(folder, port=options.port, browser=not options.no_browser))


def jupyter_command(folder: Path, *, port: int | None, browser: bool) -> list[str]:
    """The command that starts JupyterLab in this folder."""
    command = [sys.executable, "-P", "-m", "jupyterlab", f"--ServerApp.root_dir={folder}"]
    if not browser:
        command.append("--no-browser")
    if port is not None:
        command += [f"--port={port}", "--ServerApp.port_retries=0"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")  # a container often has no other user
    return [*command, str(folder / "00_start_here.ipynb")]


def _check_port(port: int) -> None:
    """Refuse a port that is taken: JupyterLab itself would take seconds to say so."""
    if port > 65535:
        raise ValueError(f"--port {port}: the largest port is 65535")
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as exc:
        raise CpsimError(
            f"cannot listen on port {port}: {exc.strerror}; choose another --port, or leave it out"
        ) from exc


def notebooks_folder(folder: Path, *, package: Path = _PACKAGE) -> Path:
    """The folder of the notebooks: that of a checkout, or ``folder``, with copies from the installed package.

    A file that is there already is kept, as the reader may have changed it. Files that differ from the package's are
    listed on stdout.
    """
    installed = package / "notebooks"
    if not installed.is_dir():
        return package.parent / "notebooks"
    folder.mkdir(parents=True, exist_ok=True)
    kept = []
    for original in sorted([*installed.glob("*.ipynb"), *installed.glob("*.md"), *installed.glob("jmeter/*")]):
        copy = folder / original.relative_to(installed)
        if not copy.exists():
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(original, copy)
        elif copy.read_bytes() != original.read_bytes():
            kept.append(copy.relative_to(folder).as_posix())
    if kept:
        print(f"Kept with your changes: {', '.join(kept)}; delete or rename one to get the original again")
    return folder.resolve()
