-- The last checkpoint at or before a time, else the first after it.
SELECT COALESCE(
    (SELECT MAX(id) FROM observations WHERE checkpoint IS NOT NULL AND at <= ?1),
    (SELECT MIN(id) FROM observations WHERE checkpoint IS NOT NULL)
)
