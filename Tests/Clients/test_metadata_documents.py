"""Clients that are a document at a URL (CIMD): what is fetched, what counts, and what is never asked for."""

from __future__ import annotations

import datetime
import itertools
import json
import re
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode, urlsplit

import httpx
import pytest
import trustme
from assertions import KeyPair
from document_host import DocumentHost, Trap, fresh_name
from evidence import sized, source
from oauth import REDIRECT_URI, told
from walk import Walk, text_of

_numbers = itertools.count(1)


def fresh_path(word: str = "client") -> str:
    return f"/{word}-{next(_numbers)}.json"


def description(client_id: str, /, **changes) -> dict:
    """A right document, changed; a member that is None is left out."""
    made = {
        "client_id": client_id, "client_name": "Document client", "redirect_uris": [REDIRECT_URI],
        "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    } | changes
    return {name: value for name, value in made.items() if value is not None}


def publish(
    documents: DocumentHost, path: str | None = None, name: str | None = None, sent: dict | None = None, **changes,
) -> str:
    """Publishes a document, at a host of its own if none is named; returns the client_id that it is."""
    path = path or fresh_path()
    client_id = documents.url(path, name or fresh_name())
    documents.publish(path, description(client_id, **changes), **(sent or {}))
    return client_id


def ask(issuer, client_id: str, node: str | None = None, **changes) -> httpx.Response:
    """The first page, for a caller nobody has seen."""
    base = f"{node}{urlsplit(issuer.url).path}" if node else issuer.url
    query, _ = issuer.query(client_id, **changes)
    return httpx.get(f"{base}/oauth/authorize", params=query, headers=source(), timeout=15, trust_env=False)


def refused(reply: httpx.Response, status: int = 400) -> str:
    """An error page of our own: no redirect, no way back, nothing cached. Returns its text."""
    assert reply.status_code == status, f"{reply.status_code} {reply.text[:300]}"
    assert "location" not in reply.headers and reply.headers["cache-control"] == "no-store"
    assert reply.headers["content-type"].startswith("text/html")
    return text_of(reply)


def expire(evidence, client_id: str) -> None:
    """Makes what is known of the document old."""
    evidence.sql("UPDATE client SET document_fresh_until = now() - interval '1 second', "
                 f"document_fetched_at = now() - interval '2 minutes' WHERE document_url = '{client_id}'")
    time.sleep(1.1)   # nodes believe a document's client for a second


def eventually(evidence, organization: str | None, client_id: str, **filters) -> list[dict]:
    """The events about a client, as soon as there are any."""
    for _ in range(100):
        found = [one for one in evidence.events(organization, **filters) if one.get("client") == client_id]
        if found:
            return found
        time.sleep(0.1)
    return []


@pytest.mark.parametrize("where", ["platform", "acme"])
def test_whole_flow(deployment, where):
    """CM-01, CM-03, CM-06, MCP-AS-06, MCP-AS-10: the document's URL is the client: consent, tokens, refresh; one fetch."""
    issuer, person = deployment.issuer(where), deployment.person("alice")
    path = fresh_path()
    client_id = publish(deployment.documents, path)
    answer, verifier = issuer.authorize(person, client_id)
    form = {"grant_type": "authorization_code", "code": answer["code"], "client_id": client_id,
            "code_verifier": verifier, "redirect_uri": REDIRECT_URI}
    tokens = issuer.token(form)
    assert tokens.status_code == 200, tokens.text
    again = issuer.refresh(tokens.json()["refresh_token"], client_id)
    assert again.status_code == 200, again.text
    assert len(deployment.documents.hits(path)) == 1


@pytest.mark.parametrize("method", ["private_key_jwt", "none"])
def test_chatgpt_document(deployment, method):
    """CM-12, TK-09, MCP-AS-09: a document like ChatGPT's, with both methods and keys at a URL, works with either one."""
    issuer, documents = deployment.platform, deployment.documents
    key = KeyPair("RS256", kid="cimd-1")
    keys = fresh_path("jwks")
    documents.publish(keys, key.jwks)
    client_id = publish(
        documents, name="chatgpt.localhost", client_name="ChatGPT", client_uri="https://chatgpt.com/",
        logo_uri="https://chatgpt.com/logo.png", token_endpoint_auth_method="private_key_jwt",
        token_endpoint_auth_methods_supported=["none", "private_key_jwt"], token_endpoint_auth_signing_alg="RS256",
        jwks_uri=documents.url(keys, "chatgpt.localhost"))
    code = issuer.code(deployment.person("alice"), client_id)
    proof = key.form(client_id, issuer.url) if method == "private_key_jwt" else {}
    tokens = issuer.redeem(code, **proof)
    assert tokens.status_code == 200, tokens.text
    refresh = tokens.json()["refresh_token"]
    wrong = issuer.refresh(refresh, client_id, **KeyPair("RS256", kid="cimd-1").form(client_id, issuer.url))
    assert wrong.status_code == 401 and wrong.json()["error"] == "invalid_client"
    proof = key.form(client_id, issuer.url) if method == "private_key_jwt" else {}
    assert issuer.refresh(refresh, client_id, **proof).status_code == 200
    assert len(documents.hits(keys)) <= 2, "one node, one read"


def test_keys_make_confidential(deployment):
    """CM-12, K-23: a document that names private_key_jwt alone is asked for proof at every call."""
    issuer = deployment.platform
    key = KeyPair()
    client_id = publish(deployment.documents, token_endpoint_auth_method="private_key_jwt", jwks=key.jwks)
    code = issuer.code(deployment.person("alice"), client_id)
    for form in ({}, {"client_secret": "x"}, KeyPair().form(client_id, issuer.url)):
        reply = issuer.redeem(code, **form)
        assert reply.status_code == 401 and reply.json()["error"] == "invalid_client"
    assert issuer.redeem(code, **key.form(client_id, issuer.url)).status_code == 200


BAD_URLS = [
    # CM-01, S-01, S-08
    "http://{host}/x.json", "https://{host}", "https://{host}/", "https://{host}?x=1", "https://{host}/a/../x.json",
    "https://{host}/./x.json", "https://{host}/%2e%2e/x.json", "https://{host}/%2E/x.json", "https://{host}/x.json#f",
    "https://{host}/x.json#", "https://user@{host}/x.json", "https://user:pw@{host}/x.json", "https://{host}\\@evil/x",
    "https:/{host}/x.json", "https:{host}/x.json", "HTTPS://{host}/x.json", "Https://{host}/x.json", "ftp://{host}/x",
    "//{host}/x.json", "https://{host}/ x.json", "https://{host}/x\u00e9.json", "https://{host}/x%2.json",
    "https://{host}:/x.json", "https://[{host}]/x.json", "https://client.localhost.:{port}/x.json", "https:///x.json",
    "https://client.localhost:99999/x.json", "https://client.localhost:0{port}/x.json", "https://{host}/" + "a" * 2000,
    "https://client\u3002localhost:{port}/x.json", "https://127.1:{port}/x.json", "https://2130706433:{port}/x.json",
    "https://0x7f.1:{port}/x.json", "https://0177.0.0.1:{port}/x.json", "https://127.0.0.1.:{port}/x.json",
    "https://\uff11\uff12\uff17.0.0.1:{port}/x.json", "https://*.localhost:{port}/x.json", "javascript:alert(1)", "data:,x",
]


def test_bad_urls(deployment, evidence):
    """CM-01, S-04, S-08: what is no client_id URL is nobody: the AS's own error page, and nothing is connected to."""
    trap = Trap()
    host = f"client.localhost:{trap.port}"
    wrong = []
    with evidence.nothing_stored():
        for text in BAD_URLS:
            client_id = text.format(host=host, port=trap.port)
            reply = ask(deployment.platform, client_id)
            if reply.status_code != 400 or "location" in reply.headers:
                wrong.append((client_id, reply.status_code))
    assert not wrong and trap.connections == 0
    trap.close()


BAD_DOCUMENTS = [
    # CM-03: simple string comparison
    {"client_id": "https://client.localhost/x.json"}, {"client_id": "{id}/"}, {"client_id": "{ID}"}, {"client_id": None},
    {"client_id": ["{id}"]}, {"client_id": "{id}?"}, {"client_id": "https://other.example/"},
    # CM-04
    {"client_secret": "x"}, {"client_secret_expires_at": 0}, {"client_secret": None, "client_secret_expires_at": 1},
    {"token_endpoint_auth_method": "client_secret_basic"}, {"token_endpoint_auth_method": "client_secret_post"},
    {"token_endpoint_auth_method": "client_secret_jwt"},
    {"token_endpoint_auth_methods_supported": ["none", "client_secret_post"]},
    {"token_endpoint_auth_method": "private_key_jwt"}, {"token_endpoint_auth_method": "tls_client_auth"},
    {"token_endpoint_auth_methods_supported": ["tls_client_auth"]}, {"token_endpoint_auth_methods_supported": []},
    {"token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": []}},
    # CM-06, RG-04
    {"redirect_uris": None}, {"redirect_uris": []}, {"redirect_uris": "https://client.example/callback"},
    {"redirect_uris": [REDIRECT_URI, "javascript:alert(1)"]}, {"redirect_uris": [REDIRECT_URI, "http://client.example/"]},
    {"redirect_uris": [REDIRECT_URI, "https://client.example/#x"]}, {"redirect_uris": [REDIRECT_URI, 1]},
    {"redirect_uris": ["https://*.example/cb"]},
    # MCP-AS-10, RG-05, RG-14, CM-13
    {"client_name": None}, {"client_name": ""}, {"client_name": "Chat\u202eTPG"}, {"client_name": "a" * 201},
    {"client_name": 7}, {"grant_types": ["client_credentials"]}, {"grant_types": ["refresh_token"]},
    {"response_types": ["token"]}, {"application_type": "desktop"}, {"software_statement": "a.b.c"},
    {"logo_uri": "javascript:alert(1)"}, {"tos_uri": "javascript:alert(1)"}, {"policy_uri": "data:text/html,x"},
    {"client_uri": "http://client.example/"}, {"logo_uri": "data:image/svg+xml,x"},
    {"jwks_uri": "http://client.example/jwks"}, {"jwks_uri": "https://user@client.example/jwks"},
]


