-- Whole stretches only: what follows a checkpoint that is gone could not be replayed.
DELETE FROM observations WHERE id IN (
    SELECT id FROM observations
    WHERE id < (SELECT MAX(id) FROM observations WHERE checkpoint IS NOT NULL AND at < ?1)
    ORDER BY id LIMIT ?2
)
