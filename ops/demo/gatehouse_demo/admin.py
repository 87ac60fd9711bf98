"""A small client of Gatehouse's admin API (`/v1`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx


class AdminError(Exception):
    """The admin API refused: `status`, and the problem document (RFC 9457) as far as there is one."""

    def __init__(self, method: str, path: str, response: httpx.Response):
        try:
            self.problem: dict[str, Any] = response.json()
        except ValueError:
            self.problem = {"detail": response.text[:300]}
        self.status = response.status_code
        self.headers = response.headers
        said = self.problem.get("detail") or self.problem.get("title") or "no detail"
        for error in self.problem.get("errors") or []:
            said += f"; {error.get('pointer', '')}: {error.get('detail') or error.get('code')}"
        super().__init__(f"{method} {path} answered {self.status}: {said}")


class Admin:
    """The admin API under `url` with one admin key. Safe for use by several threads."""

    # Called with every reply; tests hold replies against the API's description of itself.
    witnesses: list[Callable[[httpx.Response], None]] = []

    def __init__(self, url: str, key: str, timeout: float = 15.0):
        self._http = httpx.Client(
            base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=timeout, trust_env=False,
            event_hooks={"response": list(self.witnesses)},
        )

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Admin:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> httpx.Response:
        """The reply as it came, refusals included."""
        return self._http.request(method, path, json=body, headers=headers)

    def call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        """The decoded reply; None when it is empty. Raises AdminError for anything but 2xx."""
        response = self.send(method, path, body, headers)
        if not response.is_success:
            raise AdminError(method, path, response)
        return response.json() if response.content else None

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def post(self, path: str, body: Any = None) -> Any:
        return self.call("POST", path, {} if body is None else body)

    def list(self, path: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        """Every row of a collection, page by page."""
        cursor = None
        while True:
            query = {"limit": 200, **parameters, **({"cursor": cursor} if cursor else {})}
            page = self.call("GET", f"{path}?{httpx.QueryParams(query)}")
            yield from page["data"]
            cursor = page.get("next_cursor")
            if not page.get("has_more") or not cursor:
                return

    def ensure(self, path: str, body: dict[str, Any], *, same: tuple[str, ...]) -> dict[str, Any]:
        """The row of the collection that agrees with `body` in the members `same`; made when there is none."""

        def found() -> dict[str, Any] | None:
            rows = self.list(path)
            return next((row for row in rows if all(row.get(name) == body.get(name) for name in same)), None)

        row = found()
        if row is not None:
            return row
        try:
            return self.post(path, body)
        except AdminError as refusal:
            if refusal.status != 409:
                raise
            row = found()
            if row is None:
                raise
            return row

    def events(self, organization: str, *, since: float = 0.0) -> list[dict[str, Any]]:
        """The organization's audit events not older than `since` (seconds since 1970), oldest first."""
        rows = [row.get("event", row) for row in self.list(f"/v1/organizations/{organization}/audit/events")]
        wanted = [row for row in rows if _seconds(row["time"]) >= since]
        return sorted(wanted, key=lambda row: row.get("seq", 0))

    def await_events(
        self, organization: str, accept: Any, *, since: float = 0.0, within: float = 10.0
    ) -> list[dict[str, Any]]:
        """The events since `since` as soon as `accept(events)` holds; the last look's when time runs out.

        An event is committed with the change it records and gets its place in the log a moment later.
        """
        until = time.monotonic() + within
        while True:
            events = self.events(organization, since=since)
            if accept(events) or time.monotonic() >= until:
                return events
            time.sleep(0.1)


def _seconds(timestamp: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp()
