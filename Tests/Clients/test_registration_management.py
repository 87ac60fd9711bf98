"""Who may register, and what a client does with its own registration (RFC 7591 §3, RFC 7592)."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
from assertions import KeyPair
from document_host import fresh_name
from evidence import source
from gatehouse_demo.pages import PageError
from oauth import REDIRECT_URI
from test_metadata_documents import ask, connected, eventually, expire, fresh_path, publish, refused

BODY = {
    "client_name": "Managed", "redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": "none",
    "grant_types": ["authorization_code", "refresh_token"],
}


def register(issuer, token: str | None = None, **metadata) -> httpx.Response:
    headers = source() | ({"authorization": f"Bearer {token}"} if token else {})
    return httpx.post(f"{issuer.url}/oauth/register", json=BODY | metadata, headers=headers, trust_env=False)


def manage(method: str, url: str, token: str | None, body: object = None) -> httpx.Response:
    headers = source() | ({"authorization": f"Bearer {token}"} if token else {})
    reply = httpx.request(method, url, json=body, headers=headers, trust_env=False)
    assert reply.headers["cache-control"] == "no-store"
    return reply


@contextmanager
def settings(admin, path: str, **onboarding):
    """An organization's onboarding, changed for a while."""
    path = path if path.endswith("/settings") else f"{path}/settings"
    before = admin.get(path)["onboarding"]
    admin.call("PATCH", path, {"onboarding": onboarding})
    time.sleep(1)   # on every node
    try:
        yield
    finally:
        admin.call("PATCH", path, {"onboarding": before})
        time.sleep(1)


def test_read(deployment):
    """RG-11: a registration comes with its own place and token; what is read there is what was registered."""
    for issuer in (deployment.platform, deployment.acme):
        made = register(issuer, client_uri="https://client.example/").json()
        place, token = made["registration_client_uri"], made["registration_access_token"]
        assert place == f"{issuer.url}/oauth/register/{made['client_id']}" and len(token) >= 43
        read = manage("GET", place, token)
        assert read.status_code == 200 and read.json() == made
    confidential = register(deployment.platform, token_endpoint_auth_method="client_secret_post").json()
    read = manage("GET", confidential["registration_client_uri"], confidential["registration_access_token"]).json()
    assert "client_secret" not in read and read["token_endpoint_auth_method"] == "client_secret_post"


def test_foreign_tokens(deployment, evidence):
    """RG-11, K-26, BR-01, BR-02: no, wrong and another client's token are 401 alike, also for a client nobody has."""
    mine, other = (register(deployment.platform).json() for _ in range(2))
    elsewhere = register(deployment.acme).json()
    unknown = f"{deployment.platform.url}/oauth/register/cli_01ky4a4nm7f9qrxegc4qa1m55j"
    moved = f"{deployment.acme.url}/oauth/register/{mine['client_id']}"
    replies = []
    with evidence.nothing_stored():
        for method, body in (("GET", None), ("PUT", BODY | {"client_id": mine["client_id"]}), ("DELETE", None)):
            bare = manage(method, mine["registration_client_uri"], None, body)
            assert bare.status_code == 401 and "error=" not in bare.headers["www-authenticate"]
            assert bare.headers["www-authenticate"].startswith("Bearer ")
            for place, token in (
                (mine["registration_client_uri"], other["registration_access_token"]),
                (mine["registration_client_uri"], elsewhere["registration_access_token"]),
                (mine["registration_client_uri"], "gm_" + "A" * 43), (unknown, mine["registration_access_token"]),
                (moved, mine["registration_access_token"]), (f"{unknown}x", mine["registration_access_token"]),
            ):
                reply = manage(method, place, token, body)
                assert reply.status_code == 401 and reply.json()["error"] == "invalid_token", (method, place)
                assert 'error="invalid_token"' in reply.headers["www-authenticate"]
                replies.append(reply)
    assert len({reply.content for reply in replies}) == 1
    assert evidence.of([r for r in replies if "/o/acme" not in str(r.request.url)], type="client.auth_failed")
    assert manage("GET", mine["registration_client_uri"], mine["registration_access_token"]).status_code == 200


