"""Staying connected: rotation, races, reuse, and how fast an administrator's word counts (facts A2; design §3.6,
§8)."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlencode

import httpx
import pytest
from evidence import uuid_of
from gatehouse_demo.chatgpt import claims
from oauth import Code, told
from walk import Walk

EPOCH_BOUND = 1.0


def invalid_grant(reply: httpx.Response) -> bool:
    assert reply.headers["cache-control"] == "no-store"
    return reply.status_code == 400 and reply.json()["error"] == "invalid_grant"


@pytest.fixture(scope="module")
def client(deployment) -> str:
    return deployment.platform.register()


@pytest.fixture(scope="module")
def connect(deployment, client):
    """Makes connections: the tokens of a person for a client; each person signs in once."""
    browsers = {}

    def make(name: str = "alice", client_id: str | None = None, issuer=None, **changes) -> dict:
        issuer = issuer or deployment.platform
        if name not in browsers:
            browsers[name] = Walk(deployment, deployment.person(name))
        query, verifier = issuer.query(client_id or client, **changes)
        url = f"{issuer.url}/oauth/authorize?{urlencode(query)}"
        try:
            page = browsers[name].until(url, "decision")
        except AssertionError:
            # A session that an administrator ended.
            browsers[name] = Walk(deployment, deployment.person(name))
            page = browsers[name].until(url, "decision")
        answer = told(browsers[name].send(page))
        reply = issuer.redeem(Code(answer["code"], verifier, client_id or client), resource=query["resource"])
        assert reply.status_code == 200, reply.text
        return reply.json()

    yield make
    for browser in browsers.values():
        browser.close()


def at_both_nodes(deployment, token: str, client_id: str) -> list[httpx.Response]:
    return [deployment.platform.refresh(token, client_id, node) for node in deployment.node_urls]


# ---- Rotation ----------------------------------------------------------------------------------------------------


def test_rotation(deployment, client, connect, evidence):
    """TK-17, TK-02, TK-03, MCP-AS-19: a new refresh token and a new access token of the same grant; one event each."""
    tokens = connect()
    seen = [tokens["refresh_token"]]
    first = claims(tokens["access_token"])
    for number in range(4):
        reply = deployment.platform.refresh(seen[-1], client, deployment.node_urls[number % 2])
        assert reply.status_code == 200, reply.text
        assert reply.headers["cache-control"] == "no-store" and reply.headers["content-type"] == "application/json"
        body = reply.json()
        assert body["token_type"] == "Bearer" and body["scope"] == tokens["scope"]
        token = claims(body["access_token"])
        assert token["jti"] != first["jti"]
        for name in ("iss", "sub", "aud", "client_id", "scope", "org_id", "grant_id"):
            assert token[name] == first[name], name
        assert body["refresh_token"] not in seen
        seen.append(body["refresh_token"])
        (event,) = evidence.of(reply, deployment.organizations["acme"], type="token.refreshed")
        assert event["token"] == token["jti"] and event["client"] == client and event["outcome"] == "success"


def test_absolute_end_stays(deployment, client, connect, evidence):
    """TK-20: refreshing moves the end of idleness and never the end of all."""
    tokens = connect()
    grant = claims(tokens["access_token"])["grant_id"]
    row = "SELECT expires_at, generation FROM \"grant\" ORDER BY created_at DESC LIMIT 1"
    before = evidence.sql(row)
    time.sleep(0.02)
    assert deployment.platform.refresh(tokens["refresh_token"], client).status_code == 200
    after = evidence.sql(row)
    assert before.split("|")[0] == after.split("|")[0] and before != after, grant


@pytest.mark.parametrize("column", ["expires_at", "idle_expires_at"])
def test_end_of_a_connection(deployment, client, connect, evidence, column):
    """TK-23, TK-20: past its absolute end, or left unused for too long, a connection gives nothing at either node, and
    its refresh token revokes nothing either; a person simply signs in again."""
    tokens = connect()
    grant = uuid_of(claims(tokens["access_token"])["grant_id"])
    evidence.sql(f'UPDATE "grant" SET {column} = now() - interval \'1 second\' WHERE id = \'{grant}\'')
    assert all(invalid_grant(reply) for reply in at_both_nodes(deployment, tokens["refresh_token"], client))
    again = connect()
    assert deployment.platform.refresh(again["refresh_token"], client).status_code == 200


def test_never_wider(deployment, client, connect, evidence):
    """TK-20, K-22: what was not granted is invalid_scope, however it is spelt; nothing rotates, nothing is revoked."""
    tokens = connect(scope="read")
    for scope in ("read write", "write", "nope", "READ", "read\twrite", "read\nwrite", 'a"b', "admin", "read\u00e9",
        "*"):
        reply = deployment.platform.refresh(tokens["refresh_token"], client, scope=scope)
        assert reply.status_code == 400 and reply.json()["error"] == "invalid_scope", scope
    reply = deployment.platform.refresh(tokens["refresh_token"], client, scope="read read")
    assert reply.status_code == 200 and reply.json()["scope"] == "read"


def test_narrower_for_once(deployment, client, connect):
    """TK-21: a narrow access token, and the next refresh has everything again."""
    tokens = connect(scope="read write")
    narrow = deployment.platform.refresh(tokens["refresh_token"], client, scope="read").json()
    assert narrow["scope"] == "read" and claims(narrow["access_token"])["scopes"] == ["read"]
    wide = deployment.platform.refresh(narrow["refresh_token"], client).json()
    assert set(wide["scope"].split()) == {"read", "write"}


def test_other_resource(deployment, client, connect):
    """TK-20, RI-01, RI-03: another resource is invalid_target and rotates nothing; none is the granted one."""
    tokens = connect()
    for resource in (deployment.stack.plain_url, deployment.stack.acme_url, "https://nobody.example/mcp", "x"):
        reply = deployment.platform.refresh(tokens["refresh_token"], client, resource=resource)
        assert reply.status_code == 400 and reply.json()["error"] == "invalid_target", resource
    reply = deployment.platform.refresh(tokens["refresh_token"], client, resource=None)
    assert claims(reply.json()["access_token"])["aud"] == deployment.stack.shared_url


def test_what_is_no_token(deployment, client, connect, evidence):
    """TK-11, TK-18: invented, cut, twisted in every part: invalid_grant, the same words, and the family lives."""
    tokens = connect()
    genuine = tokens["refresh_token"]
    broken = ["x", "gr_", genuine[:-1], genuine + "A", genuine.upper(), " " + genuine, "gr_" + "A" * 134, genuine[3:]]
    # One character in each part: organization, grant, generation, family secret, generation secret.
    for place in (5, 30, 44, 47, 60, 90, 120):
        letter = "A" if genuine[place] != "A" else "B"
        broken.append(genuine[:place] + letter + genuine[place + 1:])
    with evidence.nothing_stored():
        replies = [deployment.platform.refresh(one, client) for one in broken]
    assert all(invalid_grant(reply) for reply in replies)
    assert len({reply.content for reply in replies}) == 1
    assert deployment.platform.refresh(genuine, client).status_code == 200


# ---- Races and reuse ---------------------------------------------------------------------------------------------


def test_lost_answer(deployment, client, connect, evidence):
    """TK-19, K-06: asking again at the other node, seconds later, gets the same successor; recorded as retried."""
    tokens = connect()
    first = deployment.platform.refresh(tokens["refresh_token"], client, deployment.node_urls[0])
    time.sleep(0.5)
    second = deployment.platform.refresh(tokens["refresh_token"], client, deployment.node_urls[1])
    assert first.status_code == second.status_code == 200
    assert first.json()["refresh_token"] == second.json()["refresh_token"]
    assert claims(first.json()["access_token"])["jti"] != claims(second.json()["access_token"])["jti"]
    acme = deployment.organizations["acme"]
    (event,) = evidence.of(second, acme, type="token.refreshed")
    assert event["metadata"]["retried"] == "true"
    (event,) = evidence.of(first, acme, type="token.refreshed")
    assert "retried" not in event.get("metadata", {})


def test_window_closes_when_the_successor_is_used(deployment, client, connect, evidence):
    """TK-18, TK-19: from then on the old one is stolen, at either node: all of it ends, and the log says so."""
    tokens = connect()
    second = deployment.platform.refresh(tokens["refresh_token"], client, deployment.node_urls[0]).json()
    third = deployment.platform.refresh(second["refresh_token"], client, deployment.node_urls[1]).json()
    stale = deployment.platform.refresh(tokens["refresh_token"], client, deployment.node_urls[0])
    assert invalid_grant(stale)
    for token in (second, third):
        assert all(invalid_grant(reply) for reply in at_both_nodes(deployment, token["refresh_token"], client))
    (event,) = [
        event for event in evidence.of(stale, deployment.organizations["acme"])
        if event["type"] == "token.reuse_detected"
    ]
    assert event["severity"] >= 4 and event["client"] == client
    assert event["targets"][0]["id"] == claims(tokens["access_token"])["grant_id"]


def test_many_at_once(deployment, client, connect):
    """TK-19, K-05: twenty refreshers over both nodes: one successor for all, nobody is logged out."""
    tokens = connect()
    with ThreadPoolExecutor(20) as pool:
        replies = list(pool.map(
            lambda node: deployment.platform.refresh(tokens["refresh_token"], client, node), deployment.node_urls * 10))
    assert [reply.status_code for reply in replies] == [200] * 20, [reply.text for reply in replies][:3]
    assert len({reply.json()["refresh_token"] for reply in replies}) == 1
    assert len({claims(reply.json()["access_token"])["jti"] for reply in replies}) == 20
    assert deployment.platform.refresh(replies[0].json()["refresh_token"], client).status_code == 200


def test_reuse_by_others_revokes_nothing(deployment, client, connect):
    """TK-22: an old token in the hands of another client does not end the family."""
    tokens = connect()
    second = deployment.platform.refresh(tokens["refresh_token"], client).json()
    third = deployment.platform.refresh(second["refresh_token"], client).json()
    assert invalid_grant(deployment.platform.refresh(tokens["refresh_token"], deployment.platform.register()))
    assert deployment.platform.refresh(third["refresh_token"], client).status_code == 200


@contextmanager
def settings(admin, organization: str, **changes):
    """The organization's settings, changed; they count everywhere when this begins."""
    path = f"/v1/organizations/{organization}"
    before = admin.get(path)["settings"]
    admin.call("PATCH", path, {"settings": changes})
    time.sleep(EPOCH_BOUND)
    try:
        yield
    finally:
        admin.call("PATCH", path, {"settings": {name: before[name] for name in changes}})
        time.sleep(EPOCH_BOUND)


