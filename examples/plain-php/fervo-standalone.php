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

Runner::serve(static function (): \Closure {
    $handlers = require $_SERVER['APP_HANDLERS'] ?? __DIR__ . '/handlers.php';

    return static fn (Job $job): mixed => isset($handlers[$job->queue])
        ? $handlers[$job->queue]($job)
        // A retry would not help: a person must write the handler, and can then retry the dead letter.
        : Outcome::bury("no handler for queue \"$job->queue\"");
});

// ---- The rest of this file is fervo/php-runner, copied by scripts/copy-runner of fervo-worker. Your code ends here.

namespace Fervo\Runner;

/**
 * Sends an outcome to the worker: by headers while they can still be sent, otherwise by a record in the body.
 *
 * @internal
 */
final class Answer
{
    /** The settings of PHP that `fervo-worker check --call-script` judges. */
    private const SETTINGS = ['display_errors', 'log_errors', 'memory_limit', 'max_execution_time', 'opcache.enable', 'opcache.validate_timestamps', 'error_log', 'fastcgi.logging'];

    /** Drops the output of a job, so that headers can still be sent. Nobody reads this output. */
    public static function dropOutput(): void
    {
        ob_start(static fn (): string => '', 65536);
    }

    /**
     * Answers a request with one job, or without a job.
     *
     * @param array<string, mixed> $facts of the application, for a check
     */
    public static function one(string $jobId, Outcome $outcome, array $facts = []): void
    {
        // Headers have been sent when the job has flushed, or has ended our buffer.
        $isSent = headers_sent();
        if (!$isSent) {
            header_remove();
        }
        if ($isSent || !$outcome->fitsHeaders()) {
            self::write($outcome->toRecord($jobId));
            // A record counts only at the end of the body.
            self::dropOutput();

            return;
        }
        if (isset($_SERVER['FERVO_CHECK'])) {
            // ini_get() is false when PHP does not know a setting.
            $facts = array_combine(self::SETTINGS, array_map(ini_get(...), self::SETTINGS)) + $facts;
            header('X-Fervo-Check: '.json_encode($facts, \JSON_UNESCAPED_SLASHES | \JSON_INVALID_UTF8_SUBSTITUTE | \JSON_PARTIAL_OUTPUT_ON_ERROR));
        }
        if (null !== $outcome->error) {
            header('X-Fervo-Error: '.$outcome->error);
            header('X-Fervo-Pid: '.getmypid());
        }
        if (null !== $outcome->delayMs) {
            header('X-Fervo-Delay-Ms: '.$outcome->delayMs);
        }
        header('X-Fervo-Outcome: '.$outcome->kind);
    }

    /**
     * Sends the header that announces records, before a job can send another header.
     *
     * @param 'batch'|'post-mortem' $word
     */
    public static function begin(string $word): void
    {
        header('X-Fervo-Outcome: '.$word);
        self::write("\n");
    }

    /** Reports that a job of a batch begins, before the application reads it. */
    public static function begun(string $jobId): void
    {
        self::write(Outcome::begunRecord($jobId));
    }

    /** Reports the outcome of a job of a batch, as soon as it has ended. */
    public static function record(string $jobId, Outcome $outcome): void
    {
        self::write($outcome->toRecord($jobId));
    }

    /** Writes into the body, at once. All buffers end, also PHP's compression, and their content is dropped. */
    private static function write(string $bytes): void
    {
        while (ob_get_level() > 0 && ob_end_clean()) {
        }
        echo $bytes;
        flush();
    }
}

/** Runs the jobs of a framework that keeps retries and failed jobs itself, and so must learn of jobs that died. */
interface Application
{
    /** @return mixed as the result of a job's function: every result except an Outcome is an ack */
    public function run(Job $job): mixed;

    /**
     * The job has died without an outcome. Do not run it, but do what an exception of the job would have led to.
     *
     * @return Outcome handled, replace, retry or bury; the worker accepts no other outcome
     */
    public function died(Job $job, Failure $failure): Outcome;
}

/**
 * An application that runs all jobs of a request at once, for example because its framework has handlers for many messages. It gets
 * the jobs of a framework so, also a single one; all others one after the other.
 */
