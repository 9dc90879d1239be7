"""Who may use a local stack, tested from outside: with plain sockets and clients that do not use the kit."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import http.client
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from conftest import SOON
from stack_fixtures import Boto, ask, dial, eventually, mqtt, new_id, nobodys_session
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from cpsim_kit import Stack
from cpsim_kit.aws.access_key import AccessKey
from cpsim_kit.local.launcher import LocalOptions, LocalProcess
from cpsim_kit.local.server.guard.door import SERVICES

REGION = "us-east-1"


@pytest.fixture(scope="module")
def plain() -> Iterator[LocalProcess]:
    """A local stack as a user starts it, with the services of the kit only."""
    process = LocalProcess(LocalOptions(name="Plain"))
    yield process
    process.stop()


def port_of(process: LocalProcess) -> int:
    port = urlsplit(process.endpoint_url).port
    assert port is not None
    return port


def signed(
    process: LocalProcess,
    *,
    key: AccessKey | None = None,
    service: str = "iot",
    method: str = "GET",
    path: str = "/things",
    body: bytes = b"",
    headers: dict[str, str] | None = None,
    by: type[SigV4Auth] = SigV4Auth,
    **options: Any,
) -> tuple[str, dict[str, str]]:
    """Path and headers of a request that botocore has signed."""
    key = key or process.key
    request = AWSRequest(method, f"{process.endpoint_url}{path}", data=body, headers=headers or {})
    by(Credentials(key.id, key.secret), service, REGION, **options).add_auth(request)
    parts = urlsplit(request.url)
    query = f"?{parts.query}" if parts.query else ""
    return parts.path + query, dict(request.headers)


def send(
    process: LocalProcess, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], str]:
    """Status, headers and body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port_of(process), timeout=SOON)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return response.status, found, response.read().decode()
    finally:
        connection.close()


def boto3_call(process: LocalProcess, verb: str, key: AccessKey | None = None, **parameters: Any) -> dict[str, Any]:
    """The answer, or the error, of plain boto3 for e.g. "iot.list_things"."""
    key, (service, operation) = key or process.key, verb.split(".")
    client = nobodys_session().client(
        service,
        endpoint_url=process.endpoint_url,
        region_name=REGION,
        aws_access_key_id=key.id,
        aws_secret_access_key=key.secret,
        config=Config(proxies={}, retries={"total_max_attempts": 1}),
    )
    with contextlib.closing(client):
        try:
            answer: dict[str, Any] = getattr(client, operation)(**parameters)
        except ClientError as exc:  # its traceback would keep the connection open
            answer = exc.response
    return answer


# -- The key -----------------------------------------------------------------------------------------------------------


def test_each_stack_has_its_own_key(plain: LocalProcess, shared: LocalProcess) -> None:
    assert plain.key.id != shared.key.id
    assert plain.key.secret != shared.key.secret
    assert len(plain.key.secret) == 40
    assert len({AccessKey.random().secret for _ in range(100)}) == 100


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    "wrong",
    [
        lambda key: AccessKey("test", "test"),
        lambda key: AccessKey("local", "local"),
        lambda key: AccessKey("000000000000", key.secret),
        lambda key: AccessKey(key.id, "wrong"),
        lambda key: AccessKey(key.id, key.secret.swapcase()),
        lambda key: AccessKey("", key.secret),
    ],
    ids=["test", "local", "account as id", "wrong secret", "other case", "no id"],
)
def test_another_key_is_refused(plain: LocalProcess, wrong: Callable[[AccessKey], AccessKey]) -> None:
    path, headers = signed(plain, key=wrong(plain.key))
    status, _headers, body = send(plain, "GET", path, headers=headers)
    assert status == 403
    assert "things" not in body


@pytest.mark.parametrize(
    "verb",
    [
        "iot.list_things",
        "dynamodb.list_tables",
        "sqs.list_queues",
        "cloudformation.list_stacks",
        "iam.list_roles",
        "sts.get_caller_identity",
    ],
)
def test_the_key_of_another_stack_is_refused_with_an_error_that_boto3_parses(
    plain: LocalProcess, shared: LocalProcess, verb: str
) -> None:
    refused = boto3_call(plain, verb, shared.key)
    assert refused["Error"]["Code"] == "UnrecognizedClientException"
    assert "is not the access key of this local stack" in refused["Error"]["Message"]
    assert refused["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert boto3_call(plain, verb)["ResponseMetadata"]["HTTPStatusCode"] == 200, "with the right key it answers"


def test_the_secret_is_in_no_repr_log_card_or_process_list(plain: LocalProcess) -> None:
    assert plain.key.secret not in repr(plain.key) + repr(plain) + plain.log(1000)
    commands = [" ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"])]
    assert any("cpsim_kit.local" in command for command in commands)
    assert not [command for command in commands if plain.key.secret in command]
    assert plain.key.secret not in " ".join(psutil.Process(plain.pid).environ().values())


