"""An organization's own affairs: its domains, its rules of sign-in, how it is suspended, deleted and brought back."""

from __future__ import annotations

import itertools
import time
from contextlib import contextmanager

import httpx
import pytest
from conftest import REPOSITORY  # noqa: F401
from gatehouse_demo.admin import Admin
from gatehouse_demo.chatgpt import claims
from oauth import REDIRECT_URI, told
from walk import Walk, forms_of, text_of

EPOCH_BOUND = 1.0
_numbers = itertools.count(1)


def fresh(word: str) -> str:
    return f"{word}{next(_numbers)}-{int(time.time() * 1000) % 10_000_000}"


@contextmanager
def settings(admin, organization: str, **changes):
    """Settings of an organization, changed for a while, on every node."""
    path = f"/v1/organizations/{organization}/settings"
    before = admin.get(path)
    admin.call("PATCH", path, changes)
    time.sleep(EPOCH_BOUND)
    try:
        yield
    finally:
        admin.call("PATCH", path, {name: before[name] for name in changes})
        time.sleep(EPOCH_BOUND)


@contextmanager
def key_of(deployment, admin, organization: str, *scopes: str):
    made = admin.post(f"/v1/organizations/{organization}/admin-keys", {"name": "own", "scopes": list(scopes)})
    with Admin(deployment.stack.url, made["secret"]) as own:
        yield own


# ---- Domains -----------------------------------------------------------------------------------------------------


@pytest.fixture
def own(deployment, admin):
    with key_of(deployment, admin, "acme", "organizations:read", "organizations:write") as made:
        yield made


def test_domain_by_dns(deployment, admin, own, evidence):
    """Design 3.2: an organization proves a domain by the record it is shown, among others at that name; the log
    says how; nobody else can have the domain then."""
    domain = f"{fresh('dns')}.example"
    made = own.post("/v1/organizations/acme/domains", {"domain": domain})
    record = made["dns_record"]
    assert record == {"type": "TXT", "name": f"_gatehouse.{domain}", "value": made["verification_token"]}
    path = f"/v1/organizations/acme/domains/{domain}:verify"

    missing = own.send("POST", path)
    assert missing.status_code == 409 and f"no TXT record at _gatehouse.{domain}" in missing.json()["detail"]
    deployment.names.set(record["name"], "something else", record["value"] + "x")
    other = own.send("POST", path)
    assert other.status_code == 409 and "none of the 2 found" in other.json()["detail"]
    assert "something else" not in other.text
    # On the domain itself it proves nothing.
    deployment.names.set(domain, record["value"])
    assert own.send("POST", path).status_code == 409
    assert own.get(f"/v1/organizations/acme/domains/{domain}")["status"] == "pending"

    deployment.names.set(record["name"], "v=spf1 -all", [record["value"][:10], record["value"][10:]], "third")
    verified = own.send("POST", path)
    assert verified.status_code == 200 and verified.json()["status"] == "verified", verified.text
    (event,) = evidence.of(verified, deployment.organizations["acme"], type="org.domain_verified")
    assert event["metadata"]["proof"] == "dns"
    # Proven once more, it is so since the first time.
    kept = own.get(path.removesuffix(":verify"))
    again = own.send("POST", path)
    assert again.status_code == 200 and again.json() == kept == own.get(path.removesuffix(":verify")), again.text

    with key_of(deployment, admin, "globex", "organizations:write") as theirs:
        second = theirs.post("/v1/organizations/globex/domains", {"domain": domain})
        deployment.names.set(record["name"], second["dns_record"]["value"])
        refused = theirs.send("POST", f"/v1/organizations/globex/domains/{domain}:verify")
        assert refused.status_code == 409 and "another organization" in refused.json()["detail"]
    assert admin.send("DELETE", f"/v1/organizations/acme/domains/{domain}").status_code == 204


def test_domain_by_a_long_answer(deployment, own):
    """Design 3.2: an answer too long for a datagram is fetched over TCP."""
    domain = f"{fresh('long')}.example"
    record = own.post("/v1/organizations/acme/domains", {"domain": domain})["dns_record"]
    deployment.names.set(record["name"], *(f"{number}" + "x" * 600 for number in range(20)), record["value"])
    assert own.post(f"/v1/organizations/acme/domains/{domain}:verify")["status"] == "verified"


