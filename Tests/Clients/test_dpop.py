"""Proof of possession at the token endpoint (facts A12 DP, K-16; RFC 9449)."""

from __future__ import annotations

import time

import httpx
import pytest
from dpop import Prover, encoded
from evidence import source
from gatehouse_demo.admin import Admin
from gatehouse_demo.chatgpt import claims
from oauth import REDIRECT_URI, Code, told


@pytest.fixture(scope="module")
def client(deployment) -> str:
    return deployment.acme.register()


@pytest.fixture(scope="module")
def code(deployment, client, browser):
    """Makes codes of alice."""

    def make(client_id: str | None = None, **changes) -> Code:
        query, verifier = deployment.acme.query(client_id or client, **changes)
        page = browser.until(f"{deployment.acme.url}/oauth/authorize?{httpx.QueryParams(query)}", "decision")
        return Code(told(browser.send(page))["code"], verifier, client_id or client)

    return make


@pytest.fixture
def endpoint(deployment) -> str:
    return f"{deployment.acme.url}/oauth/token"


def redeem(deployment, prover: Prover, code: Code, node: str | None = None, **changes) -> httpx.Response:
    issuer = deployment.acme
    form = {
        "grant_type": "authorization_code", "code": code.code, "redirect_uri": REDIRECT_URI,
        "client_id": code.client_id, "code_verifier": code.verifier,
    }
    return prover.send(
        lambda headers: issuer.token(form, node, headers=headers | source()), f"{issuer.url}/oauth/token", **changes)


def refresh(deployment, prover: Prover | None, tokens: dict, client: str, node: str | None = None) -> httpx.Response:
    issuer = deployment.acme
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"], "client_id": client}
    if prover is None:
        return issuer.token(form, node)
    return prover.send(lambda headers: issuer.token(form, node, headers=headers), f"{issuer.url}/oauth/token")


def refused(reply: httpx.Response, error: str) -> None:
    assert reply.status_code == 400 and reply.json()["error"] == error, reply.text
    assert reply.headers["cache-control"] == "no-store"


# ---- Binding -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "EdDSA"])
def test_bound_tokens(deployment, code, client, algorithm):
    """DP-01, DP-03, TK-03: token_type DPoP, the key's thumbprint in cnf; a nonce is asked for, accepted at every node,
    and a new one comes with each success."""
    prover = Prover(algorithm)
    first = redeem(deployment, prover, code(), deployment.node_urls[0])
    assert first.status_code == 200, first.text
    tokens = first.json()
    assert tokens["token_type"] == "DPoP"
    assert claims(tokens["access_token"])["cnf"] == {"jkt": prover.thumbprint}
    assert first.headers["dpop-nonce"] and first.headers["cache-control"] == "no-store"
    again = refresh(deployment, prover, tokens, client, deployment.node_urls[1])
    assert again.status_code == 200 and again.json()["token_type"] == "DPoP"
    assert claims(again.json()["access_token"])["cnf"] == {"jkt": prover.thumbprint}


def test_without_proofs_nothing_changes(deployment, code):
    """DP-01: no header, no binding, no nonce."""
    reply = deployment.acme.redeem(code())
    assert reply.json()["token_type"] == "Bearer" and "cnf" not in claims(reply.json()["access_token"])
    assert "dpop-nonce" not in reply.headers


def test_refresh_tokens_of_public_clients_are_bound(deployment, code, client, evidence):
    """DP-04, K-05: another key and none at all are invalid_grant; the family lives, with a spent token too."""
    owner, thief = Prover(), Prover()
    spent = redeem(deployment, owner, code()).json()
    current = refresh(deployment, owner, spent, client).json()
    current = refresh(deployment, owner, current, client).json()
    for tokens in (current, spent):
        refused(refresh(deployment, thief, tokens, client), "invalid_grant")
        refused(refresh(deployment, None, tokens, client), "invalid_grant")
    assert refresh(deployment, owner, current, client).status_code == 200
    # The owner's own reuse of a spent token ends the family as ever.
    refused(refresh(deployment, owner, spent, client), "invalid_grant")
    assert evidence.sql("SELECT status FROM \"grant\" WHERE id = (SELECT id FROM \"grant\" WHERE dpop_jkt = "
                        f"'{owner.thumbprint}')") == "revoked"


