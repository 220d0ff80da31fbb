<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\EventListener;

use Fervo\DeferredEventBundle\Event\TryEvent;

/**
 * Says that a deferred event has run, to STDERR: the worker's log has it, whatever the application's logger does.
 *
 * @internal
 */
final class TryListener
{
    public function __invoke(TryEvent $event): void
    {
        $job = isset($_SERVER['FERVO_JOB_ID']) ? 'as job '.$_SERVER['FERVO_JOB_ID'] : 'without a worker';
        error_log(sprintf('fervo:try: an event that was deferred on %s has run, %s', $event->host, $job));
    }
}
