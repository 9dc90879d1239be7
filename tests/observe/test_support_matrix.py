"""What a CSMS answers, asked action by action: of the kit's CSMS, of the sample's, and of one that misbehaves."""

from collections.abc import Iterator

import pytest
from charge_point_fixtures import times_out
from conftest import MS, SOON
from csms_stub import Csms, answer, both, close, delay, error
from stack_fixtures import new_id, use_key_of

from cpsim_kit import ChargePoint, Stack
from cpsim_kit.basics.clock import wall_clock
from cpsim_kit.local.launcher import LocalOptions, LocalProcess
from cpsim_kit.observe.support_matrix import COLUMNS, support_matrix
from cpsim_kit.ocpp_j.versions import CHARGE_POINT_ACTIONS


@pytest.fixture(scope="module")
def sample() -> Iterator[LocalProcess]:
    process = LocalProcess(LocalOptions(name="SampleMatrix", csms="sample"))
    yield process
    process.stop()


@pytest.mark.parametrize("version", sorted(CHARGE_POINT_ACTIONS))
async def test_the_kits_csms_answers_every_action(stack: Stack, version: str) -> None:
    matrix = await stack.support_matrix(version=version)
    assert list(matrix.columns) == list(COLUMNS)
    assert set(matrix.action) == CHARGE_POINT_ACTIONS[version]
    assert len(matrix) == len(CHARGE_POINT_ACTIONS[version])
    assert matrix.action[0] == "BootNotification"
    assert matrix.outcome.dtype == "category"
    assert set(matrix.outcome) == {"answered"}
    assert (matrix.latency_ms > 0).all()
    assert set(matrix.code) | set(matrix.detail) == {""}
    assert "CPSIM-SUPPORT" not in set((await stack.things.list()).charge_point_id)


async def test_the_samples_csms_knows_three_actions(sample: LocalProcess, credentials: pytest.MonkeyPatch) -> None:
    use_key_of(sample, credentials)
    async with Stack.aws(sample.options.name, endpoint_url=sample.endpoint_url) as stack:
        matrix = (await stack.support_matrix(progress=False)).set_index("action")
    answered = matrix.index[matrix.outcome == "answered"]
    assert set(answered) == {"BootNotification", "Heartbeat", "StatusNotification"}
    rest = matrix.drop(answered)
    assert set(rest.outcome) == {"not implemented"}
    assert "Command [Authorize] not implemented." in rest.detail["Authorize"]


async def test_a_thing_that_was_there_stays(stack: Stack) -> None:
    charge_point_id = new_id()
    await stack.things.create(charge_point_id, {"site": "A"})
    await stack.support_matrix(version="1.6", charge_point_id=charge_point_id)
    assert (await stack.things.create(charge_point_id)).created is False


async def test_a_version_it_has_no_list_of_is_refused(stack: Stack) -> None:
    with pytest.raises(ValueError, match=r"2\.0\.1 or 1\.6, not '2\.1'"):
        await stack.support_matrix(version="2.1")


async def test_a_name_that_no_thing_can_have_is_refused(stack: Stack) -> None:
    with pytest.raises(ValueError, match="cannot be a Thing"):
        await stack.support_matrix(charge_point_id="a b")


async def test_a_latency_contains_no_opening_handshake(csms: Csms) -> None:
    csms.on["BootNotification"] = both(answer(), close(1000))
    async with ChargePoint("CP1", csms.url) as cp:
        csms.handshake_delay = 200 * MS  # of the connection that is opened for the action after
        matrix = (await support_matrix(cp, timeout=SOON, progress=False)).set_index("action")
    assert len(csms.links) == 2
    after, next_one = csms.links[1].calls[:2]
    sent_at = next(record.sent_at for record in cp.messages if record.message_id == next_one.message_id)
    since_open = sent_at - wall_clock(csms.requested_at[1] + csms.handshake_delay)
    assert matrix.latency_ms[after.action] <= since_open.total_seconds() * 1000 + 1


async def test_every_way_to_misbehave_has_its_outcome(csms: Csms) -> None:
    csms.on["Authorize"] = error("InternalError", "why", {})
    csms.on["DataTransfer"] = answer({"status": "Perhaps"})
    csms.on["FirmwareStatusNotification"] = answer({"error": "Command [X] not implemented."})
    csms.on["NotifyEvent"] = close(1011, "no")
    async with ChargePoint("CP1", csms.url) as cp:
        csms.on["MeterValues"] = delay(100 * MS, times_out(cp))
        matrix = (await support_matrix(cp, timeout=SOON, progress=False)).set_index("action")
    found = {name: (matrix.outcome[name], matrix.code[name]) for name in matrix.index}
    assert found["Authorize"] == ("CALLERROR", "InternalError")
    assert matrix.detail["Authorize"] == "why"
    assert found["DataTransfer"][0] == "invalid"
    assert "Perhaps" in matrix.detail["DataTransfer"]
    assert found["FirmwareStatusNotification"] == ("not implemented", "")
    assert found["MeterValues"] == ("no answer", "")
    assert matrix.latency_ms["MeterValues"] >= 100 * MS * 1000 * 0.99
    assert found["NotifyEvent"] == ("connection lost", "1011")
    assert found["StatusNotification"] == ("answered", "")  # on a new connection
    assert len(csms.links) == 2
