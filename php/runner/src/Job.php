<?php

declare(strict_types=1);

namespace Fervo\Runner;

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
