"""Programs that speak for themselves: the client credentials grant (RFC 6749 §4.4; mcp-clients §2)."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from evidence import sized, source
from gatehouse_demo.chatgpt import claims
from test_token import basic, refused


@pytest.fixture(scope="module")
def service(deployment):
    """A service client of acme that policy lets read and write; its id, secret and admin path."""
    from gatehouse_demo.admin import Admin

    base = f"/v1/organizations/{deployment.organizations['acme']}"
    with Admin(deployment.stack.url, deployment.stack.admin_key) as admin:
        made = admin.post(f"{base}/clients", {"name": "Nightly", "kind": "service"})
        admin.post(
            f"{base}/scope-policies",
            {
                "name": "nightly", "effect": "allow", "principals": {"services": [made["client_id"]]},
                "resources": [], "scopes": ["read", "write"],
            },
        )
    return made


def ask(deployment, service, issuer=None, headers=None, **parameters) -> httpx.Response:
    issuer = issuer or deployment.acme
    return httpx.post(
        f"{issuer.url}/oauth/token", trust_env=False,
        data={"grant_type": "client_credentials", **parameters},
        headers={**basic(service["client_id"], service["client_secret"]), **(headers or source())},
    )


def test_token_of_a_service(deployment, service, evidence):
    """TK-25, AT-02, AT-04, TK-02: sub is the client, no refresh token, no person; recorded before the answer."""
    reply = ask(deployment, service, resource=deployment.stack.acme_url, scope="read write")
    assert reply.status_code == 200, reply.text
    assert reply.headers["cache-control"] == "no-store"
    body = reply.json()
    assert set(body) == {"access_token", "token_type", "expires_in", "scope"}
    assert body["token_type"] == "Bearer" and body["scope"] == "read write"
    token = claims(body["access_token"])
    assert token["sub"] == token["client_id"] == service["client_id"]
    assert token["aud"] == deployment.stack.acme_url and token["iss"] == deployment.acme.url
    assert token["org_id"] == deployment.organizations["acme"] and token["org_slug"] == "acme"
    assert not set(token) & {"grant_id", "auth_time", "email", "name"}
    row = evidence.sql(
        "SELECT actor_id, client_id FROM (SELECT actor_id, client_id, leaf_prefix || leaf_suffix AS leaf FROM audit_outbox "
        "UNION ALL SELECT actor_id, client_id, leaf FROM audit_event) AS event "
        f"WHERE position('{token['jti']}'::bytea IN leaf) > 0"
    )
    assert row == f"{service['client_id']}|{service['client_id']}"


def test_no_two_tokens_are_called_alike(deployment, service):
    """AT-06: as many tokens as asked for, from both nodes at once, and as many jti."""
    wanted, threads = sized(1_600, 1_000_000), 8

    def some(number: int) -> list[str]:
        found: list[str] = []
        node = deployment.node_urls[number % 2]
        with httpx.Client(timeout=30, trust_env=False) as http:
            while len(found) < wanted // threads:
                reply = http.post(
                    f"{node}/o/acme/oauth/token", data={"grant_type": "client_credentials"},
                    headers=basic(service["client_id"], service["client_secret"]))
                if reply.status_code == 429:
                    time.sleep(float(reply.headers["retry-after"]))
                    continue
                assert reply.status_code == 200, reply.text
                found.append(claims(reply.json()["access_token"])["jti"])
        return found

    with ThreadPoolExecutor(threads) as pool:
        found = [jti for some in pool.map(some, range(threads)) for jti in some]
    assert len(found) == len(set(found)) == wanted


def test_default_resource_and_narrower_scope(deployment, service):
    """RI-07, TK-03: without resource the issuer's only one; what was asked is what is given."""
    body = ask(deployment, service, scope="read", resource=deployment.stack.acme_url).json()
    assert claims(body["access_token"])["scopes"] == ["read"]
    everything = ask(deployment, service, resource=deployment.stack.acme_url).json()
    assert everything["scope"] == "read write"


def test_foreign_resource(deployment, service, evidence):
    """K-21, RI-02: another tenant's or an unknown resource is invalid_target, and nothing is issued."""
    for resource in (deployment.stack.shared_url, "https://nobody.example/mcp", "not a uri", "https://a.example/#f"):
        refused(ask(deployment, service, resource=resource), "invalid_target")
    two = [deployment.stack.acme_url, deployment.stack.shared_url]
    refused(ask(deployment, service, resource=two), "invalid_target")


