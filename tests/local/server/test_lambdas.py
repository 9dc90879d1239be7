"""The message processor as a Lambda function of the local stack: behind its queue, and behind the door."""

import asyncio
import io
import json
import os
import re
import signal
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from conftest import SOON
from stack_fixtures import Boto, ask, dial, eventually, mqtt, new_id, receive

from cpsim_kit.aws import function_log
from cpsim_kit.aws.access_key import AccessKey
from cpsim_kit.local.launcher import LocalOptions, LocalProcess
from cpsim_kit.local.server import lambdas

FUNCTION = "OCPPMessageProcessor"
QUEUE, DEAD_LETTERS = "IncomingMessagesQueue", "DeadLetterQueueForIncomingMessages"
BOOT = {"chargingStation": {"model": "M", "vendorName": "V"}, "reason": "PowerUp"}


@pytest.fixture(scope="module")
def process() -> Iterator[LocalProcess]:
    process = LocalProcess(LocalOptions(name="Lambda", csms="lambda", interval=7))
    yield process
    process.stop()


@pytest.fixture(scope="module")
def clients(process: LocalProcess) -> Boto:
    return Boto(process)


@pytest.fixture
def aws(clients: Boto) -> Iterator[Boto]:
    """Plain boto3 clients of the stack."""
    yield clients
    clients.disconnect()


async def known(aws: Boto) -> str:
    """The id of a new charge point, once the gateway accepts it."""
    charge_point_id = new_id()
    aws("iot").create_thing(thingName=charge_point_id)
    await eventually(lambda: aws.is_registered(charge_point_id))
    return charge_point_id


def put_code(aws: Boto, source: str) -> None:
    """Put a source into the function, and wait until it is in use."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as package:
        package.writestr("message_processor.py", source)
    name = {"FunctionName": aws.resource(FUNCTION)}
    aws("lambda").update_function_code(**name, ZipFile=packed.getvalue())
    waiter = aws("lambda").get_waiter("function_updated_v2")
    waiter.wait(**name, WaiterConfig={"Delay": 0.05, "MaxAttempts": 100})


@pytest.fixture
def code(aws: Boto) -> Iterator[Callable[[str], None]]:
    """Puts a source into the function; afterwards the function is as it was, and its queue empty."""
    before = aws("lambda").get_function(FunctionName=aws.resource(FUNCTION))["Code"]["Location"]
    with urllib.request.urlopen(before) as answer:
        package = answer.read()
    aws("sqs").set_queue_attributes(QueueUrl=aws.resource(QUEUE), Attributes={"VisibilityTimeout": "1"})
    yield lambda source: put_code(aws, source)
    aws("lambda").update_function_code(FunctionName=aws.resource(FUNCTION), ZipFile=package)
    aws("sqs").purge_queue(QueueUrl=aws.resource(QUEUE))
    aws("sqs").set_queue_attributes(QueueUrl=aws.resource(QUEUE), Attributes={"VisibilityTimeout": "5"})


def log(aws: Boto) -> str:
    """What the function has logged."""
    return "\n".join(event["message"] for event in events(aws))


def events(aws: Boto, since: float = 0) -> list[dict[str, Any]]:
    """The events of the function's log since a time."""
    asked = {"logGroupName": f"/aws/lambda/{aws.resource(FUNCTION)}", "startTime": int(since * 1000)}
    pages = aws("logs").get_paginator("filter_log_events").paginate(**asked)
    return [event for page in pages for event in page["events"]]


async def test_it_answers_and_reports_a_boot_to_the_shadow(process: LocalProcess, aws: Boto) -> None:
    charge_point_id = await known(aws)
    async with dial(process, charge_point_id) as ws:
        kind, message_id, answer = await ask(ws, "BootNotification", BOOT, "b1")
        assert (kind, message_id, answer["status"], answer["interval"]) == (3, "b1", "Accepted", 7)
        assert (await ask(ws, "Heartbeat", {}, "h1"))[:2] == [3, "h1"]
        assert (await ask(ws, "NoSuchAction", {}, "n1"))[:3] == [4, "n1", "NotImplemented"]
    shadow = aws("iot-data").get_thing_shadow(thingName=charge_point_id)["payload"]
    assert json.loads(shadow.read())["state"]["reported"] == BOOT


