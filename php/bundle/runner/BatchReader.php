<?php

declare(strict_types=1);

namespace Fervo\Runner;

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
