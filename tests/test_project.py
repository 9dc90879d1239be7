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

# A package imports only from itself and the rows above its own.
ROWS = [
    "errors",
    "notebook",
    "basics",
    "ocpp_j",
    "records",
    "plots",
    "charge_point",
    "station",
    "aws",
    "local",
    "fleet",
    "check_up",
    "observe",
    "stack",
    "cli",
]
# What a package must not know, although its row is above.
STRANGERS = {
    "charge_point": {"plots"},  # a charge point draws nothing
    "fleet": {"aws", "local"},  # it is handed what creates its Things
    "check_up": {"aws", "local", "fleet"},  # it is handed what it checks
    "observe": {"local"},  # it is handed what it watches
    "cli": {"aws", "local"},  # it has a Stack
}
# Libraries, and the modules that import them. An import for types alone does not count.
DOORS = {
    "boto3": {"aws/session.py", "local/message_processor.py", "local/server/registry.py"},
    "botocore": {"aws/session.py", "local/message_processor.py", "local/server/registry.py", "local/server/lambdas.py"},
    "dask": set(),
    "distributed": {"fleet/dask.py"},
    "matplotlib": {"plots/"},
    "ministack": {"local/server/emulator.py"},
    "nest_asyncio2": {"notebook.py"},
    "paho": {"aws/mqtt.py"},
    "psutil": {"local/usage.py"},
    "websockets": {"charge_point/opening.py", "charge_point/websocket.py", "local/server/gateway.py"},
}


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


def test_readme_lists_the_packages_in_the_order_of_their_rows() -> None:
    layout = re.search(r"^## Layout.*?^```text\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    assert layout is not None
    assert re.findall(r"^(\w+)(?:/|\.py) ", layout[1], re.MULTILINE) == ROWS


def modules() -> list[Path]:
    return sorted((ROOT / "cpsim_kit").rglob("*.py"))


def place(path: Path) -> str:
    return path.relative_to(ROOT / "cpsim_kit").as_posix()


def package(path: Path) -> str:
    return place(path).partition("/")[0].removesuffix(".py")


def imports(source: str, module: str, *, types: bool = True) -> set[str]:
    """The full names that a module imports, also inside functions, and with ``types`` also for TYPE_CHECKING alone.

    Of ``from a import b``, the name is a.b: b may be a module.
    """
    tree = ast.parse(source)
    skipped: set[ast.AST] = set()
    if not types:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test).split(".")[-1] == "TYPE_CHECKING":
                skipped |= {inner for each in node.body for inner in ast.walk(each)}
    found = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: -node.level] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            found |= {f"{origin}.{alias.name}" for alias in node.names}
    return found


def dotted(path: Path) -> str:
    """The module's name; ``__init__`` is kept, so that one level up is its package."""
    return ".".join(["cpsim_kit", *Path(place(path)).with_suffix("").parts])


def packages_of(path: Path) -> set[str]:
    """The kit's packages that a file imports; the whole kit counts as "*"."""
    names = {name for name in imports(path.read_text(), dotted(path)) if name.partition(".")[0] == "cpsim_kit"}
    return {[*name.split("."), "*"][1] for name in names} - {"__version__"}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import a.b", {"a.b"}),
        ("import a.b as c", {"a.b"}),
        ("from a.b import c, d", {"a.b.c", "a.b.d"}),
        ("from . import x", {"cpsim_kit.fleet.x"}),
        ("from .x import y", {"cpsim_kit.fleet.x.y"}),
        ("from ..aws.things import Things", {"cpsim_kit.aws.things.Things"}),
        ("def f():\n    import a", {"a"}),
        ("if TYPE_CHECKING:\n    import a", {"a"}),
        ("# import a\n'import a'", set()),
    ],
)
def test_imports_are_found_in_every_form(source: str, found: set[str]) -> None:
    assert imports(source, "cpsim_kit.fleet.share") == found


def test_imports_for_types_alone_can_be_left_out() -> None:
    source = "import a\nif typing.TYPE_CHECKING:\n    import b\nelse:\n    import c"
    assert imports(source, "cpsim_kit.x", types=False) == {"a", "c"}


def test_every_package_has_a_row() -> None:
    assert {package(path) for path in modules()} == {*ROWS, "__init__"}


@pytest.mark.parametrize("name", ROWS)
def test_a_package_imports_only_from_rows_above(name: str) -> None:
    allowed = {*ROWS[: ROWS.index(name)], name} - STRANGERS.get(name, set())
    wrong = {
        (place(path), other)
        for path in modules()
        if package(path) == name
        for other in packages_of(path)
        if other not in allowed
    }
    assert not wrong, f"{name} may import {sorted(allowed)} only"


def test_no_module_of_the_kit_is_imported_by_a_string() -> None:
    """The tests above would not see it."""
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in {"import_module", "__import__"}:
                assert "cpsim_kit" not in ast.unparse(node), place(path)


@pytest.mark.slow
@pytest.mark.parametrize("library", DOORS)
def test_a_library_has_its_doors(library: str) -> None:
    users = {
        place(path)
        for path in modules()
        if library in {name.partition(".")[0] for name in imports(path.read_text(), dotted(path), types=False)}
    }
    doors = {user: [door for door in DOORS[library] if user.startswith(door)] for user in users}
    assert all(doors.values()), f"{library} is imported elsewhere: {doors}"
    assert {door for each in doors.values() for door in each} == DOORS[library], "a door that nobody uses"


def test_the_rooms_of_a_station_know_no_task_no_clock_and_no_connection() -> None:
    """What waits, sleeps and connects are the files beside them; so a session of hours is a table in a test."""
    rooms = [path for path in modules() if re.match(r"station/\w+/", place(path))]
    assert {place(path).split("/")[1] for path in rooms} >= {"charging", "dialects", "profiles", "rules"}
    for path in rooms:
        names = imports(path.read_text(), dotted(path))
        assert not {"asyncio", "socket", "threading", "time"} & {name.partition(".")[0] for name in names}, place(path)
        assert not {name for name in names if name.startswith("cpsim_kit.charge_point")}, place(path)


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
                printing.add(place(path))
    assert {name for name in printing if not name.startswith("cli/")} <= {"notebook.py", "local/__main__.py"}
