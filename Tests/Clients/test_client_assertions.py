"""private_key_jwt: what proves a client, and what does not."""

from __future__ import annotations

import base64
import json
import time

import httpx
import pytest
from assertions import TYPE, KeyPair, b64, signed_with_secret, unsigned
from document_host import Trap
from evidence import source
from oauth import REDIRECT_URI

# Client authentication comes first, so a refresh token that nobody has tells a proven client (invalid_grant) from one that
# is not (invalid_client).
NOBODY = {"grant_type": "refresh_token", "refresh_token": "gr_nobody", "client_id": None}


def outcome(issuer, form: dict, **rest) -> str:
    reply = issuer.token(NOBODY | form, **rest)
    assert reply.headers["cache-control"] == "no-store"
    error = reply.json()["error"]
    assert (reply.status_code, error) in ((400, "invalid_grant"), (401, "invalid_client")), reply.text
    return error


def registered(issuer, key: KeyPair, **metadata) -> str:
    wanted = {"token_endpoint_auth_method": "private_key_jwt", "jwks": key.jwks}
    return issuer.register(**{name: value for name, value in (wanted | metadata).items() if value is not None})


@pytest.fixture(scope="module")
def key():
    return KeyPair()


@pytest.fixture(scope="module")
def client(deployment, key):
    return registered(deployment.platform, key)


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "EdDSA"])
def test_whole_flow(deployment, algorithm):
    """BC-09, JA-01, CM-12: a client with a key connects and refreshes; the same code without proof gives nothing."""
    issuer = deployment.platform
    key = KeyPair(algorithm)
    client = registered(issuer, key)
    code = issuer.code(deployment.person("alice"), client)
    refused = issuer.redeem(code)
    assert refused.status_code == 401 and refused.json()["error"] == "invalid_client"
    tokens = issuer.redeem(code, **key.form(client, issuer.url))
    assert tokens.status_code == 200, tokens.text
    refresh = tokens.json()["refresh_token"]
    assert issuer.refresh(refresh, client).status_code == 401
    # Without client_id: the assertion says whose it is (RFC 7521 §4.2).
    again = issuer.refresh(refresh, client, client_id=None, **key.form(client, issuer.url))
    assert again.status_code == 200, again.text


def test_registration_of_keys(deployment, evidence):
    """RG-07, JA-02: public keys by value or by URL, never both, never private ones; what is registered is told."""
    issuer = deployment.platform
    key = KeyPair("RS256", kid="a")

    def register(**metadata):
        body = {"client_name": "Keys", "redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": "private_key_jwt"}
        return httpx.post(f"{issuer.url}/oauth/register", json=body | metadata, headers=source(), trust_env=False)

    reply = register(jwks=key.jwks, token_endpoint_auth_signing_alg="RS256")
    body = reply.json()
    assert reply.status_code == 201 and body["jwks"] == key.jwks and "client_secret" not in body
    assert body["token_endpoint_auth_method"] == "private_key_jwt"
    assert body["token_endpoint_auth_signing_alg"] == "RS256"
    url = deployment.documents.url("/never-read.json")
    assert register(jwks_uri=url).json()["jwks_uri"] == url
    assert not deployment.documents.hits("/never-read.json")
    private = {"keys": [KeyPair().private_jwk]}
    weak = {"keys": [KeyPair("RS256", bits=1024).jwk]}
    wrong = []
    with evidence.nothing_stored():
        for metadata in (
            {}, {"jwks": key.jwks, "jwks_uri": url}, {"jwks": private}, {"jwks": weak}, {"jwks": {"keys": []}},
            {"jwks": {"keys": "x"}}, {"jwks": {"keys": ["x"]}}, {"jwks": {}}, {"jwks": []},
            {"jwks": {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}}, {"jwks": {"keys": [key.jwk | {"kty": "oct"}]}},
            {"jwks": {"keys": [key.jwk | {"use": "enc"}]}}, {"jwks": {"keys": [key.jwk] * 33}},
            {"jwks": key.jwks, "token_endpoint_auth_signing_alg": "none"},
            {"jwks": key.jwks, "token_endpoint_auth_signing_alg": "HS256"},
            {"jwks_uri": "http://client.example/jwks"}, {"jwks_uri": "file:///etc/passwd"}, {"jwks_uri": "x"},
            {"jwks_uri": "https://user@client.example/jwks"}, {"jwks_uri": "https://client.example/jwks#x"},
        ):
            reply = register(**metadata)
            if reply.status_code != 400 or reply.json()["error"] != "invalid_client_metadata":
                wrong.append((metadata, reply.text))
    assert not wrong


