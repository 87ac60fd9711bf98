"""What others' failures may do to us, and what they may not (facts B6)."""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import time

import httpx
import pytest
from gatehouse_demo.chatgpt import claims
from oauth import REDIRECT_URI
from walk import Walk, told_code


@pytest.fixture(scope="module")
def client(deployment) -> str:
    return deployment.platform.register()


def invalid_grant(reply: httpx.Response) -> bool:
    return reply.status_code == 400 and reply.json()["error"] == "invalid_grant"


def test_redis_forgets(deployment, browser, client, evidence):
    """F-02, K-03, TK-13, TK-18: what was used once stays used when Redis has lost everything, and its reuse revokes."""
    issuer = deployment.platform
    code = told_code(issuer, browser, client)
    tokens = issuer.redeem(code).json()
    evidence.redis("FLUSHALL")
    assert invalid_grant(issuer.redeem(code, deployment.node_urls[1]))
    assert invalid_grant(issuer.refresh(tokens["refresh_token"], client)), "the replay revoked what the code gave"
    code = told_code(issuer, browser, client)
    chain = [issuer.redeem(code).json()]
    for _ in range(2):
        chain.append(issuer.refresh(chain[-1]["refresh_token"], client).json())
    evidence.redis("FLUSHALL")
    assert invalid_grant(issuer.refresh(chain[0]["refresh_token"], client, deployment.node_urls[1]))
    assert invalid_grant(issuer.refresh(chain[-1]["refresh_token"], client)), "the old one is stolen, so all ends"


def test_redis_answers_too_late(deployment, browser, client):
    """F-01: a Redis that hangs is a Redis that is away: codes wait with 503 and are not spent, the rest goes on, and
    nobody waits long."""
    issuer = deployment.platform
    tokens = issuer.redeem(told_code(issuer, browser, client)).json()
    code = told_code(issuer, browser, client)
    pid = int((deployment.servers.folder / "redis" / "redis.pid").read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        reply = issuer.redeem(code)
        assert reply.status_code == 503 and reply.json()["error"] == "temporarily_unavailable"
        assert "retry-after" in reply.headers and time.monotonic() - began < 3
        began = time.monotonic()
        assert issuer.refresh(tokens["refresh_token"], client).status_code == 200
        assert time.monotonic() - began < 3
    finally:
        os.kill(pid, signal.SIGCONT)
    until = time.monotonic() + 10
    while (reply := issuer.redeem(code)).status_code == 503 and time.monotonic() < until:
        time.sleep(0.2)
    assert reply.status_code == 200, "TK-27: what was refused with 503 was not spent"


def test_sign_in_provider_hangs(deployment, browser, client):
    """F-06, F-07: then its people read a page that says so, within seconds; tokens, refresh and everybody signed in
    go on; and when it is back, so are they."""
    issuer = deployment.platform
    tokens = issuer.redeem(told_code(issuer, browser, client)).json()
    sandbox = next(one for one in deployment.stack.processes if one.name == "stytch-sandbox")
    sandbox.signal(signal.SIGSTOP)
    try:
        # The outbox belongs to the sandbox too, so the page is answered by hand.
        with httpx.Client(timeout=30, trust_env=False) as stranger:
            walk = Walk(deployment, deployment.person("gus"))
            walk.http.close()
            walk.http = stranger
            page = walk.get(issuer.url_for(client))
            began = time.monotonic()
            page = walk.send(page, email="gus@globex.example", organization="globex")
        assert time.monotonic() - began < 15
        assert page.status_code in (200, 422, 502, 503) and "text/html" in page.headers["content-type"]
        assert "Traceback" not in page.text and "127.0.0.1" not in page.text
        assert issuer.refresh(tokens["refresh_token"], client).status_code == 200
        assert httpx.get(f"{issuer.url}/oauth/jwks", trust_env=False).status_code == 200
    finally:
        sandbox.signal(signal.SIGCONT)
    assert issuer.redeem(issuer.code(deployment.person("gus"), client)).status_code == 200


def test_many_at_once(deployment, browser, client):
    """F-12, TK-27: three hundred requests in the same moment: each is answered or told to come back, none with a 500,
    and right afterwards all is as quick as before."""
    issuer = deployment.platform
    tokens = issuer.redeem(told_code(issuer, browser, client)).json()
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"], "client_id": client}

    async def storm() -> list[int]:
        limits = httpx.Limits(max_connections=300)
        async with httpx.AsyncClient(timeout=30, trust_env=False, limits=limits) as http:
            replies = await asyncio.gather(
                *(http.post(f"{issuer.url}/oauth/token", data=form) for _ in range(300)), return_exceptions=True)
        assert not [one for one in replies if isinstance(one, Exception)]
        return [one.status_code for one in replies]

    assert set(asyncio.run(storm())) <= {200, 429, 503}
    began = time.monotonic()
    for _ in range(5):
        assert httpx.get(f"{issuer.url}/oauth/jwks", trust_env=False).status_code == 200
    assert time.monotonic() - began < 5
    fresh = issuer.redeem(told_code(issuer, browser, client))
    assert fresh.status_code == 200 and claims(fresh.json()["access_token"])["iss"] == issuer.url


def test_who_exists_cannot_be_timed(deployment):
    """K-18: a wrong secret of a client that exists takes as long as one of a client that does not, and a secret that
    begins right as long as one that does not: the medians of interleaved requests differ by less than they scatter."""
    issuer = deployment.platform
    body = {"client_name": "Timed", "redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": "client_secret_post"}
    client = httpx.post(f"{issuer.url}/oauth/register", json=body, trust_env=False).json()
    known, secret = client["client_id"], client["client_secret"]
    cases = {
        "known": (known, "x" * len(secret)), "unknown": (known[:-4] + "0000", "x" * len(secret)),
        "nearly right": (known, secret[:-2] + ("AA" if secret[-2:] != "AA" else "BB")),
    }
    times: dict[str, list[float]] = {name: [] for name in cases}
    with httpx.Client(timeout=15, trust_env=False) as http:
        for turn in range(130):
            for name, (client_id, value) in cases.items():
                form = {"grant_type": "refresh_token", "refresh_token": "x", "client_id": client_id,
                        "client_secret": value}
                # Each try from somewhere else, or the limit on guessing would be what is measured.
                headers = {"x-forwarded-for": f"198.51.{turn % 250}.{len(name)}"}
                began = time.perf_counter()
                reply = http.post(f"{issuer.url}/oauth/token", data=form, headers=headers)
                taken = time.perf_counter() - began
                assert reply.status_code == 401
                if turn >= 10:
                    times[name].append(taken)
    medians = {name: statistics.median(values) for name, values in times.items()}
    quarters = [statistics.quantiles(values, n=4) for values in times.values()]
    scatter = max(upper - lower for lower, _, upper in quarters)
    assert max(medians.values()) - min(medians.values()) < max(scatter, 0.002), (medians, scatter)
