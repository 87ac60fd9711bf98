"""Dynamic client registration (facts A7; RFC 7591 as design §3.5 reads it)."""

from __future__ import annotations

import json
import time

import httpx
import pytest
from evidence import source
from oauth import REDIRECT_URI, raw

BODY = {"client_name": "Test client", "redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": "none"}
JSON = {"content-type": "application/json"}


def register(issuer, headers: dict[str, str] | None = None, **changes) -> httpx.Response:
    """Registers with the body changed; None leaves a member out."""
    body = {name: value for name, value in {**BODY, **changes}.items() if value is not None}
    return httpx.post(f"{issuer.url}/oauth/register", json=body, headers=headers, timeout=15, trust_env=False)


def refused(reply: httpx.Response, error: str, status: int = 400) -> None:
    assert reply.status_code == status, f"{reply.status_code} {reply.text}"
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["cache-control"] == "no-store"
    assert reply.json()["error"] == error, reply.text
    assert set(reply.json()) <= {"error", "error_description"}


@pytest.mark.parametrize("issuer", ["platform", "acme"])
def test_registered(deployment, evidence, issuer):
    """RG-01, RG-02, RG-15: 201, no-store, everything that was registered with its defaults, and an event."""
    at = deployment.issuer(issuer)
    began = time.time()
    reply = register(at)
    assert reply.status_code == 201, reply.text
    assert reply.headers["cache-control"] == "no-store" and reply.headers["content-type"] == "application/json"
    body = reply.json()
    assert body["redirect_uris"] == [REDIRECT_URI] and body["client_name"] == "Test client"
    assert body["grant_types"] == ["authorization_code"] and body["response_types"] == ["code"]
    assert body["token_endpoint_auth_method"] == "none"
    assert "client_secret" not in body and "client_secret_expires_at" not in body
    assert began - 2 <= body["client_id_issued_at"] <= time.time() + 2
    assert not body["client_id"].startswith("https://")
    events = evidence.of(reply, deployment.organizations.get(issuer), type="client.registered")
    assert [event["outcome"] for event in events] == ["success"]
    assert events[0]["client"] == body["client_id"]


@pytest.mark.parametrize("method,reported", [
    ("client_secret_basic", "client_secret_basic"), ("client_secret_post", "client_secret_post"),
    (None, "client_secret_basic"),
])
def test_confidential(deployment, method, reported):
    """RG-02: a secret of 256 bits that never expires; the default method is client_secret_basic (RFC 7591 §2)."""
    first = register(deployment.platform, token_endpoint_auth_method=method).json()
    second = register(deployment.platform, token_endpoint_auth_method=method).json()
    assert first["token_endpoint_auth_method"] == reported
    assert len(first["client_secret"]) >= 43 and first["client_secret"] != second["client_secret"]
    assert first["client_secret_expires_at"] == 0


BAD_REDIRECTS = [
    # RG-04, R-10, R-11, BC-11
    "https://client.example/cb#fragment", "https://client.example/cb#", "https://user@client.example/cb",
    "https://user:pw@client.example/cb", "https://*.example/cb", "https://client.example/*", "javascript:alert(1)",
    "data:text/html,x", "file:///etc/passwd", "blob:https://client.example/x", "vbscript:x",
    "intent://x#Intent;scheme=https;end", "http://client.example/cb", "http://10.0.0.1/cb", "http://0.0.0.0/cb",
    "http://127.0.0.1.evil.example/cb", "http://127.1/cb", "http://2130706433/cb", "http://localhost.evil.example/",
    "/callback", "callback", "", " ", "https:client.example", "https://", "https:///cb", "//client.example/cb",
    "https://client.example\\@evil.example/", "https://client.example/../cb", "https://client.example/%2e%2e/cb",
    "https://client.example./cb", "https://client.example:0/", "https://client.example:99999/",
    "https://client.example/a b", "https://client.example/\u00e9", "https://\u0430pp.example/cb",
    "https://client.example/\r\nx", "myapp:/cb", "myapp://cb", "app:cb", "cursor://evil/cb", "vscode://evil/cb",
    "ftp://client.example/", "ws://client.example/", "HTTPS://client.example/cb", "about:blank", "mailto:a@b.example",
    "https://client.example/" + "a" * 3000,
]


