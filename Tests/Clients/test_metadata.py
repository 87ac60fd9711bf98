"""Metadata and keys: what is advertised, where, and that it is true (facts A5, MCP §1c)."""

from __future__ import annotations

import base64
import socket
from urllib.parse import urlsplit

import anyio
import httpx
import pytest
from fastmcp.server.auth.providers.jwt import JWTVerifier
from oauth import raw

WELL_KNOWN = ("oauth-authorization-server", "openid-configuration")


def document(http, base: str, path: str = "", name: str = "oauth-authorization-server") -> dict:
    return http.get(f"{base}/.well-known/{name}{path}").json()


@pytest.mark.parametrize("path", ["", "/o/acme"])
def test_document(deployment, http, path):
    """MD-01, MD-02, MD-03, MD-04, MD-05, MD-06, PK-06: at the inserted URL, with a byte-identical issuer."""
    base = deployment.stack.url
    reply = http.get(f"{base}/.well-known/oauth-authorization-server{path}")
    assert reply.status_code == 200 and reply.headers["content-type"].startswith("application/json")
    body = reply.json()
    assert body["issuer"] == base + path and not set(body["issuer"]) & set("?#") and not body["issuer"].endswith("/")
    for name in (
        "authorization_endpoint", "token_endpoint", "registration_endpoint", "jwks_uri", "response_types_supported",
        "grant_types_supported", "token_endpoint_auth_methods_supported", "code_challenge_methods_supported",
        "scopes_supported",
    ):
        assert body.get(name), name
    assert body["authorization_response_iss_parameter_supported"] is True
    assert body["code_challenge_methods_supported"] == ["S256"]
    assert body["response_types_supported"] == ["code"]
    assert not any(value == [] for value in body.values()), "MD-03: no empty arrays"
    if "private_key_jwt" in body["token_endpoint_auth_methods_supported"]:
        assert "none" not in body["token_endpoint_auth_signing_alg_values_supported"]
    if not body.get("client_id_metadata_document_supported"):
        # MD-06: then a document's URL is nobody.
        reply = httpx.get(
            body["authorization_endpoint"], trust_env=False,
            params={"client_id": "https://client.example/client.json", "redirect_uri": "https://client.example/"})
        assert reply.status_code == 400


def test_openid_configuration_says_the_same(deployment, http):
    """MD-08, PK-06: at the four URLs of an organization and the two of the platform, for the same issuer the same bytes."""
    base = deployment.stack.url
    assert len({http.get(f"{base}/.well-known/{name}").content for name in WELL_KNOWN}) == 1
    urls = [f"{base}/.well-known/{name}/o/acme" for name in WELL_KNOWN]
    urls += [f"{base}/o/acme/.well-known/{name}" for name in WELL_KNOWN]
    assert len({http.get(url).content for url in urls}) == 1


@pytest.mark.parametrize("path", ["", "/o/acme"])
def test_what_is_advertised_works(deployment, http, path):
    """MD-09: each endpoint answers, each auth method and grant is accepted, nothing unadvertised is."""
    body = document(http, deployment.stack.url, path)
    assert http.get(body["authorization_endpoint"]).status_code == 400
    assert http.get(body["jwks_uri"]).json()["keys"]
    for name, endpoint in body.items():
        if name.endswith("_endpoint"):
            status = http.post(endpoint).status_code
            assert status not in (404, 405) and status < 500, name
    for method in body["token_endpoint_auth_methods_supported"]:
        metadata = {"redirect_uris": ["https://client.example/"], "token_endpoint_auth_method": method}
        assert http.post(body["registration_endpoint"], json=metadata).status_code == 201, method
    for method in {"private_key_jwt", "client_secret_jwt", "tls_client_auth"} - set(
        body["token_endpoint_auth_methods_supported"]
    ):
        metadata = {"redirect_uris": ["https://client.example/"], "token_endpoint_auth_method": method}
        assert http.post(body["registration_endpoint"], json=metadata).status_code == 400, method
    for grant in ("authorization_code", "refresh_token", "client_credentials", "password", "implicit"):
        error = http.post(body["token_endpoint"], data={"grant_type": grant}).json()["error"]
        assert (error != "unsupported_grant_type") == (grant in body["grant_types_supported"]), grant


@pytest.mark.parametrize("path", ["", "/o/acme", "/o/globex"])
def test_keys(deployment, http, path):
    """MD-10, AT-08: public members only, unique kid, use and alg; cacheable, with a validator that answers 304."""
    reply = http.get(f"{deployment.stack.url}{path}/oauth/jwks")
    assert reply.status_code == 200
    keys = reply.json()["keys"]
    assert keys and len({key["kid"] for key in keys}) == len(keys)
    for key in keys:
        assert not set(key) & {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}
        assert key["use"] == "sig" and key["alg"] in ("ES256", "RS256", "EdDSA")
        if key["kty"] == "RSA":
            assert len(base64.urlsafe_b64decode(key["n"] + "==")) >= 256
    assert "max-age=" in reply.headers["cache-control"] and "no-store" not in reply.headers["cache-control"]
    again = http.get(str(reply.url), headers={"if-none-match": reply.headers["etag"]})
    assert again.status_code == 304 and not again.content
    assert http.get(str(reply.url), headers={"if-none-match": '"other"'}).status_code == 200