async def test_a_card_and_a_repr_of_a_stack_do_not_show_the_secret(stack: Stack, shared: LocalProcess) -> None:
    async with stack.monitor("+/in") as monitor:
        shown = [stack, stack.things, monitor, stack._aws, stack._aws.mqtt_endpoint()]
        text = "".join(repr(each) + getattr(each, "_repr_html_", str)() for each in shown)
    assert shared.key.secret not in text
    assert stack.mqtt_url is not None
    assert shared.key.secret in stack.mqtt_url, "asked for, it is there"


def test_an_attached_stack_does_not_know_the_key(stack: Stack) -> None:
    assert stack.access_key is None


async def test_a_stack_that_this_process_started_knows_its_key(environment: pytest.MonkeyPatch) -> None:
    async with Stack.local(name=new_id("Told")) as stack:
        key = stack.access_key
        assert key is not None
        assert stack.client("sts").get_caller_identity()["Account"] == "000000000000"
        assert stack.mqtt_url is not None
        assert stack.mqtt_url.endswith(f"/mqtt/{key.secret}")
        assert key.secret not in stack.log(1000) + repr(stack) + stack._repr_html_()


# -- Requests ----------------------------------------------------------------------------------------------------------

LAMBDA = json.dumps({"FunctionName": "f", "Runtime": "python3.11", "Role": "r", "Handler": "h.h", "Code": {}}).encode()


@pytest.mark.parametrize(
    ("method", "path", "body", "headers"),
    [
        ("GET", "/things", b"", {}),
        ("POST", "/2015-03-31/functions", LAMBDA, {"Content-Type": "text/plain"}),
        ("POST", "/2015-03-31/functions/f/invocations", b"{}", {}),
        ("POST", "/", b"Action=ListQueues", {"Content-Type": "application/x-www-form-urlencoded"}),
        ("POST", "/", b"{}", {"X-Amz-Target": "DynamoDB_20120810.ListTables"}),
        ("POST", "/topics/CP1/out", b"{}", {}),
        ("GET", "/_ministack/health", b"", {}),
        ("POST", "/_ministack/reset", b"", {}),
        ("POST", "/_ministack/config", b"{}", {}),
        ("GET", "/_localstack/health", b"", {}),
        ("GET", "/health", b"", {}),
        ("OPTIONS", "/things", b"", {"Access-Control-Request-Method": "POST"}),
        ("PUT", "/bucket", b"", {}),
        ("GET", "/", b"", {"Authorization": "AWS4-HMAC-SHA256"}),
        ("GET", "/", b"", {"Authorization": "AWS4-HMAC-SHA256 Credential=a/b/c, SignedHeaders=host, Signature=0"}),
        ("GET", "/", b"", {"Authorization": "Basic bG9jYWw6bG9jYWw="}),
        ("GET", "/?X-Amz-Algorithm=AWS4-HMAC-SHA256", b"", {}),
    ],
)
def test_without_a_signature_nothing_is_served(
    plain: LocalProcess, method: str, path: str, body: bytes, headers: dict[str, str]
) -> None:
    status, answered, text = send(plain, method, path, body, headers)
    assert status == 403
    assert not [name for name in answered if name.startswith("access-control-")]
    assert "healthy" not in text


def test_a_signed_request_is_served_and_allows_no_other_origin(plain: LocalProcess) -> None:
    path, headers = signed(plain)
    status, answered, body = send(plain, "GET", path, headers=headers)
    assert (status, "things" in json.loads(body)) == (200, True)
    assert not [name for name in answered if name.startswith("access-control-")]