def test_name_servers_that_fail(deployment, own):
    """Design 3.2: failing and silent name servers are a 503 within seconds, and change nothing."""
    for say in (deployment.names.fail, deployment.names.be_silent):
        domain = f"{fresh('broken')}.example"
        record = own.post("/v1/organizations/acme/domains", {"domain": domain})["dns_record"]
        say(record["name"])
        started = time.monotonic()
        reply = own.send("POST", f"/v1/organizations/acme/domains/{domain}:verify")
        assert time.monotonic() - started < 4
        assert reply.status_code == 503 and reply.json()["code"] == "name_servers_failed", reply.text
        assert reply.headers["retry-after"] and reply.headers["cache-control"] == "no-store"
        assert own.get(f"/v1/organizations/acme/domains/{domain}")["status"] == "pending"


def test_domain_by_the_platforms_word(deployment, admin, evidence):
    """Design 3.2: the platform needs no record, and the log says that it was its word; a rehearsal asks as well."""
    domain = f"{fresh('word')}.example"
    admin.post("/v1/organizations/acme/domains", {"domain": domain})
    with key_of(deployment, admin, "acme", "organizations:write") as own:
        assert own.send("POST", f"/v1/organizations/acme/domains/{domain}:verify?dry_run=true").status_code == 409
    reply = admin.send("POST", f"/v1/organizations/acme/domains/{domain}:verify")
    assert reply.status_code == 200
    (event,) = evidence.of(reply, deployment.organizations["acme"], type="org.domain_verified")
    assert event["metadata"]["proof"] == "platform" and f"_gatehouse.{domain}" in deployment.names.asked


# ---- Settings ----------------------------------------------------------------------------------------------------


def test_settings_as_a_collection_of_their_own(deployment, admin, own):
    """Design 4, T-25: read and patched at their own path by the organization; what is wrong is named with its place."""
    path = "/v1/organizations/acme/settings"
    before = own.send("GET", path)
    assert before.status_code == 200 and before.json() == admin.get("/v1/organizations/acme")["settings"]
    assert before.headers["etag"] == admin.send("GET", "/v1/organizations/acme").headers["etag"]
    assert before.json()["admission"] == "just_in_time" and before.json()["consent"] == "remember"
    assert before.json()["mfa_required"] is False and before.json()["session_idle_lifetime_seconds"] is None
    for changes, pointer in (
        ({"admission": "everybody"}, "/admission"), ({"consent": True}, "/consent"), ({"mfa_required": 1}, "/mfa_required"),
        ({"session_idle_lifetime_seconds": 299}, "/session_idle_lifetime_seconds"),
        ({"max_authentication_age_seconds": 59}, "/max_authentication_age_seconds"),
        ({"session_lifetime_seconds": 10**9}, "/session_lifetime_seconds"),
        ({"deletion_grace_seconds": 60}, "/deletion_grace_seconds"), ({"admission": None}, "/admission"),
        ({"settings": {}}, "/settings"), ({"onboarding": {"registration": "closed"}}, "/onboarding/registration"),
    ):
        reply = own.send("PATCH", path, changes)
        assert reply.status_code == 422 and reply.json()["errors"][0]["pointer"] == pointer, (changes, reply.text)
    stale = own.send("PATCH", path, {"consent": "always_ask"}, {"if-match": '"v0"'})
    assert stale.status_code == 412 and own.get(path) == before.json()
    tried = own.send("PATCH", path + "?dry_run=true", {"consent": "always_ask"})
    assert tried.json()["consent"] == "always_ask" and own.get(path) == before.json()
    assert admin.get("/v1/settings")["deletion_grace_seconds"] == 30 * 86400
    assert "deletion_grace_seconds" not in before.json()
    # A default that was deleted since is in nobody's way, and cannot be chosen again.
    resource = admin.post("/v1/organizations/acme/resources", {
        "uri": f"https://{fresh('gone')}.example/mcp", "name": "Gone", "scopes": ["read"]})["id"]
    own.call("PATCH", path, {"default_resource": resource})
    try:
        place = f"/v1/organizations/acme/resources/{resource}"
        assert admin.send("DELETE", place, headers={"if-match": "*"}).status_code == 204
        assert own.send("PATCH", path, {"consent": "remember"}).status_code == 200
        assert own.send("PATCH", path, {"default_resource": resource}).status_code == 422
    finally:
        own.call("PATCH", path, {"default_resource": before.json()["default_resource"]})


