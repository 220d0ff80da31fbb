<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\EventListener;

use Fervo\DeferredEventBundle\DeferredEventQueueInterface;
use Fervo\DeferredEventBundle\Event\DeferEvent;

/** @internal */
final class DeferEventListener
{
    public function __construct(private readonly DeferredEventQueueInterface $queue)
    {
    }

    public function __invoke(DeferEvent $deferEvent): void
    {
        $this->queue->deferEvent($deferEvent->event, $deferEvent->name, $deferEvent->options);
    }
}
