"""What keys, directories and servers of one organization may not do to it, or to the others (abuse cases T, P, S, F)."""

from __future__ import annotations

import http.server
import json
import threading
import time

import pytest
from evidence import uuid_of
from gatehouse_demo.admin import Admin
from test_people import built_in, is_problem, key_of, send_lines
from test_scim import Directory


@pytest.fixture(scope="module")
def platform(deployment):
    with Admin(deployment.stack.url, deployment.stack.admin_key) as made:
        yield made


@pytest.fixture
def fresh(platform):
    """The path of an organization of this test's own."""
    made = platform.post("/v1/organizations", {"slug": f"abuse-{time.time_ns():x}", "name": "Abuse"})
    return f"/v1/organizations/{made['id']}"


def hour() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))


# ---- Escalation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [{"expires_at": hour()}, {"cidrs": ["127.0.0.0/8"]}], ids=["end", "addresses"])
def test_a_role_is_no_way_around_the_limits_of_a_key(deployment, platform, fresh, evidence, limit):
    """T-23, design 4.7: a key with an end or with addresses gives nobody a role that stands for admin access, nor a
    role that people have already any admin scope more."""
    user = platform.post(f"{fresh}/users", {"email": "a@abuse.example"})["id"]
    with key_of(deployment, platform, fresh, scopes=["*"], **limit) as maker:
        role = maker.post(f"{fresh}/roles", {"name": "Harmless"})["id"]
        maker.post(f"{fresh}/roles/{role}/bindings", {"user": user})
        before = evidence.sql(f"SELECT version, admin_scopes FROM role WHERE id = '{uuid_of(role)}'")
        reply = maker.send("PATCH", f"{fresh}/roles/{role}", {"admin_scopes": ["users:write"]})
        assert is_problem(reply, 403, "exceeds_maker"), reply.text
        assert reply.json()["errors"][0]["pointer"] == "/admin_scopes"
        assert evidence.sql(f"SELECT version, admin_scopes FROM role WHERE id = '{uuid_of(role)}'") == before
        assert maker.send("PATCH", f"{fresh}/roles/{role}", {"name": "Other"}).status_code == 200
    denied = evidence.of(reply, fresh.rsplit("/", 1)[1])
    assert denied[0]["type"] == "admin.access_denied" and denied[0]["reason"] == "exceeds_maker"


def test_nobody_becomes_somebody_who_may_more(deployment, platform, evidence):
    """T-23, design 3.4: whoever writes users decides who can become them, so not of those whose roles, their own or a
    group's, stand for more: no identity is linked to them and no other address given."""
    base = f"/v1/organizations/{deployment.organizations['acme']}"
    owner = built_in(platform, base)["owner"]["id"]
    provider = next(iter(platform.list(f"{base}/identity-providers")))["id"]
    stamp = time.time_ns()
    people = [platform.post(f"{base}/users", {"email": f"{name}{stamp}@acme.example"})["id"] for name in "abc"]
    group = platform.post(f"{base}/groups", {"name": f"Owners {stamp}", "members": [people[1]]})["id"]
    for principal in ({"user": people[0]}, {"group": group}):
        platform.post(f"{base}/roles/{owner}/bindings", principal)

    def rows() -> str:
        ids = ", ".join(f"'{uuid_of(person)}'" for person in people[:2])
        return evidence.sql(
            f'SELECT id, email, version, (SELECT count(*) FROM identity i WHERE i.user_id = u.id) FROM "user" u '
            f"WHERE id IN ({ids}) ORDER BY id")

    try:
        with key_of(deployment, platform, base, scopes=["users:write", "users:read"]) as maker:
            before = rows()
            for index, person in enumerate(people[:2]):
                link = {"identity_provider_id": provider, "subject": f"evil-{stamp}-{index}"}
                for method, path, body in (("POST", "/identities", link), ("PATCH", "", {"email": "e@evil.example"})):
                    reply = maker.send(method, f"{base}/users/{person}{path}", body)
                    assert is_problem(reply, 403, "exceeds_maker"), (path, reply.text)
                    dry = maker.send(method, f"{base}/users/{person}{path}?dry_run=true", body)
                    assert is_problem(dry, 403, "exceeds_maker"), dry.text
                assert maker.send("PATCH", f"{base}/users/{person}", {"name": "Same"}).status_code == 200
            assert [row.split("|")[1:2] + row.split("|")[3:] for row in rows().splitlines()] == [
                row.split("|")[1:2] + row.split("|")[3:] for row in before.splitlines()]
            # Whose roles stand for nothing is as before.
            link = {"identity_provider_id": provider, "subject": f"fine-{stamp}"}
            assert maker.send("POST", f"{base}/users/{people[2]}/identities", link).status_code == 201
            assert maker.send("PATCH", f"{base}/users/{people[2]}", {"email": f"d{stamp}@acme.example"}).status_code == 200
        assert platform.send("PATCH", f"{base}/users/{people[0]}", {"email": f"e{stamp}@acme.example"}).status_code == 200
    finally:
        platform.send("DELETE", f"{base}/roles/{owner}/bindings/{people[0]}")
        platform.send("DELETE", f"{base}/roles/{owner}/bindings/{group}")
        platform.send("DELETE", f"{base}/groups/{group}")


