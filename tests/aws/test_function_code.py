"""A source that can be a function's, and a package in which one module is replaced."""

import io
import stat
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest

from cpsim_kit.aws.function_code import Handler, Source, replace_module

HANDLER = Handler("message_processor.lambda_handler")
WORKS = "def lambda_handler(event, context):\n    return None\n"
HERE = f"python{sys.version_info.major}.{sys.version_info.minor}"


def test_the_path_of_a_file_and_a_text_are_the_same_source(tmp_path: Path) -> None:
    path = tmp_path / "processor.py"
    path.write_text(WORKS)
    for given in (path, str(path)):
        source = Source(given)
        assert (source.name, source.code) == ("processor.py", WORKS.encode())
    text = Source(WORKS)
    assert (text.name, text.code) == ("<source>", WORKS.encode())


def test_a_file_is_sent_as_it_is_whatever_its_encoding(tmp_path: Path) -> None:
    path = tmp_path / "latin.py"
    path.write_bytes(b"# coding: latin-1\nname = '\xe9'\r\n" + WORKS.encode())
    assert Source(path).code == path.read_bytes()


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("def f(:\n    pass\n", r"<source>, line 1: .*\n    def f\(:\n          \^$"),
        ("x = 1\n\nif x\n    y = 2\n", r"<source>, line 3: expected ':' .*\n    if x\n        \^$"),
        ("def f():\n        return 1 +\n", r"line 2: invalid syntax .*\n    return 1 \+\n              \^$"),
        ("def f():\nreturn 1\n", r"line 2: .*indented block"),
        ("return 1\n", r"line 1: 'return' outside function"),
        ("x = 'never ends\n", r"line 1: unterminated string"),
        ("x = 1\n\0\n", r"null bytes"),
        ("(" * 1000 + "\n", r"<source>"),
    ],
)
def test_what_does_not_compile_is_refused_with_its_line(source: str, text: str) -> None:
    with pytest.raises(ValueError, match=text) as caught:
        Source(source)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_file_that_does_not_compile_is_named(tmp_path: Path) -> None:
    path = tmp_path / "processor.py"
    path.write_text("import json\nprint(]\n")
    with pytest.raises(ValueError, match=r"^processor\.py, line 2: "):
        Source(path)
    path.write_bytes(b"name = '\xff'\n")
    with pytest.raises(ValueError, match=r"processor\.py"):
        Source(path)


@pytest.mark.parametrize("given", ["processor", "processor.txt", "", "lambda event: None", Path("processor.txt")])
def test_what_is_neither_a_path_nor_a_source_is_refused(given: str | Path) -> None:
    with pytest.raises(ValueError, match=r"the path of a \.py file"):
        Source(given)


@pytest.mark.parametrize("given", [None, b"def lambda_handler(event, context):\n    pass\n", print])
def test_what_is_no_text_is_refused(given: Any) -> None:
    with pytest.raises(TypeError, match=r"a source is the path of a \.py file or the text of a module, not"):
        Source(given)


def test_a_file_that_is_not_there_says_so() -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.py"):
        Source("nowhere.py")


@pytest.mark.parametrize(
    "source",
    [
        WORKS,
        "@run\nasync def lambda_handler(event, context):\n    pass\n",
        "async def lambda_handler(event, context):\n    pass\n\nlambda_handler = run(lambda_handler)\n",
        "from elsewhere import lambda_handler\n",
        "from elsewhere import main as lambda_handler\n",
        "from elsewhere import *\n",
        "lambda_handler = lambda event, context: None\n",
        "class A:\n    pass\n\nlambda_handler = A().handle\n",
        "try:\n    import a\nexcept ImportError:\n    def lambda_handler(event, context):\n        pass\n",
    ],
)
def test_a_source_with_the_function_of_the_handler_is_right(source: str) -> None:
    Source(source).check(HANDLER, HERE)


@pytest.mark.parametrize(
    "source",
    [
        "def handler(event, context):\n    pass\n",
        "class A:\n    def lambda_handler(self):\n        pass\n",
        "def f():\n    lambda_handler = 1\n",
        "\n",
    ],
)
def test_a_source_without_the_function_of_the_handler_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match=r"no function lambda_handler, .* handler is message_processor.lambda_handler"):
        Source(source).check(HANDLER, HERE)


def test_a_handler_that_would_have_to_be_awaited_is_refused_with_its_line() -> None:
    with pytest.raises(ValueError, match=r"<source>, line 3: lambda_handler is an async def, .* does not await"):
        Source("import a\n\nasync def lambda_handler(event, context):\n    pass\n").check(HANDLER, HERE)


def test_what_an_older_python_cannot_read_is_refused_with_its_line() -> None:
    source = Source("def lambda_handler(event, context):\n    match event:\n        case 1:\n            pass\n")
    source.check(HANDLER, "python3.10")
    with pytest.raises(ValueError, match=r"line 4: Pattern matching is only .* Python 3.10 .*\(Python 3.9\)"):
        source.check(HANDLER, "python3.9")


