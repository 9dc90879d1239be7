"""The tutorial notebooks, each in a real kernel; their form; and the command that executes and saves them."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from conftest import FACTOR, SOON, until
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
WIDTH = 108  # characters of code or diagram that fit the page of nbconvert's HTML, without a scroll bar
HEADINGS = ["Setup", "The idea", "When it goes wrong", "Exercise", "Summary", "Teardown", "Next"]
CELL_TIMEOUT = 120 * FACTOR  # seconds

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def environment(folder: Path) -> dict[str, str]:
    """The developer's own, without what would change the outcome, and with the kit of this checkout."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "CPSIM_", "MPLBACKEND"))}
    return kept | {"PYTHONPATH": str(ROOT), "IPYTHONDIR": str(folder / ".ipython")}


@dataclass
class Ran:
    """What a cell did: what it printed, what it showed, and the error that it ended with."""

    stdout: str = ""
    stderr: str = ""
    shown: list[dict[str, Any]] = field(default_factory=list)
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
        manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
        await manager.start_kernel(
            cwd=str(folder), env=environment(folder) | variables, extra_arguments=["--log-level=ERROR"]
        )
        client = manager.client()
        client.start_channels()
        try:
            await client.wait_for_ready(timeout=60 * FACTOR)
            yield cls(manager, client)
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


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """A copy of the notebooks, and of the command that executes them."""
    ignore = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
    return Path(shutil.copytree(FOLDER, tmp_path / "notebooks", ignore=ignore))


@pytest.fixture
async def kernel(copies: Path) -> AsyncIterator[Kernel]:
    async with Kernel.started(copies) as kernel:
        yield kernel


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


# -- Form -------------------------------------------------------------------------------------------------------------


def test_there_are_notebooks() -> None:
    assert [path.stem[:2] for path in NOTEBOOKS] == [f"{number:02}" for number in range(len(NOTEBOOKS))]
    assert NOTEBOOKS


@each_notebook
def test_headings_follow_the_template(path: Path) -> None:
    found = re.findall(r"^(#+) (.*)$", re.sub(r"```.*?```", "", prose(path), flags=re.DOTALL), re.MULTILINE)
    number, words = path.stem.split("_", 1)
    (title,) = (text for level, text in found if level == "#")
    assert title.lower() == f"{number} {words.replace('_', ' ')}", "the title is the file's name"
    assert found[0][0] == "#"
    assert {level for level, _ in found} == {"#", "##"}
    headings = [text for level, text in found if level == "##"]
    assert [text for text in headings if text in HEADINGS] == HEADINGS
    assert headings[:2] == HEADINGS[:2]
    assert headings[-5:] == HEADINGS[-5:]


@each_notebook
def test_first_cell_says_what_where_and_how_long(path: Path) -> None:
    first = read(path).cells[0].source
    assert re.search(r"^> .*[.]$", first, re.MULTILINE)
    assert re.findall(r"\*\*(You will|You need|Time|Runs on)\*\*", first) == ["You will", "You need", "Time", "Runs on"]
    assert "CPSIM_STACK" in first


@each_notebook
def test_idea_is_short_and_drawn(path: Path) -> None:
    (idea,) = (cell.source for cell in read(path).cells if cell.source.startswith("## The idea"))
    text, *diagrams = idea.removeprefix("## The idea").split("```")
    assert len(diagrams) == 2, "one diagram"
    assert all(len(line) <= WIDTH for line in diagrams[0].splitlines())
    assert 6 <= len(re.findall(r"[.!?](?=\s)", text)) <= 10


@each_notebook
def test_code_cells_are_small(path: Path) -> None:
    for cell in code_cells(path):
        lines = cell.source.splitlines()
        assert 1 <= len(lines) <= 12, cell.id
        assert all(len(line) <= WIDTH for line in lines), f"{cell.id}: wider than the page"


@each_notebook
def test_notebook_is_short(path: Path) -> None:
    assert len(read(path).cells) <= 32


@each_notebook
def test_imports_stand_in_the_setup_cell_only(path: Path) -> None:
    for cell in code_cells(path):
        imports = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Import | ast.ImportFrom)]
        assert bool(imports) == (cell.id == "setup"), cell.id


