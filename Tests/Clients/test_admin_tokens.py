"""Administering by an access token of the admin API: who gets one, what it opens, and when it stops (design §4.7)."""

from __future__ import annotations

import base64
import json
import secrets
import time
from contextlib import contextmanager
from urllib.parse import urlencode

import httpx
import pytest
from administration import Administration
from document_host import fresh_name
from dpop import Prover
from evidence import source, uuid_of
from gatehouse_demo.admin import Admin
from gatehouse_demo.chatgpt import claims
from oauth import REDIRECT_URI, Code, Issuer, told
from test_admin_isolation import EPOCH_BOUND, bare, is_not_found
from test_metadata_documents import publish
from walk import Walk, text_of, told_code

OLD = 16 * 60
# What grants call the admin API; it stands in no list of resources.
ADMIN_API = "res_0000000000e008000000000001"


@pytest.fixture(scope="module")
def platform(deployment):
    with Admin(deployment.stack.url, deployment.stack.admin_key) as made:
        yield made


@pytest.fixture(scope="module")
def acme(deployment, platform):
    made = Administration(deployment, platform)
    yield made
    made.take("admin", made.alice)


@pytest.fixture
def alices(deployment):
    """alice at a browser where she never was before: her sign-in is new."""
    with Walk(deployment, deployment.person("alice")) as made:
        yield made


@contextmanager
def signed_in_long_ago(evidence, user: str):
    """The person's sessions, as if they had begun before a step-up counts no more."""
    shift = "UPDATE session SET auth_time = auth_time {} interval '%d seconds' WHERE user_id = '%s'" % (
        OLD, uuid_of(user))
    evidence.sql(shift.format("-"))
    yield
    evidence.sql(shift.format("+"))


def consent_as_signed_in(acme, browser: Walk) -> tuple[httpx.Response, str]:
    """The consent page of a person who goes on as who is signed in, and the verifier."""
    query, verifier = acme.issuer.query(acme.client, scope="users:read")
    first = browser.get(f"{acme.issuer.url}/oauth/authorize?{urlencode(query)}")
    assert "alice@acme.example" in text_of(first)
    return browser.send(first, email=None), verifier


def code_as_signed_in(acme, browser: Walk) -> Code:
    page, verifier = consent_as_signed_in(acme, browser)
    return Code(told(browser.send(page, decision="allow"))["code"], verifier, acme.client)


# ---- It works ----------------------------------------------------------------------------------------------------


def test_a_person_administers(deployment, acme, alices, evidence, http):
    """RM-01, RM-02, design 4.7: from the bare 401 by metadata, sign-in and code to a change, in the person's name."""
    path = f"{acme.base}/groups"
    challenge = http.get(deployment.stack.url + path).headers["www-authenticate"]
    assert "error" not in challenge
    metadata = challenge.split('resource_metadata="')[1].split('"')[0]
    document = http.get(metadata).json()
    assert document["resource"] == acme.resource and deployment.stack.url + path == f"{document['resource']}/groups"
    assert document["authorization_servers"] == [acme.issuer.url]
    assert document["bearer_methods_supported"] == ["header"]
    scopes = document["scopes_supported"]
    assert "groups:write" in scopes and "*" not in scopes and "domains:verify" not in scopes
    page = alices.until(acme.issuer.url_for(acme.client, scope="groups:read groups:write"), "decision")
    assert "Change groups" in text_of(page) and "Change users" not in text_of(page)
    before = time.time()
    granted = acme.redeem(told_code(acme.issuer, alices, acme.client, scope="groups:read groups:write"))
    assert granted["expires_in"] <= 900 and granted["token_type"] == "Bearer"
    said = claims(granted["access_token"])
    assert said["aud"] == acme.resource and said["sub"] == acme.alice and said["iss"] == acme.issuer.url
    assert sorted(said["scopes"]) == ["groups:read", "groups:write"]
    assert said["exp"] <= said["auth_time"] + 900 and said["auth_time"] >= before - 60
    with acme.as_person(granted["access_token"]) as person:
        made = person.send("POST", path, {"name": f"By a person {time.time()}"}, {"idempotency-key": "once"})
        assert made.status_code == 201, made.text
        again = person.send("POST", path, json.loads(made.request.content), {"idempotency-key": "once"})
        assert again.headers["idempotency-replayed"] == "true" and again.json() == made.json()
        assert made.json()["id"] in [row["id"] for row in person.list(path, limit=1)], "cursors work"
        # The organization by its slug, as everywhere.
        assert person.send("GET", "/v1/organizations/acme/groups").status_code == 200
        (event,) = [one for one in evidence.of(made, acme.organization) if one["type"] == "group.created"]
        assert event["actor"]["id"] == acme.alice and event["actor"]["session"] == said["grant_id"]
        assert event["client"] == acme.client and event["metadata"]["through_client"] == acme.client
        # Less than the role stands for was asked for, and no more is held.
        reply = person.send("GET", f"{acme.base}/users")
        assert reply.status_code == 403 and 'scope="users:read"' in reply.headers["www-authenticate"]
        assert "users:read" in reply.json()["detail"]
        assert person.send("DELETE", f"{path}/{made.json()['id']}", headers={"if-match": "*"}).status_code == 204


