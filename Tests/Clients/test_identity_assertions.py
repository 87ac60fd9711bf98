"""Another issuer vouches for a person to a client: ID-JAG by the JWT bearer grant (RFC 7523; mcp-clients §2; facts A13)."""

from __future__ import annotations

import itertools
import secrets
import time
from concurrent.futures import ThreadPoolExecutor

import anyio
import httpx
import httpx2
import pytest
from assertions import KeyPair, signed_with_secret, unsigned
from document_host import fresh_name
from dpop import Prover
from evidence import source
from gatehouse_demo.admin import Admin
from gatehouse_demo.chatgpt import Storage, claims, result_text
from mcp import Client
from mcp.client.auth.extensions.identity_assertion import IdentityAssertionOAuthProvider
from mcp.client.streamable_http import streamable_http_client
from test_token import basic, refused

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
PROFILE = "urn:ietf:params:oauth:grant-profile:id-jag"
ISSUER = "https://idp.acme.example"
EPOCH_BOUND = 1.0

_people = itertools.count(1)


@pytest.fixture(scope="module")
def base(deployment) -> str:
    return f"/v1/organizations/{deployment.organizations['acme']}"


@pytest.fixture(scope="module")
def operator(deployment):
    with Admin(deployment.stack.url, deployment.stack.admin_key) as made:
        yield made


@pytest.fixture(scope="module")
def key() -> KeyPair:
    return KeyPair("RS256", kid="idp-1")


@pytest.fixture(scope="module")
def client(operator, base) -> dict:
    return operator.post(f"{base}/clients", {"name": "Assistant", "grant_types": [GRANT]})


@pytest.fixture(scope="module")
def trusted(operator, base, client, key):
    """acme trusts ISSUER about addresses of acme.example."""
    made = operator.post(f"{base}/trusted-issuers", {
        "name": "Acme's identity provider", "issuer": ISSUER, "jwks": key.jwks, "client_ids": [client["client_id"]],
        "authoritative_domains": ["acme.example"]})
    time.sleep(EPOCH_BOUND)
    yield made
    operator.call("DELETE", f"{base}/trusted-issuers/{made['id']}", headers={"if-match": "*"})
    time.sleep(EPOCH_BOUND)


def person() -> dict[str, str | bool]:
    """Claims about somebody nobody has met."""
    number = next(_people)
    return {"sub": f"employee-{number}", "email": f"person{number}-{secrets.token_hex(4)}@acme.example", "email_verified": True}


def grant(deployment, client: dict, key: KeyPair, header: dict | None = None, **changes) -> str:
    """A right ID-JAG, changed; a claim that is None is left out."""
    now = int(time.time())
    right = {
        "iss": ISSUER, "aud": deployment.acme.url, "client_id": client["client_id"],
        "resource": deployment.stack.acme_url, "jti": secrets.token_urlsafe(16), "iat": now, "exp": now + 300,
    }
    content = {name: value for name, value in (right | changes).items() if value is not None}
    return key.sign(content, **({"typ": "oauth-id-jag+jwt"} | (header or {})))


def present(deployment, client: dict, assertion: str | None, issuer=None, node=None, **changes) -> httpx.Response:
    form = {"grant_type": GRANT, "assertion": assertion, **changes}
    headers = basic(client["client_id"], client["client_secret"]) | source()
    return (issuer or deployment.acme).token(form, node=node, headers=headers)


