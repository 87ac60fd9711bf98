"""What clients fetch before anyone signs in: metadata, protected-resource metadata, challenges."""

from __future__ import annotations

import pytest


def test_organization_metadata_is_the_same_at_all_three_urls(deployment, http):
    """MCP-AS-01, MCP-AS-02: the URLs of facts §1c numbers 4 to 6, and the one seen in the wild."""
    base = deployment.stack.url
    urls = [
        f"{base}/.well-known/oauth-authorization-server/o/acme",
        f"{base}/.well-known/openid-configuration/o/acme",
        f"{base}/o/acme/.well-known/openid-configuration",
        f"{base}/o/acme/.well-known/oauth-authorization-server",
    ]
    replies = [http.get(url) for url in urls]
    assert [reply.status_code for reply in replies] == [200] * 4
    assert len({reply.content for reply in replies}) == 1
    assert replies[0].json()["issuer"] == f"{base}/o/acme"


@pytest.mark.parametrize("path", ["", "/o/acme"])
def test_metadata_says_what_clients_refuse_to_do_without(deployment, http, path):
    """MCP-AS-03, MCP-AS-04, MCP-AS-05, MCP-AS-07, MCP-AS-09: the conformance suite's checks, and ChatGPT's."""
    base = deployment.stack.url
    reply = http.get(f"{base}/.well-known/oauth-authorization-server{path}")
    document = reply.json()
    assert reply.headers["content-type"].startswith("application/json")
    assert document["issuer"] == base + path
    assert document["response_types_supported"] == ["code"]
    assert "S256" in document["code_challenge_methods_supported"]
    assert "none" in document["token_endpoint_auth_methods_supported"]
    assert {"authorization_code", "refresh_token"} <= set(document["grant_types_supported"])
    assert document["authorization_response_iss_parameter_supported"] is True
    assert "offline_access" in document["scopes_supported"]
    for name in ("authorization_endpoint", "token_endpoint", "registration_endpoint", "jwks_uri"):
        assert document[name].startswith(base + path + "/oauth/")


def test_unknown_organization_answers_404_everywhere(deployment, http):
    base = deployment.stack.url
    for url in (
        f"{base}/.well-known/oauth-authorization-server/o/nobody",
        f"{base}/o/nobody/.well-known/openid-configuration",
        f"{base}/o/nobody/oauth/authorize",
        f"{base}/o/nobody/oauth/jwks",
    ):
        assert http.get(url).status_code == 404, url
    assert http.post(f"{base}/o/nobody/oauth/token", data={"grant_type": "refresh_token"}).status_code == 404


@pytest.mark.parametrize("server", ["shared", "acme", "plain"])
def test_servers_can_be_discovered(deployment, http, server):
    """MCP-RS-02, MCP-RS-03, MCP-RS-04, MCP-RS-06, MCP-RS-07, MCP-RS-08, RM-01, RM-02: the challenge of a request without
    credentials has resource_metadata and scope, no error and no offline_access; metadata at the path form and at the root."""
    url = getattr(deployment.stack, f"{server}_url")
    challenge = http.post(url, json={})
    assert challenge.status_code == 401
    header = challenge.headers["www-authenticate"]
    origin = url.removesuffix("/mcp")
    assert f'resource_metadata="{origin}/.well-known/oauth-protected-resource/mcp"' in header
    assert 'scope="read write"' in header and "error=" not in header
    for path in ("", "/mcp"):
        document = http.get(f"{origin}/.well-known/oauth-protected-resource{path}").json()
        assert document["resource"] == url
        issuer = deployment.acme.url if server == "acme" else deployment.platform.url
        assert document["authorization_servers"] == [issuer]
        assert document["scopes_supported"] == ["read", "write"]


def test_listed_resources(deployment, http):
    """`P` lists shared resources only; an organization's issuer lists its own."""
    platform = http.get(f"{deployment.stack.url}/.well-known/mcp-resources").json()["resources"]
    listed = {entry["resource"] for entry in platform}
    assert {deployment.stack.shared_url, deployment.stack.plain_url} <= listed
    assert deployment.stack.acme_url not in listed
    acme = http.get(f"{deployment.stack.url}/.well-known/mcp-resources/o/acme").json()["resources"]
    assert deployment.stack.acme_url in {entry["resource"] for entry in acme}


def test_browser_clients_may_ask_from_another_origin(deployment, http):
    """MCP-AS-36: CORS on metadata, registration and token, and not on authorize."""
    base = deployment.stack.url
    origin = {"origin": "http://localhost:6274"}
    for path in ("/.well-known/oauth-authorization-server", "/oauth/jwks"):
        assert http.get(base + path, headers=origin).headers.get("access-control-allow-origin") == "*"
    for path in ("/oauth/register", "/oauth/token"):
        preflight = http.options(base + path, headers=origin | {"access-control-request-method": "POST"})
        assert preflight.is_success and preflight.headers["access-control-allow-origin"] == "*", path
    assert "access-control-allow-origin" not in http.get(f"{base}/oauth/authorize", headers=origin).headers


def test_one_organizations_key_sees_nothing_of_another(deployment, admin):
    """A foreign id answers as a missing one."""
    from gatehouse_demo.admin import Admin, AdminError

    acme, globex = deployment.organizations["acme"], deployment.organizations["globex"]
    made = admin.post(
        f"/v1/organizations/{acme}/admin-keys", {"name": "isolation test", "scopes": ["users:read", "audit:read"]}
    )
    secret = made.get("secret") or made["key"]
    with Admin(deployment.stack.url, secret) as limited:
        assert list(limited.list(f"/v1/organizations/{acme}/users"))
        for path in ("users", "audit/events"):
            missing = f"org_{'0' * 26}"
            answers = []
            for organization in (globex, missing):
                try:
                    limited.get(f"/v1/organizations/{organization}/{path}")
                    pytest.fail(f"{path} of {organization} was readable")
                except AdminError as refusal:
                    answers.append((refusal.status, refusal.problem.get("code"), refusal.problem.get("title")))
            assert answers[0] == answers[1] and answers[0][0] == 404