def test_scopes_are_what_the_role_stands_for(deployment, acme, alices, platform, evidence):
    """T-23, design 4.7: without a name everything the role stands for, whatever else is asked nothing beyond it; what
    the organization denies over everything, and a client's ceiling, count here too."""
    said = claims(acme.token(alices))
    assert "users:write" in said["scopes"]
    assert not {"*", "domains:verify", "identity-providers:write", "signing-keys:write"} & set(said["scopes"])
    said = claims(acme.token(alices, scope="users:read identity-providers:write domains:verify *"))
    assert said["scopes"] == ["users:read"]
    ceiling = acme.make_client(admin_api_access=True, scope_ceiling=["audit:read"])
    said = claims(acme.redeem(told_code(acme.issuer, alices, ceiling))["access_token"])
    assert said["scopes"] == ["audit:read"]
    # By its slug the resource is the same one, with the same audience.
    by_slug = Issuer(acme.issuer.url, f"{deployment.stack.url}/v1/organizations/acme")
    code = told_code(by_slug, alices, acme.client, scope="users:read")
    reply = acme.issuer.redeem(code, resource=None)
    assert claims(reply.json()["access_token"])["aud"] == acme.resource
    token = acme.token(alices, scope="users:read audit:read")
    denial = platform.post(f"{acme.base}/scope-policies", {
        "name": f"no people {time.time()}", "effect": "deny", "principals": {"everyone": True},
        "scopes": ["users:*"]})
    time.sleep(EPOCH_BOUND)
    with acme.as_person(token) as person:
        assert person.send("GET", f"{acme.base}/users").status_code == 403
        assert person.send("GET", f"{acme.base}/audit/events").status_code == 200
    path = f"{acme.base}/scope-policies/{denial['id']}"
    assert platform.send("DELETE", path, headers={"if-match": "*"}).status_code == 204


def test_proof_of_possession(deployment, acme, alices, http):
    """DP-03, K-16: a token that is bound to a key opens nothing as a bearer's, with another key, another request's proof
    or a spent one."""
    prover, other = Prover(), Prover()
    token_url = f"{acme.issuer.url}/oauth/token"
    code = told_code(acme.issuer, alices, acme.client, scope="users:read")
    reply = prover.send(lambda headers: acme.issuer.token({
        "grant_type": "authorization_code", "code": code.code, "redirect_uri": REDIRECT_URI,
        "client_id": code.client_id, "code_verifier": code.verifier}, headers=headers), token_url)
    assert reply.status_code == 200 and reply.json()["token_type"] == "DPoP", reply.text
    token = reply.json()["access_token"]
    url = f"{acme.resource}/users"

    def get(scheme: str, headers: dict[str, str]) -> httpx.Response:
        return http.get(url, headers={"authorization": f"{scheme} {token}", **headers, **source()})

    reply = get("Bearer", {})
    assert reply.status_code == 401 and 'error="invalid_token"' in reply.headers["www-authenticate"]
    reply = get("DPoP", {})
    assert reply.status_code == 401 and 'DPoP algs=' in reply.headers["www-authenticate"]
    assert 'error="invalid_dpop_proof"' in reply.headers["www-authenticate"]
    reply = other.send(lambda headers: get("DPoP", headers), url, method="GET", token=token)
    assert reply.status_code == 401 and 'error="invalid_token"' in reply.headers["www-authenticate"]
    proof = {}
    reply = prover.send(lambda headers: get("DPoP", proof | headers), url, method="GET", token=token)
    assert reply.status_code == 200, reply.text
    assert reply.headers["dpop-nonce"]
    for changes in ({"method": "POST"}, {"token": "x"}):
        reply = prover.send(lambda headers: get("DPoP", headers), url, **{"method": "GET", "token": token, **changes})
        assert reply.status_code == 401, changes
    spent = {"dpop": prover.proof(url, method="GET", token=token)}
    assert get("DPoP", spent).status_code == 200
    assert get("DPoP", spent).status_code == 401
    # A bearer's token opens nothing by the other scheme.
    plain = acme.token(alices, scope="users:read")
    reply = prover.send(
        lambda headers: http.get(url, headers={"authorization": f"DPoP {plain}", **headers}), url, method="GET",
        token=plain)
    assert reply.status_code == 401


