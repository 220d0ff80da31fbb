<?php

declare(strict_types=1);

use Fervo\Runner\Job;

/**
 * The demo's jobs. Each run of a job writes a row into a table, so that the demo can check afterwards what really happened.
 * Then the job does what its payload says.
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
            throw new RuntimeException('The first attempt fails');
        }
        if ($kind === 'killed once' && $job->attempt === 1) {
            // Longer than the resend window, so the worker cannot assume that the child had left before: docs/adr/0003.
            usleep(1_200_000);
            posix_kill(getmypid(), 9);
        }
        if ($kind === 'always fails') {
            throw new LogicException('This job can never succeed');
        }
    },
];
