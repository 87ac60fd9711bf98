"""Identity providers are tried before people depend on them (design §4, `identity-providers/{provider}:test`)."""

from __future__ import annotations

import time

import pytest
from gatehouse_demo.admin import Admin
from gatehouse_demo.sandbox import ACME


@pytest.fixture(scope="module")
def platform(deployment):
    with Admin(deployment.stack.url, deployment.stack.admin_key) as made:
        yield made


@pytest.fixture
def fresh(platform):
    made = platform.post("/v1/organizations", {"slug": f"provided-{time.time_ns():x}", "name": "Provided"})
    return f"/v1/organizations/{made['id']}"


def provider(platform, base: str, **members) -> dict:
    return platform.post(f"{base}/identity-providers", {"kind": "stytch_consumer", "name": "Tried"} | members)


def test_providers_that_work(deployment, platform, evidence):
    """Design 4: the providers that sign people in say so, of either kind, also while they are disabled; it is recorded, sends
    nobody anything and changes nothing."""
    for name in ("acme", "globex"):
        base = f"/v1/organizations/{deployment.organizations[name]}"
        (found,) = platform.list(f"{base}/identity-providers")
        path = f"{base}/identity-providers/{found['id']}"
        with evidence.no_rows_stored():
            reply = platform.send("POST", f"{path}:test")
        assert reply.status_code == 200, reply.text
        assert reply.json() | {"tested_at": ""} == {"ok": True, "code": None, "detail": None, "tested_at": ""}
        (event,) = evidence.of(reply, deployment.organizations[name])
        assert event["type"] == "identity_provider.tested" and event["metadata"]["result"] == "ok"
        assert platform.get(path) == found
        rehearsed = platform.send("POST", f"{path}:test?dry_run=true")
        assert rehearsed.json()["ok"] and "audit-event" not in rehearsed.headers


def test_providers_that_do_not_work(platform, fresh, evidence):
    """Design 4, T-05: wrong credentials, the wrong kind of project and an organization that is not there are told as what they
    are; the secret is in no answer and no event."""
    wrong = [
        ({"project_id": "project-test-nobody", "secret": "secret-test-wrong"}, "provider_rejects_credentials"),
        ({"project_id": ACME["project_id"], "secret": ACME["secret"]}, "provider_project_of_other_kind"),
        ({"kind": "stytch_b2b", "project_id": ACME["project_id"], "secret": ACME["secret"],
          "organization_id": "organization-test-nobody"}, "provider_organization_unknown"),
    ]
    details = set()
    for members, code in wrong:
        made = provider(platform, fresh, **members)
        path = f"{fresh}/identity-providers/{made['id']}"
        platform.call("PATCH", path, {"status": "disabled"}, {"if-match": "*"})
        reply = platform.send("POST", f"{path}:test")
        assert reply.status_code == 200 and reply.json()["ok"] is False, reply.text
        assert reply.json()["code"] == code, reply.text
        assert members["secret"] not in reply.text
        details.add(reply.json()["detail"])
        (event,) = evidence.of(reply, fresh.rsplit("/", 1)[1])
        assert event["metadata"]["result"] == code and members["secret"] not in str(event)
        platform.call("DELETE", path, headers={"if-match": "*"})
    assert len(details) == 3
    assert platform.send("POST", f"{fresh}/identity-providers/idp_{'0' * 26}:test").status_code == 404