def test_replace(deployment, evidence):
    """RG-11, RG-12, CM-11: PUT says everything anew, or nothing changes; what is not said is gone; the change is recorded."""
    issuer = deployment.platform
    made = register(issuer, client_uri="https://client.example/", application_type="web").json()
    place, token, client_id = made["registration_client_uri"], made["registration_access_token"], made["client_id"]
    new = {"client_id": client_id, "redirect_uris": ["https://new.example/cb"], "client_name": "Renamed",
           "token_endpoint_auth_method": "none"}
    wrong = []
    with evidence.nothing_stored():
        for changes, error in (
            ({"client_id": None}, "invalid_client_metadata"), ({"client_id": "cli_x"}, "invalid_client_metadata"),
            ({"registration_access_token": token}, "invalid_client_metadata"),
            ({"registration_client_uri": place}, "invalid_client_metadata"), ({"client_id_issued_at": 1}, "invalid_client_metadata"),
            ({"client_secret_expires_at": 0}, "invalid_client_metadata"), ({"client_secret": "x"}, "invalid_client_metadata"),
            ({"redirect_uris": ["javascript:x"]}, "invalid_redirect_uri"), ({"redirect_uris": None}, "invalid_redirect_uri"),
            ({"grant_types": ["password"]}, "invalid_client_metadata"), ({"client_name": "Chat\u202eTPG"}, "invalid_client_metadata"),
        ):
            body = {name: value for name, value in (new | changes).items() if value is not None}
            reply = manage("PUT", place, token, body)
            if reply.status_code != 400 or reply.json()["error"] != error:
                wrong.append((changes, reply.text))
    assert not wrong
    assert manage("GET", place, token).json() == made
    reply = manage("PUT", place, token, new)
    assert reply.status_code == 200, reply.text
    body = reply.json()
    assert body["client_name"] == "Renamed" and body["redirect_uris"] == ["https://new.example/cb"]
    assert "client_uri" not in body and "application_type" not in body and body["grant_types"] == ["authorization_code"]
    assert body["registration_access_token"] == token
    event = evidence.of(reply, type="client.redirect_uris_changed")[0]
    assert event["actor"]["id"] == client_id
    time.sleep(1.1)
    for node in deployment.node_urls:
        refused(ask(issuer, client_id, node=node))
        assert ask(issuer, client_id, node=node, redirect_uri="https://new.example/cb").status_code == 200


def test_replace_methods(deployment):
    """RG-11, TK-09, K-23: a client that takes up a secret or a key is asked for it from then on."""
    issuer = deployment.platform
    made = register(issuer).json()
    place, token, client_id = made["registration_client_uri"], made["registration_access_token"], made["client_id"]
    code = issuer.code(deployment.person("alice"), client_id)
    refresh = issuer.redeem(code).json()["refresh_token"]
    new = BODY | {"client_id": client_id, "token_endpoint_auth_method": "client_secret_post"}
    secret = manage("PUT", place, token, new).json()["client_secret"]
    time.sleep(1)
    for node in deployment.node_urls:
        assert issuer.refresh(refresh, client_id, node=node).status_code == 401
    tokens = issuer.refresh(refresh, client_id, client_secret=secret)
    assert tokens.status_code == 200, tokens.text
    again = manage("PUT", place, token, new | {"client_secret": secret})
    assert again.status_code == 200 and "client_secret" not in again.json()
    key = KeyPair()
    proven = BODY | {"client_id": client_id, "token_endpoint_auth_method": "private_key_jwt", "jwks": key.jwks}
    assert manage("PUT", place, token, proven).json()["jwks"] == key.jwks
    time.sleep(1)
    refresh = tokens.json()["refresh_token"]
    assert issuer.refresh(refresh, client_id, client_secret=secret).status_code == 401
    assert issuer.refresh(refresh, client_id, **key.form(client_id, issuer.url)).status_code == 200


@pytest.mark.parametrize("where", ["platform", "acme"])
def test_delete(deployment, evidence, where):
    """RG-13: after DELETE client, secret, registration token and connections are dead on every node within a second."""
    issuer = deployment.issuer(where)
    made = register(issuer, token_endpoint_auth_method="client_secret_post").json()
    place, token, client_id = made["registration_client_uri"], made["registration_access_token"], made["client_id"]
    secret = {"client_secret": made["client_secret"]}
    code = issuer.code(deployment.person("alice"), client_id)
    refresh = issuer.redeem(code, **secret).json()["refresh_token"]
    reply = manage("DELETE", place, token)
    assert reply.status_code == 204 and not reply.content
    assert evidence.of(reply, deployment.organizations.get(where), type="client.deleted")
    time.sleep(1)
    for node in deployment.node_urls:
        gone = issuer.refresh(refresh, client_id, node=node, **secret)
        assert gone.status_code == 401 and gone.json()["error"] == "invalid_client"
        refused(ask(issuer, client_id, node=node))
    for method in ("GET", "DELETE"):
        assert manage(method, place, token).status_code == 401


