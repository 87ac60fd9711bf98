"""The Stytch sandbox as the demonstration uses it: its projects, and the mail it "sent"."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

ACME = {
    "project_id": "project-test-acme",
    "secret": "secret-test-acme",
    "organization_id": "organization-test-acme",
}
GLOBEX = {"project_id": "project-test-globex", "secret": "secret-test-globex"}


def write_projects(path: Path) -> None:
    """Writes the sandbox's projects: acme's is of Stytch's B2B kind, globex's of the consumer kind.

    People have fixed ids, because the sandbox forgets at every start and gatehouse does not.
    """
    acme = {
        "vertical": "b2b",
        "project_id": ACME["project_id"],
        "secret": ACME["secret"],
        "limit_sends": False,
        "organizations": [
            {
                "organization_id": ACME["organization_id"],
                "organization_name": "Acme",
                "organization_slug": "acme",
                "members": [
                    {
                        "member_id": f"member-test-{name.lower()}",
                        "email_address": f"{name.lower()}@acme.example",
                        "name": name,
                        "status": "active",
                    }
                    for name in ("Alice", "Rita")
                ],
            }
        ],
    }
    globex = {
        "vertical": "consumer",
        "project_id": GLOBEX["project_id"],
        "secret": GLOBEX["secret"],
        "limit_sends": False,
        "users": [{"user_id": "user-test-gus", "email": "gus@globex.example", "name": {"first_name": "Gus"}}],
    }
    path.write_text(json.dumps({"projects": [acme, globex]}, indent=2) + "\n")


@dataclass
class Outbox:
    """The mail that the sandbox would have sent (`GET /__test/outbox`)."""

    url: str

    def messages(self, email: str) -> list[dict[str, str]]:
        """What was sent to the address, newest first."""
        reply = httpx.get(f"{self.url}/__test/outbox", params={"email": email}, timeout=10, trust_env=False)
        reply.raise_for_status()
        return reply.json()

    def await_code(self, email: str, beyond: int, within: float = 10.0) -> str:
        """The code of the newest message to the address, once there are more than `beyond` messages."""
        until = time.monotonic() + within
        while time.monotonic() < until:
            messages = self.messages(email)
            if len(messages) > beyond:
                code = next((message["code"] for message in messages if message.get("code")), None)
                if code:
                    return code
            time.sleep(0.05)
        raise TimeoutError(f"no mail with a code reached {email} within {within:.0f} s")