# ---- Who gets none -----------------------------------------------------------------------------------------------


def test_clients_that_get_none(deployment, acme, platform, evidence):
    """CM-08, K-21, design 4.7: to a client that registered by itself, is a document, was not allowed, or belongs to the
    platform, the admin API is no resource at all: the same answer as for one that nobody has."""
    stranger = acme.issuer.register()
    document = publish(deployment.documents, f"/{secrets.token_hex(4)}", fresh_name())
    unlisted = acme.make_client()
    nowhere = f"{deployment.stack.url}/v1/organizations/org_{'0' * 25}1"
    with evidence.nothing_stored():
        for client in (stranger, unlisted, acme.client):
            missing = acme.issuer.ask(client, resource=nowhere, headers=source())
            assert told(missing)["error"] == "invalid_target"
            if client != acme.client:
                reply = acme.issuer.ask(client, headers=source())
                assert told(reply)["error"] == "invalid_target"
                assert told(reply)["error_description"] == told(missing)["error_description"]
    assert told(acme.issuer.ask(document, headers=source()))["error"] == "invalid_target"
    for resource in (deployment.stack.url + "/v1", f"{acme.resource}/users", f"{acme.resource}?x"):
        assert told(acme.issuer.ask(acme.client, resource=resource))["error"] == "invalid_target", resource
    # The platform's issuer gives none, to whomever.
    at_platform = Issuer(deployment.stack.url, acme.resource)
    assert told(at_platform.ask(at_platform.register(), headers=source()))["error"] == "invalid_target"
    # Nobody allows themselves.
    for metadata in ({"admin_api_access": True}, {"scope": "users:write"}):
        assert told(acme.issuer.ask(acme.issuer.register(**metadata), headers=source()))["error"] == "invalid_target"
    for registry, body in (
        ("/v1", {}), (acme.base, {"kind": "service", "redirect_uris": []}),
        (acme.base, {"kind": "metadata_document", "document_url": document}),
        (acme.base, {"redirect_uris": [], "token_endpoint_auth_method": "client_secret_basic",
                     "grant_types": ["urn:ietf:params:oauth:grant-type:jwt-bearer"]}),
    ):
        body = {"name": "x", "redirect_uris": [REDIRECT_URI], "admin_api_access": True} | body
        if body.get("kind") == "metadata_document":
            body = {name: body[name] for name in ("kind", "document_url", "admin_api_access")}
        reply = platform.send("POST", f"{registry}/clients", body)
        assert reply.status_code == 422, reply.text
        assert "/admin_api_access" in [error["pointer"] for error in reply.json()["errors"]]
    dynamic = platform.send(
        "PATCH", f"{acme.base}/clients/{stranger}", {"admin_api_access": True}, {"if-match": "*"})
    assert dynamic.status_code in (409, 422)


