"""The authorization endpoint: what it refuses, whom it tells, and what it leaves behind (facts A1, A4, A6, B2)."""

from __future__ import annotations

import http.client
import re
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import httpx
import pytest
from evidence import sized, source, uuid_of
from gatehouse_demo.admin import Admin
from gatehouse_demo.chatgpt import claims
from oauth import REDIRECT_URI, challenge, raw, told
from walk import Walk, text_of, told_code

LOOPBACK = "http://127.0.0.1:43001/callback"
APP = "https://app.example/cb"


@pytest.fixture(scope="module")
def native(deployment) -> str:
    """A dynamic client on loopback: errors go to it without a page between."""
    return deployment.platform.register(redirect_uris=["http://127.0.0.1/callback"], application_type="native")


@pytest.fixture(scope="module")
def dynamic(deployment) -> str:
    return deployment.platform.register()


@pytest.fixture(scope="module")
def registered(deployment) -> str:
    """A client that an administrator registered, with an https redirect."""
    with Admin(deployment.stack.url, deployment.stack.admin_key) as admin:
        body = {
            "name": "Vouched for", "redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code", "refresh_token"],
        }
        return admin.post("/v1/clients", body)["client_id"]


def refused_on_a_page(reply: httpx.Response, status: int = 400) -> None:
    """The AS error page: nothing is sent anywhere."""
    assert reply.status_code == status, f"{reply.status_code} {reply.headers.get('location')} {reply.text[:200]}"
    assert "location" not in reply.headers and 'rel="noreferrer"' not in reply.text
    assert reply.headers["content-type"].startswith("text/html")
    assert reply.headers["cache-control"] == "no-store"


def allowed(reply: httpx.Response) -> None:
    assert reply.status_code == 200 and 'name="email"' in reply.text, f"{reply.status_code} {reply.text[:300]}"


def only_characters_of_a_description(text: str) -> None:
    assert re.fullmatch(r"[\x20\x21\x23-\x5b\x5d-\x7e]*", text), text


# ---- Methods and shape -------------------------------------------------------------------------------------------


def test_methods(deployment, native, http):
    """AZ-01, AZ-14: GET and POST do the same, every other method is 405 with Allow; no CORS on any of them."""
    url = f"{deployment.platform.url}/oauth/authorize"
    query, _ = deployment.platform.query(native, redirect_uri=LOOPBACK)
    origin = {"origin": "https://evil.example"}
    by_get, by_post = http.get(url, params=query, headers=origin), http.post(url, data=query, headers=origin)
    for reply in (by_get, by_post):
        allowed(reply)
        assert "access-control-allow-origin" not in reply.headers
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        reply = http.request(method, url, headers=origin | {"access-control-request-method": "POST"})
        assert reply.status_code == 405, method
        assert {"GET", "POST"} <= set(reply.headers["allow"].split(", ")), method
        assert "access-control-allow-origin" not in reply.headers, method


@pytest.mark.parametrize("client_id", [
    "cli_00000000000000000000000000", "nobody", "https://client.invalid/client.json", "' OR 1=1 --", None, "", "a" * 3000,
])
def test_unknown_client(deployment, evidence, client_id):
    """AZ-02, CM-15: a page, never a redirect, and nothing is kept. Of a document whose host has no address (RFC 6761 §6.4)
    the page says whether to try again."""
    with evidence.nothing_stored():
        reply = deployment.platform.ask(client_id, headers=source())
    # Whether no address means never or not now is the resolver's word.
    refused_on_a_page(reply, 503 if reply.status_code == 503 and client_id and client_id[:5] == "https" else 400)


def test_client_of_another_issuer_is_unknown(deployment):
    """AZ-02, T-01, MCP-AS-38: a client registered at one issuer is nobody at the others."""
    client = deployment.acme.register()
    refused_on_a_page(deployment.platform.ask(client))
    refused_on_a_page(deployment.globex.ask(client))
    allowed(deployment.acme.ask(client))


# ---- Redirect URIs -----------------------------------------------------------------------------------------------

