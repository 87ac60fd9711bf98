"""The admin API: one organization's key, every route, another organization's things (facts A3, B1; design §4)."""

from __future__ import annotations

import json
import re
import time

import httpx
import pytest
from administration import Administration
from conftest import REPOSITORY
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from gatehouse_demo.admin import Admin
from gatehouse_demo.chatgpt import claims
from oauth import REDIRECT_URI
from walk import Walk

EPOCH_BOUND = 1.0


def route_table() -> list[tuple[str, str, bool]]:
    """Method, path and whether it is a platform route, of every route of the admin API, as the sources name them."""
    routes = []
    for file in sorted((REPOSITORY / "Sources" / "API" / "Admin").glob("*.swift")):
        text = file.read_text()
        found = re.findall(r'table\.(get|post|patch|put|delete)\(\s*"([^"]*)",\s*\.\w+,\s*in:\s*([^:]*?)'
            r'(?:,\s*evenDeleted:\s*true)?,\s*use:', text)
        every = re.findall(r"\btable\.(?:get|post|patch|put|delete)\(", text)
        assert len(found) == len(every), f"{file.name}: unread route"
        for method, path, places in found:
            if ".platform" in places:
                routes.append((method.upper(), f"/v1/{path}", True))
            if ".organization" in places:
                joint = "" if not path or path.startswith(":") else "/"
                routes.append((method.upper(), f"/v1/organizations/{{org}}{joint}{path}", False))
    return routes


ROUTES = route_table()

