"""Apache as a resource server: `mod_oauth2` takes our tokens by our keys, and refuses what is not ours."""

from __future__ import annotations

import json
import time
from urllib.parse import quote

import apache
import httpx
import pytest
from conftest import ops
from cryptography.hazmat.primitives import serialization
from forge import Genuine, encoded, forgeries, rs256, signed
from walk import Walk, told_code


@pytest.fixture(scope="module")
def person(deployment):
    with Walk(deployment, deployment.person("alice")) as browser:
        yield browser


def tokens(deployment, browser, issuer, **changes) -> tuple[dict, str]:
    """A token response of alice, and another code that nobody redeemed."""
    client = issuer.register()
    code, waiting = (told_code(issuer, browser, client, **changes) for _ in range(2))
    reply = issuer.redeem(code, resource=changes.get("resource", issuer.resource))
    assert reply.status_code == 200, reply.text
    return reply.json(), waiting.code


@pytest.fixture(scope="module")
def resource_server(deployment, person):
    """Apache's address: /jwks checks by the platform's JWKS, issuer, audience and scope; /key by the imported key."""
    port = int(ops("free_ports 1"))
    platform, stack = deployment.platform, deployment.stack

    def location(path: str, verification: str, audience: str) -> str:
        return f"""
<Location "{path}">
    AuthType oauth2
    {verification}
    <RequireAll>
        Require valid-user
        Require oauth2_claim iss:{platform.url}
        Require oauth2_claim aud:{audience}
        Require oauth2_claim scopes:write
    </RequireAll>
</Location>
"""

    options = "verify.iss=skip&verify.exp=required&verify.iat=required&verify.iat.slack_before=700" \
        "&verify.iat.slack_after=5&expiry=1"
    lines = location("/jwks", f"OAuth2TokenVerify jwks_uri {platform.url}/oauth/jwks {options}", stack.shared_url)
    lines += location(
        "/key", f"OAuth2TokenVerify jwks_uri http://127.0.0.1:{port}/keys.json {options}", stack.plain_url)
    apache.start(deployment, "apache-resource-server", port, ("oauth2",), lines)
    pages = stack.folder / "apache-resource-server" / "pages"
    for name in ("jwks", "key"):
        (pages / name).write_text("the page behind")
    # The imported key is in no JWKS of ours: whoever checks with it has its public half already.
    numbers = serialization.load_pem_private_key(stack.plain_keys()[0].read_bytes(), None).public_key().public_numbers()
    members = {name: encoded(number.to_bytes((number.bit_length() + 7) // 8, "big"))
               for name, number in (("n", numbers.n), ("e", numbers.e))}
    body, _ = tokens(deployment, person, platform, resource=stack.plain_url)
    kid = Genuine(body["access_token"], {}).header["kid"]
    (pages / "keys.json").write_text(json.dumps({"keys": [{"kty": "RSA", "kid": kid, "alg": "RS256", **members}]}))
    return f"http://127.0.0.1:{port}"


def get(address: str, token: str | None, scheme: str = "Bearer") -> httpx.Response:
    headers = {} if token is None else {"authorization": f"{scheme} {token}"}
    return httpx.get(address, headers=headers, timeout=15, trust_env=False)


def test_mod_oauth2_accepts_our_tokens(deployment, person, resource_server):
    """AT-01, AT-02, RI-04, MCP-AS-17: by the issuer's JWKS, and by the imported key that is in none."""
    body, _ = tokens(deployment, person, deployment.platform, scope="read write")
    reply = get(f"{resource_server}/jwks", body["access_token"])
    assert reply.status_code == 200 and reply.text == "the page behind", log(deployment)
    body, _ = tokens(
        deployment, person, deployment.platform, scope="read write", resource=deployment.stack.plain_url)
    reply = get(f"{resource_server}/key", body["access_token"])
    assert reply.status_code == 200, log(deployment)


def log(deployment) -> str:
    path = deployment.stack.folder / "apache-resource-server" / "error.log"
    return "\n".join(path.read_text(errors="replace").splitlines()[-15:])


def test_mod_oauth2_refuses_what_is_not_for_it(deployment, person, resource_server):
    """K-07..K-12, K-14, K-21, BR-07, AT-05: each forgery, and genuine tokens of the wrong kind, issuer, audience and
    scope."""
    platform, stack = deployment.platform, deployment.stack
    body, code = tokens(deployment, person, platform, scope="read write")
    genuine = body["access_token"]
    keys = httpx.get(f"{platform.url}/oauth/jwks", trust_env=False).json()["keys"]
    kid = Genuine(genuine, {}).header["kid"]
    (key,) = [one for one in keys if one["kid"] == kid]
    bad = forgeries(Genuine(genuine, key))
    # Apache's library reads the 64 bytes of an ES256 signature and ignores what follows them.
    del bad["signature longer"]
    narrow, _ = tokens(deployment, person, platform, scope="read")
    acme, _ = tokens(deployment, person, deployment.acme, scope="read write")
    plain, _ = tokens(deployment, person, platform, scope="read write", resource=stack.plain_url)
    bad |= {
        "a refresh token": body["refresh_token"], "a code": code, "an admin key": stack.admin_key,
        "too little scope": narrow["access_token"], "another issuer's": acme["access_token"],
        "another server's": plain["access_token"],
    }
    accepted = [
        name for name, token in bad.items() if get(f"{resource_server}/jwks", token).status_code not in (400, 401)]
    for name, reply in {
        "none": get(f"{resource_server}/jwks", None), "as Basic": get(f"{resource_server}/jwks", genuine, "Basic"),
        "in the query": httpx.get(f"{resource_server}/jwks", params={"access_token": genuine}, trust_env=False),
    }.items():
        if reply.status_code != 401:
            accepted.append(name)
    assert not accepted, accepted
    assert len(bad) >= 30
    assert get(f"{resource_server}/jwks", genuine).status_code == 200


def test_mod_oauth2_refuses_signed_tokens_with_wrong_claims(deployment, person, resource_server):
    """K-14, AT-05: with the imported key in a forger's hand, time, issuer and audience still count."""
    path, _ = deployment.stack.plain_keys()
    sign = rs256(serialization.load_pem_private_key(path.read_bytes(), None))
    now = int(time.time())
    body, _ = tokens(
        deployment, person, deployment.platform, scope="read write", resource=deployment.stack.plain_url)
    genuine = Genuine(body["access_token"], {})

    def answer(**changes) -> int:
        payload = {name: value for name, value in (genuine.payload | changes).items() if value is not None}
        return get(f"{resource_server}/key", signed(genuine.header, payload, sign)).status_code

    assert answer(jti="another") == 200, log(deployment)
    wrong = {
        "expired": {"exp": now - 61}, "long expired": {"exp": 1}, "no exp": {"exp": None},
        "issued in the future": {"iat": now + 600}, "another issuer": {"iss": "https://elsewhere.example"},
        "no issuer": {"iss": None}, "another audience": {"aud": "https://elsewhere.example/mcp"},
        "no audience": {"aud": None}, "no scope": {"scopes": []}, "exp as text": {"exp": str(now + 600)},
    }
    assert not [name for name, changes in wrong.items() if answer(**changes) != 401]


# ---- Apache as a client ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def relying_party(deployment):
    """Apache's address; its /private is for people whom acme's issuer knows."""
    port = int(ops("free_ports 1"))
    address, issuer = f"http://localhost:{port}", deployment.acme
    body = {"client_name": "Apache", "redirect_uris": [f"{address}/private/callback"],
            "token_endpoint_auth_method": "client_secret_basic", "grant_types": ["authorization_code", "refresh_token"]}
    client = httpx.post(f"{issuer.url}/oauth/register", json=body, trust_env=False).json()
    apache.start(deployment, "apache-client", port, ("auth_openidc",), f"""
OIDCProviderMetadataURL {issuer.url}/.well-known/openid-configuration
OIDCClientID {client["client_id"]}
OIDCClientSecret {client["client_secret"]}
OIDCProviderTokenEndpointAuth client_secret_basic
OIDCRedirectURI {address}/private/callback
OIDCScope "openid email profile read"
OIDCPKCEMethod S256
OIDCAuthRequestParams resource={quote(issuer.resource, safe="")}
OIDCCryptoPassphrase {client["client_secret"]}
OIDCRemoteUserClaim sub
OIDCPassClaimsAs environment
<Location "/private">
    AuthType openid-connect
    Require valid-user
    Header set X-Subject "expr=%{{reqenv:OIDC_CLAIM_sub}}"
    Header set X-Email "expr=%{{reqenv:OIDC_CLAIM_email}}"
    Header set X-Issuer "expr=%{{reqenv:OIDC_CLAIM_iss}}"
</Location>
""")
    (deployment.stack.folder / "apache-client" / "pages" / "private").write_text("the page behind")
    return address


def test_mod_auth_openidc_signs_people_in(deployment, relying_party):
    """OI-01, OI-02, MCP-AS-07: discovery, code flow with PKCE and nonce, ID token by our JWKS, all as Apache's module
    checks them."""
    with Walk(deployment, deployment.person("alice")) as browser:
        begun = browser.http.get(f"{relying_party}/private")
        assert begun.is_redirect
        reply = browser.send(browser.until(begun.headers["location"], "decision"))
        assert reply.headers["location"].startswith(f"{relying_party}/private/callback?")
        back = browser.http.get(reply.headers["location"])
        errors = (deployment.stack.folder / "apache-client" / "error.log").read_text(errors="replace")[-3000:]
        assert back.is_redirect, errors
        page = browser.http.get(back.headers["location"])
    assert page.status_code == 200 and page.text == "the page behind"
    assert page.headers["x-subject"].startswith("usr_") and page.headers["x-issuer"] == deployment.acme.url
    assert page.headers["x-email"] == "alice@acme.example"
