<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Event;

use Fervo\Runner\Job;

/**
 * After an attempt has failed, before the worker is told. What a listener throws is logged, and changes nothing. Of a message of Messenger
 * only what Messenger's WorkerMessageFailedEvent has not told: that its payload cannot be read, or that Messenger's worker failed.
 */
final class JobFailed
{
    /**
     * @param string|null $eventName null, as `event`, where the payload could not be read; the class of a message, without `event`
     * @param string|null $listener  the one that it was for, as "service::method"; null for all of the event
     * @param bool        $willRetry it is tried again; else it becomes a dead letter
     * @param int|null    $delayMs   after so long, where the error says it; milliseconds
     */
    public function __construct(
        public readonly Job $job,
        public readonly ?string $eventName,
        public readonly ?object $event,
        public readonly ?string $listener,
        public readonly \Throwable $error,
        public readonly bool $willRetry,
        public readonly ?int $delayMs,
    ) {
    }
}
