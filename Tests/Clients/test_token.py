"""The token endpoint: client authentication, the code grant, and what a refusal looks like (facts A2, A4, A6, B3,
B5)."""

from __future__ import annotations

import base64
import json
import os
import random
import re
import secrets
import subprocess
from urllib.parse import quote, urlencode

import httpx
import pytest
from evidence import source
from gatehouse_demo.chatgpt import claims
from oauth import REDIRECT_URI, Code, challenge, raw, told
from walk import Walk, forms_of

FORM = {"content-type": "application/x-www-form-urlencoded"}


def refused(reply: httpx.Response, error: str, status: int = 400) -> None:
    """TE(error): JSON, no-store, the error, and a description in the characters a description may have."""
    assert reply.status_code == status, f"{reply.status_code} {reply.text}"
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["cache-control"] == "no-store"
    body = reply.json()
    assert body["error"] == error, body
    assert set(body) <= {"error", "error_description", "error_uri"}
    assert re.fullmatch(r"[\x20\x21\x23-\x5b\x5d-\x7e]*", body.get("error_description", ""))


@pytest.fixture(scope="module")
def client(deployment) -> str:
    return deployment.platform.register()


@pytest.fixture
def code(deployment, client, browser):
    """Makes codes of alice for the module's client, or for another."""

    def make(client_id: str | None = None, issuer=None, **changes) -> Code:
        issuer = issuer or deployment.platform
        query, verifier = issuer.query(client_id or client, **changes)
        page = browser.until(f"{issuer.url}/oauth/authorize?{urlencode(query)}", "decision")
        return Code(told(browser.send(page))["code"], verifier, client_id or client)

    return make


def confidential(issuer, method: str, **more) -> tuple[str, str]:
    """Registers a client with this method; returns its id and secret."""
    body = {
        "client_name": "Confidential", "redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": method,
        "grant_types": ["authorization_code", "refresh_token"], **more,
    }
    reply = httpx.post(f"{issuer.url}/oauth/register", json=body, trust_env=False)
    assert reply.status_code == 201, reply.text
    return reply.json()["client_id"], reply.json()["client_secret"]


def basic(name: str, secret: str, quoted=lambda text: quote(text, safe="")) -> dict[str, str]:
    text = f"{quoted(name)}:{quoted(secret)}"
    return {"authorization": "Basic " + base64.b64encode(text.encode()).decode()}


# ---- The request itself ------------------------------------------------------------------------------------------


def test_methods(deployment, http):
    """TK-01: POST only."""
    for method in ("GET", "PUT", "DELETE", "PATCH", "TRACE"):
        reply = http.request(method, f"{deployment.platform.url}/oauth/token")
        assert reply.status_code == 405, method
        assert "POST" in reply.headers["allow"]


@pytest.mark.parametrize("headers,body", [
    ({"content-type": "application/json"}, b'{"grant_type":"authorization_code","code":"x"}'),
    ({"content-type": "multipart/form-data; boundary=b"}, b"--b--"),
    ({"content-type": "text/plain"}, b"grant_type=authorization_code"),
    ({"content-type": "application/x-www-form-urlencoded; charset=utf-16"}, b"grant_type=authorization_code"),
    ({"content-type": "application/x-www-form-urlencoded", "content-encoding": "gzip"},
        b"grant_type=authorization_code"),
    ({}, b"grant_type=authorization_code&code=x"),
])
def test_other_media_types(deployment, headers, body):
    """TK-01, P-08: not a form, not read."""
    reply = httpx.post(f"{deployment.platform.url}/oauth/token", headers=headers, content=body, trust_env=False)
    refused(reply, "invalid_request", reply.status_code)
    assert reply.status_code in (400, 415)


