"""Roles, invitations, bulk import and erasure: who people are in an organization (design §4, §5, §7)."""

from __future__ import annotations

import json
import signal
import time
from contextlib import contextmanager

import httpx
import pytest
from evidence import uuid_of
from gatehouse_demo.admin import Admin
from gatehouse_demo.chatgpt import claims
from gatehouse_demo.pages import Person
from walk import Walk, forms_of

EPOCH_BOUND = 1.0


@pytest.fixture(scope="module")
def platform(deployment):
    with Admin(deployment.stack.url, deployment.stack.admin_key) as made:
        yield made


@pytest.fixture(scope="module")
def base(deployment):
    return f"/v1/organizations/{deployment.organizations['acme']}"


@pytest.fixture
def fresh(platform):
    """The path of an organization of this test's own."""
    made = platform.post("/v1/organizations", {"slug": f"people-{time.time_ns():x}", "name": "People"})
    return f"/v1/organizations/{made['id']}"


@contextmanager
def key_of(deployment, platform, base: str, **wanted):
    made = platform.post(f"{base}/admin-keys", {"name": "maker"} | wanted)
    with Admin(deployment.stack.url, made["secret"]) as limited:
        yield limited


def built_in(platform, base: str) -> dict[str, dict]:
    return {role["name"]: role for role in platform.list(f"{base}/roles") if role["built_in"]}


def is_problem(reply: httpx.Response, status: int, code: str) -> bool:
    return (reply.status_code == status and reply.json()["code"] == code
            and reply.headers["content-type"] == "application/problem+json"
            and reply.headers["cache-control"] == "no-store")


# ---- Roles ---------------------------------------------------------------------------------------------------------


def test_built_in_roles(platform, base, fresh):
    """Design 4: every organization, old and new, has owner, admin, auditor and member; nobody changes or deletes them."""
    for path in (base, fresh):
        roles = built_in(platform, path)
        assert sorted(roles) == ["admin", "auditor", "member", "owner"]
        assert roles["owner"]["admin_scopes"] == ["*"] and roles["member"]["admin_scopes"] == []
        assert "identity-providers:write" not in roles["admin"]["admin_scopes"]
        assert all(scope.endswith(":read") or scope == "audit:export" for scope in roles["auditor"]["admin_scopes"])
        for role in roles.values():
            one = f"{path}/roles/{role['id']}"
            assert is_problem(platform.send("PATCH", one, {"name": "x"}), 409, "conflict")
            assert is_problem(platform.send("DELETE", one), 409, "conflict")
        assert built_in(platform, path) == roles
    assert is_problem(platform.send("POST", f"{fresh}/roles", {"name": "Owner"}), 409, "conflict")


def test_a_role_that_policy_names_stays(platform, fresh):
    """Design 4: deleting a role that a policy names is a 409 with the policy's name; afterwards it goes with its
    bindings; a policy cannot name it any more."""
    role = platform.post(f"{fresh}/roles", {"name": "Editors", "description": "Who edits"})
    user = platform.post(f"{fresh}/users", {"email": "a@people.example"})
    statement = {"name": "editors write", "effect": "allow", "principals": {"roles": [role["id"]]}, "scopes": ["write*"]}
    policy = platform.post(f"{fresh}/scope-policies", statement)
    bindings = f"{fresh}/roles/{role['id']}/bindings"
    made = platform.send("POST", bindings, {"user": user["id"]})
    assert made.status_code == 201 and made.headers["location"].endswith(f"{bindings}/{user['id']}")
    assert is_problem(platform.send("POST", bindings, {"user": user["id"]}), 409, "conflict")
    assert platform.send("POST", bindings, {}).status_code == 422
    refused = platform.send("DELETE", f"{fresh}/roles/{role['id']}")
    assert is_problem(refused, 409, "conflict") and "editors write" in refused.json()["detail"]
    assert [row["user"] for row in platform.list(bindings)] == [user["id"]]
    assert platform.send(
        "DELETE", f"{fresh}/scope-policies/{policy['id']}", headers={"if-match": "*"}).status_code == 204
    assert platform.send("DELETE", f"{fresh}/roles/{role['id']}").status_code == 204
    assert platform.send("GET", bindings).status_code == 404
    reply = platform.send("POST", f"{fresh}/scope-policies", statement)
    assert reply.status_code == 422 and reply.json()["errors"][0]["pointer"] == "/principals/roles/0"


