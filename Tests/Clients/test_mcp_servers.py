"""MCP servers that take our tokens: the launcher's, and two that check by JWKS (facts MCP §1b)."""

from __future__ import annotations

import re
import time

import anyio
import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from fastmcp import Client
from forge import Genuine, rs256, signed
from gatehouse_demo.chatgpt import claims
from walk import told_code

SERVERS = ["shared", "acme", "plain"]
INITIALIZE = {
    "jsonrpc": "2.0", "id": 1, "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}


@pytest.fixture(scope="module")
def tokens(deployment, browser) -> dict[str, str]:
    """One token of alice for each server, and one for `shared` that names `write` only."""
    made = {}
    for name, server, scope in (("shared", "shared", "read write"), ("acme", "acme", "read write"),
                                ("plain", "plain", "read write"), ("write", "shared", "write")):
        issuer = deployment.acme if server == "acme" else deployment.platform
        resource = getattr(deployment.stack, f"{server}_url")
        code = told_code(issuer, browser, issuer.register(), scope=scope, resource=resource)
        made[name] = issuer.redeem(code, resource=resource).json()["access_token"]
    return made


def send(url: str, headers: dict[str, str] | None = None, **more) -> httpx.Response:
    headers = {"accept": "application/json, text/event-stream"} | (headers or {})
    return httpx.post(url, json=INITIALIZE, headers=headers, timeout=15, trust_env=False, **more)


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def challenge(reply: httpx.Response) -> dict[str, str]:
    """The parameters of the one Bearer challenge."""
    (header,) = reply.headers.get_list("www-authenticate")
    assert header.lower().startswith("bearer")
    return dict(re.findall(r'(\w+)="([^"]*)"', header))


@pytest.mark.parametrize("server", SERVERS)
def test_who_gets_in(deployment, tokens, server):
    """MCP-RS-01, MCP-RS-02, MCP-RS-05, BR-01, BR-02: 401 without a token and with a bad one, whose error is
    invalid_token; each challenge leads to the metadata; the right token gets in."""
    url = getattr(deployment.stack, f"{server}_url")
    assert send(url, bearer(tokens[server])).status_code == 200
    metadata = url.replace("/mcp", "/.well-known/oauth-protected-resource/mcp")
    nobody = send(url)
    assert nobody.status_code == 401
    assert challenge(nobody)["resource_metadata"] == metadata and "error" not in challenge(nobody)
    genuine = Genuine(tokens[server], {})
    for bad in ("x", "a.b.c", tokens[server][:-8] + "AAAAAAAA", f"{genuine.head}.{genuine.body}."):
        reply = send(url, bearer(bad))
        assert reply.status_code == 401
        assert challenge(reply)["error"] == "invalid_token" and challenge(reply)["resource_metadata"] == metadata


@pytest.mark.parametrize("server", SERVERS)
def test_expired(deployment, tokens, server):
    """MCP-RS-01, AT-05: past its end a token is refused; of the imported key we can sign one that is otherwise right."""
    url = getattr(deployment.stack, f"{server}_url")
    path, _ = deployment.stack.plain_keys()
    sign = rs256(serialization.load_pem_private_key(path.read_bytes(), None))
    genuine = Genuine(tokens[server], {})
    ended = signed(genuine.header, genuine.payload | {"exp": int(time.time()) - 120}, sign)
    reply = send(url, bearer(ended))
    assert reply.status_code == 401 and challenge(reply)["error"] == "invalid_token"


def test_audience(deployment, tokens):
    """MCP-RS-09, K-21: a token for one server opens no other that checks its audience."""
    for server in ("shared", "acme"):
        for name in set(tokens) - {server, "write"}:
            reply = send(getattr(deployment.stack, f"{server}_url"), bearer(tokens[name]))
            assert reply.status_code == 401, (server, name)


@pytest.mark.parametrize("server", SERVERS)
def test_header_only(deployment, tokens, server):
    """MCP-RS-13, BR-05: a token in the query is none, and every request needs its own."""
    url = getattr(deployment.stack, f"{server}_url")
    assert send(url, params={"access_token": tokens[server]}).status_code == 401
    begun = send(url, bearer(tokens[server]))
    session = {name: begun.headers[name] for name in ("mcp-session-id",) if name in begun.headers}
    assert send(url, session).status_code == 401, "an open session is no credential"


def test_implied_scopes_suffice(deployment, tokens):
    """MCP-RS-11, MCP-AS-30: asked for `write`, granted with the `read` that it implies; both tools work."""
    assert set(Genuine(tokens["write"], {}).payload["scopes"]) == {"read", "write"}

    async def use() -> None:
        async with Client(deployment.stack.shared_url, auth=tokens["write"]) as client:
            for name, arguments in (("write_note", {"name": "implied", "text": "x"}), ("read_note", {"name": "implied"})):
                await client.call_tool(name, arguments)

    anyio.run(use)


def test_too_little_scope(deployment, browser):
    """MCP-RS-10: the refusal of a tool names the scope it needs and where to ask for it, as ChatGPT reads it."""
    issuer = deployment.platform
    code = told_code(issuer, browser, issuer.register(), scope="read")
    token = issuer.redeem(code).json()["access_token"]

    async def use():
        async with Client(deployment.stack.shared_url, auth=token) as client:
            return await client.call_tool("write_note", {"name": "a", "text": "b"}, raise_on_error=False)

    result = anyio.run(use)
    assert result.is_error
    (offered,) = result.meta["mcp/www_authenticate"]
    assert 'error="insufficient_scope"' in offered and 'scope="write"' in offered and "resource_metadata=" in offered


def test_stepping_up(deployment, browser):
    """MCP-RS-10, MCP-AS-30: what a client does with that refusal: asked for what it had and what was wanted, the same
    person gives both in one token, and the tool works; the refresh token that only reads goes on reading."""
    issuer = deployment.platform
    client = issuer.register()
    before = issuer.redeem(told_code(issuer, browser, client, scope="read")).json()
    assert before["scope"] == "read"
    after = issuer.redeem(told_code(issuer, browser, client, scope="read write")).json()
    assert set(after["scope"].split()) == {"read", "write"}
    assert set(claims(after["access_token"])["scopes"]) == {"read", "write"}

    async def use():
        async with Client(deployment.stack.shared_url, auth=after["access_token"]) as mcp:
            return await mcp.call_tool("write_note", {"name": "a", "text": "b"})

    assert not anyio.run(use).is_error
    again = issuer.refresh(before["refresh_token"], client)
    assert again.status_code == 200 and again.json()["scope"] == "read", again.text
    assert issuer.refresh(after["refresh_token"], client, scope="read").json()["scope"] == "read"