def test_success(deployment, code):
    """TK-02, TK-03, TK-17, RI-04, MCP-AS-15, MCP-AS-18: the shape of a token response."""
    reply = deployment.platform.redeem(code(scope="read write"))
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["cache-control"] == "no-store"
    body = reply.json()
    assert body["token_type"] == "Bearer"
    assert isinstance(body["expires_in"], int) and 60 <= body["expires_in"] <= 3600
    assert set(body["scope"].split()) == {"read", "write"}
    assert isinstance(body["refresh_token"], str) and body["refresh_token"] not in body["access_token"]
    token = claims(body["access_token"])
    assert token["exp"] - token["iat"] == body["expires_in"]
    assert token["aud"] == deployment.stack.shared_url, "RI-04: exactly one audience, the one asked for"
    assert token["iss"] == deployment.platform.url


def test_query_is_not_read(deployment, client, code):
    """TK-04, K-24: parameters in the URL are as good as absent."""
    fresh = code()
    form = {
        "grant_type": "authorization_code", "code": fresh.code, "redirect_uri": REDIRECT_URI,
        "client_id": client, "code_verifier": fresh.verifier,
    }
    url = f"{deployment.platform.url}/oauth/token"
    refused(httpx.post(url, params=form, headers=FORM, trust_env=False), "invalid_request")
    in_query = {name: form.pop(name) for name in ("code",)}
    refused(httpx.post(url, params=in_query, data=form, trust_env=False), "invalid_request")
    confidential_id, secret = confidential(deployment.platform, "client_secret_post")
    reply = httpx.post(
        url, params={"client_secret": secret}, data=form | in_query | {"client_id": confidential_id}, trust_env=False)
    refused(reply, "invalid_client", 401)
    assert deployment.platform.redeem(fresh).status_code == 200, "nothing of that spent the code"


@pytest.mark.parametrize("grant,error", [
    (None, "invalid_request"), ("", "invalid_request"), ("password", "unsupported_grant_type"),
    ("implicit", "unsupported_grant_type"), ("client_credentials", "unsupported_grant_type"),
    ("Authorization_Code", "unsupported_grant_type"), ("refresh_token ", "unsupported_grant_type"),
])
def test_grant_types(deployment, client, grant, error):
    """TK-05, AZ-06, TK-12: missing or empty is invalid_request, what the metadata does not list is unsupported."""
    refused(deployment.platform.token({"grant_type": grant, "client_id": client, "username": "a", "password": "b"}),
        error)


def test_missing_parameters(deployment, client, code):
    """TK-05, PK-04: each in turn left out, then left empty; the code survives."""
    fresh = code()
    for absent in (None, ""):
        refused(deployment.platform.redeem(fresh, grant_type=absent), "invalid_request")
        refused(deployment.platform.redeem(fresh, code=absent), "invalid_request")
        refused(deployment.platform.redeem(fresh, code_verifier=absent), "invalid_request")
        refused(deployment.platform.redeem(fresh, client_id=absent), "invalid_client", 401)
        refused(deployment.platform.refresh(absent, client), "invalid_request")
    assert deployment.platform.redeem(fresh).status_code == 200


@pytest.mark.parametrize("name", ["grant_type", "code", "redirect_uri", "client_id", "code_verifier", "scope", "foo"])
def test_repeated_parameters(deployment, evidence, client, name):
    """TK-06: twice is invalid_request, with the same value too."""
    form = {
        "grant_type": "authorization_code", "code": "x", "redirect_uri": REDIRECT_URI, "client_id": client,
        "code_verifier": "v" * 43, "scope": "read", "foo": "bar",
    }
    body = f"{urlencode(form)}&{urlencode({name: form[name]})}"
    with evidence.nothing_stored():
        refused(
            httpx.post(f"{deployment.platform.url}/oauth/token", content=body, headers=FORM, trust_env=False),
            "invalid_request")


def test_unknown_parameters_are_ignored(deployment, code):
    """AZ-11 at the token endpoint: unknown ones and empty ones."""
    assert deployment.platform.redeem(code(), foo="bar", scope="", audience="x", client_secret="").status_code == 200


