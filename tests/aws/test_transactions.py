"""The ledger of a stack: what the CSMS understood of bare charge points, compared with what stations know."""

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pytest
from ocpp.v16 import call as call16
from ocpp.v201 import call
from stack_fixtures import Boto, new_id

from cpsim_kit import ChargePoint, Stack, Vehicle
from cpsim_kit.local.launcher import LocalProcess

COLUMNS = [
    "charge_point_id",
    "transaction_id",
    "evse",
    "token",
    "version",
    "start",
    "end",
    "start_wh",
    "end_wh",
    "energy_wh",
    "state",
    "stopped_reason",
    "missing",
]


@pytest.fixture
async def charge_point_id(stack: Stack) -> str:
    charge_point_id = new_id("LEDGER")
    await stack.things.create(charge_point_id)
    return charge_point_id


async def rows_of(stack: Stack, charge_point_id: str) -> pd.DataFrame:
    frame = await stack.transactions.to_frame()
    return frame[frame["charge_point_id"] == charge_point_id].reset_index(drop=True)


def event(kind: str, seq_no: int, transaction_id: str, *values: tuple[float, str], **fields: Any) -> Any:
    meter_value = [
        {"timestamp": f"2026-11-23T10:{seq_no:02}:00Z", "sampled_value": [{"value": wh, "context": context}]}
        for wh, context in values
    ]
    info = {"transaction_id": transaction_id} | fields.pop("info", {})
    return call.TransactionEvent(
        event_type=kind,
        timestamp=f"2026-11-23T10:{seq_no:02}:00Z",
        trigger_reason="MeterValuePeriodic",
        seq_no=seq_no,
        transaction_info=info,
        meter_value=meter_value or None,
        **fields,
    )


async def play(cp: ChargePoint, transaction_id: str, *, without: tuple[int, ...] = (), end: bool = True) -> None:
    """A session from 1,000 to 3,500.5 Wh in four events, some of which are not sent."""
    tag = {"id_token": "TAG-1", "type": "ISO14443"}
    events = [
        event("Started", 0, transaction_id, (1000, "Transaction.Begin"), id_token=tag, evse={"id": 2}),
        event("Updated", 1, transaction_id, (2000, "Sample.Periodic")),
        event("Updated", 2, transaction_id, (3000, "Sample.Periodic")),
    ]
    if end:
        info = {"stopped_reason": "EVDisconnected"}
        events.append(event("Ended", 3, transaction_id, (3500.5, "Transaction.End"), info=info))
    for each in events:
        if each.seq_no not in without:
            answer = await cp.call(each)
            assert (answer.id_token_info is not None) == (each.id_token is not None)


async def test_a_transaction_of_ocpp_201_becomes_a_row(stack: Stack, charge_point_id: str) -> None:
    name = new_id("T")
    async with stack.charge_point(charge_point_id) as cp:
        await play(cp, name, end=False)
        [running] = (await rows_of(stack, charge_point_id)).to_dict("records")
        assert (running["state"], running["energy_wh"], running["start_wh"]) == ("running", 2000, 1000)
        assert math.isnan(running["end_wh"])
        assert running["end"] is pd.NaT
        await play(cp, name)  # the first three come again
    frame = await rows_of(stack, charge_point_id)
    assert list(frame.columns) == COLUMNS
    assert frame.to_dict("records") == [
        {
            "charge_point_id": charge_point_id,
            "transaction_id": name,
            "evse": 2,
            "token": "TAG-1",
            "version": "2.0.1",
            "start": pd.Timestamp("2026-11-23T10:00:00Z"),
            "end": pd.Timestamp("2026-11-23T10:03:00Z"),
            "start_wh": 1000.0,
            "end_wh": 3500.5,
            "energy_wh": 2500.5,
            "state": "ended",
            "stopped_reason": "EVDisconnected",
            "missing": [],
        }
    ]


