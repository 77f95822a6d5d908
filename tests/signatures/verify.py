"""Verifies webhooks: `v1` with the package that is published for receivers, `v1a` with `cryptography`."""

import base64
import json
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks.webhooks import Webhook, WebhookVerificationError


def verify_v1(secret, headers, body):
    Webhook(secret).verify(body, headers)


def verify_v1a(public, headers, body):
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public.removeprefix("whpk_"), validate=True))
    entries = [entry.split(",") for entry in headers["webhook-signature"].split(" ")]
    [signature] = [value for version, value in entries if version == "v1a"]
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key.verify(base64.b64decode(signature, validate=True), content)


def must_fail(check, error):
    try:
        check()
    except error:
        return
    raise AssertionError("a changed body was verified")


given = json.load(sys.stdin)
for webhook in given["webhooks"]:
    headers, body = webhook["headers"], base64.b64decode(webhook["body"])
    verify_v1(given["secret"], headers, body)
    verify_v1a(given["public"], headers, body)
    must_fail(lambda: verify_v1(given["secret"], headers, body + b" "), WebhookVerificationError)
    must_fail(lambda: verify_v1a(given["public"], headers, body + b" "), InvalidSignature)
print(len(given["webhooks"]), "verified")