def test_sizes(deployment, evidence, client):
    """P-01, P-21: 64 KiB are read, one byte more is 413; a hundred thousand names are refused at once."""
    url = f"{deployment.platform.url}/oauth/token"
    start = f"grant_type=refresh_token&client_id={client}&refresh_token="
    with evidence.nothing_stored():
        reply = httpx.post(url, content=start + "a" * (65536 - len(start)), headers=FORM, trust_env=False)
        refused(reply, "invalid_grant")
        reply = httpx.post(url, content=start + "a" * (65537 - len(start)), headers=FORM, trust_env=False)
        refused(reply, "invalid_request", 413)
        reply = httpx.post(url, content=start + "&".join(f"{n:x}" for n in range(9000)), headers=FORM, trust_env=False)
        refused(reply, "invalid_request")
        try:
            reply = httpx.post(url, content="&".join(f"{n:x}=" for n in range(100_000)), headers=FORM, trust_env=False)
            refused(reply, "invalid_request", 413)
        except httpx.TransportError:
            pass   # the connection may be closed before all of it is sent
    status, _, _ = raw(
        deployment.stack.url, "POST", "/oauth/token", FORM | {"content-length": "1000000000"}, start.encode())
    assert status == 413, "by its announced length alone"


@pytest.mark.parametrize("value", ["%00", "a%00b", "%ff", "%c3%28", "%ed%a0%80", "%", "%a", "%zz"])
def test_broken_text(deployment, evidence, client, value):
    """P-07, TK-24: NUL, invalid UTF-8 and broken percent signs in every parameter are invalid_request."""
    form = {
        "grant_type": "authorization_code", "code": "x", "redirect_uri": REDIRECT_URI, "client_id": client,
        "code_verifier": "v" * 43, "resource": deployment.stack.shared_url,
    }
    with evidence.nothing_stored():
        for name in form:
            body = urlencode(form | {name: "X"}).replace(f"{name}=X", f"{name}={value}")
            reply = httpx.post(
                f"{deployment.platform.url}/oauth/token", content=body, headers=FORM, trust_env=False)
            refused(reply, "invalid_request")


# ---- Client authentication ---------------------------------------------------------------------------------------


def test_client_authentication_fails(deployment, evidence):
    """TK-07, MCP-AS-37, K-17: 401 invalid_client; a challenge only for who used the header; all alike, and recorded."""
    issuer = deployment.platform
    by_basic, secret = confidential(issuer, "client_secret_basic")
    by_post, _ = confidential(issuer, "client_secret_post")
    form = {"grant_type": "refresh_token", "refresh_token": "x"}
    wrong_basic = issuer.token(form,
        headers=basic(by_basic, secret[:-1] + ("A" if secret[-1] != "A" else "B")) | source())
    unknown_basic = issuer.token(form, headers=basic("cli_00000000000000000000000000", "x") | source())
    wrong_post = issuer.token(form | {"client_id": by_post, "client_secret": "nope"}, headers=source())
    unknown_none = issuer.token(form | {"client_id": "nobody"}, headers=source())
    unknown_post = issuer.token(form | {"client_id": "nobody", "client_secret": "x"}, headers=source())
    replies = [wrong_basic, unknown_basic, wrong_post, unknown_none, unknown_post]
    for reply in replies:
        refused(reply, "invalid_client", 401)
    assert len({reply.content for reply in replies}) == 1, "nobody learns which clients exist"
    for reply in (wrong_basic, unknown_basic):
        assert reply.headers["www-authenticate"].startswith("Basic ")
    for reply in (wrong_post, unknown_none):
        assert "www-authenticate" not in reply.headers
    events = evidence.of(replies, type="client.auth_failed")
    assert [event["outcome"] for event in events] == ["denied"] * 5
    assert all(event["actor"]["type"] == "anonymous" for event in events)


def test_failed_authentication_names_the_client(deployment, evidence):
    """K-17: whoever looks for guessing has to see at which client; the event names it, unproven as it is."""
    client_id, _ = confidential(deployment.platform, "client_secret_post")
    form = {"grant_type": "refresh_token", "refresh_token": "x", "client_id": client_id, "client_secret": "nope"}
    (event,) = evidence.of(deployment.platform.token(form, headers=source()), type="client.auth_failed")
    assert event.get("client") == client_id


