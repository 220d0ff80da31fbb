<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Payload;

/** @internal */
final class DecodedEvent
{
    /**
     * @param string|null                                       $listener "service::method"
     * @param array<string, array<mixed>|bool|float|int|string> $context  what its listeners need of the request
     */
    public function __construct(
        public readonly string $name,
        public readonly object $event,
        public readonly ?string $listener = null,
        public readonly bool $isSigned = true,
        public readonly array $context = [],
    ) {
    }
}