interface BatchApplication extends Application
{
    /**
     * Runs the jobs, and returns when it has run all that it has taken. A job without an outcome then counts as one that died: the
     * worker reports it by {@see Application::died()}. Jobs that were not taken run elsewhere.
     *
     * @param \Generator<int, Job>         $jobs   each begins when it is taken; there are no more when the worker has given up on the request
     * @param \Closure(Job, Outcome): void $settle tells the outcome of a job at once; in any order, once for each job
     */
    public function runAll(\Generator $jobs, \Closure $settle): void;
}

/**
 * Reads the jobs of a batch: for each job a line of JSON with `bytes`, the payload of exactly this many bytes, and a newline.
 *
 * The facts of the line go into $_SERVER, so that a job of a batch looks like a single job.
 *
 * @internal
 */
final class BatchReader
{
    /** The params of a job, and their names in a batch. */
    private const FACTS = [
        'FERVO_JOB_ID' => 'id',
        'FERVO_QUEUE' => 'queue',
        'FERVO_ATTEMPT' => 'attempt',
        'FERVO_REPEAT' => 'repeat',
        'FERVO_MAX_ATTEMPTS' => 'max_attempts',
        'FERVO_ENQUEUED_AT' => 'enqueued_at',
        'FERVO_DEADLINE' => 'deadline',
        'HTTP_TRACEPARENT' => 'traceparent',
        'HTTP_TRACESTATE' => 'tracestate',
    ];

    /** @param resource $input */
    public function __construct(private $input)
    {
    }

    /** @throws \UnexpectedValueException when the batch is cut off */
    public function next(): Job
    {
        $line = fgets($this->input);
        $facts = false === $line ? null : json_decode($line, true);
        if (!\is_array($facts) || !isset($facts['id'], $facts['bytes'])) {
            throw new \UnexpectedValueException('The batch ends, or is no batch, where a job should begin.');
        }
        $bytes = (int) $facts['bytes'];
        $payload = 0 === $bytes ? '' : (string) stream_get_contents($this->input, $bytes);
        if (\strlen($payload) !== $bytes || "\n" !== fgetc($this->input)) {
            throw new \UnexpectedValueException(\sprintf('The payload of job "%s" in the batch does not have the %d bytes that were announced.', $facts['id'], $bytes));
        }
        $timeoutMs = isset($facts['timeout_ms']) ? (int) $facts['timeout_ms'] : null;
        $facts['deadline'] = null === $timeoutMs ? null : (int) (microtime(true) * 1000) + $timeoutMs;
        foreach (self::FACTS as $param => $name) {
            unset($_SERVER[$param]);
            // An absent FERVO_REPEAT means false.
            if (null !== ($facts[$name] ?? null) && false !== $facts[$name]) {
                $_SERVER[$param] = (string) $facts[$name];
            }
        }

        $headers = \is_array($facts['headers'] ?? null) ? array_filter($facts['headers'], is_string(...)) : [];

        $died = $facts['failure'] ?? null;
        $failure = \is_array($died) ? new Failure((string) ($died['id'] ?? ''), (string) ($died['code'] ?? ''), (string) ($died['message'] ?? '')) : null;

        return Job::fromParams($_SERVER, $payload, $timeoutMs, isset($facts['format']) ? (string) $facts['format'] : null, $headers, $failure);
    }
}

/** An application that tells `fervo-worker check --call-script` more than PHP's settings. */
interface Checkable
{
    /**
     * Without secrets: they are shown and logged. They travel in a header, so a few kilobytes at most.
     *
     * @return array<string, mixed> what JSON can express, by names that are not those of PHP's settings
     */
    public function facts(): array;
}

/** The death of a job without an outcome, as the worker has seen it: docs/protocol.md, section 8. */
final class Failure
{
    /**
     * @param string $id      the same each time that the worker reports this failure
     * @param string $code    JOB_CRASHED, JOB_TIMEOUT, JOB_NO_OUTCOME, JOB_ABANDONED or another code of the worker
     * @param string $message for people
     */
    public function __construct(
        public readonly string $id,
        public readonly string $code,
        public readonly string $message,
    ) {
    }
}

