"""Devices without a browser: a code is shown there and typed elsewhere (RFC 8628; facts A13, B2)."""

from __future__ import annotations

import re
import time

import httpx
import pytest
from evidence import source
from gatehouse_demo.admin import Admin
from gatehouse_demo.chatgpt import claims
from test_pages import inert, safe_headers
from test_token import basic, refused
from walk import Walk, text_of

GRANT = "urn:ietf:params:oauth:grant-type:device_code"
EPOCH_BOUND = 1.0


@pytest.fixture(scope="module")
def base(deployment):
    """acme's admin path, while its devices may be connected."""
    path = f"/v1/organizations/{deployment.organizations['acme']}"
    with Admin(deployment.stack.url, deployment.stack.admin_key) as admin:
        admin.call("PATCH", path, {"settings": {"device_authorization": True}})
        time.sleep(EPOCH_BOUND)
        yield path
        admin.call("PATCH", path, {"settings": {"device_authorization": False}})
        time.sleep(EPOCH_BOUND)


@pytest.fixture(scope="module")
def client(deployment, base) -> str:
    """A public client of acme for devices."""
    with Admin(deployment.stack.url, deployment.stack.admin_key) as admin:
        return admin.post(f"{base}/clients", {
            "name": "Television", "grant_types": [GRANT, "refresh_token"], "token_endpoint_auth_method": "none",
        })["client_id"]


@pytest.fixture
def browser(deployment):
    with Walk(deployment, deployment.person("alice")) as made:
        yield made


def begin(deployment, client: str | None, issuer: str | None = None, headers=None, **changes) -> httpx.Response:
    form = {"client_id": client, "resource": deployment.stack.acme_url, "scope": "read", **changes}
    return httpx.post(
        f"{issuer or deployment.acme.url}/oauth/device_authorization", trust_env=False, timeout=15,
        data={name: value for name, value in form.items() if value is not None}, headers=headers or source())


def poll(deployment, device_code: str, client: str, **changes) -> httpx.Response:
    return deployment.acme.token({"grant_type": GRANT, "device_code": device_code, "client_id": client, **changes})


def enter(deployment, browser: Walk, user_code: str, **changes) -> httpx.Response:
    """Opens the page as the device asks people to, and types its code."""
    return browser.send(browser.get(f"{deployment.stack.url}/device"), user_code=user_code, **changes)


def consent(deployment, browser: Walk, user_code: str) -> httpx.Response:
    """The consent page for the code."""
    return browser.until(str(enter(deployment, browser, user_code).url), "decision")


def test_codes(deployment, client, evidence):
    """DG-01, AZ-16: the answer's members; a user code of eight consonants, unlike any other; recorded; no secret kept."""
    replies = [begin(deployment, client) for _ in range(8)]
    for reply in replies:
        assert reply.status_code == 200, reply.text
        assert reply.headers["cache-control"] == "no-store" and reply.headers["content-type"] == "application/json"
        body = reply.json()
        assert set(body) == {"device_code", "user_code", "verification_uri", "expires_in", "interval"}
        assert body["expires_in"] == 600 and body["interval"] == 5
        assert body["verification_uri"] == f"{deployment.stack.url}/device"
        assert re.fullmatch(r"[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}", body["user_code"])
        assert len(body["device_code"]) > 43
    assert len({reply.json()["user_code"] for reply in replies}) == 8
    event, = evidence.of(replies[0], "acme", type="device.code_issued")
    assert event["client"] == client and body["user_code"] not in str(event)
    for key in evidence.redis("--scan", "--pattern", "*:device") + evidence.redis("--scan", "--pattern", "*:user_code"):
        kept = "\n".join(evidence.redis("HGETALL", key))
        for reply in replies:
            assert reply.json()["device_code"] not in kept + key
            assert reply.json()["user_code"] not in kept + key
            assert reply.json()["user_code"].replace("-", "") not in kept + key