def test_negotiated_methods(deployment):
    """TK-09, MCP-AS-09: of a list each method works that was agreed on; once there is proof, silence is none."""
    issuer = deployment.platform
    key = KeyPair()

    def register(**metadata):
        body = {"client_name": "List", "redirect_uris": [REDIRECT_URI], "jwks": key.jwks,
                "grant_types": ["authorization_code", "refresh_token"]}
        return httpx.post(f"{issuer.url}/oauth/register", json=body | metadata, trust_env=False).json()

    both = register(
        token_endpoint_auth_method="none", token_endpoint_auth_methods_supported=["none", "private_key_jwt"])
    assert both["token_endpoint_auth_methods_supported"] == ["none", "private_key_jwt"]
    assert "client_secret" not in both
    assert outcome(issuer, {"client_id": both["client_id"]}) == "invalid_grant"
    assert outcome(issuer, key.form(both["client_id"], issuer.url)) == "invalid_grant"
    proven = register(token_endpoint_auth_methods_supported=["private_key_jwt", "client_secret_post", "none"])
    assert proven["token_endpoint_auth_method"] == "private_key_jwt"
    assert proven["token_endpoint_auth_methods_supported"] == ["private_key_jwt", "client_secret_post"]
    assert outcome(issuer, {"client_id": proven["client_id"]}) == "invalid_client"
    secret = {"client_id": proven["client_id"], "client_secret": proven["client_secret"]}
    assert outcome(issuer, secret) == "invalid_grant"
    assert outcome(issuer, key.form(proven["client_id"], issuer.url)) == "invalid_grant"


def test_only_the_registered_method(deployment, client, key):
    """TK-09, K-23, CM-12: a client with a key has no other way in; one without a key cannot sign its way in."""
    issuer = deployment.platform
    assert outcome(issuer, {"client_id": client}) == "invalid_client"
    assert outcome(issuer, {"client_id": client, "client_secret": "x"}) == "invalid_client"
    basic = {"authorization": "Basic " + base64.b64encode(f"{client}:x".encode()).decode()}
    assert outcome(issuer, {}, headers=basic) == "invalid_client"
    public = issuer.register()
    assert outcome(issuer, key.form(public, issuer.url)) == "invalid_client"


def test_two_methods(deployment, client, key):
    """TK-08: an assertion beside a secret or beside Basic is invalid_request; half an assertion too."""
    issuer = deployment.platform
    form = key.form(client, issuer.url)
    basic = {"authorization": "Basic " + base64.b64encode(f"{client}:x".encode()).decode()}
    for changes, headers in (
        (form | {"client_secret": "x"}, {}), (form, basic), ({"client_assertion": form["client_assertion"]}, {}),
        ({"client_assertion_type": TYPE}, {}),
    ):
        reply = issuer.token(NOBODY | changes, headers=headers)
        assert reply.status_code == 400 and reply.json()["error"] == "invalid_request", reply.text


def test_audience(deployment, client, key):
    """JA-01, K-15: the issuer identifier, or an endpoint of that issuer alone; every entry of a list has to be one."""
    issuer = deployment.platform
    for audience in (issuer.url, [issuer.url], f"{issuer.url}/oauth/token", [issuer.url, f"{issuer.url}/oauth/token"]):
        assert outcome(issuer, key.form(client, audience)) == "invalid_grant", audience
    for audience in (
        deployment.acme.url, f"{deployment.acme.url}/oauth/token", f"{issuer.url}/", issuer.url.upper(), "https://as.example",
        [issuer.url, "https://as.example"], [issuer.url, deployment.acme.url], [], [[issuer.url]], [1], 1, None, "", {},
        f"{issuer.url}/oauth/authorize", issuer.url + "\x00",
    ):
        assert outcome(issuer, key.form(client, audience)) == "invalid_client", audience


