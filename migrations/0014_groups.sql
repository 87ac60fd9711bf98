-- Groups of people, and what a directory that provisions an organization (SCIM, RFC 7643) knows of both.

CREATE TABLE "group" (
    organization_id uuid NOT NULL REFERENCES organization (organization_id),
    id uuid NOT NULL,
    name text NOT NULL,
    -- The directory's own name for it; not unique, that is the directory's business (RFC 7643 section 3.1).
    external_id text,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, id)
);
CREATE UNIQUE INDEX group_name ON "group" (organization_id, lower(name)) WHERE name IS NOT NULL;
CREATE INDEX group_external ON "group" (organization_id, external_id) WHERE external_id IS NOT NULL;

CREATE TABLE group_member (
    organization_id uuid NOT NULL,
    group_id uuid NOT NULL,
    user_id uuid NOT NULL,
    added_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, group_id, user_id),
    FOREIGN KEY (organization_id, group_id) REFERENCES "group" (organization_id, id) ON DELETE CASCADE,
    FOREIGN KEY (organization_id, user_id) REFERENCES "user" (organization_id, id) ON DELETE CASCADE
);
-- Read with the user at every decision of policy, from the index alone.
CREATE INDEX group_member_user ON group_member (organization_id, user_id, group_id) WHERE user_id IS NOT NULL;

-- What the directory calls a person, where that is not the e-mail address.
ALTER TABLE "user" ADD COLUMN user_name text;
ALTER TABLE "user" ADD COLUMN external_id text;
-- What the directory wrote and nothing here decides by: the parts of the name, all e-mail addresses.
ALTER TABLE "user" ADD COLUMN directory jsonb;
CREATE UNIQUE INDEX user_user_name ON "user" (organization_id, lower(user_name)) WHERE user_name IS NOT NULL;
-- By what the directory asks for somebody: without either name a person is none of its people.
CREATE INDEX user_called ON "user" (organization_id, lower(coalesce(user_name, email)))
    WHERE coalesce(user_name, email) IS NOT NULL;
CREATE INDEX user_external ON "user" (organization_id, external_id) WHERE external_id IS NOT NULL;

-- With which a directory writes to one organization, and to no other.
CREATE TABLE scim_token (
    organization_id uuid NOT NULL REFERENCES organization (organization_id),
    id uuid NOT NULL,
    name text NOT NULL,
    secret_digest bytea NOT NULL,
    -- Address ranges it may be used from; empty means any.
    cidrs text[] NOT NULL,
    created_by text NOT NULL,
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, id)
);

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['group', 'group_member', 'scim_token']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY tenant ON %I TO gatehouse_app USING (organization_id = '
            '(SELECT nullif(current_setting(''app.organization_id'', true), '''')::uuid))', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO gatehouse_app', name);
    END LOOP;
END $$;
