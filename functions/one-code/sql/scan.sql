INSERT INTO scans (id, user_id, venue, at)
SELECT $1, $2, $3, $4 WHERE EXISTS (SELECT 1 FROM users WHERE id = $2)