def test_token(deployment, client, key, trusted, evidence):
    """JA-04, TK-02, TK-03, AT-02, AT-04: a bearer token for the person the assertion names, for the resource it names,
    without a refresh token; a new user by their verified address; recorded, and the second time nothing new is made."""
    who = person()
    reply = present(deployment, client, grant(deployment, client, key, **who, auth_time=int(time.time()) - 60))
    assert reply.status_code == 200, reply.text
    assert reply.headers["cache-control"] == "no-store"
    body = reply.json()
    assert set(body) == {"access_token", "token_type", "expires_in", "scope"} and body["token_type"] == "Bearer"
    token = claims(body["access_token"])
    assert token["sub"].startswith("usr_") and token["aud"] == deployment.stack.acme_url
    assert token["iss"] == deployment.acme.url and token["client_id"] == client["client_id"]
    assert token["org_slug"] == "acme" and token["scopes"] == ["read"] and "grant_id" not in token
    assert token["exp"] - token["iat"] <= 600 and token["auth_time"] <= token["iat"] - 60
    issued, = evidence.of(reply, "acme", type="token.issued")
    assert issued["token"] == token["jti"] and issued["grant"] == GRANT and issued["actor"]["id"] == token["sub"]
    assert issued["metadata"]["identity_provider"] == trusted["id"]
    for kind in ("user.created", "user.identity_linked"):
        assert len(evidence.of(reply, "acme", type=kind)) == 1
    with evidence.no_rows_stored():
        # The address may change; who it is does not.
        again = present(deployment, client, grant(deployment, client, key, sub=who["sub"], email="gus@globex.example"))
        assert claims(again.json()["access_token"])["sub"] == token["sub"]


def test_works_at_the_server(deployment, client, key, trusted):
    """JA-04, MCP-RS-09: the `mcp` SDK's own provider finds our metadata, presents the assertion and calls a tool."""
    asked = []

    async def assertion(audience: str, resource: str) -> str:
        asked.append((audience, resource))
        return grant(deployment, client, key, aud=audience, resource=resource, **who)

    async def run(method: str) -> str:
        provider = IdentityAssertionOAuthProvider(
            server_url=deployment.stack.acme_url, storage=Storage(), client_id=client["client_id"],
            client_secret=client["client_secret"], issuer=deployment.acme.url, assertion_provider=assertion,
            scope="read", token_endpoint_auth_method=method)
        async with httpx2.AsyncClient(auth=provider, timeout=30, trust_env=False) as http:
            async with Client(streamable_http_client(deployment.stack.acme_url, http_client=http)) as session:
                return result_text(await session.call_tool("read_note", {"name": "a"}))

    who = person()
    assert anyio.run(run, "client_secret_basic")
    assert asked[0] == (deployment.acme.url, deployment.stack.acme_url)


def test_metadata(deployment, client, trusted, http):
    """MD-09, JA-04: the grant and its profile stand in the metadata of the organization that trusts somebody, and of no
    other; elsewhere the grant does not exist."""
    def metadata(path):
        return http.get(f"{deployment.stack.url}/.well-known/oauth-authorization-server{path}").json()

    here = metadata("/o/acme")
    assert here["authorization_grant_profiles_supported"] == [PROFILE] and GRANT in here["grant_types_supported"]
    for path, issuer in (("", deployment.platform), ("/o/globex", deployment.globex)):
        assert "authorization_grant_profiles_supported" not in metadata(path)
        assert GRANT not in metadata(path)["grant_types_supported"]
        refused(issuer.token({"grant_type": GRANT, "assertion": "x", "client_id": issuer.register()}), "unsupported_grant_type")


