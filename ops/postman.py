"""Write the Postman collection (format v2.1.0) of the HTTP API, from its OpenAPI document.

Run from the first request to the last, as often as one likes, each gets a status that its
test names: what one leaves behind, the next ones use by variables.
"""

import argparse
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from api import openapi

COLLECTION = Path(__file__).parent / "docs" / "postman_collection.json"
SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
JSON = "application/json"

# Variables of the collection, and what they are at first.
VARIABLES = {
    "baseUrl": "http://127.0.0.1:3000",
    "clientId": "client-A",
    "orderId": "order-1",
    "batchOrderId": "order-2",
    "snapshotId": "1",
}
# What stands for which variable in the document's examples.
STANDS_FOR = {"order-1": "orderId", "client-A": "clientId"}
# The same for single operations: two can only cancel an order each.
ALSO = {
    "submit_orders": {"order-1": "batchOrderId"},
    "cancel_order": {"order-1": "batchOrderId"},
    "read_snapshot": {"1": "snapshotId"},
}
# Variables that are new each time, by the operation that gives them their value.
FRESH = {"submit_order": "orderId", "submit_orders": "batchOrderId"}
# Variables that an operation's answer gives a value to, and by which of its members.
KEPT = {"take_snapshot": ("snapshotId", "snapshot_id")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add no options: there is one collection."""


def main(args: argparse.Namespace) -> int:
    """Write the file anew."""
    COLLECTION.write_text(collection(), encoding="utf-8")
    print(f"wrote {COLLECTION.relative_to(COLLECTION.parents[2])}")
    return 0


def collection() -> str:
    """Return the collection as JSON text."""
    document = openapi.document("")
    folders: dict[str, list[dict[str, Any]]] = {tag["name"]: [] for tag in document["tags"]}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            folders[operation["tags"][0]] += _items(path, method, operation)
    content = {
        "info": {
            "_postman_id": str(uuid.uuid5(uuid.NAMESPACE_URL, SCHEMA + "#trade-engine")),
            "name": document["info"]["title"],
            "description": document["info"]["description"],
            "schema": SCHEMA,
        },
        "item": [
            {"name": tag["name"], "description": tag["description"], "item": folders[tag["name"]]}
            for tag in document["tags"]
        ],
        "variable": [{"key": key, "value": value} for key, value in VARIABLES.items()],
    }
    return json.dumps(content, indent=2) + "\n"


def _items(path: str, method: str, operation: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a request per example of the body; one when there is no body."""
    examples: Mapping[str, Any] = {"": None}
    if "requestBody" in operation:
        examples = operation["requestBody"]["content"][JSON]["examples"]
    variables = STANDS_FOR | ALSO.get(operation["operationId"], {})
    about = f"{operation['summary']}. {operation.get('description', '')}".strip()
    short, _, _ = operation["summary"].partition(";")
    for name, example in examples.items():
        parameters = operation["parameters"]
        request: dict[str, Any] = {
            "method": method.upper(),
            "description": about,
            "header": [_parameter(one, variables) for one in parameters if one["in"] == "header"],
            "url": _url(path, parameters, variables),
        }
        if example is not None:
            request["header"].insert(0, {"key": "Content-Type", "value": JSON})
            request["body"] = {
                "mode": "raw",
                "raw": _filled(json.dumps(example["value"], indent=2), variables),
                "options": {"raw": {"language": "json"}},
            }
        yield {
            "name": f"{short}: {name}" if len(examples) > 1 else short,
            "event": _events(operation, request),
            "request": request,
            "response": [],
        }


def _url(
    path: str, parameters: Sequence[Mapping[str, Any]], variables: Mapping[str, str]
) -> dict[str, Any]:
    """Return an address in Postman's pieces: `{order_id}` becomes `:order_id`."""
    segments = path.removeprefix("/").replace("{", ":").replace("}", "").split("/")
    query = [_parameter(one, variables) for one in parameters if one["in"] == "query"]
    sent = "&".join(f"{one['key']}={one['value']}" for one in query if "disabled" not in one)
    return {
        "raw": "{{baseUrl}}/" + "/".join(segments) + (f"?{sent}" if sent else ""),
        "host": ["{{baseUrl}}"],
        "path": segments,
        "query": query,
        "variable": [_parameter(one, variables) for one in parameters if one["in"] == "path"],
    }


def _parameter(parameter: Mapping[str, Any], variables: Mapping[str, str]) -> dict[str, Any]:
    """Return a parameter; switched off when there is no example of it."""
    written = {"key": parameter["name"], "description": parameter["description"]}
    if "example" in parameter:
        value = str(parameter["example"])
        return written | {"value": "{{" + variables[value] + "}}" if value in variables else value}
    return written | {"value": str(parameter["schema"].get("default", "")), "disabled": True}


def _filled(body: str, variables: Mapping[str, str]) -> str:
    """Return a body with variables in place of what stands for them."""
    for value, variable in variables.items():
        body = body.replace(f'"{value}"', '"{{' + variable + '}}"')
    return body


def _events(operation: Mapping[str, Any], request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the scripts that run before and after a request."""
    before, name = [], FRESH.get(operation["operationId"], "")
    if name and "{{" + name + "}}" in request["body"]["raw"]:
        made = 'pm.variables.replaceIn("order-{{$guid}}")'
        before.append(f'pm.collectionVariables.set("{name}", {made});')
    expected = expected_statuses(operation)
    after = [
        f'pm.test("answered with {" or ".join(map(str, expected))}", () =>',
        f"  pm.expect(pm.response.code).to.be.oneOf({expected}));",
    ]
    if operation["operationId"] in KEPT:
        variable, member = KEPT[operation["operationId"]]
        after.append(f'pm.collectionVariables.set("{variable}", pm.response.json().{member});')
    return [
        {"listen": listen, "script": {"type": "text/javascript", "exec": lines}}
        for listen, lines in (("prerequest", before), ("test", after))
        if lines
    ]


def expected_statuses(operation: Mapping[str, Any]) -> list[int]:
    """Return the statuses of an operation that are no errors."""
    return [status for status in map(int, operation["responses"]) if status < 400]