def test_issuers_have_keys_of_their_own(deployment, http):
    """MD-12: no key is in two sets, and a token of one issuer does not verify at another."""
    sets = {
        path: {key["kid"] for key in http.get(f"{deployment.stack.url}{path}/oauth/jwks").json()["keys"]}
        for path in ("", "/o/acme", "/o/globex")
    }
    assert not sets[""] & sets["/o/acme"] and not sets["/o/acme"] & sets["/o/globex"] and not sets[""] & sets["/o/globex"]
    issuer = deployment.acme
    token = issuer.redeem(issuer.code(deployment.person("alice"))).json()["access_token"]

    def verifies(path: str) -> bool:
        verifier = JWTVerifier(
            jwks_uri=f"{deployment.stack.url}{path}/oauth/jwks", issuer=issuer.url, audience=issuer.resource,
            algorithm="ES256")
        return anyio.run(verifier.verify_token, token) is not None

    assert verifies("/o/acme") and not verifies("") and not verifies("/o/globex")


def test_host_does_not_matter(deployment, http):
    """MD-13, P-12, P-15: neither Host nor a forwarded one changes a byte, on either node."""
    headers = {"host": "evil.example", "x-forwarded-host": "evil.example", "forwarded": "host=evil.example"}
    for path in ("/.well-known/oauth-authorization-server", "/.well-known/mcp-resources", "/oauth/jwks"):
        right = http.get(deployment.stack.url + path).content
        for node in deployment.node_urls:
            assert http.get(node + path, headers=headers).content == right


def test_nobody_and_wrong_places(deployment, http):
    """MD-07, MCP 1c: 404 and never a 5xx or a page with 200, the same for every unknown organization."""
    base = deployment.stack.url
    bodies = set()
    for slug in ("nobody", "no-body", "acme2", "a" * 63):
        for path in (f"/.well-known/oauth-authorization-server/o/{slug}", f"/o/{slug}/.well-known/openid-configuration"):
            reply = http.get(base + path)
            assert reply.status_code == 404 and reply.headers["content-type"] == "application/json"
            bodies.add(reply.content)
    assert len(bodies) == 1
    for path in (
        "/.well-known/oauth-authorization-server/acme", "/.well-known/oauth-authorization-server/o", "/.well-known",
        "/.well-known/oauth-authorization-server/o/acme/x", "/o/acme", "/o/acme/oauth", "/.well-known/nothing",
        "/oauth", "/oauth/tokens", "/oauth/token/x", "/oauth/jwks/x.css", "/authorize", "/token", "/register",
        "/.well-known/oauth-protected-resource/nothing",
    ):
        assert http.get(base + path).status_code == 404, path


@pytest.mark.parametrize("target", [
    "//oauth/jwks", "/oauth//jwks", "/oauth/jwks/", "/oauth/./jwks", "/x/../oauth/jwks", "/oauth/%6awks",
    "/oauth/jwks;a=b", "/oauth/jwks%00", "/oauth/jwks%2f", "/o/acme/../globex/oauth/jwks", "/%2e%2e/oauth/jwks",
    "/oauth\\jwks", "//evil.example/oauth/jwks", "/OAUTH/jwks", "/oauth/JWKS", "/v1/..;/oauth/jwks",
    "/oauth/token;.js", "/oauth/authorize/x.css",
])
def test_only_the_plain_spelling_of_a_path(deployment, target):
    """P-15, P-19: 404 for every other one."""
    status, headers, _ = raw(deployment.stack.url, "GET", target)
    assert status in (400, 404), status
    assert "location" not in headers


HEADS = [
    "/.well-known/oauth-authorization-server", "/oauth/jwks", "/oauth/token", "/oauth/authorize", "/oauth/register",
    "/o/nobody/.well-known/openid-configuration", "/nothing", "/", "/v1/organizations", "/v1/nothing", "/signin/x",
    "/assets/x.css", "/.well-known/mcp-resources",
]


@pytest.mark.parametrize("path", HEADS)
def test_head_has_no_body(deployment, path):
    """P-16, P-04: whatever the status, a body behind HEAD would be read as the next answer on the connection."""
    address = urlsplit(deployment.stack.url)
    with socket.create_connection((address.hostname, address.port), timeout=5) as connection:
        request = f"HEAD {path} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n"
        last = f"GET /oauth/jwks HTTP/1.1\r\nHost: {address.netloc}\r\nConnection: close\r\n\r\n"
        connection.sendall((request + last).encode())
        received = b""
        while part := connection.recv(65536):
            received += part
    first, rest = received.split(b"\r\n\r\n", 1)
    assert first.startswith(b"HTTP/1.1 ")
    assert rest.startswith(b"HTTP/1.1 200"), f"behind {first.splitlines()[0]!r} stands {rest[:120]!r}"


def test_trace_and_override(deployment, http):
    """P-16, T-26: TRACE is refused; method overrides are not read."""
    base = deployment.stack.url
    for path in ("/oauth/jwks", "/oauth/token", "/v1/organizations", "/.well-known/oauth-authorization-server"):
        assert http.request("TRACE", base + path).status_code == 405
    reply = http.get(
        f"{base}/oauth/jwks", headers={"x-http-method-override": "POST", "x-method-override": "DELETE"},
        params={"_method": "DELETE"})
    assert reply.status_code == 200


def test_errors_name_the_request(deployment, http):
    """Design 4.8: every reply has a Request-Id and may not be sniffed."""
    for path in ("/oauth/jwks", "/nothing", "/oauth/authorize", "/v1/organizations", "/"):
        reply = http.get(deployment.stack.url + path)
        assert reply.headers["request-id"] and reply.headers["x-content-type-options"] == "nosniff", path
