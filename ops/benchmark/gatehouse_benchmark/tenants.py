"""Ten thousand organizations with ten service clients each, and which of them speaks next.

Organizations are made through the admin API, since each has keys that are sealed for it; what belongs to them is copied
into the database.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import json
import os
import random
import secrets
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import httpx

ORGANIZATIONS = 10_000
CLIENTS_EACH = 10
DRAWN = 200_000
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"


def uuid_of(wire_id: str) -> str:
    """The UUID inside a TypeID."""
    number = 0
    for digit in wire_id.partition("_")[2]:
        number = number << 5 | _DIGITS.index(digit)
    text = f"{number:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def client_id_of(uuid: str) -> str:
    number = int(uuid.replace("-", ""), 16)
    return "cli_" + "".join(_DIGITS[number >> 5 * place & 31] for place in reversed(range(26)))


class Tenants:
    """Made once for a deployment; each draw is a file of rows for the load generator."""

    def __init__(self, url: str, admin_key: str, database_url: str, folder: Path):
        self.url, self.admin_key, self.database_url, self.folder = url, admin_key, database_url, folder
        self.secret = "gs_" + secrets.token_urlsafe(32)
        self.organizations: list[tuple[str, str]] = []   # slug and UUID
        self.clients: list[tuple[str, str]] = []          # slug and client id

    def make(self) -> None:
        local = threading.local()

        def create(number: int) -> tuple[str, str]:
            if not hasattr(local, "http"):
                local.http = httpx.Client(
                    base_url=self.url, headers={"authorization": f"Bearer {self.admin_key}"}, timeout=60,
                    trust_env=False,
                )
            slug = f"bench-{number:05d}"
            reply = local.http.post("/v1/organizations", json={"slug": slug, "name": f"Bench {number}"})
            reply.raise_for_status()
            return slug, uuid_of(reply.json()["id"])

        with ThreadPoolExecutor(8) as threads:
            self.organizations = list(threads.map(create, range(ORGANIZATIONS)))
        digest = hashlib.sha256(self.secret.encode()).hexdigest()
        scopes = json.dumps([{"name": name, "description": name} for name in ("read", "write")])
        resources, routes, clients, policies = [], [], [], []
        for slug, organization in self.organizations:
            uri = f"https://{slug}.example/mcp"
            resource = self._uuid()
            resources.append((organization, resource, uri))
            routes.append((uri, organization, resource))
            own = [self._uuid() for _ in range(CLIENTS_EACH)]
            clients += [(organization, client) for client in own]
            names = [client_id_of(client) for client in own]
            self.clients += [(slug, name) for name in names]
            policies.append((organization, self._uuid(), json.dumps({"services": names})))
        self._copy("bench_resource (organization_id uuid, id uuid, uri text)", resources)
        self._copy("bench_route (uri text, organization_id uuid, id uuid)", routes)
        self._copy("bench_client (organization_id uuid, id uuid)", clients)
        self._copy("bench_policy (organization_id uuid, id uuid, principals jsonb)", policies)
        self._sql(f"""
            INSERT INTO resource (organization_id, id, uri, name, scopes, scope_implications, algorithm,
                    access_token_lifetime_seconds, accepted_issuers, listed, status, created_at, updated_at)
                SELECT organization_id, id, uri, uri, '{scopes}', '{{"write": ["read"]}}', 'ES256', 600,
                    ARRAY[organization_id], false, 'active', now(), now() FROM bench_resource;
            INSERT INTO resource_route SELECT uri, organization_id, id FROM bench_route;
            INSERT INTO client (organization_id, id, kind, name, redirect_uris, grant_types, response_types,
                    token_endpoint_auth_method, secret_digest, status, created_at, updated_at)
                SELECT organization_id, id, 'service', 'Bench', '{{}}', '{{client_credentials}}', '{{}}',
                    'client_secret_post', decode('{digest}', 'hex'), 'active', now(), now() FROM bench_client;
            INSERT INTO scope_policy (organization_id, id, name, effect, principals, clients, resources, scopes,
                    conditions, created_at, updated_at)
                SELECT organization_id, id, 'bench', 'allow', principals, '{{}}', '{{}}', '{{read,write}}', '{{}}',
                    now(), now() FROM bench_policy;
            UPDATE epoch SET value = value + 1, changed_at = now();
            DROP TABLE bench_resource, bench_route, bench_client, bench_policy;
            ANALYZE;
        """)
        self._warm()

    def _warm(self) -> None:
        """One token of every client, so that what is measured is not the first meeting."""
        local = threading.local()

        def ask(client: tuple[str, str]) -> None:
            if not hasattr(local, "http"):
                local.http = httpx.Client(base_url=self.url, timeout=60, trust_env=False)
            slug, client_id = client
            body = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": self.secret}
            local.http.post(f"/o/{slug}/oauth/token", data=body).raise_for_status()

        with ThreadPoolExecutor(8) as threads:
            for _ in threads.map(ask, self.clients):
                pass

    def rows(self, exponent: float) -> Path:
        """Clients in the order they speak: by Zipf's law with this exponent, 0 for all alike."""
        path = self.folder / f"clients-{exponent}.rows"
        if not path.exists():
            draw = random.Random(8)   # the same order in every run
            ranked = self.clients[:]
            draw.shuffle(ranked)
            sums = list(itertools.accumulate(1 / rank**exponent for rank in range(1, len(ranked) + 1)))
            path.touch(mode=0o600)
            with path.open("w") as file:
                for _ in range(DRAWN):
                    slug, client = ranked[min(bisect.bisect(sums, draw.random() * sums[-1]), len(ranked) - 1)]
                    file.write(f"/o/{slug}\t{client}\t{quote(f'https://{slug}.example/mcp', safe='')}\n")
        return path

    @staticmethod
    def _uuid() -> str:
        bits = bytearray(os.urandom(16))
        bits[6] = 0x70 | bits[6] & 0x0F
        bits[8] = 0x80 | bits[8] & 0x3F
        # Version 7 begins with the time; any will do.
        bits[0:6] = (0x019A_0000_0000).to_bytes(6, "big")
        text = bits.hex()
        return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))

    def _copy(self, table: str, rows: list[tuple[str, ...]]) -> None:
        path = self.folder / "copy.tsv"
        path.touch(mode=0o600)
        with path.open("w") as file:
            for row in rows:
                file.write("\t".join(row) + "\n")
        name = table.partition(" ")[0]
        self._sql(f"CREATE UNLOGGED TABLE {table};\n\\copy {name} FROM '{path}'\n")
        path.unlink()

    def _sql(self, script: str) -> None:
        subprocess.run(
            ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", self.database_url], input=script, text=True, check=True,
            capture_output=True,
        )
