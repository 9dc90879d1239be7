"""How objects show themselves in a cell: well-formed HTML, everything escaped, and one line as their repr."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest
from csms_stub import Csms, close
from stack_fixtures import new_id

from cpsim_kit import ChargePoint, Stack
from cpsim_kit.aws.shadow import Shadow
from cpsim_kit.aws.things import ManyThings
from cpsim_kit.basics.cards import card
from cpsim_kit.errors import AwsError, ConnectionLost

NASTY = "<script>alert('1')</script> & \"2\""


class Page(HTMLParser):
    """What a browser reads: the texts of each kind of element; fails where elements are not nested and closed."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.texts: dict[str, list[str]] = {}
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert {name for name, _ in attrs} <= {"style", "scope"}, attrs
        self.open.append(tag)
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        assert self.open, f"text outside of the card: {data!r}"
        self.texts.setdefault(self.open[-1], []).append(data)

    @property
    def title(self) -> str:
        return "".join(self.texts["strong"])

    @property
    def state(self) -> str:
        return "".join(self.texts.get("span", []))

    @property
    def rows(self) -> list[str]:
        return self.texts.get("th", [])

    @property
    def text(self) -> str:
        return " ".join(text for texts in self.texts.values() for text in texts)


def shown(thing: Any) -> Page:
    """The card of an object, read by a parser; its repr is one line in angle brackets."""
    assert repr(thing).startswith("<")
    assert repr(thing).endswith(">")
    assert "\n" not in repr(thing)
    page = Page(thing._repr_html_())
    assert page.tags <= {"div", "strong", "span", "table", "tbody", "tr", "th", "td", "pre"}
    return page


# -- The card ---------------------------------------------------------------------------------------------------------


def test_title_state_and_rows_in_their_order() -> None:
    page = Page(card("ChargePoint CP1", "open", {"OCPP": "2.0.1", "frames": 0}))
    assert (page.title, page.state, page.rows) == ("ChargePoint CP1", "open", ["OCPP", "frames"])
    assert page.texts["td"] == ["2.0.1", "0"]


def test_nothing_to_say_takes_no_room() -> None:
    page = Page(card("Stack", "", {"none": None, "empty": ""}))
    assert page.tags == {"div", "strong"}
    assert Page(card("Stack", "closed", {})).tags == {"div", "strong", "span"}


@pytest.mark.parametrize("value", [NASTY, {"key": NASTY}, [NASTY], f"two\n{NASTY}", {NASTY: 1}])
def test_values_are_escaped(value: Any) -> None:
    page = Page(card(NASTY, NASTY, {NASTY: value}))
    assert "script" not in page.tags
    assert page.title == page.state == page.rows[0] == NASTY
    assert "<script>alert" in page.text


def test_json_and_lines_keep_their_form() -> None:
    page = Page(card("Shadow", "", {"reported": {"ä": [1, {"b": None}]}, "SQL": "\nSELECT *\nFROM 'a'\n"}))
    reported, sql = page.texts["pre"]
    assert reported == '{\n  "ä": [\n    1,\n    {\n      "b": null\n    }\n  ]\n}'
    assert sql == "SELECT *\nFROM 'a'"


@pytest.mark.parametrize(
    ("value", "without"),
    [
        ("wss://me:secret@example.com/CP1", "wss://…@example.com/CP1"),
        ("wss://me:s@cret@example.com:8443", "wss://…@example.com:8443"),
        ("wss://secret@example.com", "wss://…@example.com"),
        ("a http://u:secret@b\nc http://u:secret@d", "a http://…@b\nc http://…@d"),
        ("ws://127.0.0.1:9/me@home", "ws://127.0.0.1:9/me@home"),
        ("me@example.com", "me@example.com"),
    ],
)
def test_passwords_in_addresses_are_hidden(value: str, without: str) -> None:
    assert without in Page(card("", "", {"address": value})).text
    assert "secret" not in card("", "", {"address": value, "reported": {"url": value}})


# -- Every object that shows itself -----------------------------------------------------------------------------------