@pytest.mark.parametrize("value", [
    "Basic", "Basic !!!", "Basic " + base64.b64encode(b"nocolon").decode(), "Basic " + base64.b64encode(b":x").decode(),
    "Basic " + base64.b64encode(b"a%zz:b").decode(), "Basic " + base64.b64encode(b"a\x00:b").decode(),
    "Basic " + base64.b64encode(b"\xff:b").decode(), "Bearer abc", "Digest x", "Basic " + "A" * 8000,
])
def test_broken_authorization_headers(deployment, value):
    """TK-07, P-07: never a 500."""
    reply = deployment.platform.token({"grant_type": "refresh_token", "refresh_token": "x"},
        headers={"authorization": value})
    refused(reply, "invalid_client", 401)
    assert "www-authenticate" in reply.headers


def test_two_methods_at_once(deployment, evidence):
    """TK-08: Basic and client_secret, Basic and an assertion, a secret and an assertion: invalid_request."""
    client_id, secret = confidential(deployment.platform, "client_secret_basic")
    form = {"grant_type": "refresh_token", "refresh_token": "x", "client_id": client_id}
    assertion = {
        "client_assertion": "a.b.c",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    }
    with evidence.nothing_stored():
        for more, headers in (
            ({"client_secret": secret}, basic(client_id, secret)), (assertion, basic(client_id, secret)),
            (assertion | {"client_secret": secret}, {}), ({"client_id": "another"}, basic(client_id, secret)),
        ):
            refused(deployment.platform.token(form | more, headers=headers), "invalid_request")
        refused(deployment.platform.token(form | assertion), "invalid_client", 401)


def test_only_the_registered_method(deployment):
    """TK-09, K-23: every pair of registered and used method that differs is invalid_client; the same ones work."""
    issuer = deployment.platform
    clients = {method: confidential(issuer, method) for method in ("client_secret_basic", "client_secret_post")}
    clients["none"] = (issuer.register(), "")
    for registered, (client_id, secret) in clients.items():
        for used in clients:
            form = {"grant_type": "refresh_token", "refresh_token": "x"}
            headers = None
            if used == "client_secret_basic":
                headers = basic(client_id, secret or "x")
            else:
                form["client_id"] = client_id
                if used == "client_secret_post":
                    form["client_secret"] = secret or "x"
            reply = issuer.token(form, headers=headers)
            if used == registered:
                refused(reply, "invalid_grant")
            else:
                refused(reply, "invalid_client", 401)


def test_basic_credentials_are_form_encoded(deployment):
    """TK-10: every character percent-encoded, and none; the scheme in any case."""
    client_id, secret = confidential(deployment.platform, "client_secret_basic")
    form = {"grant_type": "refresh_token", "refresh_token": "x"}
    for quoted in (lambda text: text, lambda text: "".join(f"%{ord(one):02x}" for one in text)):
        refused(deployment.platform.token(form, headers=basic(client_id, secret, quoted)), "invalid_grant")
    header = basic(client_id, secret)["authorization"].replace("Basic", "bAsIc")
    refused(deployment.platform.token(form, headers={"authorization": header}), "invalid_grant")


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_confidential_clients_connect(deployment, code, method):
    """MCP-AS-09, RG-02: from registration to refresh, with the secret; without it nothing."""
    issuer = deployment.platform
    client_id, secret = confidential(issuer, method)
    fresh = code(client_id)
    refused(issuer.redeem(fresh), "invalid_client", 401)
    headers = basic(client_id, secret) if method == "client_secret_basic" else None
    more = {"client_secret": secret} if method == "client_secret_post" else {"client_id": None}
    form = {
        "grant_type": "authorization_code", "code": fresh.code, "redirect_uri": REDIRECT_URI, "client_id": client_id,
        "code_verifier": fresh.verifier, **more,
    }
    reply = issuer.token(form, headers=headers)
    assert reply.status_code == 200, reply.text
    form = {"grant_type": "refresh_token", "refresh_token": reply.json()["refresh_token"], "client_id": client_id}
    refused(issuer.token(form), "invalid_client", 401)
    assert issuer.token(form | more, headers=headers).status_code == 200


