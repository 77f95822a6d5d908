"""Changes the calls that schemathesis makes."""

import re
import uuid

import schemathesis


@schemathesis.hook
def before_call(context, case, kwargs):
    """Makes each valid idempotency key a new one. Otherwise a key belongs to another body sooner or later."""
    headers = case.headers or {}
    if re.fullmatch("[!#-~]([ -~]{0,253}[!-~])?", headers.get("Idempotency-Key") or ""):
        headers["Idempotency-Key"] = uuid.uuid4().hex
