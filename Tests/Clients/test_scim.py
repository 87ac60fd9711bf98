"""SCIM 2.0 for the directory of one organization (RFC 7643, RFC 7644)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import uuid
from pathlib import Path

import httpx
import pytest
from evidence import source
from gatehouse_demo.admin import Admin
from gatehouse_demo.chatgpt import claims

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
SEARCH = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"


@pytest.fixture(scope="module")
def platform(deployment):
    with Admin(deployment.stack.url, deployment.stack.admin_key) as made:
        yield made


class Directory:
    """A directory with a token of its own, of one organization."""

    def __init__(self, deployment, platform, name: str, organization: str | None = None):
        self.organization = organization or deployment.organizations[name]
        self.base = f"/v1/organizations/{self.organization}"
        made = platform.post(f"{self.base}/scim-tokens", {"name": f"{name} directory"})
        self.token, self.token_id = made["token"], made["id"]
        self.url = f"{deployment.stack.url}/scim/v2/{name}"
        self.http = httpx.Client(timeout=15, trust_env=False, headers={
            "authorization": f"Bearer {self.token}", "content-type": "application/scim+json"})
        self.users: list[str] = []
        self.groups: list[str] = []

    def send(self, method: str, path: str, body=None, **more) -> httpx.Response:
        return self.http.request(method, self.url + path, json=body, **more)

    def user(self, **attributes) -> dict:
        body = {"schemas": [USER], "userName": f"{uuid.uuid4()}@acme.example"} | attributes
        reply = self.send("POST", "/Users", body)
        assert reply.status_code == 201, reply.text
        self.users.append(reply.json()["id"])
        return reply.json()

    def group(self, **attributes) -> dict:
        reply = self.send("POST", "/Groups", {"schemas": [GROUP], "displayName": str(uuid.uuid4())} | attributes)
        assert reply.status_code == 201, reply.text
        self.groups.append(reply.json()["id"])
        return reply.json()

    def patch(self, path: str, *operations: dict, **more) -> httpx.Response:
        return self.send("PATCH", path, {"schemas": [PATCH], "Operations": list(operations)}, **more)

    def found(self, filter: str, of: str = "Users") -> list[str]:
        reply = self.send("GET", f"/{of}", params={"filter": filter, "count": "200"})
        assert reply.status_code == 200, reply.text
        return [row["id"] for row in reply.json()["Resources"]]

    def close(self) -> None:
        for group in self.groups:
            self.send("DELETE", f"/Groups/{group}")
        for user in self.users:
            self.send("DELETE", f"/Users/{user}")
        self.http.close()


@pytest.fixture(scope="module")
def acme(deployment, platform):
    made = Directory(deployment, platform, "acme")
    yield made
    made.close()


@pytest.fixture(scope="module")
def globex(deployment, platform):
    made = Directory(deployment, platform, "globex")
    yield made
    made.close()


def refused(reply: httpx.Response, status: int, kind: str | None = None) -> dict:
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/scim+json"
    assert reply.headers["cache-control"] == "no-store"
    body = reply.json()
    assert body["schemas"] == [ERROR] and body["status"] == str(status) and body["detail"]
    assert body.get("scimType") == kind, reply.text
    return body


def test_scim2_tester_reports_only_success(deployment, platform):
    """SC-01, SC-02, SC-03, SC-05, SC-08: every check of scim2-tester, by scim2-cli, succeeds."""
    slug = f"directory-{uuid.uuid4().hex[:8]}"
    made = platform.post("/v1/organizations", {"slug": slug, "name": "Checked by scim2-tester"})
    directory = Directory(deployment, platform, slug, made["id"])
    scim = Path(sys.executable).with_name("scim")
    done = subprocess.run(
        [scim, "test"], capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
        env=os.environ | {
            "SCIM_CLI_URL": directory.url, "SCIM_CLI_HEADERS": f"Authorization: Bearer {directory.token}",
            "NO_COLOR": "1", "NO_PROXY": "*"})
    checks = [line.split()[0] for line in done.stdout.splitlines() if line[:1].isupper() and line[:2].isupper()]
    directory.close()
    wrong = re.findall(r"^(?:ERROR|CRITICAL|SKIPPED).*\n.*", done.stdout, re.M)
    assert not wrong
    assert done.returncode == 0 and set(checks) == {"SUCCESS"} and len(checks) > 40, done.stdout + done.stderr


def test_a_user_is_provisioned(acme, evidence):
    """SC-03, SC-04: created with location, version and all that was said; found again; the name is one person's without
    regard to case; what the server makes cannot be chosen, and a password is never told."""
    reply = acme.send("POST", "/Users", {
        "schemas": [USER], "userName": "Barbara@acme.example", "externalId": "b-1", "password": "t1meMa$heen",
        "id": "usr_" + "0" * 26, "name": {"givenName": "Barbara", "familyName": "Jensen"}, "active": True,
        "emails": [{"value": "babs@home.example", "type": "home"},
                   {"value": "barbara@acme.example", "type": "work", "primary": True}], "title": "ignored"})
    assert reply.status_code == 201, reply.text
    made = reply.json()
    acme.users.append(made["id"])
    assert reply.headers["location"] == made["meta"]["location"] == f"{acme.url}/Users/{made['id']}"
    assert reply.headers["etag"] == made["meta"]["version"] == 'W/"v1"'
    assert made["meta"]["resourceType"] == "User" and made["id"] != "usr_" + "0" * 26
    assert made["displayName"] == "Barbara Jensen" and "t1meMa$heen" not in reply.text and "title" not in made
    (event,) = evidence.of(reply, acme.organization)
    assert event["type"] == "user.created"
    assert (event["actor"]["type"], event["actor"]["id"]) == ("scim_token", acme.token_id)
    assert acme.send("GET", f"/Users/{made['id']}").json() == made
    with evidence.no_rows_stored():
        for clash in ({"userName": "barbara@ACME.example"},
                      {"userName": "else", "emails": [{"value": "Barbara@acme.example"}]}):
            refused(acme.send("POST", "/Users", {"schemas": [USER]} | clash), 409, "uniqueness")
        refused(acme.send("POST", "/Users", {"schemas": [USER]}), 400, "invalidValue")
        refused(acme.send("POST", "/Users", {"userName": "nobody"}), 400, "invalidValue")
        refused(acme.send("POST", "/Users", {"schemas": [USER], "userName": 7}), 400, "invalidValue")
        refused(acme.send("POST", "/Users", {"schemas": [USER], "userName": "a", "USERNAME": "b"}), 400,
                "invalidSyntax")
        refused(acme.http.post(f"{acme.url}/Users", content=b"{", ), 400, "invalidSyntax")
        refused(acme.http.post(f"{acme.url}/Users", content=b"{}", headers={"content-type": "text/plain"}), 415)
    assert acme.patch(f"/Users/{made['id']}", {"op": "replace", "path": "active", "value": False}).status_code == 200
    seen = acme.send("PUT", f"/Users/{made['id']}", {"schemas": [USER], "userName": "Barbara@acme.example"})
    assert seen.json()["active"] is False, "nobody is let in again by saying nothing"
    assert seen.status_code == 200 and "emails" not in seen.json() and "externalId" not in seen.json()
    refused(acme.send("PUT", f"/Users/{made['id']}", {
        "schemas": [USER], "userName": "Barbara@acme.example", "id": "usr_" + "0" * 26}), 400, "mutability")


def test_versions(acme):
    """SC-10: a change that means another version is refused, and whoever has this one gets no second copy."""
    user = acme.user()
    path = f"/Users/{user['id']}"
    operation = {"op": "replace", "path": "displayName", "value": "New"}
    refused(acme.patch(path, operation, headers={"if-match": 'W/"v9"'}), 412)
    done = acme.patch(path, operation, headers={"if-match": user["meta"]["version"]})
    assert done.status_code == 200 and done.headers["etag"] == 'W/"v2"'
    same = acme.send("GET", path, headers={"if-none-match": 'W/"v2"'})
    assert same.status_code == 304 and not same.content
    # The same again changes nothing, and so is no event.
    again = acme.patch(path, operation)
    assert again.headers["etag"] == 'W/"v2"' and "audit-event" not in again.headers


def test_versions_with_groups(acme):
    """SC-10: the groups of a user are a part of them: whoever joins, leaves or has one renamed is another version, which
    conditions are about."""
    user, other = acme.user(), acme.user()
    path, group = f"/Users/{user['id']}", acme.group(members=[{"value": other["id"]}])
    members = {"op": "add", "path": "members", "value": [{"value": user["id"]}]}
    rename = {"op": "replace", "path": "displayName", "value": str(uuid.uuid4())}
    leave = {"op": "remove", "path": f'members[value eq "{user["id"]}"]'}
    seen = [user["meta"]["version"]]
    for operation in (members, rename, leave):
        assert acme.patch(f"/Groups/{group['id']}", operation).status_code in (200, 204)
        reply = acme.send("GET", path, headers={"if-none-match": seen[-1]})
        assert reply.status_code == 200 and reply.headers["etag"] == reply.json()["meta"]["version"]
        assert acme.send("GET", path, headers={"if-none-match": reply.headers["etag"]}).status_code == 304
        seen.append(reply.headers["etag"])
    assert len({*seen[:3]}) == 3 and seen[3] == seen[0]
    # Conditions are about the same; its own change says which version it made.
    assert acme.patch(f"/Groups/{group['id']}", members).status_code in (200, 204)
    change = {"op": "replace", "path": "displayName", "value": "New"}
    refused(acme.patch(path, change, headers={"if-match": seen[0]}), 412)
    refused(acme.send("DELETE", path, headers={"if-match": seen[0]}), 412)
    now = acme.send("GET", path).headers["etag"]
    done = acme.patch(path, change, headers={"if-match": now})
    assert done.status_code == 200 and done.headers["etag"] != now
    assert acme.send("GET", path).headers["etag"] == done.headers["etag"]


@pytest.mark.parametrize("operation, expected", [
    ({"op": "Add", "path": "displayName", "value": "Ada"}, {"displayName": "Ada"}),
    ({"op": "replace", "path": f"{USER}:name.givenName", "value": "Ada"}, {"name": {"familyName": "Old",
                                                                                 "givenName": "Ada"}}),
    ({"op": "replace", "path": "NAME", "value": {"GivenName": "Ada"}}, {"name": {"familyName": "Old",
                                                                               "givenName": "Ada"}}),
    ({"op": "remove", "path": "name.familyName"}, {"name": None}),
    ({"op": "replace", "value": {"active": "False"}}, {"active": False}),
    ({"op": "replace", "value": {"name.givenName": "Ada", "externalId": "x"}}, {"externalId": "x"}),
    ({"op": "add", "path": "emails", "value": [{"value": "new@acme.example", "primary": True}]},
     {"emails": [{"value": "old@acme.example", "type": "work", "primary": False},
                 {"value": "new@acme.example", "primary": True}]}),
    ({"op": "add", "path": 'emails[type eq "home"].value', "value": "h@acme.example"},
     {"emails": [{"value": "old@acme.example", "type": "work", "primary": True},
                 {"value": "h@acme.example", "type": "home"}]}),
    ({"op": "replace", "path": 'emails[type eq "work" and value co "OLD"].value', "value": "w@acme.example"},
     {"emails": [{"value": "w@acme.example", "type": "work", "primary": True}]}),
    ({"op": "remove", "path": 'emails[not (type eq "home")]'}, {"emails": None}),
    ({"op": "replace", "path": "title", "value": "Boss"}, {"title": None}),
    ({"op": "add", "path": "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department", "value": "x"}, {}),
])
def test_patch(acme, operation, expected):
    """SC-05: add, replace and remove, by path, by filter, by name alone; names and operations ignore case, truth may be a
    text, and what is not kept is passed over."""
    address = "old@acme.example"
    user = acme.user(name={"familyName": "Old"}, emails=[{"value": address, "type": "work", "primary": True}])
    reply = acme.patch(f"/Users/{user['id']}", operation)
    try:
        assert reply.status_code == 200, reply.text
        seen = acme.send("GET", f"/Users/{user['id']}").json()
        assert {name: seen.get(name) for name in expected} == expected
    finally:
        acme.send("DELETE", f"/Users/{user['id']}")


@pytest.mark.parametrize("operations, kind", [
    ([{"op": "replace", "path": "id", "value": "usr_" + "0" * 26}], "mutability"),
    ([{"op": "replace", "path": "meta.version", "value": "x"}], "mutability"),
    ([{"op": "add", "path": "schemas", "value": ["x"]}], "mutability"),
    ([{"op": "add", "path": "groups", "value": [{"value": "grp_" + "0" * 26}]}], "mutability"),
    ([{"op": "add", "path": "roles", "value": [{"value": "owner"}]}], "invalidPath"),
    ([{"op": "add", "path": "entitlements", "value": [{"value": "all"}]}], "invalidPath"),
    ([{"op": "add", "path": "emails[", "value": "x"}], "invalidFilter"),
    ([{"op": "add", "path": "name.nick", "value": "x"}], "invalidPath"),
    ([{"op": "add", "path": "na me", "value": "x"}], "invalidPath"),
    ([{"op": "replace", "path": 'emails[type eq "fax"].value', "value": "x@acme.example"}], "noTarget"),
    ([{"op": "remove"}], "noTarget"),
    ([{"op": "remove", "path": "userName"}], "mutability"),
    ([{"op": "remove", "path": "active"}], "mutability"),
    ([{"op": "replace", "path": "userName", "value": None}], "invalidValue"),
    ([{"op": "replace", "path": "active", "value": "perhaps"}], "invalidValue"),
    ([{"op": "replace", "path": "emails", "value": [{"value": "no address"}]}], "invalidValue"),
    ([{"op": "move", "path": "active", "value": True}], "invalidSyntax"),
    ([], "invalidSyntax"),
    # All or nothing.
    ([{"op": "replace", "path": "displayName", "value": "Changed"}, {"op": "add", "path": "nonsense", "value": 1}],
     "invalidPath"),
])
def test_patches_that_are_refused(acme, operations, kind):
    """SC-05, P-18: the right word for each, and nothing changed."""
    user = acme.user()
    refused(acme.patch(f"/Users/{user['id']}", *operations), 400, kind)
    assert acme.send("GET", f"/Users/{user['id']}").json() == user


def test_filters(acme):
    """SC-06, SC-07: every operator, brackets, not, lists and their elements; names and texts ignore case."""
    mark = uuid.uuid4().hex
    ada = acme.user(userName=f"{mark}-ada", displayName="Ada L", externalId=f"{mark}-X", emails=[
        {"value": f"{mark}a@acme.example", "type": "work", "primary": True}, {"value": "a@home.example", "type": "home"}])
    bob = acme.user(userName=f"{mark}-bob", active=False, name={"familyName": "Bobson"})
    group = acme.group(members=[{"value": ada["id"]}])
    a, b = ada["id"], bob["id"]
    mine = f'userName sw "{mark}"'
    for filter, expected in [
        (f'USERNAME eq "{mark.upper()}-ADA"', [a]), (f'{USER}:userName eq "{mark}-ada"', [a]),
        (f'{mine} and userName ne "{mark}-ada"', [b]), (f'userName co "{mark[3:]}-b"', [b]),
        (f'{mine} and userName ew "da"', [a]), (f'{mine} and externalId pr', [a]),
        (f'{mine} and not (externalId pr)', [b]), (f'{mine} and active eq true', [a]),
        (f'{mine} and active eq "False"', [b]), (f'{mine} and (active eq false or displayName eq "ada l")', [a, b]),
        (f'externalId eq "{mark}-X"', [a]), (f'externalId eq "{mark}-x"', []),
        (f'emails eq "{mark}A@ACME.example"', [a]), (f'emails.value co "{mark}"', [a]),
        (f'{mine} and emails[type eq "home" and value ew "home.example"]', [a]),
        (f'{mine} and emails[type eq "work" and value ew "home.example"]', []),
        (f'{mine} and name.familyName gt "bob"', [b]), (f'{mine} and name.familyName le "bob"', []),
        (f'{mine} and meta.created ge "2020-01-01T00:00:00Z"', [a, b]),
        (f'{mine} and meta.lastModified lt "2020-01-01T00:00:00Z"', []), (f'id eq "{a}"', [a]),
        ('id eq "usr_nonsense"', []), (f'groups.value eq "{group["id"]}"', [a]), (f'groups[value eq "{group["id"]}"]', [a]),
        (f'{mine} and groups pr', [a]), (f'{mine} and externalId eq null', [b]),
        (f'userName eq "{mark}-ada\\u0022"', []),
    ]:
        assert sorted(acme.found(filter)) == sorted(expected), filter
    for filter in (f'members.value eq "{a}"', f'members[value eq "{a}"]', f'displayName eq "{group["displayName"]}"'):
        assert acme.found(filter, "Groups") == [group["id"]], filter
    reply = acme.send("POST", "/Users/.search", {
        "schemas": [SEARCH], "filter": mine, "sortBy": "userName", "sortOrder": "descending", "count": 1,
        "attributes": ["userName"]})
    body = reply.json()
    assert (body["totalResults"], body["itemsPerPage"], body["startIndex"]) == (2, 1, 1), reply.text
    assert body["Resources"] == [{"schemas": [USER], "id": b, "userName": f"{mark}-bob"}]
    second = acme.send("GET", "/Users", params={
        "filter": mine, "sortBy": "userName", "startIndex": "2", "count": "5", "excludedAttributes": "emails,meta"})
    (row,) = second.json()["Resources"]
    assert row["id"] == b and "meta" not in row
    every = acme.send("POST", "/.search", {
        "schemas": [SEARCH], "filter": f'id eq "{a}" or displayName eq "{group["displayName"]}"', "count": 5}).json()
    assert every["totalResults"] == 2 and [r["id"] for r in every["Resources"]] == [a, group["id"]]
    tail = acme.send("POST", "/.search", {
        "schemas": [SEARCH], "filter": f'id eq "{a}" or displayName eq "{group["displayName"]}"', "startIndex": 2}).json()
    assert tail["totalResults"] == 2 and [r["id"] for r in tail["Resources"]] == [group["id"]]
    people = acme.send("POST", "/.search", {"schemas": [SEARCH], "filter": mine, "count": 1}).json()
    assert people["totalResults"] == 2 and len(people["Resources"]) == 1
    refused(acme.send("POST", "/.search", {"schemas": [SEARCH], "filter": "nonsense pr"}), 400, "invalidFilter")
    none = acme.send("GET", "/Users", params={"filter": mine, "count": "-3", "startIndex": "-1"}).json()
    assert none["totalResults"] == 2 and none["Resources"] == [] and none["startIndex"] == 1


@pytest.mark.parametrize("filter", [
    "", "userName", "userName eq", 'userName eq "x', 'userName like "x"', 'password eq "x"', 'organization_id eq "x"',
    'userName eq "x" or', '(userName eq "x"', 'userName eq x', 'active gt true', 'id co "usr"', 'active eq "maybe"',
    'emails[type eq "x"', 'emails[groups eq "x"]', "userName eq 'x' OR 1=1 --", 'userName eq "x"; DROP TABLE "user"',
    "(" * 5000 + 'userName pr' + ")" * 5000, " or ".join(['userName eq "x"'] * 500), 'members.value eq "x"',
    "not " * 2000 + "(userName pr)", 'userName eq "\\ud800"', 'meta.created gt "yesterday"', 'userName eq "a\\u0000b"',
])
def test_filters_that_are_refused(acme, filter):
    """SC-06, P-17: what cannot be read, reaches deeper or asks for what is nobody's business: invalidFilter, at once."""
    began = time.monotonic()
    refused(acme.send("POST", "/Users/.search", {"schemas": [SEARCH], "filter": filter or " "}), 400, "invalidFilter")
    assert time.monotonic() - began < 1


