"""Traces of exchanges hop by hop: on the local stack, and by hand where a message is lost, late, or comes twice."""

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pandas as pd
import pytest
from conftest import MS, SOON
from csms_stub import Csms, Link, both, close, garbage, silent
from csms_stub import answer as answering
from csms_stub import error as failing
from matplotlib.figure import Figure
from ocpp.v201 import call
from stack_fixtures import eventually

from cpsim_kit import ChargePoint, Stack, errors, plots
from cpsim_kit.observe.trace import COLUMNS, HOP_COLUMNS, Trace
from cpsim_kit.records import MessageLog

Register = Callable[[], Awaitable[str]]

ENDED = 20 * MS  # for an answer that never comes


@pytest.fixture
async def cp(stack: Stack, register: Register) -> AsyncIterator[ChargePoint]:
    """A charge point at the session's stack."""
    async with stack.charge_point(await register()) as charge_point:
        yield charge_point


class Seen:
    """A monitor that sees what it is told, for what no broker does when asked: copies twice, lost, out of order."""

    filters = ("CP1/in", "CP1/out")

    def __init__(self) -> None:
        self.messages = MessageLog()
        self.is_open = False

    def __len__(self) -> int:
        return len(self.messages)

    async def __aenter__(self) -> None:
        self.is_open = True

    async def close(self) -> None:
        self.is_open = False

    def see(self, topic: str, frame: Any) -> None:
        self.messages.add(time.perf_counter(), json.dumps(frame), topic=topic)

    def see_all(self, csms: Csms, *, boots: int = 0) -> None:
        """A copy of each CALL and of its answer, and the versions of as many boots."""
        for asked in csms.calls:
            self.see("CP1/in", [2, asked.message_id, asked.action, asked.payload])
            self.see("CP1/out", [3, asked.message_id, {}])
        for version, asked in enumerate(csms.calls[:boots], start=1):
            self.see_shadow(version, asked.payload)

    def see_shadow(self, version: int, reported: Any) -> None:
        document = {"current": {"version": version, "state": {"reported": reported}}}
        self.see("$aws/things/CP1/shadow/update/documents", document)


@asynccontextmanager
async def by_hand(csms: Csms, *, settle: float = 5.0) -> AsyncIterator[tuple[ChargePoint, Seen, Trace]]:
    """A charge point at the stub, the monitor of its trace, and the trace."""
    monitor = Seen()
    async with ChargePoint("CP1", csms.url) as charge_point:
        yield charge_point, monitor, Trace(monitor, charge_point, settle=settle)  # type: ignore[arg-type]


def column(trace: Trace, name: str) -> list[Any]:
    return list(trace.to_frame()[name])


# -- On the local stack -----------------------------------------------------------------------------------------------


async def test_a_boot_is_seen_on_every_hop_with_its_shadow_version(stack: Stack, cp: ChargePoint) -> None:
    async with stack.trace(cp) as trace:
        await cp.boot()
    (row,) = trace.to_frame().itertuples()
    assert (row.charge_point_id, row.action, row.outcome) == (cp.id, "BootNotification", "answered")
    assert row.shadow_version == (await stack.shadow(cp.id)).version
    assert 0 < row.in_ms < row.out_ms
    assert 0 < row.in_ms < row.shadow_ms
    hops = trace.hops(row.message_id)
    assert list(hops.hop) == ["sent", "in", "shadow", "out", "received"]
    assert list(hops.kind) == ["CALL", "CALL", "", "CALLRESULT", "CALLRESULT"]
    assert list(hops.place[:3]) == [f"{cp.id} sends", f"{cp.id}/in", f"shadow version {row.shadow_version}"]
    assert list(hops.after_ms) == pytest.approx([0, row.in_ms, row.shadow_ms, row.out_ms, row.latency_ms])
    assert list(hops.took_ms.cumsum()) == pytest.approx(list(hops.after_ms))