def is_admitted(deployment, email: str, organization: str) -> bool:
    """Whether somebody the provider knows, and no administrator named, comes as far as consent."""
    outbox = deployment.person("gus").outbox
    person = type(deployment.person("gus"))(email, organization, outbox)
    client = deployment.platform.register()
    with Walk(deployment, person) as browser:
        page = browser.until(deployment.platform.url_for(client), "code")
        page = browser.send(page)
        return any(form.named("decision") for form in forms_of(page))


def test_rules_of_admission(deployment, admin, evidence):
    """Design 3.4: by rule a verified domain lets in whoever the provider knows, only users that were made, or
    nobody; an invitation always does."""
    base = "/v1/organizations/globex"
    (gus,) = admin.list(f"{base}/users", email="gus@globex.example")
    (provider,) = admin.list(f"{base}/identity-providers")

    def unlink() -> None:
        evidence.sql(f"DELETE FROM identity WHERE identity_provider_id = '{_uuid(provider['id'])}'")

    for rule, known, unknown in (("invited_only", False, False), ("known_users", True, False)):
        with settings(admin, "globex", admission=rule):
            unlink()
            assert is_admitted(deployment, "gus@globex.example", "globex") is known, rule
            unlink()
            evidence.sql("UPDATE \"user\" SET email = 'elsewhere@globex.example' WHERE id = '%s'" % _uuid(gus["id"]))
            assert is_admitted(deployment, "gus@globex.example", "globex") is unknown, rule
            evidence.sql("UPDATE \"user\" SET email = 'gus@globex.example' WHERE id = '%s'" % _uuid(gus["id"]))
    unlink()
    assert is_admitted(deployment, "gus@globex.example", "globex")


def _uuid(identifier: str) -> str:
    from evidence import uuid_of

    return str(uuid_of(identifier))


def asks(deployment, browser: Walk, client: str, **changes) -> str:
    """What the next authorization of a signed-in browser meets: `nothing`, `consent` or `sign-in`."""
    reply = browser.get(deployment.acme.url_for(client, **changes))
    if reply.is_redirect:
        return "nothing" if "code" in told(reply) else told(reply)["error"]
    form = next(form for form in forms_of(reply) if form.method == "post")
    assert form.named("email"), text_of(reply)
    return "consent" if "Continue as" in text_of(reply) else "sign-in"


@pytest.fixture
def trusted(deployment, admin):
    """A client that an administrator registered, and a browser that consented to it."""
    made = admin.post("/v1/organizations/acme/clients", {"name": "Trusted", "redirect_uris": [REDIRECT_URI],
        "grant_types": ["authorization_code", "refresh_token"], "token_endpoint_auth_method": "none"})
    with Walk(deployment, deployment.person("alice")) as browser:
        page = browser.until(deployment.acme.url_for(made["client_id"]), "decision")
        assert "code" in told(browser.send(page))
        assert asks(deployment, browser, made["client_id"]) == "nothing"
        yield browser, made["client_id"]
    admin.send("DELETE", f"/v1/organizations/acme/clients/{made['id']}", headers={"if-match": "*"})


def test_consent_may_always_be_asked(deployment, admin, trusted):
    """Design 3.3: the organization may have people asked each time; without a page then nothing is answered."""
    browser, client = trusted
    with settings(admin, "acme", consent="always_ask"):
        assert asks(deployment, browser, client) == "consent"
        assert asks(deployment, browser, client, prompt="none") == "consent_required"
    assert asks(deployment, browser, client) == "nothing"


