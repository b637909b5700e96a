DELETE FROM orders WHERE subject = ?1
