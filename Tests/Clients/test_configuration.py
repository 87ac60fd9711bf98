"""What `gatehouse` says when its settings cannot be used: everything at once, in words an operator can act on."""

from __future__ import annotations

import os
import subprocess

import pytest


def run(deployment, *arguments: str, **changes: str | None) -> subprocess.CompletedProcess:
    """A subcommand with the deployment's settings, changed; None removes one."""
    environment = deployment.stack.gatehouse_environment()
    for name, value in changes.items():
        if value is None:
            environment.pop(name, None)
        else:
            environment[name] = value
    return subprocess.run(
        [str(deployment.stack.products / "gatehouse"), *arguments],
        env=environment, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
    )


def test_all_problems_are_told_together(deployment):
    """F-17: a start that cannot succeed ends at once, with status 78 and one line for each problem."""
    done = run(
        deployment, "serve", DATABASE_URL=None, REDIS_URL="http://nowhere", GATEHOUSE_PORT="many",
        GATEHOUSE_URL="http://as.example.com", GATEHOUSE_MASTER_KEY_FILE="/no/such/file", GATEHOUSE_STYTCH_BASE_URL=None,
    )
    assert done.returncode == 78
    for name in ("DATABASE_URL", "REDIS_URL", "GATEHOUSE_PORT", "GATEHOUSE_URL", "/no/such/file"):
        assert name in done.stderr, name
    assert "https" in done.stderr and "Usage" not in done.stderr


@pytest.mark.parametrize("url", ["https://AS.example.com", "https://as.example.com:443", "https://as.example.com/?a=b", "as"])
def test_public_url_has_one_spelling(deployment, url):
    """MD-02: clients compare the issuer byte for byte, so only its plain spelling is accepted."""
    done = run(deployment, "serve", GATEHOUSE_URL=url, GATEHOUSE_STYTCH_BASE_URL=None)
    assert done.returncode == 78 and "GATEHOUSE_URL" in done.stderr


def test_a_stand_in_for_stytch_is_for_development(deployment):
    """S-01: nothing on a public server may send project secrets to somewhere else."""
    done = run(deployment, "serve", GATEHOUSE_URL="https://as.example.com")
    assert done.returncode == 78 and "GATEHOUSE_STYTCH_BASE_URL" in done.stderr


def test_secrets_may_come_from_files(deployment, tmp_path):
    """K-20: a connection string in a file is read, and never printed."""
    path = tmp_path / "database-url"
    path.write_text("postgresql://gatehouse_app:very-secret@127.0.0.1:1/gatehouse\n")
    done = run(deployment, "bootstrap", DATABASE_URL=None, DATABASE_URL_FILE=str(path))
    assert done.returncode not in (0, 78)
    assert "very-secret" not in done.stdout + done.stderr and "PostgreSQL" in done.stderr


def test_another_role_is_refused(deployment):
    """T-22: whoever row-level security does not bind must not serve."""
    settings = deployment.stack.settings
    done = run(deployment, "serve", DATABASE_URL=settings["DATABASE_OWNER_URL"])
    assert done.returncode != 0 and "gatehouse_app" in done.stderr


def test_another_master_key_is_refused(deployment, tmp_path):
    """F-17: a server that could not open its own keys does not start."""
    path = tmp_path / "master.key"
    path.write_text(os.urandom(32).hex() + "\n")
    for _ in range(8):
        # Ended, not crashed: threads may just be connecting (a crash came in one of ten).
        done = run(deployment, "serve", GATEHOUSE_MASTER_KEY_FILE=str(path))
        assert done.returncode == 1 and "master key" in done.stderr.lower(), done.stderr[-2000:]