@pytest.mark.parametrize("reason,header,changes", [
    ("assertion_type", {"typ": "JWT"}, {}),
    ("assertion_type", {"typ": None}, {}),
    ("assertion_type", {"typ": "at+jwt"}, {}),
    ("assertion_issuer", {}, {"iss": "https://idp.evil.example"}),
    ("assertion_issuer", {}, {"iss": ISSUER + "/"}),
    ("assertion_audience", {}, {"aud": "https://other.example"}),
    ("assertion_audience", {}, {"aud": None}),
    ("assertion_of_another_client", {}, {"client_id": "cli_00000000000000000000000000"}),
    ("assertion_incomplete", {}, {"iss": None}),
    ("assertion_incomplete", {}, {"sub": None}),
    ("assertion_incomplete", {}, {"sub": ""}),
    ("assertion_incomplete", {}, {"sub": "x" * 256}),
    ("assertion_incomplete", {}, {"client_id": None}),
    ("assertion_incomplete", {}, {"resource": None}),
    ("assertion_incomplete", {}, {"jti": None}),
    ("assertion_incomplete", {}, {"iat": None}),
    ("assertion_incomplete", {}, {"exp": None}),
    ("assertion_incomplete", {}, {"exp": "2099-01-01"}),
    ("assertion_incomplete", {}, {"scope": ["read"]}),
    ("assertion_expired", {}, {"iat": -400, "exp": -1}),
    ("assertion_not_yet", {}, {"iat": 60, "exp": 120}),
    ("assertion_not_yet", {}, {"nbf": 60}),
    ("assertion_lives_too_long", {}, {"iat": 0, "exp": 601}),
    ("assertion_lives_too_long", {}, {"iat": -(2**63), "exp": 2**63 - 1}),
    ("assertion_not_yet", {}, {"nbf": 2**63 - 1}),
    ("assertion_of_another_key", {}, {"cnf": {"jkt": "x" * 43}}),
    ("assertion_confirmation", {}, {"cnf": {"kid": "x"}}),
    ("assertion_confirmation", {}, {"cnf": {"jkt": "x" * 43, "x5t#S256": "x" * 43}}),
    ("assertion_confirmation", {}, {"cnf": "x"}),
    ("assertion_malformed", {"alg": "none"}, {}),
    ("assertion_malformed", {"alg": "HS256"}, {}),
    ("assertion_malformed", {"crit": ["x"]}, {}),
])
def test_assertions_that_are_not_taken(deployment, client, key, trusted, evidence, reason, header, changes):
    """JA-03, JA-04, K-07, K-12, K-14: typ, iss, aud, client_id, every claim, the times: invalid_grant in the same words
    each time; the log says why; nobody is made."""
    now = int(time.time())
    times = {name: now + changes[name] for name in ("iat", "exp", "nbf")
             if isinstance(changes.get(name), int) and abs(changes[name]) < 2**62}
    with evidence.no_rows_stored():
        reply = present(deployment, client, grant(deployment, client, key, header, **(person() | changes | times)))
        refused(reply, "invalid_grant")
        assert reply.json()["error_description"] == "The grant is invalid, expired, revoked or was used before."
        denied, = evidence.of(reply, "acme", type="token.denied")
        assert denied["reason"] == reason and denied["actor"]["id"] == client["client_id"]


def test_bound_to_a_key(deployment, client, key, trusted):
    """JA-04, DP-01: an assertion that names a key (RFC 7800 §3.1) is good only with a proof of that key, and so is the
    token."""
    prover, other = Prover(), Prover()
    endpoint = f"{deployment.acme.url}/oauth/token"
    someone = person()

    def proven(by):
        def post(headers):
            form = {"grant_type": GRANT, "assertion": grant(deployment, client, key, cnf={"jkt": prover.thumbprint}, **someone)}
            return deployment.acme.token(
                form, headers=basic(client["client_id"], client["client_secret"]) | source() | headers)
        return by.send(post, endpoint)

    refused(proven(other), "invalid_grant")
    reply = proven(prover)
    assert reply.status_code == 200 and reply.json()["token_type"] == "DPoP", reply.text
    assert claims(reply.json()["access_token"])["cnf"] == {"jkt": prover.thumbprint}


def test_signatures(deployment, client, key, trusted, evidence):
    """JA-04, K-07, K-08, K-10, K-11: only the issuer's own keys count, whatever the assertion brings along."""
    other = KeyPair("RS256", kid="idp-1")
    head, body, signature = grant(deployment, client, key, **person()).split(".")
    now = int(time.time())
    content = person() | {
        "iss": ISSUER, "aud": deployment.acme.url, "client_id": client["client_id"], "jti": "a", "iat": now,
        "exp": now + 60, "resource": deployment.stack.acme_url}
    for assertion in (
        grant(deployment, client, other, **person()),
        grant(deployment, client, other, {"jwk": other.jwk}, **person()),
        grant(deployment, client, other, {"jku": "https://evil.example/keys"}, **person()),
        grant(deployment, client, KeyPair("ES256", kid="idp-1"), **person()),
        grant(deployment, client, key, {"kid": "idp-2"}, **person()),
        f"{head}.{body}.{signature[:-6]}AAAAAA", f"{head}.{body}.", "x", "a.b.c",
        signed_with_secret(b"secret", content), unsigned(content),
    ):
        refused(present(deployment, client, assertion), "invalid_grant")
    refused(present(deployment, client, None), "invalid_request")


