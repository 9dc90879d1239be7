"""The tutorial notebooks as files: their form, and the outputs kept in them."""

from __future__ import annotations

import ast
import json
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from kernel import NOTEBOOKS, ROOT, code_cells, each_notebook, prose, read, solutions

# JupyterLab, in a window of 1,200 pixels with the file browser and a scroll bar, has room for 94 characters in a code
# cell, and for 79 in a block of Markdown. Code is narrower than it could be, for those whose letters are larger.
CODE_WIDTH = 84
BLOCK_WIDTH = 79
HEADINGS = ["Setup", "The idea", "When it goes wrong", "Exercise", "Summary", "Teardown", "Next"]

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
    assert 6 <= len(re.findall(r"[.!?](?=\s)", text)) <= 10


def program_lines(source: str) -> int:
    """The lines of the longest text in a cell, e.g. the source of a message processor."""
    texts = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant) and "\n" in str(node.value)]
    return max(((text.end_lineno or text.lineno) - text.lineno for text in texts), default=0)


@each_notebook
def test_code_cells_are_small(path: Path) -> None:
    for cell in code_cells(path):
        lines, program = cell.source.splitlines(), program_lines(cell.source)
        assert 1 <= len(lines) - program <= 12, cell.id
        assert program <= 45, f"{cell.id}: a program of more than a page"


@each_notebook
def test_no_line_is_cut(path: Path) -> None:
    code = "\n".join(cell.source for cell in code_cells(path))
    assert [line for line in code.splitlines() if len(line) > CODE_WIDTH] == []
    blocks = re.findall(r"^```\w*\n(.*?)^```", prose(path), re.MULTILINE | re.DOTALL)
    assert [line for block in blocks for line in block.splitlines() if len(line) > BLOCK_WIDTH] == []


@each_notebook
def test_code_is_formatted_for_its_width(path: Path) -> None:
    """The notebooks' own width is no setting of ruff's: notebooks/ruff.toml would hold for the commands there, too."""
    command = ["ruff", "format", f"--line-length={CODE_WIDTH}", str(path)]
    done = subprocess.run(
        [sys.executable, "-m", *command, "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}Try: {' '.join(command)}"


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
    assert re.search(r"\n\nstack = await Stack\.open\((csms=\"lambda\")?\)\nstack$", first.source)
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
    """All outputs; the folder in which AWS Lambda runs a function is no path of this machine."""
    texts = (text for cell in code_cells(path) for output in cell.outputs for text in texts_of(output))
    return "\n".join(texts).replace("/var/task/", "")


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
