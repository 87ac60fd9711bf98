-- A rotation writes columns of this index, so every refresh wrote an entry into each index of the table. Without it the
-- new version of the row stays on its page and no index is touched; nodes remember which grants they rotated, and an hourly
-- round finds what they forgot.
DROP INDEX grant_successor;
