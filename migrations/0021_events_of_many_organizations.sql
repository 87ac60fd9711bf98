-- The outbox's wall looks at the setting for each row instead of once for each statement: one statement may then insert
-- events of several organizations, and makes the setting of each row's organization before that row. What is seen and
-- accepted under one setting stays the same.
ALTER POLICY tenant ON audit_outbox
    USING (organization_id = nullif(current_setting('app.organization_id', true), '')::uuid);
