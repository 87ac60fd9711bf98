"""The admin API is what it says of itself: the document, and every operation of it under generated requests.

Every other test helps: whatever reply of `/v1` it gets is held against the document (described.py). Here schemathesis makes
requests that the document allows and some that it forbids, with each kind of credential, against a node and a database of
their own. GATEHOUSE_SCHEMATHESIS_EXAMPLES is how many of them per operation, by all kinds together; `ops/proof openapi` sets it high.
GATEHOUSE_SCHEMATHESIS_ONLY names single operations, to repeat what failed.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from conftest import REPOSITORY, ops
from described import Description
from gatehouse_demo.admin import Admin
from gatehouse_demo.chatgpt import claims
from gatehouse_demo.pages import Person
from gatehouse_demo.stack import Ports, Stack
from oauth import Issuer
from openapi_spec_validator import validate

EXAMPLES = int(os.environ.get("GATEHOUSE_SCHEMATHESIS_EXAMPLES", "0"))
# Each kind of credential and its share of the examples of an operation: the less it may do, the more alike are the answers.
CREDENTIALS = {"platform": 0.4, "organization": 0.3, "read_only": 0.15, "foreign": 0.1, "none": 0.05}


@pytest.fixture(scope="module")
def document(deployment) -> dict:
    reply = httpx.get(f"{deployment.stack.url}/v1/openapi.json", trust_env=False)
    assert reply.status_code == 200 and reply.headers["content-type"] == "application/json"
    return reply.json()


def test_the_document_is_openapi(document):
    """Design 4.10: the description is a valid OpenAPI 3.1 document and lists the scope of every operation."""
    assert document["openapi"].startswith("3.1.")
    validate(document)
    for path, item in document["paths"].items():
        for method, operation in item.items():
            (scope,) = operation["security"][0]["admin_key"]
            assert re.fullmatch(r"[a-z-]+:[a-z]+", scope), (method, path)
            if method != "get":
                names = [parameter.get("$ref", "").rpartition("/")[2] for parameter in operation["parameters"]]
                assert "idempotency_key" in names and "dry_run" in names, (method, path)


def test_the_reference_page(deployment, document):
    """Design 4.10: the same for people, without script: every operation with its scope."""
    reply = httpx.get(f"{deployment.stack.url}/v1/reference", trust_env=False)
    assert reply.status_code == 200 and reply.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src" not in reply.headers["content-security-policy"]
    assert "default-src 'none'" in reply.headers["content-security-policy"] and "<script" not in reply.text
    for item in document["paths"].values():
        for operation in item.values():
            assert f'id="{operation["operationId"]}"' in reply.text


def statements(text: str) -> list[str]:
    """The statements in the shell blocks of a Markdown text."""
    found = []
    for block in re.findall(r"^ *```sh\n(.*?)^ *```", text, re.M | re.S):
        line = ""
        for part in block.splitlines():
            line += part.strip() + "\n"
            try:
                shlex.split(line, comments=True)
            except ValueError:
                continue   # a quoted body goes on over lines
            found.append(line)
            line = ""
    return found


def calls(text: str) -> list[list[str]]:
    """The words of every `call …` among them, and of every `export X=$(made …)`."""
    found = []
    for line in statements(text):
        words = shlex.split(re.sub(r"^export \w+=\$\(made (.*)\)\n$", r"call \1", line, flags=re.S), comments=True)
        if "|" in words:
            words = words[words.index("|") + 1:]
        if words[:1] == ["call"]:
            found.append(words[1:words.index(">")] if ">" in words else words[1:])
    return found


def test_a_second_organization_as_pasted(deployment):
    """Design 4.10: what docs/api.md says about a second organization, pasted as it stands, is answered without an error, and
    somebody of it connects."""
    text = (REPOSITORY / "docs" / "api.md").read_text()
    shown = statements(text[:text.index("## People in bulk")])
    shown = [line for line in shown if "…" not in "".join(shlex.split(line, comments=True))]
    script = "".join(shown).replace("export P=http://localhost:8001", f"export P={deployment.stack.url}")
    script = script.replace("http://localhost:8004", deployment.stack.sandbox_url)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], env={**os.environ, "KEY": deployment.stack.admin_key}, capture_output=True, text=True,
        timeout=120)
    replies = [json.loads(line) for line in (done.stdout + done.stderr).splitlines() if line.startswith("{")]
    assert done.returncode == 0 and len(replies) >= 12, done.stderr
    assert not [reply for reply in replies if "type" in reply and "request_id" in reply]
    issuer = Issuer(f"{deployment.stack.url}/o/northwind", "https://mcp.northwind.example/mcp")
    person = Person("nora@northwind.example", "northwind", deployment.person("alice").outbox)
    code = issuer.code(person, scope="write")
    assert claims(issuer.redeem(code).json()["access_token"])["scope"] == "read write"


def test_the_calls_of_the_documentation(deployment, document):
    """Design 4.10: every call that docs/api.md shows is one that the description knows, its body included."""
    description = Description(document)
    text = (REPOSITORY / "docs" / "api.md").read_text()
    shown = calls(text)
    assert len(shown) > 30
    for words in shown:
        words = [word.replace("$O", "/v1/organizations/globex").replace("$PROJECT", "project-test-x") for word in words]
        words = [word.replace("$SECRET", "x").replace("$P", "") for word in words]
        words = [word.replace("$U", "usr_…").replace("$R", "res_…") for word in words]
        words = [re.sub(r"\b([a-z]{3})_[A-Z]*…", lambda match: match[1] + "_" + "0" * 25 + "1", word) for word in words]
        method, body, target, headers = None, None, None, {}
        rest = iter(words)
        for word in rest:
            if word == "-X":
                method = next(rest)
            elif word == "-d":
                body = next(rest)
            elif word == "-H":
                name, _, value = next(rest).partition(":")
                headers[name.lower()] = value.strip()
            elif not word.startswith("-"):
                target = word
        method = method or ("POST" if body else "GET")
        path, _, query = target.partition("?")
        operation = description.operation(method, path)
        assert operation, (method, path)
        kind = headers.get("content-type", "application/json")
        if body and body != "@-" and not body.startswith("@"):
            request = httpx.Request(
                method, f"http://x{path}?{query}", content=body, headers={"content-type": kind})
            assert not description.forbidden(request, operation), (words, description.forbidden(request, operation))
        needed = [one for one in map(description.solve, operation.get("parameters", []))
                  if one["name"] == "If-Match" and one["required"]]
        assert not needed or "if-match" in headers, (words, "needs If-Match")


# ---- Generated requests ------------------------------------------------------------------------------------------------


@dataclass
class Ground:
    """Organizations of a run's own, with things of every kind in the first."""

    slug: str
    organizations: dict[str, str]
    known: dict

    def owner(self, name: str) -> str:
        """Whose a credential of that kind is."""
        return self.organizations["foreign" if name == "foreign" else "fuzzed"]


