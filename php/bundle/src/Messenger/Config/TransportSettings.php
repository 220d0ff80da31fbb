<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger\Config;

/**
 * What the container knows of a transport beside its DSN.
 *
 * @internal
 */
final class TransportSettings
{
    /**
     * @param int|null                  $maxRetries    null where a service decides
     * @param string|null               $limiter       the name of its rate limiter
     * @param array<string, mixed>|null $limiterConfig null when it cannot be read
     * @param list<string>              $batchHandlers classes of the batch handlers of messages that are routed to it
     */
    public function __construct(
        public readonly bool $isFailureTransport = false,
        public readonly ?int $maxRetries = null,
        public readonly ?string $limiter = null,
        public readonly ?array $limiterConfig = null,
        public readonly array $batchHandlers = [],
    ) {
    }
}
