<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Payload;

use Fervo\DeferredEventBundle\Exception\InvalidOptionException;
use Psr\EventDispatcher\StoppableEventInterface;
use Symfony\Contracts\EventDispatcher\Event;

/**
 * An event that was stopped before it was deferred: where it is dispatched later, it would reach nobody. That it was stopped
 * is about the dispatching then, and does not travel.
 *
 * @internal
 */
final class StoppedEvent
{
    /**
     * Symfony's own event can be resumed where it arrives; nobody else's can.
     *
     * @throws InvalidOptionException
     */
    public static function refuse(object $event): void
    {
        if ($event instanceof StoppableEventInterface && !$event instanceof Event && $event->isPropagationStopped()) {
            throw new InvalidOptionException(sprintf('Cannot defer an event of the class "%s" whose propagation is stopped: no listener would be called.', $event::class));
        }
    }

    public static function resume(object $event): void
    {
        if ($event instanceof Event && $event->isPropagationStopped()) {
            \Closure::bind(static function (Event $event): void {
                $event->propagationStopped = false;
            }, null, Event::class)($event);
        }
    }
}
