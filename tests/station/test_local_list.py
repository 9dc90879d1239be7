"""The local list of tokens and the cache of answers: what the CSMS puts in and takes out, and what then counts."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from core_player import EPOCH, Player
from message_lines import lines_of
from ocpp.exceptions import PropertyConstraintViolationError

from cpsim_kit.station.rules.authorization import MAX_TOKENS, AuthorizationCache, IdToken, LocalList, TokenInfo
from cpsim_kit.station.rules.events import Accepted, PowerOff
from cpsim_kit.station.rules.memory import recall, remember

VERSIONS = ("1.6", "2.0.1", "2.1")
NAMES = {
    "list": {"1.6": "LocalAuthListEnabled", "2.0.1": "LocalAuthListCtrlr.Enabled"},
    "cache": {"1.6": "AuthorizationCacheEnabled", "2.0.1": "AuthCacheCtrlr.Enabled"},
    "local": {"1.6": "LocalPreAuthorize", "2.0.1": "AuthCtrlr.LocalPreAuthorize"},
    "unknown": {"1.6": "AllowOfflineTxForUnknownId", "2.0.1": "AuthCtrlr.OfflineTxForUnknownIdEnabled"},
}


def player_of(version: str, /, tokens: dict[str, TokenInfo] | None = None, **variables: object) -> Player:
    """A station with variables by their names above."""
    values = {NAMES[name]["1.6" if version == "1.6" else "2.0.1"]: value for name, value in variables.items()}
    return Player(version, variables=values, tokens=tokens)


def send_list(player: Player, version: int, kind: str, words: str | None = "") -> str:
    """Send a list such as "TAG-1 TAG-2=Blocked TAG-3=Accepted@60 -TAG-4"; None leaves it out. The status."""
    is_16 = player.core.dialect.version.name == "1.6"
    items = []
    for word in (words or "").split():
        name, _, rest = word.removeprefix("-").partition("=")
        status, _, seconds = rest.partition("@")
        info: dict[str, Any] | None = None if word.startswith("-") else {"status": status or "Accepted"}
        if info is not None and seconds:
            at = datetime.fromtimestamp(EPOCH + float(seconds), UTC).isoformat()
            info["expiry_date" if is_16 else "cache_expiry_date_time"] = at
        token: Any = name if is_16 else {"id_token": name, "type": "ISO14443"}
        item = {"id_tag" if is_16 else "id_token": token}
        items.append(item if info is None else item | {"id_tag_info" if is_16 else "id_token_info": info})
    fields: dict[str, Any] = {"list_version" if is_16 else "version_number": version, "update_type": kind}
    if words is not None:
        fields["local_authorization_list"] = items
    answer, _ = player.command("SendLocalList", **fields)
    return str(answer.status)


def list_version(player: Player) -> int:
    answer, _ = player.command("GetLocalListVersion")
    version = answer.list_version if player.core.dialect.version.name == "1.6" else answer.version_number
    assert isinstance(version, int)
    return version


def accepts(player: Player, token: str) -> bool:
    """Whether the station lets a token charge by itself, offline."""
    player.act("offline")
    player.act("plug")
    player.act(f"swipe {token}")
    is_charging = player.core.evses[1].charging_state == "Charging"
    player.act("unplug")
    player.act("online")
    return is_charging


# What is sent: kind and list, one after the other, each with the next version; the last status; who is accepted then.
UPDATES: list[tuple[str, list[tuple[str, str | None]], str, str]] = [
    ("a list", [("Full", "A B")], "Accepted", "A B"),
    ("another list", [("Full", "A B"), ("Full", "C")], "Accepted", "C"),
    ("an empty list takes all out", [("Full", "A B"), ("Full", "")], "Accepted", ""),
    ("no list takes all out", [("Full", "A B"), ("Full", None)], "Accepted", ""),
    ("one more", [("Full", "A B"), ("Differential", "C")], "Accepted", "A B C"),
    ("one less", [("Full", "A B"), ("Differential", "-A")], "Accepted", "B"),
    ("one changed", [("Full", "A B"), ("Differential", "A=Blocked")], "Accepted", "B"),
    ("upper and lower case are the same", [("Full", "A B"), ("Differential", "-a")], "Accepted", "B"),
    ("one that is not there less", [("Full", "A B"), ("Differential", "-C")], "Accepted", "A B"),
    ("no change", [("Full", "A B"), ("Differential", "")], "Accepted", "A B"),
    ("no list of changes", [("Full", "A B"), ("Differential", None)], "Accepted", "A B"),
    ("changes to nothing", [("Differential", "A")], "Accepted", "A"),
    ("one twice", [("Full", "A B"), ("Full", "C c")], "Failed", "A B"),
    ("one changed twice", [("Full", "A B"), ("Differential", "C -C")], "Failed", "A B"),
    ("a whole list without what is known", [("Full", "A B"), ("Full", "-C")], "Failed", "A B"),
    ("too many for a message", [("Full", "A"), ("Full", " ".join(f"T{n}" for n in range(1001)))], "Failed", "A"),
    (
        "too many to take out",
        [("Full", "A"), ("Differential", " ".join(f"-T{n}" for n in range(1001)))],
        "Failed",
        "A",
    ),
    (
        "too many in all",
        [("Full", " ".join(["A", *(f"T{n}" for n in range(999))])), ("Differential", "B")],
        "Failed",
        "A",
    ),
    ("as many as there is room for", [("Full", " ".join(["A", *(f"T{n}" for n in range(999))]))], "Accepted", "A"),
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("updates", "status", "accepted"), [case[1:] for case in UPDATES], ids=[c[0] for c in UPDATES])
def test_an_update_of_the_list(updates: list[tuple[str, str | None]], status: str, accepted: str, version: str) -> None:
    player = player_of(version, cache=False)
    statuses = [send_list(player, 3 + number, kind, words) for number, (kind, words) in enumerate(updates)]
    assert statuses == ["Accepted"] * (len(updates) - 1) + [status]
    assert [name for name in ["A", "B", "C"] if accepts(player, name)] == accepted.split()
    expected = 3 + len(updates) - 1 if status == "Accepted" else 3 + len(updates) - 2
    if version == "1.6" and not accepted:
        expected = 0  # 5.10: an empty list
    assert list_version(player) == expected


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("number", "kind", "status"),
    [
        (5, "Differential", "VersionMismatch"),
        (4, "Differential", "VersionMismatch"),
        (6, "Differential", "Accepted"),
        (60, "Differential", "Accepted"),
        (5, "Full", "Accepted"),
        (1, "Full", "Accepted"),
        (0, "Full", "Failed"),
        (-1, "Full", "Failed"),
        (0, "Differential", "Failed"),
    ],
)
def test_the_version_of_an_update(number: int, kind: str, status: str, version: str) -> None:
    player = player_of(version, cache=False)
    assert list_version(player) == 0
    assert send_list(player, 5, "Full", "A") == "Accepted"
    assert send_list(player, number, kind, "B") == status
    assert list_version(player) == (number if status == "Accepted" else 5)
    assert accepts(player, "B") == (status == "Accepted")


@pytest.mark.parametrize(("version", "status", "number"), [("1.6", "NotSupported", -1), ("2.0.1", "Failed", 0)])
def test_a_list_that_is_off_takes_nothing_and_counts_for_nothing(version: str, status: str, number: int) -> None:
    player = player_of(version, cache=False)
    send_list(player, 1, "Full", "A")
    player.core.variables.set(NAMES["list"][version], False)
    assert send_list(player, 2, "Full", "B") == status
    assert list_version(player) == number
    assert not accepts(player, "A")
    player.core.variables.set(NAMES["list"][version], True)
    assert list_version(player) == 1
    assert accepts(player, "A")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_token_of_the_list_needs_no_question_where_the_variables_say_so(version: str) -> None:
    player = player_of(version, local=True)
    send_list(player, 1, "Full", "TAG-1 TAG-2=Blocked TAG-3=Accepted@60")
    player.act("plug")
    lines = lines_of(player.act("swipe TAG-1"))
    assert lines
    assert not any(line.startswith("authorize") for line in lines)
    player.act("swipe TAG-1")
    assert lines_of(player.act("swipe TAG-2"))[0] == "authorize TAG-2"  # C14.FR.03: the CSMS may know better
    player.act("swipe TAG-2")
    player.wait(60)
    assert lines_of(player.act("swipe TAG-3"))[0] == "authorize TAG-3"  # C14.FR.05


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("token", "is_accepted"), [("TAG-1", True), ("TAG-2", False), ("TAG-3", False), ("TAG-9", True)]
)
def test_offline_unknown_tokens_may_charge_but_not_those_known_to_be_refused(
    token: str, is_accepted: bool, version: str
) -> None:
    player = player_of(version, unknown=True)
    send_list(player, 1, "Full", "TAG-1 TAG-2=Blocked TAG-3=Accepted@60")
    player.wait(60)
    assert accepts(player, token) is is_accepted


@pytest.mark.parametrize("version", VERSIONS)
def test_a_cached_token_whose_time_is_over_is_not_unknown(version: str) -> None:
    player = player_of(version, {"TAG-1": TokenInfo("Accepted", cached_until=EPOCH + 60)}, unknown=True)
    for words in ("plug", "swipe TAG-1", "swipe TAG-1", "unplug"):
        player.act(words)
    assert accepts(player, "TAG-1")
    player.wait(60)
    assert not accepts(player, "TAG-1")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("is_new_process", [False, True])
def test_the_list_outlives_a_power_loss(version: str, is_new_process: bool) -> None:
    player = player_of(version, cache=False)
    send_list(player, 7, "Full", "TAG-1")
    if is_new_process:
        data = json.loads(json.dumps(remember(player.core, player.now)))
        player = player_of(version, cache=False)
        recall(player.core, data)
    else:
        player.do(PowerOff())
    player.do(Accepted())
    assert list_version(player) == 7
    assert accepts(player, "TAG-1")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_time_that_is_no_time_is_an_error_and_changes_nothing(version: str) -> None:
    player = player_of(version)
    name = "expiry_date" if version == "1.6" else "cache_expiry_date_time"
    info = {"status": "Accepted", name: "tomorrow"}
    item = {"id_tag": "A", "id_tag_info": info}
    if version != "1.6":
        item = {"id_token": {"id_token": "A", "type": "ISO14443"}, "id_token_info": info}
    number = "list_version" if version == "1.6" else "version_number"
    fields = {number: 1, "update_type": "Full", "local_authorization_list": [item]}
    with pytest.raises(PropertyConstraintViolationError):
        player.command("SendLocalList", **fields)
    assert list_version(player) == 0


# -- The list and the cache -------------------------------------------------------------------------------------------


def test_in_ocpp_16_a_token_of_the_list_is_not_kept_in_the_cache() -> None:
    player = player_of("1.6")
    send_list(player, 1, "Full", "TAG-1")
    for words in ("plug", "swipe TAG-1", "swipe TAG-1", "unplug"):
        player.act(words)
    send_list(player, 2, "Full", "")
    assert not accepts(player, "TAG-1")


CONFLICT = "status 0 Available LocalListConflict"


@pytest.mark.parametrize(
    ("entry", "status", "lines"),
    [
        ("TAG-1", "Blocked", ["authorize TAG-1", CONFLICT]),
        (
            "TAG-1=Blocked",
            "Accepted",
            ["authorize TAG-1", CONFLICT, "start 1 TAG-1 0 Wh", CONFLICT, "status 1 Charging"],
        ),
        ("TAG-1=Blocked", "Expired", ["authorize TAG-1"]),
        ("TAG-1", "Accepted", ["authorize TAG-1", "start 1 TAG-1 0 Wh", "status 1 Charging"]),
        ("TAG-2", "Blocked", ["authorize TAG-1"]),
    ],
)
def test_in_ocpp_16_a_conflict_of_the_list_with_the_csms_is_told(entry: str, status: str, lines: list[str]) -> None:
    player = player_of("1.6", {"TAG-1": TokenInfo(status)})
    send_list(player, 1, "Full", entry)
    player.act("plug")
    assert sorted(lines_of(player.act("swipe TAG-1"))) == sorted(lines)


def test_in_ocpp_201_no_message_tells_a_conflict() -> None:
    player = player_of("2.0.1", {"TAG-1": TokenInfo("Blocked")})
    send_list(player, 1, "Full", "TAG-1")
    player.act("plug")
    assert lines_of(player.act("swipe TAG-1")) == ["authorize TAG-1"]


@pytest.mark.parametrize("version", VERSIONS)
def test_clear_cache_forgets_what_the_csms_said(version: str) -> None:
    player = player_of(version)
    for words in ("plug", "swipe TAG-1", "swipe TAG-1", "unplug"):
        player.act(words)
    assert accepts(player, "TAG-1")
    answer, said = player.command("ClearCache")
    assert (answer.status, said) == ("Accepted", [])
    assert not accepts(player, "TAG-1")
    player.act("plug")
    assert lines_of(player.act("swipe TAG-1"))[0] == "authorize TAG-1"


@pytest.mark.parametrize("version", VERSIONS)
def test_clear_cache_leaves_the_list(version: str) -> None:
    player = player_of(version)
    send_list(player, 1, "Full", "TAG-1")
    player.command("ClearCache")
    assert accepts(player, "TAG-1")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_cache_that_is_off_is_not_cleared(version: str) -> None:
    player = player_of(version)
    for words in ("plug", "swipe TAG-1", "swipe TAG-1", "unplug"):
        player.act(words)
    name = NAMES["cache"]["1.6" if version == "1.6" else "2.0.1"]
    player.core.variables.set(name, False)
    answer, _ = player.command("ClearCache")
    assert answer.status == "Rejected"
    assert not accepts(player, "TAG-1")
    player.core.variables.set(name, True)
    assert accepts(player, "TAG-1")


def test_a_full_cache_forgets_refused_tokens_first_and_then_the_oldest() -> None:
    cache = AuthorizationCache()
    for number in range(MAX_TOKENS):
        status = "Blocked" if number == 500 else "Accepted"
        cache.keep(IdToken(f"T{number}"), TokenInfo(status), number, 1e6)
    cache.keep(IdToken("NEW-1"), TokenInfo("Accepted"), 2000, 1e6)
    assert cache.find(IdToken("T500"), 2000) is None
    assert cache.find(IdToken("T0"), 2000) is not None
    cache.keep(IdToken("NEW-2"), TokenInfo("Accepted"), 2001, 1e6)
    assert cache.find(IdToken("T0"), 2001) is None
    assert cache.find(IdToken("T1"), 2001) is not None


def test_a_list_is_found_by_id_in_any_case_and_by_type() -> None:
    tokens = LocalList()
    tokens.update(1, [(IdToken("Tag-1"), TokenInfo("Accepted", "GROUP", (2,)))], is_full=True)
    assert tokens.find(IdToken("TAG-1"), 0) == TokenInfo("Accepted", "GROUP", (2,))
    assert tokens.find(IdToken("TAG-1", "ISO15693"), 0) is None


@pytest.mark.parametrize("version", VERSIONS)
def test_a_station_that_takes_short_messages_refuses_a_longer_one(version: str) -> None:
    """D01.FR.11; SendLocalListMaxLength of OCPP 1.6, 9.3."""
    name = "SendLocalListMaxLength" if version == "1.6" else "LocalAuthListCtrlr.ItemsPerMessage"
    player = Player(version, variables={name: 2})
    assert send_list(player, 1, "Full", "TAG-1 TAG-2 TAG-3") == "Failed"
    assert len(player.core.local_list) == 0
    assert send_list(player, 1, "Full", "TAG-1 TAG-2") == "Accepted"
    assert send_list(player, 2, "Differential", "TAG-3") == "Accepted"
    assert len(player.core.local_list) == 3
