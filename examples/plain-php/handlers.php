<?php

declare(strict_types=1);

/**
 * What to do with the jobs of each queue: queue name => function (string $payload, array $job): void.
 *
 * Returning means done. Throwing means that this try has failed: the job is tried again later, and goes to the dead
 * letters after its last try.
 *
 * A job can run twice, for instance when the machine dies just before it is marked as done. So do what can be repeated:
 * "set the status to paid" rather than "add one", or remember the job's id with the result.
 */
return [
    'default' => function (string $payload, array $job): void {
        file_put_contents(sys_get_temp_dir() . "/fervo-job-{$job['id']}.txt", $payload);
    },
];
