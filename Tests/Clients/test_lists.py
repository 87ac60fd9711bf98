"""Lists of large organizations: every page comes from an index, however many rows and tenants there are (design 4.4, 6).

Small here; `ops/proof lists` makes 10,000 organizations and a million users, and holds the pages to their time.
"""

from __future__ import annotations

import os
import re
import time

import pytest
from gatehouse_demo.admin import Admin
from evidence import Evidence
from test_walls import psql, statements

ORGANIZATIONS = int(os.environ.get("GATEHOUSE_LISTS_ORGANIZATIONS", "200"))
USERS = int(os.environ.get("GATEHOUSE_LISTS_USERS", "20000"))
LARGEST = int(os.environ.get("GATEHOUSE_LISTS_LARGEST", "6000"))
DEEP_PAGE = int(os.environ.get("GATEHOUSE_LISTS_PAGE", "100"))
# Milliseconds that 99 of 100 pages may take; nothing is timed where it is not set.
BOUND = float(os.environ.get("GATEHOUSE_LISTS_P99_MS", "0"))
SAMPLES = 300 if BOUND else 5

PAGE = 50


def fake(kind: str, number: str) -> str:
    """SQL for the number-th UUID of a kind, in the order of the numbers."""
    return f"('018f{kind}-0000-7000-8000-' || lpad(to_hex({number}), 12, '0'))::uuid"


def copies(table: str, source: str, count: str, **changes: str) -> str:
    """SQL that adds copies of a row of `source`'s, changed; `n` numbers them from 1."""
    members = ", ".join(f"'{name}', {value}" for name, value in changes.items())
    return f"""
        INSERT INTO {table} SELECT made.* FROM
            (SELECT * FROM {table} t WHERE {source} LIMIT 1) AS t, generate_series(1, {count}) AS n,
            jsonb_populate_record(NULL::{table}, to_jsonb(t) || jsonb_build_object({members})) AS made;"""


@pytest.fixture(scope="module")
def platform(deployment):
    with Admin(deployment.stack.url, deployment.stack.admin_key, timeout=60) as made:
        yield made


