"""A node that speaks https for itself, under a certificate authority of the test's own."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import httpx
import trustme
from conftest import ops
from gatehouse_demo.stack import Process
from oauth import Issuer


@dataclass
class Secure:
    """A third node over the deployment's stores, whose public URL is https."""

    url: str
    authority: Path
    """The CA's certificate as PEM, for clients that take a file's name."""

    node: Process
    resource: str
    patience: int
    """Seconds a client may take to send a request."""

    @property
    def platform(self) -> Issuer:
        return Issuer(self.url, self.resource)

    def http(self) -> httpx.Client:
        return httpx.Client(verify=ssl.create_default_context(cafile=str(self.authority)), timeout=15, trust_env=False)


def start(deployment, proxy: str) -> Secure:
    """Starts it; it ends with the deployment. Its environment names `proxy` for everything it might call."""
    folder = deployment.stack.folder / "secure"
    folder.mkdir()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    for number, blob in enumerate(issued.cert_chain_pems):
        blob.write_to_path(folder / "certificate.pem", append=number > 0)
    port, internal = (int(one) for one in ops("free_ports 2").split())
    url = f"https://localhost:{port}"
    environment = deployment.stack.gatehouse_environment(port, internal) | {
        "GATEHOUSE_URL": url,
        "GATEHOUSE_TLS_CERT": str(folder / "certificate.pem"),
        "GATEHOUSE_TLS_KEY": str(folder / "key.pem"),
        "GATEHOUSE_STYTCH_ALLOW_TEST_PROJECTS": "true",
        "GATEHOUSE_CONNECTION_TIMEOUT_SECONDS": "2",
        **{name: proxy for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy")},
        "NO_PROXY": "", "no_proxy": "",
    }
    node = deployment.stack.process(
        "gatehouse-secure", [str(deployment.stack.products / "gatehouse"), "serve"], environment,
        deployment.nodes[0].directory)
    node.start()
    node.await_answer(f"http://127.0.0.1:{internal}/readyz")
    return Secure(url, folder / "authority.pem", node, deployment.stack.shared_url, patience=2)
