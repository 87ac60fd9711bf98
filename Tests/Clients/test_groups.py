"""Groups: kept by administrators, asked by policy wherever it decides (design §4, §5)."""

from __future__ import annotations

import time
from contextlib import contextmanager

import pytest
from gatehouse_demo.admin import Admin
from gatehouse_demo.chatgpt import claims

EPOCH_BOUND = 1.0


@pytest.fixture(scope="module")
def platform(deployment):
    with Admin(deployment.stack.url, deployment.stack.admin_key) as made:
        yield made


@pytest.fixture(scope="module")
def base(deployment):
    return f"/v1/organizations/{deployment.organizations['acme']}"


def user_of(platform, base: str, email: str) -> str:
    (user,) = platform.list(f"{base}/users", email=email)
    return user["id"]


@contextmanager
def group(platform, base: str, name: str, **members):
    made = platform.post(f"{base}/groups", {"name": name} | members)
    try:
        yield made
    finally:
        platform.send("DELETE", f"{base}/groups/{made['id']}")


@contextmanager
def statement(platform, base: str, **draft):
    made = platform.post(f"{base}/scope-policies", draft)
    try:
        yield made
    finally:
        reply = platform.send("DELETE", f"{base}/scope-policies/{made['id']}", headers={"if-match": "*"})
        assert reply.is_success, reply.text


def test_groups_are_kept(platform, base):
    """Design 4: created, read, renamed under If-Match, listed by name and by user, deleted; a name is one group's."""
    rita = user_of(platform, base, "rita@acme.example")
    reply = platform.send("POST", f"{base}/groups", {"name": "Kept", "external_id": "x-1", "members": [rita]})
    assert reply.status_code == 201 and reply.headers["etag"] == '"v1"', reply.text
    made = reply.json()
    assert reply.headers["location"].endswith(f"{base}/groups/{made['id']}")
    path = f"{base}/groups/{made['id']}"
    try:
        assert platform.get(path)["name"] == "Kept"
        assert [g["id"] for g in platform.list(f"{base}/groups", name="kept")] == [made["id"]]
        assert made["id"] in [g["id"] for g in platform.list(f"{base}/groups", user=rita)]
        assert [u["id"] for u in platform.list(f"{base}/users", group=made["id"])] == [rita]
        assert [m["user_id"] for m in platform.list(f"{path}/members")] == [rita]
        taken = platform.send("POST", f"{base}/groups", {"name": "KEPT"})
        assert taken.status_code == 409 and taken.json()["code"] == "conflict"
        stale = platform.send("PATCH", path, {"name": "Renamed"}, {"if-match": '"v7"'})
        assert stale.status_code == 412
        renamed = platform.send("PATCH", path, {"name": "Renamed", "external_id": None}, {"if-match": '"v1"'})
        assert renamed.status_code == 200 and renamed.headers["etag"] == '"v2"'
        assert renamed.json()["name"] == "Renamed" and renamed.json()["external_id"] is None
    finally:
        gone = platform.send("DELETE", path)
    assert gone.status_code == 204 and "audit-event" in gone.headers
    assert platform.send("GET", path).status_code == 404


def test_members_come_and_go(deployment, platform, base):
    """T-12, design 4.8: adding twice is adding once; a foreign user is as unknown as one nobody has, and nothing is
    stored; each change is an event that names the group and the person."""
    acme = deployment.organizations["acme"]
    rita = user_of(platform, base, "rita@acme.example")
    gus = user_of(platform, f"/v1/organizations/{deployment.organizations['globex']}", "gus@globex.example")
    with group(platform, base, "Coming and going") as made:
        path = f"{base}/groups/{made['id']}/members"
        for user in (gus, "usr_" + "0" * 25 + "1"):
            refused = platform.send("POST", path, {"users": [rita, user]})
            assert refused.status_code == 422, refused.text
            assert [(e["pointer"], e["code"]) for e in refused.json()["errors"]] == [("/members", "unknown")]
        assert list(platform.list(path)) == []
        for _ in range(2):
            assert platform.send("POST", path, {"users": [rita]}).status_code == 200
        assert [m["user_id"] for m in platform.list(path)] == [rita]
        removed = platform.send("DELETE", f"{path}/{rita}")
        assert removed.status_code == 200
        assert list(platform.list(path)) == []
        rows = platform.await_events(
            acme, lambda rows: any(r["id"] == removed.headers["audit-event"] for r in rows))
        (event,) = [r for r in rows if r["id"] == removed.headers["audit-event"]]
        assert event["type"] == "membership.removed"
        assert [t["id"] for t in event["targets"]] == [made["id"], rita]


def test_a_group_decides_at_the_next_refresh(deployment, platform, base):
    """TK-23, design 5: who comes into a group that a statement allows has its scopes at the next refresh, who leaves it
    has them no more; on both nodes within a second, and at a first connection as well."""
    rita = user_of(platform, base, "rita@acme.example")
    issuer = deployment.acme
    code = issuer.code(deployment.person("rita"))
    tokens = issuer.redeem(code).json()
    assert claims(tokens["access_token"])["scopes"] == ["read"]

    def scopes_on_each_node() -> list[list[str]]:
        seen = []
        for node in deployment.node_urls:
            reply = issuer.refresh(tokens["refresh_token"], code.client_id, node=node)
            assert reply.status_code == 200, reply.text
            tokens.update(reply.json())
            seen.append(claims(tokens["access_token"])["scopes"])
        return seen

    def settles(expected: list[str]) -> None:
        until = time.monotonic() + EPOCH_BOUND
        while (seen := scopes_on_each_node()) != [expected, expected]:
            assert time.monotonic() < until, seen

    with group(platform, base, "Kept out") as made, statement(
            platform, base, name="readers are kept out", effect="deny", principals={"groups": [made["id"]]},
            scopes=["read"]):
        members = f"{base}/groups/{made['id']}/members"
        settles(["read"])
        platform.post(members, {"users": [rita]})
        # Denied what the grant is for: the connection has nothing left.
        until = time.monotonic() + EPOCH_BOUND
        for node in deployment.node_urls:
            while (reply := issuer.refresh(tokens["refresh_token"], code.client_id, node=node)).status_code == 200:
                tokens.update(reply.json())
                assert time.monotonic() < until
            assert reply.status_code == 400 and reply.json()["error"] == "invalid_grant"
            assert reply.headers["cache-control"] == "no-store"
        assert platform.send("DELETE", f"{members}/{rita}").status_code == 200
        settles(["read"])

    with group(platform, base, "Writers", members=[rita]) as made, statement(
            platform, base, name="writers write", effect="allow", principals={"groups": [made["id"]]},
            scopes=["write"]):
        wider = issuer.redeem(issuer.code(deployment.person("rita"))).json()
        assert "write" in claims(wider["access_token"])["scopes"]
        (resource,) = [r["id"] for r in platform.list(f"{base}/resources") if r["uri"] == issuer.resource]
        decision = platform.post(f"{base}/scope-policies:evaluate", {
            "user": rita, "client": code.client_id, "resource": resource, "scopes": ["write"]})
        assert decision["decision"] == "allow", decision
