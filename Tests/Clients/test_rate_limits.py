"""Who asks too often is told to wait, and nobody else notices (design §6.1, §8; requirements RL, K-04, K-17, P-13).

The node of these tests has small rates with short spans, so that what it takes from buckets it shares with the other
nodes is soon given back.
"""

from __future__ import annotations

import re
import resource
import secrets
import socket
import time
import uuid
from collections import Counter
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import pytest
from evidence import sized, source
from gatehouse_demo.pages import PageError
from oauth import REDIRECT_URI, raw

RATES = {
    "GATEHOUSE_RATE_TOKEN_CLIENT": "20/10",
    "GATEHOUSE_RATE_TOKEN_ORGANIZATION": "20/10",
    "GATEHOUSE_RATE_TOKEN_GRANT": "off",
    "GATEHOUSE_RATE_FAILURES_CLIENT": "200/60",
    "GATEHOUSE_RATE_FAILURES_SOURCE": "100/60",
    "GATEHOUSE_RATE_AUTHORIZE_SOURCE": "30/3600",
    "GATEHOUSE_RATE_REGISTER_SOURCE": "25/3600",
    "GATEHOUSE_RATE_INTROSPECT_MISSES": "20/10",
    "GATEHOUSE_RATE_OTHER_ORGANIZATION": "20/10",
    "GATEHOUSE_RATE_USER_INFO_SOURCE": "20/10",
    "GATEHOUSE_RATE_ADMIN_KEY": "20/10",
    "GATEHOUSE_RATE_ADMIN_ORGANIZATION": "off",
    "GATEHOUSE_RATE_SCIM_ORGANIZATION": "20/10",
    "GATEHOUSE_CONNECTION_TIMEOUT_SECONDS": "2",
    "GATEHOUSE_MAX_CONNECTIONS": "60",
}


@pytest.fixture(scope="module")
def node(deployment):
    """The address of a node with small limits."""
    from conftest import ops

    ports = [int(port) for port in ops("free_ports 2").split()]
    process = deployment.stack.add_gatehouse("gatehouse-limited", *ports, **RATES)
    yield f"http://127.0.0.1:{ports[0]}"
    process.stop()


@pytest.fixture
def client(node):
    with httpx.Client(base_url=node, timeout=15, trust_env=False) as made:
        yield made


def metric(deployment, name: str) -> float:
    """A number of the limited node."""
    process = next(one for one in deployment.stack.processes if one.name == "gatehouse-limited")
    port = process.environment["GATEHOUSE_INTERNAL_PORT"]
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=15, trust_env=False).text
    return float(re.search(rf"^{re.escape(name)} (\S+)$", text, re.M)[1])


def fields(reply: httpx.Response) -> tuple[str, dict[str, int]]:
    """The one policy that RateLimit-Policy and RateLimit tell of (draft-ietf-httpapi-ratelimit-headers-11)."""
    policy = re.fullmatch(r'"([a-z_]+)";q=(\d+);w=(\d+)', reply.headers["ratelimit-policy"])
    state = re.fullmatch(r'"([a-z_]+)";r=(\d+);t=(\d+)', reply.headers["ratelimit"])
    assert policy and state and policy[1] == state[1], reply.headers
    return policy[1], {name: int(value) for name, value in zip("qwrt", (*policy.groups()[1:], *state.groups()[1:]))}


def check_limited(reply: httpx.Response, limit: str) -> int:
    """RL-01, RL-02, RL-04. Returns the seconds to wait."""
    assert reply.status_code == 429, reply.text
    assert reply.headers["cache-control"] == "no-store"
    name, numbers = fields(reply)
    wait = int(reply.headers["retry-after"])
    assert name == limit and numbers["r"] == 0 and 1 <= numbers["t"] <= wait, (name, numbers, wait)
    if reply.headers["content-type"] == "application/json":
        body = reply.json()
        assert body["error"] == "temporarily_unavailable" and set(body) == {"error", "error_description"}
    return wait


def guess(client: httpx.Client, client_id: str, secret: str, headers: dict[str, str], path: str = "/oauth/token"):
    form = {"grant_type": "authorization_code", "code": "gc_x", "code_verifier": "v" * 43, "redirect_uri": REDIRECT_URI}
    return client.post(path, data=form, auth=(client_id, secret), headers=headers)