TRICKS = [
    #
    f"{APP}/../evil", f"{APP}/%2e%2e/evil", f"{APP}//", f"{APP}/", "https://app.example//cb",
    "https://app.example/./cb",
    #
    "https://app.example@evil.example/cb", "https://app.example:pw@evil/", "https://app.example%40evil.example/cb",
    #
    f"{APP}#frag", f"{APP}%23frag", f"{APP}#", f"{APP}?#",
    #
    "https://evil.example/https://app.example/cb", "https://app.example.evil.example/cb", "https://xapp.example/cb",
    #
    "https://app.example\\@evil.example", "https:/app.example/cb", "https:app.example", "//app.example/cb", "/cb", "cb",
    "https:///app.example/cb", "https://app.example\\cb",
    #
    "https://\u0430pp.example/cb", "https://app\uff0eexample/cb", "https://\u24d0pp.example/cb",
    "https://xn--pp-7ka.example/cb",
    #
    "HTTPS://APP.EXAMPLE/cb", "https://APP.example/cb", "https://app.example:443/cb", "https://app.example./cb",
    "https://app.example/CB", "https://app.example:8443/cb", "https://app.example/%63b",
    #
    f"{APP}?x=1", f"{APP}?", f"{APP}?redirect_uri=https://evil.example", f"{APP}&x=1", f"{APP};x",
    #
    f"{APP}\r\nSet-Cookie: a=b", f"{APP}%0d%0aSet-Cookie:a=b", f"{APP}\t", f"{APP} ", f" {APP}", f"{APP}\n",
    #
    "javascript:alert(1)", "data:text/html,x", "vbscript:x", "file:///etc/passwd", "blob:https://app.example/x",
    "intent://app.example/cb#Intent;scheme=https;end",
    #
    "https://*.example/cb", "*",
    "http://app.example/cb", "http://127.0.0.1/cb", "http://localhost/cb",
]


def test_redirect_tricks(deployment, evidence):
    """AZ-03, AZ-04, R-01..R-11, MCP-AS-13: the exact string or nothing."""
    client = deployment.platform.register(redirect_uris=[APP])
    replies = []
    with evidence.nothing_stored():
        for trick in TRICKS:
            reply = deployment.platform.ask(client, headers=source(), redirect_uri=trick)
            refused_on_a_page(reply)
            assert "set-cookie" not in reply.headers, trick
            replies.append(reply)
    events = evidence.of(replies, type="authorize.redirect_mismatch")
    assert len(events) == len(TRICKS)
    assert all(event["client"] == client and event["outcome"] == "denied" for event in events)
    allowed(deployment.platform.ask(client, redirect_uri=APP))


def test_nul_and_broken_text_in_the_redirect(deployment, evidence):
    """R-09, P-07: NUL, a lone percent sign and invalid UTF-8."""
    client = deployment.platform.register(redirect_uris=[APP])
    url = deployment.platform.url_for(client, redirect_uri="R")
    with evidence.nothing_stored():
        for broken in (f"{quote(APP)}%00", "%ff%fe", f"{quote(APP)}%", f"{quote(APP)}%zz", "%c0%af", "%ed%a0%80"):
            refused_on_a_page(httpx.get(url.replace("redirect_uri=R", f"redirect_uri={broken}"), trust_env=False))


