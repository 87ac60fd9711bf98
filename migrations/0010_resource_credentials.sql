-- What asks about tokens, and tokens that administrators issue by name.

-- The credentials with which a protected resource asks whether a token works (RFC 7662).
CREATE TABLE resource_credential (
    organization_id uuid NOT NULL,
    id uuid NOT NULL,
    resource_id uuid NOT NULL,
    name text NOT NULL,
    -- SHA-256 of its secret; null where it proves a key instead.
    secret_digest bytea,
    -- Public keys it signs its assertions with (RFC 7523), a JWK Set; null where it has a secret.
    jwks jsonb,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, id),
    FOREIGN KEY (organization_id, resource_id) REFERENCES resource (organization_id, id) ON DELETE CASCADE,
    CHECK ((secret_digest IS NULL) <> (jwks IS NULL))
);
CREATE INDEX resource_credential_resource ON resource_credential (organization_id, resource_id)
    WHERE resource_id IS NOT NULL;

-- A credential may be used at the platform issuer too, where nothing but its id says whose it is.
CREATE TABLE credential_route (credential_id uuid PRIMARY KEY, organization_id uuid NOT NULL);

CREATE FUNCTION organization_of_credential(wanted uuid) RETURNS uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public
    RETURN (SELECT organization_id FROM public.credential_route WHERE credential_id = wanted);
CREATE FUNCTION claim_credential(wanted uuid) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    IF public.current_organization() IS NULL THEN RAISE EXCEPTION 'no organization' USING ERRCODE = '42501'; END IF;
    INSERT INTO public.credential_route VALUES (wanted, public.current_organization()) ON CONFLICT DO NOTHING;
    RETURN FOUND;
END $$;

-- Access tokens that an administrator issued by name, for a person or a service; the token itself is not stored.
CREATE TABLE programmatic_token (
    organization_id uuid NOT NULL REFERENCES organization (organization_id),
    -- Its jti and its client_id.
    id uuid NOT NULL,
    name text NOT NULL,
    -- Whom it speaks for: one of the two.
    user_id uuid,
    client_id uuid,
    -- The issuer it names: this organization, or the platform.
    issuer_organization_id uuid NOT NULL,
    resource_id uuid NOT NULL,
    signing_key_id uuid NOT NULL,
    scope text[] NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    PRIMARY KEY (organization_id, id),
    FOREIGN KEY (organization_id, user_id) REFERENCES "user" (organization_id, id) ON DELETE CASCADE,
    FOREIGN KEY (organization_id, client_id) REFERENCES client (organization_id, id) ON DELETE CASCADE,
    CHECK ((user_id IS NULL) <> (client_id IS NULL))
);
CREATE INDEX programmatic_token_user ON programmatic_token (organization_id, user_id) WHERE user_id IS NOT NULL;
CREATE INDEX programmatic_token_client ON programmatic_token (organization_id, client_id) WHERE client_id IS NOT NULL;

-- The end of the last token that the key signed, beside those whose short life is known anyway: a retired key stays
-- published until then.
ALTER TABLE signing_key ADD COLUMN needed_until timestamptz;

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['resource_credential', 'programmatic_token']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY tenant ON %I TO gatehouse_app USING (organization_id = '
            '(SELECT nullif(current_setting(''app.organization_id'', true), '''')::uuid))', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO gatehouse_app', name);
    END LOOP;
END $$;
REVOKE EXECUTE ON FUNCTION organization_of_credential(uuid), claim_credential(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION organization_of_credential(uuid), claim_credential(uuid) TO gatehouse_app;