def confidential(deployment) -> tuple[str, str]:
    metadata = {"client_name": "Confidential", "redirect_uris": [REDIRECT_URI],
                "token_endpoint_auth_method": "client_secret_basic"}
    reply = httpx.post(f"{deployment.stack.url}/oauth/register", json=metadata, timeout=15, trust_env=False)
    return reply.json()["client_id"], reply.json()["client_secret"]


# ---- Organizations and clients -----------------------------------------------------------------------------------


def test_noisy_organization(deployment, node):
    """RL-03, RL-01, RL-04: acme asks ten times as often as it may, through the platform's issuer; globex, with the same
    client, is never refused. Who waits as long as it was told gets in, with the refresh token it had."""
    issuer = deployment.platform
    client_id = issuer.register()
    tokens = {name: issuer.redeem(issuer.code(deployment.person(name), client_id)).json()["refresh_token"]
              for name in ("alice", "gus")}
    began = time.monotonic()
    outcomes = {"alice": Counter(), "gus": Counter()}
    for number in range(200):
        for name in ("alice", *(["gus"] if number % 20 == 0 else [])):
            reply = issuer.refresh(tokens[name], client_id, node)
            outcomes[name][reply.status_code] += 1
            if reply.status_code == 200:
                tokens[name] = reply.json()["refresh_token"]
            elif name == "alice":
                refused = reply
    took = time.monotonic() - began
    assert outcomes["gus"] == {200: 10}
    # Twenty at once and two in each second since.
    assert set(outcomes["alice"]) == {200, 429} and 20 <= outcomes["alice"][200] <= 21 + 2 * took, (outcomes, took)
    wait = check_limited(refused, fields(refused)[0])
    assert fields(refused)[0] in ("token_client", "token_organization") and wait == 1
    time.sleep(wait)
    assert issuer.refresh(tokens["alice"], client_id, node).status_code == 200
    assert metric(deployment, 'rate_limited_total{limit="token_client"}') >= 100


def test_secret_guessing(deployment, client, evidence):
    """K-17: of a thousand guessed secrets twenty are looked at, then not even the right one from there. The client works
    from elsewhere meanwhile, and the log has the guesses without a thousand events."""
    client_id, secret = confidential(deployment)
    guesser, owner = source(), source()
    with evidence.no_rows_stored():
        replies = [guess(client, client_id, f"gs_{number}", guesser) for number in range(1_000)]
        counts = Counter(reply.status_code for reply in replies)
        assert set(counts) == {401, 429} and 20 <= counts[401] <= 60, counts
        check_limited(replies[-1], "failures_client")
        # Whatever is presented, the answer is the same: a guess that is limited tells nothing. One more is looked at every
        # three seconds, which may be the moment between two.
        after = []
        for _ in range(3):
            guess(client, client_id, "gs_last", guesser)
            after.append(guess(client, client_id, secret, guesser).content)
        assert replies[-1].content in after
        theirs = guess(client, client_id, secret, owner)
        assert theirs.status_code == 400 and theirs.json()["error"] == "invalid_grant"
    events = [event for event in evidence.events(None, type="client.auth_failed")
              if event.get("request", {}).get("id") in {reply.headers["request-id"] for reply in replies}]
    reasons = Counter(event["reason"] for event in events)
    assert reasons["wrong_secret"] >= 5 and sum(reasons.values()) <= 30, reasons


def test_code_guessing(deployment, client):
    """K-04: codes are guessed at a bounded rate, and unknown, malformed and foreign ones answer alike."""
    client_id = deployment.platform.register()
    guesser = source()
    foreign = deployment.platform.code(deployment.person("alice")).code
    replies = []
    for number in range(300):
        code = ("gc_x", "gc_" + "A" * 85 + "AQ"[number % 2], foreign)[number % 3]
        form = {"grant_type": "authorization_code", "code": code, "client_id": client_id, "code_verifier": "v" * 43}
        replies.append(client.post("/oauth/token", data=form, headers=guesser))
    counts = Counter(reply.status_code for reply in replies)
    assert set(counts) == {400, 429} and counts[400] <= 150 and counts[429] >= 100, counts
    assert len({reply.content for reply in replies if reply.status_code == 400}) == 1
    assert replies[0].json()["error"] == "invalid_grant"