def test_long_redirect(deployment):
    """R-13: 100 KB are refused at once."""
    client = deployment.platform.register(redirect_uris=[APP])
    started = time.monotonic()
    query = urlencode(deployment.platform.query(client, redirect_uri=APP + "?" + "a" * 100_000)[0])
    try:
        status, headers, _ = raw(deployment.stack.url, "GET", f"/oauth/authorize?{query}")
        assert status in (400, 414, 431), status
        assert "location" not in headers
    except (http.client.HTTPException, OSError):
        pass   # the connection is closed on such a head: as good
    query, _ = deployment.platform.query(client, redirect_uri=APP + "?" + "a" * 60_000)
    reply = httpx.post(f"{deployment.platform.url}/oauth/authorize", data=query, trust_env=False)
    refused_on_a_page(reply)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("registered_uri,same,others", [
    (
        "http://127.0.0.1/callback",
        ["http://127.0.0.1:1/callback", "http://127.0.0.1:65535/callback", "http://127.0.0.1/callback"],
        ["http://127.0.0.1:80/Callback", "http://127.0.0.1:8080/other", "http://127.0.0.1:8080/callback/",
         "http://127.0.0.1:8080/callback?x=1", "http://localhost:8080/callback", "http://[::1]:8080/callback",
         "http://127.0.0.1.evil.example:8080/callback", "http://127.1:8080/callback", "http://0.0.0.0:8080/callback",
         "http://2130706433/callback", "http://0177.0.0.1/callback", "http://[::ffff:127.0.0.1]:8080/callback",
         "https://127.0.0.1:8080/callback", "http://127.0.0.1:0/callback", "http://127.0.0.1:65536/callback",
         "http://127.0.0.1:/callback", "http://127.0.0.1:08080/callback", "http://127.0.0.1:8080@evil.example/callback",
         "http://user@127.0.0.1:8080/callback", "http://127.0.0.2:8080/callback"],
    ),
    (
        "http://[::1]:7777/cb",
        ["http://[::1]:1/cb", "http://[::1]/cb", "http://[::1]:7777/cb"],
        ["http://[::1]:1/", "http://[0:0:0:0:0:0:0:1]:1/cb", "http://127.0.0.1:1/cb", "http://[::1%25lo]:1/cb",
         "http://[::2]:1/cb"],
    ),
    (
        "http://localhost/callback",
        ["http://localhost:3118/callback", "http://localhost/callback"],
        ["http://localhost.evil.example:3118/callback", "http://LOCALHOST:3118/callback",
         "http://127.0.0.1:3118/callback", "http://sub.localhost:3118/callback", "http://localhost.:3118/callback",
         "https://localhost:3118/callback"],
    ),
])
def test_loopback_port_alone_may_vary(deployment, evidence, registered_uri, same, others):
    """R-12, BC-10, AZ-04, MCP-AS-35: any port on the same loopback host and path; nothing else."""
    client = deployment.platform.register(redirect_uris=[registered_uri], application_type="native")
    for uri in same:
        allowed(deployment.platform.ask(client, redirect_uri=uri))
    with evidence.nothing_stored():
        for uri in others:
            refused_on_a_page(deployment.platform.ask(client, headers=source(), redirect_uri=uri))


def test_missing_redirect(deployment, evidence):
    """AZ-03: needed where several are registered, implied where there is one."""
    several = deployment.platform.register(redirect_uris=[APP, "https://app.example/other"])
    with evidence.nothing_stored():
        refused_on_a_page(deployment.platform.ask(several, headers=source(), redirect_uri=None))
        refused_on_a_page(deployment.platform.ask(several, headers=source(), redirect_uri=""))
    one = deployment.platform.register(redirect_uris=[APP])
    allowed(deployment.platform.ask(one, redirect_uri=None))


# ---- Errors that the client is told ------------------------------------------------------------------------------

