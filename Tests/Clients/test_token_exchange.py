"""A client exchanges its own token for a narrower one, or for one that another resource takes (RFC 8693; facts A13)."""

from __future__ import annotations

import time

import httpx
import pytest
from evidence import source
from gatehouse_demo.admin import Admin
from gatehouse_demo.chatgpt import claims
from oauth import REDIRECT_URI
from test_token import basic, refused
from walk import Walk, told_code

GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
FILES = "https://files.acme.example/mcp"
EPOCH_BOUND = 1.0


@pytest.fixture(scope="module")
def base(deployment) -> str:
    return f"/v1/organizations/{deployment.organizations['acme']}"


@pytest.fixture(scope="module")
def setting(deployment, base):
    """acme's second resource, the statement that lets notes be exchanged for it, and a policy for it."""
    with Admin(deployment.stack.url, deployment.stack.admin_key) as admin:
        notes = next(row for row in admin.list(f"{base}/resources") if row["uri"] == deployment.stack.acme_url)
        files = admin.post(f"{base}/resources", {
            "uri": FILES, "name": "Files", "scopes": ["read", "write", "list", "purge"],
            "access_token_lifetime_seconds": 3600})
        rules = [
            admin.post(f"{base}/scope-policies", {
                "name": "files", "effect": "allow", "principals": {"everyone": True}, "resources": [files["id"]],
                "scopes": ["read", "write", "list"]}),
            admin.post(f"{base}/scope-policies", {
                "name": "notes to files", "effect": "allow", "principals": {"everyone": True},
                "resources": [files["id"]], "scopes": ["*"], "conditions": {"exchanged_from": [notes["id"]]}}),
        ]
        time.sleep(EPOCH_BOUND)
        yield {"notes": notes["id"], "files": files["id"], "exchange": rules[1]["id"]}
        for rule in rules:
            admin.call("DELETE", f"{base}/scope-policies/{rule['id']}", headers={"if-match": "*"})
        admin.call("DELETE", f"{base}/resources/{files['id']}", headers={"if-match": "*"})
        time.sleep(EPOCH_BOUND)


def register(deployment, base, **more) -> dict:
    with Admin(deployment.stack.url, deployment.stack.admin_key) as admin:
        return admin.post(f"{base}/clients", {
            "name": "Agent", "redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": "client_secret_post",
            "grant_types": ["authorization_code", "refresh_token", GRANT], **more})


@pytest.fixture(scope="module")
def client(deployment, base) -> dict:
    return register(deployment, base)


def proven(client: dict) -> dict[str, str]:
    secret = {"client_secret": client["client_secret"]} if client.get("client_secret") else {}
    return {"client_id": client["client_id"], **secret}


def connect(deployment, browser, client: dict, scope: str = "read write", **changes) -> dict:
    code = told_code(deployment.acme, browser, client["client_id"], scope=scope, prompt="consent", **changes)
    reply = deployment.acme.redeem(code, **proven(client), **changes)
    assert reply.status_code == 200, reply.text
    return reply.json()


def exchange(deployment, client: dict, token: str | None, issuer=None, **changes) -> httpx.Response:
    form = {
        "grant_type": GRANT, "subject_token": token, "subject_token_type": ACCESS_TOKEN, **proven(client), **changes}
    return (issuer or deployment.acme).token(form, headers=source())


def test_narrower_token(deployment, client, browser, evidence):
    """TX-02, TK-02, TK-03, AT-02: same resource, fewer scopes: same subject and grant, who acts is named, no refresh
    token, never longer; recorded with the token it was made from."""
    tokens = connect(deployment, browser, client)
    subject = claims(tokens["access_token"])
    reply = exchange(deployment, client, tokens["access_token"], scope="read")
    assert reply.status_code == 200, reply.text
    assert reply.headers["cache-control"] == "no-store"
    body = reply.json()
    assert set(body) == {"access_token", "issued_token_type", "token_type", "expires_in", "scope"}
    assert body["issued_token_type"] == ACCESS_TOKEN and body["token_type"] == "Bearer" and body["scope"] == "read"
    token = claims(body["access_token"])
    same = ("iss", "sub", "aud", "client_id", "org_id", "org_slug", "grant_id", "auth_time")
    assert {name: token[name] for name in same} == {name: subject[name] for name in same}
    assert token["act"] == {"sub": client["client_id"]} and token["scopes"] == ["read"]
    assert token["jti"] != subject["jti"] and token["exp"] <= subject["exp"]
    assert body["expires_in"] == token["exp"] - token["iat"]
    event, = evidence.of(reply, "acme", type="token.exchanged")
    assert event["token"] == token["jti"] and event["metadata"]["subject_token"] == subject["jti"]
    assert event["client"] == client["client_id"] and event["actor"]["id"] == token["sub"] and event["grant"] == GRANT
    # Again from the exchanged one: the same who acts, no longer than it, and nothing comes back.
    again = exchange(deployment, client, body["access_token"])
    assert again.json()["scope"] == "read"
    assert claims(again.json()["access_token"])["exp"] <= token["exp"]
    refused(exchange(deployment, client, body["access_token"], scope="read write"), "invalid_scope")


