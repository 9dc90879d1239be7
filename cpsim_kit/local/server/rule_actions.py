"""Runs topic rules on the local stack as AWS IoT does: the actions dynamoDBv2, republish and sqs, and the error action.

ministack finds the rules whose FROM matches, and then calls this module. Its own actions store nested JSON as text,
convert a payload that is not JSON, and know fewer templates. This module imports nothing of ministack: its modules are
parameters. AWS IoT Core developer guide: "AWS IoT rule actions" (iot-rule-actions and the pages below it), "Error
handling (error action)" (rule-error-handling), "Working with binary payloads" (binary-payloads).
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import orjson

from cpsim_kit.local.server.guard import rules
from cpsim_kit.local.server.rule_engine import NO_MATCH, RuleEngine

__all__ = ["install"]

logger = logging.getLogger("cpsim.rules")

Scope = Callable[[str, str], AbstractContextManager[Any]]


class ActionFailed(Exception):
    """An action failed; the text becomes the errorMessage in the document of the error action."""


@dataclass(frozen=True)
class _Services:
    """ministack's modules, and its context manager that sets account and region."""

    iot: Any
    dynamodb: Any
    sqs: Any
    scope: Scope


def install(iot: Any, dynamodb: Any, sqs: Any, scope: Scope) -> None:
    """Make ministack check and run rules with the kit.

    Args:
        iot: ministack's module ``services.iot``.
        dynamodb: Its module ``services.dynamodb``.
        sqs: Its module ``services.sqs``.
        scope: Its ``core.responses.request_scope``.
    """
    engine = RuleEngine()
    services = _Services(iot, dynamodb, sqs, scope)

    async def run(
        account: str, region: str, rule: dict[str, Any], payload: bytes, topic: str = "", client_id: str | None = None
    ) -> None:
        if not rule or rule.get("ruleDisabled"):
            return
        payload = payload or b""
        principal, trace = iot._rule_message_identity.get()
        message = {
            "client_id": client_id,
            "principal": principal,
            "account_id": account,
            "trace_id": None if client_id is None else trace,
        }
        event = engine.evaluate(rule, topic, payload, **message)
        if event is NO_MATCH:
            return
        failures = []
        for action in rule["actions"]:
            filled = action
            try:
                filled = engine.fill(action, rule, topic, payload, **message)
                await _carry_out(services, account, region, filled, event)
            except Exception as exc:  # noqa: BLE001 - a failing rule must not fail the publisher
                kind = _kind(action)
                logger.warning("rule %s: its %s action failed on %s: %s", rule["ruleName"], kind, topic, exc)
                failures.append(_failure(filled, topic, exc))
        error_action = rule.get("errorAction")
        if not failures or not error_action:
            return
        document = {
            "ruleName": rule["ruleName"],
            "topic": topic,
            "cloudwatchTraceId": trace,
            "clientId": client_id or "N/A",
            "base64OriginalPayload": base64.b64encode(payload).decode(),
            "failures": failures,
        }
        try:
            filled = engine.fill(error_action, rule, topic, payload, **message)
            await _carry_out(services, account, region, filled, document)
        except Exception as exc:  # noqa: BLE001 - as above
            logger.warning("rule %s: its error action failed on %s: %s", rule["ruleName"], topic, exc)

    rules.install(iot, engine)
    iot._run_rule_actions = run
    iot._rule_topic_filter = engine.topic_filter


async def _carry_out(services: _Services, account: str, region: str, action: dict[str, Any], event: Any) -> None:
    """Carry out one action.

    Args:
        services: ministack.
        account: The account of the rule.
        region: The region of the rule.
        action: The action, its templates filled.
        event: The outgoing event: JSON data, or the bytes of a payload that is not JSON.

    Raises:
        ActionFailed: The action failed.
    """
    kind = _kind(action)
    if kind == "republish":
        await _republish(services.iot, account, region, action[kind], _serialized(event))
        return
    with services.scope(account, region):
        if kind == "sqs":
            _send(services.sqs, action[kind], _serialized(event))
        else:
            _put_item(services.dynamodb, action[kind], event)


