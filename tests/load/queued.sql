-- Adds requests that wait for the route `/guarded`, which is full, to the store of the mode `operations`. They belong to
-- 1,000 owners. The program replaces each name in braces by a value.
BEGIN;
INSERT INTO request (seq, id, route, state, due, epoch, failures, crashes, created, owner)
    WITH RECURSIVE number (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM number WHERE n < {queued})
    SELECT (SELECT coalesce(max(seq), 0) FROM request) + n, printf('01910000-0000-7000-8000-%012x', n), '/guarded', 0, {now}, 0, 0, 0,
        {now}, 'owner' || (n % 1000) FROM number;
INSERT INTO request_body (seq, headers, body)
    SELECT seq, x'', CAST('{"gate":"never"}' AS BLOB) FROM request WHERE route = '/guarded';
COMMIT;