def test_claims(deployment, client, key, evidence):
    """JA-01, JA-03, K-12, K-15: each claim that is missing, foreign or out of bounds: invalid_client, and recorded."""
    issuer = deployment.platform
    other = registered(issuer, KeyPair())
    now = int(time.time())
    cases = [
        {"iss": other}, {"iss": None}, {"iss": issuer.url}, {"sub": None}, {"sub": ""}, {"sub": 1}, {"sub": [client]},
        {"exp": None}, {"exp": now - 1}, {"exp": now + 600}, {"exp": now + 10 * 365 * 86_400}, {"exp": str(now + 60)},
        {"exp": now + 60.5}, {"exp": -1}, {"exp": True}, {"exp": {}}, {"exp": 2**63},
        {"nbf": now + 120}, {"nbf": "x"}, {"iat": now + 120}, {"iat": [now]},
        {"jti": None}, {"jti": ""}, {"jti": 1}, {"jti": "a" * 256},
    ]
    wrong, replies = [], []
    with evidence.nothing_stored():
        for changes in cases:
            reply = issuer.token(NOBODY | key.form(client, issuer.url, **changes), headers=source())
            replies.append(reply)
            if reply.status_code != 401 or reply.json()["error"] != "invalid_client":
                wrong.append((changes, reply.text))
    assert not wrong
    assert all(reply.content == replies[0].content for reply in replies)
    events = evidence.of(
        [reply for reply, changes in zip(replies, cases) if "sub" not in changes], type="client.auth_failed")
    assert {event["reason"] for event in events} >= {
        "assertion_issuer", "assertion_expired", "assertion_lives_too_long", "assertion_id_missing", "assertion_not_yet"}
    # Both lie inside what is allowed.
    assert outcome(issuer, key.form(client, issuer.url, exp=now + 290, nbf=now, iat=None)) == "invalid_grant"


def test_another_client_named(deployment, client, key):
    """JA-01: client_id beside an assertion has to be its subject; nobody else's key proves a client."""
    issuer = deployment.platform
    mine = KeyPair()
    other = registered(issuer, mine)
    assert outcome(issuer, key.form(client, issuer.url) | {"client_id": client}) == "invalid_grant"
    assert outcome(issuer, key.form(client, issuer.url) | {"client_id": other}) == "invalid_client"
    assert outcome(issuer, mine.form(client, issuer.url)) == "invalid_client"
    assert outcome(issuer, key.form(client, issuer.url, {"kid": "nobody"})) == "invalid_client"
    assert outcome(issuer, key.form(client, issuer.url, {"kid": None})) == "invalid_grant"
    assert outcome(issuer, key.form("cli_00000000000000000000000000", issuer.url)) == "invalid_client"
    # The same client_id means nothing at another issuer.
    assert outcome(deployment.acme, key.form(client, deployment.acme.url)) == "invalid_client"


def test_once(deployment, client, key, evidence):
    """JA-01, K-15: an assertion works once, on whichever node it comes again, also if the request failed."""
    issuer = deployment.platform
    first, second = deployment.node_urls
    form = key.form(client, issuer.url)
    assert outcome(issuer, form, node=first) == "invalid_grant"
    again = source()
    assert outcome(issuer, form, node=second, headers=again) == "invalid_client"
    assert outcome(issuer, form, node=first) == "invalid_client"
    # A jti is unique to its maker only.
    mine = KeyPair()
    other = registered(issuer, mine)
    jti = json.loads(base64.urlsafe_b64decode(form["client_assertion"].split(".")[1] + "=="))["jti"]
    assert outcome(issuer, mine.form(other, issuer.url, jti=jti)) == "invalid_grant"
    # One that was never right was never used.
    kept = key.assertion(client, issuer.url)
    head, body, signature = kept.split(".")
    broken = {"client_assertion_type": TYPE, "client_assertion": f"{head}.{body}.{b64(b'x' * 64)}"}
    assert outcome(issuer, broken) == "invalid_client"
    assert outcome(issuer, broken | {"client_assertion": kept}) == "invalid_grant"
    rows = evidence.sql("SELECT count(*) FROM claimed_assertion WHERE expires_at > now() + interval '6 minutes'")
    assert rows == "0"


