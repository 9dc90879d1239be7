"""Execute the tutorial notebooks on the local stack and save them with their outputs.

The one command that writes outputs: it clears them, runs every cell in a new kernel, and strips what would differ
without saying anything. Where only measured values differ from those that are kept, a notebook stays as it is.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]  # two seconds of jsonschema's, for no notebook

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from PIL import Image

FOLDER = Path(__file__).resolve().parent
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
CELL_TIMEOUT = 300  # seconds

# What a cell measures, and another run measures otherwise: ports, and decimal numbers (no versions), also below 0.
_MEASURED = re.compile(r"127\.0\.0\.1:\d+|(?<![\w.])-?\d+\.\d+(?![\w.])")
_NUMBER = re.compile(r"-?\d[\d,.]*|\bNaN\b")  # in a cell tagged "measured", where counts too are of that run alone
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_WIDGET = "application/vnd.jupyter.widget-view+json"  # a progress bar, dead without its kernel


class CellFailed(Exception):
    """A cell raised an error, took too long, or lost its kernel; the message names notebook, cell and error."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Execute notebooks; returns the exit status: 0 done, 1 failed or out of date, 2 bad arguments, 130 interrupted."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="Example:\n  python notebooks/execute.py 01 --check",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="a notebook, or how its name begins; all when missing")
    parser.add_argument("--check", action="store_true", help="save nothing; fail when kept outputs are out of date")
    options = parser.parse_args(arguments)
    if (name := os.environ.get("CPSIM_STACK", "").strip()) not in {"", "local"}:
        parser.error(f"CPSIM_STACK names the deployed stack {name}; outputs come from the local stack only: unset it")
    try:
        paths = find(options.names)
    except ValueError as exc:
        parser.error(str(exc))
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # as Ctrl-C: the kernel ends first
    failed = False
    try:
        for path in paths:
            failed |= not _one(path, check=options.check)
    except KeyboardInterrupt:
        print("\ninterrupted; the kernel is stopped, and the notebook is as it was", file=sys.stderr)
        return 130
    return 1 if failed else 0


def find(names: Sequence[str]) -> list[Path]:
    """The notebooks of this folder whose names begin with one of these; all for none.

    Raises:
        ValueError: A name fits no notebook.
    """
    notebooks = sorted(FOLDER.glob("*.ipynb"))
    chosen = set()
    for name in names:
        found = {path for path in notebooks if path.name.startswith(Path(name).name)}
        if not found:
            raise ValueError(
                f"no notebook begins with {name!r}; there are {', '.join(path.stem for path in notebooks)}"
            )
        chosen |= found
    return [path for path in notebooks if not names or path in chosen]


def _one(path: Path, *, check: bool) -> bool:
    """Execute one notebook, report it, and save it where it changed; whether all is well."""
    show = progress(path.stem)
    started = time.perf_counter()
    kept = path.read_text(encoding="utf-8")
    old = nbformat.reads(kept, as_version=4)
    try:
        new = asyncio.run(execute(path, show))
    except CellFailed as exc:
        show("failed", end=True)
        print(exc, file=sys.stderr)
        return False
    clean(old)
    different = differences(old, new)
    text = nbformat.writes(new if different else old) + "\n"
    took = f"{sum(cell.cell_type == 'code' for cell in new.cells)} cells, {time.perf_counter() - started:.1f} s"
    if text == kept:
        show(f"{took}, unchanged", end=True)
        return True
    if check:
        show(f"{took}, OUT OF DATE: {', '.join(different) or 'metadata'}; run it without --check", end=True)
        return False
    path.write_text(text, encoding="utf-8", newline="\n")
    show(f"{took}, saved", end=True)
    return True


async def execute(path: Path, show: Callable[[str], None] = lambda _: None) -> NotebookNode:
    """The notebook, executed from the top in a new kernel on the local stack, and clean.

    Args:
        path: The notebook; the file stays as it is.
        show: Called with what is being done.

    Raises:
        CellFailed: A cell failed; what follows it was not run.
    """
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    async with _client(notebook, path.parent) as client:
        for index, cell in enumerate(notebook.cells):
            show(f"cell {index + 1} of {len(notebook.cells)}, {cell.id} …")
            try:
                await client.async_execute_cell(cell, index)
            except CellExecutionError as exc:
                error = f"{exc.ename}: {_COLOUR.sub('', exc.evalue)}"
            except (CellTimeoutError, DeadKernelError) as exc:
                if (task := asyncio.current_task()) and task.cancelling():
                    raise asyncio.CancelledError from exc  # Ctrl-C, which nbclient takes for the kernel's death
                error = f"{type(exc).__name__}: {exc}"
            else:
                continue
            source = "\n".join(f"    {line}" for line in cell.source.splitlines())
            raise CellFailed(f"{path.name}: cell {index + 1} ({cell.id}) failed: {error}\n{source}")
    clean(notebook)
    shrink(notebook)
    return notebook


