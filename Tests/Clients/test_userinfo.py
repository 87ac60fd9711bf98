"""UserInfo (facts A14 OI-03, A3 BR, DP-06; MCP §3a "Workspace domain limits")."""

from __future__ import annotations

import base64
import time

import httpx
import pytest
from dpop import Prover
from evidence import source
from gatehouse_demo.chatgpt import claims
from oauth import Code, Issuer, told
from walk import Walk


@pytest.fixture(scope="module")
def client(deployment) -> str:
    return deployment.acme.register()


def connect(deployment, browser: Walk, client: str, issuer: Issuer | None = None, **parameters) -> dict:
    """The tokens of whoever is at the browser."""
    issuer = issuer or deployment.acme
    query, verifier = issuer.query(client, **parameters)
    page = browser.until(f"{issuer.url}/oauth/authorize?{httpx.QueryParams(query)}", "decision")
    reply = issuer.redeem(Code(told(browser.send(page))["code"], verifier, client), resource=query["resource"])
    assert reply.status_code == 200, reply.text
    return reply.json()


@pytest.fixture(scope="module")
def tokens(deployment, browser, client) -> dict:
    return connect(deployment, browser, client, scope="openid profile email read")


def ask(issuer: Issuer, token: str | None, scheme: str = "Bearer", method: str = "GET", node: str | None = None,
        **options) -> httpx.Response:
    headers = source() | options.pop("headers", {})
    if token is not None:
        headers["authorization"] = f"{scheme} {token}"
    base = issuer.url.replace("http://" + issuer.url.split("/")[2], node) if node else issuer.url
    return httpx.request(method, f"{base}/oauth/userinfo", headers=headers, timeout=15, trust_env=False, **options)


def refused(reply: httpx.Response, status: int, error: str | None, scheme: str = "Bearer") -> str:
    assert reply.status_code == status, reply.text
    assert reply.headers["cache-control"] == "no-store" and "alice" not in reply.text
    challenge = reply.headers["www-authenticate"]
    assert "Bearer realm=" in challenge and "DPoP algs=" in challenge
    if error is None:
        assert "error" not in challenge
    else:
        assert challenge.startswith(scheme) and f'error="{error}"' in challenge, challenge
    return challenge