async def test_charge_point_new_open_and_closed(csms: Csms) -> None:
    cp = ChargePoint("CP<1>", csms.url, model=NASTY[:20], vendor_name="A & B")
    page = shown(cp)
    assert (page.title, page.state) == ("ChargePoint CP<1>", "new")
    assert page.rows == ["address", "OCPP", "model", "frames"]
    assert f"A & B {NASTY[:20]}" in page.text

    await cp
    await cp.boot()
    page = shown(cp)
    assert page.state == "open"
    assert page.rows == ["address", "OCPP", "model", "boot", "heartbeat interval", "frames"]

    await cp.close()
    page = shown(cp)
    assert page.state == "closed"
    assert "1000 by the charge point" in page.text


async def test_closing_reason_is_escaped(csms: Csms) -> None:
    cp = await ChargePoint("CP1", csms.url)
    csms.once.append(close(1008, NASTY))
    with pytest.raises(ConnectionLost):
        await cp.heartbeat()
    assert f"1008 by the gateway {NASTY}" in shown(cp).text


def test_charge_point_hides_the_password_of_its_address() -> None:
    cp = ChargePoint("CP1", "wss://CP1:secret@example.com")
    assert "wss://…@example.com/CP1" in shown(cp).text
    assert "secret" not in cp._repr_html_()


async def test_stack_open_and_closed(stack: Stack) -> None:
    name = new_id()
    await stack.things.create(name)
    page = shown(stack)
    assert (page.title, page.state) == (f"Stack {stack.name}", "local, started elsewhere")
    assert page.rows == ["region", "charge points connect to", "boto3 connects to", "created here"]
    assert name in page.text

    async with stack.charge_point(name):
        assert "open charge points" in shown(stack).rows

    await stack.close()
    page = shown(stack)
    assert (page.state, page.rows) == ("closed", [])


def test_shadow_shows_its_halves() -> None:
    page = shown(Shadow("CP1", reported={"model": NASTY}, desired={"a": [1]}, version=3, name="notes"))
    assert (page.title, page.state, page.rows) == ("Shadow CP1/notes", "version 3", ["reported", "desired"])
    assert "alert('1')" in page.text
    assert shown(Shadow("CP1")).rows == ["reported"]


async def test_rule_shows_its_sql(stack: Stack) -> None:
    sql = "\nSELECT topic(1) AS chargePointId\nFROM '+/in' WHERE get(*, 0) < 3 AND \"a\" <> 'b & c'\n"
    rule = stack.rule("cards", sql=sql, republish="cards/out")
    page = shown(rule)
    assert (page.title, page.state, page.rows) == ("Rule cards", "not created", ["SQL", "to topic"])
    assert page.texts["pre"] == [sql.strip()]
    async with rule:
        assert shown(rule).state == "active"
    assert "items" in shown(stack.rule("cards", sql=sql, table="cards")).rows


async def test_monitor_and_its_messages(stack: Stack) -> None:
    monitor = stack.monitor("+/in", "cards/#")
    page = shown(monitor)
    assert (page.title, page.state) == ("Monitor", "not open")
    assert page.rows == ["topics", "messages", "not taken yet", "table"]
    assert "+/in cards/#" in page.text
    async with monitor:
        assert shown(monitor).state == "open"
    assert shown(monitor.messages).title == "Messages"


def test_messages_of_a_charge_point() -> None:
    cp = ChargePoint("CP&1", "ws://127.0.0.1:9", max_messages=1)
    for _ in range(2):
        cp.messages.add(0.0, "[]", sent=True)
    page = shown(cp.messages)
    assert (page.title, page.state, page.rows) == ("Messages of CP&1", "", ["frames", "dropped", "table"])


def test_many_things_show_the_first_failure() -> None:
    assert "first failure" not in shown(ManyThings(done=["CP1"])).rows
    failed = {"CP1": AwsError(NASTY, verb="iot.create_thing"), "CP2": AwsError("another", verb="iot.create_thing")}
    page = shown(ManyThings(failed=failed))
    assert NASTY in page.text
    assert "another" not in page.text


async def test_trace(stack: Stack) -> None:
    name = new_id()
    await stack.things.create(name)
    async with stack.charge_point(name) as cp:
        trace = stack.trace(cp)
        page = shown(trace)
        assert (page.title, page.state) == (f"Trace {name}", "not entered")
        async with trace:
            await cp.heartbeat()
    assert shown(trace).state == "1 exchanges"
