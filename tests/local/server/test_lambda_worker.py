"""The program that runs a Lambda function: its protocol, its log, and that nothing of it outlives its parent."""

import json
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import MS, SOON

from cpsim_kit.local.server import lambda_worker


class Function:
    """A function in its worker.

    Attributes:
        process: The worker.
    """

    def __init__(self, folder: Path, source: str, handler: str = "main.run", **options: Any) -> None:
        self.code = folder / "code"
        self.code.mkdir(parents=True)
        (self.code / "main.py").write_text(textwrap.dedent(source))
        module, _, name = handler.partition(".")
        command = [sys.executable, lambda_worker.__file__]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(command, text=True, **pipes)
        init = {"code_dir": str(self.code), "module": module, "handler": name, "function_name": "F", "memory": 128}
        self.write(init | options)
        assert self.process.stdout is not None
        assert json.loads(self.process.stdout.readline()) == {"status": "ready"}

    def write(self, document: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(document) + "\n")
        self.process.stdin.flush()

    def send(self, event: Any) -> None:
        about = {"request_id": "R1", "invoked_function_arn": "arn:F", "timeout_ms": 3000}
        self.write({"event": event, "ctx": about})

    def invoke(self, event: Any = None) -> tuple[dict[str, Any], list[str]]:
        """The answer, and the log."""
        self.send(event)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        answer = json.loads(self.process.stdout.readline())
        log = []
        while (line := self.process.stderr.readline().rstrip("\n")) != lambda_worker.END_OF_LOG:
            log.append(line)
        return answer, log

    def end(self) -> None:
        self.process.communicate(timeout=SOON)


@pytest.fixture
def function(tmp_path: Path) -> Iterator[Callable[..., Function]]:
    made: list[Function] = []

    def make(source: str, handler: str = "main.run", **options: Any) -> Function:
        made.append(Function(tmp_path / f"{len(made)}", source, handler, **options))
        return made[-1]

    yield make
    for each in made:
        each.end()


def test_it_answers_one_event_after_the_other(function: Callable[..., Function]) -> None:
    counting = function("calls = []\ndef run(event, context):\n    calls.append(event)\n    return calls")
    assert [counting.invoke(1), counting.invoke({"a": [2]})] == [
        ({"status": "ok", "result": [1]}, []),
        ({"status": "ok", "result": [1, {"a": [2]}]}, []),
    ]


def test_what_it_prints_is_its_log_and_not_its_answer(function: Callable[..., Function]) -> None:
    printing = function(
        """
        import os, sys
        def run(event, context):
            print('{"status": "ok", "result": "forged"}')
            os.write(1, b"by the file descriptor\\n")
            print("an error", file=sys.stderr)
        """
    )
    answer, log = printing.invoke()
    assert answer == {"status": "ok", "result": None}
    assert log == ['{"status": "ok", "result": "forged"}', "by the file descriptor", "an error"]


def test_what_it_reads_is_not_its_next_event(function: Callable[..., Function]) -> None:
    reading = function(
        """
        import subprocess, sys
        def run(event, context):
            return [sys.stdin.read(), subprocess.run([sys.executable, "-c", "print(input())"]).returncode]
        """
    )
    assert [reading.invoke()[0].get("result") for _ in range(2)] == [["", 1]] * 2


def test_it_logs_as_the_runtime_of_aws_does(function: Callable[..., Function]) -> None:
    logging = function("import logging\ndef run(event, context):\n    logging.getLogger('x').warning('seen %s', event)")
    [line] = logging.invoke(7)[1]
    level, moment, request_id, text = line.split("\t")
    assert (level, request_id, text) == ("[WARNING]", "R1", "seen 7")
    assert moment.endswith("Z")


