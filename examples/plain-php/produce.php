<?php

declare(strict_types=1);

/**
 * Pushes a job into the embedded queue with plain PDO.
 *
 *     php produce.php /var/lib/fervo-worker/queue.sqlite default '{"hello":"world"}' [DELAY_SECONDS] [PRIORITY]
 *
 * docs/protocol.md describes the table. Only `queue` and `payload` are needed.
 */
if (PHP_SAPI !== 'cli') {
    http_response_code(403); // A web server may take a visitor's query string for arguments.
    exit;
}
[, $path, $queue, $payload] = $argv + [1 => null, 2 => null, 3 => null];
if ($payload === null) {
    fwrite(STDERR, "Usage: php produce.php DATABASE QUEUE PAYLOAD [DELAY_SECONDS] [PRIORITY]\n");
    exit(2);
}
if (!is_file($path)) {
    fwrite(STDERR, "There is no queue at \"$path\"; `fervo-worker check` creates it\n");
    exit(1);
}

$db = new PDO("sqlite:$path", options: [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
// Workers and other producers write too: wait for them. And the job shall survive a power failure once we say so.
$db->exec('PRAGMA busy_timeout = 5000');
$db->exec('PRAGMA synchronous = FULL');

$insert = $db->prepare('INSERT INTO fervo_jobs (queue, payload, due_at, priority) VALUES (?, ?, ?, ?)');
$insert->bindValue(1, $queue);
// As bytes: a payload may hold anything, serialized PHP too.
$insert->bindValue(2, $payload, PDO::PARAM_LOB);
$insert->bindValue(3, (int) ((microtime(true) + (float) ($argv[4] ?? 0)) * 1000), PDO::PARAM_INT);
$insert->bindValue(4, (int) ($argv[5] ?? 0), PDO::PARAM_INT);
$insert->execute();

echo "Pushed job {$db->lastInsertId()} to \"$queue\"\n";
