"""Processes are killed and servers stopped while clients work: what was acknowledged stays (design §8)."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx
import pytest
from gatehouse_demo.admin import Admin
from gatehouse_demo.chatgpt import claims
from gatehouse_demo.pages import PageError
from oauth import REDIRECT_URI

KILLING_SECONDS = float(os.environ.get("GATEHOUSE_TEST_KILL_SECONDS", "8"))


@dataclass
class Chain:
    """A client that refreshes again and again, keeping what was acknowledged; retries as real clients do."""

    deployment: object
    client_id: str
    refresh_token: str
    acknowledged: list[str]
    lost: list[str] = field(default_factory=list)

    def refresh_once(self, node: str) -> bool:
        """One try. False when the outcome is unknown or the server said to come back."""
        try:
            reply = self.deployment.platform.refresh(self.refresh_token, self.client_id, node)
        except httpx.TransportError:
            return False
        if reply.status_code == 200:
            body = reply.json()
            self.acknowledged.append(body["access_token"])
            self.refresh_token = body["refresh_token"]
            return True
        if reply.status_code != 503:
            self.lost.append(f"{reply.status_code} {reply.text[:200]}")
        return False

    def run(self, stopping: threading.Event) -> None:
        while not stopping.is_set() and not self.lost:
            if not self.refresh_once(random.choice(self.deployment.node_urls)):
                time.sleep(0.05)   # what a client does that was told Retry-After, only faster

    def settle(self) -> None:
        """The chain's last acknowledged refresh token still works."""
        until = time.monotonic() + 15
        while not self.lost and time.monotonic() < until:
            if self.refresh_once(self.deployment.node_urls[0]):
                return
            time.sleep(0.1)
        self.lost.append(self.lost[0] if self.lost else "no answer for 15 s after everything was up again")


def start_chains(deployment, count: int) -> list[Chain]:
    """Chains with a client, and so a grant, of their own."""
    chains = []
    for _ in range(count):
        code = deployment.platform.code(deployment.person("alice"))
        body = deployment.platform.redeem(code).json()
        chains.append(Chain(deployment, code.client_id, body["refresh_token"], [body["access_token"]]))
    return chains


def under_load(deployment, chains: list[Chain], harm) -> None:
    """Runs `harm()` again and again while the chains refresh, for KILLING_SECONDS."""
    stopping = threading.Event()
    threads = [threading.Thread(target=chain.run, args=(stopping,)) for chain in chains]
    for thread in threads:
        thread.start()
    try:
        until = time.monotonic() + KILLING_SECONDS
        while time.monotonic() < until and not any(chain.lost for chain in chains):
            time.sleep(random.uniform(0.3, 1.0))
            harm()
    finally:
        stopping.set()
        for thread in threads:
            thread.join(30)


def check_nothing_lost(deployment, chains: list[Chain], since: float) -> None:
    for chain in chains:
        chain.settle()
    assert not [chain.lost for chain in chains if chain.lost]
    wanted = {claims(token)["jti"] for chain in chains for token in chain.acknowledged}
    assert len(wanted) > 2 * len(chains), "hardly anything was refreshed: the test proves little"
    organization = deployment.organizations["acme"]
    with Admin(deployment.stack.url, deployment.stack.admin_key) as admin:
        events = admin.await_events(
            organization, lambda rows: wanted <= {row.get("token") for row in rows}, since=since, within=20
        )
        recorded = Counter(event["token"] for event in events if event.get("token") in wanted)
        sequence = [event["seq"] for event in admin.events(organization)]
    assert wanted - set(recorded) == set(), "acknowledged tokens without an event"
    assert [token for token, count in recorded.items() if count > 1] == [], "one token, several events"
    assert sequence == list(range(sequence[0], sequence[0] + len(sequence))), "the log has a gap"


def test_killed_gatehouse_loses_nothing_acknowledged(deployment):
    """F-11, TK-27: kill -9 of the nodes in turn, under load: each acknowledged token has its event, no refresh token is lost."""
    since = time.time() - 1
    chains = start_chains(deployment, 6)
    turn = iter(range(10_000))

    def harm() -> None:
        node = deployment.nodes[next(turn) % len(deployment.nodes)]
        node.kill()
        deployment.stack.start_gatehouse(node)

    under_load(deployment, chains, harm)
    check_nothing_lost(deployment, chains, since)


def test_killed_postgresql_loses_nothing_acknowledged(deployment):
    """F-04, TK-27: kill -9 of PostgreSQL under load: the same promises."""
    since = time.time() - 1
    chains = start_chains(deployment, 6)

    def harm() -> None:
        deployment.servers.kill_postgres()
        deployment.servers.start_postgres()
        time.sleep(1.5)   # let the load through again before the next blow

    under_load(deployment, chains, harm)
    await_ready(deployment)
    check_nothing_lost(deployment, chains, since)


