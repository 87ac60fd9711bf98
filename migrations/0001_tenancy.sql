-- Organizations and what they own.
--
-- Every tenant-owned table leads with organization_id in its primary key, unique keys and foreign keys, and forces
-- row-level security on the setting app.organization_id. The tables named *_route and epoch are the only exceptions:
-- routes hold globally unique names and are reached through exact-key functions alone; epoch holds no tenant data.

-- The reserved organization that owns what belongs to the platform: shared resources, clients registered at the
-- platform issuer, platform keys and the platform's audit log.
CREATE FUNCTION platform_organization() RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN '00000000-0000-7000-8000-000000000000'::uuid;

CREATE TABLE organization (
    organization_id uuid PRIMARY KEY,
    slug text NOT NULL,
    name text NOT NULL,
    status text NOT NULL CHECK (status IN ('active', 'suspended', 'deleted')),
    -- This organization's data key, wrapped under the master key.
    data_key bytea NOT NULL,
    settings jsonb NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

-- What cached data of an organization was last changed; asserted by every statement that issues a token.
CREATE TABLE epoch (
    organization_id uuid PRIMARY KEY,
    value bigint NOT NULL,
    changed_at timestamptz NOT NULL
);
CREATE INDEX epoch_changed ON epoch (changed_at);

CREATE TABLE domain (
    organization_id uuid NOT NULL REFERENCES organization (organization_id),
    domain text NOT NULL,
    status text NOT NULL CHECK (status IN ('pending', 'verified')),
    verification_token text NOT NULL,
    verified_at timestamptz,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, domain)
);

CREATE TABLE "user" (
    organization_id uuid NOT NULL REFERENCES organization (organization_id),
    id uuid NOT NULL,
    email text,
    email_verified boolean NOT NULL DEFAULT false,
    name text,
    status text NOT NULL CHECK (status IN ('active', 'disabled')),
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, id)
);
CREATE UNIQUE INDEX user_email ON "user" (organization_id, lower(email));

CREATE TABLE identity_provider (
    organization_id uuid NOT NULL REFERENCES organization (organization_id),
    id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('stytch_b2b', 'stytch_consumer', 'oidc')),
    name text NOT NULL,
    status text NOT NULL CHECK (status IN ('active', 'disabled')),
    -- Everything that is not secret: project, upstream organization, base URL, methods.
    configuration jsonb NOT NULL,
    -- The project secret, sealed under the organization's data key.
    secret_sealed bytea,
    -- Verified domains for which this provider's word about an e-mail address is enough (first link).
    authoritative_domains text[] NOT NULL DEFAULT '{}',
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, id)
);

-- A person at an identity provider, linked to a user. E-mail never decides once a row stands here.
CREATE TABLE identity (
    organization_id uuid NOT NULL,
    identity_provider_id uuid NOT NULL,
    provider text NOT NULL,
    subject text NOT NULL,
    user_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, identity_provider_id, provider, subject),
    FOREIGN KEY (organization_id, identity_provider_id) REFERENCES identity_provider (organization_id, id) ON DELETE CASCADE,
    FOREIGN KEY (organization_id, user_id) REFERENCES "user" (organization_id, id) ON DELETE CASCADE
);
CREATE INDEX identity_user ON identity (organization_id, user_id);

-- Sign-ins that proved an identity but may not be linked by themselves; an administrator accepts them.
CREATE TABLE pending_identity (
    organization_id uuid NOT NULL,
    identity_provider_id uuid NOT NULL,
    provider text NOT NULL,
    subject text NOT NULL,
    email text,
    last_seen_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, identity_provider_id, provider, subject),
    FOREIGN KEY (organization_id, identity_provider_id) REFERENCES identity_provider (organization_id, id) ON DELETE CASCADE
);

CREATE TABLE invitation (
    organization_id uuid NOT NULL REFERENCES organization (organization_id),
    id uuid NOT NULL,
    email text NOT NULL,
    name text,
    token_digest bytea NOT NULL,
    created_by text NOT NULL,
    expires_at timestamptz NOT NULL,
    accepted_at timestamptz,
    accepted_by uuid,
    revoked_at timestamptz,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, id),
    UNIQUE (organization_id, token_digest)
);