def test_other_resource(deployment, client, browser, setting):
    """TX-02, RI-04: a policy statement names it: the audience is the other resource; of the scopes both have only those
    held, of its own those policy gives the person anyway; never longer than the subject token."""
    reader = connect(deployment, browser, client, scope="read")["access_token"]
    reply = exchange(deployment, client, reader, resource=FILES)
    assert reply.status_code == 200, reply.text
    token = claims(reply.json()["access_token"])
    assert token["aud"] == FILES and token["scopes"] == ["read", "list"] and token["exp"] <= claims(reader)["exp"]
    assert token["sub"] == claims(reader)["sub"] and token["grant_id"] == claims(reader)["grant_id"]
    by_audience = exchange(deployment, client, reader, audience=FILES, scope="list")
    assert claims(by_audience.json()["access_token"])["scopes"] == ["list"]
    both = exchange(deployment, client, reader, audience=FILES, resource=FILES.replace("https", "HTTPS"))
    assert both.status_code == 200, both.text
    refused(exchange(deployment, client, reader, resource=FILES, scope="write"), "invalid_scope")
    refused(exchange(deployment, client, reader, resource=FILES, scope="purge"), "invalid_scope")
    refused(exchange(deployment, client, reader, resource=FILES, scope="unknown"), "invalid_scope")
    writer = connect(deployment, browser, client)["access_token"]
    assert exchange(deployment, client, writer, resource=FILES).json()["scope"] == "read write list"
    # The way back is not named.
    refused(exchange(deployment, client, reply.json()["access_token"], resource=deployment.stack.acme_url), "invalid_target")


def test_targets_that_nobody_named(deployment, client, browser, setting, evidence):
    """TX-02, RI-02, K-21: unknown, foreign, unnamed and several targets are invalid_target, told apart by nothing."""
    token = connect(deployment, browser, client)["access_token"]
    replies = [
        exchange(deployment, client, token, resource=resource)
        for resource in ("https://nobody.example/mcp", deployment.stack.shared_url, "not a uri", "https://a.example/#f")
    ]
    for reply in replies:
        refused(reply, "invalid_target")
    assert len({reply.text for reply in replies}) == 1
    refused(exchange(deployment, client, token, resource=[FILES, deployment.stack.acme_url]), "invalid_target")
    refused(exchange(deployment, client, token, resource=FILES, audience=deployment.stack.acme_url), "invalid_target")
    denied, = evidence.of(replies[0], "acme", type="token.denied")
    assert denied["reason"] == "target_not_named" and denied["grant"] == GRANT


def test_naming_gives_nobody_more(deployment, admin, base, client, setting):
    """TX-02, K-22: rita may only read: a statement that names the exchange does not make her a writer; a deny binds it;
    without the statement there is no exchange."""
    with Walk(deployment, deployment.person("rita")) as browser:
        token = connect(deployment, browser, client)["access_token"]
        assert claims(token)["scopes"] == ["read"]
        assert exchange(deployment, client, token, resource=FILES).json()["scope"] == "read list"
        deny = admin.post(f"{base}/scope-policies", {
            "name": "no lists by exchange", "effect": "deny", "principals": {"everyone": True}, "scopes": ["list"],
            "conditions": {"exchanged_from": [setting["notes"]]}})
        try:
            time.sleep(EPOCH_BOUND)
            assert exchange(deployment, client, token, resource=FILES).json()["scope"] == "read"
            # In an ordinary flow that statement says nothing.
            direct = connect(deployment, browser, client, scope="list", resource=FILES)
            assert direct["scope"] == "list"
        finally:
            admin.call("DELETE", f"{base}/scope-policies/{deny['id']}", headers={"if-match": "*"})
        path = f"{base}/scope-policies/{setting['exchange']}"
        tag = admin.send("GET", path).headers["etag"]
        admin.call("PATCH", path, {"clients": {"hosts": ["other.example"]}}, headers={"if-match": tag})
        try:
            time.sleep(EPOCH_BOUND)
            refused(exchange(deployment, client, token, resource=FILES), "invalid_scope")
        finally:
            tag = admin.send("GET", path).headers["etag"]
            admin.call("PATCH", path, {"clients": {"hosts": None}}, headers={"if-match": tag})
            time.sleep(EPOCH_BOUND)


