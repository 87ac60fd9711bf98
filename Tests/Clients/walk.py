"""A browser that a test can stop on any page, to do there what a person or an attacker might."""

from __future__ import annotations

from urllib.parse import urlencode, urljoin, urlsplit

import httpx
from gatehouse_demo.pages import Browser, Form, Person, read_page
from oauth import Code, told


def forms_of(page: httpx.Response) -> list[Form]:
    return read_page(page.text)[0]


def text_of(page: httpx.Response) -> str:
    return read_page(page.text)[1]


class Walk(Browser):
    """Follows the server's redirects to itself and stops at every other."""

    def __init__(self, deployment, person: Person):
        super().__init__(person)
        self.base = deployment.stack.url
        self._mails = 0
        self._given: dict = {}
        # Every reply, redirects included.
        self.replies: list[httpx.Response] = []

    def follow(self, request: httpx.Request) -> httpx.Response:
        for _ in range(10):
            response = self.http.send(request)
            self.replies.append(response)
            target = urljoin(str(request.url), response.headers.get("location", ""))
            if not response.is_redirect or not target.startswith(self.base + "/"):
                return response
            request = self.http.build_request("GET", target)
        raise AssertionError(f"redirected in a circle at {request.url}")

    def get(self, url: str) -> httpx.Response:
        return self.follow(self.http.build_request("GET", url))

    def until(self, url: str, field: str) -> httpx.Response:
        """Goes through the pages until one has a form with this field: `email`, `code` or `decision`."""
        self._mails = len(self.person.outbox.messages(self.person.email))
        page = self.get(url)
        for _ in range(6):
            assert not page.is_redirect, f"left the pages for {page.headers['location']} before {field!r} was asked"
            if any(form.named(field) for form in forms_of(page)):
                return page
            page = self.follow(self._answer(page))
        raise AssertionError(f"no page asked for {field!r}")

    def submission(self, page: httpx.Response, headers: dict[str, str] | None = None, **changes) -> httpx.Request:
        """What the person's answer to the page's form would be, changed; None leaves a field out."""
        form = next(form for form in forms_of(page) if form.method == "post")
        here = urlsplit(str(page.url))
        self._given = changes
        try:
            data = {**self._filled(form, text_of(page), str(page.url)), **changes}
        finally:
            self._given = {}
        headers = {"origin": f"{here.scheme}://{here.netloc}", "referer": str(page.url)} | (headers or {})
        return self.http.build_request(
            "POST", urljoin(str(page.url), form.action),
            data={name: value for name, value in data.items() if value is not None},
            headers={name: value for name, value in headers.items() if value},
        )

    def send(self, page: httpx.Response, headers: dict[str, str] | None = None, **changes) -> httpx.Response:
        """Sends it, and follows."""
        return self.follow(self.submission(page, headers, **changes))

    def _answer_to(self, name: str) -> str | None:
        # What a test types needs no look into the mail.
        return (self._given[name] or "") if name in self._given else super()._answer_to(name)


def told_code(issuer, browser: Walk, client_id: str, **changes) -> Code:
    """A code of the person at this browser; signed in already, it takes them two clicks."""
    query, verifier = issuer.query(client_id, **changes)
    page = browser.until(f"{issuer.url}/oauth/authorize?{urlencode(query)}", "decision")
    return Code(told(browser.send(page))["code"], verifier, client_id)
