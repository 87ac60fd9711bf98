"""Scope policies: what a statement may name, and what `:evaluate` and `:simulate` say of them (design §5)."""

from __future__ import annotations

import time

import pytest
from gatehouse_demo.admin import Admin
from gatehouse_demo.chatgpt import claims
from test_token import basic

EPOCH_BOUND = 1.0
ZEROS = "0" * 26


@pytest.fixture(scope="module")
def admin(deployment):
    with Admin(deployment.stack.url, deployment.stack.admin_key) as made:
        yield made


@pytest.fixture(scope="module")
def base(deployment):
    return f"/v1/organizations/{deployment.organizations['acme']}"


@pytest.fixture(scope="module")
def notes(deployment, admin, base):
    return next(row for row in admin.list(f"{base}/resources") if row["uri"] == deployment.stack.acme_url)


@pytest.fixture(scope="module")
def alice(admin, base):
    return next(row for row in admin.list(f"{base}/users") if row["email"] == "alice@acme.example")


@pytest.fixture(scope="module")
def service(admin, base):
    return admin.post(f"{base}/clients", {"name": "Reporter", "kind": "service"})


def statement(admin, base, **members):
    return admin.post(f"{base}/scope-policies", {"effect": "allow", "principals": {"everyone": True}} | members)


def remove(admin, base, made):
    assert admin.send("DELETE", f"{base}/scope-policies/{made['id']}", headers={"if-match": "*"}).is_success


@pytest.mark.parametrize("members,pointer,code", [
    ({"principals": {"users": [f"usr_{ZEROS}"]}}, "/principals/users/0", "unknown"),
    ({"principals": {"groups": [f"grp_{ZEROS}"]}}, "/principals/groups/0", "unknown"),
    ({"principals": {"roles": [f"rol_{ZEROS}"]}}, "/principals/roles/0", "unknown"),
    ({"principals": {"services": [f"cli_{ZEROS}"]}}, "/principals/services/0", "unknown"),
    ({"principals": {"services": ["nonsense"]}}, "/principals/services/0", "unknown"),
    ({"principals": {}}, "/principals", "required"),
    ({"principals": {"anyone": True}}, "/principals/anyone", "unknown_member"),
    ({"clients": {"ids": [f"cli_{ZEROS}"]}}, "/clients/ids/0", "unknown"),
    ({"clients": {"ids": ["nonsense"]}}, "/clients/ids/0", "invalid"),
    ({"clients": {"kinds": ["robot"]}}, "/clients/kinds", "type"),
    ({"clients": {"kinds": []}}, "/clients/kinds", "invalid"),
    ({"clients": {"hosts": ["https://chatgpt.com"]}}, "/clients/hosts/0", "invalid"),
    ({"resources": [f"res_{ZEROS}"]}, "/resources/0", "unknown"),
    ({"scopes": ["read", "nothing-such"]}, "/scopes/1", "unknown"),
    ({"scopes": []}, "/scopes", "invalid"),
    ({"scopes": ["re*d"]}, "/scopes/0", "invalid"),
    ({"scopes": ["**"]}, "/scopes/0", "invalid"),
    ({"conditions": {"ip_ranges": ["10.0.0.1/8"]}}, "/conditions/ip_ranges/0", "invalid"),
    ({"conditions": {"ip_ranges": ["fe80::/129"]}}, "/conditions/ip_ranges/0", "invalid"),
    ({"conditions": {"max_auth_age_seconds": 0}}, "/conditions/max_auth_age_seconds", "out_of_range"),
    ({"conditions": {"valid_from": "tomorrow"}}, "/conditions/valid_from", "type"),
    ({"conditions": {"valid_from": "2030-01-02T00:00:00Z", "valid_until": "2030-01-01T00:00:00Z"}},
        "/conditions/valid_until", "invalid"),
    ({"conditions": {"exchanged_from": [f"res_{ZEROS}"]}, "effect": "deny"}, "/conditions/exchanged_from/0", "unknown"),
    ({"conditions": {"weather": "fine"}}, "/conditions/weather", "unknown_member"),
    ({"because": "x"}, "/because", "unknown_member"),
])
def test_the_offending_member_is_named(admin, base, members, pointer, code):
    """Design 5, T-12: each mistake in a statement is told by its pointer, and nothing is kept."""
    before = len(list(admin.list(f"{base}/scope-policies")))
    rule = {"name": "mistaken", "effect": "allow", "principals": {"everyone": True}, "scopes": ["read"]}
    reply = admin.send("POST", f"{base}/scope-policies", rule | members)
    assert reply.status_code == 422 and reply.headers["content-type"] == "application/problem+json", reply.text
    (error,) = reply.json()["errors"]
    assert (error["pointer"], error["code"]) == (pointer, code), reply.text
    if code == "unknown":
        assert error["detail"].startswith("There is no such thing in this organization")
    assert len(list(admin.list(f"{base}/scope-policies"))) == before