def test_grants_that_give_none(deployment, acme, alices, platform):
    """K-21, TK-20: no other grant gives such a token: not one without a person, not by exchange, not on a device, not
    by an administrator's word."""
    base = acme.base
    service = platform.post(f"{base}/clients", {
        "name": "Service", "kind": "service", "token_endpoint_auth_method": "client_secret_post"})
    reply = acme.issuer.token({
        "grant_type": "client_credentials", "client_id": service["client_id"], "client_secret": service["client_secret"],
        "resource": acme.resource})
    assert reply.status_code == 400 and reply.json()["error"] == "invalid_target"
    exchange = "urn:ietf:params:oauth:grant-type:token-exchange"
    swapper = platform.post(f"{base}/clients", {
        "name": "Swapper", "redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": "client_secret_post",
        "grant_types": ["authorization_code", exchange], "admin_api_access": True})
    secret = {"client_secret": swapper["client_secret"]}

    def exchanged(token: str, resource: str | None) -> httpx.Response:
        return acme.issuer.token({
            "grant_type": exchange, "subject_token": token, "client_id": swapper["client_id"], "resource": resource,
            "subject_token_type": "urn:ietf:params:oauth:token-type:access_token", **secret})

    ordinary = Issuer(acme.issuer.url, deployment.stack.acme_url)
    code = told_code(ordinary, alices, swapper["client_id"])
    plain = ordinary.redeem(code, **secret).json()["access_token"]
    assert exchanged(plain, acme.resource).json()["error"] == "invalid_target"
    code = told_code(acme.issuer, alices, swapper["client_id"], scope="users:read")
    token = acme.redeem(code, **secret)["access_token"]
    for resource in (None, acme.resource, deployment.stack.acme_url):
        assert exchanged(token, resource).status_code == 400, resource
    reply = platform.send("POST", f"{base}/access-tokens", {
        "name": "x", "user": acme.alice, "resource": ADMIN_API, "scopes": ["users:read"]})
    assert reply.status_code in (404, 422), reply.text


def test_people_that_get_none(deployment, acme, evidence):
    """R-24, T-23: a person without a role is shown that nothing is allowed, and the client gets nothing."""
    rita = deployment.person("rita")
    with Walk(deployment, rita) as browser:
        page = browser.until(acme.issuer.url_for(acme.client), "decision")
        answer = told(browser.send(page, decision="allow"))
    assert answer["error"] == "access_denied" and "code" not in answer


def test_a_sign_in_that_is_too_old(deployment, acme, alices, evidence):
    """AZ-20, design 4.7, RFC 9470: whatever the client says of max_age, a sign-in of more than 15 minutes ago is none,
    and nobody goes on as who signed in then; an ordinary resource asks nothing new."""
    acme.token(alices, scope="users:read")   # signed in by now
    silent = {"prompt": "none", "scope": "users:read"}
    assert told(alices.get(acme.issuer.url_for(acme.client, **silent)))["error"] == "consent_required"
    with signed_in_long_ago(evidence, acme.alice):
        for changes in ({}, {"max_age": "86400"}):
            answer = told(alices.get(acme.issuer.url_for(acme.client, **silent, **changes)))
            assert answer["error"] == "login_required", changes
        ordinary = Issuer(acme.issuer.url, deployment.stack.acme_url)
        answer = told(alices.get(ordinary.url_for(acme.client, prompt="none")))
        assert answer["error"] == "consent_required"
        first = alices.get(acme.issuer.url_for(acme.client, scope="users:read"))
        assert "alice@acme.example" not in text_of(first)


# ---- Where it opens nothing --------------------------------------------------------------------------------------


def test_elsewhere(deployment, acme, alices, evidence, http):
    """T-13, T-01, T-23, BR-07: at another organization byte for byte the 404 of one that never was; at the platform's
    calls 404; nothing created, and the attempt recorded at home."""
    token = acme.token(alices)
    globex = deployment.organizations["globex"]
    with acme.as_person(token) as person:
        for method, path, body in (
            ("GET", "users", None), ("POST", "groups", {"name": "x"}), ("POST", "admin-keys", {"name": "x", "scopes": []}),
        ):
            missing = person.send(method, f"/v1/organizations/org_{'0' * 25}1/{path}", body)
            for name in (globex, "globex", "nobody"):
                foreign = person.send(method, f"/v1/organizations/{name}/{path}", body)
                assert is_not_found(foreign) and bare(foreign) == bare(missing), (method, path, name)
        for method, path in (
            ("GET", "organizations"), ("POST", "organizations"), ("GET", "admin-keys"), ("POST", "admin-keys"),
            ("GET", "resources"), ("GET", "audit/events"), ("GET", "signing-keys"),
        ):
            assert is_not_found(person.send(method, f"/v1/{path}", {} if method == "POST" else None)), path
        # Its own organization it cannot suspend, as no key of it can.
        reply = person.send("POST", f"{acme.base}:suspend", {})
        assert reply.status_code == 403, reply.text
        foreign = person.send("GET", f"/v1/organizations/{globex}/users")
        events = evidence.of(foreign, acme.organization)
        assert events[0]["type"] == "admin.access_denied" and events[0]["actor"]["id"] == acme.alice
    reply = http.get(f"{deployment.stack.url}/scim/v2/acme/Users", headers={"authorization": f"Bearer {token}"})
    assert reply.status_code == 401


