"""Organizations beside each other at one issuer and at their own (facts B1; design §3.1, §3.2)."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import re
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest
from evidence import sized, source, uuid_of
from gatehouse_demo.chatgpt import claims
from gatehouse_demo.pages import Person
from oauth import REDIRECT_URI, challenge, raw, told
from walk import Walk, forms_of, text_of


@pytest.fixture(scope="module")
def client(deployment) -> str:
    return deployment.platform.register(client_name="Example")


def same_but_for(page: httpx.Response, *typed: str) -> tuple[int, str, dict[str, str]]:
    """What an attacker can compare: status, page and headers, without random values and what they typed themselves."""
    # Error pages name the request, as the header does.
    text = page.text.replace(page.headers["request-id"], "REQUEST")
    for one in typed:
        text = text.replace(one, "TYPED")
    headers = {
        name: value for name, value in page.headers.items() if name not in ("date", "request-id", "content-length")
    }
    headers["set-cookie"] = re.sub(r"=[A-Za-z0-9_-]{43}", "=RANDOM", headers.get("set-cookie", ""))
    return page.status_code, re.sub(r"[A-Za-z0-9_-]{43}", "RANDOM", text), headers


def invalid_grant(reply: httpx.Response) -> bool:
    return reply.status_code == 400 and reply.json()["error"] == "invalid_grant"


# ---- One URL, many organizations ---------------------------------------------------------------------------------


def test_one_url_two_organizations(deployment, client):
    """T-17, AT-04: same client, same server, same issuer: own org_id, unrelated subjects and grants."""
    issuer = deployment.platform
    alice = claims(issuer.redeem(issuer.code(deployment.person("alice"), client)).json()["access_token"])
    gus = claims(issuer.redeem(issuer.code(deployment.person("gus"), client)).json()["access_token"])
    assert (alice["iss"], alice["aud"], alice["client_id"]) == (gus["iss"], gus["aud"], gus["client_id"])
    assert alice["org_id"] == deployment.organizations["acme"] and alice["org_slug"] == "acme"
    assert gus["org_id"] == deployment.organizations["globex"] and gus["org_slug"] == "globex"
    assert alice["sub"] != gus["sub"] and alice["grant_id"] != gus["grant_id"]
    assert alice["sub"] != alice["client_id"]


def test_events_stay_at_home(deployment, client, evidence):
    """T-08: what a person of one organization does is in that organization's log alone."""
    issuer = deployment.platform
    reply = issuer.redeem(issuer.code(deployment.person("alice"), client))
    grant = claims(reply.json()["access_token"])["grant_id"]
    evidence.of(reply, deployment.organizations["acme"], type="token.issued")
    for organization in (None, deployment.organizations["globex"]):
        assert grant not in str(evidence.events(organization))
    globex = evidence.events(deployment.organizations["globex"], seconds=3600)
    assert "alice@acme.example" not in str(globex) and deployment.organizations["acme"] not in str(globex)


@pytest.mark.parametrize("hints", [
    {"organization": "acme"}, {"organization": "ID"}, {"login_hint": "alice@acme.example"},
    {"organization": "acme", "login_hint": "alice@acme.example"}, {"login_hint": "ALICE@ACME.EXAMPLE"},
])
def test_hints_route(deployment, client, hints):
    """Design 3.2: an id, a slug or the domain of login_hint choose the organization; the address is filled in."""
    hints = {name: deployment.organizations["acme"] if value == "ID" else value for name, value in hints.items()}
    page = deployment.platform.ask(client, **hints)
    assert page.status_code == 200
    assert "Acme" in text_of(page)
    (form,) = forms_of(page)
    assert not form.named("organization"), "nothing left to choose"
    assert form.named("email")[0].value == hints.get("login_hint", "")
    person = deployment.person("alice")
    assert deployment.platform.redeem(deployment.platform.code(person, client, **hints)).status_code == 200


@pytest.mark.parametrize("hints", [
    {"organization": "globex", "login_hint": "alice@acme.example"},
    {"organization": "acme", "login_hint": "gus@globex.example"},
])
def test_hints_that_disagree(deployment, client, evidence, hints):
    """Design 3.2: invalid_target, nothing sent."""
    with evidence.nothing_stored():
        reply = deployment.platform.ask(client, headers=source(), state="s", **hints)
    answer = told(reply)
    assert answer["error"] == "invalid_target" and answer["state"] == "s"
    events = evidence.of(reply, type="authorize.denied")
    assert events[0]["client"] == client


