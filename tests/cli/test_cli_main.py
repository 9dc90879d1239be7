"""The entry point: exit statuses, and errors that are one line."""

import logging
from collections.abc import Iterator

import pytest
from command_line import cpsim

from cpsim_kit import __version__, cli

pytestmark = pytest.mark.usefixtures("environment")


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """``cli.main`` of this process sets logging up for the process of a command, which this one is not."""
    root, botocore = logging.getLogger(), logging.getLogger("botocore")
    before = root.handlers[:], root.level, botocore.level
    yield
    root.handlers[:], level, botocore_level = before
    root.setLevel(level)
    botocore.setLevel(botocore_level)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"cpsim {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("load --size 1000000000 --duration 1", "choose a longer duration"),
        ("load --size 1000 --duration 5", "--size 1000 at --ramp 100 takes 10 s"),
        ("load --size 1000 --duration 5", "choose a longer duration, or a steeper ramp"),
        (f"load --prefix {'L' * 125}", "at most 128"),
    ],
)
def test_arguments_that_do_not_go_together(arguments: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments.split()) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.endswith(f"\nTry: cpsim {arguments.partition(' ')[0]} --help\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("simulate --url ws://127.0.0.1:9", "cannot connect to ws://127.0.0.1:9/CP1"),
        ("simulate --url ws://nowhere.invalid", "nowhere.invalid"),
    ],
)
def test_an_address_where_nobody_listens(arguments: str, words: str) -> None:
    done = cpsim(*arguments.split())
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_stack_that_is_not_there_or_without_credentials() -> None:
    done = cpsim("simulate", CPSIM_STACK="Nope", AWS_DEFAULT_REGION="us-east-1", AWS_EC2_METADATA_DISABLED="true")
    assert done.returncode == 1
    assert "AWS_PROFILE" in done.stderr
    assert "Traceback" not in done.stderr