def _put_item(dynamodb: Any, spec: dict[str, Any], event: Any) -> None:
    """Write each member of the event to its own column. AWS: "DynamoDBv2" (dynamodb-v2-rule-action)."""
    if not isinstance(event, dict):
        raise ActionFailed("the result is not a JSON object, whose members could be columns")
    item = {name: _attribute(value) for name, value in event.items()}
    status, _headers, body = dynamodb._put_item({"TableName": spec["putItem"]["tableName"], "Item": item})
    if status >= 400:
        error = json.loads(body)
        raise ActionFailed(f"PutItem answered {error['__type'].rpartition('#')[2]}: {error['message']}")


def _attribute(value: Any) -> dict[str, Any]:
    """Return a value as DynamoDB's AttributeValue; nested JSON becomes Map and List."""
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, int | float):
        return {"N": repr(value)}
    if isinstance(value, dict):
        return {"M": {name: _attribute(member) for name, member in value.items()}}
    if isinstance(value, list):
        return {"L": [_attribute(member) for member in value]}
    return {"NULL": True} if value is None else {"S": value}


def _send(sqs: Any, spec: dict[str, Any], body: bytes) -> None:
    """Send the event to a queue. AWS: "SQS" (sqs-rule-action)."""
    if str(spec.get("useBase64")).lower() == "true":  # some CloudFormation templates have a string
        text = base64.b64encode(body).decode()
    else:
        try:
            text = body.decode()
        except UnicodeDecodeError as exc:
            raise ActionFailed("the payload is not UTF-8, and SQS carries text; set useBase64") from exc
    url = spec["queueUrl"]
    try:
        if sqs._get_q(url)["is_fifo"]:
            raise ActionFailed("the SQS action does not support FIFO queues")
        sqs._act_send_message({"MessageBody": text}, url)
    except sqs._Err as exc:
        raise ActionFailed(f"SendMessage answered {exc.code}: {exc.message}") from exc


async def _republish(iot: Any, account: str, region: str, spec: dict[str, Any], payload: bytes) -> None:
    """Publish the event. AWS: "Republish" (republish-rule-action). ``$$`` begins a reserved topic."""
    topic = spec["topic"]
    topic = topic[1:] if topic.startswith("$$") else topic
    if not topic or "+" in topic or "#" in topic:
        raise ActionFailed(f"{topic!r} is not a topic to publish to")
    depth = iot._republish_depth.get()
    if depth >= iot._MAX_REPUBLISH_DEPTH:
        raise ActionFailed(f"rules republished this message {depth} times already: do they feed each other?")
    token = iot._republish_depth.set(depth + 1)
    try:
        principal = iot._rule_role_principal(account, spec.get("roleArn") or "")
        await iot.broker_publish(account, region, topic, payload, qos=int(spec.get("qos") or 0), principal=principal)
    finally:
        iot._republish_depth.reset(token)


def _serialized(event: Any) -> bytes:
    """Return the event as bytes."""
    if isinstance(event, bytes):
        return event
    try:
        return orjson.dumps(event)
    except orjson.JSONEncodeError:  # nested deeper than orjson can write
        return json.dumps(event).encode()


def _kind(action: dict[str, Any]) -> str:
    return next(kind for kind, spec in action.items() if spec is not None)


def _failure(action: dict[str, Any], topic: str, error: Exception) -> dict[str, str]:
    """Return one failure for the document of the error action."""
    kind = _kind(action)
    spec = action[kind]
    if kind == "dynamoDBv2":
        what, resource = "Table", spec["putItem"]["tableName"]
    elif kind == "sqs":
        what, resource = "Queue", spec["queueUrl"].rpartition("/")[2]
    else:
        what, resource = "Topic", spec["topic"]
    return {
        "failedAction": f"{kind[0].upper()}{kind[1:]}Action",
        "failedResource": resource,
        "errorMessage": f"{error}. Message arrived on: {topic}, Action: {kind}, {what}: {resource}",
    }