@each_notebook
def test_stack_is_opened_first_and_closed_last(path: Path) -> None:
    first, *_, last = code_cells(path)
    assert (first.id, last.id) == ("setup", "teardown")
    assert first.source.endswith("\n\nstack = await Stack.open()\nstack")
    assert last.source.startswith("await stack.close()")


@each_notebook
def test_cell_ids_are_words(path: Path) -> None:
    ids = [cell.id for cell in read(path).cells]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z]+(-[a-z0-9]+)*", name) for name in ids), ids


@each_notebook
def test_claims_are_checked(path: Path) -> None:
    source = "\n".join(cell.source for cell in code_cells(path))
    assert source.count("checkpoint(") >= 2
    assert "with expect_error(" in source
    assert prose(path).count("**What you saw.**") >= 2


@each_notebook
def test_each_exercise_has_a_stub_and_a_folded_solution(path: Path) -> None:
    stubs = [cell.source for cell in code_cells(path) if cell.id.startswith("exercise-")]
    assert 1 <= len(stubs) <= 3
    assert len(solutions(path)) == len(stubs)
    for stub, solution in zip(stubs, solutions(path), strict=True):
        assert "your code" in stub
        assert stub.splitlines()[-1] == solution.splitlines()[-1], "stub and solution are judged alike"


@each_notebook
def test_links_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", prose(path))
    assert targets
    for target in targets:
        assert target.startswith("https://") or (path.parent / target).is_file(), target


def test_first_notebook_lists_all() -> None:
    rows = dict(re.findall(r"^\| \[(.*?)\]\((.*?)\) \|", prose(NOTEBOOKS[0]), re.MULTILINE))
    titles = {path.name: read(path).cells[0].source.splitlines()[0].removeprefix("# ") for path in NOTEBOOKS[1:]}
    assert {target: title for title, target in rows.items()} == titles


def test_readme_and_notebooks_agree_on_the_minutes() -> None:
    rows = re.findall(
        r"^\| \[(\w+)\]\(notebooks/\1\.ipynb\) \| .+\? \| (\d+) \| (?:yes|no) \|$",
        (ROOT / "README.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    times = [re.findall(r"\*\*Time\*\* (\d+) minutes\.", read(path).cells[0].source) for path in NOTEBOOKS]
    assert rows == [(path.stem, minutes) for path, (minutes,) in zip(NOTEBOOKS, times, strict=True)]


# -- Kept outputs -----------------------------------------------------------------------------------------------------

PRIVATE = {
    "an account id": r"(?<![\w.])\d{12}(?![\w.])",
    "an ARN": r"\barn:",
    "a host": r"\w+://(?!127\.0\.0\.1[:/])|amazonaws|localhost|\b(?!127\.0\.0\.1\b)\d{1,3}(?:\.\d{1,3}){3}\b",
    "a path": r"(?:^|[\s'\"(=\[])(?:/[\w.-]+){2,}|[A-Z]:\\",
    "a moment": r"\b20\d\d-\d\d-\d\d",
    "this machine": rf"\b{re.escape(socket.gethostname())}\b",
}


def texts_of(output: nbformat.NotebookNode) -> list[str]:
    """All that an output keeps, of every kind: the texts as they are, the rest as JSON; pictures left out."""
    data = output.get("data", {"text/plain": output.get("text", "")})
    values = [value for kind, value in data.items() if kind not in {"image/png", "image/jpeg"}]
    values += [output[key] for key in ("metadata", "ename", "evalue", "traceback") if output.get(key)]
    return [value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in values]


def kept_texts(path: Path) -> str:
    return "\n".join(text for cell in code_cells(path) for output in cell.outputs for text in texts_of(output))


@each_notebook
def test_every_cell_was_executed_in_order_and_none_failed(path: Path) -> None:
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        for output in cell.outputs:
            assert output.output_type != "error", cell.id
            assert output.get("name") != "stderr", cell.id


@each_notebook
@pytest.mark.parametrize("what", PRIVATE)
def test_kept_outputs_tell_nothing_about_a_machine(path: Path, what: str) -> None:
    found = re.search(PRIVATE[what], kept_texts(path), re.MULTILINE)
    assert not found, f"{what}: {found}"


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("an account id", "'123456789012'"),
        ("an ARN", "arn:aws:iot:us-east-1:1:thing/CP1"),
        ("a host", "wss://abc.execute-api.us-east-1.amazonaws.com"),
        ("a host", "10.0.0.7"),
        ("a path", "File /home/me/x.py"),
        ("a path", "'/tmp/cpsim.log'"),
        ("a moment", "2026-11-23 19:10"),
    ],
)
def test_private_things_are_recognised(what: str, text: str) -> None:
    assert re.search(PRIVATE[what], text, re.MULTILINE)


