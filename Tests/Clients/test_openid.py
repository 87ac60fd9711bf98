"""OpenID Connect as far as clients need it: ID tokens, hints, and what the person is asked (facts A14, MCP §3a)."""

from __future__ import annotations

import base64
import hashlib
import time

import httpx
import pytest
from gatehouse_demo.chatgpt import claims
from joserfc import jwt
from joserfc.jwk import KeySet
from oauth import REDIRECT_URI, Code, Issuer, told
from walk import Walk, text_of

SCOPE = "openid profile email read"


@pytest.fixture(scope="module")
def registered(deployment) -> str:
    """A client that acme's administrator registered: people who consented once need no page."""
    return register(deployment, name="Relying party")


def register(deployment, **members) -> str:
    from gatehouse_demo.admin import Admin

    body = {"redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": "none", **members}
    with Admin(deployment.stack.url, deployment.stack.admin_key) as admin:
        return admin.post(f"/v1/organizations/{deployment.organizations['acme']}/clients", body)["client_id"]


def code(browser: Walk, issuer: Issuer, client: str, **parameters) -> Code:
    """A code of whoever is at the browser, with or without pages between."""
    query, verifier = issuer.query(client, **parameters)
    reply = browser.get(f"{issuer.url}/oauth/authorize?{httpx.QueryParams(query)}")
    if not reply.is_redirect:
        reply = browser.send(browser.until(str(reply.request.url), "decision"))
    return Code(told(reply)["code"], verifier, client)


def sign_in(browser: Walk, issuer: Issuer, client: str, **parameters) -> dict:
    """The token response of such a code."""
    reply = issuer.redeem(code(browser, issuer, client, **parameters))
    assert reply.status_code == 200, reply.text
    return reply.json()


def key_set(issuer: Issuer) -> KeySet:
    return KeySet.import_key_set(httpx.get(f"{issuer.url}/oauth/jwks", trust_env=False).json())


# ---- Discovery ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "/o/acme"])
def test_discovery(deployment, http, path):
    """OI-02, MD-03, MD-08: what OpenID Connect requires stands in both documents; what is off says so."""
    for name in ("openid-configuration", "oauth-authorization-server"):
        body = http.get(f"{deployment.stack.url}/.well-known/{name}{path}").json()
        assert body["issuer"] == deployment.stack.url + path
        assert body["subject_types_supported"] == ["public"]
        assert "RS256" in body["id_token_signing_alg_values_supported"]
        assert "none" not in body["id_token_signing_alg_values_supported"]
        assert {"openid", "profile", "email"} <= set(body["scopes_supported"])
        assert {"sub", "iss", "auth_time", "nonce"} <= set(body["claims_supported"])
        for name in ("claims_parameter_supported", "request_parameter_supported", "request_uri_parameter_supported"):
            assert body[name] is False


# ---- ID tokens ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["platform", "acme"])
def test_id_token(deployment, browser, name):
    """OI-01, AT-03, MD-10: RS256 by a published key; who, for whom, when, the nonce and the access token beside it; no
    address and no name."""
    issuer = deployment.issuer(name)
    client = issuer.register()
    nonce = "n-0S6_WzA2Mj \"é"
    tokens = sign_in(browser, issuer, client, scope=SCOPE, nonce=nonce, max_age="3600")
    token = jwt.decode(tokens["id_token"], key_set(issuer), algorithms=["RS256"])
    assert token.header == {"alg": "RS256", "typ": "JWT", "kid": token.header["kid"]}
    access = claims(tokens["access_token"])
    now = time.time()
    assert token.claims["iss"] == issuer.url and token.claims["aud"] == client
    assert token.claims["sub"] == access["sub"] and token.claims["sub"].startswith("usr_")
    assert token.claims["org_id"] == deployment.organizations["acme"]
    assert token.claims["iat"] <= now + 1 and now < token.claims["exp"] <= now + 3600
    assert token.claims["auth_time"] == access["auth_time"] <= now + 1
    assert token.claims["nonce"] == nonce
    half = hashlib.sha256(tokens["access_token"].encode()).digest()[:16]
    assert token.claims["at_hash"] == base64.urlsafe_b64encode(half).rstrip(b"=").decode()
    assert not {"email", "name", "email_verified"} & set(token.claims)
    assert set(tokens["scope"].split()) == {"openid", "profile", "email", "read"}
    again = issuer.refresh(tokens["refresh_token"], client).json()
    assert "id_token" not in again and "openid" in again["scope"].split()


