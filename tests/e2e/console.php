<?php

declare(strict_types=1);

/**
 * `php console.php app:job`, a command as applications have it: the payload on STDIN, the result as the exit code. A
 * job does what tests/e2e/handlers.php says, and ends with the code that its payload names: `{"exit": 65}`.
 */
if ($argv[1] !== 'app:job') {
    exit(64);
}
$payload = stream_get_contents(STDIN);
$job = ['id' => getenv('FERVO_JOB_ID'), 'attempt' => (int) getenv('FERVO_ATTEMPT')];
(require __DIR__ . '/handlers.php')[getenv('FERVO_QUEUE')]($payload, $job);
exit(json_decode($payload, true)['exit'] ?? 0);
