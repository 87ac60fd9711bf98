"""Plays ChatGPT against the demo servers and prints each step (`ops/demo/connect`)."""

from __future__ import annotations

import argparse
import http.server
import os
import sys
import threading
import time
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import anyio

from .admin import Admin
from .chatgpt import ChatGPT, Exchange, claims, result_text, root_cause, signing_in
from .pages import PageError, Person, Visit
from .sandbox import Outbox
from .stack import load_environment

SHOWN_CLAIMS = ("iss", "aud", "sub", "org_id", "org_slug", "client_id", "scope", "grant_id", "exp")


class Steps:
    """Prints one line per step with the time since the start of this connection."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.failures = 0

    def line(self, said: str) -> None:
        print(f"  {time.monotonic() - self.started:6.2f} s  {said}", flush=True)

    def title(self, said: str) -> None:
        print(f"\n{said}", flush=True)

    def check(self, holds: bool, said: str) -> None:
        self.line(("ok: " if holds else "NOT SO: ") + said)
        self.failures += not holds

    def seen(self, step: Exchange | Visit) -> None:
        """The step list's line for an HTTP exchange of the client or a page of the person."""
        if isinstance(step, Visit):
            self.line(f"page      {step.text[:110]}")
            return
        said = {
            "/.well-known/oauth-protected-resource": "discovery ",
            "/.well-known/oauth-authorization-server": "discovery ",
            "/.well-known/openid-configuration": "discovery ",
        }
        kind = next((word for start, word in said.items() if start in step.path), "")
        if step.path.endswith("/oauth/register"):
            kind = "register  "
        elif step.path.endswith("/oauth/token"):
            kind = "token     "
        elif not kind and step.status != 401:
            return   # MCP traffic with a token: the tool lines tell of it
        self.line(f"{kind or 'challenge '}{step.method} {step.url} → {step.status}")
        if step.status == 401 and "www-authenticate" in step.headers:
            self.line(f"          {step.headers['www-authenticate']}")


@dataclass
class Meeting:
    """Who connects to what."""

    title: str
    server_url: str
    person: Person
    writes: bool


async def connect(meeting: Meeting, environment: dict[str, str], steps: Steps, opened: bool) -> None:
    """One whole connection: sign-in, tools, refresh, the tool again, and what the audit log says of it."""
    steps.title(f"{meeting.title}\n  {meeting.server_url} as {meeting.person.email}")
    since = time.time() - 0.5
    if opened:
        listener = CallbackListener()
        client = ChatGPT(meeting.server_url, listener.sign_in, listener.redirect_uri, report=steps.seen)
        print(f"  Codes by mail: {meeting.person.outbox.url}/__test/outbox?email={meeting.person.email}")
    else:
        client = ChatGPT(meeting.server_url, signing_in(meeting.person, steps.seen), report=steps.seen)
    async with client.connected() as session:
        tools = await session.list_tools()
        steps.line(f"tools     {', '.join(tool.name for tool in tools.tools)}")
        token = claims(client.access_token)
        for name in SHOWN_CLAIMS:
            if name in token:
                steps.line(f"claim     {name} = {token[name]}")
        await call_tools(session, meeting, steps)

        before = client.refresh_token
        steps.check(before is not None, "the client holds a refresh token")
        client.expire()
        steps.line("the stored expiry is set back; the next call has to refresh")
        result = await session.call_tool("read_note", {"name": "welcome"})
        steps.check(not result.is_error, f"read_note after the refresh: {result_text(result)}")
        fresh = claims(client.access_token)
        steps.check(fresh["jti"] != token["jti"] and client.refresh_token != before, "both tokens are new")
        steps.check(fresh["org_id"] == token["org_id"], f"still for the organization {token['org_id']}")
    show_events(environment, token, fresh, since, steps)


async def call_tools(session, meeting: Meeting, steps: Steps) -> None:
    result = await session.call_tool("read_note", {"name": "welcome"})
    steps.check(not result.is_error, f"read_note: {result_text(result)}")
    result = await session.call_tool("write_note", {"name": "welcome", "text": f"Hello from {meeting.person.email}"})
    if meeting.writes:
        steps.check(not result.is_error, f"write_note: {result_text(result)}")
    else:
        refused = bool(result.is_error) and "write" in result_text(result)
        steps.check(refused, f"write_note is refused: {result_text(result)}")


