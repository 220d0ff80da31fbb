<?php

declare(strict_types=1);

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
