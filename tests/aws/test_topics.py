"""AWS IoT Core's limits of topics and topic filters. AWS General Reference, "AWS IoT Core endpoints and quotas"."""

import pytest

from cpsim_kit.aws.mqtt import check_filter
from cpsim_kit.aws.topics import counted, is_filter, is_too_long

SEVEN = "1/2/3/4/5/6/7/8"
EIGHT = f"{SEVEN}/9"


@pytest.mark.parametrize(
    "topic",
    [
        "CP1/in",
        SEVEN,
        "///////",
        "x" * 256,
        "ž" * 128,
        "$aws/things/CP1/shadow/name/config/update/accepted",
        f"$aws/rules/myRule/{SEVEN}",
        "$aws/rules/myRule/" + "x" * 256,
        f"$share/group/{SEVEN}",
    ],
)
def test_a_topic_within_the_limits(topic: str) -> None:
    assert not is_too_long(topic)
    assert is_filter(topic)
    check_filter(topic)


@pytest.mark.parametrize(
    "topic",
    [
        EIGHT,
        "////////",
        "x" * 257,
        "ž" * 129,
        f"$aws/rules/myRule/{EIGHT}",
        "$aws/rules/myRule/" + "x" * 257,
        f"$share/group/{EIGHT}",
        "$aws/things/CP1/shadow/name/config/update/accepted/more",
        "1/+/3/4/5/6/7/8/#",
    ],
)
def test_a_topic_beyond_the_limits(topic: str) -> None:
    assert is_too_long(topic)
    assert not is_filter(topic)
    with pytest.raises(ValueError, match="7 slashes"):
        check_filter(topic)


@pytest.mark.parametrize("text", ["+", "#", "+/in", "a/+/b/#", "/", "+/+", "$aws/events/#"])
def test_a_filter(text: str) -> None:
    assert is_filter(text)


@pytest.mark.parametrize("text", ["", "a+", "a/#/b", "#/", "a/b#", "++", "a\0b"])
def test_no_filter(text: str) -> None:
    assert not is_filter(text)


@pytest.mark.parametrize(
    ("topic", "part"),
    [
        ("a/b", "a/b"),
        ("$aws/rules/r/a/b", "a/b"),
        ("$aws/rules/r", "r"),
        ("$share/g/a/b", "a/b"),
        ("$aws/things/a/b", "$aws/things/a/b"),
    ],
)
def test_what_counts_of_a_topic(topic: str, part: str) -> None:
    assert counted(topic) == part
