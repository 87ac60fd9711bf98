"""Pushed authorization requests (facts A12 PA, AZ-21; RFC 9126)."""

from __future__ import annotations

import json
import re
import time
from urllib.parse import urlencode

import httpx
import pytest
from dpop import Prover
from evidence import source
from gatehouse_demo.admin import Admin
from oauth import REDIRECT_URI, Code, Issuer, told
from walk import text_of

PREFIX = "urn:ietf:params:oauth:request_uri:"


def push(issuer: Issuer, form: dict, node: str | None = None, **options) -> httpx.Response:
    base = issuer.url.replace(issuer.url.split("/o/")[0], node) if node else issuer.url
    form = {name: value for name, value in form.items() if value is not None}
    options.setdefault("headers", source())
    return httpx.post(f"{base}/oauth/par", data=form, timeout=15, trust_env=False, **options)


def pushed(issuer: Issuer, client: str, **changes) -> tuple[str, str]:
    """A reference that was pushed by a public client, and its verifier."""
    query, verifier = issuer.query(client, **changes)
    reply = push(issuer, query)
    assert reply.status_code == 201, reply.text
    return reply.json()["request_uri"], verifier


def link(issuer: Issuer, client: str | None, reference: str, **more) -> str:
    query = {"client_id": client, "request_uri": reference, **more}
    return f"{issuer.url}/oauth/authorize?{urlencode({name: value for name, value in query.items() if value})}"


def over(reply: httpx.Response) -> None:
    """The AS error page that says the reference is none."""
    assert reply.status_code == 400 and "location" not in reply.headers, reply.text[:300]
    assert "invalid_request_uri" in reply.text and 'rel="noreferrer"' not in reply.text
    assert reply.headers["cache-control"] == "no-store"


@pytest.fixture(scope="module")
def client(deployment) -> str:
    return deployment.acme.register()


@pytest.fixture(scope="module")
def confidential(deployment) -> dict:
    with Admin(deployment.stack.url, deployment.stack.admin_key) as admin:
        body = {"name": "Back office", "redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method":
                "client_secret_basic"}
        return admin.post(f"/v1/organizations/{deployment.organizations['acme']}/clients", body)


@pytest.mark.parametrize("name", ["platform", "acme"])
def test_from_push_to_token(deployment, browser, evidence, name):
    """PA-01, AZ-18: 201 with a reference of 256 random bits for ninety seconds, never cached; the browser brings it and
    nothing else, at another node; the event names the client."""
    issuer = deployment.issuer(name)
    client = issuer.register()
    query, verifier = issuer.query(client, scope="read", state="s t&a=t\u00e9", nonce="n")
    reply = push(issuer, query, deployment.node_urls[1])
    assert reply.status_code == 201 and reply.headers["cache-control"] == "no-store"
    assert reply.headers["content-type"] == "application/json"
    body = reply.json()
    assert body["expires_in"] == 90 and re.fullmatch(re.escape(PREFIX) + r"[\w-]{43}", body["request_uri"])
    organization = deployment.organizations["acme"] if name == "acme" else None
    (event,) = evidence.of(reply, organization, type="authorize.par_accepted")
    assert event["client"] == client and event["outcome"] == "success" and event["scopes"] == ["read"]
    page = browser.until(link(issuer, client, body["request_uri"]), "decision")
    answer = told(browser.send(page))
    assert answer["state"] == "s t&a=t\u00e9" and answer["iss"] == issuer.url
    tokens = issuer.redeem(Code(answer["code"], verifier, client))
    assert tokens.status_code == 200 and tokens.json()["scope"] == "read"


def test_references_have_no_pattern(deployment, client):
    """PA-01: no two share a beginning or an end."""
    references = [pushed(deployment.acme, client)[0].removeprefix(PREFIX) for _ in range(6)]
    assert len({one[:4] for one in references}) == len({one[-4:] for one in references}) == 6


