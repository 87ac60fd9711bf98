"""A whole deployment for the client tests: PostgreSQL, Redis, two gatehouse nodes, the sandbox, demo MCP servers.

Everything is this run's own, in a temporary folder on free ports, so tests may kill any part of it. The executables
come from GATEHOUSE_TEST_BIN (a folder with `gatehouse` and `stytch-sandbox`; `ops/test` builds and sets it).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "ops" / "demo"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from described import Description  # noqa: E402
from document_host import Authority, DocumentHost  # noqa: E402
from evidence import Evidence  # noqa: E402
from gatehouse_demo.admin import Admin  # noqa: E402
from gatehouse_demo.pages import Person  # noqa: E402
from gatehouse_demo.sandbox import Outbox  # noqa: E402
from gatehouse_demo.stack import Ports, Process, Stack  # noqa: E402
from name_server import NameServer  # noqa: E402
from oauth import Issuer  # noqa: E402
from walk import Walk  # noqa: E402


def pytest_collection_modifyitems(config, items) -> None:
    """GATEHOUSE_TEST_PART=1/2 leaves the first of two halves of the files, alike in their number of tests."""
    part, _, parts = os.environ.get("GATEHOUSE_TEST_PART", "1/1").partition("/")
    files: dict[str, int] = {}
    for item in items:
        files[item.path.name] = files.get(item.path.name, 0) + 1
    # Few tests, and each of them long.
    files = {name: max(count, 40 if name in ("test_failures.py", "test_outages.py") else 0)
             for name, count in files.items()}
    loads = [0] * int(parts)
    mine = set()
    for name in sorted(files, key=lambda name: (-files[name], name)):
        lightest = loads.index(min(loads))
        loads[lightest] += files[name]
        if lightest == int(part) - 1:
            mine.add(name)
    # Judges the statements of all tests before it, so each half has it, and has it last.
    last = "test_walls.py"
    mine.add(last)
    items.sort(key=lambda item: item.path.name == last)
    left = [item for item in items if item.path.name not in mine]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item.path.name in mine]


def ops(command: str) -> str:
    """Runs a line of shell with ops/lib.sh loaded; returns what it printed."""
    script = f'set -euo pipefail\n. "{REPOSITORY}/ops/lib.sh"\n{command}\n'
    done = subprocess.run(["bash", "-c", script], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    assert done.returncode == 0, f"{command} failed"
    return done.stdout


@dataclass
class Servers:
    """PostgreSQL and Redis of this run, which tests may stop, kill and start again."""

    folder: Path
    postgres_port: int
    redis_port: int

    def start_postgres(self) -> None:
        ops(f'postgres_start "{self.folder}" {self.postgres_port} pg_stat_statements')

    def kill_postgres(self) -> None:
        """SIGKILL to the postmaster: its children notice and leave at once, as when a machine fails."""
        data = (self.folder / "postgres").resolve()
        pid = int((data / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        until = time.monotonic() + 20
        while self._postgres_children(data):
            assert time.monotonic() < until, "PostgreSQL's processes outlive their postmaster"
            time.sleep(0.05)

    @staticmethod
    def _postgres_children(data: Path) -> list[int]:
        """Processes still at work in the data folder: a new postmaster refuses to start beside them."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and Path(os.readlink(entry / "cwd")) == data:
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def stop_postgres(self) -> None:
        ops(f'postgres_stop "{self.folder}" fast')

    def start_redis(self) -> None:
        ops(f'redis_start "{self.folder}" {self.redis_port}')

    def stop_redis(self) -> None:
        ops(f'redis_stop "{self.folder}"')


