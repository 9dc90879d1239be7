"""notebooks/execute.py, the command that executes the notebooks and saves their outputs."""

from __future__ import annotations

import asyncio
import importlib.util
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from conftest import ENDED, SOON
from kernel import FOLDER, NOTEBOOKS, code_cells, each_notebook, ends, environment, is_local_stack, read

SETUP = "from cpsim_kit import Stack\nstack = await Stack.open()\nstack"


def load_execute() -> Any:
    spec = importlib.util.spec_from_file_location("execute", FOLDER / "execute.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_execute(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(folder / "execute.py"), *arguments]
    return subprocess.run(
        command, env=environment(folder) | variables, cwd=folder.parent, capture_output=True, text=True, check=False
    )


def write(folder: Path, name: str, *sources: str) -> Path:
    """A notebook with these code cells, whose ids are "one", "two", …"""
    cells = [
        nbformat.v4.new_code_cell(source, id=number)
        for number, source in zip(("one", "two", "three"), sources, strict=False)
    ]
    path = folder / name
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


@each_notebook
def test_file_is_as_the_command_saves_it(path: Path) -> None:
    notebook = read(path)
    execute = load_execute()
    execute.clean(notebook)
    assert path.read_text(encoding="utf-8") == nbformat.writes(notebook) + "\n"


def test_execute_refuses_a_deployed_stack(copies: Path) -> None:
    done = run_execute(copies, CPSIM_STACK="AwsOcppGatewayStack")
    assert done.returncode == 2
    assert "CPSIM_STACK" in done.stderr
    assert "AwsOcppGatewayStack" in done.stderr


def test_execute_says_which_notebooks_there_are(copies: Path) -> None:
    done = run_execute(copies, "77")
    assert done.returncode == 2
    assert NOTEBOOKS[0].stem in done.stderr


def test_execute_finds_notebooks_by_how_their_names_begin() -> None:
    execute = load_execute()
    assert execute.find([]) == NOTEBOOKS
    assert execute.find(["01", "00_start_here.ipynb", "notebooks/00_start_here.ipynb"]) == NOTEBOOKS[:2]


def test_execute_has_help(copies: Path) -> None:
    done = run_execute(copies, "--help")
    assert done.returncode == 0
    assert "--check" in done.stdout


def test_execute_names_notebook_cell_and_error(copies: Path) -> None:
    path = write(copies, "99_broken.ipynb", "number = 0", "1 / number", "print('not reached')")
    before = path.read_bytes()
    done = run_execute(copies, "99")
    assert done.returncode == 1
    for words in ("99_broken.ipynb", "cell 2 (two)", "ZeroDivisionError: division by zero", "    1 / number"):
        assert words in done.stderr
    assert path.read_bytes() == before, "a notebook that failed stays as it was"


def test_execute_names_the_cell_that_ended_the_kernel(copies: Path) -> None:
    write(copies, "99_dead.ipynb", "import os", "os._exit(1)")
    done = run_execute(copies, "99")
    assert done.returncode == 1
    assert "cell 2 (two) failed: DeadKernelError" in done.stderr


@pytest.mark.slow
def test_execute_saves_only_what_says_something_else(copies: Path) -> None:
    path = write(copies, "99_clock.ipynb", "import time\ntime.perf_counter()", "print('one')")
    assert "99_clock: 2 cells" in (done := run_execute(copies, "99")).stdout, done.stderr
    assert "saved" in done.stdout
    saved = path.read_bytes()
    assert b"timestamp" not in saved
    assert b"iopub" not in saved
    assert "unchanged" in run_execute(copies, "99").stdout
    assert path.read_bytes() == saved, "another moment is no news"

    changed = saved.replace(b"'one'", b"'two'")
    path.write_bytes(changed)
    done = run_execute(copies, "99", "--check")
    assert done.returncode == 1
    assert "OUT OF DATE: two" in done.stdout
    assert path.read_bytes() == changed, "--check saves nothing"
    assert run_execute(copies, "99").returncode == 0
    assert run_execute(copies, "99", "--check").returncode == 0


def outputs_of(text: str) -> nbformat.NotebookNode:
    cell = nbformat.v4.new_code_cell("cell", id="cell")
    cell.outputs = [nbformat.v4.new_output("execute_result", data={"text/plain": text})]
    return nbformat.v4.new_notebook(cells=[cell])


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("ws://127.0.0.1:4000", "ws://127.0.0.1:5000", True),
        ("0  1.5\n1  2.5", "0   1.5\n1  12.5", True),
        ("<td>1.5</td>", "<td>0.9</td>", True),
        ("a  0.1\nb  2.5", "a -0.1\nb  2.5", True),
        ("Accepted", "Rejected", False),
        ("1008", "1000", False),
        ("2.1.0", "2.2.0", False),
        ("1.43.106", "1.44.0", False),
        ("ocpp1.6", "ocpp2.1", False),
    ],
)
def test_measured_values_are_no_difference(old: str, new: str, same: bool) -> None:
    differences = load_execute().differences(outputs_of(old), outputs_of(new))
    assert differences == ([] if same else ["cell"])


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("5,213 calls, 0 failed", "987 calls, 0 failed", True),
        ("<td>12</td><td>NaN</td>", "<td>9</td><td>0.5</td>", True),
        ("1 answered", "1 lost", False),
    ],
)
def test_counts_of_a_cell_tagged_measured_are_no_difference(old: str, new: str, same: bool) -> None:
    notebooks = [outputs_of(old), outputs_of(new)]
    assert load_execute().differences(*notebooks) == ["cell"]
    for notebook in notebooks:
        notebook.cells[0].metadata.tags = ["measured"]
    assert load_execute().differences(*notebooks) == ([] if same else ["cell"])


