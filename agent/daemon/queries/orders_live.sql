SELECT subject, until, body FROM orders WHERE until > ?1