def test_a_role_decides_at_the_next_refresh(deployment, platform, base):
    """TK-23, design 5: who gets a role, themselves or by a group, has what policy allows it, on both nodes within a
    second; who loses it has it no more."""
    (rita,) = [user["id"] for user in platform.list(f"{base}/users", email="rita@acme.example")]
    role = platform.post(f"{base}/roles", {"name": f"Barred {time.time()}"})
    group = platform.post(f"{base}/groups", {"name": f"Barred {time.time()}", "members": [rita]})
    policy = platform.post(f"{base}/scope-policies", {
        "name": f"barred {time.time()}", "effect": "deny", "principals": {"roles": [role["id"]]}, "scopes": ["read"]})
    bindings = f"{base}/roles/{role['id']}/bindings"
    try:
        for principal in ({"user": rita}, {"group": group["id"]}):
            issuer = deployment.acme
            code = issuer.code(deployment.person("rita"))
            tokens = issuer.redeem(code).json()
            assert claims(tokens["access_token"])["scopes"] == ["read"]
            made = platform.post(bindings, principal)
            until = time.monotonic() + EPOCH_BOUND
            for node in deployment.node_urls:
                while (reply := issuer.refresh(tokens["refresh_token"], code.client_id, node=node)).status_code == 200:
                    tokens.update(reply.json())
                    assert time.monotonic() < until
                assert reply.status_code == 400 and reply.json()["error"] == "invalid_grant"
                assert reply.headers["cache-control"] == "no-store"
            assert platform.send("DELETE", f"{bindings}/{made['id']}").status_code == 204
            until = time.monotonic() + EPOCH_BOUND
            for node in deployment.node_urls:
                while (reply := issuer.refresh(tokens["refresh_token"], code.client_id, node=node)).status_code != 200:
                    assert time.monotonic() < until, reply.text
                tokens.update(reply.json())
    finally:
        platform.send("DELETE", f"{base}/scope-policies/{policy['id']}", headers={"if-match": "*"})
        platform.send("DELETE", f"{base}/roles/{role['id']}")
        platform.send("DELETE", f"{base}/groups/{group['id']}")


# ---- No key can make a stronger one --------------------------------------------------------------------------------


