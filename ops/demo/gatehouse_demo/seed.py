"""Makes the two demo organizations through the admin API, as any operator would. Running it again changes nothing.

    python -m gatehouse_demo.seed      with GATEHOUSE_URL, GATEHOUSE_ADMIN_KEY and DEMO_* of .gatehouse/env
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import sandbox
from .admin import Admin

USERS = {
    "acme": [("alice@acme.example", "Alice"), ("rita@acme.example", "Rita")],
    "globex": [("gus@globex.example", "Gus")],
}
WRITERS = {"acme": ["alice@acme.example"], "globex": ["gus@globex.example"]}


@dataclass
class Resources:
    """The MCP servers to register, by URL, and the key with which `plain` has always checked its tokens."""

    shared: str
    acme: str
    plain: str
    plain_private_key: Path


def resource_body(uri: str, name: str, algorithm: str, **more: Any) -> dict[str, Any]:
    return {
        "uri": uri,
        "name": name,
        "scopes": [
            {"name": "read", "description": "Read notes"},
            {"name": "write", "description": "Write and change notes"},
        ],
        "scope_implications": {"write": ["read"]},
        "algorithm": algorithm,
        "listed": True,
        **more,
    }


def seed(admin: Admin, resources: Resources) -> dict[str, str]:
    """Brings both organizations into being; returns their ids by slug."""
    shared = admin.ensure(
        "/v1/resources", resource_body(resources.shared, "Shared demo notes", "ES256"), same=("uri",)
    )
    # This server checks nothing but a signature, so it cannot tell organizations apart; that has to be said.
    plain = admin.ensure(
        "/v1/resources",
        resource_body(resources.plain, "Plain notes", "RS256", tenant_unaware=True, dedicated_key=True),
        same=("uri",),
    )
    import_key(admin, plain["id"], resources.plain_private_key)

    organizations = {}
    for slug, name in (("acme", "Acme"), ("globex", "Globex")):
        organization = admin.ensure("/v1/organizations", {"slug": slug, "name": name}, same=("slug",))
        organizations[slug] = organization["id"]
        seed_organization(admin, organization["id"], slug, [shared["id"], plain["id"]])
    admin.ensure(
        f"/v1/organizations/{organizations['acme']}/resources",
        resource_body(resources.acme, "Acme's demo notes", "ES256"),
        same=("uri",),
    )
    return organizations


def seed_organization(admin: Admin, organization: str, slug: str, shared: list[str]) -> None:
    base = f"/v1/organizations/{organization}"
    domain = f"{slug}.example"
    row = admin.ensure(f"{base}/domains", {"domain": domain}, same=("domain",))
    if not row.get("verified_at"):
        admin.post(f"{base}/domains/{domain}:verify")

    upstream = {"acme": sandbox.ACME, "globex": sandbox.GLOBEX}[slug]
    admin.ensure(
        f"{base}/identity-providers",
        {
            "kind": "stytch_b2b" if "organization_id" in upstream else "stytch_consumer",
            "name": f"{slug.title()} sign-in",
            "authoritative_domains": [domain],
            **upstream,
        },
        same=("name",),
    )
    users = {
        email: admin.ensure(f"{base}/users", {"email": email, "name": name}, same=("email",))["id"]
        for email, name in USERS[slug]
    }
    for resource in shared:
        admin.post(f"{base}/resources/{resource}:enable")
    # A new organization lets everyone `read`; these people may write as well.
    admin.ensure(
        f"{base}/scope-policies",
        {
            "name": "writers",
            "effect": "allow",
            "principals": {"users": [users[email] for email in WRITERS[slug]]},
            "scopes": ["write"],
        },
        same=("name",),
    )


def import_key(admin: Admin, resource: str, private_key: Path) -> None:
    """Gives the resource the key pair whose public half its server already has."""
    if any(resource in key.values() for key in admin.list("/v1/signing-keys")):
        return
    body = {"purpose": "access", "resource": resource, "private_key": private_key.read_text()}
    response = admin.send("POST", "/v1/signing-keys", body)
    if response.status_code != 409:   # 409: this very key pair is here already
        response.raise_for_status()


def main() -> None:
    environment = os.environ
    with Admin(environment["GATEHOUSE_URL"], environment["GATEHOUSE_ADMIN_KEY"]) as admin:
        organizations = seed(
            admin,
            Resources(
                shared=environment["DEMO_MCP_URL"],
                acme=environment["DEMO_MCP_URL_ACME"],
                plain=environment["DEMO_MCP_URL_PLAIN"],
                plain_private_key=Path(environment["DEMO_PLAIN_PRIVATE_KEY"]),
            ),
        )
    for slug, organization in organizations.items():
        print(f"{slug} {organization}")


if __name__ == "__main__":
    main()
