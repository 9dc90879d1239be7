"""Arguments of a fleet of stations that are refused at once."""

from __future__ import annotations

import functools
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cpsim_kit import Backoff, Evse, Fleet, Station
from cpsim_kit.fleet import poisson


async def drive(station: Station) -> None: ...


async def drive_at_random(station: Station, random: Any) -> None: ...


def not_async(station: Station) -> None: ...


def no_id() -> dict[str, Any]:
    return {}


async def asks_too_much(station: Station, random: Any, more: Any) -> None: ...


async def yields(station: Station) -> AsyncIterator[int]:
    yield 1


class Drives:
    async def __call__(self, station: Station) -> None: ...


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"station": {"evse": []}}, r"station= has no argument 'evse'; did you mean evses\?"),
        (
            {"station": {"colour": 1}},
            r"no argument 'colour'; it takes evses, quirks, reconnect, record, seed, share, speed,",
        ),
        ({"station": {"version": "1.6"}}, r"'version' is an argument of the fleet, not of station=: Fleet\(…, version"),
        ({"station": {"transport": 1}}, r"'transport' is an argument of the fleet"),
        ({"station": {"url": "ws://127.0.0.1"}}, r"no argument 'url'"),
        ({"station": [Evse()]}, r"station= is a dict of arguments of Station, or a function"),
        ({"station": lambda _: 3}, r"station= is a dict .*not 3"),
        ({"station": no_id}, r"station= takes a dict of arguments of Station, or a function of an id"),
        ({"station": {}, "scenario": not_async}, r"async def drive\(station\), not <function not_async"),
        ({"station": {}, "scenario": yields}, r"takes an async function"),
        ({"station": {}, "scenario": asks_too_much}, r"takes an async function of a station"),
        ({"station": {}, "scenario": 3}, r"takes an async function"),
        ({"station": {}, "arrivals": 60}, r"arrivals= takes a function of a random\.Random"),
        ({"station": {}, "arrivals": lambda: 60}, r"arrivals= takes a function of a random\.Random"),
        ({"station": {}, "arrivals": lambda _: ["soon"]}, r"is not a number"),
    ],
)
def test_stations_of_the_wrong_kind_are_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        Fleet("ws://127.0.0.1:9", 2, **arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"arrivals": poisson(per_hour=1)}, r"arrivals= are those of drivers at stations: give station="),
        ({"station": {}, "heartbeat_interval": 1}, r"the interval that the CSMS instructs: leave heartbeat_interval="),
        ({"station": {}, "burst": True}, r"leave burst= out"),
        (
            {"station": {"reconnect": False}, "reconnect": Backoff()},
            r"reconnect= of the fleet is for its stations, too",
        ),
        ({"station": {}, "arrivals": lambda _: [5, -1]}, r"at least 0, not -1"),
        ({"station": {"speed": 0}}, r"LOAD-0001: speed is above 0"),
        ({"station": {"evses": []}}, r"evses is a list of at least one Evse"),
        ({"station": {"quirks": ["nothing"]}}, r"nothing"),
        ({"station": {"variables": {"MeterValueSampleInterval": 10}}}, r"a name of OCPP 1\.6"),
        ({"station": lambda name: {"speed": -1 if name == "LOAD-0001" else 1}}, r"LOAD-0001: speed is above 0"),
    ],
)
def test_values_of_stations_that_cannot_be_are_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Fleet("ws://127.0.0.1:9", 2, **arguments)


def test_the_version_may_come_with_the_attributes() -> None:
    station = {"variables": {"MeterValueSampleInterval": 10}}
    Fleet("ws://127.0.0.1:9", 2, station=station, attributes=lambda _: {"version": "1.6"})


@pytest.mark.parametrize(
    "scenario",
    [
        drive,
        drive_at_random,
        functools.partial(asks_too_much, more=1),
        Drives(),
        lambda each: asks_too_much(each, None, None),
    ],
)
def test_what_a_drive_may_be(scenario: Any) -> None:
    Fleet("ws://127.0.0.1:9", 2, station={"speed": math.inf}, scenario=scenario, arrivals=poisson(per_hour=1))
