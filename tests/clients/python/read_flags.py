"""Reads flags through the published OFREP provider and compares value, type, variant and reason with what is expected.

OFREP_BASE_URL, OFREP_TOKEN: the node and a token that evaluates there.
OFREP_EXPECTED: {"flags": [{"key", "type", "value", "variant", "reason", "context"}], "missing": [key, ...]}
"""

import json
import os
import sys

from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode

# What no expected value is, so that a default that was served is noticed.
DEFAULTS = {"boolean": None, "string": "<default>", "integer": -987654321, "number": -98765.4321, "object": {"default": 1}}
TYPES = {"boolean": bool, "string": str, "integer": int, "number": float, "object": dict}


def read(client, flag_type, key, context, default):
    ask = {
        "boolean": client.get_boolean_details,
        "string": client.get_string_details,
        "integer": client.get_integer_details,
        "number": client.get_float_details,
        "object": client.get_object_details,
    }[flag_type]
    attributes = {name: value for name, value in context.items() if name != "targetingKey"}
    return ask(key, default, EvaluationContext(context.get("targetingKey"), attributes))


def main():
    expected = json.loads(os.environ["OFREP_EXPECTED"])
    token = os.environ["OFREP_TOKEN"]
    provider = OFREPProvider(os.environ["OFREP_BASE_URL"], headers_factory=lambda: {"Authorization": f"Bearer {token}"})
    api.set_provider(provider)
    client = api.get_client()

    faults = []
    for flag in expected["flags"]:
        # A boolean has no third value: the default is the one that is not expected.
        default = not flag["value"] if flag["type"] == "boolean" else DEFAULTS[flag["type"]]
        got = read(client, flag["type"], flag["key"], flag.get("context", {}), default)
        seen = {"error": got.error_code, "value": got.value, "variant": got.variant, "reason": str(got.reason)}
        wanted = {"error": None, "value": flag["value"], "variant": flag["variant"], "reason": flag["reason"]}
        if seen != wanted or type(got.value) is not TYPES[flag["type"]]:
            faults.append(f"{flag['key']}: {seen} ({type(got.value).__name__}, {got.error_message}), not {wanted}")
    for key in expected.get("missing", []):
        got = read(client, "string", key, {}, "<default>")
        if got.error_code != ErrorCode.FLAG_NOT_FOUND or got.value != "<default>":
            faults.append(f"{key}: {got}, not FLAG_NOT_FOUND with the default")

    for fault in faults:
        print(fault, file=sys.stderr)
    if faults:
        sys.exit(1)
    print(f"{len(expected['flags'])} flags as expected")


main()