async def test_two_boots_with_the_same_payload_have_two_versions_in_order(stack: Stack, cp: ChargePoint) -> None:
    async with stack.trace(cp) as trace:
        for _ in range(5):
            await cp.boot()
            await cp.heartbeat()
    frame = trace.to_frame()
    boots = frame[frame.action == "BootNotification"]
    first = boots.shadow_version.iloc[0]
    assert list(boots.shadow_version) == [first + n for n in range(5)]
    assert frame[frame.action == "Heartbeat"].shadow_version.isna().all()
    assert frame[["in_ms", "out_ms", "latency_ms"]].notna().all(axis=None)


async def test_every_exchange_is_whole_once_the_block_is_left(stack: Stack, cp: ChargePoint) -> None:
    async with stack.trace(cp) as trace:
        for _ in range(100):
            await cp.heartbeat()
    frame = trace.to_frame()
    assert len(frame) == 100
    assert frame.message_id.is_unique
    assert frame[["in_ms", "out_ms", "latency_ms"]].notna().all(axis=None)
    assert (frame.out_ms > frame.in_ms).all(), "copies of one connection keep their order"
    assert (frame.latency_ms > 0).all()


async def test_latency_is_the_records_own(stack: Stack, cp: ChargePoint) -> None:
    async with stack.trace(cp) as trace:
        await cp.heartbeat()
    (answer,) = (record for record in cp.messages if record.direction == "received")
    assert column(trace, "latency_ms") == pytest.approx([answer.latency_ms], abs=0.002)  # microseconds of the record


async def test_what_is_said_outside_the_block_and_what_the_csms_asks_are_not_there(
    stack: Stack, cp: ChargePoint
) -> None:
    await cp.boot()
    async with stack.trace(cp) as trace:
        await stack.publish(f"{cp.id}/out", [2, "asked", "Reset", {"type": "Immediate"}])
        await cp.heartbeat()
    await cp.boot()
    assert column(trace, "action") == ["Heartbeat"]
    assert "1 exchanges" in repr(trace)


async def test_a_callerror_is_followed_and_is_no_answered_call(stack: Stack, cp: ChargePoint) -> None:
    async with stack.trace(cp) as trace:
        with pytest.raises(errors.CallFailed):
            await cp.call(call.Reset(type="Immediate"))  # which only a CSMS sends
    assert column(trace, "outcome") == ["CALLERROR"]
    assert list(trace.hops().kind) == ["CALL", "CALL", "CALLERROR", "CALLERROR"]


async def test_a_trace_goes_on_over_a_reconnect(stack: Stack, cp: ChargePoint) -> None:
    async with stack.trace(cp) as trace:
        await cp.heartbeat()
        await cp.close()
        with pytest.raises(errors.ConnectionLost):
            await cp.heartbeat()
        await cp
        await cp.heartbeat()
    assert column(trace, "outcome") == ["answered", "answered"]
    assert trace.to_frame()[["in_ms", "out_ms"]].notna().all(axis=None)


async def test_two_traces_of_one_charge_point_see_the_same(stack: Stack, cp: ChargePoint) -> None:
    async with stack.trace(cp) as one, stack.trace(cp) as other:
        await cp.heartbeat()
    assert column(one, "message_id") == column(other, "message_id")
    assert column(one, "latency_ms") == column(other, "latency_ms")


async def test_a_trace_entered_again_begins_anew_and_not_twice_at_once(stack: Stack, cp: ChargePoint) -> None:
    trace = stack.trace(cp)
    assert "not entered" in repr(trace)
    async with trace:
        await cp.boot()
        with pytest.raises(RuntimeError, match="open already"):
            await trace.__aenter__()
        await cp.heartbeat()
    assert column(trace, "action") == ["BootNotification", "Heartbeat"]
    assert "2 exchanges" in repr(trace)
    async with trace:
        await cp.heartbeat()
    assert column(trace, "action") == ["Heartbeat"]


async def test_an_interrupt_closes_the_monitor_and_keeps_what_was_seen(stack: Stack, cp: ChargePoint) -> None:
    trace = stack.trace(cp)
    beating = asyncio.Event()

    async def beat() -> None:
        async with trace:
            async for _ in cp.heartbeats(interval=MS):
                beating.set()

    task = asyncio.create_task(beat())
    await beating.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(trace.to_frame()) >= 1
    assert cp.is_open
    assert " closed, " in repr(trace._monitor)


