"""ChatGPT's part, played by the real `mcp` client: discovery, registration, sign-in, tools, refresh."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import anyio.to_thread
import httpx2
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

from .pages import Browser, PageError, Person, Visit

CHATGPT_REDIRECT_URI = "https://chatgpt.com/connector_platform_oauth_redirect"

SignIn = Callable[[str, str], dict[str, str]]
"""Takes the authorization URL and the redirect URI; returns the parameters of the redirect."""


class Storage:
    """What a client keeps between runs: its registration and its tokens."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


@dataclass
class Exchange:
    """One HTTP exchange of the client, as the step list and the tests look at it."""

    method: str
    url: str
    status: int
    headers: dict[str, str]
    at: float

    @property
    def path(self) -> str:
        return urlsplit(self.url).path


@dataclass
class ChatGPT:
    """One connection of the client to one MCP server.

    `report` is told of every exchange and of every page that the person sees.
    """

    server_url: str
    sign_in: SignIn
    redirect_uri: str = CHATGPT_REDIRECT_URI
    storage: Storage = field(default_factory=Storage)
    report: Callable[[Exchange | Visit], None] = lambda _: None
    exchanges: list[Exchange] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._answer: dict[str, str] = {}
        native = urlsplit(self.redirect_uri).scheme == "http"
        self.provider = OAuthClientProvider(
            server_url=self.server_url,
            # ChatGPT's registration: one redirect, no scope, a public client.
            client_metadata=OAuthClientMetadata(
                client_name="ChatGPT",
                redirect_uris=[self.redirect_uri],  # type: ignore[list-item]
                token_endpoint_auth_method="none",
                application_type="native" if native else "web",
            ),
            storage=self.storage,
            redirect_handler=self._redirect,
            callback_handler=self._callback,
        )

    async def _redirect(self, url: str) -> None:
        self._answer = await anyio.to_thread.run_sync(self.sign_in, url, self.redirect_uri)
        if "error" in self._answer:
            raise PageError(f"the server redirected with {self._answer}")

    async def _callback(self) -> AuthorizationCodeResult:
        return AuthorizationCodeResult.model_validate(self._answer)

    async def _record(self, response: httpx2.Response) -> None:
        request = response.request
        exchange = Exchange(
            request.method, str(request.url), response.status_code, dict(response.headers), time.monotonic()
        )
        self.exchanges.append(exchange)
        self.report(exchange)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Client]:
        """The MCP session; signs in on the way when the storage holds no usable tokens."""
        async with httpx2.AsyncClient(
            auth=self.provider, timeout=30, trust_env=False, event_hooks={"response": [self._record]}
        ) as http:
            async with Client(streamable_http_client(self.server_url, http_client=http)) as client:
                yield client

    def expire(self) -> None:
        """Makes the client believe that its access token has expired, so that its next request refreshes."""
        self.provider.context.token_expiry_time = time.time() - 1

    @property
    def access_token(self) -> str:
        assert self.storage.tokens is not None, "not signed in"
        return self.storage.tokens.access_token

    @property
    def refresh_token(self) -> str | None:
        assert self.storage.tokens is not None, "not signed in"
        return self.storage.tokens.refresh_token


def signing_in(person: Person, report: Callable[[Visit], None] | None = None) -> SignIn:
    """A person who signs in with a browser of their own for each authorization."""

    def sign_in(url: str, redirect_uri: str) -> dict[str, str]:
        with Browser(person, report) as browser:
            return browser.authorize(url, redirect_uri)

    return sign_in


def claims(token: str) -> dict:
    """The claims of a JWT, unverified: for showing and for tests that verify elsewhere."""
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def result_text(result) -> str:
    """The text of a tool's result."""
    return " ".join(getattr(block, "text", "") for block in result.content)


def root_cause(error: BaseException) -> BaseException:
    """The first plain exception within nested groups (a built-in from Python 3.11 on, hence the duck type)."""
    while nested := getattr(error, "exceptions", None):
        error = nested[0]
    return error