def test_no_window_where_the_organization_wants_none(deployment, client, connect, admin):
    """TK-19: the window can be switched off; then the second use is reuse."""
    with settings(admin, deployment.organizations["globex"], refresh_grace_seconds=0):
        tokens = connect("gus")
        second = deployment.platform.refresh(tokens["refresh_token"], client).json()
        assert invalid_grant(deployment.platform.refresh(tokens["refresh_token"], client))
        assert invalid_grant(deployment.platform.refresh(second["refresh_token"], client))


def test_window_ends_by_time(deployment, client, connect, admin):
    """TK-19, TK-18: after it the previous token is reuse, though its successor was never used."""
    with settings(admin, deployment.organizations["globex"], refresh_grace_seconds=1):
        tokens = connect("gus")
        second = deployment.platform.refresh(tokens["refresh_token"], client).json()
        time.sleep(1.1)
        assert invalid_grant(deployment.platform.refresh(tokens["refresh_token"], client))
        assert invalid_grant(deployment.platform.refresh(second["refresh_token"], client))


@pytest.mark.parametrize("setting,column", [
    ("grant_lifetime_seconds", "created_at"), ("grant_idle_lifetime_seconds", "last_used_at")])
def test_connections_end_by_their_age(deployment, client, connect, admin, evidence, setting, column):
    """TK-23, design 3.6: a connection that is older, or was unused for longer, than its organization allows by now is worth
    nothing at any node; what is younger goes on, and so does it when the organization allows more again."""
    tokens, young = connect("gus"), connect("gus")
    grant = uuid_of(claims(tokens["access_token"])["grant_id"])
    # Another version, so that no node goes by what it remembers.
    evidence.sql(f"""UPDATE "grant" SET {column} = {column} - interval '2 hours', version = version + 1
                      WHERE id = '{grant}'""")
    with settings(admin, deployment.organizations["globex"], **{setting: 3600}):
        assert all(invalid_grant(reply) for reply in at_both_nodes(deployment, tokens["refresh_token"], client))
        assert deployment.platform.refresh(young["refresh_token"], client).status_code == 200
    assert deployment.platform.refresh(tokens["refresh_token"], client).status_code == 200


