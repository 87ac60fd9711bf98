"""A bare OAuth client for tests that need to misbehave, or to aim at one node: one function per request."""

from __future__ import annotations

import base64
import hashlib
import html
import http.client
import re
import secrets
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
from gatehouse_demo.pages import Browser, Person

REDIRECT_URI = "https://client.example/callback"


def challenge(verifier: str) -> str:
    """The S256 challenge of a verifier (RFC 7636 §4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def told(response: httpx.Response) -> dict[str, str]:
    """What the client is told: by a redirect, or behind the one link of a page that lets the person choose (BC-02).

    Every parameter is there once.
    """
    if response.is_redirect:
        target = response.headers["location"]
    else:
        links = re.findall(r'<a [^>]*href="([^"]+)"[^>]*rel="noreferrer"', response.text)
        assert len(links) == 1, f"{response.status_code} {response.text[:300]}"
        target = html.unescape(links[0])
    assert "#" not in target
    pairs = parse_qsl(urlsplit(target).query, keep_blank_values=True, strict_parsing=True)
    assert len({name for name, _ in pairs}) == len(pairs), f"a parameter twice in {target}"
    return dict(pairs)


def raw(base: str, method: str, target: str, headers: dict[str, str] | None = None, body: bytes = b"") -> tuple:
    """Sends the request target as it is, which httpx would tidy; returns status, headers and body."""
    address = urlsplit(base)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=15)
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in ({"content-length": str(len(body))} | (headers or {})).items():
            connection.putheader(name, value)
        connection.endheaders(body)
        reply = connection.getresponse()
        return reply.status, dict((name.lower(), value) for name, value in reply.getheaders()), reply.read()
    finally:
        connection.close()


@dataclass
class Code:
    """An authorization code that nobody has redeemed yet, with what its redemption takes."""

    code: str
    verifier: str
    client_id: str


@dataclass
class Issuer:
    """One issuer and the resource that tests ask it tokens for."""

    url: str
    resource: str

    def register(self, **metadata) -> str:
        """Registers a public client; returns its client_id."""
        body = {
            "client_name": "Test client", "redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code", "refresh_token"],
        }
        reply = httpx.post(f"{self.url}/oauth/register", json=body | metadata, timeout=15, trust_env=False)
        assert reply.status_code == 201, reply.text
        return reply.json()["client_id"]

    def query(self, client_id: str | None, **changes) -> tuple[dict[str, str], str]:
        """The parameters of a right authorization request, changed; None leaves one out. And the verifier."""
        verifier = secrets.token_urlsafe(48)
        query = {
            "response_type": "code",
            "client_id": client_id,
            "redirect_uri": REDIRECT_URI,
            "state": secrets.token_urlsafe(16),
            "code_challenge": challenge(verifier),
            "code_challenge_method": "S256",
            "resource": self.resource,
            **changes,
        }
        return {name: value for name, value in query.items() if value is not None}, verifier

    def url_for(self, client_id: str | None, **changes) -> str:
        """An authorization URL."""
        return f"{self.url}/oauth/authorize?{urlencode(self.query(client_id, **changes)[0])}"

    def ask(self, client_id: str | None, headers: dict[str, str] | None = None, **changes) -> httpx.Response:
        """The first answer to an authorization request, from a browser without cookies."""
        return httpx.get(self.url_for(client_id, **changes), headers=headers, timeout=15, trust_env=False)

    def authorize(self, person: Person, client_id: str, **parameters) -> tuple[dict[str, str], str]:
        """Signs the person in and takes them through consent; returns the redirect's parameters and the verifier."""
        query, verifier = self.query(client_id, **parameters)
        with Browser(person) as browser:
            answer = browser.authorize(f"{self.url}/oauth/authorize?{urlencode(query)}", query["redirect_uri"])
        assert answer.get("state") == query.get("state"), answer
        assert answer.get("iss") == self.url, answer
        return answer, verifier

    def code(self, person: Person, client_id: str | None = None, **parameters) -> Code:
        """A fresh code."""
        client_id = client_id or self.register()
        answer, verifier = self.authorize(person, client_id, **parameters)
        assert "code" in answer, answer
        return Code(answer["code"], verifier, client_id)

    def redeem(self, code: Code, /, node: str | None = None, **changes) -> httpx.Response:
        """Redeems the code, at the node with that address if one is given."""
        form = {
            "grant_type": "authorization_code",
            "code": code.code,
            "redirect_uri": REDIRECT_URI,
            "client_id": code.client_id,
            "code_verifier": code.verifier,
            "resource": self.resource,
            **changes,
        }
        return self.token(form, node)

    def refresh(self, refresh_token: str, client_id: str, /, node: str | None = None, **changes) -> httpx.Response:
        form = {
            "grant_type": "refresh_token",
            "refresh_token": refresh_token,
            "client_id": client_id,
            "resource": self.resource,
            **changes,
        }
        return self.token(form, node)

    def token(
        self, form: dict[str, str], node: str | None = None, timeout: float = 15,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        """POST to the token endpoint; through a node's own address it carries the public Host, as a proxy sends it.

        A parameter that is None is left out.
        """
        public = urlsplit(self.url)
        base = f"{node}{public.path}" if node else self.url
        form = {name: value for name, value in form.items() if value is not None}
        headers = {"host": public.netloc} | (headers or {})
        return httpx.post(f"{base}/oauth/token", data=form, headers=headers, timeout=timeout, trust_env=False)
