"""The door to boto3: whatever an endpoint answers, only the kit's errors come out.

The endpoints are the local stack, and a small HTTP server that answers as AWS does when it objects.
"""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from conftest import MS, SOON
from stack_fixtures import Boto, eventually, new_id

from cpsim_kit import errors
from cpsim_kit.aws.access_key import AccessKey
from cpsim_kit.aws.session import Aws
from cpsim_kit.aws.shadow import ShadowRequest
from cpsim_kit.local.launcher import LocalProcess

Answer = tuple[int, dict[str, str], bytes]


class Endpoint:
    """An endpoint that gives one answer to everything.

    Attributes:
        answer: HTTP status, headers and body.
        gate: While it is cleared, nobody gets one.
        asked: How many requests came.
    """

    def __init__(self) -> None:
        endpoint = self
        self.answer: Answer = 200, {}, b"{}"
        self.asked = 0
        self.gate = threading.Event()
        self.gate.set()

        class Handler(BaseHTTPRequestHandler):
            def handle_one_request(self) -> None:
                if not self.rfile.readline():
                    self.close_connection = True
                    return
                length = 0
                while (line := self.rfile.readline().strip()) != b"":
                    name, _, value = line.partition(b":")
                    length = int(value) if name.lower() == b"content-length" else length
                self.rfile.read(length)
                endpoint.asked += 1
                endpoint.gate.wait(SOON)
                status, headers, body = endpoint.answer
                self.close_connection = True
                if status:
                    headers = {"Content-Length": str(len(body)), "Connection": "close"} | headers
                    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in headers.items())]
                    self.wfile.write("\r\n".join([*lines, "", ""]).encode())
                self.wfile.write(body)

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """A client that went away is no matter."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def json_error(code: str, message: str = "said AWS", status: int = 400) -> Answer:
    """As the services that speak JSON answer."""
    headers = {"Content-Type": "application/x-amz-json-1.0", "x-amzn-ErrorType": code}
    return status, headers, json.dumps({"__type": code, "message": message}).encode()


def xml_error(code: str, message: str = "said AWS", status: int = 400) -> Answer:
    """As CloudFormation answers."""
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
    body = f"<ErrorResponse>{error}<RequestId>1</RequestId></ErrorResponse>"
    return status, {"Content-Type": "text/xml"}, body.encode()


@pytest.fixture
def fresh() -> Iterator[Endpoint]:
    endpoint = Endpoint()
    yield endpoint
    endpoint.close()


@pytest.fixture(scope="module")
def door() -> Iterator[tuple[Endpoint, Aws]]:
    """An endpoint and the door to it; one try, as boto3's pauses between tries are nothing of the kit's."""
    endpoint = Endpoint()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_MAX_ATTEMPTS", "1")
        aws = Aws(
            region="us-east-1",
            endpoint_url=endpoint.url,
            access_key=AccessKey("testing", "testing"),
            connect_timeout=SOON,
            read_timeout=3 * SOON,
        )
        for service in ("cloudformation", "dynamodb", "iot", "iot-data"):
            aws.client(service)
    yield endpoint, aws
    aws.close()
    endpoint.close()


@pytest.fixture
def endpoint(door: tuple[Endpoint, Aws]) -> Iterator[Endpoint]:
    endpoint, _ = door
    endpoint.answer, endpoint.asked = (200, {}, b"{}"), 0
    yield endpoint
    endpoint.gate.set()


@pytest.fixture
def aws(door: tuple[Endpoint, Aws]) -> Aws:
    return door[1]


# -- Answers that are errors ------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        ("LimitExceededException", errors.AwsError, "failed for CP1: LimitExceededException: said AWS"),
        ("ExpiredTokenException", errors.NoCredentials, "ExpiredTokenException.*AWS_PROFILE"),
        ("ExpiredToken", errors.NoCredentials, "aws sso login"),
        ("UnrecognizedClientException", errors.NoCredentials, "AWS_ACCESS_KEY_ID"),
        ("InvalidClientTokenId", errors.NoCredentials, "InvalidClientTokenId"),
        ("InvalidSignatureException", errors.NoCredentials, "InvalidSignatureException"),
        ("AccessDeniedException", errors.AwsError, "lack this permission"),
        ("ForbiddenException", errors.AwsError, "lack this permission"),
        ("UnauthorizedException", errors.AwsError, "lack this permission"),
        ("ResourceNotFoundException", errors.NotFound, "no Thing CP1"),
        ("InvalidRequestException", errors.AwsError, "InvalidRequestException: said AWS"),
        ("InternalFailureException", errors.AwsError, "InternalFailureException"),
        ("SomethingNewException", errors.AwsError, "SomethingNewException"),
    ],
)
async def test_an_error_code_becomes_an_error_of_the_kit(
    endpoint: Endpoint, aws: Aws, code: str, kind: type[errors.AwsError], said: str
) -> None:
    endpoint.answer = json_error(code)
    with pytest.raises(errors.AwsError, match=said) as caught:
        await aws.call("iot.describe_thing", thingName="CP1")
    assert type(caught.value) is kind
    assert (caught.value.verb, caught.value.code) == ("iot.describe_thing", code)
    assert type(caught.value.__cause__).__module__.startswith("botocore")


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        ("AccessDenied", "not authorized", errors.AwsError),
        ("ExpiredToken", "expired", errors.NoCredentials),
        ("InvalidClientTokenId", "no such key", errors.NoCredentials),
        ("SignatureDoesNotMatch", "wrong secret", errors.NoCredentials),
        ("ValidationError", "Stack with id S does not exist", errors.NotFound),
        ("ValidationError", "1 validation error detected", errors.AwsError),
    ],
)
async def test_an_error_of_cloudformation_becomes_an_error_of_the_kit(
    endpoint: Endpoint, aws: Aws, code: str, message: str, kind: type[errors.AwsError]
) -> None:
    endpoint.answer = xml_error(code, message)
    with pytest.raises(errors.AwsError, match=message) as caught:
        await aws.call("cloudformation.describe_stacks", StackName="S")
    assert type(caught.value) is kind
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("verb", "parameters", "kind", "name"),
    [
        ("iot.describe_thing", {"thingName": "CP1"}, "Thing", "CP1"),
        ("iot-data.get_thing_shadow", {"thingName": "CP1"}, "shadow", "CP1"),
        ("iot.get_topic_rule", {"ruleName": "rule"}, "rule", "rule"),
        ("dynamodb.describe_table", {"TableName": "table"}, "table", "table"),
    ],
)
async def test_not_found_says_what(
    endpoint: Endpoint, aws: Aws, verb: str, parameters: dict[str, Any], kind: str, name: str
) -> None:
    endpoint.answer = json_error("ResourceNotFoundException", status=404)
    with pytest.raises(errors.NotFound, match=f"there is no {kind} {name}") as caught:
        await aws.call(verb, **parameters)
    assert (caught.value.kind, caught.value.name) == (kind, name)


@pytest.mark.parametrize(
    "answer",
    [
        (500, {}, b""),
        (503, {"Content-Type": "text/html"}, b"<html><h1>Service Unavailable</h1></html>"),
        (403, {}, b"<html>a proxy says no</html>"),
        (400, {}, b"\xff\xfe\x00"),
        (404, {"Content-Type": "application/json"}, b"[1, 2]"),
        (400, {"Content-Type": "application/json"}, b"{" * 10_000),
        (302, {"Location": "http://127.0.0.1:9/"}, b""),
        (200, {}, b"<html>a captive portal</html>"),
        (200, {}, b""),
        (200, {}, b"[1]"),
        (200, {}, b"<html></html>"),
        (200, {}, b"\xff\xfe\x00"),
        (200, {"Content-Length": "1000"}, b"{"),  # and no more
        (0, {}, b""),  # the connection closes
        (0, {}, b"SSH-2.0-OpenSSH_9.6\r\n"),
    ],
    ids=lambda answer: f"{answer[0]} {answer[2][:20]!r}",
)
async def test_garbage_is_an_error_of_the_kit_for_every_protocol(endpoint: Endpoint, aws: Aws, answer: Answer) -> None:
    endpoint.answer = answer
    for asking in (
        aws.pages("iot.list_things", "things"),
        aws.pages("cloudformation.list_stacks", "StackSummaries"),
        ShadowRequest(aws, "CP1").wait_for(lambda _: True, timeout=SOON),
    ):
        with pytest.raises(errors.AwsError) as caught:
            await asking
        assert not isinstance(caught.value, errors.NoCredentials)


# -- An endpoint that is slow, or silent ------------------------------------------------------------------------------


async def test_a_slow_endpoint_stops_neither_the_loop_nor_other_calls(
    endpoint: Endpoint, shared: LocalProcess, credentials: pytest.MonkeyPatch
) -> None:
    endpoint.answer = 200, {}, b'{"things": []}'
    endpoint.gate.clear()
    quick, slow = Aws(endpoint_url=shared.endpoint_url), Aws(endpoint_url=endpoint.url)
    try:
        waiting = [asyncio.create_task(slow.pages("iot.list_things", "things")) for _ in range(5)]
        await eventually(lambda: endpoint.asked == 5)
        await quick.call("iot.list_things")
        assert not any(task.done() for task in waiting)
        endpoint.gate.set()
        assert await asyncio.gather(*waiting) == [[]] * 5
    finally:
        quick.close()
        slow.close()


async def test_an_endpoint_that_does_not_answer_in_time_is_an_error_of_the_kit(
    endpoint: Endpoint, credentials: pytest.MonkeyPatch
) -> None:
    endpoint.gate.clear()
    credentials.setenv("AWS_MAX_ATTEMPTS", "1")
    aws = Aws(endpoint_url=endpoint.url, read_timeout=300 * MS)
    try:
        with pytest.raises(errors.AwsError, match=r"(?i)timeout.*endpoint right") as caught:
            await aws.call("iot.list_things")
    finally:
        aws.close()
    assert caught.value.code == ""


async def test_a_cancelled_call_does_not_wait_for_its_answer(endpoint: Endpoint, aws: Aws) -> None:
    endpoint.gate.clear()
    waiting = asyncio.create_task(aws.call("iot.list_things"))
    await eventually(lambda: endpoint.asked)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@pytest.mark.parametrize("code", ["ThrottlingException", "TooManyRequestsException"])
async def test_throttling_is_an_error_after_boto3_has_tried_again(
    fresh: Endpoint, credentials: pytest.MonkeyPatch, code: str
) -> None:
    fresh.answer = json_error(code, status=429)
    credentials.setenv("AWS_MAX_ATTEMPTS", "2")
    aws = Aws(endpoint_url=fresh.url)
    try:
        with pytest.raises(errors.AwsError) as caught:
            await aws.call("iot.list_things")
    finally:
        aws.close()
    assert (type(caught.value), caught.value.code) == (errors.AwsError, code)
    assert fresh.asked == 2


async def test_who_explains_an_unreachable_endpoint_is_heard(credentials: pytest.MonkeyPatch) -> None:
    credentials.setenv("AWS_MAX_ATTEMPTS", "1")
    why = errors.LocalStackError("it has died", log="the end")
    for explain, kind in ((lambda: why, errors.LocalStackError), (lambda: None, errors.AwsError)):
        aws = Aws(endpoint_url="http://127.0.0.1:9", explain=explain)
        try:
            with pytest.raises(kind):
                await aws.call("iot.list_things")
        finally:
            aws.close()


async def test_an_error_of_aws_is_not_explained_away(fresh: Endpoint, credentials: pytest.MonkeyPatch) -> None:
    fresh.answer = json_error("ResourceNotFoundException", status=404)
    aws = Aws(endpoint_url=fresh.url, explain=lambda: errors.LocalStackError("it has died"))
    try:
        with pytest.raises(errors.NotFound):
            await aws.call("iot.describe_thing", thingName="CP1")
    finally:
        aws.close()


# -- A real one -------------------------------------------------------------------------------------------------------


async def test_the_local_stacks_own_errors(shared: LocalProcess, boto: Boto, credentials: pytest.MonkeyPatch) -> None:
    aws, thing = Aws(endpoint_url=shared.endpoint_url), new_id()
    boto("iot").create_thing(thingName=thing)
    try:
        for verb, parameters, kind, code in (
            ("iot.describe_thing", {"thingName": new_id()}, errors.NotFound, "ResourceNotFoundException"),
            ("iot-data.get_thing_shadow", {"thingName": new_id()}, errors.NotFound, "ResourceNotFoundException"),
            ("cloudformation.describe_stacks", {"StackName": "None"}, errors.NotFound, "ValidationError"),
            ("dynamodb.describe_table", {"TableName": "none"}, errors.NotFound, "ResourceNotFoundException"),
            (
                "iot.create_thing",
                {"thingName": thing, "attributePayload": {"attributes": {"a": "b"}}},
                errors.AwsError,
                "ResourceAlreadyExistsException",
            ),
            ("iot-data.publish", {"topic": "a/+/b"}, errors.AwsError, "InvalidRequestException"),
            ("iot.describe_thing", {}, errors.AwsError, "ParamValidation"),
            ("iot.describe_thing", {"thingName": 5}, errors.AwsError, "ParamValidation"),
        ):
            with pytest.raises(errors.AwsError) as caught:
                await aws.call(verb, **parameters)
            assert (type(caught.value), caught.value.verb, caught.value.code) == (kind, verb, code)
    finally:
        aws.close()


# -- Sessions ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def unreadable(tmp_path: Path) -> str:
    path = tmp_path / "config"
    path.write_text("this is [no configuration\n")
    return str(path)


async def test_with_a_key_of_its_own_nothing_of_the_readers_matters(
    shared: LocalProcess, environment: pytest.MonkeyPatch, unreadable: str
) -> None:
    """As the local stack has one."""
    for name, value in {
        "AWS_PROFILE": "no-such-profile",
        "AWS_CONFIG_FILE": unreadable,
        "AWS_SHARED_CREDENTIALS_FILE": unreadable,
        "AWS_SESSION_TOKEN": "token",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
    }.items():
        environment.setenv(name, value)
    aws = Aws(region="us-east-1", endpoint_url=shared.endpoint_url, access_key=shared.key)
    try:
        await aws.call("iot.list_things")
    finally:
        aws.close()
    assert repr(aws) == f"<Aws us-east-1 {shared.endpoint_url}>"


def test_a_configuration_that_nobody_can_read_is_an_error_of_the_kit(
    environment: pytest.MonkeyPatch, unreadable: str
) -> None:
    environment.setenv("AWS_CONFIG_FILE", unreadable)
    with pytest.raises(errors.AwsError, match="cannot be read"):
        Aws(region="us-east-1")


@pytest.mark.parametrize("name", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_the_region_comes_from_either_variable(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.setenv(name, "eu-west-3")
    aws = Aws()
    assert aws.region == "eu-west-3"
    assert repr(aws) == "<Aws eu-west-3 AWS>"
    aws.close()


async def test_a_region_of_no_form_is_an_error_of_the_kit(credentials: pytest.MonkeyPatch) -> None:
    aws = Aws(region="no region", endpoint_url="http://127.0.0.1:9")
    try:
        with pytest.raises(errors.AwsError):
            await aws.call("iot.list_things")
    finally:
        aws.close()


async def test_calls_of_many_threads_share_a_client(shared: LocalProcess, credentials: pytest.MonkeyPatch) -> None:
    aws = Aws(endpoint_url=shared.endpoint_url)
    try:
        answers = await asyncio.gather(*(aws.call("iot.list_things") for _ in range(50)))
        assert len(answers) == 50
        clients = await asyncio.gather(*(asyncio.to_thread(aws.client, "sqs") for _ in range(8)))
        assert len(set(map(id, clients))) == 1
    finally:
        aws.close()
    with pytest.raises(RuntimeError, match="closed"):
        await aws.call("iot.list_things")


# -- Downloads --------------------------------------------------------------------------------------------------------


async def test_a_download_is_what_is_at_the_address(
    endpoint: Endpoint, aws: Aws, environment: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy"):  # nothing on this machine goes through a proxy
        environment.setenv(name, "http://127.0.0.1:9")
    endpoint.answer = 200, {"Content-Type": "application/zip"}, b"PK\0\xff"
    assert await aws.download("lambda.get_function", f"{endpoint.url}/code?X-Amz-Signature=s%2Fx") == b"PK\0\xff"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ((403, {}, b"<Error>Request has expired</Error>"), "refused with HTTP status 403"),
        ((302, {"Location": "http://127.0.0.1:9/"}, b""), "refused with HTTP status 302"),
        ((200, {"Content-Length": "1000"}, b"PK"), "cannot download from 127.0.0.1"),
        ((0, {}, b""), "cannot download from 127.0.0.1"),
    ],
)
async def test_a_download_that_fails_says_so_without_the_address(
    endpoint: Endpoint, aws: Aws, answer: Answer, text: str
) -> None:
    endpoint.answer = answer
    with pytest.raises(errors.AwsError, match=f"lambda.get_function: .*{text}") as caught:
        await aws.download("lambda.get_function", f"{endpoint.url}/code?X-Amz-Signature=secret")
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_a_download_from_nowhere_says_so(aws: Aws) -> None:
    with pytest.raises(errors.AwsError, match=r"cannot download from 127\.0\.0\.1"):
        await aws.download("lambda.get_function", "http://127.0.0.1:9/code")
