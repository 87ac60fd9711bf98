"""What others' failures may do to us, and what they may not (facts B6)."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import statistics
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from evidence import sized, source, uuid_of
from gatehouse_demo.admin import Admin
from gatehouse_demo.chatgpt import claims
from gatehouse_demo.pages import PageError, Person
from gatehouse_demo.sandbox import GLOBEX
from oauth import REDIRECT_URI
from test_metadata_documents import ask, publish
from walk import Walk, forms_of, text_of, told_code


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


@pytest.mark.parametrize("mode", ["down", "error_500", "too_many_requests", "slow"])
def test_sign_in_provider_fails(deployment, client, mode):
    """F-06: whichever way one organization's provider fails, its people read a page that says so and how to go on;
    after some failures it is left alone for a while, so that nobody waits; another organization's people sign in; what
    is connected goes on; and when it is back, so is the sign-in."""
    issuer, sandbox = deployment.platform, deployment.stack.sandbox_url
    # Somebody of their own for each mode: nobody is sent many mails in a few minutes.
    name = f"{mode.replace('_', '-')}@globex.example"
    person = Person(name, "globex", deployment.person("gus").outbox)
    tokens = issuer.redeem(issuer.code(person, client)).json()
    body = {"project_id": GLOBEX["project_id"], "mode": mode, "delay_ms": 6_000}
    assert httpx.post(f"{sandbox}/__test/faults", json=body, trust_env=False).status_code == 200
    try:
        breaks = mode in ("down", "error_500")
        # While it is left alone nothing is mailed, and what is not mailed is not counted: twelve more, from one address.
        for turn in range(18 if breaks else 6):
            with httpx.Client(timeout=30, trust_env=False) as stranger:
                walk = Walk(deployment, person)
                walk.http.close()
                walk.http = stranger
                page = walk.get(issuer.url_for(client))
                began = time.monotonic()
                page = walk.send(page, headers=source() if turn < 6 else None, email=name, organization="globex")
                assert "text/html" in page.headers["content-type"]
                if breaks or (mode == "too_many_requests" and page.status_code == 503):
                    assert page.status_code == 503 and page.headers["retry-after"], (mode, page.status_code)
                    assert "temporarily_unavailable" in page.text and "again" in text_of(page), text_of(page)
                else:
                    # Late is not wrong; and whom the provider sends no second mail may type the first one's code.
                    assert page.status_code == 200 and any(form.named("code") for form in forms_of(page)), page.text
                assert not any(word in page.text for word in ("127.0.0.1", "stytch.com", "internal_server_error"))
                if mode == "slow" and turn == 0:
                    break
        assert time.monotonic() - began < 15
        assert issuer.redeem(issuer.code(deployment.person("rita"), client)).status_code == 200
        assert issuer.refresh(tokens["refresh_token"], client).status_code == 200
    finally:
        assert httpx.post(f"{sandbox}/__test/faults", json=body | {"mode": "none"}, trust_env=False).status_code == 200
    until = time.monotonic() + 25
    while True:
        try:
            assert issuer.redeem(issuer.code(person, client)).status_code == 200
            break
        except PageError:
            assert time.monotonic() < until, "it is left alone for ten seconds and then tried"
            time.sleep(1)


def test_the_world_is_cut_off(deployment, browser, client):
    """F-07: when nothing outside answers, only documents not yet known and sign-in fail, each saying so; documents
    known, registration, connections, introspection and the admin API go on."""
    issuer, documents = deployment.platform, deployment.documents
    known = publish(documents)
    assert ask(issuer, known).status_code == 200
    tokens = issuer.redeem(told_code(issuer, browser, client)).json()
    sandbox = next(one for one in deployment.stack.processes if one.name == "stytch-sandbox")
    sandbox.signal(signal.SIGSTOP)
    try:
        with documents.cut_off():
            missing = ask(issuer, publish(documents))
            assert missing.status_code in (400, 503) and "text/html" in missing.headers["content-type"]
            unresolved = ask(issuer, "https://no-such-host.invalid/client.json")
            assert unresolved.status_code in (400, 503) and "text/html" in unresolved.headers["content-type"]
            assert ask(issuer, known).status_code == 200
            assert issuer.refresh(tokens["refresh_token"], client).status_code == 200
            assert issuer.register()
            with Admin(deployment.stack.url, deployment.stack.admin_key) as admin:
                assert admin.get("/v1/organizations?limit=1")["data"]
    finally:
        sandbox.signal(signal.SIGCONT)


def test_one_organization_holds_every_connection(deployment, browser, client, evidence):
    """F-12: while changes of one organization wait for a row and hold what connections there are for changes, further
    ones are shed at once with 503 and Retry-After, tokens go on, and all is well within seconds of its end."""
    acme, globex = (deployment.organizations[name] for name in ("acme", "globex"))
    issuer = deployment.platform
    tokens = issuer.redeem(told_code(issuer, browser, client)).json()
    holder = subprocess.Popen(
        ["psql", "-XqAt", os.environ["DATABASE_ADMIN_URL"], "-c",
         f"BEGIN; SELECT 1 FROM organization WHERE organization_id = '{uuid_of(acme)}' FOR UPDATE; SELECT pg_sleep(5); COMMIT"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    time.sleep(0.5)

    def change(number: int) -> tuple[int, bool, float]:
        organization = acme if number % 3 else globex
        began = time.monotonic()
        with httpx.Client(timeout=40, trust_env=False) as http:
            reply = http.post(
                f"{deployment.node_urls[number % 2]}/v1/organizations/{organization}/groups",
                json={"name": f"crowd {number} {time.time_ns()}"},
                headers={"authorization": f"Bearer {deployment.stack.admin_key}"})
        return reply.status_code, "retry-after" in reply.headers, time.monotonic() - began

    try:
        with ThreadPoolExecutor(64) as pool:
            changes = [pool.submit(change, number) for number in range(64)]
            time.sleep(0.5)
            for node in deployment.node_urls:
                began = time.monotonic()
                reply = issuer.refresh(tokens["refresh_token"], client, node)
                assert reply.status_code == 200 and time.monotonic() - began < 3
                tokens = reply.json()
            answers = [one.result() for one in changes]
    finally:
        holder.wait(30)
    assert {status for status, _, _ in answers} <= {201, 429, 503}, Counter(status for status, _, _ in answers)
    assert all(told for status, told, _ in answers if status != 201)
    assert max(taken for _, _, taken in answers) < 20
    began = time.monotonic()
    while any(change(number)[0] != 201 for number in (0, 1, 2, 3)):
        assert time.monotonic() - began < 10
        time.sleep(0.5)


def test_failures_say_nothing_of_the_inside(deployment, evidence):
    """PD-03: when a statement fails as none should, every kind of endpoint answers in its own shape with the id of
    the request, and not a word of SQL, tables, hosts or paths; the log has them under that id."""
    base, acme = deployment.stack.url, deployment.organizations["acme"]
    key = {"authorization": f"Bearer {deployment.stack.admin_key}"}
    nobody = deployment.acme.register()[:-6]
    with Admin(base, deployment.stack.admin_key) as admin:
        directory = admin.post(f"/v1/organizations/{acme}/scim-tokens", {"name": "Unlucky"})["token"]

    def fresh() -> str:
        return nobody + "".join(random.choices("0123456789abcdefghjkmnpqrstvwxyz", k=6))

    # Past the witnesses of what is described: no description promises failures.
    http = httpx.Client(timeout=15, trust_env=False)
    calls = (
        ("role", "application/problem+json", lambda: http.get(f"{base}/v1/organizations/{acme}/roles", headers=key)),
        ("scim_token", "application/scim+json", lambda: http.get(f"{base}/scim/v2/acme/Users", headers={
            "authorization": f"Bearer {directory}"})),
        ("client", "application/json", lambda: deployment.acme.refresh("x", fresh())),
        ("client", "text/html", lambda: deployment.acme.ask(fresh())),
    )
    for table, kind, call in calls:
        evidence.sql(f'ALTER TABLE "{table}" RENAME TO "{table}_elsewhere"')
        try:
            reply = call()
        finally:
            evidence.sql(f'ALTER TABLE "{table}_elsewhere" RENAME TO "{table}"')
        assert reply.status_code in (500, 503), (table, reply.status_code, reply.text)
        assert reply.headers["request-id"] and reply.headers["cache-control"] == "no-store"
        assert reply.headers["content-type"].startswith(kind), reply.headers["content-type"]
        if "problem" in kind:
            assert reply.headers["request-id"] in reply.text
        words = ("relation", "elsewhere", "SELECT", "42P01", "PostgresError", ".swift", "/Sources", "127.0.0.1:")
        assert not [word for word in words if word in reply.text], reply.text
        assert call().status_code < 500
        log = "".join(path.read_text(errors="replace") for path in deployment.stack.logs.glob("gatehouse*.log"))
        assert reply.headers["request-id"] in log


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


def apart(times: dict[str, list[float]]) -> None:
    """The medians of interleaved requests differ by less than they scatter, or than anybody could use."""
    medians = {name: statistics.median(values) for name, values in times.items()}
    quarters = [statistics.quantiles(values, n=4) for values in times.values()]
    scatter = max(upper - lower for lower, _, upper in quarters)
    print("figure: medians in µs", {name: round(value * 1e6) for name, value in medians.items()},
          "scatter", round(scatter * 1e6))
    assert max(medians.values()) - min(medians.values()) < max(scatter, 0.002), (medians, scatter)


def test_who_exists_cannot_be_timed(deployment):
    """K-18: a wrong secret of a client that exists takes as long as one of a client that does not, and a secret that
    begins right as long as one that does not."""
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
        for turn in range(sized(130, 1_010)):
            for name, (client_id, value) in cases.items():
                form = {"grant_type": "refresh_token", "refresh_token": "x", "client_id": client_id,
                        "client_secret": value}
                # Each try from somewhere else, or the limit on guessing would be what is measured.
                headers = {"x-forwarded-for": f"198.51.{turn % 250}.{turn // 250 * 20 + len(name)}"}
                began = time.perf_counter()
                reply = http.post(f"{issuer.url}/oauth/token", data=form, headers=headers)
                taken = time.perf_counter() - began
                assert reply.status_code == 401
                if turn >= 10:
                    times[name].append(taken)
    apart(times)


def test_what_was_a_token_cannot_be_timed(deployment, browser):
    """K-18: a refresh token that was revoked takes as long as one that never was."""
    issuer = deployment.platform
    body = {"client_name": "Timed", "redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": "client_secret_post",
            "grant_types": ["authorization_code", "refresh_token"]}
    client = httpx.post(f"{issuer.url}/oauth/register", json=body, trust_env=False).json()
    proof = {"client_id": client["client_id"], "client_secret": client["client_secret"]}
    tokens = issuer.redeem(told_code(issuer, browser, client["client_id"]), None, **proof).json()
    revoked = tokens["refresh_token"]
    assert httpx.post(f"{issuer.url}/oauth/revoke", data={"token": revoked, **proof}, trust_env=False).status_code == 200
    unknown = revoked[:-6] + ("AAAAAA" if not revoked.endswith("AAAAAA") else "BBBBBB")
    times: dict[str, list[float]] = {"revoked": [], "unknown": []}
    with httpx.Client(timeout=15, trust_env=False) as http:
        for turn in range(sized(110, 1_010)):
            for name, token in (("revoked", revoked), ("unknown", unknown)):
                began = time.perf_counter()
                reply = http.post(f"{issuer.url}/oauth/introspect", data={"token": token, **proof})
                taken = time.perf_counter() - began
                assert reply.content == b'{"active":false}', reply.text
                if turn >= 10:
                    times[name].append(taken)
    apart(times)