def test_changes_are_bounded(deployment):
    """RG-09, RL-01: a client changes its registration so many times an hour, and is then asked to wait."""
    made = register(deployment.platform).json()
    url = f"{deployment.node_urls[0]}/oauth/register/{made['client_id']}"
    body = BODY | {"client_id": made["client_id"]}
    replies = [manage("PUT", url, made["registration_access_token"], body) for _ in range(22)]
    assert [reply.status_code for reply in replies[:20]] == [200] * 20
    assert replies[-1].status_code == 503 and int(replies[-1].headers["retry-after"]) > 0


def test_initial_access_tokens(deployment, admin, evidence):
    """RG-10, MCP-AS-38: where registration asks for a token, one works as often as its maker said, at its issuer alone."""
    acme, path = deployment.acme, "/v1/organizations/acme"
    with settings(admin, path, registration="initial_access_token"):
        with evidence.nothing_stored():
            bare = register(acme)
            assert bare.status_code == 401 and "error=" not in bare.headers["www-authenticate"]
            assert bare.headers["cache-control"] == "no-store" and bare.json()["error"] == "invalid_token"
        made = admin.post(f"{path}/initial-access-tokens", {"name": "two", "uses": 2})
        assert made["token"].startswith("gi_") and made["uses_left"] == 2
        listed = admin.get(f"{path}/initial-access-tokens/{made['id']}")
        assert "token" not in listed
        ended = admin.post(f"{path}/initial-access-tokens", {"name": "soon", "expires_at": "2099-01-01T00:00:00Z"})
        admin.call("DELETE", f"{path}/initial-access-tokens/{ended['id']}")
        platform = admin.post("/v1/initial-access-tokens", {"name": "elsewhere"})
        globex = admin.post("/v1/organizations/globex/initial-access-tokens", {"name": "elsewhere"})
        with evidence.nothing_stored():
            for token in ("x", "gi_x", made["token"][:-1] + "A", ended["token"], platform["token"], globex["token"]):
                reply = register(acme, token)
                assert reply.status_code == 401 and reply.json()["error"] == "invalid_token", token
                assert 'error="invalid_token"' in reply.headers["www-authenticate"]
        first = register(acme, made["token"])
        assert first.status_code == 201
        event = evidence.of(first, deployment.organizations["acme"], type="client.registered")[0]
        assert event["metadata"]["initial_access_token"] == made["id"]
        # A refused registration uses nothing up.
        assert register(acme, made["token"], redirect_uris=["javascript:x"]).status_code == 400
        assert register(acme, made["token"]).status_code == 201
        assert register(acme, made["token"]).status_code == 401
        assert evidence.sql(f"SELECT count(*) FROM initial_access_token WHERE encode(secret_digest, 'escape') LIKE 'gi_%'") == "0"
    assert register(acme).status_code == 201
    assert register(acme, "gi_x").status_code == 401, "a wrong one is refused where none is needed, too"


def test_used_once_in_parallel(deployment, admin):
    """RG-10: of many registrations at once with a token for one, one succeeds."""
    made = admin.post("/v1/organizations/acme/initial-access-tokens", {"name": "one", "uses": 1})
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: register(deployment.acme, made["token"]).status_code, range(8)))
    assert sorted(statuses) == [201] + [401] * 7


def test_registration_off(deployment, admin, evidence, http):
    """RG-10, MD-04, MD-09: where registration is off the metadata does not offer it, and it is refused."""
    acme = deployment.acme
    with settings(admin, "/v1/organizations/acme", registration="off"):
        document = http.get(f"{acme.url}/.well-known/oauth-authorization-server").json()
        assert "registration_endpoint" not in document
        token = admin.post("/v1/organizations/acme/initial-access-tokens", {"name": "no"})["token"]
        with evidence.nothing_stored():
            for reply in (register(acme), register(acme, token)):
                assert reply.status_code == 400 and reply.json()["error"] == "access_denied"
        assert register(deployment.platform).status_code == 201
    with settings(admin, "/v1/settings", registration="off"):
        assert register(deployment.platform).status_code == 400
        assert register(acme).status_code == 201


