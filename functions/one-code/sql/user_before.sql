SELECT id FROM users WHERE created_at < $1 LIMIT 1