def test_audiences_are_apart(deployment, acme, alices, platform, http):
    """BR-07, T-13, K-13: a token of an MCP server opens no administration, whatever its scopes; a token of the admin API
    is none at any other resource's introspection; nothing can be registered under the admin API's own address."""
    url = f"{acme.resource}/users"
    ordinary = Issuer(acme.issuer.url, deployment.stack.acme_url)
    code = told_code(ordinary, alices, acme.client, scope="read openid")
    granted = ordinary.redeem(code).json()
    platforms = deployment.platform
    code = told_code(platforms, alices, platforms.register())
    shared = platforms.redeem(code).json()
    for text in (
        granted["access_token"], granted["id_token"], shared["access_token"], granted.get("refresh_token", "x.y.z"),
    ):
        reply = http.get(url, headers={"authorization": f"Bearer {text}", **source()})
        assert reply.status_code == 401, reply.text
        assert 'error="invalid_token"' in reply.headers["www-authenticate"]
    token = acme.token(alices, scope="users:read")
    header, payload, signature = token.split(".")
    members = json.loads(base64.urlsafe_b64decode(payload + "=="))

    def forged(**changes) -> str:
        text = json.dumps(members | changes).encode()
        return f"{header}.{base64.urlsafe_b64encode(text).rstrip(b'=').decode()}.{signature}"

    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"at+jwt"}').rstrip(b"=").decode()
    for text in (
        forged(scope="users:write"), forged(org_id=deployment.organizations["globex"]), forged(exp=2**31),
        forged(org_id="org_x"), forged(grant_id=None), f"{none}.{payload}.", f"{header}.{payload}.", "a.b.c", "..",
    ):
        reply = http.get(url, headers={"authorization": f"Bearer {text}", **source()})
        assert reply.status_code == 401 and 'error="invalid_token"' in reply.headers["www-authenticate"], text
    (resource,) = [one for one in platform.list(f"{acme.base}/resources") if one["uri"] == deployment.stack.acme_url]
    credential = platform.post(f"{acme.base}/resources/{resource['id']}/credentials", {"name": "asks"})
    answer = http.post(
        f"{acme.issuer.url}/oauth/introspect", data={"token": token}, auth=(credential["client_id"], credential["client_secret"]))
    assert answer.status_code == 200 and answer.json() == {"active": False}
    for uri in (acme.resource, f"{deployment.stack.url}/v1", f"{acme.resource}/users", f"{deployment.stack.url}/v1?x"):
        reply = platform.send("POST", f"{acme.base}/resources", {"uri": uri, "name": "x", "scopes": ["users:write"]})
        assert reply.status_code == 422 and reply.json()["errors"][0]["pointer"] == "/uri", reply.text
    reply = platform.send("PATCH", f"{acme.base}/settings", {"default_resource": ADMIN_API})
    assert reply.status_code == 422, reply.text


# ---- When it stops -----------------------------------------------------------------------------------------------


def both(deployment, token: str, path: str, status: int) -> httpx.Response:
    for node in deployment.node_urls:
        reply = httpx.get(
            f"{node}{path}", headers={"authorization": f"Bearer {token}", **source()}, timeout=15, trust_env=False)
        assert reply.status_code == status, (node, reply.text)
    return reply


