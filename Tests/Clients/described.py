"""The admin API's description of itself (OpenAPI 3.1), and what is held against it: every reply of the test run.

A reply that the description does not know, or a request that was done though the description forbids it, fails the test
that made it, whatever else that test looks at.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
from jsonschema import Draft202012Validator, FormatChecker

# jsonschema checks the formats of strings only where a checker for them is at hand; times are checked by ours.
FORMATS = FormatChecker(formats=())


@FORMATS.checks("date-time")
def is_time(value: object) -> bool:
    """RFC 3339, as far as Gatehouse writes it or takes it."""
    return not isinstance(value, str) or bool(
        re.fullmatch(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:?\d\d)", value))


@FORMATS.checks("uri")
def is_uri(value: object) -> bool:
    return not isinstance(value, str) or bool(re.match(r"[a-z][a-z0-9+.-]*:\S+$", value))


class Undescribed(AssertionError):
    """Server and description disagree."""


class Description:
    """`document` with every reference solved, ready to be asked about single replies."""

    def __init__(self, document: dict[str, Any]):
        self.document = document
        self.operations: dict[str, list[tuple[re.Pattern[str], dict[str, Any]]]] = {}
        for path, item in document["paths"].items():
            # A parameter never spans `/`, and never takes the `:verb` behind it.
            pattern = re.compile(re.sub(r"\\\{\w+\\\}", "[^/:]+", re.escape(path)) + "$")
            for method, operation in item.items():
                self.operations.setdefault(method.upper(), []).append((pattern, operation))
        for found in self.operations.values():
            found.sort(key=lambda one: one[0].pattern.count("[^/:]+"))
        self._validators: dict[int, Draft202012Validator] = {}

    @classmethod
    def of(cls, gatehouse: Path) -> Description:
        """The description that an executable prints."""
        done = subprocess.run([str(gatehouse), "openapi"], capture_output=True, timeout=60, check=True)
        return cls(json.loads(done.stdout))

    def operation(self, method: str, path: str) -> dict[str, Any] | None:
        """The operation that a request is meant for, if there is one."""
        return next((one for pattern, one in self.operations.get(method, []) if pattern.match(path)), None)

    def knows_path(self, path: str) -> bool:
        return any(pattern.match(path) for found in self.operations.values() for pattern, _ in found)

    def solve(self, node: dict[str, Any]) -> dict[str, Any]:
        """What a `$ref` means."""
        while "$ref" in node:
            found: Any = self.document
            for name in node["$ref"].removeprefix("#/").split("/"):
                found = found[name]
            node = found
        return node

    def errors(self, value: Any, schema: dict[str, Any]) -> list[str]:
        validator = self._validators.get(id(schema))
        if validator is None:
            whole = {**schema, "components": self.document["components"]}
            validator = self._validators[id(schema)] = Draft202012Validator(whole, format_checker=FORMATS)
        return [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(value)][:10]

    # ---- Replies ---------------------------------------------------------------------------------------------------

    def hold(self, response: httpx.Response) -> None:
        """For httpx's event hooks. Raises Undescribed for a reply of `/v1` that the description does not know."""
        path = response.request.url.path
        if not path.startswith("/v1/") or path == "/v1/openapi.json" or response.request.method in ("HEAD", "OPTIONS"):
            return
        response.read()
        said = self.disagreements(response)
        if said:
            raise Undescribed(
                f"{response.request.method} {path} answered {response.status_code}, which is not as described:\n  "
                + "\n  ".join(said) + f"\n{response.text[:1500]}")

    def disagreements(self, response: httpx.Response) -> list[str]:
        request, path, status = response.request, response.request.url.path, str(response.status_code)
        operation = self.operation(request.method, path)
        if operation is None:
            # Unmatched: what no operation can say, but everything is a problem of the same form.
            expected = "405" if self.knows_path(path) else "404"
            if status not in (expected, "400", "401", "404", "429", "503"):
                return [f"there is no such operation, so {expected}"]
            return self.errors(response.json(), self.document["components"]["schemas"]["Problem"])
        described = operation["responses"].get(status)
        if described is None:
            return [f"{operation['operationId']} answers {', '.join(operation['responses'])}"]
        described = self.solve(described)
        said = []
        for name, header in described.get("headers", {}).items():
            header = self.solve(header)
            value = response.headers.get(name)
            if value is None and header.get("required"):
                said.append(f"no header {name}")
            elif value is not None:
                said += self.errors(value, header["schema"])
        content = described.get("content", {})
        kind = response.headers.get("content-type", "").partition(";")[0]
        if not content:
            return said + (["a body, though none is described"] if response.content else [])
        if kind not in content:
            return said + [f"content of {kind or 'no type'}, not {', '.join(content)}"]
        if kind.endswith("json"):
            said += self.errors(response.json(), content[kind]["schema"])
        return said + (self.forbidden(request, operation) if response.is_success else [])

    def forbidden(self, request: httpx.Request, operation: dict[str, Any]) -> list[str]:
        """What the description forbids of a request that was done all the same."""
        parameters = [self.solve(one) for one in operation.get("parameters", [])]
        known = {one["name"]: one for one in parameters if one["in"] == "query"}
        said = []
        for name, value in parse_qsl(request.url.query.decode(), keep_blank_values=True):
            if name not in known:
                said.append(f"the request was done with the parameter {name}, which is not described")
                continue
            schema = self.solve(known[name]["schema"])
            typed = int(value) if schema.get("type") == "integer" else value
            said += [f"parameter {name} is described otherwise: {one}" for one in self.errors(typed, schema)]
        kind = request.headers.get("content-type", "").partition(";")[0]
        described = operation.get("requestBody", {}).get("content", {})
        try:
            content = request.content
        except httpx.RequestNotRead:
            return said
        if content and kind in described and kind.endswith("+json") | (kind == "application/json"):
            schema = described[kind]["schema"]
            said += [f"the request was done, but: {one}" for one in self.errors(json.loads(content), schema)]
        elif content and kind not in described:
            said.append(f"the request was done with a body of {kind}, which is not described")
        return said
