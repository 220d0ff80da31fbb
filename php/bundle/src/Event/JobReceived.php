<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Event;

use Fervo\Runner\Job;

/**
 * Before a job's event is dispatched. What a listener throws fails the job, as if the event's own listener had thrown it.
 */
final class JobReceived
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
