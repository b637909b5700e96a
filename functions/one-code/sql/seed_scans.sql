-- Twenty visits of every demo user, one every ninety minutes back from now.
INSERT INTO scans (id, user_id, venue, at)
WITH RECURSIVE visits (k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM visits WHERE k < 20)
SELECT
    k,
    id,
    'v' || substr(CAST(1001 + (CAST(substr(id, 2) AS BIGINT) * 7 + k * 13) % 100 AS TEXT), 2),
    $1 - k * 5400000 - (CAST(substr(id, 2) AS BIGINT) % 3600) * 1000
FROM users CROSS JOIN visits