def await_ready(deployment) -> None:
    for node in deployment.nodes:
        node.await_answer(f"http://127.0.0.1:{node.environment['GATEHOUSE_INTERNAL_PORT']}/readyz", 30)


def refused_for_now(reply, seconds: float) -> None:
    assert reply.status_code == 503, reply.text
    assert "retry-after" in reply.headers
    assert seconds < 3, f"took {seconds:.1f} s"


def test_without_redis_refresh_and_admin_go_on(deployment, admin, http):
    """F-01, AZ-19: sign-ins and code redemption: come back later. Everything else: as if nothing had happened."""
    issuer = deployment.platform
    spent = issuer.code(deployment.person("alice"))
    tokens = issuer.redeem(spent).json()
    waiting = issuer.code(deployment.person("alice"))
    deployment.servers.stop_redis()
    try:
        started = time.monotonic()
        reply = issuer.redeem(waiting)
        refused_for_now(reply, time.monotonic() - started)
        assert reply.json()["error"] == "temporarily_unavailable"

        query = {
            "response_type": "code", "client_id": spent.client_id, "redirect_uri": REDIRECT_URI, "state": "s",
            "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", "code_challenge_method": "S256", "resource": issuer.resource,
        }
        started = time.monotonic()
        reply = http.get(f"{issuer.url}/oauth/authorize", params=query)
        assert time.monotonic() - started < 3
        redirected = reply.is_redirect and "error=temporarily_unavailable" in reply.headers["location"]
        assert redirected or reply.status_code == 503, (reply.status_code, reply.headers.get("location"))

        refreshed = issuer.refresh(tokens["refresh_token"], spent.client_id)
        assert refreshed.status_code == 200, refreshed.text
        assert list(admin.list("/v1/organizations"))
        assert http.get(f"{issuer.url}/oauth/jwks").status_code == 200
        assert http.post(f"{issuer.url}/oauth/register", json={"redirect_uris": [REDIRECT_URI]}).status_code == 201
    finally:
        deployment.servers.start_redis()
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            assert issuer.redeem(issuer.code(deployment.person("alice"))).status_code == 200
            return
        except (PageError, AssertionError, httpx.HTTPError):
            time.sleep(0.3)
    pytest.fail("sign-in does not work again 10 s after Redis came back")


def test_without_postgresql_keys_and_metadata_answer_and_the_rest_says_later(deployment, http):
    """F-03, K-30, RL-01, AZ-19: keys and metadata from memory; what has to be written is 503 with Retry-After, at once;
    a person reads a page or is sent back with an error, and nobody sees a 500."""
    issuer = deployment.platform
    native = issuer.register(redirect_uris=["http://127.0.0.1/callback"])
    code = issuer.code(deployment.person("alice"))
    tokens = issuer.redeem(code).json()
    http.get(f"{issuer.url}/oauth/jwks")
    deployment.servers.stop_postgres()
    try:
        for path in ("/oauth/jwks", "/.well-known/oauth-authorization-server"):
            assert http.get(issuer.url + path).status_code == 200, path
        started = time.monotonic()
        reply = issuer.refresh(tokens["refresh_token"], code.client_id)
        refused_for_now(reply, time.monotonic() - started)
        started = time.monotonic()
        reply = http.post(f"{issuer.url}/oauth/register", json={"redirect_uris": [REDIRECT_URI]})
        refused_for_now(reply, time.monotonic() - started)
        for client, redirect in ((code.client_id, REDIRECT_URI), (native, "http://127.0.0.1:1/callback")):
            reply = issuer.ask(client, redirect_uri=redirect)
            if reply.is_redirect:
                assert httpx.URL(reply.headers["location"]).params["error"] == "temporarily_unavailable"
            else:
                assert reply.status_code in (200, 503) and reply.headers["content-type"].startswith("text/html")
        internal = f"http://127.0.0.1:{deployment.nodes[0].environment['GATEHOUSE_INTERNAL_PORT']}"
        assert http.get(f"{internal}/livez").status_code == 200
        assert http.get(f"{internal}/readyz").status_code == 503
    finally:
        deployment.servers.start_postgres()
    await_ready(deployment)
    assert issuer.refresh(tokens["refresh_token"], code.client_id).status_code == 200


def test_sigterm_drains(deployment):
    """F-10: a node that is told to end answers what it has begun, and ends by itself with status 0."""
    node = deployment.nodes[1]
    chains = start_chains(deployment, 3)
    stopping = threading.Event()
    threads = [threading.Thread(target=chain.run, args=(stopping,)) for chain in chains]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    node.stop(within=30)
    status = node.child.returncode
    deployment.stack.start_gatehouse(node)
    time.sleep(0.5)
    stopping.set()
    for thread in threads:
        thread.join(30)
    assert status == 0
    assert not [chain.lost for chain in chains if chain.lost]