def test_authenticated_as_at_the_token_endpoint(deployment, confidential, evidence):
    """PA-01, TK-07, TK-08, TK-09, K-19: the registered method and no other; the secret is not kept with the request."""
    issuer = deployment.acme
    query, _ = issuer.query(confidential["client_id"])
    basic = httpx.BasicAuth(confidential["client_id"], confidential["client_secret"])
    with evidence.nothing_stored():
        wrong = [
            push(issuer, query), push(issuer, query | {"client_secret": confidential["client_secret"]}),
            push(issuer, query, auth=httpx.BasicAuth(confidential["client_id"], "wrong")),
            push(issuer, query | {"client_id": "cli_00000000000000000000000000"}),
        ]
        assert {(reply.status_code, reply.json()["error"]) for reply in wrong} == {(401, "invalid_client")}
        assert all(reply.headers["cache-control"] == "no-store" for reply in wrong)
        twice = push(issuer, query | {"client_secret": confidential["client_secret"]}, auth=basic)
        assert twice.status_code == 400 and twice.json()["error"] == "invalid_request"
    events = evidence.of(wrong[:1], deployment.organizations["acme"], type="client.auth_failed")
    assert events[0]["client"] == confidential["client_id"]
    # The name may be in the header alone.
    del query["client_id"]
    accepted = push(issuer, query, auth=basic)
    assert accepted.status_code == 201, accepted.text
    post = issuer.register(token_endpoint_auth_method="none")
    query, _ = issuer.query(post)
    assert push(issuer, query).status_code == 201
    kept = [evidence.redis("GET", key)[0] for key in evidence.redis("--scan") if key.endswith(":pushed")]
    assert kept and not any(confidential["client_secret"] in text or "client_secret" in text for text in kept)


@pytest.mark.parametrize("change,error", [
    ({"request_uri": PREFIX + "A" * 43}, "invalid_request"),
    ({"request_uri": "https://evil.example/"}, "invalid_request"),
    ({"request": "e30."}, "request_not_supported"),
    ({"response_type": None}, "invalid_request"),
    ({"response_type": "token"}, "unsupported_response_type"),
    ({"redirect_uri": "https://evil.example/"}, "invalid_request"),
    ({"code_challenge": None}, "invalid_request"),
    ({"code_challenge_method": "plain"}, "invalid_request"),
    ({"scope": "nope"}, "invalid_scope"),
    ({"scope": 'a"b'}, "invalid_scope"),
    ({"resource": "https://nobody.example/mcp"}, "invalid_target"),
    ({"response_mode": "fragment"}, "invalid_request"),
    ({"prompt": "none login"}, "invalid_request"),
    ({"max_age": "x"}, "invalid_request"),
    ({"state": "x" * 20_000}, "invalid_request"),
    ({"dpop_jkt": "x"}, "invalid_request"),
])
def test_judged_as_at_the_authorization_endpoint(deployment, client, evidence, change, error):
    """PA-02, AZ-05, AZ-08, PK-01, PK-02, RI-02: what would be refused there is refused here, as JSON; nothing is kept."""
    query, _ = deployment.acme.query(client)
    with evidence.nothing_stored():
        before = {key for key in evidence.redis("--scan") if key.endswith(":pushed")}
        reply = push(deployment.acme, query | change)
        assert {key for key in evidence.redis("--scan") if key.endswith(":pushed")} <= before
    assert reply.status_code == 400 and reply.json()["error"] == error, reply.text
    assert reply.headers["cache-control"] == "no-store"
    assert "evil.example" not in reply.text


