"""Reads reports with the packages of other services: a prediction of Replicate, and a CloudEvent."""

import json
import sys

from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from replicate.webhook import InvalidSignatureError, Webhooks, WebhookSigningSecret

given = json.load(sys.stdin)

report, secret = given["replicate"], WebhookSigningSecret(key=given["secret"])
Webhooks.validate(headers=report["headers"], body=report["body"], secret=secret, tolerance=300)
try:
    Webhooks.validate(headers=report["headers"], body=report["body"] + " ", secret=secret)
    raise AssertionError("a changed body was verified")
except InvalidSignatureError:
    pass
assert json.loads(report["body"])["status"] == "succeeded"

report = given["event"]
event = from_http_event(HTTPMessage(headers=report["headers"], body=report["body"].encode()))
assert event.get_source() == "postback" and event.get_data()["result"]["n"] == 1, event
print("read: a prediction, and an event of the type", event.get_type())
