-- head: payments_0003
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
CREATE TABLE notices (
	provider VARCHAR(16) NOT NULL, 
	event_id VARCHAR(255) NOT NULL, 
	heard_at BIGINT NOT NULL, 
	PRIMARY KEY (provider, event_id)
)
 WITHOUT ROWID

;
CREATE TABLE order_fates (
	tenant_id VARCHAR(63) NOT NULL, 
	order_id VARCHAR(36) NOT NULL, 
	cancelled_at BIGINT NOT NULL, 
	PRIMARY KEY (tenant_id, order_id)
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
CREATE TABLE payments (
	tenant_id VARCHAR(63) NOT NULL, 
	id VARCHAR(36) NOT NULL, 
	order_id VARCHAR(36) NOT NULL, 
	active_order_id VARCHAR(36), 
	user_id VARCHAR(36) NOT NULL, 
	amount BIGINT NOT NULL, 
	refunded_amount BIGINT NOT NULL, 
	pending_refunds BIGINT NOT NULL, 
	currency VARCHAR(3) NOT NULL, 
	method VARCHAR(16) NOT NULL, 
	status VARCHAR(24) NOT NULL, 
	provider VARCHAR(16), 
	token VARCHAR(255), 
	description VARCHAR(500), 
	transaction_id VARCHAR(255), 
	failure_reason VARCHAR(500), 
	paid_at BIGINT, 
	refunds TEXT NOT NULL, 
	order_cancelled INTEGER NOT NULL, 
	checks INTEGER NOT NULL, 
	check_at BIGINT, 
	created_at BIGINT NOT NULL, 
	updated_at BIGINT NOT NULL, 
	version BIGINT NOT NULL, 
	PRIMARY KEY (tenant_id, id), 
	CONSTRAINT payments_amount CHECK (amount >= 0), 
	CONSTRAINT payments_refunds CHECK (refunded_amount >= 0 AND pending_refunds >= 0 AND refunded_amount + pending_refunds <= amount)
);
CREATE INDEX claims_created_at ON claims (created_at);
CREATE INDEX inbox_parked_due ON inbox_parked (state, next_try_at);
CREATE INDEX inbox_parked_key ON inbox_parked ("key", sequence);
CREATE INDEX notices_heard ON notices (heard_at);
CREATE INDEX order_fates_cancelled ON order_fates (cancelled_at);
CREATE UNIQUE INDEX outbox_key ON outbox ("key", sequence);
CREATE INDEX outbox_unsent ON outbox (position) WHERE sent_at IS NULL;
CREATE UNIQUE INDEX payments_active ON payments (tenant_id, active_order_id);
CREATE INDEX payments_created ON payments (tenant_id, created_at, id);
CREATE INDEX payments_due ON payments (check_at) WHERE check_at IS NOT NULL;
CREATE INDEX payments_in_status ON payments (tenant_id, status, created_at, id);
CREATE INDEX payments_of_order ON payments (tenant_id, order_id, created_at, id);
CREATE INDEX payments_of_user ON payments (tenant_id, user_id, created_at, id);
CREATE INDEX payments_of_user_in_status ON payments (tenant_id, user_id, status, created_at, id);
INSERT INTO alembic_version (version_num) VALUES ('payments_0003');
