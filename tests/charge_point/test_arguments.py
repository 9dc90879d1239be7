"""Arguments of a charge point: identity, address, password, and wrong arguments."""

from __future__ import annotations

import base64
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import SOON
from csms_stub import (
    Csms,
)

from cpsim_kit.charge_point.charge_point import ChargePoint
from cpsim_kit.charge_point.network import Network

pytestmark = pytest.mark.usefixtures("no_hang")


async def test_the_identity_is_the_last_part_of_the_address(csms: Csms) -> None:
    async with ChargePoint("CP1", csms.url + "/ocpp/") as cp:
        assert cp.url == csms.url + "/ocpp/CP1"
    async with ChargePoint("CP 1/ü", csms.url):
        pass
    assert [request.path for request in csms.requests] == ["/ocpp/CP1", "/CP%201/%C3%BC"]


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("?token=abc", "/CP1?token=abc"),
        ("/?token=abc", "/CP1?token=abc"),
        ("/ocpp?token=abc", "/ocpp/CP1?token=abc"),
        ("/ocpp/?a=1&b=x@y:/z/", "/ocpp/CP1?a=1&b=x@y:/z/"),
        ("/ocpp?", "/ocpp/CP1?"),
        (" \t\n", "/CP1"),
        ("/ocpp/\n", "/ocpp/CP1"),
    ],
)
async def test_the_identity_is_appended_to_the_path(csms: Csms, address: str, path: str) -> None:
    async with ChargePoint("CP1", f"  {csms.url}{address}") as cp:
        assert cp.url == csms.url + path
    assert csms.requests[0].path == path


async def test_credentials_before_a_query_are_sent_and_not_shown(csms: Csms) -> None:
    async with ChargePoint("CP1", csms.url.replace("//", "//CP1:secret@") + "/ocpp?to=a@b") as cp:
        assert "secret" not in cp._repr_html_()
        assert f"ws://…@127.0.0.1:{csms.port}/ocpp/CP1?to=a@b" in cp._repr_html_()
    (request,) = csms.requests
    assert (request.path, request.headers["Authorization"]) == ("/ocpp/CP1?to=a@b", "Basic Q1AxOnNlY3JldA==")


@pytest.mark.parametrize(
    ("charge_point_id", "encoded"),
    [
        ("RDAM 123", "RDAM%20123"),
        ("a%20b", "a%2520b"),
        ("a?b#c", "a%3Fb%23c"),
        ("a+b&c=d", "a%2Bb%26c%3Dd"),
        ("DE*ABC*E1", "DE%2AABC%2AE1"),
        ("a:b_c-d.e~f", "a:b_c-d.e~f"),
        ("日本", "%E6%97%A5%E6%9C%AC"),
    ],
)
async def test_an_identity_is_percent_encoded(csms: Csms, charge_point_id: str, encoded: str) -> None:
    async with ChargePoint(charge_point_id, csms.url) as cp:
        assert cp.id == charge_point_id
    assert csms.requests[0].path == f"/{encoded}"


@pytest.mark.parametrize(
    "charge_point_id", [" CP1", "CP1 ", "CP1\n", "\tCP1", "C\nP1", "CP1\u00a0", "\ufeffCP1", "\ud800"]
)
def test_an_identity_with_what_is_pasted_by_mistake_is_refused(charge_point_id: str) -> None:
    with pytest.raises(ValueError, match="a charge point id has no white space at its ends, and no line break"):
        ChargePoint(charge_point_id, "ws://127.0.0.1:1")


@pytest.mark.parametrize("url", ["ws://h/a b", "ws://h /", "ws:// h", "ws://h/a\r\nX: y", "ws://h\t:1", "ws://h\u200b"])
def test_an_address_with_a_space_or_an_invisible_character_inside_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"CP1: there is a space, a line break .* in the CSMS's address"):
        ChargePoint("CP1", url)


@pytest.mark.parametrize("charge_point_id", ["", "/CP1", "CP1/", "/"])
def test_an_identity_is_not_empty_and_has_no_slash_at_its_ends(charge_point_id: str) -> None:
    with pytest.raises(ValueError, match="charge point id"):
        ChargePoint(charge_point_id, "ws://127.0.0.1:1")


def test_an_unknown_version_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"'2\.0' is not known; use one of 1\.6, 2\.0\.1, 2\.1"):
        ChargePoint("CP1", "ws://127.0.0.1:1", version="2.0")


async def test_a_password_is_sent_as_basic_authentication(csms: Csms) -> None:
    async with ChargePoint("CP1", csms.url, password="sécret", headers={"X-Tenant": "7"}):
        pass
    header = csms.requests[0].headers["Authorization"]
    assert base64.b64decode(header.removeprefix("Basic ")).decode() == "CP1:sécret"
    assert csms.requests[0].headers["X-Tenant"] == "7"


