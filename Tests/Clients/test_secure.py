"""The same over https: cookies, headers, metadata, and clients that speak nothing else."""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
import warnings

import httpx
import pytest
import requests
import secure
from assertions import KeyPair
from document_host import Trap
from evidence import source
from gatehouse_demo.chatgpt import claims
from jwskate import Jwk
from oauth import REDIRECT_URI
from requests_oauth2client import OAuth2Client, PrivateKeyJwt
from walk import Walk, forms_of


@pytest.fixture(scope="module")
def proxy():
    """Addresses of those who called a proxy that the environment names, and its own."""
    callers = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def listen() -> None:
            while True:
                try:
                    caller, address = listener.accept()
                except OSError:
                    return
                callers.append(address)
                caller.close()

        threading.Thread(target=listen, daemon=True).start()
        yield callers, f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(scope="module")
def tls(deployment, proxy):
    return secure.start(deployment, proxy[1])


@pytest.fixture
def browser(deployment, tls):
    with Walk(deployment, deployment.person("alice")) as made:
        made.http.close()
        made.http = tls.http()
        made.base = tls.url
        yield made


def register(tls, **changes) -> dict:
    body = {"client_name": "Secure", "redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code", "refresh_token"]}
    with tls.http() as http:
        reply = http.post(f"{tls.url}/oauth/register", json=body | changes)
    assert reply.status_code == 201, reply.text
    return reply.json()


def test_everything_is_https(tls):
    """MCP-AS-22, MD-01, BC-06: every address in the metadata is https, every answer asks for https from then on, and
    plain http gets no answer at all."""
    with tls.http() as http:
        reply = http.get(f"{tls.url}/.well-known/oauth-authorization-server")
        document = reply.json()
        assert document["issuer"] == tls.url
        addresses = [value for value in document.values() if isinstance(value, str) and "://" in value]
        assert len(addresses) >= 5 and all(value.startswith(tls.url) for value in addresses)
        for path in ("/oauth/jwks", "/oauth/authorize", "/nothing", "/v1/organizations"):
            assert "max-age=" in http.get(tls.url + path).headers["strict-transport-security"], path
    plain = tls.url.replace("https://", "http://")
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{plain}/oauth/jwks", timeout=5, trust_env=False)


def test_old_versions_of_tls_are_refused(tls):
    """BC-06: nothing below TLS 1.2."""
    port = int(tls.url.rsplit(":", 1)[1])
    context = ssl.create_default_context(cafile=str(tls.authority))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", port), timeout=5) as raw, pytest.raises(OSError):
        context.wrap_socket(raw, server_hostname="localhost")


def test_cookies_and_the_whole_flow(tls, browser, proxy):
    """MCP-AS-27, BC-05, R-20, S-16: every cookie is __Host-, Secure, HttpOnly, SameSite=Lax, on Path=/ and without Domain;
    the sign-in works with them, and what is granted names the https issuer. A proxy of the environment is not used."""
    client = register(tls)["client_id"]
    issuer = tls.platform
    query, verifier = issuer.query(client)
    page = browser.until(str(httpx.URL(f"{tls.url}/oauth/authorize", params=query)), "decision")
    reply = browser.send(page)
    set_cookies = [value for one in browser.replies for value in one.headers.get_list("set-cookie")]
    assert set_cookies
    for value in set_cookies:
        name, *attributes = [part.strip() for part in value.split(";")]
        lowered = {part.lower() for part in attributes}
        assert name.startswith("__Host-"), name.split("=")[0]
        assert {"secure", "httponly", "samesite=lax", "path=/"} <= lowered
        assert not any(part.startswith("domain") for part in lowered)
    sent = httpx.URL(reply.headers["location"]).params
    assert sent["iss"] == tls.url
    with tls.http() as http:
        body = http.post(f"{tls.url}/oauth/token", data={
            "grant_type": "authorization_code", "code": sent["code"], "client_id": client,
            "redirect_uri": REDIRECT_URI, "code_verifier": verifier}).json()
        assert claims(body["access_token"])["iss"] == tls.url
        body = http.post(f"{tls.url}/oauth/token", data={
            "grant_type": "refresh_token", "refresh_token": body["refresh_token"], "client_id": client}).json()
    assert claims(body["access_token"])["org_slug"] == "acme"
    assert proxy[0] == []


def test_sign_in_finished_in_another_browser(deployment, tls, browser):
    """R-19, BC-03: a link into somebody else's sign-in opens nothing in another browser, and leaves no session."""
    client = register(tls)["client_id"]
    page = browser.until(tls.platform.url_for(client), "decision")
    with tls.http() as victim:
        there = victim.get(str(page.url))
        assert there.status_code >= 400 and not there.is_redirect
        form = browser.submission(page)
        cookies = {name: value for name, value in form.headers.items() if name.lower() != "cookie"}
        reply = victim.send(victim.build_request("POST", form.url, content=form.content, headers=cookies))
        assert reply.status_code >= 400 and not reply.is_redirect
        assert not [name for name in victim.cookies if re.search("session", name)]
    assert forms_of(page) and browser.send(page).is_redirect, "the person it belongs to can still answer"


