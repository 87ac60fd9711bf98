"""Access reviews over HTTP: who could do what through which client at a moment (design §4)."""

from __future__ import annotations

import csv
import io
import time
from datetime import datetime, timedelta, timezone

import pytest
from evidence import uuid_of
from gatehouse_demo.admin import Admin


@pytest.fixture(scope="module")
def acme(deployment):
    with Admin(deployment.stack.url, deployment.stack.admin_key) as platform:
        base = f"/v1/organizations/{deployment.organizations['acme']}"
        key = platform.post(f"{base}/admin-keys", {
            "name": "auditor", "scopes": ["access-reviews:read", "access-reviews:write", "users:write", "users:read",
                "policies:write", "clients:write", "clients:read", "resources:read", "audit:read"]})
    with Admin(deployment.stack.url, key["secret"]) as admin:
        admin.base = base
        yield admin


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def rows(admin, review, limit=200) -> list[dict]:
    return list(admin.list(f"{admin.base}/access-reviews/{review['id']}/rows", limit=limit))


@pytest.fixture(scope="module")
def story(acme):
    """A person who had a scope for a while, and the moments before, meanwhile and after."""
    client = acme.post(f"{acme.base}/clients", {"name": "=HYPERLINK(\"x\")", "redirect_uris": ["https://r.example/cb"]})
    user = acme.post(f"{acme.base}/users", {"email": "review@acme.example", "name": "Rhea, \"R\" + Vue"})
    before = now()
    time.sleep(0.01)
    policy = acme.post(f"{acme.base}/scope-policies", {
        "name": "reviewed", "effect": "allow", "principals": {"users": [user["id"]]}, "scopes": ["write"],
        "clients": {"ids": [client["client_id"]]}})
    time.sleep(0.01)
    meanwhile = now()
    time.sleep(0.01)
    reply = acme.send("DELETE", f"{acme.base}/scope-policies/{policy['id']}", headers={"if-match": "*"})
    assert reply.status_code == 204
    yield {"user": user, "client": client, "before": before, "meanwhile": meanwhile}
    acme.send("DELETE", f"{acme.base}/clients/{client['id']}", headers={"if-match": "*"})


def test_what_was_so_for_a_while(acme, story):
    """Design 4: a review shows a scope at the moment it was allowed, with the statement that allowed it, and at no other."""
    def scopes(moment):
        body = {"user": story["user"]["id"], "client": story["client"]["id"]} | ({"at": moment} if moment else {})
        review = acme.post(f"{acme.base}/access-reviews", body)
        assert review["at"] == moment or moment is None
        found = rows(acme, review)
        assert found and all(row["principal"]["id"] == story["user"]["id"] for row in found)
        assert all(row["client"]["id"] == story["client"]["id"] for row in found)
        return found

    meanwhile = scopes(story["meanwhile"])
    assert any("write" in row["scopes"] for row in meanwhile)
    row = next(row for row in meanwhile if "write" in row["scopes"])
    assert {"scope": "write", "result": "allowed", "rule": "reviewed"} in row["trace"]
    assert row["principal"] == {
        "kind": "user", "id": story["user"]["id"], "email": "review@acme.example", "name": "Rhea, \"R\" + Vue"}
    for moment in (story["before"], None):
        assert not any("write" in row["scopes"] for row in scopes(moment))


def test_pages_and_csv(acme, story):
    """T-32, design 4: pages of one row and the CSV file say the same; the file is RFC 4180, and no cell of it is a formula."""
    review = acme.post(f"{acme.base}/access-reviews", {"at": story["meanwhile"]})
    assert acme.get(f"{acme.base}/access-reviews/{review['id']}") == review
    assert review["id"] in [row["id"] for row in acme.list(f"{acme.base}/access-reviews")]
    whole = rows(acme, review)
    assert rows(acme, review, limit=3) == whole
    reply = acme.send("GET", f"{acme.base}/access-reviews/{review['id']}/rows", headers={"accept": "text/csv"})
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert reply.headers["cache-control"] == "no-store"
    assert review["id"] in reply.headers["content-disposition"]
    assert reply.content.endswith(b"\r\n") and b"\n" not in reply.content.replace(b"\r\n", b"")
    records = list(csv.DictReader(io.StringIO(reply.text, newline="")))
    assert [(r["principal_id"], r["resource_uri"], r["scopes"]) for r in records] == [
        (row["principal"]["id"], row["resource"]["uri"], " ".join(row["scopes"])) for row in whole]
    ours = [r for r in records if r["client_id"] == story["client"]["client_id"]]
    assert ours and all(r["client_name"] == "'=HYPERLINK(\"x\")" for r in ours)
    assert any(r["user_name"] == "Rhea, \"R\" + Vue" for r in ours)
    for cell in (cell for record in records for cell in record.values()):
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r")), cell
    paged = acme.send("GET", f"{acme.base}/access-reviews/{review['id']}/rows?limit=2", headers={"accept": "text/csv"})
    assert paged.status_code == 400


def test_a_review_is_an_event(acme, story, evidence):
    """Design 4: making a review is recorded with its moment and what it was narrowed to; nothing is made when it is refused."""
    reply = acme.send("POST", f"{acme.base}/access-reviews", {"at": story["meanwhile"], "user": story["user"]["id"]})
    assert reply.status_code == 201
    assert reply.headers["location"].endswith(reply.json()["id"])
    event = reply.headers["audit-event"]
    line = evidence.sql(
        "SELECT type, convert_from(leaf_prefix || leaf_suffix, 'UTF8') FROM audit_outbox WHERE id = "
        f"'{uuid_of(event)}' UNION ALL SELECT type, convert_from(leaf, 'UTF8') FROM audit_event WHERE id = "
        f"'{uuid_of(event)}'")
    assert line.startswith("access_review.created|") and story["user"]["id"] in line
    before = evidence.sql("SELECT count(*) FROM access_review")
    early = (datetime.now(timezone.utc) - timedelta(days=3650)).isoformat()
    late = (datetime.now(timezone.utc) + timedelta(hours=1)).isoformat()
    for body, pointer in (
        ({"at": early}, "/at"), ({"at": late}, "/at"), ({"at": "yesterday"}, "/at"),
        ({"user": "usr_" + "0" * 25 + "1"}, "/user"), ({"client": "cli_" + "0" * 25 + "1"}, "/client"),
        ({"resource": "res_" + "0" * 25 + "1"}, "/resource"), ({"group": "grp_" + "0" * 25 + "1"}, "/group"),
        ({"who": "me"}, "/who"),
    ):
        refused = acme.send("POST", f"{acme.base}/access-reviews", body)
        assert refused.status_code == 422, (body, refused.text)
        assert [error["pointer"] for error in refused.json()["errors"]] == [pointer]
        assert refused.headers["cache-control"] == "no-store"
    assert evidence.sql("SELECT count(*) FROM access_review") == before