def test_what_ends_it(deployment, acme, alices, platform, evidence, http):
    """T-30, TK-23, RV-01: without its role, its grant, its client's permission, its person or its organization it opens
    nothing on either node within a second, and what nobody took away opens on."""
    path = f"{acme.base}/users"
    token = acme.token(alices, scope="users:read users:write")
    both(deployment, token, path, 200)
    # The role.
    acme.take("admin", acme.alice)
    time.sleep(EPOCH_BOUND)
    assert 'scope="users:read"' in both(deployment, token, path, 403).headers["www-authenticate"]
    # A lesser one, and one of the organization's own that loses a scope.
    acme.give("auditor", acme.alice)
    time.sleep(EPOCH_BOUND)
    both(deployment, token, path, 200)
    with acme.as_person(token) as person:
        assert person.send("POST", path, {"email": "x@acme.example"}).status_code == 403
    acme.take("auditor", acme.alice)
    own = platform.post(f"{acme.base}/roles", {"name": f"Own {time.time()}", "admin_scopes": ["users:read"]})
    acme.roles["own"] = own["id"]
    acme.give("own", acme.alice)
    time.sleep(EPOCH_BOUND)
    both(deployment, token, path, 200)
    assert platform.send(
        "PATCH", f"{acme.base}/roles/{own['id']}", {"admin_scopes": ["groups:read"]}, {"if-match": "*"}).is_success
    time.sleep(EPOCH_BOUND)
    both(deployment, token, path, 403)
    assert platform.send("DELETE", f"{acme.base}/roles/{own['id']}", headers={"if-match": "*"}).is_success
    acme.give("admin", acme.alice)
    time.sleep(EPOCH_BOUND)
    both(deployment, token, path, 200)
    # What the client may.
    client = f"{acme.base}/clients/{acme.client}"
    for ended, again in (({"admin_api_access": False}, {"admin_api_access": True}),
                         ({"status": "disabled"}, {"status": "active"})):
        assert platform.send("PATCH", client, ended, {"if-match": "*"}).status_code == 200
        time.sleep(EPOCH_BOUND)
        both(deployment, token, path, 401)
        assert platform.send("PATCH", client, again, {"if-match": "*"}).status_code == 200
        time.sleep(EPOCH_BOUND)
        both(deployment, token, path, 200)
    # The organization.
    assert platform.send("POST", f"{acme.base}:suspend", {}).is_success
    time.sleep(EPOCH_BOUND)
    both(deployment, token, path, 401)
    metadata = http.get(f"{deployment.stack.url}/.well-known/oauth-protected-resource{acme.base}")
    assert metadata.status_code == 404
    assert platform.send("POST", f"{acme.base}:resume", {}).is_success
    time.sleep(EPOCH_BOUND)
    both(deployment, token, path, 200)
    # The token, by whoever holds it (RFC 7009), and the grant, by an administrator.
    other = acme.token(alices, scope="users:read")
    reply = http.post(f"{acme.issuer.url}/oauth/revoke", data={"token": other, "client_id": acme.client})
    assert reply.status_code == 200
    both(deployment, other, path, 401)
    third = acme.token(alices, scope="users:read")
    grant = claims(third)["grant_id"]
    assert platform.send("POST", f"{acme.base}/grants/{grant}:revoke", {}).is_success
    both(deployment, third, path, 401)
    # The person.
    assert platform.send("POST", f"{acme.base}/users/{acme.alice}:disable", {}).is_success
    time.sleep(EPOCH_BOUND)
    both(deployment, token, path, 401)
    assert platform.send("POST", f"{acme.base}/users/{acme.alice}:enable", {}).is_success
    time.sleep(EPOCH_BOUND)
    both(deployment, token, path, 401)


