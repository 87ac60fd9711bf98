-- Assertions that were used: a client's, or another issuer's about a person (RFC 7523 section 3). A row ends with the
-- assertion it stands for.
CREATE TABLE claimed_assertion (
    organization_id uuid NOT NULL REFERENCES organization (organization_id),
    -- SHA-256 of who made it and its jti.
    digest bytea NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, digest)
);
CREATE INDEX claimed_assertion_expiry ON claimed_assertion (organization_id, expires_at);

ALTER TABLE claimed_assertion ENABLE ROW LEVEL SECURITY;
ALTER TABLE claimed_assertion FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON claimed_assertion TO gatehouse_app USING (organization_id =
    (SELECT nullif(current_setting('app.organization_id', true), '')::uuid));
GRANT SELECT, INSERT, UPDATE, DELETE ON claimed_assertion TO gatehouse_app;
