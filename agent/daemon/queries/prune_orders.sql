DELETE FROM orders WHERE until <= ?1
