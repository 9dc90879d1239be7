"""Anything that happens while the CSMS looks at a token: what is authorized is not lost, and all energy is recorded."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from core_player import Player, Said
from hypothesis import given, settings
from hypothesis import strategies as st

from cpsim_kit.ocpp_j.versions import messages_of
from cpsim_kit.station import Evse
from cpsim_kit.station.rules.authorization import Authorization, TokenInfo
from cpsim_kit.station.rules.events import Accepted, Answer, ClearFault, Event, Failure, Outgoing, PowerOff, Swipe

REMOTE = {"1.6": "AuthorizeRemoteTxRequests", "2.0.1": "AuthCtrlr.AuthorizeRemoteStart"}
STARTS = ["EVConnected", "Authorized", "PowerPathClosed", "EnergyTransfer"]
ACTS = [
    *(f"{verb} {number}" for verb in ("plug", "unplug") for number in (1, 2)),
    *("swipe TAG-1", "swipe TAG-2", "swipe TAG-1 1", "swipe TAG-2 2", "remote start TAG-3", "remote start TAG-3 2"),
    *("fault GroundFault 1", "clear fault", "wait 20", "wait 100"),
]
ANSWERS = ["answer", "answer", "answer", "refuse", "no answer"]
LOSSES = ["offline", "online", "power off", "power off, and a late answer", "power on"]


class SlowPlayer(Player):
    """A core, and a CSMS that answers one message when a step says so.

    Attributes:
        is_slow: Whether it waits for that; else it answers each message at once.
        swipes: The tokens that were presented, with what came of them.
    """

    is_slow = False
    swipes: tuple[Swipe, ...] = ()

    def drain(self) -> None:
        if not self.is_slow:
            super().drain()

    def do(self, event: Event) -> list[Said]:
        if isinstance(event, Swipe):
            self.swipes = (*self.swipes, event)
        return super().do(event)

    def step(self, step: str) -> None:
        """Let one thing happen, if it can."""
        core = self.core
        match step:
            case "answer" | "refuse" | "no answer":
                if (message := core.take(self.now)) is not None:
                    core.handle(self.end(message, step), self.now)
            case "offline" if core.queue.is_online:
                self.act("offline")
            case "online" if core.has_power and not core.queue.is_online:
                self.act("online")
            case "power off" | "power off, and a late answer" if core.has_power:
                message = core.take(self.now)
                self.do(PowerOff())
                if message is not None and step != "power off":
                    core.handle(self.end(message, "answer"), self.now)
            case "power on" if not core.has_power:
                self.do(Accepted())
            case "offline" | "online" | "power off" | "power off, and a late answer" | "power on":
                pass
            case _:
                self.is_slow = not step.startswith("wait")  # the clock stands still while a message waits
                self.drain()
                with suppress(ValueError):  # it cannot be done now
                    self.act(step)
                self.is_slow = True

    def end(self, message: Outgoing, how: str) -> Answer | Failure:
        """What becomes of a message."""
        _version, request, _response = messages_of(type(message.payload))
        answer = self.answer(message, (request.action, request.encode(message.payload)))
        if how == "no answer":
            return Failure(message, waited=True)
        return replace(answer, info=TokenInfo("Blocked")) if how == "refuse" and answer.info is not None else answer

    def authorized(self) -> dict[int, Authorization]:
        """Who may charge, by the EVSE; 0 is none yet."""
        return {each.id: each.authorization for each in self.core.places() if each.authorization is not None}

    def check(self) -> None:
        """Nothing goes on that the station does not know of."""
        core = self.core
        for evse in core.evses.values():
            assert evse.transaction is not None or evse.power_kw(self.now) == 0
        places = list(core.places())
        known = [each.transaction for each in places if each.transaction is not None]
        assert {each.key for each in core.transactions if each.end is None} == {each.key for each in known}
        assert sum(each.end is None for each in core.sessions) == sum(each.session is not None for each in places)
        assert core.has_power or all(each.authorization is None for each in places)

    def put_right(self) -> None:
        """Give it all that it needs, let everybody leave, and let nobody wait any more."""
        core = self.core
        self.is_slow = False
        self.do(Accepted())
        for number, evse in core.evses.items():
            if evse.fault:
                self.do(ClearFault(number))
            if evse.vehicle is not None:
                self.act(f"unplug {number}")
        self.wait(200)


@settings(max_examples=1000)
@given(
    steps=st.lists(st.one_of(*(st.sampled_from(kind) for kind in (ACTS, ACTS, ANSWERS, LOSSES))), max_size=30),
    start=st.sampled_from(STARTS),
    version=st.sampled_from(["2.0.1", "1.6"]),
)
def test_whatever_happens_meanwhile_what_is_authorized_is_not_lost(steps: list[str], start: str, version: str) -> None:
    variables = {REMOTE[version]: True} | ({} if version == "1.6" else {"TxCtrlr.TxStartPoint": start})
    player = SlowPlayer(version, [Evse(), Evse()], variables)
    core = player.core
    player.is_slow = True
    for step in steps:
        before = player.authorized()
        waiting = [swipe for swipe in player.swipes if swipe.result is None]
        player.step(step)
        player.check()
        if step.startswith("wait"):  # for a vehicle, perhaps in vain
            continue
        effects = {id(swipe): swipe.result.effect for swipe in player.swipes[-1:] if swipe.result is not None}
        effects |= {id(swipe): swipe.result.effect for swipe in waiting if swipe.result is not None}
        now = player.authorized()
        for number, authorization in before.items():
            is_ended = step.startswith(("power off", "refuse")) or "stopped" in effects.values()
            is_ended |= step.startswith(("unplug", "fault")) and step.endswith(str(number))
            assert is_ended or any(each is authorization for each in now.values()), (step, authorization)
        for swipe in waiting:
            if effects.get(id(swipe)) == "authorized":
                assert any(each.token.is_same(swipe.token) for each in now.values()), (step, swipe)
    player.put_right()
    player.check()
    assert all(each.end is not None for each in (*core.transactions, *core.sessions))
    for number, evse in core.evses.items():
        player.act(f"plug {number}")
        player.act(f"swipe TAG-9{number} {number}")
        assert evse.power_kw(player.now) > 0
