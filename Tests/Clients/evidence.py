"""What a request left behind: rows in PostgreSQL, keys in Redis, events in the audit log."""

from __future__ import annotations

import itertools
import os
import subprocess
import time
import uuid
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone

import httpx

_sources = itertools.count(1)


def sized(short: int, full: int) -> int:
    """How many: `short` in ./ops/test, `full` where GATEHOUSE_FULL_SIZES says so, as ops/proof does."""
    return full if os.environ.get("GATEHOUSE_FULL_SIZES") else short


def source() -> dict[str, str]:
    """Headers of a caller nobody has seen: of one address, only the first ten refusals are events of their own."""
    number = next(_sources)
    return {"x-forwarded-for": f"198.{18 + number // 62500}.{number // 250 % 250}.{number % 250 + 1}"}


ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def uuid_of(identifier: str) -> uuid.UUID:
    """The UUID within an id on the wire (TypeID)."""
    number = 0
    for letter in identifier.split("_")[1]:
        number = number * 32 + ALPHABET.index(letter)
    return uuid.UUID(int=number)


class Evidence:
    """Looks into the stores of one deployment past its API, and into its logs through it."""

    TABLES = ("client", "client_admission", "consent", '"grant"', "redeemed_code", "session", "identity", '"user"')

    def __init__(self, deployment, admin):
        self.deployment = deployment
        self.admin = admin

    def sql(self, statement: str) -> str:
        """What a superuser reads, who is under no tenant's policy: one line per row, columns separated by `|`."""
        done = subprocess.run(
            ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", os.environ["DATABASE_ADMIN_URL"], "-c", statement],
            capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def redis(self, *command: str) -> list[str]:
        done = subprocess.run(
            ["redis-cli", "-h", "127.0.0.1", "-p", str(self.deployment.servers.redis_port), *command],
            capture_output=True, text=True, errors="replace", timeout=30, stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def _state(self) -> tuple[str, set[str]]:
        counts = ", ".join(f"(SELECT count(*) FROM {table})" for table in self.TABLES)
        keys = {key for key in self.redis("--scan") if key.endswith((":transaction", ":code"))}
        return self.sql(f"SELECT {counts}"), keys

    @contextmanager
    def no_rows_stored(self):
        """Within, no row is added or taken in any table but those of the log."""
        rows, _ = self._state()
        yield
        rows_after, _ = self._state()
        assert rows_after == rows, f"{self.TABLES}: {rows} became {rows_after}"

    @contextmanager
    def nothing_stored(self):
        """The same, and no sign-in or code comes into being either."""
        with self.no_rows_stored():
            _, keys = self._state()
            yield
            _, keys_after = self._state()
            assert not keys_after - keys

    def events(self, organization: str | None, seconds: float = 60, **filters: str) -> list[dict]:
        """The newest events of an organization's log, or of the platform's."""
        base = f"/v1/organizations/{organization}" if organization else "/v1"
        since = datetime.now(timezone.utc) - timedelta(seconds=seconds)
        rows = self.admin.list(f"{base}/audit/events", **{"from": since.strftime("%Y-%m-%dT%H:%M:%S.000Z")}, **filters)
        return [row["event"] for row in rows]

    def of(
        self, replies: httpx.Response | list[httpx.Response], organization: str | None = None, within: float = 10,
        each: int = 1, **filters: str,
    ) -> list[dict]:
        """The events of these very requests, in the order of the requests, as soon as each has one, or so many."""
        replies = [replies] if isinstance(replies, httpx.Response) else replies
        wanted = [reply.headers["request-id"] for reply in replies]
        until = time.monotonic() + within
        while True:
            found: dict[str, list[dict]] = {}
            for event in self.events(organization, **filters):
                found.setdefault(event.get("request", {}).get("id", ""), []).append(event)
            missing = [one for one in wanted if len(found.get(one, [])) < each]
            if not missing or time.monotonic() > until:
                lost = [str(reply.request.url)[-200:] for reply in replies if reply.headers["request-id"] in missing]
                assert not missing, f"no event {filters} of {len(missing)} requests: {lost[:5]}"
                return [event for one in wanted for event in found[one]]
            time.sleep(0.1)
