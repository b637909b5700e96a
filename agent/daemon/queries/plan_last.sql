SELECT signed FROM plans ORDER BY generation DESC LIMIT 1
