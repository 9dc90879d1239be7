"""stack.watch_gateway: the gateway's tasks, CPU and memory.

ministack serves ECS and CloudWatch well enough that nothing here is a recorded answer: cluster, service and metrics are
made by plain boto3, and found through a CloudFormation stack as on AWS. Two things are not as on AWS. ministack starts
no containers here, so that ``runningCount`` is whatever is desired; and ECS publishes no metrics, so the tests do it in
its place. What AWS says only when it is unwell (throttled, denied) comes from the proxy of aws_proxy.py.
"""

import asyncio
import contextlib
import json
import logging
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import psutil
import pytest
from aws_proxy import AwsProxy
from conftest import MS, SOON, cpsim_tasks, until
from stack_fixtures import READERS_VARIABLES, Boto, new_id

from cpsim_kit import Fleet, Stack, errors
from cpsim_kit.aws.deployment import OUTPUT_KEY
from cpsim_kit.fleet import FleetResult
from cpsim_kit.local.launcher import LocalOptions, LocalProcess
from cpsim_kit.local.template import PROCESS_KEY
from cpsim_kit.local.usage import OtherProcess, this_process
from cpsim_kit.observe.gateway_watch import COLUMNS, GatewayWatch, LocalGateway

DTYPES = {
    "seen_at": "datetime64[ns, UTC]",
    "running_tasks": "Int64",
    "desired_tasks": "Int64",
    "cpu_percent": "float64",
    "memory_percent": "float64",
    "memory_mib": "float64",
    "source": "category",
}
TASK = "cpsim[gateway].watch"
EVERY = 20 * MS  # seconds between two looks

CLUSTER = {"Type": "AWS::ECS::Cluster"}
TASK_DEFINITION = {
    "Type": "AWS::ECS::TaskDefinition",
    "Properties": {"ContainerDefinitions": [{"Name": "gateway", "Image": "gateway", "Memory": 1024}]},
}


def service(desired: int = 1, **properties: object) -> dict[str, object]:
    """A service in a template; in the template's cluster unless told otherwise."""
    where = {"Cluster": {"Ref": "Cluster"}, "TaskDefinition": {"Ref": "TaskDefinition"}, "DesiredCount": desired}
    return {"Type": "AWS::ECS::Service", "Properties": where | properties}


class Deployed:
    """A gateway that was deployed by CloudFormation, with an ECS service, or as a local stack says it is one."""

    def __init__(self, boto: Boto, *, process: str = "", **services: dict[str, object]) -> None:
        self.name = new_id("Gateway")
        self.boto = boto
        resources = {"Cluster": CLUSTER, "TaskDefinition": TASK_DEFINITION, **services}
        output = {OUTPUT_KEY: {"Value": boto.process.websocket_url}}
        if process:
            output[PROCESS_KEY] = {"Value": process}
        body = json.dumps({"Resources": resources, "Outputs": output})
        boto("cloudformation").create_stack(StackName=self.name, TemplateBody=body)
        waiter = boto("cloudformation").get_waiter("stack_create_complete")
        waiter.wait(StackName=self.name, WaiterConfig={"Delay": 0.02, "MaxAttempts": 500})
        found = boto("cloudformation").describe_stack_resources(StackName=self.name)["StackResources"]
        physical = {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in found}
        self.cluster = physical["Cluster"].rsplit("/", 1)[-1]
        self.services = {logical: physical[logical].rsplit("/", 1)[-1] for logical in services}

    def attach(self, endpoint_url: str = "") -> contextlib.AbstractAsyncContextManager[Stack]:
        return Stack.aws(self.name, endpoint_url=endpoint_url or self.boto.process.endpoint_url)

    def scale(self, desired: int) -> None:
        [name] = self.services.values()
        self.boto("ecs").update_service(cluster=self.cluster, service=name, desiredCount=desired)

    def publish(self, metric: str, value: float, at: datetime, name: str = "") -> None:
        """A value of a minute, as ECS sends it to CloudWatch."""
        dimensions = {"ClusterName": self.cluster, "ServiceName": name or next(iter(self.services.values()))}
        datum = {
            "MetricName": metric,
            "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions.items()],
            "Timestamp": at,
            "Value": value,
            "Unit": "Percent",
        }
        self.boto("cloudwatch").put_metric_data(Namespace="AWS/ECS", MetricData=[datum])


