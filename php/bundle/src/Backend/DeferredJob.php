<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Backend;

/** One event on its way into a queue. The worker needs the payload; the rest is for the queue and for people. */
final class DeferredJob
{
    /**
     * @param string      $payload     signed text in UTF-8, for the front controller
     * @param int|null    $notBeforeMs epoch milliseconds; null = as soon as possible
     * @param int         $priority    higher runs first
     * @param int|null    $attempts    attempts in all; null = as the worker's configuration says
     * @param string|null $listener    "service::method", when only that one is to be called
     * @param string|null $unique      while another job with this key waits in the queue, this one is not added
     */
    public function __construct(
        public readonly string $payload,
        public readonly string $queue,
        public readonly ?int $notBeforeMs,
        public readonly int $priority,
        public readonly ?int $attempts,
        public readonly string $eventName,
        public readonly string $eventClass,
        public readonly ?string $listener = null,
        public readonly ?string $unique = null,
    ) {
    }

    /** How long it has to wait from now on, in milliseconds. */
    public function delayMs(): int
    {
        return max(0, ($this->notBeforeMs ?? 0) - (int) (microtime(true) * 1000));
    }
}
