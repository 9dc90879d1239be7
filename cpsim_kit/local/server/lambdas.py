"""Lambda functions of the local stack: how ministack runs them, whom they are to AWS, and where their code is read.

ministack runs a Python function in processes of this computer, behind its queues. This module replaces, for this
process only, what differs from AWS, or what the stack's door would not let pass. It imports nothing of ministack, whose
modules are parameters:

    lambda_runtime._PYTHON_WORKER_SCRIPT           `lambda_worker` is what runs the function
    lambda_runtime.execution_credentials           the function signs with the stack's own access key
    lambda_runtime.Worker.invoke                   the log says so where no process can be started, or it ends during
                                                   the import of the function; ministack leaves the log empty then
    lambda_runtime.Worker._read_stderr             all that such a process has printed is in the log, of which ministack
                                                   may take a part; bytes that are no text do not end the log
    lambda_runtime.Worker._drain_stderr_bounded    the log ends where the worker says so; ministack waits 50 ms instead
    lambda_svc._presigned_code_url                 signed like every other request, so that the door lets it pass
    lambda_svc._probe_peak_memory_mb               0; ministack gives that of the largest process that has ended, of any
                                                   function
    cloudwatch_logs._filter_log_events             more than 10,000 lines come in pages; ministack leaves the newest out
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import queue
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from cpsim_kit.aws.access_key import AccessKey
from cpsim_kit.local.server import lambda_worker
from cpsim_kit.local.server.guard.asgi import Answer, Request

__all__ = ["install", "is_code", "read_code", "stop"]

_CODE = "/_cpsim/lambda-code/"
_LIFE = 600  # seconds that the address of a function's code is valid, as on AWS
_PAGE = 10_000  # events, as on AWS
_LOG_TIMEOUT = 2.0  # seconds for the rest of the log on a busy computer; it is in the pipe already
_EXIT_TIMEOUT = 2.0  # seconds for a process to end that has closed its pipes
_PAUSE = 0.02  # seconds between two looks whether a worker has died


def install(lambda_svc: Any, lambda_runtime: Any, cloudwatch_logs: Any, key: AccessKey, url: str, region: str) -> None:
    """Make ministack run functions as the kit needs it.

    Args:
        lambda_svc: ministack's module ``services.lambda_svc``.
        lambda_runtime: Its module ``core.lambda_runtime``.
        cloudwatch_logs: Its module ``services.cloudwatch_logs``.
        key: The stack's access key.
        url: The stack's endpoint.
        region: Its region.
    """

    def credentials(_config: dict[str, Any]) -> dict[str, str]:
        return {"AWS_ACCESS_KEY_ID": key.id, "AWS_SECRET_ACCESS_KEY": key.secret, "AWS_SESSION_TOKEN": ""}

    def code_url(function: str) -> str:
        request = AWSRequest("GET", f"{url}{_CODE}{function}")
        SigV4QueryAuth(Credentials(key.id, key.secret), "lambda", region, expires=_LIFE).add_auth(request)
        return str(request.url)

    lambda_runtime._PYTHON_WORKER_SCRIPT = Path(lambda_worker.__file__).read_text(encoding="utf-8")
    lambda_runtime.execution_credentials = credentials
    lambda_runtime.Worker.invoke = _failing_with_a_log(lambda_runtime)
    lambda_runtime.Worker._read_stderr = _queue_log
    lambda_runtime.Worker._drain_stderr_bounded = _read_log
    lambda_svc._presigned_code_url = code_url
    lambda_svc._probe_peak_memory_mb = lambda _function: 0
    cloudwatch_logs._filter_log_events = _in_pages(cloudwatch_logs)


def is_code(request: Request) -> bool:
    """Whether a request has the address of a function's package, as GetFunction returns it."""
    return request.path.startswith(_CODE)


def read_code(lambda_svc: Any, request: Request) -> Answer:
    """The package that the request asks for."""
    answer: Answer = lambda_svc.serve_function_code(request.path.removeprefix(_CODE))
    return answer


