"""Access tokens as resource servers see them: header, claims, keys, and what tells them apart (facts A5, A9)."""

from __future__ import annotations

import json
import re
import threading
import time

import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from forge import Genuine, decoded
from walk import told_code

EPOCH_BOUND = 1.0


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


def test_rotation_under_load(deployment, admin, evidence, browser):
    """MD-11, K-29, MD-10: while clients refresh, a key is announced, then used, then retired: every token verifies by a
    key set that was fetched when the new key was announced, and the old key stays for the tokens that it signed."""
    issuer, base = deployment.acme, f"/v1/organizations/{deployment.organizations['acme']}"
    client = issuer.register()
    tokens = [connect(issuer, browser, client)]
    stopping = threading.Event()

    def refresh() -> None:
        while not stopping.is_set():
            reply = issuer.refresh(tokens[-1]["refresh_token"], client, deployment.node_urls[len(tokens) % 2])
            if reply.status_code != 200:
                return tokens.append({"failed": reply.text})
            tokens.append(reply.json())
            time.sleep(0.01)

    def key_set() -> dict[str, dict]:
        keys = httpx.get(f"{issuer.url}/oauth/jwks", trust_env=False).json()["keys"]
        return {key["kid"]: key for key in keys}

    old = Genuine(tokens[0]["access_token"], {}).header["kid"]
    (row,) = [key for key in admin.list(f"{base}/signing-keys") if key["kid"] == old]
    thread = threading.Thread(target=refresh)
    thread.start()
    try:
        time.sleep(0.3)
        admin.post(f"{base}/signing-keys/{row['id']}:rotate")
        time.sleep(EPOCH_BOUND)
        cached = key_set()
        (new,) = [key for key in admin.list(f"{base}/signing-keys")
                  if key["status"] == "published" and key["purpose"] == "access"]
        assert {old, new["kid"]} <= set(cached), "both are public before the new one signs"
        early = admin.send("POST", f"{base}/signing-keys/{new['id']}:activate")
        assert early.status_code == 409, "not before every cache has it"
        evidence.sql(f"UPDATE signing_key SET created_at = created_at - interval '301 seconds' WHERE kid = '{new['kid']}'")
        admin.post(f"{base}/signing-keys/{new['id']}:activate")
        time.sleep(EPOCH_BOUND + 0.3)
    finally:
        stopping.set()
        thread.join(30)
    assert not [one for one in tokens if "failed" in one]
    signers = []
    for one in tokens:
        token = Genuine(one["access_token"], {})
        verified(cached[token.header["kid"]], token)
        signers.append(token.header["kid"])
    assert signers[0] == old and signers[-1] == new["kid"] and len(tokens) > 20
    assert old in key_set(), "tokens that it signed still live"
