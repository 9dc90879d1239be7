"""Arguments: what is refused, with which hint, and the help."""

import re
import shlex
from pathlib import Path

import pytest

from cpsim_kit.cli import arguments

pytestmark = pytest.mark.usefixtures("environment")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "nonsense",
        "--bogus",
        "simulate --bogus",
        "simulate --count 0",
        "simulate --count -1",
        "simulate --count many",
        "simulate --interval 0",
        "simulate --interval 1.5",
        "simulate --url http://127.0.0.1",
        "simulate --url nonsense",
        "simulate --cp-id 'CP 1'",
        "simulate --cp-id CP/1",
        "simulate --cp-id ''",
        "simulate --ocpp 2.2",
        "simulate extra",
        "simulate --cou 3",
        "stack --thing 'CP 1'",
        "stack --interval 0",
        "stack --csms none",
        "load --size 0",
        "load --ramp -1",
        "load --duration 0",
        "load --url nonsense",
        "load --processes 0",
        "load --csv nowhere/at/all.csv",
        "load --csv .",
        "load --csv -",
        "load --scheduler foo",
        "load --scheduler ''",
        "load --scheduler http://127.0.0.1:8786",
        "load --scheduler tcp://127.0.0.1",
        "check --url nonsense",
        "check --version 2.2",
        "check --timeout 0",
        "check --cp-id CP/1",
        "check --junit .",
        "lab --port none",
        "lab --port 0",
    ],
)
def test_bad_arguments_are_errors_with_a_hint(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        arguments.parse(shlex.split(line))
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert "error:" in error
    name = line.partition(" ")[0]
    assert error.endswith(
        f"Try: cpsim {name} --help\n" if name in {"simulate", "stack", "load", "check", "lab"} else "--help\n"
    )


@pytest.mark.parametrize("option", ["simulate --cp-id", "load --prefix", "stack --thing"])
def test_an_id_that_is_too_long(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments.parse([*option.split(), "L" * 129])
    assert "at most 128 letters" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line", ["--help", "simulate --help", "stack --help", "load --help", "check --help", "lab --help"]
)
def test_help_has_an_example(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        arguments.parse(line.split())
    assert ended.value.code == 0
    assert re.search(r"Example:\n  cpsim ", capsys.readouterr().out)


def test_load_looks_for_its_file_and_leaves_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "old.csv").write_text("old")
    for name in ("old.csv", "new.csv"):
        options = arguments.parse(["load", "--csv", str(tmp_path / name)])
        assert options.csv == tmp_path / name
    assert [each.name for each in tmp_path.iterdir()] == ["old.csv"]
    assert (tmp_path / "old.csv").read_text() == "old"
