-- What was seen, decided and published, in order.
SELECT o.id, o.body, o.checkpoint, d.body, p.signed
FROM observations o
LEFT JOIN decisions d ON d.id = o.id
LEFT JOIN plans p ON p.generation = d.generation AND p.observation = o.id
WHERE o.id >= ?1
ORDER BY o.id
LIMIT ?2
