SELECT venue, at FROM scans WHERE user_id = $1 ORDER BY at DESC, id DESC LIMIT $2