def show_events(environment: dict[str, str], token: dict, fresh: dict, since: float, steps: Steps) -> None:
    """The audit events of this connection, and a check that both tokens have theirs."""
    with Admin(environment["GATEHOUSE_URL"], environment["GATEHOUSE_ADMIN_KEY"]) as admin:
        wanted = {token["jti"], fresh["jti"]}
        events = admin.await_events(
            token["org_id"], lambda rows: wanted <= {row.get("token") for row in rows}, since=since
        )
    for event in events:
        actor = event.get("actor", {})
        steps.line(
            f"audit     #{event.get('seq')} {event['type']} {event['outcome']}"
            f" by {actor.get('type')} {actor.get('id')} {' '.join(event.get('scopes', []))}"
        )
    steps.check(wanted <= {event.get("token") for event in events}, "both access tokens are in the audit log")


class CallbackListener:
    """Opens the person's own browser and waits on loopback for the redirect that ends the sign-in."""

    def __init__(self) -> None:
        listener = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                self.send_response(200 if parts.path == "/callback" else 404)
                self.send_header("content-type", "text/plain; charset=utf-8")
                self.end_headers()
                if parts.path == "/callback":
                    self.wfile.write("Signed in. You can close this page.\n".encode())
                    listener.answer = dict(parse_qsl(parts.query))
                    listener.answered.set()

            def log_message(self, *_) -> None:
                pass

        self.answer: dict[str, str] = {}
        self.answered = threading.Event()
        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.redirect_uri = f"http://127.0.0.1:{self.server.server_port}/callback"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def sign_in(self, url: str, _: str) -> dict[str, str]:
        print(f"\n  Please sign in here (a browser opens if there is one):\n  {url}\n", flush=True)
        webbrowser.open(url)
        if not self.answered.wait(600):
            raise PageError("nobody came back from the sign-in within 10 minutes")
        self.server.shutdown()
        return self.answer


def meetings(environment: dict[str, str], server: str | None, email: str | None) -> list[Meeting]:
    outbox = Outbox(environment["STYTCH_SANDBOX_URL"])
    urls = {
        "shared": environment["DEMO_MCP_URL"],
        "acme": environment["DEMO_MCP_URL_ACME"],
        "plain": environment["DEMO_MCP_URL_PLAIN"],
    }
    reader = environment["DEMO_READER_ACME"]

    def meeting(title: str, url: str, address: str) -> Meeting:
        organization = address.rpartition("@")[2].removesuffix(".example")
        return Meeting(title, url, Person(address, organization, outbox), writes=address != reader)

    if server or email:
        url = urls.get(server or "shared", server or "")
        if "://" not in url:
            sys.exit(f"connect: --server takes a URL or one of {', '.join(urls)}")
        return [meeting("MCP server", url, email or environment["DEMO_USER_ACME"])]
    return [
        meeting("1. Shared server, platform issuer", urls["shared"], environment["DEMO_USER_ACME"]),
        meeting("2. The same URL, another organization", urls["shared"], environment["DEMO_USER_GLOBEX"]),
        meeting("3. Acme's own server, organization issuer, someone who may only read", urls["acme"], reader),
        meeting("4. Unmodified server under the launcher", urls["plain"], environment["DEMO_USER_ACME"]),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="ops/demo/connect",
        description="Plays ChatGPT with the real mcp client: discovery, registration, sign-in, consent, token, "
        "tools, refresh. Without options: all three demo servers, nothing to type.",
    )
    parser.add_argument("--server", help="URL of an MCP server, or one of: shared, acme, plain")
    parser.add_argument("--email", help="who signs in (default: $DEMO_USER_ACME of .gatehouse/env)")
    parser.add_argument("--open", action="store_true", help="sign in with your own browser")
    options = parser.parse_args()

    file = Path(os.environ.get("GATEHOUSE_FOLDER", ".gatehouse")) / "env"
    if not file.exists():
        sys.exit(f"connect: {file} is missing; start the demo with ./ops/run")
    environment = load_environment(file)
    started = time.monotonic()
    failures = 0
    for meeting in meetings(environment, options.server, options.email):
        steps = Steps()
        try:
            anyio.run(connect, meeting, environment, steps, options.open)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                sys.exit(130)
            cause = root_cause(error)
            steps.check(False, f"{type(cause).__name__}: {cause}")
        failures += steps.failures
    print(f"\n{'All of it worked' if not failures else f'{failures} thing(s) went wrong'}: "
          f"{time.monotonic() - started:.1f} s in total.")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
