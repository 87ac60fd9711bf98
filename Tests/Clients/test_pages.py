"""The pages people see: headers, forms, and who may answer them (facts A1, A11, B2; design §3.3)."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import httpx
import pytest
from evidence import source
from gatehouse_demo.chatgpt import claims
from gatehouse_demo.pages import Person
from oauth import REDIRECT_URI, Code, told
from walk import Walk, forms_of, text_of

LOOPBACK = "http://127.0.0.1:43001/callback"


@pytest.fixture(scope="module")
def client(deployment) -> str:
    return deployment.platform.register(client_name="Example")


@pytest.fixture
def browser(deployment):
    with Walk(deployment, deployment.person("alice")) as made:
        yield made


def safe_headers(page: httpx.Response) -> None:
    directives = [part.split() for part in page.headers["content-security-policy"].split(";") if part.strip()]
    policy = {name: sources for name, *sources in directives}
    assert policy["frame-ancestors"] == ["'none'"] and policy["default-src"] == ["'none'"]
    assert policy["base-uri"] == ["'none'"]
    assert "script-src" not in policy and policy.get("style-src") == ["'self'"]
    assert "unsafe" not in str(policy) and "*" not in str(policy.get("form-action")).replace(":*", "")
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["cross-origin-opener-policy"] == "same-origin"
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "access-control-allow-origin" not in page.headers


def inert(page: httpx.Response) -> None:
    """No script, no inline style, no handler, nothing from elsewhere."""
    assert not re.search(r"<(script|style|iframe|object|embed|img|base)\b", page.text, re.I)
    assert not re.search(r"<[^>]+\s(style|on[a-z]+)\s*=", page.text, re.I)
    assert "javascript:" not in page.text.lower()
    assert re.findall(r'<link[^>]*href="([^"]+)"', page.text) and 'name="viewport"' in page.text


def test_headers_of_every_page(deployment, browser, client):
    """AZ-15, R-16, R-27, AZ-13, P-22: page one, code, a wrong code, consent, the end, and every error."""
    page = browser.get(deployment.platform.url_for(client))
    pages = [page]
    page = browser.until(deployment.platform.url_for(client), "code")
    pages.append(page)
    pages.append(browser.send(page, code="000000"))
    page = browser.until(deployment.platform.url_for(client), "decision")
    pages.append(page)
    consent = browser.submission(page)
    assert "code" in told(browser.follow(consent))
    pages.append(browser.get(str(page.url)))
    pages += [
        browser.get(f"{deployment.stack.url}/signin/nobody"), browser.get(f"{deployment.stack.url}/"),
        deployment.platform.ask("nobody"), deployment.platform.ask(client, redirect_uri="https://evil.example/"),
        deployment.platform.ask(client, scope="nope"),
        browser.follow(browser.submission(pages[0], {"origin": "https://evil.example"})),
    ]
    for page in pages:
        safe_headers(page)
        inert(page)
    for reply in browser.replies:
        if reply.is_redirect:
            assert reply.status_code == (303 if reply.request.method == "POST" else reply.status_code)
            assert reply.status_code in (302, 303) and reply.headers["cache-control"] == "no-store"
            assert reply.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("redirect,target", [
    (REDIRECT_URI, "https://client.example"), (LOOPBACK, "http://127.0.0.1:43001"),
    ("cursor://anysphere.cursor-mcp/oauth/callback", "cursor:"),
])
def test_form_action(deployment, browser, redirect, target):
    """AZ-15: a form may lead to ourselves and to the client's address, and nowhere else; and a browser lets it."""
    client = deployment.platform.register(redirect_uris=[redirect])
    page = browser.until(deployment.platform.url_for(client, redirect_uri=redirect), "decision")
    policy = page.headers["content-security-policy"]
    sources = re.search(r"form-action ([^;]*)", policy)[1].split()
    assert sources == ["'self'", target]


def test_stylesheet(deployment, http, client):
    """AZ-15: the one thing a page loads is ours, of the right type, and may be cached for good."""
    page = deployment.platform.ask(client)
    (path,) = re.findall(r'<link[^>]*href="([^"]+)"', page.text)
    reply = http.get(deployment.stack.url + path)
    assert reply.status_code == 200 and reply.headers["content-type"].startswith("text/css")
    assert "immutable" in reply.headers["cache-control"] and "prefers-color-scheme" in reply.text


