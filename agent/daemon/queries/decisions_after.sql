SELECT body FROM decisions WHERE generation > ?1 ORDER BY id LIMIT ?2