def test_resource_the_organization_does_not_have(deployment, client, admin):
    """R-24, design 3.2: naming an organization that did not enable the shared resource tells no more than naming one
    that does not exist, and whoever signs in to it gets nowhere: no mail is sent."""
    uri = "https://elsewhere.example/mcp"
    resource = admin.post("/v1/resources", {"uri": uri, "name": "Elsewhere", "scopes": ["read"]})
    try:
        time.sleep(1.0)
        answers = []
        for organization in ("acme", "no-such-one"):
            reply = deployment.platform.ask(client, resource=uri, organization=organization, state="s")
            answers.append(same_but_for(reply))
        assert answers[0] == answers[1]
        person = deployment.person("alice")
        mails = len(person.outbox.messages(person.email))
        with Walk(deployment, person) as browser:
            page = browser.send(browser.get(deployment.platform.url_for(client, resource=uri)))
            assert forms_of(page)[0].named("code")
        assert len(person.outbox.messages(person.email)) == mails
    finally:
        admin.send("DELETE", f"/v1/resources/{resource['id']}", headers={"if-match": "*"})


def test_typed_organization_known_or_not(deployment, client):
    """Design 3.2, R-24: a slug that exists, one that does not, one that is no slug at all: the same page, then the same
    answer to a wrong code, to a second code, and to the sixth wrong one."""
    seen = []
    for slug in ("acme", "globex", "no-such-one", "no such one", "org_00000000000000000000000000"):
        person = Person("someone@unknown.example", slug, deployment.person("alice").outbox)
        with Walk(deployment, person) as browser:
            pages = [browser.send(browser.get(deployment.platform.url_for(client)))]
            assert forms_of(pages[0])[0].named("code")
            first = browser.replies[-2]
            assert first.status_code == 303
            for _ in range(6):
                pages.append(browser.send(pages[-1], code="123456"))
            pages.append(browser.send(pages[-1], action="resend", code=None))
            seen.append([same_but_for(page, slug) for page in pages])
    for other in seen[1:]:
        for number, (one, two) in enumerate(zip(seen[0], other, strict=True)):
            assert one[0] == two[0] and one[2] == two[2], f"page {number} differs"
            assert one[1].splitlines() == two[1].splitlines(), f"page {number} differs"


def test_typed_address_known_or_not(deployment, client):
    """Design 3.2, R-24: a colleague's address, one that nobody has, and a domain that nobody verified."""
    seen = []
    for email in ("alice@acme.example", "nobody@acme.example", "someone@unknown.example"):
        person = Person(email, "", deployment.person("alice").outbox)
        with Walk(deployment, person) as browser:
            page = browser.send(browser.get(deployment.platform.url_for(client)))
            pages = [page, browser.send(page, code="123456")]
            domain = email.split("@")[1]
            seen.append([same_but_for(page, email, domain) for page in pages])
    assert seen[0] == seen[1] == seen[2]


def test_typed_hints_that_disagree(deployment, client):
    """Design 3.2: an address of one organization and the slug of another: the page of an unknown one, and no mail."""
    for email, slug in (("alice@acme.example", "globex"), ("gus@globex.example", "acme"),
        ("alice@acme.example", "nobody")):
        person = Person(email, slug, deployment.person("alice").outbox)
        mails = len(person.outbox.messages(email))
        with Walk(deployment, person) as browser:
            page = browser.send(browser.get(deployment.platform.url_for(client)))
            assert forms_of(page)[0].named("code")
            assert len(person.outbox.messages(email)) == mails
            page = browser.send(page, code="123456")
            assert page.status_code == 422


def test_foreign_person_at_a_chosen_organization(deployment, client, evidence):
    """T-17, R-24: gus at acme by hint: acme's provider is asked, which does not let him in; nothing is linked."""
    gus = Person("gus@globex.example", "acme", deployment.person("gus").outbox)
    with Walk(deployment, gus) as browser, evidence.no_rows_stored():
        page = browser.send(browser.get(deployment.platform.url_for(client, organization="acme")))
        code = forms_of(page)[0].named("code")
        assert code
        sent = gus.outbox.messages(gus.email)
        page = browser.send(page, code=next((mail["code"] for mail in sent if mail.get("code")), "123456"))
        assert not page.is_redirect and page.status_code in (403, 422)


