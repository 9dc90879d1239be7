"""What a transaction shows of itself."""

from __future__ import annotations

import pytest
from core_player import Player

from cpsim_kit.station import Evse


@pytest.mark.parametrize("version", ["2.0.1", "1.6"])
def test_repr_and_card_say_which_it_is_and_its_state(version: str) -> None:
    player = Player(version)
    player.act("plug")
    player.act("swipe TAG-1")
    (transaction,) = player.core.transactions
    name = "1" if version == "1.6" else transaction.key
    assert repr(transaction) == f"<Transaction {name} running at EVSE 1>"
    card = transaction._repr_html_()
    assert "TAG-1" in card
    assert "Charging" in card
    assert "meter at the end" not in card
    player.act("wait 3600")
    player.act("swipe TAG-1")
    assert repr(transaction) == f"<Transaction {name} ended at EVSE 1>"
    assert "11,000 Wh" in transaction._repr_html_()


def test_repr_of_a_transaction_whose_evse_is_not_known() -> None:
    player = Player(evses=[Evse(), Evse()], variables={"TxCtrlr.TxStartPoint": "Authorized"})
    player.act("swipe TAG-1")
    (transaction,) = player.core.transactions
    assert repr(transaction) == f"<Transaction {transaction.key} running>"
    assert "meter" not in transaction._repr_html_()
