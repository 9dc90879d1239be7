"""Device Shadows of the local stack, compared with AWS's documentation: over HTTP by plain boto3, and over MQTT.

AWS IoT Core developer guide, "Device Shadow service documents" and "Device Shadow error messages".
"""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError
from ministack.core.responses import request_scope
from ministack.services import iot
from stack_fixtures import Boto, mqtt, new_id

from cpsim_kit.local.launcher import LocalProcess
from cpsim_kit.local.server.guard.shadows import delta, merge, refusal

NAMES = pytest.mark.parametrize("name", ["", "config"], ids=["classic", "named"])


def nested(levels: int, innermost: Any = 1) -> Any:
    """An object with this many levels of keys."""
    for level in range(levels, 0, -1):
        innermost = {f"level{level}": innermost}
    return innermost


class Shadows:
    """The shadows of one Thing, by boto3."""

    def __init__(self, boto: Boto) -> None:
        self.thing = new_id("SHADOW")
        self._client = boto("iot-data")

    def _parameters(self, name: str) -> dict[str, str]:
        return {"thingName": self.thing} | ({"shadowName": name} if name else {})

    def update(self, document: Any, name: str = "") -> Any:
        text = document if isinstance(document, str | bytes) else json.dumps(document)
        return json.loads(self._client.update_thing_shadow(**self._parameters(name), payload=text)["payload"].read())

    def refused(self, document: Any, name: str = "") -> tuple[int, str, str]:
        """HTTP status, code and message of a refused update."""
        try:
            answer = self.update(document, name)
        except ClientError as exc:
            error = exc.response["Error"]
            return exc.response["ResponseMetadata"]["HTTPStatusCode"], error["Code"], error["Message"]
        raise AssertionError(f"accepted: {answer}")

    def get(self, name: str = "") -> Any:
        return json.loads(self._client.get_thing_shadow(**self._parameters(name))["payload"].read())

    def delete(self, name: str = "") -> Any:
        return json.loads(self._client.delete_thing_shadow(**self._parameters(name))["payload"].read())


@pytest.fixture
def shadows(boto: Boto) -> Shadows:
    return Shadows(boto)


# -- Refusals ----------------------------------------------------------------------------------------------------------

DEEP = "JSON contains too many levels of nesting; maximum is 8"
REFUSED: dict[str, tuple[Any, str]] = {
    "no state": ({"version": 1}, "Missing required node: state"),
    "nothing": ({}, "Missing required node: state"),
    "an array": ([], "Missing required node: state"),
    "a number": (5, "Missing required node: state"),
    "state a number": ({"state": 5}, "State node must be an object"),
    "state an array": ({"state": [1]}, "State node must be an object"),
    "state text": ({"state": "on"}, "State node must be an object"),
    "state false": ({"state": False}, "State node must be an object"),
    "desired a number": ({"state": {"desired": 5}}, "Desired node must be an object"),
    "desired an array": ({"state": {"desired": []}}, "Desired node must be an object"),
    "reported text": ({"state": {"reported": "x"}}, "Reported node must be an object"),
    "reported true": ({"state": {"desired": {}, "reported": True}}, "Reported node must be an object"),
    "another node": ({"state": {"wanted": {"a": 1}}}, "State contains an invalid node"),
    "another node beside one": ({"state": {"reported": {"a": 1}, "wanted": {}}}, "State contains an invalid node"),
    "a null in an array": ({"state": {"desired": {"c": [None, "RED"]}}}, "State contains an invalid node"),
    "a null in an inner array": (
        {"state": {"reported": {"a": {"b": [[1], [None]]}}}},
        "State contains an invalid node",
    ),
    "a null in an array's object": (
        {"state": {"reported": {"a": [{"b": [None]}]}}},
        "State contains an invalid node",
    ),
    "nine levels": ({"state": {"desired": nested(9)}}, DEEP),
    "nine levels of reported": ({"state": {"reported": nested(9)}}, DEEP),
    "arrays are levels": ({"state": {"desired": nested(6, [[[1]]])}}, DEEP),
    "a token of 65 bytes": ({"state": {"desired": {}}, "clientToken": "t" * 65}, "Invalid clientToken"),
    "a token of 33 letters": ({"state": {"desired": {}}, "clientToken": "ž" * 33}, "Invalid clientToken"),
    "a token that is no text": ({"state": {"desired": {}}, "clientToken": 5}, "Invalid clientToken"),
    "a version of text": ({"state": {"desired": {}}, "version": "1"}, "Invalid version"),
    "a version that is true": ({"state": {"desired": {}}, "version": True}, "Invalid version"),
    "a negative version": ({"state": {"desired": {}}, "version": -1}, "Invalid version"),
    "half a version": ({"state": {"desired": {}}, "version": 1.5}, "Invalid version"),
}


