-- From the last checkpoint at or before an observation up to that observation.
SELECT at, body, checkpoint FROM observations
WHERE id <= ?1
  AND id >= (SELECT MAX(id) FROM observations WHERE checkpoint IS NOT NULL AND id <= ?1)
ORDER BY id
LIMIT ?2