def test_a_changed_request_is_refused(plain: LocalProcess) -> None:
    body = b'{"attributePayload": {}}'
    path, headers = signed(plain, method="POST", path="/things/DOOR-1", body=body)
    assert send(plain, "POST", path, body + b" ", headers)[0] == 403
    assert send(plain, "POST", "/things/DOOR-2", body, headers)[0] == 403
    assert send(plain, "POST", f"{path}?a=b", body, headers)[0] == 403
    assert send(plain, "DELETE", path, body, headers)[0] == 403
    digest = {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
    assert send(plain, "POST", path, body, headers | digest)[0] == 403
    assert send(plain, "POST", path, body, headers)[0] == 200


def test_a_digest_in_a_header_is_compared_with_the_body(plain: LocalProcess) -> None:
    """A signature covers the digest in the header. Without this comparison, any body would pass."""
    claimed = {"x-amz-content-sha256": "0" * 64}
    path, headers = signed(plain, method="POST", path="/things/DOOR-3", body=b"{}", headers=claimed)
    status, _headers, text = send(plain, "POST", path, b"{}", headers)
    assert status == 403
    assert "x-amz-content-sha256" in text


def test_an_old_signature_is_refused(plain: LocalProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    late = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=20)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *_a, **_k: late)
    path, headers = signed(plain)
    status, _headers, text = send(plain, "GET", path, headers=headers)
    assert status == 403
    assert "RequestTimeTooSkewed" in text


def test_a_presigned_url_is_served_until_it_expires(plain: LocalProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    identity = {"service": "sts", "path": "/?Action=GetCallerIdentity&Version=2011-06-15", "by": SigV4QueryAuth}
    path, headers = signed(plain, **identity, expires=60)
    assert "Authorization" not in headers
    status, _headers, text = send(plain, "GET", path)
    assert (status, "<Account>000000000000</Account>" in text) == (200, True)
    assert send(plain, "GET", f"{path}0")[0] == 403
    assert send(plain, "GET", path.replace("Expires=60", "Expires=600000"))[0] == 403
    late = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=61)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *_a, **_k: late)
    path, _headers = signed(plain, **identity, expires=60)
    assert send(plain, "GET", path)[0] == 403


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "0.0.0.0", ""])
def test_a_host_that_is_not_this_computer_is_refused_even_with_the_right_signature(
    plain: LocalProcess, host: str
) -> None:
    path, headers = signed(plain, headers={"host": host})
    assert send(plain, "GET", path, headers=headers)[0] in {400, 403}


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost", "LOCALHOST:80", "[::1]:9", "127.9.9.9"])
def test_a_host_that_is_this_computer_is_served(plain: LocalProcess, host: str) -> None:
    path, headers = signed(plain, headers={"host": host})
    assert send(plain, "GET", path, headers=headers)[0] == 200


def test_the_name_of_the_stacks_own_iot_endpoint_is_served(plain: LocalProcess) -> None:
    name = boto3_call(plain, "iot.describe_endpoint", endpointType="iot:Data-ATS")["endpointAddress"]
    path, headers = signed(plain, headers={"host": name})
    assert send(plain, "GET", path, headers=headers)[0] == 200
    other = f"a{name}"
    path, headers = signed(plain, headers={"host": other})
    assert send(plain, "GET", path, headers=headers)[0] == 403


@pytest.mark.parametrize(
    ("origin", "served"),
    [
        ("https://evil.example", False),
        ("http://127.0.0.1.evil.example", False),
        ("null", False),
        ("file://", False),
        ("", False),
        ("chrome-extension://127.0.0.1", False),
        ("http://localhost:8888", True),
        ("http://127.0.0.1", True),
        ("https://[::1]:1", True),
    ],
)
def test_a_page_of_another_computer_is_refused_even_with_the_right_signature(
    plain: LocalProcess, origin: str, served: bool
) -> None:
    path, headers = signed(plain)
    status, answered, _body = send(plain, "GET", path, headers=headers | {"Origin": origin})
    assert status == (200 if served else 403)
    assert not [name for name in answered if name.startswith("access-control-")]


@pytest.mark.parametrize(
    "verb",
    [
        "lambda.list_functions",
        "s3.list_buckets",
        "ec2.describe_instances",
        "ecs.list_clusters",
        "cloudwatch.list_metrics",
        "sns.list_topics",
        "route53.list_hosted_zones",
        "secretsmanager.list_secrets",
        "dynamodbstreams.list_streams",
        "stepfunctions.list_state_machines",
    ],
)
def test_a_service_that_the_kit_does_not_use_is_unknown(plain: LocalProcess, verb: str) -> None:
    refused = boto3_call(plain, verb)
    assert refused["Error"]["Code"] == "UnknownOperationException"
    assert refused["ResponseMetadata"]["HTTPStatusCode"] == 404
    assert ", ".join(sorted(SERVICES)) in refused["Error"]["Message"]