CREATE TABLE resource (
    organization_id uuid NOT NULL REFERENCES organization (organization_id),
    id uuid NOT NULL,
    uri text NOT NULL,
    name text NOT NULL,
    -- [{"name": "read", "description": "…"}], in the order shown to people.
    scopes jsonb NOT NULL,
    -- {"write": ["read"]}: holding the key grants the values.
    scope_implications jsonb NOT NULL,
    algorithm text NOT NULL CHECK (algorithm IN ('ES256', 'RS256', 'EdDSA')),
    access_token_lifetime_seconds integer NOT NULL CHECK (access_token_lifetime_seconds BETWEEN 60 AND 3600),
    -- Organizations whose issuers may issue for this resource; the platform's id stands for the platform issuer.
    accepted_issuers uuid[] NOT NULL,
    listed boolean NOT NULL,
    -- A shared resource whose server cannot tell organizations apart; set by a platform administrator only.
    tenant_unaware boolean NOT NULL DEFAULT false,
    -- This resource signs with a key of its own; until that key exists it issues nothing.
    dedicated_key boolean NOT NULL DEFAULT false,
    status text NOT NULL CHECK (status IN ('active', 'disabled')),
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, id),
    UNIQUE (organization_id, uri)
);

-- A shared resource that this organization enabled.
CREATE TABLE resource_admission (
    organization_id uuid NOT NULL REFERENCES organization (organization_id),
    resource_id uuid NOT NULL,
    status text NOT NULL CHECK (status IN ('active', 'disabled')),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, resource_id)
);

CREATE TABLE client (
    organization_id uuid NOT NULL REFERENCES organization (organization_id),
    id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('registered', 'dynamic', 'metadata_document', 'service')),
    name text NOT NULL,
    redirect_uris text[] NOT NULL,
    grant_types text[] NOT NULL,
    response_types text[] NOT NULL,
    token_endpoint_auth_method text NOT NULL
        CHECK (token_endpoint_auth_method IN ('none', 'client_secret_basic', 'client_secret_post', 'private_key_jwt')),
    application_type text CHECK (application_type IN ('web', 'native')),
    -- The most this client may be given; null: whatever policy allows.
    scope_ceiling text[],
    client_uri text,
    logo_uri text,
    policy_uri text,
    tos_uri text,
    document_url text,
    secret_digest bytea,
    registration_token_digest bytea,
    status text NOT NULL CHECK (status IN ('active', 'disabled')),
    -- An unused dynamic registration ends here; null once it was used.
    expires_at timestamptz,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, id),
    UNIQUE (organization_id, document_url)
);
CREATE INDEX client_unused ON client (organization_id, expires_at) WHERE expires_at IS NOT NULL;

-- How an organization stands to a client, wherever the client is registered: approvals, grants and the kill switch
-- refer to this row, so no foreign key leaves the tenant.
CREATE TABLE client_admission (
    organization_id uuid NOT NULL REFERENCES organization (organization_id),
    client_id uuid NOT NULL,
    -- Whose registry holds the client: this organization or the platform.
    registry_organization_id uuid NOT NULL,
    status text NOT NULL CHECK (status IN ('active', 'pending', 'denied')),
    document_digest bytea,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, client_id)
);

CREATE TABLE scope_policy (
    organization_id uuid NOT NULL REFERENCES organization (organization_id),
    id uuid NOT NULL,
    name text NOT NULL,
    effect text NOT NULL CHECK (effect IN ('allow', 'deny')),
    principals jsonb NOT NULL,
    clients jsonb NOT NULL,
    resources text[] NOT NULL,
    scopes text[] NOT NULL,
    conditions jsonb NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, id),
    UNIQUE (organization_id, name)
);