def test_bad_documents(deployment, evidence):
    """CM-03, CM-04, CM-06, CM-13, RG-04: each makes no client: an error page, nothing stored, the refusal recorded."""
    documents = deployment.documents
    private = KeyPair().private_jwk
    wrong, replies = [], []
    keys = [{"token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [private]}}, {"jwks": {"keys": [private]}}]
    with evidence.nothing_stored():
        for changes in BAD_DOCUMENTS + keys:
            path = fresh_path("bad")
            client_id = documents.url(path, fresh_name())

            def filled(value):
                if isinstance(value, list):
                    return [filled(one) for one in value]
                if not isinstance(value, str):
                    return value
                return value.replace("{id}", client_id).replace("{ID}", client_id.replace("localhost", "LOCALHOST"))

            documents.publish(path, description(client_id, **{name: filled(value) for name, value in changes.items()}))
            reply = ask(deployment.platform, client_id)
            if reply.status_code != 400 or "location" in reply.headers or not documents.hits(path):
                wrong.append((changes, reply.status_code))
            replies.append(reply)
    assert not wrong
    events = evidence.of(replies, type="client.registered", outcome="denied")
    assert {event["reason"] for event in events} >= {
        "document_client_id_differs", "document_with_secret", "document_invalid_client_metadata",
        "document_invalid_redirect_uri"}


BAD_ANSWERS = [
    # CM-02, S-07
    {"status": 301, "headers": {"location": "/elsewhere.json"}}, {"status": 302, "headers": {"location": "/elsewhere.json"}},
    {"status": 307, "headers": {"location": "/elsewhere.json"}}, {"status": 303, "headers": {"location": "file:///etc/passwd"}},
    {"status": 308, "headers": {"location": "http://169.254.169.254/"}}, {"status": 201}, {"status": 203}, {"status": 206},
    {"status": 404}, {"status": 410}, {"status": 401},
    # CM-05
    {"content_type": "text/html"}, {"content_type": "text/plain"}, {"content_type": None}, {"content_type": "application/jsonx"},
    {"content_type": "application/+json"}, {"content_type": "application/json; charset=utf-16"},
    {"headers": {"content-encoding": "gzip"}},
]


def test_bad_answers(deployment, evidence):
    """CM-02, CM-05, S-07, S-10, MCP-AS-11: only a plain 200 with JSON counts, and no redirect is followed."""
    documents = deployment.documents
    documents.publish("/elsewhere.json", description(documents.url("/elsewhere.json")))
    wrong = []
    with evidence.nothing_stored():
        for sent in BAD_ANSWERS:
            path = fresh_path("answer")
            client_id = publish(documents, path, sent=sent)
            reply = ask(deployment.platform, client_id)
            if reply.status_code != 400 or "location" in reply.headers or len(documents.hits(path)) != 1:
                wrong.append((sent, reply.status_code, len(documents.hits(path))))
    assert not wrong
    assert not documents.hits("/elsewhere.json")
    for content_type in ("application/oauth-client+json", "application/json; charset=UTF-8", "Application/JSON"):
        client_id = publish(documents, sent={"content_type": content_type})
        assert ask(deployment.platform, client_id).status_code == 200, content_type


def test_broken_json(deployment, evidence):
    """S-14, CM-09: what strict readers refuse makes no client: depth, repeated members, BOM, UTF-16, NaN, trailing text."""
    documents = deployment.documents
    wrong = []

    def right(client_id):
        return ('{"client_id":"%s","client_name":"x","redirect_uris":["%s"]}' % (client_id, REDIRECT_URI)).encode()

    with evidence.nothing_stored():
        for change in (
            lambda text: text[:-1] + b',"a":' + b"[" * 50 + b"]" * 50 + b"}",
            lambda text: text[:-1] + b',"client_name":"y"}', lambda text: text[:-1] + b',"client\\u005fname":"y"}',
            lambda text: b"\xef\xbb\xbf" + text, lambda text: text.decode().encode("utf-16"),
            lambda text: text[:-1] + b',"a":NaN}', lambda text: text + b"x", lambda text: text + text,
            lambda text: text[:-1], lambda text: b"", lambda text: b"null", lambda text: b"[" + text + b"]",
            lambda text: text.replace(b'"x"', b'"\xff"'), lambda text: text.replace(b'"x"', b'"\\ud800"'),
            lambda text: text.replace(b'"x"', b'"a\\u0000b"'),
        ):
            path = fresh_path("json")
            client_id = documents.url(path, fresh_name())
            documents.publish(path, change(right(client_id)))
            reply = ask(deployment.platform, client_id)
            if reply.status_code != 400:
                wrong.append((change(b"{}"), reply.status_code))
    assert not wrong
    path = fresh_path("json")
    client_id = documents.url(path, fresh_name())
    documents.publish(path, right(client_id))
    assert ask(deployment.platform, client_id).status_code == 200


def test_errors_are_not_cached(deployment):
    """CM-09: as soon as the document is mended it counts; one that fails again and again is left alone for the minute."""
    documents, issuer = deployment.documents, deployment.platform
    path = fresh_path("mended")
    client_id = documents.url(path, fresh_name())
    refused(ask(issuer, client_id))
    documents.publish(path, b"not yet")
    refused(ask(issuer, client_id))
    documents.publish(path, description(client_id))
    assert ask(issuer, client_id).status_code == 200
    never = fresh_path("never")
    node = deployment.node_urls[0]
    for _ in range(8):
        ask(issuer, documents.url(never, "never.localhost"), node=node)
    assert len(documents.hits(never)) == 5


def test_sizes_and_times(deployment, evidence):
    """CM-08, S-10, MCP-AS-11: 5 KB are read and no more, three seconds are waited and no longer; others are served meanwhile."""
    documents, issuer = deployment.documents, deployment.platform
    path, name = fresh_path("size"), fresh_name()
    client_id = documents.url(path, name)
    body = description(client_id)
    room = 5 * 1024 - len(json.dumps(body | {"padding": ""}).encode())
    documents.publish(path, body | {"padding": "a" * room})
    assert ask(issuer, client_id).status_code == 200
    with evidence.nothing_stored():
        for what, sent in (
            ("one-more", {"body": description(documents.url("/one-more.json", name)) | {"padding": "a" * 5000}}),
            ("announced", {"body": b"{}", "headers": {"content-length": str(10 * 1024 * 1024)}}),
            ("endless", {"body": b"", "parts": [b"a" * 4096] * 20_000}),
            ("headers", {"body": b"{}", "headers": {f"x-{n}": "a" * 1000 for n in range(90)}}),
        ):
            documents.publish(f"/{what}.json", sent.pop("body"), **sent)
            started = time.monotonic()
            refused(ask(issuer, documents.url(f"/{what}.json", name)))
            assert time.monotonic() - started < 3, what
        slow = {
            "/stalled.json": {"delay": 8}, "/dripping.json": {"parts": [b" "] * 60, "pause": 0.2},
        }
        for slow_path, sent in slow.items():
            documents.publish(slow_path, description(documents.url(slow_path, name)), **sent)
        with ThreadPoolExecutor(4) as pool:
            started = time.monotonic()
            waiting = [pool.submit(ask, issuer, documents.url(one, name)) for one in slow]
            time.sleep(0.2)
            assert httpx.get(f"{issuer.url}/oauth/jwks", trust_env=False, timeout=1).status_code == 200
            for one in waiting:
                refused(one.result(), 503)
            assert time.monotonic() - started < 6


def test_one_fetch_at_a_time(deployment):
    """CM-08: many at once for one URL make one fetch on a node."""
    documents, issuer = deployment.documents, deployment.platform
    path = fresh_path("herd")
    client_id = publish(documents, path, sent={"delay": 0.5})
    node = deployment.node_urls[0]
    with ThreadPoolExecutor(12) as pool:
        replies = list(pool.map(lambda _: ask(issuer, client_id, node=node), range(12)))
    assert {reply.status_code for reply in replies} == {200}
    assert len(documents.hits(path)) == 1


def test_reflection(deployment):
    """S-12: many URLs at one host make a trickle of fetches there, and a source has its own share of that."""
    documents, issuer = deployment.documents, deployment.platform
    node = deployment.node_urls[1]
    name = "victim.localhost"
    before, wanted = len(documents.hits()), sized(150, 1_000)

    def flood(number: int) -> int:
        return ask(issuer, documents.url(f"/flood.json?{number}", name), node=node).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(flood, range(wanted)))
    fetched = [path for path in documents.hits()[before:] if path.startswith("/flood.json")]
    # A minute may end in the middle.
    assert len(fetched) <= 60 and statuses.count(503) >= wanted - 60
    query, _ = issuer.query(documents.url("/lonely.json", "other.localhost"))
    lonely = source()
    for number in range(25):
        query["client_id"] = documents.url(f"/lonely.json?{number}", "other.localhost")
        httpx.get(f"{node}/oauth/authorize", params=query, headers=lonely, trust_env=False)
    assert len([path for path in documents.hits() if path.startswith("/lonely.json")]) <= 40


def test_cache(deployment, evidence):
    """CM-10, S-15, MCP-AS-11: kept as long as it says, within a minute and a day; asked for again when old; per spelling of the URL."""
    documents, issuer = deployment.documents, deployment.platform
    for header, low, high in (
        ({"cache-control": "max-age=0"}, 55, 61), ({"cache-control": "no-store"}, 55, 61),
        ({"cache-control": "max-age=31536000"}, 86_300, 86_401), ({"cache-control": "public, max-age=600"}, 590, 601),
        ({"cache-control": "max-age=600", "age": "300"}, 290, 301), ({}, 3_590, 3_601), ({"cache-control": "max-age=x"}, 55, 61),
        ({"expires": "Thu, 01 Jan 1970 00:00:00 GMT"}, 55, 61), ({"expires": "0"}, 55, 61),
    ):
        client_id = publish(documents, sent={"headers": header})
        assert ask(issuer, client_id).status_code == 200
        row = evidence.sql("SELECT extract(epoch FROM document_fresh_until - document_fetched_at) FROM client "
                           f"WHERE document_url = '{client_id}'")
        assert low <= float(row) <= high, header
    path = fresh_path("cache")
    client_id = publish(documents, path, sent={"headers": {"cache-control": "max-age=0"}})
    for node in deployment.node_urls * 3:
        assert ask(issuer, client_id, node=node).status_code == 200
    assert len(documents.hits(path)) == 1
    expire(evidence, client_id)
    for node in deployment.node_urls * 2:
        assert ask(issuer, client_id, node=node).status_code == 200
    assert len(documents.hits(path)) == 2
    # Another spelling is another client, and the document is not its.
    for other in (client_id + "?", client_id + "?x=1", client_id.replace("localhost", "LOCALHOST"),
                  client_id.replace("https://", "https://x")):
        refused(ask(issuer, other))
    assert evidence.sql(f"SELECT count(*) FROM client WHERE document_url ILIKE '%{path}%'") == "1"


def test_loopback_ports(deployment):
    """CM-06, BC-10, MCP-AS-35: a native client's document: loopback redirects float their port, all else is exact."""
    issuer = deployment.platform
    client_id = publish(
        deployment.documents, application_type="native",
        redirect_uris=["http://localhost/callback", "http://127.0.0.1/callback", "http://[::1]:1/callback"])
    for uri in ("http://localhost:50000/callback", "http://127.0.0.1:1/callback", "http://[::1]:65535/callback",
                "http://127.0.0.1/callback"):
        page = ask(issuer, client_id, redirect_uri=uri)
        assert page.status_code == 200, uri
        assert "this computer" in text_of(page), "AZ-24, MCP-AS-24: a warning"
    for uri in ("http://localhost:50000/other", "http://127.0.0.2/callback", "https://localhost/callback",
                "http://localhost.evil.example/callback", "https://client.example/callback"):
        refused(ask(issuer, client_id, redirect_uri=uri))


def test_pages_name_hosts(deployment):
    """CM-14, AZ-24, MCP-AS-23, MCP-AS-32: both pages show the document's host and where answers go; pictures stay away."""
    issuer, documents = deployment.platform, deployment.documents
    logo = fresh_path("logo")
    client_id = publish(
        documents, client_name="Nice Name", logo_uri=documents.url(logo), tos_uri="https://client.example/tos",
        redirect_uris=["https://answers.example/cb"])
    walk = Walk(deployment, deployment.person("alice"))
    page = walk.get(issuer.url_for(client_id, redirect_uri="https://answers.example/cb"))
    host = urlsplit(client_id).hostname
    assert host in text_of(page) and "answers.example" in text_of(page)
    page = walk.until(issuer.url_for(client_id, redirect_uri="https://answers.example/cb"), "decision")
    assert host in text_of(page) and "answers.example" in text_of(page) and "Nice Name" in text_of(page)
    assert "<img" not in page.text and logo not in page.text and "client.example/tos" not in page.text
    assert not documents.hits(logo)


def test_error_goes_to_no_stranger(deployment):
    """BC-02, R-15: an error of a client that is its own document is shown, with a link the person may follow."""
    client_id = publish(deployment.documents)
    reply = ask(deployment.platform, client_id, response_type="token")
    assert reply.status_code == 400 and "location" not in reply.headers
    assert told(reply)["error"] == "unsupported_response_type"


def test_unknown_at_the_token_endpoint(deployment):
    """CM-08, S-12: a URL nobody connected with is unknown at the token endpoint, and not asked for."""
    documents, issuer = deployment.documents, deployment.platform
    path = fresh_path("unmet")
    client_id = publish(documents, path)
    reply = issuer.refresh("gr_nobody", client_id)
    assert reply.status_code == 401 and reply.json()["error"] == "invalid_client"
    assert not documents.hits(path)


def test_internal_id_is_no_name(deployment, evidence):
    """CM-03, K-26: a document's client goes by its URL, not by the id it has in our tables."""
    client_id = publish(deployment.documents)
    assert ask(deployment.platform, client_id).status_code == 200
    admin = httpx.Client(headers={"authorization": f"Bearer {deployment.stack.admin_key}"}, trust_env=False)
    rows = admin.get(f"{deployment.stack.url}/v1/clients?limit=200").json()["data"]
    internal = [row["id"] for row in rows if row["client_id"] == client_id]
    if not internal:   # more clients than a page holds
        row = evidence.sql(f"SELECT count(*) FROM client WHERE document_url = '{client_id}'")
        assert row == "1"
        return
    refused(ask(deployment.platform, internal[0]))


def connected(deployment, client_id: str, person: str = "alice", **proof) -> str:
    """A refresh token of somebody's connection."""
    issuer = deployment.platform
    code = issuer.code(deployment.person(person), client_id)
    tokens = issuer.redeem(code, **proof)
    assert tokens.status_code == 200, tokens.text
    return tokens.json()["refresh_token"]


def test_redirects_change(deployment, evidence):
    """CM-11: another redirect URI is an event, history and new consent; connections go on."""
    documents, issuer, path, name = deployment.documents, deployment.platform, fresh_path("moving"), fresh_name()
    client_id = publish(documents, path, name)
    refresh = connected(deployment, client_id)
    other = "https://moved.example/cb"
    publish(documents, path, name, redirect_uris=[other])
    expire(evidence, client_id)
    again = issuer.refresh(refresh, client_id)
    assert again.status_code == 200, again.text
    refused(ask(issuer, client_id))
    assert ask(issuer, client_id, redirect_uri=other).status_code == 200
    events = eventually(evidence, None, client_id, type="client.redirect_uris_changed")
    assert len(events) == 1 and events[0]["actor"]["id"] == "sys:client_documents"
    assert evidence.sql("SELECT count(*) FROM client_document d JOIN client c ON c.id = d.client_id "
                        f"WHERE c.document_url = '{client_id}'") == "2"
    acme = deployment.organizations["acme"]
    asked_again = (f"SELECT count(*) FROM consent k JOIN client c ON c.id = k.client_id WHERE "
                   f"c.document_url = '{client_id}'")
    assert evidence.sql(asked_again) == "1"
    connected_again = issuer.authorize(deployment.person("rita"), client_id, redirect_uri=other)[0]
    assert "code" in connected_again
    assert evidence.sql(asked_again) == "1", "alice's consent was for what the document said before"
    revoked = eventually(evidence, acme, client_id, type="consent.revoked")
    assert len(revoked) == 1 and revoked[0]["reason"] == "client_document_changed"


def test_keys_change(deployment, evidence):
    """CM-11, K-23: with other keys or methods every connection ends, also when the new way in is an easier one."""
    documents, issuer, path, name = deployment.documents, deployment.platform, fresh_path("rekeyed"), fresh_name()
    old, new = KeyPair(), KeyPair()
    proof = {"token_endpoint_auth_method": "private_key_jwt"}
    client_id = publish(documents, path, name, jwks=old.jwks, **proof)
    refresh = connected(deployment, client_id, **old.form(client_id, issuer.url))
    for changes, form in (
        ({"jwks": new.jwks, **proof}, new.form(client_id, issuer.url)), ({"token_endpoint_auth_method": "none"}, {}),
    ):
        publish(documents, path, name, **changes)
        expire(evidence, client_id)
        reply = issuer.refresh(refresh, client_id, **form)
        assert reply.status_code == 400 and reply.json()["error"] == "invalid_grant", reply.text
        assert "refresh_token" not in reply.text
    assert issuer.refresh(refresh, client_id, **old.form(client_id, issuer.url)).status_code == 401
    assert eventually(evidence, None, client_id, type="client.jwks_changed")
    # A person trusts it as it is now; what others had stays ended.
    mine = connected(deployment, client_id, "rita")
    assert issuer.refresh(mine, client_id).status_code == 200
    assert issuer.refresh(refresh, client_id).json()["error"] == "invalid_grant"
    publish(documents, path, name, jwks=old.jwks, **proof)
    expire(evidence, client_id)
    reply = issuer.refresh(refresh, client_id, **old.form(client_id, issuer.url))
    assert reply.json()["error"] == "invalid_grant", "what ended does not come back with the old keys"


def test_document_changes_before_consent(deployment, evidence):
    """CM-11, CM-14: a person allows what they were shown. A document that changed while they looked is shown again, on the
    answer as on a reload, and nothing is written before they look."""
    documents, issuer, path, name = deployment.documents, deployment.platform, fresh_path("swapped"), fresh_name()
    client_id = publish(documents, path, name, client_name="Harmless")
    query, _ = issuer.query(client_id)
    with Walk(deployment, deployment.person("alice")) as browser:
        page = browser.until(f"{issuer.url}/oauth/authorize?{urlencode(query)}", "decision")
        assert "Harmless" in page.text
        for number, again in enumerate((browser.send, lambda page: browser.get(str(page.url).removesuffix("/consent")))):
            publish(documents, path, name, client_name=f"Changed {number}", redirect_uris=[
                REDIRECT_URI, "https://evil.example/cb"])
            expire(evidence, client_id)
            ask(issuer, client_id)   # somebody else brings the new document in
            time.sleep(1.1)
            with evidence.no_rows_stored():
                page = again(page)
            assert page.status_code == 422 and page.headers["cache-control"] == "no-store"
            assert f"Changed {number}" in page.text and "Look again" in page.text and "Harmless" not in page.text
        assert "code" in told(browser.send(page))
    denied = eventually(evidence, deployment.organizations["acme"], client_id, type="authorize.denied")
    assert [one["reason"] for one in denied] == ["client_changed"]


def test_host_away(deployment, evidence):
    """CM-15: while a document cannot be read what is known of it serves, for a day; one that is gone or broken ends it."""
    documents, issuer, path, name = deployment.documents, deployment.platform, fresh_path("away"), fresh_name()
    client_id = publish(documents, path, name)
    refresh = connected(deployment, client_id)
    documents.publish(path, b"down", status=502)
    expire(evidence, client_id)
    reply = issuer.refresh(refresh, client_id)
    assert reply.status_code == 200, reply.text
    refresh = reply.json()["refresh_token"]
    evidence.sql("UPDATE client SET document_fresh_until = now() - interval '25 hours' "
                 f"WHERE document_url = '{client_id}'")
    time.sleep(1.1)
    reply = issuer.refresh(refresh, client_id)
    assert reply.status_code == 503 and reply.json()["error"] == "temporarily_unavailable"
    documents.withdraw(path)
    expire(evidence, client_id)
    reply = issuer.refresh(refresh, client_id)
    assert reply.status_code == 401 and reply.json()["error"] == "invalid_client"
    refused(ask(issuer, client_id))
    publish(documents, path, name)
    assert issuer.refresh(refresh, client_id).status_code == 200, "nothing was lost by it"


def test_disabled(deployment, evidence, admin):
    """CM-14, T-30: an administrator switches a document's client off, for all nodes within a second."""
    client_id = publish(deployment.documents)
    refresh = connected(deployment, client_id)
    internal = evidence.sql(f"SELECT id FROM client WHERE document_url = '{client_id}'")
    rows = admin.list("/v1/clients")
    row = next(one for one in rows if one["client_id"] == client_id)
    assert internal and row["kind"] == "metadata_document"
    done = admin.send("PATCH", f"/v1/clients/{row['id']}", {"status": "disabled"}, {"if-match": "*"})
    assert done.status_code == 200, done.text
    time.sleep(1)
    for node in deployment.node_urls:
        assert deployment.platform.refresh(refresh, client_id, node=node).status_code == 401
        refused(ask(deployment.platform, client_id, node=node))


def test_certificates(deployment):
    """S-11: a certificate that is self-made, of another host or over is none."""
    authority = deployment.authority
    now = datetime.datetime.now(datetime.timezone.utc)
    contexts = {
        "other host": authority.context("someone-else.localhost"),
        "expired": authority.context("client.localhost", not_after=now - datetime.timedelta(days=1)),
    }
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("client.localhost").configure_cert(context)
    contexts["unknown authority"] = context
    for what, context in contexts.items():
        host = DocumentHost(context)
        try:
            client_id = publish(host, name="client.localhost")
            refused(ask(deployment.platform, client_id), 503)
            assert not host.hits(), what
        finally:
            host.close()


def test_first_mention_is_recorded(deployment, evidence):
    """CM-11, CM-14: the first authorization of a document's client is an event with the digest of what was read."""
    client_id = publish(deployment.documents)
    reply = ask(deployment.platform, client_id)
    event = evidence.of(reply, type="client.registered")[0]
    assert event["outcome"] == "success" and event["client"] == client_id
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", event["metadata"]["document_digest"])
    # Nobody connected with it: it goes by itself.
    left = evidence.sql(f"SELECT expires_at < now() + interval '25 hours' FROM client WHERE document_url = '{client_id}'")
    assert left == "t"
    connected(deployment, client_id)
    assert evidence.sql(f"SELECT expires_at IS NULL FROM client WHERE document_url = '{client_id}'") == "t"


def test_advertised(deployment, http):
    """MD-06, MCP-AS-06: the metadata says so, and it works at each issuer."""
    for issuer in (deployment.platform, deployment.acme):
        document = http.get(f"{issuer.url}/.well-known/oauth-authorization-server").json()
        assert document["client_id_metadata_document_supported"] is True
        assert ask(issuer, publish(deployment.documents)).status_code == 200
