-- Tools of MCP servers: what a call of each needs, and which definition of it somebody looked at.

CREATE TABLE resource_tool (
    organization_id uuid NOT NULL,
    resource_id uuid NOT NULL,
    name text NOT NULL,
    -- All of them are needed.
    scopes text[] NOT NULL,
    -- As the server last described it: canonical JSON of description, inputSchema, annotations.
    definition text NOT NULL,
    -- SHA-256 of the canonical text of name and definition.
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    -- The digest that was looked at and found right; NULL: none was. Only where it is the digest above may the tool be called.
    reviewed_digest bytea CHECK (octet_length(reviewed_digest) = 32),
    -- The last import found it.
    present boolean NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, resource_id, name),
    FOREIGN KEY (organization_id, resource_id) REFERENCES resource (organization_id, id) ON DELETE CASCADE
);
ALTER TABLE resource_tool ENABLE ROW LEVEL SECURITY;
ALTER TABLE resource_tool FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON resource_tool TO gatehouse_app USING (organization_id =
    (SELECT nullif(current_setting('app.organization_id', true), '')::uuid));
GRANT SELECT, INSERT, UPDATE, DELETE ON resource_tool TO gatehouse_app;
