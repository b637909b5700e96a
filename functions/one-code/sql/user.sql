SELECT name, color FROM users WHERE id = $1