def test_what_the_pages_say(deployment, client):
    """AZ-24, MCP-AS-23, MCP-AS-26: client, redirect host, resource; then organization, account and scopes."""
    with Walk(deployment, deployment.person("rita")) as browser:
        first = text_of(browser.get(deployment.platform.url_for(client, scope="read write")))
        assert "Example" in first and "client.example" in first and deployment.stack.shared_url in first
        assert "Not verified" in first
        consent = text_of(browser.until(deployment.platform.url_for(client, scope="read write"), "decision"))
    assert "Example" in consent and "client.example" in consent and "Acme" in consent and "rita@acme.example" in consent
    granted, withheld = consent.split("will not get it")
    assert "read" in granted and "write" in withheld


def test_loopback_clients_are_warned_of(deployment, browser):
    """AZ-24, MCP-AS-24: any program on this machine may be the one that asks."""
    client = deployment.platform.register(redirect_uris=["http://127.0.0.1/callback"])
    page = browser.get(deployment.platform.url_for(client, redirect_uri=LOOPBACK))
    assert "Did you start this yourself?" in text_of(page) and "127.0.0.1" in text_of(page)


def test_nothing_upstream_before_page_one_is_answered(deployment, client, evidence):
    """MCP-AS-25, MCP-AS-28, design 3.3: opening the link sends no mail and sets no cookie."""
    person = deployment.person("alice")
    before = len(person.outbox.messages(person.email))
    with Walk(deployment, person) as browser:
        page = browser.get(deployment.platform.url_for(client, login_hint=person.email))
        assert "set-cookie" not in page.headers
        assert len(person.outbox.messages(person.email)) == before
        browser._mails = before
        page = browser.send(page)
        assert len(person.outbox.messages(person.email)) == before + 1


def test_cookies(deployment, browser, client):
    """BC-05, R-20: HttpOnly, SameSite=Lax, Path=/, no Domain; a new session at every sign-in, never a preset one."""
    acme = deployment.organizations["acme"]
    preset = "ses_00000000000000000000000000.attacker"
    browser.http.cookies.set(f"gatehouse_session_{acme}", preset, domain="localhost.local")
    browser.until(deployment.platform.url_for(client), "decision")
    cookies = [cookie for reply in browser.replies for cookie in reply.headers.get_list("set-cookie")]
    assert len(cookies) == 3, cookies
    for cookie in cookies:
        name, *attributes = [part.strip() for part in cookie.split(";")]
        assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(attributes)
        assert not any(one.lower().startswith("domain") for one in attributes)
        assert "Secure" not in attributes and not name.startswith("__Host-"), "plain http on loopback"
        assert len(name.split("=", 1)[1]) >= 43 and "attacker" not in name
    with Walk(deployment, deployment.person("alice")) as second:
        second.until(deployment.platform.url_for(client), "decision")
        again = [cookie for reply in second.replies for cookie in reply.headers.get_list("set-cookie")]
    assert not {one.split(";")[0] for one in cookies} & {one.split(";")[0] for one in again}


# ---- Who may answer ----------------------------------------------------------------------------------------------


def refused_page(reply: httpx.Response) -> None:
    assert reply.status_code in (400, 403), f"{reply.status_code} {reply.headers.get('location')}"
    assert "location" not in reply.headers and not forms_of(reply)


FORGERIES = {
    "another site's Origin": ({"origin": "https://evil.example"}, {}),
    "a sibling's Origin": ({"origin": "http://evil.localhost"}, {}),
    "another port": ({"origin": "http://localhost:1"}, {}),
    "null Origin": ({"origin": "null"}, {}),
    "cross-site by the browser's word": ({"origin": "", "sec-fetch-site": "cross-site"}, {}),
    "same-site by the browser's word": ({"origin": "", "sec-fetch-site": "same-site"}, {}),
    "no token": ({}, {"csrf_token": None}),
    "empty token": ({}, {"csrf_token": ""}),
    "wrong token": ({}, {"csrf_token": "A" * 43}),
}


def test_forged_consent(deployment, browser, client, evidence):
    """R-17, BC-04: another Origin, no token, a wrong one: refused, nothing granted, and the person can still answer."""
    page = browser.until(deployment.platform.url_for(client), "decision")
    with evidence.nothing_stored():
        for why, (headers, changes) in FORGERIES.items():
            refused_page(browser.send(page, headers, **changes))
    assert "code" in told(browser.send(page))