def test_confidential_clients_prove_themselves(deployment, admin, code):
    """DP-04: a confidential client may change its key, since it authenticates with every refresh."""
    body = {"name": "With a secret", "redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": "client_secret_post"}
    made = admin.post(f"/v1/organizations/{deployment.organizations['acme']}/clients", body)
    one = code(made["client_id"])
    form = {"grant_type": "authorization_code", "code": one.code, "code_verifier": one.verifier,
            "client_id": one.client_id, "client_secret": made["client_secret"]}
    url = f"{deployment.acme.url}/oauth/token"
    tokens = Prover().send(lambda headers: deployment.acme.token(form, headers=headers), url).json()
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"],
            "client_id": one.client_id, "client_secret": made["client_secret"]}
    other = Prover()
    reply = other.send(lambda headers: deployment.acme.token(form, headers=headers), url)
    assert claims(reply.json()["access_token"])["cnf"] == {"jkt": other.thumbprint}


def test_code_bound_to_a_key(deployment, code):
    """DP-05: a code asked for with dpop_jkt is redeemed with that key only; others leave it usable."""
    owner, thief = Prover(), Prover()
    one = code(dpop_jkt=owner.thumbprint)
    refused(redeem(deployment, thief, one), "invalid_grant")
    refused(deployment.acme.redeem(one), "invalid_grant")
    assert redeem(deployment, owner, one).status_code == 200
    for broken in ("x", owner.thumbprint[:-1], owner.thumbprint + "A", "=" * 43):
        reply = deployment.acme.ask(one.client_id, headers=source(), dpop_jkt=broken)
        assert told(reply)["error"] == "invalid_request", broken


def test_clients_that_demand_proofs(deployment, code, admin):
    """DP-01: dpop_bound_access_tokens is registered, told again, and enforced; an administrator may set it too."""
    metadata = {"redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": "none", "dpop_bound_access_tokens": True}
    reply = httpx.post(f"{deployment.acme.url}/oauth/register", json=metadata, trust_env=False)
    assert reply.status_code == 201 and reply.json()["dpop_bound_access_tokens"] is True
    one = code(reply.json()["client_id"])
    refused(deployment.acme.redeem(one), "invalid_dpop_proof")
    assert redeem(deployment, Prover(), one).json()["token_type"] == "DPoP"
    wrong = httpx.post(
        f"{deployment.acme.url}/oauth/register", json=metadata | {"dpop_bound_access_tokens": "yes"}, trust_env=False)
    assert wrong.status_code == 400 and wrong.json()["error"] == "invalid_client_metadata"
    clients = f"/v1/organizations/{deployment.organizations['acme']}/clients"
    body = {"name": "Demanding", "redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": "none"}
    made = admin.post(clients, body)
    assert made["dpop_bound_access_tokens"] is False
    changed = admin.call(
        "PATCH", f"{clients}/{made['id']}", {"dpop_bound_access_tokens": True}, headers={"if-match": "*"})
    assert changed["dpop_bound_access_tokens"] is True


def test_services_prove_keys(deployment, admin):
    """DP-01: client credentials are bound as well."""
    acme = deployment.organizations["acme"]
    made = admin.post(f"/v1/organizations/{acme}/clients", {"name": "Nightly", "kind": "service"})
    policy = {"name": "nightly reads", "effect": "allow", "principals": {"services": [made["client_id"]]},
              "scopes": ["read"]}
    stored = admin.post(f"/v1/organizations/{acme}/scope-policies", policy)
    try:
        time.sleep(1)
        prover = Prover()
        form = {"grant_type": "client_credentials", "resource": deployment.stack.acme_url}
        url = f"{deployment.acme.url}/oauth/token"
        basic = httpx.BasicAuth(made["client_id"], made["client_secret"])
        with httpx.Client(auth=basic, trust_env=False) as http:
            reply = prover.send(lambda headers: http.post(url, data=form, headers=headers), url)
        assert reply.json()["token_type"] == "DPoP", reply.text
        assert claims(reply.json()["access_token"])["cnf"] == {"jkt": prover.thumbprint}
    finally:
        admin.send("DELETE", f"/v1/organizations/{acme}/scope-policies/{stored['id']}", headers={"if-match": "*"})


