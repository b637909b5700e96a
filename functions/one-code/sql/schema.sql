-- A user's scans live on the user's shard; a venue's are found on all.
CREATE TABLE users (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    color TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE scans (
    id BIGINT NOT NULL,
    user_id TEXT NOT NULL,
    venue TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (user_id, at, id)
);

CREATE INDEX scans_by_venue ON scans (venue, at);

CREATE TABLE notices (
    id BIGINT PRIMARY KEY,
    title TEXT NOT NULL,
    body TEXT NOT NULL,
    published_at BIGINT NOT NULL
);