def test_rules_of_sessions(deployment, admin, trusted, evidence):
    """AZ-20, design 4: sessions that are too old, idle for too long, or began with one factor alone do not count at any
    node; who signs in with one factor then is told so."""
    browser, client = trusted
    (session,) = evidence.sql(
        "SELECT id FROM session ORDER BY created_at DESC LIMIT 1").splitlines()

    def age(column: str) -> None:
        evidence.sql(f"UPDATE session SET {column} = now() - interval '20 minutes' WHERE id = '{session}'")

    with settings(admin, "acme", mfa_required=True):
        assert asks(deployment, browser, client) == "sign-in"
        assert asks(deployment, browser, client, prompt="none") == "login_required"
        with Walk(deployment, deployment.person("rita")) as other:
            page = other.send(other.until(deployment.acme.url_for(client), "code"))
            assert page.status_code == 403 and not forms_of(page)
        (event,) = evidence.of(page, deployment.organizations["acme"], type="login.failed")
        assert event["reason"] == "mfa_required"
    assert asks(deployment, browser, client) == "nothing"
    age("created_at")
    assert asks(deployment, browser, client) == "nothing"
    assert evidence.sql(f"SELECT last_used_at > now() - interval '1 minute' FROM session WHERE id = '{session}'") == "t"
    with settings(admin, "acme", session_idle_lifetime_seconds=600):
        assert asks(deployment, browser, client) == "nothing"
        age("last_used_at")
        assert asks(deployment, browser, client) == "sign-in"
    assert asks(deployment, browser, client) == "nothing"
    with settings(admin, "acme", max_authentication_age_seconds=600):
        assert asks(deployment, browser, client) == "nothing"
        age("auth_time")
        assert asks(deployment, browser, client) == "sign-in"
    with settings(admin, "acme", session_lifetime_seconds=600):
        assert asks(deployment, browser, client) == "sign-in"


# ---- Suspension and deletion -------------------------------------------------------------------------------------


@contextmanager
def connected(deployment, admin, name: str):
    """What works at an organization: a connection, a named token, an admin key, a resource's credential."""
    base = f"/v1/organizations/{name}"
    person = deployment.person({"acme": "alice", "globex": "gus"}[name])
    code = deployment.platform.code(person)
    tokens = deployment.platform.redeem(code).json()
    resource = admin.post(f"{base}/resources", {
        "uri": f"https://{fresh('server')}.example/mcp", "name": "Server", "scopes": ["read"]})
    credential = admin.post(f"{base}/resources/{resource['id']}/credentials", {"name": "server"})
    (user,) = admin.list(f"{base}/users", email=person.email)
    named = admin.post(f"{base}/access-tokens", {
        "name": "named", "user": user["id"], "resource": resource["id"], "scopes": ["read"]})
    with key_of(deployment, admin, name, "*") as key:
        yield {"tokens": tokens, "client": code.client_id, "credential": credential, "named": named, "key": key,
               "resource": resource}
    admin.send("DELETE", f"{base}/resources/{resource['id']}", headers={"if-match": "*"})


def states(deployment, slug: str, things: dict) -> dict[str, tuple]:
    """How each endpoint answers, the same at every node."""
    seen = {}
    for node in deployment.node_urls:
        with httpx.Client(base_url=node, timeout=15, trust_env=False) as http:
            credential = (things["credential"]["client_id"], things["credential"]["client_secret"])
            introspection = http.post(f"/o/{slug}/oauth/introspect", data={"token": things["named"]["token"]},
                auth=credential)
            answers = {
                "metadata": http.get(f"/.well-known/oauth-authorization-server/o/{slug}").status_code,
                "authorize": http.get(f"/o/{slug}/oauth/authorize").status_code,
                "register": http.post(f"/o/{slug}/oauth/register", json={"redirect_uris": [REDIRECT_URI]}).status_code,
                "token": http.post(f"/o/{slug}/oauth/token", data={"grant_type": "authorization_code"}).status_code,
                "jwks": http.get(f"/o/{slug}/oauth/jwks").status_code,
                "introspect": introspection.status_code if introspection.status_code != 200
                else introspection.json()["active"],
                "userinfo": http.get(f"/o/{slug}/oauth/userinfo").status_code,
                "admin key": http.get(f"/v1/organizations/{slug}/users",
                    headers={"authorization": things["key"]._http.headers["authorization"]}).status_code,
            }
        assert seen in ({}, answers), f"the nodes differ: {seen} {answers}"
        seen = answers
    return seen


ALIVE = {"metadata": 200, "authorize": 400, "register": 201, "token": 400, "jwks": 200, "introspect": True,
         "userinfo": 401, "admin key": 200}


def refreshes(deployment, things: dict) -> bool:
    """Whether the connection at the platform's issuer goes on, at each node alike."""
    outcomes = []
    for node in deployment.node_urls:
        reply = deployment.platform.refresh(things["tokens"]["refresh_token"], things["client"], node)
        outcomes.append(reply.status_code == 200)
        if outcomes[-1]:
            things["tokens"] = reply.json()
        else:
            assert reply.status_code == 400 and reply.json()["error"] == "invalid_grant", reply.text
    assert len(set(outcomes)) == 1, outcomes
    return outcomes[0]


