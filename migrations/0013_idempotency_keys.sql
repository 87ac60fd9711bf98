-- Replies of administrative writes, for who repeats one with the same Idempotency-Key. A row is committed with the change
-- whose reply it holds.
CREATE TABLE idempotency_key (
    organization_id uuid NOT NULL REFERENCES organization (organization_id),
    -- SHA-256 of the credential's id and the key that its holder chose.
    digest bytea NOT NULL,
    -- SHA-256 of method, target and body: the same key for another request is a mistake.
    request_digest bytea NOT NULL,
    -- Opened by the caller's credential and key alone, since it may hold a secret that was shown once.
    reply_sealed bytea NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, digest)
);
CREATE INDEX idempotency_key_expiry ON idempotency_key (organization_id, expires_at) WHERE expires_at IS NOT NULL;
ALTER TABLE idempotency_key ENABLE ROW LEVEL SECURITY;
ALTER TABLE idempotency_key FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON idempotency_key TO gatehouse_app USING (organization_id =
    (SELECT nullif(current_setting('app.organization_id', true), '')::uuid));
GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_key TO gatehouse_app;
