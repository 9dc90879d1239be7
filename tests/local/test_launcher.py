"""The local stack's process: how it starts, what ends it, and that it never outlives the process that started it."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import SOON
from stack_fixtures import Boto, close_of, dial, eventually, is_answered, new_id

from cpsim_kit import Stack, errors
from cpsim_kit.local.launcher import LocalOptions, LocalProcess

pytestmark = pytest.mark.usefixtures("environment")

# A user's Python process. Its last argument is the code that it runs after a line on standard input.
PARENT = """
import asyncio, os, sys, time
from cpsim_kit import Stack

async def main():
    stack = await Stack.local(name=sys.argv[1])
    print(stack._process.pid, stack._process._log, stack.websocket_url, flush=True)
    sys.stdin.readline()
    exec(sys.argv[2])

asyncio.run(main())
"""
THEN = {
    "killed": "time.sleep(600)",
    "forks": "pid = os.fork(); print(pid, flush=True) if pid else None; time.sleep(600)",
    "fails": "raise RuntimeError('a cell failed')",
}


def has_ended(pid: int) -> bool:
    """Whether a process has ended; a zombie has ended, too."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Parent:
    """A Python process that opens ``Stack.local()``, and waits.

    Attributes:
        process: The process.
        child: The process id of its local stack; set by :meth:`go`, as the following.
        log: The local stack's log file.
        websocket_url: The local stack's address.
    """

    def __init__(self, then: str) -> None:
        command = [sys.executable, "-c", PARENT, new_id("Parent"), then]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def go(self) -> None:
        """Wait until its stack is open, and let it continue."""
        assert self.process.stdin is not None
        pid, log, self.websocket_url = self.read().split()
        self.child, self.log = int(pid), Path(log)
        assert not has_ended(self.child)
        assert self.log.exists()
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def read(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode()


@pytest.fixture(scope="module")
def parents() -> Iterator[dict[str, Parent]]:
    """A parent for each of :data:`THEN`. They start together, because starting takes long."""
    parents = {name: Parent(then) for name, then in THEN.items()}
    yield parents
    for parent in parents.values():
        parent.process.kill()
        parent.process.communicate()


@pytest.fixture
def own() -> Iterator[Callable[..., LocalProcess]]:
    """Starts local stacks for this test only."""
    started: list[LocalProcess] = []

    def start(**options: Any) -> LocalProcess:
        started.append(LocalProcess(LocalOptions(name=new_id("Own"), **options)))
        return started[-1]

    yield start
    for process in started:
        process.stop()


@asynccontextmanager
async def fifty_connections(websocket_url: str) -> AsyncIterator[None]:
    """Connections that never answer the gateway's close frame."""
    port = int(websocket_url.rsplit(":", 1)[1])
    handshake = (
        "GET /CPX HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: ocpp2.0.1\r\n\r\n"
    )
    writers = []
    try:
        for _ in range(50):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writers.append(writer)
            writer.write(handshake.encode())
            assert (await reader.readline()).startswith(b"HTTP/1.1 101")
        yield
    finally:
        for writer in writers:
            writer.transport.abort()


# -- It ends with its parent ------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_it_ends_with_a_parent_that_ends_without_closing(parents: dict[str, Parent]) -> None:
    parent = parents["fails"]
    parent.go()
    await eventually(lambda: parent.process.poll() is not None)
    await eventually(lambda: has_ended(parent.child))
    assert not parent.log.exists()


@pytest.mark.slow
async def test_it_ends_with_a_parent_that_is_killed_whatever_connections_are_open(parents: dict[str, Parent]) -> None:
    parent = parents["killed"]
    parent.go()
    async with fifty_connections(parent.websocket_url):
        parent.process.kill()
        await eventually(lambda: has_ended(parent.child))
    assert not parent.log.exists()


async def test_it_ends_with_a_killed_parent_that_has_forked(parents: dict[str, Parent]) -> None:
    """As multiprocessing does: the fork holds every file descriptor of the parent."""
    parent = parents["forks"]
    parent.go()
    fork = int(parent.read())
    try:
        parent.process.kill()
        await eventually(lambda: has_ended(parent.child))
        assert not has_ended(fork)
    finally:
        os.kill(fork, signal.SIGKILL)
    assert not parent.log.exists()


# -- Signals and stop() -----------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_an_interrupt_does_not_end_it_and_sigterm_does(own: Callable[..., LocalProcess]) -> None:
    process = own()
    boto = Boto(process)
    charge_point_id = new_id()
    boto("iot").create_thing(thingName=charge_point_id)
    await eventually(lambda: boto.is_registered(charge_point_id))
    async with fifty_connections(process.websocket_url), dial(process, charge_point_id) as ws:
        os.kill(process.pid, signal.SIGINT)
        assert await is_answered(ws)
        os.kill(process.pid, signal.SIGTERM)
        assert await close_of(ws) == (1001, "")
        await eventually(lambda: not process.is_running)
    boto.disconnect()
    why = process.why_dead()
    assert why is not None
    assert f"process {process.pid}" in str(why)


async def test_stop_ends_it_without_a_signal_and_removes_its_log(own: Callable[..., LocalProcess]) -> None:
    process = own()
    log = process._log
    assert log.exists()
    async with fifty_connections(process.websocket_url):
        await asyncio.wait_for(asyncio.to_thread(process.stop, timeout=10 * SOON), SOON)
        assert not process.is_running
    assert not log.exists()
    assert process.log() == ""
    assert process.why_dead() is None  # it was stopped on purpose
    assert "ended" in repr(process)
    process.stop()


# -- Readiness --------------------------------------------------------------------------------------------------------


def test_its_addresses_are_on_the_loopback_interface(shared: LocalProcess) -> None:
    urls = [shared.websocket_url, shared.endpoint_url]
    assert [url.partition(":")[0] for url in urls] == ["ws", "http"]
    assert all("://127.0.0.1:" in url for url in urls)
    assert repr(shared) == f"<LocalProcess {shared.pid} running>"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"interval": "soon"}, "invalid int value: 'soon'"),
        ({"region": "no region"}, "region"),
    ],
)
def test_a_failing_start_is_an_error_with_the_end_of_the_log(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: dict[str, Any], reason: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(errors.LocalStackError, match=r"did not start, exit status [12]") as caught:
        LocalProcess(LocalOptions(**options))
    assert reason in caught.value.log
    assert reason in str(caught.value)
    assert list(tmp_path.iterdir()) == []


# -- When it dies -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_calls_fail_with_the_reason_when_the_process_dies_and_another_can_be_started() -> None:
    name = new_id("Dying")
    async with Stack.local(name=name) as stack:
        process = stack._process
        assert process is not None
        await stack.things.create("CP1")
        with pytest.raises(errors.NotRegistered):
            await (await stack.charge_point("CPX")).boot()
        async with stack.charge_point("CP1") as cp:
            await cp.boot()
            os.kill(process.pid, signal.SIGSTOP)  # so that the call stays without an answer
            waiting = asyncio.create_task(cp.heartbeat())
            await eventually(lambda: len(cp.messages) == 3)
            os.kill(process.pid, signal.SIGKILL)
            with pytest.raises(errors.ConnectionLost, match=rf"process {process.pid}.* has died") as lost:
                await waiting
        assert lost.value.closed.code == 1006
        assert "CPX not registered" in str(lost.value)  # the end of the log
        asking = stack.things.list(), stack.shadow("CP1").wait_for(lambda _: True)
        for error in await asyncio.gather(*asking, return_exceptions=True):
            assert isinstance(error, errors.LocalStackError)
            assert f"process {process.pid}) has died, exit status -9" in str(error)
            assert "CPX not registered" in error.log
        with pytest.raises(errors.ConnectError):
            await stack.charge_point("CP1")

        again = await Stack.local(name=name)
        try:
            assert again is not stack
            await again.things.create("CP1")
            async with again.charge_point("CP1") as cp:
                assert (await cp.boot()).status == "Accepted"
            await stack.close()  # the dead one
            assert len(await again.things.list()) == 1
        finally:
            await again.close()
    assert not process._log.exists()


# -- Several stacks, in any environment -------------------------------------------------------------------------------


@pytest.fixture
def hostile(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Variables that change ministack, boto3, Python or the WebSocket client if they reach them."""
    broken = tmp_path / "config"
    broken.write_text("this is [no configuration\n")
    nowhere = "http://127.0.0.1:9"
    for name, value in {
        "ACCOUNT_ID": "123456789012",
        "AWS_ACCESS_KEY_ID": "123456789012",  # ministack's way to choose an account
        "AWS_CONFIG_FILE": str(broken),
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL": nowhere,
        "AWS_ENDPOINT_URL_IOT": nowhere,
        "AWS_PROFILE": "no-such-profile",
        "AWS_REGION": "eu-west-1",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_SESSION_TOKEN": "token",
        "BIND_HOST": "0.0.0.0",
        "GATEWAY_PORT": "80",
        "IOT_MTLS_ENABLED": "1",
        "MINISTACK_ACCOUNT_ID": "123456789012",
        "MINISTACK_REGION": "eu-west-1",
        "PERSIST_STATE": "1",
        "PYTHONWARNINGS": "error",
        "SFTP_ENABLED": "1",
        "SERVICES": "s3",
    }.items():
        environment.setenv(name, value)
    home = tmp_path / "home"
    (home / ".aws").mkdir(parents=True)
    (home / ".aws" / "config").write_text("this is [no configuration\n")
    (home / ".aws" / "credentials").write_text("aws_access_key_id=A\n")
    environment.setenv("HOME", str(home))
    environment.setenv("USERPROFILE", str(home))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        environment.setenv(name, nowhere)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["calendar.py", "queue.py", "boto3/__init__.py", "websockets/__init__.py"])
def test_files_of_the_working_directory_are_not_imported(
    own: Callable[..., LocalProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("raise SystemExit('imported in the place of the module')\n")
    monkeypatch.chdir(tmp_path)
    assert own().is_running


def test_it_starts_without_a_home(own: Callable[..., LocalProcess], environment: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "USERPROFILE"):
        environment.delenv(name, raising=False)
    assert own().is_running


@pytest.mark.usefixtures("hostile")
async def test_the_users_environment_does_not_change_it_and_two_stacks_are_separate(
    shared: LocalProcess, boto: Boto
) -> None:
    charge_point_id, alien = new_id(), new_id()
    boto("iot").create_thing(thingName=alien)
    async with AsyncExitStack() as closing:
        stack = await closing.enter_async_context(Stack.local(name=new_id("Hostile")))
        process = stack._process
        assert process is not None
        assert stack.region == "us-east-1"
        await stack.things.create(charge_point_id)
        async with stack.charge_point(charge_point_id) as cp:
            assert (await cp.boot()).interval == 10
            assert (await stack.shadow(charge_point_id)).reported["reason"] == "PowerUp"

        assert list((await stack.things.list())["charge_point_id"]) == [charge_point_id]
        with pytest.raises(boto("iot").exceptions.ResourceNotFoundException):
            boto("iot").describe_thing(thingName=charge_point_id)
        with pytest.raises(errors.NotRegistered):
            async with stack.charge_point(alien) as cp:
                await cp.boot()
        async with dial(shared, charge_point_id) as ws:
            assert (await close_of(ws))[0] == 1008

        sockets = psutil.Process(process.pid).net_connections("inet")
        listening = {(s.laddr.ip, s.laddr.port) for s in sockets if s.status == psutil.CONN_LISTEN}
        assert len(listening) == 2
        assert {ip for ip, _ in listening} == {"127.0.0.1"}
        theirs = psutil.Process(shared.pid).net_connections("inet")
        assert listening.isdisjoint({(s.laddr.ip, s.laddr.port) for s in theirs if s.status == psutil.CONN_LISTEN})
