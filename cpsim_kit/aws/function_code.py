"""The package of a Lambda function: a zip file in which one module is replaced. Pure; does no I/O but to read a source.

AWS Lambda developer guide, "Define Lambda function handler in Python" and "Working with .zip file archives for Python
Lambda functions".
"""

from __future__ import annotations

import ast
import io
import re
import sys
import zipfile
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

__all__ = ["LARGEST_PACKAGE", "Handler", "Source", "replace_module"]

LARGEST_PACKAGE = 50 * 1024 * 1024  # bytes of a zip file that UpdateFunctionCode takes (quotas of AWS Lambda)

_TEXT = "<source>"  # the name of a source that was given as text


@dataclass(frozen=True)
class Handler:
    """The function that Lambda calls, as the configuration names it: e.g. "message_processor.lambda_handler".

    Attributes:
        text: As the configuration has it.
    """

    text: str

    @property
    def function(self) -> str:
        """The function's name."""
        return self.text.rpartition(".")[2]

    @property
    def paths(self) -> tuple[str, str]:
        """Where its module can be in the package: a file, or a package's ``__init__.py``."""
        path = self.text.rpartition(".")[0].replace(".", "/")
        return f"{path}.py", f"{path}/__init__.py"


class Source:
    """The source of a module, checked to compile.

    Args:
        source: The path of a file that ends with ``.py``, or the text of a module.

    Attributes:
        name: The file's name, or "<source>".
        code: The source as it is sent.

    Raises:
        ValueError: It does not compile; the message has the line. Or it is neither a path nor a source.
        TypeError: It is neither text nor a path.
        OSError: The file cannot be read.
    """

    def __init__(self, source: str | PathLike[str]) -> None:
        if not isinstance(source, str | PathLike):
            raise TypeError(f"a source is the path of a .py file or the text of a module, not {type(source).__name__}")
        if isinstance(source, str) and ("\n" in source or not source.strip().endswith(".py")):
            if "\n" not in source:
                raise ValueError(f"{source!r} is neither the path of a .py file nor the text of a module")
            self.name = _TEXT
            self.code = source.encode()
        else:
            path = Path(source)
            if path.suffix != ".py":
                raise ValueError(f"{path} is not the path of a .py file")
            self.name = path.name
            self.code = path.read_bytes()
        self._tree = self._parse(None)

    def check(self, handler: Handler, runtime: str) -> None:
        """Check that it is a source for this function.

        Args:
            handler: The function's handler.
            runtime: The function's runtime, e.g. "python3.9".

        Raises:
            ValueError: The runtime is not Python, or an older one that cannot read it; or there is no such function,
                or it is an ``async def`` (AWS Lambda developer guide, python-handler).
        """
        version = re.fullmatch(r"python(\d+)\.(\d+)", runtime)
        if version is None:
            raise ValueError(f"the function's runtime is {runtime or 'not known'}; a Python source cannot replace it")
        wanted = int(version[1]), int(version[2])
        if wanted < sys.version_info[:2]:
            self._parse(wanted)
        if not {handler.function, "*"} & set(_names(self._tree)):
            raise ValueError(
                f"{self.name} has no function {handler.function}, which AWS Lambda calls "
                f"(the function's handler is {handler.text}): def {handler.function}(event, context): ..."
            )
        if line := _awaited(self._tree, handler.function):
            raise ValueError(
                f"{self.name}, line {line}: {handler.function} is an async def, which AWS Lambda calls and does not "
                f"await, so nothing of it would run. Write def {handler.function}(event, context): "
                "asyncio.run(…), with the rest in another function"
            )

    def _parse(self, version: tuple[int, int] | None) -> ast.Module:
        """Parse it, as far as possible as this version of Python does."""
        try:
            if version is None:
                compile(self.code, self.name, "exec", dont_inherit=True)
            return ast.parse(self.code, self.name, feature_version=version)
        except SyntaxError as exc:
            fault = exc
        except (ValueError, RecursionError, MemoryError) as exc:  # a NUL, a wrong encoding; an expression too deep
            raise ValueError(f"{self.name} does not compile: {exc or type(exc).__name__}") from None
        raise ValueError(self._describe(fault, version))  # without the traceback of the compiler

    def _describe(self, fault: SyntaxError, version: tuple[int, int] | None) -> str:
        python = ".".join(map(str, version or sys.version_info[:2]))
        place = f"{self.name}, line {fault.lineno}" if fault.lineno else self.name
        message = f"{place}: {fault.msg} (Python {python})"
        if fault.text and fault.text.strip():
            line = fault.text.rstrip()
            code = line.lstrip()
            message += f"\n    {code}"
            column = (fault.offset or 0) - (len(line) - len(code))
            if 0 < column <= len(code) + 1:
                message += f"\n    {' ' * (column - 1)}^"
        return message


def replace_module(package: bytes, handler: Handler, code: bytes) -> bytes:
    """Replace the module of the handler in a package; everything else stays as it is, with its permissions and times.

    What the module was compiled to before is left out.

    Args:
        package: The zip file.
        handler: Names the module.
        code: The module's new source.

    Returns:
        The new zip file; the same code makes the same file.

    Raises:
        ValueError: The package is not a zip file, or it has no such module.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(package)) as old:
            members = {info.filename: info for info in old.infolist()}  # of two with one name, the last one counts
            path = next((path for path in handler.paths if path in members), None)
            if path is None:
                some = ", ".join(sorted(name for name in members if "/" not in name)[:10]) or "nothing"
                raise ValueError(
                    f"the function's package has no {handler.paths[0]}, where its handler {handler.text} should be; "
                    f"it has {some}"
                )
            new = io.BytesIO()
            with zipfile.ZipFile(new, "w") as out:
                for name, info in members.items():
                    if not _is_compiled_from(name, path):
                        out.writestr(info, code if name == path else old.read(info))
    except (zipfile.BadZipFile, NotImplementedError) as exc:
        raise ValueError(f"the function's package cannot be read as a zip file: {exc}") from None
    return new.getvalue()


def _is_compiled_from(name: str, path: str) -> bool:
    """Whether a file of a package is what Python compiled this module to."""
    folder, _, file = path.removesuffix(".py").rpartition("/")
    prefix = f"{folder}/" if folder else ""
    return bool(re.fullmatch(rf"{re.escape(prefix)}(__pycache__/)?{re.escape(file)}(\.[\w-]+)*\.pyc", name))


def _awaited(tree: ast.Module, name: str) -> int | None:
    """The line of a function that is an ``async def`` whatever happens: not decorated, and not defined otherwise."""
    made = [node for node in tree.body if isinstance(node, ast.AsyncFunctionDef) and node.name == name]
    if len(made) == 1 and not made[0].decorator_list and _names(tree).count(name) == 1:
        return made[0].lineno
    return None


def _names(tree: ast.Module) -> list[str]:
    """The names that a module has at its top level, also under ``if`` and ``try``."""
    names: list[str] = []
    inside: list[ast.AST] = [tree]
    while inside:
        node = inside.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.alias):
            names.append((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Store):
                names.append(node.id)
        else:
            inside.extend(ast.iter_child_nodes(node))
    return names