def test_values_stay_values(acme):
    """P-17: quotes, wildcards and comments in a value are compared as they are, in every operator."""
    names = ["o'neil", 'quo"te', "per%cent", "under_score", "back\\slash", "--", "'; SELECT 1", "${x}", "Ünïcode"]
    made = {name: acme.user(displayName=name)["id"] for name in names}
    for name, user in made.items():
        quoted = name.replace("\\", "\\\\").replace('"', '\\"')
        for operator in ("eq", "co", "sw", "ew"):
            assert acme.found(f'displayName {operator} "{quoted}" and id eq "{user}"') == [user], (name, operator)
    assert not acme.found('displayName co "%" and displayName eq "o\'neil"')


def test_groups_and_members(acme, globex, evidence):
    """SC-05, SC-13: members come and go by value and by filter; one of another organization is as unknown as one nobody
    has, byte for byte, and nothing is stored."""
    one, two, foreign = acme.user(), acme.user(), globex.user(userName=f"{uuid.uuid4()}@globex.example")
    group = acme.group(displayName=f"G {uuid.uuid4()}", externalId="e-1", members=[{"value": one["id"]}])
    path = f"/Groups/{group['id']}"
    assert [m["value"] for m in group["members"]] == [one["id"]]
    assert group["members"][0]["$ref"] == f"{acme.url}/Users/{one['id']}"
    assert [g["value"] for g in acme.send("GET", f"/Users/{one['id']}").json()["groups"]] == [group["id"]]
    refusals = [
        refused(acme.patch(path, {"op": "add", "path": "members", "value": [{"value": user}]}), 400, "invalidValue")
        for user in (foreign["id"], "usr_" + "0" * 25 + "1", "nonsense")]
    assert refusals[0] == refusals[1] == refusals[2]
    assert acme.send("GET", path).json() == group

    def members(reply: httpx.Response) -> list[str]:
        assert reply.status_code == 200, reply.text
        return sorted(m["value"] for m in reply.json().get("members", []))

    both = sorted([one["id"], two["id"]])
    assert members(acme.patch(path, {"op": "Add", "path": "members", "value": [{"value": two["id"]}]})) == both
    assert members(acme.patch(
        path, {"op": "remove", "path": f'members[value eq "{one["id"]}"]'})) == [two["id"]]
    assert members(acme.patch(path, {"op": "replace", "path": "members", "value": [{"value": one["id"]}]})) == [one["id"]]
    assert members(acme.patch(
        path, {"op": "remove", "path": "members", "value": [{"value": one["id"]}]},
        {"op": "replace", "value": {"id": group["id"], "displayName": "Renamed " + group["id"]}})) == []
    assert members(acme.send("PUT", path, {
        "schemas": [GROUP], "displayName": "Put " + group["id"], "members": [{"value": u} for u in both]})) == both
    assert members(acme.patch(path, {"op": "remove", "path": "members"})) == []
    refused(acme.send("POST", "/Groups", {"schemas": [GROUP], "displayName": "put " + group["id"].upper()}), 409,
            "uniqueness")
    refused(acme.patch(path, {"op": "remove", "path": 'members[display eq "x"]'}), 400, "invalidFilter")
    gone = acme.send("DELETE", path)
    assert gone.status_code == 204
    refused(acme.send("GET", path), 404)


