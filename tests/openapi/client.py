"""Calls a server with the client that was generated from its document. The arguments are the server's URL and a file
that the handler `gated` waits for."""

import pathlib
import sys

from generated import Client
from generated.api.described import cancel_described, get_described, list_described, result_described, submit_described
from generated.api.gated import cancel_gated, get_gated, submit_gated
from generated.api.bytes_ import get_bytes, submit_bytes
from generated.api.server import alive, openapi, ready
from generated.models import (
    Bill,
    Gate,
    Order,
    PostbackAccepted,
    PostbackDescribedStatus,
    PostbackPending,
    PostbackProblem,
    PostbackRequestStatus as Status,
    Size,
)
from generated.types import File

url, gate = sys.argv[1:]
# A client program asks for problem documents. Otherwise an error is one line of text.
client = Client(base_url=url, headers={"accept": "application/problem+json"}, raise_on_unexpected_status=True)


def is_problem(answer, code):
    assert isinstance(answer, PostbackProblem), answer
    assert (answer.code, answer.type_.rsplit("#")[1]) == (code, code), answer


order = Order(text="hello", size=Size.LARGE, tags=["a", "b"])
accepted = submit_described.sync(client=client, body=order)
assert isinstance(accepted, PostbackAccepted), accepted
status = get_described.sync(accepted.id, client=client, wait=30)
assert (status.id, status.status) == (accepted.id, Status.COMPLETED), status
assert isinstance(status.result, Bill) and (status.result.size, status.result.tags) == (Size.LARGE, 2), status
assert result_described.sync(accepted.id, client=client) == status.result
page = list_described.sync(client=client, limit=10)
assert [(one.id, one.status) for one in page.requests] == [(accepted.id, Status.COMPLETED)] and page.next_ is None, page
assert status.timestamp is not None and status.timestamp.tzinfo is not None, status

finished = submit_described.sync(client=client, body=Order(text="fail", size=Size.SMALL), prefer="wait=30")
assert isinstance(finished, PostbackDescribedStatus), finished
assert (finished.status, finished.error, finished.reason) == (Status.FAILED, "fail", "error"), finished
is_problem(cancel_described.sync(finished.id, client=client), "request_over")
is_problem(get_described.sync("nobody", client=client), "not_found")
unknown = get_described.sync_detailed("nobody", client=client)
assert unknown.status_code == 404, unknown

pending = submit_gated.sync(client=client, body=Gate(gate="never"), prefer="respond-async")
assert isinstance(pending, PostbackPending) and pending.status_url == f"/gated/{pending.id}", pending
assert cancel_gated.sync(pending.id, client=client).id == pending.id
assert get_gated.sync(pending.id, client=client, wait=30).status == Status.CANCELLED

waiting = submit_gated.sync(client=client, body=Gate(gate=gate, text="open"))
pathlib.Path(gate).touch()
assert get_gated.sync(waiting.id, client=client, wait=30).result == "open"

raw = submit_bytes.sync(client=client, body=File(payload=b"\0\xff"))
assert get_bytes.sync(raw.id, client=client, wait=30).result[0] == 2

assert alive.sync(client=client) == "ok\n" and ready.sync(client=client) == "ready\n"
assert openapi.sync(client=client)["openapi"] == "3.1.0"
print("the client works")