async def test_it_keeps_transactions_in_the_tables_of_the_stack(process: LocalProcess, aws: Boto) -> None:
    charge_point_id = await known(aws)
    started = {
        "eventType": "Started",
        "timestamp": "2026-11-27T10:00:00Z",
        "triggerReason": "Authorized",
        "seqNo": 0,
        "transactionInfo": {"transactionId": "T1"},
        "idToken": {"idToken": "TAG-1", "type": "Central"},
    }
    async with dial(process, charge_point_id) as ws:
        answer = await ask(ws, "TransactionEvent", started)
    assert answer[2] == {"idTokenInfo": {"status": "Accepted"}}
    key = {"chargePointId": {"S": charge_point_id}, "transactionId": {"S": "T1"}}
    item = aws("dynamodb").get_item(TableName=aws.resource("TransactionsTable"), Key=key)["Item"]
    assert item["idToken"] == {"S": "TAG-1"}


async def test_every_message_of_a_burst_is_answered(process: LocalProcess, aws: Boto) -> None:
    charge_point_id = await known(aws)
    async with dial(process, charge_point_id) as ws:
        for number in range(100):
            await ws.send(json.dumps([2, f"{number}", "Heartbeat", {}]))
        answered = {(await receive(ws))[1] for _ in range(100)}
    assert answered == {f"{number}" for number in range(100)}


async def test_frames_that_are_no_calls_are_no_failure(process: LocalProcess, aws: Boto) -> None:
    charge_point_id = await known(aws)
    async with dial(process, charge_point_id) as ws:
        for frame in ("not JSON", '[3,"1",{}]', "7", "[]"):
            await ws.send(frame)
        assert (await ask(ws, "Heartbeat", {}, "h2"))[:2] == [3, "h2"]
    assert "[ERROR]" not in log(aws)


@pytest.mark.slow
async def test_a_batch_that_fails_comes_back_and_ends_as_dead_letters(
    process: LocalProcess, aws: Boto, code: Callable[[str], None]
) -> None:
    code("def lambda_handler(event, context):\n    print('got', len(event['Records']))\n    1 / 0")
    charge_point_id = await known(aws)
    async with mqtt(process, f"{charge_point_id}/in") as client:
        await client.publish(f"{charge_point_id}/in", '[2,"d1","Heartbeat",{}]')
        await client.take()
    url = aws.resource(DEAD_LETTERS)

    def dead() -> list[Any]:
        return aws("sqs").receive_message(QueueUrl=url, AttributeNames=["All"]).get("Messages", [])  # type: ignore[no-any-return]

    [message] = await eventually(dead, 4 * SOON)
    assert json.loads(message["Body"]) == {"message": [2, "d1", "Heartbeat", {}], "chargePointId": charge_point_id}
    lines_of = log(aws)
    assert lines_of.count("[ERROR] ZeroDivisionError: division by zero") == 3
    assert 'File "/var/task/message_processor.py", line 3, in lambda_handler' in lines_of
    assert "got 1" in lines_of


@pytest.mark.slow
async def test_a_function_that_takes_too_long_is_ended(
    process: LocalProcess, aws: Boto, code: Callable[[str], None]
) -> None:
    name = aws.resource(FUNCTION)
    aws("lambda").update_function_configuration(FunctionName=name, Timeout=1)
    code(
        "import os\n"
        "def lambda_handler(event, context):\n"
        "    if forked := os.fork():\n"
        "        print(f'processes: {os.getpid()} {forked}')\n"
        "    while True: pass"
    )
    answer = await asyncio.to_thread(aws("lambda").invoke, FunctionName=name, Payload=b"{}")
    aws("lambda").update_function_configuration(FunctionName=name, Timeout=3)
    assert "FunctionError" in answer
    assert "Task timed out after 1.00 seconds" in log(aws)
    [both] = re.findall(r"processes: (\d+) (\d+)", log(aws))
    await eventually(lambda: not any(is_running(int(pid)) for pid in both))


