"""What the tests of AWS IoT SQL share: payloads, a fixed clock, and how to evaluate one statement or expression."""

import json

import orjson
import pytest

from cpsim_kit.local.iot_sql import NO_MATCH, SqlError, compile_sql
from cpsim_kit.local.iot_sql.values import UNDEFINED

NOW = 1_700_000_000.123
DEVICE = {
    "deviceid": "iot123",
    "temp": 54.98,
    "humidity": 32.43,
    "coords": {"latitude": 47.615694, "longitude": -122.3359976},
}
MANY = {
    "s": "abc",
    "n": 5,
    "d": 2.5,
    "w": 10.0,
    "t": True,
    "nul": None,
    "arr": [1, "two", None],
    "obj": {"k": {"l": 7}},
    "whole": [10.0],
}


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """Replace the check for open sockets and tasks: nothing here opens or starts any, and it takes 0.1 s a test."""


def evaluate(sql, payload, topic="topic/subtopic", *, version="2016-03-23", **message):
    data = payload if isinstance(payload, bytes) else orjson.dumps(payload)
    return compile_sql(sql, version=version).evaluate(topic, data, now=lambda: NOW, **message)


def exact(value):
    """Tell 10 from 10.0 and True from 1, which Python's == does not."""
    return value if value is NO_MATCH or isinstance(value, bytes) else json.dumps(value, sort_keys=True)


def check_value(expression, expected):
    """Assert what an expression over `MANY` is; `UNDEFINED`: the item is left out."""
    event = evaluate(f"SELECT {expression} AS x FROM 'topic/subtopic'", MANY)
    assert exact(event) == exact({} if expected is UNDEFINED else {"x": expected})


def check_refused(sql, message, place):
    """Assert how compiling a statement fails, and the text at the position of the error; None: not judged."""
    with pytest.raises(SqlError) as refused:
        compile_sql(sql)
    error = refused.value
    assert message in error.message
    assert error.statement == sql
    if place is not None:
        assert error.position is not None
        assert sql[error.position :].startswith(place) if place else error.position == len(sql)