def test_nothing_gives_more_than_its_maker_has(deployment, platform, fresh, evidence):
    """T-23, design 4.7: roles, bindings, groups, invitations, keys and tokens give no scope that their maker lacks; what a
    key with an end or with addresses makes has no later end and no other addresses. 403, recorded, nothing stored."""
    roles = built_in(platform, fresh)
    user = platform.post(f"{fresh}/users", {"email": "a@people.example"})["id"]
    other = platform.post(f"{fresh}/users", {"email": "b@people.example"})["id"]
    owners = platform.post(f"{fresh}/groups", {"name": "Owners"})["id"]
    platform.post(f"{fresh}/roles/{roles['owner']['id']}/bindings", {"group": owners})
    custom = platform.post(f"{fresh}/roles", {"name": "Exporters", "admin_scopes": ["audit:export"]})["id"]
    tables = ("role", "role_binding", "group_member", "invitation", "admin_key", "scim_token", "initial_access_token")
    organization = uuid_of(fresh.rsplit("/", 1)[1])

    def rows() -> str:
        counts = ", ".join(
            f"(SELECT count(*) FROM {name} WHERE organization_id = '{organization}')" for name in tables)
        return evidence.sql(f"SELECT {counts}, (SELECT sum(version) FROM role WHERE organization_id = '{organization}')")

    writes = ["roles:write", "invitations:write", "groups:write", "users:write", "users:read", "groups:read",
              "scim-tokens:write", "clients:write", "admin-keys:write"]
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    late = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 7200))
    member, owner, auditor = (roles[name]["id"] for name in ("member", "owner", "auditor"))
    too_much = [
        ("POST", "roles", {"name": "x", "admin_scopes": ["audit:export"]}),
        ("PATCH", f"roles/{custom}", {"admin_scopes": ["audit:export", "audit:read"]}),
        ("POST", f"roles/{owner}/bindings", {"user": user}),
        ("POST", f"roles/{auditor}/bindings", {"user": user}),
        ("POST", f"roles/{custom}/bindings", {"group": owners}),
        ("POST", f"groups/{owners}/members", {"users": [user]}),
        ("PATCH", f"groups/{owners}", {"members": [user]}),
        ("POST", "invitations", {"email": "c@people.example", "roles": [owner]}),
        ("POST", "invitations", {"email": "c@people.example", "roles": [member, custom]}),
        ("POST", "invitations", {"email": "c@people.example", "groups": [owners]}),
        ("POST", "scim-tokens", {"name": "x"}),
        ("POST", "admin-keys", {"name": "x", "scopes": ["audit:export"]}),
    ]
    with key_of(deployment, platform, fresh, scopes=writes) as maker:
        before = rows()
        for method, path, body in too_much:
            reply = maker.send(method, f"{fresh}/{path}", body)
            if method == "PATCH" and reply.status_code == 422:
                continue   # a member that is changed elsewhere
            assert is_problem(reply, 403, "exceeds_maker"), (path, body, reply.text)
        denied = evidence.of(reply, fresh.rsplit("/", 1)[1])
        assert denied[0]["type"] == "admin.access_denied" and denied[0]["reason"] == "exceeds_maker"
        assert rows() == before
        # What stands for nothing may be given, and what a role has already may be kept.
        assert maker.send("POST", f"{fresh}/roles/{member}/bindings", {"user": other}).status_code == 201
        assert maker.send("PATCH", f"{fresh}/roles/{custom}", {"admin_scopes": ["audit:export"]}).status_code == 200
        assert maker.send(
            "POST", f"{fresh}/invitations", {"email": "d@people.example", "roles": [member]}).status_code == 201

    # An invitation is no way around the scopes of what it gives.
    with key_of(deployment, platform, fresh, scopes=["invitations:write"]) as maker:
        for body in ({"roles": [member]}, {"groups": [owners]}):
            reply = maker.send("POST", f"{fresh}/invitations", {"email": "e@people.example"} | body)
            assert is_problem(reply, 403, "exceeds_maker"), reply.text

    limits = [({"expires_at": soon}, {"expires_at": late}), ({"cidrs": ["127.0.0.0/8"]}, {"cidrs": ["10.0.0.0/8"]})]
    for limit, wider in limits:
        with key_of(deployment, platform, fresh, scopes=["*"], **limit) as maker:
            before = rows()
            attempts = [
                ("admin-keys", {"name": "x", "scopes": ["users:read"]}),
                ("admin-keys", {"name": "x", "scopes": ["users:read"]} | wider),
                ("scim-tokens", {"name": "x"}), ("scim-tokens", {"name": "x"} | wider),
                ("initial-access-tokens", {"name": "x"}),
                (f"roles/{auditor}/bindings", {"user": user}),
                ("invitations", {"email": "f@people.example", "roles": [auditor]}),
            ]
            if "expires_at" in limit:
                attempts.append(("initial-access-tokens", {"name": "x"} | wider))
                attempts.append(("invitations", {"email": "f@people.example", "expires_in_seconds": 86_400}))
            for path, body in attempts:
                reply = maker.send("POST", f"{fresh}/{path}", body)
                assert is_problem(reply, 403, "exceeds_maker"), (path, body, reply.text)
            assert rows() == before
            within = {"name": "x", "scopes": ["users:read"]} | limit
            assert maker.send("POST", f"{fresh}/admin-keys", within).status_code == 201
            made = maker.send("POST", f"{fresh}/invitations", {"email": "g@people.example"})
            assert made.status_code == 201, made.text
            if "expires_at" in limit:
                assert made.json()["expires_at"][:19] <= soon[:19]


# ---- Identities ----------------------------------------------------------------------------------------------------


def test_an_identity_is_taken_back(deployment, platform, evidence):
    """T-02, TK-23, design 3.4: who a person is upstream is taken back by its id; their connections end, it is recorded, and
    the same identity may be accepted again."""
    globex = f"/v1/organizations/{deployment.organizations['globex']}"
    issuer = deployment.platform
    code = issuer.code(deployment.person("gus"))
    tokens = issuer.redeem(code).json()
    user = claims(tokens["access_token"])["sub"]
    path = f"{globex}/users/{user}/identities"
    (identity,) = platform.list(path)
    assert platform.get(f"{path}/{identity['id']}") == identity
    other = platform.post(f"{globex}/users", {"email": f"other{time.time_ns()}@globex.example"})["id"]
    with evidence.no_rows_stored():
        for wrong in (f"{globex}/users/{other}/identities/{identity['id']}", f"{path}/{identity['id'][:-1]}"):
            assert is_problem(platform.send("DELETE", wrong), 404, "not_found")
    reply = platform.send("DELETE", f"{path}/{identity['id']}")
    assert reply.status_code == 204 and list(platform.list(path)) == []
    (event,) = evidence.of(reply, globex.rsplit("/", 1)[1], type="user.identity_unlinked")
    assert event["targets"][0]["id"] == user and identity["subject"] not in json.dumps(event)
    refused = issuer.refresh(tokens["refresh_token"], code.client_id)
    assert refused.status_code == 400 and refused.json()["error"] == "invalid_grant"
    again = platform.send("POST", path, {name: identity[name] for name in ("identity_provider_id", "provider", "subject")})
    assert again.status_code == 201 and again.headers["location"].endswith(f"/identities/{identity['id']}")