def test_the_log_has_what_was_printed_without_the_end_of_a_line(aws: Boto, code: Callable[[str], None]) -> None:
    code("def lambda_handler(event, context):\n    print('no end', event, end='')")
    for number in range(2):
        aws("lambda").invoke(FunctionName=aws.resource(FUNCTION), Payload=f"{number}")
    lines = log(aws).splitlines()
    assert [line for line in lines if line.startswith("no end")] == ["no end 0", "no end 1"]


@pytest.mark.parametrize("end", ["sys.exit(3)", "os._exit(0)"])
def test_a_function_that_ends_its_process_has_failed(aws: Boto, code: Callable[[str], None], end: str) -> None:
    code(f"import os, sys\ndef lambda_handler(event, context):\n    print('before', {end!r}, flush=True)\n    {end}")
    assert "FunctionError" in aws("lambda").invoke(FunctionName=aws.resource(FUNCTION), Payload="{}")
    [*_, seen] = log(aws).partition(f"before {end}\n")
    assert seen.startswith("[ERROR] Runtime.ExitError: ")


def test_a_function_that_ends_its_process_at_import_has_failed(aws: Boto, code: Callable[[str], None]) -> None:
    printed = [f"line {number}" for number in range(2000)]
    code(
        "import os, subprocess\n"
        "subprocess.Popen(['sleep', '600'])\n"
        "for number in range(2000):\n"
        "    print('line', number)\n"
        "os._exit(1)"
    )
    before = time.time()
    for _ in range(2):
        answer = aws("lambda").invoke(FunctionName=aws.resource(FUNCTION), Payload="{}")
        assert "FunctionError" in answer
    new = events(aws, before)
    failed = function_log.invocations(new)
    assert [each.error for each in failed] == ["Runtime.ExitError: Runtime exited with error: exit status 1"] * 2
    said = "[ERROR] Runtime.ExitError: the function's process ended in the middle of the invocation"
    why = [f"RequestId: {each.request_id} Error: Runtime exited with error: exit status 1" for each in failed]
    assert function_log.text(new) == [*printed, said, why[0], *printed, said, why[1]]


def test_a_function_whose_process_cannot_be_started_has_failed(aws: Boto, code: Callable[[str], None]) -> None:
    code("")
    name = aws.resource(FUNCTION)
    handler = aws("lambda").get_function_configuration(FunctionName=name)["Handler"]
    aws("lambda").update_function_configuration(FunctionName=name, Handler="no_dot")
    before = time.time()
    try:
        assert "FunctionError" in aws("lambda").invoke(FunctionName=name, Payload="{}")
    finally:
        aws("lambda").update_function_configuration(FunctionName=name, Handler=handler)
    [failed] = function_log.invocations(events(aws, before))
    assert failed.error.startswith("Runtime.InitError: the function's process cannot be started: not enough values")


def test_the_log_goes_on_after_bytes_that_are_no_text(aws: Boto, code: Callable[[str], None]) -> None:
    code("import os\ndef lambda_handler(event, context):\n    os.write(1, b'caf\\xe9\\n')\n    print('after')")
    before = time.time()
    aws("lambda").invoke(FunctionName=aws.resource(FUNCTION), Payload="{}")
    assert function_log.text(events(aws, before)) == ["caf\N{REPLACEMENT CHARACTER}", "after"]