@pytest.mark.parametrize("name", ["platform", "acme"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_claims(deployment, browser, name, method):
    """OI-03, facts 3a: the address with email_verified true, the name, and the same sub as in the ID token; whatever the
    token's audience is; never cached."""
    issuer = deployment.issuer(name)
    tokens = connect(deployment, browser, issuer.register(), issuer, scope="openid profile email read")
    reply = ask(issuer, tokens["access_token"], method=method)
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "application/json" and reply.headers["cache-control"] == "no-store"
    body = reply.json()
    assert body["sub"] == claims(tokens["id_token"])["sub"] == claims(tokens["access_token"])["sub"]
    assert body["email"] == "alice@acme.example" and body["email_verified"] is True
    assert body["org_id"] == deployment.organizations["acme"]
    assert claims(tokens["access_token"])["aud"] == issuer.resource
    assert {"sub", "org_id", "email", "email_verified", "updated_at"} <= set(body) and body["updated_at"] < time.time()


def test_claims_by_scope(deployment, browser, client):
    """OI-03: nobody hears more than was asked for."""
    for scope, wanted in (
        ("openid read", set()), ("openid email read", {"email", "email_verified"}),
        ("openid profile read", {"updated_at"}),
    ):
        body = ask(deployment.acme, connect(deployment, browser, client, scope=scope)["access_token"]).json()
        assert set(body) - {"name"} == {"sub", "org_id"} | wanted, scope
        assert ("name" in body) <= ("profile" in scope)


def test_refreshed_tokens(deployment, client, tokens):
    """OI-03: a token of a refresh opens it as well; one narrowed to less does not tell more."""
    reply = deployment.acme.refresh(tokens["refresh_token"], client).json()
    assert ask(deployment.acme, reply["access_token"]).json()["email"] == "alice@acme.example"
    narrow = deployment.acme.refresh(reply["refresh_token"], client, scope="openid read").json()
    assert "email" not in ask(deployment.acme, narrow["access_token"]).json()


def test_without_credentials(deployment, tokens):
    """BR-01: 401 with a challenge for each scheme and no error; credentials of another kind are as good as none."""
    refused(ask(deployment.acme, None), 401, None)
    refused(ask(deployment.acme, base64.b64encode(b"a:b").decode(), "Basic"), 401, None)


@pytest.mark.parametrize("scheme", ["bEaReR", "BEARER", "bearer"])
def test_scheme_has_no_case(deployment, tokens, scheme):
    """BR-06."""
    assert ask(deployment.acme, tokens["access_token"], scheme).status_code == 200


def test_tokens_that_are_none(deployment, browser, client, tokens, evidence):
    """BR-02, BR-07, T-13, K-07, K-13, AT-07: twisted, unsigned, of another issuer, a refresh token, an ID token, an
    admin key: invalid_token, and recorded."""
    header, payload, signature = tokens["access_token"].split(".")
    unsigned = base64.urlsafe_b64encode(b'{"alg":"none","typ":"at+jwt"}').rstrip(b"=").decode()
    elsewhere = connect(deployment, browser, deployment.platform.register(), deployment.platform,
                        scope="openid email read")
    wrong = [
        "x", "x.y.z", f"{header}.{payload}.{signature[:-4]}AAAA", f"{unsigned}.{payload}.", tokens["refresh_token"],
        tokens["id_token"], elsewhere["access_token"], deployment.stack.admin_key, "a" * 9000,
    ]
    replies = [ask(deployment.acme, token) for token in wrong]
    for reply in replies:
        refused(reply, 401, "invalid_token")
    refused(ask(deployment.platform, tokens["access_token"]), 401, "invalid_token")
    refused(ask(deployment.globex, tokens["access_token"]), 401, "invalid_token")
    events = evidence.of(replies, deployment.organizations["acme"], type="token.denied")
    assert {event["reason"] for event in events} == {"userinfo_invalid_token"}


def test_too_little_scope(deployment, browser, client):
    """BR-03, OI-03: without openid 403, naming the scope."""
    token = connect(deployment, browser, client, scope="email read")["access_token"]
    assert 'scope="openid"' in refused(ask(deployment.acme, token), 403, "insufficient_scope")


def test_tokens_in_the_wrong_place(deployment, tokens):
    """BR-04, BR-05: in the query, in the body, or twice: invalid_request, and nothing is told."""
    token = tokens["access_token"]
    twice = httpx.get(
        f"{deployment.acme.url}/oauth/userinfo", trust_env=False,
        headers=[("authorization", f"Bearer {token}"), ("authorization", f"Bearer {token}")])
    for reply in (
        ask(deployment.acme, None, params={"access_token": token}),
        ask(deployment.acme, token, params={"access_token": token}),
        ask(deployment.acme, None, method="POST", data={"access_token": token}),
        ask(deployment.acme, token, method="POST", data={"access_token": token}),
        ask(deployment.acme, f"{token} {token}"), twice,
    ):
        assert reply.status_code == 400 and reply.json()["error"] == "invalid_request", reply.text
        assert "email" not in reply.text


def test_ended_connections(deployment, browser, client, admin):
    """BR-02, TK-23, T-20: revoked, disabled, suspended: nothing is told any more, at every node."""
    acme = deployment.organizations["acme"]
    issuer = deployment.acme
    tokens = connect(deployment, browser, client, scope="openid email read")
    token = tokens["access_token"]
    assert all(ask(issuer, token, node=node).status_code == 200 for node in deployment.node_urls)
    grant = claims(token)["grant_id"]
    admin.post(f"/v1/organizations/{acme}/grants/{grant}:revoke")
    for node in deployment.node_urls:
        refused(ask(issuer, token, node=node), 401, "invalid_token")
    with Walk(deployment, deployment.person("rita")) as rita:
        token = connect(deployment, rita, client, scope="openid email read")["access_token"]
        user = claims(token)["sub"]
        admin.post(f"/v1/organizations/{acme}/users/{user}:disable")
        try:
            time.sleep(1)
            for node in deployment.node_urls:
                refused(ask(issuer, token, node=node), 401, "invalid_token")
        finally:
            admin.post(f"/v1/organizations/{acme}/users/{user}:enable")
            time.sleep(1)


def test_addresses_an_administrator_typed(deployment, admin, client):
    """Facts 3a: an address is told as verified once a provider verified it, at the next sign-in after an administrator
    typed it anew; until then it is told as not verified."""
    acme = deployment.organizations["acme"]
    (rita,) = [one for one in admin.list(f"/v1/organizations/{acme}/users") if one["email"] == "rita@acme.example"]
    with Walk(deployment, deployment.person("rita")) as browser:
        token = connect(deployment, browser, client, scope="openid email read")["access_token"]
        for address in ("somebody@acme.example", "rita@acme.example"):
            admin.call("PATCH", f"/v1/organizations/{acme}/users/{rita['id']}", {"email": address})
        assert ask(deployment.acme, token).json() | {"email_verified": False} == ask(deployment.acme, token).json()
    with Walk(deployment, deployment.person("rita")) as browser:
        token = connect(deployment, browser, client, scope="openid email read")["access_token"]
        assert ask(deployment.acme, token).json()["email_verified"] is True


def test_bound_tokens(deployment, browser, client):
    """DP-06, DP-02, DP-03, K-16: a bound token needs its scheme, its key, and a proof for this token, this method and
    this URL with a nonce; by the Bearer scheme it is nothing."""
    issuer = deployment.acme
    prover, other = Prover(), Prover()
    query, verifier = issuer.query(client, scope="openid email read")
    page = browser.until(f"{issuer.url}/oauth/authorize?{httpx.QueryParams(query)}", "decision")
    form = {"grant_type": "authorization_code", "code": told(browser.send(page))["code"], "client_id": client,
            "code_verifier": verifier}
    token = prover.send(
        lambda headers: issuer.token(form, headers=headers), f"{issuer.url}/oauth/token").json()["access_token"]
    url = f"{issuer.url}/oauth/userinfo"
    refused(ask(issuer, token), 401, "invalid_token")
    refused(ask(issuer, token, headers={"dpop": prover.proof(url, "GET", token)}), 401, "invalid_token")
    prover.nonce = None
    asked = ask(issuer, token, "DPoP", headers={"dpop": prover.proof(url, "GET", token)})
    refused(asked, 401, "use_dpop_nonce", "DPoP")
    prover.nonce = other.nonce = asked.headers["dpop-nonce"]
    for method in ("GET", "POST"):
        reply = ask(issuer, token, "DPoP", method, headers={"dpop": prover.proof(url, method, token)})
        assert reply.status_code == 200 and reply.json()["email"] == "alice@acme.example"
        assert reply.headers["dpop-nonce"]
    for proof in (
        prover.proof(url, "POST", token), prover.proof(url, "GET"), prover.proof(url, "GET", token + "A"),
        prover.proof(f"{issuer.url}/oauth/token", "GET", token), prover.proof(url, "GET", token, ath=None), "x",
    ):
        refused(ask(issuer, token, "DPoP", headers={"dpop": proof}), 401, "invalid_dpop_proof", "DPoP")
    refused(ask(issuer, token, "DPoP"), 401, "invalid_dpop_proof", "DPoP")
    stolen = ask(issuer, token, "DPoP", headers={"dpop": other.proof(url, "GET", token)})
    refused(stolen, 401, "invalid_token", "DPoP")


def test_bearer_tokens_by_the_other_scheme(deployment, tokens):
    """DP-06: a token that is bound to nothing is no DPoP token, whoever proves whatever."""
    prover = Prover()
    url = f"{deployment.acme.url}/oauth/userinfo"
    reply = prover.send(
        lambda headers: ask(deployment.acme, tokens["access_token"], "DPoP", headers=headers), url, method="GET",
        token=tokens["access_token"])
    refused(reply, 401, "invalid_token", "DPoP")


def test_methods(deployment, http):
    """OI-03, P-15, P-16: GET and POST; no other, and no other spelling of the path; browsers of any origin may call."""
    url = f"{deployment.acme.url}/oauth/userinfo"
    for method in ("PUT", "DELETE", "PATCH", "TRACE"):
        assert http.request(method, url).status_code == 405, method
    assert http.get(url + "/x.css").status_code == 404 and http.get(url + "/").status_code == 404
    reply = http.options(url, headers={"origin": "https://app.example", "access-control-request-method": "GET"})
    assert reply.status_code == 204 and "DPoP" in reply.headers["access-control-allow-headers"]


@pytest.mark.parametrize("path", ["", "/o/acme"])
def test_metadata(deployment, http, path):
    """OI-02, MD-09: the endpoint and the claims are advertised."""
    body = http.get(f"{deployment.stack.url}/.well-known/openid-configuration{path}").json()
    assert body["userinfo_endpoint"] == f"{deployment.stack.url}{path}/oauth/userinfo"
    assert {"email", "email_verified", "name"} <= set(body["claims_supported"])