def test_consent_from_another_browser(deployment, browser, client, evidence):
    """R-17, BC-03, BC-04: without the cookie of the browser that began, or with another's, the very same form is
    refused, and so is every page of that sign-in."""
    page = browser.until(deployment.platform.url_for(client), "decision")
    form = browser.submission(page)
    with Walk(deployment, deployment.person("gus")) as other, httpx.Client(trust_env=False) as nobody:
        other.until(deployment.platform.url_for(client), "decision")
        with evidence.nothing_stored():
            for made in (other.http, nobody):
                reply = made.post(str(form.url), content=form.content, headers={
                    "content-type": "application/x-www-form-urlencoded", "origin": deployment.stack.url})
                refused_page(reply)
                refused_page(made.get(str(page.url)))
    assert "code" in told(browser.follow(form))


def test_other_persons_token(deployment, browser, client, evidence):
    """R-17: the CSRF token of one sign-in opens no other."""
    page = browser.until(deployment.platform.url_for(client), "decision")
    with Walk(deployment, deployment.person("gus")) as other:
        theirs = other.until(deployment.platform.url_for(client), "decision")
        token = forms_of(theirs)[0].named("csrf_token")[0].value
    with evidence.nothing_stored():
        refused_page(browser.send(page, csrf_token=token))


def test_forged_consent_is_recorded(deployment, browser, client, evidence):
    """R-17: a form from another site or browser is an attack that the log has to show."""
    page = browser.until(deployment.platform.url_for(client), "decision")
    form = browser.submission(page)
    with httpx.Client(trust_env=False) as nobody:
        stolen = nobody.post(str(form.url), content=form.content, headers=source() | {
            "content-type": "application/x-www-form-urlencoded", "origin": deployment.stack.url})
    forged = browser.send(page, source() | {"origin": "https://evil.example"})
    wanted = {stolen.headers["request-id"], forged.headers["request-id"]}
    until = time.monotonic() + 3
    seen = set()
    while not wanted <= seen and time.monotonic() < until:
        for organization in (None, deployment.organizations["acme"]):
            seen |= {event.get("request", {}).get("id") for event in evidence.events(organization)}
    assert stolen.headers["request-id"] in seen, "from another browser"
    assert forged.headers["request-id"] in seen, "from another site"


def test_first_page_and_code_page_are_guarded_too(deployment, client, evidence):
    """BC-04, BC-03: page one by Origin and token, the code page by browser as well."""
    person = deployment.person("alice")
    with Walk(deployment, person) as browser:
        page = browser.get(deployment.platform.url_for(client))
        mails = len(person.outbox.messages(person.email))
        for headers, changes in FORGERIES.values():
            refused_page(browser.send(page, headers, **changes))
        assert len(person.outbox.messages(person.email)) == mails
        page = browser.until(deployment.platform.url_for(client), "code")
        form = browser.submission(page)
        with evidence.nothing_stored():
            for headers, changes in FORGERIES.values():
                refused_page(browser.send(page, headers, **changes))
            reply = httpx.post(
                str(form.url), content=form.content, trust_env=False,
                headers={"content-type": "application/x-www-form-urlencoded", "origin": deployment.stack.url})
            refused_page(reply)
        assert any(one.named("decision") for one in forms_of(browser.follow(form)))


def test_double_click_gives_one_code(deployment, browser, client, evidence):
    """R-23: ten clicks at once are one code and nine safe pages; so is going back afterwards."""
    page = browser.until(deployment.platform.url_for(client), "decision")
    cookies = dict(browser.http.cookies)
    form = browser.submission(page)

    def click(node: str) -> httpx.Response:
        return httpx.post(
            str(form.url).replace(deployment.stack.url, node), content=form.content, trust_env=False, timeout=15,
            cookies=cookies, headers={
                "content-type": "application/x-www-form-urlencoded", "origin": deployment.stack.url,
                "host": deployment.stack.url.removeprefix("http://"),
            })

    with ThreadPoolExecutor(10) as pool:
        replies = list(pool.map(click, deployment.node_urls * 5))
    sent = [reply for reply in replies if reply.is_redirect and REDIRECT_URI in reply.headers["location"]]
    assert len(sent) == 1 and "code" in told(sent[0])
    for reply in replies:
        if reply not in sent:
            assert reply.status_code in (303, 400), reply.status_code
            assert "code=" not in reply.headers.get("location", "")
    again = browser.follow(form)
    refused_page(again)
    assert "no longer valid" in text_of(again)
    refused_page(browser.get(str(page.url)))
    granted = evidence.of(sent[0], deployment.organizations["acme"], type="authorize.granted")
    assert len(granted) == 1


