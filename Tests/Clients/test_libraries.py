"""Other people's OAuth clients: they discover, send a person through the pages, get tokens and stay connected."""

from __future__ import annotations

from urllib.parse import urlencode

import httpx
import pytest
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from gatehouse_demo.chatgpt import claims
from oauth import REDIRECT_URI
from requests_oauthlib import OAuth2Session as OAuthlibSession

METHODS = ["none", "client_secret_basic", "client_secret_post"]


@pytest.fixture(params=METHODS)
def registered(request, deployment) -> dict:
    """A client that registered itself for one authentication method."""
    body = {"client_name": "Library", "redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": request.param,
            "grant_types": ["authorization_code", "refresh_token"]}
    reply = httpx.post(f"{deployment.platform.url}/oauth/register", json=body, trust_env=False)
    assert reply.status_code == 201, reply.text
    return reply.json()


def metadata(issuer) -> dict:
    return httpx.get(f"{issuer.url}/.well-known/oauth-authorization-server", trust_env=False).json()


def returned(browser, url: str) -> str:
    """Where the browser is sent after consent: the redirect with its parameters, as the library wants to see it."""
    reply = browser.send(browser.until(url, "decision"))
    assert reply.is_redirect and reply.headers["location"].startswith(REDIRECT_URI + "?")
    return reply.headers["location"]


def check(deployment, first: dict, second: dict) -> None:
    one, two = claims(first["access_token"]), claims(second["access_token"])
    assert one["jti"] != two["jti"] and one["sub"] == two["sub"]
    assert one["aud"] == two["aud"] == deployment.stack.shared_url
    assert set(two["scopes"]) == {"read", "write"}
    assert second["refresh_token"] != first["refresh_token"]


def test_authlib(deployment, browser, registered):
    """TK-02, TK-03, TK-17, MCP-AS-09, MCP-AS-15: Authlib, public and with a secret both ways, from code to refresh."""
    issuer, found = deployment.platform, metadata(deployment.platform)
    session = AuthlibSession(
        registered["client_id"], registered.get("client_secret"), scope="read write", redirect_uri=REDIRECT_URI,
        token_endpoint_auth_method=registered["token_endpoint_auth_method"], code_challenge_method="S256")
    session.trust_env = False
    verifier = "v" * 64
    url, state = session.create_authorization_url(
        found["authorization_endpoint"], code_verifier=verifier, resource=issuer.resource)
    first = session.fetch_token(
        found["token_endpoint"], authorization_response=returned(browser, url), state=state, code_verifier=verifier,
        resource=issuer.resource)
    second = session.refresh_token(found["token_endpoint"], resource=issuer.resource)
    check(deployment, first, second)


def test_requests_oauthlib(deployment, browser, registered, monkeypatch):
    """TK-02, TK-03, TK-17, MCP-AS-09, MCP-AS-15: requests-oauthlib, public and with a secret both ways, from code to
    refresh."""
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")   # it refuses http, on loopback too
    issuer, found = deployment.platform, metadata(deployment.platform)
    method, secret = registered["token_endpoint_auth_method"], registered.get("client_secret")
    session = OAuthlibSession(registered["client_id"], redirect_uri=REDIRECT_URI, scope=["read", "write"], pkce="S256")
    session.trust_env = False
    url, state = session.authorization_url(found["authorization_endpoint"], resource=issuer.resource)
    how = {"client_secret": secret, "include_client_id": True} if method != "client_secret_basic" else {
        "auth": (registered["client_id"], secret)}
    if method == "none":
        del how["client_secret"]
    first = session.fetch_token(
        found["token_endpoint"], authorization_response=returned(browser, url), resource=issuer.resource, **how)
    body = {"client_id": registered["client_id"], "client_secret": secret} if method != "client_secret_basic" else {}
    second = session.refresh_token(
        found["token_endpoint"], refresh_token=first["refresh_token"], auth=how.get("auth"),
        **{name: value for name, value in body.items() if value})
    check(deployment, first, second)
