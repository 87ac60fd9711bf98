"""A person at a browser: walks Gatehouse's sign-in and consent pages, filling the forms they show."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import parse_qsl, urljoin, urlsplit

import httpx

from .sandbox import Outbox


class PageError(Exception):
    """A page that leads nowhere: what it says, with its address and status."""


@dataclass
class Field:
    tag: str
    name: str
    kind: str
    value: str
    checked: bool = False


@dataclass
class Form:
    method: str
    action: str
    fields: list[Field] = field(default_factory=list)

    def named(self, name: str) -> list[Field]:
        return [one for one in self.fields if one.name == name]


class _FormReader(HTMLParser):
    """Collects the forms of a page and its visible text."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.text: list[str] = []
        self._open: Form | None = None
        self._hidden = 0

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        if tag in ("style", "script", "head"):
            self._hidden += 1
        elif tag == "form":
            self._open = Form(values.get("method", "get").lower(), values.get("action", ""))
            self.forms.append(self._open)
        elif tag in ("input", "button", "select", "textarea") and self._open is not None:
            default = {"input": "text", "button": "submit"}.get(tag, tag)
            one = Field(tag, values.get("name", ""), values.get("type", default).lower(), values.get("value", ""))
            one.checked = "checked" in values
            self._open.fields.append(one)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("style", "script", "head"):
            self._hidden = max(0, self._hidden - 1)
        elif tag == "form":
            self._open = None

    def handle_data(self, data: str) -> None:
        if not self._hidden and data.strip():
            self.text.append(" ".join(data.split()))


def read_page(html: str) -> tuple[list[Form], str]:
    """The forms of a page, and its visible text on one line."""
    reader = _FormReader()
    reader.feed(html)
    return reader.forms, " ".join(reader.text)


@dataclass
class Person:
    """Who signs in: the organization they say they belong to, the address they type, what they decide."""

    email: str
    organization: str
    outbox: Outbox
    decision: str = "allow"


@dataclass
class Visit:
    """A page that was shown, for tests and for the step list."""

    url: str
    status: int
    text: str
    html: str
    headers: httpx.Headers


class Browser:
    """One browser profile with its cookies; follows redirects on loopback, and never leaves it."""

    MOST_PAGES = 15

    def __init__(self, person: Person, visited=None):
        self.person = person
        self.visits: list[Visit] = []
        self._visited = visited
        self.http = httpx.Client(timeout=20, trust_env=False, headers={"accept": "text/html", "user-agent": "demo"})

    def close(self) -> None:
        self.http.close()

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def authorize(self, url: str, redirect_uri: str) -> dict[str, str]:
        """Opens an authorization URL and goes through the pages, until the server redirects to `redirect_uri`.

        Returns the parameters of that redirect, which is not followed. Raises PageError at a dead end.
        """
        self._mails = len(self.person.outbox.messages(self.person.email))
        request = self.http.build_request("GET", url)
        for _ in range(self.MOST_PAGES):
            response = self.http.send(request)
            if response.is_redirect:
                target = urljoin(str(request.url), response.headers["location"])
                if target.split("?")[0].split("#")[0] == redirect_uri.split("?")[0]:
                    return dict(parse_qsl(urlsplit(target).query, keep_blank_values=True))
                if urlsplit(target).hostname not in ("localhost", "127.0.0.1", "::1"):
                    raise PageError(f"a redirect leads away from this machine: {target}")
                request = self.http.build_request("GET", target)
                continue
            request = self._answer(response)
        raise PageError(f"still no redirect after {self.MOST_PAGES} pages; the last was {request.url}")

    def _answer(self, response: httpx.Response) -> httpx.Request:
        """The submission of the page's form."""
        forms, text = read_page(response.text)
        visit = Visit(str(response.url), response.status_code, text, response.text, response.headers)
        self.visits.append(visit)
        if self._visited:
            self._visited(visit)
        known = {"organization", "email", "code", "decision"}
        candidates = [form for form in forms if form.method == "post"]
        candidates.sort(key=lambda form: not any(one.name in known for one in form.fields))
        # 422 is a page that says what was wrong with the last answer and asks again.
        if not candidates or (response.status_code >= 400 and response.status_code != 422):
            raise PageError(f"{response.url} answered {response.status_code}: {text[:400] or response.text[:200]}")
        form = candidates[0]
        page = urlsplit(str(response.url))
        return self.http.build_request(
            "POST",
            urljoin(str(response.url), form.action),
            data=self._filled(form, text, str(response.url)),
            # What every browser sends with a form, and what the server checks against cross-site requests.
            headers={"origin": f"{page.scheme}://{page.netloc}", "referer": str(response.url)},
        )

    def _filled(self, form: Form, text: str, url: str) -> dict[str, str | list[str]]:
        """The form's fields with the person's answers, as a browser would send them."""
        answers: dict[str, str | list[str]] = {}
        submits: list[Field] = []
        for one in form.fields:
            if not one.name and one.kind not in ("submit", "image"):
                continue
            if one.kind in ("submit", "image"):
                submits.append(one)
            elif one.kind in ("radio", "checkbox"):
                wanted = one.checked
                if one.kind == "radio" and one.name in ("organization", "decision"):
                    wanted = self._answer_to(one.name) in (one.value, None)
                if wanted and one.kind == "radio":
                    answers[one.name] = one.value
                elif wanted:
                    answers.setdefault(one.name, [])
                    answers[one.name].append(one.value or "on")  # type: ignore[union-attr]
            elif one.kind == "hidden":
                answers[one.name] = one.value
            else:
                answer = self._answer_to(one.name)
                if answer is None and not one.value:
                    raise PageError(f"{url} asks for {one.name!r}, which this person cannot answer: {text[:300]}")
                answers[one.name] = one.value if answer is None else answer
        # A button that says what the person decided or picks their organization; else the first one, as Enter does.
        choices = {"decision": self.person.decision, "organization": self.person.organization}
        pressed = next((one for one in submits if choices.get(one.name) == one.value), submits[0] if submits else None)
        if pressed is not None and pressed.name:
            answers[pressed.name] = pressed.value
        return answers

    def _answer_to(self, name: str) -> str | None:
        """What the person types into the field; None for a field they know nothing about."""
        if name == "organization":
            return self.person.organization
        if name == "email":
            return self.person.email
        if name == "decision":
            return self.person.decision
        if name == "code":
            code = self.person.outbox.await_code(self.person.email, beyond=self._mails)
            return re.sub(r"\s", "", code)
        return None
