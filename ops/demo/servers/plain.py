"""An MCP server as it stands today: it checks tokens by a static public key and knows nothing of discovery.

It has no metadata, its 401 names no authorization server, and nothing here was written with Gatehouse in mind.
`ops/fastmcp/launcher.py` makes it discoverable without a change to this file.

Environment: PUBLIC_KEY_PEM, the RS256 public key that tokens are checked with.
"""

import os

from fastmcp import FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.server.auth.providers.jwt import JWTVerifier
from fastmcp.server.dependencies import get_access_token

mcp = FastMCP("Plain notes", auth=JWTVerifier(public_key=os.environ["PUBLIC_KEY_PEM"], algorithm="RS256"))
notes = {"welcome": "This note was here before OAuth."}


def require(scopes: list[str]) -> None:
    """Literal matching: a token has to carry one of the names, whatever the names may mean elsewhere."""
    token = get_access_token()
    held = list(token.scopes) if token else []
    if token and not held:
        held = [name for name in token.claims.get("scopes", []) if isinstance(name, str)]
    if not set(scopes) & set(held):
        raise ToolError(
            f"Access denied: this tool needs one of the scopes {', '.join(scopes)}; "
            f"the token carries {', '.join(held) or 'none'}."
        )


@mcp.tool
def read_note(name: str = "welcome") -> str:
    """Reads a note."""
    require(["admin", "read"])
    return notes.get(name, f"There is no note called {name}.")


@mcp.tool
def write_note(name: str, text: str) -> str:
    """Writes a note."""
    require(["admin", "write"])
    notes[name] = text
    return f"Wrote the note {name}."


if __name__ == "__main__":
    mcp.run(transport="http", host="0.0.0.0", port=8000)