def test_its_time_is_over(deployment, acme, alices, evidence):
    """K-14, design 4.7, RFC 9470: a token whose sign-in is too old is told to have its person sign in again, with max_age; a
    text that was never right is told no such thing. A code and a page that were left lying give nothing either."""
    token = acme.token(alices, scope="users:read")
    grant = uuid_of(claims(token)["grant_id"])
    evidence.sql(f"UPDATE \"grant\" SET auth_time = auth_time - interval '{OLD} seconds' WHERE id = '{grant}'")
    reply = both(deployment, token, f"{acme.base}/users", 401)
    challenge = reply.headers["www-authenticate"]
    assert 'error="insufficient_user_authentication"' in challenge and 'max_age="900"' in challenge
    assert f'resource_metadata="{deployment.stack.url}/.well-known/oauth-protected-resource{acme.base}"' in challenge
    assert reply.json()["code"] == "insufficient_user_authentication"
    # The same when its own end has come, which is no later.
    user = uuid_of(acme.alice)
    evidence.sql(f"UPDATE session SET auth_time = now() - interval '888 seconds' WHERE user_id = '{user}'")
    try:
        granted = acme.redeem(code_as_signed_in(acme, alices))
        late = code_as_signed_in(acme, alices)
        page, _ = consent_as_signed_in(acme, alices)
    finally:
        evidence.sql(f"UPDATE session SET auth_time = now() WHERE user_id = '{user}'")
    assert granted["expires_in"] <= 12
    token = granted["access_token"]
    time.sleep(max(0, claims(token)["exp"] - time.time()) + 0.1)
    challenge = both(deployment, token, f"{acme.base}/users", 401).headers["www-authenticate"]
    assert 'error="insufficient_user_authentication"' in challenge
    challenge = both(deployment, token[:-8] + "AAAAAAAA", f"{acme.base}/users", 401).headers["www-authenticate"]
    assert 'error="invalid_token"' in challenge
    time.sleep(1)
    reply = acme.issuer.redeem(late)
    assert reply.status_code == 400 and reply.json()["error"] == "invalid_grant", reply.text
    with evidence.nothing_stored():
        reply = alices.send(page, decision="allow")
        assert reply.status_code in (400, 410) and "location" not in reply.headers, reply.text


# ---- What it may hand on -----------------------------------------------------------------------------------------


def test_it_hands_on_no_more_than_it_has(deployment, acme, alices, platform, evidence):
    """T-23: keys, roles, invitations and clients by a person's token: at most what the token holds, within the
    organization; the event says who tried."""
    base = acme.base
    token = acme.token(alices, scope="admin-keys:write users:read roles:write invitations:write clients:write")
    limited = acme.token(alices, scope="clients:write clients:read")
    with acme.as_person(token) as person, acme.as_person(limited) as clerk:
        for scopes in (["*"], ["users:write"], ["users:read", "audit:read"], ["domains:verify"]):
            reply = person.send("POST", f"{base}/admin-keys", {"name": "stronger", "scopes": scopes})
            assert reply.status_code == 403, (scopes, reply.text)
        events = evidence.of(reply, acme.organization)
        assert events[0]["actor"]["id"] == acme.alice and events[0]["outcome"] == "denied"
        for role in ("owner", "admin", "auditor"):
            reply = person.send("POST", f"{base}/roles/{acme.roles[role]}/bindings", {"user": acme.alice})
            assert reply.status_code == 403, role
            reply = person.send("POST", f"{base}/invitations", {
                "email": "boss@acme.example", "roles": [acme.roles[role]]})
            assert reply.status_code == 403, role
        made = person.send("POST", f"{base}/admin-keys", {"name": "as strong", "scopes": ["users:read"]})
        assert made.status_code == 201 and made.json()["created_by"] == acme.alice, made.text
        assert platform.send(
            "DELETE", f"{base}/admin-keys/{made.json()['id']}", headers={"if-match": "*"}).status_code == 204
        # To let a client in, or to move one that is in, is to make administrators: it takes what keys take.
        body = {"name": "mine", "redirect_uris": ["https://evil.example/cb"], "admin_api_access": True}
        path = f"{base}/clients/{acme.client}"
        for method, where, body in (
            ("POST", f"{base}/clients", body), ("PATCH", path, {"redirect_uris": ["https://evil.example/cb"]}),
            ("PATCH", path, {"name": "Trust me"}), ("POST", f"{path}/secrets", {}),
        ):
            reply = clerk.send(method, where, body, {"if-match": "*"})
            if where.endswith("/secrets"):
                assert reply.status_code in (403, 409), reply.text   # a public client has none
                continue
            assert reply.status_code == 403 and "admin-keys:write" in reply.json()["detail"], (method, reply.text)
        plain = clerk.send("POST", f"{base}/clients", {"name": "plain", "redirect_uris": [REDIRECT_URI]})
        assert plain.status_code == 201
        reply = clerk.send(
            "PATCH", f"{base}/clients/{plain.json()['id']}", {"admin_api_access": True}, {"if-match": "*"})
        assert reply.status_code == 403
        # Whoever writes clients can always switch one off.
        other = acme.make_client(admin_api_access=True)
        for change in ({"status": "disabled"}, {"admin_api_access": False}):
            reply = clerk.send("PATCH", f"{base}/clients/{other}", change, {"if-match": "*"})
            assert reply.status_code == 200, reply.text
