-- Fills the store of the mode `operations`. The program replaces each name in braces by a value. A request and its report
-- have the same number. Reports up to number {finished} were delivered. Reports up to {parked} are parked. Reports up to
-- {held} are held, and stay held. Reports up to {enabled} are held for one of the {urls} URLs that are enabled later.
-- Requests up to {waiting} wait and have no report.
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -262144;
PRAGMA temp_store = MEMORY;
BEGIN;

INSERT INTO disabled (seq, url, since, reason)
    WITH RECURSIVE number (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM number WHERE n < {urls} + {disabled})
    SELECT n, iif(n <= {urls}, '{receiver}/bare', 'https://gone.example/in') || '?n=' || n, {now}, 'answered 410 Gone' FROM number;

-- The oldest row is two days old, and the newest row one day. The retention and the limit for parked reports are longer.
CREATE TEMP TABLE made AS
    WITH RECURSIVE number (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM number WHERE n < {waiting})
    SELECT n, printf('01900000-0000-7000-8000-%012x', n) AS id, {now} - 172800000000 + n * (86400000000 / {waiting}) AS at,
        CASE WHEN n > {held} THEN 1 + (n - {held} - 1) / {held_each}
             WHEN n > {parked} THEN {urls} + 1 + n % {disabled} END AS held
    FROM number;

INSERT INTO request (seq, id, route, state, due, epoch, failures, crashes, created, finished)
    SELECT n, id, '/echo', 2, at, 1, 0, 0, at, at + 2000 FROM made WHERE n <= {enabled}
    UNION ALL SELECT n, id, '/gone', 0, at, 0, 0, 0, at, NULL FROM made WHERE n > {enabled};
INSERT INTO request_body (seq, headers, body)
    SELECT n, CAST('host: 127.0.0.1:8080' || char(10) || 'content-type: application/json' || char(10) AS BLOB),
        CAST('{payload}' AS BLOB)
    FROM made;
INSERT INTO outcome (seq, epoch, reason, result)
    SELECT n, 1, 'none', CAST('{payload}' AS BLOB) FROM made WHERE n <= {enabled};

INSERT INTO report (seq, id, subject, state, due, epoch, attempt, created, finished, origin, held)
    SELECT n, unhex(replace(id, '-', '')), id, 2, at, 1, 1, at, at + 4000, '{receiver}', NULL FROM made WHERE n <= {finished}
    UNION ALL
    SELECT n, unhex(replace(id, '-', '')), id, -1, at, 2, 1, at, NULL, '{refusing}', NULL
        FROM made WHERE n > {finished} AND n <= {parked}
    UNION ALL
    SELECT n, unhex(replace(id, '-', '')), id, -2, at, 1, 0, at, NULL, iif(n > {held}, '{receiver}', 'https://gone.example'), held
        FROM made WHERE n > {parked} AND n <= {enabled};
INSERT INTO report_body (seq, url, headers, body, by_operator)
    SELECT n, CASE WHEN n <= {finished} THEN '{receiver}/trip' WHEN n <= {parked} THEN '{refusing}/' ELSE disabled.url END, x'',
        CAST('{"id":"' || id || '","status":"completed","result":{payload},"timestamp":"'
            || strftime('%Y-%m-%dT%H:%M:%fZ', at / 1e6, 'unixepoch') || '"}' AS BLOB),
        n <= {finished}
    FROM made LEFT JOIN disabled ON disabled.seq = made.held WHERE n <= {enabled};
INSERT INTO attempt (report, n, epoch, started, took, status, error, response)
    SELECT n, 1, 1, at + 3000, 1000, iif(n <= {finished}, 204, NULL), iif(n <= {finished}, NULL, 'connection refused'), x''
    FROM made WHERE n <= {parked};

COMMIT;
