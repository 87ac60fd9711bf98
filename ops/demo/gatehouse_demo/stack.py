"""The processes of one local deployment: Stytch sandbox, gatehouse, demo MCP servers.

PostgreSQL and Redis are started by the scripts in `ops/` (see `ops/lib.sh`); here are the processes above them.
Run as a module it is the lower half of `ops/run`.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from . import sandbox
from .admin import Admin, AdminError
from .seed import Resources, seed

OPS = Path(__file__).resolve().parents[2]
LAUNCHER = OPS / "fastmcp" / "launcher.py"
SERVERS = OPS / "demo" / "servers"

DATABASE_KEYS = ("DATABASE_URL", "DATABASE_OWNER_URL", "DATABASE_SEQUENCER_URL")


class StartError(Exception):
    """A process did not come up: which one, and the end of its log."""


@dataclass
class Process:
    """One child process with its log; it dies with this Python (setpriv --pdeathsig)."""

    name: str
    command: list[str]
    environment: dict[str, str]
    log: Path
    directory: Path
    child: subprocess.Popen | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", "--", *self.command],
                env=self.environment,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,   # a Ctrl-C in the terminal reaches this Python, which stops things in order
            )

    @property
    def running(self) -> bool:
        return self.child is not None and self.child.poll() is None

    @property
    def obituary(self) -> str:
        return f"{self.name} ended with status {self.child and self.child.returncode}:\n{self.tail()}"

    def await_answer(self, url: str, within: float = 60.0) -> None:
        """Waits until `url` answers with a status below 500. Raises StartError when the process dies or time is up."""
        until = time.monotonic() + within
        while time.monotonic() < until:
            if not self.running:
                raise StartError(self.obituary)
            try:
                if httpx.get(url, timeout=2, trust_env=False).status_code < 500:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise StartError(f"{self.name} did not answer at {url} within {within:.0f} s:\n{self.tail()}")

    def signal(self, number: int) -> None:
        if self.running and self.child:
            self.child.send_signal(number)

    def stop(self, within: float = 15.0) -> None:
        """SIGTERM, and SIGKILL for one that takes no notice."""
        self.signal(signal.SIGTERM)
        if self.child:
            try:
                self.child.wait(within)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """SIGKILL: no drain, no goodbye."""
        self.signal(signal.SIGKILL)
        if self.child:
            self.child.wait()

    def tail(self, lines: int = 20) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


@dataclass
class Ports:
    """Where each process listens on loopback."""

    gatehouse: int = 8001
    internal: int = 9464
    plain: int = 8000
    shared: int = 8002
    acme: int = 8003
    sandbox: int = 8004


@dataclass
class Stack:
    """One deployment in `folder`, with the executables of `products`.

    `settings` holds the database and Redis URLs, and any further GATEHOUSE_* for the server.
    """

    folder: Path
    products: Path
    ports: Ports
    settings: dict[str, str]
    processes: list[Process] = field(default_factory=list)
    admin_key: str = ""

    def __post_init__(self) -> None:
        self.folder = self.folder.absolute()
        self.url = f"http://localhost:{self.ports.gatehouse}"
        self.internal_url = f"http://localhost:{self.ports.internal}"
        self.sandbox_url = f"http://127.0.0.1:{self.ports.sandbox}"
        self.plain_url = f"http://localhost:{self.ports.plain}/mcp"
        self.shared_url = f"http://localhost:{self.ports.shared}/mcp"
        self.acme_url = f"http://localhost:{self.ports.acme}/mcp"
        self.logs = self.folder / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)

    # ---- Parts -----------------------------------------------------------------------------------------------

    def base_environment(self) -> dict[str, str]:
        """What every child sees of this process's environment: nothing that could change what it does."""
        kept = (
            *("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"),
            *("LD_LIBRARY_PATH", "SWIFT_BACKTRACE", "PYTHONDONTWRITEBYTECODE"),
        )
        return {name: os.environ[name] for name in kept if name in os.environ}

    def gatehouse_environment(self, port: int | None = None, internal_port: int | None = None) -> dict[str, str]:
        """The environment of a gatehouse process. Several nodes have one public URL and ports of their own."""
        return {
            **self.base_environment(),
            "GATEHOUSE_URL": self.url,
            "GATEHOUSE_HOST": "127.0.0.1",
            "GATEHOUSE_PORT": str(port or self.ports.gatehouse),
            "GATEHOUSE_INTERNAL_PORT": str(internal_port or self.ports.internal),
            "GATEHOUSE_MASTER_KEY_FILE": str(self.master_key()),
            "GATEHOUSE_STYTCH_BASE_URL": self.sandbox_url,
            "GATEHOUSE_LOG_FORMAT": "text",
            **self.settings,
        }

    def master_key(self) -> Path:
        """The master key's file: 32 random bytes in hexadecimal, made on first use."""
        path = self.folder / "master.key"
        if not path.exists():
            self.write_secret(path, os.urandom(32).hex() + "\n")
        return path

    def plain_keys(self) -> tuple[Path, str]:
        """The plain server's RSA key pair: the private half's file and the public half as PEM. Made on first use."""
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import rsa

        path = self.folder / "plain-private-key.pem"
        if not path.exists():
            made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            pem = made.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            self.write_secret(path, pem.decode())
        key = serialization.load_pem_private_key(path.read_bytes(), None)
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return path, public.decode()

    @staticmethod
    def write_secret(path: Path, text: str) -> None:
        """Writes a file that only this user can read, whole or not at all."""
        partial = path.with_name(path.name + ".partial")
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
        partial.rename(path)

    def command(self, *arguments: str, owner: bool = False) -> str:
        """Runs a gatehouse subcommand to its end and returns what it printed. Raises StartError when it fails."""
        environment = self.gatehouse_environment()
        if owner and "DATABASE_ADMIN_URL" in os.environ:
            environment["DATABASE_ADMIN_URL"] = os.environ["DATABASE_ADMIN_URL"]
        done = subprocess.run(
            [str(self.products / "gatehouse"), *arguments],
            env=environment,
            cwd=OPS.parent,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        if done.returncode != 0:
            raise StartError(f"gatehouse {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
        return done.stdout

    def process(self, name: str, command: list[str], environment: dict[str, str], directory: Path) -> Process:
        made = Process(name, command, environment, self.logs / f"{name}.log", directory)
        self.processes.append(made)
        return made

    # ---- Starting, in this order -----------------------------------------------------------------------------

    def migrate(self, create_roles: bool) -> None:
        """Brings the schema up to date; with `create_roles` the database's three roles first."""
        self.command("migrate", *(["--create-roles"] if create_roles else []), owner=True)

    def start_sandbox(self) -> Process:
        projects = self.folder / "sandbox-projects.json"
        sandbox.write_projects(projects)
        process = self.process(
            "stytch-sandbox",
            [
                str(self.products / "stytch-sandbox"),
                "--port",
                str(self.ports.sandbox),
                "--projects",
                str(projects),
            ],
            self.base_environment(),
            self.folder,
        )
        process.start()
        process.await_answer(f"{self.sandbox_url}/__test/outbox?email=nobody@acme.example")
        return process

    def add_gatehouse(
        self, name: str = "gatehouse", port: int | None = None, internal_port: int | None = None, **settings: str
    ) -> Process:
        """A gatehouse node, started and ready; `settings` are its own, over the deployment's."""
        process = self.process(
            name,
            [str(self.products / "gatehouse"), "serve"],
            self.gatehouse_environment(port, internal_port) | settings,
            OPS.parent,
        )
        self.start_gatehouse(process)
        return process

    def start_gatehouse(self, process: Process, within: float = 60.0) -> None:
        process.start()
        for port, path in (("GATEHOUSE_INTERNAL_PORT", "readyz"), ("GATEHOUSE_PORT", "oauth/jwks")):
            process.await_answer(f"http://127.0.0.1:{process.environment[port]}/{path}", within)

    def find_admin_key(self) -> str:
        """A platform admin key that works: the one of an earlier start, else a new one from `gatehouse bootstrap`."""
        path = self.folder / "admin.key"
        if path.exists():
            key = path.read_text().strip()
            with Admin(self.url, key) as admin:
                if admin.send("GET", "/v1/organizations?limit=1").is_success:
                    return key
        printed = self.command("bootstrap", "--platform-admin-key", "ops-run")
        match = re.search(r"GATEHOUSE_ADMIN_KEY=(\S+)", printed)
        if not match:
            raise StartError(f"gatehouse bootstrap printed no GATEHOUSE_ADMIN_KEY=…:\n{printed[-500:]}")
        self.write_secret(path, match[1] + "\n")
        return match[1]

    def seed(self) -> dict[str, str]:
        """The demo organizations; returns their ids by slug."""
        self.admin_key = self.find_admin_key()
        private_key, _ = self.plain_keys()
        with Admin(self.url, self.admin_key) as admin:
            return seed(admin, Resources(self.shared_url, self.acme_url, self.plain_url, private_key))

    def start_demo_servers(self) -> None:
        """The three MCP servers; ready when each answers."""
        _, public_key = self.plain_keys()
        plain = self.process(
            "demo-plain",
            [
                *(sys.executable, str(LAUNCHER), "--import", "plain:mcp", "--port", str(self.ports.plain)),
                *("--issuer", self.url, "--resource-url", self.plain_url, "--scope", "read write"),
            ],
            {**self.base_environment(), "PUBLIC_KEY_PEM": public_key},
            SERVERS,
        )
        noted = [(plain, self.plain_url)]
        for name, port, issuer, url in (
            ("demo-shared", self.ports.shared, self.url, self.shared_url),
            ("demo-acme", self.ports.acme, f"{self.url}/o/acme", self.acme_url),
        ):
            command = [sys.executable, str(SERVERS / "server.py"), "--port", str(port)]
            command += ["--issuer", issuer, "--resource-url", url]
            noted.append((self.process(name, command, self.base_environment(), SERVERS), url))
        for process, _ in noted:
            process.start()
        for process, url in noted:
            process.await_answer(url)

    def environment(self) -> dict[str, str]:
        """What a script needs to know of this deployment: the content of `.gatehouse/env`."""
        private_key, _ = self.plain_keys()
        return {
            "GATEHOUSE_URL": self.url,
            "GATEHOUSE_INTERNAL_URL": self.internal_url,
            "GATEHOUSE_ADMIN_KEY": self.admin_key,
            "DEMO_MCP_URL": self.shared_url,
            "DEMO_MCP_URL_ACME": self.acme_url,
            "DEMO_MCP_URL_PLAIN": self.plain_url,
            "DEMO_PLAIN_PRIVATE_KEY": str(private_key),
            "STYTCH_SANDBOX_URL": self.sandbox_url,
            "DEMO_USER_ACME": "alice@acme.example",
            "DEMO_READER_ACME": "rita@acme.example",
            "DEMO_USER_GLOBEX": "gus@globex.example",
            **{name: value for name, value in self.settings.items() if name in (*DATABASE_KEYS, "REDIS_URL")},
        }

    def stop(self) -> None:
        """Ends every process, the latest first."""
        for process in reversed(self.processes):
            process.signal(signal.SIGTERM)
        for process in reversed(self.processes):
            process.stop()


def load_environment(path: Path) -> dict[str, str]:
    """The KEY=value lines of a file such as `.gatehouse/env`."""
    pairs = (line.partition("=") for line in path.read_text().splitlines() if "=" in line and line[:1] != "#")
    return {name: value for name, _, value in pairs}


def main() -> None:
    parser = argparse.ArgumentParser(description="Starts the demo deployment above PostgreSQL and Redis (see ops/run).")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--products", type=Path, required=True)
    parser.add_argument("--create-roles", action="store_true")
    options = parser.parse_args()
    ports = Ports(
        **{name: int(os.environ[f"DEMO_PORT_{name.upper()}"]) for name in ("plain", "shared", "acme", "sandbox")
           if f"DEMO_PORT_{name.upper()}" in os.environ},
        gatehouse=int(os.environ.get("GATEHOUSE_PORT", 8001)),
        internal=int(os.environ.get("GATEHOUSE_INTERNAL_PORT", 9464)),
    )
    taken = (*DATABASE_KEYS, "REDIS_URL", "GATEHOUSE_LOG_FORMAT", "GATEHOUSE_LOG_LEVEL")
    settings = {name: os.environ[name] for name in taken if name in os.environ}
    stack = Stack(options.folder, options.products, ports, settings)

    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    try:
        started = time.monotonic()
        steps = [
            ("migrating the database", lambda: stack.migrate(options.create_roles)),
            ("starting the Stytch sandbox", stack.start_sandbox),
            ("starting gatehouse", stack.add_gatehouse),
            ("seeding the organizations acme and globex", stack.seed),
            ("starting three demo MCP servers", stack.start_demo_servers),
        ]
        for said, step in steps:
            print(f"[{time.monotonic() - started:4.0f}s] {said}", file=sys.stderr, flush=True)
            step()
            if stopping.is_set():
                return
        lines = [f"{name}={value}" for name, value in stack.environment().items()]
        stack.write_secret(stack.folder / "env", "\n".join(lines) + "\n")
        print(summary(stack), flush=True)
        while not stopping.wait(0.5):
            dead = next((process for process in stack.processes if not process.running), None)
            if dead:
                raise StartError(dead.obituary)
    except (StartError, AdminError, OSError, httpx.HTTPError) as failure:
        sys.exit(f"ops/run: {failure}\nLogs: {stack.logs}")
    finally:
        print("stopping", file=sys.stderr, flush=True)
        stack.stop()


def summary(stack: Stack) -> str:
    return f"""
Gatehouse runs.
  issuer            {stack.url}            (platform; organizations: {stack.url}/o/acme, …/o/globex)
  admin API         {stack.url}/v1         key: {stack.admin_key}
  health, metrics   {stack.internal_url}/readyz, /metrics
  mail of Stytch    {stack.sandbox_url}/__test/outbox?email=alice@acme.example
  MCP servers       {stack.shared_url}  shared by both organizations, platform issuer
                    {stack.acme_url}  owned by acme, organization issuer
                    {stack.plain_url}  an unmodified server under ops/fastmcp/launcher.py
  logs              {stack.logs}
  everything a script needs: {stack.folder / 'env'}

Next: ./ops/demo/connect    connects to all three as ChatGPT does and calls their tools
      ./ops/stop            ends it; data stays (./ops/run --fresh starts empty)
"""


if __name__ == "__main__":
    main()