@pytest.mark.parametrize(
    ("service", "path", "headers"),
    [
        ("sqs", "/", {"X-Amz-Target": "AmazonEC2ContainerServiceV20141113.ListClusters"}),
        ("iot", "/things", {"X-Amz-Target": "secretsmanager.ListSecrets"}),
        ("lambda", "/2015-03-31/functions", {}),
    ],
)
def test_no_header_gives_access_to_other_services(
    plain: LocalProcess, service: str, path: str, headers: dict[str, str]
) -> None:
    path, all_headers = signed(plain, service=service, path=path, method="POST", headers=headers)
    assert send(plain, "POST", path, headers=all_headers)[0] == 404


@pytest.mark.parametrize("path", ["/_ministack/health", "/_ministack/reset", "/_localstack/health", "/health"])
def test_ministacks_own_paths_are_closed_even_with_the_right_key(plain: LocalProcess, path: str) -> None:
    boto3_call(plain, "iot.create_thing", thingName=(name := new_id("KEPT")))
    for method in ("GET", "POST"):
        target, headers = signed(plain, path=path, method=method)
        status, _headers, body = send(plain, method, target, headers=headers)
        assert status >= 400
        assert "version" not in body
    assert boto3_call(plain, "iot.describe_thing", thingName=name)["thingName"] == name


def test_a_body_that_is_too_large_is_refused(plain: LocalProcess) -> None:
    body = b"x" * (20 * 2**20 + 1)
    path, headers = signed(plain, method="POST", path="/topics/a", service="iotdata", body=body)
    assert send(plain, "POST", path, body, headers)[0] == 413


# -- MQTT --------------------------------------------------------------------------------------------------------------


async def upgrade(process: LocalProcess, path: str, host: str = "127.0.0.1", **headers: str) -> int:
    """The status of a WebSocket handshake with this Host."""
    url = f"ws://{host}:{port_of(process)}{path}"
    options = {"subprotocols": [Subprotocol("mqtt")], "additional_headers": headers, "proxy": None}
    try:
        async with connect(url, host="127.0.0.1", port=port_of(process), **options):
            return 101
    except InvalidStatus as exc:
        return exc.response.status_code


def signed_mqtt(process: LocalProcess, host: str | None = None, key: AccessKey | None = None) -> str:
    host = host or f"127.0.0.1:{port_of(process)}"
    options = {"service": "iotdevicegateway", "path": "/mqtt", "headers": {"host": host}, "by": SigV4QueryAuth}
    return signed(process, key=key, expires=60, **options)[0]


async def test_mqtt_accepts_a_signed_path(plain: LocalProcess) -> None:
    path = signed_mqtt(plain)
    assert await upgrade(plain, path) == 101
    assert await upgrade(plain, f"{path}&X-Amz-Security-Token=a%2Fb") == 101, "appended after signing, as AWS has it"
    assert await upgrade(plain, path.replace("Signature=", "Signature=0")) == 403
    assert await upgrade(plain, signed_mqtt(plain, key=AccessKey("test", "test"))) == 403


async def test_mqtt_accepts_the_secret_in_the_path(plain: LocalProcess) -> None:
    async with mqtt(plain, "a") as listener:
        await listener.publish("a", "b")
        assert await listener.take() == [("a", b"b")]


async def test_mqtt_accepts_nothing_else(plain: LocalProcess, shared: LocalProcess) -> None:
    secrets = ["", "/", "/local", f"/{shared.key.secret}", f"/{plain.key.secret}x", f"/{plain.key.secret}/", "/%00"]
    paths = [f"/mqtt{secret}" for secret in secrets]
    paths += [f"/{plain.key.secret}", "/", "/mqtt?X-Amz-A=1", f"/mqtt?secret={plain.key.secret}"]
    assert {path: await upgrade(plain, path) for path in paths} == dict.fromkeys(paths, 403)


async def test_mqtt_is_closed_to_other_hosts_and_pages(plain: LocalProcess) -> None:
    right = f"/mqtt/{plain.key.secret}"
    assert await upgrade(plain, right, Origin="https://evil.example") == 403
    assert await upgrade(plain, right, Origin="null") == 403
    assert await upgrade(plain, right, Origin="http://localhost:8888") == 101
    assert await upgrade(plain, right, host="evil.example") == 403
    assert await upgrade(plain, right, host="localhost") == 101


