//! The statements of each version of the schema.

/// The statements that change the schema from each version to the next version. An entry must never be edited, because
/// existing database files were made with it.
pub(super) const STEPS: [&str; 21] = [
    VERSION_1,
    VERSION_2,
    VERSION_3,
    VERSION_4,
    BY_ROUTE,
    ORIGIN,
    CALLERS,
    TOKENS,
    BY_OWNER,
    ADMIN,
    KEYS,
    NO_TRIGGERS,
    REGISTERED,
    PROGRESS,
    KEY_DIGESTS,
    CHECKPOINTS,
    SCHEDULES,
    SERIES,
    CHECKPOINT_TIMES,
    HANDED_IN,
    KEYS_FILED,
];

pub(super) const VERSION_1: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
-- One row, rewritten by every batch: tells whether a batch was committed.
CREATE TABLE progress (commits INTEGER NOT NULL);
-- One row per start of a process.
CREATE TABLE node (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, started INTEGER NOT NULL);

CREATE TABLE request (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, route TEXT NOT NULL, state INTEGER NOT NULL, due INTEGER NOT NULL,
    epoch INTEGER NOT NULL, failures INTEGER NOT NULL, crashes INTEGER NOT NULL, node INTEGER, created INTEGER NOT NULL,
    finished INTEGER,
    CHECK ((state = 1) = (node IS NOT NULL)), CHECK ((state >= 2) = (finished IS NOT NULL))
);
CREATE INDEX request_due ON request (due, seq, route) WHERE state = 0;
CREATE INDEX request_running ON request (node) WHERE state = 1;
CREATE INDEX request_finished ON request (finished) WHERE state >= 2;
CREATE TABLE request_body (seq INTEGER PRIMARY KEY, headers BLOB NOT NULL, body BLOB NOT NULL);
CREATE TABLE registration (seq INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE outcome (seq INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, reason TEXT NOT NULL, result BLOB, error BLOB, detail TEXT);

CREATE TABLE report (
    seq INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, subject TEXT NOT NULL, state INTEGER NOT NULL, due INTEGER NOT NULL,
    epoch INTEGER NOT NULL, attempt INTEGER NOT NULL, node INTEGER, created INTEGER NOT NULL, finished INTEGER, refused TEXT,
    CHECK ((state = 1) = (node IS NOT NULL)), CHECK ((state >= 2) = (finished IS NOT NULL))
);
CREATE INDEX report_due ON report (due, seq) WHERE state = 0;
CREATE INDEX report_delivering ON report (node) WHERE state = 1;
CREATE INDEX report_finished ON report (finished) WHERE state >= 2;
CREATE INDEX report_subject ON report (subject, seq);
CREATE TABLE report_body (seq INTEGER PRIMARY KEY, url TEXT NOT NULL, headers BLOB NOT NULL, secret TEXT, body BLOB NOT NULL);
CREATE TABLE attempt (
    report INTEGER NOT NULL, n INTEGER NOT NULL, epoch INTEGER NOT NULL, started INTEGER NOT NULL, took INTEGER NOT NULL,
    status INTEGER, error TEXT, response BLOB NOT NULL
);
CREATE UNIQUE INDEX attempt_of ON attempt (report, n);

INSERT INTO progress (commits) VALUES (0);
";

/// The statements of version 2, which adds parked reports (state -1) and held reports (state -2).
pub(super) const VERSION_2: &str = "
CREATE TABLE disabled (seq INTEGER PRIMARY KEY, url TEXT NOT NULL UNIQUE, since INTEGER NOT NULL, reason TEXT NOT NULL);
ALTER TABLE report ADD COLUMN endpoint TEXT NOT NULL DEFAULT '';
-- The row of `disabled` for which the report is held.
ALTER TABLE report ADD COLUMN held INTEGER CHECK ((state = -2) = (held IS NOT NULL));
CREATE INDEX report_parked ON report (endpoint, due, seq) WHERE state = -1;
CREATE INDEX report_held ON report (held, seq) WHERE state = -2;
CREATE INDEX report_held_due ON report (due, seq) WHERE state = -2;
-- No second index: a report has few attempts, and they are found by the number of its row.
CREATE TABLE attempt_2 (
    report INTEGER NOT NULL, n INTEGER NOT NULL, epoch INTEGER NOT NULL, started INTEGER NOT NULL, took INTEGER NOT NULL,
    status INTEGER, error TEXT, response BLOB NOT NULL, PRIMARY KEY (report, n)
) WITHOUT ROWID;
INSERT INTO attempt_2 SELECT report, n, epoch, started, took, status, error, response FROM attempt;
DROP TABLE attempt;
ALTER TABLE attempt_2 RENAME TO attempt;
-- The times of both clocks at the last commit.
ALTER TABLE progress ADD COLUMN wall INTEGER;
ALTER TABLE progress ADD COLUMN due INTEGER;
UPDATE progress SET wall = (SELECT max(started) FROM node), due = (SELECT max(started) FROM node);
";

const VERSION_3: &str = "
-- Whether the request was cancelled while it was running.
ALTER TABLE request ADD COLUMN cancel INTEGER NOT NULL DEFAULT 0;
-- The `webhook-id` of a report that repeats an earlier delivery. NULL: its own id.
ALTER TABLE report_body ADD COLUMN webhook_id BLOB;
";

const VERSION_4: &str = "
-- Whether the operator chose the webhook. Earlier versions did not store that: a caller counts as the one who chose.
ALTER TABLE report_body ADD COLUMN by_operator INTEGER NOT NULL DEFAULT 0;
";

/// The statements of version 5, which adds indexes and counters, so that no statement has to read all rows: an index
/// finds the waiting requests of a route, and triggers count the waiting requests.
const BY_ROUTE: &str = "
DROP INDEX request_due;
CREATE INDEX request_due ON request (route, due, seq) WHERE state = 0 AND crashes = 0;
-- Requests that were running when their process ended.
CREATE INDEX request_suspect ON request (route, due, seq) WHERE state = 0 AND crashes > 0;
CREATE INDEX report_parked_age ON report (created, seq) WHERE state = -1;

-- How many requests of each route wait.
CREATE TABLE queued (route TEXT PRIMARY KEY, requests INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO queued SELECT route, count(*) FROM request WHERE state = 0 GROUP BY route;
CREATE TRIGGER request_waits AFTER INSERT ON request WHEN new.state = 0 BEGIN
    INSERT INTO queued SELECT new.route, 0 WHERE NOT EXISTS (SELECT 1 FROM queued WHERE route = new.route);
    UPDATE queued SET requests = requests + 1 WHERE route = new.route;
END;
CREATE TRIGGER request_waits_again AFTER UPDATE OF state ON request WHEN old.state <> 0 AND new.state = 0 BEGIN
    INSERT INTO queued SELECT new.route, 0 WHERE NOT EXISTS (SELECT 1 FROM queued WHERE route = new.route);
    UPDATE queued SET requests = requests + 1 WHERE route = new.route;
END;
CREATE TRIGGER request_waits_no_more AFTER UPDATE OF state ON request WHEN old.state = 0 AND new.state <> 0 BEGIN
    UPDATE queued SET requests = requests - 1 WHERE route = old.route;
END;
CREATE TRIGGER request_is_gone AFTER DELETE ON request WHEN old.state = 0 BEGIN
    UPDATE queued SET requests = requests - 1 WHERE route = old.route;
END;

-- One row: how many reports are not over and not claimed.
CREATE TABLE waiting (reports INTEGER NOT NULL);
INSERT INTO waiting SELECT count(*) FROM report WHERE state <= 0;
CREATE TRIGGER report_waits AFTER INSERT ON report WHEN new.state <= 0 BEGIN
    UPDATE waiting SET reports = reports + 1;
END;
CREATE TRIGGER report_waits_again AFTER UPDATE OF state ON report WHEN old.state > 0 AND new.state <= 0 BEGIN
    UPDATE waiting SET reports = reports + 1;
END;
CREATE TRIGGER report_waits_no_more AFTER UPDATE OF state ON report WHEN old.state <= 0 AND new.state > 0 BEGIN
    UPDATE waiting SET reports = reports - 1;
END;
CREATE TRIGGER report_is_gone AFTER DELETE ON report WHEN old.state <= 0 BEGIN
    UPDATE waiting SET reports = reports - 1;
END;
";

/// The statements of version 6, which renames the column `endpoint` to `origin`, because an endpoint is now a
/// destination that the operator has configured.
const ORIGIN: &str = "
ALTER TABLE report RENAME COLUMN endpoint TO origin;
";

/// The statements of version 7, which stores who made a request, under which terms, and which runs did not end it.
const CALLERS: &str = "
-- The id of the token that a request belongs to. Empty: the caller needed no token.
ALTER TABLE request ADD COLUMN owner TEXT NOT NULL DEFAULT '';
ALTER TABLE request ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
-- Until when the first run must begin, in the store's own time.
ALTER TABLE request ADD COLUMN deadline INTEGER;
-- The longest time that a run may take, in microseconds, if it is shorter than the limit of the route.
ALTER TABLE request ADD COLUMN timeout INTEGER;
-- What the caller brought in headers, as JSON.
ALTER TABLE request ADD COLUMN extras TEXT;
-- When the last run began.
ALTER TABLE request ADD COLUMN started INTEGER;
CREATE INDEX request_of ON request (owner, route, seq);
-- The runs that did not end their request.
CREATE TABLE run (
    request INTEGER NOT NULL, epoch INTEGER NOT NULL, started INTEGER NOT NULL, ended INTEGER NOT NULL, end TEXT NOT NULL,
    detail TEXT, PRIMARY KEY (request, epoch)
) WITHOUT ROWID;
CREATE TABLE idempotency (
    owner TEXT NOT NULL, route TEXT NOT NULL, key TEXT NOT NULL, request INTEGER NOT NULL, digest BLOB NOT NULL,
    PRIMARY KEY (owner, route, key)
) WITHOUT ROWID;
CREATE INDEX idempotency_of ON idempotency (request);
";

/// The statements of version 8, which adds the tokens of callers and the audit.
const TOKENS: &str = "
CREATE TABLE token (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, hash BLOB NOT NULL, terms TEXT NOT NULL,
    created INTEGER NOT NULL, expires INTEGER, revoked INTEGER
);
CREATE UNIQUE INDEX token_name ON token (name) WHERE revoked IS NULL;
CREATE INDEX token_revoked ON token (revoked) WHERE revoked IS NOT NULL;
-- When each token was last used. Tokens of the settings have no row in `token`.
CREATE TABLE token_use (id TEXT PRIMARY KEY, used INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL, subject TEXT NOT NULL,
    detail TEXT NOT NULL
);
CREATE INDEX audit_at ON audit (at);
";

/// The statements that let a claim find the waiting requests of each owner, and a purge the ended requests of each
/// route.
const BY_OWNER: &str = "
-- Whether the request is due later. Such a request is not in the index of those that can be claimed. So each owner in that
-- index has a request that is due. The first claim after the request is due sets the column to 0.
ALTER TABLE request ADD COLUMN later INTEGER NOT NULL DEFAULT 0;
UPDATE request SET later = 1 WHERE state = 0;
DROP INDEX request_due;
CREATE INDEX request_due ON request (route, owner, priority DESC, due, seq) WHERE state = 0 AND crashes = 0 AND later = 0;
CREATE INDEX request_later ON request (route, due, seq) WHERE state = 0 AND crashes = 0 AND later = 1;
-- Requests whose first run must begin in time.
CREATE INDEX request_deadline ON request (deadline, seq) WHERE state = 0 AND failures = 0 AND crashes = 0
    AND deadline IS NOT NULL;
DROP INDEX request_finished;
CREATE INDEX request_finished ON request (route, finished, seq) WHERE state >= 2;
";

/// The statements of version 10, which lets operators disable URLs and origins.
const ADMIN: &str = "
ALTER TABLE disabled ADD COLUMN by_operator INTEGER NOT NULL DEFAULT 0;
";

/// The statements of version 11, which moves idempotency keys into the rows of their requests. One index of the keys is
/// left of a table with two.
const KEYS: &str = "
ALTER TABLE request ADD COLUMN key TEXT;
-- The digest of the body with which the key came.
ALTER TABLE request ADD COLUMN digest BLOB;
UPDATE request SET key = i.key, digest = i.digest FROM idempotency AS i WHERE i.request = request.seq;
DROP TABLE idempotency;
CREATE UNIQUE INDEX request_key ON request (key, owner, route) WHERE key IS NOT NULL;
";

/// The statements of version 12, which counts waiting rows by their indexes. Because of the triggers, SQLite copied each
/// page that a statement changed, in order to undo the statement alone.
const NO_TRIGGERS: &str = "
DROP TRIGGER request_waits;
DROP TRIGGER request_waits_again;
DROP TRIGGER request_waits_no_more;
DROP TRIGGER request_is_gone;
DROP TRIGGER report_waits;
DROP TRIGGER report_waits_again;
DROP TRIGGER report_waits_no_more;
DROP TRIGGER report_is_gone;
DROP TABLE queued;
DROP TABLE waiting;
";

/// The statement of version 13, which stores a registration that came with the request beside the body. The table
/// `registration` has those that came later.
const REGISTERED: &str = "
ALTER TABLE request_body ADD COLUMN registration TEXT;
";

/// The statements that add what runs tell about their progress.
const PROGRESS: &str = "
-- What a request has told last, in the run with this epoch. A request that has told nothing has no row.
CREATE TABLE run_progress (
    request INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, sequence INTEGER NOT NULL, fraction REAL, message TEXT,
    detail BLOB, at INTEGER NOT NULL
);
";

/// The statements that replace each idempotency key, and the digest of the body that came with it, by one short digest.
const KEY_DIGESTS: &str = "
ALTER TABLE request ADD COLUMN idempotency BLOB;
UPDATE request SET idempotency = postback_key(owner, route, key) WHERE key IS NOT NULL;
DROP INDEX request_key;
CREATE UNIQUE INDEX request_key ON request (idempotency) WHERE idempotency IS NOT NULL;
ALTER TABLE request DROP COLUMN key;
ALTER TABLE request DROP COLUMN digest;
";

/// The statement that adds what runs leave for the next run of their request.
const CHECKPOINTS: &str = "
CREATE TABLE checkpoint (request INTEGER PRIMARY KEY, value BLOB NOT NULL);
";

/// The statement that adds when schedules were last due.
const SCHEDULES: &str = "
CREATE TABLE schedule (name TEXT PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;
";

/// The statements that add what happened in each minute. `step` is the length of a row in minutes: 1 or 10. `kind` says
/// what the row is about: 0 everything, 1 a route, 2 an origin.
const SERIES: &str = "
CREATE TABLE series (
    kind INTEGER NOT NULL, name TEXT NOT NULL, step INTEGER NOT NULL, at INTEGER NOT NULL, figures TEXT NOT NULL,
    PRIMARY KEY (kind, name, step, at)
) WITHOUT ROWID;
CREATE INDEX series_at ON series (step, at);
";

/// The statement that adds when checkpoints were saved. Those that an earlier version has saved have no time.
const CHECKPOINT_TIMES: &str = "
ALTER TABLE checkpoint ADD COLUMN saved INTEGER;
";

/// The statements that add what transactions of the program hand in. Others write the rows, so the table itself checks
/// them. A row with a problem is set aside.
const HANDED_IN: &str = "
CREATE TABLE handed_in (
    id TEXT NOT NULL PRIMARY KEY CHECK (typeof(id) = 'text' AND length(id) BETWEEN 1 AND 128 AND id NOT GLOB '*[^!-~]*'),
    problem TEXT CHECK (problem IS NULL OR typeof(problem) = 'text'),
    content BLOB NOT NULL CHECK (typeof(content) = 'blob' AND length(content) <= 600000000)
);
CREATE INDEX handed_in_waits ON handed_in (id) WHERE problem IS NULL;
CREATE INDEX handed_in_aside ON handed_in (id) WHERE problem IS NOT NULL;
";

/// The statements that move the index of idempotency keys into a table, to which keys are added in their order.
const KEYS_FILED: &str = "
-- The index gives the keys in their order, so nothing is sorted. A table cannot have its name meanwhile.
CREATE TABLE request_keys (key BLOB PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO request_keys SELECT idempotency, seq FROM request WHERE idempotency IS NOT NULL ORDER BY idempotency;
DROP INDEX request_key;
ALTER TABLE request_keys RENAME TO request_key;
-- The keys of requests up to this row number are in `request_key`. Those of later requests may be in memory only.
ALTER TABLE progress ADD COLUMN keys_filed INTEGER NOT NULL DEFAULT 0;
UPDATE progress SET keys_filed = (SELECT coalesce(max(seq), 0) FROM request);
";
