"""Access tokens as resource servers see them: header, claims, keys, and what tells them apart (facts A5, A9)."""

from __future__ import annotations

import json
import re
import time

import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from forge import Genuine, decoded
from walk import Walk, told_code

EPOCH_BOUND = 1.0


@pytest.fixture(scope="module")
def browser(deployment):
    with Walk(deployment, deployment.person("alice")) as made:
        yield made


def connect(issuer, browser, client: str, **changes) -> dict:
    reply = issuer.redeem(told_code(issuer, browser, client, **changes), resource=changes.get("resource", issuer.resource))
    assert reply.status_code == 200, reply.text
    return reply.json()


def verified(jwk: dict, token: Genuine) -> None:
    """Checks the signature with the key as the JWKS shows it (RFC 7518 §3)."""
    message, signature = f"{token.head}.{token.body}".encode(), decoded(token.signature)
    if jwk["alg"] == "ES256":
        x, y = (int.from_bytes(decoded(jwk[name]), "big") for name in ("x", "y"))
        assert len(signature) == 64
        half = encode_dss_signature(*(int.from_bytes(part, "big") for part in (signature[:32], signature[32:])))
        ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key().verify(
            half, message, ec.ECDSA(hashes.SHA256()))
    elif jwk["alg"] == "RS256":
        n, e = (int.from_bytes(decoded(jwk[name]), "big") for name in ("n", "e"))
        assert n.bit_length() >= 2048
        rsa.RSAPublicNumbers(e, n).public_key().verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
    else:
        ed25519.Ed25519PublicKey.from_public_bytes(decoded(jwk["x"])).verify(signature, message)


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "EdDSA"])
def test_header_and_claims(deployment, admin, browser, algorithm):
    """AT-01, AT-02, AT-03, AT-04, AT-05, AT-08, RI-04, MD-12, MCP-AS-17, MCP-AS-18: for each algorithm that resources
    may choose, a token that the issuer's JWKS verifies, with all claims of RFC 9068 §2.2."""
    acme, issuer = deployment.organizations["acme"], deployment.acme
    uri = f"https://{algorithm.lower()}.example/mcp"
    resource = admin.post(f"/v1/organizations/{acme}/resources", {
        "uri": uri, "name": algorithm, "scopes": ["read"], "algorithm": algorithm,
        "access_token_lifetime_seconds": 120})
    try:
        time.sleep(EPOCH_BOUND)
        client = issuer.register()
        before = time.time()
        body = connect(issuer, browser, client, resource=uri, scope="read openid")
        token = Genuine(body["access_token"], {})
        jwks = httpx.get(f"{issuer.url}/oauth/jwks", trust_env=False).json()["keys"]
    finally:
        admin.send("DELETE", f"/v1/organizations/{acme}/resources/{resource['id']}", headers={"if-match": "*"})
        time.sleep(EPOCH_BOUND)
    assert token.header == {"alg": algorithm, "kid": token.header["kid"], "typ": "at+jwt"}
    (key,) = [one for one in jwks if one["kid"] == token.header["kid"]]
    assert key["alg"] == algorithm
    verified(key, token)
    payload = token.payload
    assert payload["iss"] == issuer.url and payload["aud"] == uri and payload["client_id"] == client
    assert payload["sub"].startswith("usr_") and payload["org_id"] == acme and payload["org_slug"] == "acme"
    assert payload["scope"] == body["scope"] == "read openid" and payload["scopes"] == ["read", "openid"]
    assert body["expires_in"] == payload["exp"] - payload["iat"] == 120
    assert before - 2 <= payload["iat"] <= time.time() + 1 and payload["nbf"] <= time.time() + 1
    assert 0 < payload["auth_time"] <= time.time() + 1


def test_tokens_tell_no_more_than_they_must(deployment, browser):
    """AT-06, BC-08, AT-04: each jti once, no address and no name, well under 4 KB; a person is never called as a client
    is."""
    issuer = deployment.platform
    client = issuer.register()
    body = connect(issuer, browser, client)
    seen = [body]
    for _ in range(60):
        seen.append(issuer.refresh(seen[-1]["refresh_token"], client).json())
    tokens = [Genuine(one["access_token"], {}) for one in seen]
    assert len({token.payload["jti"] for token in tokens}) == len(tokens)
    for token in tokens:
        text = json.dumps(token.payload).lower()
        assert len(token.token) < 2048 and "@" not in text and "alice" not in text
        assert re.fullmatch(r"usr_[0-9a-z]{26}", token.payload["sub"]) and token.payload["sub"] != client
        assert not client.startswith("usr_")


def test_each_issuer_names_itself(deployment, browser):
    """BC-07, R-25, MD-12, AZ-18: tokens and responses of two issuers differ in `iss`, byte for byte that of the
    metadata, and in their keys."""
    seen = {}
    for issuer in (deployment.platform, deployment.acme):
        document = httpx.get(f"{issuer.url}/.well-known/openid-configuration", trust_env=False).json()
        query, _ = issuer.query(issuer.register())
        page = browser.until(issuer.url_for(query["client_id"]), "decision")
        sent = httpx.URL(browser.send(page).headers["location"])
        token = Genuine(connect(issuer, browser, query["client_id"])["access_token"], {})
        assert sent.params["iss"] == token.payload["iss"] == document["issuer"] == issuer.url
        seen[issuer.url] = token.header["kid"]
    assert len(set(seen)) == 2 and len(set(seen.values())) == 2


def test_errors_keep_to_their_kind(deployment, http):
    """PD-02, PD-01: OAuth endpoints answer OAuth's JSON, the admin API problems, pages HTML; never one in place of
    another."""
    base = deployment.stack.url
    for issuer in (deployment.platform, deployment.acme):
        for reply in (
            http.post(f"{issuer.url}/oauth/token", data={"grant_type": "x"}),
            http.post(f"{issuer.url}/oauth/token", json={}),
            http.get(f"{issuer.url}/oauth/token"),
            http.post(f"{issuer.url}/oauth/register", content=b"{", headers={"content-type": "application/json"}),
        ):
            assert reply.headers["content-type"] == "application/json", reply.request.url
            body = reply.json()
            assert isinstance(body["error"], str) and not set(body) & {"type", "title", "status", "detail"}
        reply = http.get(f"{issuer.url}/oauth/authorize", params={"client_id": "nobody"})
        assert reply.headers["content-type"].startswith("text/html")
    for reply in (http.get(f"{base}/v1/organizations"), http.get(f"{base}/v1/nothing"),
                  http.post(f"{base}/v1/organizations", content=b"{")):
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.json()["status"] == reply.status_code and "error" not in reply.json()