# ---- Proofs ------------------------------------------------------------------------------------------------------


def test_bad_proofs(deployment, endpoint, code, evidence):
    """DP-02, K-16, K-07, K-08: each rule of RFC 9449 §4.3 broken by itself is invalid_dpop_proof; the code survives all of
    them, and each is recorded."""
    prover, other = Prover(), Prover()
    assert redeem(deployment, prover, code()).status_code == 200   # for the nonce
    now = int(time.time())
    private = prover.key.as_dict(private=True)
    head, body, signature = prover.proof(endpoint).split(".")
    unsigned = encoded({"typ": "dpop+jwt", "alg": "none", "jwk": prover.public})
    proofs = {
        "type": prover.proof(endpoint, header={"typ": "jwt"}),
        "no type": prover.proof(endpoint, header={"typ": None}),
        "alg none": f"{unsigned}.{body}.",
        "alg none, signed": f"{unsigned}.{body}.{signature}",
        "other signature": f"{head}.{body}.{other.proof(endpoint).split('.')[2]}",
        "other key": prover.proof(endpoint, header={"jwk": other.public}),
        "private key": prover.proof(endpoint, header={"jwk": private}),
        "no key": prover.proof(endpoint, header={"jwk": None}),
        "symmetric key": prover.proof(endpoint, header={"jwk": {"kty": "oct", "k": encoded(b"secret")}}),
        "critical": prover.proof(endpoint, header={"crit": ["exp"], "exp": 1}),
        "method": prover.proof(endpoint, method="GET"),
        "method in lower case": prover.proof(endpoint, method="post"),
        "no method": prover.proof(endpoint, htm=None),
        "other host": prover.proof("https://evil.example/oauth/token"),
        "other path": prover.proof(endpoint + "/"),
        "other issuer": prover.proof(f"{deployment.platform.url}/oauth/token"),
        "user in the URL": prover.proof(endpoint.replace("://", "://evil@")),
        "no URL": prover.proof(endpoint, htu=None),
        "time as text": prover.proof(endpoint, iat=str(now)),
        "no time": prover.proof(endpoint, iat=None),
        "no id": prover.proof(endpoint, jti=None),
        "empty id": prover.proof(endpoint, jti=""),
        "long id": prover.proof(endpoint, jti="x" * 300),
        "no JWT": "x",
        "empty": "",
        "huge": prover.proof(endpoint, filler="x" * 9000),
    }
    one = code()
    form = {"grant_type": "authorization_code", "code": one.code, "client_id": one.client_id,
            "code_verifier": one.verifier}
    replies = []
    with evidence.no_rows_stored():
        for name, proof in proofs.items():
            reply = deployment.acme.token(form, headers={"dpop": proof} | source())
            assert reply.status_code == 400 and reply.json()["error"] == "invalid_dpop_proof", f"{name}: {reply.text}"
            assert reply.headers["cache-control"] == "no-store", name
            replies.append(reply)
        twice = httpx.post(
            endpoint, data=form, trust_env=False,
            headers=[("dpop", prover.proof(endpoint)), ("dpop", prover.proof(endpoint)), *source().items()])
        refused(twice, "invalid_dpop_proof")
    events = evidence.of([*replies, twice], deployment.organizations["acme"], type="token.dpop_failed")
    assert len(events) == len(proofs) + 1 and {event["outcome"] for event in events} == {"denied"}
    assert redeem(deployment, prover, one).status_code == 200


