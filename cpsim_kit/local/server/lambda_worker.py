"""The program in which a Lambda function of the local stack runs; ministack starts one for each environment.

In the place of ministack's own, so that a function sees and logs what it does on AWS: the log lines of AWS's Python
runtime, and errors of import that fail each invocation. AWS Lambda developer guide: "Building Lambda functions with
Python" (python-handler, python-logging), "Using the Lambda runtime environment" (lambda-runtime-environment: an import
that takes longer than ten seconds is left to the first invocation, and so to the function's timeout).

It ends with its parent, also when that is killed in the middle of an invocation. Where there is ``fork``, so everywhere
but on Windows, the function runs in a child of this process, in a process group of its own. This process runs nothing
of the function and is never busy: when its parent ends, a signal asks it to end, or the function's process ends, it
kills the whole group, whatever the function does, and with it what the function has started. Only what has left the
group, as with ``start_new_session``, goes on. On Windows a thread looks for the end of the parent: it has to wait while
the function does not leave the interpreter to other threads, and what the function has started goes on.

The protocol is ministack's, one JSON document a line. From stdin: once ``{"code_dir", "module", "handler", "env", …}``
(``init_timeout`` is the kit's own), then ``{"event", "ctx"}`` for each invocation. To stdout: once ``{"status":
"ready"}``, then ``{"status": "ok", "result"}`` or ``{"status": "error", "error", "trace"}``. What the function prints
goes to stderr; after each invocation, a line there says that the log is complete. Imports the standard library only.
"""

import contextlib
import importlib
import json
import logging
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, NoReturn, TextIO

END_OF_LOG = "\x00end of the invocation's log"

_INIT_TIMEOUT = 10  # seconds, as on AWS
_PARENT_INTERVAL = 0.5  # seconds between two checks of the parent