def test_an_assertion_is_used_once(deployment, client, key, trusted, evidence):
    """JA-04, K-15, F-02: of many who present it on two nodes one gets a token; its id is the issuer's to give."""
    assertion = grant(deployment, client, key, **person())
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(
            lambda number: present(deployment, client, assertion, node=deployment.node_urls[number % 2]), range(8)))
    assert sorted(reply.status_code for reply in replies) == [200] + [400] * 7
    late = present(deployment, client, assertion)
    refused(late, "invalid_grant")
    denied, = evidence.of(late, "acme", type="token.denied")
    assert denied["reason"] == "assertion_reused"


def test_resource_and_scope(deployment, client, key, trusted):
    """JA-04, RI-02, RI-03, K-22, TK-03: the resource is one of ours and the request may only repeat it; the assertion's
    scope is the most there is, and policy narrows it."""
    def ask(assertion=None, **form):
        return present(deployment, client, grant(deployment, client, key, **(person() | (assertion or {}))), **form)

    refused(ask({"resource": "https://nobody.example/mcp"}), "invalid_target")
    refused(ask({"resource": deployment.stack.shared_url}), "invalid_target")
    refused(ask(resource=deployment.stack.shared_url), "invalid_target")
    assert ask({"resource": [deployment.stack.acme_url]}, resource=deployment.stack.acme_url).status_code == 200
    assert ask(scope="read").json()["scope"] == "read"
    assert ask({"scope": "read write"}).json()["scope"] == "read"
    assert ask({"scope": "openid read"}, scope="openid read").json()["scope"] == "read"
    refused(ask({"scope": "write"}), "invalid_scope")
    refused(ask(scope="write"), "invalid_scope")
    refused(ask({"scope": "read"}, scope="read write"), "invalid_scope")
    refused(ask(scope='a"b'), "invalid_scope")


def test_first_links(deployment, operator, base, client, key, trusted, evidence):
    """JA-04, T-17: an address decides only if the issuer says it is verified, the domain is the organization's and the
    issuer speaks for it, and the user has no identity yet; everything else waits for an administrator."""
    def ask(**who):
        return present(deployment, client, grant(deployment, client, key, **who))

    known = operator.post(f"{base}/users", {"email": person()["email"], "name": "Known"})
    first = ask(sub="first", email=known["email"].upper().replace("@ACME.EXAMPLE", "@acme.example"), email_verified=True)
    assert claims(first.json()["access_token"])["sub"] == known["id"]
    for who in (
        {"sub": "second", "email": known["email"], "email_verified": True},   # has an identity by now
        {"sub": "third", "email": person()["email"], "email_verified": False},
        {"sub": "fourth", "email": person()["email"], "email_verified": "true"},
        {"sub": "fifth", "email": person()["email"], "email_verified": None},
        {"sub": "sixth", "email": "somebody@elsewhere.example", "email_verified": True},
        {"sub": "seventh", "email": None, "email_verified": None},
        {"sub": "eighth", "email": "not an address", "email_verified": True},
    ):
        reply = ask(**who)
        refused(reply, "invalid_grant")
        named, = evidence.of(reply, "acme", type="login.failed")
        assert named["reason"] == "identity_not_linked" and named["metadata"]["subject"] == who["sub"]
    pending = operator.list(f"{base}/pending-identities")
    waiting = next(row for row in pending if row["subject"] == "sixth")
    assert waiting["identity_provider_id"] == trusted["id"] and waiting["provider"] == ISSUER
    operator.post(f"{base}/users/{known['id']}/identities", {"identity_provider_id": trusted["id"], "subject": "sixth"})
    assert claims(ask(sub="sixth").json()["access_token"])["sub"] == known["id"]