def test_statements_of_exchange(deployment, admin, base, client, setting):
    """TX-02: the admin API checks what a statement of exchange names, and :evaluate explains it."""
    rule = {"name": "x", "effect": "allow", "principals": {"everyone": True}, "scopes": ["read"]}
    for conditions, resources, pointer in (
        ({"exchanged_from": []}, [setting["files"]], "/conditions/exchanged_from"),
        ({"exchanged_from": ["res_00000000000000000000000000"]}, [setting["files"]], "/conditions/exchanged_from/0"),
        ({"exchanged_from": "notes"}, [setting["files"]], "/conditions/exchanged_from"),
        ({"exchanged_from": [setting["notes"]]}, [], "/resources"),
    ):
        reply = admin.send("POST", f"{base}/scope-policies", rule | {"conditions": conditions, "resources": resources})
        assert reply.status_code == 422 and reply.json()["errors"][0]["pointer"] == pointer, reply.text
    kept = admin.get(f"{base}/scope-policies/{setting['exchange']}")
    assert kept["conditions"] == {"exchanged_from": [setting["notes"]]}
    user = next(row for row in admin.list(f"{base}/users") if row["email"] == "alice@acme.example")["id"]
    question = {"user": user, "client": client["id"], "resource": setting["files"], "scopes": ["list", "purge"]}
    direct = admin.post(f"{base}/scope-policies:evaluate", question)
    assert direct["granted"] == ["list"]
    by_exchange = admin.post(f"{base}/scope-policies:evaluate", question | {"exchanged_from": setting["notes"]})
    assert by_exchange["granted"] == ["list"]
    assert [row["rule"] for row in by_exchange["trace"]] == ["notes to files", "no_statement"]


@pytest.mark.parametrize("changes,error", [
    ({"subject_token": None}, "invalid_request"),
    ({"subject_token_type": None}, "invalid_request"),
    ({"subject_token_type": "urn:ietf:params:oauth:token-type:id_token"}, "invalid_request"),
    ({"subject_token_type": "urn:ietf:params:oauth:token-type:jwt"}, "invalid_request"),
    ({"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"}, "invalid_request"),
    ({"actor_token_type": ACCESS_TOKEN}, "invalid_request"),
    ({"actor_token": "x"}, "invalid_request"),
    ({"actor_token": "x", "actor_token_type": ACCESS_TOKEN}, "invalid_request"),
    ({"subject_token": "nonsense"}, "invalid_request"),
    ({"subject_token": "a.b.c"}, "invalid_request"),
    ({"scope": 'a"b'}, "invalid_scope"),
    ({"audience": ["https://a.example/", "https://b.example/"]}, "invalid_request"),
])
def test_malformed(deployment, client, browser, evidence, changes, error):
    """TX-01, TK-05, TK-06: what is missing, of a type that is not exchanged, or no token at all."""
    with evidence.no_rows_stored():
        refused(exchange(deployment, client, "x", **changes), error)