class _Context:
    """What a handler gets as its second argument. "Using the Lambda context object" (python-context)."""

    identity = client_context = None

    def __init__(self, init: dict[str, Any], about: dict[str, Any]) -> None:
        self.function_name = init["function_name"]
        self.function_version = os.environ.get("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        self.memory_limit_in_mb = str(init["memory"])
        self.invoked_function_arn = about["invoked_function_arn"]
        self.aws_request_id = about["request_id"]
        self.log_group_name = f"/aws/lambda/{self.function_name}"
        self.log_stream_name = os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME", "")
        self._deadline: float = time.monotonic() + about["timeout_ms"] / 1000

    def get_remaining_time_in_millis(self) -> int:
        return max(0, round((self._deadline - time.monotonic()) * 1000))


class _LogFormat(logging.Formatter):
    """The lines of AWS's Python runtime: level, time, request id and message, with tabs between."""

    request_id = ""

    def __init__(self) -> None:
        super().__init__("[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(request_id)s\t%(message)s", "%Y-%m-%dT%H:%M:%S")
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        record.request_id = self.request_id
        return super().format(record)


def _main() -> None:
    messages, answers = os.fdopen(os.dup(0), encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    init = json.loads(messages.readline())
    code = init["code_dir"]
    parent = os.getppid()
    if hasattr(os, "fork"):
        parent = _fork(parent, code, answers)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # the function, or a program that it starts, has nothing to read
    os.dup2(2, 1)  # whatever the function prints, also from a program that it starts, is its log
    sys.stdout = sys.stderr
    threading.Thread(target=_end_with, args=(parent, code), daemon=True).start()
    sys.path[0] = code  # in the place of this program's folder
    lines = logging.StreamHandler()
    form = _LogFormat()
    lines.setFormatter(form)
    logging.getLogger().addHandler(lines)
    logging.captureWarnings(True)

    def answer(**document: Any) -> None:
        _write(sys.stderr, END_OF_LOG)
        _write(answers, json.dumps(document))

    loaded = threading.Event()

    def announce() -> None:
        loaded.wait(init.get("init_timeout", _INIT_TIMEOUT))
        _write(answers, '{"status": "ready"}')

    announcing = threading.Thread(target=announce, daemon=True)
    announcing.start()
    handler, failure = _load(init["module"], init["handler"], code)
    loaded.set()
    announcing.join()
    for line in messages:
        message = json.loads(line)
        form.request_id = message["ctx"]["request_id"]
        if handler is None:
            answer(status="error", error=failure, trace=failure)
            continue
        try:
            result = handler(message["event"], _Context(init, message["ctx"]))
        except Exception as exc:  # noqa: BLE001 - of the function; it is the answer
            answer(status="error", error=str(exc), trace=_format_error(type(exc).__name__, str(exc), exc, code))
            continue
        try:
            json.dumps(result)
        except Exception as exc:  # noqa: BLE001 - as above
            text = f"Unable to marshal response: {exc}"  # with AWS's name of this error
            answer(status="error", error=text, trace=f"[ERROR] Runtime.MarshalError: {text}")
        else:
            answer(status="ok", result=result)
    _exit(code)


def _fork(parent: int, code: str, answers: TextIO) -> int:
    """Return in a child that leads a process group, with the id of this process, which becomes its guard."""
    guard = os.getpid()
    ends = {signal.SIGHUP, signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # from now on one that comes early waits for sigwait
    if function := os.fork():
        with contextlib.suppress(OSError):  # it has done so itself, or has ended already
            os.setpgid(function, function)
        answers.close()  # the parent sees at once that the function's process has ended
        for number in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
        _guard(function, parent, ends, code)
    os.setpgid(0, 0)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ends)
    return guard


def _guard(function: int, parent: int, ends: set[signal.Signals], code: str) -> NoReturn:
    """Wait for the end of the function's process or of the parent, or for a signal; then end all that is left."""

    def kill_after(wait: Callable[[], object]) -> None:
        wait()
        _kill(function)

    for wait in (lambda: _wait_for_end(parent), lambda: signal.sigwait(ends)):
        threading.Thread(target=kill_after, args=[wait], daemon=True).start()
    _, status = os.waitpid(function, 0)
    _kill(function)
    ended = os.waitstatus_to_exitcode(status)
    if ended == -signal.SIGKILL:  # by this process, as a rule
        ended = 0
    _exit(code, ended if ended >= 0 else 128 - ended)  # as a shell has it


def _kill(group: int) -> None:
    with contextlib.suppress(OSError):  # nothing is left of it
        os.killpg(group, signal.SIGKILL)


def _write(stream: TextIO, line: str) -> None:
    with contextlib.suppress(OSError):  # the parent has ended, and so does standard input
        stream.write(f"{line}\n")
        stream.flush()


def _load(module: str, name: str, code: str) -> tuple[Any, str]:
    """The handler; or None, and what each invocation logs. The names of these errors are AWS's."""
    try:
        found = importlib.import_module(module)
    except SyntaxError as exc:
        text = f"Syntax error in module '{module}': {exc}"
        return None, _format_error("Runtime.UserCodeSyntaxError", text, exc, code)
    except BaseException as exc:  # noqa: BLE001 - as in _main
        return None, _format_error("Runtime.ImportModuleError", f"Unable to import module '{module}': {exc}", exc, code)
    if not callable(handler := getattr(found, name, None)):
        return None, f"[ERROR] Runtime.HandlerNotFound: Handler '{name}' missing on module '{module}'"
    return handler, ""


def _format_error(kind: str, text: str, error: BaseException, code: str) -> str:
    """An error as AWS logs it, with the function's own frames."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(code)]
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(frames)] if frames else []
    return f"[ERROR] {kind}: {text}\n{''.join(lines)}".rstrip().replace(code, "/var/task")


def _end_with(parent: int, code: str) -> None:
    """Exit once the parent has ended; a handler that does not return would otherwise go on without it."""
    _wait_for_end(parent)
    _exit(code)


def _wait_for_end(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PARENT_INTERVAL)


def _exit(code: str, status: int = 0) -> NoReturn:
    shutil.rmtree(os.path.dirname(code), ignore_errors=True)  # the parent cannot do it any more
    os._exit(status)


if __name__ == "__main__":
    _main()