def test_unknown_scope(deployment, service):
    """AZ-08, K-22: a scope that does not exist, or cannot, is invalid_scope."""
    for scope in ("nope", 'a"b', "READ", "read\twrite"):
        refused(ask(deployment, service, resource=deployment.stack.acme_url, scope=scope), "invalid_scope")


def test_only_at_its_own_organization(deployment, service):
    """T-13, MD-09: the platform and another organization know neither grant nor client."""
    refused(ask(deployment, service, deployment.platform), "unsupported_grant_type")
    refused(ask(deployment, service, deployment.globex), "invalid_client", 401)


def test_public_client_may_not(deployment, http):
    """TK-12, TK-25: a client of people has no such grant, public or not."""
    client = deployment.acme.register()
    body = {"grant_type": "client_credentials", "client_id": client, "resource": deployment.stack.acme_url}
    refused(http.post(f"{deployment.acme.url}/oauth/token", data=body, headers=source()), "unauthorized_client")


def test_registration_cannot_make_one(deployment, http):
    """RG-05: nobody registers themselves as a service."""
    body = {"grant_types": ["client_credentials"], "redirect_uris": ["https://client.example/cb"]}
    reply = http.post(f"{deployment.acme.url}/oauth/register", json=body, headers=source())
    refused(reply, "invalid_client_metadata")


def test_wrong_secret_and_wrong_method(deployment, service):
    """TK-07, TK-09: 401 with a challenge where Basic was used; only the registered method works."""
    wrong = {**service, "client_secret": service["client_secret"][:-1] + "x"}
    reply = ask(deployment, wrong, resource=deployment.stack.acme_url)
    refused(reply, "invalid_client", 401)
    assert reply.headers["www-authenticate"].startswith("Basic")
    posted = httpx.post(
        f"{deployment.acme.url}/oauth/token", trust_env=False, headers=source(),
        data={
            "grant_type": "client_credentials", "client_id": service["client_id"],
            "client_secret": service["client_secret"],
        },
    )
    refused(posted, "invalid_client", 401)


def test_disabled_and_policy_withdrawn(deployment, admin):
    """TK-23: switched off on every node within a second; without a statement there is nothing to give."""
    base = f"/v1/organizations/{deployment.organizations['acme']}"
    made = admin.post(f"{base}/clients", {"name": "Short-lived", "kind": "service"})
    refused(ask(deployment, made, resource=deployment.stack.acme_url, scope="write"), "invalid_scope")
    policy = admin.post(
        f"{base}/scope-policies",
        {"name": "short", "effect": "allow", "principals": {"services": [made["client_id"]]}, "scopes": ["read"]},
    )
    assert ask(deployment, made, resource=deployment.stack.acme_url).status_code == 200
    assert admin.send("DELETE", f"{base}/scope-policies/{policy['id']}", headers={"if-match": "*"}).status_code == 204
    refused(ask(deployment, made, resource=deployment.stack.acme_url), "invalid_scope")
    patch = {"status": "disabled"}
    reply = admin.send("PATCH", f"{base}/clients/{made['id']}", patch, headers={"if-match": "*"})
    assert reply.status_code == 200, reply.text
    refused(ask(deployment, made, resource=deployment.stack.acme_url), "invalid_client", 401)


def test_service_client_described_wrongly(deployment, admin):
    """PD-01: what a service client cannot have is refused by its pointer."""
    base = f"/v1/organizations/{deployment.organizations['acme']}"
    for wrong, pointer in (
        ({"token_endpoint_auth_method": "none"}, "/token_endpoint_auth_method"),
        ({"grant_types": ["authorization_code"]}, "/grant_types"),
        ({"redirect_uris": ["https://a.example/cb"]}, "/redirect_uris"),
    ):
        reply = admin.send("POST", f"{base}/clients", {"name": "Wrong", "kind": "service", **wrong})
        assert reply.status_code == 422, reply.text
        assert pointer in [error["pointer"] for error in reply.json()["errors"]]
    platform = admin.send("POST", "/v1/clients", {"name": "Wrong", "kind": "service"})
    assert platform.status_code == 422
