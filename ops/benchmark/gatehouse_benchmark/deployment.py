"""The servers that get measured, and what the scenarios need to exist in them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote, urlencode

import httpx
from gatehouse_demo.admin import Admin
from gatehouse_demo.pages import Browser, Person
from gatehouse_demo.sandbox import Outbox as Mail
from gatehouse_demo.seed import resource_body
from gatehouse_demo.stack import Ports, Process, Stack

from .tenants import Tenants

# The pair of RFC 7636, appendix B: the load generator computes no digests.
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"

REDIRECT_URI = "https://bench.example/cb"


class BenchError(Exception):
    """The measurement cannot go on; the message says why."""


class Deployment:
    """Gatehouse with the demo's organizations, a client that an administrator registered, and Alice's browser.

    PostgreSQL and Redis run already (see `ops/bench`). The sandbox is needed only until Alice has signed in.
    """

    def __init__(self, folder: Path, products: Path, ports: Ports, settings: dict[str, str]):
        self.folder = folder
        self.stack = Stack(folder, products, ports, settings)
        self.server: Process | None = None
        self.issuer_path = "/o/acme"
        self.client_id = ""
        self.service_id = self.service_secret = ""
        self.cookies = ""
        self.tenants: Tenants | None = None
        self.http = httpx.Client(timeout=60, trust_env=False)

    @property
    def port(self) -> int:
        return self.stack.ports.gatehouse

    @property
    def pid(self) -> int:
        if self.server is None or self.server.child is None or not self.server.running:
            raise BenchError(self.server.obituary if self.server else "gatehouse was not started")
        return self.server.child.pid

    def start(self) -> None:
        self.stack.migrate(create_roles=True)
        self.stack.find_admin_key()   # sets the platform up, without which the server has no issuer
        sandbox = self.stack.start_sandbox()
        self.server = self.stack.add_gatehouse()
        self.organizations = self.stack.seed()
        self.client_id = self.register_client()
        self.add_service()
        self.cookies = self.sign_in()
        sandbox.stop()
        self.stack.processes.remove(sandbox)

    def register_client(self) -> str:
        """A public client with an https redirect: the kind whose users are not asked for consent every time."""
        with Admin(self.stack.url, self.stack.admin_key) as admin:
            client = admin.post(
                f"/v1/organizations/{self.organizations['acme']}/clients",
                {
                    "name": "Bench",
                    "kind": "registered",
                    "redirect_uris": [REDIRECT_URI],
                    "grant_types": ["authorization_code", "refresh_token"],
                    "token_endpoint_auth_method": "none",
                },
            )
        return client.get("client_id") or client["id"]

    @property
    def rs256_url(self) -> str:
        """A resource of acme whose tokens are signed with RS256."""
        return "https://bench.example/rs256"

    def add_service(self) -> None:
        """A program of acme's with a secret, which policy lets read and write."""
        base = f"/v1/organizations/{self.organizations['acme']}"
        with Admin(self.stack.url, self.stack.admin_key) as admin:
            admin.post(f"{base}/resources", resource_body(self.rs256_url, "Bench", "RS256", listed=False))
            service = admin.post(
                f"{base}/clients",
                {"name": "Bench service", "kind": "service", "token_endpoint_auth_method": "client_secret_post"},
            )
            self.service_id, self.service_secret = service["client_id"], service["client_secret"]
            admin.post(
                f"{base}/scope-policies",
                {
                    "name": "bench", "effect": "allow", "principals": {"services": [self.service_id]},
                    "scopes": ["read", "write"],
                },
            )

    def access_token(self) -> str:
        """A fresh token of the service, for acme's server."""
        body = {
            "grant_type": "client_credentials", "client_id": self.service_id, "client_secret": self.service_secret,
            "resource": self.stack.acme_url,
        }
        reply = self.http.post(f"{self.stack.url}{self.issuer_path}/oauth/token", data=body)
        if reply.status_code != 200:
            raise BenchError(f"no token for the service: {reply.status_code} {reply.text[:300]}")
        return reply.json()["access_token"]

    def token_rows(self, count: int) -> Path:
        """A file of different tokens of the service, a line each."""
        path = self.folder / f"tokens-{count}.rows"
        if not path.exists():
            path.touch(mode=0o600)
            with ThreadPoolExecutor(8) as threads, path.open("w") as file:
                for token in threads.map(lambda _: self.access_token(), range(count)):
                    file.write(token + "\n")
            body = {"client_id": self.service_id, "client_secret": self.service_secret, "token": token}
            answer = self.http.post(f"{self.stack.url}{self.issuer_path}/oauth/introspect", data=body)
            if not answer.is_success or not answer.json()["active"]:
                raise BenchError(f"a fresh token is not active: {answer.status_code} {answer.text[:300]}")
        return path

    def client_rows(self, exponent: float) -> Path:
        """Which of a hundred thousand clients of ten thousand organizations speaks next."""
        if self.tenants is None:
            self.tenants = Tenants(
                self.stack.url, self.stack.admin_key, os.environ["DATABASE_ADMIN_URL"], self.folder
            )
            self.tenants.make()
        return self.tenants.rows(exponent)

    def authorize_target(self, state: str) -> str:
        """Path and query of an authorization request; `state` goes in as it is."""
        parameters = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": REDIRECT_URI,
            "resource": self.stack.acme_url,
            "scope": "read write",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        }
        return f"{self.issuer_path}/oauth/authorize?{urlencode(parameters, quote_via=quote)}&state={state}"

    def sign_in(self) -> str:
        """Alice's cookies after a real sign-in and consent, checked to be enough for a code without any page."""
        person = Person("alice@acme.example", "acme", Mail(self.stack.sandbox_url))
        url = self.stack.url + self.authorize_target("first")
        with Browser(person) as browser:
            answer = browser.authorize(url, REDIRECT_URI)
            if "code" not in answer:
                raise BenchError(f"the sign-in ended with {answer}")
            cookies = "; ".join(f"{one.name}={one.value}" for one in browser.http.cookies.jar)
        again = httpx.get(url, headers={"cookie": cookies}, timeout=10, trust_env=False)
        location = again.headers.get("location", "")
        if not location.startswith(REDIRECT_URI) or "code=" not in location:
            raise BenchError(
                "the session and the consent that are there do not get a code at once: "
                f"status {again.status_code} {location} {again.text[:300]}"
            )
        return cookies

    def stop(self) -> None:
        self.stack.stop()