def test_what_may_be_named(admin, base, service):
    """Design 5: prefixes and documents that are yet to come, services and addresses of both families."""
    made = statement(
        admin, base, name="everything at once", principals={"services": [service["client_id"]]},
        clients={"kinds": ["service"], "ids": [service["client_id"], "https://new.example/client.json"]},
        scopes=["read", "to-come*", "*"], conditions={"ip_ranges": ["10.0.0.0/8", "2001:db8::/32", "203.0.113.9"]})
    remove(admin, base, made)


def test_evaluation_explains(admin, base, alice):
    """Design 5: `:evaluate` shows, scope by scope, which statements matched, and what each condition saw."""
    client = admin.post(f"{base}/clients", {"name": "Asked about", "redirect_uris": ["https://asked.example/cb"]})
    vault = admin.post(f"{base}/resources", {
        "uri": "https://vault.example/mcp", "name": "Vault", "scopes": ["read", "write", "admin"],
        "scope_implications": {"admin": ["write"]}})
    office = statement(
        admin, base, name="admin from the office", scopes=["admin"], resources=[vault["id"]],
        conditions={"ip_ranges": ["192.0.2.0/24"], "max_auth_age_seconds": 600, "mfa": True})
    never = statement(admin, base, name="nobody writes", effect="deny", scopes=["write"],
                      clients={"hosts": ["asked.example"]})
    try:
        question = {"user": alice["id"], "client": client["id"], "resource": vault["id"],
                    "scopes": ["admin", "write"]}

        def ask(**more):
            answer = admin.post(f"{base}/scope-policies:evaluate", question | more)
            return answer, {row["scope"]: row for row in answer["trace"]}, {
                row["id"]: row for row in answer["statements"]}

        answer, trace, statements = ask(address="192.0.2.7", auth_age_seconds=60, mfa=True)
        assert answer["granted"] == ["admin"] and answer["decision"] == "narrowed"
        assert trace["admin"]["rule"] == "admin from the office" and trace["admin"]["matched"] == [office["id"]]
        assert trace["write"]["rule"] == "nobody writes" and never["id"] in trace["write"]["matched"]
        conditions = {row["condition"]: (row["met"], row["saw"]) for row in statements[office["id"]]["conditions"]}
        assert conditions == {
            "ip_ranges": (True, "192.0.2.7"), "max_auth_age_seconds": (True, "60"), "mfa": (True, "true")}
        assert answer["input"]["client_hosts"] == ["asked.example"] and answer["input"]["address"] == "192.0.2.7"
        assert "write" not in answer["effective"], "a deny binds what admin implies"
        for more, mismatch in (
            ({"auth_age_seconds": 60, "mfa": True}, "/conditions/ip_ranges"),
            ({"address": "198.51.100.1", "mfa": True}, "/conditions/ip_ranges"),
            ({"address": "192.0.2.7", "auth_age_seconds": 601, "mfa": True}, "/conditions/max_auth_age_seconds"),
            ({"address": "192.0.2.7"}, "/conditions/mfa"),
        ):
            answer, trace, statements = ask(**more)
            assert answer["granted"] == [] and trace["admin"]["rule"] == "no_statement"
            assert statements[office["id"]]["mismatch"] == mismatch and not statements[office["id"]]["applies"]
        _, trace, _ = ask(address="192.0.2.7", mfa=True, upstream_scopes=["read"])
        assert trace["admin"]["rule"] == "upstream_ceiling"
    finally:
        for made in (office, never):
            remove(admin, base, made)
        admin.send("DELETE", f"{base}/resources/{vault['id']}", headers={"if-match": "*"})
        admin.send("DELETE", f"{base}/clients/{client['id']}", headers={"if-match": "*"})


def test_evaluation_of_services_and_times(admin, base, notes, service):
    """Design 5: `:evaluate` speaks of services as well, and of another moment."""
    rule = statement(
        admin, base, name="next year", principals={"services": [service["client_id"]]}, scopes=["read"],
        conditions={"valid_from": "2040-01-01T00:00:00Z", "valid_until": "2041-01-01T00:00:00Z"})
    try:
        question = {"service": service["id"], "resource": notes["id"], "scopes": ["read"]}
        assert admin.post(f"{base}/scope-policies:evaluate", question)["decision"] == "deny"
        then = admin.post(f"{base}/scope-policies:evaluate", question | {"time": "2040-06-01T00:00:00Z"})
        assert then["granted"] == ["read"] and then["input"]["client_kind"] == "service"
    finally:
        remove(admin, base, rule)


@pytest.mark.parametrize("members,pointers", [
    ({"user": None}, ["/user"]), ({"client": None}, ["/client"]), ({"service": f"cli_{ZEROS}"}, ["/user", "/client"]),
    ({"scopes": ["read", "nothing-such"]}, ["/scopes/1"]), ({"address": "10.0.0.0/8"}, ["/address"]),
    ({"address": "here"}, ["/address"]), ({"auth_age_seconds": -1}, ["/auth_age_seconds"]),
    ({"time": "now"}, ["/time"]), ({"mfa": "yes"}, ["/mfa"]), ({"why": 1}, ["/why"]),
])
def test_questions_that_cannot_be_asked(admin, base, notes, alice, members, pointers):
    """Design 5: a wrong question names its wrong members."""
    client = next(iter(admin.list(f"{base}/clients")))
    question = {"user": alice["id"], "client": client["id"], "resource": notes["id"]} | members
    reply = admin.send("POST", f"{base}/scope-policies:evaluate", {k: v for k, v in question.items() if v is not None})
    assert reply.status_code == 422, reply.text
    assert sorted(error["pointer"] for error in reply.json()["errors"]) == sorted(pointers)