# ---- Invitations ---------------------------------------------------------------------------------------------------


def is_let_in(deployment, email: str, link: str) -> bool:
    """Whether somebody whom no rule admits comes as far as consent by this link."""
    client = deployment.platform.register()
    with Walk(deployment, Person(email, "globex", deployment.person("gus").outbox)) as browser:
        assert browser.get(link).status_code == 200
        page = browser.send(browser.until(deployment.platform.url_for(client), "code"))
        return any(form.named("decision") for form in forms_of(page))


def test_an_invitation_is_sent_again(deployment, platform, evidence):
    """T-07, T-23, design 4: a new link, shown once and ending later, also for one that expired; the old link opens nothing; who
    could not give what it gives gets no link; accepted or revoked, it is over."""
    globex = f"/v1/organizations/{deployment.organizations['globex']}"
    email = f"guest{time.time_ns()}@elsewhere.example"
    role = built_in(platform, globex)["auditor"]["id"]
    made = platform.post(f"{globex}/invitations", {"email": email, "roles": [role], "expires_in_seconds": 300})
    path = f"{globex}/invitations/{made['id']}"
    digest = f"SELECT encode(token_digest, 'hex') FROM invitation WHERE id = '{uuid_of(made['id'])}'"
    first = evidence.sql(digest)
    with key_of(deployment, platform, globex, scopes=["invitations:write", "roles:write"]) as weak:
        assert is_problem(weak.send("POST", f"{path}:resend"), 403, "exceeds_maker")
    dry = platform.send("POST", f"{path}:resend?dry_run=true")
    assert dry.status_code == 200 and "link" not in dry.json() and evidence.sql(digest) == first
    assert platform.send("POST", f"{path}:resend", {"expires_in_seconds": 1}).status_code == 422
    evidence.sql(f"UPDATE invitation SET expires_at = now() - interval '1 hour' WHERE id = '{uuid_of(made['id'])}'")
    reply = platform.send("POST", f"{path}:resend", headers={"idempotency-key": f"again-{time.time_ns()}"})
    assert reply.status_code == 200, reply.text
    again = reply.json()
    assert again["link"] != made["link"] and again["expires_at"] > made["expires_at"] and again["roles"] == [role]
    assert "link" not in platform.get(path) and evidence.sql(digest) != first
    (event,) = evidence.of(reply, globex.rsplit("/", 1)[1])
    assert event["type"] == "invitation.resent" and event["targets"][0]["id"] == made["id"]
    assert again["link"].rsplit("/", 1)[1] not in json.dumps(event)
    assert not is_let_in(deployment, email, made["link"])
    assert is_let_in(deployment, email, again["link"])
    assert platform.get(path)["accepted_at"]
    assert is_problem(platform.send("POST", f"{path}:resend"), 409, "conflict")
    other = platform.post(f"{globex}/invitations", {"email": email})
    platform.send("DELETE", f"{globex}/invitations/{other['id']}")
    assert is_problem(platform.send("POST", f"{globex}/invitations/{other['id']}:resend"), 409, "conflict")


# ---- Lists ---------------------------------------------------------------------------------------------------------


def test_users_are_found(platform, fresh):
    """Design 4.4: by status, by group, by the beginning of the address; page by page, in combination, and never by
    guessing at another filter."""
    people = {}
    for name in ("anna", "Anton", "bert", "antje"):
        people[name] = platform.post(f"{fresh}/users", {"email": f"{name}@people.example"})["id"]
    platform.post(f"{fresh}/users/{people['antje']}:disable")
    group = platform.post(f"{fresh}/groups", {"name": "A", "members": [people["anna"], people["antje"]]})["id"]

    def found(**filters) -> list[str]:
        rows = platform.list(f"{fresh}/users", **({"limit": 1} | filters))
        names = {id: name for name, id in people.items()}
        return [names[row["id"]] for row in rows]

    assert found(q="an") == ["anna", "antje", "Anton"] and found(q="ANT") == ["antje", "Anton"]
    assert found(q="an", status="active") == ["anna", "Anton"] and found(q="x") == [] and found(q="an%") == []
    assert found(status="disabled") == ["antje"] and len(found(status="active")) == 3
    assert sorted(found(group=group)) == ["anna", "antje"] and found(group=group, status="active") == ["anna"]
    assert found(q="ant", group=group) == ["antje"] and found(email="ANNA@people.example") == ["anna"]
    for bad in ({"status": "erased"}, {"group": "x"}, {"name": "x"}):
        assert platform.send("GET", f"{fresh}/users?{httpx.QueryParams(bad)}").status_code == 400


