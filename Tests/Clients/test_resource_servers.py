"""A protected resource that asks about tokens by its own credentials, and tokens that an administrator issues by name
(design §3.6): at two nodes, with the programs of FastMCP and PyJWT."""

from __future__ import annotations

import time

import anyio
import httpx
import jwt
import pytest
from fastmcp.server.auth.providers.introspection import IntrospectionTokenVerifier
from fastmcp.server.auth.providers.jwt import JWTVerifier
from gatehouse_demo.chatgpt import claims
from walk import told_code

NODE_BOUND = 1.0
INACTIVE = b'{"active":false}'
SIGNED = "application/token-introspection+jwt"


@pytest.fixture
def base(deployment) -> str:
    return f"/v1/organizations/{deployment.organizations['acme']}"


@pytest.fixture
def resource(deployment, admin, base) -> str:
    (row,) = [row for row in admin.list(f"{base}/resources") if row["uri"] == deployment.stack.acme_url]
    return row["id"]


@pytest.fixture
def server(admin, base, resource):
    """acme's MCP server, which got a credential for this test."""
    made = admin.post(f"{base}/resources/{resource}/credentials", {"name": "MCP server"})
    time.sleep(NODE_BOUND)   # until every node has heard of it
    yield made["client_id"], made["client_secret"]
    admin.send("DELETE", f"{base}/resources/{resource}/credentials/{made['id']}")


@pytest.fixture
def alice(admin, base) -> str:
    return next(row["id"] for row in admin.list(f"{base}/users") if row["email"] == "alice@acme.example")


def ask(place: str, token: str, caller: tuple[str, str], **headers: str) -> httpx.Response:
    return httpx.post(
        f"{place}/oauth/introspect", data={"token": token}, auth=caller, headers=headers, trust_env=False, timeout=15)


def everywhere(deployment) -> list[str]:
    """acme's issuer and the platform's, at each node."""
    return [f"{node}{path}" for node in deployment.node_urls for path in ("/o/acme", "")]


def test_a_resource_asks_at_every_node(deployment, browser, server):
    """IN-01, IN-03, IN-04, IN-05, MCP-RS-01: a public client's token, asked about by the server it is for, at both
    issuers and nodes; revoked by the client, all of them know with the next answer."""
    issuer = deployment.acme
    code = told_code(issuer, browser, issuer.register(), scope="read write")
    tokens = issuer.redeem(code).json()
    said = claims(tokens["access_token"])
    for place in everywhere(deployment):
        told = ask(place, tokens["access_token"], server).json()
        assert told["active"] is True and {name: told[name] for name in said} == said, place
        assert ask(place, tokens["refresh_token"], server).content == INACTIVE, "no server's business"
    verifier = IntrospectionTokenVerifier(
        introspection_url=f"{issuer.url}/oauth/introspect", client_id=server[0], client_secret=server[1],
        required_scopes=["read"])
    accepted = anyio.run(verifier.verify_token, tokens["access_token"])
    assert accepted is not None and {"read", "write"} <= set(accepted.scopes)
    reply = httpx.post(
        f"{issuer.url}/oauth/revoke", data={"token": tokens["access_token"], "client_id": code.client_id},
        trust_env=False)
    assert reply.status_code == 200
    for place in everywhere(deployment):
        assert ask(place, tokens["access_token"], server).content == INACTIVE
    assert anyio.run(verifier.verify_token, tokens["access_token"]) is None
    renewed = issuer.refresh(tokens["refresh_token"], code.client_id)
    assert renewed.status_code == 200, "RV-03: the connection lives on"


def test_a_credential_ends_on_every_node(deployment, admin, base, resource, server):
    """IN-01: taken away, it is nobody's within a second, wherever it is used."""
    for place in everywhere(deployment):
        assert ask(place, "x", server).content == INACTIVE
    assert admin.send("DELETE", f"{base}/resources/{resource}/credentials/{server[0]}").status_code == 204
    time.sleep(NODE_BOUND)
    for place in everywhere(deployment):
        assert ask(place, "x", server).status_code == 401


def test_a_signed_answer(deployment, browser, server):
    """IN-06: PyJWT verifies the answer by the issuer's key set; FastMCP's own check of access tokens refuses it."""
    issuer = deployment.acme
    tokens = issuer.redeem(told_code(issuer, browser, issuer.register(), scope="read")).json()
    reply = ask(issuer.url, tokens["access_token"], server, accept=SIGNED)
    assert reply.status_code == 200 and reply.headers["content-type"] == SIGNED
    key = jwt.PyJWKClient(f"{issuer.url}/oauth/jwks").get_signing_key_from_jwt(reply.text)
    assert jwt.get_unverified_header(reply.text)["typ"] == "token-introspection+jwt"
    told = jwt.decode(reply.text, key.key, ["ES256"], audience=server[0], issuer=issuer.url)
    assert told["token_introspection"]["active"] is True
    assert told["token_introspection"]["sub"] == claims(tokens["access_token"])["sub"]
    offline = JWTVerifier(
        jwks_uri=f"{issuer.url}/oauth/jwks", issuer=issuer.url, audience=issuer.resource, algorithm="ES256")
    assert anyio.run(offline.verify_token, tokens["access_token"]) is not None
    assert anyio.run(offline.verify_token, reply.text) is None


def test_a_named_token(deployment, admin, base, resource, server, alice):
    """IN-05, MCP-RS-01: issued for a person, it works at a server that verifies offline and at one that asks; ended,
    the one that asks knows at every node with the next answer, and the reply says until when the other honours it."""
    issuer = deployment.acme
    made = admin.post(f"{base}/access-tokens", {
        "name": "nightly report", "user": alice, "resource": resource, "scopes": ["read"]})
    token = made["token"]
    said = claims(token)
    assert said["client_id"] == said["jti"] == made["id"] and said["sub"] == alice and said["scope"] == "read"
    offline = JWTVerifier(
        jwks_uri=f"{issuer.url}/oauth/jwks", issuer=issuer.url, audience=issuer.resource, algorithm="ES256",
        required_scopes=["read"])
    assert anyio.run(offline.verify_token, token) is not None
    for place in everywhere(deployment):
        assert ask(place, token, server).json()["jti"] == made["id"]
    ended = admin.send("DELETE", f"{base}/access-tokens/{made['id']}")
    assert ended.status_code == 200 and ended.json()["honoured_offline_until"] == made["expires_at"]
    for place in everywhere(deployment):
        assert ask(place, token, server).content == INACTIVE
    assert anyio.run(offline.verify_token, token) is not None, "as the reply said"
    (event,) = [row for row in admin.await_events(
        deployment.organizations["acme"],
        lambda rows: any(row["type"] == "access_token.revoked" for row in rows), since=time.time() - 60)
        if row["type"] == "access_token.created_for_other" and row.get("token") == made["id"]]
    assert event["severity"] == 4 and event["policy"]["decision"] == "allow"
