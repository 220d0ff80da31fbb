<?php

declare(strict_types=1);

namespace Fervo\Runner;

/**
 * Serves one request of fervo-worker on PHP-FPM: one job, a batch of jobs, or the worker's check. A front controller:
 *
 *     Runner::serve(static function (): Closure {
 *         // Make the application. An error here is the outcome of each job of the request.
 *         $application = new Application();
 *
 *         // To return means done. To throw means that the attempt has failed. Outcome has more results.
 *         return static fn (Job $job) => $application->run($job->queue, $job->payload);
 *     });
 *
 * For the worker, only an explicit outcome is a success: a fatal error or a stray exit() can look like a good answer.
 */
final class Runner
{
    /**
     * @param \Closure(): (Application|\Closure(Job): mixed) $boot         called once, and not at all for a request that comes too
     *                                                                     late; the function that it returns runs a job: every result
     *                                                                     except an Outcome is an ack
     * @param string                                         $payloadParam `payload_param` of the worker: has the payload of a single job;
     *                                                                     when it is absent, the payload is on STDIN
     */
    public static function serve(\Closure $boot, string $payloadParam = ''): void
    {
        if (!self::isCalledByTheWorker()) {
            self::refuse();

            return;
        }

        // The worker may give up on this request. A job that has begun must still end in order.
        ignore_user_abort(true);
        self::liftTimeLimit();
        if (self::isTooLate()) {
            return;
        }

        if (isset($_SERVER['FERVO_POST_MORTEM'])) {
            self::servePostMortem($boot);
        } elseif (isset($_SERVER['FERVO_BATCH'])) {
            self::serveBatch((int) $_SERVER['FERVO_BATCH'], $boot);
        } else {
            self::serveOne($boot, $payloadParam);
        }
    }

    /**
     * Each request of fervo-worker has one of these params, and a visitor can send none of them. So nothing runs when the script is
     * below a web root by mistake.
     */
    public static function isCalledByTheWorker(): bool
    {
        return isset($_SERVER['FERVO_JOB_ID']) || isset($_SERVER['FERVO_BATCH']) || isset($_SERVER['FERVO_CHECK']) || isset($_SERVER['FERVO_POST_MORTEM']);
    }

    /** Answers a visitor of a web server. */
    public static function refuse(): void
    {
        http_response_code(403);
        echo "This script is for fervo-worker.\n";
    }

    /**
     * The request waited in PHP-FPM's listen queue until the worker gave it up: the job runs elsewhere by now. A check has no job;
     * its deadline is for scripts that do not know the check.
     */
    private static function isTooLate(): bool
    {
        $startByMs = $_SERVER['FERVO_START_BY'] ?? $_SERVER['FERVO_DEADLINE'] ?? null;

        return null !== $startByMs && !isset($_SERVER['FERVO_CHECK']) && microtime(true) * 1000 > (float) $startByMs;
    }

    /** PHP's default of 30 s counts CPU time, and would end a job without an outcome. The worker has a time limit of its own. */
    private static function liftTimeLimit(): void
    {
        if (0 !== (int) \ini_get('max_execution_time')) {
            set_time_limit(0);
        }
    }

    private static function serveOne(\Closure $boot, string $payloadParam): void
    {
        Answer::dropOutput();
        // Read the job before the application can change its params.
        $job = Job::fromParams($_SERVER, $_SERVER[$payloadParam] ?? (string) file_get_contents('php://input'));
        $run = self::boot($boot);
        // A check has no job: it succeeds when the application has started.
        $isCheck = isset($_SERVER['FERVO_CHECK']);
        $outcome = $isCheck && !$run instanceof Outcome ? Outcome::ack() : self::run($run, $job);
        $facts = $isCheck && $run instanceof Checkable ? self::facts($run) : [];
        // The answer comes after the shutdown functions of the job. When one of these fails or exits, no outcome is sent, and the
        // attempt has failed. Destructors run even later.
        set_exception_handler(null); // A framework's handler would prevent PHP from ending there.
        register_shutdown_function(static fn () => Answer::one($job->id, $outcome, $facts));
    }

