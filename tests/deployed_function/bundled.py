"""What the package of the deployed function bundles: messages of OCPP-J, as far as the sample needs them."""

import json
from dataclasses import dataclass


@dataclass
class Call:
    message_id: str
    action: str
    payload: dict

    def answer(self, payload: dict) -> str:
        return json.dumps([3, self.message_id, payload])


def unpack(message: list) -> Call:
    """A CALL; what else a charge point sends has no action, and fails."""
    kind, message_id, *rest = message
    action, payload = rest if kind == 2 else [None, *rest]
    if action is None:
        raise AttributeError("the message has no action")
    return Call(message_id, action, payload)
