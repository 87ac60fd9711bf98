"""A demo MCP server that takes its tokens from one Gatehouse issuer, checked by JWKS, issuer and audience.

    server.py --port 8002 --issuer http://localhost:8001 --resource-url http://localhost:8002/mcp

A server shared by organizations tells them apart by the token's `org_id`: here each has its own notes.
"""

from __future__ import annotations

import argparse
from urllib.parse import urlsplit

import uvicorn
from fastmcp import FastMCP
from fastmcp.server.auth import RemoteAuthProvider
from fastmcp.server.auth.providers.jwt import JWTVerifier
from fastmcp.server.dependencies import get_access_token
from fastmcp.tools.base import ToolResult
from starlette.requests import Request
from starlette.responses import JSONResponse

SCOPES = ["read", "write"]


def make_server(issuer: str, resource_url: str, algorithm: str) -> FastMCP:
    """The server with its two notes tools; every request needs a token with the scope `read`."""
    origin = "{0.scheme}://{0.netloc}".format(urlsplit(resource_url))
    metadata_url = f"{origin}/.well-known/oauth-protected-resource{urlsplit(resource_url).path}"
    verifier = JWTVerifier(
        jwks_uri=f"{issuer}/oauth/jwks",
        issuer=issuer,
        audience=resource_url,
        algorithm=algorithm,
        required_scopes=["read"],
    )
    auth = RemoteAuthProvider(
        token_verifier=verifier,
        authorization_servers=[issuer],  # type: ignore[list-item]  # a string keeps the issuer's spelling
        base_url=origin,
        scopes_supported=SCOPES,
        challenge_scopes=SCOPES,
        resource_name="Demo notes",
    )
    mcp = FastMCP("Demo notes", auth=auth)
    notes: dict[tuple[str, str], str] = {}

    @mcp.custom_route("/.well-known/oauth-protected-resource", methods=["GET"])
    async def metadata_at_root(_: Request) -> JSONResponse:
        # FastMCP answers only at the path form, and some clients ask only at the root.
        document = {
            "resource": resource_url,
            "authorization_servers": [issuer],
            "scopes_supported": SCOPES,
            "bearer_methods_supported": ["header"],
            "resource_name": "Demo notes",
        }
        return JSONResponse(document, headers={"access-control-allow-origin": "*"})

    def caller() -> dict:
        token = get_access_token()
        return dict(token.claims) if token else {}

    def refused(scope: str) -> ToolResult | None:
        """The refusal when the caller lacks the scope, with the challenge that lets ChatGPT offer a new sign-in."""
        held = str(caller().get("scope", "")).split()
        if scope in held:
            return None
        said = f"This tool needs the scope {scope!r}; your token carries {' '.join(held) or 'none'}."
        challenge = (
            f'Bearer error="insufficient_scope", error_description="needs the scope {scope}", '
            f'scope="{scope}", resource_metadata="{metadata_url}"'
        )
        return ToolResult(content=said, meta={"mcp/www_authenticate": [challenge]}, is_error=True)

    @mcp.tool(annotations={"readOnlyHint": True})
    def read_note(name: str = "welcome") -> ToolResult:
        """Reads a note of the caller's organization."""
        text = notes.get((caller().get("org_id", ""), name), f"There is no note called {name} yet.")
        return refused("read") or ToolResult(content=text)

    @mcp.tool(annotations={"readOnlyHint": False})
    def write_note(name: str, text: str) -> ToolResult:
        """Writes a note for the caller's organization."""
        if refusal := refused("write"):
            return refusal
        notes[(caller().get("org_id", ""), name)] = text
        return ToolResult(content=f"Wrote the note {name}.")

    @mcp.tool(annotations={"readOnlyHint": True})
    def whoami() -> dict:
        """The claims that say who is calling and for which organization."""
        shown = ("iss", "aud", "sub", "org_id", "org_slug", "client_id", "scope", "grant_id")
        return {name: value for name, value in caller().items() if name in shown}

    return mcp


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--issuer", required=True, help="Gatehouse issuer, byte for byte")
    parser.add_argument("--resource-url", required=True, help="this server's URL as clients type it; the audience")
    parser.add_argument("--algorithm", default="ES256")
    options = parser.parse_args()
    mcp = make_server(options.issuer, options.resource_url, options.algorithm)
    app = mcp.http_app(path=urlsplit(options.resource_url).path)
    uvicorn.run(app, host=options.host, port=options.port, log_level="warning", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main()