GOOD_CHALLENGE = challenge("x" * 43)
ERRORS = [
    ("AZ-05", {"response_type": None}, "invalid_request"),
    ("AZ-05", {"response_type": ""}, "invalid_request"),
    ("AZ-06", {"response_type": "token"}, "unsupported_response_type"),
    ("AZ-05", {"response_type": "id_token token"}, "unsupported_response_type"),
    ("AZ-05", {"response_type": "code id_token"}, "unsupported_response_type"),
    ("AZ-05", {"response_type": "CODE"}, "unsupported_response_type"),
    ("AZ-08", {"scope": "nope"}, "invalid_scope"),
    ("AZ-08", {"scope": 'a"b'}, "invalid_scope"),
    ("AZ-08", {"scope": "READ"}, "invalid_scope"),
    ("AZ-08", {"scope": "read\twrite"}, "invalid_scope"),
    ("AZ-08", {"scope": "read\u00e9"}, "invalid_scope"),
    ("PK-01", {"code_challenge": None, "code_challenge_method": None}, "invalid_request"),
    ("PK-01", {"code_challenge": ""}, "invalid_request"),
    ("PK-02", {"code_challenge_method": None}, "invalid_request"),
    ("PK-02", {"code_challenge_method": "plain"}, "invalid_request"),
    ("PK-02", {"code_challenge_method": "s256"}, "invalid_request"),
    ("PK-02", {"code_challenge_method": "S512"}, "invalid_request"),
    ("PK-03", {"code_challenge": GOOD_CHALLENGE[:42]}, "invalid_request"),
    ("PK-03", {"code_challenge": "a" * 129}, "invalid_request"),
    ("PK-03", {"code_challenge": GOOD_CHALLENGE + "="}, "invalid_request"),
    ("PK-03", {"code_challenge": "+" + GOOD_CHALLENGE[1:]}, "invalid_request"),
    ("PK-03", {"code_challenge": "/" + GOOD_CHALLENGE[1:]}, "invalid_request"),
    ("RI-02", {"resource": "mcp"}, "invalid_target"),
    ("RI-02", {"resource": "urn:example:mcp"}, "invalid_target"),
    ("RI-02", {"resource": "https://nobody.example/mcp"}, "invalid_target"),
    ("RI-02", {"resource": "https://user@nobody.example/mcp"}, "invalid_target"),
    ("RI-07", {"resource": None}, "invalid_target"),
    ("AZ-21", {"request": "eyJhbGciOiJub25lIn0.e30."}, "request_not_supported"),
    ("AZ-22", {"response_mode": "fragment"}, "invalid_request"),
    ("AZ-22", {"response_mode": "form_post"}, "invalid_request"),
    ("AZ-20", {"prompt": "none"}, "login_required"),
    ("AZ-20", {"prompt": "none login"}, "invalid_request"),
    ("OIDC", {"max_age": "soon"}, "invalid_request"),
    ("design 3.2", {"organization": "globex", "login_hint": "alice@acme.example"}, "invalid_target"),
]


def test_errors_go_to_the_client(deployment, evidence, native):
    """AZ-05, AZ-06, AZ-08, AZ-18, AZ-20, AZ-21, AZ-22, PK-01, PK-02, PK-03, PK-05, RI-02, RI-07, R-25, MCP-AS-34: error,
    state and iss once each, no code (so none exists without a challenge), nothing kept, one event."""
    replies, wrong = [], []
    with evidence.nothing_stored():
        for rule, changes, error in ERRORS:
            state = f"s {rule} {sorted(changes)}"
            reply = deployment.platform.ask(native, headers=source(), redirect_uri=LOOPBACK, state=state, **changes)
            replies.append(reply)
            if reply.status_code not in (302, 303):
                wrong.append((rule, changes, reply.status_code, reply.text[:200]))
                continue
            assert reply.headers["location"].startswith(LOOPBACK + "?"), (rule, changes)
            answer = told(reply)
            seen = (answer.get("error"), answer.get("state"), answer.get("iss"), "code" in answer)
            if seen != (error, state, deployment.platform.url, False):
                wrong.append((rule, changes, answer))
            only_characters_of_a_description(answer.get("error_description", ""))
            assert reply.headers["cache-control"] == "no-store"
        assert not wrong
    events = evidence.of(replies, type="authorize.denied")
    assert len(events) == len(ERRORS)
    assert all(event["client"] == native and event["outcome"] == "denied" for event in events)


def test_resource_of_one_organization_is_unknown_at_the_platform(deployment, evidence, native):
    """RI-02, K-21: a resource that accepts another issuer is as unknown as one that does not exist."""
    with evidence.nothing_stored():
        foreign = deployment.platform.ask(native, redirect_uri=LOOPBACK, resource=deployment.stack.acme_url, state="s")
        missing = deployment.platform.ask(native, redirect_uri=LOOPBACK, resource="https://nobody.example/m", state="s")
    assert told(foreign)["error"] == "invalid_target"
    assert told(foreign) == told(missing)


def test_client_without_the_code_flow(deployment, admin, evidence):
    """AZ-07: a service client has no redirect to go to, so it meets a page; one that lost the grant is told by its
    redirect. Neither gets to a sign-in."""
    base = f"/v1/organizations/{deployment.organizations['acme']}/clients"
    made = admin.post(base, {"name": "Speaks for itself", "kind": "service"})
    issuer = deployment.acme
    lost = issuer.register(redirect_uris=["http://127.0.0.1/callback"])
    evidence.sql(f"UPDATE client SET grant_types = '{{refresh_token}}' WHERE id = '{uuid_of(lost)}'")
    try:
        with evidence.nothing_stored():
            refused_on_a_page(issuer.ask(made["client_id"]))
            answer = told(issuer.ask(lost, redirect_uri=LOOPBACK, state="s"))
        assert (answer["error"], answer["state"], answer["iss"]) == ("unauthorized_client", "s", issuer.url)
    finally:
        admin.send("DELETE", f"{base}/{made['id']}", headers={"if-match": "*"})


