-- Fills the store of the mode `pages`, as `pages_sqlite.sql` does.
SET synchronous_commit = off;
BEGIN;
CREATE TEMP TABLE made AS
    SELECT n, '01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0') AS id, {now} - 172800000000 + n * (86400000000 / {rows}) AS at,
        CASE WHEN n % 100 < 96 THEN 2 WHEN n % 100 < 99 THEN 3 ELSE 4 END AS state, '/route' || n % 20 AS route
    FROM generate_series(1, {rows}::bigint) AS n;
INSERT INTO request (seq, id, route, owner, state, priority, due, later, epoch, failures, crashes, created, finished)
    SELECT n, id, route, '', state, 0, at, false, 1, 0, 0, at, at + 2000 FROM made ORDER BY n;
INSERT INTO request_body (seq, headers, body)
    SELECT n, convert_to('content-type: application/json' || chr(10), 'UTF8'), convert_to('{payload}', 'UTF8') FROM made ORDER BY n;
INSERT INTO outcome (seq, epoch, reason, result) SELECT n, 1, 'none', convert_to('{payload}', 'UTF8') FROM made ORDER BY n;
INSERT INTO report (seq, id, subject, state, due, epoch, attempt, created, finished, origin)
    SELECT n, id::uuid, id, CASE WHEN n % 100 = 7 THEN 3 ELSE 2 END, at, 1, 1, at, at + 4000, 'https://' || n % 30 || '.example'
    FROM made ORDER BY n;
INSERT INTO report_body (seq, url, headers, body, by_operator)
    SELECT n, 'https://' || n % 30 || '.example/in', '', convert_to('{payload}', 'UTF8'), true FROM made ORDER BY n;
INSERT INTO attempt (report, n, epoch, started, took, status, error, response)
    SELECT n, 1, 1, at + 3000, 1000, CASE WHEN n % 100 = 7 THEN 500 ELSE 204 END, NULL, '' FROM made ORDER BY n;
INSERT INTO series (kind, name, step, at, node, figures)
    SELECT kind, name, step, ({now} / (step * 60000000) - n - 1) * step * 60000000, 1, '{figures}'
    FROM (SELECT 0 AS kind, '' AS name UNION ALL SELECT 1, '/route' || n FROM generate_series(0, 49) AS n
          UNION ALL SELECT 2, 'https://' || n || '.example' FROM generate_series(0, 49) AS n) AS named,
        (VALUES (1::bigint, 1440), (10, 1008)) AS stepped (step, most), generate_series(0, 1439) AS n
    WHERE n < most;
SELECT setval(pg_get_serial_sequence('request', 'seq'), {rows}), setval(pg_get_serial_sequence('report', 'seq'), {rows});
COMMIT;
VACUUM (ANALYZE) request, request_body, outcome, report, report_body, attempt, series;