def test_no_directory_reaches_another(deployment, acme, globex, platform, evidence):
    """T-09, T-13, BR-01, BR-02, BR-07: the path of another organization is as unknown as that of none, its ids as unknown
    as ids nobody has; other credentials are no SCIM tokens, and a SCIM token no admin key; each refusal is in the log."""
    theirs = globex.user(userName=f"{uuid.uuid4()}@globex.example")
    base = acme.url.rsplit("/", 1)[0]
    replies = [acme.http.get(f"{base}/{place}/Users", headers=source())
               for place in ("globex", globex.organization, "nobody", "org_" + "0" * 26)]
    assert len({reply.content for reply in replies}) == 1
    for reply in replies:
        refused(reply, 404)
    assert [e["reason"] for e in evidence.of(replies[:1], acme.organization)] == ["foreign_organization"]
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        body = {"PUT": {"schemas": [USER], "userName": "x"},
                "PATCH": {"schemas": [PATCH], "Operations": [{"op": "replace", "path": "active", "value": False}]}}
        foreign = acme.send(method, f"/Users/{theirs['id']}", body.get(method))
        missing = acme.send(method, "/Users/usr_" + "0" * 25 + "1", body.get(method))
        assert refused(foreign, 404) == refused(missing, 404)
    assert globex.send("GET", f"/Users/{theirs['id']}").json() == theirs
    assert not acme.found(f'id eq "{theirs["id"]}"') and not acme.found(f'userName eq "{theirs["userName"]}"')
    token = deployment.acme.redeem(deployment.acme.code(deployment.person("alice"))).json()["access_token"]
    for credential in (acme.token[:-1], acme.token[:-7] + "aaaaaaa", deployment.stack.admin_key, token, "x"):
        reply = httpx.get(f"{acme.url}/Users", headers={"authorization": f"Bearer {credential}"} | source(),
                          timeout=15, trust_env=False)
        refused(reply, 401)
        assert 'error="invalid_token"' in reply.headers["www-authenticate"]
    assert [e["type"] for e in evidence.of(reply)] == ["scim_token.auth_failed"]
    bare = httpx.get(f"{acme.url}/Users", timeout=15, trust_env=False)
    refused(bare, 401)
    assert bare.headers["www-authenticate"].startswith("Bearer realm=") and "error" not in bare.headers[
        "www-authenticate"]
    reply = httpx.get(f"{acme.url}/Users?access_token={acme.token}", timeout=15, trust_env=False)
    refused(reply, 400, "invalidSyntax")
    with Admin(deployment.stack.url, acme.token) as admin:
        assert admin.send("GET", f"{acme.base}/users").status_code == 401


