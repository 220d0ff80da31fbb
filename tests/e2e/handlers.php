<?php

declare(strict_types=1);

use Fervo\Runner\Job;

/**
 * The handlers of the end-to-end tests. Each run of a job leaves a row before anything else; then the job does what
 * its payload says: `{"write_pid": "/a/file", "sleep_ms": 20, "wait_for": "/a/file", "stderr": "text", "fail_until": 3}`.
 * Other payloads do nothing.
 */
return array_fill_keys(['jobs', 'mail', 'reports', 'a', 'b', 'gone', 'new', 'second'], function (Job $job): void {
    $db = new PDO('sqlite:' . $_SERVER['TEST_EFFECTS'], options: [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
    $db->exec('PRAGMA busy_timeout = 20000');
    $db->exec('PRAGMA synchronous = OFF');
    $insert = $db->prepare('INSERT INTO effects (job, attempt, payload) VALUES (?, ?, ?)');
    $insert->bindValue(1, $job->id);
    $insert->bindValue(2, $job->attempt, PDO::PARAM_INT);
    $insert->bindValue(3, $job->payload, PDO::PARAM_LOB);
    $insert->execute();
    $db = null;

    $wish = json_decode($job->payload, true);
    if (!is_array($wish)) {
        return;
    }
    if (isset($wish['write_pid'])) {
        file_put_contents($wish['write_pid'] . '.new', getmypid());
        rename($wish['write_pid'] . '.new', $wish['write_pid']);
    }
    usleep(($wish['sleep_ms'] ?? 0) * 1000);
    // Not for ever: of a worker that was killed, the test's folder goes, and the job would stay.
    while (isset($wish['wait_for']) && !file_exists($wish['wait_for']) && is_dir(dirname($wish['wait_for']))) {
        usleep(2000);
        clearstatcache();
    }
    if (isset($wish['stderr'])) {
        error_log($wish['stderr']);
    }
    if ($job->attempt <= ($wish['fail_until'] ?? 0)) {
        throw new RuntimeException('As the payload says');
    }
});
