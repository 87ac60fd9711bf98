-- A grant is made under guards that the statement itself asserts, and refused at every use once its user or admission is
-- gone. Foreign keys said the same once more, at the price of a row lock on the user and on the admission for every token:
-- with one client for a whole organization those locks queue. Whoever deletes a user or an admission deletes its grants
-- first.
ALTER TABLE "grant" DROP CONSTRAINT grant_organization_id_user_id_fkey;
ALTER TABLE "grant" DROP CONSTRAINT grant_organization_id_client_id_fkey;
-- Spent codes and their grant are born in one statement; a purge of old grants takes their codes along.
ALTER TABLE redeemed_code DROP CONSTRAINT redeemed_code_organization_id_grant_id_fkey;
DROP INDEX redeemed_code_grant;