class Appending(list[dict[str, Any]]):
    """The events of a log stream; another stream comes while somebody reads them."""

    def __init__(self, streams: dict[str, Any], *events: dict[str, Any]) -> None:
        super().__init__(events)
        self.streams = streams

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self.streams[uuid.uuid4().hex] = {"events": []}
        return super().__iter__()


def test_the_log_is_read_while_an_invocation_adds_a_stream() -> None:
    """ministack adds a stream for each invocation, in the invocation's thread and without the lock."""
    streams: dict[str, Any] = {}
    streams |= {name: {"events": Appending(streams, {"timestamp": 1, "message": name})} for name in ("A", "B")}
    logs = SimpleNamespace(
        _log_groups={"group": {"streams": streams}},
        _log_events_lock=threading.Lock(),
        _filter_log_events=None,
        json_response=lambda document: document,
    )
    runtime = SimpleNamespace(Worker=SimpleNamespace(invoke=None))
    lambdas.install(SimpleNamespace(), runtime, logs, AccessKey.random(), "http://127.0.0.1", "eu-west-1")
    answer = logs._filter_log_events({"logGroupName": "group"})
    assert [event["message"] for event in answer["events"]] == ["A", "B"]


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# -- The door ---------------------------------------------------------------------------------------------------------


def test_the_address_of_the_code_is_signed(aws: Boto) -> None:
    url: str = aws("lambda").get_function(FunctionName=aws.resource(FUNCTION))["Code"]["Location"]
    with urllib.request.urlopen(url) as answer:
        assert zipfile.ZipFile(io.BytesIO(answer.read())).namelist() == ["message_processor.py"]
    for wrong in (url.partition("?")[0], url[:-1] + ("0" if url[-1] != "0" else "1"), url.replace("?", "x?", 1)):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(wrong)


@pytest.mark.parametrize("path", ["/2015-03-31/functions", "/2015-03-31/functions/x/invocations", "/_ministack/health"])
def test_nobody_without_the_key_reaches_a_function(process: LocalProcess, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{process.endpoint_url}{path}")


def test_a_function_has_no_address_of_its_own(process: LocalProcess, aws: Boto) -> None:
    created = aws("lambda").create_function_url_config(FunctionName=aws.resource(FUNCTION), AuthType="NONE")
    host = created["FunctionUrl"].split("/")[2]
    request = urllib.request.Request(process.endpoint_url, headers={"Host": host})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request)


# -- Its processes ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("end", ["stop", "SIGKILL"])
async def test_no_process_and_no_folder_outlives_the_stack(end: str, tmp_path: Path) -> None:
    name, began = f"Ends-{uuid.uuid4().hex[:8]}", tmp_path / "began"
    process = LocalProcess(LocalOptions(name=name, csms="lambda"))
    aws = Boto(process)
    try:
        put_code(
            aws,
            "import multiprocessing, subprocess, time\n"
            "subprocess.Popen(['sleep', '600'])\n"
            "def lambda_handler(event, context):\n"
            "    multiprocessing.get_context('fork').Process(target=time.sleep, args=(600,)).start()\n"
            f"    open({str(began)!r}, 'w').close()\n"
            "    while True: time.sleep(0.01)",
        )
        charge_point_id = await known(aws)
        async with dial(process, charge_point_id) as ws:
            await ws.send('[2,"1","Heartbeat",{}]')
            await eventually(began.exists)
            running = [each.pid for each in psutil.Process(process.pid).children(recursive=True)]
        assert folders(name)
        if end == "SIGKILL":
            os.kill(process.pid, signal.SIGKILL)
    finally:
        aws.disconnect()
        await asyncio.to_thread(process.stop)
    await eventually(lambda: not any(map(is_running, running)))
    await eventually(lambda: not folders(name))


def folders(stack_name: str) -> list[Path]:
    """Where ministack has unpacked the packages of a stack's functions."""
    return list(Path(tempfile.gettempdir()).glob(f"ministack-lambda-{stack_name}-*"))
