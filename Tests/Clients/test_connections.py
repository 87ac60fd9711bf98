"""What people see of their own connections, and how they end them (design §3, `P/connections`)."""

from __future__ import annotations

import httpx
import pytest
from gatehouse_demo.chatgpt import claims
from oauth import REDIRECT_URI  # noqa: F401
from test_pages import FORGERIES, inert, refused_page, safe_headers
from walk import Walk, forms_of, text_of


def connect(deployment, name: str, client: str | None = None, **metadata) -> tuple[str, dict]:
    client = client or deployment.platform.register(**metadata)
    return client, deployment.platform.redeem(deployment.platform.code(deployment.person(name), client)).json()


def grant_of(tokens: dict) -> str:
    return claims(tokens["access_token"])["grant_id"]


def ends(page: httpx.Response) -> dict[str, object]:
    """The forms of the page, by the connection that each ends."""
    return {form.named("connection")[0].value: form for form in forms_of(page) if form.named("connection")}


def is_alive(deployment, client: str, tokens: dict) -> bool:
    reply = deployment.platform.refresh(tokens["refresh_token"], client)
    if reply.status_code == 200:
        tokens.update(reply.json())
    return reply.status_code == 200


@pytest.fixture
def page_url(deployment) -> str:
    return f"{deployment.stack.url}/connections"


def test_a_person_ends_their_own_connection(deployment, page_url, evidence):
    """AZ-24, TK-23, design 3: signed in by their organization's provider, they see client, host, server and scopes of
    what is theirs; ended, it is ended at every node, the log names them, and they would be asked again."""
    client, tokens = connect(deployment, "alice", client_name="Example One")
    _, others = connect(deployment, "gus", client_name="Example Gus")
    with Walk(deployment, deployment.person("alice")) as browser:
        first = browser.get(page_url)
        assert "Your connections" in text_of(first) and forms_of(first)[0].named("email")
        assert "Acme" not in text_of(first), "nothing is known of anybody yet"
        page = browser.until(page_url, "connection")
        assert str(page.url) == f"{page_url}?organization=acme"
        for one in (first, page):
            safe_headers(one)
            inert(one)
        text = text_of(page)
        assert "Example One" in text and "client.example" in text and deployment.stack.shared_url in text
        assert "alice@acme.example" in text and "read" in text and "Example Gus" not in text
        assert grant_of(tokens) in ends(page) and grant_of(others) not in ends(page)
        done = browser.send(page, connection=grant_of(tokens))
        assert done.status_code == 200 and "Example One is disconnected" in text_of(done)
        assert grant_of(tokens) not in ends(done)
        inert(done)
        (posted,) = [reply for reply in browser.replies if reply.request.method == "POST" and reply.is_redirect
                     and "ended=" in reply.headers["location"]]
        assert posted.status_code == 303
    for node in deployment.node_urls:
        reply = deployment.platform.refresh(tokens["refresh_token"], client, node)
        assert reply.status_code == 400 and reply.json()["error"] == "invalid_grant"
    (event,) = evidence.of(posted, deployment.organizations["acme"])
    assert event["type"] == "grant.revoked" and event["actor"]["type"] == "user", event
    assert event["actor"]["id"] == claims(tokens["access_token"])["sub"] and event["client"] == client, event


def test_forged_and_foreign_ends(deployment, page_url, evidence):
    """BC-04, R-17, T-10: another site's form, a wrong token, another person's connection, no session: nothing ends."""
    client, tokens = connect(deployment, "alice")
    theirs_client, theirs = connect(deployment, "gus")
    with Walk(deployment, deployment.person("alice")) as browser:
        page = browser.until(page_url, "connection")
        with evidence.no_rows_stored():
            for headers, changes in FORGERIES.values():
                refused_page(browser.send(page, headers, connection=grant_of(tokens), **changes))
        for foreign in (grant_of(theirs), "gra_" + "0" * 26, "x\r\ny", ""):
            reply = browser.send(page, connection=foreign)
            assert reply.status_code == 200 and "disconnected" not in text_of(reply), foreign
            assert "ended=x" not in str(reply.url)
        stolen = httpx.post(page_url, content=browser.submission(page, connection=grant_of(tokens)).content, headers={
            "content-type": "application/x-www-form-urlencoded", "origin": deployment.stack.url}, trust_env=False)
        assert stolen.status_code == 303 and stolen.headers["location"] == f"{page_url}?organization=acme"
        assert "ended" not in text_of(browser.get(f"{page_url}?organization=acme&ended={grant_of(theirs)}"))
    assert is_alive(deployment, client, tokens) and is_alive(deployment, theirs_client, theirs)


def test_sessions_count_for_their_organization_alone(deployment, page_url):
    """R-24, design 3.2: another organization, known or not, wants another sign-in, and looks the same."""
    connect(deployment, "alice")
    with Walk(deployment, deployment.person("alice")) as browser:
        browser.until(page_url, "connection")
        for slug in ("globex", "nobody", "-", "%0d%0ax", "a" * 5000):
            page = browser.get(f"{page_url}?organization={slug}")
            assert page.status_code == 200 and not ends(page) and forms_of(page)[0].named("email"), slug
        assert browser.get(f"{page_url}?organization=acme&organization=acme").status_code in (200, 400)


def test_names_on_the_page_are_text(deployment, page_url):
    """R-21: a client that named itself to be markup."""
    name = "\"><img src=x onerror=alert(1)>{{7*7}}"
    client, tokens = connect(deployment, "alice", client_name=name)
    with Walk(deployment, deployment.person("alice")) as browser:
        page = browser.until(page_url, "connection")
        inert(page)
        assert name in text_of(page)
        inert(browser.send(page, connection=grant_of(tokens)))
