<?php

declare(strict_types=1);

use Fervo\Runner\Application;
use Fervo\Runner\BatchApplication;
use Fervo\Runner\Checkable;
use Fervo\Runner\Failure;
use Fervo\Runner\Job;
use Fervo\Runner\Outcome;
use Fervo\Runner\Runner;

// A front controller whose jobs are PHP code. Params come in a header, and BOOT is code that runs before; DIED is code for jobs that died,
// ALL for all jobs of a request, FACTS for the check.
if (false === getenv('FERVO_TEST_FOLDER')) {
    // Not one of the tests: a visitor of a web server.
    http_response_code(403);
    exit;
}
require dirname(__DIR__, 2).'/autoload.php';
$_SERVER = json_decode($_SERVER['HTTP_X_PARAMS'], true) + $_SERVER;
ini_set('zlib.output_compression', $_SERVER['COMPRESS'] ?? '0');

Runner::serve(static function (): Application|Closure {
    eval($_SERVER['BOOT'] ?? '');
    if (isset($_SERVER['ALL'])) {
        return new class implements BatchApplication, Checkable {
            public function run(Job $job): mixed
            {
                return eval($job->payload);
            }

            public function runAll(Generator $jobs, Closure $settle): void
            {
                eval($_SERVER['ALL']);
            }

            public function died(Job $job, Failure $failure): Outcome
            {
                return Outcome::retry($failure->message);
            }

            public function facts(): array
            {
                return eval($_SERVER['FACTS'] ?? 'return [];');
            }
        };
    }
    if (isset($_SERVER['DIED'])) {
        return new class implements Application {
            public function run(Job $job): mixed
            {
                return eval($job->payload);
            }

            public function died(Job $job, Failure $failure): Outcome
            {
                return eval($_SERVER['DIED']);
            }
        };
    }

    return static fn (Job $job): mixed => eval($job->payload);
}, payloadParam: 'CODE');
