<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger;

use Symfony\Component\Messenger\Event\WorkerMessageFailedEvent;
use Symfony\Component\Messenger\Event\WorkerMessageReceivedEvent;
use Symfony\Component\Messenger\Event\WorkerRunningEvent;
use Symfony\Contracts\EventDispatcher\EventDispatcherInterface;

/**
 * The application's dispatcher, for a run of Messenger's worker: notes what became of the worker's events.
 *
 * @internal
 */
final class WatchedDispatcher implements EventDispatcherInterface
{
    /** @param (\Closure(): void)|null $between called when a message has been given, and its listeners have had their turn */
    public function __construct(
        private readonly EventDispatcherInterface $dispatcher,
        private readonly Recorder $recorder,
        private readonly ?\Closure $between = null,
    ) {
    }

    public function dispatch(object $event, ?string $eventName = null): object
    {
        if ($event instanceof WorkerMessageFailedEvent) {
            $delivery = $this->recorder->of($event->getEnvelope());
            if (null !== $delivery) {
                // A listener may throw.
                $delivery->error = $event->getThrowable();
            }
            $this->dispatcher->dispatch($event, $eventName);
            if (null !== $delivery) {
                $delivery->willRetry = $event->willRetry();
            }

            return $event;
        }
        if ($event instanceof WorkerMessageReceivedEvent) {
            $delivery = $this->recorder->of($event->getEnvelope());
            $this->dispatcher->dispatch($event, $eventName);
            if (null !== $delivery) {
                $delivery->isVetoed = !$event->shouldHandle();
            }

            return $event;
        }
        $event = $this->dispatcher->dispatch($event, $eventName);
        if ($event instanceof WorkerRunningEvent && !$event->isWorkerIdle() && null !== $this->between) {
            ($this->between)();
        }

        return $event;
    }
}
