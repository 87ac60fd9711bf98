"""Codes and refresh tokens over two server processes: once, or not at all."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle

from gatehouse_demo.chatgpt import claims


def invalid_grant(reply) -> bool:
    return reply.status_code == 400 and reply.json()["error"] == "invalid_grant"


def test_fifty_redemptions_of_one_code_over_two_nodes(deployment, admin):
    """TK-15, TK-13, K-03, MCP-AS-16: one succeeds; the replays revoke what it gave (RFC 6749 §4.1.2)."""
    issuer = deployment.platform
    since = time.time() - 1
    code = issuer.code(deployment.person("alice"))
    nodes = cycle(deployment.node_urls)
    with ThreadPoolExecutor(50) as pool:
        replies = list(pool.map(lambda node: issuer.redeem(code, node), [next(nodes) for _ in range(50)]))
    succeeded = [reply for reply in replies if reply.status_code == 200]
    assert len(succeeded) == 1, [reply.status_code for reply in replies]
    assert all(invalid_grant(reply) for reply in replies if reply.status_code != 200)
    assert all(reply.headers["cache-control"] == "no-store" for reply in replies)

    tokens = succeeded[0].json()
    assert invalid_grant(issuer.refresh(tokens["refresh_token"], code.client_id)), "a replay has to revoke"
    organization = claims(tokens["access_token"])["org_id"]
    events = admin.await_events(
        organization, lambda rows: any(row["type"] == "authorize.code_replayed" for row in rows), since=since
    )
    assert any(row["type"] == "authorize.code_replayed" for row in events)


def test_code_with_a_foreign_verifier_or_client_gives_nothing_and_takes_nothing(deployment):
    """K-01, PK-04: a wrong verifier does not spend the code of its owner."""
    issuer = deployment.platform
    code = issuer.code(deployment.person("alice"))
    assert invalid_grant(issuer.redeem(code, code_verifier="x" * 60))
    assert not issuer.redeem(code, client_id=issuer.register()).is_success
    assert not issuer.redeem(code, redirect_uri="https://elsewhere.example/callback").is_success
    assert issuer.redeem(code).status_code == 200


def test_code_of_one_issuer_is_worth_nothing_at_another(deployment):
    """T-14, BC-07: and it still works at its own."""
    code = deployment.platform.code(deployment.person("alice"))
    assert not deployment.acme.redeem(code, resource=deployment.stack.shared_url).is_success
    assert deployment.platform.redeem(code).status_code == 200


def test_two_refreshers_at_once_get_the_same_successor(deployment):
    """TK-19, K-05: within the grace window a retry is a retry: same refresh token, an access token each (design §3.6)."""
    issuer = deployment.platform
    code = issuer.code(deployment.person("alice"))
    first = issuer.redeem(code).json()
    with ThreadPoolExecutor(2) as pool:
        replies = list(
            pool.map(lambda node: issuer.refresh(first["refresh_token"], code.client_id, node), deployment.node_urls)
        )
    assert [reply.status_code for reply in replies] == [200, 200], [reply.text for reply in replies]
    bodies = [reply.json() for reply in replies]
    assert bodies[0]["refresh_token"] == bodies[1]["refresh_token"] != first["refresh_token"]
    assert bodies[0]["access_token"] != bodies[1]["access_token"]
    assert issuer.refresh(bodies[0]["refresh_token"], code.client_id).status_code == 200


def test_a_stale_generation_revokes_the_family(deployment, admin):
    """TK-18, K-05, MCP-AS-20: reuse of an older refresh token ends the newer one too, and is recorded."""
    issuer = deployment.platform
    since = time.time() - 1
    code = issuer.code(deployment.person("alice"))
    tokens = [issuer.redeem(code).json()]
    for _ in range(2):
        reply = issuer.refresh(tokens[-1]["refresh_token"], code.client_id)
        assert reply.status_code == 200, reply.text
        tokens.append(reply.json())
    assert invalid_grant(issuer.refresh(tokens[0]["refresh_token"], code.client_id))
    assert invalid_grant(issuer.refresh(tokens[-1]["refresh_token"], code.client_id)), "the family has to be gone"
    organization = claims(tokens[0]["access_token"])["org_id"]
    events = admin.await_events(
        organization, lambda rows: any(row["type"] == "token.reuse_detected" for row in rows), since=since
    )
    assert any(row["type"] == "token.reuse_detected" for row in events)


def test_a_forged_refresh_token_revokes_nothing(deployment):
    """TK-18: a token of the right shape with a wrong secret proves nothing about its family."""
    issuer = deployment.platform
    code = issuer.code(deployment.person("alice"))
    tokens = issuer.redeem(code).json()
    genuine = tokens["refresh_token"]
    forged = genuine[:-6] + ("AAAAAA" if not genuine.endswith("AAAAAA") else "BBBBBB")
    assert invalid_grant(issuer.refresh(forged, code.client_id))
    assert issuer.refresh(genuine, code.client_id).status_code == 200


def test_a_refresh_token_of_another_client_is_refused(deployment):
    """TK-22: and its owner's family lives."""
    issuer = deployment.platform
    code = issuer.code(deployment.person("alice"))
    tokens = issuer.redeem(code).json()
    assert invalid_grant(issuer.refresh(tokens["refresh_token"], issuer.register()))
    assert issuer.refresh(tokens["refresh_token"], code.client_id).status_code == 200