def test_connection(deployment, client, browser, evidence):
    """DG-02, DG-03, TK-15, TK-17: pending until a person allows it on pages that show client and code and warn; then
    tokens, once; then invalid_grant. The refresh token works, and the log has every step."""
    codes = begin(deployment, client).json()
    refused(poll(deployment, codes["device_code"], client), "authorization_pending")
    asked = browser.get(codes["verification_uri"])
    first = browser.send(asked, user_code=f" {codes['user_code'].lower().replace('-', ' ')} ")
    page = consent(deployment, browser, codes["user_code"])
    for shown in (asked, first, page):
        safe_headers(shown)
        inert(shown)
    for shown in (first, page):
        assert "Television" in text_of(shown) and codes["user_code"] in text_of(shown)
        assert "on a device you have before you" in text_of(shown)
        assert re.search(r"form-action 'self'(;|$)", shown.headers["content-security-policy"])
    done = browser.send(page)
    assert done.status_code == 200 and "Your device is connected" in text_of(done)
    safe_headers(done)
    approved, = evidence.of(browser.replies[-1], "acme", type="device.approved")
    assert approved["client"] == client and approved["actor"]["type"] == "user"
    reply = poll(deployment, codes["device_code"], client)
    assert reply.status_code == 200, reply.text
    tokens = reply.json()
    assert reply.headers["cache-control"] == "no-store" and tokens["token_type"] == "Bearer"
    token = claims(tokens["access_token"])
    assert token["aud"] == deployment.stack.acme_url and token["client_id"] == client and token["scopes"] == ["read"]
    issued, = evidence.of(reply, "acme", type="token.issued")
    assert issued["grant"] == GRANT and issued["token"] == token["jti"]
    again = poll(deployment, codes["device_code"], client)
    refused(again, "invalid_grant")
    denied, = evidence.of(again, "acme", type="token.denied")
    assert denied["reason"] == "device_code_used"
    refreshed = deployment.acme.refresh(tokens["refresh_token"], client)
    assert refreshed.status_code == 200, refreshed.text


def test_refusal(deployment, client, browser, evidence):
    """DG-02, AZ-12: the person declines; the device hears access_denied, and nothing is granted."""
    codes = begin(deployment, client).json()
    browser.person.decision = "deny"
    page = consent(deployment, browser, codes["user_code"])
    with evidence.no_rows_stored():
        done = browser.send(page, decision="deny")
        assert done.status_code == 200 and "Nothing was connected" in text_of(done)
        denied, = evidence.of(browser.replies[-1], "acme", type="device.denied")
        assert denied["reason"] == "person_declined"
        refused(poll(deployment, codes["device_code"], client), "access_denied")
        again = enter(deployment, browser, codes["user_code"])
        assert again.status_code == 422 and "No device waits" in text_of(again)


def test_polling_too_fast(deployment, client, evidence):
    """DG-02, RL-04: a second poll within the interval is slow_down, and from then on the interval is longer; no event of
    either, since nothing was refused."""
    codes = begin(deployment, client).json()
    first = poll(deployment, codes["device_code"], client)
    refused(first, "authorization_pending")
    second = poll(deployment, codes["device_code"], client)
    refused(second, "slow_down")
    key, = [
        key for key in evidence.redis("--scan", "--pattern", "*:device")
        if evidence.redis("HGET", key, "interval") == ["10000"]
    ]
    # As after a pause of the first interval: too short by now.
    evidence.redis("HINCRBY", key, "polled", "-6000")
    third = poll(deployment, codes["device_code"], client)
    refused(third, "slow_down")
    evidence.redis("HINCRBY", key, "polled", "-16000")
    refused(poll(deployment, codes["device_code"], client), "authorization_pending")
    wanted = {reply.headers["request-id"] for reply in (first, second, third)}
    assert not [event for event in evidence.events("acme") if event.get("request", {}).get("id") in wanted]


def test_expiry(deployment, client, browser, evidence):
    """DG-02: after its time a code is expired_token, and nobody can enter or answer it."""
    codes = begin(deployment, client).json()
    page = consent(deployment, browser, codes["user_code"])
    other = begin(deployment, client).json()
    keys = [key for key in evidence.redis("--scan", "--pattern", "*:device") if evidence.redis("HGET", key, "polled") == [""]]
    assert len(keys) >= 2
    for key in keys:
        evidence.redis("HSET", key, "expires", str(int(time.time() * 1000) - 1))
    refused(poll(deployment, codes["device_code"], client), "expired_token")
    refused(poll(deployment, other["device_code"], client), "expired_token")
    with evidence.no_rows_stored():
        late = browser.send(page)
        assert late.status_code == 400 and "no longer valid" in text_of(late)
        refused(poll(deployment, codes["device_code"], client), "expired_token")


@pytest.mark.parametrize("device_code", ["", "nonsense", "gd_" + "A" * 43, "gc_" + "A" * 86])
def test_unknown_device_codes(deployment, client, evidence, device_code):
    """DG-02, TK-05, TK-11: a missing code is invalid_request; unknown, malformed and foreign ones are alike."""
    with evidence.no_rows_stored():
        refused(poll(deployment, device_code, client), "invalid_grant" if device_code else "invalid_request")


