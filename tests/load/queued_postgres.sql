-- Adds waiting requests to a store in PostgreSQL, as `queued.sql` does.
BEGIN;
INSERT INTO request (id, route, owner, state, priority, due, later, epoch, failures, crashes, created)
    SELECT '01910000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'), '/guarded', 'owner' || n % 1000, 0, 0, {now}, false, 0, 0, 0, {now}
    FROM generate_series(1, {queued}::bigint) AS n;
INSERT INTO request_body (seq, headers, body)
    SELECT seq, '', convert_to('{"gate":"never"}', 'UTF8') FROM request WHERE route = '/guarded';
COMMIT;
VACUUM (ANALYZE) request, request_body;
