-- What people gave to clients, and what makes sure that nothing is spent twice.

-- The last decision of a person about a client and a resource; reused only where reuse of consent is allowed.
CREATE TABLE consent (
    organization_id uuid NOT NULL,
    user_id uuid NOT NULL,
    client_id uuid NOT NULL,
    resource_id uuid NOT NULL,
    scope text[] NOT NULL,
    granted_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, user_id, client_id, resource_id),
    FOREIGN KEY (organization_id, user_id) REFERENCES "user" (organization_id, id) ON DELETE CASCADE,
    FOREIGN KEY (organization_id, client_id) REFERENCES client_admission (organization_id, client_id) ON DELETE CASCADE
);

-- One connection of a client: what a person gave it for a resource, and its one family of refresh tokens.
CREATE TABLE "grant" (
    organization_id uuid NOT NULL,
    id uuid NOT NULL,
    -- The issuer that made it: this organization, or the platform.
    issuer_organization_id uuid NOT NULL,
    user_id uuid NOT NULL,
    client_id uuid NOT NULL,
    resource_id uuid NOT NULL,
    scope text[] NOT NULL,
    status text NOT NULL CHECK (status IN ('active', 'revoked')),
    revoked_reason text,
    auth_time timestamptz NOT NULL,
    -- What policy may ask at every refresh: whether several factors were shown, and the identity provider's ceiling.
    mfa boolean NOT NULL,
    upstream_ceiling text[],
    -- SHA-256 of the secret that all refresh tokens of this family carry; null when none was issued.
    family_digest bytea,
    -- SHA-256 of the refresh token that may be used next, and of the one before it.
    current_digest bytea,
    previous_digest bytea,
    previous_at timestamptz,
    generation integer NOT NULL DEFAULT 0,
    -- The current token, sealed under a key derived from the previous one; erased when no retry may ask for it.
    successor_sealed bytea,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    last_used_at timestamptz NOT NULL,
    -- The end of idleness and the end of all; both move only as the organization's settings allow.
    idle_expires_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, id),
    FOREIGN KEY (organization_id, user_id) REFERENCES "user" (organization_id, id) ON DELETE CASCADE,
    FOREIGN KEY (organization_id, client_id) REFERENCES client_admission (organization_id, client_id) ON DELETE CASCADE
) WITH (fillfactor = 80);
CREATE INDEX grant_user ON "grant" (organization_id, user_id);
CREATE INDEX grant_client ON "grant" (organization_id, client_id);
CREATE INDEX grant_successor ON "grant" (organization_id, previous_at) WHERE successor_sealed IS NOT NULL;

-- Authorization codes that were redeemed: the only judge of "once".
CREATE TABLE redeemed_code (
    organization_id uuid NOT NULL,
    code_digest bytea NOT NULL,
    client_id uuid NOT NULL,
    code_challenge text NOT NULL,
    grant_id uuid NOT NULL,
    redeemed_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, code_digest),
    FOREIGN KEY (organization_id, grant_id) REFERENCES "grant" (organization_id, id) ON DELETE CASCADE
);
CREATE INDEX redeemed_code_grant ON redeemed_code (organization_id, grant_id);

-- Access tokens ended before their time, kept until they would have expired.
CREATE TABLE revoked_token (
    organization_id uuid NOT NULL REFERENCES organization (organization_id),
    jti uuid NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, jti)
);

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['consent', 'grant', 'redeemed_code', 'revoked_token']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY tenant ON %I TO gatehouse_app USING (organization_id = '
            '(SELECT nullif(current_setting(''app.organization_id'', true), '''')::uuid))', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO gatehouse_app', name);
    END LOOP;
END $$;
