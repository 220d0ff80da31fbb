<?php

declare(strict_types=1);

/**
 * A producer as docs/protocol.md describes it: inserts jobs "PREFIX 0", "PREFIX 1", … with plain PDO.
 *
 *     php sqlite_producer.php DATABASE PREFIX COUNT
 */
[, $path, $prefix, $count] = $argv;

$db = new PDO("sqlite:$path", options: [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
$db->exec('PRAGMA busy_timeout = 20000');
$insert = $db->prepare('INSERT INTO fervo_jobs (queue, payload) VALUES (?, ?)');
for ($i = 0; $i < (int) $count; $i++) {
    // Some in transactions of ten, the others alone.
    if ($i % 20 === 0) {
        $db->exec('BEGIN IMMEDIATE');
    }
    $insert->execute(['q', "$prefix $i"]);
    if ($i % 20 === 9) {
        $db->exec('COMMIT');
    }
}
if ($db->inTransaction()) {
    $db->exec('COMMIT');
}