def test_suspension_at_every_endpoint(deployment, admin):
    """T-20, TK-23: suspended, within a second at every node: no issuer, no token, inactive, no key; its keys stay
    published and its resources are told so; resumed, everything goes on."""
    with connected(deployment, admin, "globex") as things:
        assert states(deployment, "globex", things) == ALIVE and refreshes(deployment, things)
        admin.post("/v1/organizations/globex:suspend")
        try:
            time.sleep(EPOCH_BOUND)
            assert states(deployment, "globex", things) == {
                "metadata": 404, "authorize": 404, "register": 404, "token": 404, "jwks": 200, "introspect": False,
                "userinfo": 404, "admin key": 401}
            assert not refreshes(deployment, things)
        finally:
            admin.post("/v1/organizations/globex:resume")
            time.sleep(EPOCH_BOUND)
        assert states(deployment, "globex", things) == ALIVE and refreshes(deployment, things)


def test_deletion_and_restoring(deployment, admin, evidence):
    """T-20, TK-23, design 2: deleted, within a second at every node: as if it never was, also to the platform, but
    for what became of it and its log; nothing is lost: restored, the very connection goes on. The slug stays taken."""
    globex = deployment.organizations["globex"]
    with connected(deployment, admin, "globex") as things:
        path = "/v1/organizations/globex"
        assert things["key"].send("DELETE", path, headers={"if-match": "*"}).status_code == 403
        assert admin.send("DELETE", path).status_code == 428
        assert admin.send("DELETE", path, headers={"if-match": '"v0"'}).status_code == 412
        rehearsed = admin.send("DELETE", path + "?dry_run=true", headers={"if-match": "*"})
        assert rehearsed.status_code == 200 and rehearsed.json()["status"] == "deleted"
        assert admin.send("POST", f"{path}:restore").status_code == 404
        assert states(deployment, "globex", things) == ALIVE
        deleted = admin.send("DELETE", path, headers={"if-match": "*"})
        try:
            assert deleted.status_code == 200 and deleted.json()["deletes_at"] > deleted.json()["deleted_at"]
            time.sleep(EPOCH_BOUND)
            assert states(deployment, "globex", things) == {
                "metadata": 404, "authorize": 404, "register": 404, "token": 404, "jwks": 404, "introspect": 404,
                "userinfo": 404, "admin key": 401}
            assert not refreshes(deployment, things)
            for method, tail in (("GET", "/users"), ("GET", "/settings"), ("DELETE", ""), ("PATCH", ""),
                                 ("POST", ":suspend")):
                assert admin.send(method, path + tail, {} if method != "GET" else None,
                    {"if-match": "*"}).status_code == 404, (method, tail)
            assert globex not in [row["id"] for row in admin.list("/v1/organizations")]
            (row,) = [row for row in admin.list("/v1/organizations", status="deleted") if row["id"] == globex]
            assert row["status"] == "deleted" and row["deletes_at"] == deleted.json()["deletes_at"]
            assert admin.send("GET", "/v1/organizations?status=gone").status_code == 400
            assert globex not in [row["id"] for row in admin.list("/v1/organizations", status="erased")]
            assert admin.get(path) == row
            log = [entry["event"]["type"] for entry in admin.list(f"{path}/audit/events")]
            assert "org.created" in log and evidence.of(deleted, globex)[0]["type"] == "org.deleted"
            last = admin.get(f"{path}/audit/events?limit=1&order=newest_first")["data"][0]["id"]
            assert admin.get(f"{path}/audit/events/{last}")["id"] == last
            assert admin.send("POST", "/v1/organizations", {"slug": "globex", "name": "x"}).status_code == 409
            with key_of(deployment, admin, "acme", "*") as other:
                assert other.send("POST", f"{path}:restore").status_code == 404
                assert other.send("GET", path).status_code == 404
                assert other.send("GET", f"{path}/audit/events").status_code == 404
        finally:
            restored = admin.send("POST", f"{path}:restore")
            time.sleep(EPOCH_BOUND)
        assert restored.status_code == 200 and restored.json()["status"] == "active", restored.text
        assert "deletes_at" not in restored.json()
        assert states(deployment, "globex", things) == ALIVE and refreshes(deployment, things)
        assert claims(things["tokens"]["access_token"])["org_slug"] == "globex"
        kinds = [evidence.of(reply, globex)[0]["type"] for reply in (deleted, restored)]
        assert kinds == ["org.deleted", "org.restored"]