# ---- Import --------------------------------------------------------------------------------------------------------


def send_lines(admin: Admin, path: str, lines: list, headers: dict | None = None) -> httpx.Response:
    body = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    return admin._http.post(
        path, content=body.encode(), headers={"content-type": "application/x-ndjson"} | (headers or {}), timeout=30)


def await_end(admin: Admin, location: str, within: float = 60) -> tuple[dict, list[int]]:
    """The operation when it is over, and how far it was seen to be on the way."""
    path = httpx.URL(location).path
    until = time.monotonic() + within
    seen: list[int] = []
    while True:
        operation = admin.get(path)
        seen.append(operation["progress"]["done"])
        if operation["status"] in ("succeeded", "failed"):
            return operation, seen
        assert time.monotonic() < until, operation
        time.sleep(0.02)


def test_import_says_what_became_of_each_row(deployment, platform, fresh, evidence):
    """Design 4.9: created, updated, unchanged or failed with code and pointer; what is right is done, what is wrong says
    so; each change has its event; a dry run says the same and writes nothing; a repeat with the key is no second one."""
    known = platform.post(f"{fresh}/users", {"email": "known@people.example", "name": "Known"})
    lines = [
        {"email": "new@people.example", "name": "New"}, {"email": "KNOWN@people.example", "name": "Renamed"},
        {"email": "new@people.example", "name": "New"}, {"email": "nonsense"}, "{", {"name": "nobody"},
        {"email": "x@people.example", "admin": True}, "", {"email": "known@people.example"},
        {"email": "new@people.example", "name": "Newer"}, [1], {"email": "y@people.example", "name": 7},
    ]
    expected = ["created", "updated", "unchanged", "failed", "failed", "failed", "failed", "unchanged", "updated",
                "failed", "failed"]
    pointers = ["/email", "", "/email", "/admin", "", "/name"]
    before = evidence.sql('SELECT count(*), sum(version) FROM "user"')
    dry = send_lines(platform, f"{fresh}/users:batch?dry_run=true", lines)
    assert dry.status_code == 200 and "audit-event" not in dry.headers, dry.text
    assert [row["outcome"] for row in dry.json()["data"]] == expected
    assert evidence.sql('SELECT count(*), sum(version) FROM "user"') == before
    assert list(platform.list(f"{fresh}/operations")) == []

    key = {"idempotency-key": f"import-{time.time_ns()}"}
    reply = send_lines(platform, f"{fresh}/users:batch", lines, key)
    assert reply.status_code == 202 and "audit-event" in reply.headers, reply.text
    operation, _ = await_end(platform, reply.headers["location"])
    assert operation["status"] == "succeeded" and operation["progress"] == {"done": 11, "total": 11}
    assert operation["outcomes"] == {"created": 1, "updated": 2, "unchanged": 2, "failed": 6}
    rows = list(platform.list(f"{fresh}/operations/{operation['id']}/rows", limit=3))
    assert [row["outcome"] for row in rows] == expected
    assert [row["row"] for row in rows] == [1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12], "lines are counted, empty ones too"
    assert [row["pointer"] for row in rows if row["outcome"] == "failed"] == pointers
    assert rows[1]["user"] == known["id"] and rows[0]["user"] == rows[2]["user"]
    failed = list(platform.list(f"{fresh}/operations/{operation['id']}/rows", outcome="failed"))
    assert len(failed) == 6
    people = {user["email"]: user["name"] for user in platform.list(f"{fresh}/users")}
    assert people == {"known@people.example": "Renamed", "new@people.example": "Newer"}
    again = send_lines(platform, f"{fresh}/users:batch", lines, key)
    assert again.status_code == 202 and again.json()["id"] == operation["id"]
    assert [row["id"] for row in platform.list(f"{fresh}/operations")] == [operation["id"]]
    wanted = {"user.created": 1, "user.updated": 2}
    events = platform.await_events(fresh.rsplit("/", 1)[1], lambda rows: sum(
        row["type"] in wanted and operation["id"] in str(row["targets"]) for row in rows) == 3)
    mine = [row for row in events if operation["id"] in str(row["targets"]) and row["type"] in wanted]
    assert {type: sum(row["type"] == type for row in mine) for type in wanted} == wanted
    assert all(row["request"]["id"] == reply.headers["request-id"] for row in mine)
    left = evidence.sql(f"SELECT count(*) FROM operation_row WHERE input IS NOT NULL AND operation_id = "
                        f"'{uuid_of(operation['id'])}'")
    assert left == "0", "what the lines said is forgotten"