@pytest.mark.parametrize(("document", "message"), REFUSED.values(), ids=REFUSED)
def test_documents_that_aws_refuses(document: Any, message: str) -> None:
    assert refusal(document) == message


@NAMES
def test_http_refuses_with_400_and_changes_nothing(shadows: Shadows, name: str) -> None:
    shadows.update({"state": {"reported": {"a": 1}}}, name)
    before = shadows.get(name)
    for document, message in REFUSED.values():
        assert shadows.refused(document, name) == (400, "InvalidRequestException", message)
    del before["timestamp"]
    assert before.items() <= shadows.get(name).items()


@NAMES
async def test_mqtt_rejects_with_the_code_and_changes_nothing(
    shared: LocalProcess, shadows: Shadows, name: str
) -> None:
    topic = f"$aws/things/{shadows.thing}/shadow{f'/name/{name}' if name else ''}/update"
    async with mqtt(shared, f"{topic}/rejected", f"{topic}/accepted") as broker:
        for document, message in REFUSED.values():
            await broker.publish(topic, json.dumps(document))
            [(where, payload)] = await broker.take()
            answer = json.loads(payload)
            assert (where, answer["code"], answer["message"]) == (f"{topic}/rejected", 400, message)
        await broker.publish(topic, '{"state": {"desired": {"a": 1}}, "version": 7, "clientToken": "mine"}')
        [conflict] = await broker.events(1)
        assert conflict == {"code": 409, "message": "Version conflict", "clientToken": "mine"}
        await broker.publish(topic, json.dumps({"state": {"reported": {"a": "x" * 8200}}}))
        [too_large] = await broker.events(1)
        assert too_large == {"code": 413, "message": "The payload exceeds the maximum size allowed"}
        await broker.publish(topic, '{"state": {"reported": {"a": 1}}}')
        [accepted] = await broker.events(1)
        assert accepted["version"] == 1


@pytest.mark.parametrize("payload", ["no JSON", "{", '{"state": NaN}', "[" * 5000, "[" * 100_000])
def test_a_payload_that_is_not_json_is_400(shadows: Shadows, payload: str) -> None:
    assert shadows.refused(payload) == (400, "InvalidRequestException", "Payload contains invalid json")


@pytest.mark.parametrize("name", ["x" * 65, "a b", "a.b", "ž"])
async def test_a_wrong_name_of_a_shadow_is_400(shared: LocalProcess, shadows: Shadows, name: str) -> None:
    status, code, message = shadows.refused({"state": {"reported": {"a": 1}}}, name)
    assert (status, code) == (400, "InvalidRequestException")
    with pytest.raises(ClientError, match="Invalid shadow name"):
        shadows.get(name)
    topic = f"$aws/things/{shadows.thing}/shadow/name/{name}"
    async with mqtt(shared, f"{topic}/update/rejected", f"{topic}/get/rejected") as broker:
        await broker.publish(f"{topic}/update", '{"state": {"reported": {"a": 1}}}')
        await broker.publish(f"{topic}/get", "")
        assert await broker.events(2) == [{"code": 400, "message": message}] * 2


def test_the_longest_name_of_a_shadow_is_accepted(shadows: Shadows) -> None:
    name = "$aZ0:_-".ljust(64, "x")
    shadows.update({"state": {"reported": {"a": 1}}}, name)
    assert shadows.get(name)["state"] == {"reported": {"a": 1}}


@NAMES
async def test_a_payload_that_is_not_utf_8_is_415(shared: LocalProcess, shadows: Shadows, name: str) -> None:
    document = '{"state": {"desired": {"a": "ž"}}}'
    message = "Unsupported documented encoding; supported encoding is UTF-8"
    topic = f"$aws/things/{shadows.thing}/shadow{f'/name/{name}' if name else ''}/update"
    async with mqtt(shared, f"{topic}/rejected") as broker:
        for encoding in ("iso8859-2", "utf-16"):
            payload = document.encode(encoding)
            assert shadows.refused(payload, name) == (415, "UnsupportedDocumentEncodingException", message)
            await broker.publish(topic, payload)
            assert await broker.events(1) == [{"code": 415, "message": message}]
    assert shadows.update(document.encode(), name)["version"] == 1