def test_grants_the_client_did_not_register(deployment, code, browser):
    """TK-12: a client without refresh_token gets none and may use none."""
    issuer = deployment.platform
    client_id = issuer.register(grant_types=["authorization_code"])
    reply = issuer.redeem(code(client_id))
    assert reply.status_code == 200 and "refresh_token" not in reply.json()
    refused(issuer.refresh("gr_" + "A" * 134, client_id), "unauthorized_client")


# ---- Codes -------------------------------------------------------------------------------------------------------


def test_every_bad_code_looks_the_same(deployment, client, code, evidence):
    """TK-11, K-01, K-04: of another client, another redirect, another issuer, unknown, broken, with a wrong verifier,
    spent: one body, byte for byte, each recorded; and the code of its owner lives until it is spent."""
    issuer = deployment.platform
    fresh = code()
    other = issuer.register()
    start, end = fresh.code[:-10], fresh.code[-10:]
    twisted = start + ("A" if end[0] != "A" else "B") + end[1:]
    at_acme = deployment.acme.register()
    with evidence.nothing_stored():
        replies = [
            issuer.redeem(fresh, client_id=other),
            issuer.redeem(fresh, redirect_uri="https://elsewhere.example/callback"),
            issuer.redeem(fresh, redirect_uri=REDIRECT_URI + "/"),
            issuer.redeem(fresh, code=twisted),
            issuer.redeem(fresh, code="nonsense"),
            issuer.redeem(fresh, code="a" * 5000),
            issuer.redeem(fresh, code_verifier="w" * 64),
            deployment.acme.redeem(fresh, client_id=at_acme),
        ]
    assert issuer.redeem(fresh).status_code == 200
    replies.append(issuer.redeem(fresh, client_id=other))
    replies.append(issuer.redeem(fresh, code_verifier="w" * 64))
    for reply in replies:
        refused(reply, "invalid_grant")
    assert len({reply.content for reply in replies}) == 1


def test_refused_codes_are_recorded(deployment, client, code, evidence):
    """K-01, K-03: each refusal is an event of the issuer's log that names the client."""
    fresh = code()
    # By way of a proxy that says who asks, since only the first ten of one source have an event of their own.
    form = {"grant_type": "authorization_code", "client_id": client, "code_verifier": "w" * 64, "code": fresh.code}
    replies = [deployment.platform.token(form | {"code": one}, headers=source()) for one in ("x", fresh.code, "")]
    refused(replies[2], "invalid_request")
    events = evidence.of(replies[:2], type="token.denied")
    assert all(event["client"] == client and event["grant"] == "authorization_code" for event in events)
    assert {event["reason"] for event in events} == {"code_malformed", "verifier_wrong"}


@pytest.mark.parametrize("verifier",
    ["v" * 42, "v" * 129, "v" * 42 + "+", "v" * 42 + "=", "v" * 42 + " ", "\u00e9" * 43])
def test_verifiers_of_the_wrong_shape(deployment, code, verifier):
    """PK-04: too short, too long, foreign characters; none of them opens anything."""
    fresh = code()
    reply = deployment.platform.redeem(fresh, code_verifier=verifier)
    assert reply.status_code == 400 and reply.json()["error"] in ("invalid_grant", "invalid_request")
    assert deployment.platform.redeem(fresh).status_code == 200


def test_challenge_is_no_verifier(deployment, code):
    """K-02: who saw the authorization request cannot redeem with what it held."""
    fresh = code()
    refused(deployment.platform.redeem(fresh, code_verifier=challenge(fresh.verifier)), "invalid_grant")