def test_tokens_end(deployment, platform, acme):
    """BR-02, T-07: one that was revoked or whose time is over opens nothing; it is shown once and its use is known; no key
    makes a token that can do more than it can."""
    made = platform.post(f"{acme.base}/scim-tokens", {"name": "short"})
    url = f"{acme.url}/ServiceProviderConfig"
    headers = {"authorization": f"Bearer {made['token']}"}
    assert made["token"].startswith("gsc_")
    assert httpx.get(url, headers=headers, timeout=15, trust_env=False).status_code == 200
    seen = platform.get(f"{acme.base}/scim-tokens/{made['id']}")
    assert "token" not in seen and seen["last_used_at"]
    assert platform.send("DELETE", f"{acme.base}/scim-tokens/{made['id']}").status_code == 204
    refused(httpx.get(url, headers=headers | source(), timeout=15, trust_env=False), 401)
    weak = platform.post(f"{acme.base}/admin-keys", {"name": "weak", "scopes": ["scim-tokens:write", "users:write"]})
    with Admin(deployment.stack.url, weak["secret"]) as key:
        reply = key.send("POST", f"{acme.base}/scim-tokens", {"name": "strong"})
        assert reply.status_code == 403 and reply.json()["code"] == "exceeds_maker"


def test_who_leaves_is_out(deployment, platform, acme, evidence):
    """SC-12, SC-03: `active` false ends connections at once, on both nodes; a person who is deleted is out of every group
    and of the directory, and who comes under the same name later is somebody new."""
    issuer = deployment.acme
    code = issuer.code(deployment.person("rita"))
    tokens = issuer.redeem(code).json()
    rita = claims(tokens["access_token"])["sub"]
    path = f"/Users/{rita}"
    before = acme.send("GET", path).json()
    assert before["userName"] == "rita@acme.example"
    try:
        done = acme.patch(path, {"op": "replace", "path": "active", "value": False})
        assert done.status_code == 200 and done.json()["active"] is False
        (event,) = evidence.of(done, acme.organization)
        assert event["type"] == "user.disabled"
        for node in deployment.node_urls:
            reply = issuer.refresh(tokens["refresh_token"], code.client_id, node=node)
            assert reply.status_code == 400 and reply.json()["error"] == "invalid_grant"
    finally:
        assert acme.patch(path, {"op": "replace", "path": "active", "value": True}).json()["active"] is True
    user = acme.user(userName=f"leaver-{uuid.uuid4()}@acme.example")
    group = acme.group(members=[{"value": user["id"]}])
    gone = acme.send("DELETE", f"/Users/{user['id']}")
    assert gone.status_code == 204 and not gone.content
    for method in ("GET", "DELETE"):
        refused(acme.send(method, f"/Users/{user['id']}"), 404)
    assert not acme.found(f'userName eq "{user["userName"]}"')
    assert "members" not in acme.send("GET", f"/Groups/{group['id']}").json()
    assert platform.get(f"{acme.base}/users/{user['id']}")["status"] == "disabled"
    assert acme.user(userName=user["userName"])["id"] != user["id"]


