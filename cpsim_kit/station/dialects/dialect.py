"""What a dialect does: the questions that the core asks in neutral terms. No I/O."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from ocpp.exceptions import PropertyConstraintViolationError

from cpsim_kit.ocpp_j.versions import Version
from cpsim_kit.station.charging.meter import REGISTER
from cpsim_kit.station.device_model.device_model import model
from cpsim_kit.station.dialects.handler import Handler
from cpsim_kit.station.rules.authorization import IdToken

if TYPE_CHECKING:
    from cpsim_kit.station.charging.evse import LiveEvse
    from cpsim_kit.station.charging.meter import Reading
    from cpsim_kit.station.charging.transaction import Report, Transaction
    from cpsim_kit.station.device_model.variable import Variable
    from cpsim_kit.station.profiles import Profile
    from cpsim_kit.station.rules.events import Answer, Outgoing

__all__ = ["Dialect"]

# The first and the last second that can be written: some systems say them for always, in time zones or with fractions
# that lie beyond.
_FIRST = datetime(1, 1, 1, tzinfo=UTC).timestamp()
_LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()


class Dialect(ABC):
    """The words of one version, for one station.

    Attributes:
        version: The version.
        evse_count: How many EVSEs the station has.
        no_measurands: Measurands of the meter that the version does not know.
        defaults: Defaults that differ from those of OCPP 2.0.1.
        reports_status_first: Whether a connector's status is reported before the transaction's message.
        gives_up_without_token: Whether a vehicle for which no token comes in time is given up.
        caches_listed: Whether the cache keeps tokens of the local list, too.
        has_lenient_profiles: Whether a charging profile replaces also one of its purpose and stack level, and need not
            name its transaction.
        tells_security_events: Whether the version has security events by itself, not only by a white paper.
        answers_when_rejected: Whether a station that the CSMS has rejected answers a command, with SecurityError.
        boots_when_asked: Whether BootNotification can be asked for after the station was accepted.
        asked_measurands: The variable with the measurands of MeterValues that the CSMS asks for.
        token_length: The most characters that a token has.
        statuses: The words for the status of a connector, of those that occur.
        commands: What the station does on each action of the CSMS.
        clock_error: Seconds that the station's clock is ahead in what it says.
    """

    defaults: ClassVar[Mapping[str, Any]] = {}
    no_measurands: ClassVar[frozenset[str]] = frozenset()
    reports_status_first: ClassVar[bool]
    gives_up_without_token: ClassVar[bool]
    caches_listed: ClassVar[bool] = True
    has_lenient_profiles: ClassVar[bool]
    tells_security_events: ClassVar[bool]
    answers_when_rejected: ClassVar[bool]
    boots_when_asked: ClassVar[bool]
    asked_measurands: ClassVar[str]
    token_length: ClassVar[int]
    statuses: ClassVar[tuple[str, ...]]
    commands: ClassVar[Mapping[str, Handler]]

    def __init__(self, version: str, epoch: float, evse_count: int) -> None:
        self.version = Version.get(version)
        self._calls = self.version.calls
        self._epoch = epoch
        self.evse_count = evse_count
        self.clock_error = 0.0

    @property
    def variables(self) -> Mapping[str, Variable]:
        """The variables of the station, by their names in OCPP 2.0.1."""
        return self.variables_of(self.evse_count)

    @property
    def names(self) -> Mapping[str, tuple[str, ...]]:
        """For each name of a variable, the variables of OCPP 2.0.1 that it stands for."""
        return self.names_of(self.evse_count)

    @classmethod
    def variables_of(cls, evse_count: int) -> Mapping[str, Variable]:
        """The variables of a station with so many EVSEs."""
        return model(evse_count)

    @classmethod
    @abstractmethod
    def names_of(cls, evse_count: int) -> Mapping[str, tuple[str, ...]]:
        """Their names in this version."""

    def time(self, moment: float) -> str:
        """A moment of the station's clock, as RFC 3339 in UTC with milliseconds."""
        text = datetime.fromtimestamp(round(self._epoch + moment + self.clock_error, 3), UTC).isoformat(
            timespec="milliseconds"
        )
        return f"{text[:-6]}Z"

    def time_of(self, moment: float) -> str:
        """A moment in seconds since the epoch, which the CSMS or somebody else has said, as :meth:`time` writes it."""
        return self.time(moment - self._epoch - self.clock_error)

    @staticmethod
    def moment(text: str | None) -> float | None:
        """A time that the CSMS wrote, as seconds since the epoch; UTC if it has no zone.

        It is one that :meth:`time_of` can write, too.

        Raises:
            ValueError: It is no time.
        """
        if text is None:
            return None
        time = datetime.fromisoformat(text.upper())  # RFC 3339, 5.6: "t" and "z" may be lower-case
        moment = (time.replace(tzinfo=UTC) if time.tzinfo is None else time).timestamp()
        return min(max(moment, _FIRST), _LAST)

    @classmethod
    def commanded_moment(cls, text: str) -> float:
        """A time in a command of the CSMS, as seconds since the epoch.

        Raises:
            PropertyConstraintViolationError: It is no time; the schemas do not check that.
        """
        try:
            moment = cls.moment(text)
        except ValueError as exc:
            raise PropertyConstraintViolationError(f"{text!r} is not a time: {exc}") from exc
        assert moment is not None
        return moment

    def read_only(self) -> Mapping[str, str]:
        """Values that the version reports and nobody sets."""
        return {}

    def password(self, text: str) -> str | bytes:
        """The password of a text that the CSMS sets."""
        return text

    def token(self, token_id: str, kind: str) -> IdToken:
        """The token of an id and a type.

        Raises:
            ValueError: The version cannot carry it.
        """
        if not (isinstance(token_id, str) and 0 < len(token_id) <= self.token_length):
            raise ValueError(
                f"a token of OCPP {self.version.name} has 1 to {self.token_length} characters, not {token_id!r}"
            )
        return IdToken(token_id, kind)

    @abstractmethod
    def connector_status(self, evse: LiveEvse) -> str:
        """The status of the connector."""

    @abstractmethod
    def status_notification(self, evse_id: int, status: str, fault: str, is_ev_gone: bool, at: float) -> Any:
        """StatusNotification of one connector; ``is_ev_gone``: the cable was taken out at the vehicle only."""

    @abstractmethod
    def start_messages(self, now: float, is_operative: bool) -> Sequence[Callable[[], Any]]:
        """The messages after a start that come before those of the connectors: on the station as a whole."""

    @abstractmethod
    def last_start_messages(self, now: float, reason: str) -> Sequence[Callable[[], Any]]:
        """The messages after a start that come after those of the connectors; the reason as BootReasonEnumType."""

    @abstractmethod
    def reservation_status(self, reservation_id: int, status: str) -> Callable[[], Any] | None:
        """Makes the message of what became of a reservation; None where the version has none for it."""

    def list_conflict(self, _now: float, _is_operative: bool) -> Callable[[], Any] | None:
        """Makes the message that the CSMS contradicts its own local list; None where the version has none."""
        return None

    def limit_from_outside(
        self, evse_id: int, profile: Profile | None, source: str, *, with_schedule: bool
    ) -> Callable[[], Any] | None:
        """Makes the message of a limit from outside, or of its end for None; None where the version has none.

        ``with_schedule``: whether it tells the limit itself, too.
        """
        del evse_id, profile, source, with_schedule
        return None

    @abstractmethod
    def authorize(self, token: IdToken) -> Any:
        """Authorize."""

    @abstractmethod
    def can_report(self, report: Report) -> bool:
        """Whether the version has a message for it."""

    @abstractmethod
    def transaction_message(self, report: Report) -> Any:
        """The message of what happened to a transaction."""

    @abstractmethod
    def meter_values(self, evse_id: int, reading: Reading, transaction: Transaction | None = None) -> Any:
        """MeterValues that are no transaction message; of a transaction only where the CSMS asked for them."""

    @abstractmethod
    def reported_registers(self, payload: Any) -> Iterator[tuple[float, bool]]:
        """The energy registers that a transaction's message holds, in Wh, and whether each is that of the start."""

    @staticmethod
    def _registers_in(meter_values: Sequence[Mapping[str, Any]]) -> Iterator[tuple[float, bool]]:
        for meter_value in meter_values:
            for sampled in meter_value["sampledValue"]:
                if sampled.get("measurand", REGISTER) == REGISTER and not sampled.get("phase"):
                    yield float(sampled["value"]), sampled.get("context") == "Transaction.Begin"

    @abstractmethod
    def firmware_status(self, status: str, request_id: int | None, is_signed: bool) -> Any:
        """The message of a firmware update's status, a word of OCPP 2.0.1; None if the version has no word for it."""

    @abstractmethod
    def log_status(self, status: str, request_id: int | None, is_diagnostics: bool) -> Any:
        """The message of an upload's status, a word of OCPP 2.0.1; None if the version has no word for it."""

    @abstractmethod
    def security_event(self, kind: str, at: float) -> Any:
        """SecurityEventNotification."""

    @abstractmethod
    def read_answer(self, to: Outgoing, result: Any) -> Answer:
        """What an answer says, in neutral terms."""