def test_fragment_in_the_resource(deployment, native):
    """RI-02: no fragment."""
    reply = deployment.platform.ask(native, redirect_uri=LOOPBACK, resource=deployment.stack.shared_url + "#x")
    assert told(reply)["error"] == "invalid_target"


def test_errors_of_clients_nobody_vouches_for(deployment, evidence, dynamic, registered):
    """R-15, BC-01, BC-02, MCP-AS-32: a dynamic https client hears of an error only if the person chooses; one that an administrator
    registered hears at once. Both hear the same."""
    changes = {"scope": "nope", "state": "a&b", "redirect_uri": REDIRECT_URI}
    with evidence.nothing_stored():
        asked = deployment.platform.ask(dynamic, headers=source(), **changes)
        at_once = deployment.platform.ask(registered, headers=source(), **changes)
    assert asked.status_code == 400 and "location" not in asked.headers
    assert "client.example" in asked.text
    assert at_once.status_code in (302, 303)
    assert told(asked) == told(at_once)
    assert told(asked)["error"] == "invalid_scope" and told(asked)["iss"] == deployment.platform.url


@pytest.mark.parametrize("name", [
    "client_id", "redirect_uri", "response_type", "state", "scope", "code_challenge", "code_challenge_method",
    "prompt", "resource", "login_hint", "foo",
])
def test_repeated_parameters(deployment, evidence, native, name):
    """AZ-10, RI-05, R-08: a page for client_id and redirect_uri, invalid_request for the rest, invalid_target for two
    resources; also with the same value twice."""
    query, _ = deployment.platform.query(native, redirect_uri=LOOPBACK, scope="read", state="s",
        login_hint="a@b.example")
    query = {"prompt": "login", "foo": "bar", **query}
    url = f"{deployment.platform.url}/oauth/authorize?{urlencode(query)}&{urlencode({name: query[name]})}"
    with evidence.nothing_stored():
        reply = httpx.get(url, headers=source(), trust_env=False)
    if name in ("client_id", "redirect_uri"):
        refused_on_a_page(reply)
    else:
        assert told(reply)["error"] == ("invalid_target" if name == "resource" else "invalid_request")
        assert told(reply)["iss"] == deployment.platform.url


def test_empty_is_absent_and_unknown_is_ignored(deployment, native):
    """AZ-11."""
    reply = deployment.platform.ask(
        native, redirect_uri=LOOPBACK, scope="", prompt="", request="", request_uri="", response_mode="", max_age="",
        login_hint="", organization="", foo="bar", nonce="n", ui_locales="de", audience="x",
    )
    allowed(reply)
    reply = deployment.platform.ask(native, redirect_uri=LOOPBACK, state="")
    allowed(reply)


def test_broken_text_anywhere_is_a_bad_request(deployment, evidence, native):
    """P-07, MCP-RS-14: NUL and invalid UTF-8 in every parameter: 400, never a 500, never a redirect."""
    query, _ = deployment.platform.query(native, redirect_uri=LOOPBACK, scope="read", login_hint="a@b.example")
    with evidence.nothing_stored():
        for name in query:
            for broken in ("%00", "a%00b", "%ff", "%c3%28", "%ed%a0%80"):
                url = f"{deployment.platform.url}/oauth/authorize?{urlencode(query | {name: 'X'})}"
                reply = httpx.get(url.replace(f"{name}=X", f"{name}={broken}"), trust_env=False)
                refused_on_a_page(reply)


def test_too_many_parameters(deployment, evidence, native):
    """P-21: a thousand of them, in the query and in the body."""
    query, _ = deployment.platform.query(native, redirect_uri=LOOPBACK)
    many = urlencode(query | {f"p{number}": "" for number in range(1000)})
    url = f"{deployment.platform.url}/oauth/authorize"
    with evidence.nothing_stored():
        refused_on_a_page(httpx.get(f"{url}?{many}", trust_env=False))
        form = {"content-type": "application/x-www-form-urlencoded"}
        refused_on_a_page(httpx.post(url, content=many, headers=form, trust_env=False))


