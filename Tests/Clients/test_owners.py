"""An organization keeps an owner: nobody takes the last one away, by whatever path and however many at once (T-24)."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from evidence import uuid_of
from gatehouse_demo.admin import Admin

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"


@pytest.fixture(scope="module")
def platform(deployment):
    with Admin(deployment.stack.url, deployment.stack.admin_key) as made:
        yield made


class Owned:
    """An organization of a test's own, with its role owner and a directory."""

    def __init__(self, deployment, platform):
        self.admin = platform
        made = platform.post("/v1/organizations", {"slug": f"owned-{time.time_ns():x}", "name": "Owned"})
        self.id, self.base = made["id"], f"/v1/organizations/{made['id']}"
        (self.role,) = [role["id"] for role in platform.list(f"{self.base}/roles") if role["name"] == "owner"]
        self.bindings = f"{self.base}/roles/{self.role}/bindings"
        self.directory = f"{deployment.stack.url}/scim/v2/{made['slug']}"
        token = platform.post(f"{self.base}/scim-tokens", {"name": "directory"})["token"]
        self.headers = {"authorization": f"Bearer {token}", "content-type": "application/scim+json"}

    def user(self, name: str, *, owner: bool = True) -> str:
        made = self.admin.post(f"{self.base}/users", {"email": f"{name}@owned.example"})["id"]
        if owner:
            self.admin.post(self.bindings, {"user": made})
        return made

    def group(self, *members: str) -> str:
        return self.admin.post(f"{self.base}/groups", {"name": f"g{time.time_ns()}", "members": list(members)})["id"]

    def scim(self, method: str, path: str, body=None) -> httpx.Response:
        return httpx.request(
            method, self.directory + path, json=body, headers=self.headers, timeout=15, trust_env=False)

    def state(self, evidence) -> str:
        where = f"WHERE organization_id = '{uuid_of(self.id)}'"
        return evidence.sql(
            f"""SELECT (SELECT string_agg(id || status || version, ',' ORDER BY id) FROM "user" {where}),
                       (SELECT count(*) FROM role_binding {where}), (SELECT count(*) FROM group_member {where}),
                       (SELECT count(*) FROM "group" {where}), (SELECT count(*) FROM operation {where})""")


@pytest.fixture
def owned(deployment, platform):
    return Owned(deployment, platform)


def is_last_owner(reply: httpx.Response) -> bool:
    body = reply.json()
    return (reply.status_code == 409 and body["code"] == "conflict" and "role owner" in body["detail"]
            and "audit-event" not in reply.headers and reply.headers["cache-control"] == "no-store")


def is_scim_last_owner(reply: httpx.Response) -> bool:
    body = reply.json()
    return (reply.status_code == 409 and body["schemas"] == [ERROR] and body["status"] == "409"
            and "scimType" not in body and "role owner" in body["detail"]
            and reply.headers["content-type"] == "application/scim+json")


def test_the_last_owner_stays(owned, platform, evidence):
    """T-24: the last owner is neither disabled, erased, nor without the role, by administrators or by the directory; each
    refusal says what to do and changes nothing; with a second owner every one of them is done."""
    one = owned.user("one")
    owned.user("other", owner=False)
    before = owned.state(evidence)
    administrators = [
        ("POST", f"users/{one}:disable"), ("DELETE", f"users/{one}"), ("DELETE", f"roles/{owned.role}/bindings/{one}"),
    ]
    for method, path in administrators:
        for mode in ("", "?dry_run=true"):
            reply = platform.send(method, f"{owned.base}/{path}{mode}")
            assert is_last_owner(reply), (path, reply.text)
    inactive = {"schemas": [USER], "userName": "one@owned.example", "active": False}
    deactivate = {"schemas": [PATCH], "Operations": [{"op": "replace", "path": "active", "value": False}]}
    directory = [("PUT", inactive), ("PATCH", deactivate), ("DELETE", None)]
    for method, body in directory:
        reply = owned.scim(method, f"/Users/{one}", body)
        assert is_scim_last_owner(reply), (method, reply.text)
    assert owned.state(evidence) == before
    assert platform.get(f"{owned.base}/users/{one}")["status"] == "active"

    # A role that everybody has is never deleted, so that nobody loses it that way either.
    assert platform.send("DELETE", f"{owned.base}/roles/{owned.role}").status_code == 409

    # Whoever is disabled is nobody who could act.
    two = owned.user("two")
    platform.post(f"{owned.base}/users/{two}:disable")
    assert is_last_owner(platform.send("POST", f"{owned.base}/users/{one}:disable"))
    platform.post(f"{owned.base}/users/{two}:enable")
    for method, path in administrators[:1]:
        assert platform.send(method, f"{owned.base}/{path}").status_code == 200
    assert is_last_owner(platform.send("DELETE", f"{owned.base}/users/{two}"))
    platform.post(f"{owned.base}/users/{one}:enable")
    assert owned.scim("DELETE", f"/Users/{one}").status_code == 204
    assert is_scim_last_owner(owned.scim("PATCH", f"/Users/{two}", deactivate))