def test_guessing_verifiers_burns_the_code(deployment, code):
    """PK-07: after five wrong verifiers the right one comes too late; the tries may be spread over both nodes."""
    fresh = code()
    for number in range(5):
        node = deployment.node_urls[number % 2]
        refused(deployment.platform.redeem(fresh, node, code_verifier=secrets.token_urlsafe(48)), "invalid_grant")
    refused(deployment.platform.redeem(fresh), "invalid_grant")


def test_four_wrong_verifiers_do_not(deployment, code):
    """PK-07, TK-14: the owner of a code survives a few tries of somebody else."""
    fresh = code()
    for _ in range(4):
        refused(deployment.platform.redeem(fresh, code_verifier=secrets.token_urlsafe(48)), "invalid_grant")
    assert deployment.platform.redeem(fresh).status_code == 200


def test_replay_by_the_owner_revokes(deployment, client, code, evidence):
    """TK-13, K-03, MCP-AS-16: the second use, at the other node, ends what the first one gave, and is recorded."""
    issuer = deployment.platform
    fresh = code()
    tokens = issuer.redeem(fresh, deployment.node_urls[0]).json()
    replay = issuer.redeem(fresh, deployment.node_urls[1])
    refused(replay, "invalid_grant")
    refused(issuer.refresh(tokens["refresh_token"], client), "invalid_grant")
    (event,) = [
        event for event in evidence.of(replay, deployment.organizations["acme"])
        if event["type"] == "authorize.code_replayed"
    ]
    assert event["client"] == client and event["severity"] >= 4
    assert event["targets"][0]["id"] == claims(tokens["access_token"])["grant_id"]


def test_replay_by_others_does_not(deployment, client, code):
    """TK-14: a spent code with a wrong verifier, without one, or from another client revokes nothing."""
    issuer = deployment.platform
    fresh = code()
    tokens = issuer.redeem(fresh).json()
    refused(issuer.redeem(fresh, code_verifier="w" * 64), "invalid_grant")
    refused(issuer.redeem(fresh, code_verifier=None), "invalid_request")
    refused(issuer.redeem(fresh, client_id=issuer.register()), "invalid_grant")
    assert issuer.refresh(tokens["refresh_token"], client).status_code == 200


def test_redirect_may_be_left_out_but_not_changed(deployment, code):
    """TK-16: OAuth 2.1 clients omit it."""
    assert deployment.platform.redeem(code(), redirect_uri=None).status_code == 200


def test_resource_at_the_token_endpoint(deployment, code, evidence):
    """RI-01, RI-03, RI-05: may be repeated or left out, and never be another; a wrong one leaves the code usable."""
    issuer = deployment.platform
    fresh = code()
    with evidence.nothing_stored():
        for other in (deployment.stack.plain_url, deployment.stack.acme_url, "https://nobody.example/", "mcp", "a#b"):
            refused(issuer.redeem(fresh, resource=other), "invalid_target")
        refused(issuer.redeem(fresh, resource=[issuer.resource, deployment.stack.plain_url]), "invalid_target")
    reply = issuer.redeem(fresh, resource=None)
    assert claims(reply.json()["access_token"])["aud"] == issuer.resource


def test_code_expires(deployment, code, evidence):
    """AZ-16: a code that Redis has let go of, as it does after sixty seconds, is worth nothing and revokes nothing."""
    lifetimes = []
    fresh = code()
    for key in evidence.redis("--scan", "--pattern", "*:code"):
        lifetimes.append(int(evidence.redis("TTL", key)[0]))
        evidence.redis("DEL", key)
    # The code of another test may have had less than a second left, or none.
    assert max(lifetimes) > 50 and all(seconds == -2 or 0 <= seconds <= 60 for seconds in lifetimes)
    refused(deployment.platform.redeem(fresh), "invalid_grant")


