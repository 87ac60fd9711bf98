"""The checks that modelcontextprotocol/conformance makes of an authorization server (facts MCP §5), made anew."""

from __future__ import annotations

import base64
import secrets
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import httpx
import pytest
from gatehouse_demo.chatgpt import claims
from oauth import challenge

REDIRECT_URI = "http://127.0.0.1:54321/callback"


def metadata_urls(issuer: str) -> list[str]:
    """Where the suite looks, in its order."""
    parts = urlsplit(issuer)
    origin, path = f"{parts.scheme}://{parts.netloc}", parts.path
    urls = [f"{origin}/.well-known/{name}{path}" for name in ("oauth-authorization-server", "openid-configuration")]
    return urls + ([f"{issuer}/.well-known/openid-configuration"] if path else [])


@pytest.mark.parametrize("name", ["platform", "acme"])
def test_authorization_server_metadata_endpoint(deployment, http, name):
    """MCP-AS-01, MCP-AS-02, MCP-AS-03, MCP-AS-04, MD-01, MD-02, MD-08: `authorization-server-metadata-endpoint`, at
    every URL that it would try."""
    issuer = deployment.issuer(name).url
    for url in metadata_urls(issuer):
        reply = http.get(url, headers={"accept": "application/json"})
        assert reply.status_code == 200, url
        assert reply.headers["content-type"].split(";")[0] == "application/json"
        document = reply.json()
        assert document["issuer"] == issuer
        for member in ("authorization_endpoint", "token_endpoint"):
            assert isinstance(document[member], str) and urlsplit(document[member]).netloc
        assert "code" in document["response_types_supported"]
        assert "S256" in document["code_challenge_methods_supported"]


@pytest.mark.parametrize("name", ["acme", "platform"])
@pytest.mark.parametrize("method", ["none", "client_secret_post", "client_secret_basic"])
def test_authorization_code_grant(deployment, browser, name, method):
    """MCP-AS-05, MCP-AS-09, MCP-AS-14, MCP-AS-15, MCP-AS-35, RI-07, TK-02, TK-10: `authorization-code-grant`, with no
    scope and no resource; acme's issuer has one resource, the platform's says which one is meant."""
    issuer = deployment.issuer(name)
    document = httpx.get(metadata_urls(issuer.url)[0], trust_env=False).json()
    assert method in document["token_endpoint_auth_methods_supported"]
    body = {"redirect_uris": ["http://127.0.0.1:3000/callback"], "token_endpoint_auth_method": method}
    client = httpx.post(document["registration_endpoint"], json=body, trust_env=False).json()
    verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(16)
    query = {
        "response_type": "code", "client_id": client["client_id"], "redirect_uri": REDIRECT_URI, "state": state,
        "code_challenge": challenge(verifier), "code_challenge_method": "S256",
    }
    url = f"{document['authorization_endpoint']}?{urlencode(query)}"
    if name == "platform":
        # Several shared resources and none chosen: then it says so, and never means all of them.
        reply = httpx.get(url, trust_env=False)
        assert reply.is_redirect and httpx.URL(reply.headers["location"]).params["error"] == "invalid_target"
        return
    reply = browser.send(browser.until(url, "decision"))
    assert reply.is_redirect
    target = urlsplit(reply.headers["location"])
    assert f"{target.scheme}://{target.netloc}{target.path}" == REDIRECT_URI and not target.fragment
    pairs = parse_qsl(target.query, keep_blank_values=True)
    names = [one for one, _ in pairs]
    assert names.count("state") == names.count("code") == names.count("iss") == 1 and "error" not in names
    answer = dict(pairs)
    assert answer["state"] == state and answer["code"] and answer["iss"] == document["issuer"]

    form = {"grant_type": "authorization_code", "code": answer["code"], "redirect_uri": REDIRECT_URI,
            "code_verifier": verifier}
    headers = {}
    if method == "client_secret_basic":
        pair = ":".join(quote(client[half], safe="") for half in ("client_id", "client_secret"))
        headers["authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    else:
        form["client_id"] = client["client_id"]
        if method == "client_secret_post":
            form["client_secret"] = client["client_secret"]
    reply = httpx.post(document["token_endpoint"], data=form, headers=headers, trust_env=False)
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"].split(";")[0] == "application/json"
    assert "no-store" in reply.headers["cache-control"]
    tokens = reply.json()
    assert isinstance(tokens["access_token"], str) and isinstance(tokens["token_type"], str)
    assert claims(tokens["access_token"])["aud"] == issuer.resource