# ---- Sessions ----------------------------------------------------------------------------------------------------


def test_session_counts_at_its_own_organization_only(deployment, client):
    """T-16: alice's browser at globex is a stranger's; at the platform she may pick acme and nothing else."""
    at_globex = deployment.globex.register()
    admin_resource = {"resource": deployment.stack.shared_url}
    with Walk(deployment, deployment.person("alice")) as browser:
        browser.send(browser.until(deployment.platform.url_for(client), "decision"))
        page = browser.get(deployment.platform.url_for(client, organization="acme"))
        assert "Continue as alice@acme.example" in text_of(page)
        page = browser.get(deployment.platform.url_for(client, organization="globex"))
        assert "Continue as" not in text_of(page) and "alice" not in page.text
        page = browser.get(deployment.platform.url_for(client))
        choices = {one.value for one in forms_of(page)[0].named("organization") if one.kind == "radio"}
        assert choices <= {"acme", ""} and "globex" not in page.text.lower()
        reply = browser.get(deployment.globex.url_for(at_globex, **admin_resource))
        assert "alice" not in reply.text
        # She says globex and gives no address: there is no session to go on with.
        page = browser.send(browser.get(deployment.platform.url_for(client, organization="globex")), email=None)
        assert page.status_code == 422 and forms_of(page)[0].named("email")


def test_session_cookie_under_another_name(deployment, client):
    """T-16, T-17: the value of one organization's session is worth nothing under another's name."""
    acme, globex = deployment.organizations["acme"], deployment.organizations["globex"]
    with Walk(deployment, deployment.person("alice")) as browser:
        browser.until(deployment.platform.url_for(client), "decision")
        value = browser.http.cookies[f"gatehouse_session_{acme}"]
    session, secret = value.split(".", 1)
    for forged in (value, f"{session}.", f"{session}.{secret[:-1]}", f"{session}.{'A' * len(secret)}", "x", "."):
        for organization in (globex, acme):
            if (organization, forged) == (acme, value):
                continue
            cookie = {"cookie": f"gatehouse_session_{organization}={forged}"}
            page = deployment.platform.ask(client, headers=cookie, organization=organization)
            assert page.status_code == 200 and "Continue as" not in page.text
    right = {"cookie": f"gatehouse_session_{acme}={value}"}
    assert "Continue as" in deployment.platform.ask(client, headers=right, organization=acme).text


def test_disabled_session(deployment, client, admin):
    """T-30, TK-23: a disabled person's session is over."""
    acme = deployment.organizations["acme"]
    with Walk(deployment, deployment.person("rita")) as browser:
        page = browser.until(deployment.platform.url_for(client, organization="acme"), "decision")
        (rita,) = admin.list(f"/v1/organizations/{acme}/users", email="rita@acme.example")
        admin.post(f"/v1/organizations/{acme}/users/{rita['id']}:disable")
        try:
            reply = browser.send(page)
            assert reply.status_code == 403 and "location" not in reply.headers, "consent after it is refused"
            page = browser.get(deployment.platform.url_for(client, organization="acme"))
            assert "Continue as" not in page.text
        finally:
            admin.post(f"/v1/organizations/{acme}/users/{rita['id']}:enable")
        page = browser.get(deployment.platform.url_for(client, organization="acme"))
        assert "Continue as" not in page.text, "what was ended does not come back"


# ---- Codes and tokens at other issuers ---------------------------------------------------------------------------


def test_codes_at_other_issuers(deployment):
    """T-14: with a client of that issuer: invalid_grant, and the code still works where it belongs."""
    clients = {name: deployment.issuer(name).register() for name in ("platform", "acme", "globex")}
    code = deployment.acme.code(deployment.person("alice"), clients["acme"])
    for name in ("platform", "globex"):
        issuer = deployment.issuer(name)
        assert invalid_grant(issuer.redeem(code, client_id=clients[name], resource=None))
        reply = issuer.redeem(code, resource=None)
        assert reply.status_code == 401 and reply.json()["error"] == "invalid_client"
    assert deployment.acme.redeem(code).status_code == 200