def test_import_gives_groups_and_roles(deployment, platform, fresh, evidence):
    """T-23, design 4.9: lines put people into groups and give them roles, known people too; each is recorded as if it had been
    done by itself, and so is the end; a key that could not give all that gives nothing, and is recorded."""
    organization = fresh.rsplit("/", 1)[1]
    roles = built_in(platform, fresh)
    auditor, member = roles["auditor"]["id"], roles["member"]["id"]
    known = platform.post(f"{fresh}/users", {"email": "known@people.example"})["id"]
    team = platform.post(f"{fresh}/groups", {"name": "Team"})
    trusted = platform.post(f"{fresh}/groups", {"name": "Trusted"})["id"]
    platform.post(f"{fresh}/roles/{auditor}/bindings", {"group": trusted})
    lines = [
        {"email": "new@people.example", "groups": [team["id"]], "roles": [member, auditor]},
        {"email": "known@people.example", "groups": [team["id"]]},
        {"email": "known@people.example", "groups": [team["id"]]},
        {"email": "bad@people.example", "groups": [f"grp_{'0' * 26}"]}, {"email": "bad@people.example", "roles": ["x"]},
        {"email": "new@people.example", "roles": [member]},
    ]
    expected = ["created", "updated", "unchanged", "failed", "failed", "unchanged"]
    where = f"organization_id = '{uuid_of(organization)}'"
    held = (f"SELECT (SELECT count(*) FROM role_binding WHERE {where}), (SELECT count(*) FROM group_member WHERE {where}), "
            f'(SELECT count(*) FROM "user" WHERE {where}), (SELECT count(*) FROM operation WHERE {where})')
    before = evidence.sql(held)

    scopes = ["users:write", "groups:write", "roles:write"]
    attempts = [
        (scopes, lines[:1], ["/1/roles/1"]), (scopes, [{"email": "y@people.example", "groups": [trusted]}], ["/1/groups/0"]),
        (scopes[:1], [lines[1]], ["/1/groups"]), (scopes[:2], [{"email": "z@people.example"}, lines[5]], ["/2/roles"]),
    ]
    for held_scopes, attempt, pointers in attempts:
        with key_of(deployment, platform, fresh, scopes=held_scopes) as weak:
            for mode in ("", "?dry_run=true"):
                reply = send_lines(weak, f"{fresh}/users:batch{mode}", attempt)
                assert is_problem(reply, 403, "exceeds_maker"), reply.text
                assert [error["pointer"] for error in reply.json()["errors"]] == pointers
    (denied,) = evidence.of(reply, organization)
    assert denied["type"] == "admin.access_denied" and denied["reason"] == "exceeds_maker"
    assert evidence.sql(held) == before

    dry = send_lines(platform, f"{fresh}/users:batch?dry_run=true", lines)
    assert [row["outcome"] for row in dry.json()["data"]] == expected, dry.text
    assert evidence.sql(held) == before
    reply = send_lines(platform, f"{fresh}/users:batch", lines)
    operation, _ = await_end(platform, reply.headers["location"])
    rows = list(platform.list(f"{fresh}/operations/{operation['id']}/rows"))
    assert [row["outcome"] for row in rows] == expected
    assert [row["pointer"] for row in rows if row["outcome"] == "failed"] == ["/groups/0", "/roles/0"]
    new = rows[0]["user"]
    assert {row["user_id"] for row in platform.list(f"{fresh}/groups/{team['id']}/members")} == {new, known}
    assert platform.get(f"{fresh}/groups/{team['id']}")["updated_at"] > team["updated_at"]
    for role in (auditor, member):
        assert new in [row.get("user") for row in platform.list(f"{fresh}/roles/{role}/bindings")]

    def mine(events: list[dict]) -> list[dict]:
        return [row for row in events if operation["id"] in str(row["targets"])]

    events = mine(platform.await_events(organization, lambda rows: any(
        row["type"] == "operation.finished" for row in mine(rows))))
    kinds = sorted(row["type"] for row in events if row["type"] != "admin.api_called")
    assert kinds == ["membership.added", "operation.finished", "user.created", "user.role_granted", "user.role_granted"]
    (finished,) = [row for row in events if row["type"] == "operation.finished"]
    assert finished["outcome"] == "success" and finished["metadata"] == {
        "kind": "users.import", "created": "1", "updated": "1", "unchanged": "2", "failed": "2"}
    assert finished["request"]["id"] == reply.headers["request-id"]
    granted = {row["metadata"]["role"] for row in events if row["type"] == "user.role_granted"}
    assert granted == {"auditor", "member"}