def test_tokens_that_are_not_exchanged(deployment, admin, base, client, browser, evidence):
    """TX-03, BR-07, T-13, K-13: another client's, another tenant's, another issuer's, a refresh token, an ended one: all
    are invalid_request in the same words, and the log says why."""
    tokens = connect(deployment, browser, client)
    other = register(deployment, base, name="Other agent")
    foreign = connect(deployment, browser, other)["access_token"]
    ended = connect(deployment, browser, client)
    grant = claims(ended["access_token"])["grant_id"]
    admin.post(f"{base}/grants/{grant}:revoke")
    elsewhere_client = deployment.platform.register()
    elsewhere = deployment.platform.redeem(told_code(deployment.platform, browser, elsewhere_client)).json()
    head, body, signature = tokens["access_token"].split(".")
    replies = {
        "subject_token_of_another_client": exchange(deployment, client, foreign),
        "subject_token_ended": exchange(deployment, client, ended["access_token"]),
        "subject_token_invalid": exchange(deployment, client, elsewhere["access_token"]),
    }
    refresh = exchange(deployment, client, tokens["refresh_token"])
    forged = exchange(deployment, client, f"{head}.{body}.{signature[:-4]}AAAA")
    for reply in [*replies.values(), refresh, forged]:
        refused(reply, "invalid_request")
    assert len({reply.text for reply in [*replies.values(), refresh, forged]}) == 1
    for reason, reply in replies.items():
        denied, = evidence.of(reply, "acme", type="token.denied")
        assert denied["reason"] == reason
    # The one that was presented as it should be works on.
    assert exchange(deployment, client, tokens["access_token"]).status_code == 200


def test_who_may_exchange(deployment, base, client, browser):
    """TX-03, TK-12, K-23: neither a public client without a bound key nor one that was not given the grant; no secret,
    no exchange; nor can a client register itself for it."""
    public = register(deployment, base, token_endpoint_auth_method="none")
    token = connect(deployment, browser, public)["access_token"]
    refused(exchange(deployment, public, token), "unauthorized_client")
    plain = register(deployment, base, grant_types=["authorization_code", "refresh_token"])
    refused(exchange(deployment, plain, connect(deployment, browser, plain)["access_token"]), "unauthorized_client")
    mine = connect(deployment, browser, client)["access_token"]
    refused(exchange(deployment, {"client_id": client["client_id"]}, mine), "invalid_client", 401)
    registration = httpx.post(f"{deployment.acme.url}/oauth/register", trust_env=False, json={
        "redirect_uris": [REDIRECT_URI], "grant_types": ["authorization_code", GRANT]})
    refused(registration, "invalid_client_metadata")


def test_the_grant_ends_what_it_gave(deployment, admin, base, client, browser):
    """TX-02, RV-03, IN-05: revoking the connection ends the exchanged token with it."""
    tokens = connect(deployment, browser, client)
    made = exchange(deployment, client, tokens["access_token"], scope="read").json()["access_token"]

    def active() -> dict:
        return httpx.post(
            f"{deployment.acme.url}/oauth/introspect", data={"token": made, **proven(client)}, trust_env=False).json()

    assert active()["active"] is True and active()["act"] == {"sub": client["client_id"]}
    admin.post(f"{base}/grants/{claims(made)['grant_id']}:revoke")
    assert active() == {"active": False}
    refused(exchange(deployment, client, made), "invalid_request")


def test_service(deployment, admin, base, setting):
    """TX-02, TK-25: a service exchanges its own token; it still speaks for nobody but itself."""
    made = admin.post(f"{base}/clients", {
        "name": "Indexer", "kind": "service", "grant_types": ["client_credentials", GRANT]})
    rule = admin.post(f"{base}/scope-policies", {
        "name": "indexer", "effect": "allow", "principals": {"services": [made["client_id"]]}, "scopes": ["read", "list"]})
    named = admin.post(f"{base}/scope-policies", {
        "name": "indexer exchanges", "effect": "allow", "principals": {"services": [made["client_id"]]},
        "resources": [setting["files"]], "scopes": ["list"], "conditions": {"exchanged_from": [setting["notes"]]}})
    try:
        time.sleep(EPOCH_BOUND)
        auth = basic(made["client_id"], made["client_secret"])
        own = deployment.acme.token(
            {"grant_type": "client_credentials", "resource": deployment.stack.acme_url}, headers=auth).json()
        reply = deployment.acme.token({
            "grant_type": GRANT, "subject_token": own["access_token"], "subject_token_type": ACCESS_TOKEN,
            "resource": FILES}, headers=auth)
        assert reply.status_code == 200, reply.text
        token = claims(reply.json()["access_token"])
        assert token["sub"] == made["client_id"] and token["scopes"] == ["list"] and "grant_id" not in token
    finally:
        for one in (rule, named):
            admin.call("DELETE", f"{base}/scope-policies/{one['id']}", headers={"if-match": "*"})