def test_refresh_tokens_at_other_issuers(deployment):
    """T-15: invalid_grant everywhere else, at both nodes; the family lives."""
    clients = {name: deployment.issuer(name).register() for name in ("platform", "acme", "globex")}
    code = deployment.acme.code(deployment.person("alice"), clients["acme"])
    token = deployment.acme.redeem(code).json()["refresh_token"]
    for name in ("platform", "globex"):
        for node in deployment.node_urls:
            assert invalid_grant(deployment.issuer(name).refresh(token, clients[name], node, resource=None))
    assert deployment.acme.refresh(token, clients["acme"]).status_code == 200


def test_refresh_token_with_another_organization_in_it(deployment, client, evidence):
    """T-15: the organization within the token only routes: exchanged for another, it finds nothing and harms
    nothing."""
    issuer = deployment.platform
    token = issuer.redeem(issuer.code(deployment.person("alice"), client)).json()["refresh_token"]
    content = bytearray(base64.urlsafe_b64decode(token[3:] + "=="))
    assert content[:16] == uuid_of(deployment.organizations["acme"]).bytes, "the token's shape has changed"
    content[:16] = uuid_of(deployment.organizations["globex"]).bytes
    forged = "gr_" + base64.urlsafe_b64encode(bytes(content)).decode().rstrip("=")
    with evidence.nothing_stored():
        assert invalid_grant(issuer.refresh(forged, client))
    assert issuer.refresh(token, client).status_code == 200


def test_access_token_opens_no_admin_route(deployment, client, http):
    """T-13, BR-07: a person's token is no admin key."""
    issuer = deployment.platform
    token = issuer.redeem(issuer.code(deployment.person("alice"), client)).json()["access_token"]
    for path in ("/v1/organizations", f"/v1/organizations/{deployment.organizations['acme']}/users"):
        reply = http.get(deployment.stack.url + path, headers={"authorization": f"Bearer {token}"})
        assert reply.status_code == 401


# ---- Slugs -------------------------------------------------------------------------------------------------------

SLUGS = [
    "acme%2f", "acme%2F..", "..%2facme", "%2e%2e/acme", "../o/acme", "ACME", "Acme", "acme.", "acme%2e", "acme%20",
    "%20acme",
    "acme%00", "acme%00globex", "acme;globex", "acme,globex", "acme%3f", "acme%23", "acme/", "/acme", "acm%65",
    "acme%0d%0a",
    "%61cme", "\u0430cme", "%d0%b0cme", "acme%cc%81", "\uff41cme", "acme/../globex", "*", "%25", "acme%2500", "-",
    "a" * 5000,
    "xn--acme", "acme'--", "acme\\", "~acme", "acme:80", "acme@globex", "ORG",
]


def test_slug_tricks(deployment):
    """T-19: 404 or 400 for every spelling but the one, in every place; never another organization, never a 5xx."""
    wrong = []
    for slug in SLUGS:
        slug = deployment.organizations["acme"] if slug == "ORG" else slug
        for target in (
            f"/.well-known/oauth-authorization-server/o/{slug}", f"/o/{slug}/.well-known/openid-configuration",
            f"/o/{slug}/oauth/authorize", f"/o/{slug}/oauth/jwks", f"/.well-known/mcp-resources/o/{slug}",
        ):
            try:
                status, _, body = raw(deployment.stack.url, "GET", target.encode().decode("latin-1"))
            except (OSError, ValueError, httpx.HTTPError):
                continue
            if status not in (400, 404, 414):
                wrong.append((target, status, body[:80]))
    assert not wrong


# ---- Side by side ------------------------------------------------------------------------------------------------


def test_interleaved_organizations(deployment, client):
    """T-22: a hundred refreshes of both organizations over both nodes at once, a fifth of them cut off half way: no
    answer ever names the other organization or another person."""
    issuer = deployment.platform
    chains = []
    for name, organization in (("alice", "acme"), ("gus", "globex")) * 4:
        tokens = issuer.redeem(issuer.code(deployment.person(name), client)).json()
        chains.append((tokens, deployment.organizations[organization]))

    def run(job: tuple[int, tuple[dict, str]]) -> list[str]:
        number, (tokens, organization) = job
        subject, token, wrong = claims(tokens["access_token"])["sub"], tokens["refresh_token"], []
        for turn in range(12):
            node = deployment.node_urls[(number + turn) % 2]
            if turn % 5 == 4:
                try:
                    issuer.token({"grant_type": "refresh_token", "refresh_token": token, "client_id": client}, node,
                        0.002)
                except httpx.TransportError:
                    pass
            reply = issuer.refresh(token, client, node)
            if reply.status_code != 200:
                wrong.append(reply.text)
                break
            got = claims(reply.json()["access_token"])
            if (got["org_id"], got["sub"]) != (organization, subject):
                wrong.append(str(got))
            token = reply.json()["refresh_token"]
        return wrong

    with ThreadPoolExecutor(8) as pool:
        assert not [wrong for wrong in pool.map(run, enumerate(chains)) if wrong]


