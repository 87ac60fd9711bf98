"""An organization that a person administers by access tokens (design §4.7)."""

from __future__ import annotations

from gatehouse_demo.admin import Admin
from oauth import REDIRECT_URI, Code, Issuer
from walk import Walk, told_code


class Administration:
    """acme, where alice is an admin, with a client that she may administer it by."""

    def __init__(self, deployment, platform: Admin):
        self.deployment, self.platform = deployment, platform
        self.organization = deployment.organizations["acme"]
        self.base = f"/v1/organizations/{self.organization}"
        self.resource = f"{deployment.stack.url}{self.base}"
        self.issuer = Issuer(deployment.acme.url, self.resource)
        self.roles = {role["name"]: role["id"] for role in platform.list(f"{self.base}/roles")}
        self.client = self.make_client(admin_api_access=True)
        self.alice = self.user("alice@acme.example")
        self.give("admin", self.alice)

    def make_client(self, **changes) -> str:
        made = self.platform.post(f"{self.base}/clients", {
            "name": "Console", "redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code", "refresh_token"], **changes})
        return made["client_id"]

    def user(self, email: str) -> str:
        (found,) = self.platform.list(f"{self.base}/users", email=email)
        return found["id"]

    def give(self, role: str, user: str) -> None:
        reply = self.platform.send("POST", f"{self.base}/roles/{self.roles[role]}/bindings", {"user": user})
        assert reply.status_code in (201, 409), reply.text

    def take(self, role: str, user: str) -> None:
        path = f"{self.base}/roles/{self.roles[role]}/bindings/{user}"
        assert self.platform.send("DELETE", path).status_code == 204

    def redeem(self, code: Code, **changes) -> dict:
        reply = self.issuer.redeem(code, **changes)
        assert reply.status_code == 200, reply.text
        assert "refresh_token" not in reply.json(), "a sign-in is what it takes, each time"
        return reply.json()

    def token(self, browser: Walk, **changes) -> str:
        return self.redeem(told_code(self.issuer, browser, self.client, **changes))["access_token"]

    def as_person(self, token: str) -> Admin:
        return Admin(self.deployment.stack.url, token)
