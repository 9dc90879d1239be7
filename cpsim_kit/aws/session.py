"""The door to boto3: clients of one session, calls in threads, botocore's errors translated to the kit's.

A session is an object that is passed in; there is no module-level client. It knows nothing of stacks.
"""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import boto3
from boto3.dynamodb.types import TypeDeserializer
from botocore import exceptions as boto_errors
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.httpsession import URLLib3Session
from botocore.session import Session
from botocore.utils import get_environ_proxies

from cpsim_kit.aws.access_key import AccessKey
from cpsim_kit.basics.addresses import MqttEndpoint, is_loopback
from cpsim_kit.errors import AwsError, CpsimError, LocalStackError, NoCredentials, NotFound

__all__ = ["Aws", "nobody_answers", "plain_item"]

T = TypeVar("T")

_THREADS = 16
_SIGNATURE_LIFE = 300  # seconds within which a signed MQTT path must be used

# A botocore session with a key of its own reads no profile and no files: session variable -> file's name,
# environment's name, default, conversion.
_NO_CONFIGURATION = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}

_CREDENTIALS_HINT = (
    "Set AWS_PROFILE (after `aws configure` or `aws sso login`), or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; "
    "without an AWS account, unset CPSIM_STACK: the local stack needs none."
)
_LOCAL_HINT = " Each stack that `cpsim stack` started has a key of its own, which it printed."
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
_MISSING = {
    "AWS.SimpleQueueService.NonExistentQueue",
    "ClusterNotFoundException",
    "NoSuchEntity",
    "QueueDoesNotExist",
    "ResourceNotFound",
    "ResourceNotFoundException",
}
_FORBIDDEN = {
    "AccessDenied",
    "AccessDeniedException",
    "ForbiddenException",
    "UnauthorizedException",
    "UnauthorizedOperation",
}
_REFUSED = {
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}