def test_requests_oauth2client(tls, browser):
    """DP-01, DP-03, DP-04, JA-01, PA-01, BC-09, AZ-18: requests-oauth2client, which speaks https only, with
    `private_key_jwt`, DPoP and PAR: discovery, pushed request, sign-in, token bound to its key, refresh."""
    key = Jwk.generate(alg="ES256", kid="ro2c")
    client_id = register(
        tls, token_endpoint_auth_method="private_key_jwt", token_endpoint_auth_signing_alg="ES256",
        jwks={"keys": [dict(key.public_jwk())]})["client_id"]
    session = requests.Session()
    session.verify, session.trust_env = str(tls.authority), False
    client = OAuth2Client.from_discovery_endpoint(
        f"{tls.url}/.well-known/oauth-authorization-server", tls.url, session=session, redirect_uri=REDIRECT_URI,
        auth=PrivateKeyJwt(client_id, key, aud=tls.url), dpop_bound_access_tokens=True)
    asked = client.authorization_request(scope="read write", resource=tls.resource)
    pushed = client.pushed_authorization_request(asked)
    assert pushed.request_uri.startswith("urn:ietf:params:oauth:request_uri:")
    reply = browser.send(browser.until(str(pushed), "decision"))
    answer = asked.validate_callback(reply.headers["location"])
    first = client.authorization_code(answer, validate=False, resource=tls.resource)
    thumbprint = first.dpop_key.dpop_jkt
    assert first.token_type == "DPoP" and claims(first.access_token)["cnf"] == {"jkt": thumbprint}
    second = client.refresh_token(first, resource=tls.resource)
    assert second.token_type == "DPoP" and claims(second.access_token)["cnf"] == {"jkt": thumbprint}
    assert second.refresh_token != first.refresh_token


def test_a_server_for_others_asks_nothing_of_its_own_machine(deployment, tls):
    """CM-07, S-01, S-02, S-03, S-04, S-09, MCP-AS-11: with an https issuer, on loopback too, neither a client's document
    nor its keys are fetched from this machine or a private network, however the address is written."""
    host, trap = deployment.documents, Trap()
    path = "/production/client.json"
    host.publish(path, {"client_id": host.url(path), "client_name": "Near", "redirect_uris": [REDIRECT_URI]})
    issuer = tls.platform
    port = trap.port
    names = [
        "localhost", "client.localhost", "127.0.0.1", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "[::1]",
        "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[fd00::1]", "[fe80::1]", "0.0.0.0", "10.0.0.1", "192.168.0.1",
        "172.16.0.1", "100.64.0.1", "169.254.169.254", "192.0.0.8", "198.18.0.1", "255.255.255.255", "localhost.",
    ]
    wrong = []
    with tls.http() as http:
        for client_id in [host.url(path), *(f"https://{name}:{port}/client.json" for name in names),
                          "https://client.example:22/client.json", "https://client.example:6379/client.json"]:
            query, _ = issuer.query(client_id)
            began = time.monotonic()
            reply = http.get(f"{tls.url}/oauth/authorize", params=query, headers=source())
            if reply.status_code != 400 or "location" in reply.headers or time.monotonic() - began > 5:
                wrong.append((client_id, reply.status_code))
        assert not wrong
        # Its keys: registered by URL, looked for when the first assertion comes.
        keys = "/production/keys.json"
        host.publish(keys, KeyPair().jwks)
        for url in (host.url(keys), f"https://127.0.0.1:{port}/keys", "https://169.254.169.254/keys"):
            body = {"client_name": "Keys", "redirect_uris": [REDIRECT_URI], "jwks_uri": url,
                    "token_endpoint_auth_method": "private_key_jwt", "grant_types": ["authorization_code", "refresh_token"]}
            reply = http.post(f"{tls.url}/oauth/register", json=body, headers=source())
            if reply.status_code == 400:
                continue   # refused where it is told already
            client_id = reply.json()["client_id"]
            form = {"grant_type": "refresh_token", "refresh_token": "x"} | KeyPair().form(client_id, tls.url)
            reply = http.post(f"{tls.url}/oauth/token", data=form, headers=source())
            assert reply.status_code == 401 and reply.json()["error"] == "invalid_client"
    assert host.hits(path) == host.hits(keys) == [] and trap.connections == 0
    trap.close()


class Slow:
    """A connection that sends its next bytes only now and then."""

    def __init__(self, tls, first: bytes, drop: bytes):
        raw = socket.create_connection(("127.0.0.1", int(tls.url.rsplit(":", 1)[1])), timeout=10)
        context = ssl.create_default_context(cafile=str(tls.authority))
        self.connection = context.wrap_socket(raw, server_hostname="localhost")
        self.drop = drop
        self.connection.sendall(first)
        self.began = time.monotonic()

    def cut_after(self, most: float) -> float:
        """Drips until the server ends the connection; how long that took."""
        self.connection.settimeout(0.3)
        while time.monotonic() - self.began < most:
            try:
                if not self.connection.recv(4096):
                    break
            except TimeoutError:
                try:
                    self.connection.sendall(self.drop)
                except OSError:
                    break
            except OSError:
                break
        self.connection.close()
        return time.monotonic() - self.began


def test_slow_clients(tls):
    """P-03: a head or a body that drips, and a connection that says nothing, end when their time is up; two hundred of
    them keep nobody else from being served at once."""
    post = (b"POST /oauth/token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            b"Content-Length: 5000\r\n\r\ngrant_type=")
    slow = {
        "head": Slow(tls, b"GET /oauth/jwks HTTP/1.1\r\nHost: local", b"a"), "body": Slow(tls, post, b"a"),
        "nothing": Slow(tls, b"", b""),
    }
    crowd = [Slow(tls, post, b"") for _ in range(200)]
    took = []
    with tls.http() as http:
        for _ in range(20):
            began = time.monotonic()
            assert http.get(f"{tls.url}/oauth/jwks").status_code == 200
            took.append(time.monotonic() - began)
    assert sorted(took)[10] < 0.25, took
    for name, one in slow.items():
        assert one.cut_after(tls.patience * 5) < tls.patience * 4, name
    for one in crowd:
        one.connection.close()