    /** When a job ends PHP, the records show the worker which job it was, and which have not begun. */
    private static function serveBatch(int $jobs, \Closure $boot): void
    {
        Answer::begin('batch');
        Answer::dropOutput();
        $run = self::boot($boot);
        $reader = self::reader();
        $first = self::next($reader);
        if (null !== $first?->format && $run instanceof Outcome) {
            // No job has begun. The worker waits until the application starts, so that no message suffers from a deployment.
            return;
        }
        // The time of the last record: the time limit of all jobs that run counts from it.
        $lastNs = hrtime(true);
        $isLate = static function (Job $job) use (&$lastNs): bool {
            return hrtime(true) - $lastNs > ($job->timeoutMs ?? \INF) * 1e6;
        };
        $hasGivenUp = false;
        $settle = static function (Job $job, Outcome $outcome) use (&$lastNs, &$hasGivenUp, $isLate): void {
            $hasGivenUp = $hasGivenUp || $isLate($job);
            Answer::record($job->id, $outcome);
            Answer::dropOutput();
            $lastNs = hrtime(true);
        };
        $taken = (static function () use ($first, $jobs, $reader, &$lastNs, &$hasGivenUp, $isLate): \Generator {
            for ($job = $first; null !== $job; $job = self::next($reader)) {
                if (null !== $job->format) {
                    Answer::begun($job->id);
                    $lastNs = hrtime(true);
                    if (connection_aborted()) {
                        // The worker has given up on this request. For the worker the job has not begun, and it runs elsewhere.
                        return;
                    }
                }
                // The job before may have set a time limit.
                self::liftTimeLimit();
                Answer::dropOutput();
                yield $job;
                if (0 === --$jobs || $hasGivenUp || connection_aborted() || $isLate($job)) {
                    // The remaining jobs run elsewhere.
                    return;
                }
            }
        })();
        if (null !== $first?->format && $run instanceof BatchApplication) {
            try {
                $run->runAll($taken, $settle);
            } catch (\Throwable $error) {
                error_log((string) $error);
            }

            return;
        }
        foreach ($taken as $job) {
            $settle($job, self::run($run, $job));
        }
    }

    private static function next(BatchReader $reader): ?Job
    {
        try {
            return $reader->next();
        } catch (\UnexpectedValueException $error) {
            error_log($error->getMessage());

            return null;
        }
    }

    /** The job has already died, and is not run: this tells the application's framework. */
    private static function servePostMortem(\Closure $boot): void
    {
        Answer::begin('post-mortem');
        Answer::dropOutput();
        $application = self::boot($boot);
        $job = self::reader()->next();
        if (!$application instanceof Application || null === $job->failure) {
            error_log('The front controller has no answer to a job that died: what makes the application has to return a '.Application::class.'.');

            return;
        }
        Answer::begun($job->id);
        Answer::dropOutput();
        try {
            $outcome = $application->died($job, $job->failure);
        } catch (\Throwable $error) {
            $outcome = self::failed($error);
        }
        Answer::record($job->id, $outcome);
    }

    private static function reader(): BatchReader
    {
        return new BatchReader(fopen('php://input', 'r') ?: throw new \LogicException('PHP has no input.'));
    }

    /** @return Application|\Closure(Job): mixed|Outcome the outcome of each job, when the application does not boot */
    private static function boot(\Closure $boot): Application|\Closure|Outcome
    {
        try {
            return $boot();
        } catch (\Throwable $error) {
            return self::failed($error);
        }
    }

    /** @param Application|\Closure(Job): mixed|Outcome $run */
    private static function run(Application|\Closure|Outcome $run, Job $job): Outcome
    {
        try {
            $result = match (true) {
                $run instanceof Outcome => $run,
                $run instanceof Application => $run->run($job),
                default => $run($job),
            };

            return $result instanceof Outcome ? $result : Outcome::ack();
        } catch (\Throwable $error) {
            return self::failed($error);
        }
    }

    /** @return array<string, mixed> */
    private static function facts(Checkable $application): array
    {
        try {
            return $application->facts();
        } catch (\Throwable $error) {
            // The application has started, which is what the check asks.
            error_log((string) $error);

            return [];
        }
    }

    private static function failed(\Throwable $error): Outcome
    {
        // The worker keeps a job's log lines with its dead letter.
        error_log((string) $error);

        return Outcome::retry($error);
    }
}