def test_a_token_ends_with_the_key_that_made_it(deployment, platform, evidence):
    """T-23, design 4.7: a named token is a credential too: it does not outlive its maker's key, and a key for certain
    addresses makes none."""
    base = f"/v1/organizations/{deployment.organizations['acme']}"
    (user,) = [row["id"] for row in platform.list(f"{base}/users", email="alice@acme.example")]
    resource = next(row for row in platform.list(f"{base}/resources") if row["uri"] == deployment.stack.acme_url)["id"]
    wanted = {"name": "x", "user": user, "resource": resource, "scopes": ["read"]}
    late = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 7200))
    soon = hour()
    with key_of(deployment, platform, base, scopes=["access-tokens:write"], expires_at=soon) as maker:
        reply = maker.send("POST", f"{base}/access-tokens", wanted | {"expires_at": late})
        assert is_problem(reply, 403, "exceeds_maker") and reply.json()["errors"][0]["pointer"] == "/expires_at"
        made = maker.post(f"{base}/access-tokens", wanted)
        assert made["expires_at"][:19] <= soon[:19]
        platform.send("DELETE", f"{base}/access-tokens/{made['id']}")
    with key_of(deployment, platform, base, scopes=["access-tokens:write"], cidrs=["127.0.0.0/8"]) as maker:
        before = evidence.sql("SELECT count(*) FROM programmatic_token")
        assert is_problem(maker.send("POST", f"{base}/access-tokens", wanted), 403, "exceeds_maker")
        assert evidence.sql("SELECT count(*) FROM programmatic_token") == before


def test_nobody_claims_this_server_itself(deployment, platform, fresh):
    """K-21, design 4.7: no resource bears the admin API's or the directory's address, nor an organization's any address of
    this server, so that no token for a resource can be meant for it."""
    url = deployment.stack.url
    with key_of(deployment, platform, fresh, scopes=["*"]) as maker:
        for uri in (url, f"{url}/", f"{url}/v1", f"{url}/v1/", f"{url}/v1/organizations", f"{url}/mcp", f"{url}?x",
                    f"{url.upper()}/v1", f"{url}/v1?x=1"):
            reply = maker.send("POST", f"{fresh}/resources", {"uri": uri, "name": "x", "scopes": ["read"]})
            assert reply.status_code == 422, (uri, reply.text)
            assert {"pointer": "/uri", "code": "reserved"}.items() <= reply.json()["errors"][0].items()
    for uri in (f"{url}/v1", f"{url}/v1/x", f"{url}/scim/v2"):
        reply = platform.send("POST", "/v1/resources", {"uri": uri, "name": "x", "scopes": ["read"]})
        assert reply.status_code == 422 and reply.json()["errors"][0]["code"] == "reserved", reply.text


