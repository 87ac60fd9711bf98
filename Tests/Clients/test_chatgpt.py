"""The real `mcp` client against the platform issuer, an organization issuer and the launcher's server."""

from __future__ import annotations

import base64
import time

import anyio
import pytest
from cryptography.hazmat.primitives import serialization
from fastmcp.server.auth.providers.jwt import JWTVerifier
from gatehouse_demo.chatgpt import CHATGPT_REDIRECT_URI, ChatGPT, claims, result_text, root_cause, signing_in
from gatehouse_demo.pages import PageError, Person
from gatehouse_demo.sandbox import Outbox


def connect(server_url: str, person, work, redirect_uri: str = CHATGPT_REDIRECT_URI) -> ChatGPT:
    """Connects, signs in, runs `work(client, session)`, and returns the client."""
    visits = []
    client = ChatGPT(server_url, signing_in(person, visits.append), redirect_uri)
    client.visits = visits

    async def run() -> None:
        async with client.connected() as session:
            await work(client, session)

    anyio.run(run)
    return client


async def nothing(_, session) -> None:
    await session.list_tools()


def test_platform_issuer_from_discovery_to_refresh(deployment):
    """MCP-AS-01, MCP-AS-02, MCP-AS-05, MCP-AS-08, MCP-AS-12, MCP-AS-17, MCP-AS-19: discovery,
    registration, sign-in, consent, token, tools, refresh; all by the released client."""

    async def work(client, session):
        tools = await session.list_tools()
        assert {"read_note", "write_note"} <= {tool.name for tool in tools.tools}
        written = await session.call_tool("write_note", {"name": "a", "text": "from alice"})
        assert not written.is_error, result_text(written)
        before = (client.access_token, client.refresh_token)
        client.expire()
        read = await session.call_tool("read_note", {"name": "a"})
        assert result_text(read) == "from alice"
        assert client.access_token != before[0] and client.refresh_token != before[1]

    client = connect(deployment.stack.shared_url, deployment.person("alice"), work)
    token = claims(client.access_token)
    assert token["iss"] == deployment.stack.url
    assert token["aud"] in (deployment.stack.shared_url, [deployment.stack.shared_url])
    assert token["org_id"] == deployment.organizations["acme"]
    assert set(token["scope"].split()) == {"read", "write"} == set(token["scopes"])
    assert token["sub"].startswith("usr_")
    # Registration happened once, at the discovered endpoint, and not at a guessed one.
    registrations = [one for one in client.exchanges if one.path.endswith("/register")]
    assert [one.url for one in registrations] == [f"{deployment.stack.url}/oauth/register"]


def test_two_organizations_through_one_url(deployment):
    """Each person's token carries their own organization, though server and issuer are the same."""
    alice = claims(connect(deployment.stack.shared_url, deployment.person("alice"), nothing).access_token)
    gus = claims(connect(deployment.stack.shared_url, deployment.person("gus"), nothing).access_token)
    assert (alice["iss"], alice["aud"]) == (gus["iss"], gus["aud"])
    assert alice["org_id"] == deployment.organizations["acme"]
    assert gus["org_id"] == deployment.organizations["globex"]
    assert alice["sub"] != gus["sub"]


def test_notes_of_a_shared_server_stay_apart(deployment):
    async def write(_, session):
        await session.call_tool("write_note", {"name": "secret", "text": "acme only"})

    async def read(_, session):
        assert "acme only" not in result_text(await session.call_tool("read_note", {"name": "secret"}))

    connect(deployment.stack.shared_url, deployment.person("alice"), write)
    connect(deployment.stack.shared_url, deployment.person("gus"), read)


def test_organization_issuer_refuses_write_to_a_reader(deployment):
    """The policy gives the reader `read` only; the tool says which scope is missing."""

    async def work(_, session):
        assert not (await session.call_tool("read_note", {"name": "a"})).is_error
        refusal = await session.call_tool("write_note", {"name": "a", "text": "x"})
        assert refusal.is_error and "'write'" in result_text(refusal)

    client = connect(deployment.stack.acme_url, deployment.person("rita"), work)
    token = claims(client.access_token)
    assert token["iss"] == f"{deployment.stack.url}/o/acme"
    assert token["scope"].split() == ["read"]
    assert all("/o/acme/" in one.url for one in client.exchanges if one.path.endswith(("/register", "/token")))


def test_launcher_makes_a_plain_server_connect(deployment):
    """An unmodified server that checks a static RS256 key and has no metadata."""

    async def work(client, session):
        assert not (await session.call_tool("read_note", {"name": "welcome"})).is_error
        assert not (await session.call_tool("write_note", {"name": "b", "text": "x"})).is_error
        client.expire()
        assert not (await session.call_tool("read_note", {"name": "b"})).is_error

    client = connect(deployment.stack.plain_url, deployment.person("alice"), work)
    assert "resource_metadata=" in client.exchanges[0].headers["www-authenticate"]


def test_loopback_redirect_with_a_port_of_its_own(deployment):
    """MCP-AS-35: a native client on loopback."""
    connect(
        deployment.stack.shared_url, deployment.person("alice"), nothing, redirect_uri="http://127.0.0.1:43117/callback"
    )