def test_oversize_body(deployment, native):
    """P-01: a form over 64 KiB."""
    query, _ = deployment.platform.query(native, redirect_uri=LOOPBACK, foo="a" * 66_000)
    reply = httpx.post(f"{deployment.platform.url}/oauth/authorize", data=query, trust_env=False)
    assert reply.status_code == 413


class Trap(BaseHTTPRequestHandler):
    hits = 0

    def do_GET(self):
        Trap.hits += 1
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_request_objects_are_never_fetched(deployment, native):
    """AZ-21, R-26: request_uri is refused and nobody is called."""
    with HTTPServer(("127.0.0.1", 0), Trap) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        reply = deployment.platform.ask(
            native, redirect_uri=LOOPBACK, request_uri=f"http://127.0.0.1:{server.server_port}/request")
        time.sleep(0.2)
        server.shutdown()
    assert told(reply)["error"] == "request_uri_not_supported"
    assert Trap.hits == 0


# ---- State -------------------------------------------------------------------------------------------------------

STATES = ["a+b%20c&d=\u00e9", "x" * 2048, "\u65e5\u672c\U0001f511", "<script>alert(1)</script>", "a b\tc\r\nd",
    "=&?#/\\%"]


def test_state_comes_back_on_errors(deployment, native):
    """AZ-09: byte for byte, whatever it holds."""
    for state in STATES:
        reply = deployment.platform.ask(native, redirect_uri=LOOPBACK, state=state, scope="nope")
        assert told(reply)["state"] == state
    reply = deployment.platform.ask(native, redirect_uri=LOOPBACK, state=None, scope="nope")
    assert "state" not in told(reply)


def test_state_comes_back_with_the_code(deployment, dynamic):
    """AZ-09, AZ-18, BC-07, R-25, MCP-AS-07, MCP-AS-14: on success; and none comes back where none was sent."""
    person = deployment.person("alice")
    with Walk(deployment, person) as browser:
        for state in [*STATES[:3], None]:
            page = browser.until(deployment.platform.url_for(dynamic, state=state), "decision")
            reply = browser.send(page)
            answer = told(reply)
            assert answer.get("state") == state
            assert set(answer) == {"code", "iss"} | ({"state"} if state else set())
            assert answer["iss"] == deployment.platform.url
            assert urlsplit(reply.headers["location"])._replace(query="").geturl() == REDIRECT_URI


def test_query_of_the_redirect_is_kept(deployment):
    """AZ-04, R-14: a registered query stays, what we add comes behind it and not into a fragment."""
    uri = "https://client.example/callback?tenant=a%20b"
    client = deployment.platform.register(redirect_uris=[uri])
    with Walk(deployment, deployment.person("alice", "deny")) as browser:
        reply = browser.send(browser.until(deployment.platform.url_for(client, redirect_uri=uri), "decision"))
    assert reply.headers["location"].startswith(uri + "&error=")


# ---- Success -----------------------------------------------------------------------------------------------------


def test_denial_is_recorded(deployment, evidence):
    """AZ-12, MCP-AS-34: access_denied with state and iss, and an event that names the person and the client."""
    client = deployment.platform.register()
    with Walk(deployment, deployment.person("alice", "deny")) as browser:
        page = browser.until(deployment.platform.url_for(client, state="s"), "decision")
        with evidence.nothing_stored():
            reply = browser.send(page)
    assert reply.status_code in (302, 303)
    answer = told(reply)
    assert (answer["error"], answer["state"], answer["iss"]) == ("access_denied", "s", deployment.platform.url)
    (event,) = evidence.of(reply, deployment.organizations["acme"], type="authorize.denied")
    assert event["client"] == client and event["actor"]["type"] == "user" and event["reason"] == "person_declined"