CREATE TABLE signing_key (
    organization_id uuid NOT NULL REFERENCES organization (organization_id),
    id uuid NOT NULL,
    purpose text NOT NULL CHECK (purpose IN ('access', 'id_token', 'programmatic', 'audit', 'export', 'webhook')),
    -- Set where the key signs for one resource only; such a key is never in an issuer's JWKS.
    resource_id uuid,
    algorithm text NOT NULL CHECK (algorithm IN ('ES256', 'RS256', 'EdDSA')),
    kid text NOT NULL,
    -- Subject public key info (RFC 7468 section 13).
    public_key_pem text NOT NULL,
    -- PKCS#8, sealed under the organization's data key; null while only the public half is known.
    private_key_sealed bytea,
    imported boolean NOT NULL,
    status text NOT NULL CHECK (status IN ('published', 'active', 'retired')),
    created_at timestamptz NOT NULL,
    activated_at timestamptz,
    retired_at timestamptz,
    PRIMARY KEY (organization_id, id),
    UNIQUE (organization_id, kid)
);
CREATE INDEX signing_key_purpose ON signing_key (organization_id, purpose, status);

CREATE TABLE admin_key (
    organization_id uuid NOT NULL REFERENCES organization (organization_id),
    id uuid NOT NULL,
    name text NOT NULL,
    secret_digest bytea NOT NULL,
    scopes text[] NOT NULL,
    cidrs text[] NOT NULL DEFAULT '{}',
    created_by text NOT NULL,
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, id)
);

-- A browser signed in to one organization.
CREATE TABLE session (
    organization_id uuid NOT NULL,
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    identity_provider_id uuid NOT NULL,
    secret_digest bytea NOT NULL,
    auth_time timestamptz NOT NULL,
    mfa boolean NOT NULL,
    -- The most the identity provider said this person may have; null when it said nothing.
    scope_ceiling text[],
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, id),
    FOREIGN KEY (organization_id, user_id) REFERENCES "user" (organization_id, id) ON DELETE CASCADE
);
CREATE INDEX session_by_user ON session (organization_id, user_id);

-- Routes: from a globally unique name to the organization that holds it. A slug stays taken for ever.
CREATE TABLE slug_route (slug text PRIMARY KEY, organization_id uuid NOT NULL);
CREATE INDEX slug_route_organization ON slug_route (organization_id);
CREATE TABLE domain_route (domain text PRIMARY KEY, organization_id uuid NOT NULL);
CREATE TABLE resource_route (uri text PRIMARY KEY, organization_id uuid NOT NULL, resource_id uuid NOT NULL);
CREATE TABLE provider_route (identity_provider_id uuid PRIMARY KEY, organization_id uuid NOT NULL);
-- One upstream (Stytch project and organization) signs people in to one organization, by one provider.
CREATE TABLE upstream_route (upstream text PRIMARY KEY, organization_id uuid NOT NULL);
-- RFC 7638 thumbprints of imported keys whose private half is stored; a public half alone claims nothing.
CREATE TABLE key_route (thumbprint text PRIMARY KEY, organization_id uuid NOT NULL);

CREATE FUNCTION current_organization() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('app.organization_id', true), '')::uuid;

CREATE FUNCTION organization_of_slug(wanted text) RETURNS uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public
    RETURN (SELECT organization_id FROM public.slug_route WHERE slug = wanted);
CREATE FUNCTION organization_of_domain(wanted text) RETURNS uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public
    RETURN (SELECT organization_id FROM public.domain_route WHERE domain = wanted);
CREATE FUNCTION organization_of_provider(wanted uuid) RETURNS uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public
    RETURN (SELECT organization_id FROM public.provider_route WHERE identity_provider_id = wanted);
CREATE FUNCTION route_of_resource(wanted text, OUT organization_id uuid, OUT resource_id uuid)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public
    BEGIN ATOMIC
        SELECT r.organization_id, r.resource_id FROM public.resource_route r WHERE r.uri = wanted;
    END;

