"""How an organization's pages look: its colours, its name, its logo, and whose page it still is (design §4)."""

from __future__ import annotations

import base64
import re
import struct
import time
import zlib
from contextlib import contextmanager

import pytest
from test_organizations import key_of
from walk import Walk, forms_of, text_of

PATH = "/v1/organizations/acme/branding"


def png(width: int = 2, height: int = 2) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data))

    head = struct.pack("!IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = b"".join(b"\0" + b"\x0f\x5f\x4f" * width for _ in range(height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@contextmanager
def branded(admin, **members):
    admin.call("PATCH", PATH, members)
    time.sleep(1)   # on every node
    try:
        yield admin.get(PATH)
    finally:
        admin.call("PATCH", PATH, dict.fromkeys(members))
        time.sleep(1)


@pytest.fixture
def look(admin):
    with branded(admin, display_name="Acme Labs", accent_color="#1a4fa0", accent_color_dark="#8ab4ff",
                 logo=base64.b64encode(png()).decode()) as made:
        yield made


def test_branding_is_checked(deployment, admin):
    """Design 4, T-25: what cannot be read, shown or trusted is refused with its place and the ratio; nothing is stored."""
    before = admin.send("GET", PATH)
    assert before.json()["logo"] is None and before.headers["etag"]
    svg = base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>").decode()
    with key_of(deployment, admin, "acme", "organizations:read", "organizations:write") as own:
        for members, pointer, code in (
            ({"accent_color": "#ffff00"}, "/accent_color", "low_contrast"),
            ({"accent_color": "#808080"}, "/accent_color", "low_contrast"),
            ({"accent_color_dark": "#0f5f4f"}, "/accent_color_dark", "low_contrast"),
            ({"accent_color": "red"}, "/accent_color", "invalid"), ({"accent_color": "#12345"}, "/accent_color", "invalid"),
            ({"accent_color": "#000000;}body{x:url(//evil.example)"}, "/accent_color", "invalid"),
            ({"display_name": ""}, "/display_name", "invalid"), ({"display_name": "a\u202eb"}, "/display_name", "invalid"),
            ({"logo": svg}, "/logo", "unknown_format"), ({"logo": "not base64!"}, "/logo", "invalid"),
            ({"logo": base64.b64encode(png() + bytes(65536)).decode()}, "/logo", "too_large"),
            ({"logo": "https://evil.example/logo.png"}, "/logo", "invalid"),
            ({"stylesheet": "x"}, "/stylesheet", "unknown_member"),
        ):
            reply = own.send("PATCH", PATH, members)
            error = reply.json()["errors"][0]
            assert reply.status_code == 422 and (error["pointer"], error["code"]) == (pointer, code), reply.text
        ratio = own.send("PATCH", PATH, {"accent_color": "#808080"}).json()["errors"][0]["detail"]
        assert re.search(r"this is 3\.\d+ to 1", ratio), ratio
        assert own.send("PATCH", PATH, {"accent_color": "#1a4fa0"}, {"if-match": '"v99"'}).status_code == 412
        assert own.send("PATCH", PATH + "?dry_run=true", {"accent_color": "#1a4fa0"}).json()["accent_color"] == "#1a4fa0"
    assert admin.send("GET", PATH).content == before.content


def test_branded_pages(deployment, look, http):
    """AZ-15, R-24, design 4: page one, code and consent of the organization carry its look; slug and host of ours stand
    beside it; everything comes from our origin, of the right type, for good; no script, no style on the page."""
    client = deployment.acme.register(client_name="Example")
    with Walk(deployment, deployment.person("alice")) as browser:
        pages = [browser.get(deployment.acme.url_for(client)), browser.until(deployment.acme.url_for(client), "code"),
                 browser.until(deployment.acme.url_for(client), "decision")]
    host = deployment.stack.url.removeprefix("http://")
    for page in pages:
        text = text_of(page)
        assert "Acme Labs" in text and "acme through Gatehouse at" in text and host in text
        policy = page.headers["content-security-policy"]
        assert policy.endswith("; img-src 'self'") and "unsafe" not in policy and "default-src 'none'" in policy
        assert not re.search(r"<(script|style|iframe|object|embed|base)\b", page.text, re.I)
        assert not re.search(r"<[^>]+\sstyle\s*=", page.text, re.I)
        (picture,) = re.findall(r'<img src="([^"]+)"', page.text)
        sheets = re.findall(r'<link rel="stylesheet" href="([^"]+)"', page.text)
        assert '<link rel="icon" href="/favicon.ico"' in page.text
        assert look["logo"]["url"] == deployment.stack.url + picture and len(sheets) == 2
    for node in deployment.node_urls:
        reply = http.get(node + picture)
        assert reply.content == png() and reply.headers["content-type"] == "image/png"
        assert reply.headers["x-content-type-options"] == "nosniff" and "immutable" in reply.headers["cache-control"]
        assert "default-src 'none'" in reply.headers["content-security-policy"]
        again = http.get(node + picture, headers={"if-none-match": reply.headers["etag"]})
        assert again.status_code == 304 and not again.content
        style = http.get(node + sheets[1])
        assert style.headers["content-type"] == "text/css; charset=utf-8"
        assert "--accent: #1a4fa0" in style.text and "--accent: #8ab4ff" in style.text
        for wrong in (picture[:-5] + "x.png", picture.replace(".png", ".jpeg"), sheets[1].replace(".css", ".png"),
                      picture.replace(deployment.organizations["acme"], deployment.organizations["globex"])):
            assert http.get(node + wrong).status_code == 404, wrong


def test_nothing_is_branded_before_the_organization_is_known(deployment, look):
    """R-24, design 3.2: where it is typed or found by the address, page one and the code page look like nobody's."""
    client = deployment.platform.register(client_name="Example")
    with Walk(deployment, deployment.person("alice")) as browser:
        for field in ("email", "code"):
            page = browser.until(deployment.platform.url_for(client), field)
            assert "Acme Labs" not in page.text and "assets/brand" not in page.text
            assert "img-src" not in page.headers["content-security-policy"]
        page = browser.until(deployment.platform.url_for(client), "decision")
        assert "Acme Labs" in text_of(page) and "assets/brand" in page.text


def test_no_organization_passes_for_another(deployment, admin):
    """R-21, R-24: whatever name it gives itself, its slug and our host stand beside it, and the name is text."""
    with branded(admin, display_name="Globex</title><script>alert(1)</script>"):
        client = deployment.acme.register()
        with Walk(deployment, deployment.person("alice")) as browser:
            page = browser.get(deployment.acme.url_for(client))
    assert "<script" not in page.text and "acme through Gatehouse at" in text_of(page) and forms_of(page)


def test_branding_goes_with_its_organization(deployment, admin, http, look):
    """T-20: suspended, nothing of it is served."""
    path = look["logo"]["url"].removeprefix(deployment.stack.url)
    assert http.get(deployment.stack.url + path).status_code == 200
    admin.post("/v1/organizations/acme:suspend")
    try:
        time.sleep(1)
        assert [http.get(node + path).status_code for node in deployment.node_urls] == [404, 404]
    finally:
        admin.post("/v1/organizations/acme:resume")
        time.sleep(1)
