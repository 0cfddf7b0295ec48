-- head: notifications_0003
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
CREATE TABLE mailbox (
	tenant_id VARCHAR(63) NOT NULL, 
	id VARCHAR(36) NOT NULL, 
	number BIGINT NOT NULL, 
	notification_id VARCHAR(36) NOT NULL, 
	sending INTEGER NOT NULL, 
	user_id VARCHAR(36) NOT NULL, 
	mail TEXT NOT NULL, 
	PRIMARY KEY (tenant_id, id)
);
CREATE TABLE notifications (
	tenant_id VARCHAR(63) NOT NULL, 
	id VARCHAR(36) NOT NULL, 
	event_id VARCHAR(36) NOT NULL, 
	template VARCHAR(32) NOT NULL, 
	user_id VARCHAR(36) NOT NULL, 
	order_id VARCHAR(36), 
	facts TEXT NOT NULL, 
	status VARCHAR(8) NOT NULL, 
	attempts INTEGER NOT NULL, 
	sending INTEGER NOT NULL, 
	reason VARCHAR(500), 
	recipient VARCHAR(254), 
	recipient_key VARCHAR(254), 
	subject VARCHAR(500), 
	due_at BIGINT, 
	created_at BIGINT NOT NULL, 
	sent_at BIGINT, traceparent VARCHAR(55), 
	PRIMARY KEY (tenant_id, id), 
	CONSTRAINT notifications_status CHECK (status IN ('queued', 'sending', 'sent', 'skipped', 'failed')), 
	CONSTRAINT notifications_due_at CHECK ((due_at IS NULL) = (status IN ('sent', 'skipped', 'failed')))
);
CREATE TABLE operators (
	tenant_id VARCHAR(63) NOT NULL, 
	user_id VARCHAR(36) NOT NULL, 
	PRIMARY KEY (tenant_id, user_id)
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
CREATE TABLE relay_lease (
	name VARCHAR(36) NOT NULL, 
	holder VARCHAR(36) NOT NULL, 
	expires_at BIGINT NOT NULL, 
	PRIMARY KEY (name)
)
 WITHOUT ROWID

;
CREATE INDEX claims_created_at ON claims (created_at);
CREATE INDEX inbox_parked_due ON inbox_parked (state, next_try_at);
CREATE INDEX inbox_parked_key ON inbox_parked ("key", sequence);
CREATE UNIQUE INDEX mailbox_mail ON mailbox (tenant_id, notification_id, sending);
CREATE UNIQUE INDEX mailbox_number ON mailbox (tenant_id, number);
CREATE INDEX notifications_created ON notifications (tenant_id, created_at, id);
CREATE INDEX notifications_due ON notifications (due_at) WHERE due_at IS NOT NULL;
CREATE UNIQUE INDEX notifications_event ON notifications (tenant_id, event_id, template);
CREATE INDEX notifications_failed ON notifications (status) WHERE status = 'failed';
CREATE INDEX notifications_in_status ON notifications (tenant_id, status, created_at, id);
CREATE INDEX notifications_of_order ON notifications (tenant_id, order_id, created_at, id);
CREATE INDEX notifications_of_template ON notifications (tenant_id, template, created_at, id);
CREATE INDEX notifications_to ON notifications (tenant_id, recipient_key, created_at, id);
CREATE UNIQUE INDEX outbox_key ON outbox ("key", sequence);
CREATE INDEX outbox_unsent ON outbox (position) WHERE sent_at IS NULL;
INSERT INTO alembic_version (version_num) VALUES ('notifications_0003');