# ---- What an administrator decides counts everywhere within a second ---------------------------------------------


def test_disabled_person(deployment, client, connect, admin, evidence):
    """TK-23, T-30, design 8: both nodes refuse within a second; the refusal is recorded."""
    acme = deployment.organizations["acme"]
    tokens = connect("rita")
    waiting = deployment.platform.code(deployment.person("rita"), client)
    user = claims(tokens["access_token"])["sub"]
    admin.post(f"/v1/organizations/{acme}/users/{user}:disable")
    try:
        time.sleep(EPOCH_BOUND)
        replies = at_both_nodes(deployment, tokens["refresh_token"], client)
        assert all(invalid_grant(reply) for reply in replies)
        assert all(invalid_grant(deployment.platform.redeem(waiting, node)) for node in deployment.node_urls)
        code = told_of_disabled(deployment, client)
        assert code.status_code == 403, "signing in anew is refused on a page"
    finally:
        admin.post(f"/v1/organizations/{acme}/users/{user}:enable")
        time.sleep(EPOCH_BOUND)
    # Disabling revoked: what was ended does not come back with the person.
    assert all(invalid_grant(reply) for reply in at_both_nodes(deployment, tokens["refresh_token"], client))


def told_of_disabled(deployment, client) -> httpx.Response:
    with Walk(deployment, deployment.person("rita")) as browser:
        return browser.send(browser.until(deployment.platform.url_for(client), "code"))