def test_people_and_clients_that_are_out(deployment, operator, base, client, key, trusted, evidence):
    """JA-04, TK-23, T-20: disabled people, denied and disabled clients get nothing, and what they have stops working."""
    who = person()
    token = present(deployment, client, grant(deployment, client, key, **who)).json()["access_token"]
    user = claims(token)["sub"]

    def active() -> bool:
        reply = httpx.post(
            f"{deployment.acme.url}/oauth/introspect", data={"token": token}, trust_env=False,
            headers=basic(client["client_id"], client["client_secret"]))
        return reply.status_code == 200 and reply.json()["active"]

    assert active()
    operator.post(f"{base}/users/{user}:disable")
    reply = present(deployment, client, grant(deployment, client, key, **who))
    refused(reply, "invalid_grant")
    denied, = evidence.of(reply, "acme", type="token.denied")
    assert denied["reason"] == "user_disabled" and not active()
    operator.post(f"{base}/users/{user}:enable")
    operator.post(f"{base}/client-approvals/{client['id']}:deny")
    try:
        reply = present(deployment, client, grant(deployment, client, key, **who))
        refused(reply, "invalid_grant")
        denied, = evidence.of(reply, "acme", type="token.denied")
        assert denied["reason"] == "client_denied" and not active()
    finally:
        operator.post(f"{base}/client-approvals/{client['id']}:approve")
    path = f"{base}/clients/{client['id']}"
    operator.call("PATCH", path, {"status": "disabled"}, headers={"if-match": "*"})
    try:
        time.sleep(EPOCH_BOUND)
        refused(present(deployment, client, grant(deployment, client, key, **who)), "invalid_client", 401)
    finally:
        operator.call("PATCH", path, {"status": "active"}, headers={"if-match": "*"})
        time.sleep(EPOCH_BOUND)
    assert present(deployment, client, grant(deployment, client, key, **who)).status_code == 200


def test_clients_wait_for_approval(deployment, operator, base, key, trusted, evidence):
    """JA-04: where registered clients wait for an administrator, so does one that comes with an assertion."""
    made = operator.post(f"{base}/clients", {"name": "Newcomer", "grant_types": [GRANT]})
    issuer = f"{base}/trusted-issuers/{trusted['id']}"
    operator.call(
        "PATCH", issuer, {"client_ids": trusted["client_ids"] + [made["client_id"]]}, headers={"if-match": "*"})
    operator.call("PATCH", base, {"settings": {"approval_required_for": ["registered"]}})
    try:
        time.sleep(EPOCH_BOUND)
        who = person()
        reply = present(deployment, made, grant(deployment, made, key, **who))
        refused(reply, "invalid_grant")
        denied, = evidence.of(reply, "acme", type="token.denied")
        assert denied["reason"] == "client_pending"
        operator.post(f"{base}/client-approvals/{made['id']}:approve")
        assert present(deployment, made, grant(deployment, made, key, **who)).status_code == 200
    finally:
        operator.call("PATCH", base, {"settings": {"approval_required_for": []}})
        operator.call("PATCH", issuer, {"client_ids": trusted["client_ids"]}, headers={"if-match": "*"})
        time.sleep(EPOCH_BOUND)


def test_who_may_present(deployment, operator, base, client, key, trusted):
    """JA-04, TK-12, K-23, RG-05: a client that the issuer was not trusted for, one without the grant, one without its
    secret, and one that registers itself: none."""
    stranger = operator.post(f"{base}/clients", {"name": "Stranger", "grant_types": [GRANT]})
    refused(present(deployment, stranger, grant(deployment, stranger, key, **person())), "invalid_grant")
    # Somebody else's assertion, however right.
    refused(present(deployment, stranger, grant(deployment, client, key, **person())), "invalid_grant")
    without = operator.post(f"{base}/clients", {"name": "Other", "redirect_uris": ["https://other.example/cb"]})
    refused(present(deployment, without, grant(deployment, without, key, **person())), "unauthorized_client")
    form = {"grant_type": GRANT, "assertion": grant(deployment, client, key, **person()), "client_id": client["client_id"]}
    refused(deployment.acme.token(form), "invalid_client", 401)
    registration = httpx.post(f"{deployment.acme.url}/oauth/register", trust_env=False, json={
        "redirect_uris": ["https://x.example/cb"], "grant_types": ["authorization_code", GRANT]})
    refused(registration, "invalid_client_metadata")
    public = operator.send("POST", f"{base}/clients", {
        "name": "Public", "grant_types": [GRANT], "token_endpoint_auth_method": "none"})
    assert public.status_code == 422 and public.json()["errors"][0]["pointer"] == "/token_endpoint_auth_method"