def test_consent_says_nothing_but_yes_or_no(deployment, client):
    """R-18: scope, resource, client and redirect of the form are not read; only the word `allow` allows."""
    with Walk(deployment, deployment.person("rita")) as browser:
        query, verifier = deployment.platform.query(client, scope="read")
        url = f"{deployment.platform.url}/oauth/authorize?{urlencode(query)}"
        page = browser.until(url, "decision")
        reply = browser.send(
            page, scope="read write admin", resource=deployment.stack.plain_url, client_id="other",
            redirect_uri="https://evil.example/", organization="globex", user="x", state="other")
        assert reply.headers["location"].startswith(REDIRECT_URI + "?")
        assert told(reply)["state"] == query["state"]
        tokens = deployment.platform.redeem(Code(told(reply)["code"], verifier, client)).json()
        assert claims(tokens["access_token"])["scope"] == "read"
        assert claims(tokens["access_token"])["aud"] == deployment.stack.shared_url
        for word in ("Allow", "ALLOW", "yes", "", None, ["deny", "allow"], ["allow", "allow"]):
            page = browser.until(deployment.platform.url_for(client), "decision")
            assert told(browser.send(page, decision=word)).get("error") == "access_denied", word


def test_known_browser(deployment, client):
    """K-17: strangers have codes sent to an address until no more are; its owner, in a browser they used before, still
    signs in."""
    person = deployment.person("alice")
    url = deployment.platform.url_for(client)
    acme = deployment.organizations["acme"]
    with Walk(deployment, person) as known, Walk(deployment, person) as stranger:
        known.until(url, "decision")
        marks = [one for one in known.http.cookies.jar if one.name == f"gatehouse_known_{acme}"]
        assert len(marks) == 1 and marks[0].expires > time.time() + 399 * 86_400
        for number in range(120):
            if number % 5 == 0:
                first = stranger.until(url, "email")
            stranger.http.headers.update(source())
            page = stranger.send(first, email=person.email)
            if page.status_code == 422:
                break
        assert number >= 40 and "Too many codes" in page.text
        # The session is over; what the browser remembers is not.
        session = next(one for one in known.http.cookies.jar if one.name == f"gatehouse_session_{acme}")
        known.http.cookies.jar.clear(session.domain, session.path, session.name)
        known.http.headers.update(source())
        known.until(url, "decision")
        # And who proved who they are ends the flood's effect.
        stranger.http.headers.update(source())
        assert stranger.send(stranger.until(url, "email"), email=person.email).status_code == 200


def test_wrong_codes(deployment, client, evidence):
    """K-17: each wrong code is an event; after five the right one is too late until a new one is sent."""
    person = deployment.person("alice")
    with Walk(deployment, person) as browser:
        page = browser.until(deployment.platform.url_for(client), "code")
        right = person.outbox.await_code(person.email, beyond=browser._mails)
        wrong = f"{(int(right) + 1) % 1_000_000:06}"
        with evidence.nothing_stored():
            for _ in range(5):
                page = browser.send(page, code=wrong)
                assert page.status_code == 422 and forms_of(page)[0].named("code")
            page = browser.send(page, code=right)
        assert page.status_code == 422 and "Too many wrong codes" in text_of(page)
    events = evidence.events(deployment.organizations["acme"], type="login.failed")
    assert events and events[-1]["outcome"] in ("denied", "failure")
    assert right not in str(events) and wrong not in str(events)


@pytest.mark.parametrize("name", [
    "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "{{7*7}} {{{page}}} {{>layout}}",
    "'-alert(1)-'", "</title><svg onload=alert(1)>", "&lt;b&gt;&amp;",
])
def test_names_are_text(deployment, browser, name):
    """R-21: a client's name on every page it is on."""
    client = deployment.platform.register(client_name=name)
    url = deployment.platform.url_for(client)
    pages = [browser.get(url), browser.until(url, "code"), browser.until(url, "decision")]
    for page in pages:
        assert page.status_code == 200
        inert(page)
        assert " ".join(name.split()) in text_of(page)


def test_hints_and_state_are_text(deployment, browser, client):
    """R-21: login_hint, organization, state and what the person types; on error pages too."""
    evil = "\"><script>alert(1)</script>@evil.example"
    page = browser.get(deployment.platform.url_for(client, login_hint=evil, state=evil, organization=evil))
    assert page.status_code == 200
    inert(page)
    assert forms_of(page)[0].named("email")[0].value == evil
    inert(browser.send(page, email="x@unknown.example", organization=evil))
    inert(browser.send(browser.get(deployment.platform.url_for(client)), email=evil))
    page = deployment.platform.ask(client, scope="nope", state=evil)
    inert(page)
    assert told(page)["state"] == evil


