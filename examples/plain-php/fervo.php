<?php

declare(strict_types=1);

/**
 * The front controller: PHP-FPM runs it once for each job, or once for each batch of jobs (batch_size). Your code is in
 * handlers.php. Create the objects that all jobs need here.
 */

namespace App;

use Fervo\Runner\Job;
use Fervo\Runner\Outcome;
use Fervo\Runner\Runner;

// With Composer: __DIR__ . '/vendor/autoload.php'. Without Composer, use fervo-standalone.php: this file with the runner inside.
require __DIR__ . '/../../php/runner/autoload.php';

Runner::serve(static function (): \Closure {
    $handlers = require $_SERVER['APP_HANDLERS'] ?? __DIR__ . '/handlers.php';

    return static fn (Job $job): mixed => isset($handlers[$job->queue])
        ? $handlers[$job->queue]($job)
        // A retry would not help: a person must write the handler, and can then retry the dead letter.
        : Outcome::bury("no handler for queue \"$job->queue\"");
});