def test_a_directory_changes_a_decision(deployment, platform, acme):
    """TK-23, design 5: whom a directory puts into a group has its scopes at the next refresh, on both nodes within a
    second."""
    issuer = deployment.acme
    code = issuer.code(deployment.person("rita"))
    tokens = issuer.redeem(code).json()
    rita = claims(tokens["access_token"])["sub"]
    group = acme.group(displayName=f"Kept out {uuid.uuid4()}")
    statement = platform.post(f"{acme.base}/scope-policies", {
        "name": f"kept out {uuid.uuid4()}", "effect": "deny", "principals": {"groups": [group["id"]]},
        "scopes": ["read"]})
    try:
        acme.patch(f"/Groups/{group['id']}", {"op": "add", "path": "members", "value": [{"value": rita}]})
        until = time.monotonic() + 1
        for node in deployment.node_urls:
            while (reply := issuer.refresh(tokens["refresh_token"], code.client_id, node=node)).status_code == 200:
                tokens.update(reply.json())
                assert time.monotonic() < until
            assert reply.json()["error"] == "invalid_grant"
    finally:
        platform.send("DELETE", f"{acme.base}/scope-policies/{statement['id']}", headers={"if-match": "*"})


BULK = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
BULK_REPLY = "urn:ietf:params:scim:api:messages:2.0:BulkResponse"


