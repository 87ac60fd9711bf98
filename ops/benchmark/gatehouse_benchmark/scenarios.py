"""What is measured. A scenario is a script for `load.c`, made for a deployment; adding one is adding a function."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from .deployment import REDIRECT_URI, VERIFIER, Deployment


@dataclass
class Scenario:
    name: str
    # The step whose requests are counted and timed in the result line; CPU is divided by their number, so that the
    # other steps of the walk are part of the cost.
    reported: str
    script: Callable[[Deployment], str]


SCENARIOS: dict[str, Scenario] = {}


def scenario(name: str, reported: str | None = None):
    """Enters the function that writes the script under `name`."""

    def enter(script: Callable[[Deployment], str]) -> Callable[[Deployment], str]:
        SCENARIOS[name] = Scenario(name, reported or name, script)
        return script

    return enter


# ---- Steps that several scenarios share ------------------------------------------------------------------------------

FORM = "header Content-Type: application/x-www-form-urlencoded"


def authorize(deployment: Deployment, once: bool = False) -> str:
    return f"""step authorize
{"once" if once else ""}
send GET {deployment.authorize_target("@{n}")}
header Cookie: {deployment.cookies}
expect 303
keep code location code
"""


def redeem(deployment: Deployment, name: str = "token", once: bool = False) -> str:
    return f"""step {name}
{"once" if once else ""}
send POST {deployment.issuer_path}/oauth/token
{FORM}
body grant_type=authorization_code&code=@{{code}}&redirect_uri={quote(REDIRECT_URI, safe="")}\
&client_id={quote(deployment.client_id)}&code_verifier={VERIFIER}
expect 200
keep refresh json refresh_token
"""


def refresh(deployment: Deployment, name: str = "refresh") -> str:
    return f"""step {name}
send POST {deployment.issuer_path}/oauth/token
{FORM}
body grant_type=refresh_token&refresh_token=@{{refresh}}&client_id={quote(deployment.client_id)}
expect 200
keep refresh json refresh_token
"""


def client_credentials(deployment: Deployment, name: str, resource: str) -> str:
    body = {
        "grant_type": "client_credentials", "client_id": deployment.service_id,
        "client_secret": deployment.service_secret, "resource": resource, "scope": "read write",
    }
    return f"""step {name}
send POST {deployment.issuer_path}/oauth/token
{FORM}
body {urlencode(body, quote_via=quote)}
expect 200
"""


# ---- The scenarios, in the order they run ----------------------------------------------------------------------------


@scenario("metadata")
def metadata(_: Deployment) -> str:
    return "step metadata\nsend GET /.well-known/oauth-authorization-server\nexpect 200\n"


@scenario("jwks")
def jwks(_: Deployment) -> str:
    return "step jwks\nsend GET /oauth/jwks\nexpect 200\n"


@scenario("client_credentials")
def client_credentials_es256(deployment: Deployment) -> str:
    return client_credentials(deployment, "client_credentials", deployment.stack.acme_url)


@scenario("client_credentials_rs256")
def client_credentials_rs256(deployment: Deployment) -> str:
    return client_credentials(deployment, "client_credentials_rs256", deployment.rs256_url)


@scenario("token_code", reported="token")
def token_code(deployment: Deployment) -> str:
    """Codes do not keep, so each is fetched with a live session just before it is redeemed."""
    return authorize(deployment) + redeem(deployment)


@scenario("token_refresh", reported="refresh")
def token_refresh(deployment: Deployment) -> str:
    """Every connection signs in once, before the measurement, and then rotates its own family."""
    return authorize(deployment, once=True) + redeem(deployment, once=True) + refresh(deployment)


@scenario("registration")
def registration(deployment: Deployment) -> str:
    """ChatGPT's registration: one redirect, no scope, a public client."""
    body = {
        "client_name": "Bench",
        "redirect_uris": ["https://bench.example/connector/callback"],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    }
    return f"""step registration
send POST {deployment.issuer_path}/oauth/register
header Content-Type: application/json
body {json.dumps(body)}
expect 201
"""


@scenario("flow", reported="refresh")
def flow(deployment: Deployment) -> str:
    """A whole connection: authorize, token, refresh. Counted by its last step."""
    return authorize(deployment) + redeem(deployment) + refresh(deployment)