def test_kinds_are_judged_by_the_organization(deployment, admin, evidence):
    """CM-14, CM-16, MCP-AS-33: a stranger of the platform's registry meets an organization only as that one allows;
    who is connected goes on."""
    platform, alice = deployment.platform, deployment.person("alice")
    known = publish(deployment.documents)
    connection = connected(deployment, known)
    with settings(admin, "/v1/organizations/acme", registration="off", metadata_documents="off"):
        for client_id in (platform.register(), publish(deployment.documents)):
            with pytest.raises(PageError, match="403"):
                platform.code(alice, client_id)
            denied = eventually(evidence, deployment.organizations["acme"], client_id, type="authorize.denied")
            assert denied[0]["reason"] == "client_kind_closed"
        # Another organization at the same issuer goes by its own rules.
        assert platform.refresh(connection, known).status_code == 200
        assert "code" in platform.authorize(alice, known)[0]


def test_document_hosts(deployment, admin, evidence):
    """CM-14, MCP-AS-33: an organization's lists of documents' hosts: what they keep out is not even fetched."""
    documents, acme = deployment.documents, deployment.acme
    listed = publish(documents, name="listed.localhost")
    below = publish(documents, name="a.below.localhost")
    other = publish(documents, name="unlisted.localhost")
    with settings(admin, "/v1/organizations/acme", allowed_document_hosts=["listed.localhost", "*.below.localhost"]):
        before = len(documents.hits())
        refused(ask(acme, other))
        refused(ask(acme, publish(documents, name="below.localhost")))
        assert len(documents.hits()) == before
        assert ask(acme, listed).status_code == 200 and ask(acme, below).status_code == 200
    with settings(admin, "/v1/organizations/acme", denied_document_hosts=["unlisted.localhost"]):
        refused(ask(acme, other))
        assert ask(acme, publish(documents)).status_code == 200
    assert ask(acme, other).status_code == 200


def test_hosts_are_judged_at_every_refresh(deployment, admin):
    """CM-14, MCP-AS-33: a host that is denied later ends at the next refresh, for that organization; and comes back."""
    issuer, documents = deployment.platform, deployment.documents
    client_id = publish(documents, name="suspect.localhost")
    refresh = connected(deployment, client_id)
    with settings(admin, "/v1/organizations/globex", denied_document_hosts=["suspect.localhost"]):
        reply = issuer.refresh(refresh, client_id)
        assert reply.status_code == 200
        refresh = reply.json()["refresh_token"]
    with settings(admin, "/v1/organizations/acme", denied_document_hosts=["*.localhost"]):
        reply = issuer.refresh(refresh, client_id)
        assert reply.status_code == 400 and reply.json()["error"] == "invalid_grant"
    assert issuer.refresh(refresh, client_id).status_code == 200


def test_redirect_hosts(deployment, admin, evidence):
    """CM-14, MCP-AS-33: an organization's lists of where answers may go, at registration and when it meets a client."""
    acme = deployment.acme
    with settings(admin, "/v1/organizations/acme", allowed_redirect_hosts=["client.example", "loopback"]):
        assert register(acme).status_code == 201
        assert register(acme, redirect_uris=["http://127.0.0.1/cb", "http://localhost:1/cb"]).status_code == 201
        with evidence.nothing_stored():
            for uris in (["https://other.example/cb"], [REDIRECT_URI, "https://other.example/cb"]):
                reply = register(acme, redirect_uris=uris)
                assert reply.status_code == 400 and reply.json()["error"] == "invalid_redirect_uri"
    with settings(admin, "/v1/organizations/acme", denied_redirect_hosts=["loopback"]):
        assert register(acme, redirect_uris=["http://127.0.0.1/cb"]).status_code == 400
        loopback = deployment.platform.register(redirect_uris=["http://127.0.0.1/cb"])
        with pytest.raises(PageError, match="403"):
            deployment.platform.code(deployment.person("alice"), loopback, redirect_uri="http://127.0.0.1:9/cb")


def test_settings_are_checked(deployment, admin):
    """CM-14, T-25: what is no host or no mode is refused with its place."""
    for onboarding, pointer in (
        ({"registration": "closed"}, "/settings/onboarding/registration"),
        ({"metadata_documents": 1}, "/settings/onboarding/metadata_documents"),
        ({"allowed_document_hosts": ["https://a.example"]}, "/settings/onboarding/allowed_document_hosts/0"),
        ({"denied_redirect_hosts": ["a.example", "*"]}, "/settings/onboarding/denied_redirect_hosts/1"),
        ({"denied_redirect_hosts": ["A.example"]}, "/settings/onboarding/denied_redirect_hosts/0"),
        ({"hosts": []}, "/settings/onboarding/hosts"),
    ):
        reply = admin.send("PATCH", "/v1/organizations/acme", {"settings": {"onboarding": onboarding}})
        assert reply.status_code == 422 and reply.json()["errors"][0]["pointer"] == pointer, reply.text


