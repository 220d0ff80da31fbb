<?php

declare(strict_types=1);

/**
 * Pushes a job into the embedded queue with plain PDO.
 *
 *     php produce.php /var/lib/fervo-worker/queue.sqlite default '{"hello":"world"}' [DELAY_SECONDS] [PRIORITY]
 *
 * docs/protocol.md describes the table. Only `queue` and `payload` are required.
 */
if (PHP_SAPI !== 'cli') {
    http_response_code(403); // A web server can pass a visitor's query string as arguments.
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
// Wait for workers and other producers, which write, too. After execute() below, the job survives a power failure.
$db->exec('PRAGMA busy_timeout = 5000');
$db->exec('PRAGMA synchronous = FULL');

$insert = $db->prepare('INSERT INTO fervo_jobs (queue, payload, due_at, priority) VALUES (?, ?, ?, ?)');
$insert->bindValue(1, $queue);
// As bytes, because a payload can hold any bytes, such as serialized PHP.
$insert->bindValue(2, $payload, PDO::PARAM_LOB);
$insert->bindValue(3, (int) ((microtime(true) + (float) ($argv[4] ?? 0)) * 1000), PDO::PARAM_INT);
$insert->bindValue(4, (int) ($argv[5] ?? 0), PDO::PARAM_INT);
$insert->execute();

echo "Pushed job {$db->lastInsertId()} to \"$queue\"\n";
