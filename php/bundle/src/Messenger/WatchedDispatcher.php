<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger;

use Symfony\Component\Messenger\Event\WorkerMessageFailedEvent;
use Symfony\Component\Messenger\Event\WorkerMessageReceivedEvent;
use Symfony\Contracts\EventDispatcher\EventDispatcherInterface;

/**
 * The application's dispatcher, for one run of Messenger's worker: remembers what became of the worker's events.
 *
 * @internal
 */
final class WatchedDispatcher implements EventDispatcherInterface
{
    public ?\Throwable $error = null;
    public bool $willRetry = false;
    public bool $isVetoed = false;

    public function __construct(private readonly EventDispatcherInterface $dispatcher)
    {
    }

    public function dispatch(object $event, ?string $eventName = null): object
    {
        $event = $this->dispatcher->dispatch($event, $eventName);
        if ($event instanceof WorkerMessageFailedEvent) {
            $this->error = $event->getThrowable();
            $this->willRetry = $event->willRetry();
        } elseif ($event instanceof WorkerMessageReceivedEvent) {
            $this->isVetoed = !$event->shouldHandle();
        }

        return $event;
    }
}
