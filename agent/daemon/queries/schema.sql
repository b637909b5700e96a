-- Version 1. Times are milliseconds since the Unix epoch.

-- What was seen at each decision. `body` is the whole observation where there is a checkpoint,
-- otherwise its change against the row before. `checkpoint` is the state the decision began with.
CREATE TABLE IF NOT EXISTS observations (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    body TEXT NOT NULL,
    checkpoint TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS observations_checkpoints ON observations (id) WHERE checkpoint IS NOT NULL;

-- What was decided on the observation of the same id.
CREATE TABLE IF NOT EXISTS decisions (
    id INTEGER PRIMARY KEY,
    generation INTEGER NOT NULL,
    at INTEGER NOT NULL,
    published INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS decisions_generation ON decisions (generation);

-- Every plan published, exactly as it was signed.
CREATE TABLE IF NOT EXISTS plans (
    generation INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    observation INTEGER NOT NULL,
    signed TEXT NOT NULL
) STRICT;

-- Operators' orders in force, subject `tier`, `knob ID`, `share SITE`, `gateways` or `event NAME`; and the
-- last change of each alarm, subject `alarm NAME`, for as long as an order by an older one could hold.
CREATE TABLE IF NOT EXISTS orders (
    subject TEXT PRIMARY KEY,
    until INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;

-- Every order ever given or cleared.
CREATE TABLE IF NOT EXISTS audit (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    who TEXT NOT NULL,
    what TEXT NOT NULL
) STRICT;

PRAGMA user_version = 1;