async def test_only_a_charge_point_is_traced(stack: Stack) -> None:
    with pytest.raises(TypeError, match="takes a ChargePoint"):
        stack.trace("CP1")  # type: ignore[arg-type]


# -- Copies that come twice, late, or not at all -----------------------------------------------------------------------


async def test_of_what_came_twice_the_first_counts(csms: Csms) -> None:
    csms.on["*"] = both(answering(), answering())
    async with by_hand(csms) as (cp, monitor, trace):
        async with trace:
            await cp.boot()
            monitor.see_all(csms, boots=1)
            first = trace.to_frame()
            await eventually(lambda: cp.ignored["duplicate"])
            monitor.see_all(csms, boots=1)
        pd.testing.assert_frame_equal(trace.to_frame(), first)
        assert cp.ignored == {"duplicate": 1}


async def test_a_version_delivered_twice_is_not_the_next_boots(csms: Csms) -> None:
    async with by_hand(csms) as (cp, monitor, trace):
        async with trace:
            await cp.boot()
            await cp.boot()
            monitor.see_all(csms)
            for version in (1, 1, 2):
                monitor.see_shadow(version, csms.calls[0].payload)
        assert column(trace, "shadow_version") == [1, 2]


async def test_a_version_seen_after_the_next_boot_was_sent_is_the_first_ones(csms: Csms) -> None:
    async with by_hand(csms) as (cp, monitor, trace):
        async with trace:
            await cp.boot()
            await cp.boot(reason="Triggered")
            await cp.boot()
            monitor.see_all(csms, boots=3)
        assert column(trace, "shadow_version") == [1, 2, 3]


async def test_a_boot_that_never_arrived_has_no_version(csms: Csms) -> None:
    csms.once.append(close(1001, "gone"))
    async with by_hand(csms) as (cp, monitor, trace):
        async with trace:
            with pytest.raises(errors.ConnectionLost):
                await cp.boot()
            await cp
            await cp.boot()
            del csms.calls[0]
            monitor.see_all(csms, boots=1)
        assert column(trace, "outcome") == ["no answer", "answered"]
        versions = trace.to_frame().shadow_version
        assert versions.isna().tolist() == [True, False]


async def test_a_lost_answer_leaves_its_hops_out_and_is_not_waited_for(csms: Csms) -> None:
    csms.on["Heartbeat"] = silent
    async with by_hand(csms, settle=100 * SOON) as (cp, monitor, trace):
        async with asyncio.timeout(SOON):
            async with trace:
                with pytest.raises(errors.CallTimeout) as lost:
                    await cp.heartbeat(timeout=ENDED)
                monitor.see("CP1/in", [2, lost.value.message_id, "Heartbeat", {}])
        (row,) = trace.to_frame().itertuples()
        assert row.outcome == "no answer"
        assert row.in_ms > 0
        assert math.isnan(row.out_ms)
        assert math.isnan(row.latency_ms)
        assert list(trace.hops(lost.value.message_id).hop) == ["sent", "in"]


async def test_a_boot_answered_by_callerror_is_not_waited_for_in_the_shadow(csms: Csms) -> None:
    csms.on["*"] = failing("InternalError", "no", {})
    async with by_hand(csms, settle=100 * SOON) as (cp, monitor, trace):
        async with asyncio.timeout(SOON):
            async with trace:
                with pytest.raises(errors.CallFailed):
                    await cp.boot()
                message_id = csms.calls[0].message_id
                monitor.see("CP1/in", [2, message_id, "BootNotification", csms.calls[0].payload])
                monitor.see("CP1/out", [4, message_id, "InternalError", "no", {}])
        assert list(trace.hops().kind) == ["CALL", "CALL", "CALLERROR", "CALLERROR"]


async def test_copies_that_do_not_come_are_waited_for_and_then_missing(csms: Csms) -> None:
    async with by_hand(csms, settle=ENDED) as (cp, monitor, trace):
        async with trace:
            await cp.heartbeat()
        assert not monitor.is_open
        assert list(trace.hops().hop) == ["sent", "received"]
        assert column(trace, "outcome") == ["answered"]
        with pytest.raises(ValueError, match="nothing to plot: the table has no exchange"):
            plots.hops(trace.to_frame())


