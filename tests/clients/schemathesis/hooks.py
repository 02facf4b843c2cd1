"""What schemathesis is told: to edit the published specification, and to write down what the node answers.

OFREP_SEEN: a file that a JSON line is added to for every kind of answer: {"operation", "status", "reasons", "count"}.
"""

import atexit
import json
import os
from collections import Counter

import schemathesis
from specification import edit

seen = Counter()


@schemathesis.hook
def before_load_schema(context, raw_schema):
    edit(raw_schema)


@schemathesis.hook
def after_call(context, case, response):
    # A method that the operation does not have is no request to it.
    if case.method != case.operation.method.upper():
        return
    operation = case.operation.definition.raw["operationId"]
    seen[operation, response.status_code, reasons(response)] += 1


def reasons(response):
    """The reasons that an answer gives for its flags."""
    if response.status_code != 200:
        return ()
    answer = response.json()
    return tuple(sorted({flag["reason"] for flag in answer.get("flags", [answer]) if "reason" in flag}))


@atexit.register
def write():
    with open(os.environ["OFREP_SEEN"], "a", encoding="utf-8") as file:
        for (operation, status, reasons), count in sorted(seen.items()):
            line = {"operation": operation, "status": status, "reasons": reasons, "count": count}
            file.write(json.dumps(line) + "\n")