def test_import_bodies(platform, fresh, evidence):
    """P-06, P-07, P-08: another media type, no line, a line or a body that is too long: refused, nothing stored."""
    path = f"{fresh}/users:batch"
    before = evidence.sql('SELECT (SELECT count(*) FROM operation), (SELECT count(*) FROM "user")')
    assert platform.send("POST", path, {"email": "a@people.example"}).status_code == 415
    assert send_lines(platform, path, []).status_code == 422
    assert send_lines(platform, path, ["", "  "]).status_code == 422
    too_large = [["x" * 20_000], [{"email": "a@people.example"}] * 10_001, ["[" * 15_000] * 600]
    for lines in too_large:
        try:
            reply = send_lines(platform, path, lines)
            assert is_problem(reply, 413, "too_large") or reply.status_code == 413
        except httpx.TransportError:
            pass
    deep = send_lines(platform, f"{path}?dry_run=true", ["[" * 10_000, '{"email":"a@people.example","email":"b@x.example"}'])
    assert [row["code"] for row in deep.json()["data"]] == ["malformed", "malformed"]
    assert evidence.sql('SELECT (SELECT count(*) FROM operation), (SELECT count(*) FROM "user")') == before


def test_import_of_ten_thousand_survives_a_killed_node(deployment, platform, fresh, evidence):
    """F-11, design 4.9: 10,000 people in seconds, its progress seen; the node that works is killed in the middle and
    another one finishes: no row twice, none lost, an event for each."""
    people = [{"email": f"person{number:05}@people.example", "name": f"Person {number}"} for number in range(10_000)]
    organization = fresh.rsplit("/", 1)[1]
    working, waiting = deployment.nodes
    waiting.signal(signal.SIGSTOP)
    killed = False
    try:
        with Admin(deployment.node_urls[0], deployment.stack.admin_key, timeout=30) as admin:
            begun = time.monotonic()
            reply = send_lines(admin, f"{fresh}/users:batch", people)
            assert reply.status_code == 202, reply.text
            path = httpx.URL(reply.headers["location"]).path
            while (operation := admin.get(path))["progress"]["done"] == 0:
                assert time.monotonic() < begun + 20
                time.sleep(0.01)
        working.kill()
        killed = True
    finally:
        waiting.signal(signal.SIGCONT)
    try:
        with Admin(deployment.node_urls[1], deployment.stack.admin_key, timeout=30) as admin:
            operation, seen = await_end(admin, path)
    finally:
        if killed:
            deployment.stack.start_gatehouse(working)
    assert operation["status"] == "succeeded" and operation["outcomes"] == {"created": 10_000}, operation
    assert 0 < seen[0] < 10_000 and seen == sorted(seen), "it was killed in the middle, and went on from there"
    where = f"organization_id = '{uuid_of(organization)}'"
    stored = evidence.sql(f'SELECT count(*), count(DISTINCT email), sum(version) FROM "user" WHERE {where}')
    assert stored == "10000|10000|10000"
    union = " UNION ALL ".join(
        f"SELECT target_id FROM {table} WHERE {where} AND type = 'user.created'" for table in ("audit_outbox", "audit_event"))
    assert evidence.sql(f"SELECT count(*), count(DISTINCT target_id) FROM ({union}) AS e") == "10000|10000"
    assert evidence.sql("SELECT count(*) FROM operation_route") == "0"


def test_import_of_ten_thousand_takes_seconds(platform, fresh):
    """Design 4.9: 10,000 people, all known already, row by row."""
    people = [{"email": f"person{number:05}@people.example"} for number in range(10_000)]
    begun = time.monotonic()
    reply = send_lines(platform, f"{fresh}/users:batch", people)
    assert reply.status_code == 202, reply.text
    operation, seen = await_end(platform, reply.headers["location"])
    assert operation["outcomes"] == {"created": 10_000}
    assert time.monotonic() - begun < 30, "on a machine that is busy with other things"
    assert len(set(seen)) > 2, "progress is seen on the way"


# ---- Erasure -------------------------------------------------------------------------------------------------------


def test_who_is_erased_leaves_their_groups(platform, fresh):
    """Design 4.5: a group whose member was erased is another version, so that nobody goes on from what they saw before."""
    user = platform.post(f"{fresh}/users", {"email": "leaving@people.example"})["id"]
    group = platform.post(f"{fresh}/groups", {"name": "Left", "members": [user]})["id"]
    before = platform.send("GET", f"{fresh}/groups/{group}").headers["etag"]
    assert platform.send("DELETE", f"{fresh}/users/{user}").status_code == 202
    assert platform.send("GET", f"{fresh}/groups/{group}").headers["etag"] != before
    assert platform.send(
        "PATCH", f"{fresh}/groups/{group}", {"name": "Lost"}, headers={"if-match": before}).status_code == 412