-- Claims answer true when the name was free and is now the caller's; a domain or a key may be claimed again by its holder.
CREATE FUNCTION claim_slug(wanted text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    IF public.current_organization() IS NULL THEN RAISE EXCEPTION 'no organization' USING ERRCODE = '42501'; END IF;
    INSERT INTO public.slug_route VALUES (wanted, public.current_organization()) ON CONFLICT DO NOTHING;
    RETURN FOUND;
END $$;
CREATE FUNCTION claim_domain(wanted text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    IF public.current_organization() IS NULL THEN RAISE EXCEPTION 'no organization' USING ERRCODE = '42501'; END IF;
    INSERT INTO public.domain_route VALUES (wanted, public.current_organization()) ON CONFLICT DO NOTHING;
    RETURN EXISTS (SELECT FROM public.domain_route WHERE domain = wanted AND organization_id = public.current_organization());
END $$;
CREATE FUNCTION release_domain(wanted text) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public
    BEGIN ATOMIC
        DELETE FROM public.domain_route WHERE domain = wanted AND organization_id = public.current_organization();
    END;
CREATE FUNCTION claim_resource(wanted text, resource uuid) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    IF public.current_organization() IS NULL THEN RAISE EXCEPTION 'no organization' USING ERRCODE = '42501'; END IF;
    INSERT INTO public.resource_route VALUES (wanted, public.current_organization(), resource) ON CONFLICT DO NOTHING;
    RETURN FOUND;
END $$;
CREATE FUNCTION release_resource(wanted text) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public
    BEGIN ATOMIC
        DELETE FROM public.resource_route WHERE uri = wanted AND organization_id = public.current_organization();
    END;
CREATE FUNCTION claim_provider(wanted uuid) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    IF public.current_organization() IS NULL THEN RAISE EXCEPTION 'no organization' USING ERRCODE = '42501'; END IF;
    INSERT INTO public.provider_route VALUES (wanted, public.current_organization()) ON CONFLICT DO NOTHING;
    RETURN FOUND;
END $$;
CREATE FUNCTION claim_upstream(wanted text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    IF public.current_organization() IS NULL THEN RAISE EXCEPTION 'no organization' USING ERRCODE = '42501'; END IF;
    INSERT INTO public.upstream_route VALUES (wanted, public.current_organization()) ON CONFLICT DO NOTHING;
    RETURN FOUND;
END $$;
CREATE FUNCTION release_upstream(wanted text) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public
    BEGIN ATOMIC
        DELETE FROM public.upstream_route WHERE upstream = wanted AND organization_id = public.current_organization();
    END;
CREATE FUNCTION claim_key(wanted text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    IF public.current_organization() IS NULL THEN RAISE EXCEPTION 'no organization' USING ERRCODE = '42501'; END IF;
    INSERT INTO public.key_route VALUES (wanted, public.current_organization()) ON CONFLICT DO NOTHING;
    RETURN EXISTS (SELECT FROM public.key_route WHERE thumbprint = wanted AND organization_id = public.current_organization());
END $$;

-- The ids of all organizations in order of creation, for the platform's own list and for background work.
CREATE FUNCTION organizations_after(last uuid, most bigint) RETURNS SETOF uuid
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    IF public.current_organization() IS DISTINCT FROM public.platform_organization() THEN
        RAISE EXCEPTION 'not the platform' USING ERRCODE = '42501';
    END IF;
    RETURN QUERY SELECT r.organization_id FROM public.slug_route r
        WHERE (last IS NULL OR r.organization_id > last) AND r.organization_id <> public.platform_organization()
        ORDER BY r.organization_id LIMIT most;
END $$;

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['organization', 'domain', 'user', 'identity_provider', 'identity', 'pending_identity',
        'invitation', 'resource', 'resource_admission', 'client', 'client_admission', 'scope_policy', 'signing_key',
        'admin_key', 'session']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY tenant ON %I TO gatehouse_app USING (organization_id = '
            '(SELECT nullif(current_setting(''app.organization_id'', true), '''')::uuid))', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO gatehouse_app', name);
    END LOOP;
END $$;
GRANT SELECT, INSERT, UPDATE ON epoch TO gatehouse_app;
REVOKE DELETE ON organization FROM gatehouse_app;

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC;
GRANT EXECUTE ON FUNCTION platform_organization(), current_organization() TO gatehouse_app;
GRANT EXECUTE ON FUNCTION organization_of_slug(text), organization_of_domain(text), organization_of_provider(uuid),
    route_of_resource(text), claim_slug(text), claim_domain(text), release_domain(text), claim_resource(text, uuid),
    release_resource(text), claim_provider(uuid), claim_upstream(text), release_upstream(text), claim_key(text),
    organizations_after(uuid, bigint) TO gatehouse_app;
