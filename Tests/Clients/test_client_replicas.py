"""Real clients, as they were seen to register and to ask (facts mcp-clients §3, §4a).

The released `mcp` and `fastmcp` clients are in test_chatgpt.py and test_mcp_clients.py.
"""

from __future__ import annotations

import secrets
import time
from urllib.parse import urlencode, urlsplit

import httpx
import pytest
from assertions import KeyPair
from gatehouse_demo.chatgpt import claims
from oauth import told
from walk import Walk

BOTH_GRANTS = ["authorization_code", "refresh_token"]


def registered(issuer, body: dict, headers: dict[str, str] | None = None) -> dict:
    """Registers with this very body; what comes back agrees with it."""
    reply = httpx.post(f"{issuer.url}/oauth/register", json=body, headers=headers, timeout=15, trust_env=False)
    assert reply.status_code in (200, 201), reply.text
    answer = reply.json()
    for name in ("redirect_uris", "token_endpoint_auth_method", "grant_types", "response_types", "client_name"):
        if name in body:
            assert answer[name] == body[name], name
    return answer


def signed_in(deployment, issuer, client_id: str, redirect_uri: str, name: str = "alice", **changes):
    """Signs the person in; returns the redirect as it came, its parameters and the verifier."""
    query, verifier = issuer.query(client_id, redirect_uri=redirect_uri, **changes)
    with Walk(deployment, deployment.person(name)) as browser:
        page = browser.until(f"{issuer.url}/oauth/authorize?{urlencode(query)}", "decision")
        reply = browser.send(page)
    answer = told(reply)
    assert "code" in answer and answer.get("state") == query.get("state") and answer["iss"] == issuer.url
    target = urlsplit(reply.headers["location"])
    assert target._replace(query="").geturl() == redirect_uri, "origin and path as asked"
    return answer["code"], verifier


