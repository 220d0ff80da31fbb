<?php

declare(strict_types=1);

/**
 * The front controller: PHP-FPM runs it once for each job, or once for each batch of jobs (batch_size). Your code is in
 * handlers.php; what all jobs need is made here.
 */

namespace App;

use Fervo\Runner\Job;
use Fervo\Runner\Outcome;
use Fervo\Runner\Runner;

// With Composer: __DIR__ . '/vendor/autoload.php'. Without: fervo-standalone.php is this file with the runner in it.
require __DIR__ . '/../../php/runner/autoload.php';

Runner::serve(static function (): \Closure {
    $handlers = require $_SERVER['APP_HANDLERS'] ?? __DIR__ . '/handlers.php';

    return static fn (Job $job): mixed => isset($handlers[$job->queue])
        ? $handlers[$job->queue]($job)
        // To try again would not help: a person has to write the handler, and can retry the dead letter then.
        : Outcome::bury("no handler for queue \"$job->queue\"");
});
