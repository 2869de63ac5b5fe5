-- The tables of `shop service payment`: this program can also continue on its database.
CREATE TABLE IF NOT EXISTS account (
    customer_id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    balance_cents BIGINT NOT NULL CHECK (balance_cents >= 0)
);
CREATE TABLE IF NOT EXISTS charge (
    order_id TEXT PRIMARY KEY,
    customer_id TEXT NOT NULL,
    amount_cents BIGINT NOT NULL,
    refunded BOOLEAN NOT NULL
);
CREATE TABLE IF NOT EXISTS barrier (
    saga TEXT COLLATE "C" NOT NULL,
    step TEXT NOT NULL,
    direction TEXT NOT NULL,
    generation BIGINT NOT NULL,
    status TEXT NOT NULL,
    answer TEXT NOT NULL,
    stored_at BIGINT NOT NULL,
    PRIMARY KEY (saga, step, direction, generation)
);
CREATE INDEX IF NOT EXISTS barrier_stored_at ON barrier (stored_at);
