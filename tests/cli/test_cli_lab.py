"""``cpsim lab``: which notebooks it opens, and what it keeps of the reader's."""

import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from command_line import ENVIRONMENT, cpsim
from conftest import ENDED

from cpsim_kit.cli import arguments, lab

pytestmark = pytest.mark.usefixtures("environment")


def run(*options: str, **parameters: Any) -> list[str]:
    """The command that ``cpsim lab`` would run in its place."""
    started: list[list[str]] = []
    assert (
        lab.run(arguments.parse(["lab", *options]), start=lambda command: started.append(command) or 0, **parameters)
        == 0
    )
    return started[0]


def test_lab_takes_the_checkouts_notebooks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = run("--no-browser", "--port", "8899")
    notebooks = Path(lab.__file__).parents[2] / "notebooks"
    assert f"--ServerApp.root_dir={notebooks}" in command
    assert command[-1] == str(notebooks / "00_start_here.ipynb")
    assert {"--no-browser", "--port=8899"} <= set(command)
    assert f"The notebooks are in {notebooks}\n" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_lab_takes_no_file_of_the_working_directory_for_a_module(tmp_path: Path) -> None:
    (tmp_path / "calendar.py").write_text("raise SystemExit('taken for the module of that name')\n")
    with socket.create_server(("127.0.0.1", 0)) as listener:  # so that it ends when it has been started
        port = listener.getsockname()[1]
        command = lab.jupyter_command(lab.notebooks_folder(tmp_path), port=port, browser=False)
        done = subprocess.run(
            command, check=False, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=6 * ENDED
        )
    assert "taken for the module" not in done.stdout + done.stderr
    assert str(port) in done.stderr, "JupyterLab itself says that the port is taken"


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A package with two notebooks and a JMeter plan; another one has left its own folder of that name beside it."""
    package = tmp_path / "site-packages" / "cpsim_kit"
    (package / "notebooks" / "jmeter").mkdir(parents=True)
    (package.parent / "notebooks").mkdir()
    for name in ("00_start_here.ipynb", "01_boot_and_heartbeat.ipynb", "jmeter/charge_points.jmx"):
        (package / "notebooks" / name).write_text(f"new {name}")
    return package


def test_lab_of_an_installed_package_copies_what_is_not_there(
    installed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "00_start_here.ipynb").write_text("changed by its reader")
    assert lab.notebooks_folder(mine, package=installed) == mine
    assert (mine / "00_start_here.ipynb").read_text() == "changed by its reader"
    assert (mine / "01_boot_and_heartbeat.ipynb").read_text() == "new 01_boot_and_heartbeat.ipynb"
    assert (mine / "jmeter" / "charge_points.jmx").read_text() == "new jmeter/charge_points.jmx"
    (mine / "jmeter" / "charge_points.jmx").write_text("saved by JMeter")
    lab.notebooks_folder(mine, package=installed)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("Kept with your changes: 00_start_here.ipynb;")
    assert second.startswith("Kept with your changes: 00_start_here.ipynb, jmeter/charge_points.jmx;")
    assert (mine / "jmeter" / "charge_points.jmx").read_text() == "saved by JMeter"


def test_lab_says_nothing_of_what_is_as_it_came(
    installed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert lab.notebooks_folder(tmp_path / "deep" / "mine", package=installed) == tmp_path / "deep" / "mine"
    assert capsys.readouterr().out == ""


def test_lab_says_that_its_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        done = cpsim("lab", "--no-browser", "--port", str(port))
    assert done.returncode == 1
    assert f"cannot listen on port {port}" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_largest_port_is_taken_and_the_next_is_refused() -> None:
    assert "--port=65535" in run("--port", "65535")
    with pytest.raises(ValueError, match="--port 65536: the largest port is 65535"):
        run("--port", "65536")


def test_lab_says_when_the_folder_cannot_be(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot copy the notebooks to --folder"):
        run("--folder", str(tmp_path / "file"), package=installed)