@dataclass
class Deployment:
    """What the tests work with."""

    stack: Stack
    servers: Servers
    nodes: list[Process]
    organizations: dict[str, str]
    # Trusted by the nodes for what clients publish, and a host with its certificate.
    authority: Authority
    documents: DocumentHost
    # Asked by the nodes for the records that prove domains.
    names: NameServer

    @property
    def node_urls(self) -> list[str]:
        """Each gatehouse node's own address, for tests that aim at one; clients use `stack.url`."""
        return [f"http://127.0.0.1:{node.environment['GATEHOUSE_PORT']}" for node in self.nodes]

    def person(self, name: str, decision: str = "allow") -> Person:
        """alice and rita belong to acme, gus to globex; rita may only read."""
        organization = {"alice": "acme", "rita": "acme", "gus": "globex"}[name]
        return Person(f"{name}@{organization}.example", organization, Outbox(self.stack.sandbox_url), decision)

    def issuer(self, name: str) -> Issuer:
        """The platform's issuer, or an organization's, by name."""
        return {"platform": self.platform, "acme": self.acme, "globex": self.globex}[name]

    @property
    def platform(self) -> Issuer:
        return Issuer(self.stack.url, self.stack.shared_url)

    @property
    def acme(self) -> Issuer:
        return Issuer(f"{self.stack.url}/o/acme", self.stack.acme_url)

    @property
    def globex(self) -> Issuer:
        """Globex has no server of its own: its issuer answers for nothing but what a test adds."""
        return Issuer(f"{self.stack.url}/o/globex", self.stack.shared_url)


@pytest.fixture(scope="session")
def deployment():
    binaries = os.environ.get("GATEHOUSE_TEST_BIN")
    if not binaries:
        pytest.fail("GATEHOUSE_TEST_BIN is not set: run ./ops/test --only clients", pytrace=False)
    folder = Path(tempfile.mkdtemp(prefix="gatehouse-clients.", dir=os.environ.get("GATEHOUSE_TEST_FOLDER")))
    folder.chmod(0o755)   # PostgreSQL runs as another user and has to get through
    Admin.witnesses = [Description.of(Path(binaries) / "gatehouse").hold]
    ports = [int(port) for port in ops("free_ports 10").split()]
    servers = Servers(folder, ports[0], ports[1])
    stack = documents = names = None
    try:
        servers.start_postgres()
        servers.start_redis()
        lines = ops(f'database_environment "{folder}" {servers.postgres_port} gatehouse').splitlines()
        settings = dict(line.split("=", 1) for line in lines)
        os.environ["DATABASE_ADMIN_URL"] = settings.pop("DATABASE_ADMIN_URL")
        settings["REDIS_URL"] = f"redis://127.0.0.1:{servers.redis_port}"
        # Tests stand in for a proxy, so that each can be a source of its own (evidence.source).
        settings["GATEHOUSE_TRUSTED_PROXIES"] = "127.0.0.1"
        authority = Authority(folder)
        settings["GATEHOUSE_OUTBOUND_CA_FILE"] = str(authority.path)
        documents = DocumentHost(authority.context())
        names = NameServer()
        settings["GATEHOUSE_DNS_SERVERS"] = names.address
        # All tests together come from one address and misbehave on purpose; test_rate_limits.py has nodes of its own.
        for limit in ("AUTHORIZE_SOURCE", "REGISTER_SOURCE", "UNKNOWN_SOURCE", "USER_INFO_SOURCE", "FAILURES_CLIENT",
                      "FAILURES_SOURCE", "TOKEN_GRANT"):
            settings[f"GATEHOUSE_RATE_{limit}"] = "off"
        stack = Stack(Path(folder), Path(binaries), Ports(*ports[2:8]), settings)
        stack.migrate(create_roles=True)
        stack.start_sandbox()
        nodes = [stack.add_gatehouse(), stack.add_gatehouse("gatehouse-2", ports[8], ports[9])]
        organizations = stack.seed()
        stack.start_demo_servers()
        yield Deployment(stack, servers, nodes, organizations, authority, documents, names)
    finally:
        if stack:
            stack.stop()
        if documents:
            documents.close()
        if names:
            names.close()
        servers.stop_postgres()
        servers.stop_redis()
        data = (folder / "postgres").resolve()
        if not os.environ.get("GATEHOUSE_TEST_KEEP"):
            shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(data, ignore_errors=True)


@pytest.fixture(scope="module")
def browser(deployment):
    """alice, signed in once: further codes take her two clicks."""
    with Walk(deployment, deployment.person("alice")) as made:
        yield made


@pytest.fixture
def admin(deployment):
    with Admin(deployment.stack.url, deployment.stack.admin_key) as made:
        yield made


@pytest.fixture
def evidence(deployment, admin):
    return Evidence(deployment, admin)


@pytest.fixture
def http(deployment):
    with httpx.Client(timeout=15, trust_env=False, event_hooks={"response": list(Admin.witnesses)}) as made:
        yield made
