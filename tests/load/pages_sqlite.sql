-- Fills the store of the mode `pages`. The program replaces each name in braces by a value. Of a hundred requests, 96 were
-- completed, three have failed, and one was cancelled. Of a hundred deliveries, one is dead.
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -262144;
PRAGMA temp_store = MEMORY;
BEGIN;
CREATE TEMP TABLE made AS
    WITH RECURSIVE number (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM number WHERE n < {rows})
    SELECT n, printf('01900000-0000-7000-8000-%012x', n) AS id, {now} - 172800000000 + n * (86400000000 / {rows}) AS at,
        CASE WHEN n % 100 < 96 THEN 2 WHEN n % 100 < 99 THEN 3 ELSE 4 END AS state, '/route' || (n % 20) AS route FROM number;
INSERT INTO request (seq, id, route, state, due, epoch, failures, crashes, created, finished)
    SELECT n, id, route, state, at, 1, 0, 0, at, at + 2000 FROM made;
INSERT INTO request_body (seq, headers, body)
    SELECT n, CAST('content-type: application/json' || char(10) AS BLOB), CAST('{payload}' AS BLOB) FROM made;
INSERT INTO outcome (seq, epoch, reason, result) SELECT n, 1, 'none', CAST('{payload}' AS BLOB) FROM made;
INSERT INTO report (seq, id, subject, state, due, epoch, attempt, created, finished, origin)
    SELECT n, unhex(replace(id, '-', '')), id, iif(n % 100 = 7, 3, 2), at, 1, 1, at, at + 4000, 'https://' || (n % 30) || '.example'
    FROM made;
INSERT INTO report_body (seq, url, headers, body, by_operator)
    SELECT n, 'https://' || (n % 30) || '.example/in', x'', CAST('{payload}' AS BLOB), 1 FROM made;
INSERT INTO attempt (report, n, epoch, started, took, status, error, response)
    SELECT n, 1, 1, at + 3000, 1000, iif(n % 100 = 7, 500, 204), NULL, x'' FROM made;
INSERT INTO series (kind, name, step, at, figures)
    WITH RECURSIVE number (n) AS (VALUES (0) UNION ALL SELECT n + 1 FROM number WHERE n < 1439),
        named (kind, name) AS (VALUES (0, '') UNION ALL SELECT 1, '/route' || n FROM number WHERE n < 50
            UNION ALL SELECT 2, 'https://' || n || '.example' FROM number WHERE n < 50),
        stepped (step, most) AS (VALUES (1, 1440), (10, 1008))
    SELECT kind, name, step, ({now} / (step * 60000000) - n - 1) * step * 60000000, '{figures}'
    FROM named, stepped, number WHERE n < most;
COMMIT;