@pytest.mark.parametrize(
    "data",
    [
        {"text/html": "<td>arn:aws:iot:us-east-1:1:thing/CP1</td>"},
        {"application/json": {"roles": ["arn:aws:iam::1:role/x"]}},
        {"image/svg+xml": "<text>arn:aws:iot</text>"},
    ],
    ids=lambda data: next(iter(data)),
)
def test_private_things_are_found_in_every_kind_of_output(data: dict[str, Any]) -> None:
    output = nbformat.v4.new_output("display_data", data={"image/png": "", **data})
    assert re.search(PRIVATE["an ARN"], "\n".join(texts_of(output)), re.MULTILINE)


@each_notebook
def test_no_widget_is_kept(path: Path) -> None:
    assert "widget" not in path.read_text(encoding="utf-8")


@each_notebook
def test_kept_figures_and_tables_are_small(path: Path) -> None:
    assert path.stat().st_size < 200_000


@each_notebook
def test_file_is_as_the_command_saves_it(path: Path) -> None:
    notebook = read(path)
    execute = load_execute()
    execute.clean(notebook)
    assert path.read_text(encoding="utf-8") == nbformat.writes(notebook) + "\n"


# -- Execution --------------------------------------------------------------------------------------------------------


async def run_all(kernel: Kernel, path: Path, *, but: str = "") -> str:
    """Run all cells in order, except this one; returns what they printed."""
    printed = ""
    for cell in code_cells(path):
        if cell.id != but:
            printed += (await kernel.must(cell.source, f"{path.stem}, {cell.id}")).stdout
    return printed


@pytest.mark.slow
@each_notebook
async def test_notebook_runs_again_and_again_in_one_kernel(path: Path, kernel: Kernel) -> None:
    printed = await run_all(kernel, path)
    assert printed.count("✓") >= 2
    assert "not solved yet" in printed
    assert not kernel.local_stacks(), "the teardown stops the local stack"

    assert await run_all(kernel, path, but="teardown") == printed
    assert await run_all(kernel, path) == printed, "from the top, without a teardown before"
    assert not kernel.local_stacks()


@pytest.mark.slow
@each_notebook
async def test_each_cell_can_be_run_twice_and_the_solutions_solve(path: Path, kernel: Kernel) -> None:
    *cells, teardown = code_cells(path)
    for cell in cells:
        first = await kernel.must(cell.source, f"{path.stem}, {cell.id}")
        again = await kernel.must(cell.source, f"{path.stem}, {cell.id}, again")
        assert again.stdout == first.stdout
    for number, solution in enumerate(solutions(path), start=1):
        for _ in range(2):
            ran = await kernel.must(solution, f"{path.stem}, solution of task {number}")
            assert ran.stdout.splitlines()[-1] == "solved"
    for _ in range(2):
        assert "closed" in (await kernel.must(teardown.source)).value


