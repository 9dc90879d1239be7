"""Things of the local stack, compared with the AWS IoT API Reference, by plain boto3."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from ministack.core.responses import request_scope
from ministack.services import iot
from stack_fixtures import Boto, new_id


def error_of(call: Any, **parameters: Any) -> tuple[int, str]:
    """HTTP status and code of a refused call."""
    try:
        answer = call(**parameters)
    except ClientError as exc:
        return exc.response["ResponseMetadata"]["HTTPStatusCode"], exc.response["Error"]["Code"]
    raise AssertionError(f"accepted: {answer}")


INVALID = (400, "InvalidRequestException")


@pytest.fixture
def thing(boto: Boto) -> Iterator[str]:
    name = new_id("THING")
    boto("iot").create_thing(thingName=name, attributePayload={"attributes": {"site": "A"}})
    yield name
    boto("iot").delete_thing(thingName=name)


@pytest.fixture
def thing_type(boto: Boto) -> str:
    name = new_id("TYPE")
    boto("iot").create_thing_type(thingTypeName=name)
    return name


# -- Attributes --------------------------------------------------------------------------------------------------------

FOUR = {"a": "1", "b": "2", "c": "3", "d": "4"}


@pytest.mark.parametrize(
    "attributes",
    [{"a": "zone=[a]"}, {"A_.,@/:#-9": "A_.,@/:#=[]-9"}, {"x" * 128: "x" * 800}, {"a": "1", "b": "2", "c": "3"}],
    ids=lambda attributes: str(attributes)[:20],
)
def test_attributes_that_aws_accepts(boto: Boto, attributes: dict[str, str]) -> None:
    name = new_id("THING")
    boto("iot").create_thing(thingName=name, attributePayload={"attributes": attributes})
    assert boto("iot").describe_thing(thingName=name)["attributes"] == attributes


@pytest.mark.parametrize(
    "attributes",
    [
        {"a": "two words"},
        {"a b": "1"},
        {"a": "ü"},
        {"a=": "1"},
        {"a[0]": "1"},
        {"": "1"},
        {"a": "x" * 801},
        {"x" * 129: "1"},
        {"a": "1\n"},
        FOUR,
    ],
    ids=lambda attributes: str(attributes)[:20],
)
def test_attributes_that_aws_refuses(boto: Boto, thing: str, attributes: dict[str, str]) -> None:
    name, payload = new_id("THING"), {"attributes": attributes}
    assert error_of(boto("iot").create_thing, thingName=name, attributePayload=payload) == INVALID
    assert error_of(boto("iot").describe_thing, thingName=name) == (404, "ResourceNotFoundException")
    assert error_of(boto("iot").update_thing, thingName=thing, attributePayload=payload) == INVALID
    merged = {**payload, "merge": True}
    assert error_of(boto("iot").update_thing, thingName=thing, attributePayload=merged) == INVALID
    after = boto("iot").describe_thing(thingName=thing)
    assert (after["attributes"], after["version"]) == ({"site": "A"}, 1)


def test_merged_attributes_are_three_at_most_without_those_removed(boto: Boto, thing: str) -> None:
    update = boto("iot").update_thing
    payload = {"attributes": {"a": "1", "b": "2"}, "merge": True}
    update(thingName=thing, attributePayload=payload)
    one_more = {"attributes": {"c": "3"}, "merge": True}
    assert error_of(update, thingName=thing, attributePayload=one_more) == INVALID
    update(thingName=thing, attributePayload={"attributes": {"c": "3", "site": ""}, "merge": True})
    assert boto("iot").describe_thing(thingName=thing)["attributes"] == {"a": "1", "b": "2", "c": "3"}
    update(thingName=thing, attributePayload={"attributes": {"x": "1", "y": "2", "z": "3"}})
    assert boto("iot").describe_thing(thingName=thing)["attributes"] == {"x": "1", "y": "2", "z": "3"}


def test_a_thing_with_a_type_has_fifty_attributes_at_most(boto: Boto, thing_type: str) -> None:
    name = new_id("THING")
    fifty = {f"a{number}": "1" for number in range(50)}
    parameters: dict[str, Any] = {"thingName": name, "thingTypeName": thing_type}
    too_many = {"attributes": {**fifty, "more": "1"}}
    assert error_of(boto("iot").create_thing, **parameters, attributePayload=too_many) == INVALID
    boto("iot").create_thing(**parameters, attributePayload={"attributes": fifty})
    assert error_of(boto("iot").update_thing, thingName=name, removeThingType=True) == INVALID
    assert boto("iot").describe_thing(thingName=name)["thingTypeName"] == thing_type
    boto("iot").update_thing(thingName=name, removeThingType=True, attributePayload={"attributes": {"a": "1"}})
    assert boto("iot").describe_thing(thingName=name)["attributes"] == {"a": "1"}
    boto("iot").update_thing(thingName=name, thingTypeName=thing_type, attributePayload={"attributes": FOUR})
    assert boto("iot").describe_thing(thingName=name)["attributes"] == FOUR


# -- Versions ----------------------------------------------------------------------------------------------------------


def test_another_expected_version_is_a_conflict(boto: Boto, thing: str) -> None:
    iot_client, conflict = boto("iot"), (409, "VersionConflictException")
    payload = {"attributes": {"site": "B"}}
    for wrong in (0, 2, 99):
        assert (
            error_of(iot_client.update_thing, thingName=thing, expectedVersion=wrong, attributePayload=payload)
            == conflict
        )
        assert error_of(iot_client.delete_thing, thingName=thing, expectedVersion=wrong) == conflict
    assert iot_client.describe_thing(thingName=thing)["attributes"] == {"site": "A"}
    iot_client.update_thing(thingName=thing, expectedVersion=1, attributePayload=payload)
    assert iot_client.describe_thing(thingName=thing)["version"] == 2
    assert error_of(iot_client.update_thing, thingName=thing, expectedVersion=1, attributePayload=payload) == conflict
    iot_client.delete_thing(thingName=thing, expectedVersion=2)
    assert error_of(iot_client.describe_thing, thingName=thing) == (404, "ResourceNotFoundException")


def test_an_absent_thing_has_no_version_conflict(boto: Boto) -> None:
    parameters = {"thingName": new_id("NONE"), "expectedVersion": 7}
    assert error_of(boto("iot").update_thing, **parameters) == (404, "ResourceNotFoundException")


# -- Lists -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def site(boto: Boto) -> Iterator[str]:
    """A prefix of the site of seven Things; some of them have a floor."""
    mark = new_id("site")
    names = [f"{mark}-T{number}" for number in range(7)]
    for number, name in enumerate(names):
        attributes = {"site": f"{mark}.{number % 2}"} | ({"floor": mark} if number < 3 else {})
        boto("iot").create_thing(thingName=name, attributePayload={"attributes": attributes})
    yield mark
    for name in names:
        boto("iot").delete_thing(thingName=name)


def numbers(things: list[dict[str, Any]]) -> list[int]:
    return [int(thing["thingName"].rsplit("T", 1)[1]) for thing in things]


def test_a_list_is_filtered_by_attribute(boto: Boto, site: str) -> None:
    listed = boto("iot").list_things
    assert numbers(listed(attributeName="site", attributeValue=f"{site}.0")["things"]) == [0, 2, 4, 6]
    assert numbers(listed(attributeName="floor", attributeValue=site)["things"]) == [0, 1, 2]
    for nobody in (site, f"{site}.", f"{site}.01", site.upper()):
        assert listed(attributeName="site", attributeValue=nobody)["things"] == []
    prefix = {"attributeName": "site", "usePrefixAttributeValue": True}
    assert numbers(listed(**prefix, attributeValue=f"{site}.")["things"]) == list(range(7))
    assert numbers(listed(**prefix, attributeValue=f"{site}.1")["things"]) == [1, 3, 5]
    exact = {"attributeName": "site", "usePrefixAttributeValue": False}
    assert listed(**exact, attributeValue=f"{site}.")["things"] == []


def test_a_list_is_filtered_by_type_and_attribute(boto: Boto, site: str, thing_type: str) -> None:
    for number in (1, 4):
        boto("iot").update_thing(thingName=f"{site}-T{number}", thingTypeName=thing_type)
    listed = boto("iot").list_things
    assert numbers(listed(thingTypeName=thing_type)["things"]) == [1, 4]
    both = listed(thingTypeName=thing_type, attributeName="floor", attributeValue=site)["things"]
    assert numbers(both) == [1]
    assert both[0]["thingTypeName"] == thing_type
    assert both[0]["attributes"] == {"site": f"{site}.1", "floor": site}
    assert both[0]["version"] == 2
    assert both[0]["thingArn"].endswith(f":thing/{site}-T1")
    assert listed(thingTypeName=new_id("TYPE"))["things"] == []


@pytest.mark.parametrize("size", [1, 2, 3, 6, 7, 250])
def test_pages_list_every_thing_once(boto: Boto, site: str, size: int) -> None:
    parameters: dict[str, Any] = {"attributeName": "site", "attributeValue": site, "usePrefixAttributeValue": True}
    found, token, pages = [], None, 0
    while pages == 0 or token:
        page = boto("iot").list_things(**parameters, maxResults=size, **({"nextToken": token} if token else {}))
        assert len(page["things"]) <= size
        found += numbers(page["things"])
        token, pages = page.get("nextToken"), pages + 1
    assert found == list(range(7))
    assert pages == -(-7 // size)


def test_a_page_continues_after_the_last_one_although_things_were_deleted(boto: Boto, site: str) -> None:
    parameters = {"attributeName": "site", "attributeValue": site, "usePrefixAttributeValue": True}
    page = boto("iot").list_things(**parameters, maxResults=3)
    assert numbers(page["things"]) == [0, 1, 2]
    for number in (0, 2):
        boto("iot").delete_thing(thingName=f"{site}-T{number}")
    rest = boto("iot").list_things(**parameters, nextToken=page["nextToken"])
    assert numbers(rest["things"]) == [3, 4, 5, 6]


def test_a_page_has_25_things_by_default(boto: Boto) -> None:
    mark = new_id("many")
    for number in range(26):
        boto("iot").create_thing(thingName=f"{mark}-{number}", attributePayload={"attributes": {"site": mark}})
    page = boto("iot").list_things(attributeName="site", attributeValue=mark)
    assert (len(page["things"]), bool(page["nextToken"])) == (25, True)
    for number in range(26):
        boto("iot").delete_thing(thingName=f"{mark}-{number}")


@pytest.mark.parametrize("parameters", [{"maxResults": 251}, {"nextToken": "no token"}, {"nextToken": "_w=="}], ids=str)
def test_a_page_size_that_aws_refuses_is_refused(boto: Boto, parameters: dict[str, Any]) -> None:
    assert error_of(boto("iot").list_things, **parameters) == INVALID


# -- Whether ministack still needs the guard ---------------------------------------------------------------------------


def test_ministack_alone_ignores_limits_and_filters() -> None:
    """If this fails, ministack does it, and that part of the guard can be deleted."""

    def answer(reply: tuple[Any, ...]) -> tuple[int, Any]:
        return reply[0], json.loads(reply[2])

    with request_scope(new_id("account"), "us-east-1"):
        for name in ("A", "B"):
            assert iot._create_thing(name, {"attributePayload": {"attributes": FOUR | {"e f": "two words"}}})[0] == 200
        assert iot._update_thing("A", {"expectedVersion": 7})[0] == 200
        _, page = answer(iot._list_things({"maxResults": "1"}))
        assert (len(page["things"]), "nextToken" in page) == (2, False)
        query = {"attributeName": "e f", "attributeValue": "two", "usePrefixAttributeValue": "true"}
        assert answer(iot._list_things(query)) == (200, {"things": []})