def test_an_error_shows_the_frames_of_the_function_as_aws_does(function: Callable[..., Function]) -> None:
    failing = function("import json\ndef run(event, context):\n    json.loads('{')")
    answer, log = failing.invoke()
    assert answer["status"] == "error"
    assert log == []
    first, second, *frames = answer["trace"].splitlines()
    assert first.startswith("[ERROR] JSONDecodeError: Expecting property name")
    assert second == "Traceback (most recent call last):"
    assert frames[0] == '  File "/var/task/main.py", line 3, in run'
    assert not [line for line in frames if "json/" in line]


def test_it_goes_on_after_an_error(function: Callable[..., Function]) -> None:
    dividing = function("def run(event, context):\n    return 6 / event")
    assert dividing.invoke(0)[0]["error"] == "division by zero"
    assert dividing.invoke(2)[0] == {"status": "ok", "result": 3.0}


@pytest.mark.parametrize(
    ("source", "handler", "text"),
    [
        ("import not_there", "main.run", "Runtime.ImportModuleError: Unable to import module 'main': No module named"),
        ("def run(:", "main.run", "Runtime.UserCodeSyntaxError: Syntax error in module 'main': invalid syntax"),
        ("", "main.run", "Runtime.HandlerNotFound: Handler 'run' missing on module 'main'"),
        ("", "other.run", "Runtime.ImportModuleError: Unable to import module 'other': No module named 'other'"),
        ("raise SystemExit(3)", "main.run", "Runtime.ImportModuleError: Unable to import module 'main': 3"),
    ],
)
def test_what_cannot_be_loaded_fails_each_invocation(
    function: Callable[..., Function], source: str, handler: str, text: str
) -> None:
    broken = function(source, handler)
    for _ in range(2):
        answer, _log = broken.invoke()
        assert answer["status"] == "error"
        assert answer["trace"].startswith(f"[ERROR] {text}")