def settings_from_environment(extra: list[str]) -> dict[str, str]:
    """What gatehouse is told beside its addresses: stores, and what a measurement needs otherwise than by default."""
    names = ("DATABASE_URL", "DATABASE_OWNER_URL", "DATABASE_SEQUENCER_URL", "REDIS_URL")
    return {
        **{name: os.environ[name] for name in names},
        # A line per request would measure the disk; warnings and errors are kept.
        "GATEHOUSE_LOG_LEVEL": "warning",
        # The registration scenario makes more unused clients in a second than a real day sees.
        "GATEHOUSE_REGISTRATION_QUOTA": "100000000",
        # One caller does here what thousands do: limits it never reaches, yet asked about at every request as ever.
        **{
            f"GATEHOUSE_RATE_{name}": "60000000/60"
            for name in (
                *("TOKEN_CLIENT", "TOKEN_ORGANIZATION", "TOKEN_GRANT", "INTROSPECT_CLIENT", "INTROSPECT_ORGANIZATION"),
                *("OTHER_CLIENT", "OTHER_ORGANIZATION", "AUTHORIZE_SOURCE", "REGISTER_SOURCE", "ADMIN_KEY"),
                *("ADMIN_ORGANIZATION", "FAILURES_CLIENT", "FAILURES_SOURCE"),
            )
        },
        **dict(setting.split("=", 1) for setting in extra),
    }
