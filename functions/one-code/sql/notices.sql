SELECT id, title, body, published_at FROM notices ORDER BY published_at DESC, id DESC LIMIT 20