/** A job of fervo-worker, with the facts that the worker sends: docs/protocol.md, sections 1 and 7. */
final class Job
{
    /**
     * @param string                $id           the same at each attempt
     * @param string                $payload      as it was pushed, any bytes
     * @param int                   $attempt      1 is the first
     * @param int                   $maxAttempts  0 when it is not known
     * @param bool                  $isRepeat     an earlier run may not have ended
     * @param int|null              $enqueuedAtMs the time of the push, epoch milliseconds
     * @param string|null           $traceparent  W3C trace context, with $tracestate
     * @param int|null              $timeoutMs    the time limit of a job in a batch; the worker itself ends a single job
     * @param string|null           $format       of a message with headers, which the application's framework reads; its begin is reported
     * @param array<string, string> $headers      of such a message
     * @param Failure|null          $failure      the death of the job; null for a job to run
     */
    public function __construct(
        public readonly string $id,
        public readonly string $queue,
        public readonly string $payload,
        public readonly int $attempt = 1,
        public readonly int $maxAttempts = 0,
        public readonly bool $isRepeat = false,
        public readonly ?int $enqueuedAtMs = null,
        public readonly ?string $traceparent = null,
        public readonly ?string $tracestate = null,
        public readonly ?int $timeoutMs = null,
        public readonly ?string $format = null,
        public readonly array $headers = [],
        public readonly ?Failure $failure = null,
    ) {
    }

    /**
     * @param array<string, mixed>  $params  of a request, $_SERVER; or the environment of a process, getenv()
     * @param array<string, string> $headers
     */
    public static function fromParams(array $params, string $payload, ?int $timeoutMs = null, ?string $format = null, array $headers = [], ?Failure $failure = null): self
    {
        return new self(
            (string) ($params['FERVO_JOB_ID'] ?? ''),
            (string) ($params['FERVO_QUEUE'] ?? ''),
            $payload,
            (int) ($params['FERVO_ATTEMPT'] ?? 1),
            (int) ($params['FERVO_MAX_ATTEMPTS'] ?? 0),
            isset($params['FERVO_REPEAT']),
            isset($params['FERVO_ENQUEUED_AT']) ? (int) $params['FERVO_ENQUEUED_AT'] : null,
            $params['HTTP_TRACEPARENT'] ?? $params['TRACEPARENT'] ?? null,
            $params['HTTP_TRACESTATE'] ?? $params['TRACESTATE'] ?? null,
            $timeoutMs,
            $format,
            $headers,
            $failure,
        );
    }

    /** Whether this is the last attempt: no other follows when it fails. */
    public function isLastAttempt(): bool
    {
        return $this->maxAttempts > 0 && $this->attempt >= $this->maxAttempts;
    }
}

/** The outcome of a job, in the terms of fervo-worker: docs/protocol.md, section 2. */
final class Outcome
{
    public const ACK = 'ack';
    public const RETRY = 'retry';
    public const BURY = 'bury';
    public const HANDLED = 'handled';
    public const REPLACE = 'replace';
    public const RELEASE = 'release';

    /** The worker keeps at most this much. */
    private const MAX_ERROR_BYTES = 1000;
    private const MAX_QUEUE_PAUSE_MS = 60_000;

    /**
     * @param string|null $error   one line; null when nothing has failed
     * @param int|null    $delayMs the wait before the next attempt; null = as the worker's configuration says
     * @param string|null $body    of the message that takes the job's place
     * @param string|null $headers of that message, a JSON object
     */
    private function __construct(
        /** @var self::ACK|self::RETRY|self::BURY|self::HANDLED|self::REPLACE|self::RELEASE */
        public readonly string $kind,
        public readonly ?string $error = null,
        public readonly ?int $delayMs = null,
        private readonly ?string $body = null,
        private readonly ?string $headers = null,
        private readonly ?int $queuePauseMs = null,
    ) {
    }

    /** The job is done. */
    public static function ack(): self
    {
        return new self(self::ACK);
    }

    /** The attempt has failed. The job runs again later, or is a dead letter after its last attempt. */
    public static function retry(\Throwable|string $error, ?int $delayMs = null): self
    {
        return new self(self::RETRY, self::oneLine($error), null === $delayMs ? null : max(0, $delayMs));
    }

