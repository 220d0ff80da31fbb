<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Context;

/**
 * Something of the request that the listeners of a deferred event need: the tenant, the id of the user. It travels, signed, in the
 * payload of each event, and is set around its listeners.
 *
 * A service that implements this is found by autoconfiguration; without it, by the tag `fervo_deferred_event.context_carrier`.
 */
interface ContextCarrierInterface
{
    /** Under which it travels: unique, and the same as long as the queue holds events that have it. */
    public static function name(): string;

    /**
     * Called when an event is deferred.
     *
     * @return array<mixed>|bool|float|int|string|null plain data; null = nothing travels, and restore() is not called
     */
    public function capture(): array|bool|float|int|string|null;

    /**
     * Called before the listeners, where they run. What it throws fails the job.
     *
     * @param array<mixed>|bool|float|int|string $value what capture() has returned, as JSON keeps it
     *
     * @return \Closure(): void undoes it; called when the listeners have returned, whatever became of them, no transaction is open and
     *                          what they have deferred is sent. What it throws is logged, and changes nothing
     */
    public function restore(array|bool|float|int|string $value): \Closure;
}