# ---- What one organization may cost the others ---------------------------------------------------------------------


def test_bounds_of_what_every_node_reads(deployment, platform, fresh, evidence):
    """F-13, RL-03: policies, their address ranges, domains and imports under way of one organization have an end."""
    organization = uuid_of(fresh.rsplit("/", 1)[1])

    def fill(table: str, columns: str, values: str, count: int) -> None:
        evidence.sql(f"INSERT INTO {table} (organization_id, {columns}) SELECT '{organization}', {values} "
                     f"FROM generate_series(1, {count}) AS n")

    def clear(table: str) -> None:
        evidence.sql(f"DELETE FROM {table} WHERE organization_id = '{organization}' AND created_at = '2020-01-01'")

    def refused(reply) -> None:
        assert is_problem(reply, 409, "conflict") and "as many as there may be" in reply.json()["detail"], reply.text

    everyone = {"effect": "allow", "principals": {"everyone": True}, "scopes": ["read"]}
    ranges = [f"10.{n}.0.0/16" for n in range(200)]
    policy = ("scope_policy", "id, name, effect, principals, clients, resources, scopes, conditions, created_at, updated_at",
              "gen_random_uuid(), 'p' || n, 'allow', '{\"everyone\": true, \"users\": [], \"groups\": [], \"roles\": [], "
              "\"services\": []}', '{}', '{}', '{read}', '%s', '2020-01-01', '2020-01-01'")
    fill(policy[0], policy[1], policy[2] % "{}", 499)
    refused(platform.send("POST", f"{fresh}/scope-policies", {"name": "one more"} | everyone))
    clear("scope_policy")
    fill(policy[0], policy[1], policy[2] % json.dumps({"ip_ranges": ranges}), 24)
    last = platform.post(f"{fresh}/scope-policies", {"name": "x", "conditions": {"ip_ranges": ranges}} | everyone)
    reply = platform.send("POST", f"{fresh}/scope-policies", {"name": "y", "conditions": {"ip_ranges": ranges[:1]}} | everyone)
    assert is_problem(reply, 409, "conflict"), reply.text
    assert platform.send("PATCH", f"{fresh}/scope-policies/{last['id']}", {"name": "z"},
                         headers={"if-match": "*"}).status_code == 200
    clear("scope_policy")

    fill("domain", "domain, status, verification_token, created_at",
         "'d' || n || '.example', 'pending', 'x', '2020-01-01'", 200)
    refused(platform.send("POST", f"{fresh}/domains", {"domain": "one-more.example"}))
    clear("domain")

    fill("operation", "id, kind, status, total, created_by, created_at",
         "gen_random_uuid(), 'users.import', 'queued', 1, 'test', '2020-01-01'", 10)
    refused(send_lines(platform, f"{fresh}/users:batch", [{"email": "a@abuse.example"}]))
    clear("operation")


def test_a_statement_that_names_too_much_is_not_looked_up(platform, fresh):
    """P-17, F-13: what is too long is refused before anything it names is looked for."""
    zeros = "0" * 26
    for principals, clients in (({"services": [f"cli_{zeros}"] * 20_000}, {}),
                                ({"everyone": True}, {"ids": [f"cli_{zeros}"] * 20_000})):
        begin = time.monotonic()
        reply = platform.send("POST", f"{fresh}/scope-policies", {
            "name": "long", "effect": "allow", "principals": principals, "clients": clients, "scopes": ["read"]})
        assert reply.status_code == 422 and len(reply.json()["errors"]) == 1, reply.text[:500]
        assert time.monotonic() - begin < 5