def test_methods_and_shapes(deployment, client, http, evidence):
    """PA-02, TK-06, P-01, P-08: POST only; forms only; nothing twice; 64 KiB at most; any origin may call."""
    url = f"{deployment.acme.url}/oauth/par"
    for method in ("GET", "PUT", "DELETE", "TRACE"):
        reply = http.request(method, url)
        assert reply.status_code == 405 and "POST" in reply.headers["allow"], method
    query, _ = deployment.acme.query(client)
    assert http.post(url, json=query).json()["error"] == "invalid_request"
    twice = http.post(url, content=urlencode(query) + "&scope=read&scope=read",
                      headers={"content-type": "application/x-www-form-urlencoded"})
    assert twice.status_code == 400 and twice.json()["error"] == "invalid_request"
    assert http.post(url, data=query | {"state": "x" * 70_000}).status_code == 413
    reply = http.post(url, data=query, headers={"origin": "https://inspector.example"})
    assert reply.headers["access-control-allow-origin"] == "*"


def test_references_are_used_once(deployment, client, browser):
    """PA-03: a second browser, a reload, both nodes at once: one gets in."""
    reference, _ = pushed(deployment.acme, client)
    first = httpx.get(link(deployment.acme, client, reference), trust_env=False)
    assert first.status_code == 200 and 'name="email"' in first.text
    over(httpx.get(link(deployment.acme, client, reference), trust_env=False, headers=source()))
    reference, _ = pushed(deployment.acme, client)
    with httpx.Client(trust_env=False) as one, httpx.Client(trust_env=False) as other:
        replies = [http.get(link(deployment.acme, client, reference), headers=source()) for http in (one, other)]
    assert sorted(reply.status_code for reply in replies) == [200, 400]


def test_references_are_the_clients_own(deployment, client):
    """PA-03, T-14: another client, another issuer, no client and a twisted reference get the page, never a redirect; the
    reference stays good for its owner."""
    other = deployment.acme.register()
    reference, _ = pushed(deployment.acme, client)
    elsewhere = deployment.platform.register()
    for url in (
        link(deployment.acme, other, reference), link(deployment.acme, None, reference),
        link(deployment.platform, elsewhere, reference), link(deployment.platform, client, reference),
        link(deployment.acme, client, reference[:-1]), link(deployment.acme, client, reference + "A"),
        link(deployment.acme, client, PREFIX), link(deployment.acme, client, PREFIX + "A" * 43),
        link(deployment.acme, client, reference) + f"&client_id={other}",
    ):
        over(httpx.get(url, trust_env=False, headers=source()))
    assert httpx.get(link(deployment.acme, client, reference), trust_env=False).status_code == 200


def test_references_end(deployment, client, evidence):
    """PA-03: what Redis has let go of, as it does after ninety seconds, is over."""
    reference, _ = pushed(deployment.acme, client)
    keys = [key for key in evidence.redis("--scan") if key.endswith(":pushed")]
    assert keys and all(0 < int(evidence.redis("TTL", key)[0]) <= 90 for key in keys)
    evidence.redis("DEL", *keys)
    over(httpx.get(link(deployment.acme, client, reference), trust_env=False, headers=source()))


def test_nothing_beside_the_reference_counts(deployment, client, browser):
    """PA-03, R-18, R-26: parameters in the browser's URL change nothing that was pushed."""
    reference, verifier = pushed(deployment.acme, client, scope="read", state="mine")
    url = link(deployment.acme, client, reference, scope="read write", state="theirs",
               redirect_uri="https://evil.example/", code_challenge="x" * 43, prompt="none")
    page = browser.until(url, "decision")
    answer = told(browser.send(page))
    assert answer["state"] == "mine"
    tokens = deployment.acme.redeem(Code(answer["code"], verifier, client))
    assert tokens.status_code == 200 and tokens.json()["scope"] == "read"


def test_other_references_are_refused(deployment, client):
    """AZ-21, R-26: a request_uri that is not of our making is no reference; nobody is called."""
    for reference in ("https://evil.example/request", "urn:example:request", PREFIX[:-1]):
        reply = deployment.acme.ask(client, headers=source(), request_uri=reference)
        assert told(reply)["error"] == "request_uri_not_supported", reference