@dataclass
class Fuzzed:
    """A node for generated requests."""

    stack: Stack
    platform: Admin

    def ground(self, slug: str) -> Ground:
        made = {role: self.platform.post("/v1/organizations", {"slug": f"{slug}-{role}", "name": role})["id"]
                for role in ("fuzzed", "foreign", "spare")}
        return Ground(slug, made, furnish(self.platform, made, slug))

    def key(self, name: str, ground: Ground) -> str | None:
        if name in ("platform", "none"):
            return self.stack.admin_key if name == "platform" else None
        document = httpx.get(f"{self.stack.url}/v1/openapi.json", trust_env=False).json()
        scopes = {operation["security"][0]["admin_key"][0]
                  for item in document["paths"].values() for operation in item.values()}
        reading = sorted(scope for scope in scopes if scope.endswith(":read"))
        return self.platform.post(
            f"/v1/organizations/{ground.owner(name)}/admin-keys",
            {"name": "fuzz", "scopes": reading if name == "read_only" else ["*"]})["secret"]

    def check(self, name: str, key: str | None, ground: Ground) -> None:
        """The key still opens what it opened: the run did not end it and then live on refusals."""
        if key:
            with Admin(self.stack.url, key) as admin:
                assert admin.send("GET", f"/v1/organizations/{ground.owner(name)}/users").status_code == 200


@pytest.fixture(scope="module")
def fuzzed(deployment, tmp_path_factory):
    servers = deployment.servers
    folder = tmp_path_factory.mktemp("fuzzed")
    lines = ops(f'database_environment "{servers.folder}" {servers.postgres_port} fuzzed').splitlines()
    settings = dict(line.split("=", 1) for line in lines)
    kept = os.environ["DATABASE_ADMIN_URL"]
    os.environ["DATABASE_ADMIN_URL"] = settings.pop("DATABASE_ADMIN_URL")
    settings |= {
        "REDIS_URL": f"redis://127.0.0.1:{servers.redis_port}", "GATEHOUSE_RATE_ADMIN_KEY": "off",
        "GATEHOUSE_RATE_ADMIN_ORGANIZATION": "off", "GATEHOUSE_RATE_FAILURES_SOURCE": "off",
        "GATEHOUSE_LOG_LEVEL": "warning",
    }
    gatehouse, internal = (int(port) for port in ops("free_ports 2").split())
    stack = Stack(folder, deployment.stack.products, Ports(gatehouse=gatehouse, internal=internal), settings)
    try:
        stack.migrate(create_roles=True)
        stack.add_gatehouse("gatehouse-fuzzed")
        stack.admin_key = stack.find_admin_key()
        with Admin(stack.url, stack.admin_key) as admin:
            yield Fuzzed(stack, admin)
    finally:
        os.environ["DATABASE_ADMIN_URL"] = kept
        stack.stop()