class Aws:
    """One boto3 session, its clients, and threads to call them in.

    Args:
        region: The region; None for boto3's own choice.
        profile: The profile; None for boto3's own choice.
        endpoint_url: The endpoint of every service; None for AWS's own, or AWS_ENDPOINT_URL.
        access_key: The access key; None for boto3's credential chain.
        explain: Called when the endpoint cannot be reached; an error that it returns is raised instead.
        connect_timeout: Seconds to wait for a connection; boto3 tries three times.
        read_timeout: Seconds to wait for an answer; boto3 tries three times.

    Attributes:
        region: The region in use.
        endpoint_url: As given, without a slash at its end.

    Raises:
        NoCredentials: There is no such profile.
        AwsError: No region is configured.
    """

    def __init__(
        self,
        *,
        region: str | None = None,
        profile: str | None = None,
        endpoint_url: str | None = None,
        access_key: AccessKey | None = None,
        explain: Callable[[], CpsimError | None] | None = None,
        connect_timeout: float = 10,
        read_timeout: float = 30,
    ) -> None:
        try:
            self._session = boto3.Session(
                region_name=region,
                profile_name=profile,
                aws_access_key_id=access_key and access_key.id,
                aws_secret_access_key=access_key and access_key.secret,
                botocore_session=None if access_key is None else Session(session_vars=_NO_CONFIGURATION),
            )
            chosen = self._session.region_name or os.environ.get("AWS_REGION")  # boto3 does not read it, other SDKs do
        except boto_errors.ProfileNotFound as exc:
            raise NoCredentials(f"{exc}. {_CREDENTIALS_HINT}", verb="boto3.Session") from exc
        except boto_errors.BotoCoreError as exc:
            raise AwsError(f"boto3's configuration cannot be read: {exc}", verb="boto3.Session") from exc
        if not chosen:
            message = 'no AWS region is configured: set AWS_DEFAULT_REGION, or give region="eu-west-1"'
            raise AwsError(message, verb="boto3.Session")
        self.region: str = chosen
        self.endpoint_url = endpoint_url and endpoint_url.rstrip("/")
        self._explain = explain or (lambda: None)
        self._closed = False
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()  # boto3 sessions make clients in one thread at a time
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="cpsim-aws")
        options: dict[str, Any] = {
            "max_pool_connections": _THREADS,
            "retries": {"mode": "adaptive"},
            "connect_timeout": connect_timeout,
            "read_timeout": read_timeout,
        }
        self._hint = _CREDENTIALS_HINT
        if endpoint_url is not None and is_loopback(endpoint_url):
            self._hint += _LOCAL_HINT
            options["proxies"] = {}  # connections within this machine never use a proxy
        self._config = Config(**options)

    def __repr__(self) -> str:
        return f"<Aws {self.region} {self.endpoint_url or 'AWS'}>"

    def client(self, service: str) -> Any:
        """The boto3 client of a service, made once."""
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._session.client(
                    service, region_name=self.region, endpoint_url=self.endpoint_url, config=self._config
                )
            return self._clients[service]

    @property
    def partition(self) -> str:
        """The partition of the region, as ARNs have it: "aws", "aws-cn" or "aws-us-gov"."""
        try:
            partition: str = self._session.get_partition_for_region(self.region)
        except boto_errors.BotoCoreError:  # a region newer than botocore
            return "aws"
        return partition

    async def call(self, verb: str, /, **parameters: Any) -> dict[str, Any]:
        """Call an operation in a thread.

        Args:
            verb: Service and operation as boto3 spells them, e.g. "iot.create_thing".
            **parameters: The operation's parameters.

        Raises:
            NotFound: What is named is not there.
            NoCredentials: No credentials, or expired or refused ones.
            AwsError: AWS refused for another reason, or could not be reached.
        """
        service, operation = verb.split(".")
        return await self.run(verb, lambda: getattr(self.client(service), operation)(**parameters), parameters)

    async def pages(self, verb: str, key: str, /, **parameters: Any) -> list[dict[str, Any]]:
        """All items of a paginated operation; raises as :meth:`call` does."""
        service, operation = verb.split(".")

        def collect() -> list[dict[str, Any]]:
            items = []
            for page in self.client(service).get_paginator(operation).paginate(**parameters):
                if key not in page:
                    raise AwsError(f"{verb}: an answer without {key}; is this an AWS endpoint?", verb=verb)
                items += page[key]
            return items

        return await self.run(verb, collect, parameters)

    async def run(self, verb: str, work: Callable[[], T], parameters: dict[str, Any]) -> T:
        """Run blocking boto3 work in a thread; raises as :meth:`call` does, and RuntimeError once closed."""
        self.require_open()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, functools.partial(self._translated, verb, work, parameters))

    async def download(self, verb: str, url: str) -> bytes:
        """What is at a presigned URL that AWS gave; raises as :meth:`call` does.

        Args:
            verb: The operation that gave it, for the error.
            url: The URL; it is a secret as long as it is valid, so no error shows it.
        """

        def get() -> bytes:
            trusted = self._session._session.get_config_variable("ca_bundle") or True
            session = URLLib3Session(verify=trusted, proxies={} if is_loopback(url) else get_environ_proxies(url))
            try:
                answer = session.send(AWSRequest("GET", url).prepare())
                body: bytes = answer.content
            except (boto_errors.BotoCoreError, boto_errors.HTTPClientError) as exc:
                host = urlsplit(url).hostname
                raise AwsError(f"{verb}: cannot download from {host}: {type(exc).__name__}", verb=verb) from None
            finally:
                session.close()
            if answer.status_code != 200:
                message = f"{verb}: the download was refused with HTTP status {answer.status_code}"
                raise AwsError(message, verb=verb, code=str(answer.status_code))
            return body

        return await self.run(verb, get, {})

    def _translated(self, verb: str, work: Callable[[], T], parameters: dict[str, Any]) -> T:
        try:
            return work()
        except boto_errors.ClientError as exc:
            raise _client_error(verb, exc, parameters, self._hint) from _without_frames(exc)
        except (
            boto_errors.NoCredentialsError,
            boto_errors.PartialCredentialsError,
            boto_errors.CredentialRetrievalError,
            boto_errors.SSOError,
            boto_errors.ProfileNotFound,
        ) as exc:
            raise NoCredentials(f"{verb}: {exc}. {self._hint}", verb=verb) from _without_frames(exc)
        except boto_errors.ParamValidationError as exc:
            raise AwsError(f"{verb}: {exc}", verb=verb, code="ParamValidation") from _without_frames(exc)
        except (boto_errors.BotoCoreError, boto_errors.HTTPClientError) as exc:
            if why := self._explain():
                raise why from _without_frames(exc)
            message = f"{verb}: {exc}. Is the network up, and region and endpoint right?"
            raise AwsError(message, verb=verb) from _without_frames(exc)
        except CpsimError:
            raise
        except Exception as exc:  # botocore's parsers raise all kinds of errors on what is not AWS's
            message = f"{verb}: the answer is not one of AWS: {exc!r}. Is the endpoint right?"
            raise AwsError(message, verb=verb) from exc

    def require_open(self) -> None:
        """Do nothing while this is open.

        Raises:
            RuntimeError: This is closed.
        """
        if self._closed:
            raise RuntimeError("this stack is closed; open another: stack = await Stack.open()")

    def mqtt_endpoint(self) -> MqttEndpoint:
        """Where MQTT over WebSockets connects, signed for one connection; blocking.

        AWS IoT Core developer guide, "MQTT over the WebSocket Secure protocol": Signature Version 4 in the query, for
        the service iotdevicegateway; a session token is appended after signing. Expired credentials are refreshed.

        Raises:
            NoCredentials: There are none.
            AwsError: AWS refused to name the endpoint.
            RuntimeError: This is closed.
        """
        self.require_open()
        verb = "iot.describe_endpoint"
        address: str = self._translated(
            verb, lambda: self.client("iot").describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"], {}
        )
        path = self._translated(verb, lambda: self._sign_mqtt_path(address), {})
        if self.endpoint_url is None:
            return MqttEndpoint(address, 443, path, tls=True, headers={"Host": address})
        own = urlsplit(self.endpoint_url)  # the name that the emulator gives resolves nowhere
        tls = own.scheme == "https"
        return MqttEndpoint(
            own.hostname or "", own.port or (443 if tls else 80), path, tls=tls, headers={"Host": address}
        )

    def _sign_mqtt_path(self, host: str) -> str:
        frozen = self._frozen_credentials()
        request = AWSRequest("GET", f"wss://{host}/mqtt", headers={"host": host})
        without_token = Credentials(frozen.access_key, frozen.secret_key)
        SigV4QueryAuth(without_token, "iotdevicegateway", self.region, expires=_SIGNATURE_LIFE).add_auth(request)
        token = f"&X-Amz-Security-Token={quote(frozen.token, safe='')}" if frozen.token else ""
        return f"/mqtt?{urlsplit(request.url).query}{token}"

    def secret_access_key(self) -> str:
        """The secret access key in use; blocking. Show it only to somebody who asks for it.

        Raises:
            NoCredentials: There are none.
        """
        secret: str = self._translated("boto3.Session", lambda: self._frozen_credentials().secret_key, {})
        return secret

    def _frozen_credentials(self) -> Any:
        credentials = self._session.get_credentials()
        if credentials is None:
            raise boto_errors.NoCredentialsError
        return credentials.get_frozen_credentials()

    def close(self) -> None:
        """End the threads and close the connections."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()


def _without_frames(exc: Exception) -> Exception:
    """The error without its tracebacks, to be a cause: botocore's frames keep its sockets open as long as they live."""
    link: BaseException | None = exc
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return exc