def test_clients_that_push_only(deployment, browser, admin):
    """PA-04: require_pushed_authorization_requests is registered, told again and enforced; an administrator may set it."""
    metadata = {"redirect_uris": ["http://127.0.0.1/cb"], "token_endpoint_auth_method": "none",
                "require_pushed_authorization_requests": True}
    made = httpx.post(f"{deployment.acme.url}/oauth/register", json=metadata, trust_env=False).json()
    assert made["require_pushed_authorization_requests"] is True
    redirect = "http://127.0.0.1:41000/cb"
    plain = deployment.acme.ask(made["client_id"], headers=source(), redirect_uri=redirect)
    answer = told(plain)
    assert (answer["error"], answer["iss"]) == ("invalid_request", deployment.acme.url)
    reference, _ = pushed(deployment.acme, made["client_id"], redirect_uri=redirect)
    page = httpx.get(link(deployment.acme, made["client_id"], reference), trust_env=False)
    assert page.status_code == 200
    clients = f"/v1/organizations/{deployment.organizations['acme']}/clients"
    body = {"name": "Pushes", "redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": "none"}
    own = admin.post(clients, body | {"require_pushed_authorization_requests": True})
    assert own["require_pushed_authorization_requests"] is True
    assert told(deployment.acme.ask(own["client_id"], headers=source()))["error"] == "invalid_request"
    changed = admin.call("PATCH", f"{clients}/{own['id']}", {"require_pushed_authorization_requests": False},
                         headers={"if-match": "*"})
    assert changed["require_pushed_authorization_requests"] is False
    time.sleep(1)
    assert deployment.acme.ask(own["client_id"]).status_code == 200


def test_proof_at_the_push_binds_the_code(deployment, client, browser):
    """DP-05, PA-01: a key that was proven with the push, or named in it, is the only one that redeems the code."""
    issuer = deployment.acme
    owner, thief = Prover(), Prover()
    query, verifier = issuer.query(client)
    url = f"{issuer.url}/oauth/par"
    reply = owner.send(lambda headers: push(issuer, query, headers=headers | source()), url)
    assert reply.status_code == 201 and reply.headers["dpop-nonce"]
    answer = told(browser.send(browser.until(link(issuer, client, reply.json()["request_uri"]), "decision")))
    form = {"grant_type": "authorization_code", "code": answer["code"], "client_id": client,
            "code_verifier": verifier}
    token = f"{issuer.url}/oauth/token"
    for prover, status in ((thief, 400), (owner, 200)):
        got = prover.send(lambda headers: issuer.token(form, headers=headers), token)
        assert got.status_code == status, got.text
    both = owner.send(
        lambda headers: push(issuer, query | {"dpop_jkt": thief.thumbprint}, headers=headers | source()), url)
    assert both.status_code == 400 and both.json()["error"] == "invalid_request"
    wrong = push(issuer, query, headers={"dpop": owner.proof(token)} | source())
    assert wrong.status_code == 400 and wrong.json()["error"] == "invalid_dpop_proof"


@pytest.mark.parametrize("path", ["", "/o/acme"])
def test_metadata(deployment, http, path):
    """PA-01, MD-09: the endpoint is advertised; pushing is nobody's duty by default."""
    for name in ("oauth-authorization-server", "openid-configuration"):
        body = http.get(f"{deployment.stack.url}/.well-known/{name}{path}").json()
        assert body["pushed_authorization_request_endpoint"] == f"{deployment.stack.url}{path}/oauth/par"
        assert not body.get("require_pushed_authorization_requests", False)
        assert body["request_uri_parameter_supported"] is False


def test_pages_of_a_pushed_request(deployment, client, browser):
    """PA-03, R-18: what a person sees is what was pushed."""
    reference, _ = pushed(deployment.acme, client, scope="openid email read")
    page = text_of(browser.until(link(deployment.acme, client, reference), "decision"))
    assert "See your e-mail address" in page and json.dumps(reference) not in page