def test_published_keys(deployment, operator, base, client):
    """JA-04, JA-02: keys at a jwks_uri: fetched when needed, an unknown one asked for again once a minute at most, and
    an issuer that cannot be asked is a 503."""
    key, path = KeyPair("ES256", kid="a"), f"/{secrets.token_hex(8)}.json"
    url = deployment.documents.url(path, fresh_name())
    iss = f"https://{secrets.token_hex(4)}.example"
    made = operator.post(f"{base}/trusted-issuers", {
        "name": "Publishes", "issuer": iss, "jwks_uri": url, "client_ids": [client["client_id"]],
        "authoritative_domains": ["acme.example"]})
    try:
        time.sleep(EPOCH_BOUND)
        unreachable = present(deployment, client, grant(deployment, client, key, iss=iss, **person()))
        refused(unreachable, "invalid_grant")   # 404 says there is no such document
        deployment.documents.publish(path, key.jwks)
        assert present(deployment, client, grant(deployment, client, key, iss=iss, **person())).status_code == 200
        before = len(deployment.documents.hits(path))
        other = KeyPair("ES256", kid="b")
        for _ in range(5):
            refused(present(deployment, client, grant(deployment, client, other, iss=iss, **person())), "invalid_grant")
        # Each node has fetched for itself, and none twice for unknown keys within the minute.
        assert len(deployment.documents.hits(path)) - before <= len(deployment.nodes)
    finally:
        operator.call("DELETE", f"{base}/trusted-issuers/{made['id']}", headers={"if-match": "*"})


def test_required_claims_and_status(deployment, operator, base, client, key):
    """JA-04, T-21: an issuer that serves many tenants is told apart by a claim; a disabled one is nobody, and so is one
    that was deleted, with every link it made."""
    iss = f"https://{secrets.token_hex(4)}.example"
    made = operator.post(f"{base}/trusted-issuers", {
        "name": "Shared", "issuer": iss, "jwks": key.jwks, "client_ids": [client["client_id"]],
        "authoritative_domains": ["acme.example"], "required_claims": {"tenant": "acme"}})
    path = f"{base}/trusted-issuers/{made['id']}"
    time.sleep(EPOCH_BOUND)
    who = person() | {"iss": iss}

    def ask(**changes):
        return present(deployment, client, grant(deployment, client, key, **(who | changes)))

    refused(ask(), "invalid_grant")
    refused(ask(tenant="globex"), "invalid_grant")
    refused(ask(tenant=["acme"]), "invalid_grant")
    user = claims(ask(tenant="acme").json()["access_token"])["sub"]
    operator.call("PATCH", path, {"status": "disabled"}, headers={"if-match": "*"})
    time.sleep(EPOCH_BOUND)
    refused(ask(tenant="acme"), "invalid_grant")
    operator.call("DELETE", path, headers={"if-match": "*"})
    assert not [row for row in operator.get(f"{base}/users/{user}/identities")["data"] if row["provider"] == iss]


def test_other_organizations(deployment, operator, base, client, key, trusted):
    """T-04, T-13, JA-04: what acme trusts is nothing at globex, whose own trust in the same issuer makes other people."""
    globex = f"/v1/organizations/{deployment.organizations['globex']}"
    assert operator.send("GET", f"{globex}/trusted-issuers/{trusted['id']}").status_code == 404
    assert not list(operator.list(f"{globex}/trusted-issuers"))
    there = operator.post(f"{globex}/clients", {"name": "There", "grant_types": [GRANT]})
    foreign = operator.send("POST", f"{globex}/trusted-issuers", {
        "name": "X", "issuer": ISSUER, "jwks": key.jwks, "client_ids": [client["client_id"]]})
    assert foreign.status_code == 422 and foreign.json()["errors"][0]["pointer"] == "/client_ids/0"
    made = operator.post(f"{globex}/trusted-issuers", {
        "name": "X", "issuer": ISSUER, "jwks": key.jwks, "client_ids": [there["client_id"]]})
    try:
        time.sleep(EPOCH_BOUND)
        reply = deployment.globex.token(
            {"grant_type": GRANT, "assertion": grant(deployment, client, key, **person())},
            headers=basic(there["client_id"], there["client_secret"]))
        refused(reply, "invalid_grant")
    finally:
        operator.call("DELETE", f"{globex}/trusted-issuers/{made['id']}", headers={"if-match": "*"})


