<?php
// The null job for batches (docs/protocol.md, section 7): what null_job.php does, for each.
header('X-Fervo-Outcome: batch');
$jobs = fopen('php://input', 'r');
for ($left = (int) $_SERVER['FERVO_BATCH']; $left > 0; $left--) {
    $facts = json_decode(fgets($jobs), true, 3, JSON_THROW_ON_ERROR);
    stream_get_contents($jobs, $facts['bytes'] + 1);
    usleep(5);
    echo "\x1e", json_encode(['id' => $facts['id'], 'outcome' => 'ack']), "\n";
    flush();
}