@pytest.fixture
def deploy(boto: Boto, credentials: pytest.MonkeyPatch) -> Callable[..., Deployed]:
    """Deploys a gateway with the ECS services of these logical ids; one unless told otherwise."""
    return lambda **services: Deployed(boto, **(services or {"Service": service()}))


@pytest.fixture
async def unwell(shared: LocalProcess, credentials: pytest.MonkeyPatch) -> AsyncIterator[AwsProxy]:
    """The way to an AWS that can be unwell; asked once, as boto3's own retries take seconds."""
    credentials.setenv("AWS_MAX_ATTEMPTS", "1")
    async with AwsProxy(shared.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def local(shared: LocalProcess) -> GatewayWatch:
    """A watch of the session's local stack, as the object that started it makes one."""
    return GatewayWatch(LocalGateway(shared), every=EVERY)


async def looks(watch: GatewayWatch, more: int) -> None:
    """Wait for so many more looks."""
    enough = len(watch) + more
    await until(lambda: len(watch) >= enough, f"{more} more looks")


def check(frame: pd.DataFrame) -> None:
    """A table has the columns, whatever its rows."""
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == DTYPES
    assert tuple(frame.columns) == COLUMNS
    assert frame.seen_at.is_monotonic_increasing


# -- An ECS service ---------------------------------------------------------------------------------------------------


async def test_tasks_are_seen_while_the_service_scales(deploy: Callable[..., Deployed]) -> None:
    gateway = deploy()
    async with gateway.attach() as stack, stack.watch_gateway(every=EVERY) as watch:
        await looks(watch, 2)
        gateway.scale(4)
        await until(lambda: watch.to_frame().desired_tasks.iloc[-1] == 4, "four tasks")
        assert f"<GatewayWatch {gateway.cluster}/{gateway.services['Service']} open" in repr(watch)
        assert "4 of 4 tasks" in repr(watch)
    frame = watch.to_frame()
    check(frame)
    assert set(frame.running_tasks) == set(frame.desired_tasks) == {1, 4}
    assert frame.desired_tasks.is_monotonic_increasing
    assert set(frame.source) == {"ecs"}
    assert watch.error is None
    assert "4 of 4 tasks" in watch._repr_html_()


async def test_values_of_cloudwatch_come_late_and_stand_at_their_own_minute(deploy: Callable[..., Deployed]) -> None:
    gateway = deploy()
    async with gateway.attach() as stack:
        async with stack.watch_gateway(every=EVERY) as watch:
            await looks(watch, 1)
        seen = watch.to_frame()
        assert seen.cpu_percent.isna().all()
        first, last = seen.seen_at.iloc[0], seen.seen_at.iloc[-1]
        for minutes, cpu in ((-1, 11.0), (0, 40.0)):  # the minute before the watch is nobody's
            gateway.publish("CPUUtilization", cpu, first.floor("min") + timedelta(minutes=minutes, seconds=5))
        gateway.publish("MemoryUtilization", 12.5, first.floor("min"))
        gateway.publish("CPUUtilization", 99.0, first, name="another service")
        await watch.refresh()
        frame = watch.to_frame()
    check(frame)
    same_minute = frame.seen_at.dt.floor("min") == first.floor("min")
    assert set(frame.cpu_percent[same_minute]) == {40.0}
    assert set(frame.memory_percent[same_minute]) == {12.5}
    assert frame.cpu_percent[~same_minute].isna().all()
    assert frame.memory_mib.isna().all()
    assert last - first < timedelta(minutes=1), "or the test was too slow to say anything"


async def test_a_value_that_comes_while_watching_is_in_the_rows(deploy: Callable[..., Deployed]) -> None:
    gateway = deploy()
    async with gateway.attach() as stack, stack.watch_gateway(every=EVERY) as watch:
        now = datetime.now(UTC)
        for minutes in (-1, 0, 1):  # a minute may end between the first look and the last one
            gateway.publish("CPUUtilization", 61.0, now + timedelta(minutes=minutes))
        await until(lambda: not watch.to_frame().cpu_percent.isna().all(), "the value")
        assert "61 % CPU" in repr(watch)


async def test_which_of_several_services_is_watched_must_be_said(deploy: Callable[..., Deployed]) -> None:
    gateway = deploy(Gateway=service(2), Other=service(3))
    async with gateway.attach() as stack:
        with pytest.raises(errors.AwsError, match=r"several ECS services: .*Gateway.*service="):
            await stack.watch_gateway().__aenter__()
        for said in ("Gateway", gateway.services["Gateway"]):
            async with stack.watch_gateway(service=said) as watch:
                assert watch.to_frame().desired_tasks.tolist() == [2]
        with pytest.raises(errors.NotFound, match=r"no ECS service Nobody .*Gateway") as caught:
            await stack.watch_gateway(service="Nobody").__aenter__()
        assert (caught.value.kind, caught.value.name) == ("ECS service", "Nobody")


async def test_a_cluster_of_another_stack_is_found_by_the_services_arn(
    boto: Boto, deploy: Callable[..., Deployed]
) -> None:
    elsewhere = new_id("cluster")
    boto("ecs").create_cluster(clusterName=elsewhere)
    gateway = deploy(Service=service(5, Cluster=elsewhere))
    async with gateway.attach() as stack, stack.watch_gateway() as watch:
        assert watch.to_frame().running_tasks.tolist() == [5]
        assert elsewhere in repr(watch)


@pytest.mark.parametrize("process", ["", "none", "7"])
async def test_without_service_and_process_the_error_says_what_was_looked_for(
    boto: Boto, credentials: pytest.MonkeyPatch, process: str
) -> None:
    async with Deployed(boto, process=process).attach() as stack:
        with pytest.raises(
            errors.NotFound, match=r"AWS::ECS::Service among its .*nested.*older.*cpsim stack"
        ) as caught:
            await stack.watch_gateway().__aenter__()
    assert caught.value.kind == "ECS service"
    assert not cpsim_tasks()


async def test_a_service_that_was_deleted_is_not_found(deploy: Callable[..., Deployed], boto: Boto) -> None:
    gateway = deploy()
    async with gateway.attach() as stack, stack.watch_gateway(every=EVERY) as watch:
        boto("ecs").delete_service(cluster=gateway.cluster, service=gateway.services["Service"], force=True)
        await until(lambda: watch.error, "the error")
        assert isinstance(watch.error, errors.NotFound)
        with pytest.raises(errors.NotFound, match="no ECS service"):
            await stack.watch_gateway().__aenter__()
    assert watch.to_frame().running_tasks.isna().iloc[-1]


# -- AWS is unwell ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "permission"),
    [
        ("ListStackResources", "cloudformation.list_stack_resources"),
        ("DescribeServices", "ecs.describe_services"),
        ("GetMetricData", "cloudwatch.get_metric_data"),
    ],
)
async def test_what_is_denied_from_the_start_is_raised_when_entering(
    deploy: Callable[..., Deployed], unwell: AwsProxy, operation: str, permission: str
) -> None:
    async with deploy().attach(unwell.url) as stack:
        unwell.fail(operation, "AccessDeniedException", times=None)
        watch = stack.watch_gateway(every=EVERY)
        with pytest.raises(errors.AwsError, match=f"{permission} .*lack this permission") as caught:
            await watch.__aenter__()
        assert caught.value.verb == permission
        assert not cpsim_tasks()
        unwell.heal()
        async with watch:  # the same object, once somebody has allowed it
            await looks(watch, 1)


