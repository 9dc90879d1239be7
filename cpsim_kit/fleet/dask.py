"""A share of a fleet on a worker of a Dask cluster: an actor that lives there for the whole run.

Only this module knows Dask. The share runs in a thread of the worker, in its own event loop, so that the worker's loop
goes on. A worker needs cpsim_kit installed, in the same version.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import threading
import warnings
from collections.abc import AsyncIterator, Callable
from typing import Any

from cpsim_kit.basics.process import run_fast
from cpsim_kit.errors import ConnectError, CpsimError
from cpsim_kit.fleet.pickles import pack_errors, pack_plan
from cpsim_kit.fleet.plan import Plan
from cpsim_kit.fleet.report import SAMPLE, Report, ShareLost, merge_faults
from cpsim_kit.fleet.share import Share

__all__ = ["ClusterShare", "open_cluster", "worker_addresses"]

_ANSWER = 20.0  # seconds for a worker to answer
_SCHEDULER = 10  # seconds for a scheduler to answer


async def worker_addresses(cluster: Any) -> list[str]:
    """The addresses of a cluster's workers.

    Raises:
        ValueError: The cluster has no worker, or its client is closed.
    """
    if cluster.status != "running":
        raise ValueError(f"this Dask client is {cluster.status}; make another: client = Client(ADDRESS)")
    threads = await cluster.nthreads() if cluster.asynchronous else await asyncio.to_thread(cluster.nthreads)
    if not threads:
        raise ValueError("the cluster has no worker: start one (dask worker ADDRESS), or client.wait_for_workers(1)")
    return list(threads)


@contextlib.asynccontextmanager
async def open_cluster(address: str) -> AsyncIterator[Any]:
    """Connect to the Dask scheduler at this address.

    Yields:
        A ``dask.distributed.Client``, asynchronous.

    Raises:
        ImportError: Dask is not installed.
        ConnectError: No scheduler answers there.
    """
    from distributed import Client  # noqa: PLC0415 - an extra

    try:
        client: Any = await Client(address, asynchronous=True, timeout=_SCHEDULER)  # type: ignore[no-untyped-call]
    except (OSError, TimeoutError) as exc:
        raise ConnectError(f"no Dask scheduler answers at {address}; start one: dask scheduler", url=address) from exc
    except (TypeError, ValueError) as exc:  # only Dask can judge it: e.g. tls:// without certificates configured
        # Dask itself leaves a coroutine unawaited when it gives up.
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
        raise ConnectError(f"Dask cannot connect to {address}: {exc}", url=address) from exc
    try:
        yield client
    finally:
        await client.close()


class FleetActor:
    """The share, on the worker; :class:`ClusterShare` calls its methods from another process."""

    def __init__(self, plan: bytes) -> None:
        import cloudpickle  # noqa: PLC0415 - only a fleet of several processes sends functions of a notebook

        self._share = Share(cloudpickle.loads(plan))
        self._share.load()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._duration: float | None = None
        self._running: asyncio.Task[None] | None = None
        self._fault: BaseException | None = None
        self._started, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="cpsim[fleet].actor", daemon=True)

    def begin(self, duration: float | None) -> None:
        """Start the charge points; their end is so many seconds from now, or the plan's."""
        self._duration = duration
        self._thread.start()
        self._started.wait()

    def drain(self) -> tuple[Report, bytes]:
        """A report; and once the share has ended, what went wrong, packed."""
        if not self._ended.is_set() and self._loop is not None:
            reporting = self._report()
            try:
                return asyncio.run_coroutine_threadsafe(reporting, self._loop).result(_ANSWER), b""
            except RuntimeError:  # the loop has just been closed
                reporting.close()
                self._ended.wait()
        return self._share.remote_report(), pack_errors(self._share.errors, self._fault)

    def stop(self) -> None:
        """Close the charge points."""
        if not self._ended.is_set() and self._loop is not None and self._running is not None:
            self._loop.call_soon_threadsafe(self._running.cancel)
            self._ended.wait(_ANSWER)

    async def _report(self) -> Report:
        return self._share.remote_report()

    def _run(self) -> None:
        async def main() -> None:
            self._loop = asyncio.get_running_loop()
            self._running = asyncio.current_task()
            self._started.set()
            try:
                await self._share.run(self._duration)
            except asyncio.CancelledError:
                pass
            except BaseException as exc:  # noqa: BLE001 - drain() returns it
                self._fault = exc
            finally:
                self._ended.set()  # the loop itself does not end where a scenario does not

        run_fast(main())


class ClusterShare:
    """A share on one worker, seen from this process, with the methods of a ``ProcessShare``.

    Args:
        plan: The share's plan.
        cluster: The ``dask.distributed.Client``, synchronous or not.
        address: The worker's address.
    """

    def __init__(self, plan: Plan, cluster: Any, address: str) -> None:
        self.plan = plan
        self.address = address
        self.errors: list[CpsimError] = []
        self._cluster = cluster
        self._actor: Any = None
        self._over = False

    @property
    def where(self) -> str:
        """The place where it runs, in words."""
        return f"on {self.address}"

    async def start(self) -> None:
        """Make the actor on its worker.

        Raises:
            ShareLost: The worker is not there.
            ValueError: The plan cannot be sent.
            Exception: What kept the actor from starting, e.g. no cpsim_kit on the worker.
        """
        future = self._cluster.submit(FleetActor, pack_plan(self.plan), actor=True, pure=False, workers=[self.address])
        self._actor = await self._answer(future)

    async def run(self, reported: Callable[[Report], None], duration: float | None = None) -> None:
        """Let it begin, and call ``reported`` twice a second until it has ended.

        Args:
            reported: Called with each report.
            duration: Seconds from now to the end; the plan's when None.

        Raises:
            ShareLost: The worker is gone.
            Exception: A scenario's own fault.
        """
        await self._answer(self._call("begin", duration))
        while True:
            await asyncio.sleep(SAMPLE)
            report, packed = await self._answer(self._call("drain"))
            merge_faults(self.plan, report)
            reported(report)
            if packed:
                self._over = True
                self.errors, fault = pickle.loads(packed)  # noqa: S301 - of our own actor
                if fault is not None:
                    raise fault
                return

    async def close(self) -> None:
        """End it, if its worker is still there."""
        if self._actor is not None and not self._over:
            with contextlib.suppress(ShareLost):
                await self._answer(self._call("stop"))
        self._actor = None

    def _call(self, method: str, *arguments: Any) -> Any:
        try:
            return getattr(self._actor, method)(*arguments)
        except RuntimeError as exc:  # of Dask
            raise ShareLost(f"the worker {self.address} is gone") from exc

    async def _answer(self, future: Any) -> Any:
        """The result of a Dask future, also of a synchronous client's."""
        try:
            async with asyncio.timeout(_ANSWER):
                if self._cluster.asynchronous:
                    return await future
                return await asyncio.to_thread(future.result, _ANSWER)
        except (OSError, TimeoutError) as exc:
            raise ShareLost(f"the worker {self.address} is gone: {exc or type(exc).__name__}") from exc
        except Exception as exc:
            if self._cluster.status != "running":
                raise ShareLost(f"the Dask client is {self._cluster.status}") from exc
            if type(exc).__module__.split(".")[0] == "distributed":
                raise ShareLost(f"the worker {self.address} is gone: {exc}") from exc
            raise
