<?php

declare(strict_types=1);

namespace Fervo\Runner;

/**
 * The way of an outcome to the worker: by headers where they can still be sent, else by a record in the body.
 *
 * @internal
 */
final class Answer
{
    /** Settings of PHP that `fervo-worker check --call-script` judges. */
    private const SETTINGS = ['display_errors', 'log_errors', 'memory_limit', 'max_execution_time', 'opcache.enable', 'opcache.validate_timestamps', 'error_log', 'fastcgi.logging'];

    /** What a job prints is kept back, so that headers can still be sent, and is of no use to anyone. */
    public static function dropOutput(): void
    {
        ob_start(static fn (): string => '', 65536);
    }

    /** To a request for one job, or for none. */
    public static function one(string $jobId, Outcome $outcome): void
    {
        // It has where the job has flushed, or has ended our buffer.
        $isSent = headers_sent();
        if (!$isSent) {
            header_remove();
        }
        if ($isSent || !$outcome->fitsHeaders()) {
            self::write($outcome->toRecord($jobId));
            // A record counts only as the last thing in the body.
            self::dropOutput();

            return;
        }
        if (isset($_SERVER['FERVO_CHECK'])) {
            // ini_get() is false where PHP does not know a setting.
            header('X-Fervo-Check: '.json_encode(array_combine(self::SETTINGS, array_map(ini_get(...), self::SETTINGS))));
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
     * Sends the header that says that records follow, before a job can send another.
     *
     * @param 'batch'|'post-mortem' $word
     */
    public static function begin(string $word): void
    {
        header('X-Fervo-Outcome: '.$word);
        self::write("\n");
    }

    /** Of a job in a batch, before the application reads it. */
    public static function begun(string $jobId): void
    {
        self::write(Outcome::begunRecord($jobId));
    }

    /** Of a job in a batch, as soon as it has ended. */
    public static function record(string $jobId, Outcome $outcome): void
    {
        self::write($outcome->toRecord($jobId));
    }

    /** Into the body, at once: all buffers end, PHP's compression among them, and what is in them is dropped. */
    private static function write(string $bytes): void
    {
        while (ob_get_level() > 0 && ob_end_clean()) {
        }
        echo $bytes;
        flush();
    }
}
