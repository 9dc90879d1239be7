"""CPU, memory and log of a local stack's process, seen from this process and from another."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from cpsim_kit.errors import LocalStackError
from cpsim_kit.local.launcher import LocalProcess
from cpsim_kit.local.usage import OtherProcess, this_process, usage_of


@pytest.mark.parametrize("text", ["", "12", "12 34", "12 3.5 more", "x 1.5"])
def test_text_of_another_form_names_no_process(text: str) -> None:
    assert OtherProcess.parse(text) is None


def test_this_process_is_running_and_measured() -> None:
    process = OtherProcess.parse(this_process())
    assert process is not None
    before = process.usage()
    assert before is not None
    assert before.memory_mib == pytest.approx(before.memory_percent / 100 * psutil.virtual_memory().total / 2**20)
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass
    after = process.usage()
    assert after is not None
    assert after.cpu_s - before.cpu_s >= 0.03
    assert process.log() == ""  # it has no --log
    assert process.why_dead() is None


def test_a_process_with_this_id_and_another_start_is_another_one() -> None:
    process = OtherProcess(os.getpid(), psutil.Process().create_time() - 3600)
    assert not process.is_running
    assert process.usage() is None
    assert process.log() == ""
    assert isinstance(process.why_dead(), LocalStackError)


def test_a_process_that_has_ended_has_no_usage() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = OtherProcess(child.pid, psutil.Process(child.pid).create_time())
    assert process.is_running
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
    assert not process.is_running
    assert process.usage() is None
    child.communicate()
    assert usage_of(child.pid) is None


def test_the_log_of_a_local_stack_is_found_by_its_command_line(shared: LocalProcess) -> None:
    other = OtherProcess(shared.pid, psutil.Process(shared.pid).create_time())
    assert other.log(5) == shared.log(5)
    assert isinstance(other.log(), str)