def test_bad_redirects(deployment, evidence):
    """RG-03, RG-04, R-10, R-11, BC-11: invalid_redirect_uri, alone or beside a good one; nothing stored, recorded."""
    wrong, replies = [], []
    with evidence.nothing_stored():
        for uri in BAD_REDIRECTS:
            for uris in ([uri], [REDIRECT_URI, uri]):
                reply = register(deployment.platform, source(), redirect_uris=uris)
                replies.append(reply)
                if reply.status_code != 400 or reply.json()["error"] != "invalid_redirect_uri":
                    wrong.append((uri, reply.status_code, reply.text[:100]))
        assert not wrong
    events = evidence.of(replies, type="client.registered", outcome="denied")
    assert len(events) == len(replies)


@pytest.mark.parametrize("uris", [None, [], [1], ["https://a.example/", None], "https://a.example/", {"0": "x"}, [[]]])
def test_missing_redirects(deployment, evidence, uris):
    """RG-03, RG-04: the code grant needs some; other shapes are an error, never a 500."""
    with evidence.nothing_stored():
        reply = register(deployment.platform, source(), redirect_uris=uris)
    assert reply.status_code == 400 and reply.json()["error"] in ("invalid_redirect_uri", "invalid_client_metadata")


def test_too_many_redirects(deployment, evidence):
    """RG-09, P-21: thousands of redirects."""
    with evidence.nothing_stored():
        uris = [f"https://client.example/{number}" for number in range(2000)]
        refused(register(deployment.platform, source(), redirect_uris=uris), "invalid_redirect_uri")


BAD_METADATA = [
    # RG-05
    {"grant_types": ["implicit"]}, {"grant_types": ["password"]}, {"grant_types": ["authorization_code", "password"]},
    {"grant_types": ["client_credentials"]}, {"grant_types": ["nope"]}, {"grant_types": ["refresh_token"]},
    {"grant_types": []}, {"response_types": ["token"]}, {"response_types": ["code", "token"]}, {"response_types": []},
    {"response_types": ["code id_token"]},
    {"grant_types": ["urn:ietf:params:oauth:grant-type:jwt-bearer"]},
    # RG-02, MD-09
    {"token_endpoint_auth_method": "private_key_jwt"}, {"token_endpoint_auth_method": "tls_client_auth"},
    {"token_endpoint_auth_method": "client_secret_jwt"}, {"token_endpoint_auth_method": ""},
    # RG-07, RG-10, R-21
    {"client_uri": "javascript:alert(1)"}, {"logo_uri": "data:image/svg+xml,x"}, {"tos_uri": "http://client.example/"},
    {"policy_uri": "ftp://client.example/"}, {"client_uri": "client.example"}, {"logo_uri": "https://user@a.example/"},
    {"jwks": {"keys": []}, "jwks_uri": "https://client.example/jwks"},
    # RG-03
    {"software_statement": "a.b.c"},
    # RG-08
    {"application_type": "desktop"},
    # shapes
    {"client_name": 1}, {"client_name": ["x"]}, {"grant_types": "authorization_code"}, {"scope": ["read"]},
    {"redirect_uris": "x"}, {"application_type": {}},
    # RG-14, R-22
    {"client_name": "Chat\u202eTPG"}, {"client_name": "Chat\u200bGPT"}, {"client_name": "ChatGPT\n"},
    {"client_name": "a" * 201}, {"client_name": "x" * 10_240}, {"client_name": "\ufeffChatGPT"},
    {"client_name": "\u2066x\u2069"}, {"client_name": "tab\there"}, {"client_name": "\ue000"},
    {"client_name": "bell\x07"},
    # RG-14: letters that only look like others
    {"client_name": "Ch\u0430tGPT"}, {"client_name": "\uff23hatGPT"}, {"client_name": "ChatGPT\u0301"},
    {"client_name": "\u2139nspector"}, {"client_name": "\U0001d402hatGPT"}, {"client_name": "Ch\u0251tGPT"},
    {"client_name": "\u24b8hatGPT"},
]