    /** The job has failed for good. It is a dead letter, and a person has to look at it. */
    public static function bury(\Throwable|string $error): self
    {
        return new self(self::BURY, self::oneLine($error));
    }

    /** The job has failed, and the application keeps the rest of it. The worker only counts the failure. */
    public static function handled(\Throwable|string $error): self
    {
        return new self(self::HANDLED, self::oneLine($error));
    }

    /**
     * The attempt has failed, and this message takes the job's place in its queue. The application counts attempts in the message.
     *
     * @param string                $body    any bytes
     * @param array<string, string> $headers strings in UTF-8
     *
     * @throws \JsonException when a header is not a string
     */
    public static function replace(string $body, array $headers, int $delayMs, \Throwable|string $error): self
    {
        $headers = json_encode((object) $headers, \JSON_UNESCAPED_SLASHES | \JSON_UNESCAPED_UNICODE | \JSON_THROW_ON_ERROR);

        return new self(self::REPLACE, self::oneLine($error), max(0, $delayMs), $body, $headers);
    }

    /**
     * The job was not run. It comes again, and no attempt is counted.
     *
     * @param \Throwable|string|null $why what prevents jobs from running; null when nothing is wrong
     */
    public static function release(int $delayMs = 0, \Throwable|string|null $why = null): self
    {
        return new self(self::RELEASE, null === $why ? null : self::oneLine($why), max(0, $delayMs));
    }

    /** Holds the whole queue back, for a minute at most, for example during maintenance. Then one job tests whether it can go on. */
    public function pausingQueue(int $ms): self
    {
        return new self($this->kind, $this->error, $this->delayMs, $this->body, $this->headers, max(0, min($ms, self::MAX_QUEUE_PAUSE_MS)));
    }

    /**
     * Headers can express the outcomes of a job without a framework. All other outcomes need a record.
     *
     * @internal
     */
    public function fitsHeaders(): bool
    {
        return \in_array($this->kind, [self::ACK, self::RETRY, self::BURY], true) && null === $this->queuePauseMs;
    }

    /**
     * For the body of an answer: 0x1E, one line of JSON, a newline. After the line of "replace" come the new message's headers, a JSON
     * object of `headers_bytes`, and its body of `bytes`, with nothing between them or after them.
     *
     * @internal
     */
    public function toRecord(string $jobId): string
    {
        return self::record([
            'id' => $jobId,
            'outcome' => $this->kind,
            'error' => $this->error,
            'delay_ms' => $this->delayMs,
            'pid' => null === $this->error ? null : getmypid(),
            'queue_pause_ms' => $this->queuePauseMs,
            'headers_bytes' => null === $this->headers ? null : \strlen($this->headers),
            'bytes' => null === $this->body ? null : \strlen($this->body),
        ]).$this->headers.$this->body;
    }

    /**
     * Not an outcome: the application has started, and begins the job.
     *
     * @internal
     */
    public static function begunRecord(string $jobId): string
    {
        return self::record(['id' => $jobId, 'outcome' => 'begun']);
    }

    /** @param array<string, string|int|false|null> $facts */
    private static function record(array $facts): string
    {
        return "\x1e".json_encode(array_filter($facts, static fn (mixed $value): bool => null !== $value), \JSON_UNESCAPED_SLASHES | \JSON_INVALID_UTF8_SUBSTITUTE)."\n";
    }

    /** The name of an anonymous class has a NUL byte and its file, and a header must have no control characters. */
    private static function oneLine(\Throwable|string $error): string
    {
        $text = \is_string($error) ? $error : $error::class.': '.$error->getMessage();
        $text = trim((string) preg_replace('/[\x00-\x1f\x7f]+/', ' ', $text));
        if (\strlen($text) > self::MAX_ERROR_BYTES) {
            // Do not cut a character in two.
            $text = (string) preg_replace('/[\xc0-\xff][\x80-\xbf]{0,3}$/D', '', substr($text, 0, self::MAX_ERROR_BYTES - \strlen('…'))).'…';
        }

        return $text;
    }
}

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