def test_without_openid(deployment, browser, registered):
    """OI-01: none without `openid`; no nonce where none was sent."""
    tokens = sign_in(browser, deployment.acme, registered, scope="read email", nonce="n")
    assert "id_token" not in tokens
    tokens = sign_in(browser, deployment.acme, registered, scope="openid read")
    assert "nonce" not in claims(tokens["id_token"])


def test_keys_have_one_purpose(deployment, browser, registered):
    """AT-07, MD-10: an ID token is signed by another key than any access token, and has another type."""
    tokens = sign_in(browser, deployment.acme, registered, scope="openid read")
    one, other = (jwt.decode(tokens[name], key_set(deployment.acme), algorithms=["RS256", "ES256"]).header
                  for name in ("id_token", "access_token"))
    assert one["kid"] != other["kid"] and (one["typ"], other["typ"]) == ("JWT", "at+jwt")


def test_first_key_of_an_organization(deployment, evidence, admin):
    """MD-11, OI-01: an organization's key is made when somebody first asks, once, while many ask at once; every node
    publishes it before it signs."""
    globex = deployment.organizations["globex"]
    body = {"uri": "https://openid.globex.example/mcp", "name": "For OpenID", "scopes": ["read"]}
    resource = admin.post(f"/v1/organizations/{globex}/resources", body)
    try:
        issuer = Issuer(deployment.globex.url, body["uri"])
        client = issuer.register()
        with Walk(deployment, deployment.person("gus")) as browser:
            made = [code(browser, issuer, client, scope="openid read") for _ in range(3)]
        for one, node in zip(made, [*deployment.node_urls, None], strict=True):
            reply = issuer.redeem(one, node)
            assert reply.status_code == 200, reply.text
            for base in deployment.node_urls:
                keys = KeySet.import_key_set(httpx.get(f"{base}/o/globex/oauth/jwks", trust_env=False).json())
                jwt.decode(reply.json()["id_token"], keys, algorithms=["RS256"])
        rows = [key for key in admin.list(f"/v1/organizations/{globex}/signing-keys") if key["purpose"] == "id_token"]
        assert [(key["algorithm"], key["status"]) for key in rows] == [("RS256", "active")]
        events = evidence.events(globex, type="signing_key.generated")
        assert [event["actor"]["id"] for event in events if event["targets"][0]["id"] == rows[0]["id"]] == [
            "sys:id_token_keys"]
    finally:
        admin.send("DELETE", f"/v1/organizations/{globex}/resources/{resource['id']}", headers={"if-match": "*"})


def test_nonce_is_bounded(deployment, registered):
    """OI-01: what has to be kept for the token is no place for a novel."""
    reply = deployment.acme.ask(registered, nonce="n" * 1025)
    assert told(reply)["error"] == "invalid_request"


# ---- What the person is asked ------------------------------------------------------------------------------------


def test_consent_names_what_is_told_about_the_person(deployment, browser):
    """AZ-24, OI-03: name and address are on the page when, and only when, they are asked for."""
    client = deployment.acme.register()
    page = text_of(browser.until(deployment.acme.url_for(client, scope=SCOPE), "decision"))
    assert "See your name" in page and "See your e-mail address" in page
    page = text_of(browser.until(deployment.acme.url_for(client, scope="openid read"), "decision"))
    assert "See your" not in page


def test_select_account(deployment, browser, registered):
    """OI-04: prompt=select_account shows who is signed in and lets them be somebody else, consent or not."""
    sign_in(browser, deployment.acme, registered, scope="read")
    page = browser.get(deployment.acme.url_for(registered, scope="read", prompt="select_account"))
    assert page.status_code == 200 and "Continue as" in text_of(page) and 'name="email"' in page.text
    again = browser.get(deployment.acme.url_for(registered, scope="read", prompt="select_account login"))
    assert "Continue as" not in text_of(again)


