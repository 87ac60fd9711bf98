"""Metadata and keys: what is advertised, where, and that it is true (facts A5, MCP §1c)."""

from __future__ import annotations

import base64
import re
import socket
from urllib.parse import urlsplit

import anyio
import httpx
import pytest
from assertions import KeyPair
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
    """MD-08, PK-06: at an organization's four URLs and the platform's two, for the same issuer the same bytes."""
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
        if method == "private_key_jwt":
            metadata["jwks"] = KeyPair().jwks
        assert http.post(body["registration_endpoint"], json=metadata).status_code == 201, method
    for method in {"private_key_jwt", "client_secret_jwt", "tls_client_auth"} - set(
        body["token_endpoint_auth_methods_supported"]
    ):
        metadata = {"redirect_uris": ["https://client.example/"], "token_endpoint_auth_method": method}
        assert http.post(body["registration_endpoint"], json=metadata).status_code == 400, method
    for grant in (
        "authorization_code", "refresh_token", "client_credentials", "urn:ietf:params:oauth:grant-type:device_code",
        "urn:ietf:params:oauth:grant-type:token-exchange", "urn:ietf:params:oauth:grant-type:jwt-bearer", "password",
        "implicit",
    ):
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
    assert len(set.union(*sets.values())) == sum(len(kids) for kids in sets.values())
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
        for place in ("/.well-known/oauth-authorization-server/o/%", "/o/%/.well-known/openid-configuration"):
            path = place.replace("%", slug)
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


def test_head_has_no_body(deployment):
    """P-16, P-04: whatever the status, a body behind HEAD would be read as the next answer on the connection."""
    address = urlsplit(deployment.stack.url)
    wrong = []
    for path in HEADS:
        with socket.create_connection((address.hostname, address.port), timeout=5) as connection:
            request = f"HEAD {path} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n"
            last = f"GET /oauth/jwks HTTP/1.1\r\nHost: {address.netloc}\r\nConnection: close\r\n\r\n"
            connection.sendall((request + last).encode())
            received = b""
            while part := connection.recv(65536):
                received += part
        head, rest = received.split(b"\r\n\r\n", 1)
        if not rest.startswith(b"HTTP/1.1 200"):
            wrong.append(f"{path}: {head.splitlines()[0].decode()}, then {rest[:60]!r}")
    assert not wrong


def answers(deployment, request: bytes) -> tuple[list[int], bool]:
    """Statuses of everything that comes back for these bytes, and whether the server closed the connection itself."""
    address = urlsplit(deployment.stack.url)
    received, closed = b"", False
    with socket.create_connection((address.hostname, address.port), timeout=1.5) as connection:
        try:
            connection.sendall(request)
            while part := connection.recv(65536):
                received += part
            closed = True
        except TimeoutError:
            pass
        except OSError:
            closed = True
    return [int(status) for status in re.findall(rb"(?:^|[}\n])HTTP/1\.1 (\d{3})", received)], closed


SMUGGLED = b"GET /oauth/jwks HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.mark.parametrize("name,head,body", [
    ("length and chunked", b"Content-Length: 4\r\nTransfer-Encoding: chunked", b"0\r\n\r\n" + SMUGGLED),
    ("two lengths", b"Content-Length: 0\r\nContent-Length: 42", SMUGGLED),
    ("lengths in a list", b"Content-Length: 0, 42", SMUGGLED),
    ("signed length", b"Content-Length: +0", SMUGGLED),
    ("hexadecimal length", b"Content-Length: 0x0", SMUGGLED),
    ("unknown coding", b"Transfer-Encoding: xchunked", b"0\r\n\r\n" + SMUGGLED),
    ("coding after chunked", b"Transfer-Encoding: chunked, identity", b"0\r\n\r\n" + SMUGGLED),
    ("space before colon", b"Content-Length : 0\r\nX: y", SMUGGLED),
    ("folded header", b"X: a\r\n b\r\nContent-Length: 0", SMUGGLED),
    ("broken chunk size", b"Transfer-Encoding: chunked", b"0x1\r\na\r\n0\r\n\r\n" + SMUGGLED),
    ("chunk size beyond 64 bits", b"Transfer-Encoding: chunked", b"f" * 17 + b"\r\na\r\n0\r\n\r\n" + SMUGGLED),
])
def test_no_second_request_within_one(deployment, name, head, body):
    """P-04: what two readers could frame differently is refused, and nothing behind it is read as a request."""
    request = b"POST /oauth/token HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    statuses, closed = answers(deployment, request + head + b"\r\n\r\n" + body)
    assert len(statuses) <= 1 and all(400 <= status < 500 for status in statuses), statuses
    assert closed, "the connection cannot be trusted any more"


def test_large_heads(deployment):
    """P-02: a header of 100 KB, a thousand headers, a URL of 64 KB and more: answered at once, never by a 5xx."""
    start = b"GET /oauth/jwks HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
    for request in (
        start + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
        start + b"".join(b"X-%d: y\r\n" % number for number in range(1000)) + b"\r\n",
        b"GET /oauth/jwks?" + b"a" * 65_536 + b" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        b"GET /oauth/jwks?" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    ):
        statuses, closed = answers(deployment, request)
        assert len(statuses) <= 1 and all(status < 500 for status in statuses)
        assert closed


def test_trace_and_override(deployment, http):
    """P-16, T-26: TRACE is refused; method overrides are not read."""
    base = deployment.stack.url
    for path in ("/oauth/jwks", "/oauth/token", "/v1/organizations", "/.well-known/oauth-authorization-server"):
        assert http.request("TRACE", base + path).status_code == 405
    reply = http.get(
        f"{base}/oauth/jwks", headers={"x-http-method-override": "POST", "x-method-override": "DELETE"},
        params={"_method": "DELETE"})
    assert reply.status_code == 200


def test_admin_api_as_protected_resource(deployment, http):
    """RM-01, RM-02, RM-03, BR-01: where the challenge points, at the inserted URL, with the identifier it is for."""
    reply = http.get(f"{deployment.stack.url}/v1/organizations")
    assert reply.status_code == 401
    url = re.search(r'resource_metadata="([^"]+)"', reply.headers["www-authenticate"])[1]
    assert url == f"{deployment.stack.url}/.well-known/oauth-protected-resource/v1"
    document = http.get(url).json()
    assert document["resource"] == f"{deployment.stack.url}/v1"
    assert document["bearer_methods_supported"] == ["header"] and "users:read" in document["scopes_supported"]
    assert not any(value == [] for value in document.values())


def test_errors_name_the_request(deployment, http):
    """Design 4.8: every reply has a Request-Id and may not be sniffed."""
    for path in ("/oauth/jwks", "/nothing", "/oauth/authorize", "/v1/organizations", "/"):
        reply = http.get(deployment.stack.url + path)
        assert reply.headers["request-id"] and reply.headers["x-content-type-options"] == "nosniff", path