def test_bad_metadata(deployment, evidence):
    """RG-03, RG-05, RG-07, RG-08, RG-14, R-22: invalid_client_metadata for each, nothing stored, each recorded."""
    wrong, replies = [], []
    with evidence.nothing_stored():
        for changes in BAD_METADATA:
            reply = register(deployment.platform, source(), **changes)
            allowed = {"invalid_client_metadata"}
            if "software_statement" in changes:
                allowed |= {"invalid_software_statement", "unapproved_software_statement"}
            if "redirect_uris" in changes:
                allowed |= {"invalid_redirect_uri"}
            if reply.status_code != 400 or reply.json()["error"] not in allowed:
                wrong.append((changes, reply.status_code, reply.text[:200]))
            else:
                replies.append(reply)
        assert not wrong
    # One whose members have the wrong shape is not read at all, like a body that is no JSON.
    judged = [reply for reply in replies if "wrong type" not in reply.text]
    assert len(judged) > 20
    assert len(evidence.of(judged, type="client.registered", outcome="denied")) == len(judged)


def test_application_type(deployment, evidence):
    """RG-08, MCP-AS-29: web wants https on a foreign host; native may have loopback, a known scheme, or claimed
    https."""
    loopback = ["http://127.0.0.1/callback"]
    with evidence.nothing_stored():
        for uris in (loopback, ["http://localhost:8080/cb"], ["cursor://anysphere.cursor-mcp/oauth/callback"]):
            refused(
                register(deployment.platform, source(), application_type="web", redirect_uris=uris),
                "invalid_redirect_uri")
    for type, uris in (("native", loopback), ("native", [REDIRECT_URI]), ("web", [REDIRECT_URI])):
        reply = register(deployment.platform, application_type=type, redirect_uris=uris)
        assert reply.status_code == 201 and reply.json()["application_type"] == type


def test_nothing_privileged_can_be_set(deployment, evidence):
    """RG-06, K-26, T-25: unknown and privileged members are ignored; the id is ours."""
    foreign = deployment.platform.register()
    wanted = {
        "client_id": foreign, "client_secret": "chosen", "id": foreign,
        "organization_id": deployment.organizations["acme"],
        "tenant_id": "x", "kind": "registered", "trusted": True, "skip_consent": True, "is_verified": True,
        "owner": "me",
        "created_at": "2000-01-01T00:00:00Z", "expires_at": None, "client_id_issued_at": 1, "status": "active",
        "client_secret_expires_at": 1, "registration_access_token": "x", "scope_ceiling": ["admin"],
        "nonsense": {"a": []},
    }
    reply = register(deployment.platform, **wanted)
    assert reply.status_code == 201
    body = reply.json()
    assert body["client_id"] != foreign and "client_secret" not in body
    assert body["client_id_issued_at"] > 1
    assert not set(body) & {"trusted", "skip_consent", "owner", "nonsense", "tenant_id", "organization_id"}
    row = evidence.sql(f"SELECT kind, secret_digest IS NULL, expires_at > now() + interval '23 hours' FROM client "
                       f"WHERE name = 'Test client' ORDER BY created_at DESC LIMIT 1")
    assert row == "dynamic|t|t", "a dynamic, public, unused client that lives for a day"


def test_kept_while_in_use(deployment, evidence):
    """RG-09, design 3.5: an unused registration ends after a day, one that somebody connected with never does."""
    code = deployment.platform.code(deployment.person("alice"))
    assert deployment.platform.redeem(code).status_code == 200
    unused = deployment.platform.register(client_name="Never used")
    assert unused != code.client_id
    reply = deployment.stack.url
    with httpx.Client(headers={"authorization": f"Bearer {deployment.stack.admin_key}"}, trust_env=False) as http:
        used = http.get(f"{reply}/v1/clients/{code.client_id}").json()
        idle = http.get(f"{reply}/v1/clients/{unused}").json()
    assert used.get("expires_at") is None and idle["expires_at"] is not None


