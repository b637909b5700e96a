SELECT body FROM decisions WHERE generation = ?1 AND published = 1 ORDER BY id LIMIT 1