def test_pages_take_broken_input(deployment, browser, client):
    """P-01, P-07, P-08: NUL, invalid UTF-8, another media type and 64 KiB + 1 at each form; never a 500."""
    page = browser.get(deployment.platform.url_for(client))
    url = str(browser.submission(page).url)
    form = {"content-type": "application/x-www-form-urlencoded", "origin": deployment.stack.url}
    for where in (url, f"{url}/code", f"{url}/consent", f"{deployment.stack.url}/signin/nobody"):
        for body in (b"email=%00", b"email=%ff", b"csrf_token=%", b"\xff\xfe", b"", b"&" * 1000, b"a=1&a=2"):
            refused_page(browser.http.post(where, content=body, headers=form))
        reply = browser.http.post(where, content=b"email=" + b"a" * 65536, headers=form)
        assert reply.status_code == 413
        refused_page(browser.http.post(where, json={}, headers={"origin": deployment.stack.url}))
    for handle in ("%00", "a" * 43, "A" * 5000, "x%2fconsent", "x%0d%0ay", "\u00e9"):
        assert browser.http.get(f"{deployment.stack.url}/signin/{handle}").status_code in (400, 404), handle


def test_addresses_that_are_none(deployment, browser, client):
    """P-07, P-10: the page asks again and sends nothing."""
    for typed in ("alice", "@acme.example", "alice@", "a b@acme.example", "alice@acme.example\r\nBcc: x@evil.example",
                  "a" * 300 + "@acme.example", "alice@@acme.example", "alice@acme.example,gus@globex.example"):
        page = browser.get(deployment.platform.url_for(client))
        page = browser.send(page, email=typed, organization=None)
        assert page.status_code == 422, typed
        # What was typed is there to be mended, as text and no longer than an address.
        assert forms_of(page)[0].named("email")[0].value == typed.replace("\r\n", "")[:254]
        inert(page)


def test_errors_name_their_request(deployment, client, http):
    """Design 4.8: whoever is told of an error can tell an administrator which request it was."""
    base = deployment.stack.url
    for path in ("/signin/nothing", "/signin/invitation/x", "/oauth/authorize?client_id=nobody", "/oauth/authorize",
                 f"/oauth/authorize?client_id={client}&redirect_uri=https://evil.example/cb", "/o/nobody/oauth/authorize"):
        reply = http.get(base + path)
        assert reply.status_code in (400, 404), path
        if reply.headers["content-type"].startswith("text/html"):
            assert f"mention request <code>{reply.headers['request-id']}</code>" in reply.text, path
    assert "mention request" not in http.get(base).text


def test_stranger(deployment, client, evidence):
    """R-24: somebody whom the organization's provider does not know is told nothing that an unknown address is not."""
    people = [
        Person("gus@globex.example", "acme", deployment.person("gus").outbox),
        Person("nobody@acme.example", "acme", deployment.person("alice").outbox),
        Person("alice@acme.example", "acme", deployment.person("alice").outbox),
    ]
    issuer = deployment.acme
    client = issuer.register(client_name="Example")
    pages = []
    for person in people:
        with Walk(deployment, person) as browser:
            page = browser.send(browser.get(issuer.url_for(client)))
            assert forms_of(page)[0].named("code")
            plain = page.text.replace(person.email, "PERSON")
            pages.append(re.sub(r"[A-Za-z0-9_-]{43}", "RANDOM", plain))
    assert len(set(pages)) == 1


def test_a_server_that_is_not_enabled(deployment, admin, client, evidence):
    """R-24: who asks for a shared server that their organization did not enable sees what a stranger sees, and gets no mail;
    the organization's log says why."""
    resource = admin.post("/v1/resources", {"uri": "https://closed.example/mcp", "name": "Closed", "scopes": ["read"]})
    person = deployment.person("gus")
    mails = len(person.outbox.messages(person.email))
    try:
        with Walk(deployment, person) as browser:
            first = browser.get(deployment.platform.url_for(client, resource=resource["uri"]))
            page = browser.send(first, source())
            assert "Check your mail" in text_of(page) and forms_of(page)[0].named("code")
            asked = next(reply for reply in browser.replies if reply.request.method == "POST")
    finally:
        admin.send("DELETE", f"/v1/resources/{resource['id']}", headers={"if-match": "*"})
    assert len(person.outbox.messages(person.email)) == mails
    (event,) = evidence.of(asked, deployment.organizations["globex"], type="login.failed")
    assert event["reason"] == "resource_not_enabled"
