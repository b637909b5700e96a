INSERT INTO decisions (id, generation, at, published, body) VALUES (?1, ?2, ?3, ?4, ?5)
