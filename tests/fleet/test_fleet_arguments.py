"""Arguments that a fleet refuses at once."""

from __future__ import annotations

import math
import ssl
from types import SimpleNamespace
from typing import Any

import pytest

from cpsim_kit import ChargePoint, Fleet

CLIENT = SimpleNamespace(nthreads=None)  # as much of a Dask client as is looked at when there is nothing to do


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "either a size or a list of ids"),
        ({"size": 3, "ids": ["A"]}, "either a size or a list of ids"),
        ({"size": 0}, "at least one"),
        ({"ids": []}, "empty"),
        ({"ids": ["A", "A"]}, "twice"),
        ({"size": 1, "ramp": 0}, "ramp"),
        ({"size": 1, "ramp_time": -1}, "ramp_time"),
        ({"size": 1, "heartbeat_interval": 0}, "heartbeat_interval"),
        ({"size": 1, "provision": "always"}, "provision"),
        ({"size": 1, "processes": 0}, "process"),
        ({"size": 2, "processes": 2, "ssl": ssl.create_default_context()}, "give a function that makes it"),
        ({"size": 2, "cluster": CLIENT, "ssl": ssl.create_default_context()}, "give a function that makes it"),
        ({"size": 2, "cluster": CLIENT, "processes": 2}, "or on the workers of a cluster"),
        ({"size": 2, "version": "9"}, "version"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Fleet("ws://127.0.0.1:9", **arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"size": "10"}, r"size= takes a whole number, not '10'"),
        ({"size": 1.5}, r"size= takes a whole number"),
        ({"ids": "ABC"}, r"ids= takes a list of ids, not the string 'ABC'"),
        ({"size": 1, "prefix": None, "seed": "x"}, r"seed= takes a whole number, not 'x'"),
        ({"size": 1, "reconnect": True}, r"reconnect= takes a Backoff"),
        ({"size": 1, "cluster": "tcp://127.0.0.1:8786"}, r"cluster= takes a dask\.distributed\.Client"),
        ({"size": 1, "scenario": 3}, r"scenario= takes an async function"),
        ({"size": 1, "scenario": lambda: None}, r"scenario= takes an async function of a charge point"),
        ({"size": 1, "attributes": {"model": "A"}}, r"attributes= takes a function of an id"),
        ({"size": 1, "interval": 1}, r"no argument 'interval'; did you mean .*heartbeat_interval"),
        ({"size": 1, "observe": print}, r"the result has every call"),
        ({"size": 1, "url": "ws://127.0.0.1:9"}, r"no argument 'url'"),
    ],
)
def test_arguments_of_the_wrong_kind_are_refused_at_once(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        Fleet("ws://127.0.0.1:9", **arguments)


@pytest.mark.parametrize("duration", [math.inf, math.nan])
async def test_a_duration_is_a_number_of_seconds(duration: float) -> None:
    with pytest.raises(ValueError, match="a number of seconds"):
        await Fleet("ws://127.0.0.1:9", 1).run(duration)


async def test_a_burst_of_a_scenario_of_ones_own_is_refused() -> None:
    async def idle(cp: ChargePoint) -> None: ...

    with pytest.raises(ValueError, match="burst"):
        Fleet("ws://127.0.0.1:9", 1, burst=True, scenario=idle)


async def test_a_ramp_longer_than_the_run_is_refused() -> None:
    with pytest.raises(ValueError, match=r"takes 10 s.*steeper ramp"):
        await Fleet("ws://127.0.0.1:9", 100, ramp=10).run(5)