def test_a_review_of_too_many_pairs(platform, fresh, evidence):
    """F-13, design 4: a review that would hold too many rows of one person is refused with what to do."""
    client = platform.post(f"{fresh}/clients", {
        "name": "One", "redirect_uris": ["https://one.abuse.example/cb"], "token_endpoint_auth_method": "none"})
    platform.post(f"{fresh}/resources", {"uri": "https://abuse.example/mcp", "name": "x", "scopes": ["read"]})
    evidence.sql(
        "INSERT INTO client SELECT (jsonb_populate_record(c, jsonb_build_object('id', gen_random_uuid()))).* "
        f"FROM client c, generate_series(1, 10000) WHERE c.id = '{uuid_of(client['id'])}'")
    reply = platform.send("POST", f"{fresh}/access-reviews", {})
    assert reply.status_code == 422 and reply.json()["errors"][0]["code"] == "too_many", reply.text
    assert platform.send("POST", f"{fresh}/access-reviews", {"client": client["id"]}).status_code == 201


def test_a_costly_simulation_comes_in_pages(deployment, platform, fresh, evidence):
    """F-12, RL-03, design 5: a draft that takes long to decide by is put to some of the decisions only; others are
    answered meanwhile."""
    acme = uuid_of(deployment.organizations["acme"])
    organization = uuid_of(fresh.rsplit("/", 1)[1])
    issued = deployment.acme.redeem(deployment.acme.code(deployment.person("alice"))).json()
    assert issued["access_token"]
    platform.await_events(deployment.organizations["acme"], lambda rows: any(
        row["type"] == "token.issued" and "input" in row.get("policy", {}) for row in rows))
    platform.await_events(fresh.rsplit("/", 1)[1], lambda rows: any(row["type"] == "org.created" for row in rows))
    count = 1_500
    evidence.sql(
        "INSERT INTO audit_event SELECT (jsonb_populate_record(e, jsonb_build_object('organization_id', "
        f"'{organization}'::uuid, 'seq', h.size - 1 + n, 'id', gen_random_uuid()))).* "
        f"FROM audit_event e, audit_head h, generate_series(1, {count}) AS n "
        f"WHERE h.organization_id = '{organization}' AND e.organization_id = '{acme}' AND e.seq = ("
        f"SELECT max(seq) FROM audit_event WHERE organization_id = '{acme}' AND type = 'token.issued' "
        "AND position(convert_to('\"input\":{', 'UTF8') IN leaf) > 0);"
        f"UPDATE audit_head SET size = size + {count} WHERE organization_id = '{organization}'")
    scopes = [f"zz{n}*" for n in range(200)]
    draft = [{"name": f"s{n}", "effect": "deny", "principals": {"everyone": True}, "scopes": scopes} for n in range(200)]
    now = time.time()
    wanted = {"statements": draft, "from": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now - 3600)),
              "to": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + 60)), "limit": 20_000}
    replies = []
    with Admin(deployment.stack.url, deployment.stack.admin_key, timeout=60) as patient:
        threads = [threading.Thread(target=lambda: replies.append(
            patient.send("POST", f"{fresh}/scope-policies:simulate", wanted))) for _ in range(3)]
        for thread in threads:
            thread.start()
        slowest = 0.0
        while any(thread.is_alive() for thread in threads):
            begin = time.monotonic()
            assert platform.send("GET", f"/v1/organizations/{deployment.organizations['acme']}").status_code == 200
            slowest = max(slowest, time.monotonic() - begin)
            time.sleep(0.05)
        for thread in threads:
            thread.join()
    assert slowest < 5, "others wait for none of this"
    for reply in replies:
        assert reply.status_code == 200, reply.text[:500]
        page = reply.json()
        assert 1 <= page["decisions"] <= count and page["has_more"] == (page["decisions"] < count), page["decisions"]


