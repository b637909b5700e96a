INSERT INTO observations (at, body, checkpoint) VALUES (?1, ?2, ?3)
