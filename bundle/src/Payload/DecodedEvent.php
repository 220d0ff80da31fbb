<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Payload;

/** @internal */
final class DecodedEvent
{
    /** @param string|null $listener "service::method" */
    public function __construct(
        public readonly string $name,
        public readonly object $event,
        public readonly ?string $listener = null,
        public readonly bool $isSigned = true,
    ) {
    }
}
