"""The Postman collection: up to date, of the right format, and every request in it works."""

import json
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from api import openapi
from ops import postman
from tests.exchange import Answer, Client, Exchange, running

COLLECTION = json.loads(postman.COLLECTION.read_text(encoding="utf-8"))


@pytest.fixture
def exchange(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Exchange]:
    with running(database_url, redis_url, tmp_path) as exchange:
        yield exchange


def items() -> Iterator[dict[str, Any]]:
    for folder in COLLECTION["item"]:
        yield from folder["item"]


def test_it_is_up_to_date() -> None:
    assert postman.COLLECTION.read_text(encoding="utf-8") == postman.collection(), (
        "run `python -m ops postman`"
    )


def test_every_operation_is_in_it() -> None:
    asked = {
        (item["request"]["method"], re.sub(r":(\w+)", r"{\1}", "/".join(url(item)["path"])))
        for item in items()
    }
    assert asked == {
        (operation.method.upper(), operation.path.removeprefix("/")) for operation in openapi.TABLE
    }


def record(needed: Mapping[str, Any], optional: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the schema of an object that has these members and no others."""
    return {
        "type": "object",
        "properties": {**needed, **(optional or {})},
        "required": list(needed),
        "additionalProperties": False,
    }


def several(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": schema}


TEXT = {"type": "string"}
PARAMETER = record({"key": TEXT, "value": TEXT}, {"description": TEXT, "disabled": {"const": True}})
# What we use of https://schema.getpostman.com/json/collection/v2.1.0/: its names and types. It is
# stricter than that one, which hardly forbids anything.
FORMAT = record(
    {
        "info": record(
            {
                "_postman_id": TEXT,
                "name": TEXT,
                "description": TEXT,
                "schema": {
                    "const": "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
                },
            }
        ),
        "item": several(
            record(
                {
                    "name": TEXT,
                    "description": TEXT,
                    "item": several(
                        record(
                            {
                                "name": TEXT,
                                "event": several(
                                    record(
                                        {
                                            "listen": {"enum": ["prerequest", "test"]},
                                            "script": record({"type": TEXT, "exec": several(TEXT)}),
                                        }
                                    )
                                ),
                                "request": record(
                                    {
                                        "method": {"enum": ["GET", "POST", "DELETE"]},
                                        "description": TEXT,
                                        "header": several(PARAMETER),
                                        "url": record(
                                            {
                                                "raw": TEXT,
                                                "host": several(TEXT),
                                                "path": several(TEXT),
                                                "query": several(PARAMETER),
                                                "variable": several(PARAMETER),
                                            }
                                        ),
                                    },
                                    {
                                        "body": record(
                                            {
                                                "mode": {"const": "raw"},
                                                "raw": TEXT,
                                                "options": {"type": "object"},
                                            }
                                        )
                                    },
                                ),
                                "response": several({}),
                            }
                        )
                    ),
                }
            )
        ),
        "variable": several(record({"key": TEXT, "value": TEXT})),
    }
)


def test_it_has_the_format() -> None:
    assert list(Draft202012Validator(FORMAT).iter_errors(COLLECTION)) == []
    broken = COLLECTION | {"item": [{"name": "a request without an address", "request": {}}]}
    assert list(Draft202012Validator(FORMAT).iter_errors(broken))


def url(item: Mapping[str, Any]) -> dict[str, Any]:
    address: dict[str, Any] = item["request"]["url"]
    return address


class Sender:
    """Sends a collection's requests as Postman does, as far as ours need it."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._values = {one["key"]: one["value"] for one in COLLECTION["variable"]}

    def send(self, item: Mapping[str, Any]) -> Answer:
        for name in self._set_by(item, "prerequest"):
            self._values[name] = f"order-{uuid.uuid4()}"
        request = item["request"]
        path = "/".join(url(item)["path"])
        for variable in url(item)["variable"]:
            path = path.replace(f":{variable['key']}", variable["value"])
        query = "&".join(f"{one['key']}={one['value']}" for one in self._sent(url(item)["query"]))
        assert url(item)["raw"].count("?") == bool(query)
        body = request.get("body")
        answer = self._client.request(
            request["method"],
            self._filled(f"/{path}?{query}" if query else f"/{path}"),
            self._filled(body["raw"]).encode() if body else None,
            {one["key"]: self._filled(one["value"]) for one in self._sent(request["header"])},
        )
        for name, member in self._set_by(item, "test").items():
            self._values[name] = str(answer.json[member])
        return answer

    @staticmethod
    def expected(item: Mapping[str, Any]) -> list[int]:
        (test,) = (event for event in item["event"] if event["listen"] == "test")
        (statuses,) = re.findall(r"oneOf\((\[.*?\])\)", "".join(test["script"]["exec"]))
        return list(map(int, json.loads(statuses)))

    @staticmethod
    def _set_by(item: Mapping[str, Any], when: str) -> dict[str, str]:
        lines = [
            line
            for event in item["event"]
            if event["listen"] == when
            for line in event["script"]["exec"]
        ]
        return dict(
            re.findall(r'collectionVariables\.set\("(\w+)",.*?(\w*)\)?;$', "\n".join(lines))
        )

    @staticmethod
    def _sent(parameters: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [one for one in parameters if not one.get("disabled")]

    def _filled(self, text: str) -> str:
        filled = re.sub(r"{{(\w+)}}", lambda match: self._values[match[1]], text)
        assert "{{" not in filled
        return filled


def test_every_request_works_again_and_again(exchange: Exchange) -> None:
    with exchange.client() as client:
        for _ in range(2):
            sender = Sender(client)
            for item in items():
                answer = sender.send(item)
                assert answer.status in sender.expected(item), (item["name"], answer.raw)
                assert answer.status < 400
                if item["request"]["url"]["variable"]:
                    # It asks for what an earlier one has made.
                    assert answer.json


def test_newman_runs_it(exchange: Exchange) -> None:
    """Postman's own runner, where it is installed: `npm install --global newman`."""
    newman = shutil.which("newman")
    if newman is None:
        pytest.skip("newman is not here")
    base = f"baseUrl=http://127.0.0.1:{exchange.port}"
    done = subprocess.run(
        [newman, "run", postman.COLLECTION, "--bail", "--env-var", base],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
