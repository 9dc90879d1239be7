"""What the tests of the command line share: it runs as a process of its own, with its output and its exit status."""

import json
import os
import subprocess
import sys
from typing import Self

import psutil
from conftest import ENDED, SOON
from stack_fixtures import READERS_VARIABLES

COMMAND = [sys.executable, "-m", "cpsim_kit.cli"]
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.upper().startswith(READERS_VARIABLES)}


def cpsim(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        env=ENVIRONMENT | environment,
        capture_output=True,
        text=True,
        timeout=6 * SOON,
        check=False,
    )


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *arguments],
        env=ENVIRONMENT | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_until(words: str, process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    said = []
    while words not in (line := process.stderr.readline()):  # a line of progress, too, as it is rewritten
        said.append(line)
        assert line, "".join(said)


class RunningStack:
    """``cpsim stack --json`` as a process of its own."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "stack", "--json", *arguments], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.addresses: dict[str, str] = json.loads(self.process.stdout.readline())

    @property
    def environment(self) -> dict[str, str]:
        """What makes another command attach to it."""
        return {
            "CPSIM_STACK": self.addresses["stack_name"],
            "AWS_ENDPOINT_URL": self.addresses["endpoint_url"],
            "AWS_DEFAULT_REGION": self.addresses["region"],
            "AWS_ACCESS_KEY_ID": self.addresses["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": self.addresses["secret_access_key"],
        }

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        assert self.process.stdout is not None
        self.process.stdout.close()
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(ENDED)
