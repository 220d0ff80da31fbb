<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Event;

/**
 * What `fervo:try` defers.
 *
 * @internal
 */
final class TryEvent
{
    /** @param string $host where it was deferred */
    public function __construct(public readonly string $host)
    {
    }
}
