"""A network with faults on purpose, between charge points and their CSMS: settings, switches and the table.

Which faults there are, and which frame has which, is in ``faults``; ``faulty_transport`` carries them out.
"""

from __future__ import annotations

import contextlib
import difflib
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar, overload

from cpsim_kit.basics.cards import card
from cpsim_kit.charge_point.faults import Fault, Faults, FaultState, faults_table
from cpsim_kit.charge_point.faulty_transport import FaultyTransport
from cpsim_kit.charge_point.opening import open_websocket
from cpsim_kit.charge_point.transport import OpenTransport, Transport

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Network"]

T = TypeVar("T")


class _Setting(Generic[T]):
    """A setting of a network, as an attribute that can be read and set."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, network: None, owner: type) -> Self: ...
    @overload
    def __get__(self, network: Network, owner: type) -> T: ...
    def __get__(self, network: Network | None, owner: type) -> Self | T:
        if network is None:
            return self
        value: T = getattr(network._state.settings, self._name)
        return value

    def __set__(self, network: Network, value: T) -> None:
        network._change({self._name: value})


class Network:
    """A network with faults on purpose, for one charge point or many: ``ChargePoint(…, transport=network)``.

        network = Network(drop=0.1, delay=(0.1, 2.0), actions={"TransactionEvent"}, seed=1)
        async with ChargePoint("CP1", url, transport=network) as cp:
            ...
            network.drop = 1.0                       # from now on
            with network.temporarily(close=(1011, 1.0)):
                ...
        network.to_frame()

    Every argument but the last two is an attribute too, and can be set at any time. A probability is a number from 0 to
    1 and is that of each frame. The opening handshake has no faults.

    ``cp.messages`` is what the charge point sent and received itself: it has a frame that was lost on its way to the
    CSMS, and has none that was lost on its way back. What happened between is in :meth:`to_frame`.

    The same seed and the same frames have the same faults. They are counted for each charge point, direction, kind and
    action, over all its connections, so that a charge point of a fleet has its own faults and a reconnection goes on in
    the sequence. Only what is held back or waits depends on time as well. Setting ``seed`` begins the sequence again.

    In a fleet of several processes each process has a copy of the network, as it was when the run began: this one
    changes and cuts nothing there. The faults of the copies are added to this one's table twice a second.

    Args:
        drop: The probability that a frame is lost.
        delay: Seconds that each frame takes, or the shortest and the longest time. Frames with faults keep their order;
            others (see ``actions``, ``kinds``, ``direction``) overtake them. A frame that is still under way when the
            connection ends is lost.
        duplicate: The probability that a frame arrives twice.
        reorder: The probability that a frame waits until the next one of its direction has overtaken it, or the time is
            over. The one that overtakes is not held back itself.
        reorder_within: Seconds for which such a frame waits at most.
        close: A close code, and the probability that the connection ends in the place of a frame, which is lost. The
            charge point sees the gateway close with this code, the CSMS sees the charge point. With 1006 there is no
            close frame, as with :meth:`cut`.
        half_open: Whether connections go dead, those that are open and those that open later: nothing is sent or
            received any more, pings and close frames included, and nothing closes. It concerns all frames. A connection
            that went dead stays so, also when this is False again; the next one works.
        direction: Frames with faults: "sent" or "received" by the charge point, or "both".
        kinds: Frames with faults, as in the column ``kind`` of the record: e.g. "CALL", or {"CALLRESULT", "CALLERROR"};
            None for all.
        actions: Frames with faults, e.g. "Heartbeat", or {"Heartbeat", "MeterValues"}; None for all. The action of an
            answer is that of its CALL.
        seed: The seed of all random choices.
        is_on: False: there are no faults.
        transport: Opens the connection below; another network, for example, with faults of its own.
        max_faults: How many faults :attr:`faults` keeps; None for all.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: A probability, time, close code, direction, kind or action that there cannot be.
    """

    __slots__ = ("__weakref__", "_connections", "_state", "_transport")

    drop = _Setting[float]()
    delay = _Setting[float | tuple[float, float]]()
    duplicate = _Setting[float]()
    reorder = _Setting[float]()
    reorder_within = _Setting[float]()
    close = _Setting[tuple[int, float] | None]()
    half_open = _Setting[bool]()
    direction = _Setting[Literal["both", "sent", "received"]]()
    kinds = _Setting[Collection[str] | None]()
    actions = _Setting[Collection[str] | None]()
    seed = _Setting[int]()
    is_on = _Setting[bool]()

    def __init__(
        self,
        *,
        drop: float = 0.0,
        delay: float | tuple[float, float] = 0.0,
        duplicate: float = 0.0,
        reorder: float = 0.0,
        reorder_within: float = 1.0,
        close: tuple[int, float] | None = None,
        half_open: bool = False,
        direction: Literal["both", "sent", "received"] = "both",
        kinds: Collection[str] | None = None,
        actions: Collection[str] | None = None,
        seed: int = 0,
        is_on: bool = True,
        transport: OpenTransport = open_websocket,
        max_faults: int | None = 10_000,
    ) -> None:
        if not callable(transport) or isinstance(transport, type):
            raise TypeError(f"transport= takes what opens a connection, e.g. another Network(); not {transport!r}")
        if max_faults is not None and (isinstance(max_faults, bool) or not isinstance(max_faults, int)):
            raise TypeError(f"max_faults= is a whole number or None, not {max_faults!r}")
        if max_faults is not None and max_faults < 0:
            raise ValueError(f"max_faults= is the number of faults to keep, 0 or more; not {max_faults}")
        settings = Faults(
            drop=drop,
            delay=delay,
            duplicate=duplicate,
            reorder=reorder,
            reorder_within=reorder_within,
            close=close,
            half_open=half_open,
            direction=direction,
            kinds=kinds,
            actions=actions,
            seed=seed,
            is_on=is_on,
        )
        self._transport = transport
        self._state = FaultState(settings, max_faults)
        self._connections: set[FaultyTransport] = set()  # those that are open

    def __repr__(self) -> str:
        settings = [f"{name}={value!r}" for name, value in self._settings().items()]
        return f"<Network {' '.join([*settings, f'{len(self._connections)} open', f'{len(self.faults)} faults'])}>"

    def _repr_html_(self) -> str:
        settings = {name.replace("_", " "): repr(value) for name, value in self._settings().items()}
        counted = Counter(fault.fault for fault in self.faults)
        rows = settings | {
            "open connections": len(self._connections),
            "faults": ", ".join(f"{count} {name}" for name, count in counted.items()) or 0,
            "forgotten": self.forgotten or None,
            "table": ".to_frame()",
        }
        return card("Network", "on" if self.is_on else "off", rows)

    @property
    def faults(self) -> deque[Fault]:
        """The faults that happened, oldest first."""
        return self._state.faults

    @property
    def forgotten(self) -> int:
        """How many faults were dropped from :attr:`faults` for newer ones."""
        return self._state.forgotten

    def _settings(self) -> dict[str, Any]:
        """The settings that are not the usual ones."""
        pairs = ((each.name, getattr(self._state.settings, each.name), each.default) for each in fields(Faults))
        found = {name: value for name, value, usual in pairs if value != usual}
        return {name: set(value) if isinstance(value, frozenset) else value for name, value in found.items()}

    def __getstate__(self) -> tuple[Faults, OpenTransport, int | None]:
        """What another process needs: neither connections nor faults, and the sequence begins again."""
        return self._state.settings, self._transport, self.faults.maxlen

    def __setstate__(self, state: tuple[Faults, OpenTransport, int | None]) -> None:
        settings, self._transport, max_faults = state
        self._state = FaultState(settings, max_faults)
        self._connections = set()

    async def __call__(self, charge_point_id: str, url: str, **options: Any) -> Transport:
        """Open a connection; see :class:`OpenTransport`."""
        inner = await self._transport(charge_point_id, url, **options)
        return FaultyTransport(self._state, self._connections, charge_point_id, inner)

    @contextlib.contextmanager
    def temporarily(self, **settings: Any) -> Iterator[Self]:
        """These settings inside of the ``with``, on top of the others; the former ones after it.

        A seed begins its sequence at the beginning, and the former sequence goes on afterwards.

        Args:
            settings: As for :class:`Network`, from ``drop`` to ``is_on``.

        Raises:
            TypeError, ValueError: As :class:`Network`; also where there is no such setting.
        """
        before, counts = self._state.settings, self._state.counts
        self._change(settings)
        try:
            yield self
        finally:
            self._change({name: getattr(before, name) for name in settings})
            if "seed" in settings:
                self._state.counts = counts

    def cut(self, charge_point_id: str | None = None) -> int:
        """Abort the TCP connection at once, without a close frame, whether or not the network is on.

        Args:
            charge_point_id: The charge point whose connection is cut; None for all.

        Returns:
            How many connections were cut.

        Raises:
            ValueError: The charge point has no open connection through this network.
        """
        concerned = [each for each in self._connections if charge_point_id in (None, each.charge_point_id)]
        if charge_point_id is not None and not concerned:
            raise ValueError(f"{charge_point_id} has no open connection through {self!r}")
        for connection in concerned:
            connection.cut()
        return len(concerned)

    def to_frame(self) -> pd.DataFrame:
        """One row for each fault, by time.

        The columns are sent_at, charge_point_id, direction, kind, action, message_id, fault and detail. The first six
        are as in ``cp.messages.to_frame()``, with which this table can be merged by ``message_id``. ``direction``,
        ``kind``, ``action`` and ``message_id`` are "" where a whole connection was concerned.
        """
        return faults_table(self.faults)

    def unreported(self) -> list[Fault]:
        """The faults since it was called last; a process of a fleet reports them."""
        return self._state.unreported()

    def add(self, faults: Iterable[Fault]) -> None:
        """Add the faults of a copy in another process."""
        self._state.add(faults)

    def _change(self, settings: dict[str, Any]) -> None:
        known = [each.name for each in fields(Faults)]
        for name in settings:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {close[0]}?" if close else f"; it has {', '.join(known)}"
                raise TypeError(f"a network has no setting {name!r}{hint}")
        self._state.settings = replace(self._state.settings, **settings)
        if "seed" in settings:
            self._state.counts = Counter()
        if self._state.settings.is_dead:
            for connection in self._connections:
                connection.make_half_open()
