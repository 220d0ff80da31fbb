<?php

declare(strict_types=1);

use Fervo\Runner\Job;

/**
 * The demo's jobs. Each run of a job leaves a row in a table, so that the demo can see afterwards what has really
 * happened; then it does what its payload says.
 */
return [
    'demo' => function (Job $job): void {
        $db = new PDO('sqlite:' . $_SERVER['DEMO_EFFECTS'], options: [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
        $db->exec('PRAGMA busy_timeout = 10000');
        $db->exec('PRAGMA synchronous = OFF');
        $kind = json_decode($job->payload, true, flags: JSON_THROW_ON_ERROR)['kind'];
        $db->prepare('INSERT INTO effects (job, attempt, kind, sha1) VALUES (?, ?, ?, ?)')
            ->execute([$job->id, $job->attempt, $kind, sha1($job->payload)]);
        $db = null;

        if ($kind === 'fails once' && $job->attempt === 1) {
            throw new RuntimeException('The first try fails');
        }
        if ($kind === 'killed once' && $job->attempt === 1) {
            // Longer than the worker takes a lost connection for a child that had left before: docs/adr/0003.
            usleep(1_200_000);
            posix_kill(getmypid(), 9);
        }
        if ($kind === 'always fails') {
            throw new LogicException('This job can never succeed');
        }
    },
];