def test_preregistered_documents(deployment, admin, evidence):
    """CM-16, CM-14: with onboarding off an administrator names a document; it is read then, and that one alone connects."""
    acme, documents, path = deployment.acme, deployment.documents, "/v1/organizations/acme"
    named, stranger = publish(documents), publish(documents)
    with settings(admin, path, metadata_documents="preregistered"):
        made = admin.post(f"{path}/clients", {"kind": "metadata_document", "document_url": named})
        assert made["client_id"] == named and made["document"]["preregistered"] is True and made["expires_at"] is None
        refused(ask(acme, stranger))
        assert not documents.hits(stranger.rpartition("/")[2]) and ask(acme, named).status_code == 200
        code = acme.code(deployment.person("alice"), named)
        assert acme.redeem(code).status_code == 200
        for url, code in (
            ("http://client.example/x.json", "invalid"), (documents.url("/absent.json"), "document_status"),
            ("https://client.example", "invalid"), ("x", "invalid"),
        ):
            reply = admin.send("POST", f"{path}/clients", {"kind": "metadata_document", "document_url": url})
            assert reply.status_code == 422, reply.text
            assert reply.json()["errors"][0] | {"detail": ""} == {"pointer": "/document_url", "code": code, "detail": ""}


def test_approved_before_met(deployment, admin, evidence):
    """CM-16, MCP-AS-33: an organization names a document of the platform's issuer while strangers are kept out."""
    platform, path = deployment.platform, "/v1/organizations/acme"
    alice = deployment.person("alice")
    with settings(admin, path, metadata_documents="preregistered", registration="off"):
        named, dynamic = publish(deployment.documents), platform.register()
        other = admin.send("POST", f"{path}/client-approvals", {"client_id": named, "document_digest": "x"})
        assert other.status_code == 409, other.text
        done = admin.send("POST", f"{path}/client-approvals", {"client_id": named})
        assert done.status_code == 201 and done.json()["status"] == "active", done.text
        assert admin.send("POST", f"{path}/client-approvals", {"client_id": dynamic}).status_code == 201
        assert admin.send("POST", f"{path}/client-approvals", {"client_id": named}).status_code == 409
        for unknown in ("cli_01ky4a4nm7f9qrxegc4qa1m55j", "x", ""):
            reply = admin.send("POST", f"{path}/client-approvals", {"client_id": unknown})
            assert reply.status_code == 422, reply.text
        absent = deployment.documents.url("/absent.json")
        reply = admin.send("POST", f"{path}/client-approvals", {"client_id": absent})
        assert reply.status_code == 422 and reply.json()["errors"][0]["pointer"] == "/client_id", reply.text
        for client_id in (named, dynamic):
            assert platform.redeem(platform.code(alice, client_id)).status_code == 200


def test_approval_of_documents(deployment, admin, evidence):
    """CM-11, CM-14: where documents wait for approval, one that changed waits again."""
    path, documents, acme = "/v1/organizations/acme", deployment.documents, deployment.acme
    place, name = fresh_path("approved"), fresh_name()
    client_id = publish(documents, place, name)
    alice = deployment.person("alice")
    admin.call("PATCH", path, {"settings": {"approval_required_for": ["metadata_document"]}})
    time.sleep(1)
    try:
        with pytest.raises(PageError, match="403") as told:
            acme.code(alice, client_id)
        row = next(one for one in admin.list(f"{path}/client-approvals") if one.get("client_id") == client_id)
        assert row["status"] == "pending" and row["kind"] == "metadata_document"
        assert f"“{row['name']}” is waiting for approval" in str(told.value)
        assert f"{admin.get(path)['name']} approves new applications" in str(told.value)
        one = f"{path}/client-approvals/{row['id']}"
        assert admin.send("POST", f"{one}:approve").status_code == 422
        admin.post(f"{one}:approve", {"document_digest": row["document_digest"]})
        refresh = acme.redeem(acme.code(alice, client_id)).json()["refresh_token"]
        publish(documents, place, name, redirect_uris=[REDIRECT_URI, "https://more.example/cb"])
        expire(evidence, client_id)
        assert acme.refresh(refresh, client_id).status_code == 200
        with pytest.raises(PageError, match="403"):
            acme.code(alice, client_id)
        # What was looked at is not what it says now.
        late = admin.send("POST", f"{one}:approve", {"document_digest": row["document_digest"]})
        assert late.status_code == 409 and late.headers["content-type"] == "application/problem+json", late.text
        assert admin.get(one)["status"] == "pending"
        admin.post(f"{one}:approve", {"document_digest": admin.get(one)["document_digest"]})
        assert acme.redeem(acme.code(alice, client_id)).status_code == 200
    finally:
        admin.call("PATCH", path, {"settings": {"approval_required_for": []}})
        time.sleep(1)