def test_the_last_owner_by_a_group(owned, platform, evidence):
    """T-24: whoever is owner by a group stays in it, and the group stays, while nobody else is owner; administrators and
    the directory are refused alike."""
    one, two = owned.user("one", owner=False), owned.user("two", owner=False)
    group = owned.group(one)
    platform.post(owned.bindings, {"group": group})
    before = owned.state(evidence)
    remove = {"schemas": [PATCH], "Operations": [{"op": "remove", "path": f'members[value eq "{one}"]'}]}
    refusals = [
        ("DELETE", f"groups/{group}/members/{one}", None), ("DELETE", f"groups/{group}", None),
        ("DELETE", f"roles/{owned.role}/bindings/{group}", None), ("POST", f"users/{one}:disable", None),
    ]
    for method, path, body in refusals:
        reply = platform.send(method, f"{owned.base}/{path}", body)
        assert is_last_owner(reply), (path, reply.text)
    directory = [
        ("PATCH", f"/Groups/{group}", remove), ("DELETE", f"/Groups/{group}", None),
        ("PUT", f"/Groups/{group}", {"schemas": [GROUP], "displayName": "x"}), ("DELETE", f"/Users/{one}", None),
    ]
    for method, path, body in directory:
        reply = owned.scim(method, path, body)
        assert is_scim_last_owner(reply), (method, path, reply.text)
    assert owned.state(evidence) == before
    # One goes as another comes: there is an owner all the time.
    swap = {"schemas": [PATCH], "Operations": [{"op": "add", "path": "members", "value": [{"value": two}]},
                                               *remove["Operations"]]}
    assert owned.scim("PATCH", f"/Groups/{group}", swap).status_code == 200
    assert platform.send("POST", f"{owned.base}/users/{one}:disable").status_code == 200


def test_an_organization_without_owners(owned, platform):
    """T-24: an organization that never had an owner, as while it is set up, is held up by nothing."""
    user = owned.user("anybody", owner=False)
    group = owned.group(user)
    assert platform.send("POST", f"{owned.base}/users/{user}:disable").status_code == 200
    assert platform.send("DELETE", f"{owned.base}/groups/{group}").status_code == 204
    assert platform.send("DELETE", f"{owned.base}/users/{user}").status_code == 202


def test_owners_that_go_at_once(deployment, owned, platform, evidence):
    """T-24: of two owners taken away by two requests at the same moment, at two nodes and in different ways, one stays."""
    where = f"organization_id = '{uuid_of(owned.id)}'"
    two = f'SELECT count(*) FROM "user" u JOIN role_binding b ON b.user_id = u.id WHERE u.{where} AND u.status = \'active\''
    ways = [
        lambda at, user: at.send("POST", f"{owned.base}/users/{user}:disable"),
        lambda at, user: at.send("DELETE", f"{owned.base}/users/{user}"),
        lambda at, user: at.send("DELETE", f"{owned.bindings}/{user}"),
    ]
    kept = owned.user("kept")
    nodes = [Admin(url, deployment.stack.admin_key) for url in deployment.node_urls]
    with ThreadPoolExecutor(2) as pool:
        for number in range(12):
            other = owned.user(f"other{number}")
            pair = [(nodes[0], ways[number % 3], kept), (nodes[1], ways[number // 3 % 3], other)]
            replies = list(pool.map(lambda one: one[1](one[0], one[2]), pair))
            assert sorted(reply.is_success for reply in replies) == [False, True], [one.text for one in replies]
            assert all(is_last_owner(reply) for reply in replies if not reply.is_success)
            assert evidence.sql(two) == "1", number
            if replies[0].is_success:
                kept = other
    for node in nodes:
        node.close()