@pytest.mark.parametrize("kind", [bytes, bytearray])
async def test_the_octets_of_a_password_of_bytes_are_sent(csms: Csms, kind: type) -> None:
    """The AuthorizationKey of OCPP 1.6 is written in hexadecimal digits; its octets are the password."""
    key = kind.fromhex("00ff80c0" * 5)
    async with ChargePoint("CP1", csms.url, password=key):
        scheme, _, credentials = csms.requests[0].headers["Authorization"].partition(" ")
    assert (scheme, base64.b64decode(credentials)) == ("Basic", b"CP1:" + key)


async def test_without_a_password_there_is_no_authorization(csms: Csms, cp: ChargePoint) -> None:
    assert "Authorization" not in csms.requests[0].headers


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((5, "ws://127.0.0.1:9"), r"a charge point id is a string, .* not 5"),
        (("CP1", None), "CP1: the CSMS's address is a string, .* not None"),
        (("CP1", b"ws://127.0.0.1:9"), "CP1: the CSMS's address is a string"),
        (
            ("CP1", SimpleNamespace(websocket_url="")),
            r"use await stack\.charge_point\('CP1'\), or stack\.websocket_url",
        ),
    ],
)
def test_arguments_of_another_type_are_refused_in_words(arguments: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        ChargePoint(*arguments)


WRONG_TYPES = {
    "version": [1.6, 201, None],
    "password": [5, ["secret"], memoryview(b"secret")],
    "ssl": [False, True, "ca.pem"],
    "headers": ["X-Name: value", 5, {"X-Name": 5}, {"X-Name": b"value"}, {b"X-Name": "value"}, {"X-Name": None}],
    "compression": [True, 5],
    "open_timeout": ["5", None, True, timedelta(seconds=5)],
    "call_timeout": ["5", None, True, timedelta(seconds=5)],
    "close_timeout": ["5", None, True, [5]],
    "ping_interval": ["20", False],
    "ping_timeout": ["20", False],
    "max_messages": ["10", 1.5, True],
    "modem": ["891004234814455936F", ["iccid", "imsi"], {"iccid": 8910}, {"imsi": None}, {"imei": "2"}],
    "transport": [None, "network", Network],
    "observe": [5, "print"],
    "explain": [5],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG_TYPES.items() for value in values])
def test_an_option_of_a_wrong_type_is_refused_in_words(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"CP1: {name}= (is|takes) ") as caught:
        ChargePoint("CP1", "wss://127.0.0.1:9", **{name: value})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_messages": -1}, r"max_messages is .* not -1"),
        ({"open_timeout": -1}, r"CP1: open_timeout= is 0 or more seconds, not -1"),
        ({"call_timeout": float("nan")}, r"CP1: call_timeout= is 0 or more seconds, not nan"),
        ({"close_timeout": -0.5}, r"CP1: close_timeout= is 0 or more seconds, not -0\.5"),
        ({"ping_interval": 0}, r"CP1: ping_interval= is more than 0 seconds, not 0"),
        ({"ping_timeout": -1}, r"CP1: ping_timeout= is 0 or more seconds, not -1"),
        ({"headers": {"X Name": "value"}}, "an HTTP header cannot have the name 'X Name'"),
        ({"headers": {"X-Name\r\nY": "value"}}, "an HTTP header cannot have the name"),
        ({"headers": {"X-Name": "value\r\nY: z"}}, "X-Name has a line break"),
        ({"password": "secret\n"}, r"password= begins or ends with a line break"),
        (
            {"password": "secret", "headers": {"authorization": "Bearer secret"}},
            "password= makes an Authorization header",
        ),
    ],
)
def test_an_option_that_cannot_be_is_refused_in_words(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        ChargePoint("CP1", "ws://127.0.0.1:9", **options)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("options", [{"password": "secret"}, {"headers": {"authorization": "Bearer secret"}}])
def test_two_users_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="CP1: there is a user in the CSMS's address, and password=") as caught:
        ChargePoint("CP1", "ws://me:secret@127.0.0.1:9", **options)
    assert "secret" not in str(caught.value)


async def test_an_identity_with_a_colon_has_no_password(csms: Csms) -> None:
    """In HTTP Basic authentication, the user name ends at the first colon."""
    with pytest.raises(ValueError, match="CP:1: an id with a colon cannot be the user of HTTP Basic"):
        ChargePoint("CP:1", csms.url, password="secret")
    async with ChargePoint("CP:1", csms.url) as cp:
        await cp.heartbeat()


async def test_numbers_of_numpy_are_seconds_and_counts(csms: Csms) -> None:
    options = {"open_timeout": np.float64(SOON), "call_timeout": np.float32(SOON), "max_messages": np.int64(3)}
    async with ChargePoint("CP1", csms.url, **options) as cp:
        for _ in range(3):
            await cp.heartbeat(timeout=np.int64(SOON))
        assert len(cp.messages) == 3
