<?php

declare(strict_types=1);

use Fervo\Runner\Job;

/**
 * `php console.php app:job`, a command as applications have it: the payload on STDIN, the result as the exit code. A
 * job does what tests/e2e/handlers.php says, and ends with the code that its payload names: `{"exit": 65}`.
 */
if ($argv[1] !== 'app:job') {
    exit(64);
}
require __DIR__ . '/../../php/runner/autoload.php';

$job = Job::fromParams(getenv(), stream_get_contents(STDIN));
(require __DIR__ . '/handlers.php')[$job->queue]($job);
exit(json_decode($job->payload, true)['exit'] ?? 0);
