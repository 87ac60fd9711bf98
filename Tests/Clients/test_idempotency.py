"""Safe retries of the admin API: `Idempotency-Key`, `If-Match` (design 4.5)."""

from __future__ import annotations

import re
import secrets
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from gatehouse_demo.admin import Admin

WRITERS = 50


@pytest.fixture(scope="module")
def nodes(deployment):
    """The same key at both nodes."""
    with Admin(deployment.node_urls[0], deployment.stack.admin_key, timeout=60) as one, \
            Admin(deployment.node_urls[1], deployment.stack.admin_key, timeout=60) as other:
        yield [one, other]


@pytest.fixture(scope="module")
def base(deployment) -> str:
    return f"/v1/organizations/{deployment.organizations['acme']}"


def fresh() -> str:
    return secrets.token_urlsafe(12)


def post(admin: Admin, path: str, body, key: str):
    return admin.send("POST", path, body, headers={"idempotency-key": key})


def test_one_of_fifty(nodes, base, evidence):
    """RL-05, design 4.5: fifty at once with one key at two nodes make one admin key with one secret; every answer is that
    reply or a 409 while the first is in flight, and a repeat gets the reply; one event."""
    name, key = f"once {fresh()}", fresh()
    body = {"name": name, "scopes": ["users:read"]}
    with ThreadPoolExecutor(WRITERS) as pool:
        replies = list(pool.map(
            lambda number: post(nodes[number % 2], f"{base}/admin-keys", body, key), range(WRITERS)))
    made = [reply for reply in replies if reply.status_code == 201]
    waiting = [reply for reply in replies if reply.status_code == 409]
    assert made and len(made) + len(waiting) == WRITERS, [reply.text for reply in replies if reply.is_server_error]
    assert all(reply.json()["code"] == "idempotency_key_in_flight" and reply.headers["retry-after"] for reply in waiting)
    assert len({reply.content for reply in made}) == 1 and len({reply.headers["audit-event"] for reply in made}) == 1
    assert sum("idempotency-replayed" not in reply.headers for reply in made) == 1
    again = post(nodes[1], f"{base}/admin-keys", body, key)
    assert again.status_code == 201 and again.content == made[0].content
    assert again.headers["idempotency-replayed"] == "true" and again.headers["location"] == made[0].headers["location"]
    assert again.headers["etag"] == made[0].headers["etag"]
    assert [row["id"] for row in nodes[0].list(f"{base}/admin-keys") if row["name"] == name] == [again.json()["id"]]
    with Admin(str(nodes[0]._http.base_url), again.json()["secret"]) as holder:
        assert holder.get(f"{base}/users")["data"]
    # What is stored opens for nobody who has only the database.
    stored = evidence.sql("SELECT string_agg(encode(reply_sealed, 'escape'), ' ') FROM idempotency_key")
    assert again.json()["secret"] not in stored and again.json()["id"] not in stored


def test_every_kind_of_reply_is_kept(nodes, base):
    """Design 4.5: the reply outlives what it was about; a 200 and a POST without a body are kept as well."""
    key = fresh()
    client = post(nodes[0], f"{base}/clients", {"name": "Kept", "redirect_uris": ["https://kept.example/cb"]}, key)
    assert client.status_code == 201
    path = f"{base}/clients/{client.json()['id']}"
    rotation = post(nodes[0], f"{path}/secrets", None, key + "s")
    assert rotation.status_code == 201 and rotation.json()["client_secret"] != client.json()["client_secret"]
    assert post(nodes[1], f"{path}/secrets", None, key + "s").json() == rotation.json()
    nodes[0].call("DELETE", path, headers={"if-match": "*"})
    assert post(nodes[1], f"{path}/secrets", None, key + "s").json() == rotation.json()
    assert post(nodes[1], f"{base}/clients", {"name": "Kept", "redirect_uris": ["https://kept.example/cb"]}, key
                ).content == client.content
    user = nodes[0].post(f"{base}/users", {"email": f"{fresh()}@acme.example"})
    disabled = post(nodes[0], f"{base}/users/{user['id']}:disable", None, key + "d")
    enabled = nodes[0].post(f"{base}/users/{user['id']}:enable")
    assert enabled["status"] == "active"
    assert post(nodes[1], f"{base}/users/{user['id']}:disable", None, key + "d").content == disabled.content
    assert nodes[0].get(f"{base}/users/{user['id']}")["status"] == "active"


