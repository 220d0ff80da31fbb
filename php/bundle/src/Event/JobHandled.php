<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Event;

use Fervo\Runner\Job;

/**
 * After a job is done: its listeners have returned, no transaction is open, and what it has deferred is sent. What a listener throws
 * is logged, and changes nothing.
 */
final class JobHandled
{
    /**
     * @param string      $eventName under which it is dispatched
     * @param string|null $listener  the one that it is for, as "service::method"; null for all of the event
     */
    public function __construct(
        public readonly Job $job,
        public readonly string $eventName,
        public readonly object $event,
        public readonly ?string $listener,
    ) {
    }
}
