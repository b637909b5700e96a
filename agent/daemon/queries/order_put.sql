INSERT INTO orders (subject, until, body) VALUES (?1, ?2, ?3)
ON CONFLICT (subject) DO UPDATE SET until = excluded.until, body = excluded.body
