"""The message processor of the deployed stack in tests; it behaves as that of the AWS sample.

It knows three actions, and answers an error in a CALLRESULT to all others. What is no CALL makes it fail.
"""

import json
import os
from datetime import UTC, datetime

import boto3
from bundled import unpack

iot = boto3.client("iot-data", region_name=os.environ["AWS_REGION"])


def lambda_handler(event, _):
    for record in event["Records"]:
        body = json.loads(record["body"])
        charge_point_id, call = body["chargePointId"], unpack(body["message"])
        print(f"{call.action} received from {charge_point_id}")  # noqa: T201 - its log
        publish(f"{charge_point_id}/out", call.answer(answer(charge_point_id, call)))


def answer(charge_point_id, call):
    now = datetime.now(UTC).replace(tzinfo=None).isoformat()
    if call.action == "BootNotification":
        publish(f"$aws/things/{charge_point_id}/shadow/update", json.dumps({"state": {"reported": call.payload}}))
        return {"currentTime": now, "interval": int(os.environ["INTERVAL"]), "status": "Accepted"}
    if call.action == "Heartbeat":
        return {"currentTime": now}
    if call.action == "StatusNotification":
        return {}
    return {"error": f"Command [{call.action}] not implemented."}


def publish(topic, payload):
    iot.publish(topic=topic, qos=1, payload=payload)
