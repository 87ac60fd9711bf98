-- While a table is small or its statistics are young, an index led by organization_id looks to the planner as good as the
-- primary key for finding one row by its id, and the plan made then is kept while the table grows. As partial indexes
-- these serve only statements that name their second column: a strict comparison implies that it is not null, and nothing
-- else does.
DROP INDEX grant_user;
CREATE INDEX grant_user ON "grant" (organization_id, user_id) WHERE user_id IS NOT NULL;
DROP INDEX grant_client;
CREATE INDEX grant_client ON "grant" (organization_id, client_id) WHERE client_id IS NOT NULL;
DROP INDEX user_email;
CREATE UNIQUE INDEX user_email ON "user" (organization_id, lower(email)) WHERE email IS NOT NULL;
DROP INDEX session_by_user;
CREATE INDEX session_by_user ON session (organization_id, user_id) WHERE user_id IS NOT NULL;