def test_once_in_parallel(deployment, client, key):
    """JA-01, K-15: of many at once over both nodes, one."""
    from concurrent.futures import ThreadPoolExecutor

    issuer = deployment.platform
    form = key.form(client, issuer.url)
    nodes = deployment.node_urls * 6
    with ThreadPoolExecutor(len(nodes)) as pool:
        outcomes = list(pool.map(lambda node: outcome(issuer, form, node=node), nodes))
    assert outcomes.count("invalid_grant") == 1 and outcomes.count("invalid_client") == len(nodes) - 1


def test_forged(deployment, key, client):
    """K-07, K-08, K-09, K-10, K-12, K-13: other algorithms, tricks in the header and foreign types; nothing is fetched."""
    issuer = deployment.platform
    trap = Trap()
    now = int(time.time())

    def claims():
        return {"iss": client, "sub": client, "aud": issuer.url, "jti": f"forged-{time.monotonic_ns()}", "exp": now + 60}

    stranger = KeyPair()
    url = f"http://127.0.0.1:{trap.port}/jwks"
    text = json.dumps(claims())
    forged = [
        unsigned(claims()), unsigned(claims(), "None"), unsigned(claims(), "nOnE"),
        signed_with_secret(json.dumps(key.jwk).encode(), claims()), signed_with_secret(b"secret", claims(), "HS512"),
        stranger.sign(claims(), jwk=stranger.jwk), stranger.sign(claims(), jku=url), stranger.sign(claims(), x5u=url),
        stranger.sign(claims(), x5c=["MIIB"]), stranger.sign(claims(), kid="../../../dev/null"),
        stranger.sign(claims(), kid="' OR 1=1--"), stranger.sign(claims(), kid=url), key.sign(claims(), kid="x" * 4000),
        key.sign(claims(), kid=1), key.sign(claims(), crit=["exp"]), key.sign(claims(), alg="RS256"),
        key.sign(claims(), alg="ES384"), key.sign(claims(), alg=None), key.sign(claims(), alg=["ES256"]),
        key.sign(claims(), typ="at+jwt"), key.sign(claims(), typ="dpop+jwt"), key.sign(claims(), typ="logout+jwt"),
        key.sign_text('{"alg":"ES256","alg":"ES256"}', text), key.sign_text('{"alg":"ES256"}', text + "{}"),
        key.sign_text('{"alg":"ES256"}', '{"sub":"x",' + text[1:]), key.sign_text('{"alg":"ES256"}', "[]"),
        key.sign_text('{"alg":"ES256"}', '{"a":' * 40 + "1" + "}" * 40), key.sign(claims()) + "=",
        key.sign(claims()) + ".x", key.sign(claims())[:-2], "a.b.c", "..", "", "x" * 9000,
        ".".join(key.sign(claims()).split(".")[:2]) + "." + b64(bytes(64)),
    ]
    for number, assertion in enumerate(forged):
        reply = issuer.token(NOBODY | {"client_assertion_type": TYPE, "client_assertion": assertion})
        assert (reply.status_code, reply.json()["error"]) in ((401, "invalid_client"), (400, "invalid_request")), number
        assert assertion == "" or reply.status_code == 401, number
    assert outcome(issuer, key.form(client, issuer.url) | {"client_assertion_type": "x"}) == "invalid_client"
    assert trap.connections == 0
    trap.close()
    # Types that mean this very thing, or nothing.
    for type in ("client-authentication+jwt", "application/client-authentication+jwt", "jwt", None):
        assertion = key.sign(claims(), typ=type)
        assert outcome(issuer, {"client_assertion_type": TYPE, "client_assertion": assertion}) == "invalid_grant"