async def test_a_transaction_of_ocpp_16_becomes_a_row_and_a_retry_is_the_same_one(
    stack: Stack, charge_point_id: str
) -> None:
    start = call16.StartTransaction(
        connector_id=2, id_tag="TAG-1", meter_start=500, timestamp="2026-11-23T12:00:00+02:00", reservation_id=None
    )
    async with stack.charge_point(charge_point_id, version="1.6") as cp:
        started = await cp.call(start)
        assert await cp.call(start) == started
        value = {"timestamp": "2026-11-23T10:05:00Z", "sampled_value": [{"value": "0.9", "unit": "kWh"}]}
        meter_values = call16.MeterValues(connector_id=2, transaction_id=started.transaction_id, meter_value=[value])
        await cp.call(meter_values)
        [running] = (await rows_of(stack, charge_point_id)).to_dict("records")
        assert (running["state"], running["energy_wh"]) == ("running", 400)
        stop = call16.StopTransaction(
            transaction_id=started.transaction_id, meter_stop=1500, timestamp="2026-11-23T11:00:00Z"
        )
        for _ in range(2):
            assert (await cp.call(stop)).id_tag_info is None
        assert await cp.call(start) == started
    [row] = (await rows_of(stack, charge_point_id)).to_dict("records")
    assert row == {
        "charge_point_id": charge_point_id,
        "transaction_id": str(started.transaction_id),
        "evse": 2,
        "token": "TAG-1",
        "version": "1.6",
        "start": pd.Timestamp("2026-11-23T10:00:00Z"),
        "end": pd.Timestamp("2026-11-23T11:00:00Z"),
        "start_wh": 500.0,
        "end_wh": 1500.0,
        "energy_wh": 1000.0,
        "state": "ended",
        "stopped_reason": "Local",
        "missing": [],
    }


async def test_the_types_of_the_columns_do_not_depend_on_the_rows(
    stack: Stack, charge_point_id: str, boto: Boto
) -> None:
    """Also where an item holds little, or a time that is none."""
    table = boto.resource("TransactionsTable")
    key = {"chargePointId": {"S": charge_point_id}, "transactionId": {"S": "bare"}}
    boto("dynamodb").put_item(TableName=table, Item={**key, "startedAt": {"S": "yesterday"}})
    frame = await stack.transactions.to_frame()
    boto("dynamodb").delete_item(TableName=table, Key=key)
    types = {name: str(frame.dtypes[name]) for name in ("evse", "start", "end", "start_wh", "end_wh", "energy_wh")}
    assert types == {
        "evse": "Int64",
        "start": "datetime64[us, UTC]",
        "end": "datetime64[us, UTC]",
        "start_wh": "float64",
        "end_wh": "float64",
        "energy_wh": "float64",
    }
    [row] = frame[frame["transaction_id"] == "bare"].to_dict("records")
    assert row["start"] is pd.NaT
    assert row["missing"] == []


async def test_the_ledger_is_read_over_several_pages(stack: Stack, charge_point_id: str, boto: Boto) -> None:
    """A page of Scan holds 1 MB."""
    table, names = boto.resource("TransactionsTable"), [f"page-{number}" for number in range(6)]
    keys = [{"chargePointId": {"S": charge_point_id}, "transactionId": {"S": name}} for name in names]
    for key in keys:
        boto("dynamodb").put_item(TableName=table, Item={**key, "padding": {"S": "x" * 300_000}})
    assert "LastEvaluatedKey" in boto("dynamodb").scan(TableName=table)
    frame = await rows_of(stack, charge_point_id)
    for key in keys:
        boto("dynamodb").delete_item(TableName=table, Key=key)
    assert list(frame["transaction_id"]) == names


# -- Compared with stations --------------------------------------------------------------------------------------------


@dataclass
class Own:
    """A station that knows its own registers."""

    id: str
    rows: list[tuple[Any, float, float | None]]

    def truth(self) -> pd.DataFrame:
        frame = pd.DataFrame(self.rows, columns=["transaction_id", "start_wh", "end_wh"])
        return frame.assign(start=pd.Timestamp("2026-11-23T10:00:00Z"), end=pd.NaT)


async def test_compare_says_what_the_ledger_has_too_much_or_not_at_all(stack: Stack, charge_point_id: str) -> None:
    whole, holes, running, unknown = (new_id("T") for _ in range(4))
    async with stack.charge_point(charge_point_id) as cp:
        await play(cp, whole)
        await play(cp, holes, without=(1, 2))
        await play(cp, running, end=False)
    own = Own(charge_point_id, [(whole, 1000, 3500.5), (holes, 900, 3500), (running, 1000, None), (unknown, 0, 50)])
    frame = await stack.transactions.compare(own)
    assert list(frame.columns) == [
        "charge_point_id",
        "transaction_id",
        "ledger_wh",
        "station_wh",
        "difference_wh",
        "missing",
    ]
    assert list(frame["transaction_id"]) == [whole, holes, running, unknown]
    assert frame["ledger_wh"].to_list()[:3] == [2500.5, 2500.5, 2000]
    assert frame["station_wh"].to_list()[:2] == [2500.5, 2600]
    assert frame["difference_wh"].to_list()[:2] == [0, -99.5]
    assert frame["difference_wh"].isna().to_list() == [False, False, True, True]
    assert frame["missing"].to_list() == [[], [1, 2], [], []]


