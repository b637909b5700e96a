SELECT observation FROM plans WHERE generation = ?1