def test_registered_algorithm(deployment):
    """JA-02: a client that named its algorithm signs with no other, though it has a key for it."""
    issuer = deployment.platform
    curve, rsa = KeyPair(kid="c"), KeyPair("RS256", kid="r")
    client = registered(
        issuer, rsa, jwks={"keys": [curve.jwk, rsa.jwk]}, token_endpoint_auth_signing_alg="RS256")
    assert outcome(issuer, rsa.form(client, issuer.url)) == "invalid_grant"
    assert outcome(issuer, curve.form(client, issuer.url)) == "invalid_client"


def test_published_keys(deployment):
    """JA-02, S-13: keys at a URL are read once; a flood of unknown kids makes no second read within the minute."""
    issuer, documents = deployment.platform, deployment.documents
    key, path = KeyPair(), "/jwks-flood.json"
    documents.publish(path, key.jwks, headers={"cache-control": "max-age=0"})
    client = registered(issuer, key, jwks=None, jwks_uri=documents.url(path))
    node = deployment.node_urls[0]
    assert not documents.hits(path), "registration reads nothing"
    assert outcome(issuer, key.form(client, issuer.url), node=node) == "invalid_grant"
    stranger = KeyPair(kid="unknown")
    for number in range(20):
        assert outcome(issuer, stranger.form(client, issuer.url, {"kid": f"k{number}"}), node=node) == "invalid_client"
    assert outcome(issuer, key.form(client, issuer.url), node=node) == "invalid_grant"
    assert len(documents.hits(path)) == 1


def test_published_keys_out_of_reach(deployment, evidence):
    """JA-03, CM-09: a key set that does not come says nothing about the client: 503, and it works once the set is there."""
    issuer, documents = deployment.platform, deployment.documents
    key, path = KeyPair(), "/jwks-late.json"
    documents.publish(path, b"busy", status=503)
    client = registered(issuer, key, jwks=None, jwks_uri=documents.url(path))
    node = deployment.node_urls[0]
    form = key.form(client, issuer.url)
    reply = issuer.token(NOBODY | form, node=node)
    assert reply.status_code == 503 and reply.json()["error"] == "temporarily_unavailable"
    assert int(reply.headers["retry-after"]) > 0
    documents.publish(path, key.jwks)
    assert outcome(issuer, form, node=node) == "invalid_grant"


@pytest.mark.parametrize("path,publication", [
    ("/jwks-redirect.json", {"status": 302, "headers": {"location": "/jwks-target.json"}}),
    ("/jwks-missing.json", {"status": 404}),
    ("/jwks-html.json", {"content_type": "text/html"}),
    ("/jwks-huge.json", {"padding": 60_000}),
    ("/jwks-private.json", {"private": True}),
    ("/jwks-broken.json", {"body": b'{"keys":'}),
])
def test_published_keys_refused(deployment, path, publication):
    """CM-07, JA-02: a key set counts only if it comes as one: 200, JSON, of a sane size, without private keys."""
    issuer, documents = deployment.platform, deployment.documents
    key = KeyPair()
    documents.publish("/jwks-target.json", key.jwks)
    body = publication.pop("body", key.jwks)
    if "padding" in publication:
        body = key.jwks | {"padding": "x" * publication.pop("padding")}
    if publication.pop("private", False):
        body = {"keys": [key.private_jwk]}
    documents.publish(path, body, **publication)
    client = registered(issuer, key, jwks=None, jwks_uri=documents.url(path))
    before = len(documents.hits("/jwks-target.json"))
    assert outcome(issuer, key.form(client, issuer.url)) == "invalid_client"
    assert documents.hits(path) and len(documents.hits("/jwks-target.json")) == before


def test_advertised(deployment, http):
    """MD-05, BC-09, MCP-AS-09: the metadata lists the method and its algorithms, and never `none` among these."""
    for issuer in (deployment.platform, deployment.acme):
        document = http.get(f"{issuer.url}/.well-known/openid-configuration").json()
        assert set(document["token_endpoint_auth_methods_supported"]) == {
            "none", "client_secret_basic", "client_secret_post", "private_key_jwt"}
        assert set(document["token_endpoint_auth_signing_alg_values_supported"]) == {"ES256", "RS256", "EdDSA"}
