-- The last plan stays however old it is: the next start takes it up.
DELETE FROM plans WHERE generation IN (
    SELECT generation FROM plans
    WHERE at < ?1 AND generation < (SELECT MAX(generation) FROM plans)
    ORDER BY generation LIMIT ?2
)
