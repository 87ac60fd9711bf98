"""The official Stytch SDK (15.3.0) as an independent judge of the sandbox.

The SDK's pydantic models refuse a response in which a required member is missing or null, so every call that returns
proves the shape of its answer. What the SDK does not look at (HTTP codes, public routes, the test channel) is asked
for over plain HTTP.

Needs `STYTCH_SANDBOX_URL` and nothing else: each test makes projects of its own by `POST /__test/projects`.
"""

import base64
import hashlib
import os
import secrets
import time
import uuid
from types import SimpleNamespace

import jwt
import pytest
import requests
import stytch
from stytch.core.response_base import StytchError

SANDBOX = os.environ.get("STYTCH_SANDBOX_URL", "").rstrip("/")
REDIRECT_URL = "http://localhost:8001/callback"
SANDBOX_USER = "user-test-e3795c81-f849-4167-bfda-e4a6e9c280fd"
SANDBOX_ORGANIZATION = "organization-test-007d9d4a-deac-4a87-ba0a-e6e8afba4d4b"
SANDBOX_SESSION_TOKEN = "WJtR5BCy38Szd5AfoDpf0iqFKEt4EE5JhjlWUY7l3FtY"


@pytest.fixture(scope="module", autouse=True)
def sandbox_is_there():
    """Fails every test of this file, and says what to do, when there is no sandbox to ask."""
    if not SANDBOX:
        pytest.fail("STYTCH_SANDBOX_URL is not set: start stytch-sandbox and pass the URL it prints")


def make_project(vertical, environment="test", **settings):
    """A fresh project and an SDK client for it."""
    project = SimpleNamespace(
        vertical=vertical, id=f"project-{environment}-{uuid.uuid4()}", secret=f"secret-{environment}-{uuid.uuid4()}"
    )
    body = {"vertical": vertical, "project_id": project.id, "secret": project.secret, **settings}
    answer = requests.post(f"{SANDBOX}/__test/projects", json=body)
    assert answer.status_code == 201, answer.text
    project.public_token = answer.json()["public_token"]
    kind = stytch.B2BClient if vertical == "b2b" else stytch.Client
    project.client = kind(project.id, project.secret, environment=SANDBOX, suppress_warnings=True)
    return project


@pytest.fixture
def consumer():
    return make_project("consumer", redirect_urls=[REDIRECT_URL])


@pytest.fixture
def b2b():
    return make_project("b2b")


def call(project, method, path, **keywords):
    """A call as the SDK would make it, with the HTTP response in the open."""
    return requests.request(method, SANDBOX + path, auth=(project.id, project.secret), **keywords)


def newest_mail(project, email):
    mails = requests.get(f"{SANDBOX}/__test/outbox", params={"email": email, "project_id": project.id}).json()
    assert mails, f"no mail for {email}"
    return mails[0]


def newest_code(project, email):
    return newest_mail(project, email)["code"]


def advance_clock(project, seconds):
    body = {"project_id": project.id, "advance_seconds": seconds}
    assert requests.post(f"{SANDBOX}/__test/clock", json=body).status_code == 200


def set_fault(project, mode, **more):
    body = {"project_id": project.id, "mode": mode, **more}
    assert requests.post(f"{SANDBOX}/__test/faults", json=body).status_code == 200


def refusal(function, *arguments, **keywords):
    """The details of the StytchError the call must raise."""
    with pytest.raises(StytchError) as caught:
        function(*arguments, **keywords)
    return caught.value.details


def assert_refused(details, status, error_type):
    assert (details.status_code, details.error_type) == (status, error_type)
    assert details.request_id.startswith("request-id-")
    assert details.error_message
    assert f"{status}#{error_type}" in details.error_url


def other_code(code):
    """A code that is not `code`."""
    return f"{(int(code) + 1) % 1_000_000:06}"


def consumer_login(project, email="ada@acme.example", **session):
    sent = project.client.otps.email.login_or_create(email=email)
    return project.client.otps.authenticate(method_id=sent.email_id, code=newest_code(project, email), **session)


def make_organization(project, **settings):
    slug = f"acme-{secrets.token_hex(6)}"
    return project.client.organizations.create(
        organization_name="Acme", organization_slug=slug, **settings
    ).organization


def b2b_login(project, organization, email, **session):
    project.client.otps.email.login_or_signup(organization_id=organization.organization_id, email_address=email)
    return project.client.otps.email.authenticate(
        organization_id=organization.organization_id,
        email_address=email,
        code=newest_code(project, email),
        **session,
    )


# Credentials and envelopes


def test_a_wrong_secret_is_refused(consumer):
    """401 `unauthorized_credentials`, in the error envelope."""
    client = stytch.Client(consumer.id, "secret-test-wrong", environment=SANDBOX, suppress_warnings=True)
    assert_refused(refusal(client.users.get, "user-test-x"), 401, "unauthorized_credentials")


def test_an_unknown_project_is_refused_like_a_wrong_secret():
    """Nothing tells a caller whether a project exists."""
    client = stytch.Client(
        f"project-test-{uuid.uuid4()}", "secret", environment=SANDBOX, suppress_warnings=True
    )
    assert_refused(refusal(client.users.get, "user-test-x"), 401, "unauthorized_credentials")


def test_missing_credentials_are_refused():
    """A call without an Authorization header answers 401."""
    answer = requests.post(f"{SANDBOX}/v1/otps/email/send", json={"email": "ada@acme.example"})
    assert (answer.status_code, answer.json()["error_type"]) == (401, "unauthorized_credentials")


def test_a_user_name_that_is_no_project_id_is_refused():
    """401 `invalid_project_id_authentication`."""
    answer = requests.get(f"{SANDBOX}/v1/sessions", auth=("nobody", "secret"))
    assert (answer.status_code, answer.json()["error_type"]) == (401, "invalid_project_id_authentication")


