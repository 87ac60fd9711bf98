-- Tokens that let a client register where registration is not open to everybody (RFC 7591 section 3).
CREATE TABLE initial_access_token (
    organization_id uuid NOT NULL REFERENCES organization (organization_id),
    id uuid NOT NULL,
    name text NOT NULL,
    secret_digest bytea NOT NULL,
    -- Registrations it may still be used for; null: any number.
    uses_left integer CHECK (uses_left >= 0),
    created_by text NOT NULL,
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, id)
);
ALTER TABLE initial_access_token ENABLE ROW LEVEL SECURITY;
ALTER TABLE initial_access_token FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON initial_access_token TO gatehouse_app USING (organization_id =
    (SELECT nullif(current_setting('app.organization_id', true), '')::uuid));
GRANT SELECT, INSERT, UPDATE, DELETE ON initial_access_token TO gatehouse_app;