def stop(lambda_svc: Any, lambda_runtime: Any) -> None:
    """End the processes of all functions; blocks until they have ended."""
    lambda_svc._esms.clear()  # nothing starts one again
    lambda_runtime.reset()


def _in_pages(logs: Any) -> Callable[[dict[str, Any]], Any]:
    """FilterLogEvents of a whole group since a time, in pages; ministack's own for everything else."""
    former: Callable[[dict[str, Any]], Any] = logs._filter_log_events

    def filter_log_events(request: dict[str, Any]) -> Any:
        group = logs._log_groups.get(request.get("logGroupName"))
        if group is None or request.keys() - {"logGroupName", "startTime", "nextToken"}:
            return former(request)
        since, begin = request.get("startTime", 0), int(request.get("nextToken", 0))
        with logs._log_events_lock:
            streams = [
                [event | {"logStreamName": name} for event in stream["events"] if event["timestamp"] >= since]
                for name, stream in list(group["streams"].items())  # an invocation adds one without the lock
            ]
        found = heapq.merge(*streams, key=lambda event: event["timestamp"])
        page = list(itertools.islice(found, begin, begin + _PAGE + 1))
        more = {"nextToken": str(begin + _PAGE)} if len(page) > _PAGE else {}
        return logs.json_response({"events": page[:_PAGE], "searchedLogStreams": []} | more)

    return filter_log_events


def _failing_with_a_log(lambda_runtime: Any) -> Callable[..., dict[str, Any]]:
    """Return ministack's Worker.invoke with a log where that raises, as AWS writes it."""
    former: Callable[..., dict[str, Any]] = lambda_runtime.Worker.invoke

    def invoke(worker: Any, event: Any, request_id: str, **context: Any) -> dict[str, Any]:
        try:
            return former(worker, event, request_id, **context)
        except Exception as exc:  # noqa: BLE001 - ministack's answer to it has no log
            process, worker._proc = worker._proc, None
            if process is None:
                error = f"the function's process cannot be started: {exc}"
                return {"status": "error", "error": error, "trace": f"[ERROR] Runtime.InitError: {error}"}
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_EXIT_TIMEOUT)
        lambda_runtime._signal(process)
        lambda_runtime._collect(process, time.monotonic() + lambda_runtime._REAP_GRACE)
        status = process.returncode
        how = f"with error: exit status {status}" if status else "without providing a reason"
        error = f"RequestId: {request_id} Error: Runtime exited {how}"
        return {"status": "error", "error": error, "log": _read_log(worker)}

    return invoke


def _queue_log(worker: Any) -> None:
    """Put each line that the worker writes to stderr in its queue, in a thread, until there is no more."""
    stream, worker._proc.stderr = worker._proc.stderr, None
    stream.reconfigure(errors="replace")
    lines = worker._stderr_queue
    with stream:
        for line in stream:
            lines.put(line.rstrip("\n"))


def _read_log(worker: Any, **_waits: float) -> str:
    """What the function has written to stderr during an invocation.

    Where the worker has ended instead of answering, the last line says so, by AWS's name of this error.
    """
    lines: list[str] = []
    end = time.monotonic() + _LOG_TIMEOUT
    while time.monotonic() < end:
        is_last = not worker._stderr_thread.is_alive()  # asked first: what it has read is in the queue then
        try:
            line: str = worker._stderr_queue.get(timeout=_PAUSE)
        except queue.Empty:
            if is_last:
                break
            continue
        if line.endswith(lambda_worker.END_OF_LOG):  # behind what was printed without a line's end
            if rest := line.removesuffix(lambda_worker.END_OF_LOG):
                lines.append(rest)
            return "\n".join(lines)
        lines.append(line)
    return "\n".join(
        [*lines, "[ERROR] Runtime.ExitError: the function's process ended in the middle of the invocation"]
    )
