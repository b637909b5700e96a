SELECT body FROM decisions WHERE at <= ?1 ORDER BY id DESC LIMIT 1