def test_groups_of_many_come_in_shorter_pages(deployment, platform, evidence):
    """F-13, SC-07: a page of groups ends before it holds more members than can be told at once; none is left out."""
    made = platform.post("/v1/organizations", {"slug": f"crowd-{time.time_ns():x}", "name": "Crowd"})
    organization = uuid_of(made["id"])
    evidence.sql(
        f"INSERT INTO \"user\" (organization_id, id, email, status, created_at, updated_at) SELECT '{organization}', "
        "gen_random_uuid(), 'u' || n || '@crowd.example', 'active', now(), now() FROM generate_series(1, 9000) n;"
        f"INSERT INTO \"group\" (organization_id, id, name, created_at, updated_at) SELECT '{organization}', "
        "gen_random_uuid(), 'g' || n, now(), now() FROM generate_series(1, 4) n;"
        "INSERT INTO group_member (organization_id, group_id, user_id, added_at) SELECT g.organization_id, g.id, u.id, now() "
        f"FROM \"group\" g JOIN \"user\" u USING (organization_id) WHERE g.organization_id = '{organization}' "
        "AND g.name <> 'g4'")
    directory = Directory(deployment, platform, made["slug"], made["id"])
    groups, start = [], 1
    while True:
        page = directory.send("GET", f"/Groups?startIndex={start}&sortBy=displayName").json()
        assert page["totalResults"] == 4 and sum(len(row.get("members", [])) for row in page["Resources"]) <= 20_000
        groups += [(row["displayName"], len(row.get("members", []))) for row in page["Resources"]]
        start += page["itemsPerPage"]
        if start > 4:
            break
        assert page["itemsPerPage"] > 0
    assert groups == [("g1", 9000), ("g2", 9000), ("g3", 9000), ("g4", 0)]
    directory.http.close()


# ---- Servers that mean harm ----------------------------------------------------------------------------------------


class HostileServer(http.server.ThreadingHTTPServer):
    """An MCP server that names its tools anew each time it is asked."""

    def __init__(self, count: int, size: int = 10):
        self.count, self.size, self.asked = count, size, 0
        super().__init__(("127.0.0.1", 0), Answers)
        self.url = f"http://127.0.0.1:{self.server_port}/mcp"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def tools(self, page: int) -> dict:
        rows = [{"name": f"t{self.asked}-{page}-{n}", "description": "x" * self.size, "inputSchema": {"type": "object"}}
                for n in range(self.count)]
        return {"tools": rows} | ({"nextCursor": f"{page + 1}"} if self.size > 1_000 else {})


class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if "id" not in asked:
            return self.answer(202, b"")
        if asked["method"] == "initialize":
            self.server.asked += 1
            result = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "x", "version": "1"}}
        else:
            result = self.server.tools(int(asked["params"].get("cursor", "0")))
        self.answer(200, json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}).encode())

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_tools_that_never_were_are_forgotten(platform, fresh, evidence):
    """S-10, F-13: a server that names its tools anew each time fills no database: what nobody reviewed is forgotten when it
    is gone, and what was reviewed is kept as gone."""
    with HostileServer(20) as server:
        made = platform.post(f"{fresh}/resources", {"uri": server.url, "name": "x", "scopes": ["read"]})
        place = f"{fresh}/resources/{made['id']}"
        first = platform.post(f"{place}:import-tools", {})
        reviewed = first["tools"][0]
        platform.call("PATCH", f"{place}/tools", {"tools": {
            reviewed["name"]: {"reviewed_digest": reviewed["digest"]}}})
        for number in range(2, 5):
            done = platform.post(f"{place}:import-tools", {})
            assert len(done["new"]) == 20 and len(done["gone"]) == 20
            states = {row["name"]: row["state"] for row in platform.list(f"{place}/tools")}
            assert len(states) == 21 and states[reviewed["name"]] == "gone", number
            assert [name for name in states if name.startswith(f"t{number}-")] == done["new"]


def test_lists_of_tools_have_an_end(platform, fresh, evidence):
    """S-10: definitions that come to more than any server's are cut off, and nothing is kept."""
    with HostileServer(20, size=60_000) as server:
        made = platform.post(f"{fresh}/resources", {"uri": server.url, "name": "x", "scopes": ["read"]})
        reply = platform.send("POST", f"{fresh}/resources/{made['id']}:import-tools", {})
        assert reply.status_code == 422 and reply.json()["errors"][0]["code"] == "too_much", reply.text
        assert list(platform.list(f"{fresh}/resources/{made['id']}/tools")) == []
