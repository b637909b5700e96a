-- Fails where a table or a column is missing; reads nothing.
SELECT o.id, o.at, o.body, o.checkpoint, d.id, d.generation, d.at, d.published, d.body,
       p.generation, p.at, p.observation, p.signed, r.subject, r.until, r.body, a.id, a.at, a.who, a.what
FROM observations o, decisions d, plans p, orders r, audit a LIMIT 0