def test_pages_name_who_asks_and_for_what(deployment):
    """AZ-15, MCP-AS-23, MCP-AS-26: the first page names client, redirect host and resource; none may be framed."""
    client = connect(deployment.stack.shared_url, deployment.person("alice"), nothing)
    first, *_, consent = client.visits
    assert "ChatGPT" in first.text and "chatgpt.com" in first.text
    assert deployment.stack.shared_url.removeprefix("http://") in first.text
    assert "alice@acme.example" in consent.text and "write" in consent.text
    for visit in client.visits:
        policy = visit.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy and "unsafe-inline" not in policy
        assert "<script>" not in visit.html
        assert "no-store" in visit.headers["cache-control"]


def test_denial_carries_state_and_issuer(deployment):
    """MCP-AS-34: access_denied with `iss` and the state."""
    answer, _ = deployment.platform.authorize(deployment.person("alice", "deny"), deployment.platform.register())
    assert answer["error"] == "access_denied" and "code" not in answer


def test_a_mistyped_code_may_be_typed_again(deployment):
    """A wrong code leads back to the form, not into a token."""
    person = deployment.person("alice")

    class MistypedOnce(Outbox):
        mistyped = False

        def await_code(self, email, beyond, within=10.0):
            right = super().await_code(email, beyond, within)
            if self.mistyped:
                return right
            self.mistyped = True
            return "".join(str((int(digit) + 1) % 10) for digit in right)

    person.outbox = MistypedOnce(person.outbox.url)
    code = deployment.platform.code(person)
    assert person.outbox.mistyped
    assert deployment.platform.redeem(code).status_code == 200


@pytest.mark.parametrize("server", ["shared", "acme"])
def test_jwks_verifier_accepts_and_binds_to_the_audience(deployment, server):
    """A FastMCP JWTVerifier with jwks_uri, issuer and audience; another audience or issuer is refused (MCP-RS-09)."""
    url = getattr(deployment.stack, f"{server}_url")
    client = connect(url, deployment.person("alice"), nothing)
    issuer = claims(client.access_token)["iss"]

    def verifier(issuer: str, audience: str) -> JWTVerifier:
        return JWTVerifier(
            jwks_uri=f"{issuer}/oauth/jwks",
            issuer=issuer,
            audience=audience,
            algorithm="ES256",
            required_scopes=["read"],
        )

    accepted = anyio.run(verifier(issuer, url).verify_token, client.access_token)
    assert accepted is not None and "write" in accepted.scopes
    assert anyio.run(verifier(issuer, "http://localhost:1/mcp").verify_token, client.access_token) is None


def test_static_key_verifier_accepts_tokens_of_the_imported_key(deployment):
    """A FastMCP JWTVerifier with the imported key's PEM accepts plain's tokens and no others."""
    _, public_key = deployment.stack.plain_keys()
    verifier = JWTVerifier(public_key=public_key, algorithm="RS256", required_scopes=["read"])
    plain = connect(deployment.stack.plain_url, deployment.person("alice"), nothing)
    shared = connect(deployment.stack.shared_url, deployment.person("alice"), nothing)
    assert anyio.run(verifier.verify_token, plain.access_token) is not None
    assert anyio.run(verifier.verify_token, shared.access_token) is None


def test_imported_key_is_in_no_jwks(deployment, http):
    _, public_key = deployment.stack.plain_keys()
    numbers = serialization.load_pem_public_key(public_key.encode()).public_numbers()
    imported = base64.urlsafe_b64encode(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")).rstrip(b"=").decode()
    for issuer in (deployment.platform, deployment.acme):
        keys = http.get(f"{issuer.url}/oauth/jwks").json()["keys"]
        assert keys and all("d" not in key and key.get("n") != imported for key in keys)


def test_both_tokens_of_a_connection_are_in_the_audit_log(deployment, admin):
    since = time.time() - 1
    tokens = []

    async def work(client, session):
        tokens.append(claims(client.access_token)["jti"])
        client.expire()
        await session.list_tools()
        await session.call_tool("read_note", {"name": "a"})
        tokens.append(claims(client.access_token)["jti"])

    connect(deployment.stack.shared_url, deployment.person("alice"), work)
    organization = deployment.organizations["acme"]
    events = admin.await_events(
        organization, lambda rows: set(tokens) <= {row.get("token") for row in rows}, since=since
    )
    assert set(tokens) <= {event.get("token") for event in events}
    sequence = [event["seq"] for event in admin.events(organization)]
    assert sequence == list(range(sequence[0], sequence[0] + len(sequence))), "the log has a gap"


def test_a_person_of_another_organization_gets_no_token(deployment):
    """R-24: gus is nobody at acme: his address does not open acme's issuer."""

    class SoonTired(Outbox):
        def await_code(self, email, beyond, within=2.0):
            return super().await_code(email, beyond, within)

    gus = deployment.person("gus")
    stranger = Person(gus.email, "acme", SoonTired(gus.outbox.url))
    with pytest.raises(Exception) as failure:
        connect(deployment.stack.acme_url, stranger, nothing)
    assert isinstance(root_cause(failure.value), (PageError, TimeoutError))
