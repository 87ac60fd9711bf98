"""The released `mcp` and `fastmcp` clients, however they come by their client_id; test_chatgpt.py has more of `mcp`."""

from __future__ import annotations

import secrets
import threading
import webbrowser

import anyio
import httpx
import pytest
from fastmcp import Client
from fastmcp.client.auth import OAuth
from gatehouse_demo.chatgpt import CHATGPT_REDIRECT_URI, ChatGPT, claims, result_text, signing_in
from gatehouse_demo.pages import Browser
from mcp.shared.auth import OAuthClientInformationFull
from walk import Walk

BOTH_GRANTS = ["authorization_code", "refresh_token"]


@pytest.fixture
def preregistered(deployment, admin):
    """Makes clients that acme's administrator registered, each deleted in the end."""
    path = f"/v1/organizations/{deployment.organizations['acme']}/clients"
    made = []

    def make(method: str, *redirects: str) -> dict:
        body = {"name": "Registered by hand", "redirect_uris": list(redirects), "grant_types": BOTH_GRANTS,
                "token_endpoint_auth_method": method}
        made.append(admin.post(path, body))
        return made[-1]

    yield make
    for client in made:
        admin.send("DELETE", f"{path}/{client['id']}", headers={"if-match": "*"})


@pytest.fixture
def browser_opens(deployment, monkeypatch):
    """What `webbrowser` opens is opened by alice, who signs in, agrees and is sent back to the client."""
    opened = []

    def visit(url: str) -> None:
        redirect = httpx.URL(url).params["redirect_uri"]
        with Browser(deployment.person("alice")) as browser:
            answer = browser.authorize(url, redirect)
        httpx.get(redirect, params=answer, timeout=15, trust_env=False)

    def begin(url: str, *_) -> bool:
        opened.append(url)
        threading.Thread(target=visit, args=(url,), daemon=True).start()
        return True

    monkeypatch.setattr(webbrowser, "open", begin)
    return opened


def use_fastmcp(url: str, auth: OAuth) -> dict:
    """Connects, calls both tools, refreshes, calls again; returns the last token's claims."""

    async def run() -> str:
        async with Client(url, auth=auth) as client:
            await client.call_tool("write_note", {"name": "fastmcp", "text": "was here"})
            auth.context.token_expiry_time = 1.0
            before = auth.context.current_tokens.access_token
            assert "was here" in result_text(await client.call_tool("read_note", {"name": "fastmcp"}))
            assert auth.context.current_tokens.access_token != before, "it should have refreshed"
            return auth.context.current_tokens.access_token

    return claims(anyio.run(run))


@pytest.mark.filterwarnings("ignore:Using in-memory token storage")
@pytest.mark.parametrize("server", ["shared", "acme", "plain"])
def test_fastmcp_registers_itself(deployment, browser_opens, server):
    """MCP-AS-01, MCP-AS-08, MCP-AS-12, MCP-AS-17, MCP-AS-19, MCP-AS-35, MCP-RS-02: dynamic registration, loopback
    callback with a server of its own, tools, refresh."""
    url = getattr(deployment.stack, f"{server}_url")
    token = use_fastmcp(url, OAuth(url))
    assert token["aud"] == url and token["org_slug"] == "acme" and len(browser_opens) == 1


@pytest.mark.filterwarnings("ignore:Using in-memory token storage")
@pytest.mark.parametrize("method", ["client_secret_post", "client_secret_basic"])
def test_fastmcp_with_a_confidential_client(deployment, browser_opens, preregistered, method):
    """MCP-AS-09, MCP-AS-35, TK-09: id and secret from an administrator, sent as registered; no registration."""
    client = preregistered(method, "http://localhost/callback")
    auth = OAuth(
        deployment.stack.acme_url, client_id=client["client_id"], client_secret=client["client_secret"],
        additional_client_metadata={"token_endpoint_auth_method": method})
    token = use_fastmcp(deployment.stack.acme_url, auth)
    assert token["client_id"] == client["client_id"] and token["iss"] == deployment.acme.url