def bulk(directory, *operations: dict, **more) -> httpx.Response:
    return directory.send("POST", "/Bulk", {"schemas": [BULK], "Operations": list(operations)} | more)


def done(reply: httpx.Response) -> list[tuple]:
    assert reply.status_code == 200 and reply.json()["schemas"] == [BULK_REPLY], reply.text
    return [(one["method"], one.get("bulkId"), one["status"]) for one in reply.json()["Operations"]]


def new_user(bulk_id: str, name: str, **more) -> dict:
    return {"method": "POST", "path": "/Users", "bulkId": bulk_id, "data": {"schemas": [USER], "userName": name} | more}


def new_group(bulk_id: str, *members: str, name: str | None = None) -> dict:
    return {"method": "POST", "path": "/Groups", "bulkId": bulk_id, "data": {
        "schemas": [GROUP], "displayName": name or str(uuid.uuid4()), "members": [{"value": one} for one in members]}}


def test_bulk(acme, evidence):
    """SC-11: many changes in one request, each with its own status, version and event; what refers to another comes after it,
    whatever the order; one that fails says why and stops nobody else."""
    names = [f"{uuid.uuid4()}@acme.example" for _ in range(2)]
    reply = bulk(acme, new_group("team", "bulkId:one", "bulkId:two"), new_user("one", names[0]), new_user("two", names[1]),
                 new_user("again", names[0].upper()), {"method": "delete", "path": f"/Users/usr_{'0' * 26}"})
    assert done(reply) == [("POST", "team", "201"), ("POST", "one", "201"), ("POST", "two", "201"),
                           ("POST", "again", "409"), ("DELETE", None, "404")]
    team, one, two, again, gone = reply.json()["Operations"]
    acme.groups.append(team["location"].rsplit("/", 1)[1])
    users = [made["location"].rsplit("/", 1)[1] for made in (one, two)]
    acme.users += users
    assert again["response"]["schemas"] == [ERROR] and again["response"]["scimType"] == "uniqueness"
    assert "location" not in again and gone["location"].endswith("0" * 26) and gone["response"]["status"] == "404"
    group = acme.http.get(team["location"]).json()
    assert sorted(m["value"] for m in group["members"]) == sorted(users)
    seen = acme.http.get(one["location"])
    # They joined the team after they were made.
    assert one["version"] == 'W/"v1"' != seen.headers["etag"] and seen.json()["userName"] == names[0]
    types = [event["type"] for event in evidence.of(reply, acme.organization, each=3)]
    assert sorted(types) == ["group.created", "user.created", "user.created"]

    # Conditions, patches and references in paths.
    stale = bulk(acme, {"method": "PATCH", "path": f"/Users/{users[0]}", "version": 'W/"v99"', "data": {
        "schemas": [PATCH], "Operations": [{"op": "replace", "path": "active", "value": False}]}})
    assert done(stale) == [("PATCH", None, "412")]
    name = f"{uuid.uuid4()}@acme.example"
    reply = bulk(
        acme, {"method": "PUT", "path": "/Users/bulkId:new", "data": {
            "schemas": [USER], "userName": name, "displayName": "Put"}}, new_user("new", name),
        {"method": "PATCH", "path": f"/Groups/{acme.groups[-1]}", "data": {"schemas": [PATCH], "Operations": [
            {"op": "add", "path": "members", "value": [{"value": "bulkId:new"}]}]}},
        {"method": "DELETE", "path": f"/Users/{users[1]}",
         "version": acme.http.get(two["location"]).headers["etag"]})
    assert done(reply) == [("PUT", None, "200"), ("POST", "new", "201"), ("PATCH", None, "200"), ("DELETE", None, "204")]
    new = reply.json()["Operations"][1]["location"]
    acme.users.append(new.rsplit("/", 1)[1])
    assert acme.http.get(new).json()["displayName"] == "Put"
    members = {m["value"] for m in acme.send("GET", f"/Groups/{acme.groups[-1]}").json()["members"]}
    assert members == {users[0], new.rsplit("/", 1)[1]}


