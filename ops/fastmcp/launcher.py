"""Runs an unmodified FastMCP server and makes it discoverable for OAuth clients.

    launcher.py --import observe_server:mcp --issuer https://gatehouse.example \\
                --resource-url https://mcp.example/mcp --port 8000

Adds two things and nothing else:
  - protected-resource metadata (RFC 9728) at the path form and at the root form;
  - `resource_metadata` and `scope` in the `WWW-Authenticate` challenge of the server's own 401 replies.

Tokens are checked by the server as before: this wrapper never looks at one. Needs only fastmcp and uvicorn,
which the server needs anyway.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import sys
from urllib.parse import urlsplit

WELL_KNOWN = "/.well-known/oauth-protected-resource"


class Discoverable:
    """An ASGI application that answers the metadata requests itself and completes the other's 401 challenges."""

    def __init__(self, app, *, resource_url: str, issuers: list[str], scopes: list[str]):
        self.app = app
        parts = urlsplit(resource_url)
        self.paths = {WELL_KNOWN, WELL_KNOWN + parts.path.rstrip("/")}
        document = {
            "resource": resource_url,
            "authorization_servers": issuers,
            "bearer_methods_supported": ["header"],
        }
        if scopes:
            document["scopes_supported"] = scopes
        self.document = json.dumps(document).encode()
        metadata_url = f"{parts.scheme}://{parts.netloc}{WELL_KNOWN}{parts.path.rstrip('/')}"
        self.parameters = [f'resource_metadata="{metadata_url}"']
        if scopes:
            self.parameters.append(f'scope="{" ".join(scopes)}"')

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] == "http" and scope["path"] in self.paths:
            await self.answer_metadata(scope, send)
        elif scope["type"] == "http":
            await self.app(scope, receive, self.completing(send))
        else:
            await self.app(scope, receive, send)

    async def answer_metadata(self, scope, send) -> None:
        # Browser clients ask from other origins; the document is public.
        headers = [
            (b"access-control-allow-origin", b"*"),
            (b"access-control-allow-methods", b"GET, HEAD, OPTIONS"),
            (b"access-control-allow-headers", b"*"),
        ]
        body = b""
        if scope["method"] in ("GET", "HEAD"):
            status = 200
            headers += [(b"content-type", b"application/json"), (b"cache-control", b"public, max-age=300")]
            headers.append((b"content-length", str(len(self.document)).encode()))
            body = self.document if scope["method"] == "GET" else b""
        elif scope["method"] == "OPTIONS":
            status = 204
        else:
            status = 405
            headers += [(b"allow", b"GET, HEAD, OPTIONS"), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def completing(self, send):
        """`send`, with a 401's Bearer challenge completed, or added where there is none."""

        async def completed(message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 401:
                headers = [(name, value) for name, value in message["headers"] if name.lower() != b"www-authenticate"]
                challenges = [
                    value.decode("latin-1")
                    for name, value in message["headers"]
                    if name.lower() == b"www-authenticate"
                ]
                if not any(challenge.lower().startswith("bearer") for challenge in challenges):
                    challenges.append("Bearer")
                headers += [(b"www-authenticate", self.complete(one).encode("latin-1")) for one in challenges]
                message = {**message, "headers": headers}
            await send(message)

        return completed

    def complete(self, challenge: str) -> str:
        if not challenge.lower().startswith("bearer"):
            return challenge
        present = {name.lower() for name in re.findall(r'(?:^|[\s,])([A-Za-z_]+)=', challenge)}
        missing = [one for one in self.parameters if one.split("=")[0] not in present]
        if not missing:
            return challenge
        has_parameters = challenge.strip().lower() != "bearer"
        return challenge.strip() + (", " if has_parameters else " ") + ", ".join(missing)


def imported(reference: str):
    """The server object named `module:attribute`."""
    module, separator, attribute = reference.partition(":")
    if not separator:
        sys.exit("launcher: --import needs module:attribute, such as server:mcp")
    sys.path.insert(0, os.getcwd())
    server = getattr(importlib.import_module(module), attribute, None)
    if not hasattr(server, "http_app"):
        sys.exit(f"launcher: {reference} is no FastMCP server (it has no http_app)")
    return server


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--import", dest="reference", required=True, metavar="MODULE:NAME", help="the FastMCP server")
    parser.add_argument("--path", help="path of the MCP endpoint (default: that of --resource-url)")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument(
        "--issuer", action="append", required=True, help="authorization server, byte for byte; may be repeated"
    )
    parser.add_argument("--resource-url", required=True, help="the MCP endpoint's URL as clients type it")
    parser.add_argument("--scope", default="", help="scopes clients should ask for, separated by spaces")
    options = parser.parse_args()
    resource = urlsplit(options.resource_url)
    if resource.scheme not in ("http", "https") or not resource.netloc or resource.fragment or resource.query:
        sys.exit("launcher: --resource-url must be an absolute http(s) URL without query and fragment")

    import uvicorn

    server = imported(options.reference)
    app = Discoverable(
        server.http_app(path=options.path or resource.path),
        resource_url=options.resource_url,
        issuers=options.issuer,
        scopes=options.scope.split(),
    )
    uvicorn.run(app, host=options.host, port=options.port, log_level="warning", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main()