def test_code_of_another_client(deployment, admin, base, client, browser):
    """TK-11, TK-22, TK-09: another client cannot redeem it, nor can its own without proving itself; its owner still can."""
    other = admin.post(f"{base}/clients", {"name": "Radio", "grant_types": [GRANT]})
    codes = begin(deployment, client).json()
    browser.send(consent(deployment, browser, codes["user_code"]))
    stranger = basic(other["client_id"], other["client_secret"])
    form = {"grant_type": GRANT, "device_code": codes["device_code"]}
    refused(deployment.acme.token(form, headers=stranger), "invalid_grant")
    refused(begin(deployment, other["client_id"]), "invalid_client", 401)
    refused(poll(deployment, codes["device_code"], other["client_id"]), "invalid_client", 401)
    reply = poll(deployment, codes["device_code"], client)
    assert reply.status_code == 200, reply.text


def test_who_may_ask(deployment, admin, base, client, evidence):
    """DG-01, MD-09, TK-12, RI-02, AZ-08, TK-06: only clients an administrator gave this grant, for a resource and scopes
    that exist, with no parameter twice; refusals are recorded, and no code comes into being."""
    registered = deployment.acme.register()
    coder = admin.post(f"{base}/clients", {
        "name": "Coder", "redirect_uris": ["https://coder.example/cb"], "token_endpoint_auth_method": "none"})["client_id"]
    keys = len(evidence.redis("--scan", "--pattern", "*:device"))
    for reply, error, status in (
        (begin(deployment, registered), "unauthorized_client", 400),
        (begin(deployment, coder), "unauthorized_client", 400),
        (begin(deployment, "nobody"), "invalid_client", 401),
        (begin(deployment, None), "invalid_client", 401),
        (begin(deployment, client, resource="https://nobody.example/mcp"), "invalid_target", 400),
        (begin(deployment, client, resource=deployment.stack.shared_url), "invalid_target", 400),
        (begin(deployment, client, scope="nope"), "invalid_scope", 400),
        (begin(deployment, client, client_id=[client, client]), "invalid_request", 400),
    ):
        refused(reply, error, status)
    assert len(evidence.redis("--scan", "--pattern", "*:device")) == keys
    refusal, = evidence.of(begin(deployment, registered), "acme", type="token.denied")
    assert refusal["reason"] == "unauthorized_client" and refusal["grant"] == GRANT
    for grants in (["device_code"], [GRANT, GRANT], ["refresh_token"], ["password"]):
        made = admin.send("POST", f"{base}/clients", {"name": "X", "grant_types": grants})
        assert made.status_code == 422 and made.json()["errors"][0]["pointer"] == "/grant_types", made.text
    with_redirect = admin.send("POST", f"{base}/clients", {
        "name": "X", "grant_types": [GRANT], "redirect_uris": ["https://x.example/cb"]})
    assert with_redirect.status_code == 422


def test_off(deployment, client, http):
    """MD-09, DG-01: elsewhere the grant is off: no metadata, no endpoint, unsupported_grant_type; on, all three."""
    def metadata(issuer):
        origin, _, path = issuer.url.partition("/o/")
        return http.get(f"{origin}/.well-known/oauth-authorization-server" + (f"/o/{path}" if path else "")).json()

    on = metadata(deployment.acme)
    assert on["device_authorization_endpoint"] == f"{deployment.acme.url}/oauth/device_authorization"
    assert GRANT in on["grant_types_supported"]
    for issuer in (deployment.globex, deployment.platform):
        off = metadata(issuer)
        assert "device_authorization_endpoint" not in off and GRANT not in off["grant_types_supported"]
        reply = begin(deployment, client, issuer.url)
        assert reply.status_code == 404
        registered = issuer.register()
        refused(issuer.token(
            {"grant_type": GRANT, "device_code": "gd_" + "A" * 43, "client_id": registered}), "unsupported_grant_type")


def test_turning_it_off_ends_what_waits(deployment, admin, base, client, browser):
    """DG-02, T-20: once the setting is off a code can be neither allowed nor redeemed."""
    waiting, allowed = begin(deployment, client).json(), begin(deployment, client).json()
    page = consent(deployment, browser, waiting["user_code"])
    browser.send(consent(deployment, browser, allowed["user_code"]))
    admin.call("PATCH", base, {"settings": {"device_authorization": False}})
    try:
        time.sleep(EPOCH_BOUND)
        late = browser.send(page)
        assert late.status_code == 400 and "no longer valid" in text_of(late)
        refused(poll(deployment, allowed["device_code"], client), "unsupported_grant_type")
    finally:
        admin.call("PATCH", base, {"settings": {"device_authorization": True}})
        time.sleep(EPOCH_BOUND)


