<?php

declare(strict_types=1);

use Fervo\Runner\Job;

/**
 * The handler of each queue: queue name => function (Job $job): void.
 *
 * A handler that returns means that the job is done. A handler that throws means that this attempt failed: the job runs again
 * later, and goes to the dead letters after its last attempt. `return Outcome::bury('no such order')` gives up at once.
 * `return Outcome::retry('busy', 60_000)` sets the wait before the next attempt (Fervo\Runner\Outcome).
 *
 * A job can run twice, for example when the machine dies just before the job is marked as done. So write handlers that can be
 * repeated: "set the status to paid" instead of "add one", or store the job's id with the result.
 */
return [
    'default' => function (Job $job): void {
        file_put_contents(sys_get_temp_dir() . "/fervo-job-$job->id.txt", $job->payload);
    },
];