@pytest.mark.parametrize("runtime", ["nodejs20.x", "provided.al2023", ""])
def test_another_runtime_is_refused(runtime: str) -> None:
    with pytest.raises(ValueError, match="a Python source cannot replace it"):
        Source(WORKS).check(HANDLER, runtime)


# -- The package ------------------------------------------------------------------------------------------------------


def package(*files: tuple[str, bytes, int], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip file of names, contents and permissions."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content, mode in files:
            info = zipfile.ZipInfo(name, date_time=(2021, 2, 3, 4, 6, 8))
            info.external_attr = mode << 16
            info.compress_type = compression
            archive.writestr(info, content)
    return out.getvalue()


def read(content: bytes) -> dict[str, tuple[bytes, int, tuple[int, ...], int]]:
    """Of each file of a package: content, attributes, time, compression."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return {
            info.filename: (archive.read(info), info.external_attr, info.date_time, info.compress_type)
            for info in archive.infolist()
        }


BUNDLED = [
    ("bundled/", b"", stat.S_IFDIR | 0o755),
    ("bundled/__init__.py", b"VALUE = 1\n", stat.S_IFREG | 0o644),
    ("bundled/tool", b"#!/bin/sh\n", stat.S_IFREG | 0o755),
    ("bundled/__pycache__/__init__.cpython-311.pyc", b"\0\1", stat.S_IFREG | 0o644),
    ("bundled/message_processor.py", b"another one\n", stat.S_IFREG | 0o644),
    ("a-link", b"bundled/tool", stat.S_IFLNK | 0o777),
    ("naïve.txt", "žluťoučký".encode(), stat.S_IFREG | 0o600),
]
MODULE = "message_processor.py", b"old\n", stat.S_IFREG | 0o640


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_only_the_module_changes(compression: int) -> None:
    old = package(*BUNDLED[:3], MODULE, *BUNDLED[3:], compression=compression)
    before, after = read(old), read(replace_module(old, HANDLER, b"new\n"))
    assert list(after) == list(before)
    assert after.pop(MODULE[0]) == (b"new\n", *before.pop(MODULE[0])[1:])
    assert after == before


def test_what_is_put_back_into_its_place_makes_the_same_package() -> None:
    old = replace_module(package(MODULE, *BUNDLED), HANDLER, b"old\n")
    assert replace_module(replace_module(old, HANDLER, b"new\n"), HANDLER, b"old\n") == old


def test_what_the_module_was_compiled_to_is_left_out() -> None:
    compiled = ["message_processor.pyc", *(f"__pycache__/message_processor.cpython-311{x}.pyc" for x in ("", ".opt-1"))]
    other = ["__pycache__/message_processor_2.cpython-311.pyc", "bundled/__pycache__/message_processor.cpython-311.pyc"]
    old = package(MODULE, *((name, b"\0", 0o644) for name in (*compiled, *other)))
    assert list(read(replace_module(old, HANDLER, b"new\n"))) == [MODULE[0], *other]


@pytest.mark.parametrize(
    ("handler", "path"),
    [
        ("app.handler", "app.py"),
        ("app.handler", "app/__init__.py"),
        ("src/app.handler", "src/app.py"),
        ("src.deep.app.handler", "src/deep/app.py"),
    ],
)
def test_a_handler_names_a_module_as_python_finds_it(handler: str, path: str) -> None:
    old = package((path, b"old", 0o644), ("other.py", b"other", 0o644))
    after = read(replace_module(old, Handler(handler), b"new"))
    assert (after[path][0], after["other.py"][0]) == (b"new", b"other")


def test_of_two_files_with_one_name_the_last_one_counts() -> None:
    with warnings.catch_warnings(action="ignore"):
        old = package(MODULE, ("twice.py", b"first", 0o644), ("twice.py", b"second", 0o644))
    assert read(replace_module(old, HANDLER, b"new"))["twice.py"][0] == b"second"


def test_a_package_without_the_module_is_refused_with_what_it_has() -> None:
    old = package(("index.py", b"", 0o644), *BUNDLED)
    text = r"no message_processor\.py, where its handler .* it has a-link, index\.py, naïve\.txt"
    with pytest.raises(ValueError, match=text):
        replace_module(old, HANDLER, b"new")
    with pytest.raises(ValueError, match="it has nothing"):
        replace_module(package(), HANDLER, b"new")


def test_what_is_no_zip_file_is_refused() -> None:
    whole = package(MODULE, *BUNDLED)
    for broken in (b"", b"not a zip", whole[: len(whole) // 2], whole.replace(b"old\n", b"odd\n")):
        if broken != whole:
            with pytest.raises(ValueError, match="cannot be read as a zip file"):
                replace_module(broken, Handler("bundled/message_processor.f"), b"new")
