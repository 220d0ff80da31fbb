<?php

declare(strict_types=1);

use Fervo\Runner\Job;

/**
 * What to do with the jobs of each queue: queue name => function (Job $job): void.
 *
 * Returning means done. Throwing means that this attempt has failed: the job runs again later, and goes to the dead letters
 * after its last attempt. `return Outcome::bury('no such order')` gives up at once, `return Outcome::retry('busy', 60_000)`
 * says when to try again (Fervo\Runner\Outcome).
 *
 * A job can run twice, for instance when the machine dies just before it is marked as done. So do what can be repeated:
 * "set the status to paid" rather than "add one", or remember the job's id with the result.
 */
return [
    'default' => function (Job $job): void {
        file_put_contents(sys_get_temp_dir() . "/fervo-job-$job->id.txt", $job->payload);
    },
];