# ---- Sessions and connections ------------------------------------------------------------------------------------


def test_sessions(deployment, admin, evidence):
    """T-03, AZ-20: listed, by user too; ended, the browser is signed out at once, and a consent under way is too late;
    what was connected goes on."""
    base = "/v1/organizations/acme"
    (alice,) = admin.list(f"{base}/users", email="alice@acme.example")
    client = deployment.acme.register()
    with Walk(deployment, deployment.person("alice")) as browser:
        page = browser.until(deployment.acme.url_for(client), "decision")
        newest = max(admin.list(f"{base}/sessions", user=alice["id"]), key=lambda row: row["created_at"])
        assert newest["status"] == "active" and newest["user"] == alice["id"] and newest["revoked_at"] is None
        assert not set(newest) & {"secret", "secret_digest"}
        assert admin.get(f"{base}/sessions/{newest['id']}") == newest
        ended = admin.send("POST", f"{base}/sessions/{newest['id']}:revoke")
        assert ended.status_code == 200 and ended.json()["status"] == "revoked"
        assert admin.send("POST", f"{base}/sessions/{newest['id']}:revoke").status_code == 409
        (event,) = evidence.of(ended, deployment.organizations["acme"])
        assert event["type"] == "session.revoked" and newest["id"] in str(event["targets"])
        with evidence.no_rows_stored():
            late = browser.send(page)
        assert late.status_code == 400 and not late.is_redirect
        assert asks(deployment, browser, client) == "sign-in"
    assert list(admin.list(f"{base}/sessions", user="usr_" + "0" * 26)) == []
    assert admin.send("GET", f"{base}/sessions?user=x").status_code == 400


def test_connections_of_a_client_end_together(deployment, admin, evidence):
    """TK-23, T-10: by user, client, resource or all; each has its event, at every node they end, and what anybody allowed is
    forgotten; other clients' go on."""
    base = "/v1/organizations/acme"
    client, other = deployment.platform.register(), deployment.platform.register()
    theirs = [deployment.platform.redeem(deployment.platform.code(deployment.person(name), client)).json()
              for name in ("alice", "rita")]
    kept = deployment.platform.redeem(deployment.platform.code(deployment.person("alice"), other)).json()
    grants = list(admin.list(f"{base}/grants", client=client, status="active"))
    assert {row["id"] for row in grants} == {claims(tokens["access_token"])["grant_id"] for tokens in theirs}
    resource = grants[0]["resource"]
    assert {row["id"] for row in grants} <= {row["id"] for row in admin.list(f"{base}/grants", resource=resource)}
    assert list(admin.list(f"{base}/grants", client=client, status="revoked")) == []
    assert admin.send("GET", f"{base}/grants?status=gone").status_code == 400
    for body in ({}, {"all": False}, {"all": True, "client": client}, {"user": "x"}, {"status": "active"}):
        assert admin.send("POST", f"{base}/grants:revoke", body).status_code == 422, body
    rehearsed = admin.send("POST", f"{base}/grants:revoke?dry_run=true", {"client": client})
    assert rehearsed.json() == {"revoked": 2, "has_more": False}
    ended = admin.send("POST", f"{base}/grants:revoke", {"client": client})
    assert ended.json() == {"revoked": 2, "has_more": False}, ended.text
    events = evidence.of(ended, deployment.organizations["acme"], type="grant.revoked")
    named = {event["targets"][0]["id"] for event in events}
    assert named == {client} | {row["id"] for row in grants}, events
    for node in deployment.node_urls:
        for tokens in theirs:
            reply = deployment.platform.refresh(tokens["refresh_token"], client, node)
            assert reply.status_code == 400 and reply.json()["error"] == "invalid_grant"
    assert deployment.platform.refresh(kept["refresh_token"], other).status_code == 200
    assert evidence.sql(f"SELECT count(*) FROM consent WHERE client_id = '{_uuid(client)}'") == "0"
    assert admin.post(f"{base}/grants:revoke", {"client": client}) == {"revoked": 0, "has_more": False}
