-- Clients that prove themselves with keys, and clients that are a document at a URL.

ALTER TABLE client
    -- Methods beside token_endpoint_auth_method that are accepted just as well.
    ADD COLUMN other_auth_methods text[] NOT NULL DEFAULT '{}',
    -- Public keys, either said by the client (a JWK Set) or published at a URL.
    ADD COLUMN jwks jsonb,
    ADD COLUMN jwks_uri text,
    -- The one algorithm it signs assertions with; null: any that its keys have.
    ADD COLUMN auth_signing_algorithm text CHECK (auth_signing_algorithm IN ('ES256', 'RS256', 'EdDSA')),
    -- The secret before the current one, which still works until then.
    ADD COLUMN previous_secret_digest bytea,
    ADD COLUMN previous_secret_expires_at timestamptz,
    -- SHA-256 of the metadata document as last read, when that was, and until when it need not be read again.
    ADD COLUMN document_digest bytea,
    ADD COLUMN document_fetched_at timestamptz,
    ADD COLUMN document_fresh_until timestamptz,
    -- An administrator named the document before anybody came with it.
    ADD COLUMN preregistered boolean NOT NULL DEFAULT false,
    ADD CONSTRAINT client_one_key_source CHECK (jwks IS NULL OR jwks_uri IS NULL);

-- document_digest there is over what is trusted of a document (redirect URIs, keys, methods); this is over keys and methods.
ALTER TABLE client_admission ADD COLUMN keys_digest bytea;

-- Every content that a metadata document was seen with, while its client is known.
CREATE TABLE client_document (
    organization_id uuid NOT NULL,
    client_id uuid NOT NULL,
    seen_at timestamptz NOT NULL,
    -- SHA-256 of the bytes.
    digest bytea NOT NULL,
    PRIMARY KEY (organization_id, client_id, seen_at),
    FOREIGN KEY (organization_id, client_id) REFERENCES client (organization_id, id) ON DELETE CASCADE
);
ALTER TABLE client_document ENABLE ROW LEVEL SECURITY;
ALTER TABLE client_document FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON client_document TO gatehouse_app USING (organization_id =
    (SELECT nullif(current_setting('app.organization_id', true), '')::uuid));
GRANT SELECT, INSERT, UPDATE, DELETE ON client_document TO gatehouse_app;