def test_consent_is_recorded(deployment, evidence, dynamic):
    """AZ-16: who gave whom what, in the log of the person's organization; the code itself is nowhere in it."""
    with Walk(deployment, deployment.person("gus")) as browser:
        reply = browser.send(browser.until(deployment.platform.url_for(dynamic), "decision"))
    code = told(reply)["code"]
    events = evidence.of(reply, deployment.organizations["globex"])
    assert {"consent.granted", "authorize.granted"} <= {event["type"] for event in events}
    assert all(event["client"] == dynamic and event["audience"] == [deployment.stack.shared_url] for event in events)
    assert code not in str(events)


def test_codes_have_no_pattern(deployment, dynamic):
    """AZ-16: at least 128 bits that differ in every code: no two of many share their first or last four signs as a
    pattern would make them, and each sign of the tail is met about as often."""
    wanted = sized(60, 1_000)
    with Walk(deployment, deployment.person("alice")) as browser:
        codes = [told_code(deployment.platform, browser, dynamic).code for _ in range(wanted)]
    tails = [code[-22:] for code in codes]
    assert len(set(codes)) == len(set(tails)) == wanted
    for part in (slice(0, 4), slice(9, 13), slice(-5, -1)):
        # Of 64⁴ beginnings, a thousand at random share about 0.03.
        assert wanted - len({tail[part] for tail in tails}) <= 2
    seen = Counter(sign for tail in tails for sign in tail[:-1])
    expected = wanted * 21 / 64
    assert len(seen) == 64 and max(seen.values()) < expected * 2.5 and min(seen.values()) > expected * 0.1, seen


def test_unknown_scopes_are_dropped_and_reported(deployment, dynamic):
    """AZ-08, TK-03, design 3.1 f: what does not exist is left out, and `scope` says so; offline_access stays out."""
    issuer = deployment.platform
    reply = issuer.redeem(issuer.code(deployment.person("alice"), dynamic, scope="read nope offline_access"))
    assert reply.status_code == 200, reply.text
    assert reply.json()["scope"].split() == ["read"]
    token = claims(reply.json()["access_token"])
    assert token["scope"] == "read" and token["scopes"] == ["read"]


def test_policy_narrows_and_says_so(deployment, dynamic):
    """AZ-08, TK-03, MCP-AS-30: rita asks for both and gets what her organization allows."""
    issuer = deployment.platform
    reply = issuer.redeem(issuer.code(deployment.person("rita"), dynamic, scope="read write"))
    assert reply.json()["scope"] == "read"


@pytest.mark.parametrize("spelling", ["upper", "plain"])
def test_resource_spelling(deployment, native, spelling):
    """RI-06, RI-04, MCP-AS-21: scheme and host in any case; `aud` is the registered spelling."""
    issuer = deployment.platform
    url = deployment.stack.shared_url
    asked = url.replace("http://localhost", "HTTP://LOCALHOST") if spelling == "upper" else url
    person = deployment.person("alice")
    code = issuer.code(person, native, redirect_uri=LOOPBACK, resource=asked)
    reply = issuer.redeem(code, redirect_uri=LOOPBACK, resource=asked)
    assert claims(reply.json()["access_token"])["aud"] == url


def test_path_of_the_resource_is_exact(deployment, native):
    """RI-06: path, port and query are significant."""
    url = deployment.stack.shared_url
    for other in (url + "/", url.upper().replace("HTTP", "http"), url + "?a=b", url.replace("/mcp", "/mcp/../mcp")):
        reply = deployment.platform.ask(native, redirect_uri=LOOPBACK, resource=other)
        assert told(reply)["error"] == "invalid_target", other


def test_slash_after_a_bare_host(deployment, admin, native):
    """RI-06: a lone slash after the host does not matter."""
    body = {"uri": "https://bare.example", "name": "Bare", "scopes": ["read"]}
    resource = admin.post("/v1/resources", body)
    try:
        for asked in ("https://bare.example", "https://bare.example/", "HTTPS://BARE.example:443/"):
            allowed(deployment.platform.ask(native, redirect_uri=LOOPBACK, resource=asked))
    finally:
        admin.send("DELETE", f"/v1/resources/{resource['id']}", headers={"if-match": "*"})


# ---- Sessions ----------------------------------------------------------------------------------------------------


