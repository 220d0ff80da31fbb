<?php

declare(strict_types=1);

namespace Fervo\Runner;

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
