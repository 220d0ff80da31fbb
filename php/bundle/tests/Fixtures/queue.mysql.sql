-- The tables as fervo-worker creates them: tests/unit/brokers/rows/bundle_fixture_test.ts.
CREATE TABLE IF NOT EXISTS `fervo_schema` (version INTEGER NOT NULL) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4;
CREATE TABLE IF NOT EXISTS `fervo_jobs` (
  id           BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  queue        VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
  payload      LONGBLOB NOT NULL,
  headers      LONGTEXT,
  priority     BIGINT NOT NULL DEFAULT 0,
  max_attempts BIGINT CHECK (max_attempts BETWEEN 1 AND 9007199254740991),
  created_at   BIGINT NOT NULL DEFAULT (TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000) CHECK (created_at BETWEEN 0 AND 9007199254740991),
  due_at       BIGINT NOT NULL DEFAULT (TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000) CHECK (due_at BETWEEN 0 AND 9007199254740991),
  state        VARCHAR(8) NOT NULL DEFAULT 'ready' CHECK (state IN ('ready', 'delayed', 'reserved', 'dead')),
  attempts     BIGINT NOT NULL DEFAULT 0 CHECK (attempts BETWEEN 0 AND 9007199254740991),
  lease        VARCHAR(250),
  error        LONGTEXT,
  errors       LONGTEXT,
  unique_key   VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
  taken_key    VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
  INDEX ready (state, queue, priority DESC, id),
  INDEX due (state, queue, due_at, id),
  UNIQUE INDEX unique_key (queue, unique_key)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4;
CREATE TABLE IF NOT EXISTS `fervo_paused` (
  queue     VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL PRIMARY KEY,
  paused_at BIGINT NOT NULL,
  until_at  BIGINT,
  reason    LONGTEXT
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4;
CREATE TABLE IF NOT EXISTS `fervo_schedule` (
  name       VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL PRIMARY KEY,
  rule       LONGTEXT NOT NULL,
  claimed_to BIGINT NOT NULL,
  spans      LONGTEXT
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4;
INSERT INTO `fervo_schema` (version) VALUES (1);
