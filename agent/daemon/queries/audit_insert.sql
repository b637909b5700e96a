INSERT INTO audit (at, who, what) VALUES (?1, ?2, ?3)