def test_typing_the_code(deployment, client, evidence):
    """DG-01, K-17, R-17, BC-04: wrong codes are told apart only from right ones; a form needs the browser's own token and
    no foreign origin; the code in a link is not read; after some tries a source has to wait, and others go on."""
    codes = begin(deployment, client).json()
    here = source()
    with Walk(deployment, deployment.person("alice")) as browser:
        asked = browser.get(f"{deployment.stack.url}/device?user_code={codes['user_code']}")
        assert asked.status_code == 200 and codes["user_code"] not in asked.text
        foreign = browser.send(asked, {**here, "origin": "https://evil.example"}, user_code=codes["user_code"])
        assert foreign.status_code == 403 and "another site" in text_of(foreign)
        forged = browser.send(asked, here, user_code=codes["user_code"], csrf_token="A" * 43)
        assert forged.status_code == 400
        refusal, = evidence.of(browser.replies[-1], type="device.denied")
        assert refusal["reason"] == "foreign_form"
        for wrong in ("", "AEIO-UAEI", "BCDF-GHJ", "'; DROP TABLE client; --"):
            page = browser.send(asked, here, user_code=wrong)
            assert page.status_code == 422 and "eight letters" in text_of(page)
        wrong = [browser.send(asked, here, user_code="BCDF-GHJK") for _ in range(20)]
        assert all(page.status_code == 422 and "No device waits" in text_of(page) for page in wrong)
        refusal, = evidence.of(browser.replies[-20], type="device.denied")
        assert refusal["reason"] == "user_code_unknown"
        page = browser.send(asked, here, user_code=codes["user_code"])
        assert page.status_code == 422 and "Too many codes" in text_of(page)
        throttled, = evidence.of(browser.replies[-1], type="login.throttled")
        assert throttled["reason"] == "too_many_user_codes"
        page = browser.send(asked, source(), user_code=codes["user_code"])
        assert page.status_code == 200 and "Television" in text_of(page)


def test_one_browser_enters_a_code(deployment, client, browser):
    """R-17, R-18, R-23, DG-03: what one browser entered no other can; there it may be entered again, and is answered once."""
    codes = begin(deployment, client).json()
    pages = [consent(deployment, browser, codes["user_code"]) for _ in range(2)]
    with Walk(deployment, deployment.person("rita")) as other:
        taken = enter(deployment, other, codes["user_code"])
        assert taken.status_code == 422 and "No device waits" in text_of(taken)
        stolen = other.get(str(pages[0].url))
        assert stolen.status_code == 400 and "no longer valid" in text_of(stolen)
    assert "Your device is connected" in text_of(browser.send(pages[0], scope="write", client_id="other"))
    assert "no longer valid" in text_of(browser.send(pages[1]))
    assert "no longer valid" in text_of(browser.send(pages[0]))
    tokens = poll(deployment, codes["device_code"], client).json()
    assert tokens["scope"] == "read"


def test_person_without_any_scope(deployment, client):
    """R-24, DG-02: policy allows the person nothing of what was asked: they are told, and the device hears access_denied."""
    codes = begin(deployment, client, scope="write").json()
    with Walk(deployment, deployment.person("rita")) as browser:
        page = consent(deployment, browser, codes["user_code"])
        assert "cannot use" in text_of(page) and "Close" in text_of(page)
        assert "Nothing was connected" in text_of(browser.send(page))
    refused(poll(deployment, codes["device_code"], client), "access_denied")


def test_redis_away(deployment, client):
    """F-01: without Redis neither codes nor polls are answered, and it is said when to come back."""
    codes = begin(deployment, client).json()
    deployment.servers.stop_redis()
    try:
        for reply in (begin(deployment, client), poll(deployment, codes["device_code"], client)):
            refused(reply, "temporarily_unavailable", 503)
            assert int(reply.headers["retry-after"]) >= 1
    finally:
        deployment.servers.start_redis()
        until = time.monotonic() + 10
        while begin(deployment, client).status_code != 200:
            assert time.monotonic() < until, "Redis is back and was not noticed"
            time.sleep(0.1)


def test_twenty_polls_at_once(deployment, client, browser):
    """TK-15: one of many parallel redemptions gets tokens, on both nodes; on a busy machine some are told to ask again."""
    from concurrent.futures import ThreadPoolExecutor

    codes = begin(deployment, client).json()
    browser.send(consent(deployment, browser, codes["user_code"]))
    form = {"grant_type": GRANT, "device_code": codes["device_code"], "client_id": client}
    with ThreadPoolExecutor(10) as pool:
        replies = list(pool.map(
            lambda number: deployment.acme.token(form, deployment.node_urls[number % 2]), range(20)))
    statuses = sorted(reply.status_code for reply in replies)
    assert statuses[:2] == [200, 400] and set(statuses[1:]) <= {400, 503}, statuses
    assert {reply.json()["error"] for reply in replies if reply.status_code == 400} == {"invalid_grant"}