def test_erasure(deployment, platform, evidence):
    """Design 7: every way in ends, the person is gone, and the log says nothing personal of them any more; others' fields,
    the leaves and their order stay; an address that comes again is somebody new."""
    globex = f"/v1/organizations/{deployment.organizations['globex']}"
    email = f"erin{time.time_ns()}@globex.example"
    user = platform.post(f"{globex}/users", {"email": email, "name": "Erin Mustermann"})
    person = Person(email, "globex", deployment.person("gus").outbox)
    issuer = deployment.platform
    code = issuer.code(person)
    tokens = issuer.redeem(code).json()
    platform.call("PATCH", f"{globex}/users/{user['id']}", {"name": "Erin M."})
    organization = deployment.organizations["globex"]
    platform.await_events(organization, lambda rows: any(
        row["type"] == "user.updated" and row["targets"][0]["id"] == user["id"] for row in rows))

    def personal() -> list[str]:
        """Paths of what the log discloses of her, and everything it discloses as one text."""
        found = []
        for row in platform.list(f"{globex}/audit/events", order="newest_first"):
            for disclosure in row["disclosures"]:
                salt, path, value = json.loads(base64url(disclosure))
                if email in json.dumps(value) or "Erin" in json.dumps(value):
                    found.append(f"{path}: {value}")
                elif row["event"]["actor"]["id"] == user["id"]:
                    found.append(path)
        return found

    assert any("Erin" in one for one in personal()) and any("context.ip" == one for one in personal())
    leaves = {row["id"]: row["event"] for row in platform.list(f"{globex}/audit/events")}
    gus_before = [row["disclosures"] for row in platform.list(f"{globex}/audit/events") if row["id"] in leaves
                  and user["id"] not in json.dumps(row["event"]) and email not in disclosed(row)]

    dry = platform.send("DELETE", f"{globex}/users/{user['id']}?dry_run=true")
    assert dry.status_code == 202 and platform.get(f"{globex}/users/{user['id']}")["email"] == email
    assert platform.send("DELETE", f"{globex}/users/{user['id']}", headers={"if-match": '"v99"'}).status_code == 412
    reply = platform.send("DELETE", f"{globex}/users/{user['id']}")
    assert reply.status_code == 202 and reply.json()["kind"] == "user.erasure", reply.text
    assert platform.send("GET", f"{globex}/users/{user['id']}").status_code == 404
    assert platform.send("DELETE", f"{globex}/users/{user['id']}").status_code == 404
    refused = issuer.refresh(tokens["refresh_token"], code.client_id)
    assert refused.status_code == 400 and refused.json()["error"] == "invalid_grant"
    operation, _ = await_end(platform, reply.headers["location"])
    assert operation["status"] == "succeeded" and operation["outcomes"]["disclosures_erased"] > 3
    assert operation["progress"]["done"] == operation["progress"]["total"]
    (erased,) = evidence.of(reply, organization, type="user.erased")
    assert erased["type"] == "user.erased" and erased["targets"][0]["id"] == user["id"]
    assert email not in json.dumps(erased) and "Erin" not in json.dumps(erased)
    assert [one for one in personal() if "Erin" in one or email in one] == []
    after = {row["id"]: row for row in platform.list(f"{globex}/audit/events")}
    assert {id: after[id]["event"] for id in leaves} == leaves, "leaves stay as they are"
    gus_after = [row["disclosures"] for row in after.values() if row["id"] in leaves
                 and user["id"] not in json.dumps(row["event"]) and email not in disclosed(row)]
    assert gus_after == gus_before, "others' fields stay"
    for table, column in (('"user"', "id"), ("identity", "user_id"), ("session", "user_id"), ("consent", "user_id")):
        assert evidence.sql(f"SELECT count(*) FROM {table} WHERE {column} = '{uuid_of(user['id'])}'") == "0", table
    assert evidence.sql(f"SELECT count(*) FROM operation WHERE input::text LIKE '%{email}%'") == "0"
    again = platform.post(f"{globex}/users", {"email": email})
    assert again["id"] != user["id"]
    platform.send("DELETE", f"{globex}/users/{again['id']}")


def base64url(text: str) -> bytes:
    import base64

    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def disclosed(row: dict) -> str:
    return b" ".join(base64url(one) for one in row["disclosures"]).decode()