@pytest.fixture(scope="module")
def largest(deployment, platform):
    """An organization with LARGEST of everything, beside ORGANIZATIONS others that share the rest of USERS."""
    evidence = Evidence(deployment, platform)
    person = deployment.person("alice")
    deployment.platform.redeem(deployment.platform.code(person))
    acme = deployment.organizations["acme"]
    platform.post(f"/v1/organizations/{acme}/invitations", {"email": f"lists-{time.time_ns()}@acme.example"})
    client = platform.post(f"/v1/organizations/{acme}/clients", {
        "name": "Listed", "redirect_uris": ["https://listed.example/cb"]})
    made = platform.post("/v1/organizations", {"slug": f"lists-{time.time_ns() % 10**9}", "name": "Largest"})
    group = platform.post(f"/v1/organizations/{made['id']}/groups", {"name": "everybody"})
    own = platform.post(f"/v1/organizations/{acme}/groups", {"name": f"lists {time.time_ns()}"})
    tenant = evidence.sql(f"SELECT organization_id FROM organization WHERE slug = '{made['slug']}'")
    theirs = evidence.sql("SELECT organization_id FROM organization WHERE slug = 'acme'")
    group_id = evidence.sql(f"SELECT id FROM \"group\" WHERE organization_id = '{tenant}'")
    source, each = f"organization_id = '{theirs}'", max(1, (USERS - LARGEST) // ORGANIZATIONS)
    org = {"organization_id": f"'{tenant}'"}
    id_, user = fake("0001", "n"), fake("0002", "n")
    script = "SET session_replication_role = replica;" + "".join([
        copies("organization", source, str(ORGANIZATIONS), organization_id=fake("0003", "n"), slug="'lists-n-' || n"),
        f"""INSERT INTO slug_route (slug, organization_id)
            SELECT 'lists-n-' || n, {fake("0003", "n")} FROM generate_series(1, {ORGANIZATIONS}) AS n;""",
        copies('"user"', source, str(LARGEST), **org, id=user, email="'lists' || n || '@largest.example'",
               user_name="NULL::text", external_id="NULL::text"),
        f"""INSERT INTO "user" SELECT made.* FROM (SELECT * FROM "user" t WHERE {source} LIMIT 1) AS t,
                generate_series(1, {ORGANIZATIONS}) AS o, generate_series(1, {each}) AS n,
                jsonb_populate_record(NULL::"user", to_jsonb(t) || jsonb_build_object('organization_id', {fake("0003", "o")},
                    'id', {user}, 'email', 'u' || n || '@small.example', 'user_name', NULL, 'external_id', NULL)) AS made;""",
        copies('"group"', source, str(LARGEST), **org, id=id_, name="'group ' || n", external_id="NULL::text"),
        f"""INSERT INTO group_member (organization_id, group_id, user_id, added_at)
            SELECT '{tenant}', '{group_id}', {user}, now() FROM generate_series(1, {LARGEST}) AS n;""",
        copies("client", source, str(LARGEST), **org, id=id_, document_url="NULL::text", expires_at="NULL::timestamptz"),
        copies("client_admission", source, str(LARGEST), **org, client_id=id_, registry_organization_id=f"'{tenant}'"),
        copies('"grant"', source, str(LARGEST), **org, id=id_, user_id=user),
        copies("session", source, str(LARGEST), **org, id=id_, user_id=user),
        copies("invitation", source, str(LARGEST), **org, id=id_, token_digest="'\\x' || md5(n::text)"),
        copies("audit_event", source, str(LARGEST), **org, id=id_, seq="n + 1000"),
        "ANALYZE;",
    ])
    output = psql(script)
    assert "ERROR" not in output, output[:2000]
    assert int(evidence.sql('SELECT count(*) FROM "user"')) >= USERS * 0.9
    yield made["id"], group["id"]
    tables = ("group_member", '"group"', '"grant"', "session", "client_admission", "client", "invitation", "audit_event",
              '"user"')
    psql("SET session_replication_role = replica;" + "".join(
        f"DELETE FROM {table} WHERE organization_id = '{tenant}' OR organization_id::text LIKE '018f0003-%';"
        for table in tables) + "DELETE FROM organization WHERE slug LIKE 'lists-n-%'; DELETE FROM slug_route WHERE slug LIKE 'lists-n-%';")
    for path in (f"groups/{own['id']}", f"clients/{client['id']}"):
        platform.call("DELETE", f"/v1/organizations/{acme}/{path}", headers={"if-match": "*"})


def paths(organization: str, group: str) -> list[str]:
    base = f"/v1/organizations/{organization}"
    return ["/v1/organizations", *(f"{base}/{name}" for name in (
        "users", "groups", f"groups/{group}/members", "clients", "client-approvals", "grants", "invitations", "sessions",
        "audit/events"))]


def measure(platform, path: str) -> tuple[float, float, dict]:
    times, page = [], {}
    for _ in range(SAMPLES):
        begun = time.perf_counter()
        reply = platform.send("GET", path)
        times.append((time.perf_counter() - begun) * 1000)
        assert reply.status_code == 200, (path, reply.text)
        page = reply.json()
    times.sort()
    return times[len(times) // 2], times[int(len(times) * 0.99)], page


def test_first_and_deep_pages(deployment, platform, largest, evidence):
    """Design 4.4: a page of 50 rows at the beginning and far behind, of each list; no row twice on the way there."""
    evidence.sql("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    evidence.sql("SELECT pg_stat_statements_reset()")
    late = []
    for path in paths(*largest):
        if platform.send("GET", path).status_code == 404:
            continue   # a list that this release does not have
        p50, p99, page = measure(platform, f"{path}?limit={PAGE}")
        assert len(page["data"]) == PAGE and page["has_more"], path
        shown = f"figure: {re.sub(r'(org|grp)_[^/]+', 'ID', path)} page 1: p50 {p50:.1f} ms, p99 {p99:.1f} ms"
        seen, cursor = 0, ""
        ids: set[str] = set()
        while seen < PAGE * (DEEP_PAGE - 1):
            walked = platform.get(f"{path}?limit=200{cursor}")
            new = {str(sorted(row.items())) for row in walked["data"]}
            assert not ids & new, f"{path}: a row came twice"
            ids, seen = new, seen + len(new)
            if not walked["has_more"]:
                break
            cursor = f"&cursor={walked['next_cursor']}"
        else:
            deep50, deep99, _ = measure(platform, f"{path}?limit={PAGE}{cursor}")
            shown += f"; page {seen // PAGE + 1}: p50 {deep50:.1f} ms, p99 {deep99:.1f} ms"
            p99 = max(p99, deep99)
        print(shown)
        if BOUND and p99 > BOUND:
            late.append(shown)
    assert not late


def test_large_tables_are_never_scanned(deployment, evidence, largest):
    """Design 6: as PostgreSQL plans them with these tables, no statement of a list reads a large table from end to end."""
    large = set(evidence.sql(f"""
        SELECT relname FROM pg_class WHERE relkind = 'r' AND reltuples >= {LARGEST}""").splitlines())
    assert {"user", "grant", "client"} <= large
    script = ["SET plan_cache_mode = force_generic_plan; SET ROLE gatehouse_app; "
              "SELECT '' FROM set_config('app.organization_id', gen_random_uuid()::text, false);"]
    asked = [query for query in statements(evidence) if re.match(r"\s*(SELECT|WITH)", query)]
    for query in asked:
        count = max((int(number) for number in re.findall(r"\$(\d+)", query)), default=0)
        arguments = f"({', '.join(['NULL'] * count)})" if count else ""
        script.append(f"\\echo #statement\nPREPARE judged AS {query.rstrip().rstrip(';')};\n"
                      f"EXPLAIN (COSTS off) EXECUTE judged{arguments};\nDEALLOCATE ALL;")
    wrong = [
        (query, table)
        for query, plan in zip(asked, psql("\n".join(script)).split("#statement\n")[1:])
        for table in re.findall(r'Seq Scan on "?(\w+)"?', plan) if table in large]
    assert asked and not wrong