# ---- CORS --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", ["null", "http://localhost:6274", "https://evil-app.example"])
def test_cors(deployment, http, origin):
    """TK-26, P-14: browser clients may call it, credentials are never allowed."""
    url = f"{deployment.platform.url}/oauth/token"
    preflight = http.options(url, headers={
        "origin": origin, "access-control-request-method": "POST",
        "access-control-request-headers": "content-type,authorization",
    })
    assert preflight.is_success and preflight.headers["access-control-allow-origin"] in ("*", origin)
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert {"content-type", "authorization"} <= {
        name.strip().lower() for name in preflight.headers["access-control-allow-headers"].split(",")
    }
    reply = http.post(url, data={"grant_type": "x"}, headers={"origin": origin})
    refused(reply, "unsupported_grant_type")
    for one in (preflight, reply):
        assert one.headers["access-control-allow-origin"] in ("*", origin)
        assert "access-control-allow-credentials" not in one.headers


# ---- Anything at all ---------------------------------------------------------------------------------------------


def fuzzed(chance: random.Random) -> bytes:
    """Something that is nearly a request body."""
    names = [
        "grant_type", "code", "client_id", "redirect_uri", "code_verifier", "resource", "scope", "refresh_token",
        "client_secret", "csrf_token", "email", "organization", "decision", "action", "state", "redirect_uris",
        "client_name", "response_type", "code_challenge",
    ]
    values = [
        "", "authorization_code", "refresh_token", "%00", "%ff", "%f0%9f%98%80", "a" * 300, "'; DROP TABLE client;--",
        "*1\r\n$4\r\nPING\r\n", "{{7*7}}", "${jndi:ldap://x}", "../../etc/passwd", "-1", "1e400", "\u202e", "%", "+",
        "gr_" + "A" * 134, "org_" + "0" * 26, "https://app.example/cb", "http://127.0.0.1/", "S256", "code",
    ]
    kind = chance.randrange(4)
    if kind == 0:
        return "&".join(
            f"{chance.choice(names)}={chance.choice(values)}" for _ in range(chance.randrange(12))
        ).encode()
    if kind == 1:
        def value(depth: int = 0):
            pick = chance.randrange(9 if depth < 4 else 6)
            if pick < 3:
                return chance.choice(values)
            if pick < 6:
                return chance.choice([None, True, 0, -1, 1.5, 10**40, "\x00", "\ud83d\ude00"])
            if pick == 6:
                return [value(depth + 1) for _ in range(chance.randrange(4))]
            return {chance.choice(names): value(depth + 1) for _ in range(chance.randrange(4))}
        return json.dumps({chance.choice(names): value() for _ in range(chance.randrange(6))}).encode()
    if kind == 2:
        text = chance.choice([
            '{"a":1,"a":2}', "[[[[" * 400, "NaN", '{"redirect_uris":["\\ud800"]}', '{"redirect_uris":[1e999]}', "null",
            "{", '{"client_name":"\\u0000"}', "\ufeff{}", '"text"', "[]", "{}{}", '{"redirect_uris":{"0":"x"}}',
        ])
        return text.encode("utf-8", "surrogatepass")
    return bytes(chance.randrange(256) for _ in range(chance.randrange(200)))