def test_administered_keys(deployment, admin):
    """BC-09, JA-02, RG-07: an administrator's clients prove themselves with keys, by value or by URL; keys can be replaced."""
    path, acme = "/v1/organizations/acme/clients", deployment.acme
    old, new = KeyPair(), KeyPair("RS256")
    for wrong, pointer in (
        ({"jwks": {"keys": []}}, "/jwks"), ({"jwks_uri": "http://x.example/"}, "/jwks_uri"), ({}, "/jwks"),
        ({"jwks": {"keys": [old.private_jwk]}}, "/jwks"),
    ):
        body = {"name": "Keys", "redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": "private_key_jwt"} | wrong
        reply = admin.send("POST", path, body)
        assert reply.status_code == 422 and reply.json()["errors"][0]["pointer"] == pointer, reply.text
    service = admin.post(
        path, {"kind": "service", "name": "Robot", "token_endpoint_auth_method": "private_key_jwt", "jwks": old.jwks})
    assert "client_secret" not in service
    policy = admin.post("/v1/organizations/acme/scope-policies", {
        "name": f"robot {service['id']}", "effect": "allow", "principals": {"services": [service["client_id"]]},
        "scopes": ["read"]})
    form = {"grant_type": "client_credentials", "resource": acme.resource}
    reply = acme.token(form | old.form(service["client_id"], acme.url))
    assert reply.status_code == 200, reply.text
    changed = admin.send("PATCH", f"{path}/{service['id']}", {"jwks": new.jwks}, {"if-match": "*"})
    assert changed.status_code == 200, changed.text
    time.sleep(1)
    for node in deployment.node_urls:
        assert acme.token(form | old.form(service["client_id"], acme.url), node).status_code == 401
        assert acme.token(form | new.form(service["client_id"], acme.url), node).status_code == 200
    admin.send("DELETE", f"/v1/organizations/acme/scope-policies/{policy['id']}", None, {"if-match": "*"})


def test_secret_overlap(deployment, admin, evidence):
    """K-25: while secrets overlap both work, then the new one alone; without overlap the old one ends at once."""
    path, platform = "/v1/clients", deployment.platform
    made = admin.post(path, {"name": "Rotating", "redirect_uris": [REDIRECT_URI],
                             "token_endpoint_auth_method": "client_secret_post"})
    client_id = made["client_id"]

    def works(secret: str) -> bool:
        form = {"grant_type": "refresh_token", "refresh_token": "x", "client_id": client_id, "client_secret": secret}
        return {platform.token(form, node).status_code for node in deployment.node_urls} == {400}

    assert works(made["client_secret"])
    for wrong in (-1, 8 * 86_400, "x"):
        reply = admin.send("POST", f"{path}/{made['id']}/secrets", {"overlap_seconds": wrong})
        assert reply.status_code == 422 and reply.json()["errors"][0]["pointer"] == "/overlap_seconds"
    second = admin.post(f"{path}/{made['id']}/secrets", {"overlap_seconds": 600})
    time.sleep(1)
    assert second["previous_secret_expires_at"] and works(second["client_secret"]) and works(made["client_secret"])
    evidence.sql("UPDATE client SET previous_secret_expires_at = now() - interval '1 second' WHERE name = 'Rotating'")
    admin.send("PATCH", f"{path}/{made['id']}", {"name": "Rotating"}, {"if-match": "*"})
    time.sleep(1)
    assert works(second["client_secret"]) and not works(made["client_secret"])
    third = admin.call("POST", f"{path}/{made['id']}/secrets")
    time.sleep(1)
    assert works(third["client_secret"]) and not works(second["client_secret"])
