"""One pass with a real Chromium over the pages people see: that they fit, read, and need neither mouse nor script.

Each page is looked at on a phone (360 px) and on a desk, light and dark. In every look nothing is wider than the window
and axe finds nothing serious or critical; Tab and Enter alone lead from the first page to the client, with the focus in
sight; and Chromium has nothing to complain of, such as what the Content-Security-Policy forbids.
"""

from __future__ import annotations

import base64
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from conftest import ops
from playwright.sync_api import Page, sync_playwright
from test_branding import branded, png

PHONE, DESK = {"width": 360, "height": 740}, {"width": 1280, "height": 900}

# What has the focus: whether it can be seen to have it, and stands within the window.
FOCUS = """() => {
    const it = document.activeElement, shown = it.closest(".choice") ?? it
    const style = getComputedStyle(shown), box = shown.getBoundingClientRect()
    return {
        what: it.outerHTML.slice(0, 200),
        outlined: it.matches(":focus-visible") && style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
        // Scrolling ends on whole pixels.
        inside: box.width > 0 && box.top > -1 && box.bottom < innerHeight + 1 && box.left > -1 && box.right < innerWidth + 1,
        place: `${box.top} to ${box.bottom} of ${innerHeight}, scrolled ${scrollY}`,
    }
}"""

# What reaches beyond the window's right edge, if the page can be scrolled there.
TOO_WIDE = """() => {
    const page = document.scrollingElement
    if (page.scrollWidth <= page.clientWidth) return []
    return [...document.querySelectorAll("body *")].filter(one => one.getBoundingClientRect().right > page.clientWidth)
        .map(one => one.outerHTML.slice(0, 120)).concat(`${page.scrollWidth} > ${page.clientWidth}`)
}"""


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        # It has nothing to look for outside this machine.
        made = playwright.chromium.launch(executable_path=ops("chromium_program").strip(), headless=True, args=[
            "--no-sandbox", "--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1"])
        yield made
        made.close()


@pytest.fixture
def page(chromium):
    """A tab of a new profile. What Chromium complained of by the end fails the test."""
    with chromium.new_context(viewport=PHONE, reduced_motion="reduce") as profile:
        made = profile.new_page()
        complaints: list[str] = []
        made.on("pageerror", lambda error: complaints.append(f"{made.url}: {error}"))
        made.on("requestfailed", lambda request: complaints.append(f"{request.url}: {request.failure}"))

        def heard(message) -> None:
            # Chromium remarks on the status of a page that refuses.
            missed = message.text.startswith("Failed to load resource: the server responded with a status of 4")
            about = message.location["url"]
            if message.type in ("error", "warning") and not (missed and about == made.url):
                complaints.append(f"{made.url}: {message.text} ({about})")

        made.on("console", heard)
        yield made
        assert not complaints, complaints