def test_prompt_none_with_a_session_and_no_consent(deployment):
    """AZ-20: consent_required once somebody is signed in, never a silent code for a dynamic client."""
    issuer = deployment.acme
    client = issuer.register(redirect_uris=["http://127.0.0.1/callback"])
    with Walk(deployment, deployment.person("alice")) as browser:
        browser.send(browser.until(issuer.url_for(client, redirect_uri=LOOPBACK), "decision"))
        reply = browser.get(issuer.url_for(client, redirect_uri=LOOPBACK, prompt="none", state="s"))
    answer = told(reply)
    assert answer["error"] in ("consent_required", "interaction_required")
    assert answer["state"] == "s" and answer["iss"] == issuer.url


@pytest.mark.parametrize("redirect", [REDIRECT_URI, LOOPBACK])
def test_consent_of_a_dynamic_client_is_asked_again(deployment, redirect):
    """AZ-23: signed in, consented before, and yet asked again."""
    client = deployment.acme.register(redirect_uris=[redirect])
    with Walk(deployment, deployment.person("alice")) as browser:
        for _ in range(2):
            page = browser.get(deployment.acme.url_for(client, redirect_uri=redirect))
            assert page.status_code == 200, "no page one"
            page = browser.until(deployment.acme.url_for(client, redirect_uri=redirect), "decision")
            assert "Allow" in text_of(page)
            assert "code" in told(browser.send(page))


def test_consent_of_a_registered_client_is_reused(deployment, admin, evidence):
    """AZ-23, AZ-20: an administrator's client with an https redirect need not ask twice, unless it wants more, or asks
    for the page by prompt=consent; prompt=login always signs in."""
    acme = deployment.organizations["acme"]
    body = {"name": "Acme's own", "redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": "none"}
    client = admin.post(f"/v1/organizations/{acme}/clients", body)["client_id"]
    issuer = deployment.acme
    with Walk(deployment, deployment.person("alice")) as browser:
        page = browser.until(issuer.url_for(client, scope="read"), "decision")
        assert "code" in told(browser.send(page))
        for prompt in (None, "none"):
            reply = browser.get(issuer.url_for(client, scope="read", prompt=prompt, state="s"))
            answer = told(reply)
            assert "code" in answer and answer["state"] == "s" and answer["iss"] == issuer.url
            (event,) = evidence.of(reply, acme, type="authorize.granted")
            assert event["client"] == client
        for changes in ({"scope": "read write"}, {"prompt": "consent", "scope": "read"}, {"prompt": "login"}):
            page = browser.get(issuer.url_for(client, **changes))
            assert page.status_code == 200, changes
        again = browser.get(issuer.url_for(client, prompt="login"))
        assert "Continue as" not in text_of(again) and 'name="email"' in again.text


def test_max_age_of_a_session(deployment):
    """AZ-20: max_age=0 does not take an old session for prompt=none."""
    client = deployment.acme.register(redirect_uris=["http://127.0.0.1/callback"])
    with Walk(deployment, deployment.person("alice")) as browser:
        browser.send(browser.until(deployment.acme.url_for(client, redirect_uri=LOOPBACK), "decision"))
        time.sleep(1.1)
        reply = browser.get(deployment.acme.url_for(client, redirect_uri=LOOPBACK, prompt="none", max_age="0"))
        assert told(reply)["error"] == "login_required"


# ---- What a code is bound to is in test_token.py -----------------------------------------------------------------


def test_host_headers_change_nothing(deployment, native):
    """MD-13, P-12: links, form actions and iss come from the configured URL."""
    evil = {
        "host": "evil.example", "x-forwarded-host": "evil.example", "forwarded": "host=evil.example;proto=https",
        "x-forwarded-proto": "https", "x-original-url": "/v1/organizations", "x-rewrite-url": "/v1/organizations",
    }
    page = deployment.platform.ask(native, headers=evil, redirect_uri=LOOPBACK)
    allowed(page)
    assert "evil.example" not in page.text and "evil.example" not in str(page.headers)
    reply = deployment.platform.ask(native, headers=evil, redirect_uri=LOOPBACK, scope="nope")
    assert told(reply)["iss"] == deployment.platform.url
    assert dict(parse_qsl(urlsplit(reply.headers["location"]).query))["error"] == "invalid_scope"
