"""Asks a node for each status that the specification documents, and for those of HTTP that it does not, and holds every
answer against the specification.

ask.py quorum | alone     with a quorum, or on a node that has lost it

OFREP_BASE_URL: the node.
OFREP_SERVICE_TOKEN, OFREP_CLIENT_TOKEN, OFREP_ADMIN_TOKEN: a token of each kind; the first two evaluate there.
OFREP_SEEN: see hooks.py.
"""

import json
import os
import socket
import sys
import threading
from contextlib import contextmanager
from urllib.parse import urlparse

import schemathesis
from schemathesis.config import SchemathesisConfig
from jsonschema_rs import validator_for

import hooks  # noqa: F401  (edits the specification, notes what was seen)
from specification import PUBLISHED

BASE = os.environ["OFREP_BASE_URL"]
SERVICE, CLIENT, ADMIN = (os.environ[f"OFREP_{kind}_TOKEN"] for kind in ("SERVICE", "CLIENT", "ADMIN"))
UNKNOWN = "fr_svc_" + "A" * 43 + "_00000000"
ADA = {"context": {"targetingKey": "ada"}}
JSON = "application/json"
# Of a history that no cluster has, and one that this one won't come to.
ELSEWHERE = "ffffffffffffffff.1"
# A limited caller gets one request through for each that its rate allows; this many tries all let through would be odd.
TRIES = 200

schema = schemathesis.openapi.from_path(PUBLISHED, config=SchemathesisConfig())
one = schema["/ofrep/v1/evaluate/flags/{key}"]["POST"]
bulk = schema["/ofrep/v1/evaluate/flags"]["POST"]
failures = {
    operation.label: validator_for({**schema.raw_schema, "$ref": f"#/components/schemas/{name}"})
    for operation, name in ((one, "evaluationFailure"), (bulk, "bulkEvaluationFailure"))
}


def ask(operation, status, token=SERVICE, key="banner", body=ADA, query=None, headers=None, code="GENERAL"):
    """Sends a request, checks its answer, and gives it. `body` is sent as it is where it is text."""
    answer = send(operation, token, key, body, query, headers)
    assert answer.status_code == status, f"{operation.label}: {answer.status_code}, not {status}: {answer.text}"
    if status >= 400:
        assert answer.json()["errorCode"] == code, answer.text
    return answer


def send(operation, token=SERVICE, key="banner", body=ADA, query=None, headers=None):
    text = body if isinstance(body, str) else json.dumps(body)
    authorization = {"Authorization": f"Bearer {token}"} if token else {}
    content_type = {"Content-Type": JSON} if text else {}
    case = operation.Case(
        path_parameters={"key": key} if operation is one else {},
        query=query or {},
        headers={**authorization, **content_type, **(headers or {})},
    )
    answer = case.call(base_url=BASE, data=text.encode(), timeout=30)
    check(operation, case, answer)
    return answer


def check(operation, case, answer):
    """An answer is as documented. One that has no documented body, or is not documented at all, is a failure like others."""
    if str(answer.status_code) in operation.responses.status_codes:
        case.validate_response(answer)
    if answer.status_code >= 400 and answer.status_code != 404:
        failures[operation.label].validate(answer.json())
        assert answer.json()["errorDetails"], answer.text
    if answer.status_code in (429, 503):
        assert int(answer.headers["retry-after"][0]) >= 1
    if answer.status_code == 401:
        assert answer.headers["www-authenticate"] == ["Bearer"]


def with_a_quorum():
    flags = ask(bulk, 200).json()["flags"]
    for flag in flags:
        assert ask(one, 200, key=flag["key"]).json()["value" if "value" in flag else "variant"] is not None
    ask(one, 404, key="nothing", code="FLAG_NOT_FOUND")
    ask(one, 404, token=CLIENT, key="kill", code="FLAG_NOT_FOUND")
    etag = ask(bulk, 200).headers["etag"][0]
    assert ask(bulk, 304, headers={"If-None-Match": etag}).content == b""

    for operation in (one, bulk):
        ask(operation, 200, token=CLIENT)
        ask(operation, 200, token=None, headers={"X-API-Key": SERVICE})
        for body in ("", "{", "[]", '{"context": {"a": 1, "a": 2}}'):
            ask(operation, 400, body=body, code="PARSE_ERROR")
        for body in ({"context": None}, {"context": []}, {"context": {"targetingKey": 7}}):
            ask(operation, 400, body=body, code="INVALID_CONTEXT")
        for token in (None, UNKNOWN, "nonsense"):
            ask(operation, 401, token=token)
        ask(operation, 403, token=ADMIN)
        limited(operation)
        # What the protocol does not name, and HTTP does.
        ask(operation, 412, headers={"Flagraft-Min-Revision": ELSEWHERE})
        ask(operation, 413, body={"context": {"a": "x" * (1 << 20)}})
        ask(operation, 415, headers={"Content-Type": "text/plain"})
        ask(operation, 503, headers={"Flagraft-Min-Revision": later(etag), "Flagraft-Deadline-Ms": "20"})
    ask(bulk, 412, query={"flagConfigEtag": ELSEWHERE})
    ask(bulk, 503, query={"flagConfigEtag": later(etag)}, headers={"Flagraft-Deadline-Ms": "20"})


def later(etag):
    """A revision that is far off."""
    history = etag.strip('"').split(".")[0]
    return f"{history}.{10**9}"


def limited(operation):
    """A client token that asks more often than it may is told so."""
    with flood():
        for _ in range(TRIES):
            if send(operation, token=CLIENT).status_code == 429:
                return
    raise AssertionError(f"{operation.label}: no request of {TRIES} was refused, though the client token asked too often")


@contextmanager
def flood():
    """Requests with the client token, as many as the node takes, from two connections."""
    address = urlparse(BASE)
    request = (
        f"POST /ofrep/v1/evaluate/flags HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer {CLIENT}\r\n"
        "Content-Length: 0\r\n\r\n"
    )
    sockets = [socket.create_connection((address.hostname, address.port)) for _ in range(2)]
    threads = []
    for connection in sockets:
        threads.append(threading.Thread(target=pour, args=(connection, request.encode() * 200)))
        threads.append(threading.Thread(target=drain, args=(connection,)))
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for connection in sockets:
            connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
        for connection in sockets:
            connection.close()


def pour(connection, requests):
    try:
        while True:
            connection.sendall(requests)
    except OSError:
        pass  # It was shut down.


def drain(connection):
    try:
        while connection.recv(1 << 16):
            pass
    except OSError:
        pass


def without_a_quorum():
    answer = ask(one, 200, key="kill").json()
    assert (answer["reason"], answer["value"]) == ("UNKNOWN", False), answer
    assert ask(one, 200, key="banner").json()["reason"] != "UNKNOWN"
    flags = ask(bulk, 200)
    assert "etag" not in flags.headers
    assert [flag["key"] for flag in flags.json()["flags"] if flag["reason"] == "UNKNOWN"] == ["kill", "needs-kill"]
    ask(one, 503, key="nothing")
    ask(bulk, 503, query={"flagConfigEtag": "an etag of something else"})


if __name__ == "__main__":
    {"quorum": with_a_quorum, "alone": without_a_quorum}[sys.argv[1]]()