def test_bulk_that_refers_in_circles(acme, evidence):
    """SC-11: what refers to each other in a circle, or to nobody, or to what failed, is refused by itself; nothing of it is
    kept."""
    with evidence.no_rows_stored():
        reply = bulk(acme, new_group("a", "bulkId:b"), new_group("b", "bulkId:a"), new_group("c", "bulkId:c"),
                     new_group("d", "bulkId:nobody"), new_user("e", ""), new_group("f", "bulkId:e"))
    assert [status for _, _, status in done(reply)] == ["409", "409", "409", "400", "400", "409"]
    circle = reply.json()["Operations"]
    assert "circle" in circle[1]["response"]["detail"] and "circle" in circle[2]["response"]["detail"]


def test_bulk_ends_at_its_limits(acme, evidence):
    """SC-11: after as many errors as `failOnErrors` says nothing more is begun; too many operations or bytes are 413; what
    cannot be read as a bulk request is 400 as a whole, and nothing of it is done."""
    nobody = {"method": "DELETE", "path": f"/Users/usr_{'0' * 26}"}
    name = f"{uuid.uuid4()}@acme.example"
    with evidence.no_rows_stored():
        reply = bulk(acme, nobody, nobody, new_user("late", name), failOnErrors=2)
        assert [status for _, _, status in done(reply)] == ["404", "404"]
        refused(bulk(acme, *[nobody] * 101), 413)
        refused(bulk(acme, new_user("x", name, title="x" * 1024 * 1024)), 413)
        wrong = [
            {"method": "GET", "path": "/Users"}, {"path": "/Users"}, {"method": "DELETE"},
            {"method": "POST", "path": "/Users", "data": {"schemas": [USER], "userName": name}},
        ]
        for operation in wrong:
            refused(bulk(acme, new_user("first", name), operation), 400, "invalidSyntax")
        refused(bulk(acme, new_user("x", name), new_user("x", name)), 400, "invalidSyntax")
        refused(bulk(acme, nobody, failOnErrors=0), 400, "invalidValue")
        refused(acme.send("POST", "/Bulk", {"schemas": [PATCH], "Operations": [nobody]}), 400, "invalidValue")
        places = [{"method": "DELETE", "path": "/Users"}, {"method": "POST", "path": "/Schemas", "bulkId": "x", "data": {}},
                  {"method": "PUT", "path": "/Users/x/y", "data": {}}]
        assert [status for _, _, status in done(bulk(acme, *places))] == ["405", "405", "400"]
    assert done(bulk(acme, new_user("x", name), nobody, failOnErrors=5)) == [("POST", "x", "201"), ("DELETE", None, "404")]
    acme.users += acme.found(f'userName eq "{name}"')


