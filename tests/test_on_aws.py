"""The walkthrough on a real AWS account: ``CPSIM_AWS_TEST_STACK=AwsOcppGatewayStack pytest -m aws``.

Needs a deployed AWS OCPP Gateway, and credentials with the permissions of iam-policy.json. Every name carries a random
suffix, and what a test made is deleted whether it passes or fails. Costs less than a cent.
"""

import contextlib
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace

import pytest
from ocpp.v201 import call, call_result

from cpsim_kit import Stack, errors

pytestmark = [pytest.mark.aws, pytest.mark.slow]

PATIENCE = 60  # seconds; the internet, a queue and a Lambda function that starts cold
RULE = "SELECT topic(1) AS chargePointId, timestamp() AS lastTimestamp FROM '+/in' WHERE get(*, 2) = 'Heartbeat'"


@pytest.fixture
async def stack() -> AsyncIterator[Stack]:
    """The deployed stack, by the tester's own environment; skips where there is none."""
    name = os.environ.get("CPSIM_AWS_TEST_STACK", "")
    if not name:
        pytest.skip("CPSIM_AWS_TEST_STACK names no CloudFormation stack of a deployed AWS OCPP Gateway")
    try:
        stack = await Stack.aws(name)
    except errors.NoCredentials as exc:
        pytest.skip(f"no AWS credentials: {exc}")
    try:
        yield stack
    finally:
        await stack.close()  # deletes what it made, and raises where something stays


@pytest.fixture
async def names(stack: Stack) -> AsyncIterator[SimpleNamespace]:
    """Names that nobody else uses; deleted in the end even where `stack.close()` knows nothing of them."""
    suffix = uuid.uuid4().hex[:8]
    names = SimpleNamespace(
        thing=f"CPSIM-TEST-{suffix}", stranger=f"CPSIM-NOBODY-{suffix}", rule=f"cpsim_test_{suffix}"
    )
    try:
        yield names
    finally:
        deletions: list[Callable[[], Awaitable[object]]] = [
            lambda: stack.things.delete(names.thing),
            lambda: stack._aws.call("iot.delete_topic_rule", ruleName=names.rule),
            lambda: stack._aws.call("dynamodb.delete_table", TableName=names.rule),
        ]
        for delete in deletions:
            with contextlib.suppress(errors.AwsError):  # it is gone already
                await delete()


async def test_the_walkthrough_on_aws(stack: Stack, names: SimpleNamespace) -> None:
    with pytest.raises(errors.NotRegistered):
        async with stack.charge_point(names.stranger) as cp:
            await cp.boot(timeout=PATIENCE)

    await stack.things.create(names.thing, {"site": "test"}, timeout=PATIENCE)
    async with (
        stack.rule(names.rule, sql=RULE, table=names.rule) as rule,
        stack.monitor(f"{names.thing}/in", f"{names.thing}/out") as monitor,
        stack.charge_point(names.thing, model="First", call_timeout=PATIENCE) as cp,
    ):
        boot = await cp.boot()
        assert boot.status == "Accepted"
        assert cp.heartbeat_interval == boot.interval
        assert len([beat async for beat in cp.heartbeats(count=2, interval=1)]) == 2

        shadow = await stack.shadow(names.thing).wait_for(lambda s: s.reported, timeout=PATIENCE)
        assert shadow.reported["chargingStation"]["model"] == "First"
        cp.model = "Second"
        await cp.boot()
        changed = await stack.shadow(names.thing).wait_for(lambda s: s.version > shadow.version, timeout=PATIENCE)
        assert changed.reported["chargingStation"]["model"] == "Second"
        desired = await stack.shadow(names.thing).update(desired={"limit": 16})
        assert desired.desired == {"limit": 16}
        with pytest.raises(errors.AwsError) as caught:
            await stack.shadow(names.thing).update(desired={"limit": 20}, version=shadow.version)
        assert caught.value.code == "ConflictException"

        seen = await monitor.take(8, timeout=PATIENCE)
        assert {message.action for message in seen} == {"BootNotification", "Heartbeat"}
        [row] = [row for row in await rule.wait_for_items(timeout=PATIENCE) if row["chargePointId"] == names.thing]
        assert row["lastTimestamp"] > 1e12

        cp.on("Reset", lambda **_: call_result.Reset(status="Accepted"))
        answer = await stack.send(names.thing, call.Reset(type="Immediate"), timeout=PATIENCE)
        assert answer.status == "Accepted"

        async with stack.charge_point(names.thing, call_timeout=PATIENCE) as newer:
            closed = await cp.wait_closed(timeout=PATIENCE)
            assert (closed.code, closed.reason) == (1000, "")
            await newer.heartbeat()


async def test_bad_sql_is_refused_by_aws_itself(stack: Stack, names: SimpleNamespace) -> None:
    with pytest.raises(errors.AwsError) as caught:
        await stack.rule(names.rule, sql="SELECT topic( FROM 'a'", table=names.rule)
    assert caught.value.code == "SqlParseException"


async def test_many_things_on_aws(stack: Stack, names: SimpleNamespace) -> None:
    ids = [f"{names.thing}-{number}" for number in range(5)]
    try:
        result = await stack.things.create_many(ids, progress=False, timeout=PATIENCE)
        assert sorted(result.done) == sorted(ids)
        assert (await stack.things.create_many(ids, progress=False, timeout=PATIENCE)).kept == ids
    finally:
        result = await stack.things.delete_many(ids, progress=False, timeout=PATIENCE)
    assert not result.failed


async def test_the_gateways_tasks_are_seen_on_aws(stack: Stack) -> None:
    async with stack.watch_gateway() as watch:
        frame = watch.to_frame()
    assert frame.running_tasks[0] >= 1
    assert set(frame.source) == {"ecs"}
