<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\EventListener;

use Fervo\DeferredEventBundle\DeferOptions;
use Fervo\DeferredEventBundle\DeferredEventQueue;

/**
 * Stands where a deferred listener would, and defers the call to it.
 *
 * @internal
 */
final class DeferringListener
{
    /** @param string $listener "service::method" */
    public function __construct(
        private readonly DeferredEventQueue $queue,
        private readonly string $listener,
        private readonly DeferOptions $options,
    ) {
    }

    public function __invoke(object $event, string $name): void
    {
        $this->queue->deferListener($event, $name, $this->listener, $this->options);
    }
}