def test_spellings_of_the_url(deployment, endpoint, code):
    """DP-02, K-16: query and fragment are left aside, scheme and host have no case."""
    prover = Prover()
    for url in (endpoint + "?x=1", endpoint + "#x", endpoint.replace("http://localhost", "HTTP://LOCALHOST")):
        reply = redeem(deployment, prover, code(), htu=url)
        assert reply.status_code == 200, reply.text


def test_replay(deployment, endpoint, code, evidence):
    """DP-02, K-16: the same proof again, at the other node too, is refused; the same id of another key is not."""
    prover, other = Prover(), Prover()
    redeem(deployment, prover, code())
    redeem(deployment, other, code())
    one, two = code(), code()
    forms = [
        {"grant_type": "authorization_code", "code": each.code, "client_id": each.client_id,
         "code_verifier": each.verifier} for each in (one, two)]
    proof = prover.proof(endpoint, jti="one")
    assert deployment.acme.token(forms[0], deployment.node_urls[0], headers={"dpop": proof}).status_code == 200
    for node in deployment.node_urls:
        refused(deployment.acme.token(forms[1], node, headers={"dpop": proof}), "invalid_dpop_proof")
    assert deployment.acme.token(forms[1], headers={"dpop": other.proof(endpoint, jti="one")}).status_code == 200
    # What is kept of a proof ends with its nonce.
    keys = [key for key in evidence.redis("--scan") if key.endswith(":proof")]
    assert keys and all(0 < int(evidence.redis("TTL", key)[0]) <= 75 for key in keys)


def test_nonces(deployment, endpoint, code):
    """DP-03: none, a twisted one and somebody's own are asked for again with use_dpop_nonce and a fresh one, which then
    works; the refusal spends nothing."""
    prover = Prover()
    one = code()
    form = {"grant_type": "authorization_code", "code": one.code, "client_id": one.client_id,
            "code_verifier": one.verifier}
    asked = deployment.acme.token(form, headers={"dpop": prover.proof(endpoint)})
    refused(asked, "use_dpop_nonce")
    nonce = asked.headers["dpop-nonce"]
    twisted = nonce[:5] + ("A" if nonce[5] != "A" else "B") + nonce[6:]
    for wrong in (twisted, nonce[:-1], nonce + "A", "mine", "A" * 32):
        again = deployment.acme.token(form, headers={"dpop": prover.proof(endpoint, nonce=wrong)})
        refused(again, "use_dpop_nonce")
        assert again.headers["dpop-nonce"] != wrong
    assert "DPoP-Nonce" in asked.headers["access-control-expose-headers"]
    prover.nonce = nonce
    # The other node takes it, and the platform's issuer would too: what counts is that it is of now.
    assert redeem(deployment, prover, one, deployment.node_urls[1]).status_code == 200


@pytest.mark.parametrize("minutes", [-5, 5, -60 * 24 * 365])
def test_wrong_clocks(deployment, endpoint, code, minutes):
    """DP-02, DP-03, K-16: whatever a client's clock says, a fresh nonce of ours shows that its proof is new (RFC 9449 §4.3,
    §8); without one it is asked for, as of everybody."""
    prover = Prover()
    one = code()
    form = {"grant_type": "authorization_code", "code": one.code, "client_id": one.client_id,
            "code_verifier": one.verifier}
    theirs = int(time.time()) + minutes * 60
    asked = deployment.acme.token(form, headers={"dpop": prover.proof(endpoint, iat=theirs)})
    refused(asked, "use_dpop_nonce")
    prover.nonce = asked.headers["dpop-nonce"]
    reply = deployment.acme.token(form, headers={"dpop": prover.proof(endpoint, iat=theirs)})
    assert reply.status_code == 200 and reply.json()["token_type"] == "DPoP", reply.text


def test_metadata(deployment, http):
    """DP-01, MD-09: which algorithms proofs may have."""
    body = http.get(f"{deployment.stack.url}/.well-known/oauth-authorization-server/o/acme").json()
    assert sorted(body["dpop_signing_alg_values_supported"]) == ["ES256", "EdDSA", "RS256"]