def test_http_status_and_status_code_agree_and_every_request_has_its_id(consumer):
    """`status_code` mirrors HTTP, and `request_id` is fresh in success and failure alike."""
    good = call(consumer, "POST", "/v1/users", json={"email": "ada@acme.example"})
    bad = call(consumer, "GET", "/v1/users/user-test-unknown")
    assert good.status_code == good.json()["status_code"] == 200
    assert bad.status_code == bad.json()["status_code"] == 404
    assert bad.json()["error_type"] == "user_not_found"
    assert good.json()["request_id"].startswith("request-id-test-")
    assert good.json()["request_id"] != bad.json()["request_id"]


def test_an_unknown_route_has_the_error_envelope(consumer):
    """404 `route_not_found`."""
    answer = call(consumer, "POST", "/v1/nothing/here", json={})
    assert (answer.status_code, answer.json()["error_type"]) == (404, "route_not_found")
    assert answer.json()["status_code"] == 404


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"email": 5}', b'{"email": ""}', b"\xff\xfe", b'{"email": null}'])
def test_a_malformed_body_is_a_bad_request(consumer, body):
    """400 `bad_request`, never a 500."""
    answer = call(consumer, "POST", "/v1/otps/email/send", data=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error_type"]) == (400, "bad_request")


def test_each_vertical_refuses_the_other_ones_endpoints(consumer, b2b):
    """A B2B project has no consumer endpoints, a consumer project no B2B ones."""
    one = call(b2b, "GET", "/v1/sessions?user_id=x")
    other = call(consumer, "GET", "/v1/b2b/organizations/x")
    assert (one.status_code, one.json()["error_type"]) == (400, "invalid_consumer_endpoint")
    assert (other.status_code, other.json()["error_type"]) == (400, "invalid_b2b_endpoint")


def test_projects_know_nothing_of_each_other(consumer):
    """The same address is another user in another project, and codes do not travel."""
    neighbour = make_project("consumer")
    mine = consumer.client.otps.email.login_or_create(email="ada@acme.example")
    theirs = neighbour.client.otps.email.login_or_create(email="ada@acme.example")
    assert mine.user_id != theirs.user_id
    details = refusal(
        neighbour.client.otps.authenticate, method_id=mine.email_id, code=newest_code(consumer, "ada@acme.example")
    )
    assert_refused(details, 404, "otp_code_not_found")
    assert_refused(refusal(neighbour.client.users.get, mine.user_id), 404, "user_not_found")


# Consumer: passcodes


def test_a_mailed_code_signs_a_consumer_user_in(consumer):
    """login_or_create makes the user; the code from the outbox proves the address."""
    sent = consumer.client.otps.email.login_or_create(email="Ada@Acme.example")
    assert sent.user_created
    assert sent.user_id.startswith("user-test-") and sent.email_id.startswith("email-test-")
    mail = newest_mail(consumer, "ada@acme.example")
    assert mail["kind"] == "otp" and len(mail["code"]) == 6 and mail["sent_at"].endswith("Z")
    answer = consumer.client.otps.authenticate(method_id=sent.email_id, code=mail["code"])
    assert answer.user_id == sent.user_id and answer.method_id == sent.email_id
    assert answer.user.emails[0].email == "ada@acme.example" and answer.user.emails[0].verified
    assert not consumer.client.otps.email.login_or_create(email="ada@acme.example").user_created


def test_without_a_duration_a_consumer_login_creates_no_session(consumer):
    """`session_token` and `session_jwt` are empty strings, `session` is null."""
    answer = consumer_login(consumer)
    assert (answer.session_token, answer.session_jwt, answer.session) == ("", "", None)
    assert consumer.client.sessions.get(answer.user_id).sessions == []


def test_a_pending_user_becomes_active_by_signing_in(consumer):
    """`create_user_as_pending` holds until the first login."""
    sent = consumer.client.otps.email.login_or_create(email="ada@acme.example", create_user_as_pending=True)
    assert consumer.client.users.get(sent.user_id).status == "pending"
    consumer.client.otps.authenticate(method_id=sent.email_id, code=newest_code(consumer, "ada@acme.example"))
    assert consumer.client.users.get(sent.user_id).status == "active"


def test_send_does_not_sign_up(consumer):
    """404 `email_not_found` for a stranger; a known user gets a code."""
    assert_refused(refusal(consumer.client.otps.email.send, email="eve@acme.example"), 404, "email_not_found")
    consumer.client.users.create(email="ada@acme.example")
    sent = consumer.client.otps.email.send(email="ada@acme.example")
    answer = consumer.client.otps.authenticate(
        method_id=sent.email_id, code=newest_code(consumer, "ada@acme.example")
    )
    assert answer.user_id == sent.user_id


def test_a_wrong_consumer_code_is_refused_and_the_right_one_still_works(consumer):
    """401 `unable_to_auth_otp_code`; one mistake costs nothing."""
    sent = consumer.client.otps.email.login_or_create(email="ada@acme.example")
    code = newest_code(consumer, "ada@acme.example")
    details = refusal(consumer.client.otps.authenticate, method_id=sent.email_id, code=other_code(code))
    assert_refused(details, 401, "unable_to_auth_otp_code")
    assert consumer.client.otps.authenticate(method_id=sent.email_id, code=code).status_code == 200


def test_a_project_can_answer_not_found_to_a_wrong_code():
    """`wrong_passcode_error` shows clients the other documented answer; a spent code stays 401."""
    project = make_project("consumer", wrong_passcode_error="otp_code_not_found")
    sent = project.client.otps.email.login_or_create(email="ada@acme.example")
    code = newest_code(project, "ada@acme.example")
    details = refusal(project.client.otps.authenticate, method_id=sent.email_id, code=other_code(code))
    assert_refused(details, 404, "otp_code_not_found")
    project.client.otps.authenticate(method_id=sent.email_id, code=code)
    details = refusal(project.client.otps.authenticate, method_id=sent.email_id, code=code)
    assert_refused(details, 401, "unable_to_auth_otp_code")


def test_a_consumer_code_works_once(consumer):
    """The second use answers 401 `unable_to_auth_otp_code`."""
    sent = consumer.client.otps.email.login_or_create(email="ada@acme.example")
    code = newest_code(consumer, "ada@acme.example")
    consumer.client.otps.authenticate(method_id=sent.email_id, code=code)
    details = refusal(consumer.client.otps.authenticate, method_id=sent.email_id, code=code)
    assert_refused(details, 401, "unable_to_auth_otp_code")


def test_a_consumer_code_lives_two_minutes_unless_asked_otherwise(consumer):
    """Default 2 minutes; `expiration_minutes` is 1 to 10."""
    sent = consumer.client.otps.email.login_or_create(email="ada@acme.example")
    short = newest_code(consumer, "ada@acme.example")
    advance_clock(consumer, 121)
    details = refusal(consumer.client.otps.authenticate, method_id=sent.email_id, code=short)
    assert_refused(details, 401, "unable_to_auth_otp_code")
    consumer.client.otps.email.send(email="ada@acme.example", expiration_minutes=10)
    long = newest_code(consumer, "ada@acme.example")
    advance_clock(consumer, 500)
    assert consumer.client.otps.authenticate(method_id=sent.email_id, code=long).status_code == 200
    details = refusal(consumer.client.otps.email.send, email="ada@acme.example", expiration_minutes=11)
    assert_refused(details, 400, "invalid_expiration_otp")


def test_an_unknown_method_has_no_code(consumer):
    """404 `otp_code_not_found`, and the same for an address that never got a code."""
    details = refusal(consumer.client.otps.authenticate, method_id=f"email-test-{uuid.uuid4()}", code="123456")
    assert_refused(details, 404, "otp_code_not_found")
    user = consumer.client.users.create(email="ada@acme.example")
    details = refusal(consumer.client.otps.authenticate, method_id=user.email_id, code="123456")
    assert_refused(details, 404, "otp_code_not_found")


@pytest.mark.parametrize("email", ["ada", "ada@", "@acme.example", "a da@acme.example", "ada@acme", "a@b@c.example"])
def test_a_malformed_address_is_refused(consumer, email):
    """400 `invalid_email`, and nobody is created."""
    assert_refused(refusal(consumer.client.otps.email.login_or_create, email=email), 400, "invalid_email")
    assert consumer.client.users.search().results_metadata.total == 0


def test_failed_attempts_lock_a_user_for_a_while():
    """429 `user_lock_limit_reached` even for the right code, until the lock ends."""
    project = make_project("consumer", user_lock_threshold=3, user_lock_minutes=5)
    sent = project.client.otps.email.login_or_create(email="ada@acme.example", expiration_minutes=10)
    code = newest_code(project, "ada@acme.example")
    for _ in range(3):
        details = refusal(project.client.otps.authenticate, method_id=sent.email_id, code=other_code(code))
        assert_refused(details, 401, "unable_to_auth_otp_code")
    details = refusal(project.client.otps.authenticate, method_id=sent.email_id, code=code)
    assert_refused(details, 429, "user_lock_limit_reached")
    locked = project.client.users.get(sent.user_id)
    assert locked.is_locked and locked.lock_expires_at > locked.lock_created_at
    advance_clock(project, 301)
    assert project.client.otps.authenticate(method_id=sent.email_id, code=code).status_code == 200
    assert not project.client.users.get(sent.user_id).is_locked


def test_an_address_gets_one_mail_per_second_where_that_is_limited():
    """429 `too_many_requests` with `limit_sends`; by default the sandbox does not limit."""
    project = make_project("consumer", limit_sends=True)
    refused = 0
    for _ in range(6):
        try:
            project.client.otps.email.login_or_create(email="ada@acme.example")
        except StytchError as error:
            assert_refused(error.details, 429, "too_many_requests")
            refused += 1
    assert refused >= 1
    advance_clock(project, 2)
    assert project.client.otps.email.login_or_create(email="ada@acme.example").status_code == 200


# Consumer: magic links


def test_a_magic_link_leads_back_and_signs_in_once(consumer):
    """The mailed link redirects to the registered URL with a token that authenticates once."""
    sent = consumer.client.magic_links.email.login_or_create(
        email="ada@acme.example", login_magic_link_url=REDIRECT_URL
    )
    mail = newest_mail(consumer, "ada@acme.example")
    assert mail["kind"] == "magic_link"
    hop = requests.get(mail["url"], allow_redirects=False)
    assert hop.status_code == 302 and hop.headers["Location"].startswith(REDIRECT_URL + "?")
    token = hop.headers["Location"].split("token=")[-1]
    answer = consumer.client.magic_links.authenticate(token=token, session_duration_minutes=5)
    assert answer.user_id == sent.user_id
    assert answer.session.authentication_factors[0].type == "magic_link"
    details = refusal(consumer.client.magic_links.authenticate, token=token)
    assert_refused(details, 401, "unable_to_auth_magic_link")
    assert_refused(refusal(consumer.client.magic_links.authenticate, token="x"), 404, "magic_link_not_found")


def test_a_magic_link_is_bound_to_its_pkce_challenge(consumer):
    """The verifier must fit, must come, and must not come uninvited."""
    verifier = secrets.token_urlsafe(32)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    authenticate = consumer.client.magic_links.authenticate

    def mailed_token(**keywords):
        consumer.client.magic_links.email.login_or_create(email="ada@acme.example", **keywords)
        return newest_mail(consumer, "ada@acme.example")["url"].split("&token=")[-1]

    token = mailed_token(code_challenge=challenge)
    assert_refused(refusal(authenticate, token=token), 400, "pkce_expected_code_verifier")
    assert_refused(refusal(authenticate, token=token, code_verifier="wrong" * 10), 400, "pkce_mismatch")
    assert authenticate(token=token, code_verifier=verifier).status_code == 200
    plain = mailed_token()
    details = refusal(authenticate, token=plain, code_verifier=verifier)
    assert_refused(details, 400, "pkce_did_not_expect_code_verifier")


def test_a_magic_link_leads_only_to_registered_urls(consumer):
    """400 for a foreign URL, and for a project that has none; `send` signs nobody up."""
    send = consumer.client.magic_links.email.login_or_create
    details = refusal(send, email="ada@acme.example", login_magic_link_url="https://evil.example/")
    assert_refused(details, 400, "no_match_for_provided_magic_link_url")
    bare = make_project("consumer")
    details = refusal(bare.client.magic_links.email.login_or_create, email="ada@acme.example")
    assert_refused(details, 400, "no_login_redirect_urls_set")
    assert bare.client.users.search().results == []
    details = refusal(consumer.client.magic_links.email.send, email="eve@acme.example")
    assert_refused(details, 404, "email_not_found")


# Consumer: sessions


def test_a_consumer_session_lives_until_it_is_revoked(consumer):
    """Authenticate by token and by JWT, list, revoke by id; then it is gone."""
    login = consumer_login(consumer, session_duration_minutes=60)
    sessions = consumer.client.sessions
    by_token = sessions.authenticate(session_token=login.session_token)
    by_jwt = sessions.authenticate(session_jwt=by_token.session_jwt)
    assert by_token.session.session_id == by_jwt.session.session_id == login.session.session_id
    assert by_jwt.user.user_id == login.user_id and by_jwt.session_token == login.session_token
    assert [s.session_id for s in sessions.get(login.user_id).sessions] == [login.session.session_id]
    sessions.revoke(session_id=login.session.session_id)
    assert_refused(refusal(sessions.authenticate, session_token=login.session_token), 404, "session_not_found")
    assert_refused(refusal(sessions.authenticate, session_jwt=login.session_jwt), 404, "session_not_found")
    assert sessions.get(login.user_id).sessions == []
    assert sessions.revoke(session_id=login.session.session_id).status_code == 200


def test_session_arguments_must_be_exactly_one(consumer):
    """None, two, malformed and unknown arguments each have their error."""
    login = consumer_login(consumer, session_duration_minutes=60)
    sessions = consumer.client.sessions
    both = {"session_token": login.session_token, "session_jwt": login.session_jwt}
    assert_refused(refusal(sessions.authenticate), 400, "no_session_arguments")
    assert_refused(refusal(sessions.authenticate, **both), 400, "too_many_session_arguments")
    assert_refused(refusal(sessions.authenticate, session_token="x"), 404, "session_not_found")
    assert_refused(refusal(sessions.authenticate, session_jwt="x.y.z"), 401, "unable_to_parse_session_jwt")
    assert_refused(refusal(sessions.revoke), 400, "no_session_revoke_arguments")
    assert_refused(refusal(sessions.revoke, **both), 400, "too_many_session_revoke_arguments")
    for minutes in [4, 527_041]:
        details = refusal(
            sessions.authenticate, session_token=login.session_token, session_duration_minutes=minutes
        )
        assert_refused(details, 400, "invalid_session_duration_minutes")


def test_a_session_ends_and_can_be_extended(consumer):
    """Five minutes are five minutes, unless a later call asks for more."""
    ended = consumer_login(consumer, session_duration_minutes=5)
    extended = consumer_login(consumer, session_duration_minutes=5)
    sessions = consumer.client.sessions
    sessions.authenticate(session_token=extended.session_token, session_duration_minutes=60)
    advance_clock(consumer, 301)
    assert_refused(refusal(sessions.authenticate, session_token=ended.session_token), 404, "session_not_found")
    assert sessions.authenticate(session_token=extended.session_token).status_code == 200


def test_the_sdk_verifies_a_consumer_jwt_locally(consumer):
    """Signature by the published key, issuer, audience, times, and the session claim the SDK reads."""
    login = consumer_login(consumer, session_duration_minutes=60, session_custom_claims={"scopes": ["read"]})
    session = consumer.client.sessions.authenticate_jwt_local(login.session_jwt)
    assert session.session_id == login.session.session_id and session.user_id == login.user_id
    assert session.custom_claims == {"scopes": ["read"]}
    assert session.authentication_factors[0].email_factor.email_address == "ada@acme.example"
    assert consumer.client.sessions.authenticate_jwt(login.session_jwt).session.user_id == login.user_id
    claims = jwt.decode(login.session_jwt, options={"verify_signature": False})
    assert claims["iss"] == f"stytch.com/{consumer.id}" and claims["aud"] == [consumer.id]
    assert claims["exp"] - claims["iat"] == 300 and claims["nbf"] <= time.time()


def test_a_jwt_of_another_project_does_not_verify(consumer):
    """Each project has a key of its own."""
    neighbour = make_project("consumer")
    login = consumer_login(neighbour, session_duration_minutes=60)
    details = refusal(consumer.client.sessions.authenticate, session_jwt=login.session_jwt)
    assert_refused(details, 401, "unable_to_parse_session_jwt")
    with pytest.raises(jwt.PyJWKClientError):
        consumer.client.sessions.authenticate_jwt_local(login.session_jwt)


def test_custom_claims_are_merged_and_null_removes_one(consumer):
    """`session_custom_claims` of a later call change only what they name."""
    login = consumer_login(consumer, session_duration_minutes=60, session_custom_claims={"a": 1, "b": 2})
    again = consumer.client.sessions.authenticate(
        session_token=login.session_token, session_custom_claims={"b": None, "c": 3}
    )
    assert again.session.custom_claims == {"a": 1, "c": 3}


def test_keys_are_public(consumer, b2b):
    """JWKS needs no credentials; an unknown project has none."""
    assert consumer.client.sessions.get_jwks(consumer.id).keys[0].kid.startswith("jwk-test-")
    assert b2b.client.sessions.get_jwks(b2b.id).keys[0].alg == "RS256"
    for path in [f"/v1/sessions/jwks/{consumer.id}", f"/v1/b2b/sessions/jwks/{b2b.id}"]:
        assert requests.get(SANDBOX + path).status_code == 200
    assert requests.get(f"{SANDBOX}/v1/sessions/jwks/project-test-unknown").status_code == 400


def test_an_authorization_check_is_never_granted(consumer):
    """The sandbox has no RBAC policy; silence would read as consent."""
    login = consumer_login(consumer, session_duration_minutes=60)
    details = refusal(
        consumer.client.sessions.authenticate,
        session_token=login.session_token,
        authorization_check={"resource_id": "documents", "action": "read"},
    )
    assert_refused(details, 403, "session_authorization_error")


# Consumer: users


def test_users_are_created_read_updated_searched_and_deleted(consumer):
    """The whole life of a user, by the SDK."""
    users = consumer.client.users
    created = users.create(
        email="ada@acme.example",
        name={"first_name": "Ada", "last_name": "Lovelace"},
        external_id="ada 1/a",
        trusted_metadata={"plan": "pro"},
    )
    assert (created.status, created.phone_id) == ("active", "")
    assert users.get("ada 1/a").user_id == created.user_id
    assert consumer.client.sessions.get("ada 1/a").sessions == []
    updated = users.update(created.user_id, name={"first_name": "Augusta"}, trusted_metadata={"plan": "free"})
    assert updated.user.name.first_name == "Augusta" and updated.user.name.last_name == "Lovelace"
    assert users.get(created.user_id).trusted_metadata == {"plan": "free"}
    query = {"operator": "AND", "operands": [{"filter_name": "email_address", "filter_value": ["ada@acme.example"]}]}
    assert [user.user_id for user in users.search(query=query).results] == [created.user_id]
    assert_refused(refusal(users.create, email="ada@acme.example"), 400, "duplicate_email")
    assert users.delete(created.user_id).user_id == created.user_id
    assert_refused(refusal(users.get, created.user_id), 404, "user_not_found")
    assert users.search(query=query).results == []


def test_deleting_a_user_ends_the_sessions(consumer):
    """A deleted user's token is worth nothing."""
    login = consumer_login(consumer, session_duration_minutes=60)
    consumer.client.users.delete(login.user_id)
    details = refusal(consumer.client.sessions.authenticate, session_token=login.session_token)
    assert_refused(details, 404, "session_not_found")


def test_search_pages_through_all_users(consumer):
    """Every user once, `total` on each page, no cursor on the last."""
    created = [consumer.client.users.create(email=f"user{n}@acme.example").user_id for n in range(5)]
    seen, cursor = [], None
    while True:
        page = consumer.client.users.search(limit=2, cursor=cursor)
        assert page.results_metadata.total == 5
        seen += [user.user_id for user in page.results]
        cursor = page.results_metadata.next_cursor
        if cursor is None:
            break
    assert sorted(seen) == sorted(created)


# B2B: passcodes


def test_a_mailed_code_signs_a_member_in(b2b):
    """A member gets a code; it proves the address and makes a 60-minute session without being asked."""
    organization = make_organization(b2b)
    created = b2b.client.organizations.members.create(
        organization_id=organization.organization_id, email_address="Ada@acme.example", name="Ada"
    )
    sent = b2b.client.otps.email.login_or_signup(
        organization_id=organization.organization_slug, email_address="ada@acme.example"
    )
    assert sent.member_id == created.member_id and not sent.member_created
    answer = b2b.client.otps.email.authenticate(
        organization_id=organization.organization_slug,
        email_address="ada@acme.example",
        code=newest_code(b2b, "ada@acme.example"),
    )
    assert answer.member_authenticated and answer.intermediate_session_token == ""
    assert answer.organization_id == organization.organization_id and answer.member_id == created.member_id
    assert answer.member.status == "active" and answer.member.email_address_verified
    assert (answer.member_session.expires_at - answer.member_session.started_at).total_seconds() == 3600
    assert answer.member_session.authentication_factors[0].type == "email_otp"
    assert answer.member_session.roles == ["stytch_member"]


def test_a_newer_code_ends_the_older_one(b2b):
    """Only the newest code counts."""
    organization = make_organization(b2b)
    key = {"organization_id": organization.organization_id, "email_address": "ada@acme.example"}
    b2b.client.organizations.members.create(**key)
    b2b.client.otps.email.login_or_signup(**key)
    older = newest_code(b2b, "ada@acme.example")
    b2b.client.otps.email.login_or_signup(**key)
    newer = newest_code(b2b, "ada@acme.example")
    if older != newer:
        details = refusal(b2b.client.otps.email.authenticate, **key, code=older)
        assert_refused(details, 401, "unable_to_auth_otp_code")
    assert b2b.client.otps.email.authenticate(**key, code=newer).member_authenticated
    details = refusal(b2b.client.otps.email.authenticate, **key, code=newer)
    assert_refused(details, 401, "unable_to_auth_otp_code")


def test_a_member_code_lives_ten_minutes_unless_asked_otherwise(b2b):
    """Default 10 minutes; `login_expiration_minutes` is 2 to 15."""
    organization = make_organization(b2b)
    key = {"organization_id": organization.organization_id, "email_address": "ada@acme.example"}
    b2b.client.organizations.members.create(**key)
    b2b.client.otps.email.login_or_signup(**key)
    code = newest_code(b2b, "ada@acme.example")
    advance_clock(b2b, 601)
    details = refusal(b2b.client.otps.email.authenticate, **key, code=code)
    assert_refused(details, 401, "unable_to_auth_otp_code")
    details = refusal(b2b.client.otps.email.login_or_signup, **key, login_expiration_minutes=16)
    assert_refused(details, 400, "invalid_expiration_otp")


def test_a_code_of_one_organization_opens_no_other(b2b):
    """The same address is another member in another organization."""
    one, other = make_organization(b2b), make_organization(b2b)
    for organization in [one, other]:
        b2b.client.organizations.members.create(
            organization_id=organization.organization_id, email_address="ada@acme.example"
        )
    b2b.client.otps.email.login_or_signup(
        organization_id=one.organization_id, email_address="ada@acme.example"
    )
    details = refusal(
        b2b.client.otps.email.authenticate,
        organization_id=other.organization_id,
        email_address="ada@acme.example",
        code=newest_code(b2b, "ada@acme.example"),
    )
    assert_refused(details, 404, "otp_code_not_found")


def test_failed_attempts_lock_a_member():
    """429 `user_lock_limit_reached`, and `is_locked` on the member."""
    project = make_project("b2b", user_lock_threshold=2)
    organization = make_organization(project)
    key = {"organization_id": organization.organization_id, "email_address": "ada@acme.example"}
    project.client.organizations.members.create(**key)
    project.client.otps.email.login_or_signup(**key)
    code = newest_code(project, "ada@acme.example")
    for _ in range(2):
        refusal(project.client.otps.email.authenticate, **key, code=other_code(code))
    details = refusal(project.client.otps.email.authenticate, **key, code=code)
    assert_refused(details, 429, "user_lock_limit_reached")
    assert project.client.organizations.members.get(**key).member.is_locked


# B2B: admission


def test_a_stranger_is_admitted_only_where_the_organization_says_so(b2b):
    """NOT_ALLOWED refuses everybody, RESTRICTED all but the allowed domains."""
    closed = make_organization(b2b)
    open_to_acme = make_organization(
        b2b, email_jit_provisioning="RESTRICTED", email_allowed_domains=["acme.example"]
    )
    signup = b2b.client.otps.email.login_or_signup
    details = refusal(signup, organization_id=closed.organization_id, email_address="new@acme.example")
    assert_refused(details, 400, "email_jit_provisioning_not_allowed")
    details = refusal(signup, organization_id=open_to_acme.organization_id, email_address="new@globex.example")
    assert_refused(details, 400, "invalid_email_for_jit_provisioning")
    sent = signup(organization_id=open_to_acme.organization_id, email_address="new@acme.example")
    assert sent.member_created and sent.member.status == "pending"
    answer = b2b_login(b2b, open_to_acme, "new@acme.example")
    assert answer.member_id == sent.member_id and answer.member.status == "active"
    search = b2b.client.organizations.members.search
    assert search(organization_ids=[closed.organization_id]).results_metadata.total == 0


def test_a_deleted_member_cannot_sign_in(b2b):
    """The member is kept with status `deleted`, the session ends, and admission is asked anew."""
    organization = make_organization(b2b)
    members = b2b.client.organizations.members
    created = members.create(organization_id=organization.organization_id, email_address="ada@acme.example")
    login = b2b_login(b2b, organization, "ada@acme.example")
    members.delete(organization.organization_id, created.member_id)
    details = refusal(b2b.client.sessions.authenticate, session_token=login.session_token)
    assert_refused(details, 404, "session_not_found")
    gone = members.get(organization_id=organization.organization_id, member_id=created.member_id)
    assert gone.member.status == "deleted"
    details = refusal(
        b2b.client.otps.email.login_or_signup,
        organization_id=organization.organization_id,
        email_address="ada@acme.example",
    )
    assert_refused(details, 400, "email_jit_provisioning_not_allowed")
    assert members.reactivate(organization.organization_id, created.member_id).member.status == "active"
    assert b2b_login(b2b, organization, "ada@acme.example").member_id == created.member_id


def test_an_organization_may_forbid_codes(b2b):
    """400 `operation_restricted_by_organization_auth_methods`."""
    organization = make_organization(b2b, auth_methods="RESTRICTED", allowed_auth_methods=["sso"])
    key = {"organization_id": organization.organization_id, "email_address": "ada@acme.example"}
    b2b.client.organizations.members.create(**key)
    details = refusal(b2b.client.otps.email.login_or_signup, **key)
    assert_refused(details, 400, "operation_restricted_by_organization_auth_methods")


def test_a_required_second_factor_is_not_a_login(b2b):
    """HTTP 200 with `member_authenticated` false, an intermediate token, and no session."""
    organization = make_organization(b2b, mfa_policy="REQUIRED_FOR_ALL")
    b2b.client.organizations.members.create(
        organization_id=organization.organization_id, email_address="ada@acme.example"
    )
    answer = b2b_login(b2b, organization, "ada@acme.example")
    assert answer.status_code == 200 and not answer.member_authenticated
    assert (answer.session_token, answer.session_jwt, answer.member_session) == ("", "", None)
    assert answer.intermediate_session_token and answer.mfa_required is not None
    details = refusal(b2b.client.sessions.authenticate, session_token=answer.intermediate_session_token)
    assert_refused(details, 404, "session_not_found")


def test_an_enrolled_member_owes_a_second_factor_anywhere(b2b):
    """`mfa_enrolled` asks for it even where the organization does not."""
    organization = make_organization(b2b)
    b2b.client.organizations.members.create(
        organization_id=organization.organization_id,
        email_address="ada@acme.example",
        mfa_enrolled=True,
        mfa_phone_number="+10000000000",
    )
    answer = b2b_login(b2b, organization, "ada@acme.example")
    assert not answer.member_authenticated
    assert answer.mfa_required.member_options.mfa_phone_number == "+10000000000"


def test_an_unknown_organization_has_nobody(b2b):
    """404 `organization_not_found`."""
    details = refusal(
        b2b.client.otps.email.login_or_signup,
        organization_id=f"organization-test-{uuid.uuid4()}",
        email_address="ada@acme.example",
    )
    assert_refused(details, 404, "organization_not_found")


# B2B: sessions


def test_a_member_session_lives_until_it_is_revoked(b2b):
    """Authenticate by token and JWT, list, revoke by each of the four names."""
    organization = make_organization(b2b)
    key = {"organization_id": organization.organization_id}
    member = b2b.client.organizations.members.create(**key, email_address="ada@acme.example")
    sessions = b2b.client.sessions
    logins = [b2b_login(b2b, organization, "ada@acme.example", session_duration_minutes=5) for _ in range(5)]
    for login in logins:
        answer = sessions.authenticate(session_token=login.session_token)
        assert answer.member_session.member_session_id == login.member_session.member_session_id
        assert answer.organization.organization_id == organization.organization_id
        assert sessions.authenticate(session_jwt=answer.session_jwt).member.member_id == member.member_id
    assert len(sessions.get(**key, member_id=member.member_id).member_sessions) == 5
    sessions.revoke(member_session_id=logins[0].member_session.member_session_id)
    sessions.revoke(session_token=logins[1].session_token)
    sessions.revoke(session_jwt=logins[2].session_jwt)
    assert len(sessions.get(**key, member_id=member.member_id).member_sessions) == 2
    sessions.revoke(member_id=member.member_id)
    assert sessions.get(**key, member_id=member.member_id).member_sessions == []
    for login in logins:
        details = refusal(sessions.authenticate, session_token=login.session_token)
        assert_refused(details, 404, "session_not_found")


def test_the_sdk_verifies_a_member_jwt_locally(b2b):
    """Signature, issuer, audience, times, the session claim and the organization claim."""
    organization = make_organization(b2b)
    b2b.client.organizations.members.create(
        organization_id=organization.organization_id, email_address="ada@acme.example", roles=["editor"]
    )
    login = b2b_login(b2b, organization, "ada@acme.example", session_custom_claims={"scopes": ["read"]})
    session = b2b.client.sessions.authenticate_jwt_local(login.session_jwt)
    assert session.organization_id == organization.organization_id
    assert session.organization_slug == organization.organization_slug
    assert session.member_id == login.member_id and session.roles == ["stytch_member", "editor"]
    assert session.custom_claims == {"scopes": ["read"]}


# B2B: organizations and members


def test_organizations_are_created_read_updated_searched_and_deleted(b2b):
    """The whole life of an organization, by the SDK; id, slug and external id name it alike."""
    organizations = b2b.client.organizations
    created = organizations.create(
        organization_name="Globex", organization_slug="globex", organization_external_id="globex 1"
    ).organization
    assert created.email_jit_provisioning == "NOT_ALLOWED" and created.sso_jit_provisioning == "ALL_ALLOWED"
    for key in [created.organization_id, "globex", "globex 1"]:
        assert organizations.get(key).organization.organization_id == created.organization_id
    updated = organizations.update(
        created.organization_id,
        organization_name="Globex Corporation",
        email_jit_provisioning="RESTRICTED",
        email_allowed_domains=["globex.example"],
        trusted_metadata={"tier": 1},
    ).organization
    assert updated.organization_name == "Globex Corporation" and updated.email_allowed_domains == ["globex.example"]
    assert updated.trusted_metadata == {"tier": 1}
    query = {"operator": "AND", "operands": [{"filter_name": "organization_slugs", "filter_value": ["globex"]}]}
    assert organizations.search(query=query).results_metadata.total == 1
    details = refusal(organizations.create, organization_name="Other", organization_slug="globex")
    assert_refused(details, 400, "organization_slug_already_used")
    assert organizations.delete(created.organization_id).organization_id == created.organization_id
    assert_refused(refusal(organizations.get, created.organization_id), 404, "organization_not_found")


@pytest.mark.parametrize(
    "settings, error_type",
    [
        ({"organization_slug": "a"}, "invalid_organization_slug"),
        ({"organization_slug": "with space"}, "invalid_organization_slug"),
        ({"email_jit_provisioning": "SOMETIMES"}, "bad_request"),
        ({"mfa_policy": "NEVER"}, "bad_request"),
        ({"email_allowed_domains": ["gmail.com"]}, "organization_settings_domain_too_common"),
    ],
)
def test_bad_organization_settings_are_refused(b2b, settings, error_type):
    """400, and no organization."""
    details = refusal(b2b.client.organizations.create, organization_name="Acme", **settings)
    assert_refused(details, 400, error_type)
    assert b2b.client.organizations.search().results_metadata.total == 0


def test_members_are_created_read_updated_searched_and_deleted(b2b):
    """The whole life of a member, by the SDK."""
    organization, other = make_organization(b2b), make_organization(b2b)
    key = {"organization_id": organization.organization_id}
    members = b2b.client.organizations.members
    created = members.create(**key, email_address="ada@acme.example", external_id="ada-1", roles=["editor"])
    assert created.member.status == "active" and not created.member.email_address_verified
    assert [role.role_id for role in created.member.roles] == ["stytch_member", "editor"]
    assert members.get(**key, email_address="ADA@acme.example").member_id == created.member_id
    assert members.get(**key, member_id="ada-1").member_id == created.member_id
    updated = members.update(**key, member_id=created.member_id, name="Ada", trusted_metadata={"team": "x"})
    assert updated.member.name == "Ada" and updated.member.trusted_metadata == {"team": "x"}
    assert_refused(
        refusal(members.create, **key, email_address="ada@acme.example"), 400, "duplicate_member_email"
    )
    pending = members.create(**key, email_address="bob@acme.example", create_member_as_pending=True)
    assert pending.member.status == "pending"
    query = {"operator": "AND", "operands": [{"filter_name": "member_emails", "filter_value": ["ada@acme.example"]}]}
    found = members.search(organization_ids=[organization.organization_id, other.organization_id], query=query)
    assert [member.member_id for member in found.members] == [created.member_id]
    assert list(found.organizations) == [organization.organization_id]
    assert_refused(refusal(members.search, organization_ids=[]), 400, "member_search_organization_ids_empty")
    details = refusal(members.get, organization_id=other.organization_id, member_id=created.member_id)
    assert_refused(details, 404, "member_not_found")
    assert_refused(refusal(members.get, **key), 400, "invalid_member_get_fields")
    assert members.delete(**key, member_id=created.member_id).member_id == created.member_id
    assert [m.member_id for m in members.search(organization_ids=[organization.organization_id]).members] == [
        pending.member_id
    ]


# Test values


def test_the_published_consumer_values_work_in_test_projects(consumer):
    """Address, code, link and session constants; the user behind them cannot be looked up."""
    client = consumer.client
    sent = client.otps.email.login_or_create(email="sandbox@stytch.com")
    answer = client.otps.authenticate(method_id=sent.email_id, code="000000")
    assert answer.user_id == SANDBOX_USER
    good = client.magic_links.authenticate(token="DOYoip3rvIMMW5lgItikFK-Ak1CfMsgjuiCyI7uuU94=")
    assert good.user_id == SANDBOX_USER
    details = refusal(client.magic_links.authenticate, token="3pzjQpgksDlGKWEwUq2Up--hCHC_0oamfLHyfspKDFU=")
    assert_refused(details, 401, "unable_to_auth_magic_link")
    details = refusal(client.magic_links.authenticate, token="CprTtwhnRNiMBiUS2jSLcWYrfuO2POeBNdo5HhW6qTM=")
    assert_refused(details, 404, "magic_link_not_found")
    assert client.sessions.authenticate(session_token=SANDBOX_SESSION_TOKEN).user.user_id == SANDBOX_USER
    unknown = "59cnLELtq5cFVS6uYK9f-pAWzBkhqZl8AvLhbhOvKNWw"
    assert_refused(refusal(client.sessions.authenticate, session_token=unknown), 404, "session_not_found")
    assert_refused(refusal(client.sessions.get, SANDBOX_USER), 404, "user_not_found")
    mails = requests.get(f"{SANDBOX}/__test/outbox", params={"project_id": consumer.id}).json()
    assert mails == []


def test_the_published_b2b_values_work_in_test_projects(b2b):
    """The fixed organization takes the fixed address and code."""
    key = {"organization_id": SANDBOX_ORGANIZATION, "email_address": "sandbox@stytch.com"}
    b2b.client.otps.email.login_or_signup(**key)
    answer = b2b.client.otps.email.authenticate(**key, code="000000")
    assert answer.member_authenticated and answer.organization_id == SANDBOX_ORGANIZATION
    session = b2b.client.sessions.authenticate(session_token=SANDBOX_SESSION_TOKEN)
    assert session.organization.organization_id == SANDBOX_ORGANIZATION
    assert b2b.client.organizations.search().results_metadata.total == 0


def test_live_projects_know_no_test_values():
    """In a live project the constants are nothing special, and ids say `live`."""
    live = make_project("consumer", environment="live")
    sent = live.client.otps.email.login_or_create(email="sandbox@stytch.com")
    assert sent.user_id.startswith("user-live-") and sent.request_id.startswith("request-id-live-")
    code = newest_code(live, "sandbox@stytch.com")
    if code != "000000":
        details = refusal(live.client.otps.authenticate, method_id=sent.email_id, code="000000")
        assert_refused(details, 401, "unable_to_auth_otp_code")
    details = refusal(live.client.sessions.authenticate, session_token=SANDBOX_SESSION_TOKEN)
    assert_refused(details, 404, "session_not_found")
    details = refusal(live.client.magic_links.authenticate, token="DOYoip3rvIMMW5lgItikFK-Ak1CfMsgjuiCyI7uuU94=")
    assert_refused(details, 404, "magic_link_not_found")
    closed = make_project("b2b", environment="live")
    assert_refused(refusal(closed.client.organizations.get, SANDBOX_ORGANIZATION), 404, "organization_not_found")


# The test channel


def test_the_outbox_shows_the_newest_mail_first(consumer):
    """Only the address asked for, newest first."""
    for _ in range(3):
        consumer.client.otps.email.login_or_create(email="ada@acme.example")
    consumer.client.otps.email.login_or_create(email="bob@acme.example")
    mails = requests.get(
        f"{SANDBOX}/__test/outbox", params={"email": "ada@acme.example", "project_id": consumer.id}
    ).json()
    assert len(mails) == 3 and [m["sent_at"] for m in mails] == sorted([m["sent_at"] for m in mails], reverse=True)
    assert all(m["kind"] == "otp" and "url" not in m for m in mails)


def test_a_project_id_is_taken_once(consumer):
    """409 for a second project with that id."""
    body = {"vertical": "consumer", "project_id": consumer.id, "secret": "x"}
    assert requests.post(f"{SANDBOX}/__test/projects", json=body).status_code == 409


def test_a_project_can_be_made_with_people_in_it():
    """Organizations, members and their ids, as a projects file has them."""
    organization_id, member_id = f"organization-test-{uuid.uuid4()}", f"member-test-{uuid.uuid4()}"
    project = make_project(
        "b2b",
        organizations=[
            {
                "organization_id": organization_id,
                "organization_name": "Acme",
                "email_jit_provisioning": "RESTRICTED",
                "email_allowed_domains": ["acme.example"],
                "members": [
                    {"member_id": member_id, "email_address": "ada@acme.example", "status": "invited", "name": "Ada"}
                ],
            }
        ],
    )
    member = project.client.organizations.members.get(organization_id=organization_id, member_id=member_id).member
    assert (member.status, member.name) == ("invited", "Ada")
    organization = project.client.organizations.get("acme").organization
    assert organization.organization_id == organization_id
    assert b2b_login(project, organization, "ada@acme.example").member.status == "active"


def test_faults_break_one_project_only(consumer):
    """`error_500`, `too_many_requests`, `slow` and `down` on one project; the neighbour does not notice."""
    neighbour = make_project("consumer")
    set_fault(consumer, "error_500")
    assert_refused(refusal(consumer.client.users.search), 500, "internal_server_error")
    assert requests.get(f"{SANDBOX}/v1/sessions/jwks/{consumer.id}").status_code == 500
    set_fault(consumer, "too_many_requests")
    assert_refused(refusal(consumer.client.users.search), 429, "too_many_requests")
    set_fault(consumer, "slow", delay_ms=400)
    began = time.monotonic()
    consumer.client.users.search()
    assert time.monotonic() - began >= 0.4
    set_fault(consumer, "down")
    with pytest.raises(requests.ConnectionError):
        call(consumer, "POST", "/v1/users/search", json={})
    assert neighbour.client.users.search().status_code == 200
    set_fault(consumer, "none")
    assert consumer.client.users.search().status_code == 200


def test_the_sandbox_says_that_it_is_up():
    """`GET /healthz` answers 200."""
    assert requests.get(f"{SANDBOX}/healthz").status_code == 200
