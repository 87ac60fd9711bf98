-- Other issuers whose word about a person an organization takes (RFC 7523, ID-JAG).

-- What it vouches for are identities, by the rules of every identity provider; it signs nobody in on our pages.
ALTER TABLE identity_provider DROP CONSTRAINT identity_provider_kind_check;
ALTER TABLE identity_provider ADD CONSTRAINT identity_provider_kind_check
    CHECK (kind IN ('stytch_b2b', 'stytch_consumer', 'oidc', 'trusted_issuer'));

CREATE TABLE trusted_issuer (
    organization_id uuid NOT NULL,
    identity_provider_id uuid NOT NULL,
    -- `iss` of its assertions, byte for byte.
    issuer text NOT NULL,
    -- Its keys: a JWK Set, or where it publishes one.
    jwks jsonb,
    jwks_uri text,
    -- Clients of this organization's registry that may present its assertions.
    client_ids uuid[] NOT NULL,
    -- Claims that an assertion has to carry with just these values, for issuers that serve many tenants.
    required_claims jsonb NOT NULL,
    PRIMARY KEY (organization_id, identity_provider_id),
    UNIQUE (organization_id, issuer),
    FOREIGN KEY (organization_id, identity_provider_id) REFERENCES identity_provider (organization_id, id) ON DELETE CASCADE,
    CONSTRAINT trusted_issuer_one_key_source CHECK ((jwks IS NULL) <> (jwks_uri IS NULL))
);
ALTER TABLE trusted_issuer ENABLE ROW LEVEL SECURITY;
ALTER TABLE trusted_issuer FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON trusted_issuer TO gatehouse_app USING (organization_id =
    (SELECT nullif(current_setting('app.organization_id', true), '')::uuid));
GRANT SELECT, INSERT, UPDATE, DELETE ON trusted_issuer TO gatehouse_app;