def furnish(admin: Admin, made: dict[str, str], slug: str) -> dict:
    """Things of every kind in the organization `fuzzed`; `slug` keeps apart what is unique among all."""
    ids: dict[str, str] = {}
    base = f"/v1/organizations/{made['fuzzed']}"

    def add(name: str, path: str, body: dict) -> None:
        ids[name] = admin.post(f"{base}/{path}", body)["id"]

    ids["org"] = made["fuzzed"]
    add("user", "users", {"email": "ann@fuzzed.example", "name": "Ann"})
    add("client", "clients", {
        "name": "Client", "redirect_uris": ["https://fuzzed.example/cb"],
        "grant_types": ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:jwt-bearer"]})
    add("resource", "resources", {"uri": f"https://{slug}.fuzzed.example/mcp", "name": "Server", "scopes": ["read", "write"]})
    add("credential", f"resources/{ids['resource']}/credentials", {"name": "server"})
    add("policy", "scope-policies", {
        "name": "writers", "effect": "allow", "principals": {"everyone": True}, "scopes": ["write"]})
    add("provider", "identity-providers", {
        "kind": "stytch_consumer", "name": "Stytch", "project_id": f"project-test-{slug}", "secret": "secret-test-x"})
    add("identity", f"users/{ids['user']}/identities", {
        "identity_provider_id": ids["provider"], "subject": "user-test-ann"})
    add("issuer", "trusted-issuers", {
        "name": "Company", "issuer": "https://idp.fuzzed.example", "jwks_uri": "https://idp.fuzzed.example/jwks",
        "client_ids": [ids["client"]], "authoritative_domains": []})
    add("invitation", "invitations", {"email": "bob@fuzzed.example"})
    add("initial", "initial-access-tokens", {"name": "vendor"})
    add("token", "access-tokens", {
        "name": "script", "user": ids["user"], "resource": ids["resource"], "scopes": ["read"]})
    add("group", "groups", {"name": "Group"})
    add("scim", "scim-tokens", {"name": "directory"})
    add("role", "roles", {"name": "role", "admin_scopes": ["users:read"]})
    add("review", "access-reviews", {})
    ids["principal"] = ids["user"]
    ids["operation"] = admin._http.post(
        f"{base}/users:batch", headers={"content-type": "application/x-ndjson"},
        content='{"email":"carl@fuzzed.example"}\n').json()["id"]
    add("key", "admin-keys", {"name": "key", "scopes": ["users:read"]})
    ids["domain"] = f"{slug}.fuzzed.example"
    admin.post(f"{base}/domains", {"domain": ids["domain"]})
    ids["signing_key"] = next(admin.list(f"{base}/signing-keys"))["id"]
    ids["event"] = admin.await_events(made["fuzzed"], lambda rows: len(rows) > 3)[-1]["id"]
    organization = "/v1/organizations/{org}"
    # An organization that ends takes everything in it along.
    spared = [[method, path, {"org": made["spare"]}] for method, path in (
        ("DELETE", organization), ("POST", organization + ":suspend"), ("POST", organization + ":delete"))]
    return {"ids": ids, "spared": spared}


CONFIGURATION = """
seed = 20261123
continue-on-failure = true

[generation]
database = "none"
deterministic = true
mode = "all"
no-shrink = true
max-examples = {examples}
# A body of JSON holds no NUL (400); nothing is learned from thousands of them.
allow-x00 = false

# What is told of a failure is enough to repeat it; the keys are gone with the servers.
[output.sanitization]
enabled = false

[phases.examples]
enabled = false
[phases.coverage]
enabled = {coverage}
unexpected-methods = ["PUT", "TRACE"]
[phases.stateful]
enabled = false

[checks]
# What is right by its form is often wrong in its place: ids of nothing, names that are taken.
positive_data_acceptance.enabled = false
# Ids of things that are gone answer as any id that nobody has, and lists are read from replicas of nothing.
use_after_free.enabled = false
ensure_resource_availability.enabled = false
# The credential kinds are tried one by one here.
object_level_authorization.enabled = false
[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "409", "412", "413", "415", "422", "428", "429"]
[checks.missing_required_header]
# If-Match is looked at once it is known that there is something, and that the caller may know of it.
expected-statuses = ["400", "401", "403", "404", "406", "415", "422", "428"]

[[operations]]
include-operation-id = "importUsers"
# Any text is lines; what is wrong with a line is told of that line.
checks.negative_data_rejection.enabled = false
"""


def run(fuzzed: Fuzzed, folder: Path, name: str, key: str | None, known: dict, *, examples: int, coverage: bool) -> str:
    """Runs schemathesis with a key; with `keys` in `known`, each call of an operation with the next of them instead.

    Returns what it says, empty when there was no failure; the figures are printed.
    """
    folder = folder / name
    folder.mkdir()
    configuration = folder / "schemathesis.toml"
    configuration.write_text(CONFIGURATION.format(
        examples=examples, coverage=str(coverage).lower()))
    command = [
        str(Path(sys.executable).parent / "st"), "--config-file", str(configuration), "run",
        f"{fuzzed.stack.url}/v1/openapi.json", "--url", fuzzed.stack.url, "--no-color", "--warnings", "off",
        # More than one meets a defect of CPython's before 3.12 (gh-106905: "AST constructor recursion depth mismatch").
        "--workers", "1",
    ]
    for operation in os.environ.get("GATEHOUSE_SCHEMATHESIS_ONLY", "").split():
        command += ["--include-operation-id", operation]
    if key:
        command += ["-H", f"Authorization: Bearer {key}"]
    counts = folder / "counts.json"
    environment = {
        **os.environ, "GATEHOUSE_FUZZ": json.dumps({**known, "counts": str(counts)}), "SCHEMATHESIS_HOOKS": "fuzz_hooks",
        "PYTHONPATH": str(REPOSITORY / "Tests" / "Clients"), "PYTHONHASHSEED": "0"}
    begun = time.monotonic()
    with (folder / "said").open("w") as said:
        process = subprocess.Popen(
            command, env=environment, cwd=folder, stdout=said, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        try:
            while process.poll() is None:
                assert time.monotonic() - begun < max(300, examples * 60), f"schemathesis with {name}: no end"
                if examples > len(CREDENTIALS) and int(time.monotonic() - begun) % 60 == 59:
                    print(f"progress: {name}: {sum(count for *_, count in answers(counts))} requests", flush=True)
                time.sleep(1)
        finally:
            process.kill()
            process.wait()
    done = answers(counts)
    well = {label for label, status, _ in done if status < 300}
    print(
        f"\nfigure: schemathesis with {name}: {sum(count for *_, count in done)} requests, {examples} examples of each of "
        f"{len({label for label, *_ in done})} operations, {len(well)} of which answered 2xx, "
        f"{time.monotonic() - begun:.0f} s, {'0 failures' if process.returncode == 0 else 'FAILED'}", flush=True)
    if name in ("foreign", "none") and well:
        return f"with {name} these answered: {sorted(well)}"
    if process.returncode == 0:
        return ""
    log = (fuzzed.stack.logs / "gatehouse-fuzzed.log").read_text(errors="replace")
    errors = [line for line in log.splitlines() if " error " in line]
    return (folder / "said").read_text()[-20000:] + "\n".join(errors[-20:])


def answers(counts: Path) -> list[tuple[str, int, int]]:
    """Operation, status and how often."""
    return [tuple(row) for row in json.loads(counts.read_text())] if counts.exists() else []


@pytest.mark.skipif(EXAMPLES > 0, reason="each kind of credential is tried for itself")
def test_generated_requests(fuzzed, tmp_path):
    """Design 4.10, P-06, P-09, T-31: requests that the description allows and forbids, on every operation, with each kind of
    credential in turn: no server error, no reply it does not know, nothing forbidden done, nothing done without a key."""
    ground = fuzzed.ground("all")
    keys = {name: fuzzed.key(name, ground) for name in CREDENTIALS}
    said = run(fuzzed, tmp_path, "all", keys["organization"], {**ground.known, "keys": list(keys.values())},
               examples=len(CREDENTIALS), coverage=False)
    assert not said, said
    for name, key in keys.items():
        fuzzed.check(name, key, ground)


@pytest.mark.skipif(EXAMPLES == 0, reason="long: ops/proof openapi")
def test_many_generated_requests(fuzzed, tmp_path):
    """Design 4.10, P-06, P-09, T-31: the same at length, a share of the requests with each kind of credential alone, two at
    once; with the keys that may do everything, every bound of every member too."""

    def one(name: str) -> str:
        ground = fuzzed.ground(name.replace("_", "-"))
        key = fuzzed.key(name, ground)
        said = run(fuzzed, tmp_path, name, key, ground.known, examples=max(1, round(EXAMPLES * CREDENTIALS[name])),
                   coverage=name in ("platform", "organization"))
        fuzzed.check(name, key, ground)
        return said

    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(one, CREDENTIALS))
    assert not any(said), "\n".join(said)
