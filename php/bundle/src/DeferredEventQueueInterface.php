<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle;

/**
 * Where events wait until a worker dispatches them. The service is `fervo_dispatch.queue`.
 */
interface DeferredEventQueueInterface
{
    /**
     * @param string|null $name the name under which the event is dispatched later. When left out: what the event's own
     *                          getName() says if it has that method, else the event's class, as with dispatch(). (Where
     *                          listeners are there for the class and none for the name, it is the class.)
     *
     * @throws Exception\UnserializableEventException when the event holds what cannot travel, such as a closure
     * @throws Exception\InvalidOptionException       when the event or its options cannot be
     * @throws Exception\SendFailedException          when the queue cannot be reached, unless it is told to `on_failure: run`
     */
    public function deferEvent(object $event, ?string $name = null, ?DeferOptions $options = null): void;
}
