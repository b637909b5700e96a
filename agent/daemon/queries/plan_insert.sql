INSERT OR REPLACE INTO plans (generation, at, observation, signed) VALUES (?1, ?2, ?3, ?4)