def test_what_it_says_of_itself(acme):
    """SC-02, SC-09, PD-02: what the server can do is told to whoever has a token, and not filtered; errors are SCIM's own."""
    config = acme.send("GET", "/ServiceProviderConfig").json()
    assert config["patch"]["supported"] and config["filter"]["maxResults"] == 200
    assert config["bulk"] == {"supported": True, "maxOperations": 100, "maxPayloadSize": 1024 * 1024}
    assert {t["id"] for t in acme.send("GET", "/ResourceTypes").json()["Resources"]} == {"User", "Group"}
    assert acme.send("GET", f"/Schemas/{USER}").json()["id"] == USER
    for path in ("/ResourceTypes", "/Schemas", "/ServiceProviderConfig"):
        refused(acme.send("GET", path, params={"filter": 'id eq "User"'}), 403)
        assert acme.send("POST", path, {}).status_code == 405
    for path in ("/Nothing", "/Users/x/y", "/Schemas/urn:none"):
        refused(acme.send("GET", path), 404)
    # Nobody could be meant by it (RFC 7644 §3.11).
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        refused(acme.send(method, "/Me", {} if method != "GET" else None), 501)
    refused(acme.send("GET", "/Bulk"), 405)
    refused(acme.send("PUT", "/Users", {}), 405)
    reply = acme.send("GET", "/Users", params={"count": "1"})
    assert reply.headers["content-type"] == "application/scim+json" and "ratelimit" in reply.headers
    refused(acme.send("GET", "/Users", params={"startIndex": "200001"}), 400, "tooMany")
    refused(acme.send("GET", "/Users", params={"attributes": "id", "excludedAttributes": "id"}), 400, "invalidValue")