async def test_a_refusal_is_logged_without_the_secret(plain: LocalProcess) -> None:
    await upgrade(plain, f"/mqtt/{plain.key.secret}", Origin="https://log.example")
    assert "pages of 'https://log.example' may not use the local stack" in plain.log(1000)
    assert plain.key.secret not in plain.log(10_000)


# -- The gateway -------------------------------------------------------------------------------------------------------


async def registered(process: LocalProcess) -> str:
    """A charge point that the gateway accepts."""
    boto = Boto(process)
    boto("iot").create_thing(thingName=(charge_point_id := new_id("PAGE")))
    await eventually(lambda: boto.is_registered(charge_point_id))
    boto.disconnect()
    return charge_point_id


async def test_the_gateway_is_open_to_any_charge_point_and_to_web_pages(plain: LocalProcess) -> None:
    charge_point_id = await registered(plain)
    async with dial(plain, charge_point_id, additional_headers={"Origin": "https://simulator.example"}) as ws:
        assert (await ask(ws, "Heartbeat", {}))[0] == 3


# -- A page in the real browser ----------------------------------------------------------------------------------------

PAGE = """
async (address) => {
  const tried = {};
  const http = `http://${address.host}:${address.port}`;
  const options = {method: 'POST', headers: {'Content-Type': 'text/plain'}, body: address.body};
  for (const mode of ['cors', 'no-cors']) {
    try {
      const answer = await fetch(`${http}/2015-03-31/functions`, {...options, mode});
      tried[`POST ${mode}`] = `${answer.type} ${answer.status} ${await answer.text()}`;
    } catch (error) { tried[`POST ${mode}`] = `${error}`; }
  }
  try {
    const answer = await fetch(`${http}/things`);
    tried['GET'] = `${answer.type} ${answer.status} ${await answer.text()}`;
  } catch (error) { tried['GET'] = `${error}`; }
  const socket = (url, protocol) => new Promise((resolve) => {
    const ws = new WebSocket(url, protocol);
    ws.onopen = () => { resolve('open'); ws.close(); };
    ws.onerror = () => resolve('refused');
  });
  tried['mqtt'] = await socket(`ws://${address.host}:${address.port}/mqtt`, 'mqtt');
  tried['mqtt with the secret'] = await socket(`ws://${address.host}:${address.port}/mqtt/${address.secret}`, 'mqtt');
  tried['charge point'] = await socket(address.gateway, 'ocpp2.0.1');
  return tried;
}
"""


@asynccontextmanager
async def page_of(origin_host: str, chromium: str, state: Path) -> AsyncIterator[Any]:
    """A page in a real browser, from a host name that looks like another computer and points here."""
    from playwright.async_api import async_playwright

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\nConnection: close\r\n\r\npage"
        )
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium,
            chromium_sandbox=False,
            args=[
                "--disable-background-networking",
                "--disable-component-update",
                f"--host-resolver-rules=MAP {origin_host} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            ],
            env={**os.environ, "HOME": str(state), "XDG_CONFIG_HOME": str(state), "XDG_CACHE_HOME": str(state)},
        )
        try:
            page = await browser.new_page()
            await page.goto(f"http://{origin_host}:{port}/")
            yield page
        finally:
            await browser.close()


@pytest.mark.slow
async def test_a_page_in_the_users_browser_reaches_the_gateway_and_nothing_else(
    plain: LocalProcess, chromium: str, tmp_path: Path
) -> None:
    charge_point_id = await registered(plain)
    address = {
        "port": port_of(plain),
        "body": LAMBDA.decode(),
        "secret": plain.key.secret,
        "gateway": f"{plain.websocket_url}/{charge_point_id}",
    }
    async with page_of("evil.example", chromium, tmp_path) as page:
        tried = await page.evaluate(PAGE, {**address, "host": "127.0.0.1"})
        rebound = await page.evaluate(
            PAGE, {**address, "host": "evil.example"}
        )  # its own name, which points to the stack
    closed = {"mqtt": "refused", "mqtt with the secret": "refused", "charge point": "open"}
    assert tried.pop("POST no-cors") == "opaque 0 ", "sent, and nothing of the answer can be read"
    assert tried.pop("POST cors") == tried.pop("GET") == "TypeError: Failed to fetch"
    assert tried == closed
    assert rebound.pop("POST no-cors") == "opaque 0 "
    assert rebound.pop("POST cors") == rebound.pop("GET") == "TypeError: Failed to fetch"
    assert rebound == closed
    log = plain.log(1000)
    assert "the local stack is not called 'evil.example:" in log
    assert "pages of 'http://evil.example:" in log