def test_tolerated_parameters(deployment, browser, registered):
    """OI-04: login_hint, ui_locales, display, acr_values, claims and unknown prompts do no harm; the hint fills the
    field."""
    sign_in(browser, deployment.acme, registered, scope="read")
    tolerated = {"ui_locales": "de-CH fr", "display": "popup", "acr_values": "x", "claims_locales": "de",
                 "claims": '{"id_token":{"email":null}}', "login_hint": "alice@acme.example"}
    assert "code" in told(browser.get(deployment.acme.url_for(registered, scope="read", **tolerated)))
    page = deployment.acme.ask(registered, login_hint="somebody@acme.example", prompt="create")
    assert page.status_code == 200 and 'value="somebody@acme.example"' in page.text


# ---- id_token_hint -----------------------------------------------------------------------------------------------


def test_hint_of_the_person_at_the_browser(deployment, browser, registered):
    """OI-04, facts 3a "Re-authorization": the session stands in for a sign-in; at the platform the hint says which
    organization's; a registered client asks nobody."""
    hint = sign_in(browser, deployment.acme, registered, scope="openid read")["id_token"]
    for prompt in ("none", None):
        url = deployment.acme.url_for(registered, scope="openid read", prompt=prompt, id_token_hint=hint)
        assert "code" in told(browser.get(url)), prompt
    # A client that registered by itself shows its pages, but nobody types an address again.
    client = deployment.platform.register()
    hint = sign_in(browser, deployment.platform, client, scope="openid read")["id_token"]
    page = browser.get(deployment.platform.url_for(client, scope="openid read write", id_token_hint=hint))
    assert page.status_code == 200 and "Continue as alice@acme.example" in text_of(page)
    reply = browser.get(deployment.platform.url_for(client, scope="openid", id_token_hint=hint, prompt="none"))
    assert told(reply)["error"] == "consent_required"


def test_hint_of_somebody_else(deployment, browser, registered, evidence):
    """OI-04: whoever is signed in, if it is not the person meant the answer is login_required: at once with prompt=none,
    else after a sign-in as somebody else."""
    with Walk(deployment, deployment.person("rita")) as other:
        hint = sign_in(other, deployment.acme, registered, scope="openid read")["id_token"]
    url = deployment.acme.url_for(registered, scope="openid read", prompt="none", state="s", id_token_hint=hint)
    answer = told(browser.get(url))
    assert (answer["error"], answer["state"], answer["iss"]) == ("login_required", "s", deployment.acme.url)
    page = browser.until(deployment.acme.url_for(registered, scope="openid read", id_token_hint=hint), "email")
    assert "Continue as" not in text_of(page)
    with Walk(deployment, deployment.person("alice")) as alone:
        page = alone.until(deployment.acme.url_for(registered, scope="openid read", id_token_hint=hint), "code")
        given = 'SELECT (SELECT count(*) FROM consent), (SELECT count(*) FROM "grant")'
        before = evidence.sql(given)
        reply = alone.send(page)
        answer = told(reply)
        assert evidence.sql(given) == before
        assert (answer["error"], answer["iss"]) == ("login_required", deployment.acme.url)
        (event,) = evidence.of(reply, deployment.organizations["acme"], type="authorize.denied")
        assert event["reason"] == "another_person"


def test_hint_that_is_none(deployment, browser, registered):
    """OI-04, K-07, K-13: twisted, another client's, another issuer's, an access token, unsigned: no session is taken for
    granted, and the person may still sign in."""
    tokens = sign_in(browser, deployment.acme, registered, scope="openid read")
    genuine = tokens["id_token"]
    header, payload, signature = genuine.split(".")
    unsigned = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode() + f".{payload}."
    other = sign_in(browser, deployment.acme, register(deployment, name="Other"), scope="openid read")["id_token"]
    platform = deployment.platform.register()
    elsewhere = sign_in(browser, deployment.platform, platform, scope="openid read")["id_token"]
    for hint in (f"{header}.{payload}.{signature[:-4]}AAAA", unsigned, other, elsewhere, tokens["access_token"], "x"):
        url = deployment.acme.url_for(registered, scope="openid read", prompt="none", id_token_hint=hint)
        assert told(browser.get(url))["error"] == "login_required", hint
        page = browser.get(deployment.acme.url_for(registered, scope="openid read", id_token_hint=hint))
        assert page.status_code == 200 and "Continue as" not in text_of(page)
