"""`gatehouse bootstrap` with the settings of an existing server: one organization that works, its token checks unchanged."""

from __future__ import annotations

import subprocess
import time
import uuid

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from gatehouse_demo.admin import Admin
from gatehouse_demo.pages import Browser, Person
from gatehouse_demo.sandbox import Outbox
from oauth import REDIRECT_URI, Issuer

RESOURCE = "http://localhost:8000/mcp"


@pytest.fixture(scope="module")
def existing(deployment):
    """What the environment of the existing server holds, and its private key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    project = {"project_id": f"project-test-{uuid.uuid4()}", "secret": f"secret-test-{uuid.uuid4()}"}
    reply = httpx.post(f"{deployment.stack.sandbox_url}/__test/projects", json={"vertical": "consumer", **project})
    assert reply.is_success, reply.text
    return project, public, private


def bootstrap(deployment, project, public) -> str:
    environment = deployment.stack.gatehouse_environment()
    del environment["GATEHOUSE_URL"]
    environment |= {
        "OAUTH_BASE_URL": deployment.stack.url,
        "OAUTH_PORT": "8001",
        "STYTCH_PROJECT_ID": project["project_id"],
        "STYTCH_SECRET": project["secret"],
        "STYTCH_PUBLIC_TOKEN": "public-token-test-1",
        "STYTCH_ENVIRONMENT": "test",
        "PUBLIC_KEY_PEM": public,
    }
    done = subprocess.run(
        [str(deployment.stack.products / "gatehouse"), "bootstrap"],
        env=environment, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_bootstrap_makes_one_organization_that_issues_once_its_key_is_whole(deployment, existing, tmp_path):
    project, public, private = existing
    first = bootstrap(deployment, project, public)
    assert f"{deployment.stack.url}/o/default" in first
    issuer = Issuer(f"{deployment.stack.url}/o/default", RESOURCE)
    client = issuer.register()
    with Admin(deployment.stack.url, deployment.stack.admin_key) as admin:
        organization = next(row["id"] for row in admin.list("/v1/organizations") if row["slug"] == "default")
        resources = list(admin.list(f"/v1/organizations/{organization}/resources"))
        assert [row["uri"] for row in resources].count(RESOURCE) == 1

        # Only the public half is known: nothing can be signed, and the client is told before anybody signs in.
        query = {
            "response_type": "code", "client_id": client, "redirect_uri": REDIRECT_URI, "resource": RESOURCE,
            "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", "code_challenge_method": "S256",
        }
        early = httpx.get(f"{issuer.url}/oauth/authorize", params=query)
        assert early.status_code == 400 and "invalid_target" in early.text

        path = tmp_path / "private.pem"
        path.write_text(private)
        deployment.stack.command(
            "keys", "import", "--organization", "default", "--resource", RESOURCE, "--private-key-file", str(path)
        )
        # Doing it all again changes nothing.
        bootstrap(deployment, project, public)
        assert len(list(admin.list(f"/v1/organizations/{organization}/resources"))) == len(resources)
        assert len(list(admin.list(f"/v1/organizations/{organization}/identity-providers"))) == 1

        email = "olga@existing.example"
        made = admin.send("POST", f"/v1/organizations/{organization}/invitations", {"email": email})
        assert made.status_code == 201, made.text
        link = next(value for value in made.json().values() if isinstance(value, str) and "/signin/invitation/" in value)

    person = Person(email, "default", Outbox(deployment.stack.sandbox_url))
    # The command wrote to the database; the serving nodes see it within a second.
    until = time.monotonic() + 3
    while httpx.get(f"{issuer.url}/oauth/authorize", params=query).status_code != 200:
        assert time.monotonic() < until, "the imported key is still not seen"
        time.sleep(0.05)
    with Browser(person) as browser:
        assert browser.http.get(link).status_code == 200
        answer = browser.authorize(str(httpx.URL(f"{issuer.url}/oauth/authorize", params=query)), REDIRECT_URI)
    reply = issuer.token({
        "grant_type": "authorization_code", "code": answer["code"], "client_id": client,
        "code_verifier": "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
    })
    assert reply.status_code == 200, reply.text
    claims = jwt.decode(reply.json()["access_token"], public, algorithms=["RS256"], audience=RESOURCE)
    assert claims["iss"] == issuer.url and claims["org_slug"] == "default" and claims["scopes"] == ["read"]