@pytest.mark.slow
def test_execute_saves_the_same_notebook_a_second_time(copies: Path) -> None:
    path = copies / NOTEBOOKS[0].name
    notebook = read(path)
    for cell in notebook.cells:
        cell.metadata = {"execution": {"iopub.status.busy": "2026-01-01T00:00:00Z"}, "scrolled": True}
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, path)
    assert run_execute(copies, "00").returncode == 0
    saved = path.read_bytes()
    assert load_execute().differences(read(NOTEBOOKS[0]), read(path)) == []
    assert run_execute(copies, "00", "--check").returncode == 0
    assert path.read_bytes() == saved


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda how: how.name)
async def test_execute_takes_its_kernel_along_when_it_is_killed(copies: Path, how: signal.Signals) -> None:
    path = write(
        copies, "99_long.ipynb", SETUP, "import asyncio\nprint('here')\nawait asyncio.sleep(600)", "print('no')"
    )
    before = path.read_bytes()
    command = [sys.executable, str(copies / "execute.py"), "99"]
    with subprocess.Popen(  # noqa: ASYNC220 - it takes milliseconds
        command, env=environment(copies), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            me = psutil.Process(process.pid)
            async with asyncio.timeout(6 * SOON):
                while not any(map(is_local_stack, me.children(recursive=True))):
                    await asyncio.sleep(0.05)
            children = me.children(recursive=True)
            assert len(children) >= 2, "the kernel, and its local stack"
            process.send_signal(how)
            out, err = await asyncio.to_thread(process.communicate, timeout=ENDED)
        finally:
            process.kill()
    await ends(children)
    assert path.read_bytes() == before
    if how is not signal.SIGKILL:
        assert process.returncode == 130
        assert "interrupted" in err
        assert "Traceback" not in out + err


def test_progress_bars_are_not_kept() -> None:
    cell = nbformat.v4.new_code_cell("cell", id="cell")
    bar = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "0%|     | 0/1"}
    cell.outputs = [
        nbformat.v4.new_output("display_data", data=bar),
        nbformat.v4.new_output("stream", text="kept"),
        nbformat.v4.new_output("execute_result", data={"text/plain": "1"}, metadata={"width": 100}),
    ]
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": {"state": {}}})
    load_execute().clean(notebook)
    nbformat.validate(notebook)
    assert [output.output_type for output in cell.outputs] == ["stream", "execute_result"]
    assert "widget" not in nbformat.writes(notebook)
    assert "width" not in nbformat.writes(notebook)


@pytest.mark.slow
def test_execute_keeps_no_progress_bar(copies: Path) -> None:
    path = write(
        copies, "99_bar.ipynb", "from tqdm.auto import tqdm", "for _ in tqdm(range(3)):\n    pass\nprint('done')"
    )
    assert (done := run_execute(copies, "99")).returncode == 0, done.stderr
    assert "widget" not in path.read_text(encoding="utf-8")
    assert [output.output_type for output in code_cells(path)[1].outputs] == ["stream"]