@pytest.mark.parametrize("method", ["client_secret_post", "client_secret_basic"])
def test_mcp_with_a_confidential_client(deployment, preregistered, method):
    """MCP-AS-09, TK-09: the `mcp` client with an administrator's id and secret never registers, and refreshes with its
    secret."""
    made = preregistered(method, CHATGPT_REDIRECT_URI)
    client = ChatGPT(deployment.stack.acme_url, signing_in(deployment.person("alice")))
    client.storage.client = OAuthClientInformationFull(
        client_id=made["client_id"], client_secret=made["client_secret"], token_endpoint_auth_method=method,
        redirect_uris=[CHATGPT_REDIRECT_URI], grant_types=BOTH_GRANTS)

    async def run() -> None:
        async with client.connected() as session:
            await session.list_tools()
            client.expire()
            assert not (await session.call_tool("read_note", {"name": "a"})).is_error

    anyio.run(run)
    assert claims(client.access_token)["client_id"] == made["client_id"]
    assert not [one for one in client.exchanges if one.path.endswith("/register")]
    assert len([one for one in client.exchanges if one.path.endswith("/token")]) == 2


def test_a_confidential_client_without_its_secret(deployment, preregistered):
    """K-23, TK-09: what an administrator made confidential stays so."""
    made = preregistered("client_secret_basic", CHATGPT_REDIRECT_URI)
    issuer = deployment.acme
    with Walk(deployment, deployment.person("alice")) as browser:
        query, verifier = issuer.query(made["client_id"], redirect_uri=CHATGPT_REDIRECT_URI)
        page = browser.until(str(httpx.URL(f"{issuer.url}/oauth/authorize", params=query)), "decision")
        code = httpx.URL(browser.send(page).headers["location"]).params["code"]
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CHATGPT_REDIRECT_URI,
            "code_verifier": verifier, "client_id": made["client_id"]}
    for secret in (None, "", "x"):
        reply = issuer.token(form | {"client_secret": secret})
        assert reply.status_code == 401 and reply.json()["error"] == "invalid_client"


@pytest.fixture
def document(deployment):
    """Publishes a client's metadata document with these redirects; returns its URL, the client_id."""
    paths = []

    def publish(*redirects: str) -> str:
        paths.append(f"/{secrets.token_hex(4)}/client.json")
        url = deployment.documents.url(paths[-1])
        deployment.documents.publish(paths[-1], {
            "client_id": url, "client_name": "Documented", "redirect_uris": list(redirects), "grant_types": BOTH_GRANTS,
            "response_types": ["code"], "token_endpoint_auth_method": "none"})
        return url

    yield publish
    for path in paths:
        deployment.documents.withdraw(path)


@pytest.mark.filterwarnings("ignore:Using in-memory token storage")
@pytest.mark.parametrize("server", ["shared", "acme"])
def test_fastmcp_by_document(deployment, browser_opens, document, server):
    """MCP-AS-06, MCP-AS-10, MCP-AS-35, CM-06: the client's URL is its client_id; its callback has a port of its own."""
    url = getattr(deployment.stack, f"{server}_url")
    client_id = document("http://localhost/callback")
    token = use_fastmcp(url, OAuth(url, client_metadata_url=client_id))
    assert token["client_id"] == client_id and token["aud"] == url


@pytest.mark.parametrize("server", ["shared", "acme", "plain"])
def test_mcp_by_document(deployment, document, server):
    """MCP-AS-06, MCP-AS-10: the `mcp` client sees the flag in the metadata, registers nowhere, connects and refreshes."""
    client_id = document(CHATGPT_REDIRECT_URI)
    client = ChatGPT(getattr(deployment.stack, f"{server}_url"), signing_in(deployment.person("alice")))
    client.provider.context.client_metadata_url = client_id

    async def run() -> None:
        async with client.connected() as session:
            await session.list_tools()
            client.expire()
            assert not (await session.call_tool("read_note", {"name": "a"})).is_error

    anyio.run(run)
    assert claims(client.access_token)["client_id"] == client_id
    assert not [one for one in client.exchanges if one.path.endswith("/register")]
