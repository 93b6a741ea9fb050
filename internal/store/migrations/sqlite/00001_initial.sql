-- +goose Up
CREATE TABLE document (
	kind TEXT NOT NULL,
	key  TEXT NOT NULL,
	json BLOB NOT NULL,
	PRIMARY KEY (kind, key)
);

CREATE TABLE finding (
	id           TEXT    NOT NULL PRIMARY KEY,
	detector_id  TEXT    NOT NULL,
	type         TEXT    NOT NULL,
	resource_key TEXT    NOT NULL,
	severity     REAL    NOT NULL,
	archived     INTEGER NOT NULL,
	sample       INTEGER NOT NULL,
	created_at   BIGINT  NOT NULL,
	updated_at   BIGINT  NOT NULL,
	first_seen   BIGINT  NOT NULL,
	last_seen    BIGINT  NOT NULL,
	count        BIGINT  NOT NULL,
	next_publish BIGINT  NOT NULL,
	json         BLOB    NOT NULL,
	state        BLOB    NOT NULL
);
CREATE INDEX finding_by_key      ON finding (detector_id, type, resource_key);
CREATE INDEX finding_by_updated  ON finding (detector_id, updated_at, id);
CREATE INDEX finding_by_created  ON finding (detector_id, created_at, id);
CREATE INDEX finding_by_severity ON finding (detector_id, severity, id);
CREATE INDEX finding_due         ON finding (next_publish, id) WHERE next_publish > 0;

CREATE TABLE position (
	name  TEXT   NOT NULL PRIMARY KEY,
	value BIGINT NOT NULL
);

CREATE TABLE delivery (
	id         INTEGER PRIMARY KEY AUTOINCREMENT,
	queue      TEXT   NOT NULL,
	lane       TEXT   NOT NULL,
	state      INTEGER NOT NULL,
	run_at     BIGINT NOT NULL,
	created_at BIGINT NOT NULL,
	attempts   BIGINT NOT NULL,
	lease      TEXT   NOT NULL,
	subject    TEXT   NOT NULL,
	payload    BLOB   NOT NULL,
	error_code TEXT   NOT NULL,
	error      TEXT   NOT NULL
);
CREATE INDEX delivery_due   ON delivery (queue, state, lane, run_at, id);
CREATE INDEX delivery_next  ON delivery (queue, state, run_at);
CREATE INDEX delivery_lease ON delivery (lease) WHERE lease <> '';

-- +goose Down
DROP TABLE delivery;
DROP TABLE position;
DROP TABLE finding;
DROP TABLE document;
