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
    # Runs only when named.
    asked: bool = False


SCENARIOS: dict[str, Scenario] = {}


def scenario(name: str, reported: str | None = None, asked: bool = False):
    """Enters the function that writes the script under `name`."""

    def enter(script: Callable[[Deployment], str]) -> Callable[[Deployment], str]:
        SCENARIOS[name] = Scenario(name, reported or name, script, asked)
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


def tenants(deployment: Deployment, exponent: float) -> str:
    """Client credentials of many: the request of `client_credentials` but for who sends it."""
    rows = deployment.client_rows(exponent)
    return f"""rows issuer,client,resource {rows}
step client_credentials
send POST @{{issuer}}/oauth/token
{FORM}
body grant_type=client_credentials&client_id=@{{client}}&client_secret={deployment.tenants.secret}\
&resource=@{{resource}}&scope=read%20write
expect 200
"""


def introspect(deployment: Deployment, tokens: int) -> str:
    body = {"client_id": deployment.service_id, "client_secret": deployment.service_secret}
    return f"""rows token {deployment.token_rows(tokens)}
step introspection
send POST {deployment.issuer_path}/oauth/introspect
{FORM}
body {urlencode(body, quote_via=quote)}&token=@{{token}}
expect 200
"""


@scenario("introspection")
def introspection(deployment: Deployment) -> str:
    """Tokens that were asked about before."""
    return introspect(deployment, 100)


@scenario("introspection_first", reported="introspection")
def introspection_first(deployment: Deployment) -> str:
    """More tokens than a node remembers, so that each is as good as new."""
    return introspect(deployment, 40_000)


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


# ---- Scenarios that take long to prepare, so only for the asking -------------------------------------------------------


@scenario("tenants_zipf", reported="client_credentials", asked=True)
def tenants_zipf(deployment: Deployment) -> str:
    """100,000 clients of 10,000 organizations, some of them much busier than others (Zipf 1.0)."""
    return tenants(deployment, 1.0)


@scenario("tenants_uniform", reported="client_credentials", asked=True)
def tenants_uniform(deployment: Deployment) -> str:
    """The same clients, all alike: the worst case for every cache."""
    return tenants(deployment, 0.0)
