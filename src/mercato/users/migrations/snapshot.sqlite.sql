-- head: users_0005
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE api_clients (
	tenant_id VARCHAR(63) NOT NULL, 
	id VARCHAR(36) NOT NULL, 
	name VARCHAR(100) NOT NULL, 
	scopes VARCHAR(500) NOT NULL, 
	secret_hash BLOB NOT NULL, 
	created_by VARCHAR(64) NOT NULL, 
	created_at BIGINT NOT NULL, 
	expires_at BIGINT, 
	version BIGINT NOT NULL, 
	PRIMARY KEY (tenant_id, id)
)
 WITHOUT ROWID

;
CREATE TABLE audit_log (
	tenant_id VARCHAR(63) NOT NULL, 
	id VARCHAR(36) NOT NULL, 
	created_at BIGINT NOT NULL, 
	actor VARCHAR(64) NOT NULL, 
	actor_role VARCHAR(16) NOT NULL, 
	action VARCHAR(64) NOT NULL, 
	object_kind VARCHAR(32) NOT NULL, 
	object_id VARCHAR(64) NOT NULL, 
	fields TEXT NOT NULL, 
	address VARCHAR(64) NOT NULL, 
	request_id VARCHAR(128) NOT NULL, 
	PRIMARY KEY (tenant_id, id)
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
CREATE TABLE quotas (
	day VARCHAR(10) NOT NULL, 
	tenant_id VARCHAR(63) NOT NULL, 
	used BIGINT NOT NULL, 
	PRIMARY KEY (day, tenant_id)
)
 WITHOUT ROWID

;
CREATE TABLE refresh_tokens (
	tenant_id VARCHAR(63) NOT NULL, 
	token_hash BLOB NOT NULL, 
	family_id VARCHAR(36) NOT NULL, 
	user_id VARCHAR(36) NOT NULL, 
	created_at BIGINT NOT NULL, 
	expires_at BIGINT NOT NULL, used_at BIGINT, 
	PRIMARY KEY (tenant_id, token_hash)
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
CREATE TABLE tenants (
	tenant_id VARCHAR(63) NOT NULL, 
	name VARCHAR(100) NOT NULL, 
	currency VARCHAR(3) NOT NULL, 
	tier VARCHAR(16) NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	created_at BIGINT NOT NULL, 
	updated_at BIGINT NOT NULL, 
	version BIGINT NOT NULL, 
	PRIMARY KEY (tenant_id)
)
 WITHOUT ROWID

;
CREATE TABLE token_cuts (
	tenant_id VARCHAR(63) NOT NULL, 
	subject VARCHAR(36) NOT NULL, 
	cut VARCHAR(36) NOT NULL, 
	until BIGINT NOT NULL, 
	PRIMARY KEY (tenant_id, subject)
)
 WITHOUT ROWID

;
CREATE TABLE user_counts (
	tenant_id VARCHAR(63) NOT NULL, 
	role VARCHAR(16) NOT NULL, 
	is_active SMALLINT NOT NULL, 
	users BIGINT NOT NULL, 
	PRIMARY KEY (tenant_id, role, is_active)
)
 WITHOUT ROWID

;
CREATE TABLE user_documents (
	number INTEGER NOT NULL, 
	tenant_id VARCHAR(63) NOT NULL, 
	user_id VARCHAR(36) NOT NULL, 
	PRIMARY KEY (number)
);
CREATE VIRTUAL TABLE user_words USING fts5(words, tokenize = "unicode61 tokenchars '-_'");
CREATE TABLE users (
	tenant_id VARCHAR(63) NOT NULL, 
	id VARCHAR(36) NOT NULL, 
	email VARCHAR(254) NOT NULL, 
	email_key VARCHAR(254), 
	first_name VARCHAR(100) NOT NULL, 
	last_name VARCHAR(100) NOT NULL, 
	role VARCHAR(16) NOT NULL, 
	is_active SMALLINT NOT NULL, 
	password_hash VARCHAR(255) NOT NULL, 
	created_at BIGINT NOT NULL, 
	updated_at BIGINT NOT NULL, 
	version BIGINT NOT NULL, email_verified SMALLINT DEFAULT 0 NOT NULL, 
	PRIMARY KEY (tenant_id, id)
);
CREATE INDEX audit_log_action ON audit_log (tenant_id, action, created_at, id);
CREATE INDEX audit_log_actor ON audit_log (tenant_id, actor, created_at, id);
CREATE INDEX audit_log_actor_action ON audit_log (tenant_id, actor, action, created_at, id);
CREATE INDEX audit_log_actor_kind ON audit_log (tenant_id, actor, object_kind, created_at, id);
CREATE INDEX audit_log_created_at ON audit_log (created_at);
CREATE INDEX audit_log_kind ON audit_log (tenant_id, object_kind, created_at, id);
CREATE INDEX audit_log_latest ON audit_log (tenant_id, created_at, id);
CREATE INDEX audit_log_object ON audit_log (tenant_id, object_id, created_at, id);
CREATE INDEX claims_created_at ON claims (created_at);
CREATE INDEX inbox_parked_due ON inbox_parked (state, next_try_at);
CREATE INDEX inbox_parked_key ON inbox_parked ("key", sequence);
CREATE UNIQUE INDEX outbox_key ON outbox ("key", sequence);
CREATE INDEX outbox_unsent ON outbox (position) WHERE sent_at IS NULL;
CREATE INDEX refresh_tokens_expires_at ON refresh_tokens (expires_at);
CREATE INDEX refresh_tokens_family ON refresh_tokens (tenant_id, family_id);
CREATE INDEX refresh_tokens_user ON refresh_tokens (tenant_id, user_id);
CREATE INDEX tenants_status ON tenants (status, tenant_id);
CREATE INDEX tenants_tier ON tenants (tier, tenant_id);
CREATE INDEX token_cuts_until ON token_cuts (until);
CREATE UNIQUE INDEX user_documents_user ON user_documents (tenant_id, user_id);
CREATE INDEX users_active ON users (tenant_id, is_active, id) WHERE email_key IS NOT NULL;
CREATE UNIQUE INDEX users_email ON users (tenant_id, email_key);
CREATE INDEX users_live ON users (tenant_id, id) WHERE email_key IS NOT NULL;
CREATE INDEX users_role ON users (tenant_id, role, id) WHERE email_key IS NOT NULL;
CREATE INDEX users_role_active ON users (tenant_id, role, is_active, id) WHERE email_key IS NOT NULL;
INSERT INTO alembic_version (version_num) VALUES ('users_0005');