# Bodies that would be right, by the end of the path, so that nothing but the id can be wrong.
BODIES = {
    ("POST", "users"): {"email": "new@acme.example"}, ("PATCH", "users/{user}"): {"name": "Changed"},
    ("POST", "users/{user}/identities"): {"identity_provider_id": "{provider}", "subject": "member-test-x"},
    ("POST", "groups"): {"name": "New group"}, ("PATCH", "groups/{group}"): {"name": "Changed"},
    ("POST", "groups/{group}/members"): {"users": ["{user}"]}, ("POST", "scim-tokens"): {"name": "x"},
    ("POST", "invitations"): {"email": "new@acme.example"}, ("POST", "domains"): {"domain": "taken.example"},
    ("POST", "clients"): {"name": "x", "redirect_uris": [REDIRECT_URI]},
    ("PATCH", "clients/{client}"): {"name": "Changed"},
    ("POST", "resources"): {"uri": "https://new.example/mcp", "name": "x", "scopes": ["read"]},
    ("PATCH", "resources/{resource}"): {"name": "Changed"},
    ("POST", "identity-providers"): {"kind": "stytch_consumer", "name": "x", "project_id": "project-test-x",
        "secret": "x"},
    ("PATCH", "identity-providers/{provider}"): {"name": "Changed"},
    ("POST", "scope-policies"): {"name": "x", "effect": "allow", "principals": {"everyone": True}, "scopes": ["read"]},
    ("PATCH", "scope-policies/{policy}"): {"name": "Changed"},
    ("POST", "scope-policies:evaluate"): {"user": "{user}", "client": "{client}", "resource": "{resource}"},
    ("POST", "scope-policies:simulate"): {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"},
    ("POST", "admin-keys"): {"name": "x", "scopes": ["users:read"]},
    ("POST", "signing-keys"): {"purpose": "access", "resource": "{resource}", "public_key": "x"},
    ("POST", "resources/{resource}/credentials"): {"name": "server"},
    ("PATCH", "resources/{resource}/tools"): {"tools": {"read_note": {"scopes": ["read"]}}},
    ("POST", "access-tokens"): {"name": "x", "user": "{user}", "resource": "{resource}", "scopes": ["read"]},
    ("POST", "initial-access-tokens"): {"name": "x"},
    ("POST", "roles"): {"name": "x"}, ("PATCH", "roles/{role}"): {"name": "Changed"},
    ("POST", "roles/{role}/bindings"): {"user": "{user}"},
    ("POST", "grants:revoke"): {"user": "{user}"}, ("PATCH", "settings"): {"consent": "always_ask"},
    ("PATCH", "branding"): {"display_name": "Changed"},
    ("POST", "trusted-issuers"): {"name": "x", "issuer": "https://new-idp.example",
        "jwks_uri": "https://new-idp.example/jwks", "client_ids": ["{client}"], "authoritative_domains": []},
    ("PATCH", "trusted-issuers/{issuer}"): {"name": "Changed"},
    ("POST", "access-reviews"): {"user": "{user}"},
    ("POST", "organizations"): {"slug": "new-one", "name": "x"}, ("PATCH", "organizations/{org}"): {"name": "Changed"},
}

# Writes that are refused with those things and bodies, and why; every other one can be done.
REFUSED_REHEARSALS = {
    ("POST", "client-approvals"): 422,  # no client is named
    ("DELETE", "domains/{domain}"): 409,  # an identity provider is authoritative for it
    ("POST", ":restore"): 404,  # it is not deleted
    ("PATCH", "resources/{resource}/tools"): 422,  # none was imported
    ("POST", "resources/{resource}:import-tools"): 422,  # nobody answers there
    ("POST", "roles/{role}/bindings"): 409,  # they have it
    ("POST", "signing-keys"): 422,  # that is no key
    ("POST", "signing-keys/{signing_key}:activate"): 409,  # it is active
    ("POST", "users:batch"): 415,  # it takes lines
}
# They answer a question and write nothing.
QUESTIONS = {"scope-policies:evaluate", "scope-policies:simulate"}

MISSING = {
    "org": "org_", "user": "usr_", "client": "cli_", "resource": "res_", "policy": "pol_", "provider": "idp_",
    "grant": "gra_", "key": "key_", "signing_key": "sig_", "invitation": "inv_", "event": "evt_",
    "credential": "crd_", "token": "tok_", "initial": "iat_", "issuer": "idp_",
    "group": "grp_", "scim": "sct_", "role": "rol_", "principal": "usr_", "operation": "op_", "review": "rev_",
    "session": "ses_", "identity": "",
}


@pytest.fixture(scope="module")
def platform(deployment):
    with Admin(deployment.stack.url, deployment.stack.admin_key) as made:
        yield made


def make_things(deployment, platform, name: str) -> dict[str, str]:
    """One of each kind in the organization; returns their ids by the words of the route table."""
    organization = deployment.organizations[name]
    base = f"/v1/organizations/{organization}"
    (user,) = platform.list(f"{base}/users", email={"acme": "alice@acme.example", "globex": "gus@globex.example"}[name])
    (provider,) = platform.list(f"{base}/identity-providers")
    client = platform.post(f"{base}/clients", {
        "name": "Theirs", "redirect_uris": [REDIRECT_URI],
        "grant_types": ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:jwt-bearer"]})
    resource = platform.post(f"{base}/resources", {
        "uri": f"https://{name}-only.example/mcp", "name": "Theirs", "scopes": ["read"], "algorithm": "RS256"})
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    signing = platform.post(
        f"{base}/signing-keys", {"purpose": "access", "resource": resource["id"], "private_key": private})
    credential = platform.post(f"{base}/resources/{resource['id']}/credentials", {"name": "theirs"})
    token = platform.post(f"{base}/access-tokens", {
        "name": "theirs", "user": user["id"], "resource": resource["id"], "scopes": ["read"]})
    initial = platform.post(f"{base}/initial-access-tokens", {"name": "theirs"})
    group = platform.post(f"{base}/groups", {"name": "Theirs", "members": [user["id"]]})
    scim = platform.post(f"{base}/scim-tokens", {"name": "theirs"})
    role = platform.post(f"{base}/roles", {"name": f"Theirs {time.time()}"})
    platform.post(f"{base}/roles/{role['id']}/bindings", {"user": user["id"]})
    operation = platform._http.post(
        f"{base}/users:batch", content=b'{"email":"nobody"}\n', headers={"content-type": "application/x-ndjson"}).json()
    issuer = platform.post(f"{base}/trusted-issuers", {
        "name": "Theirs", "issuer": f"https://{name}-idp.example",
        "jwks_uri": f"https://{name}-idp.example/jwks", "client_ids": [client["client_id"]],
        "authoritative_domains": []})
    policy = platform.post(f"{base}/scope-policies", {
        "name": f"isolation test {time.time()}", "effect": "deny", "principals": {"users": [user["id"]]},
        "scopes": ["never*"]})
    review = platform.post(f"{base}/access-reviews")
    invitation = platform.post(f"{base}/invitations", {"email": f"invited@{name}.example"})
    key = platform.post(f"{base}/admin-keys", {"name": "theirs", "scopes": ["users:read"]})
    person = deployment.person({"acme": "alice", "globex": "gus"}[name])
    code = deployment.platform.code(person)
    connection = claims(deployment.platform.redeem(code).json()["access_token"])
    session = next(platform.list(f"{base}/sessions", user=user["id"]))
    identity = next(platform.list(f"{base}/users/{user['id']}/identities"))
    event = platform.await_events(organization, lambda rows: len(rows) > 0)[-1]["id"]
    return {
        "org": organization, "user": user["id"], "client": client["id"], "resource": resource["id"],
        "policy": policy["id"],
        "provider": provider["id"], "grant": connection["grant_id"], "key": key["id"], "signing_key": signing["id"],
        "invitation": invitation["id"], "event": event,
        "credential": credential["id"], "token": token["id"], "initial": initial["id"], "issuer": issuer["id"],
        "group": group["id"], "scim": scim["id"], "role": role["id"], "principal": user["id"],
        "operation": operation["id"], "review": review["id"], "session": session["id"],
        "identity": identity["id"],
        "domain": f"{name}.example", "admitted": code.client_id,
    }


def remove_things(platform, things: dict[str, str]) -> None:
    """Takes them away again, for a second resource would leave the issuer without a default."""
    base = f"/v1/organizations/{things['org']}"
    for path in (
        "resources/{resource}", "clients/{client}", "scope-policies/{policy}", "invitations/{invitation}",
        "trusted-issuers/{issuer}", "groups/{group}", "roles/{role}",
    ):
        reply = platform.send("DELETE", f"{base}/{filled(path, things)}", headers={"if-match": "*"})
        assert reply.is_success, (path, reply.text)


@pytest.fixture(scope="module")
def theirs(deployment, platform):
    made = make_things(deployment, platform, "globex")
    yield made
    remove_things(platform, made)


@pytest.fixture(scope="module")
def ours(deployment, platform):
    made = make_things(deployment, platform, "acme")
    yield made
    remove_things(platform, made)


@pytest.fixture(scope="module")
def owner(deployment, platform):
    """acme's owner: a key with every scope that an organization's key can have."""
    made = platform.post(f"/v1/organizations/{deployment.organizations['acme']}/admin-keys",
        {"name": "owner", "scopes": ["*"]})
    with Admin(deployment.stack.url, made["secret"]) as limited:
        yield limited


@pytest.fixture(scope="module", params=["key", "token"])
def attacker(request, deployment, platform, owner):
    """Whoever can do the most at acme: by its owner's key, and by the token of a person with every admin scope."""
    if request.param == "key":
        yield owner
        return
    acme = Administration(deployment, platform)
    role = platform.post(f"{acme.base}/roles", {"name": f"Everything {time.time()}", "admin_scopes": ["*"]})
    acme.roles["everything"] = role["id"]
    acme.give("everything", acme.alice)
    with Walk(deployment, deployment.person("alice")) as browser, acme.as_person(acme.token(browser)) as person:
        yield person
    assert platform.send("DELETE", f"{acme.base}/roles/{role['id']}", headers={"if-match": "*"}).is_success
    acme.take("admin", acme.alice)


def missing_id(word: str) -> str:
    return "missing.example" if word == "domain" else MISSING[word] + "0" * 25 + "1"


def tail_of(path: str) -> str:
    """What of a path is the same for the platform and for an organization."""
    return path.removeprefix("/v1/").removeprefix("organizations/{org}").lstrip("/") or "organizations/{org}"


def body_for(method: str, path: str, ids: dict[str, str]):
    body = BODIES.get((method, tail_of(path)))
    if body is None:
        return {} if method in ("POST", "PATCH") else None
    text = json.dumps(body)
    for word, value in ids.items():
        text = text.replace("{%s}" % word, value)
    return json.loads(text)


def ids_for(path: str, things: dict[str, str]) -> dict[str, str]:
    """The things, with `{client}` meant as the path means it."""
    things = dict(things)
    if "client-approvals" in path:
        things["client"] = things["admitted"]
    return things


def filled(path: str, ids: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: ids[match[1]], path)


def call(admin: Admin, method: str, path: str, body=None) -> httpx.Response:
    return admin.send(method, path, body, {"if-match": "*"})


def bare(reply: httpx.Response) -> tuple:
    """Everything about a reply but what names the request."""
    body = reply.content
    request = reply.headers["request-id"].encode()
    assert body.count(request) == 2, "request_id and instance"
    assert f'"instance":"urn:gatehouse:request:{request.decode()}"'.encode() in body
    # What the caller's own key has left is no news of anybody else, and changes with every call.
    left_out = ("date", "request-id", "ratelimit", "ratelimit-policy")
    headers = {name: value for name, value in reply.headers.items() if name not in left_out}
    return reply.status_code, body.replace(request, b"REQUEST"), headers


def is_not_found(reply: httpx.Response) -> bool:
    return reply.status_code == 404 and reply.headers["content-type"] == "application/problem+json"


def counts(evidence) -> str:
    tables = (
        "organization", "domain", '"user"', "identity_provider", "identity", "invitation", "resource",
        "resource_admission", "client", "client_admission", "scope_policy", "signing_key", "admin_key", '"grant"',
        "consent", "resource_credential", "programmatic_token", '"group"', "group_member", "scim_token",
        "role", "role_binding", "operation", "access_review",
    )
    versions = {
        '"user"', "identity_provider", "resource", "client", "client_admission", "scope_policy", '"grant"', '"group"', "role",
        "organization",
    }
    parts = [f"(SELECT count(*) FROM {table})" for table in tables]
    parts += [f"(SELECT coalesce(sum(version), 0) FROM {table})" for table in sorted(versions)]
    parts += ["(SELECT count(*) FROM admin_key WHERE revoked_at IS NULL)"]
    return evidence.sql(f"SELECT {', '.join(parts)}")


def test_every_route_is_known_here(http, deployment):
    """T-01, design 4.10: what the API says it has is what the tests below try, and nothing else."""
    paths = http.get(f"{deployment.stack.url}/v1/openapi.json").json()["paths"]
    methods = ("get", "post", "put", "patch", "delete")
    served = {(method.upper(), path) for path, item in paths.items() for method in item if method in methods}

    def plain(path: str) -> str:
        return re.sub(r"\{\w+\}", "{}", path)

    described = {(method, plain(path)) for method, path in served}
    assert {(method, plain(path)) for method, path, _ in ROUTES} == described


# ---- Every route -------------------------------------------------------------------------------------------------


def test_every_route_of_another_organization(deployment, attacker, theirs, ours, evidence):
    """T-01, T-02, T-03, T-04, T-05, T-06, T-07, T-08, T-10: each route under the other organization's path, with its
    real ids, by id and by slug: byte for byte the 404 of an organization that never was; no effect."""
    before = counts(evidence)
    wrong = []
    for method, path, platform_route in ROUTES:
        if platform_route:
            continue
        ids = ids_for(path, theirs)
        body = body_for(method, path, ids)
        foreign = call(attacker, method, filled(path, ids), body)
        by_slug = call(attacker, method, filled(path, ids | {"org": "globex"}), body)
        missing = call(attacker, method, filled(path, ids | {"org": missing_id("org")}), body)
        no_slug = call(attacker, method, filled(path, ids | {"org": "nobody"}), body)
        if not is_not_found(missing) or not bare(foreign) == bare(missing) == bare(by_slug) == bare(no_slug):
            wrong.append((method, path, foreign.status_code, missing.status_code, foreign.text, missing.text))
    assert not wrong
    assert counts(evidence) == before


def test_every_id_of_another_organization(deployment, attacker, theirs, ours, evidence):
    """T-01 to T-10: each route under the own path with the other organization's ids: byte for byte the 404 of an id
    that nobody has; no effect."""
    before = counts(evidence)
    wrong = []
    for method, path, platform_route in ROUTES:
        words = re.findall(r"\{(\w+)\}", path.replace("{org}", ""))
        if platform_route or not words:
            continue
        own, foreign_ids = ids_for(path, ours), ids_for(path, theirs)
        body = body_for(method, path, own)
        for word in words:
            foreign = call(attacker, method, filled(path, own | {word: foreign_ids[word]}), body)
            missing = call(attacker, method, filled(path, own | {word: missing_id(word)}), body)
            if missing.status_code != 404 or bare(foreign) != bare(missing):
                wrong.append((method, path, word, foreign.status_code, missing.status_code, foreign.text, missing.text))
    assert not wrong
    assert counts(evidence) == before


def test_every_platform_route(deployment, attacker, theirs, ours, evidence):
    """T-23, design 4.7: an organization's key, whatever its scopes, finds no platform route."""
    before = counts(evidence)
    wrong = []
    for method, path, platform_route in ROUTES:
        if not platform_route:
            continue
        for things in (ours, theirs):
            ids = ids_for(path, things)
            reply = call(attacker, method, filled(path, ids), body_for(method, path, ids))
            if not is_not_found(reply):
                wrong.append((method, path, reply.status_code, reply.text))
    assert not wrong
    assert counts(evidence) == before


def test_every_route_works_for_its_owner(deployment, owner, ours):
    """T-01, design 4.5: the very requests that are refused above are right: with own ids every GET answers 200, and every
    thing has its ETag."""
    for method, path, platform_route in ROUTES:
        if method == "GET" and not platform_route:
            reply = call(owner, method, filled(path, ids_for(path, ours)))
            assert reply.status_code == 200, (path, reply.text)
            if "{" in path.replace("{org}", ""):
                assert "globex" not in reply.text, path
            body = reply.json()
            if not isinstance(body.get("data"), list):
                assert re.fullmatch(r'"(v\d+|[\w-]{22})"', reply.headers["etag"]), path


def test_every_route_wants_a_key(deployment, ours, http, evidence):
    """BR-01, BR-02: without one 401 and a bare challenge, with a wrong one invalid_token; on every route."""
    before = counts(evidence)
    for method, path, _ in ROUTES:
        url = deployment.stack.url + filled(path, ids_for(path, ours))
        reply = http.request(method, url)
        assert reply.status_code == 401, (method, path)
        challenge = reply.headers["www-authenticate"]
        assert challenge.startswith("Bearer realm=") and "error" not in challenge
        reply = http.request(method, url, headers={"authorization": "Bearer gh_wrong"})
        assert reply.status_code == 401 and 'error="invalid_token"' in reply.headers["www-authenticate"]
    assert counts(evidence) == before


def test_every_route_wants_its_scope(deployment, platform, ours, theirs, evidence):
    """BR-03, design 4.7: with a key for something else 403, which names the missing scope, on own routes; on others'
    404 even so."""
    acme = deployment.organizations["acme"]
    before_keys = platform.post(f"/v1/organizations/{acme}/admin-keys",
        {"name": "exporter", "scopes": ["audit:export"]})
    before = counts(evidence)
    with Admin(deployment.stack.url, before_keys["secret"]) as exporter:
        for method, path, platform_route in ROUTES:
            ids = ids_for(path, ours)
            reply = call(exporter, method, filled(path, ids), body_for(method, path, ids))
            if platform_route:
                assert is_not_found(reply), (method, path)
                continue
            assert reply.status_code == 403, (method, path, reply.status_code)
            scope = re.search(r'scope="([a-z:-]+)"', reply.headers["www-authenticate"])[1]
            assert scope in reply.json()["detail"]
            assert is_not_found(call(exporter, method, filled(path, ids_for(path, theirs)))), (method, path)
    assert counts(evidence) == before


def test_refusals_are_recorded(deployment, owner, theirs, evidence):
    """T-01 to T-08: an attempt on another organization is an event; in whose log, the other's readers cannot tell."""
    reply = owner.send("GET", f"/v1/organizations/{theirs['org']}/users")
    events = evidence.of(reply, deployment.organizations["acme"])
    assert events[0]["outcome"] == "denied" and events[0]["actor"]["id"].startswith("key_")
    assert reply.headers["request-id"] not in str(evidence.events(theirs["org"]))


# ---- Ids inside ---------------------------------------------------------------------------------------------------


def test_foreign_ids_inside_own_things(deployment, owner, ours, theirs, evidence):
    """T-12, T-11: the same 422 or 404 as for ids that nobody has."""
    base = f"/v1/organizations/{ours['org']}"
    before = counts(evidence)

    def both(method: str, path: str, make) -> None:
        foreign = call(owner, method, f"{base}/{path}".rstrip("/"), make(ids_for(path, theirs)))
        missing = call(owner, method, f"{base}/{path}".rstrip("/"), make({word: missing_id(word) for word in MISSING}))
        assert missing.status_code in (404, 422), (path, missing.text)
        assert bare(foreign) == bare(missing), (path, foreign.text, missing.text)

    statement = {"name": "inside", "effect": "allow", "principals": {"everyone": True}, "scopes": ["read"]}
    both("POST", "scope-policies", lambda ids: statement | {"principals": {"users": [ids["user"]]}})
    both("POST", "scope-policies", lambda ids: statement | {"resources": [ids["resource"]]})
    both("PATCH", f"scope-policies/{ours['policy']}", lambda ids: {"principals": {"users": [ids["user"]]}})
    both("PATCH", f"scope-policies/{ours['policy']}", lambda ids: {"resources": [ids["resource"]]})
    both("POST", f"users/{ours['user']}/identities",
         lambda ids: {"identity_provider_id": ids["provider"], "subject": "user-test-gus"})
    both("PATCH", "", lambda ids: {"settings": {"default_resource": ids["resource"]}})
    both("PATCH", f"resources/{ours['resource']}", lambda ids: {"accepted_issuers": [ids["org"]]})
    both("POST", "resources", lambda ids: {
        "uri": "https://inside.example/mcp", "name": "x", "scopes": ["read"], "accepted_issuers": [ids["org"]]})
    public = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    both("POST", "signing-keys", lambda ids: {"purpose": "access", "resource": ids["resource"], "public_key": public})
    assert counts(evidence) == before


def test_evaluation_of_foreign_ids(deployment, owner, ours, theirs):
    """T-12: a policy is not evaluated for another organization's people and resources."""
    path = f"/v1/organizations/{ours['org']}/scope-policies:evaluate"
    good = {"user": ours["user"], "client": ours["client"], "resource": ours["resource"]}
    for word in ("user", "client", "resource"):
        foreign = call(owner, "POST", path, good | {word: theirs[word]})
        missing = call(owner, "POST", path, good | {word: missing_id(word)})
        assert foreign.status_code in (404, 422), (word, foreign.text)
        assert bare(foreign) == bare(missing), word


def test_filters_find_nothing_foreign(deployment, owner, ours, theirs):
    """T-06, T-08: filters by another organization's ids select as much as ids that nobody has: nothing."""
    base = f"/v1/organizations/{ours['org']}"
    for path in (
        "grants?user={user}", "grants?client={client}", "grants?resource={resource}", "sessions?user={user}", "audit/events?target={grant}", "audit/events?actor={user}",
        "audit/events?target={client}", "users?email=gus@globex.example",
    ):
        reply = owner.send("GET", f"{base}/{filled(path, theirs)}")
        assert reply.status_code == 200 and reply.json()["data"] == [], path


def test_lists_hold_nothing_foreign(deployment, owner, ours, theirs):
    """T-01 to T-08: no list of the own organization names a thing of the other."""
    foreign = {value for word, value in theirs.items() if word not in ("domain", "admitted")}
    for method, path, platform_route in ROUTES:
        if method != "GET" or platform_route or "{" in path.replace("{org}", ""):
            continue
        text = owner.send("GET", filled(path, ours)).text
        if text.startswith('{"data":'):
            text = json.dumps(list(owner.list(filled(path, ours))))
        named = {one for one in foreign if one in text}
        assert not named, (path, named)


# ---- What a key may hand on --------------------------------------------------------------------------------------


def test_keys_hand_on_no_more_than_they_have(deployment, platform, owner, ours, evidence):
    """T-23: no platform scope, no scope beyond the maker's, no later end."""
    base = f"/v1/organizations/{ours['org']}/admin-keys"
    before = counts(evidence)
    assert call(owner, "POST", base, {"name": "x", "scopes": ["domains:verify"]}).status_code in (403, 422)
    assert call(owner, "POST", base, {"name": "x", "scopes": ["nonsense"]}).status_code == 422
    assert call(owner, "POST", base, {"name": "x", "scopes": []}).status_code == 422
    assert counts(evidence) == before
    made = platform.post(base, {
        "name": "maker", "scopes": ["admin-keys:write", "users:read"], "cidrs": ["127.0.0.0/8"],
        "expires_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))})
    before = counts(evidence)
    with Admin(deployment.stack.url, made["secret"]) as maker:
        end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 1800))
        wanted = {"name": "x", "scopes": ["users:read"], "cidrs": ["127.0.0.1/32"], "expires_at": end}
        for changes in (
            {"scopes": ["users:write"]}, {"scopes": ["*"]}, {"scopes": ["users:read", "audit:read"]}, {"cidrs": []},
            {"cidrs": ["0.0.0.0/0"]}, {"cidrs": ["10.0.0.0/8"]}, {"expires_at": "2099-01-01T00:00:00Z"},
            {"expires_at": None},
        ):
            reply = call(maker, "POST", base, wanted | changes)
            assert reply.status_code in (403, 422), (changes, reply.text)
        assert counts(evidence) == before
        assert call(maker, "POST", base, wanted).status_code == 201


def test_ended_keys(deployment, platform, ours, http):
    """T-30: a revoked key is refused on both nodes within a second; one bound to other addresses at once."""
    base = f"/v1/organizations/{ours['org']}"
    made = platform.post(f"{base}/admin-keys", {"name": "short", "scopes": ["users:read"]})
    headers = {"authorization": f"bEaReR {made['secret']}"}
    for node in deployment.node_urls:
        assert http.get(f"{node}{base}/users", headers=headers).status_code == 200, "BR-06: any case"
    assert platform.send("DELETE", f"{base}/admin-keys/{made['id']}", headers={"if-match": "*"}).status_code == 204
    time.sleep(EPOCH_BOUND)
    for node in deployment.node_urls:
        reply = http.get(f"{node}{base}/users", headers=headers)
        assert reply.status_code == 401 and 'error="invalid_token"' in reply.headers["www-authenticate"]
    made = platform.post(f"{base}/admin-keys",
        {"name": "elsewhere", "scopes": ["users:read"], "cidrs": ["192.0.2.0/24"]})
    headers = {"authorization": f"Bearer {made['secret']}"}
    assert http.get(f"{deployment.stack.url}{base}/users", headers=headers).status_code == 401
    headers["x-forwarded-for"] = "192.0.2.7"
    assert http.get(f"{deployment.stack.url}{base}/users", headers=headers).status_code == 200


def test_credentials_elsewhere_than_in_the_header(deployment, ours, http):
    """BR-04, BR-05, P-13: two headers, the query, another scheme."""
    url = f"{deployment.stack.url}/v1/organizations"
    key = deployment.stack.admin_key
    assert http.get(url, params={"access_token": key}).status_code in (400, 401)
    assert http.get(url, headers=[("authorization", f"Bearer {key}")] * 2).status_code == 400
    assert http.get(url, headers={"authorization": f"Basic {key}"}).status_code == 401
    assert http.get(url, headers={"authorization": f"Bearer {key} x"}).status_code == 400
    assert http.get(url, headers={"cookie": f"authorization=Bearer {key}"}).status_code == 401
    for broken in (key[:-1], key + "A", key[:-1] + ("A" if key[-1] != "A" else "B"), key.upper(), "gh_"):
        reply = http.get(url, headers={"authorization": f"Bearer {broken}"})
        assert reply.status_code == 401 and 'error="invalid_token"' in reply.headers["www-authenticate"]


# ---- Input -------------------------------------------------------------------------------------------------------


def test_mass_assignment(deployment, owner, ours, theirs, evidence):
    """T-25, T-11: members that nobody may set are refused with a pointer each; nothing changes."""
    base = f"/v1/organizations/{ours['org']}"
    before = counts(evidence)
    extra = {
        "id": theirs["user"], "organization_id": theirs["org"], "tenant_id": theirs["org"],
        "created_at": "2000-01-01T00:00:00Z",
        "role": "owner", "is_platform": True, "secret_digest": "x", "status": "active", "version": 7,
        "skip_consent": True,
    }
    for method, path, body in (
        ("POST", "users", {"email": "mass@acme.example"}), ("PATCH", f"users/{ours['user']}", {"name": "x"}),
        ("POST", "clients", {"name": "x", "redirect_uris": [REDIRECT_URI]}),
        ("POST", "admin-keys", {"name": "x", "scopes": ["users:read"]}),
        ("POST", "invitations", {"email": "m@acme.example"}),
        ("POST", "resources", {"uri": "https://mass.example/", "name": "x", "scopes": ["read"]}),
    ):
        for name, value in extra.items():
            reply = call(owner, method, f"{base}/{path}", body | {name: value})
            assert reply.status_code == 422, (method, path, name, reply.text)
            assert f"/{name}" in [error["pointer"] for error in reply.json()["errors"]]
    assert counts(evidence) == before
    reply = call(owner, "POST", f"{base}/resources", {
        "uri": "https://mass.example/", "name": "x", "scopes": ["read"], "tenant_unaware": True})
    assert reply.status_code in (403, 422) or reply.json()["tenant_unaware"] is False


def test_broken_bodies(deployment, owner, ours, evidence):
    """P-06, P-07, P-08: problems, never a 500, nothing stored."""
    base = f"/v1/organizations/{ours['org']}"
    before = counts(evidence)
    key = {"authorization": owner._http.headers["authorization"]}
    json_type = {"content-type": "application/json"}
    bodies = [
        b"", b"{", b"[]", b"null", b"{}{}", b'{"email":"a@acme.example","email":"b@acme.example"}',
        b'{"email":"\\u0000"}',
        b'{"email":"\\ud800@acme.example"}', b'{"email":"\xff@acme.example"}', b'{"email":NaN}', b"[" * 100_000,
        b'{"email":1e400}',
        b'{"email":["x"]}', b'{"email":{"$ne":null}}', b'{"name":"x"}',
    ]
    for body in bodies:
        reply = httpx.post(f"{deployment.stack.url}{base}/users", content=body, headers=key | json_type,
            trust_env=False)
        assert reply.status_code in (400, 422), (body[:40], reply.status_code)
        assert reply.headers["content-type"] == "application/problem+json"
        assert {"type", "title", "status", "instance", "code", "request_id"} <= set(reply.json())
    for type in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16"):
        reply = httpx.post(
            f"{deployment.stack.url}{base}/users", content=b'{"email":"a@acme.example"}',
            headers=key | {"content-type": type}, trust_env=False)
        assert reply.status_code in (400, 415), type
    try:
        reply = httpx.post(
            f"{deployment.stack.url}{base}/users", content=b'{"email":"' + b"a" * (1024 * 1024) + b'"}',
            headers=key | json_type, trust_env=False)
        assert reply.status_code == 413
    except httpx.TransportError:
        pass
    assert counts(evidence) == before


def test_strings_that_mean_something_elsewhere(deployment, owner, ours):
    """P-09, P-10, P-11: kept or refused as text, in paths, filters and bodies; never a 500."""
    base = f"/v1/organizations/{ours['org']}"
    for text in (
        "' OR 1=1 --", "\"; DROP TABLE client; --", "*1\r\n$4\r\nPING\r\n", "${jndi:ldap://x}", "{{7*7}}", "$(id)", "%",
        "\u202e",
        "\u0130stanbul@acme.example", "stra\u00dfe@acme.example", "\x1b[31m", "a" * 100_000, "\ud83d\ude00",
    ):
        for path in ("users", "grants", "audit/events", "clients"):
            for name in ("email", "user", "type", "cursor", "limit", "from", "x"):
                reply = owner._http.get(f"{base}/{path}", params={name: text.encode("utf-8", "replace")[:4000]})
                assert reply.status_code in (200, 400, 404, 422), (path, name, reply.status_code)
        reply = call(owner, "POST", f"{base}/users", {"email": text.encode("utf-8", "replace").decode(), "name": "x"})
        assert reply.status_code in (201, 409, 422), (text[:20], reply.status_code)
        encoded = "".join(f"%{byte:02x}" for byte in text.encode("utf-8", "replace")[:200])
        reply = owner._http.get(f"{base}/users/{encoded}")
        assert reply.status_code in (400, 404)


def test_cursors_and_limits(deployment, platform, owner, ours, theirs):
    """T-27, T-28: a cursor opens the list it was made for, with its filter and its key; limits are numbers from 1 to
    200."""
    base, other = f"/v1/organizations/{ours['org']}", f"/v1/organizations/{theirs['org']}"
    page = owner.get(f"{base}/audit/events?limit=1")
    assert len(page["data"]) == 1 and page["has_more"]
    cursor = page["next_cursor"]
    following = owner.get(f"{base}/audit/events?limit=1&cursor={cursor}")
    assert following["data"][0]["id"] != page["data"][0]["id"]
    foreign = platform.get(f"{other}/audit/events?limit=1")["next_cursor"]
    bad = [foreign, cursor[:-1], cursor + "A", cursor[:-2] + ("AA" if not cursor.endswith("AA") else "BB"), "x", "%00",
        "A" * 600]
    for one in bad:
        assert owner.send("GET", f"{base}/audit/events?limit=1&cursor={one}").status_code == 400, one
    assert owner.send("GET", f"{base}/users?limit=1&cursor={cursor}").status_code == 400
    assert owner.send("GET", f"{base}/audit/events?outcome=success&limit=1&cursor={cursor}").status_code == 400
    assert platform.send("GET", f"{base}/audit/events?limit=1&cursor={cursor}").status_code == 400
    for limit in ("0", "-1", "201", "1000000000", "1e3", "0x10", "%20", "1.0", "+1", "01", "9" * 30):
        assert owner.send("GET", f"{base}/users?limit={limit}").status_code == 400, limit
    assert owner.send("GET", f"{base}/users?limit=1&limit=2").status_code == 400
    assert owner.send("GET", f"{base}/users?unknown=1").status_code == 400


def test_conditions(deployment, owner, ours):
    """T-29: a stale If-Match is 412, none at all 428 where it has to be there; nothing changes."""
    base = f"/v1/organizations/{ours['org']}"
    for path in (
        f"clients/{ours['client']}", f"identity-providers/{ours['provider']}", f"scope-policies/{ours['policy']}",
    ):
        etag = owner.send("GET", f"{base}/{path}").headers["etag"]
        assert owner.send("PATCH", f"{base}/{path}", {"name": "x"}).status_code == 428, path
        for stale in ('"v999"', f"W/{etag}", '"nonsense"', "v1"):
            reply = owner.send("PATCH", f"{base}/{path}", {"name": "x"}, {"if-match": stale})
            assert reply.status_code == 412, (path, stale)
        assert owner.send("DELETE", f"{base}/{path}").status_code == 428, path
        assert owner.send("GET", f"{base}/{path}").headers["etag"] == etag


def test_secrets_are_told_once(deployment, platform, owner, ours):
    """T-05, AT-08: no GET answers with a secret, a private key or a digest, to owner or platform."""
    for admin in (owner, platform):
        for method, path, platform_route in ROUTES:
            if method != "GET" or (platform_route and admin is owner) or (platform_route and "{" in path):
                continue
            text = admin.send("GET", filled(path, ids_for(path, ours))).text
            assert "PRIVATE KEY" not in text and "secret-test-" not in text, path
            # Of a document that everybody can read, the digest is no secret.
            text = text.replace('"has_secret"', '""').replace('"document_digest"', '""')
            found = re.search(r'"[a-z_]*(secret|digest)":(?!true|false)', text)
            assert not found, (path, found)


def test_method_overrides(deployment, owner, ours):
    """T-26: no header and no parameter makes a GET a DELETE."""
    path = f"/v1/organizations/{ours['org']}/users"
    for headers in (
        {"x-http-method-override": "POST"}, {"x-method-override": "DELETE"}, {"x-original-url": "/v1/organizations"},
        {"x-rewrite-url": "/v1/organizations"}, {"x-http-method": "PUT"},
    ):
        reply = owner.send("GET", path, headers=headers)
        assert reply.status_code == 200 and all(row["id"].startswith("usr_") for row in reply.json()["data"])


def test_writes_name_their_event(deployment, owner, ours, evidence):
    """Design 4.8, T-31: Audit-Event and Request-Id on every write; the log has no route that writes."""
    base = f"/v1/organizations/{ours['org']}"
    reply = call(owner, "PATCH", f"{base}/clients/{ours['client']}", {"name": f"Renamed {time.time()}"})
    assert reply.status_code == 200, reply.text
    (event,) = evidence.of(reply, ours["org"])
    assert event["id"] == reply.headers["audit-event"] and event["type"] == "client.updated"
    assert event["actor"]["id"].startswith("key_")
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        for path in ("audit/events", f"audit/events/{event['id']}"):
            assert call(owner, method, f"{base}/{path}").status_code == 405, (method, path)


def test_what_is_not_understood_is_not_done(deployment, owner, ours, evidence):
    """Design 4.6, 4.1: a write that is a rehearsal, or carries a parameter nobody knows, writes nothing."""
    base = f"/v1/organizations/{ours['org']}"
    before = counts(evidence)
    for query, status in (("dry_run=true", 201), ("nonsense=1", 400)):
        reply = call(owner, "POST", f"{base}/users?{query}", {"email": f"rehearsed-{query[0]}@acme.example"})
        assert reply.status_code == status
        assert counts(evidence) == before, query


def test_every_write_can_be_rehearsed(deployment, platform, ours, evidence):
    """Design 4.6: `dry_run=true` on every write answers as the write would, or with its refusal, and changes nothing."""
    before = counts(evidence)
    for method, path, platform_route in ROUTES:
        if method == "GET":
            continue
        ids, tail = ids_for(path, ours), tail_of(path)
        # The things are the organization's: under the platform's own path there are none of these ids.
        expected = 404 if platform_route and "{" in path else REFUSED_REHEARSALS.get((method, tail))
        reply = platform.send(
            method, f"{filled(path, ids)}?dry_run=true", body_for(method, path, ids),
            headers={"if-match": "*", "idempotency-key": "rehearsal"})
        if expected:
            assert reply.status_code == expected, (method, path, reply.text)
        else:
            assert reply.is_success, (method, path, reply.text)
            assert reply.headers.get("dry-run") == (None if tail in QUESTIONS else "true"), (method, path)
            assert "audit-event" not in reply.headers and "location" not in reply.headers
            assert not re.search(r'"(\w*secret|token|link|text)":"', reply.text), (method, path, reply.text)
        assert counts(evidence) == before, (method, path)
