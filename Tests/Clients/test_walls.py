"""Isolation by construction: the statements of all tests before this one, without the conditions that keep tenants apart."""

from __future__ import annotations

import json
import os
import re
import subprocess

import pytest

# The comparison of a column with a parameter, such as `g.organization_id = $1` or `id = ANY($2)`.
CONDITION = re.compile(r'((?:"?\w+"?\.)?"?\w+"?\s*(?:=|<>|<=|>=|<|>)\s*(?:ANY\s*\()?\$\d+(?:::[\w\[\]]+)?\)?)')
# The one table that says nothing of a tenant but that something of it changed, so every node reads all of it (design 8).
UNWALLED = re.compile(r"\bepoch e ON e.changed_at")


def psql(script: str, seconds: float = 120) -> str:
    done = subprocess.run(
        ["psql", "-XqAt", os.environ["DATABASE_ADMIN_URL"]], input=script, capture_output=True, text=True, timeout=seconds)
    return done.stdout + done.stderr


def statements(evidence) -> list[str]:
    """What the serving role asked of tenants' tables, as PostgreSQL counted it."""
    evidence.sql("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    text = evidence.sql("""
        SELECT json_agg(DISTINCT query) FROM pg_stat_statements JOIN pg_roles ON pg_roles.oid = userid
         WHERE rolname = 'gatehouse_app' AND query LIKE '%organization_id%'""")
    return [query for query in json.loads(text or "[]") or []
            if not query.lstrip().startswith(("SET", "PREPARE", "EXPLAIN")) and not UNWALLED.search(query)]


def tables(evidence) -> list[str]:
    return evidence.sql("""
        SELECT quote_ident(relname) FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
         WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND attname = 'organization_id' AND relrowsecurity
         ORDER BY 1""").splitlines()


def open_wide(query: str) -> str:
    """The statement with every comparison true, the tenant's first of all."""
    where = re.search(r"\b(?:WHERE|ON)\b", query)
    if not where:
        return query
    wide = CONDITION.sub(r"(\1 OR true)", query)
    # What is assigned is no condition.
    return re.sub(r"(SET\s+(?:(?!WHERE|FROM|RETURNING).)*)", lambda part: re.sub(
        r"\((\S+ = \$\d+(?:::[\w\[\]]+)?) OR true\)", r"\1", part[1]), wide, flags=re.S)


def run(queries: list[str], tenant: str, role: str, marks: list[str], others: list[str]) -> list[list[str] | None]:
    """What of another tenant each statement showed or touched, None for one that could not run. All is undone."""
    touched = " UNION ALL ".join(
        f"SELECT '#touched {table}' FROM {table} WHERE organization_id <> '{tenant}' AND xmin = pg_current_xact_id()::xid"
        for table in others)
    counts = ", ".join(f"(SELECT count(*) FROM {table} WHERE organization_id <> '{tenant}')" for table in others)
    script = []
    for query in queries:
        count = max((int(number) for number in re.findall(r"\$(\d+)", query)), default=0)
        arguments = f"({', '.join(['NULL'] * count)})" if count else ""
        writes = re.search(r"\b(INSERT|UPDATE|DELETE)\b", query)
        script.append(f"""
            \\echo #statement
            BEGIN; SET LOCAL statement_timeout = '5s';
            {f"SELECT '#before', {counts};" if writes else ""}
            SELECT '' FROM set_config('app.organization_id', '{tenant}', true);
            SET LOCAL ROLE {role};
            PREPARE judged AS {query.rstrip().rstrip(';')};
            EXECUTE judged{arguments};
            RESET ROLE;
            {f"{touched}; SELECT '#after', {counts};" if writes else ""}
            SELECT '#done';
            ROLLBACK; DEALLOCATE ALL;""")
    results: list[list[str] | None] = []
    for output in psql("\n".join(script)).split("#statement\n")[1:]:
        if "#done" not in output:
            results.append(None)
            continue
        found = [mark for mark in marks if mark in output] + re.findall(r"^#touched .*$", output, re.M)
        before, after = (re.search(rf"^#{word}\|(.*)$", output, re.M) for word in ("before", "after"))
        results.append(found + (["rows gone"] if before and after and before[1] != after[1] else []))
    return results


@pytest.mark.parametrize("own,other", [("acme", "globex")])
def test_the_wall_stands_without_the_filters(deployment, evidence, own, other):
    """T-22, T-01, T-02, T-03, T-04, T-05, T-06, T-07, T-08, T-10, design 6: every statement that the tests before caused,
    with its tenant filter and all its other conditions taken away, shows and changes rows of its own tenant alone; the
    same statements of a role that no policy binds do show others', so the test can fail."""
    tenant = evidence.sql(f"SELECT organization_id FROM organization WHERE slug = '{own}'")
    foreign = evidence.sql(f"SELECT organization_id FROM organization WHERE slug = '{other}'")
    marks = [foreign, *evidence.sql(f"SELECT id FROM \"user\" WHERE organization_id = '{foreign}'").splitlines(),
             *evidence.sql(f"SELECT id FROM scope_policy WHERE organization_id = '{foreign}'").splitlines()]
    others = tables(evidence)
    asked = statements(evidence)
    wide = [open_wide(query) for query in asked]
    walled = run(wide, tenant, "gatehouse_app", marks, others)
    leaks = [(query, found) for query, found in zip(asked, walled) if found]
    assert not leaks
    ran = [query for query, found in zip(wide, walled) if found is not None]
    filtered = [query for query in ran if " OR true)" in query]
    teeth = [found for found in run(filtered, tenant, "postgres", marks, others) if found]
    print(f"{len(asked)} statements, {len(ran)} ran, {len(filtered)} of them had filters, {len(teeth)} show others'")
    assert len(filtered) >= 15 and len(teeth) >= 5


def test_every_table_alone(evidence, deployment):
    """T-22, design 6: each table without any condition: own rows are seen, changed and deleted, and no others; another's
    row is not accepted; and without a tenant there are no rows."""
    tenant, foreign = (
        evidence.sql(f"SELECT organization_id FROM organization WHERE slug = '{slug}'") for slug in ("acme", "globex"))
    wrong = []
    for table in tables(evidence):
        seen = psql(f"""
            BEGIN; SELECT set_config('app.organization_id', '{tenant}', true); SET LOCAL ROLE gatehouse_app;
            SELECT '#foreign', count(*) FROM {table} WHERE organization_id <> '{tenant}'; ROLLBACK;
            BEGIN; SET LOCAL ROLE gatehouse_app; SELECT '#none', count(*) FROM {table}; ROLLBACK;
            BEGIN; SELECT set_config('app.organization_id', '{tenant}', true); SET LOCAL ROLE gatehouse_app;
            UPDATE {table} SET organization_id = '{foreign}'; SELECT '#moved'; ROLLBACK;
            BEGIN; SELECT '#kept', count(*) FROM {table} WHERE organization_id <> '{tenant}';
            SELECT set_config('app.organization_id', '{tenant}', true); SET LOCAL ROLE gatehouse_app;
            SET CONSTRAINTS ALL DEFERRED; DELETE FROM {table}; RESET ROLE;
            SELECT '#left', count(*) FROM {table} WHERE organization_id <> '{tenant}'; ROLLBACK;""")
        answers = dict(re.findall(r"^#(foreign|none|kept|left)\|(\d+)$", seen, re.M))
        # A table that the role may not even read has no answer, which is as good.
        if answers.get("foreign", "0") != "0" or answers.get("none", "0") != "0":
            wrong.append((table, answers))
        if "left" in answers and answers["left"] != answers["kept"]:
            wrong.append((table, answers))
        own = evidence.sql(f"SELECT count(*) FROM {table} WHERE organization_id = '{tenant}'")
        if "#moved" in seen and own != "0":
            wrong.append((table, "moved to another tenant"))
    assert not wrong


def explained(evidence, queries: list[str], slug: str, settings: str = "") -> list[tuple[str, str]]:
    """The statements that the serving role can plan for an organization, each with its plan for any parameters."""
    tenant = evidence.sql(f"SELECT organization_id FROM organization WHERE slug = '{slug}'")
    script = [f"SET plan_cache_mode = force_generic_plan; {settings} SET ROLE gatehouse_app; "
              f"SELECT '' FROM set_config('app.organization_id', '{tenant}', false);"]
    for query in queries:
        count = max((int(number) for number in re.findall(r"\$(\d+)", query)), default=0)
        arguments = f"({', '.join(['NULL'] * count)})" if count else ""
        script.append(f"\\echo #statement\nPREPARE judged AS {query.rstrip().rstrip(';')};\n"
                      f"EXPLAIN (COSTS off) EXECUTE judged{arguments};\nDEALLOCATE ALL;")
    plans = psql("\n".join(script)).split("#statement\n")[1:]
    return [(query, plan) for query, plan in zip(queries, plans) if "ERROR" not in plan]


def astray(evidence, planned: list[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """Where plans read a tenant's table by nothing that organization_id leads: the statement, how, and which table."""
    walled = {name.strip('"') for name in tables(evidence)}
    indexes = {}
    for line in evidence.sql("""
        SELECT indexrelid::regclass, relname, attname = 'organization_id' FROM pg_index
          JOIN pg_class ON pg_class.oid = indrelid
          LEFT JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]""").splitlines():
        name, table, led = line.split("|")
        indexes[name] = table, led == "t"
    found = []
    for query, plan in planned:
        found += [(query, node, table) for node, table in re.findall(r"(Seq Scan|Sample Scan) on \"?(\w+)\"?", plan)]
        for names in re.findall(r"Index (?:Only )?Scan(?: Backward)? using (\S+) on|Bitmap Index Scan on (\S+)", plan):
            index = names[0] or names[1]
            table, led = indexes[index]
            if not led and index != "epoch_changed":
                found.append((query, index, table))
    return [one for one in found if one[2] in walled]


def test_every_statement_finds_its_rows_by_the_tenant(deployment, evidence):
    """Design 6, issue of scale: each statement on a tenant's table can be planned with an index that organization_id
    leads, so that its cost does not grow with the number of tenants: none has to scan a table, or an index of all."""
    planned = explained(evidence, statements(evidence), "acme", "SET enable_seqscan = off;")
    assert len(planned) > 40
    assert not astray(evidence, planned)