@pytest.mark.slow
def test_script_in_02_runs_as_it_stands(copies: Path) -> None:
    (script,) = re.findall(
        r"^```python\n(from cpsim_kit .*?)```", prose(copies / NOTEBOOKS[2].name), re.MULTILINE | re.DOTALL
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(copies), cwd=copies, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "Accepted True\n", "")


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A stack that some other process runs, as on AWS: the variables that name it."""
    folder = tmp_path_factory.mktemp("deployed")
    command = [sys.executable, "-m", "cpsim_kit.cli", "stack", "--json"]
    with subprocess.Popen(
        command, env=environment(folder), cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        addresses = json.loads(process.stdout.readline())
        yield {
            "CPSIM_STACK": addresses["stack_name"],
            "AWS_ENDPOINT_URL": addresses["endpoint_url"],
            "AWS_DEFAULT_REGION": addresses["region"],
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
        }
        process.terminate()


@pytest.mark.slow
@each_notebook
async def test_notebook_runs_on_a_deployed_stack_and_leaves_nothing_there(
    path: Path, copies: Path, deployed: dict[str, str]
) -> None:
    async with Kernel.started(copies, **deployed) as kernel:
        await run_all(kernel, path)
        assert not kernel.local_stacks(), "nothing was started here"
        left = await kernel.must("stack = await Stack.open()\nlist((await stack.things.list()).charge_point_id)")
    assert left.value == "[]"


# -- A kernel's end, and the stop button ------------------------------------------------------------------------------

SETUP = "from cpsim_kit import Stack\nstack = await Stack.open()\nstack"
BOOT = 'await stack.things.create("CP1")\ncp = await stack.charge_point("CP1")\n(await cp.boot()).status'


@pytest.mark.slow
@pytest.mark.parametrize("end", ["shutdown", "restart", "kill"])
async def test_no_local_stack_survives_its_kernel(kernel: Kernel, end: str) -> None:
    await kernel.must(SETUP)
    (stack,) = kernel.local_stacks()
    if end == "shutdown":
        await kernel.manager.shutdown_kernel()
    elif end == "restart":
        await kernel.manager.restart_kernel()
        await kernel.client.wait_for_ready(timeout=60 * FACTOR)
    else:
        os.kill(kernel.manager.provisioner.pid, signal.SIGKILL)
    await until(lambda: is_gone(stack), "the local stack to end")


async def stopped(kernel: Kernel, source: str, when: str) -> Ran:
    """What a cell did that is interrupted as soon as it has printed this."""
    ran = Ran()
    running = asyncio.create_task(kernel.run(source, ran))
    await until(lambda: when in ran.stdout, f"{when!r} in what the cell prints")
    assert not running.done()
    await kernel.manager.interrupt_kernel()
    async with asyncio.timeout(SOON / 2):
        return await running


async def assert_usable(kernel: Kernel, stack: psutil.Process) -> None:
    assert "open" in (await kernel.must("cp")).value
    assert (await kernel.must("(await cp.heartbeat()).latency_ms > 0")).value == "True"
    assert (await kernel.must("len([beat async for beat in cp.heartbeats(count=2, interval=0.1)])")).value == "2"
    assert kernel.local_stacks() == [stack]
    assert "closed" in (await kernel.must("await stack.close()\nstack")).value


@pytest.mark.slow
async def test_stop_button_ends_the_cell_and_nothing_else(kernel: Kernel) -> None:
    await kernel.must(SETUP)
    assert (await kernel.must(BOOT)).value == "'Accepted'"
    (stack,) = kernel.local_stacks()
    ran = await stopped(kernel, "async for beat in cp.heartbeats(interval=0.1):\n    print(beat)", when="Beat(")
    assert ran.error.startswith(("CancelledError", "KeyboardInterrupt"))
    await assert_usable(kernel, stack)


@pytest.mark.slow
@pytest.mark.xfail(reason="ipykernel #881: its SIGINT handler does not wake an event loop that waits")
async def test_stop_button_acts_at_once_between_two_heartbeats(kernel: Kernel) -> None:
    await kernel.must(SETUP)
    assert (await kernel.must(BOOT)).value == "'Accepted'"
    (stack,) = kernel.local_stacks()
    await stopped(kernel, "async for beat in cp.heartbeats(interval=600):\n    print(beat)", when="Beat(")
    await assert_usable(kernel, stack)


# -- The command ------------------------------------------------------------------------------------------------------


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
            out, err = await asyncio.to_thread(process.communicate, timeout=3 * SOON)
        finally:
            process.kill()
    await until(lambda: all(map(is_gone, children)), f"{children} to end")
    assert path.read_bytes() == before
    if how is not signal.SIGKILL:
        assert process.returncode == 130
        assert "interrupted" in err
        assert "Traceback" not in out + err