def test_suspended_organization(deployment, client, connect, admin):
    """TK-23, T-20: both nodes refuse refresh and a waiting code within a second; the other organization goes on."""
    globex = deployment.organizations["globex"]
    tokens, others = connect("gus"), connect("alice")
    waiting = deployment.platform.code(deployment.person("gus"), client)
    admin.post(f"/v1/organizations/{globex}:suspend")
    try:
        time.sleep(EPOCH_BOUND)
        assert all(invalid_grant(reply) for reply in at_both_nodes(deployment, tokens["refresh_token"], client))
        assert all(invalid_grant(deployment.platform.redeem(waiting, node)) for node in deployment.node_urls)
        assert deployment.platform.refresh(others["refresh_token"], client).status_code == 200
    finally:
        admin.post(f"/v1/organizations/{globex}:resume")
        time.sleep(EPOCH_BOUND)
    assert connect("gus")["refresh_token"]


def test_denied_client(deployment, connect, admin):
    """TK-23, design 3.5: the organization's kill switch for a client, at both nodes; another organization's use goes
    on,
    and approving it again lets people connect again."""
    acme = deployment.organizations["acme"]
    client = deployment.platform.register()
    tokens, others = connect("alice", client), connect("gus", client)
    waiting = deployment.platform.code(deployment.person("alice"), client)
    admin.post(f"/v1/organizations/{acme}/client-approvals/{client}:deny")
    try:
        time.sleep(EPOCH_BOUND)
        assert all(invalid_grant(deployment.platform.redeem(waiting, node)) for node in deployment.node_urls)
        assert all(invalid_grant(reply) for reply in at_both_nodes(deployment, tokens["refresh_token"], client))
        assert deployment.platform.refresh(others["refresh_token"], client).status_code == 200
        with Walk(deployment, deployment.person("alice")) as browser:
            page = browser.send(browser.until(deployment.platform.url_for(client), "code"))
        assert page.status_code == 403 and "does not allow this application" in page.text
    finally:
        admin.post(f"/v1/organizations/{acme}/client-approvals/{client}:approve")
        time.sleep(EPOCH_BOUND)
    assert connect("alice", client)["access_token"]


def test_revoked_grant(deployment, client, connect, admin, evidence):
    """TK-23: one connection ends, the person's others go on; recorded."""
    acme = deployment.organizations["acme"]
    tokens, others = connect(), connect()
    grant = claims(tokens["access_token"])["grant_id"]
    reply = admin.send("POST", f"/v1/organizations/{acme}/grants/{grant}:revoke")
    assert reply.is_success and reply.json()["status"] == "revoked"
    assert all(invalid_grant(reply) for reply in at_both_nodes(deployment, tokens["refresh_token"], client))
    assert deployment.platform.refresh(others["refresh_token"], client).status_code == 200
    events = evidence.of(reply, acme)
    assert events[0]["targets"][0]["id"] == grant and events[0]["id"] == reply.headers["audit-event"]


def test_disabled_and_deleted_client(deployment, connect, admin):
    """TK-23, RG-13: invalid_client once it is gone, at both nodes, within a second."""
    body = {
        "name": "Short-lived", "redirect_uris": ["https://client.example/callback"],
        "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"],
    }
    made = admin.post("/v1/clients", body)
    tokens = connect("alice", made["client_id"])
    path = f"/v1/clients/{made['id']}"
    assert admin.send("PATCH", path, {"status": "disabled"}, {"if-match": "*"}).is_success
    time.sleep(EPOCH_BOUND)
    for reply in at_both_nodes(deployment, tokens["refresh_token"], made["client_id"]):
        assert reply.status_code in (400, 401) and reply.json()["error"] in ("invalid_client", "invalid_grant")
    assert admin.send("PATCH", path, {"status": "active"}, {"if-match": "*"}).is_success
    time.sleep(EPOCH_BOUND)
    tokens = connect("alice", made["client_id"])
    assert admin.send("DELETE", path, headers={"if-match": "*"}).is_success
    time.sleep(EPOCH_BOUND)
    for reply in at_both_nodes(deployment, tokens["refresh_token"], made["client_id"]):
        assert reply.status_code == 401 and reply.json()["error"] == "invalid_client"


