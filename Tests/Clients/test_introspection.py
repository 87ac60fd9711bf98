"""Introspection and revocation as other people's programs use them, at two nodes (facts A10, B3)."""

from __future__ import annotations

import time

import anyio
import httpx
import pytest
from authlib.integrations.requests_client import OAuth2Session
from fastmcp.server.auth.providers.introspection import IntrospectionTokenVerifier
from forge import Genuine, forgeries
from oauth import REDIRECT_URI
from walk import told_code

NODE_BOUND = 1.0
INACTIVE = b'{"active":false}'


@pytest.fixture(scope="module")
def client(deployment) -> dict:
    """A confidential client, which may ask about its own tokens."""
    body = {"client_name": "Asks", "redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": "client_secret_basic",
            "grant_types": ["authorization_code", "refresh_token"]}
    return httpx.post(f"{deployment.acme.url}/oauth/register", json=body, trust_env=False).json()


@pytest.fixture
def connect(deployment, browser, client):
    def make() -> dict:
        issuer = deployment.acme
        code = told_code(issuer, browser, client["client_id"], scope="read write")
        form = {"grant_type": "authorization_code", "code": code.code, "redirect_uri": REDIRECT_URI,
                "code_verifier": code.verifier}
        reply = httpx.post(f"{issuer.url}/oauth/token", data=form, auth=own(client), trust_env=False)
        assert reply.status_code == 200, reply.text
        return reply.json()

    return make


def own(client: dict) -> tuple[str, str]:
    return client["client_id"], client["client_secret"]


def at_both(deployment, path: str, client: dict, **form) -> list[httpx.Response]:
    return [httpx.post(f"{node}/o/acme/oauth/{path}", data=form, auth=own(client), trust_env=False)
            for node in deployment.node_urls]


def session(deployment, client: dict) -> OAuth2Session:
    made = OAuth2Session(*own(client), token_endpoint_auth_method="client_secret_basic")
    made.trust_env = False
    return made


def test_both_nodes_know_at_once(deployment, client, connect):
    """IN-03, IN-05, RV-01, RV-03: active at both nodes with what the JWT says; revoked at one, both know within a
    second; once more is still 200."""
    tokens = connect()
    token = Genuine(tokens["access_token"], {})
    for reply in at_both(deployment, "introspect", client, token=token.token):
        assert reply.status_code == 200 and reply.headers["cache-control"] == "no-store"
        told = reply.json()
        assert told["active"] is True and told["token_type"] == "Bearer"
        for name in ("iss", "sub", "aud", "exp", "iat", "jti", "scope", "client_id"):
            assert told[name] == token.payload[name], name
    revoked = httpx.post(
        f"{deployment.node_urls[0]}/o/acme/oauth/revoke", data={"token": tokens["refresh_token"]}, auth=own(client),
        trust_env=False)
    assert revoked.status_code == 200 and not revoked.content
    time.sleep(NODE_BOUND)
    for one in (tokens["access_token"], tokens["refresh_token"]):
        for reply in at_both(deployment, "introspect", client, token=one):
            assert reply.status_code == 200 and reply.content == INACTIVE
    for reply in at_both(deployment, "revoke", client, token=tokens["refresh_token"]):
        assert reply.status_code == 200 and not reply.content


def test_authlib(deployment, client, connect):
    """IN-01, IN-03, RV-01, RV-04: Authlib asks about a token and revokes it, with the right hint, a wrong one and
    none."""
    issuer = deployment.acme
    document = httpx.get(f"{issuer.url}/.well-known/oauth-authorization-server", trust_env=False).json()
    for hint in ("access_token", "refresh_token", None):
        tokens = connect()
        with session(deployment, client) as asking:
            reply = asking.introspect_token(document["introspection_endpoint"], tokens["access_token"], hint)
            assert reply.json()["active"] is True
            reply = asking.revoke_token(document["revocation_endpoint"], tokens["access_token"], hint)
            assert reply.status_code == 200
            reply = asking.introspect_token(document["introspection_endpoint"], tokens["access_token"], hint)
            assert reply.content == INACTIVE


def test_fastmcp_verifier(deployment, client, connect):
    """IN-03, MCP-RS-01: FastMCP's verifier takes an active token, with its scopes, and refuses a revoked one."""
    tokens = connect()
    verifier = IntrospectionTokenVerifier(
        introspection_url=f"{deployment.acme.url}/oauth/introspect", client_id=client["client_id"],
        client_secret=client["client_secret"], required_scopes=["read"])
    accepted = anyio.run(verifier.verify_token, tokens["access_token"])
    assert accepted is not None and {"read", "write"} <= set(accepted.scopes)
    httpx.post(f"{deployment.acme.url}/oauth/revoke", data={"token": tokens["refresh_token"]}, auth=own(client),
               trust_env=False)
    time.sleep(NODE_BOUND)
    assert anyio.run(verifier.verify_token, tokens["access_token"]) is None


def test_forgeries(deployment, client, connect):
    """K-07..K-12, K-27, K-28, IN-02, RV-02: no forgery is active or revokes anything, and none of the addresses within
    is called."""
    tokens = connect()
    keys = httpx.get(f"{deployment.acme.url}/oauth/jwks", trust_env=False).json()["keys"]
    kid = Genuine(tokens["access_token"], {}).header["kid"]
    genuine = Genuine(tokens["access_token"], next(key for key in keys if key["kid"] == kid))
    wrong = {}
    for name, bad in forgeries(genuine).items():
        for path, expected in (("introspect", INACTIVE), ("revoke", b"")):
            reply = httpx.post(
                f"{deployment.acme.url}/oauth/{path}", data={"token": bad}, auth=own(client), trust_env=False)
            if (reply.status_code, reply.content) != (200, expected):
                wrong[f"{path} {name}"] = (reply.status_code, reply.text[:120])
    assert not wrong
    reply = httpx.post(
        f"{deployment.acme.url}/oauth/introspect", data={"token": genuine.token}, auth=own(client), trust_env=False)
    assert reply.json()["active"] is True


def test_without_the_database(deployment, client, connect):
    """RV-05, RV-03, F-03: what cannot be stored is 503 with Retry-After, and the token lives until it is revoked."""
    tokens = connect()
    url = f"{deployment.acme.url}/oauth"
    deployment.servers.stop_postgres()
    try:
        began = time.monotonic()
        reply = httpx.post(f"{url}/revoke", data={"token": tokens["refresh_token"]}, auth=own(client), trust_env=False)
        assert reply.status_code == 503 and "retry-after" in reply.headers and time.monotonic() - began < 3
    finally:
        deployment.servers.start_postgres()
    for node in deployment.nodes:
        node.await_answer(f"http://127.0.0.1:{node.environment['GATEHOUSE_INTERNAL_PORT']}/readyz", 30)
    reply = httpx.post(f"{url}/introspect", data={"token": tokens["refresh_token"]}, auth=own(client), trust_env=False)
    assert reply.json()["active"] is True
    reply = httpx.post(f"{url}/revoke", data={"token": tokens["refresh_token"]}, auth=own(client), trust_env=False)
    assert reply.status_code == 200
