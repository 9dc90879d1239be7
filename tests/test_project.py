"""What the project's own files say of each other."""

import ast
import importlib
import pkgutil
import re
import tomllib
from pathlib import Path

import pytest
import rattler
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import cpsim_kit

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())
CONDA_SPECS = [spec for spec in ENVIRONMENT["dependencies"] if isinstance(spec, str)]
PIP_SPECS = next(spec["pip"] for spec in ENVIRONMENT["dependencies"] if isinstance(spec, dict))
CONDA_NAMES = {"matplotlib": "matplotlib-base"}
OWNERS_SIX = {"ocpp", "websockets", "jupyterlab", "boto3", "pandas", "nest-asyncio2"}

# A package imports only from the rows above its own. `stack` is the only one that knows `aws` and `local`.
ROWS = [
    "errors",
    "notebook",
    "basics",
    "ocpp_j",
    "records",
    "plots",
    "charge_point",
    "aws",
    "local",
    "fleet",
    "observe",
    "stack",
    "cli",
]
# What would be allowed by its row, and is not: who must not know whom.
STRANGERS = {("fleet", "aws"), ("fleet", "local"), ("charge_point", "plots")}


def bounds(text: str) -> tuple[str, SpecifierSet]:
    requirement = Requirement(text)
    return requirement.name.replace("_", "-").lower(), requirement.specifier


def environment_bounds() -> dict[str, SpecifierSet]:
    found = dict(bounds(spec) for spec in PIP_SPECS if not spec.startswith("-e"))
    for spec in CONDA_SPECS:
        name, _, specifier = spec.partition(" ")
        found[name] = SpecifierSet(specifier)
    return found


def test_environment_and_pyproject_agree() -> None:
    environment = environment_bounds()
    wanted = {CONDA_NAMES.get(name, name): specifier for name, specifier in map(bounds, PROJECT["dependencies"])}
    wanted["python"] = SpecifierSet(PROJECT["requires-python"])
    assert environment.pop("pip") == SpecifierSet()
    assert environment == wanted


def test_environment_names_the_owners_packages_and_the_kit_itself() -> None:
    assert environment_bounds().keys() >= OWNERS_SIX
    assert "-e ." in PIP_SPECS


@pytest.mark.parametrize("spec", CONDA_SPECS)
def test_conda_reads_each_spec(spec: str) -> None:
    match = rattler.MatchSpec(spec, strict=True)
    name, _, version = spec.partition(" ")
    assert match.name is not None
    assert match.name.normalized == name
    assert (match.version is None) == (version == "")


@pytest.mark.parametrize("spec", ["pandas >=2.2 <4 >", "boto3 ==>1", "orjson >=3.10,<4 extra words here"])
def test_a_broken_conda_spec_is_noticed(spec: str) -> None:
    with pytest.raises(Exception, match=r".+"):
        rattler.MatchSpec(spec, strict=True)


def test_version_is_the_same_everywhere() -> None:
    assert cpsim_kit.__version__ == PROJECT["version"]


def test_quick_start_is_two_commands_and_ci_runs_the_second() -> None:
    readme = (ROOT / "README.md").read_text()
    assert len(readme.splitlines()) <= 150
    block = re.search(r"^## Quick start.*?^```\w*\n(.*?)^```", readme, re.DOTALL | re.MULTILINE)
    assert block is not None
    lines = block.group(1).splitlines()
    assert len(lines) == 2
    assert all("venv" in line for line in lines)
    assert "cpsim simulate" in lines[0]
    assert "pytest" in lines[1]


def test_readme_names_every_notebook() -> None:
    readme = (ROOT / "README.md").read_text()
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"notebooks/{notebook.name}" in readme


def modules() -> list[Path]:
    return sorted((ROOT / "cpsim_kit").rglob("*.py"))


def package(path: Path) -> str:
    return path.relative_to(ROOT / "cpsim_kit").parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """The kit's packages that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "cpsim_kit":
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("cpsim_kit.")}
    return found - {"__version__"}


def test_every_package_has_a_row() -> None:
    assert {package(path) for path in modules()} == {*ROWS, "__init__"}


@pytest.mark.parametrize("name", ROWS)
def test_a_package_imports_only_from_rows_above(name: str) -> None:
    above = {*ROWS[: ROWS.index(name)], name} - {other for mine, other in STRANGERS if mine == name}
    wrong = {
        (path.name, other)
        for path in modules()
        if package(path) == name
        for other in imported(path)
        if other not in above
    }
    assert not wrong, f"{name} may import {sorted(above)} only"


@pytest.mark.parametrize(
    ("library", "doors"),
    [
        ("websockets", {"local/server/gateway.py", "charge_point/opening.py", "charge_point/websocket.py"}),
        ("paho", {"aws/mqtt.py"}),
        ("boto3", {"aws/session.py", "local/server/registry.py"}),
        ("botocore", {"aws/session.py", "local/server/registry.py"}),
        ("ministack", {"local/server/emulator.py"}),
        ("nest_asyncio2", {"notebook.py"}),
        ("psutil", {"local/usage.py"}),
    ],
)
def test_a_third_party_has_its_doors(library: str, doors: set[str]) -> None:
    pattern = re.compile(rf"^\s*(?:import|from) {library}\b", re.MULTILINE)
    users = {
        str(path.relative_to(ROOT / "cpsim_kit").as_posix()) for path in modules() if pattern.search(path.read_text())
    }
    assert users == doors


def test_every_module_imports_and_lists_what_it_has() -> None:
    for info in pkgutil.walk_packages(cpsim_kit.__path__, "cpsim_kit."):
        if info.name.endswith("__main__") or ".notebooks" in info.name:
            continue
        module = importlib.import_module(info.name)
        for name in getattr(module, "__all__", []):
            assert hasattr(module, name), f"{info.name}.__all__ names {name}"


def test_public_names_are_those_of_the_contract() -> None:
    assert {"Stack", "ChargePoint", "checkpoint", "expect_error", "errors", "run"} <= set(cpsim_kit.__all__)
    assert all(hasattr(cpsim_kit, name) for name in cpsim_kit.__all__)


def test_nothing_is_printed_outside_notebook_and_command_line() -> None:
    printing = set()
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                printing.add(path.relative_to(ROOT / "cpsim_kit").as_posix())
    assert {name for name in printing if not name.startswith("cli/")} <= {"notebook.py", "local/__main__.py"}