def test_a_long_import_is_left_to_the_first_invocation(function: Callable[..., Function], tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    importing = function(
        f"""
        import pathlib, time
        while not pathlib.Path({str(gate)!r}).exists():
            time.sleep(0.01)
        def run(event, context):
            return event
        """,
        init_timeout=10 * MS,
    )  # returns when it is ready
    gate.touch()
    assert [importing.invoke(number)[0]["result"] for number in range(2)] == [0, 1]


def test_a_result_that_is_not_json_is_an_error(function: Callable[..., Function]) -> None:
    answer, _ = function("def run(event, context):\n    return {1, 2}").invoke()
    assert answer["error"] == "Unable to marshal response: Object of type set is not JSON serializable"
    assert answer["trace"] == f"[ERROR] Runtime.MarshalError: {answer['error']}"


def test_the_context_tells_name_request_and_time_left(function: Callable[..., Function]) -> None:
    telling = function(
        "def run(event, context):\n"
        "    left = context.get_remaining_time_in_millis()\n"
        "    return [context.function_name, context.aws_request_id, context.invoked_function_arn, 0 < left <= 3000]"
    )
    assert telling.invoke()[0]["result"] == ["F", "R1", "arn:F", True]


def test_it_ends_and_removes_its_folder_when_standard_input_ends(function: Callable[..., Function]) -> None:
    idle = function("def run(event, context): pass")
    idle.end()
    assert idle.process.returncode == 0
    assert not idle.code.parent.exists()


STARTED = {  # a process by each way, which would go on for ten minutes
    "a program, at import": """
        import subprocess
        pid = subprocess.Popen(["sleep", "600"]).pid
        def start():
            return pid
    """,
    "a process of multiprocessing": """
        import multiprocessing, time
        def start():
            process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
            process.start()
            return process.pid
    """,
    "a fork": """
        import os, time
        def start():
            if (pid := os.fork()) == 0:
                time.sleep(600)
            return pid
    """,
}


@pytest.mark.parametrize("end", ["the end of standard input", "SIGTERM", "SIGINT", "its own end"])
@pytest.mark.parametrize("source", STARTED.values(), ids=STARTED)
def test_what_it_has_started_ends_with_it(function: Callable[..., Function], source: str, end: str) -> None:
    starting = function(
        f"""{source}
        import os
        def run(event, context):
            return os._exit(7) if event == "end" else start()
        """
    )
    started = psutil.Process(starting.invoke()[0]["result"])
    if end == "its own end":
        starting.send("end")
    elif end.startswith("SIG"):
        starting.process.send_signal(signal.Signals[end])
    if end != "the end of standard input":
        starting.process.wait(SOON)
    starting.end()
    assert has_ended(started)
    assert starting.process.returncode == (7 if end == "its own end" else 0)
    assert not starting.code.parent.exists()


PARENT = """
import json, subprocess, sys, time
worker = subprocess.Popen([sys.executable, sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
for document in json.loads(sys.argv[2]):
    worker.stdin.write(json.dumps(document) + "\\n")
worker.stdin.flush()
print(worker.pid, flush=True)
time.sleep(600)
"""


def play_parent(folder: Path, source: str) -> "subprocess.Popen[str]":
    """Start a process that starts a worker, prints its id, and does not read from it."""
    (folder / "code").mkdir()
    (folder / "code/main.py").write_text(textwrap.dedent(source))
    about = {"request_id": "R1", "invoked_function_arn": "arn:F", "timeout_ms": 3000}
    init = {"code_dir": str(folder / "code"), "module": "main", "handler": "run", "function_name": "F", "memory": 128}
    documents = json.dumps([init, {"event": None, "ctx": about}])
    command = [sys.executable, "-c", PARENT, lambda_worker.__file__, documents]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def kill_once(parent: "subprocess.Popen[str]", started: Path) -> list[psutil.Process]:
    """Kill the parent once a file is there, and return the worker's processes."""
    assert parent.stdout is not None
    worker = psutil.Process(int(parent.stdout.readline()))
    while not started.exists():
        time.sleep(MS)
    processes = [worker, *worker.children(recursive=True)]
    parent.kill()
    return processes


def has_ended(*processes: psutil.Process) -> bool:
    deadline = time.monotonic() + SOON
    while not all(map(is_dead, processes)) and time.monotonic() < deadline:
        time.sleep(MS)
    return all(map(is_dead, processes))


def is_dead(process: psutil.Process) -> bool:
    """Whether a process has ended, whoever has to take note of it."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize(
    "work",
    ["while 1: pass", "re.match('(a+)+$', 'a' * 60 + 'b')"],
    ids=["that leaves the interpreter to others", "that does not"],
)
def test_it_ends_with_a_killed_parent_in_the_middle_of_an_invocation(tmp_path: Path, work: str) -> None:
    folder, started = tmp_path / "function", tmp_path / "started"
    folder.mkdir()
    source = f"""
        import re, subprocess
        def run(event, context):
            subprocess.Popen(["sleep", "600"])
            open({str(started)!r}, "w").close()
            {work}
    """
    with play_parent(folder, source) as parent:
        processes = kill_once(parent, started)
    assert has_ended(*processes)
    assert not folder.exists()


@pytest.mark.parametrize("where", ["import", "invocation"])
def test_it_removes_its_folder_when_nobody_reads_its_answer_any_more(tmp_path: Path, where: str) -> None:
    """It has something to say before it notices that its parent was killed."""
    folder, started, gate = tmp_path / "function", tmp_path / "started", tmp_path / "gate"
    folder.mkdir()
    source = f"""
        import pathlib, time
        def wait():
            pathlib.Path({str(started)!r}).touch()
            while not pathlib.Path({str(gate)!r}).exists():
                time.sleep(0.001)
        def run(event, context):
            wait()
        {"wait()" if where == "import" else ""}
    """
    with play_parent(folder, source) as parent:
        processes = kill_once(parent, started)
        parent.wait()
        gate.touch()
    assert has_ended(*processes)
    assert not folder.exists()
