<?php

declare(strict_types=1);

namespace Fervo\Runner;

/**
 * What PHP-FPM runs for each request of fervo-worker: one job, a batch of them, or the worker's check. A front controller:
 *
 *     Runner::serve(static function (): Closure {
 *         // Make what runs jobs. An error here is the outcome of each job of the request.
 *         $application = new Application();
 *
 *         // Returning means done, throwing that the attempt has failed; Outcome has more words.
 *         return static fn (Job $job) => $application->run($job->queue, $job->payload);
 *     });
 *
 * The worker takes nothing for success but our word: a fatal error or a stray exit() can look like a fine answer.
 */
final class Runner
{
    /**
     * @param \Closure(): (Application|\Closure(Job): mixed) $boot         called once, and not at all for a request that has come too
     *                                                                     late; what it returns runs a job: any result but an Outcome
     *                                                                     is an ack
     * @param string                                         $payloadParam `payload_param` of the worker: has the payload of a job that
     *                                                                     came alone, else it is on STDIN
     */
    public static function serve(\Closure $boot, string $payloadParam = ''): void
    {
        if (!self::isCalledByTheWorker()) {
            self::refuse();

            return;
        }

        // The worker may give up on us; what has begun is still to end in an orderly way.
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
     * One of these params comes with each request of fervo-worker, and none of them can come from a visitor: below a web root by
     * mistake, nothing runs.
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
     * The request stood in PHP-FPM's listen queue until the worker gave it up: the job runs elsewhere by now. A check has no job,
     * and a deadline for scripts that do not know it.
     */
    private static function isTooLate(): bool
    {
        $startByMs = $_SERVER['FERVO_START_BY'] ?? $_SERVER['FERVO_DEADLINE'] ?? null;

        return null !== $startByMs && !isset($_SERVER['FERVO_CHECK']) && microtime(true) * 1000 > (float) $startByMs;
    }

    /** PHP-FPM's default of 30 s counts CPU time, and would end a job without a word: the worker has a limit of its own. */
    private static function liftTimeLimit(): void
    {
        if (0 !== (int) \ini_get('max_execution_time')) {
            set_time_limit(0);
        }
    }

    private static function serveOne(\Closure $boot, string $payloadParam): void
    {
        Answer::dropOutput();
        // Before the application can change what is known of it.
        $job = Job::fromParams($_SERVER, $_SERVER[$payloadParam] ?? (string) file_get_contents('php://input'));
        $run = self::boot($boot);
        // A check has no job: all is well when the application is there.
        $outcome = isset($_SERVER['FERVO_CHECK']) && !$run instanceof Outcome ? Outcome::ack() : self::run($run, $job);
        // The answer comes behind what the job has left for the end of the script: when that fails or exits, no word comes, and the
        // attempt has failed. Destructors run later still.
        set_exception_handler(null); // A framework's would keep PHP from ending there.
        register_shutdown_function(static fn () => Answer::one($job->id, $outcome));
    }

    /** One job after the other. When one ends PHP, the worker knows by the records which it was, and which were not begun. */
    private static function serveBatch(int $jobs, \Closure $boot): void
    {
        Answer::begin('batch');
        Answer::dropOutput();
        $run = self::boot($boot);
        $reader = self::reader();
        for (; $jobs > 0; --$jobs) {
            try {
                $job = $reader->next();
            } catch (\UnexpectedValueException $error) {
                error_log($error->getMessage());

                return;
            }
            if (null !== $job->format) {
                if ($run instanceof Outcome) {
                    // Nothing of it has begun. The worker waits until the application is there: no message is to suffer from a deployment.
                    return;
                }
                Answer::begun($job->id);
                if (connection_aborted()) {
                    // The worker has given up on this request: the job has not begun for it, and runs elsewhere.
                    return;
                }
            }
            // The job before may have set one.
            self::liftTimeLimit();
            Answer::dropOutput();
            $startedNs = hrtime(true);
            Answer::record($job->id, self::run($run, $job));
            if (connection_aborted() || hrtime(true) - $startedNs > ($job->timeoutMs ?? \INF) * 1e6) {
                // The worker has given up on this request: the jobs that are left run elsewhere.
                return;
            }
        }
    }

    /** The job has died already, and is not run: the application's framework is told. */
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

    /** @return Application|\Closure(Job): mixed|Outcome the outcome of each job, where the application does not boot */
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

    private static function failed(\Throwable $error): Outcome
    {
        // The worker keeps the log lines of a job with its dead letter.
        error_log((string) $error);

        return Outcome::retry($error);
    }
}