def test_client_name_is_kept_as_it_is(deployment):
    """RG-14, R-21: markup and foreign scripts are text, and nothing more."""
    for name in ("<script>alert(1)</script>", "\u65e5\u672c\u8a9e", "{{7*7}}", "A & B \"quoted\"",
        "'; DROP TABLE client;--"):
        assert register(deployment.platform, client_name=name).json()["client_name"] == name


@pytest.mark.parametrize("headers,content", [
    (JSON, b""), (JSON, b"{"), (JSON, b"[]"), (JSON, b"null"), (JSON, b'"x"'), (JSON, b"{}{}"),
    (JSON, b"\xef\xbb\xbf{}"),
    (JSON, b'{"redirect_uris":["https://a.example/"],"redirect_uris":["https://b.example/"]}'),
    (JSON, b'{"redirect_uris":["https://a.example/\\u0000"]}'),
    (JSON, b'{"redirect_uris":["https://a.example/"],"client_name":"a\\u0000"}'),
    (JSON, b'{"redirect_uris":["https://a.example/"],"client_name":"\\ud800"}'),
    (JSON, b'{"redirect_uris":["https://a.example/"],"client_name":"\xff"}'),
    (JSON, b'{"redirect_uris":["https://a.example/"],"a\\u0000":1}'),
    (JSON, b'{"a":NaN}'), (JSON, b'{"redirect_uris":["https://a.example/"],"a":1e400}'),
    (JSON, b"[" * 100_000), (JSON, b'{"a":' * 5000 + b"1" + b"}" * 5000),
    ({"content-type": "application/x-www-form-urlencoded"}, b"redirect_uris=https://a.example/"),
    ({"content-type": "text/plain"}, b'{"redirect_uris":["https://a.example/"]}'), ({}, b"{}"),
    ({"content-type": "application/json; charset=utf-16"}, '{"redirect_uris":[]}'.encode("utf-16")),
    ({"content-type": "application/json", "content-encoding": "gzip"}, b"\x1f\x8b"),
])
def test_broken_bodies(deployment, evidence, headers, content):
    """RG-03, P-06, P-07, P-08: 400 with an `error` member, nothing stored."""
    url = f"{deployment.platform.url}/oauth/register"
    with evidence.nothing_stored():
        started = time.monotonic()
        reply = httpx.post(url, headers=headers | source(), content=content, trust_env=False)
        assert time.monotonic() - started < 1
    assert reply.status_code in (400, 415), f"{reply.status_code} {reply.text}"
    assert reply.json()["error"] in ("invalid_client_metadata", "invalid_redirect_uri")
    assert reply.headers["cache-control"] == "no-store"


def test_sizes(deployment, evidence):
    """P-01: a mebibyte is read, one byte more is 413, by the announced length alone too."""
    url = f"{deployment.platform.url}/oauth/register"
    plain = json.dumps(BODY | {"padding": ""}).encode()
    largest = json.dumps(BODY | {"padding": "a" * (1024 * 1024 - len(plain))}).encode()
    assert len(largest) == 1024 * 1024
    assert httpx.post(url, headers=JSON, content=largest, trust_env=False).status_code == 201
    with evidence.nothing_stored():
        try:
            reply = httpx.post(url, headers=JSON, content=largest[:-1] + b" }", trust_env=False)
            assert reply.status_code == 413 and reply.json()["error"]
        except httpx.TransportError:
            pass   # the connection may be closed before all of it is sent
        status, _, _ = raw(deployment.stack.url, "POST", "/oauth/register", JSON | {"content-length": "9" * 10}, b"{")
        assert status == 413


def test_methods_and_cors(deployment, http):
    """MCP-AS-36, TK-26: POST for browsers of any origin, without credentials; nothing else."""
    url = f"{deployment.platform.url}/oauth/register"
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        reply = http.request(method, url)
        assert reply.status_code == 405 and "POST" in reply.headers["allow"]
    reply = http.post(url, json=BODY, headers={"origin": "http://localhost:6274"})
    assert reply.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in reply.headers


def test_registration_at_an_unknown_organization(deployment, evidence, http):
    """MD-07: 404, nothing stored."""
    with evidence.nothing_stored():
        reply = http.post(f"{deployment.stack.url}/o/nobody/oauth/register", json=BODY)
    assert reply.status_code == 404