@pytest.mark.parametrize(
    "document",
    [
        {"state": {"desired": nested(8)}},
        {"state": {"desired": nested(8, {})}},
        {"state": {"desired": nested(5, [[[1]]])}},
        {"state": {"reported": {"c": []}}},
        {"state": {"reported": {}}, "clientToken": "t" * 64},
        {"state": {"reported": {}}, "clientToken": "ž" * 32, "version": 0},
        {"state": {"reported": {"a": 1}}, "metadata": {}, "timestamp": 1},  # as in the answer of a get
        {"state": {"reported": {"a": 1}, "delta": {"b": 2}}},
        {"state": {"desired": None, "reported": {"a": None}}, "version": None},
        {"state": {}},
        {"state": None},
    ],
    ids=str,
)
def test_documents_that_aws_accepts(document: Any) -> None:
    assert refusal(document) == ""


@NAMES
def test_8_kib_of_state_pass_and_more_is_413(shadows: Shadows, name: str) -> None:
    """Both sections together, without the document around them and without metadata."""
    fits = {"desired": {"d": "x" * (4096 - 8)}, "reported": {"r": "ž" * ((4096 - 8) // 2)}}
    assert shadows.update({"state": fits}, name)["version"] == 1
    too_large = (413, "RequestEntityTooLargeException", "The payload exceeds the maximum size allowed")
    for more in ({"desired": {"d": "x" * (4096 - 7)}}, {"reported": {"s": 1}}):
        assert shadows.refused({"state": more}, name) == too_large
    after = shadows.get(name)
    assert (after["state"]["desired"], after["state"]["reported"]) == (fits["desired"], fits["reported"])
    assert after["version"] == 1
    assert (
        shadows.update({"state": {"desired": None, "reported": {"s": 1}}}, name)["version"] == 2
    )  # it is small enough


# -- Merges ------------------------------------------------------------------------------------------------------------

MERGED: list[tuple[Any, Any, Any]] = [
    ({}, {"station": {"model": "M", "modem": None}}, {"station": {"model": "M"}}),
    ({}, {"a": {"b": {"c": None, "d": {"e": None, "f": 1}}}}, {"a": {"b": {"d": {"f": 1}}}}),
    ({}, {"a": {"b": {"c": None}}}, {}),
    ({}, {"a": None}, {}),
    ({"a": {"b": 1, "c": 2}}, {"a": {"b": None}}, {"a": {"c": 2}}),
    ({"a": {"b": 1}}, {"a": {"b": None}}, {}),
    ({"a": {"b": 1}}, {"a": {}}, {"a": {"b": 1}}),
    ({"a": {"b": 1}}, {"a": 5}, {"a": 5}),
    ({"a": 5}, {"a": {"b": 1, "c": None}}, {"a": {"b": 1}}),
    ({"a": [1, 2, 3]}, {"a": [4]}, {"a": [4]}),
    ({"a": [1]}, {"a": []}, {"a": []}),
    ({"a": [1]}, {"a": {"b": [{"c": 1, "d": None}]}}, {"a": {"b": [{"c": 1}]}}),
    ({"a": 1, "b": 2}, {"a": False, "c": 0, "d": ""}, {"a": False, "b": 2, "c": 0, "d": ""}),
]


@pytest.mark.parametrize(("before", "patch", "after"), MERGED)
def test_merge(before: Any, patch: Any, after: Any) -> None:
    _, stamps = merge({}, {}, before, 1)
    copy = json.loads(json.dumps(before))
    merged, stamps = merge(before, stamps, patch, 2)
    assert merged == after
    assert before == copy

    def shape(state: Any) -> Any:
        return {key: shape(value) for key, value in state.items()} if isinstance(state, dict) else "stamp"

    def shape_of_stamps(stamps: Any, state: Any) -> Any:
        if isinstance(state, dict):
            return {key: shape_of_stamps(stamps[key], state[key]) for key in stamps}
        return "stamp" if stamps.keys() == {"timestamp"} else stamps

    assert shape_of_stamps(stamps, merged) == shape(merged)


def test_metadata_has_the_time_of_each_value_and_follows_a_change_of_type() -> None:
    state, stamps = merge({}, {}, {"a": 1, "b": {"c": 1, "timestamp": 5}, "l": [1, 2]}, 10)
    assert stamps == {
        "a": {"timestamp": 10},
        "b": {"c": {"timestamp": 10}, "timestamp": {"timestamp": 10}},
        "l": {"timestamp": 10},
    }
    state, stamps = merge(state, stamps, {"a": {"x": {"y": 1}}, "b": 2}, 20)
    assert stamps == {"a": {"x": {"y": {"timestamp": 20}}}, "b": {"timestamp": 20}, "l": {"timestamp": 10}}
    _, stamps = merge(state, stamps, {"a": 3, "b": {"c": 1}, "l": {"z": 1}}, 30)
    assert stamps == {"a": {"timestamp": 30}, "b": {"c": {"timestamp": 30}}, "l": {"z": {"timestamp": 30}}}


def test_metadata_over_http_follows_a_change_of_type(shadows: Shadows) -> None:
    for value in (1, {"x": 1}, [1], {"y": {"z": 1}}, "text"):
        shadows.update({"state": {"reported": {"a": value}}})
        document = shadows.get()
        assert document["state"]["reported"] == {"a": value}
        stamps = document["metadata"]["reported"]["a"]
        if isinstance(value, dict):
            assert stamps.keys() == value.keys()
        else:
            assert stamps.keys() == {"timestamp"}


@NAMES
def test_nulls_of_a_new_object_are_not_stored(shadows: Shadows, name: str) -> None:
    shadows.update({"state": {"reported": {"station": {"model": "M", "modem": None, "inner": {"deep": None}}}}}, name)
    document = shadows.get(name)
    assert document["state"] == {"reported": {"station": {"model": "M"}}}
    assert document["metadata"]["reported"]["station"].keys() == {"model"}


@NAMES
def test_no_state_clears_and_an_empty_one_changes_nothing(shadows: Shadows, name: str) -> None:
    shadows.update({"state": {"reported": {"a": 1}, "desired": {"b": {"c": 2}}}}, name)
    before = shadows.get(name)
    for nothing in ({"state": {}}, {"state": {"reported": {}, "desired": {}}}):
        shadows.update(nothing, name)
        assert shadows.get(name)["state"] == before["state"]
    answer = shadows.update({"state": None, "clientToken": "mine"}, name)
    assert answer["state"] is None
    assert answer["metadata"].keys() == {"timestamp"}
    assert (answer["version"], answer["clientToken"]) == (4, "mine")
    assert (shadows.get(name)["state"], shadows.get(name)["version"]) == ({}, 4)
    shadows.update({"state": {"reported": {"a": 1}}}, name)
    assert shadows.get(name)["state"] == {"reported": {"a": 1}}


def test_a_section_of_null_is_removed(shadows: Shadows) -> None:
    shadows.update({"state": {"reported": {"a": 1}, "desired": {"a": 2}}})
    shadows.update({"state": {"reported": {"a": 2}, "desired": None}})
    document = shadows.get()
    assert document["state"] == {"reported": {"a": 2}}
    assert document["metadata"].keys() == {"reported"}


async def test_clearing_over_mqtt_is_accepted(shared: LocalProcess, shadows: Shadows) -> None:
    topic = f"$aws/things/{shadows.thing}/shadow/update"
    shadows.update({"state": {"reported": {"a": 1}}})
    async with mqtt(shared, f"{topic}/+") as broker:
        await broker.publish(topic, '{"state": null}')
        taken = {where.rsplit("/", 1)[1]: json.loads(payload) for where, payload in await broker.take(2)}
    assert taken["accepted"]["state"] is None
    assert taken["documents"]["previous"]["state"] == {"reported": {"a": 1}}
    assert taken["documents"]["current"]["state"] == {}


# -- Delta -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("desired", "reported", "different"),
    [
        ({"a": True, "n": 0}, {"a": 1, "n": False}, {"a": True, "n": 0}),
        ({"a": [True]}, {"a": [1]}, {"a": [True]}),
        ({"a": [{"b": 0}]}, {"a": [{"b": False}]}, {"a": [{"b": 0}]}),
        ({"a": {"b": True, "c": 1}}, {"a": {"b": 1, "c": 1}}, {"a": {"b": True}}),
        ({"a": 1, "b": 0.5}, {"a": 1.0, "b": 0.5}, {}),
        ({"a": True, "b": [1, "x"]}, {"a": True, "b": [1, "x"]}, {}),
        ({"a": [1, 2]}, {"a": [1]}, {"a": [1, 2]}),
        ({"a": [{"b": 1}]}, {"a": [{"b": 1, "c": 2}]}, {"a": [{"b": 1}]}),
        ({"a": "1"}, {"a": 1}, {"a": "1"}),
        ({"a": {"b": 1}}, {"a": 1}, {"a": {"b": 1}}),
        ({"a": {"b": 1}}, {}, {"a": {"b": 1}}),
        ({"a": 1}, {"a": 1, "b": 2}, {}),
    ],
)
def test_delta(desired: Any, reported: Any, different: Any) -> None:
    assert delta(desired, reported) == different


async def test_a_delta_distinguishes_true_from_1_over_http_and_mqtt(shared: LocalProcess, shadows: Shadows) -> None:
    async with mqtt(shared, f"$aws/things/{shadows.thing}/shadow/update/delta") as broker:
        shadows.update({"state": {"desired": {"locked": True, "n": 0}, "reported": {"locked": 1, "n": False}}})
        [event] = await broker.events(1)
    assert event["state"] == {"locked": True, "n": 0}
    assert event["metadata"].keys() == {"locked", "n"}
    assert shadows.get()["state"]["delta"] == {"locked": True, "n": 0}


# -- Versions and deletion ---------------------------------------------------------------------------------------------


@NAMES
def test_a_version_conflict_is_409_and_versions_continue_after_a_deletion(shadows: Shadows, name: str) -> None:
    assert shadows.refused({"state": {"reported": {"a": 1}}, "version": 3}, name)[:2] == (409, "ConflictException")
    assert shadows.update({"state": {"reported": {"a": 1}}, "version": 0}, name)["version"] == 1
    conflict = (409, "ConflictException", "Version conflict")
    assert shadows.refused({"state": {"reported": {"a": 2}}, "version": 2}, name) == conflict
    assert shadows.refused({"state": None, "version": 2}, name) == conflict
    assert shadows.get(name)["state"] == {"reported": {"a": 1}}
    assert shadows.update({"state": {"reported": {"a": 2}}, "version": 1}, name)["version"] == 2
    shadows.delete(name)
    with pytest.raises(ClientError, match="No shadow exists with name"):
        shadows.get(name)
    assert shadows.update({"state": {"reported": {"b": 1}}}, name)["version"] == 3
    assert shadows.get(name)["state"] == {"reported": {"b": 1}}


# -- Whether ministack still needs the guard ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "document", [document for document, message in REFUSED.values() if "Missing" not in message], ids=str
)
def test_ministack_alone_accepts_what_aws_refuses(document: Any) -> None:
    """If this fails, ministack refuses it, and that part of the guard can be deleted."""
    with request_scope(new_id("account"), "us-east-1"):
        assert iot.update_thing_shadow("thing", "", document) != (400, {"message": refusal(document)})


def test_ministack_alone_keeps_nulls_of_a_new_object_and_treats_true_as_1() -> None:
    with request_scope(new_id("account"), "us-east-1"):
        iot.update_thing_shadow("thing", "", {"state": {"reported": {"a": {"b": None, "c": 1}}}})
        assert iot.get_thing_shadow("thing", "")[1]["state"] == {"reported": {"a": {"b": None, "c": 1}}}
        iot.update_thing_shadow("thing", "", {"state": {"reported": {"d": 1}}})
        iot.update_thing_shadow("thing", "", {"state": {"reported": {"d": {"e": 1}}}})
        stamps = iot.get_thing_shadow("thing", "")[1]["metadata"]["reported"]["d"]
        assert stamps.keys() == {"e", "timestamp"}  # of the value it was
        assert iot.update_thing_shadow("thing", "", {"state": None})[0] == 400
        utf_16 = '{"state": {}}'.encode("utf-16")
        assert iot.parse_shadow_request(utf_16) == {"state": {}}
        assert iot.update_thing_shadow("thing", "", {"state": {"reported": {"big": "x" * 9000}}})[0] == 200
    assert iot._compute_delta({"a": True}, {"a": 1}) == {}