def connected(
    deployment, issuer, client: dict, redirect_uri: str, name: str = "alice", resource="", proof=dict, **changes,
) -> dict:
    """From sign-in to refresh, authenticating as registered; returns the claims of the last access token.

    `proof` makes what the client adds to each form to prove itself, where that is no secret.
    """
    resource = issuer.resource if resource == "" else resource
    code, verifier = signed_in(deployment, issuer, client["client_id"], redirect_uri, name, resource=resource,
        **changes)
    secret = client.get("client_secret")
    own = {"client_id": client["client_id"], "client_secret": secret, "resource": resource}
    reply = issuer.token(own | proof() | {
        "grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri, "code_verifier": verifier})
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "application/json" and reply.headers["cache-control"] == "no-store"
    body = reply.json()
    assert isinstance(body["access_token"], str) and body["token_type"].lower() == "bearer"
    if "refresh_token" in client["grant_types"]:
        reply = issuer.token(own | proof() | {"grant_type": "refresh_token", "refresh_token": body["refresh_token"]})
        assert reply.status_code == 200, reply.text
        body = reply.json()
    return claims(body["access_token"])


# ---- ChatGPT -----------------------------------------------------------------------------------------------------

CHATGPT = {
    "client_name": "ChatGPT", "redirect_uris": ["https://chatgpt.com/connector_platform_oauth_redirect"],
    "grant_types": BOTH_GRANTS, "response_types": ["code"], "token_endpoint_auth_method": "none",
}


def test_chatgpt_without_scope(deployment):
    """Facts 3a, MCP-AS-17: registers without scope, asks with resource and the metadata's scopes; reconnects without
    any,
    with the same client."""
    issuer = deployment.platform
    client = registered(issuer, CHATGPT)
    uri = CHATGPT["redirect_uris"][0]
    listed = httpx.get(f"{issuer.url}/.well-known/oauth-authorization-server",
        trust_env=False).json()["scopes_supported"]
    first = connected(
        deployment, issuer, client, uri, scope=" ".join(["read", "write", *listed]), state="oauth_s_0123456789abcdef")
    assert first["aud"] == deployment.stack.shared_url and {"read", "write"} <= set(first["scopes"])
    again = connected(deployment, issuer, client, uri)
    assert set(again["scopes"]) == {"read", "write"} and again["sub"] == first["sub"]


def test_chatgpt_callback_of_its_own(deployment):
    """Facts 3a: the other redirect that ChatGPT uses, and id_token_hint on re-authorization."""
    uri = "https://chatgpt.com/connector/oauth/cb_0123456789"
    client = registered(deployment.platform, CHATGPT | {"redirect_uris": [uri]})
    assert connected(deployment, deployment.platform, client, uri, id_token_hint="a.b.c")["org_slug"] == "acme"


def test_each_listed_scope_works(deployment):
    """Facts 3a, MD-09: what scopes_supported lists is requested by default, so each by itself gets a token."""
    issuer = deployment.acme
    client = registered(issuer, CHATGPT)
    listed = httpx.get(f"{issuer.url}/.well-known/openid-configuration", trust_env=False).json()["scopes_supported"]
    assert "offline_access" in listed
    for scope in listed:
        token = connected(deployment, issuer, client, CHATGPT["redirect_uris"][0], scope=scope)
        assert "offline_access" not in token["scopes"] and token["scopes"], scope


@pytest.fixture
def chatgpt(deployment):
    """ChatGPT's metadata document as it is published: its client_id, and the key that its jwks_uri shows."""
    host, key = deployment.documents, KeyPair("RS256", kid="cimd-20260428030119")
    path = f"/{secrets.token_hex(4)}/oauth/client.json"
    keys = path.replace("client.json", "jwks.json")
    client_id = host.url(path, "chatgpt.localhost")
    host.publish(path, CHATGPT | {
        "client_id": client_id, "client_uri": "https://chatgpt.com", "logo_uri": "https://chatgpt.com/logo.png",
        "token_endpoint_auth_method": "private_key_jwt",
        "token_endpoint_auth_methods_supported": ["none", "private_key_jwt"],
        "token_endpoint_auth_signing_alg": "RS256", "jwks_uri": host.url(keys, "chatgpt.localhost"),
    })
    host.publish(keys, key.jwks)
    yield client_id, key
    host.withdraw(path)
    host.withdraw(keys)


@pytest.mark.parametrize("name", ["platform", "acme"])
def test_chatgpt_by_document_with_its_key(deployment, chatgpt, name):
    """Facts 3a, MCP-AS-06, MCP-AS-10, CM-06, CM-12, BC-09, JA-01: what ChatGPT does where the metadata has
    private_key_jwt: no registration, an assertion at every call, `resource` verbatim at both endpoints."""
    client_id, key = chatgpt
    issuer = deployment.issuer(name)
    document = httpx.get(f"{issuer.url}/.well-known/openid-configuration", trust_env=False).json()
    assert document["client_id_metadata_document_supported"] is True
    assert "private_key_jwt" in document["token_endpoint_auth_methods_supported"]
    assert "RS256" in document["token_endpoint_auth_signing_alg_values_supported"]
    token = connected(
        deployment, issuer, {"client_id": client_id, "grant_types": BOTH_GRANTS}, CHATGPT["redirect_uris"][0],
        scope="read write", state="oauth_s_0123456789abcdef", proof=lambda: key.form(client_id, issuer.url))
    assert token["client_id"] == client_id and token["aud"] == issuer.resource and token["iss"] == issuer.url


def test_chatgpt_by_document_without_a_key(deployment, chatgpt):
    """Facts 3a, MCP-AS-06, MCP-AS-09: the same document lists `none`, so an issuer's client may go without."""
    client_id, _ = chatgpt
    token = connected(
        deployment, deployment.platform, {"client_id": client_id, "grant_types": BOTH_GRANTS},
        CHATGPT["redirect_uris"][0], scope="read")
    assert token["client_id"] == client_id and token["scopes"] == ["read"]


def test_chatgpt_by_its_document_of_may(deployment, chatgpt):
    """Facts 3a, CM-12: without the plural list the key is the only way, and no call goes without it."""
    client_id, key = chatgpt
    path = httpx.URL(client_id).path
    issuer = deployment.platform
    host = deployment.documents
    older = {name: value for name, value in CHATGPT.items() if name != "token_endpoint_auth_method"} | {
        "client_id": client_id, "token_endpoint_auth_method": "private_key_jwt",
        "token_endpoint_auth_signing_alg": "RS256", "jwks": key.jwks}
    host.publish(path, older)
    code, verifier = signed_in(deployment, issuer, client_id, CHATGPT["redirect_uris"][0])
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CHATGPT["redirect_uris"][0],
            "code_verifier": verifier, "client_id": client_id}
    reply = issuer.token(form)
    assert reply.status_code == 401 and reply.json()["error"] == "invalid_client"
    assert issuer.token(form | key.form(client_id, issuer.url)).status_code == 200


# ---- Claude ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("uri", ["http://localhost:52871/callback", "http://127.0.0.1:61007/callback"])
def test_claude_code_by_document(deployment, uri):
    """Facts 3b, MCP-AS-06, MCP-AS-24, MCP-AS-35, CM-06, CM-14: portless loopback redirects in the document, any port
    at run time, method none; and a page that names the document's host and warns of programs on this machine."""
    host, issuer = deployment.documents, deployment.platform
    path = f"/{secrets.token_hex(4)}/oauth/claude-code-client-metadata"
    client_id = host.url(path, "claude.localhost")
    host.publish(path, {
        "client_id": client_id, "client_name": "Claude Code", "client_uri": "https://claude.ai",
        "redirect_uris": ["http://localhost/callback", "http://127.0.0.1/callback"], "grant_types": BOTH_GRANTS,
        "response_types": ["code"], "token_endpoint_auth_method": "none"})
    page = issuer.ask(client_id, redirect_uri=uri)
    assert page.status_code == 200 and "claude.localhost" in page.text
    token = connected(deployment, issuer, {"client_id": client_id, "grant_types": BOTH_GRANTS}, uri)
    assert token["client_id"] == client_id
    host.withdraw(path)


def test_opencode_by_document(deployment):
    """Facts 3c, MCP-AS-06, MCP-AS-29, MCP-AS-35, CM-06: native, portless loopback, method none."""
    host, issuer = deployment.documents, deployment.acme
    path = f"/{secrets.token_hex(4)}/oauth/client.json"
    client_id, uri = host.url(path), "http://127.0.0.1:19876/mcp/oauth/callback"
    host.publish(path, {
        "client_id": client_id, "client_name": "opencode", "application_type": "native",
        "redirect_uris": ["http://127.0.0.1/mcp/oauth/callback", "http://localhost/mcp/oauth/callback"],
        "grant_types": BOTH_GRANTS, "response_types": ["code"], "token_endpoint_auth_method": "none"})
    token = connected(deployment, issuer, {"client_id": client_id, "grant_types": BOTH_GRANTS}, uri)
    assert token["client_id"] == client_id
    assert issuer.ask(client_id, redirect_uri="http://127.0.0.1:19876/other").status_code == 400
    host.withdraw(path)


@pytest.mark.parametrize("domain", ["claude.ai", "claude.com"])
def test_claude_by_document(deployment, domain):
    """Facts 3b, MCP-AS-06: the hosted client's document, and the server's whole list of scopes in its order."""
    host, issuer = deployment.documents, deployment.acme
    path = f"/{secrets.token_hex(4)}/oauth/mcp-oauth-client-metadata"
    client_id, uri = host.url(path, "claude.localhost"), f"https://{domain}/api/mcp/auth_callback"
    host.publish(path, {
        "client_id": client_id, "client_name": "Claude", "client_uri": "https://claude.ai", "redirect_uris": [uri],
        "grant_types": BOTH_GRANTS, "response_types": ["code"], "token_endpoint_auth_method": "none"})
    document = httpx.get(f"{issuer.url}/.well-known/openid-configuration", trust_env=False).json()
    # Without both it would register instead, silently.
    assert document["client_id_metadata_document_supported"] is True
    assert "none" in document["token_endpoint_auth_methods_supported"]
    token = connected(
        deployment, issuer, {"client_id": client_id, "grant_types": BOTH_GRANTS}, uri,
        scope=" ".join(document["scopes_supported"]))
    assert {"read", "write"} <= set(token["scopes"])
    host.withdraw(path)


@pytest.mark.parametrize("host", ["claude.ai", "claude.com"])
def test_claude_hosted(deployment, host):
    """Facts 3b: client_secret_post, the whole list of the server's scopes in its order, a new registration each
    time."""
    issuer = deployment.platform
    uri = f"https://{host}/api/mcp/auth_callback"
    body = {
        "client_name": "Claude", "redirect_uris": [uri], "grant_types": BOTH_GRANTS, "response_types": ["code"],
        "token_endpoint_auth_method": "client_secret_post", "scope": "openid profile email offline_access",
    }
    first, client = registered(issuer, body), registered(issuer, body)
    assert first["client_id"] != client["client_id"] and client["client_secret"]
    listed = httpx.get(f"{issuer.url}/.well-known/oauth-authorization-server",
        trust_env=False).json()["scopes_supported"]
    token = connected(deployment, issuer, client, uri, scope=" ".join(listed))
    assert {"read", "write"} <= set(token["scopes"])


def test_claude_registers_again_when_told_to(deployment):
    """Facts 3b, MCP-AS-37: 401 invalid_client as JSON is the sign to register anew."""
    reply = deployment.platform.token({
        "grant_type": "refresh_token", "refresh_token": "x", "client_id": "cli_00000000000000000000000000",
        "client_secret": "gone"})
    assert reply.status_code == 401 and reply.json()["error"] == "invalid_client"
    assert reply.headers["content-type"] == "application/json"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_claude_code(deployment, host):
    """Facts 3b, MCP-AS-35: both loopback forms registered without a port, a random port at run time."""
    body = {
        "client_name": "Claude Code", "redirect_uris": ["http://localhost/callback", "http://127.0.0.1/callback"],
        "grant_types": BOTH_GRANTS, "response_types": ["code"], "token_endpoint_auth_method": "none",
    }
    client = registered(deployment.platform, body)
    token = connected(deployment, deployment.platform, client, f"http://{host}:52871/callback", scope="read write")
    assert token["client_id"] == client["client_id"]


# ---- Editors -----------------------------------------------------------------------------------------------------

CURSOR = [
    "cursor://anysphere.cursor-mcp/oauth/callback", "https://www.cursor.com/agents/mcp/oauth/callback",
    "http://localhost:8787/callback",
]


@pytest.mark.parametrize("uri", [*CURSOR, "http://127.0.0.1:8787/callback"])
def test_cursor(deployment, uri):
    """Facts 3c: all three redirects at once, no scope, no secret; each of them works, on whichever loopback spelling
    that version uses."""
    body = {
        "client_name": "Cursor", "redirect_uris": [*CURSOR[:2], uri if "8787" in uri else CURSOR[2]], "grant_types": BOTH_GRANTS, "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    }
    client = registered(deployment.platform, body)
    assert connected(deployment, deployment.platform, client, uri)["scopes"]


def test_cursor_scheme_is_compared_whole(deployment):
    """Facts 3c, BC-11: nothing else of that scheme, neither at registration nor at authorize."""
    client = registered(deployment.platform, {"redirect_uris": CURSOR[:1], "token_endpoint_auth_method": "none"})
    for other in ("cursor://anysphere.cursor-mcp/oauth/callback/", "cursor://anysphere.cursor-mcp/oauth/callback?x=1",
                  "cursor://evil/oauth/callback", "CURSOR://anysphere.cursor-mcp/oauth/callback"):
        reply = deployment.platform.ask(client["client_id"], redirect_uri=other)
        assert reply.status_code == 400 and "location" not in reply.headers
        reply = httpx.post(f"{deployment.platform.url}/oauth/register", json={"redirect_uris": [other]},
            trust_env=False)
        assert reply.status_code == 400 and reply.json()["error"] == "invalid_redirect_uri"


VSCODE = [
    "https://vscode.dev/redirect", "https://insiders.vscode.dev/redirect", "http://127.0.0.1/",
    "http://127.0.0.1:33418/",
]


@pytest.mark.parametrize("uri", [*VSCODE, "http://127.0.0.1:40123/"])
def test_vs_code(deployment, uri):
    """Facts 3c: four redirects; another port when 33418 is taken."""
    body = {
        "client_name": "Visual Studio Code", "redirect_uris": VSCODE, "grant_types": BOTH_GRANTS,
        "response_types": ["code"], "token_endpoint_auth_method": "none", "application_type": "native",
    }
    client = registered(deployment.platform, body)
    assert connected(deployment, deployment.platform, client, uri)["scopes"]


def test_vs_code_path_is_significant(deployment):
    """Facts 3c, AZ-04: `http://127.0.0.1` without the slash is another URI."""
    client = registered(deployment.platform, {"redirect_uris": VSCODE, "token_endpoint_auth_method": "none"})
    for other in ("http://127.0.0.1", "http://127.0.0.1:33418", "http://127.0.0.1:33418/x", "http://localhost:33418/"):
        assert deployment.platform.ask(client["client_id"], redirect_uri=other).status_code == 400


@pytest.mark.parametrize("registered_uri,used", [
    ("http://127.0.0.1:1455/callback/c0ffee", "http://127.0.0.1:1455/callback/c0ffee"),
    ("http://127.0.0.1:33001/callback", "http://127.0.0.1:33999/callback"),
    ("http://localhost:3334/oauth/callback", "http://localhost:3335/oauth/callback"),
])
def test_command_line_clients(deployment, registered_uri, used):
    """Facts 3c, MCP-AS-35: Codex with a path of its own, Copilot CLI that registers one port and uses another,
    mcp-remote."""
    body = {"client_name": "CLI", "redirect_uris": [registered_uri], "token_endpoint_auth_method": "none",
            "grant_types": BOTH_GRANTS}
    assert connected(deployment, deployment.platform, registered(deployment.platform, body), used)["scopes"]


# ---- Inspector ---------------------------------------------------------------------------------------------------


def test_inspector_in_a_browser(deployment, http):
    """Facts 3c, MCP-AS-36, TK-26: preflights with its headers, then discovery, registration and token with an Origin;
    the browser lets it read every answer, refusals included."""
    issuer = deployment.platform
    origin = {"origin": "http://localhost:6274"}
    for url, method in (
        (f"{issuer.url}/.well-known/oauth-authorization-server", "GET"),
        (f"{deployment.stack.url}/.well-known/oauth-authorization-server/o/acme", "GET"),
        (f"{deployment.stack.url}/o/acme/.well-known/openid-configuration", "GET"),
        (f"{issuer.url}/oauth/register", "POST"), (f"{issuer.url}/oauth/token", "POST"),
        (f"{issuer.url}/oauth/jwks", "GET"),
        (f"{deployment.acme.url}/oauth/token", "POST"), (f"{deployment.acme.url}/oauth/register", "POST"),
    ):
        reply = http.options(url, headers=origin | {
            "access-control-request-method": method,
            "access-control-request-headers": "authorization,content-type,mcp-protocol-version",
        })
        assert reply.status_code in (200, 204), url
        assert reply.headers["access-control-allow-origin"] in ("*", origin["origin"]), url
        assert method in reply.headers["access-control-allow-methods"], url
        allowed = {name.strip().lower() for name in reply.headers["access-control-allow-headers"].split(",")}
        assert {"authorization", "content-type", "mcp-protocol-version"} <= allowed, url
    reply = http.get(
        f"{issuer.url}/.well-known/oauth-authorization-server", headers=origin | {"mcp-protocol-version": "2025-11-25"})
    assert reply.headers["access-control-allow-origin"] == "*"
    assert http.get(f"{deployment.stack.url}/o/nobody/.well-known/openid-configuration",
        headers=origin).status_code == 404

    uris = ["http://localhost:6274/oauth/callback", "http://localhost:6274/oauth/callback/debug"]
    body = {
        "client_name": "MCP Inspector", "client_uri": "https://github.com/modelcontextprotocol/inspector",
        "redirect_uris": uris, "grant_types": BOTH_GRANTS, "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    }
    client = registered(issuer, body, origin)
    code, verifier = signed_in(deployment, issuer, client["client_id"], uris[1])
    form = {
        "grant_type": "authorization_code", "code": code, "redirect_uri": uris[1], "client_id": client["client_id"],
        "code_verifier": verifier, "resource": issuer.resource,
    }
    for one in (issuer.token(form | {"code": "x"}, headers=origin), issuer.token(form, headers=origin)):
        assert one.headers["access-control-allow-origin"] == "*"
    assert one.status_code == 200


def test_not_found_is_readable_too(deployment, http):
    """MCP-AS-36, facts 1c: a browser client tries three URLs; one that is not there has to be readable as such."""
    origin = {"origin": "http://localhost:6274"}
    for path in ("/o/nobody/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/o/nobody"):
        reply = http.get(deployment.stack.url + path, headers=origin)
        assert reply.status_code == 404 and reply.headers["access-control-allow-origin"] == "*"


# ---- SDK and conformance suite -----------------------------------------------------------------------------------


@pytest.mark.parametrize("issuer", ["platform", "acme"])
def test_python_sdk_with_offline_access(deployment, issuer):
    """Facts 4a, MCP-AS-31: `prompt=consent` whenever offline_access is asked; it brings a refresh token and is not in
    the JWT."""
    at = deployment.issuer(issuer)
    uri = "http://localhost:3030/callback"
    client = registered(at, {
        "client_name": "mcp", "redirect_uris": [uri], "grant_types": BOTH_GRANTS, "response_types": ["code"],
        "scope": "read write offline_access", "application_type": "native", "token_endpoint_auth_method": "none"})
    token = connected(deployment, at, client, uri, scope="read write offline_access", prompt="consent")
    assert set(token["scopes"]) == {"read", "write"}


def test_registration_defaults_of_the_sdk(deployment):
    """Facts 4a: what the SDK's client demands of the answer: a secret where the method needs one."""
    body = {"redirect_uris": ["http://localhost:3030/callback"], "grant_types": BOTH_GRANTS, "response_types": ["code"],
            "application_type": "native"}
    client = registered(deployment.platform, body)
    assert client["token_endpoint_auth_method"] == "none" or client["client_secret"]


def test_chosen_default_resource(deployment, admin):
    """Facts 5, RI-07, design 3.1 f: where an issuer has several resources, the chosen one is the default;
    `scopes_supported`
    tells its scopes and no union."""
    acme = deployment.organizations["acme"]
    base = f"/v1/organizations/{acme}"
    second = admin.post(f"{base}/resources",
        {"uri": "https://second.example/mcp", "name": "Second", "scopes": ["second"]})
    metadata = f"{deployment.stack.url}/.well-known/oauth-authorization-server/o/acme"
    issuer = deployment.acme
    client = registered(issuer, {"redirect_uris": ["http://127.0.0.1/callback"], "token_endpoint_auth_method": "none"})
    ask = {"redirect_uri": "http://127.0.0.1:1/callback", "resource": None}
    try:
        time.sleep(1.0)
        assert told(issuer.ask(client["client_id"], **ask))["error"] == "invalid_target", "two, and none chosen"
        assert "second" not in httpx.get(metadata, trust_env=False).json()["scopes_supported"]
        admin.call("PATCH", base, {"settings": {"default_resource": second["id"]}})
        time.sleep(1.0)
        page = issuer.ask(client["client_id"], **ask)
        assert page.status_code == 200 and "Second" in page.text
        scopes = httpx.get(metadata, trust_env=False).json()["scopes_supported"]
        assert "second" in scopes and "write" not in scopes
    finally:
        admin.call("PATCH", base, {"settings": {"default_resource": None}})
        admin.send("DELETE", f"{base}/resources/{second['id']}", headers={"if-match": "*"})
        time.sleep(1.0)