@contextmanager
def loopback_client():
    """A native client's own server: its redirect URI, and the queries it was called with."""
    calls: list[dict[str, list[str]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if urlsplit(self.path).path == "/callback":
                calls.append(parse_qs(urlsplit(self.path).query))
            # The icon, else Chromium would ask for one, perhaps when this server is gone.
            body = b'<!doctype html><title>Connected</title><link rel="icon" href="data:,">'
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/callback", calls
    finally:
        server.shutdown()
        server.server_close()


def fits(page: Page, size: dict[str, int]) -> None:
    page.set_viewport_size(size)
    too_wide = page.evaluate(TOO_WIDE)
    assert not too_wide, f"{page.url} at {size['width']} px: {too_wide}"


def look_at(page: Page) -> None:
    """The page in its four looks."""
    page.evaluate(AXE_SCRIPT)
    for size in (DESK, PHONE):
        fits(page, size)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            where = f"{page.url} at {size['width']} px, {scheme}"
            # Without `preload` it asks for no style sheet of its own, which the policy would forbid.
            found = page.evaluate("axe.run({resultTypes: ['violations'], preload: false})")
            assert found["passes"], where
            bad = [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in found["violations"]
                   if one["impact"] in ("serious", "critical")]
            assert not bad, f"{where}: {bad}"


def focus_is_seen(page: Page) -> None:
    focus = page.evaluate(FOCUS)
    assert focus["outlined"] and focus["inside"], focus


def tab_to(page: Page, selector: str) -> None:
    """Presses Tab until the element has the focus; wherever it stands meanwhile, it is seen."""
    wanted = page.locator(selector)
    for _ in range(20):
        if wanted.evaluate("it => it === document.activeElement"):
            focus_is_seen(page)
            return
        page.keyboard.press("Tab")
        focus_is_seen(page)
    raise AssertionError(f"Tab does not reach {selector} at {page.url}")


def enter(page: Page, address: str = "**/*") -> None:
    """Presses Enter, and waits for the page it leads to."""
    with page.expect_navigation(url=address):
        page.keyboard.press("Enter")


def test_signing_in_by_keyboard(deployment, page):
    """AZ-15, AZ-24: page one, the code page, a wrong code, consent and the connections, each in its four looks; Tab and
    Enter alone lead a person through them, back to a client on their own machine, and end its connection."""
    person = deployment.person("alice")
    with loopback_client() as (redirect, calls):
        client = deployment.platform.register(client_name="Example", redirect_uris=[redirect])
        page.goto(deployment.platform.url_for(client, redirect_uri=redirect, scope="read write", state="here"))
        look_at(page)
        tab_to(page, "[name=email]")
        page.keyboard.type(person.email)
        tab_to(page, "[name=organization]")
        page.keyboard.type(person.organization)
        mails = len(person.outbox.messages(person.email))
        enter(page)
        look_at(page)
        code = person.outbox.await_code(person.email, mails)
        tab_to(page, "[name=code]")
        page.keyboard.type("000000" if code != "000000" else "111111")
        enter(page)
        assert page.get_by_role("alert").inner_text()
        look_at(page)
        tab_to(page, "[name=code]")
        page.keyboard.type(code)
        enter(page)
        look_at(page)
        tab_to(page, "[name=decision][value=allow]")
        enter(page, f"{redirect}*")
        (answer,) = calls
        assert answer["state"] == ["here"] and answer["iss"] == [deployment.platform.url] and answer["code"][0]
    # Something is connected once its client has redeemed a code.
    redeemed = deployment.platform.redeem(deployment.platform.code(person))
    assert redeemed.status_code == 200
    page.goto(f"{deployment.stack.url}/connections?organization=acme")
    look_at(page)
    tab_to(page, "section:first-of-type button")
    enter(page)
    assert "is disconnected" in page.get_by_role("status").inner_text()


def test_other_pages(deployment, admin, page):
    """AZ-15, R-24: an error, the device page, a branded organization's page one and the admin API's reference, each
    in its four looks; the reference fits with everything on it unfolded too."""
    refused = page.goto(deployment.platform.url_for("nobody"))
    assert refused.status == 400
    look_at(page)
    page.goto(f"{deployment.stack.url}/device")
    look_at(page)
    tab_to(page, "[name=user_code]")
    page.keyboard.type("BCDF-GHJK")
    enter(page)
    assert page.get_by_role("alert").inner_text()
    look_at(page)
    with branded(admin, display_name="Acme Labs", accent_color="#1a4fa0", accent_color_dark="#8ab4ff",
                 logo=base64.b64encode(png()).decode()):
        page.goto(deployment.acme.url_for(deployment.acme.register(client_name="Example")))
        assert "Acme Labs" in page.locator("header").inner_text()
        assert page.locator("header img").evaluate("it => it.naturalWidth") == 2
        look_at(page)
    page.goto(f"{deployment.stack.url}/v1/reference")
    unfold = "most => document.querySelectorAll('details').forEach((one, place) => one.open = place < most)"
    page.evaluate(unfold, 10_000)
    for size in (DESK, PHONE):
        fits(page, size)
    # All operations are made alike, and axe takes seconds for all of them.
    page.evaluate(unfold, 4)
    look_at(page)