async def test_an_error_while_watching_is_kept_and_said_once(
    deploy: Callable[..., Deployed], unwell: AwsProxy, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cpsim.watch")
    async with deploy().attach(unwell.url) as stack, stack.watch_gateway(every=EVERY) as watch:
        unwell.fail("DescribeServices", "ServerException", status=500, times=None)
        await until(lambda: watch.failed >= 3, "three failures")
        assert "no answer" in repr(watch)
        unwell.heal()
        failed = watch.failed
        await until(lambda: watch.to_frame().running_tasks.notna().iloc[-1], "a look that succeeds")
    assert isinstance(watch.error, errors.AwsError)
    assert watch.error.code == "ServerException"
    frame = watch.to_frame()
    check(frame)
    assert frame.running_tasks.isna().sum() == watch.failed >= failed
    assert frame.running_tasks.notna().iloc[[0, -1]].all()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "ServerException" in said[0]
    assert "again" in said[1]


async def test_throttling_does_not_end_it(deploy: Callable[..., Deployed], unwell: AwsProxy) -> None:
    async with deploy().attach(unwell.url) as stack, stack.watch_gateway(every=EVERY) as watch:
        unwell.fail("DescribeServices", "ThrottlingException")
        await until(lambda: watch.failed, "the failure")
        assert isinstance(watch.error, errors.AwsError)
        assert watch.error.code == "ThrottlingException"
        assert TASK in cpsim_tasks()


async def test_tasks_are_kept_where_only_the_metrics_fail(deploy: Callable[..., Deployed], unwell: AwsProxy) -> None:
    async with deploy().attach(unwell.url) as stack, stack.watch_gateway(every=EVERY) as watch:
        unwell.cut("GetMetricData", times=None)
        await until(lambda: watch.failed >= 2, "two failures")
    assert set(watch.to_frame().running_tasks) == {1}


# -- A local stack ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_local_stack_is_measured_while_a_fleet_runs(environment: pytest.MonkeyPatch) -> None:
    mpl.use("agg")
    async with Stack.local(name=new_id("Watched")) as stack:
        fleet = Fleet(stack, size=5, ramp_time=0, heartbeat_interval=10 * MS)
        async with stack.watch_gateway(every=5 * EVERY) as watch:
            assert len(watch) == 1
            assert math.isnan(watch.to_frame().cpu_percent[0]), "nothing was before the first look"
            result = await fleet.run(1500 * MS, progress=False)
            await until(lambda: watch.to_frame().cpu_percent.max() > 0, "CPU above 0")
        later = stack.watch_gateway(every=EVERY)
        await later.__aenter__()
        assert TASK in cpsim_tasks()
    assert TASK not in cpsim_tasks(), "stack.close() ends it"
    await later.close()
    frame = watch.to_frame()
    check(frame)
    check(later.to_frame())
    assert set(frame.running_tasks) == set(frame.desired_tasks) == {1}
    assert set(frame.source) == {"process"}
    assert (frame.memory_mib > 10).all()
    assert frame.memory_percent.between(0, 100).all()
    drawn = watch.plot(result)
    assert drawn[2].lines[0].get_xydata().tolist() == [[at, connected] for at, connected, _ in result.samples]
    plt.close("all")
    with pytest.raises(errors.LocalStackError, match="stopped"):
        await watch.__aenter__()


@pytest.mark.usefixtures("environment")
async def test_a_local_stack_that_dies_while_watched_has_no_tasks(caplog: pytest.LogCaptureFixture) -> None:
    process = await asyncio.to_thread(LocalProcess, LocalOptions(name=new_id("Dying")))
    try:
        async with GatewayWatch(LocalGateway(process), every=EVERY) as watch:
            await looks(watch, 2)
            os.kill(process.pid, signal.SIGKILL)
            await until(lambda: watch.failed >= 2, "the end")
        frame = watch.to_frame()
        check(frame)
        assert frame.running_tasks.iloc[0] == 1
        assert frame.running_tasks.iloc[-1] == 0
        assert frame.desired_tasks.iloc[-1] == 1
        assert math.isnan(frame.cpu_percent.iloc[-1])
        assert isinstance(watch.error, errors.LocalStackError)
        assert [record.name for record in caplog.records] == ["cpsim.watch"]
        with pytest.raises(errors.LocalStackError, match="has died"):
            await GatewayWatch(LocalGateway(process)).__aenter__()
    finally:
        process.stop()


@pytest.fixture
def started() -> Iterator[subprocess.Popen[str]]:
    """``cpsim stack --json``, as in another terminal."""
    environment = {name: value for name, value in os.environ.items() if not name.upper().startswith(READERS_VARIABLES)}
    command = [sys.executable, "-m", "cpsim_kit.cli", "stack", "--json", "--thing", "CP1"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.terminate()


async def test_a_local_stack_of_another_program_is_measured_until_it_ends(
    started: subprocess.Popen[str], credentials: pytest.MonkeyPatch
) -> None:
    assert started.stdout is not None
    addresses = json.loads(await asyncio.to_thread(started.stdout.readline))
    credentials.setenv("AWS_ACCESS_KEY_ID", addresses["access_key_id"])
    credentials.setenv("AWS_SECRET_ACCESS_KEY", addresses["secret_access_key"])
    [gateway] = psutil.Process(started.pid).children()
    async with Stack.aws(addresses["stack_name"], endpoint_url=addresses["endpoint_url"]) as stack:
        async with stack.watch_gateway(every=EVERY) as watch, stack.charge_point("CP1") as charge_point:
            while not watch.to_frame().cpu_percent.max() > 0:
                await charge_point.boot()
            assert f"process {gateway.pid}" in repr(watch)
        seen = watch.to_frame()
        assert watch.error is None
        check(seen)
        assert set(seen.running_tasks) == set(seen.desired_tasks) == {1}
        assert set(seen.source) == {"process"}
        assert (seen.memory_mib > 10).all()
        async with stack.watch_gateway(every=EVERY) as watch:
            gateway.kill()
            await until(lambda: watch.failed >= 2, "the end")
        assert watch.to_frame().running_tasks.iloc[-1] == 0
        assert isinstance(watch.error, errors.LocalStackError)
        with pytest.raises(errors.LocalStackError, match=f"process {gateway.pid} is not on this computer"):
            await stack.watch_gateway().__aenter__()


async def test_a_process_of_the_same_id_on_another_computer_is_not_measured(
    boto: Boto, credentials: pytest.MonkeyPatch
) -> None:
    async with Deployed(boto, process=f"{os.getpid()} 1.50").attach() as stack:
        with pytest.raises(errors.LocalStackError, match="another computer or in a container"):
            await stack.watch_gateway().__aenter__()


def test_a_process_that_names_itself_is_found() -> None:
    found = OtherProcess.parse(this_process())
    assert found is not None
    assert (found.pid, found.is_running, found.why_dead()) == (os.getpid(), True, None)


# -- Its life ---------------------------------------------------------------------------------------------------------


async def test_before_the_first_look_the_table_has_its_columns(local: GatewayWatch) -> None:
    check(local.to_frame())
    assert len(local.to_frame()) == len(local) == 0
    assert "not open, 0 looks" in repr(local)
    await local.close()
    await local.refresh()


async def test_a_local_stack_has_no_services_and_says_so(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    async with stack.watch_gateway(service="Gateway", every=EVERY) as watch:
        assert len(watch) == 1
    assert "watch_gateway(service='Gateway'): a local stack has no ECS services" in caplog.text


async def test_the_table_grows_while_it_watches_and_not_after(local: GatewayWatch) -> None:
    async with local:
        check(local.to_frame())
        await looks(local, 3)
        with pytest.raises(RuntimeError, match="open already"):
            await local.__aenter__()
    assert not cpsim_tasks()
    before = len(local)
    await asyncio.sleep(3 * EVERY)
    assert len(local.to_frame()) == len(local) == before >= 4
    assert f"closed, {before} looks" in repr(local)
    await local.close()


async def test_looks_keep_their_pace(local: GatewayWatch) -> None:
    began = time.perf_counter()
    async with local:
        await looks(local, 5)
    assert len(local) <= (time.perf_counter() - began) / EVERY + 2


async def test_it_ends_with_an_interrupted_block(local: GatewayWatch) -> None:
    entered = asyncio.Event()

    async def block() -> None:
        async with local:
            entered.set()
            await asyncio.Event().wait()

    cell = asyncio.create_task(block())
    await asyncio.wait_for(entered.wait(), SOON)
    assert TASK in cpsim_tasks()
    cell.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cell
    assert not cpsim_tasks()


async def test_a_slow_answer_does_not_keep_the_block_open(deploy: Callable[..., Deployed], unwell: AwsProxy) -> None:
    async with deploy().attach(unwell.url) as stack, stack.watch_gateway(every=EVERY) as watch:
        unwell.delay("DescribeServices", 20 * EVERY)
        asked = unwell.seen["DescribeServices"]
        await until(lambda: unwell.seen["DescribeServices"] > asked, "a question")
        rows = len(watch)
        await asyncio.wait_for(watch.close(), SOON)
        assert len(watch) == rows, "a look that was given up is no row"
        unwell.heal()


@pytest.mark.parametrize("every", [0, -1, math.nan, math.inf])
async def test_every_is_a_time_above_zero(stack: Stack, every: float) -> None:
    with pytest.raises(ValueError, match=f"every is more than 0 seconds, .* not {every!r}"):
        stack.watch_gateway(every=every)


# -- The picture ------------------------------------------------------------------------------------------------------


async def test_the_picture_shows_tasks_over_charge_points_and_cpu_below(deploy: Callable[..., Deployed]) -> None:
    mpl.use("agg")
    gateway = deploy()
    async with gateway.attach() as stack, stack.watch_gateway(every=EVERY) as watch:
        await looks(watch, 1)
        gateway.scale(3)
        await until(lambda: watch.to_frame().running_tasks.iloc[-1] == 3, "three tasks")
    frame = watch.to_frame()
    tasks, load = watch.plot()
    assert [text.get_text() for text in load.texts] == ["no CPU known yet"]
    assert tasks.lines[1].get_xdata()[0] == 0

    result = FleetResult(2, started_at=frame.seen_at.iloc[0].timestamp() - 5)
    result.samples = [(1.0, 0, 0), (6.0, 2, 2)]
    mine = plt.subplots(2, 1)[1]
    tasks, load, points = watch.plot(result, ax=mine)
    assert (points, load) == tuple(mine)
    assert tasks.get_position().bounds == points.get_position().bounds
    assert tasks.lines[1].get_label() == "tasks running (right)"
    assert tasks.lines[1].get_xdata()[0] == pytest.approx(5, abs=0.001)
    assert tasks.lines[1].get_ydata().tolist() == frame.running_tasks.tolist()
    assert points.lines[0].get_xydata().tolist() == [[1.0, 0.0], [6.0, 2.0]]
    assert [axes.get_ylabel() for axes in (tasks, load, points)] == [
        "tasks",
        "CPU, memory (%)",
        "connected charge points",
    ]
    assert all(tick == round(tick) for axes in (tasks, points) for tick in axes.get_yticks())
    said = [text.get_text() for text in tasks.get_legend().get_texts()]
    assert said == ["charge points connected (left)", "tasks desired (right)", "tasks running (right)"]
    assert load.get_xlabel() == "since the start (s)"
    plt.close("all")


async def test_without_a_look_there_is_nothing_to_draw(local: GatewayWatch) -> None:
    with pytest.raises(ValueError, match="no looks at the gateway"):
        local.plot()