def test_another_request_with_the_key(nodes, base, deployment):
    """RL-05, design 4.5: another body, path or type with a key that was used is 422 and does nothing; refusals are not kept."""
    key = fresh()
    first = post(nodes[0], f"{base}/users", {"email": f"{key.lower()}@acme.example"}, key)
    assert first.status_code == 201
    other = post(nodes[1], f"{base}/users", {"email": f"other-{key.lower()}@acme.example"}, key)
    assert other.status_code == 422 and other.json()["code"] == "idempotency_key_reused"
    assert post(nodes[0], f"{base}/invitations", {"email": f"{key.lower()}@acme.example"}, key).status_code == 422
    assert not list(nodes[0].list(f"{base}/users", email=f"other-{key.lower()}@acme.example"))
    refused = post(nodes[0], f"{base}/users", {"email": "nonsense"}, key + "r")
    assert refused.status_code == 422
    assert post(nodes[0], f"{base}/users", {"email": f"r-{key.lower()}@acme.example"}, key + "r").status_code == 201


def test_a_key_is_its_holders(nodes, base, deployment, evidence):
    """P-20, design 4.5: another credential, or another organization, with the same key does its own; nobody opens another's."""
    key = fresh()
    globex = f"/v1/organizations/{deployment.organizations['globex']}"
    mine = post(nodes[0], f"{base}/admin-keys", {"name": "mine", "scopes": ["*"]}, key)
    there = post(nodes[0], f"{globex}/admin-keys", {"name": "mine", "scopes": ["*"]}, key)
    assert there.status_code == 201 and there.json()["id"] != mine.json()["id"]
    with Admin(str(nodes[0]._http.base_url), mine.json()["secret"]) as owner:
        own = post(owner, f"{base}/admin-keys", {"name": "mine", "scopes": ["*"]}, key)
        assert own.status_code == 201 and own.json()["id"] not in (mine.json()["id"], there.json()["id"])
        foreign = post(owner, f"{globex}/admin-keys", {"name": "mine", "scopes": ["*"]}, key)
        assert foreign.status_code == 404 and "idempotency-replayed" not in foreign.headers


def test_an_organization_is_made_once(nodes):
    """Design 4.5: the same for a new organization, whose reply is kept with the platform."""
    slug, key = f"once-{secrets.token_hex(4)}", fresh()
    body = {"slug": slug, "name": "Once"}
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda number: post(nodes[number % 2], "/v1/organizations", body, key), range(8)))
    made = [reply for reply in replies if reply.status_code == 201]
    assert made and {reply.status_code for reply in replies} <= {201, 409}
    again = post(nodes[0], "/v1/organizations", body, key)
    assert again.status_code == 201 and {reply.content for reply in made} == {again.content}
    assert post(nodes[1], "/v1/organizations", {"slug": f"{slug}-2", "name": "Once"}, key).status_code == 422


def test_no_update_is_lost(nodes, base):
    """T-29, design 4.5: fifty writers who each add a scope to one statement under If-Match: none is lost, and who was
    late is told (412)."""
    policy = nodes[0].post(f"{base}/scope-policies", {
        "name": f"counter {fresh()}", "effect": "deny", "principals": {"everyone": True}, "scopes": ["never-0*"]})
    path = f"{base}/scope-policies/{policy['id']}"
    late = []

    def add(number: int) -> None:
        for _ in range(400):
            admin = nodes[number % 2]
            read = admin.send("GET", path)
            reply = admin.send(
                "PATCH", path, {"scopes": read.json()["scopes"] + [f"never-{number}*"]},
                headers={"if-match": read.headers["etag"]})
            if reply.is_success:
                return
            assert reply.status_code in (409, 412, 429, 503), reply.text
            late.append(reply.status_code)
            time.sleep(0.01 * (number % 7))
        raise AssertionError("never came through")

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(add, range(1, WRITERS + 1)))
    stored = nodes[0].get(path)
    assert sorted(stored["scopes"]) == sorted(f"never-{number}*" for number in range(WRITERS + 1))
    assert 412 in late
    version = int(re.fullmatch(r'"v(\d+)"', nodes[0].send("GET", path).headers["etag"])[1])
    assert version == WRITERS + 1
    nodes[0].call("DELETE", path, headers={"if-match": "*"})
