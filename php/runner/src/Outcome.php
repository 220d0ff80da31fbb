<?php

declare(strict_types=1);

namespace Fervo\Runner;

/** What became of a job, in the words of fervo-worker: docs/protocol.md, section 2. */
final class Outcome
{
    public const ACK = 'ack';
    public const RETRY = 'retry';
    public const BURY = 'bury';

    /** The worker keeps no more. */
    private const MAX_ERROR_BYTES = 1000;

    /**
     * @param self::ACK|self::RETRY|self::BURY $kind
     * @param string|null                      $error   one line; null with "ack"
     * @param int|null                         $delayMs how long to wait before the next attempt; null = as the worker's configuration says
     */
    private function __construct(
        public readonly string $kind,
        public readonly ?string $error = null,
        public readonly ?int $delayMs = null,
    ) {
    }

    /** The job is done. */
    public static function ack(): self
    {
        return new self(self::ACK);
    }

    /** The attempt has failed: the job runs again later, or is a dead letter after its last attempt. */
    public static function retry(\Throwable|string $error, ?int $delayMs = null): self
    {
        return new self(self::RETRY, self::oneLine($error), null === $delayMs ? null : max(0, $delayMs));
    }

    /** The job has failed for good: it is a dead letter, for a person to look at. */
    public static function bury(\Throwable|string $error): self
    {
        return new self(self::BURY, self::oneLine($error));
    }

    /**
     * @internal
     *
     * @return string for the body of an answer: 0x1E, one line of JSON, a newline
     */
    public function toRecord(string $jobId): string
    {
        $record = ['id' => $jobId, 'outcome' => $this->kind, 'error' => $this->error, 'delay_ms' => $this->delayMs, 'pid' => null === $this->error ? null : getmypid()];

        return "\x1e".json_encode(array_filter($record, static fn (mixed $value): bool => null !== $value), \JSON_UNESCAPED_SLASHES | \JSON_INVALID_UTF8_SUBSTITUTE)."\n";
    }

    /** An anonymous class has a NUL byte and its file in its name; a header has no control characters. */
    private static function oneLine(\Throwable|string $error): string
    {
        $text = \is_string($error) ? $error : $error::class.': '.$error->getMessage();
        $text = trim((string) preg_replace('/[\x00-\x1f\x7f]+/', ' ', $text));
        if (\strlen($text) > self::MAX_ERROR_BYTES) {
            // Not in the middle of a character.
            $text = (string) preg_replace('/[\xc0-\xff][\x80-\xbf]{0,3}$/D', '', substr($text, 0, self::MAX_ERROR_BYTES - \strlen('…'))).'…';
        }

        return $text;
    }
}
