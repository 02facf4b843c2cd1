"""The specification that nodes are tested against: the published one with its edits.

Run as a program it prints, as JSON, the statuses of each operation, the schemas without what only people read, and what
the edits are.
"""

import json

from pathlib import Path

import jsonpatch
import yaml

FOLDER = Path(__file__).parents[2] / "fixtures" / "ofrep"
PUBLISHED = FOLDER / "openapi.yaml"
EDITS = FOLDER / "edits.yaml"


def edits():
    """`[{"what", "why", "patch"}]`."""
    return yaml.safe_load(EDITS.read_text(encoding="utf-8"))


def edit(document):
    """Makes the edits in the published document, in place."""
    for edit in edits():
        jsonpatch.apply_patch(document, edit["patch"], in_place=True)


def bare(schema, is_schema=True):
    """A schema without descriptions and examples; `properties` may have such names."""
    if isinstance(schema, list):
        return [bare(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: bare(part, is_schema=not is_schema or name != "properties")
        for name, part in schema.items()
        if not is_schema or name not in ("description", "example", "examples")
    }


def main():
    document = yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))
    edit(document)
    operations = [path["post"] for path in document["paths"].values()]
    summary = {
        "statuses": {operation["operationId"]: sorted(map(int, operation["responses"])) for operation in operations},
        "schemas": bare(document["components"]["schemas"], is_schema=False),
        "edits": [edit["what"] for edit in edits()],
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
