-- The queue's schema, version 1, as fervo-worker creates it (docs/protocol.md, section 4).
PRAGMA application_id = 0x6672766F;
PRAGMA user_version = 1;
PRAGMA journal_mode = WAL;
CREATE TABLE fervo_jobs (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  queue        TEXT    NOT NULL CHECK (typeof(queue) = 'text'),
  payload      BLOB    NOT NULL,
  headers      TEXT,
  priority     INTEGER NOT NULL DEFAULT 0,
  max_attempts INTEGER CHECK (max_attempts BETWEEN 1 AND 9007199254740991),
  created_at   INTEGER NOT NULL DEFAULT (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER)) CHECK (created_at BETWEEN 0 AND 9007199254740991),
  due_at       INTEGER NOT NULL DEFAULT (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER)) CHECK (due_at BETWEEN 0 AND 9007199254740991),
  state        TEXT    NOT NULL DEFAULT 'ready' CHECK (state = 'ready' OR state = 'delayed'
                                                        OR state = 'reserved' OR state = 'dead'),
  attempts     INTEGER NOT NULL DEFAULT 0,
  lease        TEXT,
  error        TEXT
);
CREATE INDEX fervo_jobs_ready ON fervo_jobs (queue, priority DESC, id) WHERE state = 'ready';
CREATE INDEX fervo_jobs_due ON fervo_jobs (due_at, queue, state) WHERE state IN ('delayed', 'reserved');
CREATE INDEX fervo_jobs_dead ON fervo_jobs (queue, due_at, id) WHERE state = 'dead';
-- A producer only sets due_at; that a job with a later one is delayed follows from it.
CREATE TRIGGER fervo_jobs_delay AFTER INSERT ON fervo_jobs
WHEN NEW.state = 'ready' AND NEW.due_at > (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER))
BEGIN
  UPDATE fervo_jobs SET state = 'delayed' WHERE id = NEW.id;
END;