async def test_compare_takes_several_stations_and_the_integers_of_ocpp_16(stack: Stack, charge_point_id: str) -> None:
    other = new_id("LEDGER")
    await stack.things.create(other)
    async with stack.charge_point(charge_point_id, version="1.6") as cp:
        start = call16.StartTransaction(connector_id=1, id_tag="TAG", meter_start=0, timestamp="2026-11-23T10:00:00Z")
        number = (await cp.call(start)).transaction_id
        stop = call16.StopTransaction(transaction_id=number, meter_stop=70, timestamp="2026-11-23T11:00:00Z")
        await cp.call(stop)
    name = new_id("T")
    async with stack.charge_point(other) as cp:
        await play(cp, name)
    frame = await stack.transactions.compare(
        Own(charge_point_id, [(number, 0, 70), (None, 70, 80)]), Own(other, [(name, 1000, 3500.5)]), Own("idle", [])
    )
    assert frame["charge_point_id"].to_list() == [charge_point_id, charge_point_id, other]
    assert frame["transaction_id"].to_list() == [str(number), None, name]
    assert frame["difference_wh"].fillna(-1).to_list() == [0, -1, 0]


class OwnOfMany:
    """The truth of several stations in one table, as a fleet's result has it."""

    def __init__(self, *stations: Own) -> None:
        self._stations = stations

    def truth(self) -> pd.DataFrame:
        return pd.concat([own.truth().assign(charge_point_id=own.id) for own in self._stations], ignore_index=True)


async def test_compare_takes_the_truth_of_many_stations_in_one_table(stack: Stack, charge_point_id: str) -> None:
    other, names = new_id("LEDGER"), [new_id("T"), new_id("T")]
    await stack.things.create(other)
    for each, name in zip((charge_point_id, other), names, strict=True):
        async with stack.charge_point(each) as cp:
            await play(cp, name)
    truth = OwnOfMany(Own(charge_point_id, [(names[0], 1000, 3500.5)]), Own(other, [(names[1], 1000, 3400)]))
    frame = await stack.transactions.compare(truth, Own("idle", []))
    assert frame["charge_point_id"].to_list() == [charge_point_id, other]
    assert frame["difference_wh"].to_list() == [0, 100.5]


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_the_ledger_agrees_with_a_station(stack: Stack, charge_point_id: str, version: str) -> None:
    async with stack.station(charge_point_id, version=version, speed=math.inf, seed=1) as station:
        await station.charge(Vehicle(capacity_kwh=60, soc=0.3, max_kw=11, phases=3), token="TAG-1", until_soc=0.4)
        [row] = (await stack.transactions.compare(station)).to_dict("records")
    assert row["ledger_wh"] == pytest.approx(6000, abs=1)
    assert row["difference_wh"] == pytest.approx(0, abs=1)  # OCPP 1.6 has whole Wh at the start and at the end
    assert row["missing"] == []


@pytest.mark.parametrize(("quirk", "differences"), [("stop_twice", [0, 0]), ("register_rollback", [-367, -2200])])
async def test_the_ledger_of_an_awkward_station(
    stack: Stack, charge_point_id: str, quirk: str, differences: list[int]
) -> None:
    async with stack.station(charge_point_id, speed=math.inf, seed=1, quirks=[quirk]) as station:
        for _ in range(2):
            await station.charge(Vehicle(capacity_kwh=60, soc=0.3, max_kw=11, phases=3), token="TAG-1", minutes=10)
        compared = await stack.transactions.compare(station)
    assert compared["difference_wh"].round().to_list() == differences


async def test_compare_says_what_it_takes(stack: Stack, shared: LocalProcess) -> None:
    with pytest.raises(TypeError, match=r"compare\(\) needs a station"):
        await stack.transactions.compare()
    with pytest.raises(TypeError, match=r"compare\(\) takes stations, which have truth\(\), not 'CP1'"):
        await stack.transactions.compare("CP1")  # type: ignore[arg-type]
