-- head: orders_0003
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE catalogue (
	tenant_id VARCHAR(63) NOT NULL, 
	product_id VARCHAR(36) NOT NULL, 
	sku VARCHAR(64) NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	price BIGINT NOT NULL, 
	currency VARCHAR(3) NOT NULL, 
	PRIMARY KEY (tenant_id, product_id)
)
 WITHOUT ROWID

;
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
CREATE TABLE orders (
	tenant_id VARCHAR(63) NOT NULL, 
	id VARCHAR(36) NOT NULL, 
	user_id VARCHAR(36) NOT NULL, 
	name VARCHAR(200), 
	status VARCHAR(16) NOT NULL, 
	payment_status VARCHAR(24) NOT NULL, 
	stock VARCHAR(16) NOT NULL, 
	hold_until BIGINT NOT NULL, 
	lines TEXT NOT NULL, 
	total_amount BIGINT NOT NULL, 
	currency VARCHAR(3) NOT NULL, 
	shipping_address VARCHAR(1000), 
	notes VARCHAR(2000), 
	cancel_reason VARCHAR(500), 
	timeline TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	updated_at BIGINT NOT NULL, 
	version BIGINT NOT NULL, 
	deleted_at BIGINT, 
	PRIMARY KEY (tenant_id, id), 
	CONSTRAINT orders_total_amount CHECK (total_amount >= 0)
);
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
CREATE TABLE relay_lease (
	name VARCHAR(36) NOT NULL, 
	holder VARCHAR(36) NOT NULL, 
	expires_at BIGINT NOT NULL, 
	PRIMARY KEY (name)
)
 WITHOUT ROWID

;
CREATE INDEX catalogue_sku ON catalogue (tenant_id, sku);
CREATE INDEX claims_created_at ON claims (created_at);
CREATE INDEX inbox_parked_due ON inbox_parked (state, next_try_at);
CREATE INDEX inbox_parked_key ON inbox_parked ("key", sequence);
CREATE INDEX orders_created ON orders (tenant_id, created_at, id, deleted_at) WHERE deleted_at IS NULL;
CREATE INDEX orders_expiry ON orders (hold_until) WHERE status = 'pending';
CREATE INDEX orders_in_status ON orders (tenant_id, status, created_at, id, deleted_at) WHERE deleted_at IS NULL;
CREATE INDEX orders_of_user ON orders (tenant_id, user_id, created_at, id, deleted_at) WHERE deleted_at IS NULL;
CREATE INDEX orders_of_user_in_status ON orders (tenant_id, user_id, status, created_at, id, deleted_at) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX outbox_key ON outbox ("key", sequence);
CREATE INDEX outbox_unsent ON outbox (position) WHERE sent_at IS NULL;
INSERT INTO alembic_version (version_num) VALUES ('orders_0003');