async def test_what_is_no_answer_is_not_taken_for_one(csms: Csms) -> None:
    async def nonsense_first(link: Link, asked: Any) -> None:
        await garbage([9, asked.message_id, {}])(link, asked)
        await link.answer(asked)

    csms.on["Heartbeat"] = nonsense_first
    async with by_hand(csms) as (cp, monitor, trace):
        async with trace:
            await cp.heartbeat()
            monitor.see("CP1/out", [9, csms.calls[0].message_id, {}])
            monitor.see_all(csms)
        assert list(trace.hops().kind) == ["CALL", "CALL", "CALLRESULT", "CALLRESULT"]
        answer = next(record for record in cp.messages if record.kind == "CALLRESULT")
        assert column(trace, "latency_ms") == pytest.approx([answer.latency_ms], abs=0.002)


@pytest.mark.parametrize("document", ["text", 1, {}, {"current": 1}, {"current": {"state": {"reported": 1}}}])
async def test_what_is_no_shadow_document_is_no_version(csms: Csms, document: Any) -> None:
    async with by_hand(csms, settle=ENDED) as (cp, monitor, trace):
        async with trace:
            await cp.boot()
            monitor.see("$aws/things/CP1/shadow/update/documents", document)
        assert trace.to_frame().shadow_version.isna().all()


async def test_the_monitor_is_closed_when_the_block_fails(csms: Csms) -> None:
    async def fail(charge_point: ChargePoint, trace: Trace) -> None:
        async with trace:
            await charge_point.heartbeat()
            raise ZeroDivisionError

    async with by_hand(csms) as (cp, monitor, trace):
        with pytest.raises(ZeroDivisionError):
            await fail(cp, trace)
        assert not monitor.is_open
        assert column(trace, "outcome") == ["answered"]


# -- Tables and pictures ----------------------------------------------------------------------------------------------


async def test_an_empty_trace_has_the_same_columns_and_types(csms: Csms) -> None:
    async with by_hand(csms) as (cp, monitor, trace):
        async with trace:
            empty = trace.to_frame()
            await cp.heartbeat()
            monitor.see_all(csms)
        full = trace.to_frame()
    assert tuple(empty.columns) == tuple(full.columns) == COLUMNS
    plain = [name for name in COLUMNS if str(empty.dtypes[name]) != "category"]
    assert empty.dtypes[plain].equals(full.dtypes[plain])
    assert tuple(trace.hops().columns) == HOP_COLUMNS


async def test_hops_of_an_unknown_exchange_say_what_to_do(csms: Csms) -> None:
    async with by_hand(csms) as (cp, monitor, trace):
        with pytest.raises(ValueError, match="no exchange; the block"):
            trace.hops()
        async with trace:
            await cp.heartbeat()
            monitor.see_all(csms)
        with pytest.raises(ValueError, match="no exchange with the message id 'nobody'"):
            trace.hops("nobody")
        with pytest.raises(ValueError, match="no exchange with the message id ''"):
            trace.hops("")
        assert "1 exchanges" in trace._repr_html_()


async def test_the_diagram_names_each_message_as_it_was(csms: Csms) -> None:
    csms.on["*"] = failing("InternalError", "no", {})
    async with by_hand(csms) as (cp, monitor, trace):
        async with trace:
            with pytest.raises(errors.CallFailed):
                await cp.heartbeat()
            monitor.see("CP1/in", [2, csms.calls[0].message_id, "Heartbeat", {}])
            monitor.see("CP1/out", [4, csms.calls[0].message_id, "InternalError", "no", {}])
        ax = plots.sequence(trace.hops(), title="refused", ax=Figure().subplots())
    texts = [text.get_text() for text in ax.texts]
    for words in ("charge point CP1", "CALL, sent", "CALL, seen on CP1/in", "CALLERROR, seen on CP1/out"):
        assert words in texts
    assert "CALLERROR, received" in texts
    assert not any("CALLRESULT" in text for text in texts)
    with pytest.raises(ValueError, match="no hops"):
        plots.sequence(trace.hops().head(0))
