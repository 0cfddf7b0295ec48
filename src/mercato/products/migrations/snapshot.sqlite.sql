-- head: products_0003
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE claims (
	tenant_id VARCHAR(63) NOT NULL, 
	principal VARCHAR(64) NOT NULL, 
	route VARCHAR(128) NOT NULL, 
	"key" VARCHAR(255) NOT NULL, 
	body_hash BLOB NOT NULL, 
	object_id VARCHAR(36) NOT NULL, 
	attempt INTEGER NOT NULL, 
	state VARCHAR(8) NOT NULL, 
	answer BLOB, 
	lease_until BIGINT NOT NULL, 
	created_at BIGINT NOT NULL, 
	PRIMARY KEY (tenant_id, principal, route, "key"), 
	CONSTRAINT claims_state CHECK (state IN ('open', 'done'))
);
CREATE TABLE imports (
	id VARCHAR(36) NOT NULL, 
	tenant_id VARCHAR(63) NOT NULL, 
	bytes BIGINT NOT NULL, 
	digest BLOB NOT NULL, 
	report TEXT NOT NULL, 
	updated_at BIGINT NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE inbox_parked (
	event_id VARCHAR(36) NOT NULL, 
	tenant_id VARCHAR(63) NOT NULL, 
	type VARCHAR(64) NOT NULL, 
	"key" VARCHAR(160) NOT NULL, 
	sequence BIGINT NOT NULL, 
	body BLOB NOT NULL, 
	state VARCHAR(8) NOT NULL, 
	attempts INTEGER NOT NULL, 
	reason VARCHAR(500) NOT NULL, 
	next_try_at BIGINT NOT NULL, 
	first_seen_at BIGINT NOT NULL, 
	PRIMARY KEY (event_id), 
	CONSTRAINT inbox_parked_state CHECK (state IN ('failed', 'waiting', 'dead', 'replay'))
);
CREATE TABLE inbox_positions (
	"key" VARCHAR(160) NOT NULL, 
	sequence BIGINT NOT NULL, 
	PRIMARY KEY ("key")
)
 WITHOUT ROWID

;
CREATE TABLE inventory (
	tenant_id VARCHAR(63) NOT NULL, 
	product_id VARCHAR(36) NOT NULL, 
	on_hand BIGINT NOT NULL, 
	reserved BIGINT NOT NULL, 
	warehouse_location VARCHAR(200), 
	updated_at BIGINT NOT NULL, version BIGINT DEFAULT '1' NOT NULL, 
	PRIMARY KEY (tenant_id, product_id), 
	CONSTRAINT inventory_reserved CHECK (reserved >= 0), 
	CONSTRAINT inventory_available CHECK (on_hand >= reserved)
)
 WITHOUT ROWID

;
CREATE TABLE outbox (
	position INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	event_id VARCHAR(36) NOT NULL, 
	"key" VARCHAR(160) NOT NULL, 
	sequence BIGINT NOT NULL, 
	type VARCHAR(64) NOT NULL, 
	tenant_id VARCHAR(63) NOT NULL, 
	body BLOB NOT NULL, 
	created_at BIGINT NOT NULL, 
	sent_at BIGINT
);
CREATE TABLE outbox_sequences (
	"key" VARCHAR(160) NOT NULL, 
	last BIGINT NOT NULL, 
	PRIMARY KEY ("key")
)
 WITHOUT ROWID

;
CREATE TABLE product_counts (
	tenant_id VARCHAR(63) NOT NULL, 
	category VARCHAR(100) NOT NULL, 
	shelf SMALLINT NOT NULL, 
	products BIGINT NOT NULL, 
	PRIMARY KEY (tenant_id, category, shelf)
)
 WITHOUT ROWID

;
CREATE VIRTUAL TABLE product_words USING fts5(words, content='', columnsize=0, detail=none, tokenize='ascii');
CREATE TABLE products (
	position INTEGER NOT NULL, 
	tenant_id VARCHAR(63) NOT NULL, 
	id VARCHAR(36) NOT NULL, 
	shelf SMALLINT NOT NULL, 
	sku VARCHAR(64) NOT NULL, 
	live_sku VARCHAR(64), 
	price BIGINT NOT NULL, 
	currency VARCHAR(3) NOT NULL, 
	category VARCHAR(100), 
	created_at BIGINT NOT NULL, 
	updated_at BIGINT NOT NULL, 
	version BIGINT NOT NULL, 
	import_id VARCHAR(36), 
	name VARCHAR(200) NOT NULL, 
	name_key VARCHAR(100) NOT NULL, 
	description TEXT, 
	words TEXT NOT NULL, 
	PRIMARY KEY (position), 
	CONSTRAINT products_price CHECK (price >= 0), 
	CONSTRAINT products_shelf CHECK (shelf IN (0, 1, 2))
);
CREATE TABLE relay_lease (
	name VARCHAR(36) NOT NULL, 
	holder VARCHAR(36) NOT NULL, 
	expires_at BIGINT NOT NULL, 
	PRIMARY KEY (name)
)
 WITHOUT ROWID

;
CREATE TABLE reservations (
	tenant_id VARCHAR(63) NOT NULL, 
	order_id VARCHAR(36) NOT NULL, 
	state VARCHAR(8) NOT NULL, 
	currency VARCHAR(3) NOT NULL, 
	lines TEXT NOT NULL, 
	expires_at BIGINT NOT NULL, 
	next_check_at BIGINT NOT NULL, 
	created_at BIGINT NOT NULL, 
	updated_at BIGINT NOT NULL, 
	PRIMARY KEY (tenant_id, order_id), 
	CONSTRAINT reservations_state CHECK (state IN ('held', 'taken', 'released'))
);
CREATE TABLE stock_movements (
	tenant_id VARCHAR(63) NOT NULL, 
	product_id VARCHAR(36) NOT NULL, 
	id VARCHAR(36) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	on_hand_delta BIGINT NOT NULL, 
	reserved_delta BIGINT NOT NULL, 
	order_id VARCHAR(36), 
	actor VARCHAR(64) NOT NULL, 
	reason VARCHAR(500), 
	at BIGINT NOT NULL, 
	PRIMARY KEY (tenant_id, product_id, id)
)
 WITHOUT ROWID

;
CREATE INDEX claims_created_at ON claims (created_at);
CREATE INDEX imports_updated_at ON imports (updated_at);
CREATE INDEX inbox_parked_due ON inbox_parked (state, next_try_at);
CREATE INDEX inbox_parked_key ON inbox_parked ("key", sequence);
CREATE UNIQUE INDEX outbox_key ON outbox ("key", sequence);
CREATE INDEX outbox_unsent ON outbox (position) WHERE sent_at IS NULL;
CREATE INDEX products_category_name ON products (tenant_id, shelf, category, name_key, position, price);
CREATE INDEX products_category_newest ON products (tenant_id, shelf, category, position, price);
CREATE INDEX products_category_price ON products (tenant_id, shelf, category, price, position);
CREATE UNIQUE INDEX products_id ON products (tenant_id, id);
CREATE INDEX products_name ON products (tenant_id, shelf, name_key, position, price);
CREATE INDEX products_newest ON products (tenant_id, shelf, position, price);
CREATE INDEX products_price ON products (tenant_id, shelf, price, position);
CREATE UNIQUE INDEX products_sku ON products (tenant_id, live_sku);
CREATE INDEX reservations_due ON reservations (next_check_at) WHERE state = 'held';
INSERT INTO alembic_version (version_num) VALUES ('products_0003');