def test_administration(deployment, operator, base, client, key, trusted, evidence):
    """PD-01, T-25: what an administrator writes is checked member by member; a merge patch; a state that moved; no trusted
    issuer among the identity providers."""
    assert trusted["issuer"] == ISSUER and trusted["jwks"]["keys"][0]["kid"] == "idp-1" and trusted["status"] == "active"
    right = {"name": "Y", "issuer": "https://y.example", "jwks": key.jwks, "client_ids": [client["client_id"]]}
    for changes, pointer in (
        ({"issuer": "http://y.example"}, "/issuer"), ({"issuer": "https://y.example/?a=b"}, "/issuer"),
        ({"issuer": "https://y.example/#a"}, "/issuer"), ({"issuer": "y"}, "/issuer"), ({"issuer": None}, "/issuer"),
        ({"name": ""}, "/name"), ({"jwks": None}, "/jwks_uri"), ({"jwks": {"keys": []}}, "/jwks"),
        ({"jwks": {"keys": [KeyPair().private_jwk]}}, "/jwks"), ({"jwks_uri": "https://y.example/keys"}, "/jwks"),
        ({"jwks": None, "jwks_uri": "http://y.example/keys"}, "/jwks_uri"), ({"client_ids": []}, "/client_ids"),
        ({"client_ids": ["cli_00000000000000000000000000"]}, "/client_ids/0"),
        ({"client_ids": ["https://app.example/client"]}, "/client_ids/0"),
        ({"client_ids": [deployment.acme.register()]}, "/client_ids/0"),
        ({"required_claims": {"a": 1}}, "/required_claims"), ({"required_claims": {'a"b': "c"}}, "/required_claims"),
        ({"required_claims": []}, "/required_claims"), ({"authoritative_domains": ["globex.example"]}, "/authoritative_domains"),
        ({"id": trusted["id"]}, "/id"), ({"status": "gone"}, "/status"),
    ):
        reply = operator.send("POST", f"{base}/trusted-issuers", right | changes)
        assert reply.status_code == 422, f"{changes}: {reply.text}"
        assert pointer in [error["pointer"] for error in reply.json()["errors"]], f"{changes}: {reply.text}"
    twice = operator.send("POST", f"{base}/trusted-issuers", right | {"issuer": ISSUER})
    assert twice.status_code == 409
    made = operator.send("POST", f"{base}/trusted-issuers", right)
    assert made.status_code == 201 and made.headers["location"].endswith(made.json()["id"])
    event, = evidence.of(made, "acme", type="identity_provider.created")
    assert event["targets"][0]["type"] == "trusted_issuer"
    path = f"{base}/trusted-issuers/{made.json()['id']}"
    assert operator.send("PATCH", path, {"name": "Z"}).status_code == 428
    assert operator.send("PATCH", path, {"name": "Z"}, headers={"if-match": '"v9"'}).status_code == 412
    assert operator.send("PATCH", path, {"issuer": "https://z.example"}, headers={"if-match": "*"}).status_code == 422
    url = "https://y.example/keys"
    patch = {"name": "Z", "jwks": None, "jwks_uri": url, "required_claims": {"tid": "1"}}
    changed = operator.send("PATCH", path, patch, headers={"if-match": made.headers["etag"]})
    assert changed.status_code == 200, changed.text
    assert changed.json()["jwks_uri"] == url and "jwks" not in changed.json() and changed.json()["name"] == "Z"
    assert operator.get(path)["required_claims"] == {"tid": "1"}
    more = operator.send("PATCH", path, {"required_claims": {"oid": "2", "tid": None}}, headers={"if-match": "*"})
    assert more.json()["required_claims"] == {"oid": "2"}
    providers = operator.list(f"{base}/identity-providers")
    assert made.json()["id"] not in [row["id"] for row in providers]
    assert operator.send("GET", f"{base}/identity-providers/{made.json()['id']}").status_code == 404
    assert operator.send("DELETE", path, headers={"if-match": "*"}).status_code == 204
    assert operator.send("GET", path).status_code == 404