def test_rotating_does_not_help(deployment, client):
    """P-13: made-up clients, invented hops before the real address, spaces, the whole /64, HTTP/1.0 and other spellings
    of the path: all of it comes out of one bucket, or finds nothing."""
    honest = deployment.platform.code(deployment.person("alice"))
    forwarded = ["{0}, 2001:db8:7:7::1", "192.0.2.{1} ,  2001:db8:7:7::{0:x}", "2001:db8:7:7:{0:x}:{1}::1"]
    counts, began = Counter(), time.monotonic()
    for number in range(240):
        headers = {"x-forwarded-for": forwarded[number % 3].format(number % 250 + 1, number % 99 + 1)}
        counts[guess(client, f"cli_{number:026d}", "gs_x", headers).status_code] += 1
    most = 101 + (time.monotonic() - began) * 100 / 60
    assert set(counts) == {401, 429} and counts[401] <= most, (counts, most)

    base = str(client.base_url)
    body = b"grant_type=refresh_token&refresh_token=gr_x&client_id=nobody"
    for target in ("//oauth/token", "/oauth/token/", "/OAuth/Token", "/oauth/%74oken", "/oauth/token;x"):
        headers = {"content-type": "application/x-www-form-urlencoded", "x-forwarded-for": "2001:db8:7:7::5"}
        assert raw(base, "POST", target, headers, body)[0] == 404, target
    with socket.create_connection((urlsplit(base).hostname, urlsplit(base).port), 10) as connection:
        connection.sendall(
            b"POST /oauth/token HTTP/1.0\r\nX-Forwarded-For: 2001:db8:7:7::9\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        assert connection.recv(4096).split()[1] == b"429"

    # Whoever proves itself gets through, from the very same address.
    form = {"grant_type": "authorization_code", "code": honest.code, "redirect_uri": REDIRECT_URI,
            "client_id": honest.client_id, "code_verifier": honest.verifier}
    reply = client.post("/oauth/token", data=form, headers={"x-forwarded-for": "2001:db8:7:7::1"})
    assert reply.status_code == 200, reply.text
    # And so does everybody to what anybody may read.
    for _ in range(150):
        assert client.get("/.well-known/oauth-authorization-server", headers={"x-forwarded-for": "2001:db8:7:7::1"}) \
            .status_code == 200


def test_token_scanning(deployment, client):
    """K-27: a caller that tries tokens learns nothing but `active: false`, ever more slowly; of a token that works it is
    told all the same."""
    issuer = deployment.platform
    metadata = {"redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": "client_secret_post"}
    made = httpx.post(f"{issuer.url}/oauth/register", json=metadata, timeout=15, trust_env=False).json()
    proof = {name: made[name] for name in ("client_id", "client_secret")}
    tokens = issuer.redeem(issuer.code(deployment.person("alice"), made["client_id"]), **proof).json()
    head, payload, signature = tokens["access_token"].split(".")

    def ask(token):
        return client.post("/oauth/introspect", data={"token": token} | proof)

    replies = []
    for number in range(100):
        forged = (f"{head}.{payload}.{signature[:-4]}{number:04d}", f"gr_{number}", secrets.token_urlsafe(32))
        replies.append(ask(forged[number % 3]))
        if number % 10 == 0:
            assert ask(tokens["access_token"]).json()["active"] is True
    counts = Counter(reply.status_code for reply in replies)
    assert set(counts) == {200, 429} and 20 <= counts[200] <= 60, counts
    assert {reply.text for reply in replies if reply.status_code == 200} == {'{"active":false}'}
    check_limited(next(reply for reply in replies if reply.status_code == 429), "introspect_misses")


def test_strangers_share_of_an_organization(deployment, admin, client):
    """RL-03: confidential clients that anybody registers use up their own share of an organization's rate; those that an
    administrator made known do not notice, whether they revoke or push requests (RFC 9126 §2.3)."""
    metadata = {"redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": "client_secret_post"}
    strangers = [client.post("/o/acme/oauth/register", json=metadata, headers=source()).json() for _ in range(3)]

    def revoke(proof):
        return client.post("/o/acme/oauth/revoke", data={"token": "gr_x"} | proof, headers=source())

    proofs = [{name: made[name] for name in ("client_id", "client_secret")} for made in strangers]
    replies = [revoke(proofs[number % 3]) for number in range(60)]
    counts = Counter(reply.status_code for reply in replies)
    assert set(counts) == {200, 429} and counts[429] >= 30, counts
    check_limited(replies[-1], "other_organization")
    form = {"response_type": "code", "redirect_uri": REDIRECT_URI, "code_challenge": "x" * 43,
            "code_challenge_method": "S256"}
    check_limited(client.post("/o/acme/oauth/par", data=form | proofs[0], headers=source()), "other_organization")

    made = admin.post(f"/v1/organizations/{deployment.organizations['acme']}/clients",
                      {"name": "Nightly", "kind": "service"})
    service = {"client_id": made["client_id"], "client_secret": made["client_secret"]}
    for _ in range(5):
        revoke(proofs[0])
        reply = httpx.post(f"{client.base_url}/o/acme/oauth/revoke", data={"token": "gr_x"}, trust_env=False,
                           auth=tuple(service.values()), headers=source())
        assert reply.status_code == 200, reply.text


def test_userinfo_of_a_source(deployment, client):
    """RL-03: UserInfo has a limit of its own for each source; it takes nothing from that of sign-in pages."""
    here = source()
    counts = Counter(client.get("/oauth/userinfo", headers=here | {"authorization": "Bearer x"}).status_code
                     for _ in range(60))
    assert set(counts) == {401, 429} and counts[429] >= 20, counts
    check_limited(client.get("/oauth/userinfo", headers=here | {"authorization": "Bearer x"}), "user_info_source")
    assert client.get("/oauth/userinfo", headers=source() | {"authorization": "Bearer x"}).status_code == 401
    url = deployment.platform.url_for(deployment.platform.register()).removeprefix(deployment.platform.url)
    assert client.get(url, headers=here).status_code == 200


# ---- By address --------------------------------------------------------------------------------------------------


def test_registrations(deployment, client, evidence):
    """RG-09: one source registers so many at one issuer; another source, and another issuer, are not kept from it."""
    here, there = source(), source()

    def register(headers, issuer=""):
        body = {"redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": "none"}
        return client.post(f"{issuer}/oauth/register", json=body, headers=headers)

    assert [register(here).status_code for _ in range(25)] == [201] * 25
    with evidence.no_rows_stored():
        replies = [register(here) for _ in range(20)]
        for reply in replies:
            wait = check_limited(reply, "register_source")
        assert 1 <= wait <= 144
    assert register(there).status_code == 201
    assert register(here, "/o/acme").status_code == 201
    event = evidence.of(replies[0], type="client.registered")[0]
    assert event["outcome"] == "denied" and event["reason"] == "rate_limited"


def test_pages(deployment, client, evidence):
    """RL-03, RL-01: a browser that asks too often gets a page that says so; nothing is begun, and others see nothing."""
    here = source()
    url = deployment.platform.url_for(deployment.platform.register()).removeprefix(deployment.platform.url)
    assert {client.get(url, headers=here).status_code for _ in range(15)} == {200}
    # Every page counts, whatever it answers.
    assert {client.post("/signin/nothing", data={}, headers=here).status_code for _ in range(15)} == {400}
    with evidence.nothing_stored():
        reply = client.get(url, headers=here)
        check_limited(reply, "authorize_source")
        assert reply.headers["content-type"].startswith("text/html") and "a little fast" in reply.text
    assert client.get(url, headers=source()).status_code == 200
    assert client.get("/o/globex/oauth/jwks", headers=here).status_code == 200


# ---- Administration ----------------------------------------------------------------------------------------------


def test_admin_api(deployment, admin, client):
    """RL-02, RL-01, RL-03: every answer says what its key has left; one key's excess is not another's."""
    organization = deployment.organizations["globex"]
    keys = [admin.post(f"/v1/organizations/{organization}/admin-keys", {"name": "limits", "scopes": ["users:read"]})
            for _ in range(2)]

    def call(key, path="users", **headers):
        return client.get(f"/v1/organizations/{organization}/{path}",
            headers={"authorization": f"Bearer {key['secret']}", **headers})

    first = call(keys[0])
    assert first.status_code == 200
    assert fields(first) == ("admin_key", {"q": 20, "w": 10, "r": 19, "t": 1})
    # Refusals, too.
    forbidden = call(keys[0], "clients")
    assert forbidden.status_code == 403 and 17 <= fields(forbidden)[1]["r"] <= 19
    replies = [call(keys[0]) for _ in range(100)]
    counts = Counter(reply.status_code for reply in replies)
    assert set(counts) == {200, 429} and counts[429] > 50, counts
    refused = next(reply for reply in replies if reply.status_code == 429)
    check_limited(refused, "admin_key")
    assert refused.headers["content-type"] == "application/problem+json"
    problem = refused.json()
    assert problem["code"] == "rate_limited" and problem["status"] == 429 and problem["request_id"]
    assert call(keys[1]).status_code == 200

    # Guessing a key's secret locks nobody out but the guesser.
    guesser = source()
    wrong = {"secret": keys[1]["secret"][:-8] + "AAAAAAAA"}
    statuses = {client.get("/v1/organizations", headers={"authorization": f"Bearer {wrong['secret']}", **guesser})
                .status_code for _ in range(130)}
    assert statuses == {401, 429}
    assert call(keys[1]).status_code == 200


def test_bulk_counts_each_operation(deployment, admin, client, evidence):
    """RL-03, SC-11: a bulk request counts as much as its operations would alone; one that is too much does nothing."""
    base = f"/v1/organizations/{deployment.organizations['globex']}/scim-tokens"
    token = admin.post(base, {"name": "bulk"})
    tag = uuid.uuid4().hex

    def bulk(*operations):
        return client.post("/scim/v2/globex/Bulk", headers={"authorization": f"Bearer {token['token']}"}, json={
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": operations})

    try:
        absent = [{"method": "DELETE", "path": f"/Users/usr_{'0' * 26}"}] * 12
        reply = bulk(*absent)
        assert reply.status_code == 200 and {one["status"] for one in reply.json()["Operations"]} == {"404"}, reply.text
        name, numbers = fields(reply)
        assert name == "scim_organization" and numbers["q"] == 20 and 8 <= numbers["r"] <= 12, numbers
        reply = bulk(*[{"method": "POST", "path": "/Users", "bulkId": f"{number}", "data": {
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": f"{tag}-{number}"}}
            for number in range(20)])
        check_limited(reply, "scim_organization")
        assert reply.headers["content-type"] == "application/scim+json" and reply.json()["status"] == "429"
        assert evidence.sql(f"SELECT count(*) FROM \"user\" WHERE user_name LIKE '{tag}%'") == "0"
        assert bulk(absent[0]).status_code == 200
    finally:
        admin.send("DELETE", f"{base}/{token['id']}", headers={"if-match": "*"})


# ---- Failures ----------------------------------------------------------------------------------------------------


def await_sign_in(deployment) -> None:
    """Returns when the other nodes, too, have found Redis again."""
    until = time.monotonic() + 10
    while True:
        try:
            deployment.platform.code(deployment.person("alice"))
            return
        except (PageError, AssertionError, httpx.HTTPError):
            assert time.monotonic() < until, "nobody can sign in 10 s after Redis came back"
            time.sleep(0.3)


@contextmanager
def without_redis(deployment):
    deployment.servers.stop_redis()
    try:
        yield
    finally:
        deployment.servers.start_redis()


def test_redis_is_killed(deployment, client):
    """F-01: without Redis a node limits by itself, never without limit and never with an error; then all together again."""
    body = {"redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": "none"}

    def statuses(tries, headers):
        return Counter(client.post("/oauth/register", json=body, headers=headers).status_code for _ in range(tries))

    here, there = source(), source()
    assert statuses(30, here) == {201: 25, 429: 5}
    with without_redis(deployment):
        began = time.monotonic()
        assert statuses(60, there) == {201: 25, 429: 35}
        assert time.monotonic() - began < 10
        assert metric(deployment, "rate_limit_decided_locally_total") >= 60
        # A guessed secret is looked at no more often than with Redis.
        client_id, _ = confidential(deployment)
        guesser = source()
        counts = Counter(guess(client, client_id, "gs_wrong", guesser).status_code for _ in range(100))
        assert set(counts) == {401, 429} and counts[401] <= 30, counts
    until = time.monotonic() + 10
    while True:
        before = metric(deployment, "rate_limit_decided_locally_total")
        assert statuses(1, source()) == {201: 1}
        if metric(deployment, "rate_limit_decided_locally_total") == before:
            break
        assert time.monotonic() < until, "Redis decides nothing 10 s after it came back"
        time.sleep(0.2)
    assert statuses(30, source()) == {201: 25, 429: 5}
    await_sign_in(deployment)


def test_redis_is_slow(deployment, client, evidence):
    """F-01: a Redis that answers nothing for two seconds holds requests for a moment, not for two seconds."""
    issuer = deployment.platform
    code = issuer.code(deployment.person("alice"))
    token = issuer.redeem(code).json()["refresh_token"]
    node = str(client.base_url).rstrip("/")
    assert evidence.redis("CLIENT", "PAUSE", "2000", "ALL") == ["OK"]
    until = time.monotonic() + 1.8
    longest, count = 0.0, 0
    while time.monotonic() < until:
        began = time.monotonic()
        reply = issuer.refresh(token, code.client_id, node)
        longest, count = max(longest, time.monotonic() - began), count + 1
        if reply.status_code == 429:
            break
        assert reply.status_code == 200, reply.text
        token = reply.json()["refresh_token"]
    assert count >= 5 and longest < 1, (count, longest)
    time.sleep(max(0.0, until + 0.4 - time.monotonic()))


# ---- Connections -------------------------------------------------------------------------------------------------


def connect(client: httpx.Client, data: bytes = b"") -> socket.socket:
    address = urlsplit(str(client.base_url))
    connection = socket.create_connection((address.hostname, address.port), 10)
    connection.sendall(data)
    return connection


def test_answers_nobody_reads(client):
    """P-03: whoever asks on and on and never reads is disconnected."""
    path = re.search(r'href="(/assets/[^"]+)"', client.get("/").text)[1]
    with connect(client) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() * 200
        connection.settimeout(0.5)
        until = time.monotonic() + 12
        while time.monotonic() < until:
            try:
                connection.sendall(request)
            except TimeoutError:
                continue
            except OSError:
                return
    pytest.fail("still connected after 12 s")


def test_many_connections(client, node):
    """F-12, P-03: beyond so many connections new ones wait; when silent ones are closed, they are served."""
    silent = []
    try:
        for _ in range(150):
            silent.append(connect(client))
        began = time.monotonic()
        assert httpx.get(f"{node}/oauth/jwks", timeout=15, trust_env=False).status_code == 200
        assert time.monotonic() - began < 10
    finally:
        for connection in silent:
            connection.close()


def test_thousands_of_idle_connections(deployment):
    """P-03, F-12: a node with the limits it comes with keeps many connections that say nothing; those who ask are served
    as before."""
    wanted = sized(1_000, 5_000)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted + 1_000, limit[1]), limit[1]))
    address = urlsplit(deployment.node_urls[0])
    idle = []
    try:
        for _ in range(wanted):
            idle.append(socket.create_connection((address.hostname, address.port), timeout=10))
        times = []
        with httpx.Client(timeout=15, trust_env=False) as http:
            for _ in range(100):
                began = time.perf_counter()
                assert http.get(f"{deployment.node_urls[0]}/oauth/jwks").status_code == 200
                times.append(time.perf_counter() - began)
        print("figure: beside", wanted, "idle connections", round(sorted(times)[98] * 1e3, 1), "ms p99")
        assert sorted(times)[98] < 1, "nobody waits for those who say nothing"
    finally:
        for connection in idle:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)


def test_settings_that_cannot_be(deployment):
    """Rates that are no rates are named, each by its setting."""
    from gatehouse_demo.stack import StartError

    stack = deployment.stack
    before = dict(stack.settings)
    stack.settings |= {"GATEHOUSE_RATE_TOKEN_CLIENT": "many", "GATEHOUSE_RATE_ADMIN_KEY": "0/60",
                       "GATEHOUSE_RATE_REGISTER_SOURCE": "OFF"}
    try:
        with pytest.raises(StartError) as raised:
            stack.command("bootstrap")
    finally:
        stack.settings.clear()
        stack.settings |= before
    said = str(raised.value)
    assert "GATEHOUSE_RATE_TOKEN_CLIENT" in said and "GATEHOUSE_RATE_ADMIN_KEY" in said
    assert "REGISTER_SOURCE" not in said