@asynccontextmanager
async def _client(notebook: NotebookNode, folder: Path) -> AsyncIterator[NotebookClient]:
    """A client whose kernel is this interpreter, without the user's IPython profile, and ends with the block."""
    with tempfile.TemporaryDirectory(prefix="cpsim-ipython-", ignore_cleanup_errors=True) as profile:
        environment = {key: value for key, value in os.environ.items() if key not in {"CPSIM_STACK", "MPLBACKEND"}}
        environment["IPYTHONDIR"] = profile
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(FOLDER.parent), os.environ.get("PYTHONPATH")]))
        manager = AsyncKernelManager(kernel_name=KERNEL["name"], kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
        client = NotebookClient(
            notebook,
            km=manager,
            timeout=CELL_TIMEOUT,
            record_timing=False,
            coalesce_streams=True,
            extra_arguments=["--log-level=ERROR"],
            resources={"metadata": {"path": str(folder)}},
        )
        client.reset_execution_trackers()
        try:
            await client.async_start_new_kernel(env=environment)
            await client.async_start_new_kernel_client()
            yield client
        finally:
            if client.kc is not None:
                client.kc.stop_channels()
            if manager.has_kernel:
                await manager.shutdown_kernel(now=True)  # its local stack, if a cell left one, ends with it


def clean(notebook: NotebookNode) -> None:
    """Leave nothing that differs from computer to computer without saying anything."""
    notebook.metadata = NotebookNode(kernelspec=NotebookNode(KERNEL), language_info=NotebookNode(name="python"))
    for cell in notebook.cells:
        cell.metadata = NotebookNode({key: value for key, value in cell.metadata.items() if key == "tags"})
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if _WIDGET not in output.get("data", {})]
            for output in cell.outputs:
                if "metadata" in output:  # of a stream there is none
                    output.metadata = NotebookNode()


def shrink(notebook: NotebookNode) -> None:
    """Give each PNG a palette: a diagram of lines and dots needs no more colours, and takes a third of the bytes."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
                small = io.BytesIO()
                picture.convert("RGB").quantize(64).save(small, "png", optimize=True)
                data["image/png"] = base64.b64encode(small.getvalue()).decode()


def differences(old: NotebookNode, new: NotebookNode) -> list[str]:
    """The ids of the cells that differ by more than measured values."""
    olds = {cell.id: _meaning(cell) for cell in old.cells}
    news = {cell.id: _meaning(cell) for cell in new.cells}
    return [key for key in news if news[key] != olds.get(key)] + [key for key in olds if key not in news]


def _meaning(cell: NotebookNode) -> Any:
    """A cell without its measured values; of a picture, only that it is there."""
    if cell.cell_type != "code":
        return cell.source
    measured = _NUMBER if "measured" in cell.metadata.get("tags", []) else _MEASURED
    return cell.source, cell.execution_count, [_output(output, measured) for output in cell.outputs]


def _output(output: NotebookNode, measured: re.Pattern[str]) -> Any:
    texts = {"text": output.text} if output.output_type == "stream" else output.get("data", {})
    return output.output_type, {
        kind: "…" if kind.startswith("image/") else " ".join(measured.sub("…", str(text)).split())
        for kind, text in texts.items()
    }


def progress(name: str) -> Callable[..., None]:
    """Shows the current cell in one line of a terminal; elsewhere only the end of each notebook."""
    terminal = sys.stdout.isatty()

    def show(text: str, *, end: bool = False) -> None:
        if terminal:
            print(f"\r\x1b[K{name}: {text}", end="\n" if end else "", flush=True)
        elif end:
            print(f"{name}: {text}", flush=True)

    return show


if __name__ == "__main__":
    sys.exit(main())