def test_fifty_organizations_interleaved(deployment, admin):
    """T-22: services of fifty organizations ask both nodes at once, half of them hang up in the middle; whoever gets an
    answer gets a token of its own organization and client, and a list that a key asked for has its own rows only."""
    organizations = []
    for number in range(50):
        slug = f"crowd-{number}-{secrets.token_hex(4)}"
        made = admin.post("/v1/organizations", {"slug": slug, "name": slug})
        base = f"/v1/organizations/{made['id']}"
        admin.post(f"{base}/resources", {"uri": f"https://{slug}.example/mcp", "name": slug, "scopes": [{"name": "read"}]})
        client = admin.post(f"{base}/clients", {"name": slug, "kind": "service"})
        admin.post(f"{base}/scope-policies", {
            "name": "services", "effect": "allow", "principals": {"services": [client["client_id"]]},
            "resources": [], "scopes": ["read"]})
        organizations.append((made["id"], slug, client))
    wanted = sized(1_000, 2_000)

    async def ask(number: int) -> str | None:
        """What was wrong with the answer."""
        organization, slug, client = organizations[number % 50]
        node = urlsplit(deployment.node_urls[number // 50 % 2])
        host = urlsplit(deployment.stack.url).netloc
        proof = base64.b64encode(f"{client['client_id']}:{client['client_secret']}".encode()).decode()
        head = f"host: {host}\r\nconnection: close\r\n"
        if number % 3:
            body = "grant_type=client_credentials"
            request = (f"POST /o/{slug}/oauth/token HTTP/1.1\r\n{head}authorization: Basic {proof}\r\n"
                       f"content-type: application/x-www-form-urlencoded\r\ncontent-length: {len(body)}\r\n\r\n{body}")
        else:
            request = (f"GET /v1/organizations/{organization}/clients HTTP/1.1\r\n{head}"
                       f"authorization: Bearer {deployment.stack.admin_key}\r\n\r\n")
        reader, writer = await asyncio.open_connection(node.hostname, node.port)
        try:
            writer.write(request.encode())
            await writer.drain()
            if number // 7 % 2:
                await asyncio.sleep(random.random() * 0.02)
                writer.transport.abort()
                return None
            reply = await asyncio.wait_for(reader.read(), 30)
        finally:
            writer.close()
        head, _, body = reply.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            return f"{slug}: {reply[:300]!r}"
        if number % 3:
            token = claims(json.loads(body)["access_token"])
            told = (token["org_id"], token["org_slug"], token["sub"])
            return None if told == (organization, slug, client["client_id"]) else f"{slug}: {told}"
        told = [one["client_id"] for one in json.loads(body)["data"]]
        return None if told == [client["client_id"]] else f"{slug}: {told}"

    async def crowd() -> list[str | None]:
        limit = asyncio.Semaphore(40)

        async def one(number: int) -> str | None:
            async with limit:
                return await ask(number)

        return await asyncio.gather(*(one(number) for number in range(wanted)))

    assert not [wrong for wrong in asyncio.run(crowd()) if wrong]


# ---- Suspended ---------------------------------------------------------------------------------------------------


def test_suspended_organization(deployment, client, admin, http):
    """T-20, MD-07, design 3: as unknown as one that never was, at its issuer and on the platform's pages, on both nodes
    within a second; its keys stay; a sign-in under way goes no further; resumed, all is well."""
    base, globex = deployment.stack.url, deployment.organizations["globex"]
    at_globex = deployment.globex.register()
    with Walk(deployment, deployment.person("gus")) as browser:
        consent = browser.until(deployment.platform.url_for(client), "decision")
        keys = http.get(f"{base}/o/globex/oauth/jwks").content
        admin.post(f"/v1/organizations/{globex}:suspend")
        try:
            time.sleep(1.0)
            for node in deployment.node_urls:
                for path in ("/.well-known/oauth-authorization-server/o/%", "/o/%/.well-known/openid-configuration",
                             "/.well-known/mcp-resources/o/%", "/o/%/oauth/authorize"):
                    suspended = http.get(node + path.replace("%", "globex"))
                    unknown = http.get(node + path.replace("%", "nobody"))
                    assert suspended.status_code == unknown.status_code == 404, path
                    assert same_but_for(suspended) == same_but_for(unknown), path
                for path, sent in (("oauth/token", {"data": {"grant_type": "refresh_token", "client_id": at_globex}}),
                                   ("oauth/register", {"json": {"redirect_uris": [REDIRECT_URI]}})):
                    suspended = http.post(f"{node}/o/globex/{path}", **sent)
                    unknown = http.post(f"{node}/o/nobody/{path}", **sent)
                    assert suspended.status_code == 404 and same_but_for(suspended) == same_but_for(unknown), path
                assert http.get(f"{node}/o/globex/oauth/jwks").content == keys
            reply = browser.send(consent)
            assert not reply.is_redirect and reply.status_code in (400, 403)
            pages = []
            for slug in ("globex", "no-such-one"):
                person = Person("someone@unknown.example", slug, deployment.person("gus").outbox)
                with Walk(deployment, person) as other:
                    page = other.send(other.get(deployment.platform.url_for(client)))
                    pages.append([same_but_for(page, slug), same_but_for(other.send(page, code="123456"), slug)])
            assert pages[0] == pages[1]
            gus = deployment.person("gus")
            mails = len(gus.outbox.messages(gus.email))
            with Walk(deployment, gus) as other:
                other.send(other.get(deployment.platform.url_for(client)))
            assert len(gus.outbox.messages(gus.email)) == mails, "no mail goes out for it"
        finally:
            admin.post(f"/v1/organizations/{globex}:resume")
            time.sleep(1.0)
    assert http.get(f"{base}/.well-known/oauth-authorization-server/o/globex").status_code == 200
    assert deployment.platform.redeem(deployment.platform.code(deployment.person("gus"), client)).status_code == 200


def test_deleted_organization(deployment, admin, evidence, http):
    """T-21, MD-07: its issuer, keys included, is gone on both nodes within a second, and nobody gets its slug again."""
    slug = f"gone-{time.time_ns()}"
    base = deployment.stack.url
    made = admin.post("/v1/organizations", {"slug": slug, "name": "Gone"})
    assert http.get(f"{base}/o/{slug}/oauth/jwks").status_code == 200
    uuid = uuid_of(made["id"])
    evidence.sql(f"UPDATE organization SET status = 'deleted' WHERE organization_id = '{uuid}'")
    evidence.sql(f"UPDATE epoch SET value = value + 1, changed_at = clock_timestamp() WHERE organization_id = '{uuid}'")
    time.sleep(1.0)
    for node in deployment.node_urls:
        for path in ("oauth/jwks", ".well-known/openid-configuration", "oauth/authorize"):
            assert http.get(f"{node}/o/{slug}/{path}").status_code == 404, path
    again = admin.send("POST", "/v1/organizations", {"slug": slug, "name": "Somebody else"})
    assert again.status_code == 409


def test_verifier_and_challenge_belong_to_one_request(deployment, client):
    """K-01: two sign-ins at once in one browser do not mix: each code opens with its own verifier only."""
    issuer = deployment.platform
    with Walk(deployment, deployment.person("alice")) as browser:
        pages = []
        for verifier in ("a" * 43, "b" * 43):
            url = issuer.url_for(client, code_challenge=challenge(verifier), state=verifier)
            pages.append(browser.until(url, "decision"))
        answers = [told(browser.send(page)) for page in pages]
    assert [answer["state"][0] for answer in answers] == ["a", "b"]
    form = {"grant_type": "authorization_code", "client_id": client, "redirect_uri": REDIRECT_URI}
    assert invalid_grant(issuer.token(form | {"code": answers[0]["code"], "code_verifier": "b" * 43}))
    for answer in answers:
        reply = issuer.token(form | {"code": answer["code"], "code_verifier": answer["state"]})
        assert reply.status_code == 200