def test_anything_at_all(deployment, evidence):
    """P-06, P-07, P-08, P-10, P-21: 200 seeded bodies at every public POST endpoint; never a 5xx, nothing stored."""
    chance = random.Random(20261123)
    with Walk(deployment, deployment.person("alice")) as browser:
        page = browser.get(deployment.platform.url_for(deployment.platform.register()))
        handle = forms_of(page)[0].action.rstrip("/").rsplit("/", 1)[-1]
    organization = deployment.organizations["acme"]
    paths = [
        "/oauth/token", "/oauth/register", "/oauth/authorize", "/o/acme/oauth/token", "/o/acme/oauth/register",
        "/o/acme/oauth/authorize", f"/signin/{handle}", f"/signin/{handle}/code", f"/signin/{handle}/consent",
        "/signin/nobody", "/v1/organizations", f"/v1/organizations/{organization}/users",
    ]
    types = [
        "application/x-www-form-urlencoded", "application/json", "application/json; charset=utf-16", "text/plain", "",
        "multipart/form-data; boundary=x", "application/x-www-form-urlencoded;charset=UTF-8", "\xe9/\xe9",
    ]
    accounts = evidence.sql('SELECT count(*) FROM "grant"'), evidence.sql("SELECT count(*) FROM redeemed_code")
    failures = []
    with httpx.Client(base_url=deployment.stack.url, trust_env=False, timeout=15) as http:
        for number in range(200):
            path, body = chance.choice(paths), fuzzed(chance)
            # Half of the bodies are announced as what they are, so that they get past the first look.
            type = types[0 if b"=" in body else 1] if chance.random() < 0.6 else chance.choice(types)
            headers = [("content-type", type.encode("latin-1"))] if type else []
            if chance.random() < 0.1:
                headers.append(("authorization", chance.choice(["Basic eA==", "Bearer x", "x", ""]).encode()))
            reply = http.post(path, content=body, headers=headers)
            known = reply.status_code in (200, 201, 400, 401, 403, 404, 413, 415, 422) or reply.is_redirect
            if not known:
                failures.append((number, path, type, body[:200], reply.status_code, reply.text[:200]))
            if "/oauth/token" in path and reply.status_code != 404:
                assert "error" in reply.json(), (number, reply.text)
    assert not failures
    after = evidence.sql('SELECT count(*) FROM "grant"'), evidence.sql("SELECT count(*) FROM redeemed_code")
    assert after == accounts
    assert all(node.running for node in deployment.nodes)


# ---- Secrets -----------------------------------------------------------------------------------------------------


def test_secrets_are_nowhere_in_the_clear(deployment, evidence, code, admin):
    """K-19, K-20, AZ-17: what was issued is in no table, no key of Redis and no log."""
    issuer = deployment.platform
    client_id, secret = confidential(issuer, "client_secret_post")
    spent, waiting = code(client_id), code(client_id)
    form = {
        "grant_type": "authorization_code", "code": spent.code, "redirect_uri": REDIRECT_URI, "client_id": client_id,
        "code_verifier": spent.verifier, "client_secret": secret,
    }
    tokens = issuer.token(form).json()
    again = issuer.token({
        "grant_type": "refresh_token", "refresh_token": tokens["refresh_token"], "client_id": client_id,
        "client_secret": secret,
    }).json()
    acme = deployment.organizations["acme"]
    key = admin.post(f"/v1/organizations/{acme}/admin-keys", {"name": "seen once", "scopes": ["audit:read"]})["secret"]
    issuer.token({"grant_type": "refresh_token", "refresh_token": "gr_not-genuine-" + secret, "client_id": client_id})
    issued = {
        "client secret": secret, "spent code": spent.code, "waiting code": waiting.code,
        "refresh token": tokens["refresh_token"], "its successor": again["refresh_token"],
        "access token": tokens["access_token"].rsplit(".", 1)[1], "admin key": key,
        "first admin key": deployment.stack.admin_key, "verifier": spent.verifier,
    }
    programs = subprocess.run(
        ["bash", "-c", "ls -d /usr/lib/postgresql/*/bin | tail -n 1"], capture_output=True, text=True).stdout.strip()
    dump = subprocess.run(
        [f"{programs}/pg_dump", "--data-only", "--inserts", os.environ["DATABASE_ADMIN_URL"]], capture_output=True,
        text=True, errors="replace", timeout=60)
    assert dump.returncode == 0, dump.stderr
    held = []
    for name in evidence.redis("--scan"):
        kind = evidence.redis("TYPE", name)[0]
        command = {"string": ["GET"], "hash": ["HGETALL"]}.get(kind)
        held += [name] + (evidence.redis(*command, name) if command else [])
    logs = "".join(path.read_text(errors="replace") for path in deployment.stack.logs.glob("gatehouse*.log"))
    places = {"PostgreSQL": dump.stdout, "Redis": "\n".join(held), "logs": logs}
    assert all(places.values()) and 'INSERT INTO public."grant"' in dump.stdout
    # bytea is dumped in hexadecimal
    found = [
        (what, where) for what, value in issued.items() for where, text in places.items()
        if value in text or value.encode().hex() in text
    ]
    assert not found