def test_narrowed_policy(deployment, client, connect, admin):
    """TK-20, design 5: the next refresh has what policy allows now, at both nodes; allowed again, it comes back, since
    the grant kept it."""
    acme = deployment.organizations["acme"]
    tokens = connect("alice", scope="read write")
    statement = {
        "name": "no writing today", "effect": "deny", "principals": {"everyone": True}, "scopes": ["write"],
    }
    made = admin.post(f"/v1/organizations/{acme}/scope-policies", statement)
    try:
        time.sleep(EPOCH_BOUND)
        for node in deployment.node_urls:
            tokens = deployment.platform.refresh(tokens["refresh_token"], client, node).json()
            assert tokens["scope"] == "read" and claims(tokens["access_token"])["scopes"] == ["read"]
    finally:
        path = f"/v1/organizations/{acme}/scope-policies/{made['id']}"
        assert admin.send("DELETE", path, headers={"if-match": "*"}).is_success
    time.sleep(EPOCH_BOUND)
    reply = deployment.platform.refresh(tokens["refresh_token"], client)
    assert set(reply.json()["scope"].split()) == {"read", "write"}


def test_policy_narrowed_between_consent_and_code(deployment, client, admin):
    """TK-03, design 5: what counts is the policy when the token is made, and `scope` says what it left."""
    acme = deployment.organizations["acme"]
    waiting = deployment.platform.code(deployment.person("alice"), client, scope="read write")
    statement = {"name": "no writing now", "effect": "deny", "principals": {"everyone": True}, "scopes": ["write"]}
    made = admin.post(f"/v1/organizations/{acme}/scope-policies", statement)
    try:
        time.sleep(EPOCH_BOUND)
        reply = deployment.platform.redeem(waiting, deployment.node_urls[1])
        assert reply.json()["scope"] == "read"
    finally:
        path = f"/v1/organizations/{acme}/scope-policies/{made['id']}"
        assert admin.send("DELETE", path, headers={"if-match": "*"}).is_success
        time.sleep(EPOCH_BOUND)


def test_policy_that_leaves_nothing(deployment, client, connect, admin):
    """Design 5: then the refresh is refused, and the connection lives for when it is allowed again."""
    acme = deployment.organizations["acme"]
    tokens = connect("alice")
    statement = {"name": "nothing", "effect": "deny", "principals": {"everyone": True}, "scopes": ["*"]}
    made = admin.post(f"/v1/organizations/{acme}/scope-policies", statement)
    try:
        time.sleep(EPOCH_BOUND)
        assert all(invalid_grant(reply) for reply in at_both_nodes(deployment, tokens["refresh_token"], client))
    finally:
        path = f"/v1/organizations/{acme}/scope-policies/{made['id']}"
        assert admin.send("DELETE", path, headers={"if-match": "*"}).is_success
    time.sleep(EPOCH_BOUND)
    assert deployment.platform.refresh(tokens["refresh_token"], client).status_code == 200


def test_resource_that_is_switched_off(deployment, connect, admin):
    """TK-23, RI-03: an organization that no longer has the shared resource gets no tokens for it."""
    acme = deployment.organizations["acme"]
    client = deployment.platform.register()
    tokens = connect("alice", client, resource=deployment.stack.plain_url)
    (plain,) = [row for row in admin.list("/v1/resources") if row["uri"] == deployment.stack.plain_url]
    path = f"/v1/organizations/{acme}/resources/{plain['id']}"
    admin.post(f"{path}:disable")
    try:
        time.sleep(EPOCH_BOUND)
        for node in deployment.node_urls:
            reply = deployment.platform.refresh(
                tokens["refresh_token"], client, node, resource=deployment.stack.plain_url)
            assert reply.status_code == 400 and reply.json()["error"] in ("invalid_grant", "invalid_target")
    finally:
        admin.post(f"{path}:enable")
        time.sleep(EPOCH_BOUND)