def nobody_answers(error: CpsimError) -> bool:
    """Whether nothing answers at the endpoint, so that another attempt would fail too."""
    return isinstance(error, LocalStackError) or isinstance(error.__cause__, boto_errors.EndpointConnectionError)


def _client_error(verb: str, exc: Any, parameters: dict[str, Any], hint: str) -> AwsError:
    error = exc.response.get("Error", {})
    code, text = error.get("Code", ""), error.get("Message", str(exc))
    if code in _EXPIRED or code in _REFUSED:
        return NoCredentials(f"{verb}: {code}: {text}. {hint}", verb=verb, code=code)
    kind, name = _subject(verb, parameters)
    if code in _MISSING or (code == "ValidationError" and "exist" in text):
        hint = ". Has the charge point ever booted?" if kind == "shadow" else ""
        return NotFound(f"{verb}: there is no {kind} {name}: {text}{hint}", verb=verb, code=code, kind=kind, name=name)
    if code in _FORBIDDEN:
        text += ". The credentials in use lack this permission."
    return AwsError(f"{verb} failed for {name or repr(name)}: {code}: {text}", verb=verb, code=code)


def _subject(verb: str, parameters: dict[str, Any]) -> tuple[str, str]:
    """The kind and the name of what a verb is about."""
    if "shadow" in verb:
        return "shadow", str(parameters.get("thingName", ""))
    for parameter, kind in (
        ("thingName", "Thing"),
        ("ruleName", "rule"),
        ("TableName", "table"),
        ("FunctionName", "function"),
        ("logGroupName", "log group"),
        ("StackName", "stack"),
        ("QueueUrl", "queue"),
        ("QueueName", "queue"),
        ("RoleName", "role"),
        ("cluster", "ECS cluster"),
        ("topic", "topic"),
    ):
        if parameter in parameters:
            return kind, str(parameters[parameter])
    return "resource", verb


def plain_item(row: dict[str, Any]) -> dict[str, Any]:
    """A DynamoDB item as plain Python values."""
    deserialize = TypeDeserializer().deserialize
    return {name: _plain(deserialize(value)) for name, value in row.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