def grant(deployment, service, scope=None):
    """A token for a service, and whether policy let it have one."""
    form = {"grant_type": "client_credentials", "resource": deployment.stack.acme_url, "scope": scope}
    reply = deployment.acme.token(
        form, headers=basic(service["client_id"], service["client_secret"]))
    assert reply.status_code in (200, 400), reply.text
    return reply.json()


def moment() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{int(time.time() * 1000) % 1000:03}Z"


def test_simulation(deployment, admin, base, notes, service, evidence):
    """Design 5: `:simulate` puts recorded decisions to a draft. With the present policy nothing differs; without an allow
    somebody loses and nobody gains; with one more somebody gains; it writes nothing."""
    organization = deployment.organizations["acme"]
    rule = statement(admin, base, name="reporter reads", principals={"services": [service["client_id"]]},
                     scopes=["read"])
    try:
        time.sleep(EPOCH_BOUND)
        begin = moment()
        time.sleep(0.01)
        for _ in range(3):
            assert grant(deployment, service, "read write")["scope"] == "read"
        assert grant(deployment, service, "write")["error"] == "invalid_scope"
        person = claims(deployment.platform.redeem(deployment.platform.code(deployment.person("alice"))).json()[
            "access_token"])
        admin.await_events(organization, lambda rows: any(
            row["type"] == "token.issued" and row.get("token") == person["jti"] for row in rows))
        window = {"from": begin, "to": moment()}
        url = f"{base}/scope-policies:simulate"
        with evidence.no_rows_stored():
            same = admin.post(url, window)
            assert same["decisions"] >= 6 and same["unchanged"] == same["decisions"], same
            assert same["gains"] == [] and same["losses"] == [] and same["undecidable"] == 0
            without = admin.post(url, window | {"remove": [rule["id"]]})
            assert without["gains"] == []
            (loss,) = without["losses"]
            assert loss["service"] == service["client_id"] and loss["user"] is None
            assert loss["scopes"] == ["read"] and loss["decisions"] == 3 and loss["resource"] == notes["id"]
            more = {"name": "reporter writes", "effect": "allow", "scopes": ["write"],
                    "principals": {"services": [service["client_id"]]}}
            gaining = admin.post(url, window | {"statements": [more]})
            assert gaining["losses"] == [] and gaining["gained"] == 4
            assert {row["service"] for row in gaining["gains"]} == {service["client_id"]}
            replaced = admin.post(url, window | {"replace": {rule["id"]: more}})
            assert replaced["gained"] == 4 and replaced["losses"] == [], "write implies read"
            nobody = admin.post(url, window | {"statements": [
                {"name": "nobody", "effect": "deny", "scopes": ["*"], "principals": {"everyone": True}}]})
            assert {row["user"] for row in nobody["losses"]} == {person["sub"]}
        pages, cursor = [], None
        while True:
            page = admin.post(url, window | {"limit": 2} | ({"cursor": cursor} if cursor else {}))
            pages.append(page)
            cursor = page["next_cursor"]
            if not page["has_more"]:
                break
        assert sum(page["decisions"] for page in pages) == same["decisions"] and len(pages) >= 3
        foreign = admin.send("POST", url, window | {"cursor": pages[0]["next_cursor"], "remove": [rule["id"]]})
        assert foreign.status_code == 400
    finally:
        remove(admin, base, rule)


@pytest.mark.parametrize("members,pointer", [
    ({"from": None}, "/from"), ({"to": "2020-01-01T00:00:00Z"}, "/to"), ({"limit": 0}, "/limit"),
    ({"remove": [f"pol_{ZEROS}"]}, "/remove/0"), ({"remove": ["nonsense"]}, "/remove/0"),
    ({"replace": {f"pol_{ZEROS}": {"name": "x", "effect": "deny", "principals": {"everyone": True}, "scopes": ["*"]}}},
        f"/replace/pol_{ZEROS}"),
    ({"statements": [{"name": "x", "effect": "deny", "principals": {"users": [f"usr_{ZEROS}"]}, "scopes": ["*"]}]},
        "/statements/0/principals/users/0"),
    ({"statements": [{"name": "x", "effect": "deny", "principals": {"everyone": True}}]}, "/statements/0/scopes"),
    ({"statements": {}}, "/statements"), ({"then": 1}, "/then"),
])
def test_simulations_that_cannot_be_made(admin, base, members, pointer):
    """Design 5: a wrong draft or window names its wrong members."""
    body = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"} | members
    reply = admin.send("POST", f"{base}/scope-policies:simulate", {k: v for k, v in body.items() if v is not None})
    assert reply.status_code == 422, reply.text
    assert [error["pointer"] for error in reply.json()["errors"]] == [pointer], reply.text
