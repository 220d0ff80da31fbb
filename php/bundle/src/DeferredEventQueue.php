<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle;

use Fervo\DeferredEventBundle\Backend\DeferredJob;
use Fervo\DeferredEventBundle\Context\Context;
use Fervo\DeferredEventBundle\Event\DeferEvent;
use Fervo\DeferredEventBundle\Exception\InvalidOptionException;
use Fervo\DeferredEventBundle\Payload\PayloadCodec;
use Symfony\Component\EventDispatcher\EventDispatcherInterface;

/**
 * Turns events into jobs. The event is serialized here and now: what happens to it afterwards does not travel.
 *
 * @internal use {@see DeferredEventQueueInterface}
 */
final class DeferredEventQueue implements DeferredEventQueueInterface
{
    public function __construct(
        private readonly PayloadCodec $codec,
        private readonly Outbox $outbox,
        private readonly EventDispatcherInterface $dispatcher,
        private readonly ConfiguredOptions $options,
        private readonly ?Context $context = null,
    ) {
    }

    public function deferEvent(object $event, ?string $name = null, ?DeferOptions $options = null): void
    {
        $this->defer($event, $name ?? $this->nameOf($event), $options, null);
    }

    /** Has the worker call this one listener, a method of a service, with the event. */
    public function deferListener(object $event, string $name, string $listener, ?DeferOptions $options = null): void
    {
        $this->defer($event, $name, $options, $listener);
    }

    private function defer(object $event, string $name, ?DeferOptions $options, ?string $listener): void
    {
        if ('' === $name || DeferEvent::NAME === $name || $event instanceof DeferEvent) {
            throw new InvalidOptionException(sprintf('Cannot defer an event of the class "%s" under the name "%s": give the event itself, and a name that is neither empty nor "%s".', $event::class, $name, DeferEvent::NAME));
        }
        $options = $this->options->complete($options, $name, $event::class, $listener);

        $this->outbox->add(new DeferredJob(
            payload: $this->codec->encode($name, $event, $listener, $this->context?->capture() ?? []),
            queue: $options->queue ?? ConfiguredOptions::QUEUE,
            notBeforeMs: $options->delayMs > 0 ? (int) (microtime(true) * 1000) + $options->delayMs : null,
            priority: $options->priority ?? 0,
            attempts: $options->attempts,
            eventName: $name,
            eventClass: $event::class,
            listener: $listener,
            unique: $options->unique,
        ));
    }

    private function nameOf(object $event): string
    {
        $own = method_exists($event, 'getName') ? $event->getName() : null;
        if (!\is_string($own) || '' === $own) {
            return $event::class;
        }
        // An event may well have a getName() that is about something else.
        $isOfClass = !$this->dispatcher->hasListeners($own) && $this->dispatcher->hasListeners($event::class);

        return $isOfClass ? $event::class : $own;
    }
}
